"""Sweep: what it takes, what it leaves, and when it refuses."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from gateway.engine import rowless
from gateway.engine import sweep as module
from gateway.engine.attributes import ObjectAttributes
from gateway.engine.objects import new_id
from gateway.engine.sweep import LEASE_DURATION, LEASE_NAME, SweepReport, TooManyOrphans
from storage.catalogue.commands import Conditions, DeleteVersion
from storage.catalogue.conflicts import BlobCondemned, NoSuchUpload
from storage.catalogue.records import BlobState
from storage.errors import LeaseLost, RealmMismatch, RowDamaged, StorageUnavailable
from tests.gateway.engine.rig import Rig, run

LONG, DAY = b"x" * 20_000, timedelta(days=1, hours=1)


async def orphan(rig: Rig) -> bytes:
    async def sealed() -> AsyncIterator[bytes]:
        yield b"what a crash left"

    blob_id = new_id()
    await rig.blobs.put(blob_id, sealed())
    return blob_id


def later(rig: Rig, step: timedelta) -> None:
    rig.clock.now += step


def test_an_orphan_is_condemned_after_its_grace_and_deleted_after_another() -> None:
    async def body(rig: Rig) -> None:
        await rig.put(b"k", LONG)
        lost = await orphan(rig)
        assert await rig.sweeper.sweep() == SweepReport(2, 0, 0, 0, 0)
        later(rig, DAY)
        assert await rig.sweeper.sweep() == SweepReport(2, 1, 1, 0, 0)
        assert lost in rig.stored()
        assert await rig.catalogue.blob_states([lost]) == {lost: BlobState.CONDEMNED}
        assert await rig.sweeper.sweep() == SweepReport(2, 0, 0, 0, 0)
        later(rig, timedelta(hours=2))
        assert await rig.sweeper.sweep() == SweepReport(2, 0, 0, 1, 0)
        assert lost not in rig.stored()
        assert await rig.catalogue.blob_states([lost]) == {}
        assert await rig.get(b"k") == LONG

    run(body)


def test_nothing_is_condemned_where_rows_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The blob of a row that somebody took away looks as an orphan does."""

    async def body(rig: Rig) -> None:
        lost = await orphan(rig)
        later(rig, DAY)

        async def check() -> None:
            raise RowDamaged("rows were taken away")

        monkeypatch.setattr(rig.catalogue, "check_live_blobs", check)
        with pytest.raises(RowDamaged):
            await rig.sweeper.sweep()
        assert await rig.catalogue.blob_states([lost]) == {}

    run(body)


def test_what_is_replaced_or_deleted_goes_an_hour_later_and_by_the_short_job_too() -> None:
    async def body(rig: Rig) -> None:
        await rig.put(b"k", LONG)
        await rig.put(b"k", LONG)
        await rig.put(b"other", LONG)
        await rig.objects.delete(rig.bucket, [DeleteVersion(b"other")])
        assert await rig.sweeper.delete_condemned() == 0
        later(rig, timedelta(hours=2))
        assert await rig.sweeper.delete_condemned() == 2
        assert await rig.sweeper.delete_condemned() == 0
        assert len(rig.stored()) == 1
        assert await rig.get(b"k") == LONG

    run(body)


def test_a_dry_run_changes_nothing_and_gives_the_lease_back() -> None:
    async def body(rig: Rig) -> None:
        lost = await orphan(rig)
        later(rig, DAY)
        assert await rig.sweeper.sweep(dry_run=True) == SweepReport(1, 1, 0, 0, 0)
        assert await rig.catalogue.blob_states([lost]) == {}
        assert lost in rig.stored()
        await rig.catalogue.acquire_lease(LEASE_NAME, "another", LEASE_DURATION)

    run(body)


