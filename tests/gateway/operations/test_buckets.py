"""CreateBucket, HeadBucket, DeleteBucket, and the configuration that can be read."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from gateway.access.facts import Caller
from gateway.access.identities import Identity
from gateway.access.policy import BucketRules
from gateway.operations.admission import Access
from gateway.operations.buckets import create_bucket
from gateway.operations.context import Context
from gateway.s3.bucket_types import CreateBucketInput
from gateway.s3.errors import S3Error
from storage.catalogue.conflicts import NoSuchBucket
from tests.gateway.operations.stage import ALICE, MAX_BUCKETS, Stage, headers_of, refused, status_of


def located(region: str) -> dict[str, str]:
    return {"LocationConstraint": region}


def test_a_bucket_is_there_once_it_is_created(stage: Stage) -> None:
    result = stage.alice.create_bucket(Bucket="new-one")
    assert (status_of(result), result["Location"]) == (200, "/new-one")
    head = stage.alice.head_bucket(Bucket="new-one")
    assert (status_of(head), head["BucketRegion"]) == (200, "us-east-1")
    assert headers_of(head)["x-amz-bucket-region"] == "us-east-1"
    assert stage.last.body == b""


def test_a_name_belongs_to_one_account(stage: Stage) -> None:
    mine = refused(stage.alice.create_bucket, 409, "BucketAlreadyOwnedByYou", Bucket="bucket")
    also_mine = refused(stage.alice_too.create_bucket, 409, "BucketAlreadyOwnedByYou", Bucket="bucket")
    theirs = refused(stage.bob.create_bucket, 409, "BucketAlreadyExists", Bucket="bucket")
    assert {error["BucketName"] for error in (mine, also_mine, theirs)} == {"bucket"}
    assert stage.bob.list_buckets()["Buckets"] == []


def test_an_account_holds_so_many_buckets_and_no_more(stage: Stage) -> None:
    for number in range(MAX_BUCKETS - 1):
        stage.alice.create_bucket(Bucket=f"more-{number}")
    refused(stage.alice.create_bucket, 400, "TooManyBuckets", Bucket="one-too-many")
    stage.bob.create_bucket(Bucket="one-too-many")


def test_the_location_is_this_endpoints_or_none(stage: Stage) -> None:
    create = stage.alice.create_bucket
    error = refused(
        create, 400, "IllegalLocationConstraintException",
        Bucket="far-away", CreateBucketConfiguration=located("eu-west-1"),
    )  # fmt: skip
    assert "eu-west-1" in error["Message"]
    assert [bucket["Name"] for bucket in stage.alice.list_buckets()["Buckets"]] == ["bucket"]


@pytest.mark.parametrize(
    ("constraint", "code"),
    [("", None), ("eu-central-1", None), ("us-east-1", "InvalidLocationConstraint"),
     ("eu-west-1", "IllegalLocationConstraintException")],
)  # fmt: skip
def test_the_location_of_an_endpoint_elsewhere(stage: Stage, constraint: str, code: str | None) -> None:
    unused: Any = None
    caller = Caller(Identity(stage.rig.account, ALICE))
    access = Access(unused, unused, "CreateBucket", caller, None, BucketRules())
    context = Context(replace(stage.services, region="eu-central-1"), access, unused, unused)
    request = CreateBucketInput("there", constraint)
    if code is None:
        assert stage.run(create_bucket(context, request, unused)).bucket == "there"
        return
    with pytest.raises(S3Error) as caught:
        stage.run(create_bucket(context, request, unused))
    assert caught.value.row.code == code


@pytest.mark.parametrize("name", ["Upper", "ab", "dot..dot", "192.168.0.1", "-dash"])
def test_a_bad_name_is_refused(stage: Stage, name: str) -> None:
    answer = stage.raw("PUT", f"/{name}")
    assert (answer.status, b"<Code>InvalidBucketName</Code>" in answer.body) == (400, True)


def test_what_a_bucket_cannot_have_is_refused_and_not_ignored(stage: Stage) -> None:
    refused(stage.alice.create_bucket, 400, "InvalidBucketAclWithObjectOwnership", Bucket="public", ACL="public-read")
    stage.alice.create_bucket(Bucket="fine", ObjectLockEnabledForBucket=False, ACL="private")
    assert stage.raw("PUT", "/broken", body=b"<CreateBucket").status == 400


def test_an_absent_bucket_is_absent_everywhere(stage: Stage) -> None:
    refused(stage.alice.head_bucket, 404, "404", Bucket="no-such")
    assert stage.last.body == b""
    for method in ("delete_bucket", "get_bucket_location", "get_bucket_encryption", "get_bucket_versioning"):
        assert refused(getattr(stage.alice, method), 404, "NoSuchBucket", Bucket="no-such")["BucketName"] == "no-such"


def test_a_bucket_goes_when_it_is_empty(stage: Stage) -> None:
    stage.put("k")
    error = refused(stage.alice.delete_bucket, 409, "BucketNotEmpty", Bucket="bucket")
    assert error["BucketName"] == "bucket"
    stage.alice.delete_object(Bucket="bucket", Key="k")
    assert status_of(stage.alice.delete_bucket(Bucket="bucket")) == 204
    refused(stage.alice.put_object, 404, "NoSuchBucket", Bucket="bucket", Key="k", Body=b"")
    stage.bob.create_bucket(Bucket="bucket")
    assert stage.bob.list_objects_v2(Bucket="bucket")["KeyCount"] == 0


def test_open_uploads_do_not_keep_a_bucket(stage: Stage) -> None:
    upload_id = stage.alice.create_multipart_upload(Bucket="bucket", Key="k")["UploadId"]
    stage.alice.upload_part(Bucket="bucket", Key="k", UploadId=upload_id, PartNumber=1, Body=b"part")
    stage.alice.delete_bucket(Bucket="bucket")
    stage.alice.create_bucket(Bucket="bucket")
    refused(stage.alice.list_parts, 404, "NoSuchUpload", Bucket="bucket", Key="k", UploadId=upload_id)


def test_a_bucket_that_goes_between_admission_and_delete(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def gone(_bucket_id: bytes) -> None:
        await asyncio.sleep(0)
        raise NoSuchBucket

    monkeypatch.setattr(stage.rig.catalogue, "delete_bucket", gone)
    refused(stage.alice.delete_bucket, 404, "NoSuchBucket", Bucket="bucket")


def test_the_classic_region_is_spelled_as_nothing(stage: Stage) -> None:
    result = stage.alice.get_bucket_location(Bucket="bucket")
    assert (status_of(result), result["LocationConstraint"]) == (200, None)
    assert stage.last.body.endswith(b"></LocationConstraint>")


def test_every_bucket_is_encrypted_and_none_is_versioned(stage: Stage) -> None:
    rules = stage.alice.get_bucket_encryption(Bucket="bucket")["ServerSideEncryptionConfiguration"]["Rules"]
    assert [rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] for rule in rules] == ["AES256"]
    versioning = stage.alice.get_bucket_versioning(Bucket="bucket")
    assert (status_of(versioning), "Status" in versioning) == (200, False)
