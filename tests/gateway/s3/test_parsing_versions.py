"""Requests about versions, locks, tags and attributes: what is refused, and what only hand-written requests say."""

import base64
import hashlib
from datetime import UTC, datetime

import pytest

from gateway.s3.errors import (
    BAD_REQUEST,
    ILLEGAL_VERSIONING_CONFIGURATION,
    INVALID_ARGUMENT,
    INVALID_REQUEST,
    INVALID_TAG,
    MALFORMED_XML,
    NOT_IMPLEMENTED,
    ErrorRow,
)
from gateway.s3.types import LockState
from gateway.s3.version_types import ListObjectVersionsInput
from tests.gateway.s3.wire import read, refused

ID = "0123456789abcdef" * 2
MD5 = base64.b64encode(hashlib.md5(b"").digest()).decode()
PUT = {"Content-Length": "0", "Content-MD5": MD5}
SOON = "2030-01-02T03:04:05Z"


@pytest.mark.parametrize(
    ("row", "content"),
    [
        (ILLEGAL_VERSIONING_CONFIGURATION, ""),
        (ILLEGAL_VERSIONING_CONFIGURATION, "<MfaDelete>Disabled</MfaDelete>"),
        (NOT_IMPLEMENTED, "<Status>Enabled</Status><MfaDelete>Enabled</MfaDelete>"),
        (MALFORMED_XML, "<Status>enabled</Status>"),
        (MALFORMED_XML, "<Status></Status>"),
        (MALFORMED_XML, "<Status>Enabled</Status><MfaDelete>Perhaps</MfaDelete>"),
        (MALFORMED_XML, "<Status>Enabled</Status><Status>Enabled</Status>"),
        (MALFORMED_XML, "<Other/>"),
    ],
)
def test_versioning_refused(row: ErrorRow, content: str) -> None:
    document = f"<VersioningConfiguration>{content}</VersioningConfiguration>".encode()
    refused(row, "PUT", "/bucket?versioning", {}, document)


def test_list_versions() -> None:
    assert read("GET", "/bucket?versions") == ListObjectVersionsInput("bucket")
    assert read("GET", f"/bucket?versions&key-marker=k&version-id-marker={ID}").version_id_marker == ID
    for query in (
        "version-id-marker=null",
        "key-marker=&version-id-marker=null",
        "key-marker=k&version-id-marker=",
        "key-marker=k&version-id-marker=x",
        "max-keys=-1",
        "encoding-type=base64",
    ):
        refused(INVALID_ARGUMENT, "GET", f"/bucket?versions&{query}")


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        (MALFORMED_XML, "<Mode>GOVERNANCE</Mode>"),
        (MALFORMED_XML, "<Mode>GOVERNANCE</Mode><Days>1</Days><Years>1</Years>"),
        (MALFORMED_XML, "<Mode>governance</Mode><Days>1</Days>"),
        (MALFORMED_XML, "<Days>1</Days>"),
        (MALFORMED_XML, "<Mode>GOVERNANCE</Mode><Days>one</Days>"),
        (INVALID_ARGUMENT, "<Mode>GOVERNANCE</Mode><Days>0</Days>"),
        (INVALID_ARGUMENT, "<Mode>GOVERNANCE</Mode><Years>-1</Years>"),
        (INVALID_ARGUMENT, "<Mode>GOVERNANCE</Mode><Days>36501</Days>"),
        (INVALID_ARGUMENT, "<Mode>GOVERNANCE</Mode><Years>101</Years>"),
    ],
)
def test_default_retention_refused(row: ErrorRow, rule: str) -> None:
    start = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>"
    end = "</ObjectLockConfiguration>"
    document = f"{start}<Rule><DefaultRetention>{rule}</DefaultRetention></Rule>{end}"
    refused(row, "PUT", "/bucket?object-lock", {}, document.encode())
    refused(MALFORMED_XML, "PUT", "/bucket?object-lock", {}, f"{start}<Rule></Rule>{end}".encode())
    refused(MALFORMED_XML, "PUT", "/bucket?object-lock", {}, document.replace("Enabled<", "Disabled<").encode())


@pytest.mark.parametrize(
    ("row", "content"),
    [
        (MALFORMED_XML, "<Mode>GOVERNANCE</Mode>"),
        (MALFORMED_XML, f"<RetainUntilDate>{SOON}</RetainUntilDate>"),
        (MALFORMED_XML, f"<Mode>governance</Mode><RetainUntilDate>{SOON}</RetainUntilDate>"),
        (INVALID_ARGUMENT, "<Mode>GOVERNANCE</Mode><RetainUntilDate>tomorrow</RetainUntilDate>"),
        (INVALID_ARGUMENT, "<Mode>GOVERNANCE</Mode><RetainUntilDate>2030-01-02T03:04:05</RetainUntilDate>"),
        (INVALID_ARGUMENT, "<Mode>GOVERNANCE</Mode><RetainUntilDate>2030-13-02T03:04:05Z</RetainUntilDate>"),
    ],
)
def test_retention_refused(row: ErrorRow, content: str) -> None:
    refused(row, "PUT", "/bucket/k?retention", {}, f"<Retention>{content}</Retention>".encode())


