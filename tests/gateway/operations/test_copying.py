"""CopyObject and UploadPartCopy: directives, conditions, ranges, and whose source it is."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gateway.engine.integrity import MAX_SINGLE_UPLOAD_BYTES
from gateway.operations import copying
from storage.catalogue.commands import Found
from storage.catalogue.conflicts import ContentGone
from tests.gateway.operations.stage import Stage, checksum_of, headers_of, refused, status_of

BODY = bytes(range(256)) * 200


@pytest.fixture
def source(stage: Stage) -> Stage:
    stage.put("a b+é", BODY, ContentType="text/x", Metadata={"m": "1"}, CacheControl="no-cache")
    return stage


def copy(stage: Stage, key: str = "copy", source: Any = None, **arguments: Any) -> dict[str, Any]:
    result: dict[str, Any] = stage.alice.copy_object(
        Bucket="bucket", Key=key, CopySource=source or {"Bucket": "bucket", "Key": "a b+é"}, **arguments
    )
    return result


def test_a_copy_is_the_same_object_again(source: Stage) -> None:
    result = copy(source)
    etag = f'"{hashlib.md5(BODY).hexdigest()}"'
    assert (status_of(result), result["CopyObjectResult"]["ETag"]) == (200, etag)
    assert result["CopyObjectResult"]["ChecksumCRC32"] == checksum_of("CRC32", BODY)
    assert result["ServerSideEncryption"] == "AES256"
    got = source.alice.get_object(Bucket="bucket", Key="copy")
    assert (got["Body"].read(), got["ETag"], got["ContentType"]) == (BODY, etag, "text/x")
    assert (got["Metadata"], got["CacheControl"]) == ({"m": "1"}, "no-cache")
    assert got["LastModified"] == result["CopyObjectResult"]["LastModified"].replace(microsecond=0)


def test_replace_takes_headers_and_metadata_of_the_request(source: Stage) -> None:
    copy(source, MetadataDirective="REPLACE", ContentType="text/y", Metadata={"n": "2"})
    got = source.alice.head_object(Bucket="bucket", Key="copy")
    assert (got["ContentType"], got["Metadata"], "CacheControl" in got) == ("text/y", {"n": "2"}, False)
    copy(source, MetadataDirective="COPY", ContentType="text/y", Metadata={"n": "2"})
    got = source.alice.head_object(Bucket="bucket", Key="copy")
    assert (got["ContentType"], got["Metadata"]) == ("text/x", {"m": "1"})
    answer = source.raw(
        "PUT", "/bucket/c", {"x-amz-copy-source": "bucket/a%20b%2B%C3%A9", "x-amz-metadata-directive": "MERGE"}
    )
    assert (answer.status, b"<Code>InvalidArgument</Code>" in answer.body) == (400, True)


@pytest.mark.parametrize("text", ["bucket/a%20b%2B%C3%A9", "/bucket/a%20b%2B%C3%A9", "bucket%2Fa%20b%2B%C3%A9",
                                  "bucket/a%20b%2B%C3%A9?versionId=null"])  # fmt: skip
def test_a_source_is_decoded_once_with_or_without_its_slash(source: Stage, text: str) -> None:
    answer = source.raw("PUT", "/bucket/c", {"x-amz-copy-source": text})
    assert answer.status == 200
    assert source.body_of("c") == BODY


@pytest.mark.parametrize("text", ["bucket", "bucket/", "/", "bucket/k?versionId=", "bucket/k?acl", "bucket/%zz"])
def test_a_source_that_is_none_is_refused(source: Stage, text: str) -> None:
    answer = source.raw("PUT", "/bucket/c", {"x-amz-copy-source": text})
    assert (answer.status, b"<Code>InvalidArgument</Code>" in answer.body) == (400, True)


@pytest.mark.parametrize("body", [b"small", BODY], ids=["inline", "stored"])
def test_a_copy_outlives_its_source(stage: Stage, body: bytes) -> None:
    stage.put("a", body)
    copy(stage, source="bucket/a")
    stage.put("a", b"another")
    assert stage.body_of("copy") == body
    stage.alice.delete_object(Bucket="bucket", Key="a")
    assert stage.body_of("copy") == body
    assert stage.body_of("copy", Range="bytes=1-3") == body[1:4]


def test_a_copy_across_buckets_of_one_account(source: Stage) -> None:
    source.alice.create_bucket(Bucket="other")
    source.alice.copy_object(Bucket="other", Key="k", CopySource={"Bucket": "bucket", "Key": "a b+é"})
    source.alice.delete_object(Bucket="bucket", Key="a b+é")
    source.alice.delete_bucket(Bucket="bucket")
    assert source.alice.get_object(Bucket="other", Key="k")["Body"].read() == BODY


def test_a_copy_onto_itself_must_change_something(source: Stage) -> None:
    etag = source.alice.head_object(Bucket="bucket", Key="a b+é")["ETag"]
    answer = source.raw("PUT", "/bucket/a%20b%2B%C3%A9", {"x-amz-copy-source": "bucket/a%20b%2B%C3%A9"})
    assert (answer.status, b"<Code>InvalidRequest</Code>" in answer.body) == (400, True)
    # Whoever names a version means it, also where it is the current one.
    copy(source, "a b+é", {"Bucket": "bucket", "Key": "a b+é", "VersionId": "null"})
    assert source.body_of("a b+é") == BODY
    copy(source, "a b+é", MetadataDirective="REPLACE", Metadata={"mtime": "2"})
    copy(source, "a b+é", ServerSideEncryption="AES256")
    got = source.alice.get_object(Bucket="bucket", Key="a b+é")
    assert (got["Body"].read(), got["ETag"], got["Metadata"]) == (BODY, etag, {"mtime": "2"})
    assert source.keys() == ["a b+é"]


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA256", "CRC32C"])
def test_a_copy_may_ask_for_another_checksum(source: Stage, algorithm: str) -> None:
    result = copy(source, ChecksumAlgorithm=algorithm)["CopyObjectResult"]
    assert (result[f"Checksum{algorithm}"], result["ChecksumType"]) == (checksum_of(algorithm, BODY), "FULL_OBJECT")
    head = source.alice.head_object(Bucket="bucket", Key="copy", ChecksumMode="ENABLED")
    assert head[f"Checksum{algorithm}"] == checksum_of(algorithm, BODY)
    assert source.body_of("copy") == BODY


def test_a_source_of_another_account_is_refused_and_an_absent_one_absent(source: Stage) -> None:
    source.bob.create_bucket(Bucket="bobs")
    source.bob.put_object(Bucket="bobs", Key="k", Body=b"bob's")
    changes = len(source.run(source.rig.catalogue.read_changes(0, 1000)))
    create = source.alice.copy_object
    for key in ("k", "absent"):
        refused(create, 403, "AccessDenied", Bucket="bucket", Key="c", CopySource=f"bobs/{key}")
    mine = {"Bucket": "bucket", "Key": "a b+é"}
    refused(source.bob.copy_object, 403, "AccessDenied", Bucket="bobs", Key="c", CopySource=mine)
    error = refused(create, 404, "NoSuchKey", Bucket="bucket", Key="c", CopySource="bucket/absent")
    assert error["Key"] == "absent"
    refused(create, 404, "NoSuchBucket", Bucket="bucket", Key="c", CopySource="no-such/k")
    version = {"Bucket": "bucket", "Key": "a b+é", "VersionId": "1" * 32}
    refused(create, 404, "NoSuchVersion", Bucket="bucket", Key="c", CopySource=version)
    assert len(source.run(source.rig.catalogue.read_changes(0, 1000))) == changes


SOURCE_CONDITIONS = [
    ({"CopySourceIfMatch": "same"}, True), ({"CopySourceIfMatch": '"x"'}, False),
    ({"CopySourceIfNoneMatch": "same"}, False), ({"CopySourceIfNoneMatch": '"x"'}, True),
    ({"CopySourceIfUnmodifiedSince": "2024-01-01"}, False), ({"CopySourceIfUnmodifiedSince": "2026-11-01"}, True),
    ({"CopySourceIfModifiedSince": "2024-01-01"}, True), ({"CopySourceIfModifiedSince": "2026-11-01"}, False),
    ({"CopySourceIfMatch": "same", "CopySourceIfUnmodifiedSince": "2024-01-01"}, True),
    ({"CopySourceIfNoneMatch": "same", "CopySourceIfModifiedSince": "2024-01-01"}, False),
]  # fmt: skip


@pytest.mark.parametrize(("conditions", "holds"), SOURCE_CONDITIONS, ids=[str(row[0]) for row in SOURCE_CONDITIONS])
@pytest.mark.parametrize("method", ["copy_object", "upload_part_copy"])
def test_conditions_on_the_source(source: Stage, method: str, conditions: dict[str, str], holds: bool) -> None:
    etag = source.alice.head_object(Bucket="bucket", Key="a b+é")["ETag"]
    arguments: dict[str, Any] = {name: text.replace("same", etag) for name, text in conditions.items()}
    arguments |= {"Bucket": "bucket", "Key": "copy", "CopySource": {"Bucket": "bucket", "Key": "a b+é"}}
    if method == "upload_part_copy":
        arguments["UploadId"] = source.alice.create_multipart_upload(Bucket="bucket", Key="copy")["UploadId"]
        arguments["PartNumber"] = 1
    call = getattr(source.alice, method)
    if holds:
        assert status_of(call(**arguments)) == 200
        return
    error = refused(call, 412, "PreconditionFailed", **arguments)
    assert error["Condition"].startswith("x-amz-copy-source-If-")
    assert source.keys() == ["a b+é"]


def test_conditions_on_the_target(source: Stage) -> None:
    copy(source, IfNoneMatch="*")
    with_target = {"Bucket": "bucket", "Key": "copy", "CopySource": {"Bucket": "bucket", "Key": "a b+é"}}
    refused(source.alice.copy_object, 412, "PreconditionFailed", **with_target, IfNoneMatch="*")
    refused(source.alice.copy_object, 412, "PreconditionFailed", **with_target, IfMatch='"x"')
    refused(source.alice.copy_object, 404, "NoSuchKey", **{**with_target, "Key": "absent"}, IfMatch='"x"')


def test_the_target_is_judged_again_when_it_is_published(source: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: Any) -> None:
        return None

    copy(source)
    monkeypatch.setattr(copying, "refuse_early", nothing)
    arguments = {"Bucket": "bucket", "CopySource": {"Bucket": "bucket", "Key": "a b+é"}}
    refused(source.alice.copy_object, 412, "PreconditionFailed", Key="copy", IfNoneMatch="*", **arguments)
    refused(source.alice.copy_object, 404, "NoSuchKey", Key="absent", IfMatch='"x"', **arguments)


@pytest.mark.parametrize("losses", [1, 2, 3])
def test_a_source_that_is_replaced_meanwhile_is_looked_up_again(
    source: Stage, monkeypatch: pytest.MonkeyPatch, losses: int
) -> None:
    left, right = [losses], source.rig.objects.copy

    async def losing(*arguments: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise ContentGone
        return await right(*arguments)

    monkeypatch.setattr(source.rig.objects, "copy", losing)
    if losses < copying.SHARE_ATTEMPTS:
        copy(source)
        assert source.body_of("copy") == BODY
        return
    arguments = {"Bucket": "bucket", "Key": "copy", "CopySource": {"Bucket": "bucket", "Key": "a b+é"}}
    refused(source.alice.copy_object, 503, "ServiceUnavailable", **arguments)


def looking(change: Callable[[Found], Found]) -> Callable[[Any], Any]:
    """`Catalogue.get_version` that shows another version than there is."""

    def changed(real: Any) -> Any:
        async def get_version(*arguments: Any, **options: Any) -> Found:
            return change(await real(*arguments, **options))

        return get_version

    return changed


def test_the_source_of_a_copy_has_at_most_5_gib(source: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def huge(found: Found) -> Found:
        return Found(replace(found.version, size=MAX_SINGLE_UPLOAD_BYTES + 1), found.content)

    catalogue = source.rig.catalogue
    upload_id = source.alice.create_multipart_upload(Bucket="bucket", Key="copy")["UploadId"]
    monkeypatch.setattr(catalogue, "get_version", looking(huge)(catalogue.get_version))
    arguments = {"Bucket": "bucket", "Key": "copy", "CopySource": {"Bucket": "bucket", "Key": "a b+é"}}
    error = refused(source.alice.copy_object, 400, "InvalidRequest", **arguments)
    assert str(MAX_SINGLE_UPLOAD_BYTES) in error["Message"]
    refused(source.alice.upload_part_copy, 400, "InvalidRequest", **arguments, UploadId=upload_id, PartNumber=1)


def test_a_delete_marker_is_no_source_and_no_object(source: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Versioned buckets are to come; what reads and copies say of a marker is settled."""
    marker_id = "a" * 32

    def marker(found: Found) -> Found:
        return Found(replace(found.version, content_id=None, version_id=marker_id, etag=""), None)

    catalogue = source.rig.catalogue
    monkeypatch.setattr(catalogue, "get_version", looking(marker)(catalogue.get_version))
    arguments: dict[str, Any] = {"Bucket": "bucket", "Key": "c"}
    named = {"Bucket": "bucket", "Key": "a b+é", "VersionId": "null"}
    refused(source.alice.copy_object, 404, "NoSuchKey", **arguments, CopySource={"Bucket": "bucket", "Key": "a b+é"})
    refused(source.alice.copy_object, 400, "InvalidRequest", **arguments, CopySource=named)
    absent = refused(source.alice.get_object, 404, "NoSuchKey", Bucket="bucket", Key="a b+é")
    assert absent["headers"]["x-amz-delete-marker"] == "true"
    assert absent["headers"]["x-amz-version-id"] == marker_id
    named_error = refused(source.alice.get_object, 405, "MethodNotAllowed", **named)
    assert (named_error["headers"]["allow"], named_error["headers"]["x-amz-delete-marker"]) == ("DELETE", "true")
    refused(source.alice.put_object, 404, "NoSuchKey", **arguments, Body=b"", IfMatch='"x"')
    source.alice.put_object(**arguments, Body=b"a marker counts as absent", IfNoneMatch="*")


