"""Requests of multipart uploads, but for UploadPartCopy (see `copying`).

Sources: AWS "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "AbortMultipartUpload", "ListParts".
"""

import re
from itertools import pairwise
from typing import Final

from gateway.s3 import xml
from gateway.s3.addressing import Address
from gateway.s3.checksums import ALGORITHMS, algorithm_named, declared_checksum, decode_checksum, multipart_type
from gateway.s3.errors import (
    INVALID_ARGUMENT,
    INVALID_PART_ORDER,
    INVALID_REQUEST,
    MALFORMED_XML,
    NOT_IMPLEMENTED,
    S3Error,
)
from gateway.s3.headers import single, unquote_etag
from gateway.s3.parsing import encryption, fields
from gateway.s3.parsing.access import ACL_HEADERS, acl_request
from gateway.s3.parsing.fields import MAX_PART_NUMBER, bucket_of, key_of
from gateway.s3.parsing.locks import lock_headers
from gateway.s3.parsing.start import begin
from gateway.s3.parsing.tags import header_tags
from gateway.s3.request import Headers, Request
from gateway.s3.types import Checksum, ChecksumAlgorithm, ChecksumType
from gateway.s3.upload_types import (
    AbortMultipartUploadInput,
    CompletedPart,
    CompleteMultipartUploadInput,
    CreateMultipartUploadInput,
    ListPartsInput,
    UploadPartInput,
)

_CHECKSUMS: Final = {f"Checksum{name}": algorithm for name, algorithm in ALGORITHMS.items()}
_NEWER_CHECKSUMS: Final = frozenset(f"Checksum{name}" for name in ("SHA512", "MD5", "XXHASH64", "XXHASH3", "XXHASH128"))
_PART_MEMBERS: Final = frozenset({"PartNumber", "ETag", *_CHECKSUMS, *_NEWER_CHECKSUMS})
_PART_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,9}")
_SIZE: Final = re.compile(r"[0-9]{1,19}")


def parse_create_multipart_upload(request: Request, address: Address, document: bytes) -> CreateMultipartUploadInput:  # noqa: ARG001 - one signature for all
    """Read CreateMultipartUpload; where an algorithm is named, its default type is filled in.

    Raises:
        S3Error: InvalidRequest for a checksum type without algorithm, or not for this one; what `begin` and the
            readers of `fields` raise.
    """
    headers = begin(request, encryption.WRITE | ACL_HEADERS).headers
    algorithm_name = single(headers, "x-amz-checksum-algorithm")
    type_name = single(headers, "x-amz-checksum-type")
    if algorithm_name is None and type_name is not None:
        raise S3Error(INVALID_REQUEST, "The x-amz-checksum-type header needs x-amz-checksum-algorithm beside it.")
    algorithm, checksum_type = None, None
    if algorithm_name is not None:
        chosen = algorithm_named(algorithm_name)
        algorithm = ChecksumAlgorithm(chosen.name)
        checksum_type = multipart_type(chosen, type_name)
    return CreateMultipartUploadInput(
        bucket=bucket_of(address),
        object_key=key_of(address),
        headers=fields.object_headers(headers),
        metadata=fields.metadata(headers),
        encryption=encryption.encryption_request(headers),
        acl=acl_request(headers),
        checksum_algorithm=algorithm,
        checksum_type=checksum_type,
        tags=header_tags(headers),
        lock=lock_headers(headers),
    )


def parse_upload_part(request: Request, address: Address, document: bytes) -> UploadPartInput:  # noqa: ARG001 - one signature for all
    """Read UploadPart; its data come as a stream.

    Raises:
        S3Error: InvalidArgument for a bad part number; what `begin` and the readers of `fields` raise.
    """
    parsed = begin(request, encryption.CUSTOMER)
    return UploadPartInput(
        bucket=bucket_of(address),
        object_key=key_of(address),
        upload_id=parsed.query["uploadId"],
        part_number=fields.part_number(parsed.query),
        payload=fields.payload(parsed.headers),
        customer_key=encryption.customer_key(parsed.headers),
    )


def parse_abort_multipart_upload(request: Request, address: Address, document: bytes) -> AbortMultipartUploadInput:  # noqa: ARG001 - one signature for all
    """Read AbortMultipartUpload.

    Raises:
        S3Error: what `begin` raises.
    """
    return AbortMultipartUploadInput(bucket_of(address), key_of(address), begin(request).query["uploadId"])


