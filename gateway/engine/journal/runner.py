"""From the outbox to the journal: every change, once and in order, within a moment of its commit.

A segment is durable before the catalogue notes it, and lines of the outbox go once it was noted; so a crash between two
steps leaves a segment that the next start finds, compares with the outbox, and goes on behind. Source:
docs/decisions/0008-journal.md.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from gateway.engine.journal.chain import CatalogueBehind, Chain, Head, check_follows
from gateway.engine.journal.packs import write_packs
from storage.catalogue.base import Catalogue
from storage.catalogue.commands import Change, Lease
from storage.catalogue.records import Attributes, BlobState
from storage.catalogue.rowlog import Written
from storage.catalogue.schema import BLOBS, BlobRow
from storage.errors import BlobExists, LeaseLost, StorageUnavailable
from storage.sealed.journal import Segment, SegmentHead
from storage.seams import reach

_LOG = logging.getLogger(__name__)

CURSOR: Final = "journal"
"""The cursor that says how many segments the catalogue knows of."""
LEASE_NAME: Final = "journal"
LEASE_DURATION: Final = timedelta(seconds=30)
BATCH_SIZE: Final = 1024
"""Changes of one segment."""
POLL_S: Final = 0.05
"""Between two looks whether another gateway, which has the lease, journalled what we wait for."""
PATIENCE_S: Final = 30.0
"""How long a change waits for another gateway's journal before its answer is 503."""
_MICROSECOND: Final = timedelta(microseconds=1)
_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")

Carry = Callable[[Sequence[Change], Lease], Awaitable[None]]
"""Makes durable what changes need besides, under the journal's lease."""


@dataclass(frozen=True, slots=True)
class Lag:
    """How far the journal is behind when it was last looked at."""

    seconds: float
    """Age of the oldest change that was not in it."""


