"""One sealed content in, verified plaintext out. No byte leaves here before its chunk has authenticated.

The first piece is read, opened and held before `open_span` returns, so that damage which can be known is known before
a status line goes out (docs/FORMAT.md section 8; DESIGN part 2).
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from gateway.engine.custody import NOTHING_BESIDES, Custody, Unlock
from gateway.engine.sealing import blob_kind
from keys.datakey import DataKey
from keys.errors import UnwrapFailed
from storage.blobs.base import BlobReader, BlobStore, Buffer
from storage.blobs.memory import MemoryBlobReader
from storage.budget import StreamBudget
from storage.catalogue.records import Blob, Content
from storage.errors import BlobError, Damaged, SealedDamaged
from storage.sealed.header import FixedHeader
from storage.sealed.layout import SEALED_CHUNK_SIZE, RangePlan
from storage.sealed.stream import Expectation, Opener, RangeOpener, WholeOpener

MIN_READ_BYTES = 128 * 1024
"""No read is smaller, however many streams share the budget: a hop to the pool costs as much as opening 64 KiB."""

SLICE_BYTES = 16 * SEALED_CHUNK_SIZE
"""Sealed bytes opened in one go on the loop: 256 KiB of plaintext in about 0.1 ms."""

TURN_BYTES = 8 * 1024 * 1024
"""Sealed bytes that all streams together open in one turn of the loop while they need not wait: about 8 ms.

A turn with many small requests takes several times as long, so that less would starve the streams.
"""

MIN_TURN_BYTES = 1024 * 1024
"""No stream gets less of a turn."""


@dataclass(frozen=True, slots=True)
class _BlobSpan:
    """A half-open span of one blob's plaintext."""

    blob: Blob
    offset: int
    length: int


def plan_spans(blobs: tuple[Blob, ...], offset: int, length: int) -> list[_BlobSpan]:
    """Cut a span of the object (half-open, within it) into spans of its blobs, in order.

    A span of length 0 is that of an empty blob, if one stands there: its final chunk still proves that nothing is
    missing.
    """
    spans = []
    begin = 0
    for blob in blobs:
        first = max(offset, begin)
        last = min(offset + length, begin + blob.plaintext_size)
        stands_there = not length and not blob.plaintext_size and begin == offset
        if first < last or stands_there:
            spans.append(_BlobSpan(blob, first - begin, last - first))
        begin += blob.plaintext_size
    return spans


class OpenedSpan:
    """The pieces of a span, the first of which is already here. Close it if it is not read to its end."""

    def __init__(self, first: Buffer, rest: AsyncGenerator[Buffer]) -> None:
        self._first = first
        self._rest = rest

    @classmethod
    async def of(cls, pieces: AsyncGenerator[Buffer]) -> Self:
        """Wait for the first piece, so that what fails at once fails before an answer begins. Raises: as the pieces."""
        try:
            return cls(await anext(pieces, b""), pieces)
        except BaseException:  # cancelled as well: what the pieces hold is released here or never
            await pieces.aclose()
            raise

    def __aiter__(self) -> "OpenedSpan":
        return self

    async def __anext__(self) -> Buffer:
        if self._first:
            first, self._first = self._first, b""
            return first
        return await anext(self._rest)

    async def aclose(self) -> None:
        """Release what the read holds."""
        self._first = b""
        await self._rest.aclose()


@contextmanager
def _naming(blob: Blob) -> Iterator[None]:
    """Let a failure say which blob it is about: its random id, which is its file's name too and tells nothing else."""
    try:
        yield
    except (Damaged, BlobError, UnwrapFailed) as error:
        place = "inline blob" if blob.inline is not None else "blob"
        raise type(error)(f"{place} {blob.blob_id.hex()}: {error}") from error


