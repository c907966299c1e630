from datetime import UTC, datetime

import pytest

from gateway.s3.errors import INVALID_ARGUMENT, INVALID_REQUEST, NOT_IMPLEMENTED, ErrorRow
from gateway.s3.types import (
    ChecksumAlgorithm,
    CopyObjectInput,
    CopySource,
    EncryptionRequest,
    ObjectHeaders,
    ReadConditions,
    WriteConditions,
)
from gateway.s3.upload_types import UploadPartCopyInput
from tests.gateway.s3.wire import read, refused

ID = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("text", "object_key", "version_id"),
    [
        ("source/k", b"k", None),
        ("/source/k", b"k", None),
        ("source%2Fk", b"k", None),
        ("source//k", b"/k", None),
        ("source/a/b%20c+d", b"a/b c+d", None),
        ("source/%C3%A9", "é".encode(), None),
        ("source/k?versionId=null", b"k", "null"),
        (f"source/k?versionId={ID}", b"k", ID),
        ("source/k%3FversionId=x", b"k?versionId=x", None),
        (f"source/k%3Fa?versionId={ID}", b"k?a", ID),
        ("source/%252e%252e", b"%2e%2e", None),
        ("source/" + "a" * 1024, b"a" * 1024, None),
    ],
)
def test_h92_copy_sources(text: str, object_key: bytes, version_id: str | None) -> None:
    expected = CopySource("source", object_key, version_id)
    assert read("PUT", "/bucket/k", {"x-amz-copy-source": text}).source == expected
    part = read("PUT", "/bucket/k?uploadId=u&partNumber=1", {"x-amz-copy-source": text})
    assert part.source == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "/", "source", "source/", "/source/", "%ZZ", "source/%ZZ", "source/%00", "source/%FF", "192.168.1.1/x"),
        *("../victim/k", "source/..%2fvictim/k", "source/../victim/k", "source/%2e%2e/k", "http://169.254.169.254/"),
        *(
            "//source/k",
            "So_urce/k",
            "source/k?",
            "source/k?versionId=",
            "source/k?versionid=x",
            "source/k?versionId=x",
        ),
        *("source/k?versionId=a&versionId=b", "source/k?versionId=%0d", "source/" + "a" * 1025, "source/é"),
        "arn:aws:s3:us-east-1:123456789012:accesspoint/a/object/k",
    ],
)
def test_h91_copy_sources_refused(text: str) -> None:
    refused(INVALID_ARGUMENT, "PUT", "/bucket/k", {"x-amz-copy-source": text})
    refused(INVALID_ARGUMENT, "PUT", "/bucket/k?uploadId=u&partNumber=1", {"x-amz-copy-source": text})


def test_two_copy_sources_are_refused() -> None:
    source = ("x-amz-copy-source", "source/k")
    refused(INVALID_ARGUMENT, "PUT", "/bucket/k", [source, source])


def test_copy_without_directives_takes_no_metadata() -> None:
    found = read("PUT", "/bucket/k", {"x-amz-copy-source": "source/k", "x-amz-meta-a": "1", "Content-Type": "a/b"})
    assert found == CopyObjectInput("bucket", b"k", CopySource("source", b"k"))


def test_copy_with_everything() -> None:
    found = read(
        "PUT",
        "/bucket/k",
        {
            "x-amz-copy-source": "source/k",
            "x-amz-metadata-directive": "REPLACE",
            "x-amz-tagging-directive": "COPY",
            "x-amz-meta-a": "1",
            "Content-Type": "a/b",
            "If-None-Match": "*",
            "x-amz-server-side-encryption": "AES256",
            "x-amz-checksum-algorithm": "SHA256",
            "x-amz-copy-source-if-match": '"a"',
            "x-amz-copy-source-if-none-match": "b",
            "x-amz-copy-source-if-modified-since": "Sun, 06 Nov 1994 08:49:37 GMT",
            "x-amz-copy-source-if-unmodified-since": "nonsense",
        },
    )
    conditions = ReadConditions('"a"', "b", datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC))
    assert found == CopyObjectInput(
        "bucket",
        b"k",
        CopySource("source", b"k", None, conditions),
        replace_metadata=True,
        headers=ObjectHeaders("a/b"),
        metadata={"a": "1"},
        conditions=WriteConditions(if_none_match_any=True),
        encryption=EncryptionRequest("AES256"),
        checksum_algorithm=ChecksumAlgorithm.SHA256,
    )


@pytest.mark.parametrize(
    ("row", "headers"),
    [
        (INVALID_ARGUMENT, {"x-amz-metadata-directive": "MERGE"}),
        (INVALID_ARGUMENT, {"x-amz-tagging-directive": "MERGE"}),
        (INVALID_ARGUMENT, {"x-amz-tagging-directive": "REPLACE", "x-amz-tagging": "a=1&a=2"}),
        (INVALID_ARGUMENT, {"x-amz-object-lock-mode": "GOVERNANCE"}),
        (INVALID_REQUEST, {"x-amz-checksum-algorithm": "CRC16"}),
        (NOT_IMPLEMENTED, {"x-amz-checksum-algorithm": "SHA512"}),
    ],
)
def test_copies_refused(row: ErrorRow, headers: dict[str, str]) -> None:
    refused(row, "PUT", "/bucket/k", {"x-amz-copy-source": "source/k", **headers})


def test_h94_onto_itself_unchanged() -> None:
    refused(INVALID_REQUEST, "PUT", "/bucket/k", {"x-amz-copy-source": "/bucket/%6B"})


@pytest.mark.parametrize(
    "headers",
    [
        {"x-amz-copy-source": "bucket/k", "x-amz-metadata-directive": "REPLACE"},
        {"x-amz-copy-source": "bucket/k", "x-amz-server-side-encryption": "AES256"},
        {"x-amz-copy-source": "bucket/k", "x-amz-checksum-algorithm": "CRC32"},
        {"x-amz-copy-source": f"bucket/k?versionId={ID}"},
        {"x-amz-copy-source": "bucket/other"},
        {"x-amz-copy-source": "other/k"},
    ],
)
def test_copies_that_change_something(headers: dict[str, str]) -> None:
    assert read("PUT", "/bucket/k", headers).bucket == "bucket"


def test_upload_part_copy() -> None:
    target = "/bucket/k?uploadId=u&partNumber=3"
    headers = {"x-amz-copy-source": "source/k", "x-amz-copy-source-range": "bytes=0-9"}
    assert read("PUT", target, headers) == UploadPartCopyInput("bucket", b"k", "u", 3, CopySource("source", b"k"), 0, 9)
    whole = read("PUT", target, {"x-amz-copy-source": "source/k"})
    assert (whole.first_byte, whole.last_byte) == (None, None)


@pytest.mark.parametrize("text", ["bytes=0-", "bytes=-1", "bytes=9-0", "0-9", "", "bytes=0-1,2-3"])
def test_h96_part_ranges_are_strict(text: str) -> None:
    headers = {"x-amz-copy-source": "source/k", "x-amz-copy-source-range": text}
    refused(INVALID_ARGUMENT, "PUT", "/bucket/k?uploadId=u&partNumber=3", headers)
