"""A wrapping key leaked: everything that it opens is sealed anew, and then it is needed by nothing.

What is left to do is found by walking over the wraps, so a run that was cut off is started again. Source: docs/KEYS.md
"Incident".
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from gateway.engine.custody import Envelope
from gateway.engine.exposure import UNREADABLE, Exposed, Exposure
from gateway.engine.journal.packs import Packs
from gateway.engine.resealing import Destroyer, Resealer, ResealReport
from gateway.engine.rewrap import LeakedVersions, Rewrapper
from storage.catalogue.base import Catalogue
from storage.catalogue.conflicts import NoSuchUpload
from storage.catalogue.records import Upload
from storage.sealed.recovery import RecoveredBlob
from storage.seams import reach

PASSES = 5
"""Walks before what is still under the leaked versions is told as left."""

_log = logging.getLogger(__name__)


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
    """Contents that do not open, so that they cannot be sealed anew; the log names them."""
    rewritten_pack_count: int = 0
    """Packs of small objects that held some of what was sealed anew, or was deleted before."""
    damaged_pack_count: int = 0
    """Packs that do not open, so that nobody can say what they hold."""
    left_count: int = 0
    """Records under the leaked versions, and contents that those open by what the store still has."""


class Incident:
    """Seals anew whatever leaked versions of a key open."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        exposure: Exposure,
        resealer: Resealer,
        rewrapper: Rewrapper,
        destroyer: Destroyer,
        packs: Packs,
    ) -> None:
        self._catalogue = catalogue
        self._exposure = exposure
        self._resealer = resealer
        self._rewrapper = rewrapper
        self._destroyer = destroyer
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
        async with self._rewrapper.leased():
            await self._end(leaked, report, progress, abort_uploads=abort_uploads, patience_s=patience_s)
        return report

    async def _end(
        self,
        leaked: LeakedVersions,
        report: IncidentReport,
        progress: Callable[[IncidentReport], None],
        *,
        abort_uploads: bool,
        patience_s: float,
    ) -> None:
        await self._rewrapper.wait_for_writes(leaked, patience_s)
        for _ in range(PASSES):
            before = report.sealed_count, report.aborted_upload_count
            report.open_upload_count = report.customer_count = report.failed_count = 0
            async for exposed in self._exposure.walk(leaked):
                await self._close(exposed, report, abort_uploads=abort_uploads)
                report.scanned_count = self._exposure.scanned_count
                progress(report)
                await asyncio.sleep(0)
            report.scanned_count = self._exposure.scanned_count
            if before == (report.sealed_count, report.aborted_upload_count):
                break
        left = [exposed.by_row async for exposed in self._exposure.walk(leaked)]
        if not left:
            # Nothing but keys of manifests, links and the realm is under them now, and those are moved.
            report.rewrapped_count = (await self._rewrapper.rewrap(leaked)).moved_count
        reach("incident.rewrapped")
        report.remaining_blob_count += await self._destroyer.destroy_envelopes(self._rewrapper.lease)
        await self._clean_packs(leaked, report)
        report.left_count = (await self._rewrapper.scan(leaked)).left_count + left.count(False)
        progress(report)

    async def _close(self, exposed: Exposed, report: IncidentReport, *, abort_uploads: bool) -> None:
        """Seal a content anew; one that does not open is told and left."""
        if exposed.kept.upload is not None:
            await self._close_upload(exposed.kept.upload, report, abort_uploads=abort_uploads)
            return
        try:
            await self._resealer.reseal(exposed.content_id, exposed.kept.version, report)
        except UNREADABLE as error:
            report.failed_count += 1
            _log.error("content %s cannot be sealed anew: %s", exposed.content_id.hex(), error)

    async def _close_upload(self, upload: Upload, report: IncidentReport, *, abort_uploads: bool) -> None:
        if not abort_uploads:
            report.open_upload_count += 1
            return
        try:
            await self._catalogue.abort_upload(upload.bucket_id, upload.object_key, upload.upload_id)
        except NoSuchUpload:
            return
        report.aborted_upload_count += 1

    async def _clean_packs(self, leaked: LeakedVersions, report: IncidentReport) -> None:
        """Write every pack anew in which something dead lies under the leaked versions."""

        def is_under(blob: RecoveredBlob) -> bool:
            wrapped = Envelope.decode(blob.wrapped_key).kms_wrapped
            return wrapped is not None and leaked.covers(wrapped)

        done = await self._packs.purge(is_under)
        report.rewritten_pack_count += done.rewritten_pack_count
        report.damaged_pack_count = done.damaged_pack_count
        report.remaining_blob_count += len(done.remaining_packs)
