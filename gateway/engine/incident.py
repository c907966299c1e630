"""A wrapping key leaked: everything that lay under it is sealed anew, and then it is needed by nothing.

What is left to do is found by walking over the wraps, so a run that was cut off is started again. Source: docs/KEYS.md
"Incident".
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from gateway.engine.custody import Envelope
from gateway.engine.journal.packs import Packs
from gateway.engine.resealing import Resealer, ResealReport
from gateway.engine.rewrap import LeakedVersions, Rewrapper
from storage.catalogue.base import Catalogue, KeptWrap, NoSuchUpload, WrapOwner, WrapsMark
from storage.sealed.recovery import RecoveredBlob
from storage.seams import reach

PASSES = 5
"""Walks before what is still under the leaked versions is told as left."""
PAGE_VERSIONS = 512


@dataclass(slots=True)
class IncidentReport(ResealReport):
    """What a run did and what is left."""

    scanned_count: int = 0
    open_upload_count: int = 0
    """Uploads that were begun under the leaked key: they must be completed or aborted first."""
    aborted_upload_count: int = 0
    rewrapped_count: int = 0
    """Manifests, links and the realm root, whose keys open no object's bytes."""
    failed_count: int = 0
    rewritten_pack_count: int = 0
    """Packs of small objects that held some of what was sealed anew, or was deleted before."""
    damaged_pack_count: int = 0
    """Packs that do not open, so that nobody can say what they hold."""
    left_count: int = 0


class Incident:
    """Seals anew whatever lies under leaked versions of a key."""

    def __init__(self, *, catalogue: Catalogue, resealer: Resealer, rewrapper: Rewrapper, packs: Packs) -> None:
        self._catalogue = catalogue
        self._resealer = resealer
        self._rewrapper = rewrapper
        self._packs = packs

    async def run(
        self,
        leaked: LeakedVersions,
        *,
        abort_uploads: bool,
        patience_s: float,
        progress: Callable[[IncidentReport], None],
    ) -> IncidentReport:
        """Seal anew, walk by walk, until a walk finds nothing more that can be; then wrap the rest anew, and count.

        Raises:
            LeaseLost, KeysError, StorageError: run it again, it goes on.
        """
        report = IncidentReport()
        await self._rewrapper.wait_for_writes(leaked, patience_s)
        for _ in range(PASSES):
            before = report.sealed_count, report.aborted_upload_count
            report.scanned_count = report.open_upload_count = report.customer_count = report.failed_count = 0
            await self._walk(leaked, report, abort_uploads=abort_uploads, progress=progress)
            if before == (report.sealed_count, report.aborted_upload_count):
                break
        contents_left = await self._count(leaked)
        if not contents_left:
            # Nothing but keys of manifests, links and the realm is under them now, and those are moved.
            report.rewrapped_count = (await self._rewrapper.rewrap(leaked)).moved_count
        reach("incident.rewrapped")
        await self._clean_packs(leaked, report)
        report.left_count = (await self._rewrapper.scan(leaked)).left_count
        progress(report)
        return report

    async def _walk(
        self,
        leaked: LeakedVersions,
        report: IncidentReport,
        *,
        abort_uploads: bool,
        progress: Callable[[IncidentReport], None],
    ) -> None:
        mark: WrapsMark | None = WrapsMark()
        done: set[bytes] = set()
        while mark is not None:
            page = await self._catalogue.list_wraps(mark, PAGE_VERSIONS)
            for kept in page.wraps:
                report.scanned_count += 1
                if kept.owner is WrapOwner.BLOB or kept.wrap_id in done or not _is_under(leaked, kept):
                    continue
                done.add(kept.wrap_id)
                if kept.upload is None:
                    await self._resealer.reseal(kept.wrap_id, kept.version, report)
                elif abort_uploads:
                    upload = kept.upload
                    try:
                        await self._catalogue.abort_upload(upload.bucket_id, upload.object_key, upload.upload_id)
                    except NoSuchUpload:
                        continue
                    report.aborted_upload_count += 1
                else:
                    report.open_upload_count += 1
                progress(report)
                await asyncio.sleep(0)
            mark = page.next_mark

    async def _clean_packs(self, leaked: LeakedVersions, report: IncidentReport) -> None:
        """Write every pack anew in which something dead lies under the leaked versions."""

        def is_under(blob: RecoveredBlob) -> bool:
            wrapped = Envelope.decode(blob.wrapped_key).kms_wrapped
            return wrapped is not None and leaked.covers(wrapped)

        done = await self._packs.purge(is_under)
        report.rewritten_pack_count += done.rewritten_pack_count
        report.damaged_pack_count = done.damaged_pack_count
        report.remaining_blob_count += len(done.remaining_packs)

    async def _count(self, leaked: LeakedVersions) -> int:
        """Contents and uploads that are still under the leaked versions."""
        count = 0
        mark: WrapsMark | None = WrapsMark()
        while mark is not None:
            page = await self._catalogue.list_wraps(mark, PAGE_VERSIONS)
            count += sum(kept.owner is not WrapOwner.BLOB and _is_under(leaked, kept) for kept in page.wraps)
            mark = page.next_mark
        return count


def _is_under(leaked: LeakedVersions, kept: KeptWrap) -> bool:
    wrapped = Envelope.decode(kept.envelope).kms_wrapped
    return wrapped is not None and leaked.covers(wrapped)
