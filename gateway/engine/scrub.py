"""Scrub: every blob of a store is read and proved, as far as the keys at hand go. Nothing is changed.

With keys each blob is opened from its first byte to its last, under the wrap in its slot or the one that took its
place; parts under the key of their object, which its manifest names. Without keys sizes, header and trailer are held
against each other. Source: docs/FORMAT.md sections 2 to 8 and 11.1.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.engine.custody import Custody, Envelope, Unlock
from gateway.engine.journal.records import READ_BYTES, RecordBlobs, recovered_from
from gateway.engine.moved_wraps import WrapsOfStore
from gateway.engine.protection import Mode, Protection
from keys.datakey import DataKey
from keys.errors import KmsKeyError, UnwrapFailed
from storage.blobs.base import BlobReader, BlobStore
from storage.blobs.memory import MemoryBlobReader
from storage.catalogue.records import Blob, BlobRole, Content
from storage.errors import BlobError, BlobMissing, Damaged, SealedDamaged
from storage.sealed.header import BlobKind, parse_untrusted
from storage.sealed.journal import decode_pack
from storage.sealed.layout import HEADER_SIZE, TRAILER_SIZE, BlobLayout
from storage.sealed.records import ContentRecord, decode_link, decode_manifest
from storage.sealed.recovery import RecoveredBlob
from storage.sealed.stream import Opener, parse_untrusted_trailer

OWN_KINDS: Final = frozenset({BlobKind.JOURNAL, BlobKind.SNAPSHOT, BlobKind.PACK})
_RECORDS: Final = {BlobKind.MANIFEST: decode_manifest, BlobKind.LINK: decode_link}

WHOLE: Final = "whole"
"""Every byte authenticated."""
DESCRIBED: Final = "described"
"""Header, slot, sizes and description authenticated; the chunks need a key that is not at hand."""
SHAPED: Final = "shaped"
"""Sizes, header and trailer agree; nothing was authenticated, for want of keys."""
DAMAGED: Final = "damaged"
GONE: Final = "gone"
"""It was deleted since the scrub began."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A blob that is not what it says."""

    blob_id: bytes
    why: str
    within: bytes | None = None
    """The pack that it lies in."""


@dataclass(slots=True)
class ScrubReport:
    """What was looked at. Counts of blobs by outcome, those in packs too."""

    counts: Counter[str] = field(default_factory=Counter)
    byte_count: int = 0
    findings: list[Finding] = field(default_factory=list)


Throttle = Callable[[int], Awaitable[None]]
"""Told of each read before it is made; waits as long as it should."""


async def no_throttle(_size: int) -> None:
    """Read as fast as it goes."""


