import base64
import hashlib
from typing import Any

import pytest

from gateway.s3.acl import AclRequest
from gateway.s3.errors import (
    BAD_REQUEST,
    ENTITY_TOO_LARGE,
    INVALID_ARGUMENT,
    INVALID_DIGEST,
    INVALID_REQUEST,
    INVALID_STORAGE_CLASS,
    INVALID_TAG,
    INVALID_URI,
    KEY_TOO_LONG,
    MALFORMED_XML,
    MAX_MESSAGE_LENGTH_EXCEEDED,
    METADATA_TOO_LARGE,
    MISSING_CONTENT_LENGTH,
    NOT_IMPLEMENTED,
    ErrorRow,
    S3Error,
)
from gateway.s3.parsing import document_expectation, response_overrides
from gateway.s3.types import (
    ChecksumAlgorithm,
    DeleteObjectInput,
    EncryptionRequest,
    GetObjectInput,
    ObjectHeaders,
    ObjectIdentifier,
    PayloadExpectation,
    PutObjectInput,
    RangeRequest,
    ReadConditions,
    WriteConditions,
)
from gateway.s3.version_types import VersionInput
from tests.gateway.s3.wire import read, refused, request

ID = "0123456789abcdef" * 2

EMPTY_MD5 = base64.b64encode(hashlib.md5(b"").digest()).decode()
CL = {"Content-Length": "5"}
STREAMING = {
    "Transfer-Encoding": "chunked",
    "Content-Encoding": "aws-chunked",
    "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    "x-amz-decoded-content-length": "5",
    "x-amz-trailer": "x-amz-checksum-crc32",
    "x-amz-sdk-checksum-algorithm": "CRC32",
}


def put(headers: Any = None) -> PutObjectInput:
    found = read("PUT", "/bucket/k", CL if headers is None else headers)
    assert isinstance(found, PutObjectInput)
    return found


def test_a_plain_put() -> None:
    assert put() == PutObjectInput("bucket", b"k", PayloadExpectation(5))


def test_a_put_with_everything() -> None:
    body_sha256 = hashlib.sha256(b"hello").hexdigest()
    found = put(
        {
            **CL,
            "Content-MD5": EMPTY_MD5,
            "x-amz-content-sha256": body_sha256,
            "x-amz-checksum-crc32": "AAAAAA==",
            "Content-Type": "text/plain",
            "Cache-Control": "no-cache",
            "Content-Disposition": "inline",
            "Content-Encoding": "gzip",
            "Content-Language": "de",
            "Expires": "never",
            "X-Amz-Meta-Color": "blue",
            "x-amz-acl": "private",
            "x-amz-storage-class": "STANDARD",
            "x-amz-server-side-encryption": "AES256",
            "If-None-Match": "*",
        }
    )
    assert found == PutObjectInput(
        "bucket",
        b"k",
        PayloadExpectation(
            content_length=5,
            content_md5=hashlib.md5(b"").digest(),
            content_sha256=bytes.fromhex(body_sha256),
            algorithm=ChecksumAlgorithm.CRC32,
            checksum="AAAAAA==",
        ),
        ObjectHeaders("text/plain", "no-cache", "inline", "gzip", "de", "never"),
        {"color": "blue"},
        WriteConditions(if_none_match_any=True),
        EncryptionRequest("AES256"),
        acl=AclRequest("private"),
    )


def test_a_streaming_put_as_boto3_sends_it() -> None:
    assert put(STREAMING) == PutObjectInput(
        "bucket",
        b"k",
        PayloadExpectation(5, algorithm=ChecksumAlgorithm.CRC32, trailer="x-amz-checksum-crc32"),
    )


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("aws-chunked", None),
        ("AWS-Chunked", None),
        ("aws-chunked,gzip", "gzip"),
        ("gzip,aws-chunked", "gzip"),
        ("gzip, aws-chunked , br", "gzip,br"),
        ("gzip", "gzip"),
        ("", None),
    ],
)
def test_h37_aws_chunked_is_never_stored(sent: str, kept: str | None) -> None:
    assert put({**CL, "Content-Encoding": sent}).headers.content_encoding == kept


