"""Input and Output of operations on the service and on buckets. See `types` for what all of them keep to."""

from dataclasses import dataclass, field
from datetime import datetime

from gateway.s3.access_log import LoggingTarget
from gateway.s3.acl import AclRequest
from gateway.s3.lifecycle import Lifecycle
from gateway.s3.notifications import Notifications
from gateway.s3.public_access import ObjectOwnership
from gateway.s3.types import BucketEncryption, Owner


@dataclass(frozen=True, slots=True)
class ListBucketsInput:
    """ListBuckets."""

    max_buckets: int | None = None
    continuation_token: str | None = None
    prefix: str = ""
    bucket_region: str | None = None


@dataclass(frozen=True, slots=True)
class BucketEntry:
    """A bucket in a listing."""

    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ListBucketsOutput:
    """ListBuckets."""

    buckets: tuple[BucketEntry, ...]
    owner: Owner
    region: str
    prefix: str = ""
    continuation_token: str | None = None


@dataclass(frozen=True, slots=True)
class CreateBucketInput:
    """CreateBucket; `location_constraint` empty where none was sent."""

    bucket: str
    location_constraint: str = ""
    acl: AclRequest = field(default_factory=AclRequest)
    ownership: ObjectOwnership | None = None
    """x-amz-object-ownership."""
    object_lock: bool = False
    """x-amz-bucket-object-lock-enabled."""


@dataclass(frozen=True, slots=True)
class CreateBucketOutput:
    """CreateBucket."""

    bucket: str


@dataclass(frozen=True, slots=True)
class HeadBucketOutput:
    """HeadBucket."""

    region: str


@dataclass(frozen=True, slots=True)
class GetBucketLocationOutput:
    """GetBucketLocation; serialised empty for us-east-1."""

    region: str


@dataclass(frozen=True, slots=True)
class GetBucketEncryptionOutput:
    """GetBucketEncryption."""

    encryption: BucketEncryption


@dataclass(frozen=True, slots=True)
class PutBucketEncryptionInput:
    """PutBucketEncryption."""

    bucket: str
    encryption: BucketEncryption


@dataclass(frozen=True, slots=True)
class GetBucketVersioningOutput:
    """GetBucketVersioning; empty status for a bucket whose versioning was never enabled."""

    status: str = ""


@dataclass(frozen=True, slots=True)
class PutBucketLifecycleConfigurationInput:
    """PutBucketLifecycleConfiguration."""

    bucket: str
    lifecycle: Lifecycle


@dataclass(frozen=True, slots=True)
class PutBucketLifecycleConfigurationOutput:
    """PutBucketLifecycleConfiguration."""

    transition_default_minimum_object_size: str


@dataclass(frozen=True, slots=True)
class LifecycleOutput:
    """GetBucketLifecycleConfiguration."""

    lifecycle: Lifecycle


@dataclass(frozen=True, slots=True)
class PutBucketNotificationConfigurationInput:
    """PutBucketNotificationConfiguration."""

    bucket: str
    notifications: Notifications
    skip_validation: bool = False


@dataclass(frozen=True, slots=True)
class NotificationsOutput:
    """GetBucketNotificationConfiguration."""

    notifications: Notifications


@dataclass(frozen=True, slots=True)
class PutBucketLoggingInput:
    """PutBucketLogging; no target turns logging off."""

    bucket: str
    target: LoggingTarget | None = None


@dataclass(frozen=True, slots=True)
class LoggingOutput:
    """GetBucketLogging."""

    target: LoggingTarget | None = None