class Scrubber:
    """Scrubs one store. Without `keys` only shapes are looked at."""

    def __init__(
        self,
        blobs: BlobStore,
        *,
        keys: "ScrubKeys | None",
        throttle: Throttle = no_throttle,
        readers: int = 4,
    ) -> None:
        self._blobs = blobs
        self._keys = keys
        self._throttle = throttle
        self._readers = readers
        self.report = ScrubReport()
        self._contents: dict[bytes, ContentRecord] = {}
        """The content that each part belongs to."""

    async def prepare(self, blob_ids: Sequence[bytes]) -> AsyncIterator[bytes]:
        """Find out which object each part belongs to, from all manifests; to be read to its end before `run`."""
        if self._keys is not None:
            async for blob_id in self._each(blob_ids, self._read_manifest):
                yield blob_id

    async def run(self, blob_ids: Sequence[bytes]) -> AsyncIterator[bytes]:
        """Look at each of these; each id is given back once it is done with, in order."""
        async for blob_id in self._each(blob_ids, self._judged):
            yield blob_id

    async def _each(self, blob_ids: Sequence[bytes], look: Callable[[bytes], Awaitable[None]]) -> AsyncIterator[bytes]:
        for start in range(0, len(blob_ids), self._readers):
            some = blob_ids[start : start + self._readers]
            await asyncio.gather(*map(look, some))
            for blob_id in some:
                yield blob_id

    async def _read_manifest(self, blob_id: bytes) -> None:
        """Note the parts of a manifest. What does not open is judged when its turn comes."""
        assert self._keys is not None, "asked with keys alone"
        with contextlib.suppress(Damaged, BlobError, UnwrapFailed, KmsKeyError):
            reader = await self._blobs.open(blob_id)
            try:
                header = parse_untrusted(await reader.read(0, min(HEADER_SIZE, reader.sealed_size)))
                if header.kind is BlobKind.MANIFEST:
                    recovered = await recovered_from(reader, self._keys.realm_id, self._keys.description_key)
                    record = decode_manifest(
                        await self._read(recovered, reader, await self._keys.record_key(recovered))
                    )
                    self._contents.update(dict.fromkeys((part.blob_id for part in record.blobs), record))
            finally:
                await reader.close()

    async def _judged(self, blob_id: bytes) -> None:
        try:
            await self._scrub(blob_id)
        except BlobMissing:
            self.report.counts[GONE] += 1
        except KmsKeyError:
            self.report.counts[DESCRIBED] += 1
        except (Damaged, BlobError, UnwrapFailed) as error:
            self._damaged(blob_id, error)

    def _damaged(self, blob_id: bytes, error: Exception, within: bytes | None = None) -> None:
        self.report.counts[DAMAGED] += 1
        self.report.findings.append(Finding(blob_id, f"{type(error).__name__}: {error}", within))

    async def _scrub(self, blob_id: bytes) -> None:
        reader = await self._blobs.open(blob_id)
        try:
            if self._keys is None:
                await self._look_at_shape(blob_id, reader)
            else:
                await self._prove(self._keys, blob_id, reader)
        finally:
            await reader.close()

    async def _look_at_shape(self, blob_id: bytes, reader: BlobReader) -> None:
        """What can be known without keys: sizes that belong to one blob, and that it lies under its own name."""
        size = reader.sealed_size
        if size < HEADER_SIZE + TRAILER_SIZE:
            raise SealedDamaged("length: too short for a sealed blob")
        header = parse_untrusted(await reader.read(0, HEADER_SIZE))
        plaintext_size, footer_size = parse_untrusted_trailer(await reader.read(size - TRAILER_SIZE, TRAILER_SIZE))
        if header.blob_id != blob_id:
            raise SealedDamaged("header: the blob of another id")
        if BlobLayout(header.slot_size, plaintext_size, size).footer_size != footer_size:
            raise SealedDamaged("length: the parts do not add up to the blob")
        self._done(SHAPED, size)

    async def _prove(self, keys: "ScrubKeys", blob_id: bytes, reader: BlobReader) -> None:
        recovered = await recovered_from(reader, keys.realm_id, keys.description_key)
        if recovered.header.blob_id != blob_id:
            raise SealedDamaged("header: the blob of another id")
        kind = recovered.header.kind
        if kind is BlobKind.PART:
            # One that no manifest names may be of an upload that goes on.
            record = self._contents.get(blob_id)
            await self._open(recovered, reader, None if record is None else await keys.part_key(recovered, record))
        elif kind in OWN_KINDS:
            await self._prove_own(keys, recovered, reader)
        elif kind is BlobKind.OBJECT:
            await self._open(recovered, reader, await keys.object_key(recovered))
        elif kind in _RECORDS:
            _RECORDS[kind](await self._read(recovered, reader, await keys.record_key(recovered)))
            self._done(WHOLE, reader.sealed_size)
        else:
            assert kind is BlobKind.ENVELOPES, "a kind of blob that nobody proves"
            await keys.wraps.read(recovered, reader)
            self._done(WHOLE, reader.sealed_size)

    async def _prove_own(self, keys: "ScrubKeys", recovered: RecoveredBlob, reader: BlobReader) -> None:
        header = recovered.header
        wrapped = Envelope.decode(recovered.wrapped_key).wrapped
        data_key = keys.records.keys.open_data_key(wrapped, header.kind, header.blob_id)
        if header.kind is not BlobKind.PACK:
            await self._open(recovered, reader, data_key)
            return
        for blob_id, sealed in decode_pack(await self._read(recovered, reader, data_key)):
            try:
                await self._prove_inline(keys, blob_id, MemoryBlobReader(bytes(sealed)))
            except KmsKeyError:
                self.report.counts[DESCRIBED] += 1
            except (Damaged, BlobError, UnwrapFailed) as error:
                self._damaged(blob_id, error, header.blob_id)
        self._done(WHOLE, reader.sealed_size)

    async def _prove_inline(self, keys: "ScrubKeys", blob_id: bytes, reader: MemoryBlobReader) -> None:
        """A small object in a pack."""
        recovered = await recovered_from(reader, keys.realm_id, keys.description_key)
        if recovered.header.blob_id != blob_id:
            raise SealedDamaged("header: the blob of another id")
        find = keys.object_key if recovered.header.kind is BlobKind.OBJECT else keys.record_key
        await self._open(recovered, reader, await find(recovered))

    async def _open(
        self, recovered: RecoveredBlob, reader: BlobReader | MemoryBlobReader, data_key: DataKey | None
    ) -> None:
        """Open a blob whole, and keep nothing of it; without its key it stays at its description."""
        if data_key is not None:
            async for _ in self._pieces(recovered, reader, data_key):
                pass
        self._done(DESCRIBED if data_key is None else WHOLE, reader.sealed_size)

    async def _read(self, recovered: RecoveredBlob, reader: BlobReader, data_key: DataKey) -> bytes:
        return b"".join([bytes(piece) async for piece in self._pieces(recovered, reader, data_key)])

    async def _pieces(
        self, recovered: RecoveredBlob, reader: BlobReader | MemoryBlobReader, data_key: DataKey
    ) -> AsyncIterator[memoryview]:
        opener = Opener(recovered.header, recovered.expectation, data_key.material())
        opener.check_stored_size(reader.sealed_size)
        whole = opener.open_whole()
        for offset in range(0, reader.sealed_size, READ_BYTES):
            size = min(READ_BYTES, reader.sealed_size - offset)
            await self._throttle(size)
            yield whole.update(await reader.read(offset, size))
        yield whole.finalize()

    def _done(self, outcome: str, size: int) -> None:
        self.report.counts[outcome] += 1
        self.report.byte_count += size


