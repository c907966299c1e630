"""Operations on objects: put, get, head, delete, delete many."""

import asyncio
from dataclasses import replace

from gateway.engine.attributes import ObjectAttributes, SealedChecksum
from gateway.engine.objects import NewObject, new_id
from gateway.operations import locks
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
    SERVICE_UNAVAILABLE,
    S3Error,
)
from gateway.s3.notifications import CREATED_PUT
from gateway.s3.parsing.fields import check_version_id
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
from gateway.s3.version_types import VersionInput
from keys.datakey import DataKey
from storage.catalogue.commands import Conditions, Deleted, DeleteVersion, Found, VersionChange
from storage.catalogue.conflicts import LockRefused, NoSuchVersion, PreconditionRefused
from storage.catalogue.records import BlobRole, Bucket, ObjectVersion, Versioning
from storage.errors import CatalogueConflict


def write_conditions(conditions_: WriteConditions) -> Conditions:
    """The conditions of a request in the catalogue's words."""
    return Conditions(conditions_.if_none_match_any, conditions_.if_match)


CHANGE_ATTEMPTS = 3
"""Times that a change of a version looks it up again when it was replaced meanwhile."""


def no_such_key(object_key: bytes) -> S3Error:
    """The refusal for an absent key."""
    return S3Error(NO_SUCH_KEY, fields={"Key": object_key.decode("utf-8")})


def refusal(conflict: CatalogueConflict, object_key: bytes) -> S3Error:
    """What a write's conditions say to the client."""
    if isinstance(conflict, PreconditionRefused):
        return S3Error(PRECONDITION_FAILED)
    if isinstance(conflict, NoSuchVersion):
        return no_such_key(object_key)
    if isinstance(conflict, LockRefused):
        return object_is_locked()
    raise conflict


def object_is_locked() -> S3Error:
    """The refusal for what a lock holds."""
    return S3Error(ACCESS_DENIED, "Access Denied because object protected by object lock.")


async def put_object(context: Context, request: PutObjectInput, body: Body) -> PutObjectOutput:
    """PutObject."""
    return await put_by(context, request, body, CREATED_PUT)


