"""Decoder of the aws-chunked framing, unsigned and signed, with trailers: bytes in, payload slices out, no I/O.

Source: AWS "Signature Calculations for the Authorization Header: Transferring Payload in Multiple Chunks" and
"... Including Trailing Headers". Payload of a signed chunk is handed out before its signature is known to be right,
because a chunk may be 256 MiB; so whoever consumes it must commit nothing before `finish()` has returned.
"""

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, NoReturn

from gateway.s3.errors import (
    INCOMPLETE_BODY,
    INVALID_CHUNK_SIZE,
    MALFORMED_TRAILER,
    MISSING_CONTENT_LENGTH,
    SIGNATURE_DOES_NOT_MATCH,
    S3Error,
)
from gateway.s3.request import Headers
from gateway.s3.sigv4 import canonical
from gateway.s3.sigv4.payload import PayloadMode

DECODED_LENGTH_HEADER: Final = "x-amz-decoded-content-length"
TRAILER_SIGNATURE: Final = "x-amz-trailer-signature"

_LENGTH: Final = re.compile(r"[0-9]{1,19}")
_UNSIGNED_CHUNK: Final = re.compile(rb"([0-9a-fA-F]{1,16})()")
_SIGNED_CHUNK: Final = re.compile(rb"([0-9a-fA-F]{1,16});chunk-signature=([^;]*)")
_TRAILER: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\x20-\x7e\t]*)")
_CRLF: Final = b"\r\n"


@dataclass(frozen=True, slots=True)
class ChunkedLimits:
    """Bounds on what a body may make the decoder hold or refuse, in bytes."""

    chunk_line_bytes: int = 128
    """16 hex digits, `;chunk-signature=` and 64 hex digits are 97."""
    trailer_line_bytes: int = 1024
    smallest_chunk_bytes: int = 8192
    """Every chunk but the last holds at least so much. AWS keeps this rule for the unsigned form too, so no client
    that works with AWS breaks it."""


@dataclass(frozen=True, slots=True)
class ChunkSigner:
    """What the signatures of chunks are computed with: the verified request's key, scope, time and seed."""

    signing_key: bytes
    scope: canonical.Scope
    timestamp: str
    seed_signature: bytes

    def __repr__(self) -> str:
        # The key signs anything for a day: it must not reach a log.
        return f"ChunkSigner({self.scope})"

    def chunk_signature(self, previous: bytes, sha256_hex: str) -> bytes:
        """Signature of a chunk with that hash, after the one before it (the seed before the first)."""
        return self._sign("PAYLOAD", previous, f"{canonical.EMPTY_SHA256}\n{sha256_hex}")

    def trailer_signature(self, previous: bytes, trailers: bytes) -> bytes:
        """Signature of the `name:value` lines, each ended by LF, after that of the last chunk."""
        return self._sign("TRAILER", previous, hashlib.sha256(trailers).hexdigest())

    def _sign(self, what: str, previous: bytes, tail: str) -> bytes:
        text = f"{canonical.ALGORITHM}-{what}\n{self.timestamp}\n{self.scope}\n{previous.decode('ascii')}\n{tail}"
        return canonical.signature(self.signing_key, text.encode())


class _State(Enum):
    CHUNK_LINE = auto()
    CHUNK_END = auto()
    TRAILER = auto()
    DONE = auto()


def decoded_content_length(headers: Headers) -> int | None:
    """Read `x-amz-decoded-content-length`, in bytes; None where it is absent.

    Raises:
        S3Error: MissingContentLength where it is not a whole number, or sent twice.
    """
    values = headers.get_all(DECODED_LENGTH_HEADER)
    if not values:
        return None
    if len(values) > 1 or not _LENGTH.fullmatch(values[0]):
        raise S3Error(MISSING_CONTENT_LENGTH, f"{DECODED_LENGTH_HEADER} must be one whole number.")
    return int(values[0])


