"""What the parsers of several families share: numbers, flags, conditions, metadata, encryption, payloads.

Sources: the request parameters of each operation in the S3 API reference.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final

from gateway.s3.addressing import Address
from gateway.s3.checksums import declared_checksum, decode_content_md5, encode_checksum
from gateway.s3.errors import (
    ENTITY_TOO_LARGE,
    INVALID_ARGUMENT,
    INVALID_REQUEST,
    METADATA_TOO_LARGE,
    MISSING_CONTENT_LENGTH,
    NOT_IMPLEMENTED,
    S3Error,
)
from gateway.s3.headers import check_field_value, joined, parse_http_date, single, unquote_etag
from gateway.s3.query import HEADER_NAME, Query, effective_headers, parse_query
from gateway.s3.ranges import parse_range
from gateway.s3.request import Headers, Request
from gateway.s3.sigv4.chunked import decoded_content_length
from gateway.s3.types import (
    ChecksumAlgorithm,
    ObjectHeaders,
    PayloadExpectation,
    RangeRequest,
    ReadConditions,
    WriteConditions,
)

MAX_METADATA_BYTES: Final = 2048
MAX_PUT_BYTES: Final = 5 * 1024**3
"""AWS's limit for one PUT and for one part."""
MAX_PART_NUMBER: Final = 10_000
_META: Final = "x-amz-meta-"
_INT32: Final = 2**31 - 1
BYPASS_GOVERNANCE: Final = "x-amz-bypass-governance-retention"
_VERSION_ID: Final = re.compile(r"null|[0-9a-f]{32}")
_DIGITS: Final = re.compile(r"[0-9]{1,19}")
_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}")


def invalid(name: str, message: str) -> S3Error:
    """Make the error for an argument that is wrong."""
    return S3Error(INVALID_ARGUMENT, message, fields={"ArgumentName": name})


def bucket_of(address: Address) -> str:
    """Give the bucket of an address that was routed to an operation on buckets or objects."""
    assert address.bucket is not None, "routing knows the level"
    return address.bucket


def key_of(address: Address) -> bytes:
    """Give the key of an address that was routed to an operation on objects."""
    assert address.object_key is not None, "routing knows the level"
    return address.object_key


def number(query: Mapping[str, str], name: str, *, default: int, low: int = 0, high: int = _INT32) -> int:
    """Read a whole number from the query.

    Raises:
        S3Error: InvalidArgument where it is none, or outside low..high.
    """
    text = query.get(name)
    if text is None:
        return default
    value = int(text) if _DIGITS.fullmatch(text) else -1
    if not low <= value <= high:
        raise invalid(name, f"Argument {name} must be an integer between {low} and {high}")
    return value


def limit(query: Query, name: str, most: int = 1000) -> int:
    """Read how many entries a page may have; more than `most` means `most`.

    Raises:
        S3Error: as `number`.
    """
    return min(number(query, name, default=most), most)


def part_number(query: Query) -> int:
    """Read the number of a part that is written.

    Raises:
        S3Error: InvalidArgument where it is missing or not 1..10000.
    """
    if "partNumber" not in query:
        raise invalid("partNumber", "This operation needs a part number.")
    return number(query, "partNumber", default=0, low=1, high=MAX_PART_NUMBER)


def version_id(query: Query) -> str | None:
    """Read the version that is meant.

    Raises:
        S3Error: InvalidArgument where it is empty, or none that was ever given.
    """
    text = query.get("versionId")
    if text == "":
        raise invalid("versionId", "Version id cannot be the empty string")
    return None if text is None else check_version_id(text, "versionId")


def check_version_id(text: str, name: str) -> str:
    """Give back the id of a version: `null`, or the hexadecimal form of 16 bytes.

    Raises:
        S3Error: InvalidArgument for anything else.
    """
    if not _VERSION_ID.fullmatch(text):
        raise invalid(name, "Invalid version id specified")
    return text


EXPECTED_OWNER: Final = "x-amz-expected-bucket-owner"


def expected_owner(request: Request) -> str | None:
    """Canonical id of the account that must own the bucket; None where the request does not care.

    Raises:
        S3Error: InvalidArgument where it is sent twice.
    """
    return single(effective_headers(request), EXPECTED_OWNER)


