"""A crowd of slow clients in a process of its own: `python -m tests.hostile.slow_clients`, orders as JSON on stdin.

One epoll loop holds thousands of TLS connections, so that the crowd costs the machine little beside the gateway. It
says "open" once all of them stand as slow as they should be, then how long each kind was left open. Whether a
connection was ended is asked of the kernel: a client that does not read learns it nowhere else (TCP_INFO, tcp(7)).
"""

import asyncio
import json
import socket
import ssl
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Final, cast

import uvloop

POLL_S: Final = 0.2
OPENING: Final = 64
"""Handshakes of ours at once: the crowd shall be slow, not a rush."""
_TCP_ESTABLISHED: Final = 1


@dataclass(frozen=True)
class Kind:
    """Clients of one kind: what they say first, then again and again, and whether they ever read."""

    name: str
    count: int
    first: str = ""
    drip: str = ""
    every_s: float = 1.0
    speaks_tls: bool = True
    reads: bool = True


@dataclass(frozen=True)
class Told:
    """What became of one kind: how many were ended, and the shortest and longest time that took."""

    count: int
    ended: int
    least_s: float
    most_s: float


class _Client(asyncio.Protocol):
    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.transport: asyncio.Transport | None = None
        self.raw: socket.socket | None = None
        self.began = 0.0
        self.lasted: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if not self.kind.reads:
            self.transport.pause_reading()
        self.transport.write(self.kind.first.encode("latin-1"))

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.note_end()

    def drip(self) -> None:
        if self.transport is not None and self.lasted is None and not self.transport.is_closing():
            self.transport.write(self.kind.drip.encode("latin-1"))

    def note_end(self) -> None:
        if self.lasted is None:
            self.lasted = time.monotonic() - self.began

    def look(self) -> None:
        """Ask the kernel whether the other side has ended the connection."""
        assert self.raw is not None
        try:
            state = self.raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        except OSError:
            state = 0
        if state != _TCP_ESTABLISHED:
            self.note_end()


async def _open(client: _Client, port: int, context: ssl.SSLContext, places: asyncio.Semaphore) -> None:
    loop = asyncio.get_running_loop()
    async with places:
        raw = socket.socket()
        if not client.kind.reads:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.setblocking(False)
        await loop.sock_connect(raw, ("127.0.0.1", port))
        client.raw = raw.dup()
        try:
            if client.kind.speaks_tls:
                await loop.create_connection(lambda: client, sock=raw, ssl=context, server_hostname="localhost")
            else:
                await loop.create_connection(lambda: client, sock=raw)
        finally:
            client.began = time.monotonic()


async def _drip(clients: list[_Client]) -> None:
    kind = clients[0].kind
    while True:
        await asyncio.sleep(kind.every_s)
        for client in clients:
            client.drip()


async def main() -> None:
    orders = json.loads(sys.stdin.readline())
    kinds = [Kind(**one) for one in orders["kinds"]]
    context = ssl.create_default_context(cafile=orders["ca"])
    clients = [_Client(kind) for kind in kinds for _ in range(kind.count)]
    by_kind: dict[str, list[_Client]] = defaultdict(list)
    for client in clients:
        by_kind[client.kind.name].append(client)
    places = asyncio.Semaphore(OPENING)
    await asyncio.gather(*(_open(one, orders["port"], context, places) for one in clients))
    dripping = [asyncio.create_task(_drip(group)) for group in by_kind.values() if group[0].kind.drip]
    print("open", flush=True)
    await _wait(clients, orders["patience_s"])
    for task in dripping:
        task.cancel()
    print(json.dumps({name: asdict(_told(group)) for name, group in by_kind.items()}), flush=True)
    for client in clients:
        if client.transport is not None:
            client.transport.abort()
        if client.raw is not None:
            client.raw.close()


async def _wait(clients: Iterable[_Client], patience_s: float) -> None:
    end = time.monotonic() + patience_s
    waiting = list(clients)
    while waiting and time.monotonic() < end:
        await asyncio.sleep(POLL_S)
        for client in waiting:
            client.look()
        waiting = [client for client in waiting if client.lasted is None]


def _told(group: list[_Client]) -> Told:
    times = [client.lasted for client in group if client.lasted is not None]
    return Told(len(group), len(times), min(times, default=0.0), max(times, default=0.0))


if __name__ == "__main__":
    uvloop.run(main())