async def put_by(context: Context, request: PutObjectInput, body: Body, event: str) -> PutObjectOutput:
    """Put an object, and tell whoever wants to know that it came by that event."""
    protection = await protection_for(context, request.encryption)
    acl = await acl_to_write(context, request.acl)
    new = NewObject(
        request.object_key,
        ObjectAttributes(
            headers=request.headers, metadata=request.metadata, tags=request.tags, protection=protection, acl=acl
        ),
        write_conditions(request.conditions),
        brought(request.encryption.customer_key),
        (await announcer(context)).created(event),
        await locks.with_default(context, locks.asked_lock(context, request.lock)),
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
        version_id=shown_version(context.bucket, published.version.version_id),
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
        S3Error: NoSuchKey, NoSuchVersion, MethodNotAllowed for a delete marker named by its id; AccessDenied where
            another version was judged, and this one is not allowed.
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
    context.access.require_found(found.version, request.version_id)
    if request.part_number is not None:
        check_parts_known(found)
    return found


def check_parts_known(found: Found) -> None:
    """Of what still lies at the source of an import only the whole is known. Raises: S3Error ServiceUnavailable."""
    if "pending" in found.version.attributes:
        raise S3Error(SERVICE_UNAVAILABLE, "The parts of this object are not known before it is imported. Try later.")


async def find_version(context: Context, target: VersionInput) -> ObjectVersion:
    """Look up the version that a request about one is about, without its content.

    Raises:
        S3Error: as `find`.
    """
    asked = GetObjectInput(target.bucket, target.object_key, target.version_id)
    return (await find(context, asked, with_content=False)).version


async def change_version(context: Context, target: VersionInput, change: VersionChange) -> ObjectVersion:
    """Change the very version that was found and judged; one that took its place meanwhile is judged in its turn.

    Raises:
        S3Error: as `find`; ServiceUnavailable where the object keeps changing.
        CatalogueConflict: as `Catalogue.update_version`.
    """
    for _attempt in range(CHANGE_ATTEMPTS):
        version = await find_version(context, target)
        try:
            return await context.services.catalogue.update_version(
                context.bucket.bucket_id,
                target.object_key,
                version.version_id,
                replace(change, sequence=version.sequence),
            )
        except PreconditionRefused:
            continue
    raise S3Error(SERVICE_UNAVAILABLE, "The object keeps changing. Try again.")


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
    output, is_whole = describe_read(context.bucket, found, request)
    output = replace(output, expiry=await expiry_of(context, found.version))
    if not (is_whole and request.checksum_mode):
        return output
    return replace(output, checksum=await context.services.objects.checksum_of(found, customer_key))


def describe_read(bucket: Bucket, found: Found, request: GetObjectInput) -> tuple[GetObjectOutput, bool]:
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
        version_id=shown_version(bucket, version.version_id, request.version_id),
        parts_count=parts_count,
        tag_count=len(attributes.tags),
        lock=locks.shown_lock(version.lock),
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


def shown_version(bucket: Bucket, version_id: str, asked: str | None = None) -> str | None:
    """The version id as answers show it: where versioning was never enabled, only to who asked for a version."""
    return None if bucket.versioning is Versioning.NEVER and asked is None else version_id


async def delete_object(context: Context, request: DeleteObjectInput, _: Body) -> DeleteObjectOutput:
    """DeleteObject; what is absent is deleted already."""
    wanted = DeleteVersion(
        request.object_key,
        request.version_id,
        write_conditions(request.conditions),
        marker_id=new_id().hex(),
        bypass_governance=request.bypass_governance,
    )
    command = (await announcer(context)).removing(wanted)
    (result,) = await context.services.objects.delete(context.bucket, [command])
    if isinstance(result, CatalogueConflict):
        raise await context.access.absent(refusal(result, request.object_key))
    return DeleteObjectOutput(
        version_id=result.marker_version_id or request.version_id,
        delete_marker=result.marker_version_id is not None or result.removed_a_marker,
    )


async def delete_objects(context: Context, request: DeleteObjectsInput, _: Body) -> DeleteObjectsOutput:
    """DeleteObjects: each key judged and deleted by itself, all of them durable before the answer."""
    told = await announcer(context)
    deleted: list[DeletedEntry] = []
    errors: list[DeleteErrorEntry] = []
    commands: list[tuple[ObjectIdentifier, DeleteVersion]] = []
    for entry in request.objects:
        try:
            command = await _delete_command(context, entry, bypass_governance=request.bypass_governance)
            commands.append((entry, told.removing(command)))
        except S3Error as error:
            errors.append(await _delete_error(context, entry, error))
        # A policy may cost milliseconds for each key, and nothing above has to wait for anything.
        await asyncio.sleep(0)
    removals = [command for _, command in commands]
    results = await context.services.objects.delete(context.bucket, removals) if removals else ()
    for (entry, _command), result in zip(commands, results, strict=True):
        if isinstance(result, Deleted):
            deleted.append(_deleted_entry(result, entry.version_id))
        else:
            errors.append(await _delete_error(context, entry, refusal(result, entry.object_key)))
    return DeleteObjectsOutput(() if request.quiet else tuple(deleted), tuple(errors))


async def _delete_command(context: Context, entry: ObjectIdentifier, *, bypass_governance: bool) -> DeleteVersion:
    """What is to be done about one key. Raises: S3Error AccessDenied, NoSuchVersion, InvalidArgument."""
    action = versioned("s3:DeleteObject", entry.version_id)
    await context.access.require(action, entry.object_key, entry.version_id)
    if bypass_governance:
        await context.access.require("s3:BypassGovernanceRetention", entry.object_key, entry.version_id)
    if entry.etag is not None:
        # Whether an ETag is the object's is for its readers to know.
        await context.access.require("s3:GetObject", entry.object_key)
    if entry.version_id == "":
        raise S3Error(NO_SUCH_VERSION)  # as on AWS: it names a version, and none that there is
    if entry.version_id is not None:
        check_version_id(entry.version_id, "VersionId")
    return DeleteVersion(
        entry.object_key,
        entry.version_id,
        Conditions(if_match_etag=entry.etag),
        marker_id=new_id().hex(),
        bypass_governance=bypass_governance,
    )


async def _delete_error(context: Context, entry: ObjectIdentifier, error: S3Error) -> DeleteErrorEntry:
    told = await context.access.absent(error)
    return DeleteErrorEntry(entry.object_key, entry.version_id, told.row.code, told.message)


def _deleted_entry(result: Deleted, asked_version_id: str | None) -> DeletedEntry:
    return DeletedEntry(
        object_key=result.object_key,
        version_id=asked_version_id,
        delete_marker=result.marker_version_id is not None or result.removed_a_marker,
        delete_marker_version_id=result.removed_version_id if result.removed_a_marker else result.marker_version_id,
    )
