"""The whole catalogue, row by row and reference by reference, in one snapshot.

Every row must carry its MAC, every reference must lead somewhere, every count must be right. Source: `base`.
"""

from storage.catalogue.schema import SCHEMA_VERSION, TABLES
from storage.catalogue.session import SLICE_ROWS, Scan, Session
from storage.errors import RowDamaged

REFERENCES: tuple[tuple[str, str], ...] = (
    (
        "an access key without its account",
        "SELECT 1 FROM access_keys WHERE account_id NOT IN (SELECT account_id FROM accounts)",
    ),
    (
        "a bucket without its account",
        "SELECT 1 FROM buckets WHERE account_id NOT IN (SELECT account_id FROM accounts)",
    ),
    (
        "a key whose newest version does not know that it is, or an older one that does not",
        """SELECT 1 FROM (SELECT is_latest,
           row_number() OVER (PARTITION BY bucket_id, object_key ORDER BY sequence DESC) AS place FROM versions)
           AS placed WHERE (is_latest = 1) != (place = 1)""",
    ),
    (
        "a version without its bucket",
        "SELECT 1 FROM versions WHERE bucket_id NOT IN (SELECT bucket_id FROM buckets)",
    ),
    (
        "a version without its content",
        """SELECT 1 FROM versions AS v WHERE content_id IS NOT NULL
           AND NOT EXISTS (SELECT 1 FROM contents WHERE content_id = v.content_id)""",
    ),
    (
        "a version without its link",
        """SELECT 1 FROM versions AS v WHERE link_id IS NOT NULL
           AND NOT EXISTS (SELECT 1 FROM blobs WHERE blob_id = v.link_id AND role = 'link' AND state = 'live')""",
    ),
    (
        "a content with a wrong count of blobs",
        "SELECT 1 FROM contents AS c WHERE blob_count != (SELECT count(*) FROM blobs WHERE content_id = c.content_id)",
    ),
    (
        "a content with a wrong count of references",
        """SELECT 1 FROM contents AS c
           LEFT JOIN (SELECT content_id AS id, count(*) AS n FROM versions GROUP BY content_id) AS held
           ON id = c.content_id WHERE c.reference_count != coalesce(n, 0)""",
    ),
    (
        "an inline blob without its bytes",
        """SELECT 1 FROM blobs AS b WHERE is_inline = 1
           AND NOT EXISTS (SELECT 1 FROM inline_blobs WHERE blob_id = b.blob_id)""",
    ),
    (
        "bytes without their inline blob",
        """SELECT 1 FROM inline_blobs AS i
           WHERE NOT EXISTS (SELECT 1 FROM blobs WHERE blob_id = i.blob_id AND is_inline = 1)""",
    ),
    (
        "an upload without its bucket",
        "SELECT 1 FROM uploads WHERE bucket_id NOT IN (SELECT bucket_id FROM buckets)",
    ),
    (
        "an upload with a wrong count of parts",
        "SELECT 1 FROM uploads AS u WHERE part_count != (SELECT count(*) FROM parts WHERE upload_id = u.upload_id)",
    ),
    (
        "a part without its upload",
        "SELECT 1 FROM parts WHERE upload_id NOT IN (SELECT upload_id FROM uploads)",
    ),
    (
        "a part without its blob",
        """SELECT 1 FROM parts AS p
           WHERE NOT EXISTS (SELECT 1 FROM blobs WHERE blob_id = p.blob_id AND state = 'live')""",
    ),
    (
        "an envelopes blob without its row among the blobs, or the other way round",
        """SELECT 1 FROM (SELECT blob_id AS id FROM blobs WHERE role = 'envelopes' AND state = 'live') AS b
           FULL JOIN envelopes AS e ON e.blob_id = b.id WHERE e.blob_id IS NULL OR b.id IS NULL""",
    ),
    (
        "an envelopes blob with a wrong count of wraps, or a wrap without its envelopes blob",
        """SELECT 1 FROM (SELECT envelopes_id AS id, count(*) AS n FROM moved_wraps GROUP BY envelopes_id) AS m
           FULL JOIN envelopes AS e ON e.blob_id = m.id WHERE e.blob_id IS NULL OR m.id IS NULL OR n != wrap_count""",
    ),
    (
        "a moved wrap without what it belongs to",
        """SELECT 1 FROM moved_wraps AS m WHERE wrap_id != (SELECT realm_id FROM realm)
           AND NOT EXISTS (SELECT 1 FROM contents WHERE content_id = m.wrap_id)
           AND NOT EXISTS (SELECT 1 FROM blobs WHERE blob_id = m.wrap_id AND state = 'live')
           AND wrap_id NOT IN (SELECT content_id FROM uploads WHERE completed_at IS NULL)""",
    ),
)
"""What must not be found in any database, and the statement that finds it."""

SQLITE_REFERENCES: tuple[tuple[str, str], ...] = (
    (
        "a bucket with a wrong count of versions",
        """SELECT 1 FROM buckets AS b
           WHERE version_count != (SELECT count(*) FROM versions WHERE bucket_id = b.bucket_id)""",
    ),
    (
        "a configuration without its bucket, or a bucket without its configuration",
        """SELECT 1 FROM (SELECT b.bucket_id AS id, j.key AS kind FROM buckets AS b, json_each(b.configurations) AS j)
           AS named FULL JOIN configurations AS c ON c.bucket_id = named.id AND c.kind = named.kind
           WHERE c.bucket_id IS NULL OR named.id IS NULL""",
    ),
    (
        "a realm with a wrong count of blobs",
        """SELECT 1 FROM realm
           WHERE live_blob_count != (SELECT count(*) FROM blobs WHERE state = 'live' AND is_inline = 0)""",
    ),
)
"""What must not be found in SQLite besides: where counts stand, and how JSON is read, is its own."""


def verify_rows(session: Session, schema_version: int = SCHEMA_VERSION) -> Scan[int]:
    """See that every row of a catalogue of that schema carries its MAC; their number."""
    session.realm()
    total = 0
    for table in (table for table in TABLES if table.layout <= schema_version):
        for _row in session.walk(table):
            total += 1
            if total % SLICE_ROWS == 0:
                yield
    return total


def check_reference(session: Session, what: str, statement: str) -> None:
    """Judge one of `REFERENCES`, after every row was found to carry its MAC. Raises: RowDamaged."""
    if list(session.ask(statement + " LIMIT 1")):
        raise RowDamaged(what)