class Journal:
    """Writes the journal of one realm. Belongs to one event loop."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        chain: Chain,
        holder: str,
        clock: Callable[[], datetime],
        readers: Sequence[str] = (),
        observe: Callable[[float], None] = lambda _: None,
        carry: Carry | None = None,
    ) -> None:
        """`readers` are the cursors of those who read the outbox besides; `observe` is told each lag in seconds.

        `carry` is called before a segment tells of changes.
        """
        self._catalogue = catalogue
        self.chain = chain
        self._holder = holder
        self._clock = clock
        self._readers = readers
        self._observe = observe
        self._carry = carry
        self._head: Head | None = None
        self._last: Change | None = None
        """The last change that was journalled here and not noted yet."""
        self._noted = 0
        """The greatest cursor that the catalogue was seen with."""
        self._lease: Lease | None = None
        self._lock = asyncio.Lock()
        self._asked = 0
        self._answered = 0

    def now(self) -> datetime:
        """The time."""
        return self._clock()

    async def check(self) -> None:
        """See that catalogue and blob store know the same journal; what a crash left between them is taken up.

        Also where another gateway holds the lease: one that was refused for this may have left it behind.

        Raises:
            CatalogueBehind, JournalLost, JournalDamaged: they do not.
        """
        async with self._lock:
            try:
                await self._take_lease()
                await self._known_head()
            except LeaseLost:
                await self._look()

    async def settle(self) -> None:
        """Return once every change that was committed before this call is in the journal, durably.

        However many wait, one segment answers them. Raises: StorageError.
        """
        self._asked += 1
        asked = self._asked
        try:
            async with self._lock:
                if self._answered >= asked:
                    return
                goal = self._asked
                await self._write_all()
                self._answered = goal
        except LeaseLost:
            await self._wait_for_another()

    async def tend(self) -> None:
        """Journal what waits, note how far that is, and trim the outbox. Raises: StorageError."""
        async with self._lock:
            with suppress(LeaseLost):
                await self._write_all()
                await self._note()

    async def begin_anew(self, count: int, through: int) -> None:
        """Go on behind so many segments, without a look at them: for a catalogue that blobs alone told of.

        The next segment must be a snapshot, with which the chain begins anew.
        """
        async with self._lock:
            await self._take_lease()
            self._head = Head(count=count, through=through)

    async def begin_snapshot(self) -> Head:
        """Journal what waits; the head from which a snapshot that begins now is replayed."""
        async with self._lock:
            return await self._write_all()

    async def current(self) -> Head:
        """The head with everything in it that is committed now, whoever writes the journal. Raises: StorageError."""
        try:
            return await self.begin_snapshot()
        except LeaseLost:
            await self._wait_for_another()
            async with self._lock:
                return await self._look()

    async def append_snapshot(self, make: Callable[[SegmentHead], SegmentHead]) -> Head:
        """Journal what waits and then a segment of its own, whose head `make` completes."""
        async with self._lock:
            while True:
                head = await self._write_all()
                with suppress(BlobExists):
                    self._head = await self.chain.append(make(_next(head, head.through)), ())
                    await self._note()
                    return self._head
                await self._adopt(head)

    async def release(self) -> None:
        """Give the lease back, so that the next start need not wait for its end."""
        async with self._lock:
            if self._lease is not None:
                await self._catalogue.release_lease(self._lease)
            self._lease = self._head = None

    async def _write_all(self) -> Head:
        """Journal all that was committed when this began."""
        head = self._head or Head()
        is_first = True
        while True:
            changes = await self._catalogue.read_changes(head.through, BATCH_SIZE)
            if is_first or changes:
                await self._take_lease()
                known = await self._known_head()
                if known != head:
                    head = known
                    continue
            if is_first:
                self._observe(self._age_of(changes))
            is_first = False
            if not changes:
                return head
            head = await self._write(head, changes)
            if len(changes) < BATCH_SIZE:
                return head

    def _age_of(self, changes: Sequence[Change]) -> float:
        return max(0.0, (self._clock() - changes[0].at).total_seconds()) if changes else 0.0

    async def _write(self, head: Head, changes: Sequence[Change]) -> Head:
        """Write one segment behind the head; where another was there first, take that."""
        packs = await self._pack(changes)
        if self._carry is not None:
            assert self._lease is not None, "who writes has the lease"
            await self._carry(changes, self._lease)
        segment = _next(head, changes[-1].sequence, change_count=len(changes), packs=packs)
        try:
            self._head = await self.chain.append(segment, map(change_json, changes))
        except BlobExists:
            return await self._adopt(head)
        self._last = changes[-1]
        return self._head

    async def _pack(self, changes: Sequence[Change]) -> tuple[bytes, ...]:
        """Carry the bytes of inline blobs to the store; those that are gone by now need none."""
        wanted = list(dict.fromkeys(_inline_ids(changes)))
        found = await self._catalogue.read_inline(wanted) if wanted else {}
        return await write_packs(self.chain.records, found.items())

    async def _adopt(self, head: Head) -> Head:
        """Take the segment that stands behind the head: a crash left it there, or another gateway was first.

        Raises:
            CatalogueBehind: it tells of changes that this catalogue does not have.
        """
        segment = await self.chain.read(head.count)
        check_follows(head, segment)
        if not await self._is_ours(head, segment):
            raise CatalogueBehind(
                f"the catalogue is behind its blob store: segment {head.count} of the journal holds changes after"
                f" {head.through} that the catalogue has not; it was restored from an old copy."
                " Put the right one in its place, or run `sealgate recover --replace`"
            )
        self._head, self._last = Head.of(segment), None
        _LOG.info("took up segment %d of the journal", head.count)
        return self._head

    async def _is_ours(self, head: Head, segment: Segment) -> bool:
        """Whether the catalogue did what a segment tells: it has noted it, or its outbox still says the same."""
        if await self._catalogue.get_cursor(CURSOR) > head.count:
            return True
        held = await self._catalogue.read_changes(head.through, max(1, segment.head.change_count))
        ours = [change_json(change) for change in held if change.sequence <= segment.head.through]
        return ours == list(segment.changes)

    async def _known_head(self) -> Head:
        """Where the chain ends; found anew where the lease was another's meanwhile, or the catalogue went back.

        A database that fails over or is restored beneath us has other changes by the numbers that the chain tells of.
        """
        known = await self._catalogue.get_cursor(CURSOR)
        if self._head is not None and not await self._still_has(self._head, known):
            self._head = None
        if self._head is None:
            count = await self.chain.count(known)
            head = await self.chain.head(known)
            while head.count < count:
                head = await self._adopt(head)
            self._head = head
        self._noted = known
        return self._head

    async def _still_has(self, head: Head, known: int) -> bool:
        """Whether the catalogue has what the chain tells up to a head: it noted that, or still has it in the outbox."""
        if known < self._noted or known >= head.count or self._last is None:
            return known >= self._noted
        return await self._catalogue.read_changes(self._last.sequence - 1, 1) == (self._last,)

    async def _look(self) -> Head:
        """Where the chain ends, found without the lease; what comes behind it is another's to write."""
        self._head = None
        try:
            return await self._known_head()
        finally:
            self._head = None

    async def _take_lease(self) -> None:
        now = self._clock()
        if self._lease is not None and self._lease.expires_at - now > LEASE_DURATION / 2:
            return
        lease = await self._catalogue.acquire_lease(LEASE_NAME, self._holder, LEASE_DURATION)
        if self._lease is None or lease.epoch != self._lease.epoch:
            self._head = None
        self._lease = lease

    async def _note(self) -> None:
        """Note in the catalogue how far the journal is, and drop lines that nobody needs any more."""
        if self._head is None or not self._head.count or self._lease is None:
            return
        head = await self._known_head()
        if self._noted < head.count:
            await self._catalogue.set_cursor(CURSOR, head.count)
            self._noted, self._last = head.count, None
            reach("journal.noted")
        through = min([head.through, *[await self._catalogue.get_cursor(name) for name in self._readers]])
        if any(change.sequence <= through for change in await self._catalogue.read_changes(0, 1)):
            await self._catalogue.trim_changes(through, self._lease)
            reach("journal.trimmed")

    async def _wait_for_another(self) -> None:
        """Another gateway has the lease: wait until it journalled what is committed now. Raises: StorageUnavailable."""
        last = await self._last_sequence()
        for _ in range(int(PATIENCE_S / POLL_S)):
            if await self._is_journalled(last):
                return
            await asyncio.sleep(POLL_S)
        raise StorageUnavailable("another gateway has not journalled the change yet")

    async def _last_sequence(self) -> int:
        """The greatest sequence in the outbox."""
        last = 0
        while changes := await self._catalogue.read_changes(last, BATCH_SIZE):
            last = changes[-1].sequence
        return last

    async def _is_journalled(self, sequence: int) -> bool:
        known = await self._catalogue.get_cursor(CURSOR)
        if known < self._noted:
            return (await self._look()).through >= sequence
        self._noted = known
        return (await self.chain.head(await self.chain.count(known))).through >= sequence


def change_json(change: Change) -> Attributes:
    """A change as the journal has it."""
    at = (change.at - _EPOCH) // _MICROSECOND
    return {"at": at, "kind": change.kind, "rows": list(change.rows), "sequence": change.sequence}


def _next(head: Head, through: int, **fields: Any) -> SegmentHead:
    """The head of the segment behind `head`."""
    return SegmentHead(
        position=head.count,
        previous=head.digest,
        after=head.through,
        through=through,
        snapshot_count=head.snapshot_count,
        **fields,
    )


def _inline_ids(changes: Iterable[Change]) -> Iterator[bytes]:
    for change in changes:
        for shown in change.rows:
            if shown["table"] == BLOBS.name and "row" in shown:
                row = Written.from_json(shown).row
                assert isinstance(row, BlobRow | tuple), "a row came"
                blob = BlobRow._make(row)
                if blob.is_inline and blob.state == BlobState.LIVE:
                    yield blob.blob_id
