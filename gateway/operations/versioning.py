"""Versioning of a bucket, the listing of all versions, and the attributes of one."""

from gateway.operations.context import Context
from gateway.operations.encryption import check_reader
from gateway.operations.listing import MAX_KEYS, entry_of
from gateway.operations.objects import check_parts_known, find, shown_version
from gateway.operations.service import owner_of
from gateway.s3.bucket_types import GetBucketVersioningOutput
from gateway.s3.errors import INVALID_BUCKET_STATE, S3Error
from gateway.s3.types import Body, BucketInput, EmptyOutput, GetObjectInput
from gateway.s3.version_types import (
    GetObjectAttributesInput,
    GetObjectAttributesOutput,
    ListObjectVersionsInput,
    ListObjectVersionsOutput,
    ObjectParts,
    PartSize,
    PutBucketVersioningInput,
    VersionEntry,
)
from storage.catalogue.commands import Found, HistoryPage, HistoryQuery
from storage.catalogue.conflicts import BucketStateRefused
from storage.catalogue.records import BlobRole, Versioning

STORAGE_CLASS = "STANDARD"


async def put_bucket_versioning(context: Context, request: PutBucketVersioningInput, _: Body) -> EmptyOutput:
    """PutBucketVersioning."""
    try:
        await context.services.catalogue.set_versioning(context.bucket.bucket_id, Versioning(request.status))
    except BucketStateRefused:
        message = "An Object Lock configuration is present on this bucket, so the versioning state cannot be changed."
        raise S3Error(INVALID_BUCKET_STATE, message) from None
    return EmptyOutput()


async def get_bucket_versioning(context: Context, request: BucketInput, _: Body) -> GetBucketVersioningOutput:
    """GetBucketVersioning."""
    del request
    return GetBucketVersioningOutput(context.bucket.versioning.value)


async def list_object_versions(context: Context, request: ListObjectVersionsInput, _: Body) -> ListObjectVersionsOutput:
    """ListObjectVersions."""
    limit = min(request.max_keys, MAX_KEYS)
    query = HistoryQuery(request.prefix, request.delimiter, request.key_marker, request.version_id_marker, limit)
    page = HistoryPage((), (), is_truncated=False)
    if limit > 0:
        page = await context.services.catalogue.list_history(context.bucket.bucket_id, query)
    owner = await owner_of(context)
    return ListObjectVersionsOutput(
        request=request,
        versions=tuple(
            VersionEntry(entry_of(version, owner), version.version_id, version.is_latest, version.is_delete_marker)
            for version in page.versions
        ),
        common_prefixes=page.common_prefixes,
        is_truncated=page.is_truncated,
        next_key_marker=page.next_key_marker,
        next_version_id_marker=page.next_version_id_marker,
    )


async def get_object_attributes(
    context: Context, request: GetObjectAttributesInput, _: Body
) -> GetObjectAttributesOutput:
    """GetObjectAttributes."""
    target, wanted = request.target, request.wanted
    asked = GetObjectInput(target.bucket, target.object_key, target.version_id)
    found = await find(context, asked, with_content=bool({"ObjectParts", "Checksum"} & wanted))
    version = found.version
    if "ObjectParts" in wanted:
        check_parts_known(found)
    customer_key = check_reader(context, version, request.customer_key)
    checksum = await context.services.objects.checksum_of(found, customer_key) if "Checksum" in wanted else None
    return GetObjectAttributesOutput(
        last_modified=version.created_at,
        version_id=shown_version(context.bucket, version.version_id, target.version_id),
        etag=version.etag if "ETag" in wanted else None,
        checksum=checksum,
        parts=_parts_of(found, request) if "ObjectParts" in wanted else None,
        storage_class=STORAGE_CLASS if "StorageClass" in wanted else None,
        size=version.size if "ObjectSize" in wanted else None,
    )


def _parts_of(found: Found, request: GetObjectAttributesInput) -> ObjectParts | None:
    """Parts as GET counts them, with their sizes; nothing for an object of one PUT, as on AWS."""
    assert found.content is not None, "a delete marker has no attributes"
    blobs = found.content.payload_blobs
    if blobs[0].role is BlobRole.OBJECT:
        return None
    marker, most = request.part_number_marker, request.max_parts
    page = tuple(PartSize(number, blob.plaintext_size) for number, blob in enumerate(blobs, start=1))[marker:]
    return ObjectParts(len(blobs), page[:most], marker, most, is_truncated=len(page) > most)
