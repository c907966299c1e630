"""Verified access to the rows of the SQLite catalogue: the one place where they are read and written.

What each method promises is told in `session`. Source: DESIGN part 4.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import apsw

from storage.catalogue.findings import Findings
from storage.catalogue.rowmac import RowMac, describe
from storage.catalogue.schema import BUCKETS, REALM, BucketRow, R, Table
from storage.catalogue.session import Binding, Session, Taken, Transaction
from storage.errors import RowDamaged


class SqliteSession(Session):
    """Reads verified rows over one connection."""

    def __init__(self, connection: apsw.Connection, mac: RowMac, findings: Findings | None = None) -> None:
        super().__init__(findings)
        self.connection = connection
        self._mac = mac
        # One cursor is kept: apsw remembers every cursor that it makes, and making them dominates a point read.
        cursor = connection.cursor()
        self.execute = cursor.execute
        """Runs one statement; its rows must be fetched before the next one."""
        self.execute_each = cursor.executemany
        """Runs one statement with many bindings, one after the other."""

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let all reads inside see one committed state."""
        self.execute("BEGIN")
        try:
            yield
        finally:
            if self.connection.in_transaction:
                self.execute("ROLLBACK")

    def foresee(self, table: Table[R], condition: str, *bindings: Binding) -> None:
        """See `Session.foresee`; here a read is no journey."""

    def first(self, table: Table[R], condition: str, *bindings: Binding) -> R | None:
        """See `Session.first`."""
        found = self.execute(table.select + condition + " LIMIT 1", bindings).fetchall()
        return self._mac.verify(table, found[0]) if found else None

    def all(self, table: Table[R], condition: str, *bindings: Binding) -> list[R]:
        """See `Session.all`."""
        verify = self._mac.verify
        found = self.execute(table.select + condition, bindings).fetchall()
        return [verify(table, values) for values in found]

    def walk(self, table: Table[R], condition: str = "", *bindings: Binding) -> Iterator[R]:
        """See `Session.walk`."""
        verify = self._mac.verify
        for values in self.ask(table.select + condition, *bindings):
            yield verify(table, values)

    def walk_any(self, table: Table[R], condition: str = "", *bindings: Binding) -> Iterator[tuple[R, bool]]:
        """See `Session.walk_any`."""
        for values in self.ask(table.select + condition, *bindings):
            try:
                yield self._mac.verify(table, values), True
            except RowDamaged:
                yield table.make(values[:-1]), False

    def ask(self, statement: str, *bindings: Binding) -> Iterator[tuple[Any, ...]]:
        """See `Session.ask`."""
        cursor = self.connection.cursor()
        try:
            yield from cursor.execute(statement, bindings)
        finally:
            cursor.close(True)

    def version_count(self, bucket: BucketRow) -> int:
        """See `Session.version_count`."""
        return bucket.version_count


class _Counters(NamedTuple):
    sequence: int
    live_blobs: int
    versions: dict[bytes, int]


class SqliteTransaction(SqliteSession, Transaction):
    """The writer's session. Counters live in memory between commits and go back with a command that is rolled back."""

    def __init__(self, connection: apsw.Connection, mac: RowMac, findings: Findings | None = None) -> None:
        Transaction.__init__(self, findings)
        SqliteSession.__init__(self, connection, mac, findings)
        self._realm = self.realm()
        self.sequence = self._realm.sequence
        self.live_blobs = self._realm.live_blob_count

    def counters(self) -> _Counters:
        """The counters, to be restored when what follows is rolled back."""
        return _Counters(self.sequence, self.live_blobs, self._versions.copy())

    def restore(self, counters: _Counters) -> None:
        """Put the counters back."""
        self.sequence, self.live_blobs, self._versions = counters

    def version_count(self, bucket: BucketRow) -> int:
        """How many versions a bucket has by its row and what was noted since."""
        return bucket.version_count + self._versions.get(bucket.bucket_id, 0)

    def _insert(self, table: Table[R], row: R, taken: Taken) -> None:
        try:
            self.execute(table.insert, (*row, self._mac.sign(table, row)))
        except apsw.ConstraintError:
            raise taken() from None

    def _update(self, table: Table[R], row: R) -> None:
        size = table.key_size
        self.execute(table.update, (*row[size:], self._mac.sign(table, row), *row[:size]))
        if self.connection.changes() != 1:
            raise RowDamaged(f"a row went missing: {describe(table, row)}")

    def _insert_each(self, table: Table[R], rows_of: Sequence[R]) -> None:
        sign = self._mac.sign
        self.execute_each(table.insert, ((*row, sign(table, row)) for row in rows_of))

    def _update_each(self, table: Table[R], rows_of: Sequence[R]) -> None:
        sign, size = self._mac.sign, table.key_size
        before = self.connection.total_changes()
        self.execute_each(table.update, ((*row[size:], sign(table, row), *row[:size]) for row in rows_of))
        if self.connection.total_changes() - before != len(rows_of):
            raise RowDamaged(f"rows of {table.name} went missing")

    def delete_where(self, table: Table[R], condition: str, *bindings: Binding) -> int:
        """See `Transaction.delete_where`."""
        self.execute(f"DELETE FROM {table.name} {condition}", bindings)  # noqa: S608  # names of our own tables
        return self.connection.changes()

    def next_sequence(self) -> int:
        """See `Transaction.next_sequence`."""
        self.sequence += 1
        return self.sequence

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
