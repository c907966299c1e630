"""Versions of objects over verified rows: publish, read, delete.

What becomes of the version that was current is decided in one place (`_retire_current`), where versioned buckets will
differ. Source: `base`; S3 "PutObject", "DeleteObject".
"""

from dataclasses import replace

from storage.catalogue import blobs, rows
from storage.catalogue.base import (
    Conditions,
    Deleted,
    DeleteVersion,
    Found,
    NoSuchBucket,
    NoSuchVersion,
    PublishVersion,
)
from storage.catalogue.records import NULL_VERSION_ID, Blob, ObjectVersion
from storage.catalogue.rules import check_conditions, removal_change, version_change
from storage.catalogue.schema import BUCKETS, VERSIONS, BucketRow, VersionRow
from storage.catalogue.session import SLICE_ROWS, Scan, Session, Transaction


def publish_version(tx: Transaction, command: PublishVersion) -> ObjectVersion:
    """See `Catalogue.publish_version`."""
    current = judge(tx, command.version.bucket_id, command.version.object_key, command.conditions)
    # The content is taken before the old version lets go of its own: a copy onto itself shares what it replaces.
    if command.content is not None:
        blobs.add_content(tx, command.content)
    elif command.share_content_id is not None:
        blobs.share_content(tx, command.share_content_id)
    if command.link is not None:
        blobs.add(tx, command.link, None)
    return make_current(tx, command.version, current, command.link, "publish_version")


def judge(tx: Transaction, bucket_id: bytes, object_key: bytes, conditions: Conditions) -> VersionRow | None:
    """The current version of a key, after the conditions of a write were found to hold.

    Raises:
        NoSuchBucket, PreconditionRefused, NoSuchVersion: as `Catalogue.publish_version`.
    """
    require_bucket(tx, bucket_id)
    current = current_version(tx, bucket_id, object_key)
    check_conditions(conditions, None if current is None or current.content_id is None else current.etag)
    return current


def require_bucket(session: Session, bucket_id: bytes) -> BucketRow:
    """The bucket's row. Raises: NoSuchBucket."""
    row = session.find(BUCKETS, bucket_id)
    if row is None:
        raise NoSuchBucket("no bucket of that id")
    return row


def current_version(session: Session, bucket_id: bytes, object_key: bytes) -> VersionRow | None:
    """The newest version of a key, delete markers included."""
    condition = "WHERE bucket_id = ? AND object_key = ? ORDER BY sequence DESC"
    return session.first(VERSIONS, condition, bucket_id, object_key)


def make_current(
    tx: Transaction, version: ObjectVersion, current: VersionRow | None, link: Blob | None, kind: str
) -> ObjectVersion:
    """Insert a version above the current one, with its number and a time that never goes back."""
    created_at = version.created_at
    if current is not None:
        created_at = max(created_at, rows.from_micros(current.created_at))
        _retire_current(tx, current)
    published = replace(version, sequence=tx.next_sequence(), created_at=created_at)
    tx.insert(VERSIONS, rows.version_row(published, link_id=None if link is None else link.blob_id))
    tx.record(kind, version_change(published, link), published.sequence)
    return published


def _retire_current(tx: Transaction, current: VersionRow) -> None:
    """Without versioning a version that is replaced is removed."""
    remove_version(tx, current)


def remove_version(tx: Transaction, row: VersionRow) -> None:
    """Remove one version for good, release its content, condemn its link."""
    tx.delete(VERSIONS, row)
    if row.content_id is not None:
        blobs.release_content(tx, row.content_id)
    if row.link_id is not None:
        blobs.condemn_named(tx, row.link_id)


def delete_version(tx: Transaction, bucket_id: bytes, command: DeleteVersion) -> Deleted:
    """One key of `Catalogue.delete_versions`."""
    current = judge(tx, bucket_id, command.object_key, command.conditions)
    if current is None or command.version_id not in {None, current.version_id}:
        return Deleted(command.object_key)
    remove_version(tx, current)
    tx.record("delete_version", removal_change(bucket_id, command.object_key, current.version_id))
    return Deleted(command.object_key, removed_version_id=current.version_id)


def get_version(
    session: Session, bucket_id: bytes, object_key: bytes, version_id: str | None, with_content: bool
) -> Scan[Found]:
    """See `Catalogue.get_version`."""
    row = current_version(session, bucket_id, object_key)
    if row is not None and version_id is not None and row.version_id != version_id:
        condition = "WHERE bucket_id = ? AND object_key = ? AND version_id = ?"
        row = session.first(VERSIONS, condition, bucket_id, object_key, version_id)
    if row is None:
        raise NoSuchVersion("no such object or version")
    if row.content_id is None or not with_content:
        return Found(rows.version(row), None)
    content = blobs.require_content(session, row.content_id)
    loaded = []
    for number, blob in enumerate(blobs.blob_rows(session, content), start=1):
        loaded.append(blobs.load(session, blob))
        if number % SLICE_ROWS == 0:
            yield
    blobs.check_count(content, len(loaded))
    return Found(rows.version(row), rows.content(content, loaded))


def check_publishable(command: PublishVersion) -> None:
    """Programmers only: one null version of a key, no delete markers, and just one source for its content."""
    version = command.version
    assert version.version_id == NULL_VERSION_ID, "versioned buckets are not supported"
    assert version.content_id is not None, "delete markers are made by deletes"
    content_id = command.share_content_id if command.content is None else command.content.content_id
    assert version.content_id == content_id, "the version names the content that comes with it"
    assert command.content is None or command.share_content_id is None, "a content is new or shared"
