"""Opening keys without a catalogue: by the slot, or by the envelope that took its place when keys were wrapped anew.

A slot holds the same key as the envelopes that came after it, under the wrapping key of its time. Where that one opens
nothing any more the store is looked through for envelopes blobs, and of the id that is wanted the one of the greatest
epoch stands for the slot. Source: docs/FORMAT.md section 11.1.
"""

import asyncio
import contextlib
from typing import Final

from gateway.engine.custody import NOTHING_BESIDES, Custody, Envelope, Unlock, take_sized
from gateway.engine.journal.records import read_payload, recovered_from
from keys.datakey import DataKey
from keys.errors import KmsKeyError, UnwrapFailed
from keys.realm import RealmKeys
from storage.blobs.base import BlobReader, BlobStore
from storage.errors import BlobError, Damaged
from storage.sealed.envelopes import Envelopes
from storage.sealed.header import BlobKind, parse_untrusted
from storage.sealed.layout import HEADER_SIZE
from storage.sealed.recovery import RecoveredBlob

READERS: Final = 16
"""Blobs whose headers are read at once."""


class WrapsOfStore:
    """The keys of one realm, from what stands in a store; `blobs` is None where a blob is all there is."""

    def __init__(self, custody: Custody, realm_keys: RealmKeys, blobs: BlobStore | None) -> None:
        self._custody = custody
        self._keys = realm_keys
        self._blobs = blobs
        self._newest: dict[bytes, tuple[int, bytes, bytes]] | None = None
        """Epoch, envelopes blob and envelope by what it opens; None before they were looked for."""
        self._looking = asyncio.Lock()

    async def open(self, bucket_id: bytes, wrap_id: bytes, slot: bytes, unlock: Unlock = NOTHING_BESIDES) -> DataKey:
        """The key of a content, manifest or link, by the slot or by what took its place.

        Raises:
            KmsKeyError, UnwrapFailed: neither opens. KmsUnavailable, KmsDenied, StorageError: nobody knows.
        """
        return (await self.opened(bucket_id, wrap_id, slot, unlock))[1]

    async def opened(
        self, bucket_id: bytes, wrap_id: bytes, slot: bytes, unlock: Unlock = NOTHING_BESIDES
    ) -> tuple[bytes, DataKey]:
        """The envelope that opens, and the key. Raises: as `open`."""
        try:
            return slot, await self._custody.open_content_key(bucket_id, wrap_id, slot, unlock)
        except (KmsKeyError, UnwrapFailed):
            is_of_the_kms = Envelope.decode(slot).kms_wrapped is not None
            moved = await self._moved(wrap_id) if is_of_the_kms else None
            if moved is None:
                raise
        return moved, await self._custody.open_content_key(bucket_id, wrap_id, moved, unlock)

    async def _moved(self, wrap_id: bytes) -> bytes | None:
        async with self._looking:
            if self._newest is None:
                self._newest = await self._look_through()
        found = self._newest.get(wrap_id)
        return None if found is None else found[2]

    async def _look_through(self) -> dict[bytes, tuple[int, bytes, bytes]]:
        """Every newest envelope of the store. Those in a blob that is damaged are not there, which a scrub tells."""
        newest: dict[bytes, tuple[int, bytes, bytes]] = {}
        if self._blobs is None:
            return newest
        blob_ids = [stat.blob_id async for stat in self._blobs.iterate()]
        for start in range(0, len(blob_ids), READERS):
            for blob_id, held in await asyncio.gather(*map(self._envelopes, blob_ids[start : start + READERS])):
                for name, envelope in () if held is None else held.entries:
                    assert held is not None, "it has entries"
                    newest[name] = max(newest.get(name, (-1, b"", b"")), (held.epoch, blob_id, envelope))
        return newest

    async def _envelopes(self, blob_id: bytes) -> tuple[bytes, Envelopes | None]:
        assert self._blobs is not None, "looked at by whoever calls"
        with contextlib.suppress(Damaged, BlobError, UnwrapFailed):
            reader = await self._blobs.open(blob_id)
            try:
                header = parse_untrusted(await reader.read(0, min(HEADER_SIZE, reader.sealed_size)))
                if header.kind is BlobKind.ENVELOPES:
                    description_key = self._keys.description_key.material()
                    recovered = await recovered_from(reader, self._keys.realm_id, description_key)
                    return blob_id, await self.read(recovered, reader)
            finally:
                await reader.close()
        return blob_id, None

    async def read(self, recovered: RecoveredBlob, reader: BlobReader) -> Envelopes:
        """See `read_envelopes`."""
        return await read_envelopes(recovered, reader, self._keys)


async def read_envelopes(recovered: RecoveredBlob, reader: BlobReader, realm_keys: RealmKeys) -> Envelopes:
    """What an envelopes blob holds, every check made. Raises: SealedDamaged, BlobReadFailed, UnwrapFailed."""
    wrapped, _ = take_sized(recovered.wrapped_key)
    data_key = realm_keys.open_blob_key(wrapped, recovered.header.blob_id)
    return Envelopes.decode(await read_payload(recovered, reader, data_key))
