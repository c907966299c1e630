"""Comparing the catalogue with what the journal says, and the journal with an anchor: `sealgate verify --anchor`.

The journal is replayed from its beginning, or from the oldest snapshot that is left, and never from a newer one: a
snapshot of a catalogue that was tampered with would hide it. Source: docs/THREATS.md.
"""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Final

from gateway.engine.journal.anchor import Anchor, AnchorRefused
from gateway.engine.journal.chain import MILESTONE, Head, JournalDamaged
from gateway.engine.journal.runner import Journal
from gateway.engine.journal.snapshots import Snapshots, read_part
from storage.catalogue.base import Catalogue
from storage.catalogue.records import Attributes
from storage.catalogue.replay import Difference, Replay, key_of
from storage.catalogue.rowlog import LOGGED, Written
from storage.catalogue.rows import from_micros
from storage.errors import Damaged
from storage.sealed.journal import NO_SEGMENT, Segment

ROUNDS: Final = 4
"""A row that commands write meanwhile differs for a moment; one that differs each time is told of."""
PAGE_ROWS: Final = 512
MAX_TOLD: Final = 20
_HIDDEN: Final = frozenset({"object_key"})
"""Key columns that no message shows, as in messages of damage."""


class NotWitnessed(Damaged):
    """Catalogue, journal and anchor do not agree; the message names the gap."""


@dataclass(frozen=True, slots=True)
class WitnessReport:
    """What was compared, where everything agrees."""

    segment_count: int
    change_count: int
    row_count: int
    anchored_segment_count: int
    began_anew_at: int
    """The segment with which a recovery from blobs alone began the chain anew; 0 where none did."""


