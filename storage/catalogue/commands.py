"""What a catalogue is asked and told: commands, queries and pages, in domain words. Source: `base`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import IntEnum, StrEnum

from storage.catalogue.records import (
    NULL_VERSION_ID,
    Attributes,
    Blob,
    Content,
    Notice,
    ObjectLock,
    ObjectVersion,
    Upload,
)
from storage.errors import LeaseLost


@dataclass(frozen=True, slots=True)
class Conditions:
    """What must hold for the current version of the key inside the publishing transaction.

    A delete marker counts as absent.
    """

    if_none_match_any: bool = False
    """`If-None-Match: *`: the key must be absent."""
    if_match_etag: str | None = None
    """`If-Match`: the current ETag must equal this (no quotes); `*` matches any present one."""
    newest: int | None = None
    """Of a job: the sequence of the key's newest version as it was judged, 0 where it had none. Here a delete marker
    counts as one, so that what was deleted since stays deleted (`PreconditionRefused`)."""
    lease: "Lease | None" = None
    """Of a job: nothing is done where the lease is another's by now, or over (`LeaseLost`)."""


@dataclass(frozen=True, slots=True)
class PublishVersion:
    """Make a version the current one of its key."""

    version: ObjectVersion
    content: Content | None = None
    """A new content with its blobs; exclusive with `share_content_id`."""
    share_content_id: bytes | None = None
    """An existing live content that the version shares (copy)."""
    link: Blob | None = None
    """The link blob of a sharing copy."""
    conditions: Conditions = field(default_factory=Conditions)
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """A version with all that is needed to open it."""

    version: ObjectVersion
    content: Content | None
    """None for a delete marker."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A version as a job judged it; whatever else it is by the time of the command, the judgement does not hold."""

    sequence: int
    is_latest: bool
    tags: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, version: ObjectVersion) -> "Seen":
        """What of a version a judgement may rest on and a command may have changed."""
        tags = tuple((name, value) for name, value in version.attributes.get("tags", ()))
        return cls(version.sequence, version.is_latest, tags)


@dataclass(frozen=True, slots=True)
class DeleteVersion:
    """Delete an object (`version_id` None), which in a versioned bucket lays a delete marker on it, or one version."""

    object_key: bytes
    version_id: str | None = None
    conditions: Conditions = field(default_factory=Conditions)
    """Judged against the current version of the key, whichever is named (S3 "Conditional deletes")."""
    marker_id: str = NULL_VERSION_ID
    """The version id of the delete marker, if one is made where versioning is enabled: fresh, by the caller."""
    bypass_governance: bool = False
    """Whether a GOVERNANCE retention does not hold."""
    seen: Seen | None = None
    """Of a job: nothing is deleted unless the version that is meant is still this one (`PreconditionRefused`)."""
    pending: str | None = None
    """Of a job: nothing is deleted unless the version that is meant has this mark, so that its bytes are nowhere here
    (`PreconditionRefused`)."""
    removal_notices: tuple[Notice, ...] = ()
    """Where a version goes for good."""
    marker_notices: tuple[Notice, ...] = ()
    """Where a delete marker is made."""


@dataclass(frozen=True, slots=True)
class Deleted:
    """What a delete did. In a bucket without versioning nothing is left; deleting what is absent is a success."""

    object_key: bytes
    removed_version_id: str | None = None
    """The version that went for good, None where nothing did."""
    removed_a_marker: bool = False
    """Whether what went was a delete marker."""
    marker_version_id: str | None = None
    """The delete marker that was made (versioned buckets)."""


@dataclass(frozen=True, slots=True)
class VersionChange:
    """What to change of a version in place; what is None stays."""

    tags: Sequence[tuple[str, str]] | None = None
    """The whole new value of the attribute `tags`; where it is empty the attribute goes."""
    retention: ObjectLock | None = None
    """Its mode and time; the legal hold in it does not count. Never shortens COMPLIANCE."""
    legal_hold: bool | None = None
    acl: Attributes | None = None
    """The whole new value of the attribute `acl`; where it is empty the attribute goes."""
    bypass_governance: bool = False
    """Whether a GOVERNANCE retention may be shortened or taken off."""
    sequence: int | None = None
    """Of the version that was judged: another one of the same id, `null`, is not changed (`PreconditionRefused`)."""


