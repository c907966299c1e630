from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.moving.migrating import BlobMigration, Migrated
from gateway.moving.places import PlaceFailed
from storage.blobs.base import BLOB_ID_SIZE, BlobReader, BlobStore
from storage.blobs.disk import DiskBlobStore
from storage.blobs.memory import MemoryBlobStore
from storage.errors import SealedDamaged
from tests.gateway.operations.stage import MIB, Stage
from tests.suites.blobs import REALM, names, pieces, read_all

OTHER = b"o" * 16


def _id(number: int) -> bytes:
    return number.to_bytes(BLOB_ID_SIZE)


def _store() -> MemoryBlobStore:
    return MemoryBlobStore(lambda: datetime.now(UTC))


async def _sound(blob_id: bytes, reader: BlobReader) -> None:
    if (await reader.read(0, 1)) == b"!":
        raise SealedDamaged("altered")
    assert blob_id


async def _filled(store: BlobStore, count: int = 5) -> BlobStore:
    await store.claim(REALM)
    for number in range(count):
        await store.put(_id(number), pieces([b"x" * (number * 700_000 + 1)]))
    return store


def _migration(stage: Stage, source: BlobStore, target: BlobStore) -> BlobMigration:
    return BlobMigration(source, target, stage.services.catalogue, REALM, _sound, 2)


@pytest.mark.parametrize("to_disk", [False, True])
def test_every_blob_moves_and_one_store_is_live(stage: Stage, tmp_path: Path, to_disk: bool) -> None:
    async def run() -> tuple[Migrated, BlobStore, BlobStore]:
        source = await _filled(_store())
        target: BlobStore = DiskBlobStore(tmp_path) if to_disk else _store()
        report = await _migration(stage, source, target).run(lambda: None)
        assert await source.realm_id() is None
        assert await target.realm_id() == REALM
        assert await names(source) == await names(target)
        for name in await names(source):
            assert await read_all(source, name) == await read_all(target, name)
        again = await _migration(stage, source, target).run(lambda: None)
        assert again == Migrated(), "it is done"
        await target.close()
        return report, source, target

    report, _, _ = stage.run(run())
    assert (report.copied, report.compared, report.damaged) == (5, 5, [])
    assert report.copied_bytes > 4 * MIB


def test_what_is_there_is_compared_and_not_copied_twice(stage: Stage) -> None:
    async def run() -> None:
        source, target = await _filled(_store()), _store()
        await target.put(_id(3), pieces([b"x" * (3 * 700_000 + 1)]))
        report = await _migration(stage, source, target).run(lambda: None)
        assert (report.copied, report.already_there) == (4, 1)

    stage.run(run())


def test_a_hand_over_that_was_cut_off_goes_on(stage: Stage) -> None:
    async def run() -> None:
        source, target = await _filled(_store()), _store()
        await source.release(REALM)
        await _migration(stage, source, target).run(lambda: None)
        assert await target.realm_id() == REALM

    stage.run(run())


def test_damage_comes_along_and_is_named(stage: Stage) -> None:
    async def run() -> None:
        source, target = await _filled(_store()), _store()
        await source.put(_id(9), pieces([b"!damaged"]))
        report = await _migration(stage, source, target).run(lambda: None)
        assert report.damaged == [_id(9).hex()]
        assert await read_all(target, _id(9)) == b"!damaged"

    stage.run(run())


@pytest.mark.parametrize("trouble", ["stranger", "other bytes", "other length", "both live", "other realm", "lost"])
def test_what_is_no_copy_is_not_handed_over(stage: Stage, trouble: str) -> None:
    async def run() -> None:
        source, target = await _filled(_store()), _store()
        match trouble:
            case "stranger":
                await target.put(_id(77), pieces([b"a stranger's"]))
            case "other bytes":
                await target.put(_id(3), pieces([b"y" * (3 * 700_000 + 1)]))
            case "other length":
                await target.put(_id(3), pieces([b"short"]))
            case "both live":
                await target.claim(REALM)
            case "other realm":
                await target.claim(OTHER)
            case "lost":
                # The catalogue names a blob that the store no longer has.
                await stage.rig.put(b"large", b"z" * 100_000)
                assert await stage.services.catalogue.count_live_blobs() == 1
        with pytest.raises(PlaceFailed if trouble != "other length" else Exception):
            await _migration(stage, source, target).run(lambda: None)
        assert await source.realm_id() == REALM
        assert await target.realm_id() == {"both live": REALM, "other realm": OTHER}.get(trouble)

    stage.run(run())
