"""Uploads in parts: begun, filled, listed, completed, aborted."""

import json
from typing import Any

import pytest

from tests.blackbox.clients import MIB, payload, refusal, sha256
from tests.blackbox.witness import shows


@pytest.fixture
def upload(s3: Any, bucket: str) -> dict[str, str]:
    where = {"Bucket": bucket, "Key": "in parts"}
    return {**where, "UploadId": s3.create_multipart_upload(**where)["UploadId"]}


def parts_of(*etags: str) -> dict[str, Any]:
    return {"Parts": [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, start=1)]}


@shows(
    "CreateMultipartUpload 200",
    "CreateMultipartUpload 403 AccessDenied",
    "CreateMultipartUpload 404 NoSuchBucket",
    "CreateMultipartUpload 400 InvalidRequest",
    "ListMultipartUploads 200",
    "ListMultipartUploads 400 InvalidArgument",
    "ListMultipartUploads 403 AccessDenied",
    "ListMultipartUploads 404 NoSuchBucket",
)
def test_uploads_are_begun_and_listed(s3: Any, guest: Any, nobody: Any, bucket: str) -> None:
    begun = [(key, s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]) for key in ("a", "b/1", "b/2")]
    for stranger in (guest, nobody):
        assert refusal(stranger.create_multipart_upload, Bucket=bucket, Key="x") == (403, "AccessDenied")
        assert refusal(stranger.list_multipart_uploads, Bucket=bucket) == (403, "AccessDenied")
    composite = {"Bucket": bucket, "Key": "x", "ChecksumAlgorithm": "CRC64NVME", "ChecksumType": "COMPOSITE"}
    assert refusal(s3.create_multipart_upload, **composite) == (400, "InvalidRequest")
    listed = s3.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert [(entry["Key"], entry["UploadId"]) for entry in listed] == begun
    me = s3.list_buckets()["Owner"]["ID"]
    assert {(entry["Initiator"]["ID"], entry["Owner"]["ID"]) for entry in listed} == {(me, me)}
    page = s3.list_multipart_uploads(Bucket=bucket, MaxUploads=1)
    assert (page["IsTruncated"], page["NextKeyMarker"], page["NextUploadIdMarker"]) == (True, *begun[0])
    folded = s3.list_multipart_uploads(Bucket=bucket, Delimiter="/", KeyMarker="a")
    assert [entry["Prefix"] for entry in folded["CommonPrefixes"]] == ["b/"]
    assert refusal(s3.list_multipart_uploads, Bucket=bucket, MaxUploads=-1) == (400, "InvalidArgument")
    assert refusal(s3.create_multipart_upload, Bucket="no-such-bucket", Key="x") == (404, "NoSuchBucket")
    assert refusal(s3.list_multipart_uploads, Bucket="no-such-bucket") == (404, "NoSuchBucket")