def bypass_governance(headers: Headers) -> bool:
    """Read x-amz-bypass-governance-retention.

    Raises:
        S3Error: InvalidArgument where it is neither true nor false.
    """
    return flag(single(headers, BYPASS_GOVERNANCE), BYPASS_GOVERNANCE)


def url_encoding(query: Query) -> bool:
    """Tell whether names shall be url-encoded in the answer.

    Raises:
        S3Error: InvalidArgument for any encoding but `url`.
    """
    text = query.get("encoding-type")
    if text not in {None, "url"}:
        raise invalid("encoding-type", "Invalid Encoding Method specified in Request")
    return text is not None


def flag(text: str | None, name: str) -> bool:
    """Read `true` or `false`; absent means false.

    Raises:
        S3Error: InvalidArgument.
    """
    spelling = (text or "false").lower()
    if spelling not in {"true", "false"}:
        raise invalid(name, f"{name} must be true or false.")
    return spelling == "true"


def _date(headers: Headers, name: str, now: datetime) -> datetime | None:
    text = single(headers, name)
    return None if text is None else parse_http_date(text, now)


def read_conditions(headers: Headers, now: datetime, prefix: str = "") -> ReadConditions:
    """Read the four conditions of a read; those of a copy source with the prefix `x-amz-copy-source-`.

    A date that is none is ignored (RFC 9110 sections 13.1.3 and 13.1.4).

    Raises:
        S3Error: InvalidArgument where a date is sent twice.
    """
    return ReadConditions(
        if_match=joined(headers, prefix + "if-match"),
        if_none_match=joined(headers, prefix + "if-none-match"),
        if_modified_since=_date(headers, prefix + "if-modified-since", now),
        if_unmodified_since=_date(headers, prefix + "if-unmodified-since", now),
    )


def write_conditions(headers: Headers) -> WriteConditions:
    """Read the conditions of a write: one of `If-None-Match: *` and `If-Match: etag`.

    Raises:
        S3Error: NotImplemented for anything else that these two headers can say, as on AWS, and for conditions on
            dates, which would otherwise be skipped in silence; InvalidArgument where one is sent twice.
    """
    if_none_match, if_match = single(headers, "if-none-match"), single(headers, "if-match")
    wrong = (
        if_none_match not in {None, "*"}
        or (if_none_match is not None and if_match is not None)
        or "if-modified-since" in headers
        or "if-unmodified-since" in headers
    )
    if wrong:
        raise S3Error(NOT_IMPLEMENTED)
    if if_match is None:
        return WriteConditions(if_none_match_any=if_none_match is not None)
    etag = unquote_etag(if_match)
    if not etag or "," in etag or '"' in etag:
        raise S3Error(NOT_IMPLEMENTED)
    return WriteConditions(if_match=etag)


def metadata(headers: Headers) -> Mapping[str, str]:
    """Collect user metadata: names in lower case, repeats joined by a comma as AWS does.

    Raises:
        S3Error: MetadataTooLarge where names and values have more than 2 KiB; InvalidArgument for a name or a value
            that no answer could carry.
    """
    found: dict[str, str] = {}
    for wire_name, value in headers:
        if wire_name.startswith(_META):
            name = wire_name.removeprefix(_META)
            if not name:
                raise invalid(wire_name, "User metadata needs a name.")
            if not HEADER_NAME.fullmatch(name):
                # It comes back as a header's name: one with a line end in it would write headers of its own.
                raise invalid(wire_name, "The name of user metadata cannot stand for a header.")
            check_field_value(value, wire_name)
            found[name] = f"{found[name]},{value}" if name in found else value
    # One ISO-8859-1 character is one byte of the wire.
    size = sum(len(name) + len(value) for name, value in found.items())
    if size > MAX_METADATA_BYTES:
        raise S3Error(METADATA_TOO_LARGE, fields={"Size": str(size), "MaxSizeAllowed": str(MAX_METADATA_BYTES)})
    return MappingProxyType(found)


def object_headers(headers: Headers) -> ObjectHeaders:
    """Collect system metadata; `aws-chunked` is framing and goes.

    Raises:
        S3Error: InvalidArgument where a header is sent twice or no answer could carry it.
    """

    def one(name: str) -> str | None:
        return _sendable(single(headers, name), name)

    def listed(name: str) -> str | None:
        return _sendable(joined(headers, name), name)

    return ObjectHeaders(
        content_type=one("content-type") or None,
        cache_control=listed("cache-control"),
        content_disposition=one("content-disposition"),
        content_encoding=_stored_encoding(listed("content-encoding")),
        content_language=listed("content-language"),
        expires=one("expires"),
    )