@pytest.mark.parametrize("content", ["", "<Status>on</Status>", "<Status>ON</Status><Status>ON</Status>"])
def test_legal_hold_refused(content: str) -> None:
    refused(MALFORMED_XML, "PUT", "/bucket/k?legal-hold", {}, f"<LegalHold>{content}</LegalHold>".encode())


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        (SOON, datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2030-01-02T03:04:05.5Z", datetime(2030, 1, 2, 3, 4, 5, 500_000, tzinfo=UTC)),
        ("2030-01-02T03:04:05.123456789+02:00", datetime(2030, 1, 2, 1, 4, 5, 123_456, tzinfo=UTC)),
    ],
)
def test_times_of_locks(text: str, moment: datetime) -> None:
    headers = {"x-amz-object-lock-mode": "GOVERNANCE", "x-amz-object-lock-retain-until-date": text}
    assert read("PUT", "/bucket/k", {**PUT, **headers}).lock == LockState("GOVERNANCE", moment)


@pytest.mark.parametrize(
    ("row", "headers"),
    [
        (INVALID_ARGUMENT, {"x-amz-object-lock-mode": "governance", "x-amz-object-lock-retain-until-date": SOON}),
        (INVALID_ARGUMENT, {"x-amz-object-lock-mode": "GOVERNANCE", "x-amz-object-lock-retain-until-date": "soon"}),
        (
            INVALID_ARGUMENT,
            {
                "x-amz-object-lock-mode": "GOVERNANCE",
                "x-amz-object-lock-retain-until-date": "0001-01-01T00:00:00+14:00",
            },
        ),
        (INVALID_ARGUMENT, {"x-amz-object-lock-legal-hold": "YES"}),
    ],
)
def test_locks_of_puts_refused(row: ErrorRow, headers: dict[str, str]) -> None:
    refused(row, "PUT", "/bucket/k", {**PUT, **headers})


def test_a_lock_needs_a_digest_of_the_body() -> None:
    lock = {"x-amz-object-lock-legal-hold": "ON"}
    refused(INVALID_REQUEST, "PUT", "/bucket/k", {"Content-Length": "0", **lock})
    for digest in ({"Content-MD5": MD5}, {"x-amz-checksum-crc32": "AAAAAA=="}):
        assert read("PUT", "/bucket/k", {"Content-Length": "0", **digest, **lock}).lock == LockState(legal_hold=True)


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("", ()),
        ("a", (("a", ""),)),
        ("a=", (("a", ""),)),
        ("a=b=c&%C3%A9+1=x%20y", (("a", "b=c"), ("é 1", "x y"))),
        ("&".join(f"{number}=" for number in range(10)), tuple((str(number), "") for number in range(10))),
        ("a" * 128 + "=" + "%C3%A9" * 256, (("a" * 128, "é" * 256),)),
    ],
)
def test_tags_in_a_header(text: str, tags: tuple[tuple[str, str], ...]) -> None:
    assert read("PUT", "/bucket/k", {**PUT, "x-amz-tagging": text}).tags == tags


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (INVALID_ARGUMENT, "a=1&a=2"),
        (INVALID_ARGUMENT, "a=%FF"),
        (INVALID_ARGUMENT, "a=%2"),
        (INVALID_TAG, "=1"),
        (INVALID_TAG, "a=1&"),
        (INVALID_TAG, "a" * 129),
        (INVALID_TAG, "a=" + "b" * 257),
        (INVALID_TAG, "a=%3C"),
        (INVALID_TAG, "a%0A=b"),
        (INVALID_TAG, "AWS:a=b"),
        (BAD_REQUEST, "&".join(str(number) for number in range(11))),
        (BAD_REQUEST, "&".join(["%FF"] * 11)),  # counted before one of them is decoded
    ],
)
def test_tags_refused(row: ErrorRow, text: str) -> None:
    refused(row, "PUT", "/bucket/k", {**PUT, "x-amz-tagging": text})


def tagging(*tags: tuple[str, str]) -> bytes:
    written = "".join(f"<Tag><Key>{name}</Key><Value>{value}</Value></Tag>" for name, value in tags)
    return f"<Tagging><TagSet>{written}</TagSet></Tagging>".encode()


@pytest.mark.parametrize(("target", "most"), [("/bucket/k?tagging", 10), ("/bucket?tagging", 50)])
def test_documents_of_tags(target: str, most: int) -> None:
    many = [(str(number), "x") for number in range(most)]
    assert read("PUT", target, {}, tagging(*many)).tags == tuple(many)
    assert read("PUT", target, {}, tagging()).tags == ()
    refused(BAD_REQUEST, "PUT", target, {}, tagging(*many, ("more", "")))
    refused(INVALID_TAG, "PUT", target, {}, tagging(("a", "1"), ("a", "2")))
    refused(INVALID_TAG, "PUT", target, {}, tagging(("aws:a", "1")))
    for broken in (
        b"<Tagging/>",
        b"<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>",
        b"<Tagging><TagSet><Tag><Value>a</Value></Tag></TagSet></Tagging>",
        b"<Tagging><TagSet><Other/></TagSet></Tagging>",
    ):
        refused(MALFORMED_XML, "PUT", target, {}, broken)


def test_attributes_refused() -> None:
    target = "/bucket/k?attributes"
    for headers in (
        {},
        {"x-amz-object-attributes": "Etag"},
        {"x-amz-object-attributes": "ETag,"},
        {"x-amz-object-attributes": "ETag", "x-amz-max-parts": "x"},
        {"x-amz-object-attributes": "ETag", "x-amz-part-number-marker": "-1"},
    ):
        refused(INVALID_ARGUMENT, "GET", target, headers)
    found = read("GET", target, {"x-amz-object-attributes": "ETag, ObjectSize", "x-amz-max-parts": "5000"})
    assert (found.wanted, found.max_parts) == ({"ETag", "ObjectSize"}, 1000)
