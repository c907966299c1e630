"""GetObjectTagging: no tag can be set yet, and tools ask before they copy."""

from gateway.engine.attributes import ObjectAttributes
from tests.gateway.operations.stage import Stage, headers_of, refused, status_of


def test_an_object_has_no_tags(stage: Stage) -> None:
    stage.put("k")
    result = stage.alice.get_object_tagging(Bucket="bucket", Key="k")
    assert (status_of(result), result["TagSet"]) == (200, [])
    assert headers_of(result)["content-type"] == "application/xml"


def test_tags_that_are_there_are_shown_and_counted_and_follow_a_copy(stage: Stage) -> None:
    attributes = ObjectAttributes(tags=(("team", "a & b"), ("empty", "")))
    stage.run(stage.rig.put(b"k", b"data", attributes=attributes))
    expected = [{"Key": "team", "Value": "a & b"}, {"Key": "empty", "Value": ""}]
    assert stage.alice.get_object_tagging(Bucket="bucket", Key="k", VersionId="null")["TagSet"] == expected
    assert stage.alice.get_object(Bucket="bucket", Key="k")["TagCount"] == 2
    for directive in ("COPY", "REPLACE"):
        stage.alice.copy_object(Bucket="bucket", Key="c", CopySource="bucket/k", MetadataDirective=directive)
        assert stage.alice.get_object_tagging(Bucket="bucket", Key="c")["TagSet"] == expected


def test_what_is_absent_has_no_tags(stage: Stage) -> None:
    refused(stage.alice.get_object_tagging, 404, "NoSuchKey", Bucket="bucket", Key="absent")
    stage.put("k")
    other = "0" * 32
    error = refused(stage.alice.get_object_tagging, 404, "NoSuchVersion", Bucket="bucket", Key="k", VersionId=other)
    assert (error["Key"], error["VersionId"]) == ("k", other)
    refused(stage.alice.get_object_tagging, 404, "NoSuchBucket", Bucket="no-such", Key="k")


def test_a_tag_that_would_not_be_kept_is_refused(stage: Stage) -> None:
    refused(stage.alice.put_object, 501, "NotImplemented", Bucket="bucket", Key="k", Body=b"", Tagging="a=b")
    refused(
        stage.alice.put_object_tagging, 501, "NotImplemented",
        Bucket="bucket", Key="k", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]},
    )  # fmt: skip
    assert stage.keys() == []
