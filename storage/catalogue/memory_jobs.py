"""What background jobs ask of the reference catalogue: blobs, leases, changes. Source: `base`."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from datetime import datetime, timedelta

from storage.catalogue.commands import UPKEEP, Change, Lease
from storage.catalogue.memory_state import BlobEntry, MemoryState
from storage.catalogue.records import Attributes, BlobRole, BlobState
from storage.catalogue.rowlog import LOGGED


class MemoryJobs(MemoryState):
    """Blobs that nothing refers to, leases, the outbox."""

    async def blob_states(self, blob_ids: Sequence[bytes]) -> dict[bytes, BlobState]:
        """See `Catalogue.blob_states`."""
        self._check_open()
        return {blob_id: self._blobs[blob_id].state for blob_id in blob_ids if blob_id in self._blobs}

    async def count_live_blobs(self) -> int:
        """See `Catalogue.count_live_blobs`."""
        self._check_open()
        return sum(entry.state is BlobState.LIVE and not entry.is_inline for entry in self._blobs.values())

    async def check_live_blobs(self) -> None:
        """See `Catalogue.check_live_blobs`. Nobody takes rows away here."""
        self._check_open()

    async def condemn_orphans(self, blob_ids: Sequence[bytes], lease: Lease) -> tuple[bytes, ...]:
        """See `Catalogue.condemn_orphans`."""
        self._require_lease(lease)
        orphans = tuple(dict.fromkeys(blob_id for blob_id in blob_ids if blob_id not in self._blobs))
        for blob_id in orphans:
            self._blobs[blob_id] = BlobEntry(BlobState.CONDEMNED, None, self._clock())
        if orphans:
            self._record(UPKEEP)
        return orphans

    async def list_condemned(self, before: datetime, limit: int, role: BlobRole | None = None) -> tuple[bytes, ...]:
        """See `Catalogue.list_condemned`."""
        self._check_open()
        found = sorted(
            (entry.condemned_at, blob_id)
            for blob_id, entry in self._blobs.items()
            if entry.condemned_at is not None
            and entry.condemned_at < before
            and (role is None or (entry.blob is not None and entry.blob.role is role))
        )
        return tuple(blob_id for _, blob_id in found[:limit])

    async def forget_condemned(self, blob_ids: Sequence[bytes], lease: Lease) -> None:
        """See `Catalogue.forget_condemned`."""
        self._require_lease(lease)
        gone = [
            blob_id
            for blob_id in blob_ids
            if blob_id in self._blobs and self._blobs[blob_id].state is BlobState.CONDEMNED
        ]
        for blob_id in gone:
            del self._blobs[blob_id]
        if gone:
            self._record(UPKEEP)

    async def acquire_lease(self, name: str, holder: str, duration: timedelta) -> Lease:
        """See `Catalogue.acquire_lease`."""
        self._check_open()
        now = self._clock()
        held = self._leases.get(name, Lease(name, "", 0, now))
        if held.holder not in {"", holder} and held.expires_at > now:
            raise held.refusal()
        self._leases[name] = Lease(name, holder, held.epoch + (held.holder != holder), now + duration)
        return self._leases[name]

    async def release_lease(self, lease: Lease) -> None:
        """See `Catalogue.release_lease`."""
        self._check_open()
        held = self._leases.get(lease.name)
        if held is not None and (held.holder, held.epoch) == (lease.holder, lease.epoch):
            self._leases[lease.name] = replace(held, holder="", expires_at=self._clock())

    async def read_changes(self, after: int, limit: int) -> tuple[Change, ...]:
        """See `Catalogue.read_changes`."""
        self._check_open()
        return tuple(deepcopy([change for change in self._changes if change.sequence > after][:limit]))

    async def trim_changes(self, through: int, lease: Lease) -> int:
        """See `Catalogue.trim_changes`."""
        self._require_lease(lease)
        kept = [change for change in self._changes if change.sequence > through]
        gone, self._changes = len(self._changes) - len(kept), kept
        return gone

    async def read_inline(self, blob_ids: Sequence[bytes]) -> dict[bytes, bytes]:
        """See `Catalogue.read_inline`."""
        self._check_open()
        return {blob_id: self._inline[blob_id] for blob_id in blob_ids if blob_id in self._inline}

    async def read_rows(self, table: str, after: Attributes | None, limit: int) -> tuple[Attributes, ...]:
        """See `Catalogue.read_rows`. There are none here."""
        self._check_open()
        assert table in LOGGED, "a table that the log names"
        del after, limit
        return ()

    async def get_cursor(self, name: str) -> int:
        """See `Catalogue.get_cursor`."""
        self._check_open()
        return self._cursors.get(name, 0)

    async def set_cursor(self, name: str, sequence: int) -> None:
        """See `Catalogue.set_cursor`."""
        self._check_open()
        self._cursors[name] = max(sequence, self._cursors.get(name, 0))
