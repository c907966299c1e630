"""Answers about one object, copies, and the deletion of many.

Sources: AWS "PutObject", "GetObject", "HeadObject", "CopyObject", "DeleteObject", "DeleteObjects".
"""

from typing import Final

from gateway.s3.headers import format_http_date, format_iso8601, quote_etag
from gateway.s3.response import Response
from gateway.s3.serialising.common import (
    CONTENT_TYPE,
    DELETE_MARKER,
    ETAG,
    SOURCE_VERSION_ID,
    VERSION_ID,
    Header,
    checksum_headers,
    checksum_node,
    checksum_type_node,
    document,
    encryption_headers,
    key_text,
    lock_headers,
    present,
)
from gateway.s3.serialising.lifecycle import expiration_header
from gateway.s3.types import (
    CopyObjectOutput,
    DeletedEntry,
    DeleteErrorEntry,
    DeleteObjectOutput,
    DeleteObjectsOutput,
    GetObjectOutput,
    PutObjectOutput,
)
from gateway.s3.xml import Node, optional

_DEFAULT_CONTENT_TYPE: Final = "binary/octet-stream"
"""What AWS says of an object that was stored without a type."""


def serialise_put_object(output: PutObjectOutput) -> Response:
    """Write PutObject."""
    return Response(
        200,
        present(
            (ETAG, quote_etag(output.etag)),
            *checksum_headers(output.checksum),
            *encryption_headers(output.encryption, with_context=True),
            (VERSION_ID, output.version_id),
            expiration_header(output.expiry),
        ),
    )


def serialise_get_object(output: GetObjectOutput) -> Response:
    """Write GetObject: 206 for a part of the object, else 200."""
    return Response(_status(output), _object_headers(output), b"" if output.body is None else output.body)


def serialise_head_object(output: GetObjectOutput) -> Response:
    """Write HeadObject: the headers of GetObject, its Content-Length included, and no body."""
    return Response(_status(output), _object_headers(output))


def _status(output: GetObjectOutput) -> int:
    return 206 if output.is_partial else 200


def _object_headers(output: GetObjectOutput) -> tuple[Header, ...]:
    kept = output.headers
    stored = {
        CONTENT_TYPE: kept.content_type or _DEFAULT_CONTENT_TYPE,
        "Cache-Control": kept.cache_control,
        "Content-Disposition": kept.content_disposition,
        "Content-Encoding": kept.content_encoding,
        "Content-Language": kept.content_language,
        "Expires": kept.expires,
    }
    overrides = output.response_overrides
    last_byte = output.offset + output.length - 1
    return present(
        ("Content-Length", str(output.length)),
        *((name, overrides.get(name.lower(), value)) for name, value in stored.items()),
        ("Content-Range", f"bytes {output.offset}-{last_byte}/{output.size}" if output.is_partial else None),
        (ETAG, quote_etag(output.etag)),
        ("Last-Modified", format_http_date(output.last_modified)),
        ("Accept-Ranges", "bytes"),
        *checksum_headers(output.checksum),
        *encryption_headers(output.encryption),
        (VERSION_ID, output.version_id),
        expiration_header(output.expiry),
        ("x-amz-mp-parts-count", None if output.parts_count is None else str(output.parts_count)),
        ("x-amz-tagging-count", str(output.tag_count) if output.tag_count else None),
        *lock_headers(output.lock),
        *((f"x-amz-meta-{name}", value) for name, value in output.metadata.items()),
        ("X-Content-Type-Options", "nosniff"),
    )


def serialise_delete_object(output: DeleteObjectOutput) -> Response:
    """Write DeleteObject."""
    return Response(
        204,
        present((DELETE_MARKER, "true" if output.delete_marker else None), (VERSION_ID, output.version_id)),
    )


def serialise_delete_objects(output: DeleteObjectsOutput) -> Response:
    """Write DeleteObjects. Its keys came in XML, so XML can hold them."""
    deleted = (_deleted(entry) for entry in output.deleted)
    return document(Node("DeleteResult", *deleted, *(_error(entry) for entry in output.errors)))


def _deleted(entry: DeletedEntry) -> Node:
    return Node(
        "Deleted",
        Node("Key", key_text(entry.object_key)),
        optional("VersionId", entry.version_id),
        Node("DeleteMarker", entry.delete_marker) if entry.delete_marker else None,
        optional("DeleteMarkerVersionId", entry.delete_marker_version_id),
    )


def _error(entry: DeleteErrorEntry) -> Node:
    return Node(
        "Error",
        Node("Key", key_text(entry.object_key)),
        optional("VersionId", entry.version_id),
        Node("Code", entry.code),
        Node("Message", entry.message),
    )


def serialise_copy_object(output: CopyObjectOutput) -> Response:
    """Write CopyObject."""
    return document(
        Node(
            "CopyObjectResult",
            Node("LastModified", format_iso8601(output.last_modified)),
            Node("ETag", quote_etag(output.etag)),
            checksum_type_node(output.checksum),
            checksum_node(output.checksum),
        ),
        *encryption_headers(output.encryption, with_context=True),
        (VERSION_ID, output.version_id),
        (SOURCE_VERSION_ID, output.source_version_id),
        expiration_header(output.expiry),
    )
