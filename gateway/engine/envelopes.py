"""Envelopes blobs: where keys that were wrapped anew rest in the blob store, so that blobs alone open (FORMAT 11.1).

Their own data keys lie under a key of the realm, and their slots carry the realm root as the KMS has it now.
"""

from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Final

from gateway.engine.custody import sized, take_sized
from gateway.engine.objects import new_id
from gateway.engine.sealing import BlobPlan, BlobWriter
from gateway.engine.whole import read_slot, read_whole
from gateway.s3.checksums import PayloadDigests
from keys.realm import RealmKeys
from storage.blobs.base import BlobStore
from storage.catalogue.base import Catalogue
from storage.catalogue.records import Blob, BlobRole, KeptEnvelopes
from storage.sealed.description import Description
from storage.sealed.envelopes import Envelopes

_PIECE: Final = 256 * 1024


class EnvelopesBlobs:
    """Writes and reads envelopes blobs of one realm. `root` gives the wrapped realm root as slots are to have it."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        blobs: BlobStore,
        writer: BlobWriter,
        realm_keys: RealmKeys,
        root: Callable[[], bytes],
        clock: Callable[[], datetime],
    ) -> None:
        self._catalogue = catalogue
        self._blobs = blobs
        self._writer = writer
        self._realm_keys = realm_keys
        self._root = root
        self._clock = clock

    async def write(self, envelopes: Envelopes) -> Blob:
        """Make a blob of them, durable on return; no row names it yet. Raises: StorageError."""
        blob_id = new_id()
        data_key, wrapped = self._realm_keys.new_blob_key(blob_id)
        plan = BlobPlan(blob_id, BlobRole.ENVELOPES, data_key, sized(wrapped) + self._root())
        return await self._writer.write(
            plan,
            _pieces(envelopes.encode()),
            PayloadDigests(()),
            lambda _: Description(created_at=self._clock()),
            may_be_inline=False,
        )

    async def discard(self, blob: Blob) -> None:
        """Take back a blob that no row came to name. Raises: StorageError."""
        await self._blobs.delete(blob.blob_id)

    async def read(self, blob: Blob) -> Envelopes:
        """What a blob holds. Raises: SealedDamaged, BlobError, StorageUnavailable, UnwrapFailed."""
        wrapped, _ = take_sized(await read_slot(self._blobs, blob))
        data_key = self._realm_keys.open_blob_key(wrapped, blob.blob_id)
        return Envelopes.decode(await read_whole(self._blobs, self._realm_keys.realm_id, blob, data_key))

    async def all(self) -> AsyncIterator[KeptEnvelopes]:
        """Every live envelopes blob, by id."""
        after = b""
        while page := await self._catalogue.list_envelopes(after):
            for kept in page:
                yield kept
            after = page[-1].blob.blob_id

    async def next_epoch(self) -> int:
        """Greater than the epoch of every live envelopes blob, and no less than the time in microseconds."""
        newest = max([kept.epoch async for kept in self.all()], default=0)
        return max(newest + 1, int(self._clock().timestamp() * 1_000_000))


async def _pieces(payload: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(payload), _PIECE):
        yield payload[start : start + _PIECE]
