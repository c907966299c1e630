"""Packs: the small objects of the catalogue in the blob store, and how the room of those that are deleted comes back.

An entry is dead once no row names its blob. A pack is written anew without dead entries, and goes itself only when what
it held is durable elsewhere and the journal tells why the rest is dead: a crash leaves an entry in two packs, never in
none. Source: docs/FORMAT.md section 16.4.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from gateway.engine.journal.records import RecordBlobs, recovered_from
from gateway.engine.rowless import find_rowless
from keys.errors import UnwrapFailed
from storage.blobs.base import BlobStat
from storage.blobs.memory import MemoryBlobReader
from storage.catalogue.base import Catalogue
from storage.catalogue.commands import Lease
from storage.catalogue.records import ID_SIZE, BlobState
from storage.errors import BlobMissing, LeaseLost, SealedDamaged, StorageError
from storage.sealed.header import BlobKind
from storage.sealed.journal import decode_pack, pack_entry
from storage.sealed.recovery import RecoveredBlob
from storage.seams import reach

PACK_BYTES: Final = 8 * 1024 * 1024
"""A pack takes no further entry once it has so many."""
MOST_TWICE_BYTES: Final = 128 * PACK_BYTES
"""What is kept in old and new packs at once before the catalogue is verified and the old ones go."""
SMALL_PACK_BYTES: Final = PACK_BYTES // 2
MERGED_COUNT: Final = 32
"""So many small packs are worth being written anew as few: a quiet gateway writes one for each lone change."""
MAX_DEAD_SHARE: Final = 0.5
"""A pack of which more than this is dead is written anew."""
BATCH_SIZE: Final = 1000
"""Ids that the catalogue is asked about at a time."""
LEASE_NAME: Final = "packs"
LEASE_DURATION: Final = timedelta(minutes=5)
"""Renewed with every pack. Not shorter: packs go from the blob store, which knows no epochs, so who stands still for
longer than this and then goes on could take one away that a backup counts on."""
PATIENCE_S: Final = 600.0
"""How long whoever must reach every pack waits for a gateway that writes some anew."""
_POLL_S: Final = 0.5
_log = logging.getLogger(__name__)

IsDoomed = Callable[[RecoveredBlob], bool]
"""Whether a dead entry is one of those that must not stay."""


@dataclass(slots=True)
class PackReport:
    """What was done with packs."""

    pack_count: int = 0
    """Those that were read."""
    rewritten_pack_count: int = 0
    """Those that went, whatever lived in them being in others now."""
    freed_pack_bytes: int = 0
    """What the dead entries in them took."""
    damaged_pack_count: int = 0
    """Those that do not open. They stay as they are."""
    remaining_packs: list[bytes] = field(default_factory=list)
    """Those that the store would not delete."""

    def told(self) -> dict[str, int]:
        """The counts."""
        return {
            "pack_count": self.pack_count,
            "rewritten_pack_count": self.rewritten_pack_count,
            "freed_pack_bytes": self.freed_pack_bytes,
            "damaged_pack_count": self.damaged_pack_count,
            "remaining_pack_count": len(self.remaining_packs),
        }


@dataclass(slots=True)
class _Pack:
    """One pack as it was read. Sizes in bytes, with what names an entry."""

    stat: BlobStat
    live: dict[bytes, bytes]
    dead: dict[bytes, bytes]
    live_bytes: int = 0
    dead_bytes: int = 0


@dataclass(slots=True)
class _Group:
    """Packs that go together, and what of them stays. What is dead in them is not kept: it may be nearly all."""

    dead_bytes_of: dict[bytes, int] = field(default_factory=dict)
    entries: dict[bytes, bytes] = field(default_factory=dict)
    size: int = 0

    def add(self, pack: _Pack) -> None:
        self.dead_bytes_of[pack.stat.blob_id] = pack.dead_bytes
        self.entries |= pack.live
        self.size += pack.live_bytes


@dataclass(slots=True)
class _Old:
    """Packs that were written anew and are still there."""

    dead_bytes_of: dict[bytes, int] = field(default_factory=dict)
    kept_bytes: int = 0


_HELD: Final = "a backup, or a gateway that writes packs anew, keeps the packs of small objects where they are"


class PacksHeld(LeaseLost):
    """Somebody else keeps the packs where they are, or writes them anew."""


_Wanted = Callable[[_Pack], Awaitable[bool]]


class Packs:
    """Writes packs of one realm anew; one caller at a time, in one process at a time."""

    def __init__(
        self, *, catalogue: Catalogue, records: RecordBlobs, settle: Callable[[], Awaitable[None]], holder: str
    ) -> None:
        """`settle` returns once all that was committed before is journalled; `holder` names this process."""
        self._catalogue = catalogue
        self._records = records
        self._settle = settle
        self._holder = holder
        self._lock = asyncio.Lock()
        self._remaining: set[bytes] = set()
        """What the store would not delete: writing it anew again would only add to it."""
        self._after = b""
        """The last pack that a bounded run came to."""

    async def compact(self, packs: Sequence[BlobStat], max_bytes: int | None = None) -> PackReport:
        """Write anew those of these packs that are mostly dead, and small ones where they are many.

        With `max_bytes` no more than so much is read, in the order of ids, from where the last such run ended.

        Raises:
            LeaseLost: another gateway does it. StorageError: run it again, it goes on.
        """
        async with self._lock:
            chosen = sorted(packs, key=lambda stat: (stat.blob_id <= self._after, stat.blob_id))
            if max_bytes is not None:
                chosen = _within(chosen, max_bytes)
                self._after = chosen[-1].blob_id if chosen else b""
            small = {stat.blob_id for stat in chosen if stat.sealed_size < SMALL_PACK_BYTES}
            merged = small if len(small) >= MERGED_COUNT else frozenset()

            async def is_wanted(pack: _Pack) -> bool:
                total = pack.live_bytes + pack.dead_bytes
                return pack.stat.blob_id in merged or pack.dead_bytes > MAX_DEAD_SHARE * total

            return await self._rewrite(chosen, is_wanted, await self._take_lease())

    async def check_free(self, patience_s: float) -> None:
        """See that nobody keeps the packs, for who is about to purge them. Raises: PacksHeld."""
        async with self._turn(patience_s) as lease:
            await self._catalogue.release_lease(lease)

    async def count(self) -> int:
        """How many there are in the store."""
        return len((await find_rowless(self._records.blobs, self._catalogue)).packs)

    async def purge(self, is_doomed: IsDoomed, patience_s: float = PATIENCE_S) -> PackReport:
        """Write anew every pack of the store that holds a doomed entry: dead, and of those that must not stay.

        Raises:
            PacksHeld: somebody else kept them for longer than `patience_s`. StorageError: run it again, it goes on.
        """
        # A pack that is on its way to the store may hold what was deleted a moment ago.
        await self._settle()
        async with self._turn(patience_s) as lease:
            found = await find_rowless(self._records.blobs, self._catalogue)

            async def is_wanted(pack: _Pack) -> bool:
                return any([await self._is(is_doomed, sealed) for sealed in pack.dead.values()])

            return await self._rewrite(found.packs, is_wanted, lease)

    @asynccontextmanager
    async def held(self) -> AsyncIterator[Callable[[], Awaitable[None]]]:
        """Keep all packs where they are meanwhile. What is given is called now and then, or else the right to it ends.

        Raises: PacksHeld where another gateway was at it all the while.
        """
        async with self._turn(PATIENCE_S) as lease:

            async def keep() -> None:
                nonlocal lease
                lease = await self._take_lease()

            try:
                yield keep
            finally:
                await self._catalogue.release_lease(lease)

    async def _is(self, is_doomed: IsDoomed, sealed: bytes) -> bool:
        try:
            recovered = await recovered_from(MemoryBlobReader(sealed), *self._records.identity)
        except SealedDamaged:
            return True  # nobody can tell what it was, and nothing names it
        return is_doomed(recovered)

    async def _rewrite(self, packs: Iterable[BlobStat], is_wanted: _Wanted, lease: Lease) -> PackReport:
        report, group, old = PackReport(), _Group(), _Old()
        try:
            for stat in packs:
                if stat.blob_id in self._remaining:
                    report.remaining_packs.append(stat.blob_id)
                    continue
                lease = await self._take_lease()
                pack = await self._read(stat, report)
                if pack is not None and await is_wanted(pack):
                    group.add(pack)
                if group.size >= PACK_BYTES:
                    await self._write_anew(group, old)
                    group = _Group()
                if old.kept_bytes >= MOST_TWICE_BYTES:
                    await self._let_go(old, report)
                    old = _Old()
            if group.dead_bytes_of:
                await self._write_anew(group, old)
            if old.dead_bytes_of:
                await self._let_go(old, report)
        finally:
            await self._catalogue.release_lease(lease)
        return report

    async def _read(self, stat: BlobStat, report: PackReport) -> _Pack | None:
        """A pack and what of it lives; None where it is gone or damaged."""
        try:
            entries = await self._entries(stat.blob_id)
        except BlobMissing:
            return None
        except (SealedDamaged, UnwrapFailed) as error:
            report.damaged_pack_count += 1
            _log.error("pack %s is damaged and stays as it is: %s", stat.blob_id.hex(), error)
            return None
        report.pack_count += 1
        live_ids: set[bytes] = set()
        ids = list(entries)
        for start in range(0, len(ids), BATCH_SIZE):
            states = await self._catalogue.blob_states(ids[start : start + BATCH_SIZE])
            live_ids.update(blob_id for blob_id, state in states.items() if state is BlobState.LIVE)
        pack = _Pack(stat, {}, {})
        for blob_id, sealed in entries.items():
            size = len(pack_entry(blob_id, sealed))
            if blob_id in live_ids:
                pack.live[blob_id] = sealed
                pack.live_bytes += size
            else:
                pack.dead[blob_id] = sealed
                pack.dead_bytes += size
        return pack

    async def _entries(self, blob_id: bytes) -> dict[bytes, bytes]:
        payload = await self._records.read(BlobKind.PACK, blob_id)
        return {name: bytes(sealed) for name, sealed in decode_pack(payload)}

    async def _write_anew(self, group: _Group, old: _Old) -> None:
        """Make what lives durable in new packs, and read them back; the old ones may go then."""
        kept: dict[bytes, bytes] = {}
        for blob_id in await write_packs(self._records, group.entries.items()):
            kept |= await self._entries(blob_id)
        if kept != group.entries:
            raise SealedDamaged("record: a pack does not read as it was written")
        reach("packs.written")
        old.kept_bytes += group.size
        old.dead_bytes_of |= group.dead_bytes_of

    async def _let_go(self, old: _Old, report: PackReport) -> None:
        """Delete packs whose living entries others have now.

        Raises: RowDamaged: a row may be missing, so that something which lives was taken for dead.
        """
        # Else a recovery would list what is dead here, and find its bytes nowhere.
        await self._settle()
        # What has no row counts as dead. Who takes rows away must not have what they named deleted by us.
        await self._catalogue.verify()
        await self._take_lease()  # all that took its time, and who keeps the packs since must find them
        for blob_id, dead_bytes in old.dead_bytes_of.items():
            try:
                await self._records.blobs.delete(blob_id)
            except StorageError as error:
                _log.warning("pack %s stays: %s", blob_id.hex(), error)
                self._remaining.add(blob_id)
                report.remaining_packs.append(blob_id)
                continue
            reach("packs.deleted")
            report.rewritten_pack_count += 1
            report.freed_pack_bytes += dead_bytes

    async def _take_lease(self) -> Lease:
        return await self._catalogue.acquire_lease(LEASE_NAME, self._holder, LEASE_DURATION)

    @asynccontextmanager
    async def _turn(self, patience_s: float) -> AsyncIterator[Lease]:
        """The turn of this caller, in this process and among all. Raises: PacksHeld."""
        deadline = time.monotonic() + patience_s
        try:
            async with asyncio.timeout(patience_s):
                await self._lock.acquire()
        except TimeoutError:
            raise PacksHeld(_HELD) from None
        try:
            yield await self._wait_for_lease(deadline)
        finally:
            self._lock.release()

    async def _wait_for_lease(self, deadline: float) -> Lease:
        is_told = False
        while True:
            try:
                return await self._take_lease()
            except LeaseLost as held:
                if time.monotonic() > deadline:
                    raise PacksHeld(f"{_HELD}: {held}") from None
                if not is_told:
                    _log.warning("waiting for the packs of small objects: %s", held)
                    is_told = True
            await asyncio.sleep(_POLL_S)


def _within(packs: Sequence[BlobStat], max_bytes: int) -> list[BlobStat]:
    """As many of the first as have so many bytes together, and one at least."""
    chosen: list[BlobStat] = []
    for stat in packs:
        if chosen and stat.sealed_size > max_bytes:
            break
        chosen.append(stat)
        max_bytes -= stat.sealed_size
    return chosen


async def write_packs(records: RecordBlobs, entries: Iterable[tuple[bytes, bytes]]) -> tuple[bytes, ...]:
    """Write sealed blobs into packs of about `PACK_BYTES`; their ids. Raises: StorageError."""
    ids: list[bytes] = []
    held: list[bytes] = []
    size = 0
    for blob_id, sealed in entries:
        held.append(pack_entry(blob_id, sealed))
        size += len(held[-1])
        if size >= PACK_BYTES:
            ids.append(await _write_pack(records, held))
            held, size = [], 0
    if held:
        ids.append(await _write_pack(records, held))
    return tuple(ids)


async def _write_pack(records: RecordBlobs, entries: Sequence[bytes]) -> bytes:
    blob_id = secrets.token_bytes(ID_SIZE)
    await records.write(BlobKind.PACK, blob_id, entries)
    reach("journal.pack_durable")
    return blob_id
