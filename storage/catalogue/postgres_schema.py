"""The tables of the PostgreSQL catalogue: the rows of `schema`, of which only what is searched or sorted by lies open.

Every other column of a row stands in one sealed box. Names are bytea and texts have the collation C, so that both sort
as bytes in any database. There are no foreign keys: checking them locks the row that is referred to, and one bucket's
row would then be written to by every commit; `verifying` finds what they would have prevented. Sources: PostgreSQL 15
"Collation Support", "Explicit Locking"; DESIGN part 4.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, NamedTuple, get_type_hints

from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from storage.catalogue.rowmac import RowMac
from storage.catalogue.rowseal import RowSeal
from storage.catalogue.schema import TABLES as SHARED_TABLES
from storage.catalogue.schema import R, Table
from storage.errors import RowDamaged

COUNT_SLOTS = 16
"""Rows that hold the parts of one count. A commit writes to one that no other transaction holds, so that counts do not
line commits up; all of them are there, so that none goes missing unnoticed."""


class CountRow(NamedTuple):
    """A part of a count: versions of a bucket, or of the realm live blobs whose bytes rest in the blob store."""

    scope: bytes
    """The bucket's id, or the realm's."""
    slot: int
    value: int
    """May be negative: what one slot counted another may take back."""


COUNTS = Table("counts", CountRow, key_size=2)
TABLES: tuple[Table[Any], ...] = (*SHARED_TABLES, COUNTS)

SEALED_COLUMN = "sealed_values"

_CLEAR: dict[str, tuple[str, ...]] = {
    "accounts": ("account_id", "name"),
    "access_keys": ("access_key_id", "account_id", "created_at"),
    "buckets": ("bucket_id", "name", "account_id"),
    "configurations": ("bucket_id", "kind"),
    "versions": ("bucket_id", "object_key", "sequence", "version_id", "content_id", "link_id", "is_latest"),
    "contents": ("content_id", "reference_count", "blob_count"),
    "blobs": ("blob_id", "state", "content_id", "role", "part_number", "is_inline", "condemned_at"),
    "inline_blobs": ("blob_id", "sealed"),
    "uploads": ("upload_id", "bucket_id", "object_key", "content_id", "created_at", "part_count", "completed_at"),
    "parts": ("upload_id", "part_number", "blob_id"),
    "outbox": ("sequence",),
    "leases": ("name",),
}
"""Columns that lie open, of tables that have others. docs/THREATS.md says so to users."""

_TYPES: dict[object, str] = {
    int: "BIGINT NOT NULL",
    bytes: "BYTEA NOT NULL",
    str: 'TEXT COLLATE "C" NOT NULL',
    int | None: "BIGINT",
    bytes | None: "BYTEA",
    str | None: 'TEXT COLLATE "C"',
}

_INDEXES = """
CREATE UNIQUE INDEX accounts_by_name ON accounts (name);
CREATE INDEX access_keys_of_account ON access_keys (account_id, created_at, access_key_id);
CREATE UNIQUE INDEX buckets_by_name ON buckets (name);
CREATE INDEX buckets_of_account ON buckets (account_id, name);
CREATE UNIQUE INDEX versions_in_order ON versions (bucket_id, object_key, sequence DESC);
CREATE INDEX versions_of_shared ON versions (content_id) WHERE link_id IS NOT NULL;
CREATE UNIQUE INDEX versions_by_id ON versions (bucket_id, object_key, version_id) WHERE version_id != 'null';
CREATE INDEX blobs_of_content ON blobs (content_id, part_number) WHERE content_id IS NOT NULL;
CREATE INDEX blobs_condemned ON blobs (condemned_at, blob_id) WHERE condemned_at IS NOT NULL;
CREATE INDEX uploads_of_bucket ON uploads (bucket_id, object_key, created_at, upload_id);
CREATE INDEX uploads_completed ON uploads (completed_at) WHERE completed_at IS NOT NULL;
"""

_BESIDE = """
CREATE SEQUENCE changes AS BIGINT CACHE 1;
CREATE TABLE operations (operation_id BYTEA NOT NULL PRIMARY KEY, is_done BOOLEAN NOT NULL);
"""
"""What is no row of the catalogue: the number of the last change, and which transactions were carried out."""

_IN_ORDER = {"versions"}
"""Tables whose index in the order of listings serves as the primary key as well."""


@dataclass(frozen=True, eq=False)
class PostgresTable(Generic[R]):
    """One table: its statements, its rows as they are written, and as they are read and verified."""

    table: Table[R]
    mac: RowMac
    seal: RowSeal | None
    """Of the columns that do not lie open; None where all do."""

    @cached_property
    def clear(self) -> tuple[str, ...]:
        """Columns that lie open, in their order in the row."""
        return clear_columns(self.table)

    @cached_property
    def _stored(self) -> tuple[str, ...]:
        return (*self.clear, *((SEALED_COLUMN,) if self.seal is not None else ()), "mac")

    @cached_property
    def select(self) -> str:
        """`SELECT` of all that is stored, to be followed by a condition."""
        return f"SELECT {', '.join(self._stored)} FROM {self.table.name} "  # noqa: S608  # names of our own tables

    @cached_property
    def insert(self) -> str:
        """`INSERT` of one row, which says by its count whether the key was free."""
        marks = ", ".join("?" * len(self._stored))
        return f"INSERT INTO {self.table.name} ({', '.join(self._stored)}) VALUES ({marks}) ON CONFLICT DO NOTHING"  # noqa: S608  # as above

    @cached_property
    def update(self) -> str:
        """`UPDATE` of all that is not the key; its bindings are those of `insert` from there on, then the key."""
        names = ", ".join(f"{name} = ?" for name in self._stored[self.table.key_size :])
        return f"UPDATE {self.table.name} SET {names} {self.table.by_key}"  # noqa: S608  # as above

    @cached_property
    def _clear_at(self) -> tuple[int, ...]:
        return tuple(self.table.columns.index(name) for name in self.clear)

    @cached_property
    def _sealed_at(self) -> tuple[int, ...]:
        return tuple(at for at in range(len(self.table.columns)) if at not in self._clear_at)

    @cached_property
    def _order(self) -> tuple[int, ...]:
        """Where each column of the row stands among clear and opened values."""
        stored = (*self._clear_at, *self._sealed_at)
        return tuple(stored.index(at) for at in range(len(self.table.columns)))

    def bindings(self, row: R) -> tuple[Any, ...]:
        """The values of a row as they are stored."""
        values = [row[at] for at in self._clear_at]
        if self.seal is not None:
            values.append(self.seal.seal(tuple(row[at] for at in self._sealed_at)))
        return (*values, self.mac.sign(self.table, row))

    def open(self, stored: tuple[Any, ...]) -> R:
        """Take a row as it is stored, and verify it. Raises: RowDamaged."""
        if self.seal is None:
            return self.mac.verify(self.table, stored)
        values = (*stored[:-2], *self.seal.open(stored[-2]))
        return self.mac.verify(self.table, (*(values[at] for at in self._order), stored[-1]))

    def place(self, stored: tuple[Any, ...]) -> R:
        """A row that is not verified, with nothing in the columns that do not lie open: for who looks for damage."""
        values = dict(zip(self.clear, stored, strict=False))
        return self.table.make(values.get(name) for name in self.table.columns)


def clear_columns(table: Table[Any]) -> tuple[str, ...]:
    """Columns of a table that lie open."""
    clear = _CLEAR.get(table.name, table.columns)
    return tuple(name for name in table.columns if name in clear)


def tables_since(version: int) -> list[str]:
    """The statements that make the tables which came after a version of the schema; after 0, every one."""
    made = []
    for table in (table for table in TABLES if table.layout > version):
        types, clear = get_type_hints(table.row), clear_columns(table)
        columns = [f"{name} {_TYPES[types[name]]}" for name in clear]
        if clear != table.columns:
            columns.append(f"{SEALED_COLUMN} BYTEA NOT NULL")
        columns.append("mac BYTEA NOT NULL")
        if table.name not in _IN_ORDER:
            columns.append(f"PRIMARY KEY ({', '.join(table.columns[: table.key_size])})")
        made.append(f"CREATE TABLE {table.name} ({', '.join(columns)})")
    return made


def beginnings() -> list[str]:
    """The statements that make what the first version had beside its tables."""
    return [statement.strip() for statement in (_INDEXES + _BESIDE).split(";") if statement.strip()]


def removals() -> list[str]:
    """The statements that take everything away again."""
    return [
        *(f"DROP TABLE {name}" for name in (*(table.name for table in TABLES), "operations")),
        "DROP SEQUENCE changes",
    ]


def tables_of(mac: RowMac, box: AESGCMSIV) -> dict[str, PostgresTable[Any]]:
    """Every table by its name."""
    made = {}
    for table in TABLES:
        sealed = tuple(name for name in table.columns if name not in clear_columns(table))
        seal = RowSeal(box, table.name, table.row, sealed) if sealed else None
        made[table.name] = PostgresTable(table, mac, seal)
    return made


def check_count_rows(found: list[CountRow]) -> int:
    """The count that its parts make. Raises: RowDamaged where one is missing."""
    if [row.slot for row in found] != list(range(COUNT_SLOTS)):
        raise RowDamaged("parts of a count are missing")
    return sum(row.value for row in found)
