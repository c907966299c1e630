"""Lifecycle rules at work: objects expire, old versions and lone delete markers go, stale uploads are aborted.

Every bucket with rules is walked once a day, since everything becomes due at midnight (UTC), and again when its rules
change. What was judged is deleted only if it is still the same inside the transaction, where locks are judged as well.
Source: AWS "Expiring objects", "Managing the lifecycle of objects".
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, TypeVar

from gateway.engine.documents import REMEMBERED_BYTES, Documents
from gateway.engine.notifying import NOBODY, Announcements
from gateway.s3.lifecycle import REAL_DAYS, Age, Lifecycle
from gateway.s3.lifecycle_document import decode_lifecycle
from storage.catalogue.base import Catalogue
from storage.catalogue.commands import Deleted, DeleteVersion, HistoryQuery, Lease, Seen, UploadsQuery
from storage.catalogue.conflicts import LockRefused, NoSuchBucket, NoSuchUpload
from storage.catalogue.records import ID_SIZE, NULL_VERSION_ID, Bucket, ObjectVersion, Upload, Versioning
from storage.errors import CatalogueConflict

KIND: Final = "lifecycle"
"""The configuration of a bucket that holds its rules."""

BATCH_SIZE: Final = 1000
"""Versions or uploads that are read, judged and deleted at once."""

JUDGED_AT_ONCE: Final = 10
"""Versions or uploads judged before requests go on: each may cost 2 ms, where a bucket has 1000 rules."""

LEASE_NAME: Final = "lifecycle"
LEASE_DURATION: Final = timedelta(minutes=5)
"""Renewed with every batch."""


class Lifecycles(Documents[Lifecycle]):
    """Gives the rules of buckets; nothing is deleted by rules that are not understood."""

    def __init__(self, catalogue: Catalogue, age: Age = REAL_DAYS, remembered_bytes: int = REMEMBERED_BYTES) -> None:
        super().__init__(catalogue, KIND, decode_lifecycle, Lifecycle(()), remembered_bytes)
        self.age = age
        """How days are counted."""


@dataclass(slots=True)
class LifecycleReport:
    """What one run saw and did: counts."""

    bucket_count: int = 0
    """Buckets that were walked; those of which today's walk is done already do not count."""
    scanned_count: int = 0
    """Versions and uploads looked at."""
    expired_count: int = 0
    """Objects that expired: removed, or in a versioned bucket covered by a delete marker."""
    removed_count: int = 0
    """Noncurrent versions removed."""
    marker_count: int = 0
    """Delete markers removed that had no version below them."""
    aborted_count: int = 0
    """Uploads aborted."""
    locked_count: int = 0
    """Versions that a lock kept."""
    changed_count: int = 0
    """Versions that were others by the time."""


