"""Connections to a backend as urllib3 makes them, with two things that it lacks.

A request can be ended from outside, and an answer whose head does not come whole is broken.

Source: http.client takes the end of a connection for the end of a head; RFC 9112 section 8 calls that incomplete.
"""

import http.client
import socket
import ssl
import threading
from typing import Any, BinaryIO, Final

import urllib3

_HERE: Final = threading.local()
"""The turn that this thread is in."""


class Turn:
    """One try of one request. Its thread begins it; any thread may end it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._is_over = False

    def begin(self) -> None:
        """What this thread sends from now on belongs to this turn."""
        _HERE.turn = self

    def holds(self, connected: socket.socket) -> None:
        """Say which connection it has. Raises: TimeoutError, where it was ended before."""
        with self._lock:
            self._socket = connected
            if self._is_over:
                raise TimeoutError("ended before it was sent")

    def end(self) -> None:
        """It has what it wanted; its connection is free for others."""
        with self._lock:
            self._socket = None

    def abort(self) -> None:
        """End it: whoever waits for its connection wakes, and fails. Before it has one, that has limits of its own."""
        with self._lock:
            self._is_over = True
            if self._socket is not None:
                try:
                    # Not by the TLS object, which would go on in plain for who still reads.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
                except OSError:  # it is not connected any more
                    return


class Stream:
    """The unread body of an answer."""

    def __init__(self, response: urllib3.BaseHTTPResponse, turn: Turn) -> None:
        self._response = response
        self.turn = turn

    def read_exactly(self, length: int) -> bytes:
        """Wait for so many bytes. Raises: urllib3's HTTPError and OSError, where fewer come."""
        data = self._response.read(length, decode_content=False)
        if len(data) != length:
            raise urllib3.exceptions.HTTPError("an answer shorter than it said")
        return data

    def release(self) -> None:
        """Everything was read: the connection may serve again."""
        self.turn.end()
        self._response.release_conn()

    def close(self) -> None:
        """Let the connection go with what is unread."""
        self._response.close()


class _WholeHead(http.client.HTTPResponse):
    """An answer whose head ends in an empty line."""

    def begin(self) -> None:
        """Read the head. Raises: RemoteDisconnected, where the connection ends within it."""
        file: Any = self.fp
        lines: Any = _Lines(file)
        self.fp = lines  # for as long as lines are read
        try:
            super().begin()
        finally:
            if self.fp is lines:
                self.fp = file
        if not lines.last.endswith(b"\n"):
            self.close()
            raise http.client.RemoteDisconnected("the connection ended within the head of an answer")


class _Lines:
    """A file that keeps the last line which was read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.last = b""

    def readline(self, limit: int = -1) -> bytes:
        self.last = self._file.readline(limit)
        return self.last

    def close(self) -> None:
        self._file.close()


class _Connection(urllib3.connection.HTTPSConnection):
    """Tells the turn of its thread which socket it has."""

    response_class = _WholeHead

    def request(self, *arguments: Any, **named: Any) -> None:
        """Send a request. Raises: TimeoutError, OSError."""
        assert self.sock is not None, "the pool connects first, to verify the server"
        _HERE.turn.holds(self.sock)
        super().request(*arguments, **named)


class _Pool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _Connection


def pool_of(tls: ssl.SSLContext, connections: int, timeout_s: float) -> urllib3.PoolManager:
    """Connections to one server, so many kept open. `timeout_s`: of a handshake, and of silence."""
    manager = urllib3.PoolManager(
        maxsize=connections,
        retries=False,
        timeout=urllib3.Timeout(connect=timeout_s, read=timeout_s),
        ssl_context=tls,
    )
    manager.pool_classes_by_scheme = {"https": _Pool}
    return manager
