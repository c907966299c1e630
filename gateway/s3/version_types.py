"""Input and Output of what S3 keeps beside an object's bytes: versions, locks, tags, attributes. As in `types`."""

from dataclasses import dataclass
from datetime import datetime

from gateway.s3.types import Checksum, CustomerKey, LockState, ObjectEntry, Tags


@dataclass(frozen=True, slots=True)
class VersionInput:
    """Every operation whose arguments are an object and perhaps one of its versions."""

    bucket: str
    object_key: bytes
    version_id: str | None = None


@dataclass(frozen=True, slots=True)
class VersionOutput:
    """A success that tells of which version."""

    version_id: str | None = None


# Versioning


@dataclass(frozen=True, slots=True)
class PutBucketVersioningInput:
    """PutBucketVersioning; `status` is Enabled or Suspended."""

    bucket: str
    status: str


@dataclass(frozen=True, slots=True)
class ListObjectVersionsInput:
    """ListObjectVersions."""

    bucket: str
    prefix: bytes = b""
    delimiter: bytes = b""
    key_marker: bytes = b""
    version_id_marker: str | None = None
    max_keys: int = 1000
    url_encoding: bool = False


@dataclass(frozen=True, slots=True)
class VersionEntry:
    """A version in a listing; of a delete marker, size and ETag say nothing."""

    entry: ObjectEntry
    version_id: str
    is_latest: bool
    is_delete_marker: bool


@dataclass(frozen=True, slots=True)
class ListObjectVersionsOutput:
    """ListObjectVersions; `request` is echoed."""

    request: ListObjectVersionsInput
    versions: tuple[VersionEntry, ...]
    common_prefixes: tuple[bytes, ...]
    is_truncated: bool
    next_key_marker: bytes = b""
    next_version_id_marker: str | None = None


# Object lock


@dataclass(frozen=True, slots=True)
class DefaultRetention:
    """What a new version of a bucket is retained by where its request says nothing; days or years, not both."""

    mode: str
    days: int = 0
    years: int = 0


@dataclass(frozen=True, slots=True)
class PutObjectLockConfigurationInput:
    """PutObjectLockConfiguration."""

    bucket: str
    default: DefaultRetention | None = None


@dataclass(frozen=True, slots=True)
class GetObjectLockConfigurationOutput:
    """GetObjectLockConfiguration, of a bucket that has locks."""

    default: DefaultRetention | None = None


@dataclass(frozen=True, slots=True)
class PutObjectRetentionInput:
    """PutObjectRetention; an empty mode takes the retention off."""

    target: VersionInput
    retention: LockState
    bypass_governance: bool = False


@dataclass(frozen=True, slots=True)
class PutObjectLegalHoldInput:
    """PutObjectLegalHold."""

    target: VersionInput
    is_on: bool


@dataclass(frozen=True, slots=True)
class LockOutput:
    """GetObjectRetention and GetObjectLegalHold."""

    lock: LockState


# Tagging


@dataclass(frozen=True, slots=True)
class PutObjectTaggingInput:
    """PutObjectTagging."""

    target: VersionInput
    tags: Tags


@dataclass(frozen=True, slots=True)
class TaggingOutput:
    """GetObjectTagging, and GetBucketTagging without a version."""

    tags: Tags = ()
    version_id: str | None = None


@dataclass(frozen=True, slots=True)
class PutBucketTaggingInput:
    """PutBucketTagging."""

    bucket: str
    tags: Tags


# Attributes


@dataclass(frozen=True, slots=True)
class GetObjectAttributesInput:
    """GetObjectAttributes; `wanted` are members of `ATTRIBUTES`."""

    target: VersionInput
    wanted: frozenset[str]
    max_parts: int = 1000
    part_number_marker: int = 0
    customer_key: CustomerKey | None = None


@dataclass(frozen=True, slots=True)
class PartSize:
    """A part of an object, numbered as GET counts them."""

    part_number: int
    size: int


@dataclass(frozen=True, slots=True)
class ObjectParts:
    """One page of the parts of an object that was uploaded in parts."""

    total_count: int
    parts: tuple[PartSize, ...]
    part_number_marker: int
    max_parts: int
    is_truncated: bool


@dataclass(frozen=True, slots=True)
class GetObjectAttributesOutput:
    """GetObjectAttributes; what was not asked for is None."""

    last_modified: datetime
    version_id: str | None = None
    etag: str | None = None
    checksum: Checksum | None = None
    parts: ObjectParts | None = None
    storage_class: str | None = None
    size: int | None = None
