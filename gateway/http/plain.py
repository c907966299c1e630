"""The plain-HTTP port: it exists only to say no, and says it before anything of the request is understood.

Whatever comes is answered with 403 AccessDenied in S3's XML and closed; a redirect would teach clients to send
credentials in the clear first. Source: DESIGN D10, AWS `aws:SecureTransport`.
"""

import asyncio
from typing import cast

from gateway.http.answers import new_request_id, raw_refusal
from gateway.s3.errors import ACCESS_DENIED, S3Error

MAX_READ_BYTES = 8 * 1024
DEADLINE_S = 10.0
MAX_CONNECTIONS = 256

_HEAD_ENDS = (b"\r\n\r\n", b"\n\n")


class PlainRefuser(asyncio.Protocol):
    """One connection: reads until the head ends or 8 KiB are there, answers, and closes.

    `open_connections` is shared by all of them, so that this port cannot take the others' file descriptors.
    """

    def __init__(self, open_connections: set["PlainRefuser"], deadline_s: float = DEADLINE_S) -> None:
        self._open = open_connections
        self._deadline_s = deadline_s
        self._deadline: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self._head = b""
        self._has_answered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the one deadline of the connection."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are not its instances
        if len(self._open) >= MAX_CONNECTIONS:
            self._transport.abort()
            return
        self._open.add(self)
        self._deadline = asyncio.get_running_loop().call_later(self._deadline_s, self._transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        del exc
        self._open.discard(self)
        if self._deadline is not None:
            self._deadline.cancel()

    def data_received(self, data: bytes) -> None:
        """Answer at the end of the head. What follows is thrown away until the client closes or the deadline comes."""
        if self._has_answered:
            return
        self._head += data[: MAX_READ_BYTES - len(self._head)]
        if len(self._head) >= MAX_READ_BYTES or any(end in self._head for end in _HEAD_ENDS):
            self._answer()

    def eof_received(self) -> bool:
        """Answer a client that closed its side with half a head; let the transport close itself otherwise."""
        if not self._has_answered and self._head:
            self._answer()
        return False

    def _answer(self) -> None:
        assert self._transport is not None
        self._has_answered = True
        self._head = b""
        refusal = S3Error(ACCESS_DENIED, "This endpoint is to be used over HTTPS only.")
        self._transport.write(raw_refusal(refusal, new_request_id(), is_secure=False))
        # Half-closed, not closed: a reset for unread data would take the answer from the client.
        self._transport.write_eof()

    def close(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()
