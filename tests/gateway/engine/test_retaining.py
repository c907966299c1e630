"""Versions under COMPLIANCE over a blob store with locks of its own: what it is told to keep, and for how long."""

from datetime import datetime, timedelta

import pytest

from gateway.engine.attributes import ObjectAttributes
from gateway.engine.objects import NewObject
from gateway.engine.retaining import AT_ONCE, retaining
from gateway.s3.types import PayloadExpectation
from gateway.s3.upload_types import CompletedPart
from storage.catalogue.commands import Conditions, DeleteVersion, HistoryQuery, VersionChange
from storage.catalogue.conflicts import PreconditionRefused
from storage.catalogue.records import ObjectLock, RetentionMode, Versioning
from storage.errors import BlobHeld, StorageUnavailable
from tests.gateway.engine.rig import PieceBody, Rig, run

LONG = b"x" * 20_000
DAY = timedelta(days=1)


async def locked(rig: Rig, *, has_locks: bool = True) -> None:
    """Give the bucket locks, the engines the catalogue of this module, and the store locks of its own."""
    await rig.catalogue.set_versioning(rig.bucket.bucket_id, Versioning.ENABLED)
    await rig.catalogue.enable_object_lock(rig.bucket.bucket_id)
    rig.bucket = await rig.catalogue.get_bucket("bucket")
    rig.blobs._has_locks = has_locks
    rig.objects._catalogue = rig.multipart._catalogue = retaining(rig.catalogue, rig.blobs)


def compliance(rig: Rig, days: float) -> ObjectLock:
    return ObjectLock(RetentionMode.COMPLIANCE, rig.clock() + days * DAY)


async def put(rig: Rig, lock: ObjectLock, body: bytes = LONG, *, if_none_match_any: bool = False) -> None:
    new = NewObject(b"k", ObjectAttributes(), Conditions(if_none_match_any=if_none_match_any), lock=lock)
    await rig.objects.put(rig.bucket, new, PayloadExpectation(), PieceBody(body))


def held(rig: Rig) -> list[int]:
    """For how many days from now each blob is kept."""
    return sorted(round((until - rig.clock.now) / DAY) for until in rig.blobs._held.values())


def test_a_write_under_compliance_is_kept_by_the_store() -> None:
    async def body(rig: Rig) -> None:
        await locked(rig)
        await put(rig, compliance(rig, 3))
        assert held(rig) == [3]
        (blob_id,) = rig.stored()
        with pytest.raises(BlobHeld):
            await rig.blobs.delete(blob_id)

    run(body)


@pytest.mark.parametrize("mode", [RetentionMode.NONE, RetentionMode.GOVERNANCE])
def test_what_may_be_deleted_by_somebody_is_not(mode: RetentionMode) -> None:
    async def body(rig: Rig) -> None:
        await locked(rig)
        until = None if mode is RetentionMode.NONE else rig.clock() + DAY
        await put(rig, ObjectLock(mode, until, legal_hold=True))
        assert held(rig) == []

    run(body)


def test_a_small_object_in_its_row_has_nothing_to_keep() -> None:
    async def body(rig: Rig) -> None:
        await locked(rig)
        await put(rig, compliance(rig, 3), b"small")
        assert held(rig) == []

    run(body)


def test_a_write_that_is_refused_leaves_no_blob_that_nobody_can_delete() -> None:
    async def body(rig: Rig) -> None:
        await locked(rig)
        await put(rig, ObjectLock())
        with pytest.raises(PreconditionRefused):
            await put(rig, compliance(rig, 3), if_none_match_any=True)
        assert held(rig) == []
        assert len(rig.stored()) == 1

    run(body)


def test_a_store_that_does_not_take_the_lock_fails_the_write() -> None:
    async def body(rig: Rig) -> None:
        await locked(rig)

        async def away(blob_id: bytes, until: datetime) -> bool:
            raise StorageUnavailable("the backend is away")

        rig.blobs.retain = away  # type: ignore[method-assign]  # in the place of the method
        with pytest.raises(StorageUnavailable):
            await put(rig, compliance(rig, 3))

    run(body)


