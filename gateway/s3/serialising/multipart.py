"""Answers of multipart uploads.

Sources: AWS "CreateMultipartUpload", "UploadPart", "UploadPartCopy", "CompleteMultipartUpload", "ListParts".
"""

from gateway.s3.headers import format_iso8601, quote_etag
from gateway.s3.response import Response
from gateway.s3.serialising.common import (
    CHECKSUM_ALGORITHM,
    CHECKSUM_TYPE,
    ETAG,
    SOURCE_VERSION_ID,
    STORAGE_CLASS,
    VERSION_ID,
    checksum_headers,
    checksum_kind,
    checksum_node,
    checksum_type_node,
    document,
    encryption_headers,
    key_text,
    person,
)
from gateway.s3.serialising.lifecycle import abort_headers, expiration_header
from gateway.s3.types import EmptyOutput
from gateway.s3.upload_types import (
    CompleteMultipartUploadOutput,
    CreateMultipartUploadOutput,
    ListPartsOutput,
    PartEntry,
    UploadPartCopyOutput,
    UploadPartOutput,
)
from gateway.s3.xml import Node


def serialise_create_multipart_upload(output: CreateMultipartUploadOutput) -> Response:
    """Write CreateMultipartUpload."""
    return document(
        Node(
            "InitiateMultipartUploadResult",
            Node("Bucket", output.bucket),
            Node("Key", key_text(output.object_key)),
            Node("UploadId", output.upload_id),
        ),
        *encryption_headers(output.encryption, with_context=True),
        (CHECKSUM_ALGORITHM, None if output.checksum_algorithm is None else output.checksum_algorithm.value),
        (CHECKSUM_TYPE, None if output.checksum_type is None else output.checksum_type.value),
        *abort_headers(output.abortion),
    )


def serialise_upload_part(output: UploadPartOutput) -> Response:
    """Write UploadPart."""
    return Response(
        200,
        (
            (ETAG, quote_etag(output.etag)),
            *checksum_headers(output.checksum)[:1],  # the type belongs to the upload, and S3 does not repeat it here
            *encryption_headers(output.encryption),
        ),
    )


def serialise_upload_part_copy(output: UploadPartCopyOutput) -> Response:
    """Write UploadPartCopy."""
    return document(
        Node(
            "CopyPartResult",
            Node("LastModified", format_iso8601(output.last_modified)),
            Node("ETag", quote_etag(output.etag)),
            checksum_node(output.checksum),
        ),
        *encryption_headers(output.encryption),
        (SOURCE_VERSION_ID, output.source_version_id),
    )


def serialise_complete_multipart_upload(output: CompleteMultipartUploadOutput) -> Response:
    """Write CompleteMultipartUpload. AWS sends blanks while it works; here no data move, so one plain answer does."""
    return document(
        Node(
            "CompleteMultipartUploadResult",
            Node("Location", output.location),
            Node("Bucket", output.bucket),
            Node("Key", key_text(output.object_key)),
            Node("ETag", quote_etag(output.etag)),
            checksum_node(output.checksum),
            checksum_type_node(output.checksum),
        ),
        *encryption_headers(output.encryption, with_customer=False),
        (VERSION_ID, output.version_id),
        expiration_header(output.expiry),
    )


def serialise_abort_multipart_upload(output: EmptyOutput) -> Response:  # noqa: ARG001 - one signature for all
    """Write AbortMultipartUpload."""
    return Response(204)


def serialise_list_parts(output: ListPartsOutput) -> Response:
    """Write ListParts."""
    request = output.request
    return document(
        Node(
            "ListPartsResult",
            Node("Bucket", request.bucket),
            Node("Key", key_text(request.object_key)),
            Node("UploadId", request.upload_id),
            person("Initiator", output.initiator),
            person("Owner", output.owner),
            Node("StorageClass", STORAGE_CLASS),
            Node("PartNumberMarker", request.part_number_marker),
            Node("NextPartNumberMarker", output.next_part_number_marker),
            Node("MaxParts", request.max_parts),
            Node("IsTruncated", output.is_truncated),
            *checksum_kind(output.checksum_algorithm, output.checksum_type),
            *(_part(entry) for entry in output.parts),
        ),
        *abort_headers(output.abortion),
    )


def _part(entry: PartEntry) -> Node:
    return Node(
        "Part",
        Node("PartNumber", entry.part_number),
        Node("LastModified", format_iso8601(entry.last_modified)),
        Node("ETag", quote_etag(entry.etag)),
        Node("Size", entry.size),
        checksum_node(entry.checksum),
    )
