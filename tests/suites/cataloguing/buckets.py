"""What every catalogue does: buckets and their configurations."""

import hashlib
from dataclasses import replace

import pytest

from storage.catalogue.base import Catalogue
from storage.catalogue.conflicts import (
    BucketExists,
    BucketNotEmpty,
    BucketStateRefused,
    NoSuchAccount,
    NoSuchBucket,
    NoSuchUpload,
    TooManyBuckets,
)
from storage.catalogue.records import Bucket, Versioning
from tests.suites.catalogue import ALICE, BOB, BUCKET, OTHER, START, FakeClock, Maker


class BucketsSuite:
    async def test_buckets(self, ready: Catalogue) -> None:
        assert await ready.get_bucket("first-bucket") == BUCKET
        assert await ready.list_buckets(ALICE.account_id) == (BUCKET, OTHER)
        assert await ready.list_buckets(BOB.account_id) == ()
        assert await ready.list_buckets(ALICE.account_id, limit=1) == (BUCKET,)
        assert await ready.list_buckets(ALICE.account_id, start_after="first-bucket") == (OTHER,)
        assert await ready.list_buckets(ALICE.account_id, prefix="oth") == (OTHER,)
        assert await ready.list_buckets(ALICE.account_id, prefix="b") == ()
        with pytest.raises(BucketExists) as taken:
            await ready.create_bucket(replace(BUCKET, bucket_id=b"x" * 16, account_id=BOB.account_id), 100)
        assert taken.value.owner_id == ALICE.account_id
        third = Bucket(b"T" * 16, "third", ALICE.account_id, START)
        with pytest.raises(TooManyBuckets):
            await ready.create_bucket(third, 2)
        with pytest.raises(NoSuchAccount):
            await ready.create_bucket(replace(third, account_id=b"?" * 16), 2)
        with pytest.raises(BucketStateRefused, match="versioning"):
            await ready.create_bucket(replace(third, object_lock=True), 100)
        await ready.delete_bucket(OTHER.bucket_id)
        await ready.create_bucket(third, 2)
        for absent in (ready.get_bucket("other-bucket"), ready.delete_bucket(OTHER.bucket_id)):
            with pytest.raises(NoSuchBucket):
                await absent
        await ready.verify()

    async def test_configurations(self, ready: Catalogue) -> None:
        start = (await ready.read_changes(0, 100))[-1].sequence
        bucket_id = BUCKET.bucket_id
        assert await ready.get_configuration(bucket_id, "policy") is None
        await ready.put_configuration(bucket_id, "policy", None)
        await ready.put_configuration(bucket_id, "policy", b"one")
        await ready.put_configuration(bucket_id, "policy", b"\xfftwo")
        await ready.put_configuration(bucket_id, "cors", b"")
        assert await ready.get_configuration(bucket_id, "policy") == b"\xfftwo"
        assert await ready.get_configuration(bucket_id, "cors") == b""
        assert await ready.get_configuration(OTHER.bucket_id, "policy") is None
        hashes = {kind: hashlib.sha256(held).hexdigest() for kind, held in (("policy", b"\xfftwo"), ("cors", b""))}
        assert (await ready.get_bucket(BUCKET.name)).configurations == hashes
        assert (await ready.list_buckets(ALICE.account_id))[0].configurations == hashes
        await ready.verify()
        await ready.put_configuration(bucket_id, "policy", None)
        assert await ready.get_configuration(bucket_id, "policy") is None
        assert list((await ready.get_bucket(BUCKET.name)).configurations) == ["cors"]
        changes = await ready.read_changes(start, 100)
        assert [change.kind for change in changes] == ["put_configuration"] * 4
        await ready.delete_bucket(bucket_id)
        await ready.verify()
        for refused in (
            ready.get_configuration(bucket_id, "cors"),
            ready.put_configuration(bucket_id, "cors", b""),
            ready.set_versioning(bucket_id, Versioning.ENABLED),
            ready.enable_object_lock(bucket_id),
        ):
            with pytest.raises(NoSuchBucket):
                await refused

    async def test_a_bucket_with_objects_stays(self, ready: Catalogue, make: Maker) -> None:
        await ready.publish_version(make.publish(b"key"))
        with pytest.raises(BucketNotEmpty):
            await ready.delete_bucket(BUCKET.bucket_id)
        assert await ready.get_bucket("first-bucket") == BUCKET

    async def test_deleting_a_bucket_drops_its_uploads(self, ready: Catalogue, make: Maker, clock: FakeClock) -> None:
        upload = make.upload()
        part = make.part(upload, 1)
        await ready.create_upload(upload)
        await ready.put_part(part)
        await ready.delete_bucket(BUCKET.bucket_id)
        clock.advance()
        assert await ready.list_condemned(clock(), 10) == (part.blob.blob_id,)
        with pytest.raises(NoSuchUpload):
            await ready.put_part(make.part(upload, 2))
        await ready.verify()
