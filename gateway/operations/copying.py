"""Copies: CopyObject and UploadPartCopy. The source is admitted and found by the very values that were parsed."""

from dataclasses import replace

from gateway.access.facts import tag_facts
from gateway.engine.attributes import ObjectAttributes
from gateway.engine.integrity import MAX_SINGLE_UPLOAD_BYTES
from gateway.engine.objects import NewObject, Published
from gateway.engine.protection import Protection
from gateway.operations import locks
from gateway.operations.admission import Access
from gateway.operations.context import Context
from gateway.operations.encryption import brought, check_reader, check_uploader, protection_for, protection_of, report
from gateway.operations.granting import acl_to_write
from gateway.operations.lifecycle import expiry_of
from gateway.operations.multipart import find_upload, no_such_upload
from gateway.operations.needs import versioned
from gateway.operations.notifying import announcer
from gateway.operations.objects import refusal, refuse_early, shown_version, write_conditions
from gateway.s3 import conditions
from gateway.s3.acl import Acl
from gateway.s3.errors import (
    INVALID_ARGUMENT,
    INVALID_REQUEST,
    NO_SUCH_KEY,
    NO_SUCH_VERSION,
    SERVICE_UNAVAILABLE,
    S3Error,
)
from gateway.s3.notifications import CREATED_COPY
from gateway.s3.types import Body, CopyObjectInput, CopyObjectOutput, CopySource, PayloadExpectation, Tags
from gateway.s3.upload_types import UploadPartCopyInput, UploadPartCopyOutput
from keys.datakey import DataKey
from storage.catalogue.commands import Found
from storage.catalogue.conflicts import ContentGone, NoSuchUpload, NoSuchVersion, PreconditionRefused

SHARE_ATTEMPTS = 3
"""Times that a copy looks its source up again when it was replaced meanwhile."""


async def find_source(context: Context, source: CopySource) -> tuple[Access, Found, DataKey | None]:
    """Admit the caller to the source, find it there, and judge the key that was brought for it.

    Raises:
        S3Error: AccessDenied, NoSuchBucket, NoSuchKey, NoSuchVersion, InvalidRequest, PreconditionFailed.
    """
    services = context.services
    there = await context.access.enter(source.bucket, source.expected_owner)
    bucket = there.bucket
    await there.require(versioned("s3:GetObject", source.version_id), source.object_key, source.version_id)
    try:
        found = await services.catalogue.get_version(bucket.bucket_id, source.object_key, source.version_id)
    except NoSuchVersion:
        row = NO_SUCH_KEY if source.version_id is None else NO_SUCH_VERSION
        missing = S3Error(row, fields={"Key": source.object_key.decode("utf-8")})
        raise await there.absent(missing) from None
    if found.version.is_delete_marker:
        if source.version_id is None:
            raise await there.absent(S3Error(NO_SUCH_KEY, fields={"Key": source.object_key.decode("utf-8")}))
        raise S3Error(INVALID_REQUEST, "The source of a copy request may not specifically refer to a delete marker.")
    there.require_found(found.version, source.version_id)
    customer_key = check_reader(context, found.version, source.customer_key)
    conditions.check_copy_source(source.conditions, found.version.etag, found.version.created_at)
    return there, found, customer_key


async def _admit_tags(context: Context, there: Access, source: CopySource, object_key: bytes, tags: Tags) -> None:
    """Tags that a copy takes along must be the caller's to read and to write (AWS: CopyObject).

    Raises:
        S3Error: AccessDenied.
    """
    if tags:
        reads = versioned("s3:GetObjectTagging", source.version_id)
        await there.require(reads, source.object_key, source.version_id)
        await context.access.require("s3:PutObjectTagging", object_key, more=tag_facts(dict(tags)))


