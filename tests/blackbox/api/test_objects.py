"""Objects: written, read, described and deleted, by their owner and by others."""

import base64
import hashlib
import zlib
from typing import Any

from tests.blackbox.clients import payload, refusal
from tests.blackbox.witness import shows


def crc32(content: bytes) -> str:
    return base64.b64encode(zlib.crc32(content).to_bytes(4, "big")).decode()


@shows(
    "PutObject 200",
    "PutObject 412 PreconditionFailed",
    "PutObject 400 BadDigest",
    "PutObject 400 MetadataTooLarge",
    "PutObject 400 KeyTooLongError",
    "PutObject 403 AccessDenied",
    "PutObject 404 NoSuchBucket",
    "PutObject 404 NoSuchKey",
)
def test_what_is_refused_leaves_the_old_object(s3: Any, guest: Any, nobody: Any, bucket: str) -> None:
    where = {"Bucket": bucket, "Key": "k"}
    content = payload(70_000)
    put = s3.put_object(**where, Body=content, ChecksumAlgorithm="CRC32")
    assert (put["ETag"], put["ChecksumCRC32"]) == (f'"{hashlib.md5(content).hexdigest()}"', crc32(content))
    other = {**where, "Body": b"other"}
    assert refusal(s3.put_object, **other, IfNoneMatch="*") == (412, "PreconditionFailed")
    assert refusal(s3.put_object, **other, IfMatch='"0"') == (412, "PreconditionFailed")
    assert refusal(s3.put_object, **other, ContentMD5=base64.b64encode(bytes(16)).decode()) == (400, "BadDigest")
    assert refusal(s3.put_object, **other, ChecksumCRC32=crc32(b"another")) == (400, "BadDigest")
    assert refusal(s3.put_object, **other, Metadata={"m": "x" * 2048}) == (400, "MetadataTooLarge")
    assert refusal(s3.put_object, Bucket=bucket, Key="k" * 1025, Body=b"x") == (400, "KeyTooLongError")
    assert refusal(s3.put_object, Bucket="no-such-bucket", Key="k", Body=b"x") == (404, "NoSuchBucket")
    assert refusal(s3.put_object, Bucket=bucket, Key="new", Body=b"x", IfMatch='"0"') == (404, "NoSuchKey")
    for stranger in (guest, nobody):
        assert refusal(stranger.put_object, **other) == (403, "AccessDenied")
    assert s3.get_object(**where)["Body"].read() == content
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["k"]


@shows(
    "GetObject 200",
    "GetObject 206",
    "GetObject 304 304",
    "GetObject 416 InvalidRange",
    "GetObject 403 AccessDenied",
    "GetObject 404 NoSuchKey",
    "HeadObject 200",
    "HeadObject 206",
    "HeadObject 304 304",
    "HeadObject 412 412",
    "HeadObject 403 403",
    "HeadObject 404 404",
)
def test_reading(s3: Any, guest: Any, nobody: Any, bucket: str) -> None:
    where = {"Bucket": bucket, "Key": "k"}
    content = payload(50_000)
    etag = s3.put_object(**where, Body=content, ContentType="x/y", Metadata={"a": "b"})["ETag"]
    got = s3.get_object(**where, ChecksumMode="ENABLED")
    assert got["Body"].read() == content
    head = s3.head_object(**where)
    for answer in (got, head):
        told = answer["ContentLength"], answer["ContentType"], answer["Metadata"], answer["ETag"]
        assert told == (len(content), "x/y", {"a": "b"}, etag)
    assert s3.get_object(**where, Range="bytes=16380-16390")["Body"].read() == content[16380:16391]
    assert s3.head_object(**where, Range="bytes=-10")["ContentLength"] == 10
    assert refusal(s3.get_object, **where, Range="bytes=50000-") == (416, "InvalidRange")
    assert refusal(s3.get_object, **where, IfNoneMatch=etag) == (304, "304")
    assert refusal(s3.head_object, **where, IfNoneMatch=etag) == (304, "304")
    assert refusal(s3.head_object, **where, IfMatch='"0"') == (412, "412")
    missing = {"Bucket": bucket, "Key": "missing"}
    assert refusal(s3.get_object, **missing) == (404, "NoSuchKey")
    assert refusal(s3.head_object, **missing) == (404, "404")
    for stranger in (guest, nobody):
        for place in (where, missing):
            assert refusal(stranger.get_object, **place) == (403, "AccessDenied")
            assert refusal(stranger.head_object, **place) == (403, "403")


