"""Reads of one object: its head comes with opening it, what is read on from there comes through one long answer.

Every length and every span that the backend states is compared with what was asked for. Whether the bytes are the right
ones only opening them tells.
"""

import asyncio
import re
from dataclasses import dataclass
from typing import Final

import urllib3

from storage.blobs.s3_backend import LEAST_RATE_BYTES_S, Answer, Backend, Call, refusal
from storage.blobs.s3_wire import Stream
from storage.errors import BlobMissing, BlobReadFailed, StorageError, StorageUnavailable

HEAD_BYTES: Final = 288 * 1024
"""Bytes that come with opening a blob: a small one whole, of others what proves the header, and the first slices."""

FIRST_STREAM_BYTES: Final = 8 * 1024 * 1024
MOST_STREAM_BYTES: Final = 64 * 1024 * 1024
"""Bytes asked for at once by who reads on; each time four times as many, since whoever stops wastes a connection."""

_MISSING_PAUSES_S: Final = (0.05, 0.2)
"""A store that is consistent only in a while may not yet know what it has acknowledged."""
_LIES: Final = 2
"""Answers that cannot be right before a read fails."""
_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})", re.ASCII)
_NOTHING_THERE: Final = re.compile(r"bytes \*/0", re.ASCII)
_OK, _PARTIAL, _NOT_FOUND, _NO_SUCH_RANGE = 200, 206, 404, 416


@dataclass(slots=True)
class _Stream:
    """The unread rest of an answer: half-open span of the object."""

    body: Stream
    offset: int
    end: int

    def close(self) -> None:
        self.body.close()


class _Lied(Exception):
    """The answer cannot be right; its text says why."""


