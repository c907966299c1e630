"""A whole catalogue from a SQLite file into an empty PostgreSQL database: every row verified, signed anew, compared.

One transaction of the database takes all of it, so there is no half of a catalogue. Counts, which the database keeps in
parts, are made from the rows that hold them; leases stay behind. Source: `schema`, `postgres_schema`.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from storage.catalogue.connection import connect, translated
from storage.catalogue.rowmac import RowMac
from storage.catalogue.schema import BUCKETS, LEASES, REALM, TABLES, BucketRow, Table
from storage.catalogue.session import Session, id_taken
from storage.catalogue.sqlite_session import SqliteSession

if TYPE_CHECKING:
    from storage.catalogue.postgres_session import PostgresTransaction

_CACHE_KIB: Final = 64 << 10
_BATCH: Final = 256
"""Rows that travel to the database together."""
MOVED: Final[tuple[Table[Any], ...]] = tuple(table for table in TABLES if table not in (REALM, LEASES))

Digests = dict[str, tuple[int, int]]
"""By table: how many rows, and the sum of their hashes, which no order changes."""


@contextmanager
def reading(path: Path, realm_id: bytes, database_key: bytes, row_mac_key: bytes) -> Iterator[SqliteSession]:
    """Read a file that no catalogue has open. Raises: StorageError."""
    connection = connect(path, database_key, cache_kib=_CACHE_KIB)
    try:
        with translated(connection):
            yield SqliteSession(connection, RowMac(row_mac_key, realm_id))
    finally:
        connection.close()


def fill(source: Session, at_the_end: Callable[[], None], tx: "PostgresTransaction", realm_id: bytes) -> None:
    """Put all rows of `source` into an empty catalogue, inside the transaction that makes it.

    `at_the_end` is called when nothing but the commit is left to do. Raises: RowDamaged for any row that fails.
    """
    from storage.catalogue.postgres_files import create_tables  # noqa: PLC0415  # its client is an extra

    create_tables(tx, realm_id)
    realm = source.realm()
    waiting = 0
    for table in MOVED:
        for row in source.walk(table):
            tx.carry(table, _as_there(row), id_taken)
            waiting += 1
            if waiting % _BATCH == 0:
                tx.execute_all()
    tx.execute_all()
    for bucket in source.walk(BUCKETS):
        tx.count_version(bucket.bucket_id, bucket.version_count)
    tx.live_blobs = realm.live_blob_count
    tx.save_counts()
    tx.execute_all()
    tx.execute("SELECT setval('changes', ?::bigint, ?::boolean)", max(realm.sequence, 1), realm.sequence > 0)
    at_the_end()


def digests(session: Session) -> Digests:
    """What tells whether two catalogues hold the same. Raises: RowDamaged for any row that fails."""
    found: Digests = {}
    for table in MOVED:
        count, total = 0, 0
        for row in session.walk(table):
            count += 1
            digest = hashlib.sha256(repr(tuple(_as_there(row))).encode("utf-8", "surrogatepass")).digest()
            total = (total + int.from_bytes(digest)) % 2**256
        found[table.name] = (count, total)
    return found


def _as_there(row: Any) -> Any:
    """A row as PostgreSQL keeps it, where a bucket's versions are counted beside its row."""
    return row._replace(version_count=0) if isinstance(row, BucketRow) else row


def filling(source: Session, at_the_end: Callable[[], None]) -> Callable[["PostgresTransaction", bytes], None]:
    """`fill`, as what makes a database ready."""
    return partial(fill, source, at_the_end)