@shows(
    "GetObjectAttributes 200",
    "GetObjectAttributes 400 InvalidArgument",
    "GetObjectAttributes 403 AccessDenied",
    "GetObjectAttributes 404 NoSuchKey",
)
def test_attributes(s3: Any, guest: Any, nobody: Any, bucket: str) -> None:
    where = {"Bucket": bucket, "Key": "k"}
    etag = s3.put_object(**where, Body=b"x" * 300, ChecksumAlgorithm="CRC32")["ETag"]
    asked = {**where, "ObjectAttributes": ["ETag", "Checksum", "ObjectSize", "StorageClass", "ObjectParts"]}
    told = s3.get_object_attributes(**asked)
    assert (told["ETag"], told["ObjectSize"], told["StorageClass"]) == (etag.strip('"'), 300, "STANDARD")
    assert told["Checksum"] == {"ChecksumCRC32": crc32(b"x" * 300), "ChecksumType": "FULL_OBJECT"}
    assert "ObjectParts" not in told
    assert "ETag" not in s3.get_object_attributes(**where, ObjectAttributes=["ObjectSize"])
    assert refusal(s3.get_object_attributes, **where, ObjectAttributes=["Colour"]) == (400, "InvalidArgument")
    for stranger in (guest, nobody):
        assert refusal(stranger.get_object_attributes, **asked) == (403, "AccessDenied")
    assert refusal(s3.get_object_attributes, **asked | {"Key": "missing"}) == (404, "NoSuchKey")


@shows(
    "DeleteObject 204",
    "DeleteObject 403 AccessDenied",
    "DeleteObject 404 NoSuchBucket",
    "DeleteObject 412 PreconditionFailed",
)
def test_deleting_one(s3: Any, guest: Any, nobody: Any, bucket: str) -> None:
    where = {"Bucket": bucket, "Key": "k"}
    etag = s3.put_object(**where, Body=b"x")["ETag"]
    for stranger in (guest, nobody):
        assert refusal(stranger.delete_object, **where) == (403, "AccessDenied")
    assert refusal(s3.delete_object, **where, IfMatch='"0"') == (412, "PreconditionFailed")
    assert s3.get_object(**where)["Body"].read() == b"x"
    s3.delete_object(**where, IfMatch=etag)
    s3.delete_object(**where)
    assert refusal(s3.get_object, **where) == (404, "NoSuchKey")
    assert refusal(s3.delete_object, Bucket="no-such-bucket", Key="k") == (404, "NoSuchBucket")


@shows(
    "DeleteObjects 200",
    "DeleteObjects 403 AccessDenied",
    "DeleteObjects 400 MalformedXML",
    "DeleteObjects 404 NoSuchBucket",
)
def test_deleting_many(s3: Any, guest: Any, nobody: Any, bucket: str) -> None:
    etags = {key: s3.put_object(Bucket=bucket, Key=key, Body=key.encode())["ETag"] for key in ("a", "b&<é", "c")}
    wanted = {"Objects": [{"Key": key} for key in etags]}
    for stranger in (guest, nobody):
        assert refusal(stranger.delete_objects, Bucket=bucket, Delete=wanted) == (403, "AccessDenied")
    assert refusal(s3.delete_objects, Bucket=bucket, Delete={"Objects": []}) == (400, "MalformedXML")
    many = {"Objects": [{"Key": f"{number}"} for number in range(1001)]}
    assert refusal(s3.delete_objects, Bucket=bucket, Delete=many) == (400, "MalformedXML")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 3
    conditions = {"Objects": [{"Key": "a", "ETag": '"0"'}, {"Key": "c", "ETag": etags["c"]}, {"Key": "b&<é"}]}
    answer = s3.delete_objects(Bucket=bucket, Delete=conditions)
    assert [(entry["Key"], entry["Code"]) for entry in answer["Errors"]] == [("a", "PreconditionFailed")]
    assert {entry["Key"] for entry in answer["Deleted"]} == {"c", "b&<é"}
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["a"]
    assert refusal(s3.delete_objects, Bucket="no-such-bucket", Delete=wanted) == (404, "NoSuchBucket")
