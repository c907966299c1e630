"""Multipart uploads: create, upload a part, complete, abort, and the two listings."""

from typing import Final

from gateway.engine.attributes import ObjectAttributes
from gateway.engine.multipart import lock_of
from gateway.engine.protection import Mode
from gateway.operations import locks
from gateway.operations.context import Context
from gateway.operations.encryption import brought, check_uploader, protection_for, protection_of, report
from gateway.operations.granting import acl_to_write
from gateway.operations.lifecycle import abortion_of, expiry_of
from gateway.operations.notifying import announcer
from gateway.operations.objects import refusal, refuse_early, shown_version, write_conditions
from gateway.operations.service import owner_of
from gateway.s3.errors import INVALID_ARGUMENT, INVALID_REQUEST, NO_SUCH_UPLOAD, S3Error
from gateway.s3.notifications import CREATED_COMPLETE
from gateway.s3.types import Body, EmptyOutput, Owner
from gateway.s3.upload_types import (
    AbortMultipartUploadInput,
    CompleteMultipartUploadInput,
    CompleteMultipartUploadOutput,
    CreateMultipartUploadInput,
    CreateMultipartUploadOutput,
    ListMultipartUploadsInput,
    ListMultipartUploadsOutput,
    ListPartsInput,
    ListPartsOutput,
    PartEntry,
    UploadEntry,
    UploadPartInput,
    UploadPartOutput,
)
from storage.catalogue.commands import UploadsQuery
from storage.catalogue.conflicts import NoSuchUpload, NoSuchVersion, PreconditionRefused
from storage.catalogue.records import ID_SIZE, Upload

MAX_PAGE = 1000
"""Parts or uploads in one page at the most (AWS: ListParts, ListMultipartUploads)."""

ANONYMOUS: Final = "65a011a29cdf8ec533ec3d1ccaae921c"
"""Canonical id by which S3 names the initiator of an upload that nobody signed."""


def no_such_upload(upload_id: str) -> S3Error:
    """The refusal for an unknown upload; foreign and malformed ids look just the same."""
    return S3Error(NO_SUCH_UPLOAD, fields={"UploadId": upload_id[:100]})


def decode_upload_id(upload_id: str) -> bytes:
    """Upload ids are the hexadecimal form of 16 random bytes.

    Raises:
        S3Error: NoSuchUpload.
    """
    try:
        decoded = bytes.fromhex(upload_id)
    except ValueError:
        raise no_such_upload(upload_id) from None
    if decoded.hex() != upload_id or len(decoded) != ID_SIZE:
        raise no_such_upload(upload_id)
    return decoded


async def find_upload(context: Context, object_key: bytes, upload_id: str, *, completed_too: bool = False) -> Upload:
    """Look an upload up under the bucket and object key that it was made for.

    Raises:
        S3Error: NoSuchUpload.
    """
    decoded = decode_upload_id(upload_id)
    try:
        upload = await context.services.catalogue.get_upload(context.bucket.bucket_id, object_key, decoded)
    except NoSuchUpload:
        raise no_such_upload(upload_id) from None
    if upload.completed is not None and not completed_too:
        raise no_such_upload(upload_id)
    return upload


async def create_multipart_upload(
    context: Context, request: CreateMultipartUploadInput, _: Body
) -> CreateMultipartUploadOutput:
    """CreateMultipartUpload."""
    protection = await protection_for(context, request.encryption)
    attributes = ObjectAttributes(
        headers=request.headers,
        metadata=request.metadata,
        checksum_algorithm=request.checksum_algorithm,
        checksum_type=request.checksum_type,
        tags=request.tags,
        protection=protection,
        initiator=None if context.access.is_owner else context.access.caller.account_id or ANONYMOUS,
        acl=await acl_to_write(context, request.acl),
    )
    lock = locks.asked_lock(context, request.lock)
    customer_key = brought(request.encryption.customer_key)
    upload = await context.services.multipart.create(context.bucket, request.object_key, attributes, customer_key, lock)
    return CreateMultipartUploadOutput(
        bucket=request.bucket,
        object_key=request.object_key,
        upload_id=upload.upload_id.hex(),
        encryption=report(protection, request.encryption.customer_key),
        checksum_algorithm=request.checksum_algorithm,
        checksum_type=request.checksum_type,
        abortion=await abortion_of(context, upload.object_key, upload.created_at),
    )


async def upload_part(context: Context, request: UploadPartInput, body: Body) -> UploadPartOutput:
    """UploadPart."""
    upload = await find_upload(context, request.object_key, request.upload_id)
    customer_key = check_uploader(context, upload, request.customer_key)
    try:
        uploaded = await context.services.multipart.put_part(
            context.bucket, upload, request.part_number, request.payload, body, customer_key
        )
    except NoSuchUpload:
        raise no_such_upload(request.upload_id) from None
    return UploadPartOutput(
        etag=uploaded.part.etag,
        encryption=report(protection_of(upload), request.customer_key),
        checksum=uploaded.checksum,
    )


