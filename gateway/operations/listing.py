"""Listing objects: ListObjects and ListObjectsV2, both over one page of the catalogue."""

from gateway.engine.attributes import decode_checksum
from gateway.operations.context import Context
from gateway.operations.service import owner_of
from gateway.s3.types import (
    Body,
    ListObjectsInput,
    ListObjectsOutput,
    ListObjectsV2Input,
    ListObjectsV2Output,
    ObjectEntry,
    Owner,
)
from storage.catalogue.commands import ListPage, ListQuery
from storage.catalogue.records import ObjectVersion

MAX_KEYS = 1000
"""Entries in one page at the most, whatever is asked (AWS: ListObjectsV2, max-keys)."""


def entry_of(version: ObjectVersion, owner: Owner | None) -> ObjectEntry:
    """A version as listings show it."""
    # Of the attributes alone what a listing shows: decoding them all takes five times as long.
    checksum = decode_checksum(version.attributes.get("checksum"))
    return ObjectEntry(
        object_key=version.object_key,
        last_modified=version.created_at,
        etag=version.etag,
        size=version.size,
        owner=owner,
        checksum_algorithm=None if checksum is None else checksum.algorithm,
        checksum_type=None if checksum is None else checksum.checksum_type,
    )


async def _page(context: Context, query: ListQuery) -> ListPage:
    if query.limit == 0:
        # AWS: no entries, and not truncated either, so that nobody loops.
        return ListPage((), (), is_truncated=False)
    return await context.services.catalogue.list_versions(context.bucket.bucket_id, query)


async def list_objects(context: Context, request: ListObjectsInput, _: Body) -> ListObjectsOutput:
    """ListObjects (version 1)."""
    limit = min(request.max_keys, MAX_KEYS)
    page = await _page(context, ListQuery(request.prefix, request.delimiter, request.marker, limit))
    owner = await owner_of(context)
    return ListObjectsOutput(
        request=request,
        entries=tuple(entry_of(version, owner) for version in page.versions),
        common_prefixes=page.common_prefixes,
        is_truncated=page.is_truncated,
        next_marker=page.next_start_after if page.is_truncated and request.delimiter else None,
    )


async def list_objects_v2(context: Context, request: ListObjectsV2Input, _: Body) -> ListObjectsV2Output:
    """ListObjectsV2; the token is opaque, and good for this bucket only."""
    services, bucket_id = context.services, context.bucket.bucket_id
    start_after = request.start_after
    if request.continuation_token is not None:
        start_after = services.cursors.open(request.continuation_token, bucket_id)
    limit = min(request.max_keys, MAX_KEYS)
    page = await _page(context, ListQuery(request.prefix, request.delimiter, start_after, limit))
    owner = await owner_of(context) if request.fetch_owner else None
    token = services.cursors.seal(page.next_start_after, bucket_id) if page.is_truncated else None
    return ListObjectsV2Output(
        request=request,
        entries=tuple(entry_of(version, owner) for version in page.versions),
        common_prefixes=page.common_prefixes,
        is_truncated=page.is_truncated,
        next_continuation_token=token,
    )
