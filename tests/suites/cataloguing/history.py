"""What every catalogue does: versions that stand above each other, and their listing."""

import random
from dataclasses import replace

import pytest

from storage.catalogue.base import Catalogue
from storage.catalogue.commands import Conditions, Deleted, DeleteVersion, HistoryQuery, ListQuery
from storage.catalogue.conflicts import BucketNotEmpty, NoSuchVersion, PreconditionRefused, VersioningChanged
from storage.catalogue.records import NULL_VERSION_ID, ObjectLock, ObjectVersion, RetentionMode, Versioning
from storage.errors import CatalogueConflict
from tests.suites.catalogue import BUCKET, MINUTE, START, FakeClock, Maker


class HistorySuite:
    async def test_versions_stand_above_each_other(self, ready: Catalogue, make: Maker, clock: FakeClock) -> None:
        null, one, two = make.publish(b"key", etag="null"), make.version_id(), make.version_id()
        await ready.publish_version(null)
        with pytest.raises(VersioningChanged):
            await ready.publish_version(make.publish(b"key", version_id=one))
        await ready.set_versioning(BUCKET.bucket_id, Versioning.ENABLED)
        assert (await ready.get_bucket(BUCKET.name)).versioning is Versioning.ENABLED
        with pytest.raises(VersioningChanged):
            await ready.publish_version(make.publish(b"key"))
        for new_id in (one, two):
            published = await ready.publish_version(make.publish(b"key", etag=new_id, version_id=new_id))
            assert published.is_latest
        for version_id, etag in ((None, two), (two, two), (one, one), (NULL_VERSION_ID, "null")):
            found = await ready.get_version(BUCKET.bucket_id, b"key", version_id)
            assert found.version.etag == etag
            assert found.version.is_latest == (etag == two)
            assert found.content is not None
        with pytest.raises(NoSuchVersion):
            await ready.get_version(BUCKET.bucket_id, b"key", make.version_id())
        assert len((await ready.list_versions(BUCKET.bucket_id, ListQuery())).versions) == 1
        assert await ready.count_live_blobs() == 3
        await ready.check_live_blobs()
        with pytest.raises(CatalogueConflict):  # an id is given once
            await ready.publish_version(make.publish(b"key", version_id=one))
        await ready.verify()
        with pytest.raises(BucketNotEmpty):
            await ready.delete_bucket(BUCKET.bucket_id)
        assert await ready.delete_versions(BUCKET.bucket_id, [DeleteVersion(b"key", two)]) == (
            Deleted(b"key", removed_version_id=two),
        )
        current = await ready.get_version(BUCKET.bucket_id, b"key")
        assert (current.version.etag, current.version.is_latest) == (one, True)
        await ready.delete_versions(
            BUCKET.bucket_id, [DeleteVersion(b"key", NULL_VERSION_ID), DeleteVersion(b"key", one)]
        )
        with pytest.raises(NoSuchVersion):
            await ready.get_version(BUCKET.bucket_id, b"key")
        assert await ready.count_live_blobs() == 0
        await ready.check_live_blobs()
        await ready.verify()
        await ready.delete_bucket(BUCKET.bucket_id)

    async def test_delete_markers(self, ready: Catalogue, make: Maker) -> None:
        await ready.set_versioning(BUCKET.bucket_id, Versioning.ENABLED)
        version_id, first, second = make.version_id(), make.version_id(), make.version_id()
        await ready.publish_version(make.publish(b"key", version_id=version_id))
        (refused,) = await ready.delete_versions(BUCKET.bucket_id, [DeleteVersion(b"key")])
        assert isinstance(refused, VersioningChanged)
        answers = await ready.delete_versions(
            BUCKET.bucket_id,
            [DeleteVersion(b"key", marker_id=first), DeleteVersion(b"absent", marker_id=second)],
        )
        assert answers == (Deleted(b"key", marker_version_id=first), Deleted(b"absent", marker_version_id=second))
        found = await ready.get_version(BUCKET.bucket_id, b"key")
        assert (found.version.is_delete_marker, found.version.version_id, found.content) == (True, first, None)
        assert (await ready.get_version(BUCKET.bucket_id, b"key", version_id)).content is not None
        assert (await ready.list_versions(BUCKET.bucket_id, ListQuery())).versions == ()
        assert len((await ready.list_history(BUCKET.bucket_id, HistoryQuery())).versions) == 3
        with pytest.raises(NoSuchVersion):  # a marker counts as absent
            await ready.publish_version(
                make.publish(b"key", version_id=make.version_id(), conditions=Conditions(if_match_etag="*"))
            )
        (refused,) = await ready.delete_versions(
            BUCKET.bucket_id,
            [DeleteVersion(b"key", marker_id=make.version_id(), conditions=Conditions(if_match_etag="*"))],
        )
        assert isinstance(refused, NoSuchVersion)
        assert await ready.delete_versions(BUCKET.bucket_id, [DeleteVersion(b"key", first)]) == (
            Deleted(b"key", removed_version_id=first, removed_a_marker=True),
        )
        assert (await ready.get_version(BUCKET.bucket_id, b"key")).version.version_id == version_id
        for key, judged in ((b"absent", 0), (b"absent", 1), (b"new", 1)):
            late = make.publish(key, version_id=make.version_id(), conditions=Conditions(newest=judged))
            with pytest.raises(PreconditionRefused):
                await ready.publish_version(late)
        (refused,) = await ready.delete_versions(
            BUCKET.bucket_id, [DeleteVersion(b"absent", marker_id=make.version_id(), conditions=Conditions(newest=0))]
        )
        assert isinstance(refused, PreconditionRefused)
        marker = (await ready.get_version(BUCKET.bucket_id, b"absent")).version
        for key, judged in ((b"judged", 0), (b"absent", marker.sequence)):
            published = await ready.publish_version(
                make.publish(key, version_id=make.version_id(), conditions=Conditions(newest=judged))
            )
            await ready.delete_versions(
                BUCKET.bucket_id, [DeleteVersion(key, published.version_id), DeleteVersion(b"none", "0" * 32)]
            )
        again = make.publish(b"absent", version_id=make.version_id(), conditions=Conditions(if_none_match_any=True))
        await ready.publish_version(again)
        with pytest.raises(BucketNotEmpty):
            await ready.delete_bucket(BUCKET.bucket_id)
        await ready.verify()

    async def test_suspended_buckets_replace_the_null_version(self, ready: Catalogue, make: Maker) -> None:
        await ready.publish_version(make.publish(b"key", etag="null one"))
        await ready.set_versioning(BUCKET.bucket_id, Versioning.ENABLED)
        version_id = make.version_id()
        await ready.publish_version(make.publish(b"key", etag="named", version_id=version_id))
        await ready.set_versioning(BUCKET.bucket_id, Versioning.SUSPENDED)
        await ready.publish_version(make.publish(b"key", etag="null two"))
        assert await ready.count_live_blobs() == 2
        await ready.check_live_blobs()
        history = (await ready.list_history(BUCKET.bucket_id, HistoryQuery())).versions
        assert [(version.etag, version.is_latest) for version in history] == [("null two", True), ("named", False)]
        await ready.publish_version(make.publish(b"key", etag="null three"))
        assert await ready.count_live_blobs() == 2
        await ready.check_live_blobs()
        unused = make.version_id()
        assert await ready.delete_versions(BUCKET.bucket_id, [DeleteVersion(b"key", marker_id=unused)]) == (
            Deleted(b"key", marker_version_id=NULL_VERSION_ID),
        )
        history = (await ready.list_history(BUCKET.bucket_id, HistoryQuery())).versions
        assert [version.is_delete_marker for version in history] == [True, False]
        assert await ready.count_live_blobs() == 1
        await ready.check_live_blobs()
        await ready.delete_versions(BUCKET.bucket_id, [DeleteVersion(b"key")])
        assert len((await ready.list_history(BUCKET.bucket_id, HistoryQuery())).versions) == 2
        await ready.publish_version(make.publish(b"key", etag="null four"))
        history = (await ready.list_history(BUCKET.bucket_id, HistoryQuery())).versions
        assert [version.etag for version in history] == ["null four", "named"]
        await ready.verify()

    async def test_history_pages_equal_brute_force(self, ready: Catalogue, make: Maker) -> None:
        await ready.set_versioning(BUCKET.bucket_id, Versioning.ENABLED)
        rng = random.Random(11)
        keys = [b"a", b"a/1", b"a/2", b"b", b"b/x/1", b"b/x/2", b"c", b"\xff"]
        for number in range(60):
            key = rng.choice(keys)
            if rng.random() < 0.2:
                await ready.delete_versions(BUCKET.bucket_id, [DeleteVersion(key, marker_id=make.version_id())])
            else:
                await ready.publish_version(make.publish(key, etag=str(number), version_id=make.version_id()))
        whole = (await ready.list_history(BUCKET.bucket_id, HistoryQuery())).versions
        assert len(whole) == 60
        assert [version.object_key for version in whole] == sorted(version.object_key for version in whole)
        for older, newer in zip(whole[1:], whole, strict=False):
            same_key = older.object_key == newer.object_key
            assert older.is_latest != same_key
            assert not same_key or older.sequence < newer.sequence
        for prefix in (b"", b"a", b"b/", b"zz"):
            for delimiter in (b"", b"/"):
                expected = history_by_brute_force(whole, prefix, delimiter)
                for limit in (1, 2, 7, 1000):
                    query = HistoryQuery(prefix, delimiter, limit=limit)
                    given: list[tuple[bytes, str | None]] = []
                    while True:
                        page = await ready.list_history(BUCKET.bucket_id, query)
                        entries: list[tuple[bytes, str | None]] = [
                            (version.object_key, version.version_id) for version in page.versions
                        ]
                        entries += [(common, None) for common in page.common_prefixes]
                        entries.sort(key=lambda entry: entry[0])
                        assert len(entries) <= limit
                        given += entries
                        if not page.is_truncated:
                            break
                        assert (page.next_key_marker, page.next_version_id_marker) == entries[-1]
                        query = replace(
                            query, key_marker=page.next_key_marker, version_id_marker=page.next_version_id_marker
                        )
                    assert given == expected, (prefix, delimiter, limit)
        gone = HistoryQuery(key_marker=b"b", version_id_marker=make.version_id())
        assert (await ready.list_history(BUCKET.bucket_id, gone)).versions == tuple(
            version for version in whole if version.object_key >= b"b"
        )
        assert (await ready.list_history(BUCKET.bucket_id, HistoryQuery(limit=0))).is_truncated is False

    async def test_completing_in_a_versioned_bucket(self, ready: Catalogue, make: Maker) -> None:
        upload = make.upload()
        part = make.part(upload, 1)
        await ready.create_upload(upload)
        await ready.put_part(part)
        await ready.set_versioning(BUCKET.bucket_id, Versioning.ENABLED)
        await ready.enable_object_lock(BUCKET.bucket_id)
        command = make.complete(upload, part)
        with pytest.raises(VersioningChanged):
            await ready.complete_upload(command)
        lock = ObjectLock(RetentionMode.COMPLIANCE, START + MINUTE, legal_hold=True)
        version = replace(command.version, version_id=make.version_id(), lock=lock)
        published = await ready.complete_upload(replace(command, version=version))
        assert (published.version_id, published.lock) == (version.version_id, lock)
        assert (await ready.get_upload(BUCKET.bucket_id, b"big", upload.upload_id)).completed == published
        assert (await ready.get_version(BUCKET.bucket_id, b"big")).version == published
        await ready.verify()


def history_by_brute_force(
    versions: tuple[ObjectVersion, ...], prefix: bytes, delimiter: bytes
) -> list[tuple[bytes, str | None]]:
    """Entries of a listing of versions: object keys with version ids, common prefixes without."""
    entries: list[tuple[bytes, str | None]] = []
    for version in versions:
        if version.object_key[: len(prefix)] != prefix:
            continue
        head, found, _ = version.object_key[len(prefix) :].partition(delimiter or b"\0never")
        entry = (prefix + head + found, None if found else version.version_id)
        if not found or entry not in entries:
            entries.append(entry)
    return entries
