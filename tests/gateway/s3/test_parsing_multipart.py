import time

import pytest

from gateway.s3.errors import (
    INVALID_ARGUMENT,
    INVALID_PART_ORDER,
    INVALID_REQUEST,
    MALFORMED_XML,
    METADATA_TOO_LARGE,
    MISSING_CONTENT_LENGTH,
    NOT_IMPLEMENTED,
    ErrorRow,
)
from gateway.s3.types import (
    Checksum,
    ChecksumAlgorithm,
    ChecksumType,
    EncryptionRequest,
    ObjectHeaders,
    PayloadExpectation,
    WriteConditions,
)
from gateway.s3.upload_types import (
    AbortMultipartUploadInput,
    CompletedPart,
    CompleteMultipartUploadInput,
    CreateMultipartUploadInput,
    ListPartsInput,
    UploadPartInput,
)
from tests.gateway.s3.wire import read, refused

COMPLETE = "/bucket/k?uploadId=u"
CRC32 = ChecksumAlgorithm.CRC32


def test_create() -> None:
    assert read("POST", "/bucket/k?uploads") == CreateMultipartUploadInput("bucket", b"k")
    found = read(
        "POST",
        "/bucket/k?uploads",
        {
            "Content-Type": "a/b",
            "x-amz-meta-a": "1",
            "x-amz-server-side-encryption": "AES256",
            "x-amz-checksum-algorithm": "crc32",
            "x-amz-checksum-type": "FULL_OBJECT",
        },
    )
    assert found == CreateMultipartUploadInput(
        "bucket", b"k", ObjectHeaders("a/b"), {"a": "1"}, EncryptionRequest("AES256"), CRC32, ChecksumType.FULL_OBJECT
    )


@pytest.mark.parametrize(
    ("algorithm", "default"),
    [("CRC32", "COMPOSITE"), ("CRC32C", "COMPOSITE"), ("CRC64NVME", "FULL_OBJECT"), ("SHA256", "COMPOSITE")],
)
def test_default_checksum_types(algorithm: str, default: str) -> None:
    found = read("POST", "/bucket/k?uploads", {"x-amz-checksum-algorithm": algorithm})
    assert found.checksum_type == default


@pytest.mark.parametrize(
    ("row", "headers"),
    [
        (INVALID_REQUEST, {"x-amz-checksum-type": "COMPOSITE"}),
        (INVALID_REQUEST, {"x-amz-checksum-algorithm": "CRC64NVME", "x-amz-checksum-type": "COMPOSITE"}),
        (INVALID_REQUEST, {"x-amz-checksum-algorithm": "SHA1", "x-amz-checksum-type": "FULL_OBJECT"}),
        (INVALID_REQUEST, {"x-amz-checksum-algorithm": "CRC32", "x-amz-checksum-type": "HALF"}),
        (INVALID_REQUEST, {"x-amz-checksum-algorithm": "CRC16"}),
        (NOT_IMPLEMENTED, {"x-amz-checksum-algorithm": "XXHASH3"}),
        (METADATA_TOO_LARGE, {"x-amz-meta-a": "b" * 2048}),
        (INVALID_ARGUMENT, {"x-amz-object-lock-mode": "GOVERNANCE"}),
    ],
)
def test_create_refused(row: ErrorRow, headers: dict[str, str]) -> None:
    refused(row, "POST", "/bucket/k?uploads", headers)


def test_upload_part() -> None:
    found = read("PUT", "/bucket/k?uploadId=u&partNumber=10000", {"Content-Length": "5"})
    assert found == UploadPartInput("bucket", b"k", "u", 10000, PayloadExpectation(5))
    refused(MISSING_CONTENT_LENGTH, "PUT", "/bucket/k?uploadId=u&partNumber=1")


@pytest.mark.parametrize("text", ["0", "-1", "10001", "abc", "", "1.5", "%2B1", "9" * 5000])
def test_h69_part_numbers(text: str) -> None:
    refused(INVALID_ARGUMENT, "PUT", f"/bucket/k?uploadId=u&partNumber={text}", {"Content-Length": "5"})
    headers = {"x-amz-copy-source": "source/k"}
    refused(INVALID_ARGUMENT, "PUT", f"/bucket/k?uploadId=u&partNumber={text}", headers)


def test_h69_a_part_needs_a_number() -> None:
    refused(INVALID_ARGUMENT, "PUT", "/bucket/k?uploadId=u", {"Content-Length": "5"})


@pytest.mark.parametrize("upload_id", ["", "../", "a" * 10_000])
def test_h70_upload_ids_are_opaque(upload_id: str) -> None:
    assert read("DELETE", f"/bucket/k?uploadId={upload_id}") == AbortMultipartUploadInput("bucket", b"k", upload_id)


def test_list_parts() -> None:
    assert read("GET", "/bucket/k?uploadId=u") == ListPartsInput("bucket", b"k", "u")
    found = read("GET", "/bucket/k?uploadId=u&part-number-marker=7&max-parts=5000")
    assert found == ListPartsInput("bucket", b"k", "u", 7, 1000)
    for query in ("max-parts=-1", "max-parts=x", "part-number-marker=-1", "part-number-marker=x"):
        refused(INVALID_ARGUMENT, "GET", f"/bucket/k?uploadId=u&{query}")