# UploadPartCopy


@pytest.fixture
def upload(source: Stage) -> dict[str, Any]:
    upload_id = source.alice.create_multipart_upload(Bucket="bucket", Key="copy")["UploadId"]
    return {
        "Bucket": "bucket", "Key": "copy", "UploadId": upload_id, "PartNumber": 1,
        "CopySource": {"Bucket": "bucket", "Key": "a b+é"},
    }  # fmt: skip


SPANS = [(None, 0, 51200), ("bytes=0-0", 0, 1), ("bytes=16380-33000", 16380, 16621), ("bytes=51199-51199", 51199, 1)]


@pytest.mark.parametrize(("text", "offset", "length"), SPANS)
def test_a_part_is_a_span_of_its_source(
    source: Stage, upload: dict[str, Any], text: str | None, offset: int, length: int
) -> None:
    result = source.alice.upload_part_copy(**upload, **({"CopySourceRange": text} if text else {}))
    span = BODY[offset : offset + length]
    part = result["CopyPartResult"]
    assert (status_of(result), part["ETag"]) == (200, f'"{hashlib.md5(span).hexdigest()}"')
    assert headers_of(result)["x-amz-server-side-encryption"] == "AES256"
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    source.alice.complete_multipart_upload(
        Bucket="bucket", Key="copy", UploadId=upload["UploadId"], MultipartUpload=parts
    )
    assert source.body_of("copy") == span