def _sendable(value: str | None, name: str) -> str | None:
    return None if value is None else check_field_value(value, name)


def _stored_encoding(text: str | None) -> str | None:
    if text is None:
        return None
    kept = [coding.strip() for coding in text.split(",")]
    return ",".join(coding for coding in kept if coding and coding.lower() != "aws-chunked") or None


def sent_length(text: str | None) -> int | None:
    """Read a Content-Length.

    Raises:
        S3Error: InvalidArgument where it is no number.
    """
    if text is not None and not _DIGITS.fullmatch(text):
        raise invalid("content-length", "Content-Length must be a whole number.")
    return None if text is None else int(text)


def content_length(headers: Headers) -> int | None:
    """Find how many bytes of plaintext the body declares; None for a chunked body that does not say.

    Raises:
        S3Error: MissingContentLength where nothing tells the length; InvalidArgument where Content-Length is no
            number; EntityTooLarge beyond 5 GiB.
    """
    streaming = (headers.get("x-amz-content-sha256") or "").startswith("STREAMING-")
    decoded = decoded_content_length(headers)
    sent = sent_length(single(headers, "content-length"))
    if streaming and decoded is None:
        raise S3Error(MISSING_CONTENT_LENGTH, "A streaming body needs the header x-amz-decoded-content-length.")
    if sent is None and "transfer-encoding" not in headers:
        raise S3Error(MISSING_CONTENT_LENGTH)
    length = decoded if streaming or sent is None else sent
    if length is not None and length > MAX_PUT_BYTES:
        raise S3Error(ENTITY_TOO_LARGE, fields={"ProposedSize": str(length), "MaxSizeAllowed": str(MAX_PUT_BYTES)})
    return length


def payload(headers: Headers) -> PayloadExpectation:
    """Collect what a request says of its body.

    Raises:
        S3Error: as `content_length` and `digests`.
    """
    return digests(headers, content_length(headers))


def digests(headers: Headers, length: int | None) -> PayloadExpectation:
    """Collect the digests that a request declares, for a body of `length` bytes.

    Raises:
        S3Error: InvalidDigest for a bad Content-MD5; InvalidRequest or NotImplemented for a bad checksum;
            InvalidArgument where Content-MD5 is sent twice.
    """
    content_md5 = single(headers, "content-md5")
    content_sha256 = headers.get("x-amz-content-sha256") or ""
    declared = declared_checksum(headers)
    return PayloadExpectation(
        content_length=length,
        content_md5=None if content_md5 is None else decode_content_md5(content_md5),
        content_sha256=bytes.fromhex(content_sha256) if _SHA256.fullmatch(content_sha256) else None,
        algorithm=None if declared is None else ChecksumAlgorithm(declared.algorithm.name),
        checksum=None if declared is None or declared.value is None else encode_checksum(declared.value),
        trailer=declared.algorithm.header if declared is not None and declared.in_trailer else None,
    )


def require_digest(headers: Headers, document: bytes) -> None:
    """See that a digest of the document is declared, which who read it has compared.

    Raises:
        S3Error: InvalidRequest where there is none; as `digests`.
    """
    expected = digests(headers, len(document))
    if expected.content_md5 is None and expected.algorithm is None:
        raise S3Error(INVALID_REQUEST, "Missing required header for this request: Content-MD5 OR x-amz-checksum-*")


def response_overrides(request: Request) -> Mapping[str, str]:
    """Collect response-* of the query as response header name (lower case) -> value; only a signed query may have some.

    Raises:
        S3Error: InvalidArgument for a value that could end the header line, or that is not ISO-8859-1.
    """
    prefix = "response-"
    return MappingProxyType(
        {
            name.removeprefix(prefix): check_field_value(value, name)
            for name, value in parse_query(request).items()
            if name.startswith(prefix)
        }
    )


def range_request(headers: Headers) -> RangeRequest | None:
    """Read the Range header; None where it is absent, doubled or malformed, since a bad range is ignored."""
    values = headers.get_all("range")
    return parse_range(values[0]) if len(values) == 1 else None
