"""Request bodies: ASGI messages in, decoded pieces of useful size out, with the connection as the only buffer behind.

Plain and aws-chunked bodies meet the same `Body` protocol of `gateway.s3.types`. Nothing is received before somebody
iterates, because the first receive is what makes the server answer `Expect: 100-continue` (RFC 9110 section 10.1.1).
"""

from collections.abc import AsyncIterator, Mapping
from typing import Self

from starlette.types import Receive

from gateway.s3.checksums import trailer_names
from gateway.s3.errors import ENTITY_TOO_LARGE, INCOMPLETE_BODY, INVALID_REQUEST, S3Error
from gateway.s3.request import Headers
from gateway.s3.sigv4 import ChunkedDecoder, ChunkSigner, PayloadMode, decoded_content_length
from gateway.s3.types import Buffer

GATHER_BYTES = 256 * 1024
"""Smaller reads are put together up to this size: one slice of the sealer, one step of the loop."""

MAX_BODY_BYTES = 5 * 1024**3
"""No single request carries more (AWS: 5 GiB for one PUT or part); holds also where no length was declared."""

_MERGE_BYTES = 16 * 1024
"""Smaller pieces are put together as they come, so that a client who sends single bytes costs no object for each."""


class HeldBody:
    """What came of a body and was not asked for yet. uvicorn keeps a bytearray there, which copies each byte twice."""

    __slots__ = ("_pieces", "_size")

    def __init__(self) -> None:
        self._pieces: list[bytes | bytearray] = []
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iadd__(self, piece: bytes) -> Self:
        self._size += len(piece)
        last = self._pieces[-1] if self._pieces else None
        if isinstance(last, bytearray) and len(last) < _MERGE_BYTES:
            last += piece
        else:
            self._pieces.append(piece if len(piece) >= _MERGE_BYTES else bytearray(piece))
        return self

    def __bytes__(self) -> bytes:
        only = self._pieces[0] if len(self._pieces) == 1 else None
        return only if isinstance(only, bytes) else b"".join(self._pieces)


class WireBody:
    """The body as it stands on the wire, after transfer decoding. Can be read once."""

    def __init__(self, receive: Receive, headers: Headers) -> None:
        self._receive = receive
        self.content_length = _content_length(headers)
        self.has_ended = self.content_length == 0
        """Whether nothing of it is left in the connection: read to its end, or there was none."""
        self.is_disconnected = False

    async def pieces(self) -> AsyncIterator[bytes]:
        """Give the body in pieces of at least `GATHER_BYTES`, but for the last.

        Raises:
            S3Error: IncompleteBody where the client left; nobody will read the answer.
        """
        gathered: list[bytes] = []
        size = 0
        while not self.has_ended:
            piece = await self._next()
            size += len(piece)
            gathered.append(piece)
            if size >= GATHER_BYTES:
                yield gathered[0] if len(gathered) == 1 else b"".join(gathered)
                gathered, size = [], 0
        if size:
            yield b"".join(gathered)

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] != "http.request":
            self.is_disconnected = True
            raise S3Error(INCOMPLETE_BODY)
        self.has_ended = not message.get("more_body", False)
        piece: bytes = message.get("body", b"")
        return piece


class PlainBody:
    """A body that is what it is. Implements `gateway.s3.types.Body`."""

    def __init__(self, wire: WireBody) -> None:
        self._wire = wire
        self.received_bytes = 0

    @property
    def decoded_length(self) -> int | None:
        """Content-Length; None for a body that is chunked by HTTP alone."""
        return self._wire.content_length

    @property
    def trailers(self) -> Mapping[str, str]:
        """None: trailers belong to aws-chunked."""
        return {}

    async def __aiter__(self) -> AsyncIterator[Buffer]:
        """Give the bytes. Raises S3Error: IncompleteBody, EntityTooLarge."""
        async for piece in self._wire.pieces():
            self.received_bytes += len(piece)
            if self.received_bytes > MAX_BODY_BYTES:
                raise S3Error(ENTITY_TOO_LARGE)
            yield piece


class ChunkedBody:
    """An aws-chunked body, decoded and, in its signed forms, verified. Implements `gateway.s3.types.Body`."""

    def __init__(self, wire: WireBody, headers: Headers, mode: PayloadMode, signer: ChunkSigner | None) -> None:
        """Raises: S3Error MissingContentLength, MalformedTrailerError, InvalidRequest for what the headers announce."""
        self._wire = wire
        self._length = decoded_content_length(headers)
        self._decoder = ChunkedDecoder(mode, self._length, trailer_names(headers), signer)
        self._trailers: dict[str, str] = {}
        self.received_bytes = 0

    @property
    def decoded_length(self) -> int | None:
        """x-amz-decoded-content-length."""
        return self._length

    @property
    def trailers(self) -> Mapping[str, str]:
        """The trailing headers, once the iteration has ended."""
        return self._trailers

    async def __aiter__(self) -> AsyncIterator[Buffer]:
        """Give the payload. Raises S3Error as `ChunkedDecoder.feed` and `finish`, IncompleteBody, EntityTooLarge."""
        async for piece in self._wire.pieces():
            for payload in self._decoder.feed(piece):
                self.received_bytes += len(payload)
                if self.received_bytes > MAX_BODY_BYTES:
                    raise S3Error(ENTITY_TOO_LARGE)
                yield payload
        self._trailers = self._decoder.finish()


RequestBody = PlainBody | ChunkedBody


def decode_body(wire: WireBody, headers: Headers, mode: PayloadMode, signer: ChunkSigner | None) -> RequestBody:
    """Choose the decoder by what the verified request says of its payload; nothing is read yet.

    Raises: S3Error as `ChunkedBody`.
    """
    return ChunkedBody(wire, headers, mode, signer) if mode.is_streaming else PlainBody(wire)


def refuse_streaming(mode: PayloadMode) -> None:
    """Refuse an aws-chunked form on an operation that takes no body. Raises: S3Error InvalidRequest."""
    if mode.is_streaming:
        raise S3Error(INVALID_REQUEST, "This operation takes no streaming payload.")


def _content_length(headers: Headers) -> int | None:
    """Bytes on the wire: 0 without a body, None for chunked transfer. The server refused what is no number."""
    if "transfer-encoding" in headers:
        return None
    sent = headers.get("content-length")
    return int(sent) if sent and sent.isdecimal() else 0