@dataclass(frozen=True, slots=True)
class ListQuery:
    """One page of current versions, delete markers left out, in byte order of the object key."""

    prefix: bytes = b""
    delimiter: bytes = b""
    start_after: bytes = b""
    """Only keys and common prefixes greater than this; a common prefix that starts `start_after` or equals it and was
    already given is not given again (S3 marker semantics)."""
    limit: int = 1000


@dataclass(frozen=True, slots=True)
class ListPage:
    """Keys and common prefixes, each ascending; `limit` counts both together."""

    versions: tuple[ObjectVersion, ...]
    common_prefixes: tuple[bytes, ...]
    is_truncated: bool
    next_start_after: bytes = b""
    """The `start_after` of the next page: the last key or common prefix of this one."""


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """One page of all versions, delete markers too: by object key, the newest of a key first."""

    prefix: bytes = b""
    delimiter: bytes = b""
    key_marker: bytes = b""
    """Only keys and common prefixes greater than this, and versions of this key behind the marked one."""
    version_id_marker: str | None = None
    """Of the key at the marker; where it is gone, all versions of that key are given."""
    limit: int = 1000


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Versions and common prefixes in order; `limit` counts both together."""

    versions: tuple[ObjectVersion, ...]
    common_prefixes: tuple[bytes, ...]
    is_truncated: bool
    next_key_marker: bytes = b""
    next_version_id_marker: str | None = None


@dataclass(frozen=True, slots=True)
class UploadsQuery:
    """One page of open uploads, ordered by object key and then by creation and upload id."""

    prefix: bytes = b""
    delimiter: bytes = b""
    key_marker: bytes = b""
    upload_id_marker: bytes | None = None
    limit: int = 1000


@dataclass(frozen=True, slots=True)
class UploadsPage:
    """Open uploads and common prefixes of their keys."""

    uploads: tuple[Upload, ...]
    common_prefixes: tuple[bytes, ...]
    is_truncated: bool
    next_key_marker: bytes = b""
    next_upload_id_marker: bytes | None = None


@dataclass(frozen=True, slots=True)
class CompleteUpload:
    """Turn an upload into a version: one transaction, or nothing."""

    upload_id: bytes
    parts: tuple[tuple[int, bytes], ...]
    """(part number, blob id) ascending, as read by `list_parts`; a part uploaded again since raises `PartsChanged`."""
    version: ObjectVersion
    manifest: Blob
    conditions: Conditions = field(default_factory=Conditions)
    notices: tuple[Notice, ...] = ()
    manifest_wrap: bytes = field(repr=False, default=b"")
    """The wrap of the content key that the manifest has: where the upload still has that one, no envelopes blob need
    have it any more."""


class WrapOwner(StrEnum):
    """In whose row a wrap of the KMS stands."""

    CONTENT = "content"
    UPLOAD = "upload"
    BLOB = "blob"
    """A manifest or link, whose key belongs to no content."""
    REALM = "realm"
    """The realm root, which no catalogue holds: only where it was moved to is kept here."""


@dataclass(frozen=True, slots=True)
class KeptWrap:
    """An envelope as a row has it, and what it is bound to."""

    owner: WrapOwner
    wrap_id: bytes
    """The content id, or the blob id of a manifest or link."""
    bucket_id: bytes
    """The bucket in the wrap's context."""
    envelope: bytes = field(repr=False)
    """Empty where only the slot of `blob` has it."""
    read_version: Callable[[], ObjectVersion] | None = field(default=None, repr=False, compare=False)
    """What gives `version`: a walk over millions of wraps asks few of them."""
    read_attributes: Callable[[], Attributes] | None = field(default=None, repr=False, compare=False)
    """What gives `attributes` of a version, which cost less than all of it."""
    upload: Upload | None = None
    """Of an open upload."""
    blob: Blob | None = None
    """The manifest or link."""

    @property
    def version(self) -> ObjectVersion | None:
        """A version of the content, or that of the link; None for uploads."""
        return None if self.read_version is None else self.read_version()

    @property
    def attributes(self) -> Attributes:
        """Those of the upload, or of the version whose content it is. Manifests and links are bound to none."""
        if self.upload is not None:
            return self.upload.attributes
        return {} if self.read_attributes is None else self.read_attributes()


