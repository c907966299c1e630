"""Versions of objects over verified rows: publish, read, change in place, delete.

What becomes of the version that was current is decided in one place (`_retire`): a null version takes the place of the
null one, every other stays below the new one. Source: `base`; S3 "How S3 Versioning works", "DeleteObject".
"""

from collections.abc import Sequence
from dataclasses import replace

from storage.catalogue import blobs, rows
from storage.catalogue.commands import Conditions, Deleted, DeleteVersion, Found, PublishVersion, VersionChange
from storage.catalogue.conflicts import NoSuchBucket, NoSuchVersion
from storage.catalogue.jobs import require_lease
from storage.catalogue.records import NULL_VERSION_ID, Blob, Notice, ObjectVersion, Versioning
from storage.catalogue.rowmac import describe
from storage.catalogue.rules import (
    changed,
    check_change,
    check_conditions,
    check_lockable,
    check_newest,
    check_pending,
    check_removable,
    check_seen,
    check_version_id,
    delete_marker,
)
from storage.catalogue.schema import BUCKETS, VERSIONS, BucketRow, VersionRow
from storage.catalogue.session import SLICE_ROWS, Scan, Session, Transaction
from storage.errors import RowDamaged

_NO_CONDITIONS = Conditions()
_NEWEST = "WHERE bucket_id = ? AND object_key = ? ORDER BY sequence DESC"


def publish_version(tx: Transaction, command: PublishVersion) -> ObjectVersion:
    """See `Catalogue.publish_version`."""
    current = judge(tx, command.version, command.conditions)
    # The content is taken before the old version lets go of its own: a copy onto itself shares what it replaces.
    if command.content is not None:
        blobs.add_content(tx, command.content)
    elif command.share_content_id is not None:
        blobs.share_content(tx, command.share_content_id)
    if command.link is not None:
        blobs.add(tx, command.link, None)
    return make_current(tx, command.version, current, command.link, "publish_version", command.notices)


def judge(tx: Transaction, version: ObjectVersion, conditions: Conditions) -> VersionRow | None:
    """The current version of a key, after it was found that a new one may take its place.

    Raises:
        NoSuchBucket, VersioningChanged, BucketStateRefused, PreconditionRefused, NoSuchVersion: as
            `Catalogue.publish_version`.
    """
    _foresee_current(tx, version.bucket_id, version.object_key)
    bucket = require_bucket(tx, version.bucket_id)
    check_version_id(version.version_id, Versioning(bucket.versioning))
    check_lockable(version.lock, bool(bucket.object_lock))
    current = current_version(tx, version.bucket_id, version.object_key)
    _check_conditions(tx, version.bucket_id, conditions, current)
    return current


def _check_conditions(tx: Transaction, bucket_id: bytes, conditions: Conditions, against: VersionRow | None) -> None:
    if conditions == _NO_CONDITIONS:
        return
    if conditions.lease is not None:
        require_lease(tx, conditions.lease)
    if against is None:
        tx.findings.check_bucket(bucket_id)
    check_newest(conditions, None if against is None else against.sequence)
    check_conditions(conditions, None if against is None or against.content_id is None else against.etag)


def require_bucket(session: Session, bucket_id: bytes) -> BucketRow:
    """The bucket's row. Raises: NoSuchBucket."""
    row = session.find(BUCKETS, bucket_id)
    if row is None:
        session.findings.check_table(BUCKETS)
        raise NoSuchBucket("no bucket of that id")
    return row


def current_version(session: Session, bucket_id: bytes, object_key: bytes) -> VersionRow | None:
    """The newest version of a key, delete markers included; an older one never stands for one that went missing."""
    return check_latest(session.first(VERSIONS, _NEWEST, bucket_id, object_key))


def _foresee_current(session: Session, bucket_id: bytes, object_key: bytes) -> None:
    session.foresee(VERSIONS, _NEWEST, bucket_id, object_key)


def check_latest(row: VersionRow | None) -> VersionRow | None:
    """See that the first row of a key knows that it is. Raises: RowDamaged."""
    if row is not None and not row.is_latest:
        raise RowDamaged(f"a newer version is missing: {describe(VERSIONS, row)}")
    return row


def named_version(session: Session, bucket_id: bytes, object_key: bytes, version_id: str | None) -> VersionRow | None:
    """The version of that id, or the current one. Ids are indexed, but for `null`, which every row would pay for."""
    row = current_version(session, bucket_id, object_key)
    if row is None or version_id in {None, row.version_id}:
        return row
    indexed = "" if version_id == NULL_VERSION_ID else " AND version_id != 'null'"
    condition = f"WHERE bucket_id = ? AND object_key = ? AND version_id = ?{indexed}"
    return session.first(VERSIONS, condition, bucket_id, object_key, version_id)