def test_stores_of_two_realms_are_never_swept(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(rig: Rig) -> None:
        await orphan(rig)
        later(rig, DAY)

        async def another() -> bytes:
            return new_id()

        async def unclaimed() -> None:
            return None

        for realm_id in (another, unclaimed):
            monkeypatch.setattr(rig.blobs, "realm_id", realm_id)
            with pytest.raises(RealmMismatch):
                await rig.sweeper.sweep(many_orphans_are_right=True)
        monkeypatch.undo()
        assert len(rig.stored()) == 1

    run(body)


@pytest.mark.parametrize(("orphans", "refuses"), [(4, False), (5, False), (6, True)])
def test_more_than_the_share_and_the_least_number_is_suspicious(
    orphans: int, refuses: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MIN_SUSPICIOUS_ORPHANS", 5)

    async def body(rig: Rig) -> None:
        for _ in range(orphans):
            await orphan(rig)
        later(rig, DAY)
        if refuses:
            with pytest.raises(TooManyOrphans, match="6 of 6 blobs"):
                await rig.sweeper.sweep()
            assert await rig.catalogue.list_condemned(rig.clock(), 10) == ()
            await rig.catalogue.acquire_lease(LEASE_NAME, "another", LEASE_DURATION)
        else:
            assert (await rig.sweeper.sweep()).condemned_count == orphans

    run(body)


def test_the_share_counts_where_there_are_many_blobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MIN_SUSPICIOUS_ORPHANS", 0)

    async def body(rig: Rig) -> None:
        for number in range(19):
            await rig.put(b"%d" % number, b"x")
        await orphan(rig)
        later(rig, DAY)
        assert (await rig.sweeper.sweep()).condemned_count == 1, "1 of 20 is the share, and not above it"
        await orphan(rig)
        later(rig, DAY)
        await rig.objects.delete(rig.bucket, [DeleteVersion(b"0")])
        later(rig, timedelta(hours=2))
        await rig.sweeper.delete_condemned()
        with pytest.raises(TooManyOrphans):
            await rig.sweeper.sweep()

    run(body, inline_max_bytes=0)


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_batches_cover_every_blob_once_and_tell_how_far(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_SIZE", size)
    monkeypatch.setattr(rowless, "BATCH_SIZE", size)
    told: list[int] = []

    async def body(rig: Rig) -> None:
        lost = [await orphan(rig) for _ in range(5)]
        await rig.put(b"k", LONG)
        later(rig, DAY)
        report = await rig.sweeper.sweep(progress=told.append)
        assert report == SweepReport(6, 5, 5, 0, 0)
        later(rig, timedelta(hours=2))
        assert (await rig.sweeper.sweep()).deleted_count == 5
        assert set(rig.stored()).isdisjoint(lost)

    run(body)
    assert told == sorted(told)
    assert told[-1] == 6
    assert (len(told) > 1) == (size <= 6)


def test_two_sweepers_do_not_meet() -> None:
    async def body(rig: Rig) -> None:
        await rig.catalogue.acquire_lease(LEASE_NAME, "another", LEASE_DURATION)
        for job in (rig.sweeper.sweep, rig.sweeper.delete_condemned):
            with pytest.raises(LeaseLost):
                await job()
        later(rig, LEASE_DURATION)
        await rig.sweeper.sweep()

    run(body)


def test_a_lease_that_is_lost_on_the_way_stops_the_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(rig: Rig) -> None:
        lost = await orphan(rig)
        later(rig, DAY)
        real = rig.catalogue.blob_states

        async def slow(blob_ids: Any) -> Any:
            later(rig, LEASE_DURATION)
            await rig.catalogue.acquire_lease(LEASE_NAME, "another", LEASE_DURATION)
            return await real(blob_ids)

        monkeypatch.setattr(rig.catalogue, "blob_states", slow)
        with pytest.raises(LeaseLost):
            await rig.sweeper.sweep()
        monkeypatch.undo()
        assert await rig.catalogue.blob_states([lost]) == {}
        with pytest.raises(LeaseLost):  # what was not held any more was not given back either
            await rig.sweeper.sweep()

    run(body)


def test_a_slow_walk_renews_its_own_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(rig: Rig) -> None:
        lost = await orphan(rig)
        later(rig, DAY)
        real = rig.catalogue.blob_states

        async def slow(blob_ids: Any) -> Any:
            later(rig, 2 * LEASE_DURATION)
            return await real(blob_ids)

        monkeypatch.setattr(rig.catalogue, "blob_states", slow)
        assert (await rig.sweeper.sweep()).condemned_count == 1
        monkeypatch.undo()
        later(rig, timedelta(hours=2))
        await rig.sweeper.sweep()
        assert lost not in rig.stored()

    run(body)


def test_a_slow_store_does_not_cost_the_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the same blobs would be deleted again at every sweep, and their rows stay for ever."""

    async def body(rig: Rig) -> None:
        for name in (b"a", b"b"):
            await rig.put(name, LONG)
        await rig.objects.delete(rig.bucket, [DeleteVersion(b"a"), DeleteVersion(b"b")])
        later(rig, timedelta(hours=2))
        delete = rig.blobs.delete

        async def slow(blob_id: bytes) -> None:
            later(rig, LEASE_DURATION * 0.6)
            await delete(blob_id)

        monkeypatch.setattr(rig.blobs, "delete", slow)
        assert await rig.sweeper.delete_condemned() == 2
        assert await rig.sweeper.delete_condemned() == 0

    run(body)


def test_a_store_that_fails_leaves_the_row_for_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(rig: Rig) -> None:
        lost = await orphan(rig)
        later(rig, DAY)
        await rig.sweeper.sweep()
        later(rig, timedelta(hours=2))

        async def down(_blob_id: bytes) -> None:
            raise StorageUnavailable("down")

        monkeypatch.setattr(rig.blobs, "delete", down)
        with pytest.raises(StorageUnavailable):
            await rig.sweeper.sweep()
        monkeypatch.undo()
        assert await rig.catalogue.blob_states([lost]) == {lost: BlobState.CONDEMNED}
        assert (await rig.sweeper.sweep()).deleted_count == 1

    run(body)


def test_a_writer_slower_than_the_grace_loses_cleanly(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(rig: Rig) -> None:
        real = rig.catalogue.publish_version

        async def after_a_sweep(command: Any) -> Any:
            later(rig, DAY)
            assert (await rig.sweeper.sweep()).condemned_count == 1
            return await real(command)

        monkeypatch.setattr(rig.catalogue, "publish_version", after_a_sweep)
        with pytest.raises(BlobCondemned):
            await rig.put(b"k", LONG)
        monkeypatch.undo()
        await rig.put(b"k", LONG)
        later(rig, timedelta(hours=2))
        await rig.sweeper.sweep()
        assert len(rig.stored()) == 1
        assert await rig.get(b"k") == LONG

    run(body)


def test_a_completed_upload_is_forgotten_after_a_week() -> None:
    from tests.gateway.engine.test_multipart import begin, named, part  # noqa: PLC0415  # the short ways of another file

    async def body(rig: Rig) -> None:
        upload = await begin(rig, ObjectAttributes())
        await rig.multipart.complete(rig.bucket, upload, named(await part(rig, upload, 1, b"x")), Conditions())
        later(rig, timedelta(days=6))
        await rig.sweeper.sweep()
        await rig.catalogue.get_upload(rig.bucket.bucket_id, b"big", upload.upload_id)
        later(rig, timedelta(days=2))
        await rig.sweeper.sweep()
        with pytest.raises(NoSuchUpload):
            await rig.catalogue.get_upload(rig.bucket.bucket_id, b"big", upload.upload_id)
        assert await rig.get(b"big") == b"x"

    run(body)
