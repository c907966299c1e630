"""Connections to the encrypted SQLite file, every safety setting made and proved; SQLite's errors become ours.

The whole file, the write-ahead log included, is sealed page by page with AEGIS under a raw 32-byte key; nothing goes to
temporary files. Sources: SQLite3 Multiple Ciphers "SQL PRAGMA statements" and "AEGIS"; SQLite "Write-Ahead Logging",
"PRAGMA statements" and the notes on the WAL-reset bug; DESIGN part 4.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import apsw

from storage.errors import CatalogueUnsafe, RowDamaged, StorageError, StorageFull, StorageUnavailable

KEY_SIZE = 32
"""Bytes of the database key."""
CIPHER = "aegis"
BUSY_TIMEOUT_MS = 10_000
"""How long a connection waits for another of this process, for a checkpoint that truncates the log for instance."""

_PLAIN_HEADER = b"SQLite format 3\0"
_WAL_LIMIT_BYTES = 64 << 20
_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_DAMAGE_CODES = frozenset({apsw.SQLITE_IOERR_DATA, apsw.SQLITE_IOERR_CORRUPTFS, apsw.SQLITE_IOERR_SHORT_READ})

_SETTINGS: tuple[tuple[str, object, object], ...] = (
    ("synchronous", "FULL", 2),
    ("fullfsync", 1, 1),
    ("checkpoint_fullfsync", 1, 1),
    ("foreign_keys", 1, 1),
    ("secure_delete", "FAST", 2),
    ("temp_store", "MEMORY", 2),
    ("trusted_schema", 0, 0),
    ("cell_size_check", 1, 1),
    ("journal_size_limit", _WAL_LIMIT_BYTES, _WAL_LIMIT_BYTES),
)
"""Setting, the value asked for, the value that must be read back."""


def check_library(version: str) -> None:
    """Refuse a SQLite that can lose committed transactions when a log is reset beside a writer.

    The bug stands in 3.7.0 to 3.51.2 and was fixed in 3.51.3, back-ported to 3.44.6 and 3.50.7. This project was
    written against 3.54; an older fixed one is not refused for its age.

    Raises:
        CatalogueUnsafe: the linked version has the bug.
    """
    major, minor, patch = (int(part) for part in version.split(".")[:3])
    number = (major, minor, patch)
    fixed = number >= (3, 51, 3) or (3, 44, 6) <= number < (3, 45, 0) or (3, 50, 7) <= number < (3, 51, 0)
    if not fixed:
        raise CatalogueUnsafe(f"SQLite {version} can lose committed writes (WAL-reset bug); 3.51.3 or newer is needed")


def connect(path: Path, database_key: bytes, *, cache_kib: int, wal: bool = True) -> apsw.Connection:
    """Open an existing file, keyed and set.

    Args:
        path: the database.
        database_key: 32 raw bytes.
        cache_kib: page cache of this connection, in KiB.
        wal: use the write-ahead log; false only while the file is being made.

    Raises:
        CatalogueUnsafe: the file is not encrypted, the key is another's, or a setting did not take.
        StorageError: as `translate`.
    """
    if len(database_key) != KEY_SIZE:
        raise ValueError(f"the database key has {KEY_SIZE} bytes")
    check_library(apsw.sqlite_lib_version())
    _refuse_plain_file(path)
    with translated():
        # The file itself must be no link; folders on the way to it may be, so they are resolved first.
        file = path.parent.resolve() / path.name
        connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_NOFOLLOW)
        try:
            _configure(connection, database_key, cache_kib, wal=wal)
        except BaseException:
            connection.close()
            raise
        return connection


def peek_connection(path: Path, database_key: bytes) -> apsw.Connection:
    """Open the main file alone for reading, as if it never changed: no log, no lock, no file beside it is touched.

    What it shows is as old as the last checkpoint; only what never changes should be read through it.

    Raises:
        CatalogueUnsafe, StorageError: as `connect`.
    """
    _refuse_plain_file(path)
    with translated():
        uri = f"file:{quote(str(path.parent.resolve() / path.name))}?immutable=1"
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI | apsw.SQLITE_OPEN_NOFOLLOW
        connection = apsw.Connection(uri, flags=flags)
        try:
            _unlock(connection, database_key)
        except BaseException:
            connection.close()
            raise
        return connection


def _refuse_plain_file(path: Path) -> None:
    try:
        with path.open("rb") as file:
            header = file.read(len(_PLAIN_HEADER))
    except OSError as error:
        raise StorageUnavailable(f"the catalogue cannot be read: {error.strerror}") from error
    if header == _PLAIN_HEADER:
        raise CatalogueUnsafe("the catalogue file is not encrypted")


def _unlock(connection: apsw.Connection, database_key: bytes) -> None:
    connection.pragma("cipher", CIPHER)
    # "raw:" and the bytes: no passphrase derivation. Kept out of the statement cache, which would keep the key.
    keyed = connection.execute(f"PRAGMA hexkey = '{(b'raw:' + database_key).hex()}'", can_cache=False).fetchall()
    if keyed != [("ok",)] or connection.pragma("cipher") != CIPHER:
        raise CatalogueUnsafe("the SQLite library does not encrypt")
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    except apsw.NotADBError:
        raise CatalogueUnsafe(
            f"the catalogue {connection.filename} does not open with this key: it is of other keys, or its first page"
            " is damaged; put the right one in its place, or run `sealgate recover --replace`"
        ) from None


def _configure(connection: apsw.Connection, database_key: bytes, cache_kib: int, *, wal: bool) -> None:
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    _unlock(connection, database_key)
    for name, value, wanted in _SETTINGS:
        connection.pragma(name, value)
        if connection.pragma(name) != wanted:
            raise CatalogueUnsafe(f"SQLite did not accept the setting {name}")
    connection.pragma("mmap_size", 0)
    connection.pragma("cache_size", -cache_kib)
    journal = connection.pragma("journal_mode", "WAL" if wal else "DELETE")
    if journal != ("wal" if wal else "delete"):
        raise CatalogueUnsafe("SQLite did not accept the journal mode")
    # Otherwise a library with STAT4, as this one is, parses a statement anew whenever the bound of a range changes.
    if connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1) != 1:
        raise CatalogueUnsafe("SQLite did not accept the planner's stability")
    connection.wal_autocheckpoint(0)


@contextmanager
def translated(connection: apsw.Connection | None = None) -> Iterator[None]:
    """Let no error of SQLite pass as such."""
    try:
        yield
    except apsw.Error as error:
        raise translate(error, connection) from error


def translate(error: apsw.Error, connection: apsw.Connection | None = None) -> StorageError:
    """The failure that an error of SQLite means. Messages name the kind and code, never a statement or a value."""
    code = getattr(error, "extendedresult", 0)
    name = type(error).__name__
    system_errno = connection.system_errno if connection is not None else 0
    if (
        isinstance(error, apsw.FullError)
        or code == apsw.SQLITE_IOERR_SHMSIZE
        or (isinstance(error, apsw.IOError) and system_errno in _FULL_ERRNOS)
    ):
        return StorageFull("no space is left for the catalogue")
    if isinstance(error, apsw.CorruptError | apsw.NotADBError) or code in _DAMAGE_CODES:
        place = f" {connection.filename}" if connection is not None else ""
        return RowDamaged(
            f"the catalogue file{place} is damaged ({name} {code}): stop the gateway, look at the disk, and run"
            " `sealgate recover --replace`, which keeps the old file"
        )
    return StorageUnavailable(f"the catalogue does not answer ({name} {code})")
