"""What a rewrap costs: records moved per second of CPU, over SQLite and disk with the local keyring.

    python -m tests.bench.rewrap 20000 direct [routed]

`routed`: the local keyring is one of two KMSs, as with the setting `kms_file`; the other one is a double that is asked
for nothing but whether it has a key of that name.
The walk that proves that nothing is left, and writing envelopes blobs, are told apart. The process is made ready as one
that serves is, since that is where a rewrap runs: the loop, and how often garbage is collected.
"""

import asyncio
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from gateway.engine.custody import Custody, WrappingMode, sized
from gateway.engine.envelopes import EnvelopesBlobs
from gateway.engine.objects import new_id
from gateway.engine.rewrap import MoveToCurrent, Rewrapper
from gateway.engine.sealing import BlobWriter
from gateway.http.process import calm_collector, prepare_process
from keys.datakey import WrappedKey
from keys.keyring import Keyring
from keys.keyring_file import LocalKeyring
from keys.kms.base import Kms
from keys.kms.binding import RecordKms
from keys.kms.local import LocalKms
from keys.kms.memory import MemoryKms
from keys.kms.names import KeyNames
from keys.kms.routing import Route, RoutingKms
from keys.realm import RealmKeys, create_canary, rewrap_root
from keys.recovery import Recipients
from storage.blobs.disk import DiskBlobStore
from storage.catalogue.commands import PublishVersion
from storage.catalogue.records import Account, Blob, BlobRole, Bucket, Content, ObjectVersion
from storage.catalogue.sqlite import SqliteCatalogue
from storage.sealed.envelopes import Envelopes


def utc_now() -> datetime:
    return datetime.now(UTC)


class _Realm:
    """Root and canary without files."""

    def __init__(self, kms: Kms, realm_id: bytes, root: WrappedKey, canary: WrappedKey) -> None:
        self._kms, self.realm_id, self._root, self._canary = kms, realm_id, root, canary

    def wrapped(self) -> tuple[WrappedKey, ...]:
        return self._root, self._canary

    def copied_to(self) -> frozenset[bytes]:
        return frozenset()

    def root_part(self) -> bytes:
        return sized(self._root)

    async def rewrap(self, kms_key_id: str) -> bytes:
        self._root = await rewrap_root(self._kms, self.realm_id, self._root, kms_key_id)
        self._canary = await create_canary(self._kms, self.realm_id, kms_key_id)
        return self.root_part()

    def save(self) -> None:
        pass


class _TimedEnvelopes(EnvelopesBlobs):
    cpu_s = 0.0

    async def write(self, envelopes: Envelopes) -> Blob:
        started = time.process_time()
        blob = await super().write(envelopes)
        self.cpu_s += time.process_time() - started
        return blob


async def _prove(kms: RecordKms) -> None:
    await kms.prove()


def _routed(local: LocalKms) -> RoutingKms:
    routes = [Route(kms, KeyNames(kms.provider), None, _prove) for kms in (local, MemoryKms())]
    return RoutingKms(routes, local.provider)


async def measure(place: Path, count: int, mode: WrappingMode, pool: ThreadPoolExecutor, *, is_routed: bool) -> None:
    local = LocalKeyring.create(place / "keys")
    kms: Kms = _routed(LocalKms(local)) if is_routed else LocalKms(local)
    realm_id = new_id()
    keyring = Keyring(kms, time.monotonic)
    custody = Custody(keyring, realm_id, mode, time.monotonic, 3600.0)
    realm_keys, root = await RealmKeys.create(kms, realm_id)
    realm = _Realm(kms, realm_id, root, await create_canary(kms, realm_id))
    blobs = DiskBlobStore(place / "blobs")
    await blobs.claim(realm_id)
    (place / "catalogue").mkdir()
    catalogue = SqliteCatalogue.create(
        place / "catalogue" / "catalogue.db",
        realm_id,
        realm_keys.catalogue_key.material(),
        realm_keys.row_mac_key.material(),
        utc_now,
    )
    account = Account(new_id(), "main", utc_now())
    bucket = Bucket(new_id(), "bucket", account.account_id, utc_now())
    await catalogue.create_account(account)
    await catalogue.create_bucket(bucket, 1)

    async def publish(number: int) -> None:
        content_id = new_id()
        made = await custody.new_content_key(bucket.bucket_id, content_id)
        blob = Blob(new_id(), BlobRole.OBJECT, 10, 900, 400, b"s" * 24, b"c" * 32, b"f" * 32, inline=bytes(900))
        content = Content(content_id, bucket.bucket_id, account.account_id, "AES256", "", made.slot, blobs=(blob,))
        version = ObjectVersion(bucket.bucket_id, b"%09d" % number, "null", content_id, 10, "etag", utc_now())
        await catalogue.publish_version(PublishVersion(version, content))

    for start in range(0, count, 500):
        await asyncio.gather(*(publish(number) for number in range(start, min(start + 500, count))))
    writer = BlobWriter(
        blobs=blobs,
        realm_id=realm_id,
        description_key=realm_keys.description_key.material(),
        hashing_pool=pool,
        inline_max_bytes=0,
    )
    envelopes = _TimedEnvelopes(
        catalogue=catalogue, blobs=blobs, writer=writer, realm_keys=realm_keys, root=realm.root_part, clock=utc_now
    )
    rewrapper = Rewrapper(
        catalogue=catalogue,
        blobs=blobs,
        writer=writer,
        custody=custody,
        envelopes=envelopes,
        realm=realm,
        holder="bench",
    )
    calm_collector()
    for _ in range(3):
        local.rotate_key(None)
        envelopes.cpu_s = 0.0
        started = time.process_time()
        report = await rewrapper.rewrap(MoveToCurrent(keyring, Recipients()))
        rewrapped = time.process_time()
        await rewrapper.scan(MoveToCurrent(keyring, Recipients()))
        walk_s, all_s = time.process_time() - rewrapped, rewrapped - started
        print(
            f"{mode.value}: {report.moved_count} moved, {report.left_count} left, {all_s:.2f} s of CPU: "
            f"{report.moved_count / all_s:.0f} a second, {report.moved_count / (all_s - walk_s):.0f} without the "
            f"proving walk of {walk_s:.2f} s; envelopes blobs {envelopes.cpu_s:.2f} s"
        )
    await catalogue.close()
    await blobs.close()


def main() -> None:
    count, mode, is_routed = int(sys.argv[1]), WrappingMode(sys.argv[2]), sys.argv[3:] == ["routed"]
    prepare_process()
    with (
        tempfile.TemporaryDirectory() as place,
        ThreadPoolExecutor(1) as pool,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(measure(Path(place), count, mode, pool, is_routed=is_routed))


if __name__ == "__main__":
    main()
