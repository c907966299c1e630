"""A second copy of what a catalogue is made of: the newest snapshot, the journal since, and the packs.

They are copied as they lie in the store, sealed, each proved first; what is there already and sound is not copied
again, so a backup that was cut off goes on. A signed head, written last, says what belongs to it. Put back into the
store, they are what a recovery reads: nothing but the recovery makes a catalogue. Source: docs/FORMAT.md section 16,
docs/RECOVERY.md.
"""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from gateway.engine.journal.anchor import Anchor
from gateway.engine.journal.chain import MILESTONE, Chain, Head, JournalDamaged
from gateway.engine.journal.packs import Packs
from gateway.engine.journal.records import RecordBlobs
from gateway.engine.journal.runner import Journal
from gateway.engine.journal.snapshots import Snapshots
from gateway.engine.rowless import find_rowless, kind_of
from keys.errors import UnwrapFailed
from storage.blobs.base import BlobStore
from storage.catalogue.base import Catalogue
from storage.errors import BlobExists, BlobMissing, BlobReadFailed, Damaged, SealedDamaged
from storage.sealed.header import BlobKind
from storage.seams import reach

KINDS = frozenset({BlobKind.JOURNAL, BlobKind.SNAPSHOT, BlobKind.PACK})
"""What a backup holds."""
_LOOKS: Final = 100
"""Blobs that are looked at between two times that the right to it is taken anew."""

_REMEDY: Final = "put it back from a copy of the store, or from an older backup (docs/RECOVERY.md)"

_log = logging.getLogger(__name__)


class NoWholeBackup(Damaged):
    """What should be a backup of this realm is none, or not whole."""


@dataclass(slots=True)
class BackupReport:
    """What was copied. Counts of blobs."""

    blob_count: int = 0
    """All that belong to the backup."""
    copied_count: int = 0
    copied_bytes: int = 0
    damaged_count: int = 0
    """Those of them that took the place of one that was damaged in the backup."""
    removed_count: int = 0
    """Those of an older backup that this one needs no more."""


class Backup:
    """Copies from the store of a gateway that may serve meanwhile."""

    def __init__(self, *, catalogue: Catalogue, journal: Journal, packs: Packs) -> None:
        self._catalogue = catalogue
        self._journal = journal
        self._packs = packs
        self._records = journal.chain.records

    async def run(
        self, target: BlobStore, tell: Callable[[BackupReport], None], *, verify: bool = False
    ) -> tuple[Head, BackupReport]:
        """Copy into an own store; the head that is to be signed once more, and what was done. Run again, it goes on.

        Of what is there already length, header and description are authenticated; with `verify` every byte.

        Raises:
            SealedDamaged, JournalDamaged, BlobMissing: the store itself is damaged. StorageError: run it again.
        """
        report = BackupReport()
        await Snapshots(self._catalogue, self._journal).take()
        # Packs that are written anew meanwhile would be neither among those that are copied nor in their old places.
        async with self._packs.held() as keep:
            head = await self._journal.current()
            wanted = await self._wanted(head)
            wanted |= {
                stat.blob_id: BlobKind.PACK for stat in (await find_rowless(self._records.blobs, self._catalogue)).packs
            }
            report.blob_count = len(wanted)
            there = {stat.blob_id async for stat in target.iterate()}
            for number, (blob_id, kind) in enumerate(wanted.items()):
                if verify or number % _LOOKS == 0:
                    await keep()
                is_damaged = blob_id in there and not await self._is_sound(target, kind, blob_id, whole=verify)
                if is_damaged or blob_id not in there:
                    await keep()
                    await self._copy(target, kind, blob_id, report, replacing=is_damaged)
                    tell(report)
        reach("backup.copied")
        for blob_id in there - wanted.keys():
            await target.delete(blob_id)
            report.removed_count += 1
        return head, report

    async def _wanted(self, head: Head) -> dict[bytes, BlobKind]:
        """Segments and parts from which the catalogue at a head can be made, and what finds that head (FORMAT 16.1)."""
        chain = self._journal.chain
        snapshot = (await chain.read(head.snapshot_count - 1)).head
        last_milestone = (head.count - 1) // MILESTONE * MILESTONE
        positions = {*range(0, head.count, MILESTONE), *range(min(snapshot.begun_count, last_milestone), head.count)}
        found = {self._records.keys.segment_id(position): BlobKind.JOURNAL for position in sorted(positions)}
        return found | {part.blob_id: BlobKind.SNAPSHOT for part in snapshot.parts}

    async def _is_sound(self, target: BlobStore, kind: BlobKind, blob_id: bytes, *, whole: bool) -> bool:
        """Whether a blob of the backup is what belongs there: two short reads, or every byte."""
        records = self._records.beside(target)
        try:
            if whole:
                await records.read(kind, blob_id)
            else:
                await records.look(kind, blob_id)
        except (SealedDamaged, UnwrapFailed, BlobReadFailed, BlobMissing) as error:
            _log.warning("blob %s of the backup is damaged: %s", blob_id.hex(), error)
            return False
        return True

    async def _copy(
        self, target: BlobStore, kind: BlobKind, blob_id: bytes, report: BackupReport, *, replacing: bool
    ) -> None:
        name = f"blob {blob_id.hex()} of the store, which the backup needs,"
        try:
            sealed = await self._records.sealed(kind, blob_id)
        except BlobMissing:
            raise BlobMissing(f"{name} is missing: {_REMEDY}") from None
        except (SealedDamaged, UnwrapFailed) as error:
            raise SealedDamaged(f"{name} is damaged ({error}): {_REMEDY}") from error
        if replacing:
            await target.delete(blob_id)
            report.damaged_count += 1
            reach("backup.damaged_gone")
        with suppress(BlobExists):
            await put_bytes(target, blob_id, sealed)
        report.copied_count += 1
        report.copied_bytes += len(sealed)
        reach("backup.blob")


