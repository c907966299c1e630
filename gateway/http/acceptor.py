"""Who is let in: connections are counted from the moment they are accepted, long before TLS has been spoken.

A connection that is not being answered costs its client nothing, so it is worth nothing here: where there are too many,
those that wait longest go first, from whichever address holds most of them. A crowd behind one address is cut only
where the gateway is full, and never in the middle of a request. Sources: accept(2), RFC 9112 section 9.5.
"""

import asyncio
import heapq
import logging
import socket
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_network
from typing import Protocol, TypeVar

from prometheus_client import CollectorRegistry, Counter

_LOG = logging.getLogger(__name__)

_Guest = TypeVar("_Guest")

_BATCH = 16
"""Connections taken in one step of the loop, so that a rush holds up no stream.

Where several processes accept from one socket each takes one: the next goes to whoever comes round soonest, the least
busy.
"""
_PAUSE_S = 0.1
"""How long the kernel's queue holds newcomers where there is no room, or no file left, for them."""
_STALLED_S = 1.0
"""A handshake takes a few round trips; one that lasts longer may be cut where room is wanted."""
_AT_ONCE = 64
"""Where the gateway is full, one in so many connections is cut in one go, so that the search for them costs little."""


class Connection(Protocol):
    """What is asked of a connection that has spoken TLS."""

    @property
    def client(self) -> tuple[str, int] | None:
        """Address and port of its peer."""

    @property
    def waiting_since(self) -> float | None:
        """When it began to wait for a request, by the loop's clock; None where it is being answered."""

    @property
    def has_unread_answer(self) -> bool:
        """Whether something that was sent to it has not yet arrived."""

    def abort(self) -> None:
        """Reset it."""


