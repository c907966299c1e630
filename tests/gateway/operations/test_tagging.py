"""Tags of objects and buckets: set, read, counted, copied, taken off, and what is refused."""

from typing import Any

import pytest

from tests.gateway.operations.stage import Stage, headers_of, refused, status_of

TAGS = [{"Key": "team", "Value": "a b"}, {"Key": "empty", "Value": ""}]
K = {"Bucket": "bucket", "Key": "k"}


def tags_of(stage: Stage, **named: str) -> list[dict[str, str]]:
    tags: list[dict[str, str]] = stage.alice.get_object_tagging(**{**K, **named})["TagSet"]
    return tags


def test_an_object_has_no_tags(stage: Stage) -> None:
    stage.put("k")
    result = stage.alice.get_object_tagging(**K)
    assert (status_of(result), result["TagSet"], "VersionId" in result) == (200, [], False)
    assert headers_of(result)["content-type"] == "application/xml"


def test_tags_come_with_a_put_and_are_counted(stage: Stage) -> None:
    stage.put("k", Tagging="team=a+b&empty=")
    assert tags_of(stage) == TAGS
    assert tags_of(stage, VersionId="null") == TAGS
    assert stage.alice.get_object(**K)["TagCount"] == stage.alice.head_object(**K)["TagCount"] == 2
    stage.put("k")
    assert tags_of(stage) == []
    assert "TagCount" not in stage.alice.head_object(**K)


def test_tags_are_replaced_whole_and_the_object_stays(stage: Stage) -> None:
    before = stage.put("k", b"data", Metadata={"a": "1"})
    stage.alice.put_object_tagging(**K, Tagging={"TagSet": TAGS})
    stage.alice.put_object_tagging(**K, Tagging={"TagSet": TAGS[1:]})
    assert tags_of(stage) == TAGS[1:]
    got = stage.alice.get_object(**K)
    assert (got["Body"].read(), got["ETag"], got["Metadata"]) == (b"data", before["ETag"], {"a": "1"})
    assert status_of(stage.alice.delete_object_tagging(**K)) == 204
    assert tags_of(stage) == []


@pytest.mark.parametrize("metadata", ["COPY", "REPLACE"])
def test_tags_follow_a_copy_unless_they_are_replaced(stage: Stage, metadata: str) -> None:
    stage.put("k", Tagging="team=a+b&empty=")
    copy = {"Bucket": "bucket", "Key": "c", "CopySource": "bucket/k", "MetadataDirective": metadata}
    stage.alice.copy_object(**copy, Tagging="ignored=1")
    assert tags_of(stage, Key="c") == TAGS
    stage.alice.copy_object(**copy, TaggingDirective="REPLACE", Tagging="new=1")
    assert tags_of(stage, Key="c") == [{"Key": "new", "Value": "1"}]
    stage.alice.copy_object(**copy, TaggingDirective="REPLACE")
    assert tags_of(stage, Key="c") == []


def test_tags_of_an_upload_come_with_its_object(stage: Stage) -> None:
    upload_id = stage.alice.create_multipart_upload(**K, Tagging="a=1")["UploadId"]
    etag = stage.alice.upload_part(**K, UploadId=upload_id, PartNumber=1, Body=b"part")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    stage.alice.complete_multipart_upload(**K, UploadId=upload_id, MultipartUpload=parts)
    assert tags_of(stage) == [{"Key": "a", "Value": "1"}]


def test_each_version_has_its_own_tags(stage: Stage) -> None:
    stage.alice.put_bucket_versioning(Bucket="bucket", VersioningConfiguration={"Status": "Enabled"})
    old, new = (stage.put("k", Tagging=f"n={n}")["VersionId"] for n in (1, 2))
    assert tags_of(stage, VersionId=old) == [{"Key": "n", "Value": "1"}]
    result = stage.alice.put_object_tagging(**K, VersionId=old, Tagging={"TagSet": TAGS})
    assert result["VersionId"] == old
    assert stage.alice.get_object_tagging(**K)["VersionId"] == new
    assert (tags_of(stage, VersionId=old), tags_of(stage)) == (TAGS, [{"Key": "n", "Value": "2"}])
    assert stage.alice.delete_object_tagging(**K)["VersionId"] == new
    assert (tags_of(stage, VersionId=old), tags_of(stage)) == (TAGS, [])


def test_what_is_absent_has_no_tags(stage: Stage) -> None:
    calls: tuple[tuple[Any, dict[str, Any]], ...] = (
        (stage.alice.get_object_tagging, {}),
        (stage.alice.put_object_tagging, {"Tagging": {"TagSet": TAGS}}),
        (stage.alice.delete_object_tagging, {}),
    )
    stage.put("k")
    other = "0" * 32
    for call, more in calls:
        refused(call, 404, "NoSuchKey", Bucket="bucket", Key="absent", **more)
        error = refused(call, 404, "NoSuchVersion", **K, VersionId=other, **more)
        assert (error["Key"], error["VersionId"]) == ("k", other)
        refused(call, 400, "InvalidArgument", **K, VersionId="nonsense", **more)
        refused(call, 404, "NoSuchBucket", Bucket="no-such", Key="k", **more)


def test_tags_that_cannot_be_kept_are_refused(stage: Stage) -> None:
    stage.put("k", b"before", Tagging="a=1")
    refused(stage.alice.put_object, 400, "InvalidTag", **K, Body=b"", Tagging="aws%3Aa=b")
    many = [{"Key": str(number), "Value": ""} for number in range(11)]
    refused(stage.alice.put_object_tagging, 400, "BadRequest", **K, Tagging={"TagSet": many})
    twice = [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]
    refused(stage.alice.put_object_tagging, 400, "InvalidTag", **K, Tagging={"TagSet": twice})
    assert (stage.body_of("k"), tags_of(stage)) == (b"before", [{"Key": "a", "Value": "1"}])


def test_tags_of_a_bucket(stage: Stage) -> None:
    assert refused(stage.alice.get_bucket_tagging, 404, "NoSuchTagSet", Bucket="bucket")["BucketName"] == "bucket"
    assert status_of(stage.alice.put_bucket_tagging(Bucket="bucket", Tagging={"TagSet": TAGS})) == 204
    assert stage.alice.get_bucket_tagging(Bucket="bucket")["TagSet"] == TAGS
    many = [{"Key": str(number), "Value": ""} for number in range(51)]
    refused(stage.alice.put_bucket_tagging, 400, "BadRequest", Bucket="bucket", Tagging={"TagSet": many})
    stage.alice.put_bucket_tagging(Bucket="bucket", Tagging={"TagSet": many[:50]})
    assert len(stage.alice.get_bucket_tagging(Bucket="bucket")["TagSet"]) == 50
    assert status_of(stage.alice.delete_bucket_tagging(Bucket="bucket")) == 204
    stage.alice.delete_bucket_tagging(Bucket="bucket")
    refused(stage.alice.get_bucket_tagging, 404, "NoSuchTagSet", Bucket="bucket")
