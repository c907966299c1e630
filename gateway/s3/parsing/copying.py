"""Requests that copy: the source, its conditions and its range.

Sources: AWS "CopyObject", "UploadPartCopy". The source is decoded here once; whoever judges access to it and whoever
reads it use this one value.
"""

import re
from typing import Final

from gateway.s3.addressing import Address, check_bucket_name, check_key, decode_path
from gateway.s3.checksums import algorithm_named
from gateway.s3.errors import INVALID_ARGUMENT, INVALID_REQUEST, S3Error
from gateway.s3.headers import single
from gateway.s3.parsing import encryption, fields
from gateway.s3.parsing.access import ACL_HEADERS, acl_request
from gateway.s3.parsing.fields import bucket_of, key_of
from gateway.s3.parsing.locks import lock_headers
from gateway.s3.parsing.start import begin
from gateway.s3.parsing.tags import new_tags_of_copy
from gateway.s3.ranges import parse_copy_range
from gateway.s3.request import Headers, Request
from gateway.s3.routing import COPY_SOURCE
from gateway.s3.types import ChecksumAlgorithm, CopyObjectInput, CopySource, ObjectHeaders
from gateway.s3.upload_types import UploadPartCopyInput

_SOURCE_OWNER: Final = "x-amz-source-expected-bucket-owner"
_VERSION: Final = re.compile(r"versionId=([A-Za-z0-9._~-]+)")


def copy_source(request: Request, headers: Headers) -> CopySource:
    """Read x-amz-copy-source: `bucket/key`, percent-encoded, perhaps with `/` before and `?versionId=` behind.

    A `?` that belongs to the key is sent as `%3F`; the slash between bucket and key may be sent as `%2F`.

    Raises:
        S3Error: InvalidArgument for anything else.
    """
    text = single(headers, COPY_SOURCE) or ""
    path, question, query = text.removeprefix("/").partition("?")
    version = _VERSION.fullmatch(query)
    if question and version is None:
        raise _invalid_source()
    version_id = None if version is None else fields.check_version_id(version[1], COPY_SOURCE)
    try:
        bucket, _, object_key = decode_path(path.encode("latin-1")).partition(b"/")
        check_bucket_name(bucket.decode("utf-8"))
        check_key(object_key)
    except S3Error as error:
        raise _invalid_source() from error
    if not object_key:
        raise _invalid_source()
    return CopySource(
        bucket=bucket.decode("utf-8"),
        object_key=object_key,
        version_id=version_id,
        conditions=fields.read_conditions(headers, request.received_at, "x-amz-copy-source-"),
        customer_key=encryption.source_customer_key(headers),
        expected_owner=single(headers, _SOURCE_OWNER),
    )


def _invalid_source() -> S3Error:
    return S3Error(
        INVALID_ARGUMENT,
        "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
        fields={"ArgumentName": COPY_SOURCE},
    )


def parse_copy_object(request: Request, address: Address, document: bytes) -> CopyObjectInput:  # noqa: ARG001 - one signature for all
    """Read CopyObject. Headers and metadata count only with the directive REPLACE, as on AWS.

    Raises:
        S3Error: InvalidArgument for a bad source or directive; InvalidRequest for a copy onto itself that changes
            nothing; what `begin` and the readers of `fields` raise.
    """
    headers = begin(request, {*encryption.ENCRYPTION, *ACL_HEADERS, _SOURCE_OWNER}).headers
    directive = single(headers, "x-amz-metadata-directive") or "COPY"
    if directive not in {"COPY", "REPLACE"}:
        raise fields.invalid("x-amz-metadata-directive", "Unknown metadata directive.")
    replace = directive == "REPLACE"
    algorithm = single(headers, "x-amz-checksum-algorithm")
    source = copy_source(request, headers)
    asked = CopyObjectInput(
        bucket=bucket_of(address),
        object_key=key_of(address),
        source=source,
        replace_metadata=replace,
        headers=fields.object_headers(headers) if replace else ObjectHeaders(),
        metadata=fields.metadata(headers) if replace else {},
        conditions=fields.write_conditions(headers),
        encryption=encryption.encryption_request(headers),
        acl=acl_request(headers),
        checksum_algorithm=None if algorithm is None else ChecksumAlgorithm(algorithm_named(algorithm).name),
        new_tags=new_tags_of_copy(headers),
        lock=lock_headers(headers),
    )
    if _changes_nothing(asked):
        raise S3Error(
            INVALID_REQUEST,
            "This copy request is illegal because it is trying to copy an object to itself without changing the "
            "object's metadata, storage class, website redirect location or encryption attributes.",
        )
    return asked


def _changes_nothing(asked: CopyObjectInput) -> bool:
    source = asked.source
    return (
        (source.bucket, source.object_key, source.version_id) == (asked.bucket, asked.object_key, None)
        and not asked.replace_metadata
        and not asked.encryption.names_any
        and asked.checksum_algorithm is None
    )


def parse_upload_part_copy(request: Request, address: Address, document: bytes) -> UploadPartCopyInput:  # noqa: ARG001 - one signature for all
    """Read UploadPartCopy.

    Raises:
        S3Error: InvalidArgument for a bad source, range or part number; what `begin` raises.
    """
    parsed = begin(request, {*encryption.CUSTOMER, *encryption.SOURCE_CUSTOMER, _SOURCE_OWNER})
    text = single(parsed.headers, "x-amz-copy-source-range")
    first, last = (None, None) if text is None else parse_copy_range(text)
    return UploadPartCopyInput(
        bucket=bucket_of(address),
        object_key=key_of(address),
        upload_id=parsed.query["uploadId"],
        part_number=fields.part_number(parsed.query),
        source=copy_source(request, parsed.headers),
        first_byte=first,
        last_byte=last,
        customer_key=encryption.customer_key(parsed.headers),
    )
