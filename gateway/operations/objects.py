"""Operations on objects: put, get, head, delete, delete many."""

from dataclasses import replace

from gateway.engine.attributes import ObjectAttributes, SealedChecksum
from gateway.engine.objects import NewObject
from gateway.operations.context import Context
from gateway.operations.encryption import brought, check_reader, protection_for, report
from gateway.operations.granting import acl_to_write
from gateway.operations.lifecycle import expiry_of
from gateway.operations.needs import versioned
from gateway.operations.notifying import announcer
from gateway.s3 import conditions, ranges
from gateway.s3.errors import (
    ACCESS_DENIED,
    INVALID_PART_NUMBER,
    METHOD_NOT_ALLOWED,
    NO_SUCH_KEY,
    NO_SUCH_VERSION,
    PRECONDITION_FAILED,
    S3Error,
)
from gateway.s3.notifications import CREATED_PUT
from gateway.s3.types import (
    Body,
    DeletedEntry,
    DeleteErrorEntry,
    DeleteObjectInput,
    DeleteObjectOutput,
    DeleteObjectsInput,
    DeleteObjectsOutput,
    GetObjectInput,
    GetObjectOutput,
    ObjectIdentifier,
    PutObjectInput,
    PutObjectOutput,
    WriteConditions,
)
from keys.datakey import DataKey
from storage.catalogue.base import (
    CatalogueConflict,
    Conditions,
    Deleted,
    DeleteVersion,
    Found,
    NoSuchVersion,
    PreconditionRefused,
)
from storage.catalogue.records import NULL_VERSION_ID, BlobRole


def write_conditions(conditions_: WriteConditions) -> Conditions:
    """The conditions of a request in the catalogue's words."""
    return Conditions(conditions_.if_none_match_any, conditions_.if_match)


def no_such_key(object_key: bytes) -> S3Error:
    """The refusal for an absent key."""
    return S3Error(NO_SUCH_KEY, fields={"Key": object_key.decode("utf-8")})


def refusal(conflict: CatalogueConflict, object_key: bytes) -> S3Error:
    """What a write's conditions say to the client."""
    if isinstance(conflict, PreconditionRefused):
        return S3Error(PRECONDITION_FAILED)
    if isinstance(conflict, NoSuchVersion):
        return no_such_key(object_key)
    raise conflict


async def put_object(context: Context, request: PutObjectInput, body: Body) -> PutObjectOutput:
    """PutObject."""
    return await put_by(context, request, body, CREATED_PUT)


async def put_by(context: Context, request: PutObjectInput, body: Body, event: str) -> PutObjectOutput:
    """Put an object, and tell whoever wants to know that it came by that event."""
    protection = await protection_for(context, request.encryption)
    acl = await acl_to_write(context, request.acl)
    new = NewObject(
        request.object_key,
        ObjectAttributes(headers=request.headers, metadata=request.metadata, protection=protection, acl=acl),
        write_conditions(request.conditions),
        brought(request.encryption.customer_key),
        (await announcer(context)).created(event),
    )
    await refuse_early(context, request.object_key, new.conditions)
    try:
        published = await context.services.objects.put(context.bucket, new, request.payload, body)
    except (PreconditionRefused, NoSuchVersion) as conflict:
        raise await context.access.absent(refusal(conflict, request.object_key)) from None
    return PutObjectOutput(
        etag=published.version.etag,
        encryption=report(protection, request.encryption.customer_key),
        checksum=published.checksum,
        version_id=shown_version(published.version.version_id),
        expiry=await expiry_of(context, published.version),
    )


async def refuse_early(context: Context, object_key: bytes, wanted: Conditions) -> None:
    """Refuse a conditional write that is bound to fail before its body is sent (Expect: 100-continue).

    Only a courtesy: the transaction that publishes judges again, and its word counts.

    Raises:
        S3Error: PreconditionFailed, NoSuchKey.
    """
    if wanted == Conditions():
        return
    try:
        version = (
            await context.services.catalogue.get_version(context.bucket.bucket_id, object_key, with_content=False)
        ).version
    except NoSuchVersion:
        version = None
    absent = version is None or version.is_delete_marker
    if wanted.if_none_match_any and not absent:
        raise S3Error(PRECONDITION_FAILED)
    if wanted.if_match_etag is not None:
        if absent:
            raise await context.access.absent(no_such_key(object_key))
        assert version is not None, "it is present"
        if wanted.if_match_etag not in ("*", version.etag):
            raise S3Error(PRECONDITION_FAILED)


