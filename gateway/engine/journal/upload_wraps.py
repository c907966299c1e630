"""Wraps of multipart uploads that were just begun: into an envelopes blob, before the journal tells of the uploads.

The blob of an object has its wrap in its slot; an upload has no blob until it is completed, so that its wrap, and with
it every part, would be lost with the catalogue. Source: docs/FORMAT.md section 11.1.
"""

from collections.abc import Iterable, Sequence

from gateway.engine.envelopes import EnvelopesBlobs
from storage.catalogue import rows
from storage.catalogue.base import Catalogue
from storage.catalogue.commands import Change, Lease, MoveWraps, WrapMove, WrapOwner
from storage.catalogue.conflicts import NoSuchUpload
from storage.catalogue.records import Upload
from storage.catalogue.rowlog import Written
from storage.catalogue.schema import UPLOADS
from storage.errors import CatalogueConflict
from storage.sealed.envelopes import MAX_ENVELOPES, Envelopes
from storage.seams import reach


class UploadWraps:
    """Carries them, for the journal of one realm."""

    def __init__(self, catalogue: Catalogue, envelopes: EnvelopesBlobs) -> None:
        self._catalogue = catalogue
        self._envelopes = envelopes

    async def carry(self, changes: Sequence[Change], lease: Lease) -> None:
        """Carry the wraps of uploads that these changes begin and that are still open. Raises: StorageError."""
        uploads = [upload for begun in _begun(changes) if (upload := await self._still_open(begun)) is not None]
        for start in range(0, len(uploads), MAX_ENVELOPES):
            await self._write(uploads[start : start + MAX_ENVELOPES], lease)

    async def _write(self, uploads: Sequence[Upload], lease: Lease) -> None:
        # The time of the oldest of them: a wrap that is made anew, however soon, stands above the one it replaces.
        epoch = min(rows.to_micros(upload.created_at) for upload in uploads)
        moves = [
            WrapMove(
                WrapOwner.UPLOAD,
                upload.content.content_id,
                expected=upload.content.wrapped_key,
                envelope=upload.content.wrapped_key,
                upload_id=upload.upload_id,
            )
            for upload in uploads
        ]
        blob = await self._envelopes.write(Envelopes.of(epoch, [(move.wrap_id, move.envelope) for move in moves]))
        reach("journal.wraps_durable")
        # Not as other blobs are published: where the KMS fails and nothing new is sealed, the journal goes on.
        try:
            await self._catalogue.move_wraps(MoveWraps(blob, epoch, tuple(moves)), lease)
        except CatalogueConflict:
            await self._envelopes.discard(blob)
            raise
        reach("journal.wraps_named")

    async def _still_open(self, begun: Upload) -> Upload | None:
        try:
            upload = await self._catalogue.get_upload(begun.bucket_id, begun.object_key, begun.upload_id)
        except NoSuchUpload:
            return None
        return upload if upload.completed is None else None


def _begun(changes: Iterable[Change]) -> Iterable[Upload]:
    """Uploads that commands began, as the log has them: without their wraps."""
    for change in changes:
        for shown in change.rows if change.kind == "create_upload" else ():
            if shown["table"] == UPLOADS.name and "row" in shown:
                row = Written.from_json(shown).row
                assert row is not None, "a row came"
                yield rows.upload(UPLOADS.make(row))
