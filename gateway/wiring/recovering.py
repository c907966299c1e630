"""Everything that rebuilding a catalogue takes, opened: keys, blob store, and a new folder for what comes of it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.config import Settings
from gateway.engine.custody import Custody, WrappingMode
from gateway.engine.journal.chain import Chain
from gateway.engine.journal.from_blobs import Told, rebuild
from gateway.engine.journal.recovery import BlobScan, Progress, check_no_hole, put_back, replay
from gateway.engine.journal.runner import CURSOR, Journal
from gateway.engine.journal.snapshots import Snapshots
from gateway.wiring.folders import Folders
from gateway.wiring.realm import OpenedKeys, open_keys
from gateway.wiring.records import record_blobs
from gateway.wiring.stores import check_same_realm, open_blobs, peek_catalogue, utc_now
from keys.keyring import Keyring
from storage.blobs.base import BlobStore
from storage.catalogue.restoring import Restoration, Restored
from storage.catalogue.rows import to_micros
from storage.catalogue.sqlite import SqliteCatalogue
from storage.errors import CatalogueUnsafe


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a recovery brought back."""

    restored: Restored
    scanned_blob_count: int
    missing: list[tuple[bytes, str]]
    """Blobs that rows name and that the store lacks, or that are damaged, and why: their objects answer 500."""
    damaged: list[tuple[bytes, str]]
    """Every blob that is not what it says, named by rows or not."""
    told: list[Told]
    """From blobs alone: what became of each version."""
    verified_row_count: int


class Recovery:
    """Rebuilds one catalogue at `path`, where nothing may be."""

    def __init__(self, opened: OpenedKeys, blobs: BlobStore, path: Path) -> None:
        keys = opened.realm_keys
        self._path = path
        self.realm_keys = keys
        self._arguments = (keys.realm_id, keys.catalogue_key.material(), keys.row_mac_key.material())
        self.records = record_blobs(opened, blobs)
        custody = Custody(
            Keyring(opened.kms, time.monotonic), keys.realm_id, WrappingMode.DIRECT, time.monotonic, bucket_key_age_s=0
        )
        self._scan = BlobScan(self.records, custody, keys)

    async def check_place(self, folders: Folders) -> None:
        """See that no database is to be filled that holds a catalogue. Raises: CatalogueUnsafe, StorageUnavailable."""
        if folders.database is None:
            return
        try:
            await peek_catalogue(folders, self.realm_keys)
        except CatalogueUnsafe:
            return  # it is empty; whatever else there may be is found when it is filled
        raise CatalogueUnsafe(
            "the database holds a catalogue, and nothing is replaced there: make an empty one, and name it in the"
            " settings (postgres_database)"
        )

    async def run(self, progress: Progress, *, from_blobs: bool = False) -> Recovered:
        """Rebuild, and verify what came of it. Raises: StorageError, KeysError."""
        chain = Chain(self.records)
        told: list[Told] = []
        missing: list[tuple[bytes, str]] = []
        cursors: dict[str, int] = {}
        restoration = Restoration(self._path, *self._arguments, tells=not from_blobs)
        try:
            if from_blobs:
                told = await rebuild(self._scan, restoration, progress, utc_now())
            else:
                head = await replay(chain, restoration, progress)
                cursors[CURSOR] = head.count
                missing = await put_back(self._scan, restoration, progress)
                check_no_hole(chain, head, self._scan.seen)
            restored = restoration.finish(cursors, to_micros(utc_now()))
            sequence = restoration.sequence
        finally:
            restoration.close()
        seen = self._scan.seen
        verified = await self._verify(chain, sequence if from_blobs else None)
        return Recovered(restored, seen.scanned, missing, seen.damaged, told, verified)

    async def _verify(self, chain: Chain, anew_after: int | None) -> int:
        """Verify all rows; what blobs alone told of becomes the snapshot that a new chain begins with."""
        catalogue = SqliteCatalogue.open(self._path, *self._arguments, utc_now)
        try:
            verified = await catalogue.verify()
            if anew_after is not None:
                journal = Journal(catalogue=catalogue, chain=chain, holder="recovery", clock=utc_now)
                await journal.begin_anew(chain.last_position(self._scan.seen.journal_ids) + 1, anew_after)
                await Snapshots(catalogue, journal).take()
                await journal.release()
            return verified
        finally:
            await catalogue.close()


@asynccontextmanager
async def open_recovery(settings: Settings, folders: Folders, path: Path) -> AsyncIterator[Recovery]:
    """Open keys and blob store. Raises: KeysError, StorageError."""
    opened = await open_keys(settings, folders, realm_file=folders.realm_copy)
    blobs = open_blobs(folders)
    try:
        check_same_realm(await blobs.realm_id(), opened.realm_keys, f"the blob store {folders.blobs_place}")
        yield Recovery(opened, blobs, path)
    finally:
        await asyncio.shield(blobs.close())