@pytest.mark.parametrize(
    ("row", "headers"),
    [
        (MISSING_CONTENT_LENGTH, {}),
        (INVALID_ARGUMENT, {"Content-Length": "-1"}),
        (INVALID_ARGUMENT, {"Content-Length": "abc"}),
        (INVALID_ARGUMENT, {"Content-Length": "+5"}),
        (INVALID_ARGUMENT, {"Content-Length": "5,5"}),
        (INVALID_ARGUMENT, {"Content-Length": "9" * 5000}),
        (INVALID_ARGUMENT, {"Content-Length": "\u00b2"}),
        (ENTITY_TOO_LARGE, {"Content-Length": str(5 * 1024**3 + 1)}),
        (ENTITY_TOO_LARGE, {**STREAMING, "x-amz-decoded-content-length": str(5 * 1024**3 + 1)}),
        (MISSING_CONTENT_LENGTH, {**STREAMING, "x-amz-decoded-content-length": "abc"}),
        (MISSING_CONTENT_LENGTH, {k: v for k, v in STREAMING.items() if k != "x-amz-decoded-content-length"}),
        (MISSING_CONTENT_LENGTH, {k: v for k, v in STREAMING.items() if k != "Transfer-Encoding"}),
    ],
)
def test_h29_h40_lengths(row: ErrorRow, headers: dict[str, str]) -> None:
    refused(row, "PUT", "/bucket/k", headers)


def test_lengths_that_are_taken() -> None:
    assert put({"Content-Length": str(5 * 1024**3)}).payload.content_length == 5 * 1024**3
    assert put({"Transfer-Encoding": "chunked"}).payload.content_length is None
    assert put({**STREAMING, "Content-Length": "99"}).payload.content_length == 5


@pytest.mark.parametrize("text", ["", "abc", "=", "AAAA", EMPTY_MD5[:-1], EMPTY_MD5 + "=", "é", "A" * 22 + "="])
def test_h43_content_md5(text: str) -> None:
    refused(INVALID_DIGEST, "PUT", "/bucket/k", {**CL, "Content-MD5": text})


@pytest.mark.parametrize(
    ("row", "headers"),
    [
        (INVALID_REQUEST, {"x-amz-checksum-crc32": "nope"}),
        (INVALID_REQUEST, {"x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-sha1": "a"}),
        # No header of S3's, so it is refused before anyone reads it as a checksum.
        (INVALID_ARGUMENT, {"x-amz-checksum-crc16": "AAAA"}),
        (NOT_IMPLEMENTED, {"x-amz-checksum-sha512": "AAAA"}),
    ],
)
def test_checksums(row: ErrorRow, headers: dict[str, str]) -> None:
    refused(row, "PUT", "/bucket/k", {**CL, **headers})


def test_h42_metadata_may_have_2_kib() -> None:
    assert put({**CL, "x-amz-meta-a": "b" * 2047}).metadata == {"a": "b" * 2047}
    refused(METADATA_TOO_LARGE, "PUT", "/bucket/k", {**CL, "x-amz-meta-a": "b" * 2048})
    many = {f"x-amz-meta-{n:04}": "1234" for n in range(256)}
    assert len(put({**CL, **many}).metadata) == 256
    refused(METADATA_TOO_LARGE, "PUT", "/bucket/k", {**CL, **many, "x-amz-meta-b": ""})


def test_metadata_names_ignore_case_and_repeats_join() -> None:
    sent = [*CL.items(), ("X-Amz-Meta-A", "1"), ("x-amz-meta-a", "2"), ("x-amz-meta-b", "é")]
    assert put(sent).metadata == {"a": "1,2", "b": "é"}


def test_metadata_that_no_answer_could_carry() -> None:
    refused(INVALID_ARGUMENT, "PUT", "/bucket/k", {**CL, "x-amz-meta-": "1"})
    refused(INVALID_ARGUMENT, "PUT", "/bucket/k", {**CL, "x-amz-meta-a": "1\x7f"})
    refused(INVALID_ARGUMENT, "PUT", "/bucket/k?x-amz-meta-a=1%0d%0aSet-Cookie:x", CL)


@pytest.mark.parametrize(
    "name",
    ["Content-Type", "Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language", "Expires"],
)
def test_system_metadata_that_no_answer_could_carry(name: str) -> None:
    refused(INVALID_ARGUMENT, "PUT", "/bucket/k", {**CL, name: "a\x01"})


