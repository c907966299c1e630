"""Answers that list objects and uploads.

Sources: AWS "ListObjects", "ListObjectsV2", "ListMultipartUploads".
"""

from collections.abc import Iterator
from typing import Final

from gateway.s3.headers import format_iso8601, quote_etag
from gateway.s3.response import Response
from gateway.s3.serialising.common import STORAGE_CLASS, Names, checksum_kind, document, person
from gateway.s3.types import ListObjectsOutput, ListObjectsV2Output, ObjectEntry
from gateway.s3.upload_types import ListMultipartUploadsOutput, UploadEntry
from gateway.s3.xml import Node, optional

_STORAGE_CLASS: Final = Node("StorageClass", STORAGE_CLASS)


def serialise_list_objects(output: ListObjectsOutput) -> Response:
    """Write ListObjects, version 1. Marker is echoed even if empty."""
    request = output.request
    names = _names(output, request.prefix, request.delimiter, request.marker, output.next_marker or b"")
    return document(
        Node(
            "ListBucketResult",
            Node("Name", request.bucket),
            names.node("Prefix", request.prefix),
            names.node("Marker", request.marker),
            names.given("NextMarker", output.next_marker or b""),
            Node("MaxKeys", request.max_keys),
            names.given("Delimiter", request.delimiter),
            names.encoding_type(),
            Node("IsTruncated", output.is_truncated),
            *(_contents(names, entry) for entry in output.entries),
            *names.common_prefixes(output.common_prefixes),
        )
    )


def serialise_list_objects_v2(output: ListObjectsV2Output) -> Response:
    """Write ListObjectsV2. Tokens are opaque and never encoded."""
    request = output.request
    names = _names(output, request.prefix, request.delimiter, request.start_after)
    return document(
        Node(
            "ListBucketResult",
            Node("Name", request.bucket),
            names.node("Prefix", request.prefix),
            optional("ContinuationToken", request.continuation_token),
            optional("NextContinuationToken", output.next_continuation_token),
            names.given("StartAfter", request.start_after),
            Node("KeyCount", len(output.entries) + len(output.common_prefixes)),
            Node("MaxKeys", request.max_keys),
            names.given("Delimiter", request.delimiter),
            names.encoding_type(),
            Node("IsTruncated", output.is_truncated),
            *(_contents(names, entry) for entry in output.entries),
            *names.common_prefixes(output.common_prefixes),
        )
    )


def _names(output: ListObjectsOutput | ListObjectsV2Output, *others: bytes) -> Names:
    listed = (entry.object_key for entry in output.entries)
    return Names(url_encoding=output.request.url_encoding, names=(*listed, *output.common_prefixes, *others))


def _contents(names: Names, entry: ObjectEntry) -> Node:
    return Node(
        "Contents",
        names.node("Key", entry.object_key),
        Node("LastModified", format_iso8601(entry.last_modified)),
        Node("ETag", quote_etag(entry.etag)),
        *checksum_kind(entry.checksum_algorithm, entry.checksum_type),
        Node("Size", entry.size),
        None if entry.owner is None else person("Owner", entry.owner),
        _STORAGE_CLASS,
    )


def serialise_list_multipart_uploads(output: ListMultipartUploadsOutput) -> Response:
    """Write ListMultipartUploads."""
    request = output.request
    listed = (entry.object_key for entry in output.uploads)
    others = (request.prefix, request.delimiter, request.key_marker, output.next_key_marker)
    names = Names(url_encoding=request.url_encoding, names=(*listed, *output.common_prefixes, *others))
    return document(
        Node(
            "ListMultipartUploadsResult",
            Node("Bucket", request.bucket),
            names.node("KeyMarker", request.key_marker),
            Node("UploadIdMarker", request.upload_id_marker),
            *_next_markers(names, output),
            names.given("Prefix", request.prefix),
            names.given("Delimiter", request.delimiter),
            names.encoding_type(),
            Node("MaxUploads", request.max_uploads),
            Node("IsTruncated", output.is_truncated),
            *(_upload(names, entry) for entry in output.uploads),
            *names.common_prefixes(output.common_prefixes),
        )
    )


def _next_markers(names: Names, output: ListMultipartUploadsOutput) -> Iterator[Node]:
    if output.is_truncated:
        yield names.node("NextKeyMarker", output.next_key_marker)
        yield Node("NextUploadIdMarker", output.next_upload_id_marker)


def _upload(names: Names, entry: UploadEntry) -> Node:
    return Node(
        "Upload",
        names.node("Key", entry.object_key),
        Node("UploadId", entry.upload_id),
        person("Initiator", entry.initiator),
        person("Owner", entry.owner),
        Node("StorageClass", STORAGE_CLASS),
        Node("Initiated", format_iso8601(entry.initiated_at)),
        *checksum_kind(entry.checksum_algorithm, entry.checksum_type),
    )