async def find(context: Context, request: GetObjectInput, *, with_content: bool) -> Found:
    """Look a version up for a read.

    Raises:
        S3Error: NoSuchKey, NoSuchVersion, MethodNotAllowed for a delete marker named by its id.
    """
    services = context.services
    try:
        found = await services.catalogue.get_version(
            context.bucket.bucket_id, request.object_key, request.version_id, with_content=with_content
        )
    except NoSuchVersion:
        if request.version_id is not None:
            fields = {"Key": request.object_key.decode("utf-8"), "VersionId": request.version_id}
            raise await context.access.absent(S3Error(NO_SUCH_VERSION, fields=fields)) from None
        raise await context.access.absent(no_such_key(request.object_key)) from None
    if found.version.is_delete_marker:
        marker = {"x-amz-delete-marker": "true", "x-amz-version-id": found.version.version_id}
        if request.version_id is None:
            gone = S3Error(NO_SUCH_KEY, fields={"Key": request.object_key.decode("utf-8")}, headers=marker)
            raise await context.access.absent(gone)
        raise S3Error(METHOD_NOT_ALLOWED, headers={**marker, "Allow": "DELETE"})
    return found


async def get_object(context: Context, request: GetObjectInput, _: Body) -> GetObjectOutput:
    """GetObject: the first piece of plaintext is verified before this returns."""
    found = await find(context, request, with_content=True)
    customer_key = check_reader(context, found.version, request.customer_key)
    output = await _describe(context, request, found, customer_key)
    body = await context.services.objects.open(found, output.offset, output.length, customer_key)
    return replace(output, body=body)


async def head_object(context: Context, request: GetObjectInput, _: Body) -> GetObjectOutput:
    """HeadObject: the same headers; no blob is touched, and a key only where a sealed checksum is asked for."""
    found = await find(context, request, with_content=request.part_number is not None)
    if found.content is None and request.checksum_mode and _has_sealed_checksum(found):
        found = await find(context, request, with_content=True)
    customer_key = check_reader(context, found.version, request.customer_key)
    return await _describe(context, request, found, customer_key)


def _has_sealed_checksum(found: Found) -> bool:
    return isinstance(ObjectAttributes.decode(found.version.attributes).checksum, SealedChecksum)


async def _describe(
    context: Context, request: GetObjectInput, found: Found, customer_key: DataKey | None
) -> GetObjectOutput:
    """Everything of the answer but its body, with the checksum where it was asked for and is that of what is given."""
    output, is_whole = describe_read(found, request)
    output = replace(output, expiry=await expiry_of(context, found.version))
    if not (is_whole and request.checksum_mode):
        return output
    return replace(output, checksum=await context.services.objects.checksum_of(found, customer_key))


def describe_read(found: Found, request: GetObjectInput) -> tuple[GetObjectOutput, bool]:
    """Judge conditions and span of a read: the answer without body and checksum, and whether it gives the whole object.

    Raises:
        S3Error: PreconditionFailed, NotModified, InvalidRange, InvalidPartNumber.
    """
    version = found.version
    attributes = ObjectAttributes.decode(version.attributes)
    conditions.check_read(request.conditions, version.etag, version.created_at)
    offset, length, is_partial = 0, version.size, False
    parts_count: int | None = None
    is_whole = True
    wanted = request.range if conditions.range_applies(request.if_range, version.etag, version.created_at) else None
    if request.part_number is not None:
        offset, length, parts_count = part_span(found, request.part_number)
        # No Content-Range can tell of an empty part, so that it is answered as an empty whole.
        is_partial = length > 0
        is_whole = length == version.size
    elif (span := ranges.resolve(wanted, version.size)) is not None:
        offset, length = span
        is_partial = True
        # Clients hold the object's checksum against the bytes that came, also where a range happens to name all.
        is_whole = False
    output = GetObjectOutput(
        size=version.size,
        offset=offset,
        length=length,
        is_partial=is_partial,
        etag=version.etag,
        last_modified=version.created_at,
        headers=attributes.headers,
        metadata=attributes.metadata,
        encryption=report(attributes.protection, request.customer_key),
        version_id=shown_version(version.version_id),
        parts_count=parts_count,
        tag_count=len(attributes.tags),
        response_overrides=request.response_overrides,
    )
    return output, is_whole


