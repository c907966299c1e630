"""The contract of every catalogue: coarse commands in domain words, each one serialisable transaction.

No transaction object leaves it, so a writer thread with group commit, a socket to the owner and PostgreSQL all fit
behind it. A command's effect is durable when the call returns; a command that raises a `CatalogueConflict` changed
nothing, and its refusal, too, was judged against committed state. Conditions are judged inside the transaction that
publishes. Every row is verified against its MAC when it is read: `RowDamaged` where it fails, never data.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import IntEnum, StrEnum
from typing import Protocol

from storage.catalogue.records import (
    NULL_VERSION_ID,
    AccessKey,
    Account,
    Attributes,
    Blob,
    BlobRole,
    BlobState,
    Bucket,
    Content,
    KeptEnvelopes,
    Notice,
    ObjectLock,
    ObjectVersion,
    Part,
    Upload,
    Versioning,
)
from storage.errors import CatalogueConflict as CatalogueConflict  # noqa: PLC0414  # exported: the root of these refusals
from storage.errors import LeaseLost as LeaseLost  # noqa: PLC0414  # exported; it has an exit code, so stands there


class AccountExists(CatalogueConflict):
    """An account of that name is there."""


class NoSuchAccount(CatalogueConflict):
    """No account of that name or id."""


class NoSuchAccessKey(CatalogueConflict):
    """No access key of that id."""


class BucketExists(CatalogueConflict):
    """The name is taken; `owner_id` says by which account."""

    def __init__(self, owner_id: bytes) -> None:
        super().__init__("the bucket name is taken")
        self.owner_id = owner_id


class TooManyBuckets(CatalogueConflict):
    """The account holds as many buckets as it may."""


class NoSuchBucket(CatalogueConflict):
    """No bucket of that name or id (it may have been deleted since it was looked up)."""


class BucketNotEmpty(CatalogueConflict):
    """The bucket holds versions."""


class NoSuchVersion(CatalogueConflict):
    """No object of that key, or no version of that id."""


class PreconditionRefused(CatalogueConflict):
    """A condition of the command does not hold."""


class VersioningChanged(CatalogueConflict):
    """The version id does not fit the bucket's versioning, which was changed meanwhile: look again and try again."""


class LockRefused(CatalogueConflict):
    """A lock holds the version: its retention has not ended, or a legal hold is on."""


class BucketStateRefused(CatalogueConflict):
    """The bucket is not in a state that allows it: locks need versioning, and versioning stays on where locks are."""


class NoSuchUpload(CatalogueConflict):
    """No open upload of that id under that bucket and object key."""


class PartsChanged(CatalogueConflict):
    """A part that Complete names was uploaded again since it was read; read the parts and try again."""


class ContentGone(CatalogueConflict):
    """The content to be shared was released meanwhile."""


class BlobCondemned(CatalogueConflict):
    """The blob id was condemned by sweep before it was published: the write lost and must answer 503."""


class WrapsChanged(CatalogueConflict):
    """The content or envelopes blob is no longer as it was seen: look again and try again."""


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


