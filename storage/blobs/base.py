"""The contract of every blob store: write once, read ranges, delete, walk.

A blob is an immutable run of sealed bytes under a random 16-byte id (docs/FORMAT.md). The store never sees plaintext
or names and is never trusted for either: it is trusted only to keep what it acknowledged.
"""

from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

BLOB_ID_SIZE = 16
"""Bytes of a blob id."""

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class BlobStat:
    """What a store knows of a blob."""

    blob_id: bytes
    sealed_size: int
    """Bytes at rest."""
    modified_at: datetime
    """Aware UTC, by the store's clock; serves only the grace time of sweep."""


class BlobReader(Protocol):
    """One opened blob: reads stay on the bytes that were there when it was opened.

    After a delete they go on where the medium allows it (a file), or fail with BlobMissing (an object store).
    """

    @property
    def sealed_size(self) -> int:
        """Bytes at rest, as the store tells it."""

    async def read(self, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes from `offset` (half-open span within the blob).

        Raises:
            BlobReadFailed: the medium failed or gave fewer bytes than it holds.
            BlobMissing: it was deleted since it was opened.
            StorageUnavailable: descriptors or memory ran out; the blob may be sound.
        """

    def read_at_hand(self, offset: int, length: int) -> Buffer | None:
        """Return the same bytes as `read` would, if that takes no waiting, else None; what fails is told by `read`.

        What is returned is good until the next call and never changed by the caller.
        """

    async def close(self) -> None:
        """Release what the reader holds. Idempotent; never raises for a reader that failed."""


class BlobStore(Protocol):
    """Sealed blobs by random id. All methods are safe to call concurrently; ids are `BLOB_ID_SIZE` bytes."""

    async def realm_id(self) -> bytes | None:
        """The realm that this store belongs to, or None for a store not yet claimed."""

    async def claim(self, realm_id: bytes) -> None:
        """Mark an unclaimed store as belonging to a realm, durably. Idempotent for the same realm.

        Raises:
            RealmMismatch: it belongs to another realm.
        """

    async def release(self, realm_id: bytes) -> None:
        """Take the mark of `claim` off, durably: the store is no longer the live one. Blobs stay. Idempotent.

        Raises:
            RealmMismatch: it belongs to another realm.
        """

    async def put(self, blob_id: bytes, chunks: AsyncIterable[Buffer]) -> int:
        """Store the bytes of `chunks` under `blob_id` and return their count.

        Durable on return (content and directory entry) and never replacing. If `chunks` raises, or anything fails,
        nothing is visible under the id and what was written is removed; the exception of `chunks` passes through. The
        same holds for a cancelled put, a moment later.
        A buffer handed over by `chunks` is the store's from then on: the producer never changes it again.

        Raises:
            BlobExists: a blob of that id is there. It is left as it was.
            StorageFull: no space, quota or file size left.
            StorageUnavailable: the store cannot be reached or failed to make the bytes durable.
        """

    async def open(self, blob_id: bytes) -> BlobReader:
        """Open a blob for reading.

        Raises:
            BlobMissing: no such blob.
            BlobReadFailed: the medium failed.
            StorageUnavailable: descriptors or memory ran out; the blob may be sound.
        """

    async def stat(self, blob_id: bytes) -> BlobStat:
        """Size and time of a blob.

        Raises:
            BlobMissing: no such blob.
        """

    async def delete(self, blob_id: bytes) -> None:
        """Remove a blob, durably. Idempotent: an absent blob is not an error. Open readers may go on.

        Raises:
            BlobHeld: the store keeps it for now.
        """

    async def retain(self, blob_id: bytes, until: datetime) -> bool:
        """Have the store itself keep a blob until then, against everybody; tell whether it does.

        It never shortens what was asked before. A store that has no such lock (a disk, memory, a bucket without object
        lock) does nothing and says False: then whoever can write there can delete the blob.

        Raises:
            BlobMissing: no such blob.
            StorageUnavailable: the store can, and did not.
        """

    def iterate(self) -> AsyncIterator[BlobStat]:
        """Every visible blob, in no stated order. Blobs that come or go meanwhile may or may not be seen."""

    async def stranger(self) -> str | None:
        """The name of something in the store's place that is none of a blob store's; None where there is nothing.

        Raises: StorageUnavailable.
        """

    async def reclaim_debris(self, older_than: datetime) -> int:
        """Remove unfinished writes (temporary files, stale backend uploads) older than that; return their count."""

    async def check(self) -> None:
        """Prove that the store can write, sync, read and delete.

        Raises:
            StorageError: what is wrong, in one line that says what to do.
        """

    async def close(self) -> None:
        """Release every resource. Idempotent."""