@pytest.mark.parametrize(
    "text", ["bytes=0-51200", "bytes=51200-51300", "bytes=0-", "bytes=-5", "bytes=5-4", "0-5", "bytes=0-1,2-3"]
)
def test_a_range_that_is_not_strictly_within_its_source(source: Stage, upload: dict[str, Any], text: str) -> None:
    error = refused(source.alice.upload_part_copy, 400, "InvalidArgument", **upload, CopySourceRange=text)
    assert error["ArgumentName"] == "x-amz-copy-source-range"
    assert "Parts" not in source.alice.list_parts(Bucket="bucket", Key="copy", UploadId=upload["UploadId"])


def test_an_empty_source_makes_an_empty_part(source: Stage, upload: dict[str, Any]) -> None:
    source.put("empty", b"")
    result = source.alice.upload_part_copy(**{**upload, "CopySource": "bucket/empty"})
    assert result["CopyPartResult"]["ETag"] == f'"{hashlib.md5(b"").hexdigest()}"'
    refused(
        source.alice.upload_part_copy, 400, "InvalidArgument",
        **{**upload, "CopySource": "bucket/empty"}, CopySourceRange="bytes=0-0",
    )  # fmt: skip


def test_the_source_and_the_upload_must_be_there_and_ones_own(source: Stage, upload: dict[str, Any]) -> None:
    source.bob.create_bucket(Bucket="bobs")
    source.bob.put_object(Bucket="bobs", Key="k", Body=b"bob's")
    call = source.alice.upload_part_copy
    refused(call, 403, "AccessDenied", **{**upload, "CopySource": "bobs/k"})
    refused(call, 404, "NoSuchKey", **{**upload, "CopySource": "bucket/absent"})
    refused(call, 404, "NoSuchUpload", **{**upload, "Key": "other"})
    refused(call, 404, "NoSuchUpload", **{**upload, "UploadId": "1" * 32})
    refused(call, 400, "InvalidArgument", **{**upload, "PartNumber": 10_001})


def test_an_upload_that_ends_while_its_part_is_copied(
    source: Stage, upload: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = source.rig.catalogue.put_part

    async def late(part: Any) -> None:
        await source.rig.catalogue.abort_upload(source.rig.bucket.bucket_id, b"copy", part.upload_id)
        await real(part)

    monkeypatch.setattr(source.rig.catalogue, "put_part", late)
    refused(source.alice.upload_part_copy, 404, "NoSuchUpload", **upload)