class TurnedAway:
    """Counts connections that were closed to make room, or never let in."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counter = Counter(
            "sealgate_connections_turned_away",
            "Connections closed since there were too many: waiting, in their handshake, at once, for want of files.",
            ["which"],
            registry=registry,
        )
        self.waiting, self.handshake, self.at_once, self.no_file = (
            counter.labels(which) for which in ("waiting", "handshake", "at-once", "no-file")
        )


@dataclass(eq=False, slots=True)
class _Handshake:
    connection: socket.socket
    network: str
    began: float
    is_cut: bool = False


class Acceptor:
    """Accepts from listening sockets, and hands each connection to `greet`, which ends with its handshake."""

    def __init__(
        self,
        listeners: Iterable[socket.socket],
        greet: Callable[[socket.socket], Awaitable[object]],
        established: Collection[Connection],
        turned_away: TurnedAway,
        *,
        max_connections: int,
        max_handshakes: int,
        is_shared: bool = False,
    ) -> None:
        """`established` is looked at, not kept: whoever serves connections adds and removes them.

        `is_shared`: other processes accept from the same sockets.
        """
        self._batch = 1 if is_shared else _BATCH
        self.listeners = tuple(listeners)
        self._greet = greet
        self._established = established
        self._turned_away = turned_away
        self._max_connections = max_connections
        self._max_handshakes = max_handshakes
        self._handshakes: dict[asyncio.Task[None], _Handshake] = {}
        self._cut_count = 0
        """Those of them that were cut, and have not yet noticed."""
        self._pause: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._listen()

    @property
    def handshake_count(self) -> int:
        """Connections that have not yet spoken TLS, and still may."""
        return len(self._handshakes) - self._cut_count

    async def close(self) -> None:
        """Accept no more, and cut what has not yet spoken TLS."""
        self._stop_listening()
        for listener in self.listeners:
            listener.close()
        tasks = list(self._handshakes)
        for handshake in self._handshakes.values():
            self._cut(handshake)
        await asyncio.gather(*tasks)

    # Accepting

    def _listen(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        for listener in self.listeners:
            self._loop.add_reader(listener, self._accept, listener)

    def _stop_listening(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
        for listener in self.listeners:
            self._loop.remove_reader(listener)

    def _rest(self) -> None:
        self._stop_listening()
        self._pause = self._loop.call_later(_PAUSE_S, self._listen)

    def _accept(self, listener: socket.socket) -> None:
        for turn in range(self._batch):
            if self.handshake_count >= self._max_handshakes:
                # Only in the first turn is somebody known to be there, for whom room is wanted.
                if turn == 0 and not self._cut_handshakes(1):
                    self._rest()
                    return
                if turn > 0:
                    return
            try:
                connection, address = listener.accept()
            except BlockingIOError:
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:
                # No file, no memory: listening on would spin. What waits is worth less than a blob that must be opened.
                _LOG.error("no connection can be accepted: %s", error.strerror)
                self._turned_away.no_file.inc()
                self._make_room()
                self._rest()
                return
            is_full = self.handshake_count + len(self._established) >= self._max_connections
            if is_full and not self._make_room():
                self._turned_away.at_once.inc()
                connection.close()
                continue
            self._begin(connection, str(address[0]))
            if is_full:
                return  # those that were cut are counted until the loop comes round

    def _begin(self, connection: socket.socket, address: str) -> None:
        connection.setblocking(False)
        handshake = _Handshake(connection, network_of(address), self._loop.time())
        task = self._loop.create_task(self._shake_hands(connection))
        self._handshakes[task] = handshake
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._cut_count -= self._handshakes.pop(task).is_cut

    async def _shake_hands(self, connection: socket.socket) -> None:
        try:
            await self._greet(connection)
        except OSError as error:
            # Whoever does not speak TLS, or leaves, or takes too long: ssl's errors are among these.
            _LOG.debug("no handshake: %s", type(error).__name__)
            connection.close()

    # Making room

    def _cut_handshakes(self, count: int) -> int:
        """Cut the oldest of those that have stalled, from the network that has most; return how many there were."""
        stalled = self._loop.time() - _STALLED_S
        held = [one for one in self._handshakes.values() if one.began <= stalled and not one.is_cut]
        victims = _of_the_heaviest([(one.network, one.began, one) for one in held], count)
        for one in victims:
            self._cut(one)
        self._turned_away.handshake.inc(len(victims))
        return len(victims)

    def _cut(self, handshake: _Handshake) -> None:
        """Let a handshake fail: its transport owns the socket and closes it."""
        if not handshake.is_cut:
            handshake.is_cut = True
            self._cut_count += 1
            with suppress(OSError):
                handshake.connection.shutdown(socket.SHUT_RDWR)

    def _make_room(self) -> int:
        """Cut some of those that nobody answers; return how many."""
        wanted = max(self._max_connections // _AT_ONCE, 1)
        idle = [
            (network_of(one.client[0]) if one.client else "", since, one)
            for one in self._established
            if (since := one.waiting_since) is not None and not one.has_unread_answer
        ]
        cut = self._cut_handshakes(wanted)
        for one in _of_the_heaviest(idle, wanted - cut):
            one.abort()
            self._turned_away.waiting.inc()
            cut += 1
        return cut


def network_of(address: str) -> str:
    """What is counted as one client: an IPv4 address, or the 64 bits of an IPv6 one that a site has to itself."""
    if ":" not in address:
        return address
    bare = IPv6Address(address.partition("%")[0])
    return str(bare.ipv4_mapped or ip_network((bare, 64), strict=False))


def _of_the_heaviest(held: list[tuple[str, float, _Guest]], count: int) -> list[_Guest]:
    """Choose `count` guests, the longest waiting of whichever network has most left, one after the other."""
    by_age: dict[str, list[_Guest]] = {}
    for network, _, guest in sorted(held, key=lambda one: one[1], reverse=True):
        by_age.setdefault(network, []).append(guest)
    weights = [(-len(guests), network) for network, guests in by_age.items()]
    heapq.heapify(weights)
    chosen: list[_Guest] = []
    while weights and len(chosen) < count:
        weight, network = weights[0]
        chosen.append(by_age[network].pop())
        if weight == -1:
            heapq.heappop(weights)
        else:
            heapq.heapreplace(weights, (weight + 1, network))
    return chosen