def parse_list_parts(request: Request, address: Address, document: bytes) -> ListPartsInput:  # noqa: ARG001 - one signature for all
    """Read ListParts.

    Raises:
        S3Error: InvalidArgument for a bad max-parts or part-number-marker; what `begin` raises.
    """
    parsed = begin(request, encryption.CUSTOMER)
    query = parsed.query
    return ListPartsInput(
        bucket=bucket_of(address),
        object_key=key_of(address),
        upload_id=query["uploadId"],
        part_number_marker=fields.number(query, "part-number-marker", default=0),
        max_parts=fields.limit(query, "max-parts"),
        customer_key=encryption.customer_key(parsed.headers),
    )


def parse_complete_multipart_upload(
    request: Request, address: Address, document: bytes
) -> CompleteMultipartUploadInput:
    """Read CompleteMultipartUpload.

    Raises:
        S3Error: MalformedXML for the document and for an empty list; InvalidArgument for a part number outside
            1..10000 or a bad object size; InvalidPartOrder where numbers do not rise; InvalidRequest for a bad
            checksum; NotImplemented for a newer algorithm; what `begin` and the readers of `fields` raise.
    """
    parsed = begin(request, encryption.CUSTOMER)
    headers = parsed.headers
    root = xml.parse(document, "CompleteMultipartUpload", max_elements=4 * MAX_PART_NUMBER + 16)
    elements = root.parts(many=("Part",)).many
    if not elements:
        raise S3Error(MALFORMED_XML)
    parts = tuple(_part(element) for element in elements)
    numbers = [part.part_number for part in parts]
    if any(later <= earlier for earlier, later in pairwise(numbers)):
        raise S3Error(INVALID_PART_ORDER)
    checksum_type = _checksum_type(headers)
    return CompleteMultipartUploadInput(
        bucket=bucket_of(address),
        object_key=key_of(address),
        upload_id=parsed.query["uploadId"],
        parts=parts,
        conditions=fields.write_conditions(headers),
        checksum=_object_checksum(headers, checksum_type),
        checksum_type=checksum_type,
        object_size=_object_size(headers),
        customer_key=encryption.customer_key(headers),
    )


def _part(element: xml.Element) -> CompletedPart:
    parts = element.parts(once=_PART_MEMBERS)
    text = parts.required("PartNumber").strip()
    if not _PART_NUMBER.fullmatch(text):
        raise S3Error(MALFORMED_XML)
    number = int(text)
    if not 1 <= number <= MAX_PART_NUMBER:
        raise S3Error(INVALID_ARGUMENT, f"PartNumber must be an integer between 1 and {MAX_PART_NUMBER}")
    if not _NEWER_CHECKSUMS.isdisjoint(parts.once):
        raise S3Error(NOT_IMPLEMENTED, "This checksum algorithm is not supported.")
    sums = [name for name in parts.once if name in _CHECKSUMS]
    if len(sums) > 1:
        raise S3Error(INVALID_REQUEST, "A part has at most one checksum.")
    checksum = None
    for name in sums:
        algorithm, value = _CHECKSUMS[name], parts.required(name).strip()
        decode_checksum(algorithm, value)
        checksum = Checksum(ChecksumAlgorithm[algorithm.name], value)
    return CompletedPart(number, unquote_etag(parts.required("ETag").strip()), checksum)


def _checksum_type(headers: Headers) -> ChecksumType | None:
    text = single(headers, "x-amz-checksum-type")
    if text is None:
        return None
    if text not in ChecksumType.__members__:
        raise S3Error(INVALID_REQUEST, "Value for x-amz-checksum-type header is invalid.")
    return ChecksumType(text)


def _object_checksum(headers: Headers, checksum_type: ChecksumType | None) -> Checksum | None:
    declared = declared_checksum(headers, composite_allowed=True)
    # A trailer or the digest of the document itself says nothing about the object.
    if declared is None or declared.value is None:
        return None
    algorithm = ChecksumAlgorithm(declared.algorithm.name)
    value = single(headers, declared.algorithm.header) or ""
    by_form = ChecksumType.FULL_OBJECT if declared.part_count is None else ChecksumType.COMPOSITE
    return Checksum(algorithm, value, by_form if checksum_type is None else checksum_type)


def _object_size(headers: Headers) -> int | None:
    text = single(headers, "x-amz-mp-object-size")
    if text is None:
        return None
    if not _SIZE.fullmatch(text):
        raise fields.invalid("x-amz-mp-object-size", "x-amz-mp-object-size must be a whole number.")
    return int(text)
