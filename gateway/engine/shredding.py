"""Shredding: what is named is destroyed at once, past the time of grace; a signed record says what went and what not.

Survivors that share a content with what goes are sealed anew first. Then rows go, blobs, and entries of envelopes blobs
and of packs, in this order; a run that was cut off leaves condemned blobs to the sweep, and is run again for the rest.
Source: docs/KEYS.md "Shredding"; the decision record on what shredding destroys.
"""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from gateway.engine.envelopes import EnvelopesBlobs
from gateway.engine.exposure import UNREADABLE
from gateway.engine.journal.packs import Packs, PacksHeld
from gateway.engine.resealing import Destroyer, Resealer, ResealReport
from gateway.engine.rewrap import Rewrapper
from storage.catalogue.base import Catalogue
from storage.catalogue.commands import DeleteVersion, HistoryQuery, UploadsQuery
from storage.catalogue.conflicts import LockRefused, NoSuchVersion, WrapsChanged
from storage.catalogue.records import (
    NULL_VERSION_ID,
    Blob,
    BlobRole,
    Bucket,
    ObjectVersion,
    RetentionMode,
    Upload,
)
from storage.errors import CatalogueConflict
from storage.sealed.envelopes import Envelopes
from storage.sealed.recovery import RecoveredBlob
from storage.seams import reach

_PAGE = 500
_log = logging.getLogger(__name__)


PATIENCE_S: Final = 20.0
"""How long a shredding waits for who keeps the packs, before it begins and in the end."""


class ShredRefused(CatalogueConflict):
    """A lock holds what is to be shredded, or a backup the packs; nothing was destroyed."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What is to go: versions of some buckets, by prefix, by key, or one of them."""

    buckets: tuple[Bucket, ...]
    prefix: bytes = b""
    object_key: bytes | None = None
    version_id: str | None = None

    def has(self, version: ObjectVersion) -> bool:
        """Whether a version is to go."""
        return (
            any(bucket.bucket_id == version.bucket_id for bucket in self.buckets)
            and version.object_key.startswith(self.prefix)
            and self.object_key in {None, version.object_key}
            and self.version_id in {None, version.version_id}
        )

    def had(self, blob: RecoveredBlob) -> bool:
        """Whether a blob that nothing names any more was of a version that would go."""
        told = blob.description
        return (
            any(bucket.bucket_id == told.bucket_id for bucket in self.buckets)
            and told.object_key.startswith(self.prefix)
            and self.object_key in {None, told.object_key}
            and self.version_id in {None, told.version_id or NULL_VERSION_ID}
        )


@dataclass(slots=True)
class ShredReport(ResealReport):
    """What went. `destroyed` names it, version by version; the counts of resealing are of survivors."""

    scanned_count: int = 0
    destroyed_count: int = 0
    """Versions, delete markers among them."""
    aborted_upload_count: int = 0
    present_count: int = 0
    """Versions that the scope has at the end: locked, written or copied there meanwhile. Run it again for those."""
    inline_count: int = 0
    """Blobs that rested in the catalogue, and in packs of the journal."""
    rewritten_envelopes_count: int = 0
    rewritten_pack_count: int = 0
    """Packs that held some of it, or of what was deleted there before."""
    damaged_pack_count: int = 0
    """Packs that do not open, so that nobody can say what they hold."""
    damaged_envelopes_count: int = 0
    """Envelopes blobs that do not open, so that nobody can say whose wraps they hold; the log names them."""
    unread_pack_count: int = 0
    """Packs that were not looked through, since somebody kept them where they are, as a backup does: run it again."""
    destroyed: list[dict[str, Any]] = field(default_factory=list)
    remaining_blobs: list[str] = field(default_factory=list)

    def told(self) -> dict[str, Any]:
        """The counts, without the names."""
        return {name: getattr(self, name) for name in _COUNTS}


_COUNTS = (
    "scanned_count",
    "destroyed_count",
    "destroyed_blob_count",
    "aborted_upload_count",
    "sealed_count",
    "present_count",
    "inline_count",
    "rewritten_envelopes_count",
    "rewritten_pack_count",
    "damaged_pack_count",
    "damaged_envelopes_count",
    "unread_pack_count",
    "remaining_blob_count",
)