async def complete_multipart_upload(
    context: Context, request: CompleteMultipartUploadInput, _: Body
) -> CompleteMultipartUploadOutput:
    """CompleteMultipartUpload; a second call answers as the first did."""
    upload = await find_upload(context, request.object_key, request.upload_id, completed_too=True)
    customer_key = check_uploader(context, upload, request.customer_key, may_be_absent=True)
    _refuse_checksums_without_key(request, upload)
    wanted = write_conditions(request.conditions)
    if upload.completed is None:
        # The transaction judges again; but by then a manifest lies in the store, which only the sweep would take away.
        await refuse_early(context, request.object_key, wanted)
    try:
        published = await context.services.multipart.complete(
            context.bucket,
            upload,
            request.parts,
            wanted,
            checksum=request.checksum,
            checksum_type=request.checksum_type,
            object_size=request.object_size,
            customer_key=customer_key,
            notices=(await announcer(context)).created(CREATED_COMPLETE),
            lock=await locks.with_default(context, lock_of(upload)),
        )
    except NoSuchUpload:
        raise no_such_upload(request.upload_id) from None
    except (PreconditionRefused, NoSuchVersion) as conflict:
        raise await context.access.absent(refusal(conflict, request.object_key)) from None
    host = context.request.headers.get("host") or ""
    return CompleteMultipartUploadOutput(
        bucket=request.bucket,
        object_key=request.object_key,
        # Built from the request line as it was sent, so that the caller finds the object under the name he used.
        location=f"https://{host}{context.request.raw_path.decode('ascii', 'replace')}",
        etag=published.version.etag,
        encryption=report(protection_of(upload), request.customer_key),
        checksum=published.checksum,
        version_id=shown_version(context.bucket, published.version.version_id),
        expiry=await expiry_of(context, published.version),
    )


def _refuse_checksums_without_key(request: CompleteMultipartUploadInput, upload: Upload) -> None:
    """Refuse to compare checksums that only the client's key would open, instead of passing them over.

    Raises:
        S3Error: InvalidRequest.
    """
    if protection_of(upload).mode is not Mode.CUSTOMER or request.customer_key is not None:
        return
    if request.checksum is not None or any(part.checksum is not None for part in request.parts):
        raise S3Error(
            INVALID_REQUEST,
            "The multipart upload was created with a customer-provided key. The correct parameters must be provided to "
            "compare its checksums.",
        )


async def abort_multipart_upload(context: Context, request: AbortMultipartUploadInput, _: Body) -> EmptyOutput:
    """AbortMultipartUpload."""
    upload_id = decode_upload_id(request.upload_id)
    try:
        await context.services.catalogue.abort_upload(context.bucket.bucket_id, request.object_key, upload_id)
    except NoSuchUpload:
        raise no_such_upload(request.upload_id) from None
    return EmptyOutput()


async def list_parts(context: Context, request: ListPartsInput, _: Body) -> ListPartsOutput:
    """ListParts."""
    upload = await find_upload(context, request.object_key, request.upload_id)
    customer_key = check_uploader(context, upload, request.customer_key, may_be_absent=True)
    limit = min(request.max_parts, MAX_PAGE)
    try:
        parts = await context.services.catalogue.list_parts(
            upload.upload_id, after=request.part_number_marker, limit=limit + 1
        )
    except NoSuchUpload:
        raise no_such_upload(request.upload_id) from None
    page = parts[:limit]
    checksums = await context.services.multipart.part_checksums(upload, page, customer_key)
    attributes = ObjectAttributes.decode(upload.attributes)
    owner = await owner_of(context)
    return ListPartsOutput(
        request=request,
        parts=tuple(
            PartEntry(part.part_number, part.created_at, part.etag, part.size, checksum)
            for part, checksum in zip(page, checksums, strict=True)
        ),
        is_truncated=len(parts) > limit > 0,
        owner=owner,
        initiator=_initiator(attributes, owner),
        next_part_number_marker=page[-1].part_number if page else 0,
        checksum_algorithm=attributes.checksum_algorithm,
        checksum_type=attributes.checksum_type,
        abortion=await abortion_of(context, upload.object_key, upload.created_at),
    )


def _initiator(attributes: ObjectAttributes, owner: Owner) -> Owner:
    """Who began an upload: another account is named by its id alone."""
    return owner if attributes.initiator is None else Owner(attributes.initiator, "")


def _decode_marker(upload_id_marker: str) -> bytes:
    try:
        return decode_upload_id(upload_id_marker)
    except S3Error:
        message = "Invalid uploadId marker"
        raise S3Error(INVALID_ARGUMENT, message, fields={"ArgumentName": "upload-id-marker"}) from None


async def list_multipart_uploads(
    context: Context, request: ListMultipartUploadsInput, _: Body
) -> ListMultipartUploadsOutput:
    """ListMultipartUploads."""
    limit = min(request.max_uploads, MAX_PAGE)
    if limit == 0:
        return ListMultipartUploadsOutput(request, (), (), is_truncated=False)
    marker = None if request.upload_id_marker is None else _decode_marker(request.upload_id_marker)
    page = await context.services.catalogue.list_uploads(
        context.bucket.bucket_id,
        UploadsQuery(request.prefix, request.delimiter, request.key_marker, marker, limit),
    )
    owner = await owner_of(context)
    entries = []
    for upload in page.uploads:
        attributes = ObjectAttributes.decode(upload.attributes)
        entries.append(
            UploadEntry(
                object_key=upload.object_key,
                upload_id=upload.upload_id.hex(),
                initiated_at=upload.created_at,
                owner=owner,
                initiator=_initiator(attributes, owner),
                checksum_algorithm=attributes.checksum_algorithm,
                checksum_type=attributes.checksum_type,
            )
        )
    return ListMultipartUploadsOutput(
        request=request,
        uploads=tuple(entries),
        common_prefixes=page.common_prefixes,
        is_truncated=page.is_truncated,
        next_key_marker=page.next_key_marker,
        next_upload_id_marker=page.next_upload_id_marker.hex() if page.next_upload_id_marker else "",
    )
