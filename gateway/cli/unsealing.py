"""Opening blobs without a catalogue: what each says of itself, its keys as the store has them, every byte verified.

Object blobs stand for themselves; a manifest or link blob names the parts of an object. Source: docs/FORMAT.md
sections 4, 8.3 and 11.
"""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from gateway.cli.exits import CommandError, Exit
from gateway.engine.custody import Custody, Unlock, WrappingMode
from gateway.engine.moved_wraps import WrapsOfStore
from gateway.engine.protection import Mode, Protection
from gateway.wiring.realm import OpenedKeys
from keys.datakey import DataKey
from keys.errors import CustomerKeyMismatch
from keys.keyring import Keyring
from storage.blobs.base import BlobReader, BlobStore, Buffer
from storage.blobs.memory import MemoryBlobReader
from storage.catalogue.records import Blob, BlobRole, Content
from storage.errors import SealedDamaged
from storage.sealed.description import Description
from storage.sealed.header import BlobKind, FixedHeader
from storage.sealed.records import BlobReference, ContentRecord, decode_link, decode_manifest
from storage.sealed.recovery import MAX_PREFIX_SIZE, MAX_TAIL_SIZE, RecoveredBlob, recover
from storage.sealed.stream import Expectation, Opener

READ_SIZE = 1024 * 1024
_RECORDS = {BlobKind.MANIFEST: decode_manifest, BlobKind.LINK: decode_link}


@dataclass(frozen=True, slots=True)
class FileReader:
    """A blob as a file anywhere, with the methods of a `BlobReader`."""

    path: Path
    sealed_size: int

    @classmethod
    def of(cls, path: Path) -> "FileReader":
        """Raises: CommandError where there is no such file."""
        if not path.is_file():
            raise CommandError(f"there is no file {path}", Exit.USAGE)
        return cls(path, path.stat().st_size)

    async def read(self, offset: int, length: int) -> bytes:
        """Exactly that span. Raises: SealedDamaged for a file that shrank."""
        with self.path.open("rb") as file:
            file.seek(offset)
            data = file.read(length)
        if len(data) != length:
            raise SealedDamaged("the file is shorter than it was")
        return data

    def read_at_hand(self, offset: int, length: int) -> None:
        """Nothing is: each read may wait for the disk."""
        del offset, length

    async def close(self) -> None:
        """Nothing is held."""


class Unsealer:
    """Opens blobs of one realm; further blobs of an object come from `blobs`."""

    def __init__(self, opened: OpenedKeys, blobs: BlobStore | None, customer_key: DataKey | None = None) -> None:
        """`customer_key` opens what a client's key protects (SSE-C); other objects do without."""
        self._opened = opened
        self._customer_key = customer_key
        self._blobs = blobs
        realm_id = opened.realm.realm_id
        keyring = Keyring(opened.kms, time.monotonic)
        self._custody = Custody(keyring, realm_id, WrappingMode.DIRECT, time.monotonic, bucket_key_age_s=0)
        self.wraps = WrapsOfStore(self._custody, opened.realm_keys, blobs)
        self._realm_id = realm_id

    async def recover(self, reader: BlobReader) -> RecoveredBlob:
        """What a blob is, authenticated by its description. Raises: SealedDamaged."""
        size = reader.sealed_size
        head = await reader.read(0, min(size, MAX_PREFIX_SIZE))
        tail_size = min(size, MAX_TAIL_SIZE)
        tail = await reader.read(size - tail_size, tail_size)
        description_key = self._opened.realm_keys.description_key.material()
        return recover(head, tail, size, self._realm_id, description_key)

    async def open(self, recovered: RecoveredBlob, reader: BlobReader) -> AsyncIterator[Buffer]:
        """The object's plaintext, piece by piece; it is whole only if the iterator comes to its end.

        Raises:
            SealedDamaged, BlobMissing, BlobReadFailed, KeysError: whatever does not authenticate or is not there.
            CommandError: a part, which opens only together with its object.
        """
        header, description = recovered.header, recovered.description
        unlock = self._unlock(description)
        if header.kind is BlobKind.OBJECT:
            data_key = await self.wraps.open(
                description.bucket_id, description.content_id, recovered.wrapped_key, unlock
            )
            async for piece in _pieces(reader, header, recovered.expectation, data_key.material()):
                yield piece
        elif header.kind in _RECORDS:
            record = await self._record(recovered, reader)
            for reference in record.blobs:
                async for piece in self._part(record, reference, unlock):
                    yield piece
        else:
            raise CommandError(
                f"a {header.kind.name.lower()} blob opens only with its object: unseal the manifest or the whole store"
            )

    def _unlock(self, description: Description) -> Unlock:
        """What opening an object takes besides its blobs. Raises: CustomerKeyMismatch."""
        protection = Protection.decode(description.encryption)
        if protection.mode is not Mode.CUSTOMER:
            return Unlock(protection.context)
        if self._customer_key is None:
            raise CustomerKeyMismatch("only the key of its client opens this object: give --customer-key-file")
        self._custody.check_customer_key(description.bucket_id, description.content_id, protection, self._customer_key)
        return Unlock(protection.context, self._customer_key)

    async def _record(self, recovered: RecoveredBlob, reader: BlobReader) -> ContentRecord:
        header, description = recovered.header, recovered.description
        # These blobs belong to no content: their own id stands in the context of their key.
        data_key = await self.wraps.open(description.bucket_id, header.blob_id, recovered.wrapped_key)
        payload = bytearray()
        async for piece in _pieces(reader, header, recovered.expectation, data_key.material()):
            payload += piece
        return _RECORDS[header.kind](bytes(payload))

    async def _part(self, record: ContentRecord, reference: BlobReference, unlock: Unlock) -> AsyncIterator[Buffer]:
        if self._blobs is None:
            raise CommandError("the blobs that this one names are in the blob store: give --data")
        role = BlobRole.PART if reference.part_number else BlobRole.OBJECT
        kind = BlobKind.PART if reference.part_number else BlobKind.OBJECT
        blob = Blob(
            reference.blob_id,
            role,
            reference.plaintext_size,
            reference.sealed_size,
            reference.slot_size,
            reference.salt,
            reference.commitment,
            reference.footer_hash,
            reference.wrapped_key,
            reference.part_number,
        )
        content = Content(record.content_id, record.bucket_id, b"", "", "", record.wrapped_key, (blob,))
        content_key = await self.wraps.open(record.bucket_id, record.content_id, record.wrapped_key, unlock)
        data_key = self._custody.blob_key(content_key, content, blob)
        header = FixedHeader(kind, self._realm_id, reference.blob_id, reference.slot_size)
        reader = await self._blobs.open(reference.blob_id)
        try:
            async for piece in _pieces(reader, header, reference.expectation(), data_key.material()):
                yield piece
        finally:
            await reader.close()


async def _pieces(
    reader: BlobReader | MemoryBlobReader, header: FixedHeader, expectation: Expectation, data_key: bytes
) -> AsyncIterator[Buffer]:
    """One blob from end to end, every check made."""
    opener = Opener(header, expectation, data_key)
    opener.check_stored_size(reader.sealed_size)
    whole = opener.open_whole()
    for offset in range(0, reader.sealed_size, READ_SIZE):
        piece = whole.update(await reader.read(offset, min(READ_SIZE, reader.sealed_size - offset)))
        if piece:
            yield piece
    yield whole.finalize()