class LifecycleRunner:
    """Applies the rules of every bucket of one realm. `holder` names this process in the lease."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        lifecycles: Lifecycles,
        announcements: Announcements,
        holder: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._catalogue = catalogue
        self.announcements = announcements
        self._lifecycles = lifecycles
        self._holder = holder
        self._clock = clock
        self._done: dict[bytes, tuple[str, int]] = {}
        """By bucket: the hash of the rules and the day of the last walk that came to its end."""

    async def run(self, progress: Callable[[LifecycleReport], None] = lambda _: None) -> LifecycleReport:
        """Walk every bucket that is due. `progress` is told the counts so far, after every batch.

        Raises:
            LeaseLost: another process does this. StorageError: as the catalogue tells.
        """
        report = LifecycleReport()
        lease = await self._lease()
        try:
            for bucket in await self._due():
                lifecycle = await self._lifecycles.of(bucket)
                if lifecycle is None:
                    continue
                report.bucket_count += 1
                walk = _BucketWalk(self, bucket, lifecycle, self._clock(), report, progress)
                try:
                    await walk.run()
                except NoSuchBucket:
                    continue
                self._done[bucket.bucket_id] = self._mark(bucket)
        finally:
            await self._catalogue.release_lease(lease)
        return report

    async def _due(self) -> list[Bucket]:
        found = [
            bucket
            for account in await self._catalogue.list_accounts()
            for bucket in await self._catalogue.list_buckets(account.account_id, limit=2**31)
            if KIND in bucket.configurations
        ]
        there = {bucket.bucket_id for bucket in found}
        self._done = {bucket_id: mark for bucket_id, mark in self._done.items() if bucket_id in there}
        return [bucket for bucket in found if self._done.get(bucket.bucket_id) != self._mark(bucket)]

    def _mark(self, bucket: Bucket) -> tuple[str, int]:
        return bucket.configurations[KIND], self.age.day_of(self._clock())

    @property
    def age(self) -> Age:
        """How days are counted."""
        return self._lifecycles.age

    @property
    def catalogue(self) -> Catalogue:
        """What it works on."""
        return self._catalogue

    async def renew(self) -> None:
        """Renew the lease before a batch. Raises: LeaseLost."""
        await self._lease()

    async def _lease(self) -> Lease:
        return await self._catalogue.acquire_lease(LEASE_NAME, self._holder, LEASE_DURATION)


_Judged = tuple[DeleteVersion, str]
"""A command, and the count of the report that it raises."""


_Item = TypeVar("_Item")


async def _unhurried(items: Iterable[_Item]) -> AsyncIterator[_Item]:
    """Give the items, and let others go on now and then."""
    for count, item in enumerate(items, start=1):
        yield item
        if count % JUDGED_AT_ONCE == 0:
            await asyncio.sleep(0)


class _BucketWalk:
    """One bucket, from its first key to its last. `now` is the same for all of it."""

    def __init__(
        self,
        runner: LifecycleRunner,
        bucket: Bucket,
        lifecycle: Lifecycle,
        now: datetime,
        report: LifecycleReport,
        progress: Callable[[LifecycleReport], None],
    ) -> None:
        self._runner = runner
        self._catalogue = runner.catalogue
        self._bucket = bucket
        self._judge = VersionJudge(lifecycle, bucket.versioning, now, runner.age)
        self._lifecycle = lifecycle
        self._now = now
        self._report = report
        self._progress = progress
        self._announcer = NOBODY

    async def run(self) -> None:
        self._announcer = await self._runner.announcements.by_rule(self._bucket, self._now)
        if self._lifecycle.removes_versions:
            await self._walk_versions()
        if self._lifecycle.aborts_uploads:
            await self._walk_uploads()

    async def _walk_versions(self) -> None:
        query: HistoryQuery | None = HistoryQuery(prefix=self._lifecycle.common_prefix, limit=BATCH_SIZE)
        waiting: list[_Judged] = []
        while query is not None:
            page = await self._catalogue.list_history(self._bucket.bucket_id, query)
            # Only now: the next page begins behind the last version of this one, which must still be there.
            await self._delete(waiting)
            waiting = [judged async for version in _unhurried(page.versions) for judged in self._judge.take(version)]
            self._report.scanned_count += len(page.versions)
            query = (
                replace(query, key_marker=page.next_key_marker, version_id_marker=page.next_version_id_marker)
                if page.is_truncated
                else None
            )
        await self._delete([*waiting, *self._judge.finish()])

    async def _delete(self, judged: Sequence[_Judged]) -> None:
        await self._runner.renew()
        if judged:
            commands = [self._announcer.expiring(command) for command, _ in judged]
            results = await self._catalogue.delete_versions(self._bucket.bucket_id, commands)
            for (_, count), result in zip(judged, results, strict=True):
                self._count(count, result)
        self._progress(self._report)
        await asyncio.sleep(0)

    def _count(self, count: str, result: Deleted | CatalogueConflict) -> None:
        if isinstance(result, LockRefused):
            count = "locked_count"
        elif isinstance(result, CatalogueConflict):
            count = "changed_count"
        setattr(self._report, count, getattr(self._report, count) + 1)

    async def _walk_uploads(self) -> None:
        query: UploadsQuery | None = UploadsQuery(prefix=self._lifecycle.common_prefix, limit=BATCH_SIZE)
        waiting: list[Upload] = []
        while query is not None:
            page = await self._catalogue.list_uploads(self._bucket.bucket_id, query)
            await self._abort(waiting)
            waiting = [upload async for upload in _unhurried(page.uploads) if self._is_stale(upload)]
            self._report.scanned_count += len(page.uploads)
            query = (
                replace(query, key_marker=page.next_key_marker, upload_id_marker=page.next_upload_id_marker)
                if page.is_truncated
                else None
            )
        await self._abort(waiting)

    def _is_stale(self, upload: Upload) -> bool:
        due = self._lifecycle.abort(upload.object_key, upload.created_at, self._runner.age)
        return due is not None and due.at <= self._now

    async def _abort(self, uploads: Sequence[Upload]) -> None:
        await self._runner.renew()
        for upload in uploads:
            try:
                await self._catalogue.abort_upload(upload.bucket_id, upload.object_key, upload.upload_id)
            except NoSuchUpload:
                self._report.changed_count += 1
            else:
                self._report.aborted_count += 1
        self._progress(self._report)
        await asyncio.sleep(0)


class VersionJudge:
    """Judges versions as a listing gives them: by key, the newest of each first. Does no input or output."""

    def __init__(self, lifecycle: Lifecycle, versioning: Versioning, now: datetime, age: Age) -> None:
        self._lifecycle = lifecycle
        self._versioning = versioning
        self._now = now
        self._age = age
        self._above: ObjectVersion | None = None
        """The version before this one, of whatever key."""
        self._noncurrent = 0
        """Noncurrent versions of the key so far; delete markers do not count, so that rather more is kept."""
        self._lone_marker: ObjectVersion | None = None

    def take(self, version: ObjectVersion) -> Iterator[_Judged]:
        """Take the next version; give what is to be deleted of what was seen so far."""
        above = self._above
        if above is not None and above.object_key == version.object_key:
            if version.sequence >= above.sequence:
                return  # The page began anew with this key, since the version at the marker had gone.
            self._lone_marker = None
            self._above = version
            yield from self._noncurrent_version(version, above)
            return
        yield from self.finish()
        self._above, self._noncurrent = version, 0
        if version.is_delete_marker:
            self._lone_marker = version
        else:
            yield from self._current_version(version)

    def finish(self) -> Iterator[_Judged]:
        """Give what could only be judged when nothing more of the key came."""
        marker, self._lone_marker = self._lone_marker, None
        if marker is None or not marker.is_latest:
            return
        due = self._lifecycle.marker_expiry(marker.object_key, marker.created_at, self._age)
        if due is not None and due.at <= self._now:
            yield DeleteVersion(marker.object_key, marker.version_id, seen=Seen.of(marker)), "marker_count"

    def _current_version(self, version: ObjectVersion) -> Iterator[_Judged]:
        due = self._lifecycle.expiry(version.object_key, version.size, _tags(version), version.created_at, self._age)
        if version.is_latest and due is not None and due.at <= self._now:
            marker_id = secrets.token_hex(ID_SIZE) if self._versioning is Versioning.ENABLED else NULL_VERSION_ID
            command = DeleteVersion(version.object_key, marker_id=marker_id, seen=Seen.of(version))
            yield command, "expired_count"

    def _noncurrent_version(self, version: ObjectVersion, above: ObjectVersion) -> Iterator[_Judged]:
        due = self._lifecycle.noncurrent_expiry(
            version.object_key, version.size, _tags(version), above.created_at, self._noncurrent, self._age
        )
        if not version.is_delete_marker:
            self._noncurrent += 1
        if due is not None and due.at <= self._now:
            yield DeleteVersion(version.object_key, version.version_id, seen=Seen.of(version)), "removed_count"


def _tags(version: ObjectVersion) -> dict[str, str]:
    return dict(version.attributes.get("tags", ()))