def make_current(
    tx: Transaction,
    version: ObjectVersion,
    current: VersionRow | None,
    link: Blob | None,
    kind: str,
    notices: Sequence[Notice] = (),
) -> ObjectVersion:
    """Insert a version above the current one, with its number and a time that never goes back."""
    created_at = version.created_at
    if current is not None:
        created_at = max(created_at, rows.from_micros(current.created_at))
        _retire(tx, current, version.version_id)
    published = replace(version, sequence=tx.next_sequence(), created_at=created_at, is_latest=True)
    tx.insert(VERSIONS, rows.version_row(published, link_id=None if link is None else link.blob_id))
    tx.count_version(version.bucket_id, 1)
    tx.record(kind, published.sequence, notices)
    return published


def _retire(tx: Transaction, current: VersionRow, version_id: str) -> None:
    """Make room above the current version for one of that id; a null version goes for good where a null one comes."""
    if current.version_id == version_id == NULL_VERSION_ID:
        remove_version(tx, current)
        return
    if version_id == NULL_VERSION_ID:
        replaced = named_version(tx, current.bucket_id, current.object_key, NULL_VERSION_ID)
        if replaced is not None:
            remove_version(tx, replaced)
    tx.update(VERSIONS, current._replace(is_latest=0))


def remove_version(tx: Transaction, row: VersionRow) -> None:
    """Remove one version for good, release its content, condemn its link."""
    tx.delete(VERSIONS, row)
    tx.count_version(row.bucket_id, -1)
    if row.content_id is not None:
        blobs.release_content(tx, row.content_id)
    if row.link_id is not None:
        blobs.condemn_named(tx, row.link_id)


def delete_version(tx: Transaction, bucket_id: bytes, command: DeleteVersion) -> Deleted:
    """One key of `Catalogue.delete_versions`."""
    _foresee_current(tx, bucket_id, command.object_key)
    bucket = require_bucket(tx, bucket_id)
    current = current_version(tx, bucket_id, command.object_key)
    _check_conditions(tx, bucket_id, command.conditions, current)
    is_current = command.version_id is None
    target = current if is_current else named_version(tx, bucket_id, command.object_key, command.version_id)
    if command.seen is not None or command.pending is not None:
        shown = None if target is None else rows.version(target)
        check_seen(command.seen, shown)
        check_pending(command.pending, shown)
    if is_current and bucket.versioning != Versioning.NEVER:
        return _lay_marker(tx, bucket, command, current)
    if target is None:
        tx.findings.check_bucket(bucket_id)
        return Deleted(command.object_key)
    lock = rows.version(target).lock
    check_removable(lock, rows.from_micros(tx.now), bypass_governance=command.bypass_governance)
    remove_version(tx, target)
    if target.is_latest and bucket.versioning != Versioning.NEVER:
        _promote_newest(tx, bucket_id, command.object_key)
    tx.record("delete_version", notices=command.removal_notices)
    return Deleted(command.object_key, removed_version_id=target.version_id, removed_a_marker=target.content_id is None)


def _lay_marker(tx: Transaction, bucket: BucketRow, command: DeleteVersion, current: VersionRow | None) -> Deleted:
    """Make a delete marker the current version; a null marker takes the null version's place."""
    marker_id = command.marker_id if bucket.versioning == Versioning.ENABLED else NULL_VERSION_ID
    check_version_id(marker_id, Versioning(bucket.versioning))
    marker = delete_marker(bucket.bucket_id, command.object_key, marker_id, rows.from_micros(tx.now))
    make_current(tx, marker, current, None, "publish_version", command.marker_notices)
    return Deleted(command.object_key, marker_version_id=marker_id)


def _promote_newest(tx: Transaction, bucket_id: bytes, object_key: bytes) -> None:
    """The current version went: the one below it is the current one now."""
    newest = tx.first(VERSIONS, _NEWEST, bucket_id, object_key)
    if newest is not None:
        tx.update(VERSIONS, newest._replace(is_latest=1))


def update_version(
    tx: Transaction, bucket_id: bytes, object_key: bytes, version_id: str | None, change: VersionChange
) -> ObjectVersion:
    """See `Catalogue.update_version`."""
    _foresee_current(tx, bucket_id, object_key)
    bucket = require_bucket(tx, bucket_id)
    check_change(change, bool(bucket.object_lock))
    row = named_version(tx, bucket_id, object_key, version_id)
    if row is None:
        tx.findings.check_bucket(bucket_id)
    if row is None or row.content_id is None:
        raise NoSuchVersion("no such object or version")
    updated = changed(rows.version(row), change, rows.from_micros(tx.now))
    tx.update(VERSIONS, rows.version_row(updated, link_id=row.link_id))
    tx.record("update_version")
    return updated


def get_version(
    session: Session, bucket_id: bytes, object_key: bytes, version_id: str | None, with_content: bool
) -> Scan[Found]:
    """See `Catalogue.get_version`."""
    row = named_version(session, bucket_id, object_key, version_id)
    if row is None:
        session.findings.check_bucket(bucket_id)
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
    """Programmers only: no delete markers, and just one source for its content."""
    version = command.version
    assert version.content_id is not None, "delete markers are made by deletes"
    content_id = command.share_content_id if command.content is None else command.content.content_id
    assert version.content_id == content_id, "the version names the content that comes with it"
    assert command.content is None or command.share_content_id is None, "a content is new or shared"
