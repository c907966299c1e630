"""Making and recognising the catalogue's file: created whole or not at all, opened only for its own realm and keys.

Source: DESIGN part 4; SQLite "How To Corrupt An SQLite Database File".
"""

import os
from pathlib import Path

from storage.catalogue.connection import connect, peek_connection, translated
from storage.catalogue.rowmac import KEY_ID_SIZE, RowMac
from storage.catalogue.schema import DDL, REALM, SCHEMA_VERSION, RealmRow
from storage.catalogue.session import Session
from storage.errors import CatalogueUnsafe, RealmMismatch, RowDamaged, StorageUnavailable

_CACHE_KIB = 2 << 10


def create_file(path: Path, realm_id: bytes, database_key: bytes, mac: RowMac) -> None:
    """Make an empty catalogue, durable on return; the caller holds the owner lock.

    It is made under another name and renamed, so a crash leaves no half of it under its own.

    Raises:
        CatalogueUnsafe: one is there.
        StorageError: as `connection.translate`.
    """
    if path.exists():
        raise CatalogueUnsafe("a catalogue is there already")
    new = path.with_name(path.name + ".new")
    try:
        for leftover in (new, new.with_name(new.name + "-journal")):
            leftover.unlink(missing_ok=True)
        os.close(os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        _fill(new, realm_id, database_key, mac)
        new.rename(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
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
        check_realm(Session(connection, mac), realm_id, mac)
    finally:
        connection.close()
    return SCHEMA_VERSION


def check_realm(session: Session, realm_id: bytes, mac: RowMac) -> None:
    """Compare an open file with the realm and the key that the caller came with.

    Raises:
        CatalogueUnsafe: the schema is of another version of this program.
        RealmMismatch: the realm or the row MAC key is another.
        RowDamaged: the realm row is missing or does not carry its MAC.
    """
    with translated(session.connection):
        tables = session.connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'realm'").fetchall()
        found = session.connection.execute(REALM.select).fetchall() if tables else []
    if len(found) != 1:
        raise RowDamaged("the realm row is missing")
    row, written_mac = RealmRow._make(found[0][:-1]), found[0][-1]
    if row.schema_version != SCHEMA_VERSION:
        raise CatalogueUnsafe(
            f"the catalogue has schema {row.schema_version}, which this program cannot read: it knows {SCHEMA_VERSION}"
        )
    if row.realm_id != realm_id:
        raise RealmMismatch("the catalogue belongs to another realm")
    if not isinstance(written_mac, bytes) or written_mac[:KEY_ID_SIZE] != mac.key_id:
        raise RealmMismatch("the catalogue was written under another row MAC key")
    mac.verify(REALM, found[0])
