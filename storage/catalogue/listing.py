"""Pages of keys, versions and uploads as skip-scans: rows are read for entries given, and one to see if more come.

A common prefix costs one seek to the first key behind it, however many keys it stands for; older versions of a key are
passed by one seek as well. Source: S3 "ListObjectsV2", "ListObjectVersions", "ListMultipartUploads".
"""

from collections.abc import Iterator

from storage.catalogue import rows
from storage.catalogue.base import HistoryPage, HistoryQuery, ListPage, ListQuery, UploadsPage, UploadsQuery
from storage.catalogue.records import ObjectVersion, Upload, Versioning
from storage.catalogue.rules import after_prefix, rolled_up
from storage.catalogue.schema import BUCKETS, UPLOADS, VERSIONS, UploadRow, VersionRow
from storage.catalogue.session import SLICE_ROWS, Scan, Session
from storage.catalogue.versions import check_latest, named_version
from storage.errors import RowDamaged

_FROM_KEY = "WHERE bucket_id = ? AND object_key >= ? ORDER BY object_key, sequence DESC"
_BEHIND_VERSION = "WHERE bucket_id = ? AND object_key = ? AND sequence < ? ORDER BY object_key, sequence DESC"
_FROM_UPLOAD = (
    "WHERE bucket_id = ? AND (object_key, created_at, upload_id) > (?, ?, ?) ORDER BY object_key, created_at, upload_id"
)
_BEFORE_ALL = (-1, b"")
"""A creation and upload id that stand before every upload of a key."""


def list_versions(session: Session, bucket_id: bytes, query: ListQuery) -> Scan[ListPage]:
    """See `Catalogue.list_versions`."""
    session.findings.check_bucket(bucket_id)
    versions: list[ObjectVersion] = []
    prefixes: list[bytes] = []
    last = b""
    for entry in _versions(session, bucket_id, query) if query.limit > 0 else ():
        if entry is None:
            yield
        elif len(versions) + len(prefixes) == query.limit:
            return ListPage(tuple(versions), tuple(prefixes), is_truncated=True, next_start_after=last)
        elif isinstance(entry, bytes):
            prefixes.append(entry)
            last = entry
        else:
            versions.append(rows.version(entry))
            last = entry.object_key
    if not (query.prefix or query.delimiter or query.start_after) and query.limit > 0:
        _check_whole(session, bucket_id, len(versions), history=False)
    return ListPage(tuple(versions), tuple(prefixes), is_truncated=False)


def _check_whole(session: Session, bucket_id: bytes, version_count: int, *, history: bool) -> None:
    """Compare a listing that gave every version of a bucket with the count in its row. Raises: RowDamaged.

    A listing of current versions passes the older ones, so it gave all only where the bucket was never versioned.
    """
    bucket = session.find(BUCKETS, bucket_id)
    if bucket is None or not (history or bucket.versioning == Versioning.NEVER):
        return
    if session.version_count(bucket) != version_count:
        raise RowDamaged(f"a bucket has not as many versions as its row says: {bucket_id.hex()}")


def _versions(session: Session, bucket_id: bytes, query: ListQuery) -> Iterator[VersionRow | bytes | None]:
    """Current versions and common prefixes in order, from where the query starts; None between slices of rows."""
    visited = 0
    seek: bytes | None = max(query.prefix, query.start_after + b"\0" if query.start_after else b"")
    while seek is not None:
        walk, seek, newest = session.walk(VERSIONS, _FROM_KEY, bucket_id, seek), None, None
        for row in walk:
            visited += 1
            if visited % SLICE_ROWS == 0:
                yield None
            if not row.object_key.startswith(query.prefix):
                return
            if row.object_key == newest:
                seek = newest + b"\0"
                break
            check_latest(row)
            newest = row.object_key
            if row.content_id is None:
                continue
            prefix = rolled_up(row.object_key, query.prefix, query.delimiter)
            if prefix is None:
                yield row
                continue
            if prefix > query.start_after:
                yield prefix
            seek = after_prefix(prefix)
            break


def list_history(session: Session, bucket_id: bytes, query: HistoryQuery) -> Scan[HistoryPage]:
    """See `Catalogue.list_history`."""
    session.findings.check_bucket(bucket_id)
    versions: list[ObjectVersion] = []
    prefixes: list[bytes] = []
    last: tuple[bytes, str | None] = (b"", None)
    for entry in _history(session, bucket_id, query) if query.limit > 0 else ():
        if entry is None:
            yield
        elif len(versions) + len(prefixes) == query.limit:
            return HistoryPage(tuple(versions), tuple(prefixes), True, *last)
        elif isinstance(entry, bytes):
            prefixes.append(entry)
            last = (entry, None)
        else:
            versions.append(rows.version(entry))
            last = (entry.object_key, entry.version_id)
    if not (query.prefix or query.delimiter or query.key_marker) and query.limit > 0:
        _check_whole(session, bucket_id, len(versions), history=True)
    return HistoryPage(tuple(versions), tuple(prefixes), is_truncated=False)


