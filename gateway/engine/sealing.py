"""Plaintext in, one durable sealed blob out: seals on the event loop, hashes and writes beside it.

DESIGN part 7: sealing in slices on the loop and hashing whole batches in the pool keeps one hop per MiB. Nothing is
compressed, nothing plain leaves memory. A blob is durable before its description of a row is returned.
"""

import asyncio
import logging
from collections.abc import AsyncIterable, AsyncIterator, Callable
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import dataclass

from gateway.s3.checksums import PayloadDigests
from gateway.s3.types import Buffer
from keys.datakey import DataKey
from keys.errors import KeysError
from storage.blobs.base import BlobStore
from storage.budget import StreamBudget
from storage.catalogue.records import Blob, BlobRole
from storage.errors import CatalogueConflict, StorageError
from storage.sealed.description import Description
from storage.sealed.header import BlobKind, FixedHeader
from storage.sealed.stream import Sealer, SealReceipt
from storage.seams import reach

_LOG = logging.getLogger(__name__)

SEAL_SLICE_SIZE = 256 * 1024
"""Bytes sealed in one go on the loop: 0.1 to 0.2 ms."""

HASH_BATCH_BYTES = 1024 * 1024
"""Bytes hashed in one job of the pool, where few streams are open."""

HASH_BUDGET_BYTES = 8 * 1024 * 1024
"""Bytes that wait to be hashed in all streams together."""

INLINE_HASH_SIZE = 64 * 1024
"""Up to here a hop to the pool costs more than hashing on the loop."""

_KINDS = {
    BlobRole.OBJECT: BlobKind.OBJECT,
    BlobRole.PART: BlobKind.PART,
    BlobRole.MANIFEST: BlobKind.MANIFEST,
    BlobRole.LINK: BlobKind.LINK,
    BlobRole.ENVELOPES: BlobKind.ENVELOPES,
}

_ROWS_WITH_WRAPS = frozenset({BlobRole.PART, BlobRole.MANIFEST, BlobRole.LINK})
"""Blobs whose wrap stands in their own row; an object's stands in its content's, that of envelopes in the slot."""


def blob_kind(role: BlobRole) -> BlobKind:
    """The kind in the header of a blob of that role."""
    return _KINDS[role]


@dataclass(frozen=True, slots=True)
class BlobPlan:
    """What is known of a blob before its first byte."""

    blob_id: bytes
    role: BlobRole
    data_key: DataKey
    slot: bytes
    """Fills the key slot (`gateway.engine.custody`)."""
    part_number: int = 0


