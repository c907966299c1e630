"""PutObject, GetObject, HeadObject, DeleteObject, DeleteObjects: bytes, ETags, checksums, refusals."""

import asyncio
import hashlib
from base64 import b64encode
from typing import Any

import pytest

from gateway.engine.custody import WrappingMode
from gateway.engine.integrity import EtagMode
from storage.catalogue.conflicts import BlobCondemned, NoSuchVersion
from tests.gateway.http.asgi import call, signed_headers
from tests.gateway.operations.stage import (
    Stage,
    checksum_of,
    headers_of,
    make_stage,
    messages_of,
    refused,
    status_of,
)

ALGORITHMS = ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"]
BODY = bytes(range(256)) * 200


def quoted_md5(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'


# PutObject


@pytest.mark.parametrize("wrapping", list(WrappingMode))
@pytest.mark.parametrize("size", [0, 1, 16384, 100_000])
def test_what_is_put_comes_back_with_the_etag_of_its_plaintext(size: int, wrapping: WrappingMode) -> None:
    data = (BODY * 2)[:size]
    with make_stage(wrapping=wrapping) as stage:
        result = stage.put("k", data)
        assert (status_of(result), result["ETag"]) == (200, quoted_md5(data))
        assert result["ServerSideEncryption"] == "AES256"
        assert stage.sent[-1]["x-amz-content-sha256"] == "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
        got = stage.alice.get_object(Bucket="bucket", Key="k")
        assert got["Body"].read() == data
        assert (got["ContentLength"], got["ETag"], got["ServerSideEncryption"]) == (size, quoted_md5(data), "AES256")
        assert headers_of(got)["accept-ranges"] == "bytes"
        assert got["ContentType"] == "binary/octet-stream"
        head = stage.alice.head_object(Bucket="bucket", Key="k")
        same = {"etag", "content-length", "content-type", "last-modified", "x-amz-server-side-encryption"}
        assert {name: headers_of(head)[name] for name in same} == {name: headers_of(got)[name] for name in same}
        assert stage.last.body == b""


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_checksum_in_the_trailer_is_verified_kept_and_echoed(stage: Stage, algorithm: str) -> None:
    if algorithm == "CRC64NVME":
        pytest.importorskip("awscrt", reason="botocore computes CRC64NVME with awscrt")
    result = stage.put("k", BODY, ChecksumAlgorithm=algorithm)
    expected = checksum_of(algorithm, BODY)
    assert (result[f"Checksum{algorithm}"], result["ChecksumType"]) == (expected, "FULL_OBJECT")
    assert stage.sent[-1]["x-amz-trailer"] == f"x-amz-checksum-{algorithm.lower()}"
    got = stage.alice.get_object(Bucket="bucket", Key="k")
    assert (got[f"Checksum{algorithm}"], got["ChecksumType"]) == (expected, "FULL_OBJECT")
    assert got["Body"].read() == BODY
    head = stage.alice.head_object(Bucket="bucket", Key="k", ChecksumMode="ENABLED")
    assert head[f"Checksum{algorithm}"] == expected
    silent = stage.alice.head_object(Bucket="bucket", Key="k")
    assert not [name for name in headers_of(silent) if name.startswith("x-amz-checksum")]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_wrong_checksum_in_a_header_leaves_the_earlier_object(stage: Stage, algorithm: str) -> None:
    stage.put("k", b"before")
    wrong = {f"x-amz-checksum-{algorithm.lower()}": checksum_of(algorithm, b"other")}
    answer = stage.raw("PUT", "/bucket/k", wrong, b"data")
    assert (answer.status, b"<Code>BadDigest</Code>" in answer.body) == (400, True)
    assert stage.body_of("k") == b"before"


def test_without_a_checksum_crc64nvme_is_computed(stage: Stage) -> None:
    answer = stage.raw("PUT", "/bucket/k", None, BODY)
    assert answer.headers["x-amz-checksum-crc64nvme"] == checksum_of("CRC64NVME", BODY)
    assert answer.headers["x-amz-checksum-type"] == "FULL_OBJECT"


def test_content_md5_is_compared(stage: Stage) -> None:
    right = b64encode(hashlib.md5(b"data").digest()).decode()
    assert stage.raw("PUT", "/bucket/k", {"content-md5": right}, b"data").status == 200
    wrong = stage.raw("PUT", "/bucket/k", {"content-md5": right}, b"other")
    assert (wrong.status, b"<Code>BadDigest</Code>" in wrong.body) == (400, True)
    for bad in ("", "short", b64encode(b"fifteen bytes !").decode()):
        answer = stage.raw("PUT", "/bucket/k", {"content-md5": bad}, b"other")
        assert (answer.status, b"<Code>InvalidDigest</Code>" in answer.body) == (400, True)
    assert stage.body_of("k") == b"data"


def trailing(data: bytes, trailer: str) -> bytes:
    return b"%x\r\n%s\r\n0\r\n%s\r\n" % (len(data), data, trailer.encode())


RIGHT = f"x-amz-checksum-crc32:{checksum_of('CRC32', b'data')}\r\n"
TRAILERS = [
    ("right", trailing(b"data", RIGHT), None),
    ("another value", trailing(b"data", "x-amz-checksum-crc32:AAAAAA==\r\n"), "BadDigest"),
    ("other data", trailing(b"date", RIGHT), "BadDigest"),
    ("missing", trailing(b"data", ""), "MalformedTrailerError"),
    ("another name", trailing(b"data", RIGHT.replace("crc32", "crc32c")), "MalformedTrailerError"),
    ("no base64", trailing(b"data", "x-amz-checksum-crc32:?\r\n"), "InvalidRequest"),
    ("shorter", trailing(b"dat", RIGHT), "IncompleteBody"),
    ("longer", trailing(b"data!", RIGHT), "IncompleteBody"),
    ("cut short", trailing(b"data", RIGHT)[:8], "IncompleteBody"),
]


@pytest.mark.parametrize(("name", "wire", "code"), TRAILERS, ids=[row[0] for row in TRAILERS])
def test_a_trailer_is_the_last_word(stage: Stage, name: str, wire: bytes, code: str | None) -> None:
    stage.put("k", b"before")
    stage.next_body = wire
    if code is None:
        stage.put("k", b"data")
        assert stage.body_of("k") == b"data"
        return
    refused(stage.alice.put_object, 400, code, Bucket="bucket", Key="k", Body=b"data")
    assert stage.body_of("k") == b"before"
    assert stage.rig.stored() == {}


def test_two_checksums_are_one_too_many(stage: Stage) -> None:
    answer = stage.raw("PUT", "/bucket/k", {"x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-sha1": "x"}, b"data")
    assert (answer.status, b"<Code>InvalidRequest</Code>" in answer.body) == (400, True)
    assert stage.keys() == []


def test_headers_and_metadata_come_back_as_they_went(stage: Stage) -> None:
    sent = {
        "ContentType": "text/plain; charset=utf-8",
        "CacheControl": "no-cache, private",
        "ContentDisposition": 'attachment; filename="a.txt"',
        "ContentEncoding": "gzip",
        "ContentLanguage": "de, en",
        "Metadata": {"mtime": "123.5", "MiXed": "a  b"},
    }
    stage.put("k", b"x", **sent)
    assert stage.sent[-1]["content-encoding"] == "gzip,aws-chunked"
    for method in (stage.alice.get_object, stage.alice.head_object):
        got = method(Bucket="bucket", Key="k")
        assert {name: got[name] for name in sent if name != "Metadata"} == {
            name: value for name, value in sent.items() if name != "Metadata"
        }
        assert got["Metadata"] == {"mtime": "123.5", "mixed": "a  b"}


def test_too_much_metadata_is_refused(stage: Stage) -> None:
    stage.put("k", Metadata={"a": "x" * 2047})
    refused(
        stage.alice.put_object, 400, "MetadataTooLarge",
        Bucket="bucket", Key="other", Body=b"", Metadata={"a": "x" * 2048},
    )  # fmt: skip
    assert stage.keys() == ["k"]


@pytest.mark.parametrize("key", ["a+b %c//d/..e", "/leading", "é/😀", "~-._!*'();:@&=$,?#[]", "a/", "x" * 1024])
def test_keys_are_what_they_are(stage: Stage, key: str) -> None:
    stage.put(key, key.encode())
    assert stage.keys() == [key]
    assert stage.body_of(key) == key.encode()
    stage.alice.delete_object(Bucket="bucket", Key=key)
    assert stage.keys() == []


def test_a_key_of_1025_bytes_is_too_long_and_one_with_dot_segments_is_no_key(stage: Stage) -> None:
    refused(stage.alice.put_object, 400, "BadRequest", Bucket="bucket", Key="a/../b", Body=b"")
    refused(stage.alice.put_object, 400, "KeyTooLongError", Bucket="bucket", Key="x" * 1025, Body=b"")


def test_an_opaque_etag_is_no_md5_and_serves_conditions_all_the_same() -> None:
    with make_stage(etag_mode=EtagMode.OPAQUE) as stage:
        etag = stage.put("k", b"data")["ETag"]
        assert etag != quoted_md5(b"data")
        assert stage.body_of("k", IfMatch=etag) == b"data"
        stage.put("k", b"more", IfMatch=etag)
        refused(stage.alice.put_object, 412, "PreconditionFailed", Bucket="bucket", Key="k", Body=b"", IfMatch=etag)


# Conditional writes


def test_if_none_match_creates_and_never_replaces(stage: Stage) -> None:
    assert status_of(stage.put("lock", b"mine", IfNoneMatch="*")) == 200
    refused(stage.alice.put_object, 412, "PreconditionFailed", Bucket="bucket", Key="lock", Body=b"", IfNoneMatch="*")
    assert stage.last.received_before_start == 0, "refused before the body was asked for"
    assert stage.body_of("lock") == b"mine"
    stage.alice.delete_object(Bucket="bucket", Key="lock")
    stage.put("lock", b"again", IfNoneMatch="*")


def test_if_match_replaces_only_what_it_names(stage: Stage) -> None:
    put = stage.alice.put_object
    error = refused(put, 404, "NoSuchKey", Bucket="bucket", Key="k", Body=b"", IfMatch='"x"')
    assert error["Key"] == "k"
    etag = stage.put("k", b"1")["ETag"]
    stage.put("k", b"2", IfMatch=etag.strip('"'))
    refused(put, 412, "PreconditionFailed", Bucket="bucket", Key="k", Body=b"", IfMatch=etag)
    assert stage.body_of("k") == b"2"
    stage.put("k", b"3", IfMatch="*")


@pytest.mark.parametrize(
    "headers",
    [{"if-none-match": '"etag"'}, {"if-match": "*", "if-none-match": "*"}, {"if-match": '"a", "b"'},
     {"if-modified-since": "Mon, 01 Jan 2024 00:00:00 GMT"}],
)  # fmt: skip
def test_a_condition_that_cannot_be_judged_is_refused(stage: Stage, headers: dict[str, str]) -> None:
    assert stage.raw("PUT", "/bucket/k", headers, b"x").status == 501
    assert stage.keys() == []


def test_of_many_that_create_one_wins(stage: Stage) -> None:
    async def create(number: int) -> int:
        data = b"%d" % number * 30_000
        headers = signed_headers("PUT", "/bucket/lock", data, {"if-none-match": "*"})
        headers.append((b"content-length", str(len(data)).encode()))
        return (await call(stage.app, "PUT", "/bucket/lock", headers, messages_of(data))).status

    async def race() -> list[int]:
        return await asyncio.gather(*(create(number) for number in range(1, 9)))

    answers = stage.run(race())
    assert sorted(answers) == [200] + [412] * 7
    winner = answers.index(200) + 1
    assert stage.body_of("lock") == b"%d" % winner * 30_000


def test_the_transaction_judges_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The early look may be out of date: the key comes, or goes, while the body is on its way."""
    etag = stage.put("k", b"1")["ETag"]

    async def absent(*_: Any, **__: Any) -> None:
        raise NoSuchVersion

    monkeypatch.setattr(stage.rig.catalogue, "get_version", absent)
    refused(stage.alice.put_object, 412, "PreconditionFailed", Bucket="bucket", Key="k", Body=b"2", IfNoneMatch="*")
    monkeypatch.undo()
    found = stage.run(stage.rig.objects.find(stage.rig.bucket, b"k"))
    stage.alice.delete_object(Bucket="bucket", Key="k")

    async def there(*_: Any, **__: Any) -> Any:
        return found

    monkeypatch.setattr(stage.rig.catalogue, "get_version", there)
    refused(stage.alice.put_object, 404, "NoSuchKey", Bucket="bucket", Key="k", Body=b"2", IfMatch=etag)
    monkeypatch.undo()
    assert stage.keys() == []


# GetObject and HeadObject


def test_what_is_absent_is_absent(stage: Stage) -> None:
    error = refused(stage.alice.get_object, 404, "NoSuchKey", Bucket="bucket", Key="no/such")
    assert (error["Key"], error["headers"]["content-type"]) == ("no/such", "application/xml")
    refused(stage.alice.head_object, 404, "404", Bucket="bucket", Key="no/such")
    assert stage.last.body == b""
    refused(stage.alice.get_object, 404, "NoSuchBucket", Bucket="no-such", Key="k")
    stage.put("k")
    assert stage.body_of("k", VersionId="null") == b"data"
    refused(stage.alice.get_object, 404, "NoSuchVersion", Bucket="bucket", Key="k", VersionId="1" * 32)


RANGES = [
    ("bytes=0-0", 0, 1), ("bytes=5-9", 5, 5), ("bytes=51190-", 51190, 10), ("bytes=-7", 51193, 7),
    ("bytes=51199-99999999999999999999", 51199, 1), ("bytes=-99999", 0, 51200), ("bytes=0-", 0, 51200),
    ("bytes=16383-16384", 16383, 2), ("BYTES=1-2", 1, 2),
]  # fmt: skip


@pytest.mark.parametrize(("text", "offset", "length"), RANGES, ids=[row[0] for row in RANGES])
@pytest.mark.parametrize("inline", [0, 1 << 20])
def test_a_range_is_206_with_its_span_and_never_a_checksum(text: str, offset: int, length: int, inline: int) -> None:
    with make_stage(inline_max_bytes=inline) as stage:
        stage.put("k", BODY)
        got = stage.alice.get_object(Bucket="bucket", Key="k", Range=text, ChecksumMode="ENABLED")
        assert (status_of(got), got["Body"].read()) == (206, BODY[offset : offset + length])
        assert got["ContentRange"] == f"bytes {offset}-{offset + length - 1}/{len(BODY)}"
        assert (got["ContentLength"], got["ETag"]) == (length, quoted_md5(BODY))
        assert not [name for name in headers_of(got) if name.startswith("x-amz-checksum")]
        head = stage.alice.head_object(Bucket="bucket", Key="k", Range=text, ChecksumMode="ENABLED")
        assert (status_of(head), head["ContentLength"]) == (206, length)
        assert not [name for name in headers_of(head) if name.startswith("x-amz-checksum")]


@pytest.mark.parametrize("text", ["bytes=51200-", "bytes=-0", "bytes=99999999999999999999-"])
def test_a_range_beyond_the_end_is_416(stage: Stage, text: str) -> None:
    stage.put("k", BODY)
    error = refused(stage.alice.get_object, 416, "InvalidRange", Bucket="bucket", Key="k", Range=text)
    assert (error["ActualObjectSize"], error["headers"]["content-range"]) == ("51200", "bytes */51200")
    stage.put("empty", b"")
    refused(stage.alice.get_object, 416, "InvalidRange", Bucket="bucket", Key="empty", Range="bytes=0-")


@pytest.mark.parametrize("text", ["bytes=5-2", "bytes=a-b", "bytes=0-1,3-4", "items=0-1", "bytes=-", "5-9"])
def test_a_bad_range_is_ignored(stage: Stage, text: str) -> None:
    stage.put("k", BODY)
    got = stage.alice.get_object(Bucket="bucket", Key="k", Range=text)
    assert (status_of(got), got["ContentLength"], got["Body"].read()) == (200, len(BODY), BODY)


def test_an_object_of_one_put_is_its_part_1(stage: Stage) -> None:
    stage.put("k", BODY)
    got = stage.alice.get_object(Bucket="bucket", Key="k", PartNumber=1)
    assert (status_of(got), got["Body"].read(), "PartsCount" in got) == (206, BODY, False)
    assert got["ContentRange"] == f"bytes 0-{len(BODY) - 1}/{len(BODY)}"
    head = stage.alice.head_object(Bucket="bucket", Key="k", PartNumber=1)
    assert (status_of(head), head["ContentLength"]) == (206, len(BODY))
    error = refused(stage.alice.get_object, 416, "InvalidPartNumber", Bucket="bucket", Key="k", PartNumber=2)
    assert error["PartNumberRequested"] == "2"
    refused(stage.alice.get_object, 400, "InvalidRequest", Bucket="bucket", Key="k", PartNumber=1, Range="bytes=0-1")
    refused(stage.alice.get_object, 400, "InvalidArgument", Bucket="bucket", Key="k", PartNumber=0)
    stage.put("empty", b"")
    empty = stage.alice.get_object(Bucket="bucket", Key="empty", PartNumber=1)
    assert (status_of(empty), empty["ContentLength"]) == (200, 0)


OLD, NEW = "Mon, 01 Jan 2024 00:00:00 GMT", "Sun, 01 Nov 2026 00:00:00 GMT"
ETAG = '"e"'
PRECEDENCE = [
    ({"if-match": "same"}, 200), ({"if-match": ETAG}, 412), ({"if-match": "*"}, 200), ({"if-match": "W/same"}, 412),
    ({"if-match": f"{ETAG}, same"}, 200),
    ({"if-none-match": "same"}, 304), ({"if-none-match": ETAG}, 200), ({"if-none-match": "*"}, 304),
    ({"if-none-match": "W/same"}, 304),
    ({"if-unmodified-since": OLD}, 412), ({"if-unmodified-since": NEW}, 200),
    ({"if-modified-since": OLD}, 200), ({"if-modified-since": NEW}, 304),
    ({"if-match": "same", "if-unmodified-since": OLD}, 200), ({"if-match": ETAG, "if-unmodified-since": NEW}, 412),
    ({"if-none-match": "same", "if-modified-since": OLD}, 304),
    ({"if-none-match": ETAG, "if-modified-since": NEW}, 200),
    ({"if-match": ETAG, "if-none-match": "same"}, 412), ({"if-match": "same", "if-none-match": "same"}, 304),
    ({"if-modified-since": "yesterday"}, 200),
]  # fmt: skip


@pytest.mark.parametrize(("conditions", "status"), PRECEDENCE, ids=[str(row[0]) for row in PRECEDENCE])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_conditions_of_reads_in_their_precedence(
    stage: Stage, method: str, conditions: dict[str, str], status: int
) -> None:
    etag = stage.put("k", b"data")["ETag"]
    answer = stage.raw(method, "/bucket/k", {name: text.replace("same", etag) for name, text in conditions.items()})
    assert answer.status == status
    if status in {200, 304}:
        assert answer.headers["etag"] == etag
        assert answer.headers["last-modified"] == "Thu, 01 Jan 2026 00:00:00 GMT"
    assert answer.body == (b"data" if (status, method) == (200, "GET") else answer.body * (status == 412))
    assert (b"<Code>PreconditionFailed</Code>" in answer.body) == ((status, method) == (412, "GET"))


def test_dates_have_whole_seconds(stage: Stage) -> None:
    stage.put("k", b"data")
    modified = stage.alice.head_object(Bucket="bucket", Key="k")["LastModified"]
    assert stage.rig.clock.now.microsecond > 0
    stage.body_of("k", IfUnmodifiedSince=modified)
    refused(stage.alice.get_object, 304, "304", Bucket="bucket", Key="k", IfModifiedSince=modified)


def test_conditions_come_before_ranges(stage: Stage) -> None:
    etag = stage.put("k", BODY)["ETag"]
    got = stage.alice.get_object(Bucket="bucket", Key="k", IfMatch=etag, Range="bytes=1-2")
    assert got["Body"].read() == BODY[1:3]
    refused(
        stage.alice.get_object, 412, "PreconditionFailed", Bucket="bucket", Key="k", IfMatch=ETAG, Range="bytes=99999-"
    )
    refused(stage.alice.get_object, 304, "304", Bucket="bucket", Key="k", IfNoneMatch=etag, Range="bytes=1-2")


def test_response_headers_are_overridden_where_signed(stage: Stage) -> None:
    stage.put("k", ContentType="text/x")
    got = stage.alice.get_object(
        Bucket="bucket", Key="k", ResponseContentType="text/y", ResponseContentDisposition="inline"
    )
    assert (got["ContentType"], got["ContentDisposition"]) == ("text/y", "inline")
    assert stage.alice.head_object(Bucket="bucket", Key="k")["ContentType"] == "text/x"


def test_a_checksum_mode_is_enabled_in_any_case_and_nothing_else(stage: Stage) -> None:
    stage.put("k")
    assert "x-amz-checksum-crc32" in stage.raw("GET", "/bucket/k", {"x-amz-checksum-mode": "enabled"}).headers
    assert stage.raw("GET", "/bucket/k", {"x-amz-checksum-mode": "on"}).status == 400


def test_damage_is_500_and_never_wrong_bytes(stage: Stage) -> None:
    stage.put("k", BODY)
    ((blob_id, _),) = stage.rig.stored().items()
    stage.rig.damage(blob_id, lambda held: held[:1000] + bytes([held[1000] ^ 1]) + held[1001:])
    refused(stage.alice.get_object, 500, "InternalError", Bucket="bucket", Key="k")
    assert BODY[:100] not in stage.last.body
    assert status_of(stage.alice.head_object(Bucket="bucket", Key="k")) == 200
    stage.run(stage.rig.blobs.delete(blob_id))
    refused(stage.alice.get_object, 500, "InternalError", Bucket="bucket", Key="k")


# DeleteObject and DeleteObjects


def test_delete_is_204_whatever_was_there(stage: Stage) -> None:
    stage.put("k")
    for _ in range(2):
        result = stage.alice.delete_object(Bucket="bucket", Key="k")
        assert (status_of(result), "VersionId" in result, "DeleteMarker" in result) == (204, False, False)
        refused(stage.alice.get_object, 404, "NoSuchKey", Bucket="bucket", Key="k")
    refused(stage.alice.delete_object, 404, "NoSuchBucket", Bucket="no-such", Key="k")


def test_delete_by_version_takes_that_version_alone(stage: Stage) -> None:
    stage.put("k")
    stage.alice.delete_object(Bucket="bucket", Key="k", VersionId="1" * 32)
    assert stage.keys() == ["k"]
    stage.alice.delete_object(Bucket="bucket", Key="k", VersionId="null")
    assert stage.keys() == []


def test_conditional_delete(stage: Stage) -> None:
    etag = stage.put("k")["ETag"]
    delete = stage.alice.delete_object
    refused(delete, 412, "PreconditionFailed", Bucket="bucket", Key="k", IfMatch=ETAG)
    assert stage.keys() == ["k"]
    delete(Bucket="bucket", Key="k", IfMatch=etag)
    assert refused(delete, 404, "NoSuchKey", Bucket="bucket", Key="k", IfMatch=etag)["Key"] == "k"
    assert stage.raw("DELETE", "/bucket/k", {"if-none-match": "*"}).status == 501


def test_a_conflict_that_is_no_refusal_is_the_endpoints_to_tell(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def condemned(*_: Any) -> Any:
        return (BlobCondemned(),)

    monkeypatch.setattr(stage.rig.catalogue, "delete_versions", condemned)
    refused(stage.alice.delete_object, 503, "ServiceUnavailable", Bucket="bucket", Key="k")
    refused(stage.alice.delete_objects, 503, "ServiceUnavailable", Bucket="bucket", Delete=identifiers("k"))


def identifiers(*keys: str, **options: Any) -> dict[str, Any]:
    return {"Objects": [{"Key": key} for key in keys], **options}


def test_many_are_deleted_and_named(stage: Stage) -> None:
    for key in ("a", "b/é", "c"):
        stage.put(key)
    result = stage.alice.delete_objects(Bucket="bucket", Delete=identifiers("a", "b/é", "absent"))
    assert (status_of(result), "Errors" in result) == (200, False)
    assert [entry["Key"] for entry in result["Deleted"]] == ["a", "b/é", "absent"]
    assert stage.keys() == ["c"]


def test_quiet_names_errors_only_and_one_refusal_stops_none(stage: Stage) -> None:
    etag = stage.put("a")["ETag"]
    stage.put("b")
    wanted = {
        "Objects": [
            {"Key": "a", "ETag": '"other"'}, {"Key": "b"}, {"Key": "absent", "ETag": etag}, {"Key": "gone"},
        ],
        "Quiet": True,
    }  # fmt: skip
    result = stage.alice.delete_objects(Bucket="bucket", Delete=wanted)
    assert (status_of(result), "Deleted" in result) == (200, False)
    assert [(entry["Key"], entry["Code"]) for entry in result["Errors"]] == [
        ("a", "PreconditionFailed"),
        ("absent", "NoSuchKey"),
    ]
    assert stage.keys() == ["a"]
    loud = stage.alice.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": "a", "VersionId": "null"}]})
    assert loud["Deleted"] == [{"Key": "a", "VersionId": "null"}]


def test_a_thousand_keys_and_not_one_more(stage: Stage) -> None:
    stage.put("k5")
    result = stage.alice.delete_objects(Bucket="bucket", Delete=identifiers(*(f"k{n}" for n in range(1000))))
    assert len(result["Deleted"]) == 1000
    assert stage.keys() == []
    many = identifiers(*(f"k{n}" for n in range(1001)))
    refused(stage.alice.delete_objects, 400, "MalformedXML", Bucket="bucket", Delete=many)


def test_delete_objects_needs_an_integrity_header_that_holds(stage: Stage) -> None:
    stage.put("k")
    document = b"<Delete><Object><Key>k</Key></Object></Delete>"
    none = stage.raw("POST", "/bucket?delete", None, document)
    assert (none.status, b"<Code>InvalidRequest</Code>" in none.body) == (400, True)
    wrong = stage.raw("POST", "/bucket?delete", {"content-md5": b64encode(bytes(16)).decode()}, document)
    assert (wrong.status, b"<Code>BadDigest</Code>" in wrong.body) == (400, True)
    crc = stage.raw("POST", "/bucket?delete", {"x-amz-checksum-crc32": "AAAAAA=="}, document)
    assert (crc.status, b"<Code>BadDigest</Code>" in crc.body) == (400, True)
    assert stage.keys() == ["k"]
    right = {"x-amz-checksum-crc64nvme": checksum_of("CRC64NVME", document)}
    assert stage.raw("POST", "/bucket?delete", right, document).status == 200
    assert stage.keys() == []


def test_a_download_that_resumes_after_the_object_changed_gets_all_of_the_new_one(stage: Stage) -> None:
    stage.put("k", BODY)
    before = quoted_md5(BODY)
    asked = {"range": "bytes=100-", "if-range": before}
    assert stage.raw("GET", "/bucket/k", asked).status == 206
    stage.put("k", BODY[::-1])
    answer = stage.raw("GET", "/bucket/k", asked)
    assert (answer.status, answer.body) == (200, BODY[::-1])