def complete(*parts: str) -> bytes:
    inner = "".join(f"<Part>{part}</Part>" for part in parts)
    return f"<CompleteMultipartUpload>{inner}</CompleteMultipartUpload>".encode()


def part(number: object, etag: str = "e", extra: str = "") -> str:
    return f"<PartNumber>{number}</PartNumber><ETag>{etag}</ETag>{extra}"


def test_complete() -> None:
    sum_of_part = "<ChecksumCRC32>AAAAAA==</ChecksumCRC32>"
    document = complete(part(1, '"a"'), part(" 3 ", "b"), part(4, "&quot;c&quot;", sum_of_part))
    found = read("POST", COMPLETE, {"If-None-Match": "*"}, document)
    assert found == CompleteMultipartUploadInput(
        "bucket",
        b"k",
        "u",
        (CompletedPart(1, "a"), CompletedPart(3, "b"), CompletedPart(4, "c", Checksum(CRC32, "AAAAAA=="))),
        WriteConditions(if_none_match_any=True),
    )


@pytest.mark.parametrize(
    ("headers", "checksum", "checksum_type"),
    [
        (
            {"x-amz-checksum-crc32": "AAAAAA==-2", "x-amz-checksum-type": "COMPOSITE"},
            Checksum(CRC32, "AAAAAA==-2", ChecksumType.COMPOSITE),
            ChecksumType.COMPOSITE,
        ),
        ({"x-amz-checksum-crc32": "AAAAAA==-2"}, Checksum(CRC32, "AAAAAA==-2", ChecksumType.COMPOSITE), None),
        ({"x-amz-checksum-crc32": "AAAAAA=="}, Checksum(CRC32, "AAAAAA=="), None),
        ({"x-amz-checksum-type": "FULL_OBJECT"}, None, ChecksumType.FULL_OBJECT),
        (
            {"x-amz-trailer": "x-amz-checksum-crc32", "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER"},
            None,
            None,
        ),
    ],
)
def test_checksums_of_the_object(
    headers: dict[str, str], checksum: Checksum | None, checksum_type: ChecksumType | None
) -> None:
    found = read("POST", COMPLETE, {**headers, "x-amz-mp-object-size": "12"}, complete(part(1)))
    assert (found.checksum, found.checksum_type, found.object_size) == (checksum, checksum_type, 12)


@pytest.mark.parametrize(
    ("row", "document"),
    [
        (MALFORMED_XML, b""),
        (MALFORMED_XML, complete()),
        (MALFORMED_XML, complete("")),
        (MALFORMED_XML, complete("<PartNumber>1</PartNumber>")),
        (MALFORMED_XML, complete("<ETag>a</ETag>")),
        (MALFORMED_XML, complete(part("x"))),
        (MALFORMED_XML, complete(part(""))),
        (MALFORMED_XML, complete(part("9" * 5000))),
        (MALFORMED_XML, complete(part(1, extra="<Size>1</Size>"))),
        (INVALID_ARGUMENT, complete(part(0))),
        (INVALID_ARGUMENT, complete(part(-1))),
        (INVALID_ARGUMENT, complete(part(10001))),
        (INVALID_PART_ORDER, complete(part(2), part(1))),
        (INVALID_PART_ORDER, complete(part(1), part(1))),
        (INVALID_PART_ORDER, complete(part(1), part(3), part(2))),
        (INVALID_REQUEST, complete(part(1, extra="<ChecksumCRC32>x</ChecksumCRC32>"))),
        (
            INVALID_REQUEST,
            complete(part(1, extra="<ChecksumCRC32>AAAAAA==</ChecksumCRC32><ChecksumCRC32C>AAAAAA==</ChecksumCRC32C>")),
        ),
        (NOT_IMPLEMENTED, complete(part(1, extra="<ChecksumSHA512>x</ChecksumSHA512>"))),
    ],
)
def test_h71_complete_refused(row: ErrorRow, document: bytes) -> None:
    refused(row, "POST", COMPLETE, {}, document)


@pytest.mark.parametrize(
    ("row", "headers"),
    [
        (INVALID_ARGUMENT, {"x-amz-mp-object-size": "x"}),
        (INVALID_ARGUMENT, {"x-amz-mp-object-size": "-1"}),
        (INVALID_ARGUMENT, {"x-amz-mp-object-size": "9" * 5000}),
        (INVALID_REQUEST, {"x-amz-checksum-type": "HALF"}),
        (INVALID_REQUEST, {"x-amz-checksum-crc32": "x"}),
        (NOT_IMPLEMENTED, {"If-None-Match": '"a"'}),
    ],
)
def test_complete_headers_refused(row: ErrorRow, headers: dict[str, str]) -> None:
    refused(row, "POST", COMPLETE, headers, complete(part(1)))


def test_10_000_parts_are_taken_in_reasonable_time() -> None:
    document = complete(*(part(n, extra="<ChecksumCRC32>AAAAAA==</ChecksumCRC32>") for n in range(1, 10_001)))
    started = time.process_time()
    assert len(read("POST", COMPLETE, {}, document).parts) == 10_000
    assert time.process_time() - started < 5.0
    refused(MALFORMED_XML, "POST", COMPLETE, {}, complete(*[part(1)] * 20_000))
