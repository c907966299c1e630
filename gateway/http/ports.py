"""Addresses to listen on, and in which words one that cannot be taken is told of."""

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from gateway.errors import ServeError

BACKLOG: Final = 2048
"""Newcomers that the kernel holds for a listener; it may cut this to net.core.somaxconn."""

_REMEDIES = {
    errno.EADDRINUSE: "stop what uses it, or give another --{setting}",
    errno.EACCES: "ports below 1024 need a privilege; give a higher --{setting}",
    errno.EADDRNOTAVAIL: "no interface of this machine has that address; correct --{host}",
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address to listen on; port 0 takes any free one."""

    host: str
    port: int


Inherited = Mapping[str, Sequence[socket.socket]]
"""Listening sockets that somebody else opened, by the flags of their ports: a worker's, from its supervisor."""


def refused_port(address: Endpoint, setting: str, error: OSError) -> ServeError:
    """Say what the system said, and what to do; `setting` is the flag of the port, for who has to give another."""
    # uvloop puts the address into the words of the system; gaierror has numbers of its own.
    said = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
    remedy = _REMEDIES.get(error.errno or 0, "correct --{host}")
    flags = {"setting": setting, "host": setting.removesuffix("port") + "host"}
    return ServeError(f"{address.host} port {address.port} cannot be listened on ({said}): {remedy.format_map(flags)}")


def listen_on(address: Endpoint, setting: str) -> list[socket.socket]:
    """Listen on every form of an address; the sockets do not block. May ask a name server.

    Raises: ServeError, and then none of them is open.
    """
    with ExitStack() as undo:
        try:
            found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            listeners = []
            for family, kind, protocol, _, place in dict.fromkeys(found):
                listener = undo.enter_context(socket.socket(family, kind, protocol))
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                listener.bind(place)
                listener.listen(BACKLOG)
                listener.setblocking(False)
                listeners.append(listener)
        except OSError as error:
            raise refused_port(address, setting, error) from error
        undo.pop_all()
    return listeners


async def serve_each(
    protocol: Callable[[], asyncio.BaseProtocol], listeners: Sequence[socket.socket]
) -> list[asyncio.Server]:
    """Serve a protocol of plain text on sockets that listen; they close with what is returned."""
    loop = asyncio.get_running_loop()
    return [await loop.create_server(protocol, sock=listener, backlog=BACKLOG) for listener in listeners]


def check_free(address: Endpoint, setting: str) -> None:
    """Take every form of an address as a listener would, and give it back. Another may take it right after.

    Raises: ServeError.
    """
    for listener in listen_on(address, setting):
        listener.close()
