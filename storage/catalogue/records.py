"""The records of the catalogue: who owns what, which version is which content, which blobs hold it.

version row -> content -> blobs. A version names a content; several versions may share one (a copy within one account),
so the reference count stands on the content. Ids are 16 random bytes; times are aware UTC; sizes are bytes. Attribute
mappings hold JSON values that the catalogue keeps and authenticates but never interprets.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

ID_SIZE = 16
"""Bytes of every random id."""

NULL_VERSION_ID = "null"
"""The version id of an object in a bucket whose versioning was never enabled, as S3 spells it."""

Attributes = Mapping[str, Any]
"""JSON values by name: strings, integers, booleans, None, lists and mappings of them."""


@dataclass(frozen=True, slots=True)
class Account:
    """An owner of buckets."""

    account_id: bytes
    name: str
    created_at: datetime

    @property
    def canonical_id(self) -> str:
        """The owner id that S3 answers show: hexadecimal, stable, and derived from nothing secret."""
        return self.account_id.hex()


@dataclass(frozen=True, slots=True)
class AccessKey:
    """An access key of an account; the secret is sealed by `keys` before it comes here."""

    access_key_id: str
    account_id: bytes
    sealed_secret: bytes = field(repr=False)
    created_at: datetime
    enabled: bool = True


class Versioning(StrEnum):
    """Whether a bucket keeps old versions, as S3 spells it; never back to the first."""

    NEVER = ""
    ENABLED = "Enabled"
    SUSPENDED = "Suspended"


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket. `name` is unique over the whole catalogue, `bucket_id` is never used again."""

    bucket_id: bytes
    name: str
    account_id: bytes
    created_at: datetime
    versioning: Versioning = Versioning.NEVER
    object_lock: bool = False
    """Whether its versions may be locked; never taken back."""
    configurations: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 (hexadecimal) of each configuration document by kind; `Catalogue.get_configuration` gives the document,
    so what was made of it can be kept by this hash."""


class BlobState(StrEnum):
    """A blob id is live, or condemned and on its way out; never both, never back."""

    LIVE = "live"
    CONDEMNED = "condemned"


class BlobRole(StrEnum):
    """What a blob is to its content."""

    OBJECT = "object"
    PART = "part"
    MANIFEST = "manifest"
    LINK = "link"
    ENVELOPES = "envelopes"


@dataclass(frozen=True, slots=True)
class Blob:
    """One sealed blob, with all that the opener must know before it reads a byte (FORMAT.md)."""

    blob_id: bytes
    role: BlobRole
    plaintext_size: int
    sealed_size: int
    slot_size: int
    salt: bytes = field(repr=False)
    commitment: bytes = field(repr=False)
    footer_hash: bytes = field(repr=False)
    wrapped_key: bytes = field(repr=False, default=b"")
    """Of parts: the data key under the content key. Of manifests and links: the envelope of their own key as it is
    now, empty where only the blob's slot has it. Empty for every other role."""
    part_number: int = 0
    """From 1 for parts; 0 for every other role."""
    inline: bytes | None = field(repr=False, default=None)
    """The sealed bytes themselves where they rest in the catalogue; None where they rest in the blob store."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a version's bytes are: a wrapped content key and the blobs under it, in order."""

    content_id: bytes
    bucket_id: bytes
    """The bucket that it was sealed for: part of the wrap's context, also when a copy elsewhere shares it."""
    account_id: bytes
    encryption: str
    """`AES256`, later also `aws:kms` and `SSE-C`."""
    kms_key_id: str
    """The wrapping key's id; empty where the provider's default was used."""
    wrapped_key: bytes = field(repr=False)
    """The content key, wrapped (`keys.datakey.WrappedKey`, encoded)."""
    blobs: tuple[Blob, ...] = ()
    """Object blob, or parts ascending by number followed by the manifest. Never links."""

    @property
    def payload_blobs(self) -> tuple[Blob, ...]:
        """The blobs that hold the object's bytes, in their order."""
        return tuple(blob for blob in self.blobs if blob.role in (BlobRole.OBJECT, BlobRole.PART))


class RetentionMode(StrEnum):
    """Who may shorten a retention, as S3 spells it: nobody, or those who may bypass it."""

    NONE = ""
    GOVERNANCE = "GOVERNANCE"
    COMPLIANCE = "COMPLIANCE"


@dataclass(frozen=True, slots=True)
class ObjectLock:
    """What keeps a version from being deleted. Mode and time come together or not at all."""

    mode: RetentionMode = RetentionMode.NONE
    retain_until: datetime | None = None
    legal_hold: bool | None = None
    """None where none was ever set: S3 tells that from one that was taken off."""


NO_LOCK = ObjectLock()


@dataclass(frozen=True, slots=True)
class Notice:
    """What somebody is to be told of a change. It stands in the outbox with the change, or not at all."""

    target: str
    """Who, by a name that only the reader of the outbox understands."""
    event: Attributes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """One version of an object, or a delete marker."""

    bucket_id: bytes
    object_key: bytes
    version_id: str
    """`null`, or the hexadecimal form of 16 random bytes."""
    content_id: bytes | None
    """None for a delete marker."""
    size: int
    etag: str = field(repr=False)
    """Without quotes; empty for a delete marker."""
    created_at: datetime
    """Never earlier than an older version of the same key."""
    attributes: Attributes = field(repr=False, default_factory=dict)
    """Content headers, user metadata, tags, checksums, part borders."""
    sequence: int = 0
    """Set by the catalogue: rises with every commit and orders versions of one key."""
    lock: ObjectLock = NO_LOCK
    is_latest: bool = True
    """Set by the catalogue: whether it is the current version of its key."""

    @property
    def is_delete_marker(self) -> bool:
        """Whether this version only says that the object is gone."""
        return self.content_id is None


@dataclass(frozen=True, slots=True)
class Upload:
    """A multipart upload. Its content id and content key exist from the start; the version comes with Complete."""

    upload_id: bytes
    bucket_id: bytes
    object_key: bytes
    account_id: bytes
    content: Content
    """Without blobs: parts carry them until Complete."""
    created_at: datetime
    attributes: Attributes = field(repr=False, default_factory=dict)
    completed: "ObjectVersion | None" = None
    """The version that Complete published, kept so that a repeated Complete can answer the same."""


@dataclass(frozen=True, slots=True)
class KeptEnvelopes:
    """An envelopes blob, and how many wraps the catalogue has from it. With the last one it is condemned."""

    blob: Blob
    epoch: int
    """Greater than that of every older one."""
    wrap_count: int


@dataclass(frozen=True, slots=True)
class Part:
    """One uploaded part: the newest of its number."""

    upload_id: bytes
    part_number: int
    blob: Blob
    etag: str = field(repr=False)
    size: int
    created_at: datetime
    attributes: Attributes = field(repr=False, default_factory=dict)
    """Checksums by algorithm."""
