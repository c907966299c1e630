"""Input and Output of every S3 operation, named as in the API, free of HTTP spellings.

Bucket names are text, object keys bytes (UTF-8, decoded from the path once), times aware UTC, ETags without quotes,
sizes bytes of plaintext. `parsing` makes Inputs from requests, `serialising` makes responses from Outputs;
operations see only these types. Bodies travel beside an Input, never inside.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from gateway.s3.acl import AclRequest
from gateway.s3.lifecycle import Due

Buffer = bytes | bytearray | memoryview


class Body(Protocol):
    """A request body after transfer and aws-chunked decoding: plaintext as it comes, in pieces of any size."""

    @property
    def decoded_length(self) -> int | None:
        """Bytes that the request declares for the decoded body; None where it is not said (plain chunked)."""

    def __aiter__(self) -> AsyncIterator[Buffer]:
        """Give the decoded bytes. Raises S3Error for a body that is cut short, malformed, late or wrongly signed."""

    @property
    def trailers(self) -> Mapping[str, str]:
        """Trailing headers by lower-case name; known once the iteration has ended."""


class ChecksumAlgorithm(StrEnum):
    """Checksums that S3 keeps with an object (AWS: "Checking object integrity")."""

    CRC32 = "CRC32"
    CRC32C = "CRC32C"
    CRC64NVME = "CRC64NVME"
    SHA1 = "SHA1"
    SHA256 = "SHA256"


class ChecksumType(StrEnum):
    """Whether a checksum covers the object's bytes or the checksums of its parts."""

    FULL_OBJECT = "FULL_OBJECT"
    COMPOSITE = "COMPOSITE"


@dataclass(frozen=True, slots=True)
class Checksum:
    """A kept checksum. `value` is Base64, with `-N` behind it for a composite of N parts."""

    algorithm: ChecksumAlgorithm
    value: str = field(repr=False)
    checksum_type: ChecksumType = ChecksumType.FULL_OBJECT


@dataclass(frozen=True, slots=True)
class PayloadExpectation:
    """What a request says of its body's plaintext; each is verified before anything becomes visible."""

    content_length: int | None = None
    content_md5: bytes | None = field(default=None, repr=False)
    """16 bytes."""
    content_sha256: bytes | None = field(default=None, repr=False)
    """32 bytes, from x-amz-content-sha256 where it is a hash."""
    algorithm: ChecksumAlgorithm | None = None
    """The algorithm of x-amz-checksum-*, of the trailer, or of x-amz-sdk-checksum-algorithm."""
    checksum: str | None = field(default=None, repr=False)
    """Its Base64 value where a header carries it."""
    trailer: str | None = None
    """The trailing header that will carry it, e.g. `x-amz-checksum-crc32`."""


@dataclass(frozen=True, slots=True)
class ObjectHeaders:
    """System metadata that S3 keeps and gives back as it came."""

    content_type: str | None = None
    cache_control: str | None = None
    content_disposition: str | None = None
    content_encoding: str | None = None
    """Without `aws-chunked`."""
    content_language: str | None = None
    expires: str | None = None


AES256 = "AES256"
"""SSE-S3: the service holds the key."""
AWS_KMS = "aws:kms"
"""SSE-KMS: a named key of the KMS."""
SSE_C = "SSE-C"
"""A key of the client; no header's value, but what a bucket may block."""


@dataclass(frozen=True, slots=True)
class CustomerKey:
    """The key that a client brings with a request (SSE-C). It lives as long as the request, and no longer."""

    material: bytes = field(repr=False)
    """32 bytes."""
    md5: str = field(repr=False)
    """Base64, as sent: answers repeat it."""


@dataclass(frozen=True, slots=True)
class EncryptionRequest:
    """What a write asks for; headers that exclude each other were refused."""

    algorithm: str | None = None
    """`AES256` or `aws:kms`; None where the bucket's default decides, or a customer key."""
    kms_key_id: str | None = None
    """Id, alias or ARN, as sent."""
    context: str | None = field(default=None, repr=False)
    """The encryption context as canonical JSON; empty for one without pairs."""
    bucket_key_enabled: bool | None = None
    customer_key: CustomerKey | None = None

    @property
    def names_any(self) -> bool:
        """Whether it asks for anything at all."""
        return self != EncryptionRequest()


@dataclass(frozen=True, slots=True)
class EncryptionReport:
    """How an object is encrypted, as answers tell it."""

    algorithm: str | None = AES256
    """None for SSE-C, which has headers of its own."""
    kms_key_id: str | None = None
    """The key's ARN."""
    bucket_key_enabled: bool = False
    context: str | None = field(default=None, repr=False)
    """Canonical JSON."""
    customer_key_md5: str | None = field(default=None, repr=False)
    """As the request brought it."""