@dataclass(slots=True)
class PutBack:
    """What came back into the store. Counts of blobs."""

    put_back_count: int = 0
    """Those that it lacked."""
    healed_count: int = 0
    """Those that were damaged there."""


async def put_back_blobs(source: RecordBlobs, target: RecordBlobs, anchor: Anchor, tell: Callable[[], None]) -> PutBack:
    """Give the store what a backup holds and it lacks, or has damaged. Every blob of the backup is proved first.

    Raises:
        NoWholeBackup: the backup is not what its signed head says; nothing was changed.
        JournalDamaged: the store's journal went another way since.
    """
    await _check_whole(source, anchor)
    ids = [stat.blob_id async for stat in source.blobs.iterate()]
    kinds = {blob_id: await _proved(source, blob_id) for blob_id in ids}
    report = PutBack()
    for blob_id, kind in kinds.items():
        sealed = await source.sealed(kind, blob_id)
        try:
            is_there = await _holds(target.blobs, blob_id, sealed)
        except BlobMissing:
            await put_bytes(target.blobs, blob_id, sealed)
            report.put_back_count += 1
            reach("restore.blob")
        else:
            if not is_there:
                await _heal(target, kind, blob_id, sealed)
                report.healed_count += 1
        tell()
    return report


async def _holds(blobs: BlobStore, blob_id: bytes, sealed: bytes) -> bool:
    """Whether a blob has these very bytes. Raises: BlobMissing, StorageError."""
    reader = await blobs.open(blob_id)
    try:
        return reader.sealed_size == len(sealed) and await reader.read(0, len(sealed)) == sealed
    finally:
        await reader.close()


async def _heal(target: RecordBlobs, kind: BlobKind, blob_id: bytes, sealed: bytes) -> None:
    try:
        await target.sealed(kind, blob_id)
    except (SealedDamaged, UnwrapFailed):
        # Blobs are never replaced. This one is none: it opens for nobody, and what belongs there is at hand.
        await target.blobs.delete(blob_id)
        reach("restore.damaged_gone")
        await put_bytes(target.blobs, blob_id, sealed)
        return
    raise JournalDamaged(
        f"the store's journal is another than that of the backup from blob {blob_id.hex()} on: the store was put back"
        " to an old state and went on from there; `sealgate recover` takes what the store has"
    )


async def _check_whole(source: RecordBlobs, anchor: Anchor) -> None:
    chain = Chain(source)
    try:
        count = await chain.count()
        head = await chain.head(count)
        snapshot = await chain.read(head.snapshot_count - 1)
        for part in snapshot.head.parts:
            await source.blobs.stat(part.blob_id)
        async for _ in chain.walk(snapshot.head.begun_count, count):
            pass
    except (BlobMissing, JournalDamaged) as error:
        raise NoWholeBackup(f"the backup is not whole: {error}") from error
    if (count, head.digest) != (anchor.count, anchor.digest):
        raise NoWholeBackup("the backup's journal does not end where its signed head says: it is not whole")


async def _proved(source: RecordBlobs, blob_id: bytes) -> BlobKind:
    """The kind of a blob of a backup, authentic to its last byte."""
    kind = await kind_of(source.blobs, blob_id)
    if kind not in KINDS:
        raise NoWholeBackup(f"blob {blob_id.hex()} of the backup is damaged, or of no kind that a backup holds")
    try:
        await source.sealed(kind, blob_id)
    except (SealedDamaged, UnwrapFailed) as error:
        raise NoWholeBackup(f"blob {blob_id.hex()} of the backup is damaged: {error}") from error
    return kind


async def put_bytes(blobs: BlobStore, blob_id: bytes, sealed: bytes) -> None:
    """Store a blob that is in memory, durably. Raises: as `BlobStore.put`."""

    async def pieces() -> AsyncIterator[bytes]:
        yield sealed

    await blobs.put(blob_id, pieces())