class BlobWriter:
    """Seals and stores blobs of one realm."""

    def __init__(
        self,
        *,
        blobs: BlobStore,
        realm_id: bytes,
        description_key: bytes,
        hashing_pool: Executor,
        inline_max_bytes: int,
    ) -> None:
        self._blobs = blobs
        self._realm_id = realm_id
        self._description_key = description_key
        self._hashing_pool = hashing_pool
        self._inline_max_bytes = inline_max_bytes
        self._stopped: KeysError | StorageError | None = None
        self._paused: KeysError | None = None
        self._budget = StreamBudget(HASH_BUDGET_BYTES, least_bytes=INLINE_HASH_SIZE, most_bytes=HASH_BATCH_BYTES)

    async def write(
        self,
        plan: BlobPlan,
        source: AsyncIterable[Buffer],
        digests: PayloadDigests,
        finish: Callable[[int], Description],
        *,
        may_be_inline: bool,
    ) -> Blob:
        """Seal `source` into a blob and return its row.

        `finish(plaintext_size)` is called once the source has ended and every digest is complete: it verifies them
        (raising refuses the blob: nothing stays behind) and describes it. A small blob that may be inline is not
        stored; its row carries the bytes.

        Raises:
            S3Error: from `source` or `finish`.
            StorageError: as by `BlobStore.put`.
        """
        header = FixedHeader(blob_kind(plan.role), self._realm_id, plan.blob_id, len(plan.slot))
        hasher = _Hasher(digests, self._hashing_pool, self._budget)
        sealing = _Sealing(Sealer(header, plan.slot, plan.data_key.material()), hasher)
        sealed = sealing.run(source, lambda size: (finish(size), self._description_key))
        with self._budget.stream():
            inline, head = await self._gather(sealing, sealed) if may_be_inline else (None, [])
            if inline is None:
                stored = await self._blobs.put(plan.blob_id, _with_head(head, sealed))
                reach("put.blob_durable")
                assert stored == sealing.receipt.sealed_size, "the store counted other bytes than were sealed"
        receipt = sealing.receipt
        return Blob(
            blob_id=plan.blob_id,
            role=plan.role,
            plaintext_size=receipt.plaintext_size,
            sealed_size=receipt.sealed_size,
            slot_size=receipt.slot_size,
            salt=receipt.salt,
            commitment=receipt.commitment,
            footer_hash=receipt.footer_hash,
            wrapped_key=plan.slot if plan.role in _ROWS_WITH_WRAPS else b"",
            part_number=plan.part_number,
            inline=inline,
        )

    def stop_publishing(self, reason: KeysError | StorageError) -> None:
        """Let nothing more be published: it would not open, or be lost with the catalogue."""
        self._stopped = self._stopped or reason

    def pause_publishing(self, reason: KeysError | None) -> None:
        """Let nothing be published for that reason; None lets it go on."""
        self._paused = reason

    @asynccontextmanager
    async def publishing(self, blob: Blob) -> AsyncIterator[None]:
        """Stand around the command that publishes a blob, and take the blob away again where that is refused.

        A refusal is final, and nobody else knows the id. Left to the sweep, the blobs of lost races would fill the
        disk for a day, and enough of them would make it refuse its work.

        Raises: the reason once publishing was stopped, or while it is paused; the blob is left to the sweep.
        """
        reason = self._stopped or self._paused
        if reason is not None:
            raise reason
        try:
            yield
        except CatalogueConflict:
            if blob.inline is None:
                try:
                    await self._blobs.delete(blob.blob_id)
                except StorageError as error:
                    _LOG.warning("a refused blob is left to the sweep: %s", type(error).__name__)
            raise

    async def _gather(self, sealing: "_Sealing", sealed: AsyncIterator[bytes]) -> tuple[bytes | None, list[bytes]]:
        """Give a blob that is small enough to rest in its row, or the head of one that is not."""
        head: list[bytes] = []
        if self._inline_max_bytes > 0:
            async for piece in sealed:
                head.append(piece)
                if sealing.plaintext_size > self._inline_max_bytes:
                    return None, head
            return b"".join(head), []
        return None, head


class _Sealing:
    """One blob on its way: counts, hashes and seals what passes."""

    def __init__(self, sealer: Sealer, hasher: "_Hasher") -> None:
        self._sealer = sealer
        self._hasher = hasher
        self.plaintext_size = 0

    @property
    def receipt(self) -> SealReceipt:
        """What the sealer made; there once `run` has ended."""
        return self._sealer.receipt

    async def run(
        self, source: AsyncIterable[Buffer], finish: Callable[[int], tuple[Description, bytes]]
    ) -> AsyncIterator[bytes]:
        """Give the sealed bytes of `source`; `finish(size)` gives the description and the key to seal it with."""
        async for piece in source:
            await self._hasher.add(piece)
            view = memoryview(piece)
            self.plaintext_size += view.nbytes
            for start in range(0, len(view), SEAL_SLICE_SIZE):
                yield self._sealer.update(view[start : start + SEAL_SLICE_SIZE])
        await self._hasher.finish()
        reach("put.sealed")
        yield self._sealer.finalize(*finish(self.plaintext_size))


async def _with_head(head: list[bytes], rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    for piece in head:
        yield piece
    async for piece in rest:
        yield piece


class _Hasher:
    """Feeds digests in batches, one job of the pool at a time, in order."""

    def __init__(self, digests: PayloadDigests, pool: Executor, budget: StreamBudget) -> None:
        self._digests = digests
        self._pool = pool
        self._budget = budget
        self._batch: list[Buffer] = []
        self._batch_size = 0
        self._job: asyncio.Future[None] | None = None

    async def add(self, piece: Buffer) -> None:
        """Take a piece; waits while a whole batch is still ahead of it."""
        self._batch.append(piece)
        self._batch_size += len(piece)
        if self._batch_size >= self._budget.piece_bytes:
            await self._start()

    async def finish(self) -> None:
        """Complete the digests."""
        if self._batch_size > INLINE_HASH_SIZE:
            await self._start()
        if self._job is not None:
            await asyncio.shield(self._job)
        self._update(self._batch)

    async def _start(self) -> None:
        if self._job is not None:
            await asyncio.shield(self._job)
        batch, self._batch, self._batch_size = self._batch, [], 0
        self._job = asyncio.get_running_loop().run_in_executor(self._pool, self._update, batch)

    def _update(self, batch: list[Buffer]) -> None:
        for piece in batch:
            self._digests.update(memoryview(piece))
