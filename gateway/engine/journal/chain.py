"""The chain of segments in the blob store: how its head is found, and how it is read and written.

A segment's blob id follows from its position and a key of the realm, so nothing has to be listed: a position is looked
for by its id. The store never replaces a blob, so of two writers of one position one loses, and reads what the other
wrote. Source: docs/FORMAT.md section 16, docs/decisions/0008-journal.md.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.engine.journal.records import RecordBlobs
from keys.errors import UnwrapFailed
from storage.errors import BlobMissing, SealedDamaged, StorageError
from storage.sealed.header import BlobKind
from storage.sealed.journal import NO_SEGMENT, Segment, SegmentHead, decode_segment, segment_lines
from storage.seams import reach

MILESTONE: Final = 1024
"""Every so many segments one stays for ever, and none is cut since the last such one: so the head of any chain is
found by looking for few blobs, from nothing or from any older position."""


MAX_POSITIONS: Final = 1 << 24
"""How far journal blobs are looked for by their ids: half a year of a segment a second."""


class JournalDamaged(StorageError):
    """A segment is missing, altered or out of place. Nothing of the journal is skipped."""


class CatalogueBehind(StorageError):
    """The blob store's journal knows changes that the catalogue does not: it is an old one."""


class JournalLost(StorageError):
    """The catalogue knows segments that the blob store has not: the store is an old one, or was written to."""


@dataclass(frozen=True, slots=True)
class Head:
    """Where the chain ends."""

    count: int = 0
    """How many segments there ever were."""
    digest: bytes = NO_SEGMENT
    """SHA-256 of the last one's payload."""
    through: int = 0
    """The sequence that it goes to."""
    snapshot_count: int = 0
    """As in `SegmentHead`."""

    @classmethod
    def of(cls, segment: Segment) -> "Head":
        """The chain that ends with this segment."""
        return cls(segment.head.position + 1, segment.digest, segment.head.through, segment.head.snapshot_count)


class Chain:
    """Reads and extends the chain."""

    def __init__(self, records: RecordBlobs) -> None:
        self.records = records

    async def has(self, position: int) -> bool:
        """Whether there is a blob at that position."""
        return await self.records.exists(self.records.keys.segment_id(position))

    async def count(self, known: int = 0) -> int:
        """How many segments there are, from what is known: two looks where nothing came since, about 30 from nothing.

        Raises:
            JournalLost: fewer than are known.
        """
        if known and not await self.has(known - 1):
            raise JournalLost(
                f"the blob store's journal has no segment {known - 1}, which the catalogue knows: the store is older"
                " than the catalogue, or part of it is lost. Restore the blob store; the catalogue is left as it is"
            )
        if not known and not await self.has(0):
            return 0
        block = await self._last_milestone(max(known - 1, 0) // MILESTONE)
        there, absent = max(block * MILESTONE, known - 1), (block + 1) * MILESTONE
        if not await self.has(there + 1):
            return there + 1
        while absent - there > 1:
            middle = (there + absent) // 2
            there, absent = (middle, absent) if await self.has(middle) else (there, middle)
        return there + 1

    async def _last_milestone(self, there: int) -> int:
        """The number of the last block that has its first segment."""
        step = 1
        while await self.has((there + step) * MILESTONE):
            there, step = there + step, 2 * step
        absent = there + step
        while absent - there > 1:
            middle = (there + absent) // 2
            there, absent = (middle, absent) if await self.has(middle * MILESTONE) else (there, middle)
        return there

    def last_position(self, blob_ids: set[bytes]) -> int:
        """The greatest position that one of these blobs stands at; -1 where there is none.

        To be asked with the ids of all journal blobs of a store: where one before the last is missing, looking for ids
        takes the hole for the end. Takes some microseconds for each position that there ever was.

        Raises: JournalDamaged for an id that is of no position.
        """
        left = set(blob_ids)
        for position in range(MAX_POSITIONS):
            if not left:
                return position - 1
            left.discard(self.records.keys.segment_id(position))
        raise JournalDamaged(f"{len(left)} journal blobs stand at no place of the chain")

    async def read(self, position: int) -> Segment:
        """The segment at a position, authenticated and in its place. Raises: JournalDamaged."""
        blob_id = self.records.keys.segment_id(position)
        try:
            segment = decode_segment(await self.records.read(BlobKind.JOURNAL, blob_id))
        except BlobMissing:
            raise JournalDamaged(f"segment {position} of the journal is missing (blob {blob_id.hex()})") from None
        except (SealedDamaged, UnwrapFailed) as error:
            raise JournalDamaged(
                f"segment {position} of the journal is damaged (blob {blob_id.hex()}): {error}"
            ) from error
        if segment.head.position != position:
            raise JournalDamaged(f"segment {position} of the journal says that it is another")
        return segment

    async def head(self, count: int) -> Head:
        """The head of a chain of that many segments. Raises: JournalDamaged."""
        return Head.of(await self.read(count - 1)) if count else Head()

    async def walk(self, begin: int, end: int, before: Head | None = None) -> AsyncIterator[Segment]:
        """Segments from position `begin` up to `end`, each seen to follow the one before.

        Raises: JournalDamaged.
        """
        for position in range(begin, end):
            segment = await self.read(position)
            if before is not None:
                check_follows(before, segment)
            before = Head.of(segment)
            yield segment

    async def append(self, head: SegmentHead, changes: Iterable[Mapping[str, Any]]) -> Head:
        """Write the next segment; durable on return.

        Raises:
            BlobExists: another writer was first; read what it wrote.
        """
        blob_id = self.records.keys.segment_id(head.position)
        digest = await self.records.write(BlobKind.JOURNAL, blob_id, segment_lines(head, changes))
        reach("journal.segment_durable")
        return Head(head.position + 1, digest, head.through, head.snapshot_count)


def check_follows(before: Head, segment: Segment) -> None:
    """See that a segment is the next of a chain, or ends a snapshot with which the chain begins anew.

    Raises: JournalDamaged.
    """
    head = segment.head
    begins_anew = head.previous == NO_SEGMENT and head.is_snapshot
    if head.position != before.count or (
        not begins_anew and (head.previous, head.after) != (before.digest, before.through)
    ):
        raise JournalDamaged(
            f"segment {head.position} of the journal does not follow the one before it: the chain is broken there"
        )