@dataclass(frozen=True, slots=True)
class BucketEncryption:
    """A bucket's default, for requests that name no encryption, and what it lets nobody name."""

    algorithm: str = AES256
    """`AES256` or `aws:kms`."""
    kms_key_id: str | None = None
    """Id, alias or ARN, as it was put; None for the managed key."""
    bucket_key_enabled: bool = False
    blocked_types: tuple[str, ...] = ()
    """`SSE-C` where nobody may bring a key; `NONE` says that everybody may, as nothing does."""


@dataclass(frozen=True, slots=True)
class ReadConditions:
    """If-* of reads and, from x-amz-copy-source-if-*, of copy sources. ETags as sent, lists allowed."""

    if_match: str | None = None
    if_none_match: str | None = None
    if_modified_since: datetime | None = None
    if_unmodified_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class WriteConditions:
    """If-* of writes: `If-None-Match: *` and `If-Match: etag` (no quotes)."""

    if_none_match_any: bool = False
    if_match: str | None = None


@dataclass(frozen=True, slots=True)
class RangeRequest:
    """One byte range as asked, inclusive as on the wire; exactly one of `first_byte` and `suffix_length` is set."""

    first_byte: int | None = None
    last_byte: int | None = None
    suffix_length: int | None = None


Tags = tuple[tuple[str, str], ...]
"""Names and values of tags, in the order in which they were given."""


@dataclass(frozen=True, slots=True)
class LockState:
    """What keeps a version from being deleted, as asked for and as shown. Mode and time come together or not at all."""

    mode: str = ""
    """GOVERNANCE, COMPLIANCE or empty."""
    retain_until: datetime | None = None
    legal_hold: bool | None = None
    """None where none was ever set."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The owner that listings show."""

    owner_id: str
    display_name: str


@dataclass(frozen=True, slots=True)
class BucketInput:
    """Every operation whose only argument is the bucket: HeadBucket, DeleteBucket, GetBucketLocation, ..."""

    bucket: str


@dataclass(frozen=True, slots=True)
class EmptyOutput:
    """A success that says nothing."""


# Objects


@dataclass(frozen=True, slots=True)
class PutObjectInput:
    """PutObject."""

    bucket: str
    object_key: bytes
    payload: PayloadExpectation
    headers: ObjectHeaders = field(default_factory=ObjectHeaders)
    metadata: Mapping[str, str] = field(default_factory=dict)
    """User metadata by lower-case name without `x-amz-meta-`."""
    conditions: WriteConditions = field(default_factory=WriteConditions)
    encryption: EncryptionRequest = field(default_factory=EncryptionRequest)
    acl: AclRequest = field(default_factory=AclRequest)
    tags: Tags = ()
    lock: LockState = field(default_factory=LockState)


@dataclass(frozen=True, slots=True)
class PutObjectOutput:
    """PutObject."""

    etag: str
    encryption: EncryptionReport
    checksum: Checksum | None = None
    version_id: str | None = None
    expiry: Due | None = None


@dataclass(frozen=True, slots=True)
class PostObjectInput:
    """A browser's upload form: a PutObject and how to answer it."""

    put: PutObjectInput
    location: str
    """Where the object will be."""
    redirect: str = ""
    """success_action_redirect where it is an address; comes before `status`."""
    status: int = 204
    """200, 201 (with a document) or 204."""


@dataclass(frozen=True, slots=True)
class PostObjectOutput:
    """A form's answer."""

    request: PostObjectInput
    put: PutObjectOutput


@dataclass(frozen=True, slots=True)
class GetObjectInput:
    """GetObject and HeadObject."""

    bucket: str
    object_key: bytes
    version_id: str | None = None
    range: RangeRequest | None = None
    if_range: str | None = None
    """If-Range as sent: an ETag or a date; where it does not name this very object, the range is not asked for."""
    part_number: int | None = None
    conditions: ReadConditions = field(default_factory=ReadConditions)
    checksum_mode: bool = False
    customer_key: CustomerKey | None = None
    response_overrides: Mapping[str, str] = field(default_factory=dict)
    """Response header name (`content-type`, ...) -> value, from response-* of a signed query."""


@dataclass(frozen=True, slots=True)
class GetObjectOutput:
    """GetObject and HeadObject: the headers, and for GetObject the stream of plaintext."""

    size: int
    """The whole object."""
    offset: int
    """Half-open span that `body` gives; the whole object for HeadObject without a range."""
    length: int
    is_partial: bool
    etag: str
    last_modified: datetime
    headers: ObjectHeaders
    metadata: Mapping[str, str]
    encryption: EncryptionReport
    checksum: Checksum | None = None
    """Already left out where the request did not ask for it or where it does not describe the bytes given."""
    version_id: str | None = None
    parts_count: int | None = None
    tag_count: int = 0
    expiry: Due | None = None
    lock: LockState = field(default_factory=LockState)
    response_overrides: Mapping[str, str] = field(default_factory=dict)
    body: AsyncIterator[Buffer] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class DeleteObjectInput:
    """DeleteObject."""

    bucket: str
    object_key: bytes
    version_id: str | None = None
    conditions: WriteConditions = field(default_factory=WriteConditions)
    bypass_governance: bool = False


