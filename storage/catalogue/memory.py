"""The reference catalogue: plain dictionaries, one command at a time, the meaning of the contract in the fewest words.

No command awaits anything, so on one event loop each is atomic; nothing is durable. The suite runs on it first, and the
other catalogues are compared with it. Source: `base`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from storage.catalogue.base import (
    UPKEEP,
    AccountExists,
    BlobCondemned,
    BucketExists,
    BucketNotEmpty,
    BucketStateRefused,
    CatalogueStatistics,
    Change,
    CompleteUpload,
    Conditions,
    ContentGone,
    Deleted,
    DeleteVersion,
    Found,
    HistoryPage,
    HistoryQuery,
    KeptWrap,
    Lease,
    LeaseLost,
    ListPage,
    ListQuery,
    MoveWraps,
    NoSuchAccessKey,
    NoSuchAccount,
    NoSuchBucket,
    NoSuchUpload,
    NoSuchVersion,
    PartsChanged,
    PublishVersion,
    ReplaceContent,
    TooManyBuckets,
    UploadsPage,
    UploadsQuery,
    VersionChange,
    WrapMove,
    WrapOwner,
    WrapsChanged,
    WrapsMark,
    WrapsPage,
)
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
    ObjectVersion,
    Part,
    Upload,
    Versioning,
)
from storage.catalogue.rowlog import LOGGED
from storage.catalogue.rules import (
    changed,
    check_change,
    check_conditions,
    check_lockable,
    check_new_bucket,
    check_removable,
    check_seen,
    check_version_id,
    check_versioning,
    delete_marker,
    hash_of,
    rolled_up,
)
from storage.errors import CatalogueConflict, StorageUnavailable

_OWN_WRAPS = frozenset({BlobRole.MANIFEST, BlobRole.LINK})
_BEGINNING = datetime.min.replace(tzinfo=UTC)


@dataclass
class _Held:
    """A content and how many versions refer to it."""

    content: Content
    reference_count: int


@dataclass
class _BlobEntry:
    """What is known of a blob id."""

    state: BlobState
    blob: Blob | None
    """None for an orphan."""
    condemned_at: datetime | None = None

    @property
    def is_inline(self) -> bool:
        """Whether its bytes rest in the catalogue."""
        return self.blob is not None and self.blob.inline is not None


@dataclass
class _Version:
    """A version and the link that lives with it."""

    record: ObjectVersion
    link_id: bytes | None


@dataclass
class _Opened:
    """An upload with its parts by number."""

    upload: Upload
    parts: dict[int, Part] = field(default_factory=dict)
    completed_at: datetime | None = None


class MemoryCatalogue:
    """`Catalogue` in memory."""

    def __init__(self, realm_id: bytes, clock: Callable[[], datetime]) -> None:
        self._realm_id = realm_id
        self._clock = clock
        self._is_closed = False
        self._accounts: dict[bytes, Account] = {}
        self._access_keys: dict[str, AccessKey] = {}
        self._buckets: dict[bytes, Bucket] = {}
        self._documents: dict[tuple[bytes, str], bytes] = {}
        self._versions: dict[tuple[bytes, bytes], list[_Version]] = {}
        """Of a bucket's key, the newest first; never empty."""
        self._contents: dict[bytes, _Held] = {}
        self._blobs: dict[bytes, _BlobEntry] = {}
        self._inline: dict[bytes, bytes] = {}
        self._uploads: dict[bytes, _Opened] = {}
        self._leases: dict[str, Lease] = {}
        self._envelopes: dict[bytes, KeptEnvelopes] = {}
        self._moved: dict[bytes, bytes] = {}
        """The envelopes blob that carries a wrap, by the wrap's id."""
        self._changes: list[Change] = []
        self._cursors: dict[str, int] = {}
        self._sequence = 0

    # Helpers

    def _check_open(self) -> None:
        if self._is_closed:
            raise StorageUnavailable("the catalogue is closed")

    def _record(self, kind: str, notices: tuple[Notice, ...] = ()) -> int:
        self._sequence += 1
        self._changes.append(Change(self._sequence, kind, self._clock(), deepcopy(notices)))
        return self._sequence

    def _bucket(self, bucket_id: bytes) -> Bucket:
        if bucket_id not in self._buckets:
            raise NoSuchBucket("no bucket of that id")
        return self._buckets[bucket_id]

    def _check_blobs(self, blobs: Iterable[Blob]) -> None:
        for blob in blobs:
            entry = self._blobs.get(blob.blob_id)
            if entry is not None and entry.state is BlobState.CONDEMNED:
                raise BlobCondemned("sweep took the blob before it was published")
            if entry is not None:
                raise CatalogueConflict("the blob is in use")

    def _add_blobs(self, blobs: Iterable[Blob]) -> None:
        for blob in blobs:
            self._blobs[blob.blob_id] = _BlobEntry(BlobState.LIVE, blob)
            if blob.inline is not None:
                self._inline[blob.blob_id] = blob.inline

    def _condemn(self, blob_id: bytes) -> None:
        blob = self._blobs[blob_id].blob
        if self._blobs[blob_id].is_inline:
            del self._blobs[blob_id]
            del self._inline[blob_id]
        else:
            self._blobs[blob_id] = _BlobEntry(BlobState.CONDEMNED, blob, self._clock())
        if blob is not None and blob.role in _OWN_WRAPS:
            self._forget_wrap(blob_id)

    def _forget_wrap(self, wrap_id: bytes) -> None:
        envelopes_id = self._moved.pop(wrap_id, None)
        if envelopes_id is not None:
            self._leave_envelopes(envelopes_id)

    def _leave_envelopes(self, envelopes_id: bytes) -> None:
        kept = self._envelopes[envelopes_id]
        self._envelopes[envelopes_id] = replace(kept, wrap_count=kept.wrap_count - 1)
        if kept.wrap_count == 1:
            del self._envelopes[envelopes_id]
            self._condemn(envelopes_id)

    def _release(self, content_id: bytes) -> None:
        held = self._contents[content_id]
        held.reference_count -= 1
        if not held.reference_count:
            self._drop_content(content_id)

    def _drop_content(self, content_id: bytes) -> None:
        for blob in self._contents.pop(content_id).content.blobs:
            self._condemn(blob.blob_id)
        self._forget_wrap(content_id)

    def _judge(self, version: ObjectVersion, conditions: Conditions) -> None:
        bucket = self._bucket(version.bucket_id)
        check_version_id(version.version_id, bucket.versioning)
        check_lockable(version.lock, bucket.object_lock)
        place = (version.bucket_id, version.object_key)
        if version.version_id != NULL_VERSION_ID and self._find(*place, version.version_id) is not None:
            raise CatalogueConflict("the version id is taken")
        self._check_conditions(self._find(version.bucket_id, version.object_key), conditions)

    def _check_conditions(self, target: _Version | None, conditions: Conditions) -> None:
        if conditions.lease is not None:
            self._require_lease(conditions.lease)
        is_there = target is not None and not target.record.is_delete_marker
        check_conditions(conditions, target.record.etag if is_there and target is not None else None)

    def _find(self, bucket_id: bytes, object_key: bytes, version_id: str | None = None) -> _Version | None:
        held = self._versions.get((bucket_id, object_key), [])
        return next((version for version in held if version_id in {None, version.record.version_id}), None)

    def _remove(self, version: _Version) -> None:
        place = (version.record.bucket_id, version.record.object_key)
        self._versions[place].remove(version)
        if not self._versions[place]:
            del self._versions[place]
        if version.record.content_id is not None:
            self._release(version.record.content_id)
        if version.link_id is not None:
            self._condemn(version.link_id)

    def _make_current(
        self, version: ObjectVersion, link: Blob | None, kind: str, notices: tuple[Notice, ...]
    ) -> ObjectVersion:
        place = (version.bucket_id, version.object_key)
        current = self._find(*place)
        if current is not None:
            version = replace(version, created_at=max(version.created_at, current.record.created_at))
        replaced = self._find(*place, NULL_VERSION_ID)
        if version.version_id == NULL_VERSION_ID and replaced is not None:
            self._remove(replaced)
        published = replace(version, sequence=self._record(kind, notices))
        new = _Version(deepcopy(published), None if link is None else link.blob_id)
        self._versions.setdefault(place, []).insert(0, new)
        return published

    def _shown(self, version: _Version) -> ObjectVersion:
        """The record as it is given out, with its place told anew."""
        place = (version.record.bucket_id, version.record.object_key)
        return replace(deepcopy(version.record), is_latest=self._versions[place][0] is version)

    # Realm and accounts

    def statistics(self) -> CatalogueStatistics:
        """See `Catalogue.statistics`: nothing is committed, every change counts as both."""
        return CatalogueStatistics(len(self._changes), len(self._changes))

    async def realm_id(self) -> bytes:
        """See `Catalogue.realm_id`."""
        self._check_open()
        return self._realm_id

    async def create_account(self, account: Account, access_key: AccessKey | None = None) -> None:
        """See `Catalogue.create_account`."""
        self._check_open()
        if account.account_id in self._accounts or account.name in {held.name for held in self._accounts.values()}:
            raise AccountExists("an account of that name is there")
        if access_key is not None and access_key.access_key_id in self._access_keys:
            raise CatalogueConflict("the access key id is taken")
        if access_key is not None and access_key.account_id != account.account_id:
            raise NoSuchAccount("no account of that id")
        self._accounts[account.account_id] = account
        self._record("create_account")
        if access_key is not None:
            await self.create_access_key(access_key)

    async def get_account(self, account_id: bytes) -> Account:
        """See `Catalogue.get_account`."""
        self._check_open()
        if account_id not in self._accounts:
            raise NoSuchAccount("no account of that id")
        return self._accounts[account_id]

    async def get_account_by_name(self, name: str) -> Account:
        """See `Catalogue.get_account_by_name`."""
        self._check_open()
        for account in self._accounts.values():
            if account.name == name:
                return account
        raise NoSuchAccount("no account of that name")

    async def list_accounts(self) -> tuple[Account, ...]:
        """See `Catalogue.list_accounts`."""
        self._check_open()
        return tuple(sorted(self._accounts.values(), key=lambda account: account.name))

    async def create_access_key(self, access_key: AccessKey) -> None:
        """See `Catalogue.create_access_key`."""
        await self.get_account(access_key.account_id)
        if access_key.access_key_id in self._access_keys:
            raise CatalogueConflict("the access key id is taken")
        self._access_keys[access_key.access_key_id] = access_key
        self._record("create_access_key")

    async def get_access_key(self, access_key_id: str) -> tuple[AccessKey, Account]:
        """See `Catalogue.get_access_key`."""
        self._check_open()
        if access_key_id not in self._access_keys:
            raise NoSuchAccessKey("no access key of that id")
        access_key = self._access_keys[access_key_id]
        return access_key, self._accounts[access_key.account_id]

    async def list_access_keys(self, account_id: bytes) -> tuple[AccessKey, ...]:
        """See `Catalogue.list_access_keys`."""
        await self.get_account(account_id)
        found = [held for held in self._access_keys.values() if held.account_id == account_id]
        return tuple(sorted(found, key=lambda held: (held.created_at, held.access_key_id)))

    async def set_access_key_enabled(self, access_key_id: str, enabled: bool) -> None:
        """See `Catalogue.set_access_key_enabled`."""
        access_key, _ = await self.get_access_key(access_key_id)
        self._access_keys[access_key_id] = replace(access_key, enabled=enabled)
        self._record("set_access_key_enabled")

    async def delete_access_key(self, access_key_id: str) -> None:
        """See `Catalogue.delete_access_key`."""
        await self.get_access_key(access_key_id)
        del self._access_keys[access_key_id]
        self._record("delete_access_key")

    # Buckets

    async def create_bucket(self, bucket: Bucket, limit: int) -> None:
        """See `Catalogue.create_bucket`."""
        self._check_open()
        check_new_bucket(bucket)
        for held in self._buckets.values():
            if held.name == bucket.name:
                raise BucketExists(held.account_id)
        await self.get_account(bucket.account_id)
        if sum(held.account_id == bucket.account_id for held in self._buckets.values()) >= limit:
            raise TooManyBuckets("the account holds as many buckets as it may")
        self._buckets[bucket.bucket_id] = deepcopy(bucket)
        self._record("create_bucket")

    async def get_bucket(self, name: str) -> Bucket:
        """See `Catalogue.get_bucket`."""
        self._check_open()
        for bucket in self._buckets.values():
            if bucket.name == name:
                return deepcopy(bucket)
        raise NoSuchBucket("no bucket of that name")

    async def list_buckets(
        self, account_id: bytes, *, prefix: str = "", start_after: str = "", limit: int = 10_000
    ) -> tuple[Bucket, ...]:
        """See `Catalogue.list_buckets`."""
        self._check_open()
        found = [
            bucket
            for bucket in self._buckets.values()
            if bucket.account_id == account_id and bucket.name.startswith(prefix) and bucket.name > start_after
        ]
        return tuple(deepcopy(sorted(found, key=lambda bucket: bucket.name)[:limit]))

    async def delete_bucket(self, bucket_id: bytes) -> None:
        """See `Catalogue.delete_bucket`."""
        self._check_open()
        self._bucket(bucket_id)
        if any(place[0] == bucket_id for place in self._versions):
            raise BucketNotEmpty("the bucket holds versions")
        for upload_id in [key for key, held in self._uploads.items() if held.upload.bucket_id == bucket_id]:
            self._drop_upload(upload_id)
        for place in [place for place in self._documents if place[0] == bucket_id]:
            del self._documents[place]
        del self._buckets[bucket_id]
        self._record("delete_bucket")

    async def set_versioning(self, bucket_id: bytes, status: Versioning) -> None:
        """See `Catalogue.set_versioning`."""
        self._check_open()
        bucket = self._bucket(bucket_id)
        check_versioning(status, bucket.object_lock)
        self._buckets[bucket_id] = replace(bucket, versioning=status)
        self._record("set_versioning")

    async def enable_object_lock(self, bucket_id: bytes) -> None:
        """See `Catalogue.enable_object_lock`."""
        self._check_open()
        bucket = self._bucket(bucket_id)
        if bucket.versioning is not Versioning.ENABLED:
            raise BucketStateRefused("object lock needs versioning")
        if not bucket.object_lock:
            self._buckets[bucket_id] = replace(bucket, object_lock=True)
            self._record("enable_object_lock")

    async def put_configuration(
        self, bucket_id: bytes, kind: str, document: bytes | None, lease: Lease | None = None
    ) -> None:
        """See `Catalogue.put_configuration`."""
        self._check_open()
        if lease is not None:
            self._require_lease(lease)
        bucket = self._bucket(bucket_id)
        hashes = {held: name for held, name in bucket.configurations.items() if held != kind}
        if document is not None:
            hashes[kind] = hash_of(document)
            self._documents[bucket_id, kind] = document
        elif self._documents.pop((bucket_id, kind), None) is None:
            return
        self._buckets[bucket_id] = replace(bucket, configurations=hashes)
        self._record("put_configuration")

    async def get_configuration(self, bucket_id: bytes, kind: str) -> bytes | None:
        """See `Catalogue.get_configuration`."""
        self._check_open()
        self._bucket(bucket_id)
        return self._documents.get((bucket_id, kind))

    # Versions

    async def publish_version(self, command: PublishVersion) -> ObjectVersion:
        """See `Catalogue.publish_version`."""
        self._check_open()
        version = command.version
        self._judge(version, command.conditions)
        links = () if command.link is None else (command.link,)
        if command.content is not None:
            if command.content.content_id in self._contents:
                raise CatalogueConflict("the content is in use")
            self._check_blobs((*command.content.blobs, *links))
            self._contents[command.content.content_id] = _Held(command.content, 1)
            self._add_blobs(command.content.blobs)
        elif command.share_content_id is not None:
            if command.share_content_id not in self._contents:
                raise ContentGone("the content was released")
            self._check_blobs(links)
            self._contents[command.share_content_id].reference_count += 1
        self._add_blobs(links)
        return self._make_current(version, command.link, "publish_version", command.notices)

    async def get_version(
        self, bucket_id: bytes, object_key: bytes, version_id: str | None = None, *, with_content: bool = True
    ) -> Found:
        """See `Catalogue.get_version`."""
        self._check_open()
        version = self._find(bucket_id, object_key, version_id)
        if version is None:
            raise NoSuchVersion("no such object or version")
        shown = self._shown(version)
        if shown.content_id is None or not with_content:
            return Found(shown, None)
        return Found(shown, self._contents[shown.content_id].content)

    async def delete_versions(
        self, bucket_id: bytes, commands: Sequence[DeleteVersion]
    ) -> tuple[Deleted | CatalogueConflict, ...]:
        """See `Catalogue.delete_versions`."""
        self._check_open()
        self._bucket(bucket_id)
        answers: list[Deleted | CatalogueConflict] = []
        for command in commands:
            try:
                answers.append(self._delete(bucket_id, command))
            except CatalogueConflict as refusal:
                answers.append(refusal)
        return tuple(answers)

    def _delete(self, bucket_id: bytes, command: DeleteVersion) -> Deleted:
        versioning = self._bucket(bucket_id).versioning
        self._check_conditions(self._find(bucket_id, command.object_key), command.conditions)
        target = self._find(bucket_id, command.object_key, command.version_id)
        check_seen(command.seen, None if target is None else self._shown(target))
        if command.version_id is None and versioning is not Versioning.NEVER:
            marker_id = command.marker_id if versioning is Versioning.ENABLED else NULL_VERSION_ID
            check_version_id(marker_id, versioning)
            marker = delete_marker(bucket_id, command.object_key, marker_id, self._clock())
            self._make_current(marker, None, "publish_version", command.marker_notices)
            return Deleted(command.object_key, marker_version_id=marker_id)
        if target is None:
            return Deleted(command.object_key)
        check_removable(target.record.lock, self._clock(), bypass_governance=command.bypass_governance)
        self._remove(target)
        version_id = target.record.version_id
        self._record("delete_version", command.removal_notices)
        return Deleted(
            command.object_key, removed_version_id=version_id, removed_a_marker=target.record.is_delete_marker
        )

    async def update_version(
        self, bucket_id: bytes, object_key: bytes, version_id: str | None, change: VersionChange
    ) -> ObjectVersion:
        """See `Catalogue.update_version`."""
        self._check_open()
        check_change(change, self._bucket(bucket_id).object_lock)
        version = self._find(bucket_id, object_key, version_id)
        if version is None or version.record.is_delete_marker:
            raise NoSuchVersion("no such object or version")
        version.record = deepcopy(changed(version.record, change, self._clock()))
        self._record("update_version")
        return self._shown(version)

    async def list_versions(self, bucket_id: bytes, query: ListQuery) -> ListPage:
        """See `Catalogue.list_versions`."""
        self._check_open()
        entries: dict[bytes, ObjectVersion | None] = {}
        for (place_bucket, object_key), (current, *_) in self._versions.items():
            if (
                place_bucket == bucket_id
                and object_key.startswith(query.prefix)
                and not current.record.is_delete_marker
            ):
                prefix = rolled_up(object_key, query.prefix, query.delimiter)
                entries[object_key if prefix is None else prefix] = self._shown(current) if prefix is None else None
        names = sorted(name for name in entries if name > query.start_after)
        given = names[: query.limit]
        is_truncated = 0 < query.limit < len(names)
        return ListPage(
            versions=tuple(entry for name in given if (entry := entries[name]) is not None),
            common_prefixes=tuple(name for name in given if entries[name] is None),
            is_truncated=is_truncated,
            next_start_after=given[-1] if is_truncated else b"",
        )

    async def list_history(self, bucket_id: bytes, query: HistoryQuery) -> HistoryPage:
        """See `Catalogue.list_history`."""
        self._check_open()
        entries: list[ObjectVersion | bytes] = []
        for (place_bucket, object_key), held in sorted(self._versions.items()):
            if place_bucket != bucket_id or not object_key.startswith(query.prefix):
                continue
            prefix = rolled_up(object_key, query.prefix, query.delimiter)
            if prefix is None:
                entries += (self._shown(version) for version in self._behind(held, query))
            elif prefix > query.key_marker and prefix not in entries:
                entries.append(prefix)
        given = entries[: query.limit]
        is_truncated = 0 < query.limit < len(entries)
        last = given[-1] if is_truncated else b""
        return HistoryPage(
            versions=tuple(entry for entry in given if not isinstance(entry, bytes)),
            common_prefixes=tuple(entry for entry in given if isinstance(entry, bytes)),
            is_truncated=is_truncated,
            next_key_marker=last if isinstance(last, bytes) else last.object_key,
            next_version_id_marker=None if isinstance(last, bytes) else last.version_id,
        )

    def _behind(self, held: list[_Version], query: HistoryQuery) -> list[_Version]:
        """Versions of one key that stand behind the query's markers."""
        object_key = held[0].record.object_key
        if object_key != query.key_marker or not query.key_marker:
            return held if object_key > query.key_marker else []
        if query.version_id_marker is None:
            return []
        ids = [version.record.version_id for version in held]
        return held[ids.index(query.version_id_marker) + 1 :] if query.version_id_marker in ids else held

    # Multipart uploads

    def _drop_upload(self, upload_id: bytes) -> None:
        held = self._uploads.pop(upload_id)
        for part in held.parts.values():
            self._condemn(part.blob.blob_id)
        if held.upload.completed is None:
            self._forget_wrap(held.upload.content.content_id)

    def _upload(self, bucket_id: bytes, object_key: bytes, upload_id: bytes) -> _Opened:
        held = self._uploads.get(upload_id)
        if held is None or (held.upload.bucket_id, held.upload.object_key) != (bucket_id, object_key):
            raise NoSuchUpload("no upload of that id under that key")
        return held

    def _open_upload(self, upload_id: bytes) -> _Opened:
        held = self._uploads.get(upload_id)
        if held is None or held.upload.completed is not None:
            raise NoSuchUpload("no open upload of that id")
        return held

    async def create_upload(self, upload: Upload) -> None:
        """See `Catalogue.create_upload`."""
        self._check_open()
        self._bucket(upload.bucket_id)
        if upload.upload_id in self._uploads:
            raise CatalogueConflict("the upload id is taken")
        self._uploads[upload.upload_id] = _Opened(deepcopy(upload))
        self._record("create_upload")

    async def get_upload(self, bucket_id: bytes, object_key: bytes, upload_id: bytes) -> Upload:
        """See `Catalogue.get_upload`."""
        self._check_open()
        return deepcopy(self._upload(bucket_id, object_key, upload_id).upload)

    async def put_part(self, part: Part) -> None:
        """See `Catalogue.put_part`."""
        self._check_open()
        held = self._open_upload(part.upload_id)
        self._check_blobs([part.blob])
        self._add_blobs([part.blob])
        if part.part_number in held.parts:
            self._condemn(held.parts[part.part_number].blob.blob_id)
        held.parts[part.part_number] = deepcopy(part)
        self._record("put_part")

    async def list_parts(self, upload_id: bytes, *, after: int = 0, limit: int = 10_000) -> tuple[Part, ...]:
        """See `Catalogue.list_parts`."""
        self._check_open()
        parts = self._open_upload(upload_id).parts
        return tuple(deepcopy([parts[number] for number in sorted(parts) if number > after][:limit]))

    async def list_uploads(self, bucket_id: bytes, query: UploadsQuery) -> UploadsPage:
        """See `Catalogue.list_uploads`."""
        self._check_open()
        entries: dict[tuple[bytes, datetime | None, bytes], Upload | None] = {}
        for held in self._uploads.values():
            upload = held.upload
            if (
                upload.completed is None
                and upload.bucket_id == bucket_id
                and upload.object_key.startswith(query.prefix)
            ):
                prefix = rolled_up(upload.object_key, query.prefix, query.delimiter)
                if prefix is None:
                    entries[upload.object_key, upload.created_at, upload.upload_id] = upload
                else:
                    entries[prefix, None, b""] = None
        marked = self._uploads.get(query.upload_id_marker or b"")
        names = []
        for name in sorted(entries, key=lambda name: (name[0], name[1] or _BEGINNING, name[2])):
            is_same_key = (
                name[0] == query.key_marker and entries[name] is not None and query.upload_id_marker is not None
            )
            is_behind_marked = (
                marked is None
                or marked.upload.object_key != query.key_marker
                or (name[1] is not None and (name[1], name[2]) > (marked.upload.created_at, marked.upload.upload_id))
            )
            if name[0] > query.key_marker or (is_same_key and is_behind_marked):
                names.append(name)
        given = names[: query.limit]
        is_truncated = 0 < query.limit < len(names)
        return UploadsPage(
            uploads=tuple(deepcopy(entry) for name in given if (entry := entries[name]) is not None),
            common_prefixes=tuple(name[0] for name in given if entries[name] is None),
            is_truncated=is_truncated,
            next_key_marker=given[-1][0] if is_truncated else b"",
            next_upload_id_marker=given[-1][2] or None if is_truncated else None,
        )

    async def complete_upload(self, command: CompleteUpload) -> ObjectVersion:
        """See `Catalogue.complete_upload`."""
        self._check_open()
        version = command.version
        held = self._upload(version.bucket_id, version.object_key, command.upload_id)
        if held.upload.completed is not None:
            if command.manifest.inline is None and command.manifest.blob_id not in self._blobs:
                self._add_blobs([command.manifest])
                self._condemn(command.manifest.blob_id)
                self._record(UPKEEP)
            return deepcopy(held.upload.completed)
        self._judge(version, command.conditions)
        for number, blob_id in command.parts:
            if number not in held.parts or held.parts[number].blob.blob_id != blob_id:
                raise PartsChanged(f"part {number} was uploaded again or is not there")
        self._check_blobs([command.manifest])
        self._add_blobs([command.manifest])
        kept = {number for number, _ in command.parts}
        for number, part in held.parts.items():
            if number not in kept:
                self._condemn(part.blob.blob_id)
        blobs = (*(held.parts[number].blob for number in sorted(kept)), command.manifest)
        content = replace(held.upload.content, blobs=blobs)
        self._contents[content.content_id] = _Held(content, 1)
        if command.manifest_wrap == content.wrapped_key:
            self._forget_wrap(content.content_id)
        published = self._make_current(version, None, "complete_upload", command.notices)
        wrapless = replace(held.upload.content, wrapped_key=b"")
        held.upload = replace(held.upload, completed=deepcopy(published), content=wrapless)
        held.parts, held.completed_at = {}, self._clock()
        return published

    async def abort_upload(self, bucket_id: bytes, object_key: bytes, upload_id: bytes) -> None:
        """See `Catalogue.abort_upload`."""
        self._check_open()
        held = self._upload(bucket_id, object_key, upload_id)
        if held.upload.completed is not None:
            raise NoSuchUpload("the upload is completed")
        self._drop_upload(upload_id)
        self._record("abort_upload")

    async def forget_completed_uploads(self, before: datetime) -> int:
        """See `Catalogue.forget_completed_uploads`."""
        self._check_open()
        old = [
            key for key, held in self._uploads.items() if held.completed_at is not None and held.completed_at < before
        ]
        for upload_id in old:
            del self._uploads[upload_id]
        if old:
            self._record(UPKEEP)
        return len(old)

    # Blobs and background jobs

    async def blob_states(self, blob_ids: Sequence[bytes]) -> dict[bytes, BlobState]:
        """See `Catalogue.blob_states`."""
        self._check_open()
        return {blob_id: self._blobs[blob_id].state for blob_id in blob_ids if blob_id in self._blobs}

    async def count_live_blobs(self) -> int:
        """See `Catalogue.count_live_blobs`."""
        self._check_open()
        return sum(entry.state is BlobState.LIVE and not entry.is_inline for entry in self._blobs.values())

    async def condemn_orphans(self, blob_ids: Sequence[bytes], lease: Lease) -> tuple[bytes, ...]:
        """See `Catalogue.condemn_orphans`."""
        self._require_lease(lease)
        orphans = tuple(dict.fromkeys(blob_id for blob_id in blob_ids if blob_id not in self._blobs))
        for blob_id in orphans:
            self._blobs[blob_id] = _BlobEntry(BlobState.CONDEMNED, None, self._clock())
        if orphans:
            self._record(UPKEEP)
        return orphans

    async def list_condemned(self, before: datetime, limit: int, role: BlobRole | None = None) -> tuple[bytes, ...]:
        """See `Catalogue.list_condemned`."""
        self._check_open()
        found = sorted(
            (entry.condemned_at, blob_id)
            for blob_id, entry in self._blobs.items()
            if entry.condemned_at is not None
            and entry.condemned_at < before
            and (role is None or (entry.blob is not None and entry.blob.role is role))
        )
        return tuple(blob_id for _, blob_id in found[:limit])

    async def forget_condemned(self, blob_ids: Sequence[bytes], lease: Lease) -> None:
        """See `Catalogue.forget_condemned`."""
        self._require_lease(lease)
        gone = [
            blob_id
            for blob_id in blob_ids
            if blob_id in self._blobs and self._blobs[blob_id].state is BlobState.CONDEMNED
        ]
        for blob_id in gone:
            del self._blobs[blob_id]
        if gone:
            self._record(UPKEEP)

    async def list_wraps(self, mark: WrapsMark, limit: int) -> WrapsPage:
        """See `Catalogue.list_wraps`."""
        self._check_open()
        steps = [(step, wraps) for step, wraps in self._wraps() if _is_behind(step, mark)]
        given = steps[:limit]
        wraps = tuple(wrap for _, held in given for wrap in held)
        return WrapsPage(deepcopy(wraps), given[-1][0] if len(steps) > limit else None)

    def _wraps(self) -> Iterator[tuple[WrapsMark, list[KeptWrap]]]:
        """All wraps, by the version or upload that they are found with, in the order of a walk."""
        for (bucket_id, object_key), held in sorted(self._versions.items()):
            for version in held:
                mark = WrapsMark(bucket_id, object_key, version.record.sequence)
                yield mark, list(self._wraps_of(version))
        for upload_id in sorted(self._uploads):
            upload = self._uploads[upload_id].upload
            if upload.completed is None:
                content = upload.content
                yield (
                    WrapsMark(upload_id=upload_id),
                    [
                        KeptWrap(
                            WrapOwner.UPLOAD, content.content_id, content.bucket_id, content.wrapped_key, upload=upload
                        )
                    ],
                )

    def _wraps_of(self, version: _Version) -> Iterator[KeptWrap]:
        shown = self._shown(version)
        if shown.content_id is None:
            return
        content = self._contents[shown.content_id].content
        wrap_id, bucket_id, wrapped_key = content.content_id, content.bucket_id, content.wrapped_key
        yield KeptWrap(WrapOwner.CONTENT, wrap_id, bucket_id, wrapped_key, lambda: shown, lambda: shown.attributes)
        named = [(blob.blob_id, content.bucket_id) for blob in content.blobs if blob.role is BlobRole.MANIFEST]
        named += [(version.link_id, shown.bucket_id)] if version.link_id is not None else []
        for blob_id, bucket_id in named:
            blob = self._blobs[blob_id].blob
            assert blob is not None, "a live blob is known"
            yield KeptWrap(WrapOwner.BLOB, blob_id, bucket_id, blob.wrapped_key, lambda: shown, blob=blob)

    async def move_wraps(self, command: MoveWraps, lease: Lease) -> tuple[bytes, ...]:
        """See `Catalogue.move_wraps`."""
        self._require_lease(lease)
        self._check_blobs([command.envelopes])
        self._add_blobs([command.envelopes])
        envelopes_id = command.envelopes.blob_id
        moved = [move.wrap_id for move in command.moves if self._move(move)]
        if not moved:
            self._condemn(envelopes_id)
            return ()
        self._envelopes[envelopes_id] = KeptEnvelopes(command.envelopes, command.epoch, len(moved))
        for wrap_id in moved:
            self._forget_wrap(wrap_id)
            self._moved[wrap_id] = envelopes_id
        self._record("move_wraps")
        return tuple(moved)

    def _move(self, move: WrapMove) -> bool:
        if move.owner is WrapOwner.BLOB:
            return self._move_blob(move)
        held = self._contents.get(move.wrap_id)
        if move.owner is WrapOwner.CONTENT and held is not None and held.content.wrapped_key == move.expected:
            held.content = _moved(held.content, move)
            return True
        opened = self._uploads.get(move.upload_id)
        is_open = opened is not None and opened.upload.completed is None
        if is_open and opened is not None and opened.upload.content.wrapped_key == move.expected:
            opened.upload = replace(opened.upload, content=_moved(opened.upload.content, move))
            return True
        return move.owner is WrapOwner.REALM

    def _move_blob(self, move: WrapMove) -> bool:
        entry = self._blobs.get(move.wrap_id)
        is_live = entry is not None and entry.state is BlobState.LIVE
        if not is_live or entry is None or entry.blob is None or entry.blob.wrapped_key != move.expected:
            return False
        entry.blob = replace(entry.blob, wrapped_key=move.envelope)
        self._refresh_manifest(entry.blob)
        return True

    def _refresh_manifest(self, manifest: Blob) -> None:
        """Contents hold their blobs by value here."""
        for held in self._contents.values():
            blobs = tuple(manifest if blob.blob_id == manifest.blob_id else blob for blob in held.content.blobs)
            held.content = replace(held.content, blobs=blobs)

    async def moved_wraps(self, wrap_ids: Sequence[bytes]) -> frozenset[bytes]:
        """See `Catalogue.moved_wraps`."""
        self._check_open()
        return frozenset(wrap_ids) & self._moved.keys()

    async def list_envelopes(self, after: bytes = b"", limit: int = 1000) -> tuple[KeptEnvelopes, ...]:
        """See `Catalogue.list_envelopes`."""
        self._check_open()
        return tuple(self._envelopes[blob_id] for blob_id in sorted(self._envelopes) if blob_id > after)[:limit]

    async def replace_envelopes(self, envelopes_id: bytes, blob: Blob, wrap_ids: Sequence[bytes], lease: Lease) -> None:
        """See `Catalogue.replace_envelopes`."""
        self._require_lease(lease)
        kept = self._envelopes.get(envelopes_id)
        if kept is None:
            raise WrapsChanged("the envelopes blob is gone")
        self._check_blobs([blob])
        moved = [wrap_id for wrap_id in wrap_ids if self._moved.get(wrap_id) == envelopes_id]
        if len(moved) != kept.wrap_count:
            raise WrapsChanged("a wrap would be lost with the envelopes blob")
        self._add_blobs([blob])
        self._moved.update(dict.fromkeys(moved, blob.blob_id))
        del self._envelopes[envelopes_id]
        self._envelopes[blob.blob_id] = replace(kept, blob=blob)
        self._condemn(envelopes_id)
        self._record("move_wraps")

    async def versions_of_content(
        self, content_id: bytes, known: ObjectVersion | None = None
    ) -> tuple[tuple[ObjectVersion, bytes | None], ...]:
        """See `Catalogue.versions_of_content`."""
        del known
        self._check_open()
        held = (version for versions in self._versions.values() for version in versions)
        return tuple(
            (self._shown(version), version.link_id) for version in held if version.record.content_id == content_id
        )

    async def replace_content(self, command: ReplaceContent, lease: Lease) -> None:
        """See `Catalogue.replace_content`."""
        self._require_lease(lease)
        old = self._contents.get(command.content_id)
        if old is None or old.reference_count != len(command.versions):
            raise WrapsChanged("the content is gone, or other versions have it")
        links = [change.link for change in command.versions if change.link is not None]
        self._check_blobs((*command.content.blobs, *links))
        found = []
        for change in command.versions:
            place = (change.seen.bucket_id, change.seen.object_key)
            held = (held for held in self._versions.get(place, []) if held.record.sequence == change.seen.sequence)
            version = next(held, None)
            if (
                version is None
                or version.record.content_id != command.content_id
                or version.record.attributes != change.seen.attributes
                or (version.link_id is None) != (change.link is None)
            ):
                raise WrapsChanged("a version is not what it was")
            found.append(version)
        self._contents[command.content.content_id] = _Held(command.content, len(found))
        self._add_blobs((*command.content.blobs, *links))
        for version, change in zip(found, command.versions, strict=True):
            if version.link_id is not None:
                self._condemn(version.link_id)
            version.link_id = None if change.link is None else change.link.blob_id
            version.record = replace(
                version.record, content_id=command.content.content_id, attributes=deepcopy(dict(change.attributes))
            )
        self._drop_content(command.content_id)
        self._record("replace_content")

    async def acquire_lease(self, name: str, holder: str, duration: timedelta) -> Lease:
        """See `Catalogue.acquire_lease`."""
        self._check_open()
        now = self._clock()
        held = self._leases.get(name, Lease(name, "", 0, now))
        if held.holder not in {"", holder} and held.expires_at > now:
            raise LeaseLost("another holder has the lease")
        self._leases[name] = Lease(name, holder, held.epoch + (held.holder != holder), now + duration)
        return self._leases[name]

    async def release_lease(self, lease: Lease) -> None:
        """See `Catalogue.release_lease`."""
        self._check_open()
        held = self._leases.get(lease.name)
        if held is not None and (held.holder, held.epoch) == (lease.holder, lease.epoch):
            self._leases[lease.name] = replace(held, holder="", expires_at=self._clock())

    def _require_lease(self, lease: Lease) -> None:
        self._check_open()
        held = self._leases.get(lease.name)
        if held is None or (held.holder, held.epoch) != (lease.holder, lease.epoch) or held.expires_at <= self._clock():
            raise LeaseLost("the lease is another's, or over")

    async def read_changes(self, after: int, limit: int) -> tuple[Change, ...]:
        """See `Catalogue.read_changes`."""
        self._check_open()
        return tuple(deepcopy([change for change in self._changes if change.sequence > after][:limit]))

    async def trim_changes(self, through: int, lease: Lease) -> int:
        """See `Catalogue.trim_changes`."""
        self._require_lease(lease)
        kept = [change for change in self._changes if change.sequence > through]
        gone, self._changes = len(self._changes) - len(kept), kept
        return gone

    async def read_inline(self, blob_ids: Sequence[bytes]) -> dict[bytes, bytes]:
        """See `Catalogue.read_inline`."""
        self._check_open()
        return {blob_id: self._inline[blob_id] for blob_id in blob_ids if blob_id in self._inline}

    async def read_rows(self, table: str, after: Attributes | None, limit: int) -> tuple[Attributes, ...]:
        """See `Catalogue.read_rows`. There are none here."""
        self._check_open()
        assert table in LOGGED, "a table that the log names"
        del after, limit
        return ()

    async def get_cursor(self, name: str) -> int:
        """See `Catalogue.get_cursor`."""
        self._check_open()
        return self._cursors.get(name, 0)

    async def set_cursor(self, name: str, sequence: int) -> None:
        """See `Catalogue.set_cursor`."""
        self._check_open()
        self._cursors[name] = max(sequence, self._cursors.get(name, 0))

    async def verify(self) -> int:
        """See `Catalogue.verify`. There is nothing that could be damaged here: only the rows are counted."""
        self._check_open()
        tables = (self._accounts, self._access_keys, self._buckets, self._versions, self._contents, self._blobs)
        return sum(len(table) for table in tables) + len(self._uploads) + len(self._changes)

    async def close(self) -> None:
        """See `Catalogue.close`."""
        self._is_closed = True


def _is_behind(step: WrapsMark, mark: WrapsMark) -> bool:
    """Whether a step of the walk over wraps comes after a mark."""
    if step.upload_id is not None:
        return step.upload_id > (mark.upload_id or b"")
    places = (step.bucket_id, step.object_key), (mark.bucket_id, mark.object_key)
    return mark.upload_id is None and (
        places[0] > places[1] or (places[0] == places[1] and step.sequence < mark.sequence)
    )


def _moved(content: Content, move: WrapMove) -> Content:
    kms_key_id = content.kms_key_id if move.kms_key_id is None else move.kms_key_id
    return replace(content, wrapped_key=move.envelope, kms_key_id=kms_key_id)
