"""Answers about versions, locks, tags and attributes.

Sources: AWS "ListObjectVersions", "GetObjectLockConfiguration", "GetObjectRetention", "GetObjectTagging",
"GetObjectAttributes".
"""

from typing import Final

from gateway.s3.headers import format_http_date, format_iso8601, format_precise, quote_etag
from gateway.s3.response import Response
from gateway.s3.serialising.common import (
    STORAGE_CLASS,
    VERSION_ID,
    Names,
    checksum_kind,
    checksum_node,
    checksum_type_node,
    document,
    person,
    present,
    shown_hold,
)
from gateway.s3.types import EmptyOutput, Tags
from gateway.s3.version_types import (
    DefaultRetention,
    GetObjectAttributesOutput,
    GetObjectLockConfigurationOutput,
    ListObjectVersionsOutput,
    LockOutput,
    ObjectParts,
    TaggingOutput,
    VersionEntry,
    VersionOutput,
)
from gateway.s3.xml import Node, optional

_STORAGE_CLASS: Final = Node("StorageClass", STORAGE_CLASS)


def serialise_list_object_versions(output: ListObjectVersionsOutput) -> Response:
    """Write ListObjectVersions: versions and delete markers in one order."""
    request = output.request
    listed = (version.entry.object_key for version in output.versions)
    others = (request.prefix, request.delimiter, request.key_marker, output.next_key_marker)
    names = Names(url_encoding=request.url_encoding, names=(*listed, *output.common_prefixes, *others))
    return document(
        Node(
            "ListVersionsResult",
            Node("Name", request.bucket),
            names.node("Prefix", request.prefix),
            names.node("KeyMarker", request.key_marker),
            Node("VersionIdMarker", request.version_id_marker),
            names.node("NextKeyMarker", output.next_key_marker) if output.is_truncated else None,
            optional("NextVersionIdMarker", output.next_version_id_marker),
            Node("MaxKeys", request.max_keys),
            names.given("Delimiter", request.delimiter),
            names.encoding_type(),
            Node("IsTruncated", output.is_truncated),
            *(_version(names, version) for version in output.versions),
            *names.common_prefixes(output.common_prefixes),
        )
    )


def _version(names: Names, version: VersionEntry) -> Node:
    entry = version.entry
    start = (
        names.node("Key", entry.object_key),
        Node("VersionId", version.version_id),
        Node("IsLatest", version.is_latest),
        Node("LastModified", format_iso8601(entry.last_modified)),
    )
    owner = None if entry.owner is None else person("Owner", entry.owner)
    if version.is_delete_marker:
        return Node("DeleteMarker", *start, owner)
    return Node(
        "Version",
        *start,
        Node("ETag", quote_etag(entry.etag)),
        *checksum_kind(entry.checksum_algorithm, entry.checksum_type),
        Node("Size", entry.size),
        owner,
        _STORAGE_CLASS,
    )


def _done(output: EmptyOutput) -> Response:  # noqa: ARG001 - one signature for all
    return Response(200)


serialise_put_bucket_versioning = _done
serialise_put_object_lock_configuration = _done
serialise_put_object_retention = _done
serialise_put_object_legal_hold = _done


def serialise_get_object_lock_configuration(output: GetObjectLockConfigurationOutput) -> Response:
    """Write GetObjectLockConfiguration."""
    rule = None if output.default is None else Node("Rule", _default_retention(output.default))
    return document(Node("ObjectLockConfiguration", Node("ObjectLockEnabled", "Enabled"), rule))


def _default_retention(default: DefaultRetention) -> Node:
    return Node(
        "DefaultRetention",
        Node("Mode", default.mode),
        optional("Days", default.days or None),
        optional("Years", default.years or None),
    )


def serialise_get_object_retention(output: LockOutput) -> Response:
    """Write GetObjectRetention."""
    until = output.lock.retain_until
    return document(
        Node(
            "Retention",
            Node("Mode", output.lock.mode),
            optional("RetainUntilDate", None if until is None else format_precise(until)),
        )
    )


def serialise_get_object_legal_hold(output: LockOutput) -> Response:
    """Write GetObjectLegalHold."""
    return document(Node("LegalHold", optional("Status", shown_hold(output.lock))))


def _tagging(tags: Tags) -> Node:
    return Node(
        "Tagging", Node("TagSet", *(Node("Tag", Node("Key", name), Node("Value", value)) for name, value in tags))
    )


def serialise_get_object_tagging(output: TaggingOutput) -> Response:
    """Write GetObjectTagging."""
    return document(_tagging(output.tags), (VERSION_ID, output.version_id))


def serialise_get_bucket_tagging(output: TaggingOutput) -> Response:
    """Write GetBucketTagging."""
    return document(_tagging(output.tags))


def serialise_put_object_tagging(output: VersionOutput) -> Response:
    """Write PutObjectTagging."""
    return Response(200, present((VERSION_ID, output.version_id)))


def serialise_delete_object_tagging(output: VersionOutput) -> Response:
    """Write DeleteObjectTagging."""
    return Response(204, present((VERSION_ID, output.version_id)))


def _gone(output: EmptyOutput) -> Response:  # noqa: ARG001 - one signature for all
    return Response(204)


serialise_put_bucket_tagging = _gone
serialise_delete_bucket_tagging = _gone


def serialise_get_object_attributes(output: GetObjectAttributesOutput) -> Response:
    """Write GetObjectAttributes. Its ETag has no quotes, as on AWS."""
    checksum = output.checksum
    return document(
        Node(
            "GetObjectAttributesResponse",
            optional("ETag", output.etag),
            None if checksum is None else Node("Checksum", checksum_node(checksum), checksum_type_node(checksum)),
            None if output.parts is None else _parts(output.parts),
            optional("StorageClass", output.storage_class),
            optional("ObjectSize", output.size),
        ),
        ("Last-Modified", format_http_date(output.last_modified)),
        (VERSION_ID, output.version_id),
    )


def _parts(parts: ObjectParts) -> Node:
    last = parts.parts[-1].part_number if parts.parts else parts.part_number_marker
    return Node(
        "ObjectParts",
        Node("PartsCount", parts.total_count),
        Node("PartNumberMarker", parts.part_number_marker),
        Node("NextPartNumberMarker", last),
        Node("MaxParts", parts.max_parts),
        Node("IsTruncated", parts.is_truncated),
        *(Node("Part", Node("PartNumber", part.part_number), Node("Size", part.size)) for part in parts.parts),
    )