async def copy_object(context: Context, request: CopyObjectInput, _: Body) -> CopyObjectOutput:
    """CopyObject."""
    protection = await protection_for(context, request.encryption)
    acl = await acl_to_write(context, request.acl)
    await refuse_early(context, request.object_key, write_conditions(request.conditions))
    for _attempt in range(SHARE_ATTEMPTS):
        there, found, source_key = await find_source(context, request.source)
        if found.version.size > MAX_SINGLE_UPLOAD_BYTES:
            raise S3Error(
                INVALID_REQUEST,
                f"The specified copy source is larger than the maximum allowable size for a copy source: "
                f"{MAX_SINGLE_UPLOAD_BYTES}",
            )
        if request.new_tags is None:
            tags = ObjectAttributes.decode(found.version.attributes).tags
            await _admit_tags(context, there, request.source, request.object_key, tags)
        try:
            published = await _copy(context, request, found, protection, source_key, acl)
        except ContentGone:
            continue
        except (PreconditionRefused, NoSuchVersion) as conflict:
            raise await context.access.absent(refusal(conflict, request.object_key)) from None
        return CopyObjectOutput(
            etag=published.version.etag,
            last_modified=published.version.created_at,
            encryption=report(protection, request.encryption.customer_key),
            checksum=published.checksum,
            version_id=shown_version(context.bucket, published.version.version_id),
            source_version_id=shown_version(there.bucket, found.version.version_id, request.source.version_id),
            expiry=await expiry_of(context, published.version),
        )
    raise S3Error(SERVICE_UNAVAILABLE, "The source of the copy keeps changing. Try again.")


async def _copy(
    context: Context,
    request: CopyObjectInput,
    found: Found,
    protection: Protection,
    source_key: DataKey | None,
    acl: Acl | None,
) -> Published:
    held = ObjectAttributes.decode(found.version.attributes)
    tags = held.tags if request.new_tags is None else request.new_tags
    kept = ObjectAttributes(headers=held.headers, metadata=held.metadata, tags=tags)
    replaced = ObjectAttributes(headers=request.headers, metadata=request.metadata, tags=tags)
    new = NewObject(
        request.object_key,
        replace(replaced if request.replace_metadata else kept, protection=protection, acl=acl),
        write_conditions(request.conditions),
        brought(request.encryption.customer_key),
        (await announcer(context)).created(CREATED_COPY),
        # A lock is never copied (AWS: CopyObject).
        await locks.with_default(context, locks.asked_lock(context, request.lock)),
    )
    wanted = request.checksum_algorithm
    lacks_checksum = wanted is not None and (held.checksum is None or held.checksum.algorithm is not wanted)
    expectation = PayloadExpectation(algorithm=wanted) if lacks_checksum else None
    return await context.services.objects.copy(found, context.bucket, new, expectation, source_key)


async def upload_part_copy(context: Context, request: UploadPartCopyInput, _: Body) -> UploadPartCopyOutput:
    """UploadPartCopy: the span is sealed anew under the part's own key."""
    upload = await find_upload(context, request.object_key, request.upload_id)
    customer_key = check_uploader(context, upload, request.customer_key)
    there, found, source_key = await find_source(context, request.source)
    offset, length = _source_span(request, found.version.size)
    try:
        uploaded = await context.services.multipart.copy_part(
            context.bucket,
            upload,
            request.part_number,
            found,
            offset,
            length,
            customer_key=customer_key,
            source_key=source_key,
        )
    except NoSuchUpload:
        raise no_such_upload(request.upload_id) from None
    return UploadPartCopyOutput(
        etag=uploaded.part.etag,
        last_modified=uploaded.part.created_at,
        encryption=report(protection_of(upload), request.customer_key),
        checksum=uploaded.checksum,
        source_version_id=shown_version(there.bucket, found.version.version_id, request.source.version_id),
    )


def _source_span(request: UploadPartCopyInput, size: int) -> tuple[int, int]:
    """x-amz-copy-source-range, strictly within the source (AWS: UploadPartCopy). Half-open."""
    offset, length = 0, size
    if request.first_byte is not None and request.last_byte is not None:
        if not request.first_byte <= request.last_byte < size:
            raise S3Error(
                INVALID_ARGUMENT,
                f"Range specified is not valid for source object of size: {size}",
                fields={"ArgumentName": "x-amz-copy-source-range"},
            )
        offset, length = request.first_byte, request.last_byte - request.first_byte + 1
    if length > MAX_SINGLE_UPLOAD_BYTES:
        raise S3Error(
            INVALID_REQUEST,
            f"The specified copy source is larger than the maximum allowable size for a copy source: "
            f"{MAX_SINGLE_UPLOAD_BYTES}",
        )
    return offset, length