class Witness:
    """Compares one catalogue with its journal."""

    def __init__(self, catalogue: Catalogue, journal: Journal, snapshots: Snapshots) -> None:
        self._catalogue = catalogue
        self._journal = journal
        self._snapshots = snapshots
        self._chain = journal.chain
        self._replay = Replay()
        self._changes = 0
        self._began_anew = 0

    async def verify(self, anchor: Anchor | None = None) -> WitnessReport:
        """Compare all of it.

        Raises:
            NotWitnessed: rows are not as the journal tells, or the journal is not the one of the anchor.
            JournalDamaged, CatalogueBehind, JournalLost: the journal itself cannot be read, or is another's.
        """
        head = await self._journal.current()
        if anchor is not None:
            await self._check_anchor(anchor, head)
        begin = await self._start(head)
        first = begin
        doubtful: set[Difference] | None = None
        row_count = 0
        for _ in range(ROUNDS):
            head = await self._journal.current()
            await self._follow(begin, head)
            begin = head.count
            row_count, found = await self._compare()
            doubtful = found if doubtful is None else {each for each in doubtful if each in found}
            if not doubtful:
                break
        if doubtful:
            raise NotWitnessed(await self._told(doubtful, first, head))
        return WitnessReport(
            head.count, self._changes, row_count, 0 if anchor is None else anchor.count, self._began_anew
        )

    async def _check_anchor(self, anchor: Anchor, head: Head) -> None:
        if anchor.realm_id != await self._catalogue.realm_id():
            raise AnchorRefused("this is an anchor of another realm")
        if head.count < anchor.count:
            raise NotWitnessed(
                f"the journal ends with segment {head.count - 1} and sequence {head.through}, but on"
                f" {anchor.at:%Y-%m-%d %H:%M:%S} UTC it had {anchor.count} segments and went to sequence"
                f" {anchor.through}: catalogue and blob store are older than the anchor"
            )
        if anchor.count:
            await self._check_follows(anchor, head)

    async def _check_follows(self, anchor: Anchor, head: Head) -> None:
        """See that the chain leads from the anchor to its end: behind a gap could be anything. Raises: NotWitnessed."""
        position = anchor.count - 1
        try:
            async for segment in self._walk(position, head):
                if segment.head.position == position and segment.digest != anchor.digest:
                    raise NotWitnessed(
                        f"segment {position} of the journal is another than on {anchor.at:%Y-%m-%d %H:%M:%S} UTC:"
                        " what was done since some time before then was replaced by something else"
                    )
        except JournalDamaged as error:
            raise NotWitnessed(
                f"the journal does not lead from the anchor of {anchor.at:%Y-%m-%d %H:%M:%S} UTC to its end ({error}):"
                " only where a newer anchor was exported its segments may be gone; verify with that"
            ) from error

    async def _walk(self, begin: int, head: Head) -> AsyncIterator[Segment]:
        """Segments up to a head, which the last one must be: whoever reads twice sees the same chain twice."""
        digest = head.digest
        async for segment in self._chain.walk(begin, head.count):
            digest = segment.digest
            yield segment
        if digest != head.digest:
            raise NotWitnessed("the store gave another journal than a moment before")

    async def _start(self, head: Head) -> int:
        """Take the oldest state that is there; the position to go on from."""
        if await self._tells_all(head):
            return 0
        oldest = await self._snapshots.oldest(head)
        if oldest is None:
            raise NotWitnessed("the journal does not begin with this catalogue, and has no snapshot yet: try later")
        for part in oldest.head.parts:
            self._replay.apply(await read_part(self._chain.records, part))
        return oldest.head.begun_count

    async def _tells_all(self, head: Head) -> bool:
        """Whether the chain begins with the realm and was not cut: a catalogue may be older than its journal."""
        if not head.count:
            return True
        # Nothing is cut before the first milestone. One of fewer segments that is not there was lost: it ends the walk.
        if head.count > MILESTONE and not await self._chain.has(1):
            return False
        # The first command makes an account, with its key: two lines, of which the last one has the rows of both. Lines
        # that an older release wrote have none.
        first = (await self._chain.read(0)).changes[:2]
        return bool(first) and first[0]["sequence"] == 1 and any(change["rows"] for change in first)

    async def _follow(self, begin: int, head: Head) -> None:
        """Replay segments up to a head."""
        async for segment in self._walk(begin, head):
            if segment.head.position and segment.head.previous == NO_SEGMENT:
                # A catalogue that blobs alone told of: what was before it is no longer what should be.
                self._replay, self._began_anew = Replay(), segment.head.position
                for part in segment.head.parts:
                    self._replay.apply(await read_part(self._chain.records, part))
            for change in segment.changes:
                self._replay.apply(change["rows"])
            self._changes += len(segment.changes)

    async def _compare(self) -> tuple[int, set[Difference]]:
        """How many rows there are, and which are not as they should be."""
        found: set[Difference] = set()
        total = 0
        for table in LOGGED:
            count = 0
            async for row in _rows(self._catalogue, table):
                count += 1
                difference = self._replay.check(table, key_of(row), row)
                if difference is not None:
                    found.add(difference)
            if count != self._replay.count(table):
                seen = {key_of(row) async for row in _rows(self._catalogue, table)}
                found |= {Difference(table, key, "missing") for key in self._replay.keys(table) if key not in seen}
            total += count
        return total, found

    async def _told(self, differences: Iterable[Difference], begin: int, head: Head) -> str:
        """Name the rows, each with the change that wrote it last."""
        wanted = sorted(differences, key=lambda each: (each.table, repr(each.key)))
        shown = {(each.table, each.key): each for each in wanted[:MAX_TOLD]}
        changed: dict[tuple[str, tuple[object, ...]], str] = {}
        async for segment in self._chain.walk(begin, head.count):
            for change in segment.changes:
                for row in change["rows"]:
                    written = Written.from_json(row)
                    place = (written.table.name, written.key)
                    if place in shown:
                        at = from_micros(change["at"])
                        changed[place] = f"{change['kind']}, sequence {change['sequence']}, {at:%Y-%m-%d %H:%M:%S} UTC"
        lines = [
            f"{_named(each)} (last written by {changed.get(place, 'the snapshot')})" for place, each in shown.items()
        ]
        more = f"; and {len(wanted) - MAX_TOLD} more" if len(wanted) > MAX_TOLD else ""
        return f"{len(wanted)} rows of the catalogue are not as the journal tells: " + "; ".join(lines) + more


def _named(difference: Difference) -> str:
    columns = LOGGED[difference.table].columns
    shown = " ".join(
        f"{name}={value.hex() if isinstance(value, bytes) else value}"
        for name, value in zip(columns, difference.key, strict=False)
        if name not in _HIDDEN
    )
    return f"{difference.what}: {difference.table} {shown}"


async def _rows(catalogue: Catalogue, table: str) -> AsyncIterator[Attributes]:
    after: Attributes | None = None
    while page := await catalogue.read_rows(table, after, PAGE_ROWS):
        for row in page:
            yield row
        after = page[-1]