@shows(
    "UploadPart 200",
    "UploadPart 400 BadDigest",
    "UploadPart 400 InvalidArgument",
    "UploadPart 403 AccessDenied",
    "UploadPart 404 NoSuchUpload",
    "ListParts 200",
    "ListParts 403 AccessDenied",
    "ListParts 404 NoSuchUpload",
    "CompleteMultipartUpload 400 EntityTooSmall",
    "CompleteMultipartUpload 400 InvalidPart",
    "CompleteMultipartUpload 403 AccessDenied",
    "CompleteMultipartUpload 404 NoSuchUpload",
    "CompleteMultipartUpload 200",
)
def test_parts_become_an_object(s3: Any, guest: Any, nobody: Any, bucket: str, upload: dict[str, str]) -> None:
    contents = [payload(5 * MIB, seed=1), payload(9, seed=2)]
    small = s3.upload_part(**upload, PartNumber=1, Body=b"small")["ETag"]
    etags = [small, s3.upload_part(**upload, PartNumber=2, Body=contents[1])["ETag"]]
    assert refusal(s3.upload_part, **upload, PartNumber=2, Body=b"x", ContentMD5="A" * 22 + "==") == (400, "BadDigest")
    assert refusal(s3.upload_part, **upload, PartNumber=10_001, Body=b"x") == (400, "InvalidArgument")
    elsewhere = {**upload, "Key": "another"}
    assert refusal(s3.upload_part, **elsewhere, PartNumber=1, Body=b"x") == (404, "NoSuchUpload")
    assert refusal(s3.list_parts, **elsewhere) == (404, "NoSuchUpload")
    complete = {**upload, "MultipartUpload": parts_of(*etags)}
    assert refusal(s3.complete_multipart_upload, **complete) == (400, "EntityTooSmall")
    for stranger in (guest, nobody):
        assert refusal(stranger.upload_part, **upload, PartNumber=1, Body=b"x") == (403, "AccessDenied")
        assert refusal(stranger.list_parts, **upload) == (403, "AccessDenied")
        assert refusal(stranger.complete_multipart_upload, **complete) == (403, "AccessDenied")
    listed = s3.list_parts(**upload)
    assert [(part["PartNumber"], part["ETag"], part["Size"]) for part in listed["Parts"]] == [
        (1, etags[0], 5),
        (2, etags[1], 9),
    ]
    assert listed["Initiator"]["ID"] == listed["Owner"]["ID"] == s3.list_buckets()["Owner"]["ID"]
    etags[0] = s3.upload_part(**upload, PartNumber=1, Body=contents[0])["ETag"]
    assert refusal(s3.complete_multipart_upload, **complete) == (400, "InvalidPart")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    complete["MultipartUpload"] = parts_of(*etags)
    assert s3.complete_multipart_upload(**complete)["ETag"].endswith('-2"')
    whole = s3.get_object(Bucket=bucket, Key=upload["Key"])["Body"].read()
    assert sha256(whole) == sha256(b"".join(contents))
    assert refusal(s3.complete_multipart_upload, **complete | {"UploadId": "unknown"}) == (404, "NoSuchUpload")


@shows(
    "AbortMultipartUpload 403 AccessDenied",
    "AbortMultipartUpload 204",
    "AbortMultipartUpload 404 NoSuchUpload",
    "ListParts 404 NoSuchUpload",
)
def test_an_upload_is_given_up(s3: Any, guest: Any, nobody: Any, bucket: str, upload: dict[str, str]) -> None:
    s3.upload_part(**upload, PartNumber=1, Body=b"x")
    for stranger in (guest, nobody):
        assert refusal(stranger.abort_multipart_upload, **upload) == (403, "AccessDenied")
    assert len(s3.list_parts(**upload)["Parts"]) == 1
    s3.abort_multipart_upload(**upload)
    assert refusal(s3.list_parts, **upload) == (404, "NoSuchUpload")
    assert refusal(s3.abort_multipart_upload, **upload | {"UploadId": "unknown"}) == (404, "NoSuchUpload")
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


@shows("CreateMultipartUpload 200", "ListParts 200", "ListMultipartUploads 200", "CompleteMultipartUpload 200")
def test_who_began_an_upload_is_told(s3: Any, guest: Any, guest_id: str, bucket: str) -> None:
    """An upload of another account belongs to the bucket's owner, but it is he who initiated it."""
    actions = ["s3:PutObject", "s3:ListMultipartUploadParts"]
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": guest_id},
        "Action": actions,
        "Resource": f"arn:aws:s3:::{bucket}/*",
    }
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Statement": statement}))
    me = s3.list_buckets()["Owner"]["ID"]
    where = {"Bucket": bucket, "Key": "his"}
    upload = {**where, "UploadId": guest.create_multipart_upload(**where)["UploadId"]}
    mine = s3.create_multipart_upload(Bucket=bucket, Key="mine")["UploadId"]
    etag = guest.upload_part(**upload, PartNumber=1, Body=b"x")["ETag"]
    (his, own) = s3.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert (his["Initiator"]["ID"], his["Owner"]["ID"]) == (guest_id, me)
    assert (own["UploadId"], own["Initiator"]["ID"], own["Owner"]["ID"]) == (mine, me, me)
    for client in (s3, guest):
        told = client.list_parts(**upload)
        assert (told["Initiator"]["ID"], told["Owner"]["ID"]) == (guest_id, me)
    guest.complete_multipart_upload(**upload, MultipartUpload=parts_of(etag))
    assert s3.get_object(**where)["Body"].read() == b"x"