class BlobOpener:
    """Reads and opens blobs of one realm."""

    def __init__(
        self,
        *,
        blobs: BlobStore,
        custody: Custody,
        realm_id: bytes,
        read_ahead_bytes: int,
        read_budget_bytes: int,
    ) -> None:
        """`read_budget_bytes` is shared by all open spans: the more there are, the smaller their reads."""
        self._blobs = blobs
        self._custody = custody
        self._realm_id = realm_id
        self._turns = StreamBudget(TURN_BYTES, least_bytes=MIN_TURN_BYTES, most_bytes=TURN_BYTES)
        self._budget = StreamBudget(
            read_budget_bytes, least_bytes=min(MIN_READ_BYTES, read_ahead_bytes), most_bytes=read_ahead_bytes
        )

    async def open_span(
        self, content: Content, size: int, offset: int, length: int, unlock: Unlock = NOTHING_BESIDES
    ) -> OpenedSpan:
        """Give `length` bytes of plaintext from `offset`; the first piece is verified when this returns.

        `size` is the version's.

        Raises (here, and later from the iterator):
            SealedDamaged, BlobMissing, BlobReadFailed: what is at rest is not what the rows say.
            KeysError: the key cannot be had or does not open.
        """
        payload_blobs = content.payload_blobs
        if sum(blob.plaintext_size for blob in payload_blobs) != size or not payload_blobs:
            raise SealedDamaged("the sizes of a version and of its blobs differ")
        return await OpenedSpan.of(self._spans(content, plan_spans(payload_blobs, offset, length), unlock))

    async def _spans(self, content: Content, spans: list[_BlobSpan], unlock: Unlock) -> AsyncGenerator[Buffer]:
        content_key: DataKey | None = None
        for span in spans:
            if content_key is None:
                # Once for the whole stream: one that takes hours must not ask again with a wrap that was moved since.
                with _naming(span.blob):
                    content_key = await self._custody.open_content_key(
                        content.bucket_id, content.content_id, content.wrapped_key, unlock
                    )
            async with contextlib.aclosing(self._blob_span(content, span, content_key)) as pieces:
                async for piece in pieces:
                    yield piece

    async def _blob_span(self, content: Content, span: _BlobSpan, content_key: DataKey) -> AsyncGenerator[Buffer]:
        blob = span.blob
        with _naming(blob):
            data_key = self._custody.blob_key(content_key, content, blob)
            header = FixedHeader(blob_kind(blob.role), self._realm_id, blob.blob_id, blob.slot_size)
            expectation = Expectation(
                plaintext_size=blob.plaintext_size,
                sealed_size=blob.sealed_size,
                salt=blob.salt,
                commitment=blob.commitment,
                footer_hash=blob.footer_hash,
            )
            opener = Opener(header, expectation, data_key.material())
            reader = await self._reader(blob)
            try:
                opener.check_stored_size(reader.sealed_size)
                opened: RangeOpener | WholeOpener
                if span.length == blob.plaintext_size:
                    opened, begin, end = opener.open_whole(), 0, blob.sealed_size
                    chunks_begin = opener.layout.prefix_size
                else:
                    plan = RangePlan(blob.plaintext_size, span.offset, span.length)
                    prefix_size = opener.layout.prefix_size
                    opener.check_prefix(reader.read_at_hand(0, prefix_size) or await reader.read(0, prefix_size))
                    opened, begin = opener.open_range(plan), plan.blob_offset(blob.slot_size)
                    chunks_begin, end = begin, begin + plan.sealed_length
                async with contextlib.aclosing(self._sealed(reader, begin, end, chunks_begin)) as sealed_pieces:
                    async for sealed in sealed_pieces:
                        plaintext = opened.update(sealed)
                        if plaintext:
                            yield plaintext
                plaintext = opened.finalize()
                if plaintext:
                    yield plaintext
            finally:
                await reader.close()

    async def _reader(self, blob: Blob) -> BlobReader:
        if blob.inline is not None:
            return MemoryBlobReader(blob.inline)
        return await self._blobs.open(blob.blob_id)

    async def _sealed(self, reader: BlobReader, begin: int, end: int, chunks_begin: int) -> AsyncGenerator[Buffer]:
        """Give the sealed bytes of a span in slices, without a hop to the pool while they are at hand.

        Those slices end with a chunk, counted from `chunks_begin`, so that none is pieced together.

        Where the store has to be waited for, it is asked for a piece of the budget's size, and for the next one while
        that one is worked on.
        """
        ahead: asyncio.Task[bytes] | None = None
        turn_bytes = 0
        with self._budget.stream(), self._turns.stream():
            try:
                while begin < end:
                    slice_size = min(SLICE_BYTES - (begin - chunks_begin) % SEALED_CHUNK_SIZE, end - begin)
                    if ahead is None and (slice_ := reader.read_at_hand(begin, slice_size)):
                        begin += len(slice_)
                        turn_bytes += len(slice_)
                        yield slice_
                        if turn_bytes >= self._turns.piece_bytes:
                            turn_bytes = 0
                            await asyncio.sleep(0)
                        continue
                    piece = memoryview(await (ahead or self._ask(reader, begin, end)))
                    begin += len(piece)
                    turn_bytes, ahead = 0, None
                    if begin < end and not reader.read_at_hand(begin, min(SLICE_BYTES, end - begin)):
                        ahead = self._ask(reader, begin, end)
                    for start in range(0, len(piece), SLICE_BYTES):
                        yield piece[start : start + SLICE_BYTES]
            finally:
                if ahead is not None:
                    ahead.cancel()
                    with contextlib.suppress(asyncio.CancelledError, Exception):  # its outcome is of no use any more
                        await ahead

    def _ask(self, reader: BlobReader, begin: int, end: int) -> "asyncio.Task[bytes]":
        """Begin to read a piece of the budget's size."""
        return asyncio.ensure_future(reader.read(begin, min(self._budget.piece_bytes, end - begin)))
