"""The contract of every catalogue: coarse commands in domain words, each one serialisable transaction.

No transaction object leaves it, so a writer thread with group commit, a socket to the owner and PostgreSQL all fit
behind it. A command's effect is durable when the call returns; a command that raises a `CatalogueConflict` changed
nothing, and its refusal, too, was judged against committed state. Conditions are judged inside the transaction that
publishes. Every row is verified against its MAC when it is read: `RowDamaged` where it fails, never data.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from storage.catalogue.commands import (
    CatalogueStatistics,
    Change,
    CompleteUpload,
    Deleted,
    DeleteVersion,
    Found,
    HistoryPage,
    HistoryQuery,
    Lease,
    ListPage,
    ListQuery,
    MoveWraps,
    PublishVersion,
    ReplaceContent,
    UploadsPage,
    UploadsQuery,
    VersionChange,
    WrapsMark,
    WrapsPage,
)
from storage.catalogue.records import (
    AccessKey,
    Account,
    Attributes,
    Blob,
    BlobRole,
    BlobState,
    Bucket,
    KeptEnvelopes,
    ObjectVersion,
    Part,
    Upload,
    Versioning,
)
from storage.errors import CatalogueConflict


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

    async def check_live_blobs(self) -> None:
        """See that these rows are there: each verified, and as many as there are counted. Slow.

        Raises: RowDamaged.
        """

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
