"""uvicorn's httptools protocol, made strict: caps, one valid Host, deadlines, and refusals in S3's XML.

Sources: RFC 9112 sections 2-6 and 9 (framing), RFC 9110 section 7.2 (Host), uvicorn 0.54 `httptools_impl`. llhttp
already refuses conflicting lengths, folded headers, bare line feeds and controls; here is what it lets through.
"""

import asyncio
import fcntl
import re
import socket
import struct
import sys
import termios
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Any, Literal

from httptools import HttpParserInvalidMethodError
from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from gateway.http.answers import new_request_id, raw_refusal
from gateway.http.bodies import HeldBody
from gateway.http.tls import client_certificate
from gateway.s3.errors import (
    BAD_REQUEST,
    METHOD_NOT_ALLOWED,
    REQUEST_HEADER_SECTION_TOO_LARGE,
    REQUEST_TIMEOUT,
    S3Error,
)

ABORT = "sealgate.abort"
"""ASGI extension: `scope["extensions"][ABORT]["call"]()` resets the connection, without any clean end."""

UNREAD = "sealgate.unread"
"""ASGI extension: whether the client has yet to receive bytes of what was sent to it."""

READ_HIGH_WATER_BYTES = 512 * 1024
WRITE_HIGH_WATER_BYTES = 512 * 1024
MIN_BODY_BYTES_PER_S = 1024
_JOINED_BYTES = 16 * 1024
"""Up to so many bytes of a body are copied behind their head; more would cost more than the write that it saves."""