class Shredder:
    """Shreds in one realm."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        resealer: Resealer,
        rewrapper: Rewrapper,
        envelopes: EnvelopesBlobs,
        packs: Packs,
        destroyer: Destroyer,
        clock: Callable[[], datetime],
    ) -> None:
        self._catalogue = catalogue
        self._resealer = resealer
        self._lease = rewrapper.lease
        self._leased = rewrapper.leased
        self._envelopes = envelopes
        self._packs = packs
        self._destroyer = destroyer
        self._clock = clock

    async def shred(self, scope: Scope, progress: Callable[[ShredReport], None]) -> ShredReport:
        """Destroy what a scope names.

        Raises:
            ShredRefused: a lock holds some of it, or a backup the packs; nothing was destroyed.
            LeaseLost, KeysError, StorageError: run it again for the rest.
        """
        report = ShredReport()
        async with self._leased():
            await self._destroy(scope, report, progress)
        return report

    async def _destroy(self, scope: Scope, report: ShredReport, progress: Callable[[ShredReport], None]) -> None:
        await self._check_locks(scope)
        try:
            await self._packs.check_free(PATIENCE_S)
        except PacksHeld as held:
            raise ShredRefused(f"{held}: nothing was shredded; run it again when that is done") from None
        wrap_ids: set[bytes] = set()
        for bucket in scope.buckets:
            async for versions in self._versions(scope, bucket):
                report.scanned_count += len(versions)
                for version in versions:
                    await self._shred_version(scope, bucket, version, wrap_ids, report)
                    progress(report)
            if scope.version_id is None:
                await self._abort_uploads(scope, bucket, wrap_ids, report)
        reach("shred.versions_gone")
        await self._clean_envelopes(wrap_ids, report)
        await self._clean_packs(scope, report)
        for bucket in scope.buckets:
            async for versions in self._versions(scope, bucket):
                report.present_count += len(versions)
        progress(report)

    async def _check_locks(self, scope: Scope) -> None:
        now = self._clock()
        for bucket in scope.buckets:
            async for versions in self._versions(scope, bucket):
                for version in versions:
                    lock = version.lock
                    is_kept = lock.retain_until is not None and lock.retain_until > now
                    if lock.legal_hold or (lock.mode is RetentionMode.COMPLIANCE and is_kept):
                        raise ShredRefused(
                            f"version {version.version_id} of an object in {bucket.name} is under COMPLIANCE or a legal"
                            " hold: nothing was shredded"
                        )

    async def _versions(self, scope: Scope, bucket: Bucket) -> AsyncIterator[list[ObjectVersion]]:
        """The versions of a bucket that are to go, page by page; each page is read anew behind the last key."""
        prefix = scope.prefix if scope.object_key is None else scope.object_key
        marker, version_marker = b"", None
        while True:
            query = HistoryQuery(prefix=prefix, key_marker=marker, version_id_marker=version_marker, limit=_PAGE)
            page = await self._catalogue.list_history(bucket.bucket_id, query)
            found = [version for version in page.versions if scope.has(version)]
            if found:
                yield found
            if not page.is_truncated:
                return
            marker, version_marker = page.next_key_marker, page.next_version_id_marker

    async def _shred_version(
        self, scope: Scope, bucket: Bucket, version: ObjectVersion, wrap_ids: set[bytes], report: ShredReport
    ) -> None:
        blobs: list[Blob] = []
        link_ids: list[bytes] = []
        if version.content_id is not None:
            if await self._separate(scope, version, wrap_ids, report):
                return
            try:
                found = await self._catalogue.get_version(bucket.bucket_id, version.object_key, version.version_id)
            except NoSuchVersion:
                return
            content = found.content
            assert content is not None, "a version that is no marker has content"
            sharing = await self._catalogue.versions_of_content(content.content_id, version)
            link_ids = [link for other, link in sharing if link is not None and _is_same(other, version)]
            if len(sharing) == 1:
                blobs = list(content.blobs)
                wrap_ids.add(content.content_id)
        command = DeleteVersion(version.object_key, version.version_id, bypass_governance=True)
        (answer,) = await self._catalogue.delete_versions(bucket.bucket_id, [command])
        if isinstance(answer, LockRefused):
            return
        if isinstance(answer, CatalogueConflict):
            raise answer
        reach("shred.row_gone")
        stored = [blob.blob_id for blob in blobs if blob.inline is None] + link_ids
        gone, kept = await self._destroyer.destroy(stored, await self._lease())
        report.destroyed_blob_count += len(gone)
        report.remaining_blob_count += len(kept)
        report.remaining_blobs += [blob_id.hex() for blob_id in kept]
        report.inline_count += sum(blob.inline is not None for blob in blobs)
        wrap_ids.update(link_ids)
        wrap_ids.update(blob.blob_id for blob in blobs if blob.role is BlobRole.MANIFEST)
        report.destroyed_count += 1
        report.destroyed.append(_named(bucket, version, gone))

    async def _separate(self, scope: Scope, version: ObjectVersion, wrap_ids: set[bytes], report: ShredReport) -> bool:
        """Seal a content anew for versions that survive; whether one that changed meanwhile still shares it."""
        content_id = version.content_id
        assert content_id is not None, "markers share nothing"
        for is_done in (False, True):
            sharing = await self._catalogue.versions_of_content(content_id, version)
            if all(scope.has(other) for other, _ in sharing):
                return False
            if not is_done:
                await self._resealer.reseal(content_id, version, report, prefer=lambda other: not scope.has(other))
                wrap_ids.add(content_id)
        return True

    async def _abort_uploads(self, scope: Scope, bucket: Bucket, wrap_ids: set[bytes], report: ShredReport) -> None:
        prefix = scope.prefix if scope.object_key is None else scope.object_key
        while True:
            page = await self._catalogue.list_uploads(bucket.bucket_id, UploadsQuery(prefix=prefix, limit=_PAGE))
            uploads = [each for each in page.uploads if scope.object_key in {None, each.object_key}]
            for upload in uploads:
                await self._abort(upload, wrap_ids, report)
            if not uploads:
                return

    async def _abort(self, upload: Upload, wrap_ids: set[bytes], report: ShredReport) -> None:
        parts = await self._catalogue.list_parts(upload.upload_id)
        await self._catalogue.abort_upload(upload.bucket_id, upload.object_key, upload.upload_id)
        gone, kept = await self._destroyer.destroy([part.blob.blob_id for part in parts], await self._lease())
        report.destroyed_blob_count += len(gone)
        report.remaining_blob_count += len(kept)
        report.remaining_blobs += [blob_id.hex() for blob_id in kept]
        report.aborted_upload_count += 1
        wrap_ids.add(upload.content.content_id)

    async def _clean_envelopes(self, wrap_ids: set[bytes], report: ShredReport) -> None:
        """Rewrite every envelopes blob that carries a wrap of what went, and delete those that no row needs."""
        async for kept in self._envelopes.all():
            try:
                held = await self._envelopes.read(kept.blob)
            except UNREADABLE as error:
                name = kept.blob.blob_id.hex()
                _log.error("envelopes blob %s stays until a rotation and a rewrap: it does not open: %s", name, error)
                report.damaged_envelopes_count += 1
                continue
            left = [(name, envelope) for name, envelope in held.entries if name not in wrap_ids]
            if len(left) == len(held.entries):
                continue
            blob = await self._envelopes.write(Envelopes(held.epoch, tuple(left)))
            reach("shred.envelopes_durable")
            names = [name for name, _ in left]
            try:
                await self._catalogue.replace_envelopes(kept.blob.blob_id, blob, names, await self._lease())
            except WrapsChanged:  # its last wrap went meanwhile, so it is condemned
                await self._envelopes.discard(blob)
                continue
            reach("shred.envelopes_replaced")
            report.rewritten_envelopes_count += 1
        await self._destroyer.destroy_envelopes(self._lease)

    async def _clean_packs(self, scope: Scope, report: ShredReport) -> None:
        """Write every pack anew that holds what went, now or by a delete before."""
        try:
            done = await self._packs.purge(scope.had, PATIENCE_S)
        except PacksHeld:  # by one that began meanwhile: what is gone is gone, and the record says so
            report.unread_pack_count = await self._packs.count()
            return
        report.rewritten_pack_count = done.rewritten_pack_count
        report.damaged_pack_count = done.damaged_pack_count
        report.remaining_blob_count += len(done.remaining_packs)
        report.remaining_blobs += [blob_id.hex() for blob_id in done.remaining_packs]


def _is_same(one: ObjectVersion, other: ObjectVersion) -> bool:
    return (one.bucket_id, one.object_key, one.sequence) == (other.bucket_id, other.object_key, other.sequence)


def _named(bucket: Bucket, version: ObjectVersion, blob_ids: Sequence[bytes]) -> dict[str, Any]:
    """A destroyed version as its record names it. Keys are bytes: what is no UTF-8 is escaped."""
    return {
        "bucket": bucket.name,
        "object_key": version.object_key.decode("utf-8", "backslashreplace"),
        "version_id": version.version_id,
        "size": version.size,
        "is_delete_marker": version.is_delete_marker,
        "blob_ids": [blob_id.hex() for blob_id in blob_ids],
    }
