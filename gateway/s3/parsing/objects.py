"""Requests about one object, and the deletion of many.

Sources: AWS "PutObject", "GetObject", "HeadObject", "DeleteObject", "DeleteObjects".
"""

from typing import Final

from gateway.s3 import xml
from gateway.s3.addressing import Address, check_key
from gateway.s3.checksums import declared_checksum
from gateway.s3.errors import INVALID_REQUEST, MALFORMED_XML, NOT_IMPLEMENTED, S3Error
from gateway.s3.headers import single, unquote_etag
from gateway.s3.parsing import encryption, fields
from gateway.s3.parsing.access import ACL_HEADERS, acl_request
from gateway.s3.parsing.fields import bucket_of, flag, key_of
from gateway.s3.parsing.locks import lock_headers
from gateway.s3.parsing.start import begin
from gateway.s3.parsing.tags import header_tags
from gateway.s3.request import Headers, Request
from gateway.s3.types import (
    DeleteObjectInput,
    DeleteObjectsInput,
    GetObjectInput,
    LockState,
    ObjectIdentifier,
    PutObjectInput,
)

MAX_DELETES: Final = 1000


def parse_put_object(request: Request, address: Address, document: bytes) -> PutObjectInput:  # noqa: ARG001 - one signature for all
    """Read PutObject; its data come as a stream.

    Raises:
        S3Error: what `begin` and the readers of `fields` raise.
    """
    headers = begin(request, encryption.WRITE | ACL_HEADERS).headers
    return PutObjectInput(
        bucket=bucket_of(address),
        object_key=key_of(address),
        payload=fields.payload(headers),
        headers=fields.object_headers(headers),
        metadata=fields.metadata(headers),
        conditions=fields.write_conditions(headers),
        encryption=encryption.encryption_request(headers),
        acl=acl_request(headers),
        tags=header_tags(headers),
        lock=_lock_of_put(headers),
    )


def _lock_of_put(headers: Headers) -> LockState:
    """AWS: a body that is to be locked comes with a digest of its own."""
    lock = lock_headers(headers)
    if lock != LockState() and "content-md5" not in headers and declared_checksum(headers) is None:
        message = (
            "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters"
        )
        raise S3Error(INVALID_REQUEST, message)
    return lock


def _parse_read(request: Request, address: Address, document: bytes) -> GetObjectInput:  # noqa: ARG001 - one signature for all
    parsed = begin(request, encryption.CUSTOMER)
    headers, query = parsed.headers, parsed.query
    wanted = fields.range_request(headers)
    number = fields.part_number(query) if "partNumber" in query else None
    if number is not None and "range" in headers:
        raise S3Error(INVALID_REQUEST, "Cannot specify both Range header and partNumber query parameter")
    return GetObjectInput(
        bucket=bucket_of(address),
        object_key=key_of(address),
        version_id=fields.version_id(query),
        range=wanted,
        if_range=single(headers, "if-range"),
        part_number=number,
        conditions=fields.read_conditions(headers, request.received_at),
        checksum_mode=_checksum_mode(single(headers, "x-amz-checksum-mode")),
        customer_key=encryption.customer_key(headers),
        response_overrides=fields.response_overrides(request),
    )


def _checksum_mode(text: str | None) -> bool:
    # aws-sdk-cpp writes `enabled`.
    if text is not None and text.upper() != "ENABLED":
        raise fields.invalid("x-amz-checksum-mode", "Value for x-amz-checksum-mode header is invalid.")
    return text is not None


parse_get_object = _parse_read
parse_head_object = _parse_read


def parse_delete_object(request: Request, address: Address, document: bytes) -> DeleteObjectInput:  # noqa: ARG001 - one signature for all
    """Read DeleteObject; of the conditions, only If-Match has a meaning here.

    Raises:
        S3Error: NotImplemented for If-None-Match; what `begin` and the readers of `fields` raise.
    """
    parsed = begin(request)
    conditions = fields.write_conditions(parsed.headers)
    if conditions.if_none_match_any:
        raise S3Error(NOT_IMPLEMENTED)
    return DeleteObjectInput(
        bucket_of(address),
        key_of(address),
        fields.version_id(parsed.query),
        conditions,
        fields.bypass_governance(parsed.headers),
    )


def parse_delete_objects(request: Request, address: Address, document: bytes) -> DeleteObjectsInput:
    """Read DeleteObjects. The document's digests are compared by who read it (`document_expectation`).

    Raises:
        S3Error: InvalidRequest where no digest is declared; MalformedXML for the document, for none and for more than
            1000 objects; NotImplemented for conditions on size and time; what `check_key` and `begin` raise.
    """
    headers = begin(request).headers
    fields.require_digest(headers, document)
    root = xml.parse(document, "Delete", max_elements=6 * MAX_DELETES + 16)
    parts = root.parts(once=("Quiet",), many=("Object",))
    if not 1 <= len(parts.many) <= MAX_DELETES:
        raise S3Error(MALFORMED_XML)
    quiet = (parts.text("Quiet") or "").strip()
    if quiet.lower() not in {"", "true", "false"}:
        raise S3Error(MALFORMED_XML)
    return DeleteObjectsInput(
        bucket=bucket_of(address),
        objects=tuple(_identifier(element) for element in parts.many),
        quiet=flag(quiet or None, "Quiet"),
        bypass_governance=fields.bypass_governance(headers),
    )


def _identifier(element: xml.Element) -> ObjectIdentifier:
    parts = element.parts(once=("Key", "VersionId", "ETag", "LastModifiedTime", "Size"))
    if "LastModifiedTime" in parts.once or "Size" in parts.once:
        raise S3Error(NOT_IMPLEMENTED)
    object_key = parts.required("Key").encode()
    if not object_key:
        raise S3Error(MALFORMED_XML)
    check_key(object_key)
    etag = parts.text("ETag")
    return ObjectIdentifier(object_key, parts.text("VersionId"), None if etag is None else unquote_etag(etag))
