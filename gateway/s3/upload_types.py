"""Input and Output of multipart uploads. See `types` for what all of them keep to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from gateway.s3.acl import AclRequest
from gateway.s3.lifecycle import Due
from gateway.s3.types import (
    Checksum,
    ChecksumAlgorithm,
    ChecksumType,
    CopySource,
    CustomerKey,
    EncryptionReport,
    EncryptionRequest,
    LockState,
    ObjectHeaders,
    Owner,
    PayloadExpectation,
    Tags,
    WriteConditions,
)


@dataclass(frozen=True, slots=True)
class CreateMultipartUploadInput:
    """CreateMultipartUpload."""

    bucket: str
    object_key: bytes
    headers: ObjectHeaders = field(default_factory=ObjectHeaders)
    metadata: Mapping[str, str] = field(default_factory=dict)
    encryption: EncryptionRequest = field(default_factory=EncryptionRequest)
    checksum_algorithm: ChecksumAlgorithm | None = None
    checksum_type: ChecksumType | None = None
    acl: AclRequest = field(default_factory=AclRequest)
    tags: Tags = ()
    lock: LockState = field(default_factory=LockState)


@dataclass(frozen=True, slots=True)
class CreateMultipartUploadOutput:
    """CreateMultipartUpload."""

    bucket: str
    object_key: bytes
    upload_id: str
    encryption: EncryptionReport
    checksum_algorithm: ChecksumAlgorithm | None = None
    checksum_type: ChecksumType | None = None
    abortion: Due | None = None


@dataclass(frozen=True, slots=True)
class UploadPartInput:
    """UploadPart."""

    bucket: str
    object_key: bytes
    upload_id: str
    part_number: int
    payload: PayloadExpectation
    customer_key: CustomerKey | None = None


@dataclass(frozen=True, slots=True)
class UploadPartOutput:
    """UploadPart."""

    etag: str
    encryption: EncryptionReport
    checksum: Checksum | None = None


@dataclass(frozen=True, slots=True)
class UploadPartCopyInput:
    """UploadPartCopy; `first_byte`/`last_byte` inclusive, both or neither."""

    bucket: str
    object_key: bytes
    upload_id: str
    part_number: int
    source: CopySource
    first_byte: int | None = None
    last_byte: int | None = None
    customer_key: CustomerKey | None = None


@dataclass(frozen=True, slots=True)
class UploadPartCopyOutput:
    """UploadPartCopy."""

    etag: str
    last_modified: datetime
    encryption: EncryptionReport
    checksum: Checksum | None = None
    source_version_id: str | None = None


@dataclass(frozen=True, slots=True)
class CompletedPart:
    """One entry of a CompleteMultipartUpload request."""

    part_number: int
    etag: str
    checksum: Checksum | None = None


@dataclass(frozen=True, slots=True)
class CompleteMultipartUploadInput:
    """CompleteMultipartUpload."""

    bucket: str
    object_key: bytes
    upload_id: str
    parts: tuple[CompletedPart, ...]
    conditions: WriteConditions = field(default_factory=WriteConditions)
    checksum: Checksum | None = None
    """Of the whole object, as the request's header gives it."""
    checksum_type: ChecksumType | None = None
    object_size: int | None = None
    """x-amz-mp-object-size."""
    customer_key: CustomerKey | None = None


@dataclass(frozen=True, slots=True)
class CompleteMultipartUploadOutput:
    """CompleteMultipartUpload."""

    bucket: str
    object_key: bytes
    location: str
    etag: str
    encryption: EncryptionReport
    checksum: Checksum | None = None
    version_id: str | None = None
    expiry: Due | None = None


@dataclass(frozen=True, slots=True)
class AbortMultipartUploadInput:
    """AbortMultipartUpload."""

    bucket: str
    object_key: bytes
    upload_id: str


@dataclass(frozen=True, slots=True)
class ListPartsInput:
    """ListParts."""

    bucket: str
    object_key: bytes
    upload_id: str
    part_number_marker: int = 0
    max_parts: int = 1000
    customer_key: CustomerKey | None = None


@dataclass(frozen=True, slots=True)
class PartEntry:
    """A part in a listing."""

    part_number: int
    last_modified: datetime
    etag: str
    size: int
    checksum: Checksum | None = None


@dataclass(frozen=True, slots=True)
class ListPartsOutput:
    """ListParts; `request` is echoed."""

    request: ListPartsInput
    parts: tuple[PartEntry, ...]
    is_truncated: bool
    owner: Owner
    initiator: Owner
    next_part_number_marker: int = 0
    checksum_algorithm: ChecksumAlgorithm | None = None
    checksum_type: ChecksumType | None = None
    abortion: Due | None = None


@dataclass(frozen=True, slots=True)
class ListMultipartUploadsInput:
    """ListMultipartUploads."""

    bucket: str
    prefix: bytes = b""
    delimiter: bytes = b""
    key_marker: bytes = b""
    upload_id_marker: str | None = None
    max_uploads: int = 1000
    url_encoding: bool = False


@dataclass(frozen=True, slots=True)
class UploadEntry:
    """An upload in a listing."""

    object_key: bytes
    upload_id: str
    initiated_at: datetime
    owner: Owner
    initiator: Owner
    checksum_algorithm: ChecksumAlgorithm | None = None
    checksum_type: ChecksumType | None = None


@dataclass(frozen=True, slots=True)
class ListMultipartUploadsOutput:
    """ListMultipartUploads; `request` is echoed."""

    request: ListMultipartUploadsInput
    uploads: tuple[UploadEntry, ...]
    common_prefixes: tuple[bytes, ...]
    is_truncated: bool
    next_key_marker: bytes = b""
    next_upload_id_marker: str = ""
