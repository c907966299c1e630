"""Making and recognising the catalogue's file: created whole or not at all, opened only for its own realm and keys.

Source: DESIGN part 4; SQLite "How To Corrupt An SQLite Database File".
"""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from storage.catalogue.connection import connect, peek_connection, translated
from storage.catalogue.rowmac import KEY_ID_SIZE, RowMac
from storage.catalogue.schema import DDL, MIGRATIONS, REALM, SCHEMA_VERSION, RealmRow
from storage.catalogue.sqlite_session import SqliteSession
from storage.catalogue.verifying import REFERENCES, SQLITE_REFERENCES, check_reference, verify_rows
from storage.errors import CatalogueUnsafe, RealmMismatch, RowDamaged, StorageUnavailable
from storage.seams import reach
from storage.syncing import sync_folder

_CACHE_KIB = 2 << 10
_MIGRATION_CACHE_KIB = 64 << 10
_log = logging.getLogger(__name__)


def create_file(path: Path, realm_id: bytes, database_key: bytes, mac: RowMac) -> None:
    """Make an empty catalogue, durable on return; the caller holds the owner lock.

    It is made under another name and renamed, so a crash leaves no half of it under its own.

    Raises:
        CatalogueUnsafe: one is there.
        StorageError: as `connection.translate`.
    """
    if path.exists():
        raise CatalogueUnsafe(f"a catalogue is there already: {path} is never replaced")
    new = path.with_name(path.name + ".new")
    try:
        for leftover in (new, new.with_name(new.name + "-journal")):
            leftover.unlink(missing_ok=True)
        os.close(os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        _fill(new, realm_id, database_key, mac)
        new.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        raise StorageUnavailable(f"the catalogue cannot be made: {error.strerror}") from error


def _fill(path: Path, realm_id: bytes, database_key: bytes, mac: RowMac) -> None:
    connection = connect(path, database_key, cache_kib=_CACHE_KIB, wal=False)
    row = RealmRow(1, realm_id, SCHEMA_VERSION, sequence=0, live_blob_count=0)
    try:
        with translated(connection), connection:
            connection.execute(DDL)
            connection.execute(REALM.insert, (*row, mac.sign(REALM, row)))
    finally:
        connection.close()


def peek(path: Path, realm_id: bytes, database_key: bytes, mac: RowMac) -> int:
    """The schema version of a catalogue that nobody has open, once it is known to be of this realm; nothing is changed.

    Raises:
        CatalogueUnsafe, RealmMismatch, RowDamaged, StorageUnavailable: as `SqliteCatalogue.open`.
    """
    connection = peek_connection(path, database_key)
    try:
        return check_realm(SqliteSession(connection, mac), realm_id, mac, also=frozenset(MIGRATIONS)).schema_version
    finally:
        connection.close()


def migrate(path: Path, realm_id: bytes, database_key: bytes, mac: RowMac) -> None:
    """Bring a catalogue of an older schema to today's, all in one transaction, once every row of it was verified.

    The caller holds the owner lock. A crash leaves the old catalogue or the new one.

    Raises:
        CatalogueUnsafe: the schema is newer than this program, or too old.
        RealmMismatch, RowDamaged, StorageError: as `check_realm`; RowDamaged also for any row that fails.
    """
    connection = connect(path, database_key, cache_kib=_MIGRATION_CACHE_KIB)
    try:
        session = SqliteSession(connection, mac)
        with translated(connection):
            row = check_realm(session, realm_id, mac, also=frozenset(MIGRATIONS))
            if row.schema_version == SCHEMA_VERSION:
                return
            # A transaction of its own, left undone where anything in it fails.
            with connection:
                for _ in verify_rows(session, row.schema_version):
                    pass
                for version in range(row.schema_version, SCHEMA_VERSION):
                    connection.execute(MIGRATIONS[version])
                for what, statement in (*REFERENCES, *SQLITE_REFERENCES):
                    check_reference(session, what, statement)
                migrated = row._replace(schema_version=SCHEMA_VERSION)
                connection.execute(REALM.update, (*migrated[1:], mac.sign(REALM, migrated), migrated[0]))
                reach("catalogue.migrated")
            reach("catalogue.migration_committed")
        _log.info("the catalogue's schema %d became %d", row.schema_version, SCHEMA_VERSION)
    finally:
        connection.close()


def check_realm(
    session: SqliteSession, realm_id: bytes, mac: RowMac, *, also: frozenset[int] = frozenset()
) -> RealmRow:
    """Compare an open file with the realm and the key that the caller came with; `also` are older schemas to accept.

    Raises:
        CatalogueUnsafe: the schema is of another version of this program.
        RealmMismatch: the realm or the row MAC key is another.
        RowDamaged: the realm row is missing or does not carry its MAC.
    """
    with translated(session.connection):
        tables = session.connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'realm'").fetchall()
        found = session.connection.execute(REALM.select).fetchall() if tables else []
    return judge_realm(found, realm_id, mac, also=also)


def judge_realm(
    found: Sequence[tuple[Any, ...]], realm_id: bytes, mac: RowMac, *, also: frozenset[int] = frozenset()
) -> RealmRow:
    """The one row of a realm table as it is stored, if it is right. Raises: as `check_realm`."""
    if len(found) != 1:
        raise RowDamaged("the realm row is missing")
    row, written_mac = RealmRow._make(found[0][:-1]), found[0][-1]
    if row.schema_version != SCHEMA_VERSION and row.schema_version not in also:
        raise CatalogueUnsafe(
            f"the catalogue has schema {row.schema_version}, which this program cannot read: it knows {SCHEMA_VERSION};"
            " start the release that wrote it, or a newer one"
        )
    if row.realm_id != realm_id:
        raise RealmMismatch("the catalogue belongs to another realm")
    if not isinstance(written_mac, bytes) or written_mac[:KEY_ID_SIZE] != mac.key_id:
        raise RealmMismatch("the catalogue was written under another row MAC key")
    return mac.verify(REALM, found[0])
