"""Blobs that the gateway writes for itself: journal, snapshots, packs. Sealed under data keys that the realm wraps.

They are read without a row: what a blob says of itself is authentic once its description has opened, and its id, kind
and realm must be those that were asked for. Source: docs/FORMAT.md sections 8.3 and 16.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import datetime

from gateway.engine.custody import Envelope
from keys.datakey import DataKey
from keys.journal import JournalKeys
from storage.blobs.base import BlobReader, BlobStore
from storage.blobs.memory import MemoryBlobReader
from storage.errors import BlobMissing, SealedDamaged
from storage.sealed.description import Description
from storage.sealed.header import BlobKind, FixedHeader
from storage.sealed.recovery import MAX_PREFIX_SIZE, MAX_TAIL_SIZE, RecoveredBlob, recover
from storage.sealed.stream import Opener, Sealer

SLICE_BYTES = 256 * 1024
"""Sealed or opened in one go on the loop."""
READ_BYTES = 1024 * 1024


async def recovered_from(
    reader: BlobReader | MemoryBlobReader, realm_id: bytes, description_key: bytes
) -> RecoveredBlob:
    """What a blob is, authenticated by its description. Raises: SealedDamaged, BlobReadFailed."""
    size = reader.sealed_size
    head = await reader.read(0, min(size, MAX_PREFIX_SIZE))
    tail_size = min(size, MAX_TAIL_SIZE)
    tail = head if tail_size == len(head) == size else await reader.read(size - tail_size, tail_size)
    return recover(head, tail, size, realm_id, description_key)


async def read_payload(recovered: RecoveredBlob, reader: BlobReader | MemoryBlobReader, data_key: DataKey) -> bytes:
    """The payload of a blob whose description was opened, every check made. Raises: SealedDamaged, BlobReadFailed."""
    opener = Opener(recovered.header, recovered.expectation, data_key.material())
    opener.check_stored_size(reader.sealed_size)
    whole, payload = opener.open_whole(), bytearray()
    for offset in range(0, reader.sealed_size, READ_BYTES):
        payload += whole.update(await reader.read(offset, min(READ_BYTES, reader.sealed_size - offset)))
        await asyncio.sleep(0)
    payload += whole.finalize()
    return bytes(payload)


class RecordBlobs:
    """Writes and reads such blobs, whole."""

    def __init__(
        self,
        *,
        blobs: BlobStore,
        realm_id: bytes,
        description_key: bytes,
        keys: JournalKeys,
        clock: Callable[[], datetime],
    ) -> None:
        self.blobs = blobs
        self.keys = keys
        self._realm_id = realm_id
        self._description_key = description_key
        self._clock = clock

    def beside(self, blobs: BlobStore) -> "RecordBlobs":
        """The same in another store."""
        return RecordBlobs(
            blobs=blobs,
            realm_id=self._realm_id,
            description_key=self._description_key,
            keys=self.keys,
            clock=self._clock,
        )

    @property
    def identity(self) -> tuple[bytes, bytes]:
        """Realm id and description key: what `recovered_from` takes."""
        return self._realm_id, self._description_key

    async def write(self, kind: BlobKind, blob_id: bytes, pieces: Iterable[bytes]) -> bytes:
        """Seal a payload; durable on return. Returns SHA-256 of the payload.

        Raises:
            BlobExists: the id is taken.
            StorageError: as `BlobStore.put`.
        """
        digest = hashlib.sha256()
        await self.blobs.put(blob_id, self._sealed(kind, blob_id, pieces, digest.update))
        return digest.digest()

    async def _sealed(
        self, kind: BlobKind, blob_id: bytes, pieces: Iterable[bytes], seen: Callable[[bytes], None]
    ) -> AsyncIterator[bytes]:
        data_key, wrapped = self.keys.new_data_key(kind, blob_id)
        slot = Envelope(wrapped).encode()
        sealer = Sealer(FixedHeader(kind, self._realm_id, blob_id, len(slot)), slot, data_key.material())
        size = 0
        for piece in gathered(pieces, SLICE_BYTES):
            seen(piece)
            size += len(piece)
            yield sealer.update(piece)
            await asyncio.sleep(0)
        yield sealer.finalize(Description(created_at=self._clock(), plaintext_size=size), self._description_key)

    async def read(self, kind: BlobKind, blob_id: bytes) -> bytes:
        """The payload of a blob, every check made.

        Raises:
            BlobMissing, BlobReadFailed: it cannot be had.
            SealedDamaged, UnwrapFailed: it is not what it should be.
        """
        reader = await self.blobs.open(blob_id)
        try:
            recovered = await recovered_from(reader, self._realm_id, self._description_key)
            return await self.open(recovered, reader, kind, blob_id)
        finally:
            await reader.close()

    async def look(self, kind: BlobKind, blob_id: bytes) -> None:
        """Authenticate header, description and length of a blob, and not its payload.

        Raises: as `read`.
        """
        reader = await self.blobs.open(blob_id)
        try:
            _check_is(await recovered_from(reader, self._realm_id, self._description_key), kind, blob_id)
        finally:
            await reader.close()

    async def sealed(self, kind: BlobKind, blob_id: bytes) -> bytes:
        """A blob as it lies in the store, every check made. Only what its description bears out is read into memory.

        Raises: as `read`.
        """
        reader = await self.blobs.open(blob_id)
        try:
            _check_is(await recovered_from(reader, self._realm_id, self._description_key), kind, blob_id)
            sealed = MemoryBlobReader(await reader.read(0, reader.sealed_size))
        finally:
            await reader.close()
        await self.open(await recovered_from(sealed, *self.identity), sealed, kind, blob_id)
        return await sealed.read(0, sealed.sealed_size)

    async def open(
        self, recovered: RecoveredBlob, reader: BlobReader | MemoryBlobReader, kind: BlobKind, blob_id: bytes
    ) -> bytes:
        """The same of a blob whose description was opened."""
        _check_is(recovered, kind, blob_id)
        data_key = self.keys.open_data_key(Envelope.decode(recovered.wrapped_key).wrapped, kind, blob_id)
        return await read_payload(recovered, reader, data_key)

    async def exists(self, blob_id: bytes) -> bool:
        """Whether the store has a blob of that id, whatever it holds."""
        try:
            await self.blobs.stat(blob_id)
        except BlobMissing:
            return False
        return True


def _check_is(recovered: RecoveredBlob, kind: BlobKind, blob_id: bytes) -> None:
    if (recovered.header.kind, recovered.header.blob_id) != (kind, blob_id):
        raise SealedDamaged("header: another blob than the one that belongs there")


def gathered(pieces: Iterable[bytes], size: int) -> Iterable[bytes]:
    """The same bytes in pieces of at least that size, but for the last."""
    held: list[bytes] = []
    held_size = 0
    for piece in pieces:
        held.append(piece)
        held_size += len(piece)
        if held_size >= size:
            yield b"".join(held)
            held, held_size = [], 0
    if held:
        yield b"".join(held)
