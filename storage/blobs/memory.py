"""The reference blob store: a dictionary. It defines what the contract means where words leave a doubt."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable
from datetime import datetime

from storage.blobs.base import BLOB_ID_SIZE, BlobStat, Buffer
from storage.errors import BlobExists, BlobHeld, BlobMissing, BlobReadFailed, RealmMismatch


class MemoryBlobReader:
    """A reader over bytes that are already here."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    @property
    def sealed_size(self) -> int:
        """Bytes at rest."""
        return len(self._content)

    async def read(self, offset: int, length: int) -> bytes:
        """Return exactly that span. Raises: BlobReadFailed outside the blob."""
        if offset < 0 or length < 0 or offset + length > len(self._content):
            raise BlobReadFailed("the span lies outside the blob")
        return self._content[offset : offset + length]

    def read_at_hand(self, offset: int, length: int) -> memoryview | None:
        """Return that span, uncopied; None outside the blob."""
        is_within = offset >= 0 and 0 <= length <= len(self._content) - offset
        return memoryview(self._content)[offset : offset + length] if is_within else None

    async def close(self) -> None:
        """Nothing is held."""


class MemoryBlobStore:
    """Blobs in a dictionary; the contract is `storage.blobs.base.BlobStore`."""

    def __init__(self, clock: Callable[[], datetime], *, has_locks: bool = False) -> None:
        self._clock = clock
        self._has_locks = has_locks
        self._held: dict[bytes, datetime] = {}
        self._blobs: dict[bytes, tuple[bytes, datetime]] = {}
        self._realm_id: bytes | None = None

    async def realm_id(self) -> bytes | None:
        """The realm that claimed this store."""
        return self._realm_id

    async def claim(self, realm_id: bytes) -> None:
        """Mark the store. Raises: RealmMismatch."""
        if self._realm_id not in (None, realm_id):
            raise RealmMismatch("the blob store belongs to another realm")
        self._realm_id = realm_id

    async def release(self, realm_id: bytes) -> None:
        """Take the mark off. Raises: RealmMismatch."""
        if self._realm_id not in (None, realm_id):
            raise RealmMismatch("the blob store belongs to another realm")
        self._realm_id = None

    async def put(self, blob_id: bytes, chunks: AsyncIterable[Buffer]) -> int:
        """Keep the bytes. Raises: BlobExists."""
        assert len(blob_id) == BLOB_ID_SIZE
        if blob_id in self._blobs:
            raise BlobExists("a blob of this id is already stored")
        content = b"".join([bytes(chunk) async for chunk in chunks])
        if blob_id in self._blobs:
            raise BlobExists("a blob of this id is already stored")
        self._blobs[blob_id] = (content, self._clock())
        return len(content)

    async def open(self, blob_id: bytes) -> MemoryBlobReader:
        """Open for reading. Raises: BlobMissing."""
        if blob_id not in self._blobs:
            raise BlobMissing("a blob is missing")
        return MemoryBlobReader(self._blobs[blob_id][0])

    async def stat(self, blob_id: bytes) -> BlobStat:
        """Size and time. Raises: BlobMissing."""
        if blob_id not in self._blobs:
            raise BlobMissing("a blob is missing")
        content, modified_at = self._blobs[blob_id]
        return BlobStat(blob_id, len(content), modified_at)

    async def delete(self, blob_id: bytes) -> None:
        """Forget a blob. Raises: BlobHeld."""
        if blob_id in self._held and self._held[blob_id] > self._clock():
            raise BlobHeld("the store keeps this blob for now")
        self._blobs.pop(blob_id, None)

    async def retain(self, blob_id: bytes, until: datetime) -> bool:
        """Keep a blob until then, if this store is one with locks. Raises: BlobMissing."""
        if self._has_locks:
            await self.stat(blob_id)
            self._held[blob_id] = max(until, self._held.get(blob_id, until))
        return self._has_locks

    async def iterate(self) -> AsyncIterator[BlobStat]:
        """Every blob that was there when the walk began."""
        for blob_id, (content, modified_at) in list(self._blobs.items()):
            yield BlobStat(blob_id, len(content), modified_at)
            await asyncio.sleep(0)

    async def stranger(self) -> str | None:
        """A dictionary of one's own holds nothing else."""
        return None

    async def reclaim_debris(self, older_than: datetime) -> int:
        """There is none: nothing is visible before it is whole."""
        del older_than
        return 0

    async def check(self) -> None:
        """Memory always works."""

    async def close(self) -> None:
        """Nothing is held."""
