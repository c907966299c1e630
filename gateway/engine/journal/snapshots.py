"""Snapshots: every row of the catalogue beside the journal, so that recovery is short and the journal can be cut.

A table's rows are cut into parts where a hash of a key says so; a part that is as it was in the snapshot before is not
written again. Rows are read page by page while commands run; the changes that came meanwhile make them right. Source:
docs/FORMAT.md section 16.3.
"""

import hashlib
import json
import secrets
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from gateway.engine.journal.chain import MILESTONE, Head, JournalDamaged
from gateway.engine.journal.records import RecordBlobs
from gateway.engine.journal.runner import Journal
from keys.errors import UnwrapFailed
from storage.blobs.base import BlobStat
from storage.catalogue.base import Catalogue
from storage.catalogue.records import ID_SIZE, Attributes
from storage.catalogue.rowlog import LOGGED
from storage.errors import BlobHeld, BlobMissing, SealedDamaged, StorageUnavailable
from storage.sealed.header import BlobKind
from storage.sealed.journal import Segment, SnapshotPart, decode_lines, lines_of
from storage.seams import reach

PAGE_ROWS: Final = 512
PART_ROWS: Final = 2048
"""About so many rows make a part."""
PART_GRACE: Final = timedelta(days=1)
"""How old a part is that no snapshot names before it is taken away."""
LONGEST: Final = PART_GRACE / 2
"""How long a snapshot may take: it is given up long before its first part could be taken away."""
MAX_PART_ROWS: Final = 4 * PART_ROWS


@dataclass(frozen=True, slots=True)
class SnapshotReport:
    """What a snapshot took."""

    row_count: int
    part_count: int
    written_part_count: int


class Snapshots:
    """Takes snapshots of one catalogue, and cuts the journal behind them."""

    def __init__(self, catalogue: Catalogue, journal: Journal) -> None:
        self._catalogue = catalogue
        self._journal = journal
        self._chain = journal.chain
        self._records = journal.chain.records

    async def take(self) -> SnapshotReport:
        """Write a snapshot and name it in the journal. Raises: StorageError."""
        began_at = self._journal.now()
        begun = await self._journal.begin_snapshot()
        known = {part.digest: part for part in await self._parts_before(begun)}
        parts: list[SnapshotPart] = []
        written = 0
        for table in LOGGED:
            async for payload, row_count in self._cut(table):
                digest = hashlib.sha256(payload).digest()
                part = known.get(digest)
                if part is None:
                    part = await self._write(table, row_count, payload, digest)
                    written += 1
                parts.append(part)
        if self._journal.now() - began_at > LONGEST:
            raise StorageUnavailable("the snapshot took too long: another one is begun")
        await self._journal.append_snapshot(
            lambda head: replace(head, snapshot_count=head.position + 1, begun_count=begun.count, parts=tuple(parts))
        )
        return SnapshotReport(sum(part.row_count for part in parts), len(parts), written)

    async def _parts_before(self, head: Head) -> tuple[SnapshotPart, ...]:
        return (await self._chain.read(head.snapshot_count - 1)).head.parts if head.snapshot_count else ()

    async def _cut(self, table: str) -> AsyncIterator[tuple[bytes, int]]:
        """A table's rows in parts, encoded, each with their number.

        Where a part ends follows from keys alone, so that a new row changes one part.
        """
        held: list[bytes] = []
        after: Attributes | None = None
        while page := await self._catalogue.read_rows(table, after, PAGE_ROWS):
            for row, line in zip(page, lines_of(page), strict=True):
                held.append(line)
                if len(held) >= MAX_PART_ROWS or _ends_part(table, row):
                    yield b"".join(held), len(held)
                    held = []
            after = page[-1]
        if held:
            yield b"".join(held), len(held)

    async def _write(self, table: str, row_count: int, payload: bytes, digest: bytes) -> SnapshotPart:
        blob_id = secrets.token_bytes(ID_SIZE)
        await self._records.write(BlobKind.SNAPSHOT, blob_id, (payload,))
        reach("journal.part_durable")
        part = SnapshotPart(blob_id=blob_id, digest=digest, table=table, row_count=row_count)
        await read_part(self._records, part)
        return part

    async def taken_at(self) -> datetime | None:
        """When the newest snapshot was written, by the store's clock; None where there is none."""
        head = await self._journal.begin_snapshot()
        if not head.snapshot_count:
            return None
        blob_id = self._records.keys.segment_id(head.snapshot_count - 1)
        return (await self._records.blobs.stat(blob_id)).modified_at

    async def reclaim(self, parts: Sequence[BlobStat]) -> int:
        """Delete those of these parts that are old and that no snapshot names, as a crash leaves them; their number.

        Whoever is taking a snapshot meanwhile names parts of the newest one, and younger ones. `parts` are listed
        before the snapshots are read. Raises: JournalDamaged, StorageError; nothing was deleted then.
        """
        horizon = self._journal.now() - PART_GRACE
        old = {part.blob_id for part in parts if part.modified_at < horizon}
        if not old:
            return 0
        head = await self._journal.current()
        for snapshot in await self._snapshots(head, head.count):
            old -= {part.blob_id for part in snapshot.head.parts}
        reclaimed = 0
        for blob_id in old:
            with suppress(BlobHeld):  # it goes by a later sweep
                await self._records.blobs.delete(blob_id)
                reclaimed += 1
                reach("journal.part_reclaimed")
        return reclaimed

    async def cut(self, anchored_count: int | None) -> int:
        """Delete what nobody needs to read any more of the journal; return the number of segments deleted.

        That is what lies behind two snapshots, both read and verified just now, behind the head that was exported
        (`anchored_count` segments; None where none is), and before the last milestone.

        Raises: JournalDamaged where a snapshot does not verify.
        """
        head = await self._journal.begin_snapshot()
        kept = await self._snapshots(head, 2)
        if len(kept) < 2:
            return 0
        for snapshot in kept:
            for part in snapshot.head.parts:
                await read_part(self._records, part)
        last_milestone = (head.count - 1) // MILESTONE * MILESTONE
        end = min(
            last_milestone,
            # The segment that an anchor names stays: what follows it is proved to by way of it.
            head.count if anchored_count is None else max(0, anchored_count - 1),
            *(snapshot.head.begun_count for snapshot in kept),
        )
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

    async def oldest(self, head: Head) -> Segment | None:
        """The oldest snapshot whose parts and later segments are all still there."""
        found: Segment | None = None
        for snapshot in await self._snapshots(head, head.count):
            begun = snapshot.head.begun_count
            parts_are_there = [await self._records.exists(part.blob_id) for part in snapshot.head.parts]
            if not all(parts_are_there) or not (begun >= head.count or await self._chain.has(begun)):
                break
            found = snapshot
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
        """Delete segments back to where the last cut ended, the oldest first: a crash leaves a shorter run of them."""
        positions: list[int] = []
        for position in range(end - 1, -1, -1):
            if position % MILESTONE == 0:
                continue
            if not await self._chain.has(position):
                break
            positions.append(position)
        for position in reversed(positions):
            await self._records.blobs.delete(self._records.keys.segment_id(position))
            reach("journal.cut")
        return len(positions)


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
