"""The lock of a new version: what its request asks for, else the bucket's default retention.

Source: S3 "Locking objects with Object Lock".
"""

import json
from datetime import datetime, timedelta

from gateway.operations.context import Context, InBucket
from gateway.s3.errors import INVALID_ARGUMENT, INVALID_REQUEST, S3Error
from gateway.s3.types import LockState
from gateway.s3.version_types import DefaultRetention
from storage.catalogue.records import NO_LOCK, ObjectLock, RetentionMode

CONFIGURATION = "object-lock"
"""The kind under which a bucket's default retention is kept."""


def no_object_lock() -> S3Error:
    """The refusal of a lock where the bucket has none."""
    return S3Error(INVALID_REQUEST, "Bucket is missing Object Lock Configuration")


def shown_lock(lock: ObjectLock) -> LockState:
    """A lock in S3's words."""
    return LockState(lock.mode.value, lock.retain_until, lock.legal_hold)


def asked_lock(context: Context, asked: LockState) -> ObjectLock:
    """The lock that a request's own headers ask for.

    Raises:
        S3Error: InvalidRequest where the bucket has no locks; InvalidArgument for a time that is past.
    """
    if not context.bucket.object_lock:
        if asked.mode or asked.legal_hold:
            raise no_object_lock()
        return NO_LOCK  # OFF asks for nothing
    return ObjectLock(RetentionMode(asked.mode), future(context, asked.retain_until), asked.legal_hold)


def future(context: Context, until: datetime | None) -> datetime | None:
    """Give back the end of a retention that has not come yet. Raises: S3Error InvalidArgument."""
    if until is not None and until <= context.services.clock():
        raise S3Error(INVALID_ARGUMENT, "The retain until date must be in the future!")
    return until


async def with_default(context: InBucket, lock: ObjectLock) -> ObjectLock:
    """The lock of a version that is published now: the bucket's default retention, where it brings none of its own."""
    if lock.retain_until is not None:
        return lock
    default = await default_of(context)
    if default is None:
        return lock
    until = _end_of(default, context.services.clock())
    return ObjectLock(RetentionMode(default.mode), until, lock.legal_hold)


def _end_of(default: DefaultRetention, start: datetime) -> datetime:
    """AWS counts a year as 365 days."""
    return start + timedelta(days=default.days + 365 * default.years)


async def default_of(context: InBucket) -> DefaultRetention | None:
    """The bucket's default retention."""
    bucket = context.bucket
    if not bucket.object_lock or CONFIGURATION not in bucket.configurations:
        return None
    document = await context.services.catalogue.get_configuration(bucket.bucket_id, CONFIGURATION)
    return None if document is None else DefaultRetention(**json.loads(document))