@pytest.mark.parametrize("name", ["x-amz-meta-sealgate-a", "x-amz-meta-x-sealgate-b"])
def test_h45_look_alikes_are_plain_user_data(name: str) -> None:
    assert put({**CL, name: "1"}).metadata == {name.removeprefix("x-amz-meta-"): "1"}


@pytest.mark.parametrize("name", ["x-sealgate-key", "x-minio-source-etag", "x-amz-key", "x-amz-iv", "x-amz-sealgate"])
def test_h45_orders_for_other_servers_are_refused(name: str) -> None:
    refused(INVALID_ARGUMENT, "PUT", "/bucket/k", {**CL, name: "1"})


@pytest.mark.parametrize("name", ["Content-Type", "Expires", "Content-Disposition", "Content-MD5", "If-Match"])
def test_headers_that_stand_once(name: str) -> None:
    refused(INVALID_ARGUMENT, "PUT", "/bucket/k", [*CL.items(), (name, EMPTY_MD5), (name, EMPTY_MD5)])


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, WriteConditions()),
        ({"If-None-Match": "*"}, WriteConditions(if_none_match_any=True)),
        ({"If-Match": '"abc"'}, WriteConditions(if_match="abc")),
        ({"If-Match": "abc"}, WriteConditions(if_match="abc")),
    ],
)
def test_write_conditions(headers: dict[str, str], expected: WriteConditions) -> None:
    assert put({**CL, **headers}).conditions == expected


@pytest.mark.parametrize(
    "headers",
    [
        {"If-None-Match": '"etag"'},
        {"If-None-Match": ""},
        {"If-None-Match": "*", "If-Match": '"a"'},
        {"If-Match": ""},
        {"If-Match": '""'},
        {"If-Match": '"a", "b"'},
        {"If-Match": "a,b"},
        {"If-Match": 'W/"a"'},
        {"If-Modified-Since": "Sun, 06 Nov 1994 08:49:37 GMT"},
        {"If-Unmodified-Since": "Sun, 06 Nov 1994 08:49:37 GMT"},
    ],
)
def test_h87_write_conditions_that_are_none(headers: dict[str, str]) -> None:
    refused(NOT_IMPLEMENTED, "PUT", "/bucket/k", {**CL, **headers})


@pytest.mark.parametrize(
    ("headers", "row"),
    [
        ({"x-amz-object-lock-mode": "COMPLIANCE"}, INVALID_ARGUMENT),
        ({"x-amz-object-lock-retain-until-date": "2030-01-01T00:00:00Z"}, INVALID_ARGUMENT),
        ({"x-amz-object-lock-legal-hold": "off"}, INVALID_ARGUMENT),
        ({"x-amz-object-lock-legal-hold": "ON"}, INVALID_REQUEST),
        ({"x-amz-tagging": "aws:a=b"}, INVALID_TAG),
        ({"x-amz-website-redirect-location": "/"}, NOT_IMPLEMENTED),
        ({"x-amz-grant-read": "id=1"}, INVALID_ARGUMENT),
        ({"x-amz-acl": "aws-exec-read"}, NOT_IMPLEMENTED),
        ({"x-amz-acl": ""}, INVALID_ARGUMENT),
        ({"x-amz-storage-class": "GLACIER"}, INVALID_STORAGE_CLASS),
        ({"x-amz-request-payer": "requester"}, NOT_IMPLEMENTED),
        ({"x-amz-source-expected-bucket-owner": "1"}, NOT_IMPLEMENTED),
        ({"x-amz-write-offset-bytes": "5"}, NOT_IMPLEMENTED),
    ],
)
def test_h46_what_is_not_done_is_never_silently_ignored(headers: dict[str, str], row: ErrorRow) -> None:
    refused(row, "PUT", "/bucket/k", {**CL, **headers})
    name, value = next(iter(headers.items()))
    refused(row, "PUT", f"/bucket/k?{name}={value}", CL)


