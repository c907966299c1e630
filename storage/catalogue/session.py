"""Verified access to rows: the one place where rows are read and written, so no row comes or goes without its MAC.

A `Session` reads; a `Transaction` also writes, numbers changes and fills the outbox with the rows that each command
wrote. Source: DESIGN part 4.
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TypeVar, cast

import apsw

from storage.catalogue import rows
from storage.catalogue.base import UPKEEP
from storage.catalogue.findings import Findings
from storage.catalogue.records import Notice
from storage.catalogue.rowlog import LOGGED, Written
from storage.catalogue.rowmac import RowMac, describe
from storage.catalogue.schema import BUCKETS, OUTBOX, REALM, BucketRow, ChangeRow, R, RealmRow, Table
from storage.errors import RowDamaged

T = TypeVar("T")
Scan = Generator[None, None, T]
"""A read of many rows that pauses by `yield` after every slice, so that its driver can let others run."""

SLICE_ROWS = 64
"""Rows that a scan reads between two pauses: about half a millisecond."""

Binding = bytes | str | int | None


class Session:
    """Reads verified rows over one connection."""

    def __init__(self, connection: apsw.Connection, mac: RowMac, findings: Findings | None = None) -> None:
        self.connection = connection
        self.findings = Findings() if findings is None else findings
        self._mac = mac
        # One cursor is kept: apsw remembers every cursor that it makes, and making them dominates a point read.
        self.execute = connection.cursor().execute
        """Runs one statement; its rows must be fetched before the next one."""

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let all reads inside see one committed state."""
        self.execute("BEGIN")
        try:
            yield
        finally:
            if self.connection.in_transaction:
                self.execute("ROLLBACK")

    def find(self, table: Table[R], *key: Binding) -> R | None:
        """The row of that primary key.

        Raises:
            RowDamaged: an index led to the row of another key.
        """
        row = self.first(table, table.by_key, *key)
        if row is not None and row[: table.key_size] != key:
            raise RowDamaged(f"a row is not where its key leads: {describe(table, key)}")
        return row

    def first(self, table: Table[R], condition: str, *bindings: Binding) -> R | None:
        """The first row that meets an SQL condition (with its order)."""
        found = self.execute(table.select + condition + " LIMIT 1", bindings).fetchall()
        return self._mac.verify(table, found[0]) if found else None

    def all(self, table: Table[R], condition: str, *bindings: Binding) -> list[R]:
        """Every row that meets a condition: for few rows."""
        verify = self._mac.verify
        found = self.execute(table.select + condition, bindings).fetchall()
        return [verify(table, values) for values in found]

    def walk(self, table: Table[R], condition: str = "", *bindings: Binding) -> Iterator[R]:
        """Rows one by one as they are asked for. Close the iterator, or drop it, to end the statement."""
        verify = self._mac.verify
        cursor = self.connection.cursor()
        try:
            for values in cursor.execute(table.select + condition, bindings):
                yield verify(table, values)
        finally:
            cursor.close(True)

    def walk_any(self, table: Table[R], condition: str = "", *bindings: Binding) -> Iterator[tuple[R, bool]]:
        """Rows as `walk`, with whether each carries its MAC: for who looks for damage, never to be served."""
        cursor = self.connection.cursor()
        try:
            for values in cursor.execute(table.select + condition, bindings):
                try:
                    yield self._mac.verify(table, values), True
                except RowDamaged:
                    yield table.make(values[:-1]), False
        finally:
            cursor.close(True)

    def count(self, table: Table[R], condition: str, *bindings: Binding) -> int:
        """How many rows meet a condition; only to compare with a count that a verified row holds."""
        ((number,),) = self.execute(f"SELECT count(*) FROM {table.name} {condition}", bindings).fetchall()  # noqa: S608  # names of our own tables
        return cast("int", number)

    def realm(self) -> RealmRow:
        """The realm's row. Raises: RowDamaged also where it is missing."""
        row = self.find(REALM, 1)
        if row is None:
            raise RowDamaged("the realm row is missing")
        return row


class _Line(NamedTuple):
    """A line of the outbox that waits for the end of its command."""

    sequence: int
    kind: str
    notices: Sequence[Notice]


class _Counters(NamedTuple):
    sequence: int
    live_blobs: int
    versions: dict[bytes, int]