def test_an_extension_keeps_blobs_longer_and_other_changes_ask_nothing() -> None:
    async def body(rig: Rig) -> None:
        await locked(rig)
        catalogue = rig.objects._catalogue
        await put(rig, ObjectLock())
        for days, stands in ((2, 2), (5, 5)):
            change = VersionChange(retention=compliance(rig, days))
            await catalogue.update_version(rig.bucket.bucket_id, b"k", None, change)
            assert held(rig) == [stands]
        rig.blobs._held.clear()
        await catalogue.update_version(rig.bucket.bucket_id, b"k", None, VersionChange(legal_hold=True))
        assert held(rig) == []

    run(body)


def test_a_copy_keeps_what_it_shares_and_its_own_link() -> None:
    async def body(rig: Rig) -> None:
        await locked(rig)
        await put(rig, compliance(rig, 9))
        source = await rig.objects.find(rig.bucket, b"k")
        new = NewObject(b"copy", ObjectAttributes(), Conditions(), lock=compliance(rig, 4))
        await rig.objects.copy(source, rig.bucket, new)
        # The shared blob stays for the longer of the two.
        assert held(rig) == [4, 9]
        change = VersionChange(retention=compliance(rig, 12))
        await rig.objects._catalogue.update_version(rig.bucket.bucket_id, b"copy", None, change)
        assert held(rig) == [12] * 2

    run(body)


def test_an_upload_keeps_every_part_and_its_manifest() -> None:
    async def body(rig: Rig) -> None:
        await locked(rig)
        upload = await rig.multipart.create(rig.bucket, b"k", ObjectAttributes(), lock=compliance(rig, 3))
        parts = []
        for number in range(1, 2 + AT_ONCE + 1):
            whole = b"p" * (5 * 1024 * 1024)
            made = await rig.multipart.put_part(rig.bucket, upload, number, PayloadExpectation(), PieceBody(whole))
            parts.append(CompletedPart(number, made.part.etag))
        assert held(rig) == []
        await rig.multipart.complete(rig.bucket, upload, parts, Conditions(), lock=compliance(rig, 3))
        assert held(rig) == [3] * (len(parts) + 1)

    run(body)


def test_a_store_without_locks_is_asked_once_for_each_version() -> None:
    async def body(rig: Rig) -> None:
        await locked(rig, has_locks=False)
        await put(rig, compliance(rig, 3))
        assert held(rig) == []

    run(body)


def test_the_sweep_goes_past_what_the_store_keeps_and_comes_back_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A content that was sealed anew leaves old blobs which the store keeps until their time."""

    async def body(rig: Rig) -> None:
        await locked(rig)
        rig.blobs._has_locks = True
        for _ in range(5):
            await put(rig, ObjectLock())
        blob_ids = sorted(rig.stored())
        for blob_id in blob_ids[:3]:
            await rig.blobs.retain(blob_id, rig.clock() + 9 * DAY)
        versions = await rig.catalogue.list_history(rig.bucket.bucket_id, HistoryQuery())
        for version in versions.versions:
            await rig.catalogue.delete_versions(rig.bucket.bucket_id, [DeleteVersion(b"k", version.version_id)])
        rig.clock.now += timedelta(hours=2)
        monkeypatch.setattr("gateway.engine.sweep.BATCH_SIZE", 2)
        report = await rig.sweeper.sweep()
        assert (report.deleted_count, report.held_count) == (2, 3)
        assert sorted(rig.stored()) == blob_ids[:3]
        rig.clock.now += 10 * DAY
        report = await rig.sweeper.sweep()
        assert (report.deleted_count, report.held_count) == (3, 0)
        assert rig.stored() == {}

    run(body)
