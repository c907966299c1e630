"""Making, migrating and recognising the tables of the PostgreSQL catalogue, each all or nothing.

Two processes that start at once do this one after the other, under a lock of the database. Source: PostgreSQL 15
"Transactional DDL" (every statement here can be rolled back); `files` does the same for SQLite.
"""

import logging
from typing import Final

from storage.catalogue.files import judge_realm
from storage.catalogue.postgres_schema import beginnings, removals, tables_since
from storage.catalogue.postgres_session import PostgresTransaction
from storage.catalogue.rowmac import RowMac
from storage.catalogue.schema import REALM, SCHEMA_VERSION, RealmRow
from storage.errors import CatalogueUnsafe

FIRST_VERSION = 5
"""The schema with which this kind of catalogue began."""
_MAKING = "SELECT pg_advisory_xact_lock(7233194)"
"""A number that nothing else uses."""

REFERENCES: tuple[tuple[str, str], ...] = (
    (
        "a bucket with a wrong count of versions",
        """SELECT 1 FROM buckets AS b WHERE (SELECT coalesce(sum(value), 0) FROM counts WHERE scope = b.bucket_id)
           != (SELECT count(*) FROM versions WHERE bucket_id = b.bucket_id)""",
    ),
    (
        "a count of nothing",
        """SELECT 1 FROM counts WHERE scope NOT IN (SELECT bucket_id FROM buckets)
           AND scope != (SELECT realm_id FROM realm)""",
    ),
    (
        "a realm with a wrong count of blobs",
        """SELECT 1 FROM realm AS r WHERE (SELECT coalesce(sum(value), 0) FROM counts WHERE scope = r.realm_id)
           != (SELECT count(*) FROM blobs WHERE state = 'live' AND is_inline = 0)""",
    ),
)
"""What must not be found here besides what no database may hold (`verifying`)."""

_log = logging.getLogger(__name__)


LOOK: Final = "SELECT to_regclass('realm')::text"
"""NULL where there is no catalogue."""
CATALOGUE_IS_THERE: Final = (
    "the database holds a catalogue already: name an empty one in postgres_database, or give --data and --keys the"
    " folders that belong to it"
)


def create_tables(tx: PostgresTransaction, realm_id: bytes) -> None:
    """Make an empty catalogue. One of this realm without a bucket, which a first start left unfinished, gives way.

    Raises:
        CatalogueUnsafe: one is there.
        RealmMismatch, RowDamaged: as `check_realm`.
    """
    tx.execute(_MAKING)
    if _is_there(tx):
        _judge(tx, realm_id, tx.mac, frozenset())
        if list(tx.ask("SELECT 1 FROM buckets LIMIT 1")) or list(tx.ask("SELECT 1 FROM versions LIMIT 1")):
            raise CatalogueUnsafe(CATALOGUE_IS_THERE)
        for statement in removals():
            tx.execute(statement)
    for statement in (*tables_since(0), *beginnings()):
        tx.execute(statement)
    tx.insert(REALM, RealmRow(1, realm_id, SCHEMA_VERSION, sequence=0, live_blob_count=0))
    tx.make_count(realm_id)
    tx.execute_all()


def require_tables(tx: PostgresTransaction, realm_id: bytes) -> None:
    """See that there is a catalogue, whosever it is; nothing is changed. Raises: CatalogueUnsafe."""
    del realm_id
    if not _is_there(tx):
        raise CatalogueUnsafe(
            "the database holds no catalogue: correct the settings that name it (postgres_...); `sealgate migrate"
            " --catalogue` moves one from a file into it, `sealgate recover` makes it anew from the journal"
        )


def migrate(tx: PostgresTransaction, realm_id: bytes) -> None:
    """Bring the catalogue of an older version of this program to today's schema: tables are added, rows stay.

    Raises:
        CatalogueUnsafe: there is none, or it is newer.
        RealmMismatch, RowDamaged: as `check_realm`.
    """
    tx.execute(_MAKING)
    require_tables(tx, realm_id)
    older = frozenset(range(FIRST_VERSION, SCHEMA_VERSION))
    row = _judge(tx, realm_id, tx.mac, older)
    if row.schema_version == SCHEMA_VERSION:
        return
    for statement in tables_since(row.schema_version):
        tx.execute(statement)
    tx.update(REALM, row._replace(schema_version=SCHEMA_VERSION))
    tx.execute_all()
    _log.info("the catalogue's schema %d became %d", row.schema_version, SCHEMA_VERSION)


def check_realm(tx: PostgresTransaction, realm_id: bytes, mac: RowMac) -> None:
    """Compare the database with the realm and the key that the caller came with.

    Raises:
        CatalogueUnsafe: the schema is of another version of this program.
        RealmMismatch: the realm or the row MAC key is another.
        RowDamaged: the realm row is missing or does not carry its MAC.
    """
    _judge(tx, realm_id, mac, frozenset())


def _is_there(tx: PostgresTransaction) -> bool:
    ((found,),) = tx.execute(LOOK)
    return found is not None


def _judge(tx: PostgresTransaction, realm_id: bytes, mac: RowMac, older: frozenset[int]) -> RealmRow:
    return judge_realm(list(tx.ask(REALM.select)), realm_id, mac, also=older)
