"""Rebuilding the catalogue from what lies in the blob store: snapshot, journal, packs and the blobs themselves.

Rows come from the journal, wraps and small objects from blobs. Every blob is looked at once and believed only where its
description opens. Nothing in the store is changed. Source: docs/FORMAT.md sections 8.3 and 16, docs/RECOVERY.md.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from gateway.engine.custody import Custody
from gateway.engine.journal.chain import Chain, Head, JournalDamaged
from gateway.engine.journal.records import RecordBlobs, read_payload, recovered_from
from gateway.engine.journal.snapshots import read_part
from gateway.engine.moved_wraps import read_envelopes
from keys.errors import UnwrapFailed
from keys.realm import RealmKeys
from storage.blobs.base import BlobReader
from storage.blobs.memory import MemoryBlobReader
from storage.catalogue import rows
from storage.catalogue.records import Blob, BlobRole
from storage.catalogue.restoring import Restoration
from storage.catalogue.schema import BLOBS, ENVELOPES, MOVED_WRAPS, BlobRow, EnvelopesRow, MovedWrapRow
from storage.errors import BlobError, Damaged, SealedDamaged
from storage.sealed.header import BlobKind
from storage.sealed.journal import decode_pack
from storage.sealed.records import ContentRecord, decode_link, decode_manifest
from storage.sealed.recovery import RecoveredBlob

SAVE_EVERY: Final = 20_000
"""Rows or blobs after which what was rebuilt so far is committed."""
READERS: Final = 16
"""Blobs that are read at once."""

Progress = Callable[[str, int], None]
"""Told what is done, and how much of it came since it was told last."""

_RECORDS: Final = {BlobKind.MANIFEST: decode_manifest, BlobKind.LINK: decode_link}


@dataclass(slots=True)
class Seen:
    """What the store held. Counts of blobs."""

    scanned: int = 0
    damaged: list[tuple[bytes, str]] = field(default_factory=list)
    """Blobs that are not what they say, and why."""
    ids: set[bytes] = field(default_factory=set)
    journal_ids: set[bytes] = field(default_factory=set)
    """Those of them that are segments of the journal."""


@dataclass(frozen=True, slots=True)
class Found:
    """One blob of an object, in the store or in a pack."""

    recovered: RecoveredBlob
    reader: BlobReader | MemoryBlobReader
    inline: bytes | None = None
    """Its sealed bytes, where they lie in a pack."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """A wrap that was made anew, and where it lies."""

    epoch: int
    envelopes_id: bytes
    wrap: bytes


class BlobScan:
    """Gives every blob of a store, those in packs too, each authenticated by its description."""

    def __init__(self, records: RecordBlobs, custody: Custody, realm_keys: RealmKeys) -> None:
        self._records = records
        self._custody = custody
        self._keys = realm_keys
        self._realm_id = realm_keys.realm_id
        self._description_key = realm_keys.description_key.material()
        self.seen = Seen()
        self.envelopes: dict[bytes, list[Envelope]] = defaultdict(list)
        """By the id of what they open. All of them are here once `run` has ended."""
        self.envelopes_blobs: dict[bytes, RecoveredBlob] = {}

    async def run(self, progress: Progress) -> AsyncGenerator[Found]:
        """Each blob once; what is damaged is noted and not given. Close what is not read to its end."""
        pending: set[asyncio.Task[list[Found]]] = set()
        try:
            async for stat in self._records.blobs.iterate():
                pending.add(asyncio.create_task(self._look(stat.blob_id)))
                if len(pending) >= READERS:
                    done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                    async for found in self._given(done, progress):
                        yield found
            while pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                async for found in self._given(done, progress):
                    yield found
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    async def _given(self, done: set[asyncio.Task[list[Found]]], progress: Progress) -> AsyncIterator[Found]:
        for task in done:
            self.seen.scanned += 1
            progress("blobs", 1)
            for found in task.result():
                yield found
                await found.reader.close()

    async def _look(self, blob_id: bytes) -> list[Found]:
        try:
            reader = await self._records.blobs.open(blob_id)
        except BlobError as error:
            self.seen.damaged.append((blob_id, str(error)))
            return []
        try:
            recovered = await recovered_from(reader, self._realm_id, self._description_key)
            if recovered.header.blob_id != blob_id:
                raise SealedDamaged("header: the blob of another id")
            if recovered.header.kind is BlobKind.PACK:
                payload = await self._records.open(recovered, reader, BlobKind.PACK, blob_id)
                await reader.close()
                found = [await self._in_pack(name, bytes(sealed)) for name, sealed in decode_pack(payload)]
                return [each for each in found if each is not None]
            if recovered.header.kind is BlobKind.ENVELOPES:
                await self._take_envelopes(recovered, reader)
        except (Damaged, BlobError, UnwrapFailed) as error:
            await reader.close()
            self.seen.damaged.append((blob_id, str(error)))
            return []
        self.seen.ids.add(blob_id)
        if recovered.header.kind is BlobKind.JOURNAL:
            self.seen.journal_ids.add(blob_id)
        return [Found(recovered, reader)]

    async def _take_envelopes(self, recovered: RecoveredBlob, reader: BlobReader) -> None:
        blob_id = recovered.header.blob_id
        held = await read_envelopes(recovered, reader, self._keys)
        for wrap_id, wrap in held.entries:
            self.envelopes[wrap_id].append(Envelope(held.epoch, blob_id, wrap))
        self.envelopes_blobs[blob_id] = recovered

    def newest(self, wrap_id: bytes) -> Envelope | None:
        """The envelope of the greatest epoch that opens this; None where its slot is the newest (FORMAT 11.1)."""
        return max(self.envelopes.get(wrap_id, ()), key=lambda each: (each.epoch, each.envelopes_id), default=None)

    def of_blob(self, wrap_id: bytes, envelopes_id: bytes) -> Envelope | None:
        """The envelope that a row means."""
        return next((each for each in self.envelopes.get(wrap_id, ()) if each.envelopes_id == envelopes_id), None)

    async def reopened(self, blob_id: bytes, inline: bytes | None = None) -> AsyncGenerator[Found]:
        """A blob that was seen before, once more. Raises: BlobError, SealedDamaged."""
        reader = await self._records.blobs.open(blob_id) if inline is None else MemoryBlobReader(inline)
        try:
            yield Found(await recovered_from(reader, self._realm_id, self._description_key), reader, inline)
        finally:
            await reader.close()

    async def _in_pack(self, blob_id: bytes, sealed: bytes) -> Found | None:
        reader = MemoryBlobReader(sealed)
        try:
            recovered = await recovered_from(reader, self._realm_id, self._description_key)
        except SealedDamaged as error:
            self.seen.damaged.append((blob_id, str(error)))
            return None
        return Found(recovered, reader, sealed)

    async def record(self, found: Found, wrap: bytes) -> ContentRecord:
        """What a manifest or link names, under the wrap of its own key. Asks the KMS.

        Raises:
            SealedDamaged, BlobReadFailed, KeysError: it does not open.
        """
        recovered = found.recovered
        header = recovered.header
        # These blobs belong to no content: their own id stands in the context of their key.
        data_key = await self._custody.open_content_key(recovered.description.bucket_id, header.blob_id, wrap)
        return _RECORDS[header.kind](await read_payload(recovered, found.reader, data_key))


async def replay(chain: Chain, restoration: Restoration, progress: Progress) -> Head:
    """Put every row back that snapshot and journal tell of; the head of the journal.

    Raises:
        JournalDamaged: there is none, or a segment is missing, altered or out of place. Nothing is skipped.
    """
    count = await chain.count()
    if not count:
        raise JournalDamaged(
            "the blob store has no journal of this realm: `sealgate restore FOLDER` brings it back from a backup;"
            " without one `sealgate recover --from-blobs` takes what blobs alone say"
        )
    last = await chain.read(count - 1)
    begin = 0
    if last.head.snapshot_count:
        snapshot = (await chain.read(last.head.snapshot_count - 1)).head
        for part in snapshot.parts:
            restoration.apply(await read_part(chain.records, part))
            progress("rows", part.row_count)
        restoration.apply((), snapshot.after)
        begin = snapshot.begun_count
    unsaved = 0
    async for segment in chain.walk(begin, count, None if begin else Head()):
        for change in segment.changes:
            restoration.apply(change["rows"], change["sequence"])
        restoration.apply((), segment.head.through)
        progress("changes", len(segment.changes))
        unsaved += len(segment.changes)
        if unsaved > SAVE_EVERY:
            restoration.save()
            unsaved = 0
        await asyncio.sleep(0)
    return Head.of(last)


def check_no_hole(chain: Chain, head: Head, seen: Seen) -> None:
    """See that no segment stands behind what was taken for the end. Raises: JournalDamaged."""
    last = chain.last_position(seen.journal_ids)
    if last >= head.count:
        name = chain.records.keys.segment_id(head.count).hex()
        raise JournalDamaged(
            f"segment {head.count} of the journal is missing (blob {name}), though segment {last} is there"
        )


async def put_back(scan: BlobScan, restoration: Restoration, progress: Progress) -> list[tuple[bytes, str]]:
    """Put wraps and inline bytes into the rows that name them; what the rows name and the store lacks, and why."""
    number = 0
    manifests: list[bytes] = []
    async with aclosing(scan.run(progress)) as blobs:
        async for found in blobs:
            row = restoration.blob(found.recovered.header.blob_id)
            if row is not None and _fits(row, found):
                _put_back(restoration, row, found)
                if found.recovered.header.kind is BlobKind.MANIFEST:
                    manifests.append(row.blob_id)
            number += 1
            if number % SAVE_EVERY == 0:
                restoration.save()
    _follow_envelopes(scan, restoration)
    for blob_id in manifests:
        try:
            await _put_back_manifest(scan, restoration, blob_id)
        except (Damaged, BlobError, UnwrapFailed) as error:
            scan.seen.damaged.append((blob_id, str(error)))
        progress("manifests", 1)
    for moved in restoration.moved_wraps():
        envelope = scan.of_blob(moved.wrap_id, moved.envelopes_id)
        owner = restoration.content(moved.wrap_id) or restoration.blob(moved.wrap_id)
        if envelope is not None and owner is not None:
            restoration.put_wrap(owner, envelope.wrap)
    _put_back_uploads(scan, restoration)
    why = dict(scan.seen.damaged)
    named = {moved.envelopes_id for moved in restoration.moved_wraps()}
    return [
        (row.blob_id, why.get(row.blob_id, "it is missing"))
        for row in restoration.live_blobs()
        if row.blob_id not in scan.seen.ids and (row.role != BlobRole.ENVELOPES or row.blob_id in named)
    ]


def _fits(row: BlobRow, found: Found) -> bool:
    """Whether a blob is the one that a row means: one in the store and one in a pack never stand for each other."""
    expectation = found.recovered.expectation
    return bool(row.is_inline) == (found.inline is not None) and (
        (row.plaintext_size, row.sealed_size, row.salt, row.commitment, row.footer_hash)
        == (
            expectation.plaintext_size,
            expectation.sealed_size,
            expectation.salt,
            expectation.commitment,
            expectation.footer_hash,
        )
    )


def _put_back(restoration: Restoration, row: BlobRow, found: Found) -> None:
    kind, slot = found.recovered.header.kind, found.recovered.wrapped_key
    if found.inline is not None:
        restoration.put_inline(row.blob_id, found.inline)
    if kind in (BlobKind.PART, BlobKind.MANIFEST, BlobKind.LINK):
        restoration.put_wrap(row, slot)
    content = None if row.content_id is None else restoration.content(row.content_id)
    if content is not None and kind is BlobKind.OBJECT:
        restoration.put_wrap(content, slot)


def _follow_envelopes(scan: BlobScan, restoration: Restoration) -> None:
    """Let rows name the newest envelopes where those that they name are gone, or where they name none.

    The journal of a backup may be older than a rewrap or a shred, which wrote the envelopes anew; what is left in slots
    and in rows then lies under versions of keys that may be retired by now. And those of an open upload may have been
    made a moment before the loss, when the row that came to name them was not journalled yet.
    """
    stale: list[bytes] = []
    for wrap_id in scan.envelopes:
        moved = restoration.moved_wrap(wrap_id)
        if moved is None or scan.of_blob(wrap_id, moved.envelopes_id) is None:
            stale.append(wrap_id)
    name_envelopes(scan, restoration, stale)


def _put_back_uploads(scan: BlobScan, restoration: Restoration) -> None:
    """Take the wraps of open uploads from the envelopes blobs that rows name."""
    for upload in list(restoration.open_uploads()):
        moved = restoration.moved_wrap(upload.content_id)
        envelope = None if moved is None else scan.of_blob(moved.wrap_id, moved.envelopes_id)
        if envelope is not None:
            restoration.put_upload_wrap(upload, envelope.wrap)


def name_envelopes(scan: BlobScan, restoration: Restoration, wrap_ids: Iterable[bytes]) -> None:
    """Let rows name the envelopes blobs that have the newest wraps of these, so that none of them is swept."""
    carried: Counter[bytes] = Counter()
    epochs: dict[bytes, int] = {}
    for wrap_id in wrap_ids:
        newest = scan.newest(wrap_id)
        assert newest is not None, "the caller saw that there is one"
        carried[newest.envelopes_id] += 1
        epochs[newest.envelopes_id] = newest.epoch
        restoration.settle(MOVED_WRAPS, MovedWrapRow(wrap_id, newest.envelopes_id))
    for envelopes_id, count in carried.items():
        recovered = scan.envelopes_blobs[envelopes_id]
        expectation = recovered.expectation
        blob = Blob(
            blob_id=envelopes_id,
            role=BlobRole.ENVELOPES,
            plaintext_size=expectation.plaintext_size,
            sealed_size=expectation.sealed_size,
            slot_size=recovered.header.slot_size,
            salt=expectation.salt,
            commitment=expectation.commitment,
            footer_hash=expectation.footer_hash,
        )
        restoration.settle(BLOBS, rows.blob_row(blob, None))
        restoration.settle(ENVELOPES, EnvelopesRow(envelopes_id, epochs[envelopes_id], count))


async def _put_back_manifest(scan: BlobScan, restoration: Restoration, blob_id: bytes) -> None:
    """Take the wrap of a content of parts from its manifest, whose own wrap may have been moved."""
    row = restoration.blob(blob_id)
    content = None if row is None or row.content_id is None else restoration.content(row.content_id)
    if content is None:
        return
    moved = restoration.moved_wrap(blob_id)
    envelope = None if moved is None else scan.of_blob(blob_id, moved.envelopes_id)
    async with aclosing(scan.reopened(blob_id)) as reopened:
        async for found in reopened:
            wrap = found.recovered.wrapped_key if envelope is None else envelope.wrap
            restoration.put_wrap(content, (await scan.record(found, wrap)).wrapped_key)