class Catalogue(Protocol):
    """The catalogue of one realm. All methods are safe to call concurrently.

    Every method may raise `StorageUnavailable` (closing, owner gone), `StorageFull` (no space for the commit; deletes
    still commit from the reserve) and `RowDamaged`.
    """

    async def realm_id(self) -> bytes:
        """The realm that this catalogue belongs to."""

    def statistics(self) -> CatalogueStatistics:
        """What it has done so far; never blocks, callable from any thread."""

    # Accounts

    async def create_account(self, account: Account, access_key: AccessKey | None = None) -> None:
        """Add an account, with its first access key where one is given. Raises: AccountExists."""

    async def get_account(self, account_id: bytes) -> Account:
        """Raises: NoSuchAccount."""

    async def get_account_by_name(self, name: str) -> Account:
        """Raises: NoSuchAccount."""

    async def list_accounts(self) -> tuple[Account, ...]:
        """Every account, by name."""

    async def create_access_key(self, access_key: AccessKey) -> None:
        """Raises: NoSuchAccount; CatalogueConflict where the id is taken."""

    async def get_access_key(self, access_key_id: str) -> tuple[AccessKey, Account]:
        """Raises: NoSuchAccessKey."""

    async def list_access_keys(self, account_id: bytes) -> tuple[AccessKey, ...]:
        """Every access key of an account, by creation. Raises: NoSuchAccount."""

    async def set_access_key_enabled(self, access_key_id: str, enabled: bool) -> None:
        """Raises: NoSuchAccessKey."""

    async def delete_access_key(self, access_key_id: str) -> None:
        """Raises: NoSuchAccessKey."""

    # Buckets

    async def create_bucket(self, bucket: Bucket, limit: int) -> None:
        """Add a bucket; an account holds at most `limit`.

        Raises:
            BucketExists: the name is taken, by whomever.
            NoSuchAccount: the owner is gone.
            TooManyBuckets: `limit` is reached.
        """

    async def get_bucket(self, name: str) -> Bucket:
        """Raises: NoSuchBucket."""

    async def list_buckets(
        self, account_id: bytes, *, prefix: str = "", start_after: str = "", limit: int = 10_000
    ) -> tuple[Bucket, ...]:
        """Buckets of an account by name, greater than `start_after`, at most `limit`."""

    async def delete_bucket(self, bucket_id: bytes) -> None:
        """Remove an empty bucket and its configurations, with its open uploads' parts condemned as by abort.

        Raises:
            NoSuchBucket: it is gone.
            BucketNotEmpty: it holds versions, be they delete markers.
        """

    async def set_versioning(self, bucket_id: bytes, status: Versioning) -> None:
        """Enable or suspend versioning; `NEVER` cannot be set.

        Raises:
            NoSuchBucket: it is gone.
            BucketStateRefused: it would suspend a bucket whose versions may be locked.
        """

    async def enable_object_lock(self, bucket_id: bytes) -> None:
        """Let versions of a bucket be locked from now on; idempotent.

        Raises:
            NoSuchBucket: it is gone.
            BucketStateRefused: its versioning is not enabled.
        """

    async def put_configuration(
        self, bucket_id: bytes, kind: str, document: bytes | None, lease: "Lease | None" = None
    ) -> None:
        """Set or replace one configuration of a bucket; None drops it, also where there is none.

        Raises:
            NoSuchBucket: it is gone.
            LeaseLost: the lease of the job that does it, where one is given, is another's, or over.
        """

    async def get_configuration(self, bucket_id: bytes, kind: str) -> bytes | None:
        """The document as it was put, None where there is none. Raises: NoSuchBucket."""

    # Versions

    async def publish_version(self, command: PublishVersion) -> ObjectVersion:
        """Make a version visible and current, atomically; return it with its sequence.

        Where versioning is enabled the version carries a fresh id, else `null`. A null version removes the null version
        of its key, whose content is released, and blobs of a content that nothing refers to any more condemned, in the
        same transaction; every other one stays. `created_at` is raised to that of the version that was current if the
        clock went back.

        Raises:
            NoSuchBucket: the bucket is gone.
            VersioningChanged: the version id does not fit the bucket as it is now.
            BucketStateRefused: the version comes with a lock, the bucket has none.
            PreconditionRefused: a condition does not hold.
            NoSuchVersion: `if_match_etag` on an absent key.
            LeaseLost: the lease in the conditions is another's, or over.
            ContentGone: the content to share was released.
            BlobCondemned: sweep took one of the blobs.
        """

    async def get_version(
        self, bucket_id: bytes, object_key: bytes, version_id: str | None = None, *, with_content: bool = True
    ) -> Found:
        """The current version (delete markers included) or the named one, with its content and blobs.

        `with_content` False leaves the content out (HeadObject of 10,000 parts needs one row only).

        Inline blobs come with their bytes. Raises: NoSuchVersion.
        """

    async def delete_versions(
        self, bucket_id: bytes, commands: Sequence[DeleteVersion]
    ) -> tuple[Deleted | CatalogueConflict, ...]:
        """Delete several keys; each is atomic by itself, all are durable on return, results are in order.

        Without a version id: where the bucket was never versioned the object goes; where versioning is enabled a delete
        marker is made, on absent keys too; where it is suspended the null version goes and a null marker is made.

        A refusal of one (`PreconditionRefused`, `NoSuchVersion` for `if_match_etag` on what is absent, `LockRefused`
        for a version that a lock holds, `VersioningChanged` for want of a `marker_id`) is returned in its place.
        Raises: NoSuchBucket.
        """

    async def update_version(
        self, bucket_id: bytes, object_key: bytes, version_id: str | None, change: VersionChange
    ) -> ObjectVersion:
        """Change tags, retention or legal hold of the named version, or the current one, in place; return it.

        Raises:
            NoSuchBucket: the bucket is gone.
            NoSuchVersion: no such object or version, or it is a delete marker.
            LockRefused: the retention that it has must not be changed so.
            PreconditionRefused: it is another version than the change is for.
            BucketStateRefused: the bucket has no locks.
        """

    async def list_versions(self, bucket_id: bytes, query: ListQuery) -> ListPage:
        """One page of current versions. Visits at most a constant number of rows per entry given (skip-scan).

        To these come the current delete markers on its way, which it passes.
        """

    async def list_history(self, bucket_id: bytes, query: HistoryQuery) -> HistoryPage:
        """One page of all versions. Visits at most a constant number of rows per entry given (skip-scan)."""

    # Multipart uploads

    async def create_upload(self, upload: Upload) -> None:
        """Raises: NoSuchBucket."""

    async def get_upload(self, bucket_id: bytes, object_key: bytes, upload_id: bytes) -> Upload:
        """An open or completed upload. Raises: NoSuchUpload."""

    async def put_part(self, part: Part) -> None:
        """Make a part the newest of its number; the blob it replaces is condemned.

        Raises:
            NoSuchUpload: it is completed, aborted or unknown.
            BlobCondemned: sweep took the blob.
        """

    async def list_parts(self, upload_id: bytes, *, after: int = 0, limit: int = 10_000) -> tuple[Part, ...]:
        """Parts of an open upload by number, those above `after`. Raises: NoSuchUpload."""

    async def list_uploads(self, bucket_id: bytes, query: UploadsQuery) -> UploadsPage:
        """One page of open uploads."""

    async def complete_upload(self, command: CompleteUpload) -> ObjectVersion:
        """Publish the version of an upload; parts that are not named are condemned.

        An upload that is completed already returns the version that was published then and changes nothing (the
        manifest of the repeated call is condemned).

        Raises:
            NoSuchUpload: aborted or unknown.
            PartsChanged: a named part is not the newest of its number.
            PreconditionRefused, NoSuchVersion, BlobCondemned, VersioningChanged: as by `publish_version`.
        """

    async def abort_upload(self, bucket_id: bytes, object_key: bytes, upload_id: bytes) -> None:
        """Drop an open upload and condemn its parts. Raises: NoSuchUpload (completed included)."""

    async def forget_completed_uploads(self, before: datetime) -> int:
        """Drop the memory of uploads completed before that; return their count."""

    # Blobs and background jobs

    async def blob_states(self, blob_ids: Sequence[bytes]) -> dict[bytes, BlobState]:
        """State of each id that has a row; ids without one are left out."""

    async def count_live_blobs(self) -> int:
        """Live rows whose bytes rest in the blob store."""

    async def condemn_orphans(self, blob_ids: Sequence[bytes], lease: Lease) -> tuple[bytes, ...]:
        """Give each id that has no row a condemned one, so that no later publish can use it; return those.

        Raises: LeaseLost.
        """

    async def list_condemned(self, before: datetime, limit: int, role: BlobRole | None = None) -> tuple[bytes, ...]:
        """Ids condemned before that whose bytes rest in the blob store, oldest first; of one role where it is given."""

    async def forget_condemned(self, blob_ids: Sequence[bytes], lease: Lease) -> None:
        """Drop condemned rows whose bytes were deleted from the store. Live ids are left alone. Raises: LeaseLost."""

    # Life cycle of wrapping keys

    async def list_wraps(self, mark: WrapsMark, limit: int) -> WrapsPage:
        """All wraps that the KMS made, stage by stage: of `limit` uploads, versions or contents at most.

        Each page sees one state. A wrap that stands at the start of a walk is given by it, wherever its content goes
        meanwhile; what is published under a new content key behind the mark is not.
        """

    async def move_wraps(self, command: MoveWraps, lease: Lease) -> tuple[bytes, ...]:
        """Let rows hold other envelopes, all in one transaction; return the wrap ids of those that moved.

        A row that holds another envelope than expected, or is gone, is skipped. Where all were, the envelopes blob is
        condemned; so is every older one that has no wrap left.

        Raises:
            LeaseLost: the lease is another's, or over.
            BlobCondemned: sweep took the blob.
        """

    async def moved_wraps(self, wrap_ids: Sequence[bytes]) -> frozenset[bytes]:
        """Those of these wraps that an envelopes blob carries: the slot of their blob still has an older one."""

    async def list_envelopes(self, after: bytes = b"", limit: int = 1000) -> tuple[KeptEnvelopes, ...]:
        """Live envelopes blobs by blob id, those above `after`."""

    async def replace_envelopes(self, envelopes_id: bytes, blob: Blob, wrap_ids: Sequence[bytes], lease: Lease) -> None:
        """Put a blob with fewer entries and the same epoch in the place of an envelopes blob, which is condemned.

        `wrap_ids` are those of the entries that the new one has.

        Raises:
            LeaseLost: the lease is another's, or over.
            BlobCondemned: sweep took the blob.
            WrapsChanged: the old one is gone, or a wrap that names it is not among these.
        """

    async def versions_of_content(
        self, content_id: bytes, known: ObjectVersion | None = None
    ) -> tuple[tuple[ObjectVersion, bytes | None], ...]:
        """Every version that has this content, with the blob id of its link where it is a copy.

        Looks at each version there is where one of them is no copy, unless that is the one that is known already.
        """

    async def replace_content(self, command: ReplaceContent, lease: Lease) -> None:
        """Put a content in the place of another, under all of its versions at once; the old blobs are condemned.

        Versions keep their ids, times, locks, ETags and places; locks do not hold it up, since no byte changes.

        Raises:
            LeaseLost: the lease is another's, or over.
            BlobCondemned: sweep took one of the blobs.
            WrapsChanged: the content is gone, or has other versions than these.
        """

    async def acquire_lease(self, name: str, holder: str, duration: timedelta) -> Lease:
        """Take or renew a job's lease. Raises: LeaseLost while another holder has it."""

    async def release_lease(self, lease: Lease) -> None:
        """Give it back; a lease that is no longer held is not an error."""

    async def read_changes(self, after: int, limit: int) -> tuple[Change, ...]:
        """Outbox lines with a sequence above `after`, ascending."""

    async def trim_changes(self, through: int, lease: Lease) -> int:
        """Drop outbox lines up to that sequence; return their number. Raises: LeaseLost."""

    async def read_inline(self, blob_ids: Sequence[bytes]) -> dict[bytes, bytes]:
        """The sealed bytes of live blobs that rest in the catalogue; ids without any are left out."""

    async def read_rows(self, table: str, after: Attributes | None, limit: int) -> tuple[Attributes, ...]:
        """Rows of a table that `rowlog` names, as it has them, in the order of their keys, behind the row `after`.

        Each page is of one state, two pages may be of two: whoever replays all changes since the first page was asked
        for has the rows of the last.
        """

    async def get_cursor(self, name: str) -> int:
        """How far that reader of the outbox has come: the last sequence that it is done with; 0 for a new one."""

    async def set_cursor(self, name: str, sequence: int) -> None:
        """Note how far a reader has come; one that is further already stays there.

        It takes no lease: what a reader is done with stays done, whoever reads on meanwhile.
        """

    async def verify(self) -> int:
        """Verify every row and every reference; return the number of rows.

        Raises:
            RowDamaged: the first row that fails, named by table and primary key only.
        """

    async def close(self) -> None:
        """Finish waiting commands, checkpoint, release the file. Idempotent."""
