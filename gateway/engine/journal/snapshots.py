"""Snapshots: every row of the catalogue beside the journal, so that recovery is short and the journal can be cut.

A table's rows are cut into parts where a hash of a key says so; a part that is as it was in the snapshot before is not
written again. Rows are read page by page while commands run; the changes that came meanwhile make them right. Source:
docs/FORMAT.md section 16.3.
"""

import hashlib
import json
import secrets
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Final

from gateway.engine.journal.chain import MILESTONE, Head, JournalDamaged
from gateway.engine.journal.records import RecordBlobs
from gateway.engine.journal.runner import Journal
from keys.errors import UnwrapFailed
from storage.catalogue.base import Catalogue
from storage.catalogue.records import ID_SIZE, Attributes
from storage.catalogue.rowlog import LOGGED
from storage.errors import BlobMissing, SealedDamaged
from storage.sealed.header import BlobKind
from storage.sealed.journal import Segment, SnapshotPart, decode_lines, lines_of
from storage.seams import reach

PAGE_ROWS: Final = 512
PART_ROWS: Final = 2048
"""About so many rows make a part."""
MAX_PART_ROWS: Final = 4 * PART_ROWS


@dataclass(frozen=True, slots=True)
class SnapshotReport:
    """What a snapshot took."""

    row_count: int
    part_count: int
    written_part_count: int
    cut_segment_count: int


class Snapshots:
    """Takes snapshots of one catalogue, and cuts the journal behind them."""

    def __init__(self, catalogue: Catalogue, journal: Journal) -> None:
        self._catalogue = catalogue
        self._journal = journal
        self._chain = journal.chain
        self._records = journal.chain.records

    async def take(self) -> SnapshotReport:
        """Write a snapshot and name it in the journal. Raises: StorageError."""
        begun = await self._journal.begin_snapshot()
        known = {part.digest: part for part in await self._parts_before(begun)}
        parts: list[SnapshotPart] = []
        written = 0
        for table in LOGGED:
            async for rows in self._cut(table):
                payload = b"".join(lines_of(rows))
                digest = hashlib.sha256(payload).digest()
                part = known.get(digest)
                if part is None:
                    part = await self._write(table, len(rows), payload, digest)
                    written += 1
                parts.append(part)
        await self._journal.append_snapshot(
            lambda head: replace(head, snapshot_count=head.position + 1, begun_count=begun.count, parts=tuple(parts))
        )
        return SnapshotReport(sum(part.row_count for part in parts), len(parts), written, 0)

    async def _parts_before(self, head: Head) -> tuple[SnapshotPart, ...]:
        return (await self._chain.read(head.snapshot_count - 1)).head.parts if head.snapshot_count else ()

    async def _cut(self, table: str) -> AsyncIterator[list[Attributes]]:
        """A table's rows in parts. Where one ends follows from keys alone, so a new row changes one part."""
        held: list[Attributes] = []
        after: Attributes | None = None
        while page := await self._catalogue.read_rows(table, after, PAGE_ROWS):
            for row in page:
                held.append(row)
                if len(held) >= MAX_PART_ROWS or _ends_part(table, row):
                    yield held
                    held = []
            after = page[-1]
        if held:
            yield held

    async def _write(self, table: str, row_count: int, payload: bytes, digest: bytes) -> SnapshotPart:
        blob_id = secrets.token_bytes(ID_SIZE)
        await self._records.write(BlobKind.SNAPSHOT, blob_id, (payload,))
        reach("journal.part_durable")
        part = SnapshotPart(blob_id=blob_id, digest=digest, table=table, row_count=row_count)
        await read_part(self._records, part)
        return part

    async def cut(self, anchored_count: int) -> int:
        """Delete what nobody needs to read any more of the journal; return the number of segments deleted.

        That is what lies behind two snapshots, both read and verified just now, behind the head that was exported
        (`anchored_count` segments), and before the last milestone. Raises: JournalDamaged where one does not verify.
        """
        head = await self._journal.begin_snapshot()
        kept = await self._snapshots(head, 2)
        if len(kept) < 2:
            return 0
        for snapshot in kept:
            for part in snapshot.head.parts:
                await read_part(self._records, part)
        last_milestone = (head.count - 1) // MILESTONE * MILESTONE
        end = min(last_milestone, anchored_count, *(snapshot.head.begun_count for snapshot in kept))
        needed = {part.blob_id for snapshot in kept for part in snapshot.head.parts}
        await self._forget_older(kept[-1], end, needed)
        return await self._delete_before(end)

    async def _snapshots(self, head: Head, count: int) -> list[Segment]:
        """The newest snapshots, newest first."""
        found: list[Segment] = []
        position = head.snapshot_count
        while position and len(found) < count:
            found.append(await self._chain.read(position - 1))
            position = await self._before(found[-1])
        return found

    async def _before(self, snapshot: Segment) -> int:
        """The count of the snapshot before one; 0 where there is none or it was cut."""
        position = snapshot.head.position
        if not position or not await self._chain.has(position - 1):
            return 0
        return (await self._chain.read(position - 1)).head.snapshot_count

    async def _forget_older(self, oldest: Segment, end: int, needed: set[bytes]) -> None:
        """Delete parts that only snapshots before `end` name, those behind the oldest that is kept."""
        count = await self._before(oldest)
        while count and count <= end and await self._chain.has(count - 1):
            older = await self._chain.read(count - 1)
            for part in older.head.parts:
                if part.blob_id not in needed:
                    await self._records.blobs.delete(part.blob_id)
            count = await self._before(older)

    async def _delete_before(self, end: int) -> int:
        deleted = 0
        # Backwards, so that a crash leaves nothing behind that the next run does not meet.
        for position in range(end - 1, -1, -1):
            if position % MILESTONE == 0:
                continue
            if not await self._chain.has(position):
                break
            deleted += 1
        first = end - deleted - deleted // (MILESTONE - 1) - 1
        for position in range(max(0, first - 1), end):
            if position % MILESTONE:
                await self._records.blobs.delete(self._records.keys.segment_id(position))
                reach("journal.cut")
        return deleted


async def read_part(records: RecordBlobs, part: SnapshotPart) -> tuple[Attributes, ...]:
    """The rows of a part, verified. Raises: JournalDamaged."""
    name = part.blob_id.hex()
    try:
        payload = await records.read(BlobKind.SNAPSHOT, part.blob_id)
    except BlobMissing:
        raise JournalDamaged(f"a part of a snapshot is missing (blob {name})") from None
    except (SealedDamaged, UnwrapFailed) as error:
        raise JournalDamaged(f"a part of a snapshot is damaged (blob {name}): {error}") from error
    if hashlib.sha256(payload).digest() != part.digest:
        raise JournalDamaged(f"a part of a snapshot is another than the journal names (blob {name})")
    return decode_lines(payload)


def _ends_part(table: str, row: Attributes) -> bool:
    key = [row["row"].get(name) for name in LOGGED[table].columns[: LOGGED[table].key_size]]
    return zlib.crc32(json.dumps(key).encode("ascii")) % PART_ROWS == 0