def part_span(found: Found, part_number: int) -> tuple[int, int, int | None]:
    """Offset and length of a part in its object, and the number of parts; an object of one PUT is its part 1.

    Raises:
        S3Error: InvalidPartNumber.
    """
    assert found.content is not None, "only what has content has parts"
    blobs = found.content.payload_blobs
    if blobs[0].role is BlobRole.OBJECT:
        if part_number == 1:
            return 0, found.version.size, None
    else:
        # Complete may have named some of the uploaded parts only: GET counts them from 1 (AWS: GetObject, partNumber).
        offset = 0
        for index, blob in enumerate(blobs, start=1):
            if index == part_number:
                return offset, blob.plaintext_size, len(blobs)
            offset += blob.plaintext_size
    raise S3Error(INVALID_PART_NUMBER, fields={"PartNumberRequested": str(part_number)})


def shown_version(version_id: str) -> str | None:
    """The version id as answers show it: not at all where versioning was never enabled."""
    return None if version_id == NULL_VERSION_ID else version_id


async def delete_object(context: Context, request: DeleteObjectInput, _: Body) -> DeleteObjectOutput:
    """DeleteObject; what is absent is deleted already."""
    wanted = write_conditions(request.conditions)
    command = (await announcer(context)).removing(DeleteVersion(request.object_key, request.version_id, wanted))
    (result,) = await context.services.objects.delete(context.bucket, [command])
    if isinstance(result, CatalogueConflict):
        raise await context.access.absent(refusal(result, request.object_key))
    return DeleteObjectOutput(
        version_id=result.marker_version_id or shown_version(result.removed_version_id or NULL_VERSION_ID),
        delete_marker=result.marker_version_id is not None,
    )


async def delete_objects(context: Context, request: DeleteObjectsInput, _: Body) -> DeleteObjectsOutput:
    """DeleteObjects: each key judged and deleted by itself, all of them durable before the answer."""
    told = await announcer(context)
    may = [await _may_delete(context, entry) for entry in request.objects]
    commands = [
        DeleteVersion(entry.object_key, entry.version_id, Conditions(if_match_etag=entry.etag))
        for entry, allowed in zip(request.objects, may, strict=True)
        if allowed
    ]
    removals = [told.removing(command) for command in commands]
    results = iter(await context.services.objects.delete(context.bucket, removals) if removals else ())
    deleted: list[DeletedEntry] = []
    errors: list[DeleteErrorEntry] = []
    for entry, allowed in zip(request.objects, may, strict=True):
        result = next(results) if allowed else None
        if isinstance(result, Deleted):
            deleted.append(_deleted_entry(result, entry.version_id))
            continue
        error = S3Error(ACCESS_DENIED) if result is None else refusal(result, entry.object_key)
        error = await context.access.absent(error)
        errors.append(DeleteErrorEntry(entry.object_key, entry.version_id, error.row.code, error.message))
    return DeleteObjectsOutput(() if request.quiet else tuple(deleted), tuple(errors))


async def _may_delete(context: Context, entry: ObjectIdentifier) -> bool:
    action = versioned("s3:DeleteObject", entry.version_id)
    if not await context.access.allows(action, entry.object_key, entry.version_id):
        return False
    # Whether an ETag is the object's is for its readers to know.
    return entry.etag is None or await context.access.allows("s3:GetObject", entry.object_key)


def _deleted_entry(result: Deleted, asked_version_id: str | None) -> DeletedEntry:
    return DeletedEntry(
        object_key=result.object_key,
        version_id=asked_version_id,
        delete_marker=result.marker_version_id is not None,
        delete_marker_version_id=result.marker_version_id,
    )