def _history(session: Session, bucket_id: bytes, query: HistoryQuery) -> Iterator[VersionRow | bytes | None]:
    """All versions and common prefixes in order, from where the query starts; None between slices of rows."""
    visited = 0
    start = query.key_marker + b"\0" if query.key_marker else b""
    if query.version_id_marker is not None and query.key_marker.startswith(query.prefix):
        marked = named_version(session, bucket_id, query.key_marker, query.version_id_marker)
        if marked is None:
            start = query.key_marker
        else:
            yield from _older(session, marked)
    seek: bytes | None = max(query.prefix, start)
    while seek is not None:
        walk, seek, newest = session.walk(VERSIONS, _FROM_KEY, bucket_id, seek), None, None
        for row in walk:
            visited += 1
            if visited % SLICE_ROWS == 0:
                yield None
            if not row.object_key.startswith(query.prefix):
                return
            if row.object_key != newest:
                check_latest(row)
                newest = row.object_key
            prefix = rolled_up(row.object_key, query.prefix, query.delimiter)
            if prefix is None:
                yield row
                continue
            if prefix > query.key_marker:
                yield prefix
            seek = after_prefix(prefix)
            break


def _older(session: Session, marked: VersionRow) -> Iterator[VersionRow | None]:
    """Versions of a key below one of them; None between slices of rows."""
    walk = session.walk(VERSIONS, _BEHIND_VERSION, marked.bucket_id, marked.object_key, marked.sequence)
    for number, row in enumerate(walk, start=1):
        if number % SLICE_ROWS == 0:
            yield None
        yield row


def list_uploads(session: Session, bucket_id: bytes, query: UploadsQuery) -> Scan[UploadsPage]:
    """See `Catalogue.list_uploads`."""
    session.findings.check_table(UPLOADS)
    uploads: list[Upload] = []
    prefixes: list[bytes] = []
    last: tuple[bytes, bytes | None] = (b"", None)
    for entry in _uploads(session, bucket_id, query) if query.limit > 0 else ():
        if entry is None:
            yield
        elif len(uploads) + len(prefixes) == query.limit:
            return UploadsPage(tuple(uploads), tuple(prefixes), True, *last)
        elif isinstance(entry, bytes):
            prefixes.append(entry)
            last = (entry, None)
        else:
            uploads.append(rows.upload(entry))
            last = (entry.object_key, entry.upload_id)
    return UploadsPage(tuple(uploads), tuple(prefixes), is_truncated=False)


def _uploads(session: Session, bucket_id: bytes, query: UploadsQuery) -> Iterator[UploadRow | bytes | None]:
    """Open uploads and common prefixes in order, from where the query starts; None between slices of rows.

    Completed ones are read and passed: a flag in the index could be changed to hide an open one, and they are few.
    """
    visited = 0
    seek: tuple[bytes, int, bytes] | None = _first_upload(session, query)
    while seek is not None:
        walk, seek = session.walk(UPLOADS, _FROM_UPLOAD, bucket_id, *seek), None
        for row in walk:
            visited += 1
            if visited % SLICE_ROWS == 0:
                yield None
            if not row.object_key.startswith(query.prefix):
                return
            if row.completed_at is not None:
                continue
            prefix = rolled_up(row.object_key, query.prefix, query.delimiter)
            if prefix is None:
                yield row
                continue
            if prefix > query.key_marker:
                yield prefix
            behind = after_prefix(prefix)
            seek = None if behind is None else (behind, *_BEFORE_ALL)
            break


def _first_upload(session: Session, query: UploadsQuery) -> tuple[bytes, int, bytes]:
    """Where the page begins: behind the marked upload; where that is gone, at the first one of the marked key."""
    if query.prefix > query.key_marker:
        return query.prefix, *_BEFORE_ALL
    if query.upload_id_marker is None:
        return query.key_marker + b"\0" if query.key_marker else b"", *_BEFORE_ALL
    marked = session.find(UPLOADS, query.upload_id_marker)
    if marked is None or marked.object_key != query.key_marker:
        return query.key_marker, *_BEFORE_ALL
    return marked.object_key, marked.created_at, marked.upload_id