class Transaction(Session):
    """The writer's session. Counters live in memory between commits and go back with a command that is rolled back."""

    def __init__(self, connection: apsw.Connection, mac: RowMac, findings: Findings | None = None) -> None:
        super().__init__(connection, mac, findings)
        self._realm = self.realm()
        self.sequence = self._realm.sequence
        self.live_blobs = self._realm.live_blob_count
        self._versions: dict[bytes, int] = {}
        """Versions that came to a bucket or went since the last commit; its row is written once for all of them."""
        self.now = 0
        """Microseconds since 1970, read once for each command."""
        self._written: dict[tuple[str, tuple[object, ...]], Written] = {}
        """What the command under way wrote, each key once, in the order of the last writes."""
        self._lines: list[_Line] = []

    def counters(self) -> _Counters:
        """The counters, to be restored when what follows is rolled back."""
        return _Counters(self.sequence, self.live_blobs, self._versions.copy())

    def restore(self, counters: _Counters) -> None:
        """Put the counters back."""
        self.sequence, self.live_blobs, self._versions = counters

    def count_version(self, bucket_id: bytes, step: int) -> None:
        """Note that a bucket has so many versions more."""
        self._versions[bucket_id] = self._versions.get(bucket_id, 0) + step

    def version_count(self, bucket: BucketRow) -> int:
        """How many versions a bucket has by its row and what was noted since."""
        return bucket.version_count + self._versions.get(bucket.bucket_id, 0)

    def forget_bucket(self, bucket_id: bytes) -> None:
        """Drop what was noted of a bucket that goes."""
        self._versions.pop(bucket_id, None)

    def insert(self, table: Table[R], row: R) -> None:
        """Add a row. Raises: apsw.ConstraintError where its key is taken."""
        self.execute(table.insert, (*row, self._mac.sign(table, row)))
        self._note(table, row[: table.key_size], row)

    def update(self, table: Table[R], row: R) -> None:
        """Replace the row of the same primary key."""
        size = table.key_size
        self.execute(table.update, (*row[size:], self._mac.sign(table, row), *row[:size]))
        if self.connection.changes() != 1:
            raise RowDamaged(f"a row went missing: {describe(table, row)}")
        self._note(table, row[:size], row)

    def delete(self, table: Table[R], row: R) -> None:
        """Remove the row of that primary key."""
        self.execute(table.delete, row[: table.key_size])
        self._note(table, row[: table.key_size], None)

    def delete_group(self, table: Table[R], leading: Binding) -> None:
        """Remove every row whose primary key begins so."""
        self.execute(f"DELETE FROM {table.name} WHERE {table.columns[0]} = ?", (leading,))  # noqa: S608  # our own names
        self._note(table, (leading,), None)

    def _note(self, table: Table[R], key: tuple[object, ...], row: R | None) -> None:
        if table.name in LOGGED:
            place = (table.name, key)
            self._written.pop(place, None)
            self._written[place] = Written(table, key, row)

    def next_sequence(self) -> int:
        """A number greater than every one given before."""
        self.sequence += 1
        return self.sequence

    def begin_command(self) -> None:
        """Forget what a command before wrote, which is in the outbox by now or was rolled back."""
        self._written.clear()
        self._lines.clear()

    def record(self, kind: str, sequence: int | None = None, notices: Sequence[Notice] = ()) -> None:
        """Name what the command does, and who is to be told of it; it goes to the outbox with the command's end."""
        self._lines.append(_Line(self.next_sequence() if sequence is None else sequence, kind, notices))

    def end_command(self) -> None:
        """Write the command's lines to the outbox, in its own transaction; the last one carries the rows."""
        if self._written and not self._lines:
            self.record(UPKEEP)
        for number, line in enumerate(self._lines, start=1):
            written = self._written.values() if number == len(self._lines) else ()
            body = rows.change_json(line.notices, written)
            self.insert(OUTBOX, ChangeRow(line.sequence, line.kind, self.now, body))

    def save_counters(self) -> None:
        """Write the counters that moved; the last step before a commit."""
        for bucket_id, step in self._versions.items():
            if step:
                row = self.find(BUCKETS, bucket_id)
                if row is None:
                    raise RowDamaged("a bucket went missing")
                self.update(BUCKETS, row._replace(version_count=row.version_count + step))
        self._versions.clear()
        current = self._realm._replace(sequence=self.sequence, live_blob_count=self.live_blobs)
        if current != self._realm:
            self.update(REALM, current)
            self._realm = current

    def reload(self) -> None:
        """Take the counters from the file again, after a transaction that did not commit."""
        self._versions.clear()
        self._realm = self.realm()
        self.sequence, self.live_blobs = self._realm.sequence, self._realm.live_blob_count