class ChunkedDecoder:
    """Push decoder of one body: `feed()` every read, then `finish()` at its end. A failed decoder stays failed.

    Slices handed out share memory with what was fed, so the caller may not reuse that buffer before it is done with
    them. Besides, at most one line of the framing is held.
    """

    __slots__ = (
        "_body_left",
        "_chunk_left",
        "_chunk_number",
        "_chunk_signature",
        "_chunk_size",
        "_error",
        "_held",
        "_limits",
        "_mode",
        "_previous",
        "_sha256",
        "_signer",
        "_state",
        "_trailer_names",
        "_trailer_signature",
        "_trailers",
    )

    def __init__(
        self,
        mode: PayloadMode,
        decoded_length: int | None,
        trailer_names: Sequence[str] = (),
        signer: ChunkSigner | None = None,
        limits: ChunkedLimits = ChunkedLimits(),
    ) -> None:
        """Take the declared length of the payload (not of the framed body), and the names in `x-amz-trailer`.

        Raises:
            S3Error: MissingContentLength where no length was declared; MalformedTrailerError where trailers are
                announced to a form that has none.
        """
        assert mode.is_streaming
        assert mode.is_signed_streaming == (signer is not None), "signed forms, and only they, need the signer"
        if decoded_length is None:
            raise S3Error(MISSING_CONTENT_LENGTH, f"You must provide the {DECODED_LENGTH_HEADER} HTTP header.")
        if trailer_names and not mode.has_trailer:
            raise S3Error(MALFORMED_TRAILER, "x-amz-content-sha256 announces no trailer, x-amz-trailer does.")
        self._mode = mode
        self._limits = limits
        self._signer = signer
        self._previous = signer.seed_signature if signer else b""
        self._trailer_names = tuple(name.lower() for name in trailer_names)
        self._body_left = decoded_length
        self._chunk_left = 0
        self._chunk_size: int | None = None
        self._chunk_number = 0
        self._chunk_signature = b""
        self._sha256 = hashlib.sha256()
        self._held = b""
        self._trailers: dict[str, str] = {}
        self._trailer_signature: bytes | None = None
        self._state = _State.CHUNK_LINE
        self._error: S3Error | None = None

    def feed(self, data: bytes | memoryview) -> list[memoryview]:
        """Take the next bytes of the body and give the payload among them, in order.

        Raises:
            S3Error: IncompleteBody for broken framing, a length other than declared, or bytes after the end;
                InvalidChunkSizeError; SignatureDoesNotMatch; MalformedTrailerError.
        """
        if self._error is not None:
            raise self._error
        try:
            return self._feed(memoryview(data))
        except S3Error as error:
            self._error = error
            raise

    def finish(self) -> dict[str, str]:
        """Say that the body has ended; gives the trailers by lower-cased name.

        Raises:
            S3Error: IncompleteBody where the end had not come, or the error that `feed()` raised.
        """
        if self._error is not None:
            raise self._error
        if self._state is not _State.DONE:
            self._error = S3Error(INCOMPLETE_BODY, "The request body terminated unexpectedly")
            raise self._error
        return dict(self._trailers)

    def _feed(self, view: memoryview) -> list[memoryview]:
        payload: list[memoryview] = []
        position, end = 0, len(view)
        while position < end:
            if self._chunk_left:
                piece = view[position : position + self._chunk_left]
                position += len(piece)
                self._take(piece)
                payload.append(piece)
                continue
            line, position = self._line(view, position)
            if line is not None:
                self._dispatch(line)
        return payload

    def _take(self, piece: memoryview) -> None:
        """Count, and in the signed form hash, payload of the present chunk; its signature is due at its end."""
        self._chunk_left -= len(piece)
        if self._signer is not None:
            self._sha256.update(piece)
        if not self._chunk_left:
            self._check_chunk_signature()
            self._state = _State.CHUNK_END

    def _line(self, view: memoryview, position: int) -> tuple[bytes | None, int]:
        """Give the next line without its CRLF and the position behind it, or hold what there is of one."""
        limit = self._line_limit()
        held = self._held
        window = held + view[position : position + limit + 2 - len(held)]
        cut = window.find(_CRLF)
        if cut >= 0:
            self._held = b""
            return window[:cut], position + cut + 2 - len(held)
        if len(window) == limit + 2:
            self._refuse_framing()
        self._held = window
        return None, len(view)

    def _line_limit(self) -> int:
        if self._state is _State.CHUNK_LINE:
            return self._limits.chunk_line_bytes
        if self._state is _State.TRAILER:
            return self._limits.trailer_line_bytes
        if self._state is _State.DONE:
            self._refuse_framing()
        return 0

    def _dispatch(self, line: bytes) -> None:
        if self._state is _State.CHUNK_LINE:
            self._chunk_line(line)
        elif self._state is _State.TRAILER:
            self._trailer_line(line)
        else:
            # CHUNK_END: a limit of 0 bytes let nothing but an empty line through.
            self._state = _State.CHUNK_LINE

    def _chunk_line(self, line: bytes) -> None:
        match = (_SIGNED_CHUNK if self._signer else _UNSIGNED_CHUNK).fullmatch(line)
        if match is None:
            self._refuse_framing()
        size = int(match[1], 16)
        self._chunk_number += 1
        if size and self._chunk_size is not None and self._chunk_size < self._limits.smallest_chunk_bytes:
            # The chunk before this one was small and not the last. AWS names this chunk and that size.
            raise S3Error(
                INVALID_CHUNK_SIZE,
                fields={"Chunk": str(self._chunk_number), "BadChunkSize": str(self._chunk_size)},
            )
        if size > self._body_left or (not size and self._body_left):
            self._refuse_framing()
        self._body_left -= size
        self._chunk_size = self._chunk_left = size
        self._chunk_signature = match[2]
        if self._signer is not None:
            self._sha256 = hashlib.sha256()
        if not size:
            self._check_chunk_signature()
            self._state = _State.TRAILER

    def _check_chunk_signature(self) -> None:
        if self._signer is not None:
            expected = self._signer.chunk_signature(self._previous, self._sha256.hexdigest())
            if not hmac.compare_digest(expected, self._chunk_signature):
                raise S3Error(SIGNATURE_DOES_NOT_MATCH)
            self._previous = expected

    def _trailer_line(self, line: bytes) -> None:
        if not line:
            self._end_of_trailers()
            return
        # minio-go ends a trailer with LF before its CRLF, and AWS takes it: one such LF is no part of the value.
        match = _TRAILER.fullmatch(line.removesuffix(b"\n"))
        if match is None or self._trailer_signature is not None:
            self._refuse_framing()
        name, value = match[1].decode("ascii").lower(), match[2].strip(b" \t")
        if name == TRAILER_SIGNATURE and self._signer is not None and self._mode.has_trailer:
            self._trailer_signature = value
        elif name in self._trailer_names and name not in self._trailers:
            self._trailers[name] = value.decode("ascii")
        else:
            self._refuse_framing()

    def _end_of_trailers(self) -> None:
        if self._trailers.keys() != set(self._trailer_names):
            raise S3Error(MALFORMED_TRAILER)
        if self._signer is not None and self._mode.has_trailer:
            if self._trailer_signature is None:
                raise S3Error(MALFORMED_TRAILER, f"The body lacks {TRAILER_SIGNATURE}.")
            signed = "".join(f"{name}:{value}\n" for name, value in self._trailers.items()).encode()
            expected = self._signer.trailer_signature(self._previous, signed)
            if not hmac.compare_digest(expected, self._trailer_signature):
                raise S3Error(SIGNATURE_DOES_NOT_MATCH)
        self._state = _State.DONE

    def _refuse_framing(self) -> NoReturn:
        raise S3Error(MALFORMED_TRAILER if self._in_trailer() else INCOMPLETE_BODY)

    def _in_trailer(self) -> bool:
        return self._state is _State.TRAILER and self._mode.has_trailer
