"""Multipart uploads over verified rows: open, parts, complete, abort.

A part's blob carries the upload's content id from the start, so Complete adds one content row and touches no blob that
it keeps. Source: `base`; S3 "Multipart upload overview".
"""

from storage.catalogue import blobs, rows, versions
from storage.catalogue.commands import CompleteUpload
from storage.catalogue.conflicts import NoSuchUpload, PartsChanged
from storage.catalogue.records import ObjectVersion, Part, Upload
from storage.catalogue.schema import BLOBS, CONTENTS, PARTS, UPLOADS, PartRow, UploadRow
from storage.catalogue.session import SLICE_ROWS, Scan, Session, Transaction
from storage.errors import RowDamaged


def create_upload(tx: Transaction, upload: Upload) -> None:
    """See `Catalogue.create_upload`."""
    versions.require_bucket(tx, upload.bucket_id)
    tx.insert(UPLOADS, rows.upload_row(upload))
    tx.record("create_upload")


def get_upload(session: Session, bucket_id: bytes, object_key: bytes, upload_id: bytes) -> Upload:
    """See `Catalogue.get_upload`."""
    return rows.upload(_find(session, bucket_id, object_key, upload_id))


def put_part(tx: Transaction, part: Part) -> None:
    """See `Catalogue.put_part`."""
    upload = _open(tx, part.upload_id)
    blobs.add(tx, part.blob, upload.content_id)
    row = rows.part_row(part)
    replaced = tx.find(PARTS, part.upload_id, part.part_number)
    if replaced is None:
        tx.insert(PARTS, row)
        tx.update(UPLOADS, upload._replace(part_count=upload.part_count + 1))
    else:
        blobs.condemn_named(tx, replaced.blob_id)
        tx.update(PARTS, row)
    tx.record("put_part")


def list_parts(session: Session, upload_id: bytes, after: int, limit: int) -> Scan[tuple[Part, ...]]:
    """See `Catalogue.list_parts`."""
    upload = _open(session, upload_id)
    _check_part_count(session, upload)
    found: list[Part] = []
    condition = "WHERE upload_id = ? AND part_number > ? ORDER BY part_number LIMIT ?"
    for row in session.walk(PARTS, condition, upload_id, after, limit):
        blob = session.find(BLOBS, row.blob_id)
        if blob is None:
            raise RowDamaged(f"the blob row of a part is missing: {row.blob_id.hex()}")
        found.append(rows.part(row, blobs.load(session, blob)))
        if len(found) % SLICE_ROWS == 0:
            yield
    return tuple(found)


def complete_upload(tx: Transaction, command: CompleteUpload) -> ObjectVersion:
    """See `Catalogue.complete_upload`."""
    upload = _find(tx, command.version.bucket_id, command.version.object_key, command.upload_id)
    published = rows.upload(upload).completed
    if published is not None:
        blobs.condemn_unseen(tx, command.manifest)
        return published
    current = versions.judge(tx, command.version, command.conditions)
    _settle_parts(tx, upload, dict(command.parts))
    blobs.add(tx, command.manifest, upload.content_id)
    content = rows.content_row(rows.upload(upload).content, blob_count=len(command.parts) + 1)
    tx.insert(CONTENTS, content)
    if command.manifest_wrap == upload.wrapped_key:
        blobs.forget_wrap(tx, upload.content_id)
    published = versions.make_current(tx, command.version, current, None, "complete_upload", command.notices)
    # The content has the wrap now: one that stays in two rows would have to be moved, and shredded, twice.
    completed = upload._replace(
        part_count=0, completed_at=tx.now, completed=rows.published_json(published), wrapped_key=b""
    )
    tx.update(UPLOADS, completed)
    return published


def _settle_parts(tx: Transaction, upload: UploadRow, named: dict[int, bytes]) -> None:
    """Keep the blobs of the named parts, condemn those of the others, drop all part rows.

    Raises:
        PartsChanged: a named part is not the newest of its number.
    """
    for part in _part_rows(tx, upload):
        blob_id = named.pop(part.part_number, None)
        if blob_id is None:
            blobs.condemn_named(tx, part.blob_id)
        elif blob_id != part.blob_id:
            raise PartsChanged(f"part {part.part_number} was uploaded again")
    if named:
        raise PartsChanged(f"part {min(named)} is not there")
    tx.delete_group(PARTS, upload.upload_id)


def abort_upload(tx: Transaction, bucket_id: bytes, object_key: bytes, upload_id: bytes) -> None:
    """See `Catalogue.abort_upload`."""
    upload = _find(tx, bucket_id, object_key, upload_id)
    if upload.completed_at is not None:
        raise NoSuchUpload("the upload is completed")
    drop(tx, upload)
    tx.record("abort_upload")


def drop(tx: Transaction, upload: UploadRow) -> None:
    """Remove an upload, open or completed, and condemn the parts that it still holds."""
    for part in _part_rows(tx, upload):
        blobs.condemn_named(tx, part.blob_id)
    tx.delete_group(PARTS, upload.upload_id)
    tx.delete(UPLOADS, upload)
    if upload.completed_at is None:
        blobs.forget_wrap(tx, upload.content_id)


def forget_completed_uploads(tx: Transaction, before: int) -> int:
    """See `Catalogue.forget_completed_uploads`; `before` in microseconds since 1970."""
    found = tx.all(UPLOADS, "WHERE completed_at < ?", before)
    for upload in found:
        tx.delete(UPLOADS, upload)
    return len(found)


def _part_rows(session: Session, upload: UploadRow) -> list[PartRow]:
    found = session.all(PARTS, "WHERE upload_id = ?", upload.upload_id)
    if len(found) != upload.part_count:
        raise RowDamaged(f"part rows of an upload are missing: {upload.upload_id.hex()}")
    return found


def _check_part_count(session: Session, upload: UploadRow) -> None:
    if session.count(PARTS, "WHERE upload_id = ?", upload.upload_id) != upload.part_count:
        raise RowDamaged(f"part rows of an upload are missing: {upload.upload_id.hex()}")


def _find(session: Session, bucket_id: bytes, object_key: bytes, upload_id: bytes) -> UploadRow:
    row = session.find(UPLOADS, upload_id)
    if row is None:
        session.findings.check_table(UPLOADS)
    if row is None or (row.bucket_id, row.object_key) != (bucket_id, object_key):
        raise NoSuchUpload("no upload of that id under that key")
    return row


def _open(session: Session, upload_id: bytes) -> UploadRow:
    row = session.find(UPLOADS, upload_id)
    if row is None:
        session.findings.check_table(UPLOADS)
    if row is None or row.completed_at is not None:
        raise NoSuchUpload("no open upload of that id")
    return row