@pytest.mark.parametrize(
    "headers",
    [
        {"x-amz-tagging": ""},
        {"x-amz-user-agent": "aws-sdk-js"},
        {"x-amz-api-version": "2006-03-01"},
        {"x-amzn-trace-id": "1"},
    ],
)
def test_what_asks_for_nothing_passes(headers: dict[str, str]) -> None:
    assert put({**CL, **headers}) == put()


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_encryption_headers_are_for_writes(method: str) -> None:
    refused(INVALID_ARGUMENT, method, "/bucket/k", {"x-amz-server-side-encryption": "AES256"})


def test_a_get_with_everything() -> None:
    target = "/bucket/k?versionId=null&response-content-type=text%2Fplain&response-expires=x"
    date = "Sun, 06 Nov 1994 08:49:37 GMT"
    found = read(
        "GET",
        target,
        {"Range": "bytes=1-2", "If-Match": '"a"', "If-Modified-Since": date, "x-amz-checksum-mode": "enabled"},
    )
    assert isinstance(found, GetObjectInput)
    assert (found.bucket, found.object_key, found.version_id) == ("bucket", b"k", "null")
    assert found.range == RangeRequest(1, 2)
    assert found.checksum_mode
    assert found.conditions.if_match == '"a"'
    assert found.conditions.if_modified_since is not None
    assert found.response_overrides == {"content-type": "text/plain", "expires": "x"}
    assert read("HEAD", target).response_overrides == found.response_overrides


def test_bad_dates_are_ignored_and_lists_of_etags_joined() -> None:
    found = read("GET", "/bucket/k", [("If-None-Match", '"a"'), ("If-None-Match", '"b"'), ("If-Modified-Since", "x")])
    assert found.conditions == ReadConditions(if_none_match='"a","b"')


@pytest.mark.parametrize("headers", [[("Range", "bytes=5-1")], [("Range", "bytes=0-1"), ("Range", "bytes=2-3")]])
def test_h82_bad_ranges_are_ignored(headers: list[tuple[str, str]]) -> None:
    assert read("GET", "/bucket/k", headers).range is None


def test_reads_refused() -> None:
    refused(INVALID_REQUEST, "GET", "/bucket/k?partNumber=1", {"Range": "bytes=0-1"})
    refused(INVALID_ARGUMENT, "GET", "/bucket/k", {"x-amz-checksum-mode": "on"})
    for wrong in ("", "x", "NULL", ID[1:], ID + "0", ID.upper()):
        refused(INVALID_ARGUMENT, "GET", f"/bucket/k?versionId={wrong}")
    assert read("GET", "/bucket/k?partNumber=10000").part_number == 10000


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("text", ["0", "-1", "10001", "abc", "", "1.5", "%2B1", "9" * 5000, "%D9%A3"])
def test_h69_part_numbers_of_reads(method: str, text: str) -> None:
    refused(INVALID_ARGUMENT, method, f"/bucket/k?partNumber={text}")


@pytest.mark.parametrize("value", ["a%0d%0aSet-Cookie:x", "a%0ab", "a%0d", "%7f", "%01", "%E2%82%AC"])
def test_h23_overrides_never_end_a_header(value: str) -> None:
    refused(INVALID_ARGUMENT, "GET", f"/bucket/k?response-content-disposition={value}")


def test_h23_overrides_can_be_seen_before_the_parser_runs() -> None:
    assert response_overrides(request("GET", "/bucket/k?response-expires=1")) == {"expires": "1"}
    assert not response_overrides(request("GET", "/bucket/k?versionId=1"))


def test_delete_and_tagging() -> None:
    assert read("DELETE", f"/bucket/k?versionId={ID}", {"If-Match": '"a"'}) == DeleteObjectInput(
        "bucket", b"k", ID, WriteConditions(if_match="a")
    )
    bypass = read("DELETE", "/bucket/k", {"x-amz-bypass-governance-retention": "TRUE"})
    assert bypass == DeleteObjectInput("bucket", b"k", bypass_governance=True)
    refused(INVALID_ARGUMENT, "DELETE", "/bucket/k", {"x-amz-bypass-governance-retention": "yes"})
    assert read("GET", f"/bucket/k?tagging&versionId={ID}") == VersionInput("bucket", b"k", ID)
    refused(NOT_IMPLEMENTED, "DELETE", "/bucket/k", {"If-None-Match": "*"})
    refused(NOT_IMPLEMENTED, "DELETE", "/bucket/k", {"x-amz-if-match-size": "1"})
    refused(NOT_IMPLEMENTED, "DELETE", "/bucket/k", {"x-amz-mfa": "1 2"})


