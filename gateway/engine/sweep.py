"""Sweep: deletes condemned blobs once their grace is over, and finds blobs that nothing refers to.

An orphan is first condemned (a row that no publish can use any more), and deleted a grace time later like every other
condemned blob; so a slow writer loses cleanly and a reader keeps its open blob. Source: DESIGN part 4.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from gateway.engine.rowless import find_rowless
from storage.blobs.base import BlobStat, BlobStore
from storage.catalogue.base import Catalogue
from storage.catalogue.commands import Lease
from storage.errors import BlobHeld, RealmMismatch, StorageError
from storage.seams import reach

BATCH_SIZE = 1000
"""Blobs handled in one transaction."""

LEASE_NAME = "sweep"
LEASE_DURATION = timedelta(minutes=5)
"""Renewed with every batch."""

MAX_ORPHAN_SHARE = 0.05
"""Above this share of orphans a sweep stops: it would rather be a restored or wrong catalogue than so many crashes."""

MIN_SUSPICIOUS_ORPHANS = 100
"""Below this number the share says nothing."""


class TooManyOrphans(StorageError):
    """So many blobs look orphaned that the catalogue is more likely wrong; nothing was condemned."""


@dataclass(frozen=True, slots=True)
class SweepReport:
    """What one sweep saw and did. Counts of blobs."""

    scanned_count: int
    orphan_count: int
    condemned_count: int
    deleted_count: int
    debris_count: int
    held_count: int = 0
    """Condemned blobs that the store itself keeps for now; they go by a later sweep."""
    record_count: int = 0
    """Old blobs of the journal, snapshots, packs and the like: they have no row, and who wrote them reclaims them."""
    packs: tuple[BlobStat, ...] = field(default=(), repr=False, compare=False)
    """Those of them that are packs, for who writes packs anew."""
    parts: tuple[BlobStat, ...] = field(default=(), repr=False, compare=False)
    """Those of them that are parts of snapshots, for who knows which snapshots there are."""


class Sweeper:
    """Sweeps the blob store of one realm. `holder` names this process in the lease."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        blobs: BlobStore,
        holder: str,
        clock: Callable[[], datetime],
        orphan_grace: timedelta,
        condemned_grace: timedelta,
        completed_upload_memory: timedelta,
    ) -> None:
        self._catalogue = catalogue
        self._blobs = blobs
        self._holder = holder
        self._clock = clock
        self._orphan_grace = orphan_grace
        self._condemned_grace = condemned_grace
        self._completed_upload_memory = completed_upload_memory

    async def sweep(
        self,
        *,
        dry_run: bool = False,
        many_orphans_are_right: bool = False,
        progress: Callable[[int], None] = lambda _: None,
    ) -> SweepReport:
        """Look at every blob once. `progress` is told the number of blobs looked at.

        Raises:
            RealmMismatch: store and catalogue are not of one realm.
            TooManyOrphans: more than `MAX_ORPHAN_SHARE` of the blobs, unless that is declared right.
            RowDamaged: the catalogue has not all rows of blobs; nothing was condemned.
            LeaseLost: another process sweeps.
        """
        if await self._blobs.realm_id() != await self._catalogue.realm_id():
            raise RealmMismatch("the blob store and the catalogue belong to different realms: nothing was swept")
        lease = await self._lease()
        try:
            found = await find_rowless(self._blobs, self._catalogue, self._clock() - self._orphan_grace, progress)
            scanned, orphans = found.scanned_count, found.orphans
            too_many = len(orphans) > max(MIN_SUSPICIOUS_ORPHANS, MAX_ORPHAN_SHARE * scanned)
            if too_many and not many_orphans_are_right:
                raise TooManyOrphans(
                    f"{len(orphans)} of {scanned} blobs look orphaned, more than {MAX_ORPHAN_SHARE:.0%}: is this the "
                    f"right catalogue? If it is, sweep again with --accept-many-orphans"
                )
            if orphans:
                # Else a blob would go for good because its row was taken away, though a recovery could bring that back.
                await self._catalogue.check_live_blobs()
            if dry_run:
                return SweepReport(scanned, len(orphans), 0, 0, 0, 0, found.record_count)
            condemned = 0
            for start in range(0, len(orphans), BATCH_SIZE):
                lease = await self._lease()
                condemned += len(await self._catalogue.condemn_orphans(orphans[start : start + BATCH_SIZE], lease))
                reach("sweep.condemned")
            deleted, held = await self._delete_condemned()
            debris = await self._blobs.reclaim_debris(self._clock() - self._orphan_grace)
            await self._catalogue.forget_completed_uploads(self._clock() - self._completed_upload_memory)
            counts = scanned, len(orphans), condemned, deleted, debris, held, found.record_count
            return SweepReport(*counts, tuple(found.packs), tuple(found.parts))
        finally:
            await self._catalogue.release_lease(lease)

    async def delete_condemned(self) -> int:
        """Delete blobs whose grace is over; return their number. Raises: LeaseLost."""
        lease = await self._lease()
        try:
            return (await self._delete_condemned())[0]
        finally:
            await self._catalogue.release_lease(lease)

    async def _lease(self) -> Lease:
        return await self._catalogue.acquire_lease(LEASE_NAME, self._holder, LEASE_DURATION)

    async def _delete_condemned(self) -> tuple[int, int]:
        """Delete what is due; the number of blobs that went, and of those that the store keeps."""
        deleted, held = 0, set[bytes]()
        while blob_ids := await self._due(held):
            await self._lease()
            gone = []
            for blob_id in blob_ids:
                try:
                    await self._blobs.delete(blob_id)
                except BlobHeld:
                    held.add(blob_id)
                else:
                    gone.append(blob_id)
            reach("sweep.deleted")
            # The row goes last: a crash before this line only deletes an absent blob again. A slow store takes longer
            # for a batch than a lease lasts, so it is renewed; where another sweeper has it by now, that fails.
            await self._catalogue.forget_condemned(gone, await self._lease())
            deleted += len(gone)
        return deleted, len(held)

    async def _due(self, held: set[bytes]) -> list[bytes]:
        """Condemned blobs whose grace is over, but for those that the store keeps, which may be the oldest."""
        horizon = self._clock() - self._condemned_grace
        listed = await self._catalogue.list_condemned(horizon, BATCH_SIZE + len(held))
        return [blob_id for blob_id in listed if blob_id not in held]
