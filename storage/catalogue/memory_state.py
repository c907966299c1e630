"""What the reference catalogue holds, and what several of its commands need. Source: `base`."""

from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import datetime

from storage.catalogue.commands import Change, Conditions, Lease
from storage.catalogue.conflicts import BlobCondemned, NoSuchBucket
from storage.catalogue.records import (
    NULL_VERSION_ID,
    AccessKey,
    Account,
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
)
from storage.catalogue.rules import check_conditions, check_lockable, check_newest, check_version_id
from storage.errors import CatalogueConflict, LeaseLost, StorageUnavailable

_OWN_WRAPS = frozenset({BlobRole.MANIFEST, BlobRole.LINK})


@dataclass
class Held:
    """A content and how many versions refer to it."""

    content: Content
    reference_count: int


@dataclass
class BlobEntry:
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
class Version:
    """A version and the link that lives with it."""

    record: ObjectVersion
    link_id: bytes | None


@dataclass
class Opened:
    """An upload with its parts by number."""

    upload: Upload
    parts: dict[int, Part] = field(default_factory=dict)
    completed_at: datetime | None = None


class MemoryState:
    """Plain dictionaries, and the changes that all commands share."""

    def __init__(self, realm_id: bytes, clock: Callable[[], datetime]) -> None:
        self._realm_id = realm_id
        self._clock = clock
        self._is_closed = False
        self._accounts: dict[bytes, Account] = {}
        self._access_keys: dict[str, AccessKey] = {}
        self._buckets: dict[bytes, Bucket] = {}
        self._documents: dict[tuple[bytes, str], bytes] = {}
        self._versions: dict[tuple[bytes, bytes], list[Version]] = {}
        """Of a bucket's key, the newest first; never empty."""
        self._contents: dict[bytes, Held] = {}
        self._blobs: dict[bytes, BlobEntry] = {}
        self._inline: dict[bytes, bytes] = {}
        self._uploads: dict[bytes, Opened] = {}
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
            self._blobs[blob.blob_id] = BlobEntry(BlobState.LIVE, blob)
            if blob.inline is not None:
                self._inline[blob.blob_id] = blob.inline

    def _condemn(self, blob_id: bytes) -> None:
        blob = self._blobs[blob_id].blob
        if self._blobs[blob_id].is_inline:
            del self._blobs[blob_id]
            del self._inline[blob_id]
        else:
            self._blobs[blob_id] = BlobEntry(BlobState.CONDEMNED, blob, self._clock())
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

    def _drop_upload(self, upload_id: bytes) -> None:
        held = self._uploads.pop(upload_id)
        for part in held.parts.values():
            self._condemn(part.blob.blob_id)
        if held.upload.completed is None:
            self._forget_wrap(held.upload.content.content_id)

    def _judge(self, version: ObjectVersion, conditions: Conditions) -> None:
        bucket = self._bucket(version.bucket_id)
        check_version_id(version.version_id, bucket.versioning)
        check_lockable(version.lock, bucket.object_lock)
        place = (version.bucket_id, version.object_key)
        if version.version_id != NULL_VERSION_ID and self._find(*place, version.version_id) is not None:
            raise CatalogueConflict("the version id is taken")
        self._check_conditions(self._find(version.bucket_id, version.object_key), conditions)

    def _check_conditions(self, target: Version | None, conditions: Conditions) -> None:
        if conditions.lease is not None:
            self._require_lease(conditions.lease)
        check_newest(conditions, None if target is None else target.record.sequence)
        is_there = target is not None and not target.record.is_delete_marker
        check_conditions(conditions, target.record.etag if is_there and target is not None else None)

    def _find(self, bucket_id: bytes, object_key: bytes, version_id: str | None = None) -> Version | None:
        held = self._versions.get((bucket_id, object_key), [])
        return next((version for version in held if version_id in {None, version.record.version_id}), None)

    def _remove(self, version: Version) -> None:
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
        new = Version(deepcopy(published), None if link is None else link.blob_id)
        self._versions.setdefault(place, []).insert(0, new)
        return published

    def _shown(self, version: Version) -> ObjectVersion:
        """The record as it is given out, with its place told anew."""
        place = (version.record.bucket_id, version.record.object_key)
        return replace(deepcopy(version.record), is_latest=self._versions[place][0] is version)

    def _require_lease(self, lease: Lease) -> None:
        self._check_open()
        held = self._leases.get(lease.name)
        if held is None or (held.holder, held.epoch) != (lease.holder, lease.epoch) or held.expires_at <= self._clock():
            raise LeaseLost("the lease is another's, or over")
