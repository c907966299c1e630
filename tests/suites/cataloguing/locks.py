"""What every catalogue does: locks, and changes in place."""

from dataclasses import replace

import pytest

from storage.catalogue.base import Catalogue
from storage.catalogue.commands import Deleted, DeleteVersion, VersionChange
from storage.catalogue.conflicts import BucketStateRefused, LockRefused, NoSuchBucket, NoSuchVersion
from storage.catalogue.records import NO_LOCK, NULL_VERSION_ID, ObjectLock, RetentionMode, Versioning
from tests.suites.catalogue import BUCKET, MINUTE, START, FakeClock, Maker


class LocksSuite:
    async def test_locks_keep_versions(self, ready: Catalogue, make: Maker, clock: FakeClock) -> None:
        until = START + MINUTE
        with pytest.raises(BucketStateRefused):
            await ready.enable_object_lock(BUCKET.bucket_id)
        await ready.set_versioning(BUCKET.bucket_id, Versioning.ENABLED)
        held = make.publish(b"key", version_id=make.version_id(), lock=ObjectLock(legal_hold=True))
        with pytest.raises(BucketStateRefused):
            await ready.publish_version(held)
        await ready.enable_object_lock(BUCKET.bucket_id)
        await ready.enable_object_lock(BUCKET.bucket_id)
        assert (await ready.get_bucket(BUCKET.name)).object_lock
        with pytest.raises(BucketStateRefused):
            await ready.set_versioning(BUCKET.bucket_id, Versioning.SUSPENDED)
        await ready.set_versioning(BUCKET.bucket_id, Versioning.ENABLED)
        locks = [
            ObjectLock(legal_hold=True),
            ObjectLock(RetentionMode.COMPLIANCE, until),
            ObjectLock(RetentionMode.GOVERNANCE, until),
            ObjectLock(RetentionMode.GOVERNANCE, until, legal_hold=True),
        ]
        ids = [make.version_id() for _ in locks]
        for version_id, lock in zip(ids, locks, strict=True):
            published = await ready.publish_version(make.publish(b"key", version_id=version_id, lock=lock))
            assert published.lock == lock
        for bypass, gone in ((False, set()), (True, {ids[2]})):
            answers = await ready.delete_versions(
                BUCKET.bucket_id,
                [DeleteVersion(b"key", version_id, bypass_governance=bypass) for version_id in ids],
            )
            for version_id, answer in zip(ids, answers, strict=True):
                assert isinstance(answer, Deleted if version_id in gone else LockRefused)
        (marker,) = await ready.delete_versions(BUCKET.bucket_id, [DeleteVersion(b"key", marker_id=make.version_id())])
        assert isinstance(marker, Deleted)
        clock.advance()
        answers = await ready.delete_versions(BUCKET.bucket_id, [DeleteVersion(b"key", id_) for id_ in ids])
        assert [type(answer) for answer in answers] == [LockRefused, Deleted, Deleted, LockRefused]
        await ready.verify()

    @pytest.mark.parametrize(
        ("held", "wanted", "bypass", "allowed"),
        [
            (NO_LOCK, (RetentionMode.GOVERNANCE, 5), False, True),
            ((RetentionMode.COMPLIANCE, 5), (RetentionMode.COMPLIANCE, 5), False, True),
            ((RetentionMode.COMPLIANCE, 5), (RetentionMode.COMPLIANCE, 6), False, True),
            ((RetentionMode.COMPLIANCE, 5), (RetentionMode.COMPLIANCE, 4), True, False),
            ((RetentionMode.COMPLIANCE, 5), (RetentionMode.GOVERNANCE, 9), True, False),
            ((RetentionMode.COMPLIANCE, 5), (RetentionMode.NONE, None), True, False),
            ((RetentionMode.COMPLIANCE, 0), (RetentionMode.NONE, None), False, True),
            ((RetentionMode.GOVERNANCE, 5), (RetentionMode.GOVERNANCE, 6), False, True),
            ((RetentionMode.GOVERNANCE, 5), (RetentionMode.GOVERNANCE, 4), False, False),
            ((RetentionMode.GOVERNANCE, 5), (RetentionMode.GOVERNANCE, 4), True, True),
            ((RetentionMode.GOVERNANCE, 5), (RetentionMode.COMPLIANCE, 9), False, False),
            ((RetentionMode.GOVERNANCE, 5), (RetentionMode.COMPLIANCE, 9), True, True),
            ((RetentionMode.GOVERNANCE, 5), (RetentionMode.NONE, None), False, False),
            ((RetentionMode.GOVERNANCE, 5), (RetentionMode.NONE, None), True, True),
        ],
    )
    async def test_retention_grows(
        self,
        ready: Catalogue,
        make: Maker,
        held: ObjectLock | tuple[RetentionMode, int | None],
        wanted: tuple[RetentionMode, int | None],
        *,
        bypass: bool,
        allowed: bool,
    ) -> None:
        await ready.set_versioning(BUCKET.bucket_id, Versioning.ENABLED)
        await ready.enable_object_lock(BUCKET.bucket_id)
        has = held if isinstance(held, ObjectLock) else lock_of(*held)
        version_id = make.version_id()
        await ready.publish_version(make.publish(b"key", version_id=version_id, lock=replace(has, legal_hold=True)))
        change = VersionChange(retention=lock_of(*wanted), bypass_governance=bypass)
        if allowed:
            updated = await ready.update_version(BUCKET.bucket_id, b"key", version_id, change)
            assert updated.lock == replace(lock_of(*wanted), legal_hold=True)
        else:
            with pytest.raises(LockRefused):
                await ready.update_version(BUCKET.bucket_id, b"key", version_id, change)
        expected = lock_of(*wanted) if allowed else has
        found = await ready.get_version(BUCKET.bucket_id, b"key")
        assert found.version.lock == replace(expected, legal_hold=True)
        await ready.verify()

    async def test_changes_in_place(self, ready: Catalogue, make: Maker) -> None:
        await ready.publish_version(make.publish(b"key"))
        before = (await ready.get_version(BUCKET.bucket_id, b"key")).version
        tagged = await ready.update_version(BUCKET.bucket_id, b"key", None, VersionChange(tags=[("a", "1")]))
        assert tagged == replace(before, attributes={**before.attributes, "tags": [["a", "1"]]})
        assert (await ready.get_version(BUCKET.bucket_id, b"key")).version == tagged
        assert await ready.update_version(BUCKET.bucket_id, b"key", NULL_VERSION_ID, VersionChange(tags=[])) == before
        for key, version_id in ((b"absent", None), (b"key", "1" * 32)):
            with pytest.raises(NoSuchVersion):
                await ready.update_version(BUCKET.bucket_id, key, version_id, VersionChange(tags=[]))
        for change in (VersionChange(legal_hold=True), VersionChange(retention=NO_LOCK)):
            with pytest.raises(BucketStateRefused):
                await ready.update_version(BUCKET.bucket_id, b"key", None, change)
        with pytest.raises(NoSuchBucket):
            await ready.update_version(b"?" * 16, b"key", None, VersionChange(tags=[]))
        await ready.set_versioning(BUCKET.bucket_id, Versioning.ENABLED)
        await ready.enable_object_lock(BUCKET.bucket_id)
        held = await ready.update_version(BUCKET.bucket_id, b"key", None, VersionChange(legal_hold=True))
        assert held == replace(before, lock=ObjectLock(legal_hold=True))
        (refused,) = await ready.delete_versions(BUCKET.bucket_id, [DeleteVersion(b"key", NULL_VERSION_ID)])
        assert isinstance(refused, LockRefused)
        await ready.delete_versions(BUCKET.bucket_id, [DeleteVersion(b"key", marker_id=make.version_id())])
        with pytest.raises(NoSuchVersion):  # the current version is a delete marker
            await ready.update_version(BUCKET.bucket_id, b"key", None, VersionChange(legal_hold=False))
        old = await ready.update_version(BUCKET.bucket_id, b"key", NULL_VERSION_ID, VersionChange(legal_hold=False))
        assert (old.lock, old.is_latest) == (ObjectLock(legal_hold=False), False)
        assert (await ready.read_changes(0, 100))[-1].kind == "update_version"
        await ready.verify()


def lock_of(mode: RetentionMode, minutes: int | None) -> ObjectLock:
    """A retention that ends so many minutes after the start."""
    return ObjectLock(mode, None if minutes is None else START + MINUTE * minutes)
