"""Tags of buckets, and of objects and their versions."""

from typing import Any

import pytest

from tests.blackbox.clients import refusal
from tests.blackbox.witness import shows


def tag_set(**tags: str) -> dict[str, list[dict[str, str]]]:
    return {"TagSet": [{"Key": key, "Value": value} for key, value in tags.items()]}


ONE = tag_set(team="red")
TWO = tag_set(team="blue", tier="gold")
MANY = tag_set(**{f"k{number}": "v" for number in range(11)})
TWICE = {"TagSet": ONE["TagSet"] * 2}


@shows(
    "GetBucketTagging 404 NoSuchTagSet",
    "GetBucketTagging 200",
    "GetBucketTagging 403 AccessDenied",
    "PutBucketTagging 204",
    "PutBucketTagging 400 InvalidTag",
    "PutBucketTagging 403 AccessDenied",
    "PutBucketTagging 404 NoSuchBucket",
    "DeleteBucketTagging 403 AccessDenied",
    "DeleteBucketTagging 204",
    "DeleteBucketTagging 404 NoSuchBucket",
)
def test_tags_of_a_bucket(s3: Any, guest: Any, nobody: Any, bucket: str) -> None:
    assert refusal(s3.get_bucket_tagging, Bucket=bucket) == (404, "NoSuchTagSet")
    s3.put_bucket_tagging(Bucket=bucket, Tagging=ONE)
    s3.put_bucket_tagging(Bucket=bucket, Tagging=TWO)
    assert refusal(s3.put_bucket_tagging, Bucket=bucket, Tagging=TWICE) == (400, "InvalidTag")
    for other in (guest, nobody):
        assert refusal(other.put_bucket_tagging, Bucket=bucket, Tagging=ONE) == (403, "AccessDenied")
        assert refusal(other.get_bucket_tagging, Bucket=bucket) == (403, "AccessDenied")
        assert refusal(other.delete_bucket_tagging, Bucket=bucket) == (403, "AccessDenied")
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == TWO["TagSet"]
    s3.delete_bucket_tagging(Bucket=bucket)
    assert refusal(s3.get_bucket_tagging, Bucket=bucket) == (404, "NoSuchTagSet")
    assert refusal(s3.put_bucket_tagging, Bucket="no-such-bucket", Tagging=ONE) == (404, "NoSuchBucket")
    assert refusal(s3.delete_bucket_tagging, Bucket="no-such-bucket") == (404, "NoSuchBucket")


@shows(
    "PutObjectTagging 200",
    "PutObjectTagging 400 BadRequest",
    "PutObjectTagging 400 InvalidTag",
    "PutObjectTagging 403 AccessDenied",
    "PutObjectTagging 404 NoSuchKey",
    "GetObjectTagging 200",
    "GetObjectTagging 403 AccessDenied",
    "GetObjectTagging 404 NoSuchKey",
    "DeleteObjectTagging 403 AccessDenied",
    "DeleteObjectTagging 204",
    "DeleteObjectTagging 404 NoSuchKey",
)
def test_tags_of_an_object(s3: Any, guest: Any, nobody: Any, bucket: str) -> None:
    where = {"Bucket": bucket, "Key": "k"}
    s3.put_object(**where, Body=b"x", Tagging="team=red&empty=")
    assert s3.get_object_tagging(**where)["TagSet"] == tag_set(team="red", empty="")["TagSet"]
    assert s3.head_object(**where)["TagCount"] == 2
    s3.put_object_tagging(**where, Tagging=ONE)
    assert refusal(s3.put_object_tagging, **where, Tagging=MANY) == (400, "BadRequest")
    assert refusal(s3.put_object_tagging, **where, Tagging=TWICE) == (400, "InvalidTag")
    for other in (guest, nobody):
        assert refusal(other.put_object_tagging, **where, Tagging=TWO) == (403, "AccessDenied")
        assert refusal(other.get_object_tagging, **where) == (403, "AccessDenied")
        assert refusal(other.delete_object_tagging, **where) == (403, "AccessDenied")
    assert s3.get_object_tagging(**where)["TagSet"] == ONE["TagSet"]
    s3.delete_object_tagging(**where)
    assert s3.get_object_tagging(**where)["TagSet"] == []
    assert s3.get_object(**where)["Body"].read() == b"x"
    missing = {"Bucket": bucket, "Key": "missing"}
    assert refusal(s3.get_object_tagging, **missing) == (404, "NoSuchKey")
    assert refusal(s3.put_object_tagging, **missing, Tagging=ONE) == (404, "NoSuchKey")
    assert refusal(s3.delete_object_tagging, **missing) == (404, "NoSuchKey")


@shows(
    "PutObjectTagging 200",
    "PutObjectTagging 404 NoSuchVersion",
    "PutObjectTagging 405 MethodNotAllowed",
    "GetObjectTagging 200",
    "GetObjectTagging 405 MethodNotAllowed",
    "DeleteObjectTagging 204",
    "DeleteObjectTagging 405 MethodNotAllowed",
)
def test_each_version_has_its_own(s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    where = {"Bucket": bucket, "Key": "k"}
    first = s3.put_object(**where, Body=b"1", Tagging="of=first")["VersionId"]
    second = s3.put_object(**where, Body=b"2")["VersionId"]
    assert s3.put_object_tagging(**where, VersionId=first, Tagging=ONE)["VersionId"] == first
    assert s3.get_object_tagging(**where)["TagSet"] == []
    told = s3.get_object_tagging(**where, VersionId=first)
    assert (told["TagSet"], told["VersionId"]) == (ONE["TagSet"], first)
    s3.put_object_tagging(**where, Tagging=TWO)
    assert s3.delete_object_tagging(**where, VersionId=first)["VersionId"] == first
    assert s3.get_object_tagging(**where, VersionId=second)["TagSet"] == TWO["TagSet"]
    gone = {**where, "VersionId": "0" * len(first)}
    assert refusal(s3.put_object_tagging, **gone, Tagging=ONE) == (404, "NoSuchVersion")
    marker = {**where, "VersionId": s3.delete_object(**where)["VersionId"]}
    assert refusal(s3.put_object_tagging, **marker, Tagging=ONE) == (405, "MethodNotAllowed")
    assert refusal(s3.get_object_tagging, **marker) == (405, "MethodNotAllowed")
    assert refusal(s3.delete_object_tagging, **marker) == (405, "MethodNotAllowed")


@pytest.mark.parametrize("tagging", ["aws:mine=x", "a=1&a=2", "k" * 129 + "=v", "k=" + "v" * 257])
def test_tags_that_are_none_store_nothing(s3: Any, bucket: str, tagging: str) -> None:
    status, code = refusal(s3.put_object, Bucket=bucket, Key="k", Body=b"x", Tagging=tagging)
    assert (status, code) in {(400, "InvalidTag"), (400, "InvalidArgument")}
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
