"""Answers of a server that is not trusted: none drips for ever, and none that is read whole is endless.

botocore takes each wait by itself, so that one byte now and then holds a stream, and reads a document whatever its
length. Its connections are replaced by ones that look at both. Source: botocore.httpsession, http.client.
"""

import http.client
import io
import socket
import threading
import time
from functools import partial
from typing import Any, Final

from botocore.awsrequest import AWSHTTPSConnection, AWSHTTPSConnectionPool

from gateway.moving.endpoint import Patience
from gateway.moving.places import ItemFailed
from storage.entities import may_have_entities

MAX_DOCUMENT_BYTES: Final = 8 * 1024 * 1024
"""No answer that is read whole is longer: 1,000 keys of 1,024 bytes, encoded as in URLs, take less than 4 MiB."""

_HERE: Final = threading.local()
"""Whether what this thread asks for next is read whole."""


class AnswerTooLong(ItemFailed):
    """A document is longer than any that S3 sends."""


class _Received(io.RawIOBase):
    """What a connection receives. Time counts while it is waited for alone: who reads slowly is not the server."""

    def __init__(self, held: io.RawIOBase, connected: socket.socket, patience: Patience) -> None:
        """`held` keeps the connection open until it is closed itself."""
        self._held = held
        self._connected = connected
        self._patience = patience
        self._waited_s = 0.0
        self._count = 0
        """Bytes since the window began."""
        self._total = 0
        self.limit: int | None = None
        """Of all bytes, those of the head included."""

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Wait for bytes. Raises: TimeoutError where they come too slowly; AnswerTooLong; OSError."""
        count = self._receive(buffer)
        self._count += count
        self._total += count
        if self.limit is not None and self._total > self.limit:
            raise AnswerTooLong(f"the endpoint's answer is longer than {self.limit} bytes")
        return count

    def _receive(self, buffer: Any) -> int:
        window_s = self._patience.window_s
        while True:
            if self._waited_s >= window_s:
                if self._count < self._patience.least_bytes_s * window_s:
                    raise TimeoutError("the server is too slow")
                self._waited_s, self._count = 0.0, 0
            began = time.monotonic()
            self._connected.settimeout(window_s - self._waited_s)
            try:
                return self._connected.recv_into(buffer)
            except TimeoutError:
                self._waited_s = window_s
            finally:
                self._waited_s += time.monotonic() - began
                self._connected.settimeout(window_s)  # of the next request on this connection

    def close(self) -> None:
        """Let go of the connection."""
        self._held.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """An answer, received so."""

    def __init__(self, connected: socket.socket, *arguments: Any, patience: Patience, **named: Any) -> None:
        super().__init__(connected, *arguments, **named)
        self._received = _Received(self.fp.detach(), connected, patience)
        self.fp = io.BufferedReader(self._received)

    def begin(self) -> None:
        """Read the head. Raises: TimeoutError, OSError, http.client.HTTPException."""
        super().begin()
        if getattr(_HERE, "is_document", True) or self.status >= 300:
            self._received.limit = MAX_DOCUMENT_BYTES


def limit(client: Any, patience: Patience) -> None:
    """Let a client that has asked for nothing yet receive its answers so."""

    class Connection(AWSHTTPSConnection):  # type: ignore[misc]  # botocore has no types
        response_class = partial(_Response, patience=patience)

    class Pool(AWSHTTPSConnectionPool):  # type: ignore[misc]  # as above
        ConnectionCls = Connection

    # No public way leads there; a test sees that answers are limited.
    client._endpoint.http_session._manager.pool_classes_by_scheme = {"https": Pool}  # noqa: SLF001  # as said
    client.meta.events.register("before-send.s3", _note)
    client.meta.events.register("before-parse.s3", _refuse_entities)


def _refuse_entities(response_dict: Any, **_: Any) -> None:
    """Called before an answer is read: of a short document with entities an enormous one would be made.

    Raises: ItemFailed.
    """
    body = response_dict["body"]
    if isinstance(body, bytes) and may_have_entities(body):
        raise ItemFailed("the endpoint's answer has a document type")


def _note(request: Any, **_: Any) -> None:
    """Called in the thread that is about to send."""
    _HERE.is_document = not request.stream_output
