"""An engine over the real catalogue, blobs in memory and the journal between them."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from gateway.engine.attributes import ObjectAttributes
from gateway.engine.custody import Custody, WrappingMode
from gateway.engine.integrity import EtagMode
from gateway.engine.journal.chain import Chain
from gateway.engine.journal.records import RecordBlobs
from gateway.engine.journal.recovery import BlobScan, check_no_hole, put_back, replay
from gateway.engine.journal.runner import CURSOR, Carry, Journal
from gateway.engine.multipart import MultipartEngine
from gateway.engine.objects import NewObject, ObjectEngine, new_id
from gateway.engine.opening import BlobOpener
from gateway.engine.sealing import BlobWriter
from gateway.s3.types import PayloadExpectation
from keys.journal import JournalKeys
from keys.keyring import Keyring
from keys.kms.memory import MemoryKms
from keys.realm import RealmKeys
from storage.blobs.memory import MemoryBlobStore
from storage.catalogue.base import Catalogue
from storage.catalogue.commands import Conditions, DeleteVersion
from storage.catalogue.records import AccessKey, Account, Bucket
from storage.catalogue.restoring import Restoration, Restored
from storage.catalogue.rows import to_micros
from storage.catalogue.sqlite import SqliteCatalogue
from tests.gateway.engine.rig import Clock, PieceBody

T = TypeVar("T")


@dataclass
class Stage:
    folder: Path
    clock: Clock
    kms: MemoryKms
    keys: RealmKeys
    blobs: MemoryBlobStore
    catalogue: SqliteCatalogue
    custody: Custody
    pool: ThreadPoolExecutor
    bucket: Bucket
    objects: ObjectEngine
    multipart: MultipartEngine

    def records(self) -> RecordBlobs:
        return RecordBlobs(
            blobs=self.blobs,
            realm_id=self.keys.realm_id,
            description_key=self.keys.description_key.material(),
            keys=JournalKeys(self.keys),
            clock=self.clock,
        )

    def chain(self) -> Chain:
        return Chain(self.records())

    def journal(self, holder: str = "owner", readers: tuple[str, ...] = (), carry: Carry | None = None) -> Journal:
        """A fresh one, as a start makes it."""
        return Journal(
            catalogue=self.catalogue,
            chain=self.chain(),
            holder=holder,
            clock=self.clock,
            readers=readers,
            carry=carry,
        )

    async def put(self, key: bytes, data: bytes, **attributes: Any) -> None:
        new = NewObject(key, ObjectAttributes(**attributes), Conditions())
        await self.objects.put(self.bucket, new, PayloadExpectation(), PieceBody(data))

    async def delete(self, key: bytes) -> None:
        await self.objects.delete(self.bucket, [DeleteVersion(key)])

    async def recover(self, path: Path) -> tuple[SqliteCatalogue, Restored]:
        """A new catalogue of what the store holds, as `sealgate recover` makes it, verified and opened."""
        _make_room(path)
        keys = self.keys
        arguments = (path, keys.realm_id, keys.catalogue_key.material(), keys.row_mac_key.material())
        restoration = Restoration(*arguments)
        custody = Custody(
            Keyring(self.kms, self.clock.monotonic), keys.realm_id, WrappingMode.DIRECT, self.clock.monotonic, 0
        )
        scan = BlobScan(self.records(), custody, keys)
        try:
            head = await replay(self.chain(), restoration, lambda *_: None)
            assert await put_back(scan, restoration, lambda *_: None) == [], "nothing is missing"
            check_no_hole(self.chain(), head, scan.seen)
            restored = restoration.finish({CURSOR: head.count}, to_micros(self.clock()))
        finally:
            restoration.close()
        catalogue = self.open_again(path)
        await catalogue.verify()
        return catalogue, restored

    async def take(self, catalogue: SqliteCatalogue) -> None:
        """Let a catalogue be the one that is served from now on."""
        await self.catalogue.close()
        self.catalogue = self.objects._catalogue = self.multipart._catalogue = catalogue

    def open_again(self, path: Path) -> SqliteCatalogue:
        return open_catalogue(path, self.keys, self.clock)


def _make_room(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)


def open_catalogue(path: Path, keys: RealmKeys, clock: Clock) -> SqliteCatalogue:
    make = SqliteCatalogue.open if path.exists() else SqliteCatalogue.create
    return make(path, keys.realm_id, keys.catalogue_key.material(), keys.row_mac_key.material(), clock)


Make = Callable[[RealmKeys], Awaitable[Catalogue]]


def on_stage(
    folder: Path,
    test: Callable[[Stage], Coroutine[Any, Any, T]],
    *,
    inline_max_bytes: int = 1024,
    make: Make | None = None,
) -> T:
    """Run a test; `make` gives another catalogue than one in the folder."""

    async def body() -> T:
        clock, realm_id, kms = Clock(), new_id(), MemoryKms()
        keys, _ = await RealmKeys.create(kms, realm_id)
        (folder / "catalogue").mkdir()
        place = folder / "catalogue" / "catalogue.db"
        catalogue: Any = open_catalogue(place, keys, clock) if make is None else await make(keys)
        blobs = MemoryBlobStore(clock)
        await blobs.claim(realm_id)
        custody = Custody(Keyring(kms, clock.monotonic), realm_id, WrappingMode.DIRECT, clock.monotonic, 300)
        with ThreadPoolExecutor(1) as pool:
            writer = BlobWriter(
                blobs=blobs,
                realm_id=realm_id,
                description_key=keys.description_key.material(),
                hashing_pool=pool,
                inline_max_bytes=inline_max_bytes,
            )
            opener = BlobOpener(
                blobs=blobs, custody=custody, realm_id=realm_id, read_ahead_bytes=1 << 20, read_budget_bytes=1 << 24
            )
            objects = ObjectEngine(
                catalogue=catalogue,
                custody=custody,
                writer=writer,
                opener=opener,
                etag_mode=EtagMode.MD5,
                clock=clock,
            )
            multipart = MultipartEngine(
                catalogue=catalogue,
                custody=custody,
                writer=writer,
                objects=objects,
                etag_mode=EtagMode.MD5,
                clock=clock,
            )
            account = Account(new_id(), "main", clock())
            bucket = Bucket(new_id(), "bucket", account.account_id, clock())
            await catalogue.create_account(account, AccessKey("AKIA", account.account_id, b"sealed", clock()))
            await catalogue.create_bucket(bucket, 100)
            stage = Stage(folder, clock, kms, keys, blobs, catalogue, custody, pool, bucket, objects, multipart)
            try:
                return await test(stage)
            finally:
                await stage.catalogue.close()

    return asyncio.run(body())
