"""What supervisor and worker say to each other: lines of JSON over a pair of sockets that nobody else holds.

The supervisor begins with the worker's orders. The worker says once that it stands, and from then on answers
questions; its end of the pair closes with either process, so each learns at once that the other is gone.
"""

import asyncio
import json
import socket
from typing import Any, Final

MAX_LINE_BYTES: Final = 64 * 1024 * 1024
"""Of an answer, which may hold every metric."""

IS_ALIVE: Final = "is_alive"
"""Asks for nothing but that the loop comes round."""
IS_READY: Final = "is_ready"
COUNTS: Final = "counts"

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def streams_of(end: socket.socket) -> Streams:
    """Reader and writer of one end."""
    end.setblocking(False)
    return await asyncio.open_unix_connection(sock=end, limit=MAX_LINE_BYTES)


def encoded(message: Any) -> bytes:
    """One line."""
    return json.dumps(message).encode("ascii") + b"\n"


def decoded(line: bytes) -> Any:
    """What one line says; None at the end of the stream, half a line included."""
    return json.loads(line) if line.endswith(b"\n") else None
