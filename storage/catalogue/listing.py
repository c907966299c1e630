"""Pages of keys, versions and uploads as skip-scans: rows are read for entries given, and one to see if more come.

A common prefix costs one seek to the first key behind it, however many keys it stands for; older versions of a key are
passed by one seek as well. Source: S3 "ListObjectsV2", "ListObjectVersions", "ListMultipartUploads".
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from storage.catalogue import rows
from storage.catalogue.commands import HistoryPage, HistoryQuery, ListPage, ListQuery, UploadsPage, UploadsQuery
from storage.catalogue.records import Versioning
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

Row = TypeVar("Row", VersionRow, UploadRow)
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class _Page(Generic[Row, Item]):
    items: tuple[Item, ...]
    prefixes: tuple[bytes, ...]
    is_truncated: bool
    last: Row | bytes | None
    """The row or common prefix that the next page begins behind; None where all was given."""


def _page(entries: Iterator[Row | bytes | None], limit: int, item_of: Callable[[Row], Item]) -> Scan[_Page[Row, Item]]:
    """Up to `limit` rows and common prefixes of a walk, which gives None between slices of rows."""
    items: list[Item] = []
    prefixes: list[bytes] = []
    last: Row | bytes | None = None
    for entry in entries if limit > 0 else ():
        if entry is None:
            yield
            continue
        if len(items) + len(prefixes) == limit:
            return _Page(tuple(items), tuple(prefixes), True, last)
        if isinstance(entry, bytes):
            prefixes.append(entry)
        else:
            items.append(item_of(entry))
        last = entry
    return _Page(tuple(items), tuple(prefixes), False, None)


def list_versions(session: Session, bucket_id: bytes, query: ListQuery) -> Scan[ListPage]:
    """See `Catalogue.list_versions`."""
    session.findings.check_bucket(bucket_id)
    page = yield from _page(_versions(session, bucket_id, query), query.limit, rows.version)
    is_whole = not (page.is_truncated or query.prefix or query.delimiter or query.start_after)
    if is_whole and query.limit > 0:
        _check_whole(session, bucket_id, len(page.items), history=False)
    next_start_after = page.last.object_key if isinstance(page.last, VersionRow) else page.last or b""
    return ListPage(page.items, page.prefixes, page.is_truncated, next_start_after)


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
    page = yield from _page(_history(session, bucket_id, query), query.limit, rows.version)
    is_whole = not (page.is_truncated or query.prefix or query.delimiter or query.key_marker)
    if is_whole and query.limit > 0:
        _check_whole(session, bucket_id, len(page.items), history=True)
    last = page.last
    marks = (last.object_key, last.version_id) if isinstance(last, VersionRow) else (last or b"", None)
    return HistoryPage(page.items, page.prefixes, page.is_truncated, *marks)


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
    page = yield from _page(_uploads(session, bucket_id, query), query.limit, rows.upload)
    last = page.last
    marks = (last.object_key, last.upload_id) if isinstance(last, UploadRow) else (last or b"", None)
    return UploadsPage(page.items, page.prefixes, page.is_truncated, *marks)


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
