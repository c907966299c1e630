"""Listings of a bucket, in both versions of the API."""

from typing import Any

import pytest

from tests.blackbox.clients import refusal
from tests.blackbox.witness import shows

KEYS = ("a", "b/1", "b/2", "c é+", "d")


@pytest.fixture
def filled(s3: Any, bucket: str) -> str:
    for key in KEYS:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    return bucket


def keys(page: dict[str, Any]) -> list[str]:
    return [entry["Key"] for entry in page.get("Contents", [])]


def prefixes(page: dict[str, Any]) -> list[str]:
    return [entry["Prefix"] for entry in page.get("CommonPrefixes", [])]


@shows(
    "ListObjectsV2 200",
    "ListObjectsV2 400 InvalidArgument",
    "ListObjectsV2 403 AccessDenied",
    "ListObjectsV2 404 NoSuchBucket",
)
def test_version_two(s3: Any, guest: Any, nobody: Any, filled: str) -> None:
    page = s3.list_objects_v2(Bucket=filled, Delimiter="/", MaxKeys=2, FetchOwner=True)
    assert (keys(page), prefixes(page), page["KeyCount"], page["IsTruncated"]) == (["a"], ["b/"], 2, True)
    assert page["Contents"][0]["Owner"]["ID"] == s3.list_buckets()["Owner"]["ID"]
    token = page["NextContinuationToken"]
    rest = s3.list_objects_v2(Bucket=filled, Delimiter="/", ContinuationToken=token)
    assert (keys(rest), prefixes(rest), rest["IsTruncated"]) == (["c é+", "d"], [], False)
    assert keys(s3.list_objects_v2(Bucket=filled, StartAfter="b/1")) == ["b/2", "c é+", "d"]
    assert keys(s3.list_objects_v2(Bucket=filled, Prefix="b/")) == ["b/1", "b/2"]
    none = s3.list_objects_v2(Bucket=filled, MaxKeys=0)
    assert (none["KeyCount"], none["IsTruncated"]) == (0, False)
    assert refusal(s3.list_objects_v2, Bucket=filled, ContinuationToken="garbage") == (400, "InvalidArgument")
    assert refusal(s3.list_objects_v2, Bucket=filled, MaxKeys=-1) == (400, "InvalidArgument")
    for other in (guest, nobody):
        assert refusal(other.list_objects_v2, Bucket=filled) == (403, "AccessDenied")
    assert refusal(s3.list_objects_v2, Bucket="no-such-bucket") == (404, "NoSuchBucket")


@shows(
    "ListObjects 200",
    "ListObjects 400 InvalidArgument",
    "ListObjects 403 AccessDenied",
    "ListObjects 404 NoSuchBucket",
)
def test_version_one(s3: Any, guest: Any, nobody: Any, filled: str) -> None:
    page = s3.list_objects(Bucket=filled, Delimiter="/", MaxKeys=2)
    assert (keys(page), prefixes(page), page["NextMarker"], page["Marker"]) == (["a"], ["b/"], "b/", "")
    rest = s3.list_objects(Bucket=filled, Delimiter="/", Marker=page["NextMarker"])
    assert (keys(rest), prefixes(rest), rest["IsTruncated"]) == (["c é+", "d"], [], False)
    assert [entry["Size"] for entry in rest["Contents"]] == [len("c é+".encode()), 1]
    assert keys(s3.list_objects(Bucket=filled, Prefix="b/", Marker="b/1")) == ["b/2"]
    assert refusal(s3.list_objects, Bucket=filled, MaxKeys=-1) == (400, "InvalidArgument")
    for other in (guest, nobody):
        assert refusal(other.list_objects, Bucket=filled) == (403, "AccessDenied")
    assert refusal(s3.list_objects, Bucket="no-such-bucket") == (404, "NoSuchBucket")