class S3BlobReader:
    """An object that was there when it was opened. Made by `open_reader`."""

    def __init__(self, backend: Backend, name: str, sealed_size: int, head: bytes) -> None:
        self._backend = backend
        self._name = name
        self._sealed_size = sealed_size
        self._head = head
        self._stream: _Stream | None = None
        self._next = -1
        self._stream_bytes = FIRST_STREAM_BYTES

    @property
    def sealed_size(self) -> int:
        """Bytes at rest, as the backend tells it."""
        return self._sealed_size

    def read_at_hand(self, offset: int, length: int) -> memoryview | None:
        """Return that span if it came with opening the blob."""
        is_here = offset >= 0 and 0 < length <= len(self._head) - offset
        return memoryview(self._head)[offset : offset + length] if is_here else None

    async def read(self, offset: int, length: int) -> bytes:
        """Return exactly that span.

        Raises:
            BlobReadFailed: it lies outside, or the backend gave other lengths or spans than it was asked for.
            BlobMissing: the blob was deleted meanwhile.
            StorageUnavailable: the backend cannot be used.
        """
        if offset < 0 or length < 0 or offset + length > self._sealed_size:
            raise BlobReadFailed("the span lies outside the blob")
        if offset + length <= len(self._head):
            return self._head[offset : offset + length]
        for is_last in [False] * (_LIES - 1) + [True]:
            try:
                return await self._read(offset, length)
            except _Lied as lie:
                if is_last:
                    raise BlobReadFailed(f"the backend {lie}") from lie
        raise AssertionError

    async def _read(self, offset: int, length: int) -> bytes:
        stream, self._stream = self._stream, None
        if stream is not None and (stream.offset != offset or stream.end - offset < length):
            stream.close()
            stream = None
        failure: Exception = StorageUnavailable("the backend gave nothing")
        for _ in range(self._backend.target.tries):
            if stream is None:
                stream = await self._begin(offset, length)
            try:
                data = await self._take(stream, length)
            except (urllib3.exceptions.HTTPError, OSError, TimeoutError) as error:
                # A stream that stood still while the client did, or a connection that broke: from here on again.
                failure = error
                stream = None
                continue
            if stream.offset < stream.end:
                self._keep(stream)
            self._next = offset + length
            return data
        raise StorageUnavailable(f"the backend broke off while reading a blob: {type(failure).__name__}") from failure

    def _keep(self, stream: _Stream) -> None:
        if self._stream is not None:  # two reads at once
            self._stream.close()
        self._stream = stream

    async def _begin(self, offset: int, length: int) -> _Stream:
        """Ask for a span: exactly this one at first, and far more once one span follows another."""
        end = offset + length
        if offset == self._next or offset < len(self._head):
            end = max(end, min(self._sealed_size, offset + self._stream_bytes))
            self._stream_bytes = min(4 * self._stream_bytes, MOST_STREAM_BYTES)
        answer = await _ranged(self._backend, self._name, offset, end)
        if answer.stream is None:
            raise BlobMissing("a blob is missing") if answer.status == _NOT_FOUND else _unfit(answer)
        try:
            _check_span(answer, offset, end, self._sealed_size)
        except _Lied:
            answer.stream.close()
            raise
        return _Stream(answer.stream, offset, end)

    async def _take(self, stream: _Stream, length: int) -> bytes:
        limit_s = self._backend.target.timeout_s + length / LEAST_RATE_BYTES_S
        try:
            data = await self._backend.run(
                stream.body.read_exactly, length, limit_s=limit_s, abort=stream.body.turn.abort
            )
        except BaseException:
            stream.close()
            raise
        stream.offset += length
        if stream.offset == stream.end:
            stream.body.release()
        return data

    async def close(self) -> None:
        """Let the stream go."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()


async def open_reader(backend: Backend, name: str) -> S3BlobReader:
    """Open an object with its head.

    Raises: BlobMissing, BlobReadFailed, StorageUnavailable.
    """
    lie: _Lied | None = None
    for pause in (*_MISSING_PAUSES_S, None):
        answer = await _ranged(backend, name, 0, HEAD_BYTES)
        if answer.status == _NOT_FOUND and answer.code in ("", "NoSuchKey", "NoSuchVersion"):
            if pause is None:
                raise BlobMissing("a blob is missing")
        elif answer.status == _NO_SUCH_RANGE and await _is_empty(backend, name, answer):
            return S3BlobReader(backend, name, 0, b"")
        else:
            try:
                return await _opened(backend, name, answer)
            except _Lied as error:
                lie = error
        if pause is not None:
            await asyncio.sleep(pause)
    raise BlobReadFailed(f"the backend {lie}") from lie


async def _opened(backend: Backend, name: str, answer: Answer) -> S3BlobReader:
    if answer.stream is None:
        raise _unfit(answer)
    try:
        size = _stated_size(answer)
        end = min(HEAD_BYTES, size)
        _check_span(answer, 0, end, size)
        reader = S3BlobReader(backend, name, size, b"")
        reader._head = await reader._take(_Stream(answer.stream, 0, end), end)  # noqa: SLF001 - of this module
    except _Lied:
        answer.stream.close()
        raise
    except (urllib3.exceptions.HTTPError, OSError, TimeoutError) as error:
        raise _Lied(f"broke off ({type(error).__name__})") from error
    return reader


async def _ranged(backend: Backend, name: str, offset: int, end: int) -> Answer:
    call = Call("GET", name, headers={"Range": f"bytes={offset}-{end - 1}"})
    return await backend.ask(call, "reading a blob", stream=True)


async def _is_empty(backend: Backend, name: str, answer: Answer) -> bool:
    """Whether the object has no bytes, so that no range of it can be had."""
    if _NOTHING_THERE.fullmatch(answer.headers.get("content-range", "")):
        return True
    asked = (await backend.ask(Call("HEAD", name), "looking for a blob")).expect("looking for a blob", _OK)
    return asked.headers.get("content-length") == "0"


def _unfit(answer: Answer) -> StorageError | _Lied:
    """What an answer other than 206 means: no refusal is a 200, which lacks what was asked for."""
    return (
        _Lied("answered a span with the whole, or with an error inside")
        if answer.status == _OK
        else refusal(answer, "reading a blob")
    )


def _stated_size(answer: Answer) -> int:
    found = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
    if found is None:
        raise _Lied("gave a span without saying which")
    return int(found[3])


def _check_span(answer: Answer, offset: int, end: int, size: int) -> None:
    """See that the answer is that half-open span of an object of that size, as it rests. Raises: _Lied."""
    if answer.headers.get("content-encoding", "identity") not in ("identity", "aws-chunked", ""):
        raise _Lied("sent the bytes in another encoding than they rest in")
    if answer.headers.get("content-range") != f"bytes {offset}-{end - 1}/{size}":
        raise _Lied("gave another span than it was asked for, or of another size")
    if answer.headers.get("content-length") != str(end - offset):
        raise _Lied("gave another length than that of the span")