def delete(*objects: str, quiet: str = "") -> bytes:
    return f"<Delete>{''.join(f'<Object>{one}</Object>' for one in objects)}{quiet}</Delete>".encode()


MD5 = {"Content-MD5": EMPTY_MD5}


def test_delete_objects() -> None:
    document = delete(
        "<Key>a</Key><VersionId>v</VersionId>", '<Key>]]&gt;&amp;😀</Key><ETag>"e"</ETag>', "<Key>a</Key>"
    )
    found = read("POST", "/bucket?delete", MD5, document)
    assert found.objects == (
        ObjectIdentifier(b"a", "v"),
        ObjectIdentifier("]]>&😀".encode(), None, "e"),
        ObjectIdentifier(b"a"),
    )
    assert not found.quiet


@pytest.mark.parametrize(("text", "quiet"), [("true", True), ("false", False), ("", False), (" TRUE ", True)])
def test_quiet(text: str, quiet: bool) -> None:
    document = delete("<Key>a</Key>", quiet=f"<Quiet>{text}</Quiet>")
    assert read("POST", "/bucket?delete", {"x-amz-checksum-crc32": "AAAAAA=="}, document).quiet is quiet


@pytest.mark.parametrize(
    ("row", "document"),
    [
        (MALFORMED_XML, b""),
        (MALFORMED_XML, delete()),
        (MALFORMED_XML, delete("<Key></Key>")),
        (MALFORMED_XML, delete("")),
        (MALFORMED_XML, delete("<Key>a</Key>", quiet="<Quiet>maybe</Quiet>")),
        (NOT_IMPLEMENTED, delete("<Key>a</Key><Size>1</Size>")),
        (NOT_IMPLEMENTED, delete("<Key>a</Key><LastModifiedTime>x</LastModifiedTime>")),
        (BAD_REQUEST, delete("<Key>../x</Key>")),
        (KEY_TOO_LONG, delete(f"<Key>{'a' * 1025}</Key>")),
        (MALFORMED_XML, delete(*["<Key>a</Key>"] * 1001)),
    ],
)
def test_h67_delete_objects_refused(row: ErrorRow, document: bytes) -> None:
    refused(row, "POST", "/bucket?delete", MD5, document)


def test_h67_delete_objects_needs_a_digest_and_takes_1000() -> None:
    refused(INVALID_REQUEST, "POST", "/bucket?delete", {}, delete("<Key>a</Key>"))
    assert len(read("POST", "/bucket?delete", MD5, delete(*["<Key>a</Key>"] * 1000)).objects) == 1000
    assert read("POST", "/bucket?delete", STREAMING, delete("<Key>a</Key>")).objects


def test_what_is_declared_of_documents() -> None:
    sent = request("POST", "/bucket?delete", {**MD5, "Content-Length": "7", "x-amz-checksum-crc32": "AAAAAA=="})
    assert document_expectation(sent, "DeleteObjects") == PayloadExpectation(
        7, hashlib.md5(b"").digest(), algorithm=ChecksumAlgorithm.CRC32, checksum="AAAAAA=="
    )
    assert document_expectation(request("PUT", "/bucket"), "CreateBucket") == PayloadExpectation()
    streamed = request("POST", "/bucket?delete", STREAMING)
    assert document_expectation(streamed, "DeleteObjects").trailer == "x-amz-checksum-crc32"
    completing = request("POST", "/bucket/k?uploadId=u", {"x-amz-checksum-crc32": "AAAAAA==-2", **CL})
    assert document_expectation(completing, "CompleteMultipartUpload") == PayloadExpectation(5)


def test_h65_documents_that_declare_too_much() -> None:
    with pytest.raises(S3Error) as caught:
        document_expectation(request("POST", "/bucket?delete", {"Content-Length": "4194305"}), "DeleteObjects")
    assert caught.value.row is MAX_MESSAGE_LENGTH_EXCEEDED


def test_a_broken_query_is_refused_before_all_else() -> None:
    refused(INVALID_URI, "PUT", "/bucket/k?a=%zz", CL)
