"""Requests about versions: the versioning of a bucket, the listing of versions, and attributes of one.

Sources: AWS "PutBucketVersioning", "ListObjectVersions", "GetObjectAttributes".
"""

from typing import Final

from gateway.s3 import xml
from gateway.s3.addressing import Address
from gateway.s3.errors import ILLEGAL_VERSIONING_CONFIGURATION, MALFORMED_XML, NOT_IMPLEMENTED, S3Error
from gateway.s3.headers import joined, single
from gateway.s3.parsing import encryption, fields
from gateway.s3.parsing.fields import bucket_of, invalid, key_of, limit, number, url_encoding
from gateway.s3.parsing.start import begin
from gateway.s3.request import Headers, Request
from gateway.s3.version_types import (
    GetObjectAttributesInput,
    ListObjectVersionsInput,
    PutBucketVersioningInput,
    VersionInput,
)

ATTRIBUTES: Final = frozenset({"ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"})
_WANTED: Final = "x-amz-object-attributes"
_MAX_PARTS: Final = "x-amz-max-parts"
_MARKER: Final = "x-amz-part-number-marker"


def parse_put_bucket_versioning(request: Request, address: Address, document: bytes) -> PutBucketVersioningInput:
    """Read PutBucketVersioning.

    Raises:
        S3Error: MalformedXML; IllegalVersioningConfigurationException without a status; NotImplemented for MFA delete,
            for which there are no devices; what `begin` raises.
    """
    begin(request)
    root = xml.parse(document, "VersioningConfiguration", max_elements=8)
    parts = root.parts(once=("Status", "MfaDelete"))
    mfa_delete, status = parts.text("MfaDelete"), parts.text("Status")
    if mfa_delete not in {None, "Enabled", "Disabled"} or status not in {None, "Enabled", "Suspended"}:
        raise S3Error(MALFORMED_XML)
    if mfa_delete == "Enabled":
        raise S3Error(NOT_IMPLEMENTED, "MFA delete is not supported.")
    if status is None:
        raise S3Error(ILLEGAL_VERSIONING_CONFIGURATION, "The Versioning element must be specified")
    return PutBucketVersioningInput(bucket_of(address), status)


def parse_list_object_versions(request: Request, address: Address, document: bytes) -> ListObjectVersionsInput:  # noqa: ARG001 - one signature for all
    """Read ListObjectVersions.

    Raises:
        S3Error: InvalidArgument for a bad max-keys or encoding-type, and for a version-id-marker that is none, or
            stands without a key-marker; what `begin` raises.
    """
    query = begin(request).query
    marker = query.get("version-id-marker")
    if marker is not None:
        if not query.get("key-marker"):
            message = "A version-id marker cannot be specified without a key marker."
            raise invalid("version-id-marker", message)
        if marker == "":
            raise invalid("version-id-marker", "A version-id marker cannot be empty.")
        fields.check_version_id(marker, "version-id-marker")
    return ListObjectVersionsInput(
        bucket=bucket_of(address),
        prefix=query.get("prefix", "").encode(),
        delimiter=query.get("delimiter", "").encode(),
        key_marker=query.get("key-marker", "").encode(),
        version_id_marker=marker,
        max_keys=limit(query, "max-keys"),
        url_encoding=url_encoding(query),
    )


def _parse_version(request: Request, address: Address, document: bytes) -> VersionInput:  # noqa: ARG001 - one signature for all
    return VersionInput(bucket_of(address), key_of(address), fields.version_id(begin(request).query))


parse_get_object_retention = _parse_version
parse_get_object_legal_hold = _parse_version
parse_get_object_tagging = _parse_version
parse_delete_object_tagging = _parse_version


def parse_get_object_attributes(request: Request, address: Address, document: bytes) -> GetObjectAttributesInput:  # noqa: ARG001 - one signature for all
    """Read GetObjectAttributes.

    Raises:
        S3Error: InvalidArgument where no attribute is named, or one that is none, and for bad numbers; what `begin`
            raises.
    """
    parsed = begin(request, encryption.CUSTOMER)
    wanted = frozenset(name.strip() for name in (joined(parsed.headers, _WANTED) or "").split(","))
    if not wanted <= ATTRIBUTES:
        raise invalid(_WANTED, "Invalid attribute name specified.")
    return GetObjectAttributesInput(
        target=VersionInput(bucket_of(address), key_of(address), fields.version_id(parsed.query)),
        wanted=wanted,
        max_parts=min(_header_number(parsed.headers, _MAX_PARTS, 1000), 1000),
        part_number_marker=_header_number(parsed.headers, _MARKER, 0),
        customer_key=encryption.customer_key(parsed.headers),
    )


def _header_number(headers: Headers, name: str, default: int) -> int:
    text = single(headers, name)
    return default if text is None else number({name: text}, name, default=default)