class WrapsStage(IntEnum):
    """The parts of a walk over all wraps, in the order in which a content can go from one to the next.

    An upload becomes a version, and a copy keeps the content of a version that is deleted. So what leaves a part before
    the walk has come to it stands in a later one, and none slips by.
    """

    UPLOADS = 0
    VERSIONS = 1
    SHARED = 2
    """Contents that copies share, by their ids."""


@dataclass(frozen=True, slots=True)
class WrapsMark:
    """Where a walk over all wraps stands: behind this upload, this version, or this content that a copy shares."""

    stage: WrapsStage = WrapsStage.UPLOADS
    upload_id: bytes = b""
    bucket_id: bytes = b""
    object_key: bytes = b""
    sequence: int = 0
    content_id: bytes = b""


@dataclass(frozen=True, slots=True)
class WrapsPage:
    """Some wraps; a content that several versions share is given with each of them."""

    wraps: tuple[KeptWrap, ...]
    next_mark: WrapsMark | None
    """None where the walk is over."""


@dataclass(frozen=True, slots=True)
class WrapMove:
    """A wrap that takes the place of another."""

    owner: WrapOwner
    wrap_id: bytes
    expected: bytes = field(repr=False)
    """What the row must still hold; ignored for the realm root."""
    envelope: bytes = field(repr=False)
    upload_id: bytes = b""
    """Of the upload whose row has it."""
    kms_key_id: str | None = None
    """What the row of a content or upload is to name as its wrapping key; None leaves it."""


@dataclass(frozen=True, slots=True)
class MoveWraps:
    """Wraps that move together into an envelopes blob."""

    envelopes: Blob
    """Durable in the store, with an entry for each move."""
    epoch: int
    moves: tuple[WrapMove, ...]


@dataclass(frozen=True, slots=True)
class ReplacedVersion:
    """What becomes of a version whose content is replaced: its bytes stay the same, and so does all that is told."""

    seen: ObjectVersion
    """As it was read; with other attributes meanwhile nothing is changed."""
    attributes: Attributes = field(repr=False)
    link: Blob | None = None
    """The new link of a sharing copy; one version of a content at most has none."""


@dataclass(frozen=True, slots=True)
class ReplaceContent:
    """Put the same bytes, sealed anew, in the place of a content."""

    content_id: bytes
    content: Content
    """The new one, with its blobs."""
    versions: tuple[ReplacedVersion, ...]
    """Every version that has the old content, or else nothing is changed."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to run a background job. `epoch` rises with every change of holder; commands of the job carry it."""

    name: str
    holder: str
    epoch: int
    expires_at: datetime

    def refusal(self) -> LeaseLost:
        """For another one who wants it: who has it, and until when he has to wait where that one is dead."""
        # The first two parts of a gateway's name are its host and its process; the third makes it like no other.
        holder = ":".join(self.holder.split(":")[:2])
        until = (self.expires_at + timedelta(seconds=1, microseconds=-1)).astimezone(UTC)
        return LeaseLost(
            f"another holder ({holder}) has the lease of {self.name!r}:"
            f" it ends by {until:%Y-%m-%dT%H:%M:%SZ} unless renewed"
        )


UPKEEP = "upkeep"
"""What the outbox calls a command that wrote rows and has no name of its own there."""


@dataclass(frozen=True, slots=True)
class Change:
    """One line of the outbox: what a committed command did, for the journal and for who is to be told."""

    sequence: int
    kind: str
    """The command, by its name here, or `UPKEEP`."""
    at: datetime
    notices: tuple[Notice, ...] = ()
    rows: tuple[Attributes, ...] = field(repr=False, compare=False, default=())
    """What the command wrote, as `rowlog` has it: replayed in order of sequence they rebuild the catalogue.

    Of a command with several lines the last one has them. The catalogue in memory, which nobody rebuilds, has none.
    """


@dataclass(frozen=True, slots=True)
class CatalogueStatistics:
    """Counts since the catalogue was opened; commands by commits is how well group commit does."""

    commit_count: int
    command_count: int
