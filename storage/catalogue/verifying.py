"""The whole catalogue, row by row and reference by reference, in one snapshot.

Every row must carry its MAC, every reference must lead somewhere, every count must be right. Source: `base`.
"""

from storage.catalogue.records import BlobRole, BlobState
from storage.catalogue.schema import (
    ACCESS_KEYS,
    ACCOUNTS,
    BLOBS,
    BUCKETS,
    CONTENTS,
    INLINE_BLOBS,
    PARTS,
    TABLES,
    UPLOADS,
    VERSIONS,
)
from storage.catalogue.session import SLICE_ROWS, Scan, Session
from storage.errors import RowDamaged

_REFERENCES: tuple[tuple[str, str], ...] = (
    (
        "an access key without its account",
        f"{ACCESS_KEYS.name} WHERE account_id NOT IN (SELECT account_id FROM accounts)",
    ),
    (
        "a bucket without its account",
        f"{BUCKETS.name} WHERE account_id NOT IN (SELECT account_id FROM {ACCOUNTS.name})",
    ),
    ("a version without its bucket", f"{VERSIONS.name} WHERE bucket_id NOT IN (SELECT bucket_id FROM buckets)"),
    (
        "a version without its content",
        "versions v WHERE content_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM contents WHERE content_id = v.content_id)",
    ),
    (
        "a version without its link",
        "versions v WHERE link_id IS NOT NULL"
        f" AND NOT EXISTS (SELECT 1 FROM blobs WHERE blob_id = v.link_id AND role = '{BlobRole.LINK}'"
        f" AND state = '{BlobState.LIVE}')",
    ),
    (
        "a content with a wrong count of blobs",
        f"{CONTENTS.name} c WHERE blob_count != (SELECT count(*) FROM blobs WHERE content_id = c.content_id)",
    ),
    (
        "a content with a wrong count of references",
        "contents c LEFT JOIN (SELECT content_id AS id, count(*) AS n FROM versions GROUP BY content_id) ON id = c.content_id"
        " WHERE c.reference_count != coalesce(n, 0)",
    ),
    (
        "an inline blob without its bytes",
        f"{BLOBS.name} b WHERE is_inline = 1"
        f" AND NOT EXISTS (SELECT 1 FROM {INLINE_BLOBS.name} WHERE blob_id = b.blob_id)",
    ),
    (
        "bytes without their inline blob",
        "inline_blobs i WHERE NOT EXISTS (SELECT 1 FROM blobs WHERE blob_id = i.blob_id AND is_inline = 1)",
    ),
    ("an upload without its bucket", f"{UPLOADS.name} WHERE bucket_id NOT IN (SELECT bucket_id FROM buckets)"),
    (
        "an upload with a wrong count of parts",
        f"uploads u WHERE part_count != (SELECT count(*) FROM {PARTS.name} WHERE upload_id = u.upload_id)",
    ),
    ("a part without its upload", "parts WHERE upload_id NOT IN (SELECT upload_id FROM uploads)"),
    (
        "a part without its blob",
        f"parts p WHERE NOT EXISTS (SELECT 1 FROM blobs WHERE blob_id = p.blob_id AND state = '{BlobState.LIVE}')",
    ),
    (
        "a realm with a wrong count of blobs",
        "realm WHERE live_blob_count !="
        f" (SELECT count(*) FROM blobs WHERE state = '{BlobState.LIVE}' AND is_inline = 0)",
    ),
)
"""What must not be found, and the rows that would show it."""


def verify(session: Session) -> Scan[int]:
    """See `Catalogue.verify`. References are judged by SQL after every row was found to carry its MAC."""
    session.realm()
    total = 0
    for table in TABLES:
        for _row in session.walk(table):
            total += 1
            if total % SLICE_ROWS == 0:
                yield
    for what, rows in _REFERENCES:
        if session.connection.execute(f"SELECT 1 FROM {rows} LIMIT 1").fetchall():  # noqa: S608  # a constant above
            raise RowDamaged(what)
        yield
    return total
