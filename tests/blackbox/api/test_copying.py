"""Copies: of whole objects and of ranges into parts, between accounts and versions."""

from typing import Any

from tests.blackbox.clients import payload, refusal
from tests.blackbox.witness import shows


@shows(
    "CopyObject 200",
    "CopyObject 400 InvalidRequest",
    "CopyObject 403 AccessDenied",
    "CopyObject 404 NoSuchKey",
    "CopyObject 404 NoSuchBucket",
    "CopyObject 412 PreconditionFailed",
)
def test_objects_are_copied(s3: Any, guest: Any, nobody: Any, bucket: str) -> None:
    content = payload(40_000)
    source = {"Bucket": bucket, "Key": "from é+%"}
    s3.put_object(**source, Body=content, Metadata={"a": "1"}, Tagging="t=1")
    target = {"Bucket": bucket, "Key": "to", "CopySource": source}
    for stranger in (guest, nobody):
        assert refusal(stranger.copy_object, **target) == (403, "AccessDenied")
    assert refusal(s3.copy_object, **target, CopySourceIfMatch='"0"') == (412, "PreconditionFailed")
    assert refusal(s3.copy_object, **target | {"CopySource": f"{bucket}/missing"}) == (404, "NoSuchKey")
    assert refusal(s3.copy_object, **target | {"CopySource": "no-such-bucket/k"}) == (404, "NoSuchBucket")
    assert refusal(s3.copy_object, **target | {"Key": source["Key"]}) == (400, "InvalidRequest")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 1
    s3.copy_object(**target)
    got = s3.get_object(Bucket=bucket, Key="to")
    assert (got["Body"].read(), got["Metadata"], got["TagCount"]) == (content, {"a": "1"}, 1)
    replaced = {"MetadataDirective": "REPLACE", "Metadata": {"b": "2"}, "TaggingDirective": "REPLACE"}
    s3.copy_object(**target, **replaced)
    got = s3.get_object(Bucket=bucket, Key="to")
    assert (got["Body"].read(), got["Metadata"], "TagCount" in got) == (content, {"b": "2"}, False)


@shows("CopyObject 403 AccessDenied", "UploadPartCopy 403 AccessDenied")
def test_both_ends_must_allow(s3: Any, guest: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"mine")
    theirs = f"{bucket}-of-guest"
    guest.create_bucket(Bucket=theirs)
    guest.put_object(Bucket=theirs, Key="k", Body=b"theirs")
    upload = {"Bucket": theirs, "Key": "p"}
    upload["UploadId"] = guest.create_multipart_upload(**upload)["UploadId"]
    stolen = f"{bucket}/k"
    assert refusal(guest.copy_object, Bucket=theirs, Key="stolen", CopySource=stolen) == (403, "AccessDenied")
    assert refusal(guest.upload_part_copy, **upload, PartNumber=1, CopySource=stolen) == (403, "AccessDenied")
    assert refusal(guest.copy_object, Bucket=bucket, Key="gift", CopySource=f"{theirs}/k") == (403, "AccessDenied")
    assert [entry["Key"] for entry in guest.list_objects_v2(Bucket=theirs)["Contents"]] == ["k"]
    assert "Parts" not in guest.list_parts(**upload)
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["k"]


@shows("CopyObject 200", "CopyObject 404 NoSuchVersion", "CopyObject 400 InvalidRequest")
def test_a_version_is_copied(s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    source = {"Bucket": bucket, "Key": "k"}
    old = s3.put_object(**source, Body=b"old")["VersionId"]
    new = s3.put_object(**source, Body=b"new")["VersionId"]
    copied = s3.copy_object(**source, CopySource={**source, "VersionId": old})
    assert (copied["CopySourceVersionId"], copied["VersionId"] in {old, new}) == (old, False)
    assert s3.get_object(**source)["Body"].read() == b"old"
    missing = {**source, "VersionId": "0" * len(old)}
    assert refusal(s3.copy_object, **source, CopySource=missing) == (404, "NoSuchVersion")
    marker = {**source, "VersionId": s3.delete_object(**source)["VersionId"]}
    assert refusal(s3.copy_object, Bucket=bucket, Key="to", CopySource=marker) == (400, "InvalidRequest")


@shows(
    "UploadPartCopy 200",
    "UploadPartCopy 400 InvalidArgument",
    "UploadPartCopy 404 NoSuchKey",
    "UploadPartCopy 404 NoSuchUpload",
    "UploadPartCopy 412 PreconditionFailed",
)
def test_ranges_become_parts(s3: Any, bucket: str) -> None:
    content = payload(40_000)
    s3.put_object(Bucket=bucket, Key="from", Body=content)
    upload = {"Bucket": bucket, "Key": "to"}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    copy: dict[str, Any] = {**upload, "PartNumber": 1, "CopySource": f"{bucket}/from"}
    for span in ("bytes=0-40000", "bytes=-5", "bytes=5-", "0-5"):
        assert refusal(s3.upload_part_copy, **copy, CopySourceRange=span) == (400, "InvalidArgument")
    assert refusal(s3.upload_part_copy, **copy | {"CopySource": f"{bucket}/missing"}) == (404, "NoSuchKey")
    assert refusal(s3.upload_part_copy, **copy | {"UploadId": "unknown"}) == (404, "NoSuchUpload")
    assert refusal(s3.upload_part_copy, **copy, CopySourceIfMatch='"0"') == (412, "PreconditionFailed")
    assert "Parts" not in s3.list_parts(**upload)
    part = s3.upload_part_copy(**copy, CopySourceRange="bytes=7-30006")["CopyPartResult"]["ETag"]
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part}]})
    assert s3.get_object(Bucket=bucket, Key="to")["Body"].read() == content[7:30007]
