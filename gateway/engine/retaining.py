"""A catalogue whose versions under COMPLIANCE are kept by the blob store itself, where that has locks of its own.

Catalogue rows bind the gateway's requests alone. Where the backend has object lock, every blob of such a version is put
under it before anybody hears that the version is there or kept longer: at its write, at a copy, at an extension, and
when its content is sealed anew. A crash in between leaves a version that nobody was told of. Small objects that rest in
the catalogue have no blob to keep. Source: S3 "Locking objects with Object Lock"; docs/THREATS.md.
"""

import asyncio
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final, cast

from storage.blobs.base import BlobStore
from storage.catalogue.base import Catalogue
from storage.catalogue.commands import (
    CompleteUpload,
    HistoryQuery,
    Lease,
    PublishVersion,
    ReplaceContent,
    VersionChange,
)
from storage.catalogue.records import Blob, ObjectVersion, RetentionMode

AT_ONCE: Final = 8
"""Blobs of one version that are put under a lock at a time; an object may have 10,000."""


class _Retaining:
    def __init__(self, catalogue: Catalogue, blobs: BlobStore) -> None:
        self._catalogue = catalogue
        self._blobs = blobs

    def __getattr__(self, name: str) -> Any:
        return getattr(self._catalogue, name)

    async def publish_version(self, command: PublishVersion) -> ObjectVersion:
        version = await self._catalogue.publish_version(command)
        await self._keep(version, _stored([command.link]))
        return version

    async def complete_upload(self, command: CompleteUpload) -> ObjectVersion:
        version = await self._catalogue.complete_upload(command)
        await self._keep(version, [])
        return version

    async def update_version(
        self, bucket_id: bytes, object_key: bytes, version_id: str | None, change: VersionChange
    ) -> ObjectVersion:
        version = await self._catalogue.update_version(bucket_id, object_key, version_id, change)
        if change.retention is not None and _until(version) is not None:
            await self.keep_with_link(version)
        return version

    async def replace_content(self, command: ReplaceContent, lease: Lease) -> None:
        await self._catalogue.replace_content(command, lease)
        ends = [(until, one.link) for one in command.versions if (until := _until(one.seen)) is not None]
        if ends:
            await self._retain(_stored(command.content.blobs), max(until for until, _ in ends))
            for until, link in ends:
                await self._retain(_stored([link]), until)

    async def keep_with_link(self, version: ObjectVersion) -> None:
        """Have the store keep what is there of a version that was published before."""
        of_content = await self._catalogue.versions_of_content(version.content_id or b"", version)
        links = [link for one, link in of_content if one.version_id == version.version_id and link is not None]
        await self._keep(version, links)

    async def _keep(self, version: ObjectVersion, more: Iterable[bytes]) -> None:
        """Have the store keep every blob of a version for as long as its retention says."""
        until = _until(version)
        if until is None:
            return
        found = await self._catalogue.get_version(version.bucket_id, version.object_key, version.version_id)
        assert found.content is not None, "a delete marker has no lock"
        await self._retain([*_stored(found.content.blobs), *more], until)

    async def _retain(self, blob_ids: list[bytes], until: datetime) -> None:
        # The first tells whether the store can at all.
        if not blob_ids or not await self._blobs.retain(blob_ids[0], until):
            return
        for start in range(1, len(blob_ids), AT_ONCE):
            await asyncio.gather(*(self._blobs.retain(one, until) for one in blob_ids[start : start + AT_ONCE]))


def _until(version: ObjectVersion) -> datetime | None:
    return version.lock.retain_until if version.lock.mode is RetentionMode.COMPLIANCE else None


def _stored(blobs: Iterable[Blob | None]) -> list[bytes]:
    return [blob.blob_id for blob in blobs if blob is not None and blob.inline is None]


def retaining(catalogue: Catalogue, blobs: BlobStore) -> Catalogue:
    """The same catalogue over a blob store that is told what to keep.

    Commands that publish or extend a version under COMPLIANCE raise StorageUnavailable where the store can keep its
    blobs and did not: the version is there, and whoever asked for it is to ask again.
    """
    return cast("Catalogue", _Retaining(catalogue, blobs))


async def retain_all(catalogue: Catalogue, blobs: BlobStore) -> int:
    """Have a store that blobs were moved to keep those of every version under COMPLIANCE; how many versions there are.

    Raises: StorageError.
    """
    keeping, count = _Retaining(catalogue, blobs), 0
    for account in await catalogue.list_accounts():
        for bucket in await catalogue.list_buckets(account.account_id):
            query = HistoryQuery()
            while bucket.object_lock:
                page = await catalogue.list_history(bucket.bucket_id, query)
                for version in page.versions:
                    if _until(version) is not None:
                        await keeping.keep_with_link(version)
                        count += 1
                if not page.is_truncated:
                    break
                query = HistoryQuery(key_marker=page.next_key_marker, version_id_marker=page.next_version_id_marker)
    return count
