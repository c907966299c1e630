"""Pages of keys and of uploads as skip-scans: one row is read for every entry given, and one to see whether more come.

A common prefix costs one seek to the first key behind it, however many keys it stands for. Source: S3 "ListObjectsV2",
"ListMultipartUploads".
"""

from storage.catalogue import rows
from storage.catalogue.base import ListPage, ListQuery, UploadsPage, UploadsQuery
from storage.catalogue.records import ObjectVersion, Upload
from storage.catalogue.rules import after_prefix, rolled_up
from storage.catalogue.schema import UPLOADS, VERSIONS
from storage.catalogue.session import SLICE_ROWS, Scan, Session

_FROM_KEY = "WHERE bucket_id = ? AND is_listed = 1 AND object_key >= ? ORDER BY object_key"
_FROM_UPLOAD = (
    "WHERE bucket_id = ? AND completed_at IS NULL AND (object_key, created_at, upload_id) > (?, ?, ?) "
    "ORDER BY object_key, created_at, upload_id"
)
_BEFORE_ALL = (-1, b"")
"""A creation and upload id that stand before every upload of a key."""


def list_versions(session: Session, bucket_id: bytes, query: ListQuery) -> Scan[ListPage]:
    """See `Catalogue.list_versions`."""
    versions: list[ObjectVersion] = []
    prefixes: list[bytes] = []
    last = b""
    seek: bytes | None = max(query.prefix, query.start_after + b"\0" if query.start_after else b"")
    while seek is not None and query.limit > 0:
        walk, seek = session.walk(VERSIONS, _FROM_KEY, bucket_id, seek), None
        for row in walk:
            if not row.object_key.startswith(query.prefix):
                break
            prefix = rolled_up(row.object_key, query.prefix, query.delimiter)
            if prefix is not None and prefix <= query.start_after:
                seek = after_prefix(prefix)
                break
            if len(versions) + len(prefixes) == query.limit:
                return ListPage(tuple(versions), tuple(prefixes), is_truncated=True, next_start_after=last)
            if prefix is not None:
                prefixes.append(prefix)
                last, seek = prefix, after_prefix(prefix)
            else:
                versions.append(rows.version(row))
                last = row.object_key
            if (len(versions) + len(prefixes)) % SLICE_ROWS == 0:
                yield
            if prefix is not None:
                break
    return ListPage(tuple(versions), tuple(prefixes), is_truncated=False)


def list_uploads(session: Session, bucket_id: bytes, query: UploadsQuery) -> Scan[UploadsPage]:
    """See `Catalogue.list_uploads`."""
    uploads: list[Upload] = []
    prefixes: list[bytes] = []
    last: tuple[bytes, bytes | None] = (b"", None)
    seek: tuple[bytes, int, bytes] | None = _first_upload(session, query)
    while seek is not None and query.limit > 0:
        walk, seek = session.walk(UPLOADS, _FROM_UPLOAD, bucket_id, *seek), None
        for row in walk:
            if not row.object_key.startswith(query.prefix):
                break
            prefix = rolled_up(row.object_key, query.prefix, query.delimiter)
            behind = None if prefix is None else after_prefix(prefix)
            if prefix is not None and prefix <= query.key_marker:
                seek = None if behind is None else (behind, *_BEFORE_ALL)
                break
            if len(uploads) + len(prefixes) == query.limit:
                return UploadsPage(tuple(uploads), tuple(prefixes), True, *last)
            if prefix is not None:
                prefixes.append(prefix)
                last, seek = (prefix, None), None if behind is None else (behind, *_BEFORE_ALL)
            else:
                uploads.append(rows.upload(row))
                last = (row.object_key, row.upload_id)
            if (len(uploads) + len(prefixes)) % SLICE_ROWS == 0:
                yield
            if prefix is not None:
                break
    return UploadsPage(tuple(uploads), tuple(prefixes), is_truncated=False)


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