@dataclass(frozen=True, slots=True)
class DeleteObjectOutput:
    """DeleteObject."""

    version_id: str | None = None
    delete_marker: bool = False


@dataclass(frozen=True, slots=True)
class ObjectIdentifier:
    """One entry of a DeleteObjects request."""

    object_key: bytes
    version_id: str | None = None
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class DeleteObjectsInput:
    """DeleteObjects."""

    bucket: str
    objects: tuple[ObjectIdentifier, ...]
    quiet: bool = False
    bypass_governance: bool = False


@dataclass(frozen=True, slots=True)
class DeletedEntry:
    """One success of DeleteObjects."""

    object_key: bytes
    version_id: str | None = None
    delete_marker: bool = False
    delete_marker_version_id: str | None = None


@dataclass(frozen=True, slots=True)
class DeleteErrorEntry:
    """One refusal of DeleteObjects."""

    object_key: bytes
    version_id: str | None
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class DeleteObjectsOutput:
    """DeleteObjects; `deleted` is left out of the answer when the request was quiet."""

    deleted: tuple[DeletedEntry, ...]
    errors: tuple[DeleteErrorEntry, ...]


@dataclass(frozen=True, slots=True)
class CopySource:
    """x-amz-copy-source, decoded once; checker and reader use this same value."""

    bucket: str
    object_key: bytes
    version_id: str | None = None
    conditions: ReadConditions = field(default_factory=ReadConditions)
    customer_key: CustomerKey | None = None
    expected_owner: str | None = None
    """Canonical id of the account that must own the bucket."""


@dataclass(frozen=True, slots=True)
class CopyObjectInput:
    """CopyObject."""

    bucket: str
    object_key: bytes
    source: CopySource
    replace_metadata: bool = False
    """x-amz-metadata-directive: REPLACE."""
    headers: ObjectHeaders = field(default_factory=ObjectHeaders)
    metadata: Mapping[str, str] = field(default_factory=dict)
    conditions: WriteConditions = field(default_factory=WriteConditions)
    encryption: EncryptionRequest = field(default_factory=EncryptionRequest)
    checksum_algorithm: ChecksumAlgorithm | None = None
    acl: AclRequest = field(default_factory=AclRequest)
    new_tags: Tags | None = None
    """Of x-amz-tagging where the directive is REPLACE; None: those of the source."""
    lock: LockState = field(default_factory=LockState)


@dataclass(frozen=True, slots=True)
class CopyObjectOutput:
    """CopyObject."""

    etag: str
    last_modified: datetime
    encryption: EncryptionReport
    checksum: Checksum | None = None
    version_id: str | None = None
    source_version_id: str | None = None
    expiry: Due | None = None


# Listing


@dataclass(frozen=True, slots=True)
class ListObjectsInput:
    """ListObjects (version 1)."""

    bucket: str
    prefix: bytes = b""
    delimiter: bytes = b""
    marker: bytes = b""
    max_keys: int = 1000
    url_encoding: bool = False


@dataclass(frozen=True, slots=True)
class ListObjectsV2Input:
    """ListObjectsV2."""

    bucket: str
    prefix: bytes = b""
    delimiter: bytes = b""
    start_after: bytes = b""
    continuation_token: str | None = None
    max_keys: int = 1000
    fetch_owner: bool = False
    url_encoding: bool = False


@dataclass(frozen=True, slots=True)
class ObjectEntry:
    """An object in a listing."""

    object_key: bytes
    last_modified: datetime
    etag: str
    size: int
    owner: Owner | None = None
    checksum_algorithm: ChecksumAlgorithm | None = None
    checksum_type: ChecksumType | None = None


@dataclass(frozen=True, slots=True)
class ListObjectsOutput:
    """ListObjects; `request` is echoed. `next_marker` only with a delimiter, as on AWS."""

    request: ListObjectsInput
    entries: tuple[ObjectEntry, ...]
    common_prefixes: tuple[bytes, ...]
    is_truncated: bool
    next_marker: bytes | None = None


@dataclass(frozen=True, slots=True)
class ListObjectsV2Output:
    """ListObjectsV2; `request` is echoed."""

    request: ListObjectsV2Input
    entries: tuple[ObjectEntry, ...]
    common_prefixes: tuple[bytes, ...]
    is_truncated: bool
    next_continuation_token: str | None = None
