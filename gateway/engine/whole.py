"""Small blobs that jobs read whole, and key slots: past the read-ahead and the budget that requests share.

A whole read does all seven steps of docs/FORMAT.md section 8.2.
"""

import hashlib
from hmac import compare_digest

from gateway.engine.sealing import blob_kind
from keys.datakey import DataKey
from storage.blobs.base import BlobReader, BlobStore
from storage.blobs.memory import MemoryBlobReader
from storage.catalogue.records import Blob
from storage.errors import SealedDamaged
from storage.sealed.description import Binding
from storage.sealed.header import FixedHeader
from storage.sealed.layout import HEADER_SIZE, BlobLayout
from storage.sealed.stream import Expectation, Opener


async def open_reader(blobs: BlobStore, blob: Blob) -> BlobReader:
    """A reader of a blob wherever it rests. Raises: as `BlobStore.open`."""
    return MemoryBlobReader(blob.inline) if blob.inline is not None else await blobs.open(blob.blob_id)


async def read_slot(blobs: BlobStore, blob: Blob) -> bytes:
    """The bytes of a blob's key slot: a claim, which whoever unwraps them finds out.

    Raises:
        BlobError, StorageUnavailable: as the store tells.
    """
    reader = await open_reader(blobs, blob)
    try:
        return await reader.read(HEADER_SIZE, blob.slot_size)
    finally:
        await reader.close()


async def read_proved_slot(blobs: BlobStore, realm_id: bytes, blob: Blob) -> bytes:
    """The same, proved to be the slot that the blob was written with.

    Raises:
        SealedDamaged: slot or description are not what the row says.
        BlobError, StorageUnavailable: as the store tells.
    """
    layout = BlobLayout(blob.slot_size, blob.plaintext_size, blob.sealed_size)
    header = FixedHeader(blob_kind(blob.role), realm_id, blob.blob_id, blob.slot_size)
    reader = await open_reader(blobs, blob)
    try:
        slot = await reader.read(HEADER_SIZE, blob.slot_size)
        tail = await reader.read(blob.sealed_size - layout.tail_size, layout.tail_size)
    finally:
        await reader.close()
    slot_hash = hashlib.sha256(slot).digest()
    binding = Binding(header, slot_hash, blob.salt, blob.commitment, blob.plaintext_size)
    if not compare_digest(binding.footer_hash(tail[: layout.footer_size]), blob.footer_hash):
        raise SealedDamaged("footer: the key slot or the description is not the row's")
    return slot


async def read_whole(blobs: BlobStore, realm_id: bytes, blob: Blob, data_key: DataKey) -> bytes:
    """The plaintext of a blob.

    Raises:
        SealedDamaged: what is at rest is not what the row says.
        BlobError, StorageUnavailable: as the store tells.
    """
    header = FixedHeader(blob_kind(blob.role), realm_id, blob.blob_id, blob.slot_size)
    expectation = Expectation(blob.plaintext_size, blob.sealed_size, blob.salt, blob.commitment, blob.footer_hash)
    opener = Opener(header, expectation, data_key.material())
    reader = await open_reader(blobs, blob)
    try:
        opener.check_stored_size(reader.sealed_size)
        opened = opener.open_whole()
        return bytes(opened.update(await reader.read(0, blob.sealed_size))) + bytes(opened.finalize())
    finally:
        await reader.close()