class ScrubKeys:
    """Keys for the blobs of one realm, from what stands in their slots and in envelopes blobs."""

    def __init__(
        self, records: RecordBlobs, custody: Custody, wraps: WrapsOfStore, realm_id: bytes, description_key: bytes
    ) -> None:
        self.wraps = wraps
        self.records = records
        self.realm_id = realm_id
        self.description_key = description_key
        self._custody = custody

    async def object_key(self, recovered: RecoveredBlob) -> DataKey | None:
        """The key of an object's one blob; None where only its client has it, or where the KMS gives it no more.

        Raises: UnwrapFailed for a slot that does not authenticate.
        """
        told = recovered.description
        protection = Protection.decode(told.encryption)
        if protection.mode is Mode.CUSTOMER:
            return None
        unlock = Unlock(protection.context)
        return await self.wraps.open(told.bucket_id, told.content_id, recovered.wrapped_key, unlock)

    async def record_key(self, recovered: RecoveredBlob) -> DataKey:
        """The key of a manifest or link, whose own id stands in the context of its wrap."""
        return await self.wraps.open(recovered.description.bucket_id, recovered.header.blob_id, recovered.wrapped_key)

    async def part_key(self, recovered: RecoveredBlob, record: ContentRecord) -> DataKey | None:
        """The key of a part, under that of the content which a manifest names."""
        protection = Protection.decode(recovered.description.encryption)
        if protection.mode is Mode.CUSTOMER:
            return None
        expectation, header = recovered.expectation, recovered.header
        blob = Blob(
            header.blob_id,
            BlobRole.PART,
            expectation.plaintext_size,
            expectation.sealed_size,
            header.slot_size,
            expectation.salt,
            expectation.commitment,
            expectation.footer_hash,
            recovered.wrapped_key,
        )
        content = Content(record.content_id, record.bucket_id, b"", "", "", record.wrapped_key, (blob,))
        unlock = Unlock(protection.context)
        content_key = await self.wraps.open(record.bucket_id, record.content_id, record.wrapped_key, unlock)
        return self._custody.blob_key(content_key, content, blob)


def behind(blob_ids: Iterable[bytes], last: bytes | None) -> list[bytes]:
    """The ids that are left to look at, in order, after the one that was done last."""
    return sorted(blob_id for blob_id in blob_ids if last is None or blob_id > last)
