"""Object lock: a bucket's default, retention and legal hold of a version.

Whether a lock holds is judged by the catalogue, in the transaction that would break it. Source: S3 "Locking objects
with Object Lock".
"""

import json

from gateway.access.templates import Values
from gateway.operations import locks
from gateway.operations.context import Context
from gateway.operations.objects import change_version, find_version, object_is_locked
from gateway.s3.errors import (
    INVALID_BUCKET_STATE,
    NO_SUCH_OBJECT_LOCK_CONFIGURATION,
    OBJECT_LOCK_CONFIGURATION_NOT_FOUND,
    S3Error,
)
from gateway.s3.types import Body, BucketInput, EmptyOutput
from gateway.s3.version_types import (
    GetObjectLockConfigurationOutput,
    LockOutput,
    PutObjectLegalHoldInput,
    PutObjectLockConfigurationInput,
    PutObjectRetentionInput,
    VersionInput,
)
from storage.catalogue.commands import VersionChange
from storage.catalogue.conflicts import BucketStateRefused, LockRefused
from storage.catalogue.records import ObjectLock, ObjectVersion, RetentionMode


async def put_object_lock_configuration(
    context: Context, request: PutObjectLockConfigurationInput, _: Body
) -> EmptyOutput:
    """PutObjectLockConfiguration: from now on the bucket has locks; a rule is set, or dropped where none comes."""
    catalogue, bucket_id = context.services.catalogue, context.bucket.bucket_id
    try:
        await catalogue.enable_object_lock(bucket_id)
    except BucketStateRefused:
        message = "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration"
        raise S3Error(INVALID_BUCKET_STATE, message) from None
    default = request.default
    document = None
    if default is not None:
        document = json.dumps({"mode": default.mode, "days": default.days, "years": default.years}).encode()
    await catalogue.put_configuration(bucket_id, locks.CONFIGURATION, document)
    return EmptyOutput()


async def get_object_lock_configuration(
    context: Context, request: BucketInput, _: Body
) -> GetObjectLockConfigurationOutput:
    """GetObjectLockConfiguration."""
    if not context.bucket.object_lock:
        raise S3Error(OBJECT_LOCK_CONFIGURATION_NOT_FOUND, fields={"BucketName": request.bucket})
    return GetObjectLockConfigurationOutput(await locks.default_of(context))


async def put_object_retention(context: Context, request: PutObjectRetentionInput, _: Body) -> EmptyOutput:
    """PutObjectRetention."""
    target, wanted = request.target, request.retention
    facts: dict[str, Values | None] = {
        "s3:object-lock-mode": (wanted.mode,) if wanted.mode else None,
        "s3:object-lock-retain-until-date": None
        if wanted.retain_until is None
        else (f"{wanted.retain_until:%Y-%m-%dT%H:%M:%SZ}",),
    }
    await context.access.require("s3:PutObjectRetention", target.object_key, target.version_id, facts)
    until = locks.future(context, request.retention.retain_until)
    retention = ObjectLock(RetentionMode(request.retention.mode), until)
    change = VersionChange(retention=retention, bypass_governance=request.bypass_governance)
    await _change(context, request.target, change)
    return EmptyOutput()


async def put_object_legal_hold(context: Context, request: PutObjectLegalHoldInput, _: Body) -> EmptyOutput:
    """PutObjectLegalHold."""
    target = request.target
    facts = {"s3:object-lock-legal-hold": ("ON" if request.is_on else "OFF",)}
    await context.access.require("s3:PutObjectLegalHold", target.object_key, target.version_id, facts)
    await _change(context, request.target, VersionChange(legal_hold=request.is_on))
    return EmptyOutput()


async def _change(context: Context, target: VersionInput, change: VersionChange) -> None:
    if not context.bucket.object_lock:
        raise locks.no_object_lock()
    try:
        await change_version(context, target, change)
    except LockRefused:
        raise object_is_locked() from None


async def _locked_version(context: Context, target: VersionInput) -> ObjectVersion:
    if not context.bucket.object_lock:
        raise locks.no_object_lock()
    return await find_version(context, target)


async def get_object_retention(context: Context, request: VersionInput, _: Body) -> LockOutput:
    """GetObjectRetention."""
    version = await _locked_version(context, request)
    if version.lock.retain_until is None:
        raise S3Error(NO_SUCH_OBJECT_LOCK_CONFIGURATION)
    return LockOutput(locks.shown_lock(version.lock))


async def get_object_legal_hold(context: Context, request: VersionInput, _: Body) -> LockOutput:
    """GetObjectLegalHold: of a version that never had one there is none to tell, which is not OFF."""
    version = await _locked_version(context, request)
    if version.lock.legal_hold is None:
        raise S3Error(NO_SUCH_OBJECT_LOCK_CONFIGURATION)
    return LockOutput(locks.shown_lock(version.lock))
