from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
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


async def _sound(blob_id: bytes, reader: BlobReader) -> str:
    if (await reader.read(0, 1)) == b"!":
        raise SealedDamaged("altered")
    return "journal" if blob_id == _id(0) else "object"


def _unseen(_what: str, _count: int) -> AbstractContextManager[Callable[[], None]]:
    return nullcontext(lambda: None)


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
        report = await _migration(stage, source, target).run(_unseen)
        assert await source.realm_id() is None
        assert await target.realm_id() == REALM
        assert await names(source) == await names(target)
        for name in await names(source):
            assert await read_all(source, name) == await read_all(target, name)
        again = await _migration(stage, source, target).run(_unseen)
        assert again == Migrated(), "it is done"
        await target.close()
        return report, source, target

    report, _, _ = stage.run(run())
    assert (report.copied, report.compared, report.damaged) == (5, 5, [])
    assert report.kinds == {"journal": 1, "object": 4}
    assert report.copied_bytes > 4 * MIB


def test_what_is_there_is_compared_and_not_copied_twice(stage: Stage) -> None:
    async def run() -> None:
        source, target = await _filled(_store()), _store()
        await target.put(_id(3), pieces([b"x" * (3 * 700_000 + 1)]))
        report = await _migration(stage, source, target).run(_unseen)
        assert (report.copied, report.already_there) == (4, 1)

    stage.run(run())


def test_a_hand_over_that_was_cut_off_goes_on(stage: Stage) -> None:
    async def run() -> None:
        source, target = await _filled(_store()), await _filled(_store())
        for store in (source, target):
            await store.release(REALM)
        await _migration(stage, source, target).run(_unseen)
        assert await target.realm_id() == REALM

    stage.run(run())


@pytest.mark.parametrize("count", [0, 4])
def test_what_was_handed_over_goes_nowhere_else(stage: Stage, count: int) -> None:
    """Else two stores would say that they are the live one: where the first migration went, and this one."""

    async def run() -> None:
        source, target = await _filled(_store()), await _filled(_store(), count)
        for store in (source, target):
            await store.release(REALM)
        with pytest.raises(PlaceFailed, match="handed over already"):
            await _migration(stage, source, target).run(_unseen)
        assert len(await names(target)) == count
        assert await target.realm_id() is None

    stage.run(run())


def test_each_step_is_shown_with_how_much_it_is(stage: Stage) -> None:
    told: list[list[str | int]] = []

    def showing(what: str, count: int) -> AbstractContextManager[Callable[[], None]]:
        told.append([what, count, 0])

        def tell() -> None:
            told[-1][2] = int(told[-1][2]) + 1

        return nullcontext(tell)

    async def run() -> None:
        source, target = await _filled(_store()), await _filled(_store(), 2)
        await target.release(REALM)
        await _migration(stage, source, target).run(showing)

    stage.run(run())
    assert told == [["blobs, copied", 3, 3], ["blobs, compared", 5, 5]]


def test_a_folder_with_other_files_is_no_target(stage: Stage, tmp_path: Path) -> None:
    async def run() -> None:
        source, target = await _filled(_store()), DiskBlobStore(tmp_path)
        (tmp_path / "theirs").write_bytes(b"theirs")
        with pytest.raises(PlaceFailed, match="holds theirs, which is none of this store"):
            await _migration(stage, source, target).run(_unseen)
        assert await names(target) == []
        await target.close()

    stage.run(run())


def test_damage_comes_along_and_is_named(stage: Stage) -> None:
    async def run() -> None:
        source, target = await _filled(_store()), _store()
        await source.put(_id(9), pieces([b"!damaged"]))
        report = await _migration(stage, source, target).run(_unseen)
        assert report.damaged == [_id(9).hex()]
        assert await read_all(target, _id(9)) == b"!damaged"

    stage.run(run())


def test_what_is_under_compliance_is_kept_by_the_new_store_before_it_is_live(stage: Stage) -> None:
    source, target = stage.rig.blobs, MemoryBlobStore(lambda: datetime.now(UTC), has_locks=True)
    stage.alice.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
    until = datetime.now(UTC) + timedelta(days=3)
    lock = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": until}
    for key, more in (("kept", lock), ("copied", lock), ("free", {})):
        stage.alice.put_object(Bucket="locked", Key=key, Body=key.encode() * 10_000, **more)
    stage.alice.copy_object(Bucket="locked", Key="copy", CopySource="locked/copied", **lock)

    async def run() -> Migrated:
        catalogue, realm_id = stage.services.catalogue, stage.rig.realm_id
        report = await BlobMigration(source, target, catalogue, realm_id, _sound, 2).run(_unseen)
        kept = {blob_id for blob_id in await names(target) if blob_id in target._held}
        assert len(kept) == 3, "two objects and the link of the copy"
        return report

    assert stage.run(run()).retained == 3


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
        before = await names(target)
        with pytest.raises(PlaceFailed):
            await _migration(stage, source, target).run(_unseen)
        if trouble in ("stranger", "both live", "other realm"):
            assert await names(target) == before, "nothing was copied"
        assert await source.realm_id() == REALM
        assert await target.realm_id() == {"both live": REALM, "other realm": OTHER}.get(trouble)

    stage.run(run())