_METHODS = frozenset({b"GET", b"HEAD", b"PUT", b"POST", b"DELETE", b"OPTIONS"})
_VERSIONS = frozenset({"1.0", "1.1"})
_SINGLE = frozenset({
    b"authorization", b"content-length", b"content-md5", b"content-type", b"date", b"host", b"range",
    b"transfer-encoding", b"x-amz-content-sha256", b"x-amz-date", b"x-amz-decoded-content-length",
    b"x-amz-security-token", b"x-amz-trailer",
})  # fmt: skip
_HOST = re.compile(rb"(?:[A-Za-z0-9][A-Za-z0-9._-]{0,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_TARGET = re.compile(rb"/[\x21\x22\x24-\x7e]*")
"""Origin form alone (RFC 9112 section 3.2.1), in visible ASCII and without a fragment."""
_LINGER_NOT = struct.pack("ii", 1, 0)
_TLS_NUMBERS = {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}


@dataclass(frozen=True, slots=True)
class EdgeLimits:
    """What one connection may take; all of them are settings."""

    max_head_bytes: int = 16 * 1024
    """Request line and header section together."""
    max_headers: int = 512
    """Lines of a header section: 16 KiB hold 4,000 of the shortest, each of which costs a step of the parser."""
    head_timeout_s: float = 10.0
    """From the connection, or from the first byte of a further request, to the end of its head."""
    body_timeout_s: float = 30.0
    """A body that may come and brings fewer than 1,024 bytes a second over this time is stalled."""
    idle_timeout_s: float = 30.0
    write_timeout_s: float = 60.0
    """How long a client may leave what was sent to it unread."""
    linger_s: float = 2.0
    """How long a closed connection stays for a client that has all it was sent: it may go on sending after an early
    refusal, and a reset must not eat the answer. For whoever has not yet read all, `write_timeout_s` counts."""
    max_connections: int = 4096
    """Accepted, whether or not they have spoken TLS."""
    max_handshakes: int = 1024
    """Of these, in the middle of TLS's handshake; further ones wait in the kernel's queue."""
    drain_timeout_s: float = 30.0


class _HeadFirst:
    """The transport of one request's answer: its head waits for the first bytes of the body.

    A small answer is one record of TLS then, one write, and one packet that wakes its client once; uvicorn makes two of
    it. Does what a `RequestResponseCycle` asks of a transport.
    """

    __slots__ = ("_has_head", "_head", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._has_head = False
        self._head = b""

    def write(self, piece: bytes) -> None:
        """Hold the first piece, which is the head, and send it with the second."""
        if self._head:
            head, self._head = self._head, b""
            if len(piece) <= _JOINED_BYTES:
                self._transport.write(b"".join((head, piece)))
                return
            self._transport.write(head)
        elif not self._has_head and not piece.startswith(b"HTTP/1.1 100 "):
            self._has_head = True
            self._head = piece
            return
        self._transport.write(piece)

    def flush(self) -> None:
        """Send a head that no body follows."""
        if self._head:
            self.write(b"")

    def close(self) -> None:
        """Send what is held, and close."""
        self.flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """Ask the connection."""
        return self._transport.is_closing()


class _Refused(Exception):
    """Leaves a parser callback; llhttp makes its own error of it, so the reason waits in `_refusal`."""


class S3Protocol(HttpToolsProtocol):
    """One connection. Deadlines are timers of the loop; whatever is refused below ASGI closes the connection."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        limits: EdgeLimits,
    ) -> None:
        super().__init__(config, server_state, app_state, asyncio.get_running_loop())
        self.timeout_keep_alive = ceil(limits.idle_timeout_s)
        self._limits = limits
        self._refusal: S3Error | None = None
        self._is_deaf = False
        self._in_head = False
        self._request_line = bytearray()
        self._has_request_line = False
        self._head_began_in_read = False
        self._head_bytes = 0
        self._head_reads_bytes = 0
        self._has_chunks = False
        self._framing_bytes = 0
        self._body_bytes = 0
        self._was_held_back = False
        self._seen: set[bytes] = set()
        self._deadline: asyncio.TimerHandle | None = None
        self._write_deadline: asyncio.TimerHandle | None = None
        self._tls: dict[object, object] | None = None
        self._answer: _HeadFirst | None = None
        self._waits_since = self.loop.time()

    # Connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # narrowed by uvicorn
        """Begin the wait for the first head, unless there are too many connections."""
        super().connection_made(transport)
        if len(self.connections) > self._limits.max_connections:
            self.abort()
            return
        session = transport.get_extra_info("ssl_object")
        if session is not None:
            self._tls = {"tls_version": _TLS_NUMBERS.get(session.version()), **client_certificate(session)}
        transport.set_write_buffer_limits(high=WRITE_HIGH_WATER_BYTES, low=WRITE_HIGH_WATER_BYTES // 2)
        self._arm(self._limits.head_timeout_s, self.abort)

    @property
    def waiting_since(self) -> float | None:
        """When it began to wait for a request, by the loop's clock; None while one is answered."""
        return self._waits_since if self._running_cycle() is None else None

    @property
    def has_unread_answer(self) -> bool:
        """Whether bytes of an answer have not yet arrived at the client: held here, or in the kernel's buffer."""
        return self.transport.get_write_buffer_size() > 0 or _unacknowledged_bytes(self.transport) > 0

    def connection_lost(self, exc: Exception | None) -> None:
        """End every timer, and let go of the last request.

        It and the connection hold each other, and what was written ahead of the client, up to a mebibyte, would wait
        with them for the garbage collector.
        """
        self._disarm()
        self._end_write_stall()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()  # after a reset uvicorn leaves it running
        self.let_go()

    def let_go(self) -> None:
        """Hold nothing any more that holds this; for a connection that is over, or never came to be."""
        self.parser = self.cycle = self.scope = None  # type: ignore[assignment]  # as uvicorn does where it has none

    def data_received(self, data: bytes) -> None:
        """Parse what came, unless all that may still come is to be thrown away."""
        if self._is_deaf or self.transport.is_closing():
            return
        if not self._has_request_line:
            self._hold_request_line(data)
        self._head_began_in_read = False
        began_in_chunks, body_bytes = self._has_chunks, self._body_bytes
        super().data_received(data)
        if self._in_head and not self._head_began_in_read:
            # llhttp holds an unfinished header without telling; counting whole reads inside the head bounds it.
            self._head_reads_bytes += len(data)
            if self._head_reads_bytes > self._limits.max_head_bytes and not self._is_deaf:
                self._refuse_now(S3Error(REQUEST_HEADER_SECTION_TOO_LARGE))
        if began_in_chunks and self._has_chunks:
            # Nor does it tell of the size line of a chunk, whose extensions have no bound (RFC 9112 section 7.1.1).
            self._framing_bytes = 0 if self._body_bytes > body_bytes else self._framing_bytes + len(data)
            if self._framing_bytes > self._limits.max_head_bytes and not self._is_deaf:
                self._refuse_now(S3Error(BAD_REQUEST, "The size and the extensions of a chunk are too long."))
        if self._running_cycle() is None and self._deadline is None and self.timeout_keep_alive_task is None:
            # llhttp drops blank lines before a request line without telling, and uvicorn has just ended the wait for
            # a further request: without a new one such a connection would stay for ever.
            self._arm(self._limits.head_timeout_s, self.abort)

    def _hold_request_line(self, data: bytes) -> None:
        """Keep the line that begins a request as it was sent; its length is bounded as every head's is.

        Nothing stands between a request and it but line ends, since whatever follows a request before its answer is
        dropped.
        """
        piece = data if self._request_line else data.lstrip(b"\r\n")
        end = piece.find(b"\n")
        self._has_request_line = end >= 0
        self._request_line += piece[:end] if end >= 0 else piece

    # Parser callbacks

    def on_message_begin(self) -> None:
        """Begin a head. A request that does not wait for the answer before it is dropped with the connection.

        No S3 client pipelines, and RFC 9112 section 9.3.2 lets a server close instead; so what follows a request can
        never be taken for one, nor its answer for another's.
        """
        running = self._running_cycle()
        if running is not None:
            running.keep_alive = False
            self._is_deaf = True
            raise _Refused
        super().on_message_begin()
        self._in_head = self._head_began_in_read = True
        self._head_bytes = self._head_reads_bytes = 0
        self._seen = set()
        extensions: dict[str, dict[object, object]] = {
            ABORT: {"call": self.abort},
            UNREAD: {"call": lambda: self in self.connections and self.has_unread_answer},
        }
        if self._tls is not None:
            extensions["tls"] = self._tls
        self.scope["extensions"] = extensions
        self._arm(self._limits.head_timeout_s, self.abort)

    def on_url(self, url: bytes) -> None:
        """Take a piece of the request target."""
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header of the head; those behind a chunked body (trailers) are refused, since nobody signed them."""
        lowered = name.lower()
        if not self._in_head:
            self._refuse(S3Error(BAD_REQUEST, "Trailer fields of HTTP are not supported."))
        self._count_head(len(name) + len(value) + 4)
        if len(self.headers) >= self._limits.max_headers:
            self._refuse(S3Error(REQUEST_HEADER_SECTION_TOO_LARGE))
        if lowered in self._seen and lowered in _SINGLE:
            self._refuse(S3Error(BAD_REQUEST, f"The header {lowered.decode('ascii')} may stand only once."))
        if lowered == b"host" and not _HOST.fullmatch(value.strip(b" \t")):
            self._refuse(S3Error(BAD_REQUEST, "The Host header is not valid."))
        if lowered == b"transfer-encoding" and value.strip(b" \t").lower() != b"chunked":
            self._refuse(S3Error(BAD_REQUEST, "The only transfer coding is chunked."))
        self._seen.add(lowered)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Judge the head as a whole, then let uvicorn start the request."""
        has_chunks = b"transfer-encoding" in self._seen
        method, version = self.parser.get_method(), self.parser.get_http_version()
        if method not in _METHODS:
            self._refuse(S3Error(METHOD_NOT_ALLOWED))
        # llhttp takes other protocols' names and more blanks than one (RFC 9112 section 3).
        is_exact = self._request_line == b"%b %b HTTP/%b\r" % (method, self.url, version.encode("ascii"))
        if not is_exact or version not in _VERSIONS or self.parser.should_upgrade():
            self._refuse(S3Error(BAD_REQUEST, "This endpoint speaks HTTP/1.1."))
        if has_chunks and (version == "1.0" or b"content-length" in self._seen):
            self._refuse(S3Error(BAD_REQUEST, "Transfer-Encoding excludes Content-Length and HTTP/1.0."))
        if b"host" not in self._seen:
            self._refuse(S3Error(BAD_REQUEST, "The Host header is missing."))
        if not _TARGET.fullmatch(self.url):
            self._refuse(S3Error(BAD_REQUEST, "The request target must be a path that begins with a slash."))
        if version == "1.0":
            self.expect_100_continue = False  # RFC 9110 section 10.1.1: such a client may not know what 100 means
        self._in_head = False
        self._disarm()
        self._has_chunks = has_chunks
        self._framing_bytes = self._body_bytes = 0
        self._was_held_back = False
        super().on_headers_complete()
        self._answer = _HeadFirst(self.transport)
        self.cycle.transport = self._answer  # type: ignore[assignment]  # it does what the cycle asks of a transport
        if has_chunks or b"content-length" in self._seen:
            self._arm(self._limits.body_timeout_s, self._body_window_ended)

    def on_body(self, body: bytes) -> None:
        """Hold a piece of the body; uvicorn's own mark of 64 KiB would stop the socket after every read."""
        self._body_bytes += len(body)
        cycle = self.cycle
        if cycle.response_complete:
            return
        if not cycle.body:
            # uvicorn puts an empty bytearray there at the start, and whenever it has given out what was held.
            cycle.body = HeldBody()  # type: ignore[assignment]  # it does what uvicorn asks of a bytearray
        cycle.body += body
        if len(cycle.body) > READ_HIGH_WATER_BYTES:
            self.flow.pause_reading()
            self._was_held_back = True
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        """End the wait for a body."""
        self._disarm()
        self._has_chunks = False
        self._request_line.clear()
        self._has_request_line = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Begin the wait for a further request, or for the end of a connection that was just closed."""
        self._waits_since = self.loop.time()
        if self._answer is not None:
            self._answer.flush()
        super().on_response_complete()
        if self.transport.is_closing():
            self.linger(self._limits.linger_s)

    def timeout_keep_alive_handler(self) -> None:
        """End a connection that asked nothing more."""
        super().timeout_keep_alive_handler()
        self.linger(self._limits.linger_s)

    def linger(self, seconds: float) -> None:
        """End a closed connection when its client has all that it was sent, and `seconds` are over.

        Its own end of TLS is not waited for, since many never send one. The transport itself ends a client that reads
        too slowly: `write_timeout_s` is its limit on closing.
        """
        self._arm(seconds, partial(self._linger_ended, seconds))

    def _linger_ended(self, seconds: float) -> None:
        if self.has_unread_answer:
            self.linger(seconds)
        else:
            self.abort()

    # Refusals

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self._limits.max_head_bytes:
            self._refuse(S3Error(REQUEST_HEADER_SECTION_TOO_LARGE))

    def _refuse(self, error: S3Error) -> None:
        """Refuse from within a parser callback: the parser stops, and uvicorn calls `send_400_response`."""
        self._refusal = error
        raise _Refused

    def _refuse_now(self, error: S3Error) -> None:
        self._refusal = error
        self.send_400_response("")

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words are not S3's
        """Answer what cannot be, or cannot go on as, a request. An answer that has begun is cut instead."""
        if self._is_deaf:
            return
        self._is_deaf = True
        self._disarm()
        running = self._running_cycle()
        if running is not None and running.response_started:
            self.abort()
            return
        self._disconnect_cycle()
        # uvicorn calls this while it handles the parser's error.
        is_method = isinstance(sys.exc_info()[1], HttpParserInvalidMethodError)
        error = self._refusal or S3Error(METHOD_NOT_ALLOWED if is_method else BAD_REQUEST)
        self.transport.write(raw_refusal(error, new_request_id(), is_secure=self.scheme == "https"))
        self.transport.close()
        self.linger(self._limits.linger_s)

    def abort(self) -> None:
        """Reset the connection. The request's task sees a disconnect; what was sent gets no clean end."""
        self._disconnect_cycle()
        held = self.transport.get_extra_info("socket")
        if held is not None and held.fileno() >= 0 and self.has_unread_answer:
            # Else the kernel would keep for minutes what a client that does not read will never take (socket(7)).
            held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        self.transport.abort()

    def _disconnect_cycle(self) -> None:
        running = self._running_cycle()
        if running is not None:
            running.disconnected = True
            running.message_event.set()
            self.flow.resume_writing()

    def _running_cycle(self) -> RequestResponseCycle | None:
        """The request that is being answered now; uvicorn leaves None in `cycle` before the first one."""
        cycle: RequestResponseCycle | None = self.cycle
        return None if cycle is None or cycle.response_complete else cycle

    # Deadlines

    def _arm(self, seconds: float, callback: Callable[[], None]) -> None:
        self._disarm()
        self._deadline = self.loop.call_later(seconds, callback)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _body_window_ended(self) -> None:
        """Look at what the last window brought. A client that was held back, or not yet told to go on, is not late."""
        cycle = self.cycle
        is_awaited = not (cycle.waiting_for_100_continue or self._was_held_back or cycle.response_complete)
        if is_awaited and self._body_bytes < MIN_BODY_BYTES_PER_S * self._limits.body_timeout_s:
            self._refuse_now(S3Error(REQUEST_TIMEOUT))
            return
        self._body_bytes = 0
        self._was_held_back = self.flow.read_paused
        self._arm(self._limits.body_timeout_s, self._body_window_ended)

    def pause_writing(self) -> None:
        """Begin the wait for a client that leaves much unread."""
        super().pause_writing()
        self._end_write_stall()
        self._write_deadline = self.loop.call_later(self._limits.write_timeout_s, self.abort)

    def resume_writing(self) -> None:
        """End that wait."""
        self._end_write_stall()
        super().resume_writing()

    def _end_write_stall(self) -> None:
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None


def _unacknowledged_bytes(transport: asyncio.Transport) -> int:
    """Bytes that the kernel holds until the peer has them (SIOCOUTQ, tcp(7)); 0 where it does not tell."""
    held = transport.get_extra_info("socket")
    if held is None or held.fileno() < 0:
        return 0
    try:
        return int.from_bytes(fcntl.ioctl(held.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    except OSError:
        return 0


def config_of(app: ASGIApp, *, lifespan: Literal["on", "off"]) -> Config:
    """How uvicorn is to run an application behind `S3Protocol`."""
    config = Config(
        app,
        http=S3Protocol,
        ws="none",
        lifespan=lifespan,
        interface="asgi3",
        log_config=None,
        access_log=False,
        # X-Forwarded-* is a claim of the peer and changes nothing here (HOSTILE.md H44).
        proxy_headers=False,
        server_header=False,
        date_header=False,
    )
    config.load()
    return config
