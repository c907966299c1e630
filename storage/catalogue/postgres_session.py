"""Verified access to the rows of the PostgreSQL catalogue, over one connection, inside a bridged command.

Writes wait until something is to be read, or for the commit, and then travel together; so do the beginning of a
transaction and the reads that a command foresees. A publish takes three round trips. Rows that two commands could
change at once are locked as they are read; everything else is held by the locks that a command takes at its start
(`locks`). Sources: psycopg "Pipeline mode support"; PostgreSQL 15 "Explicit Locking", "Transaction Isolation";
`session` says what each method promises.
"""

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus

from storage.catalogue.bridge import wait_for
from storage.catalogue.findings import Findings
from storage.catalogue.postgres_schema import COUNT_SLOTS, COUNTS, CountRow, PostgresTable, check_count_rows
from storage.catalogue.postgres_wire import Answer, Statement, Wire
from storage.catalogue.rowmac import RowMac, describe
from storage.catalogue.schema import (
    ACCESS_KEYS,
    BLOBS,
    CONTENTS,
    CURSORS,
    ENVELOPES,
    LEASES,
    MOVED_WRAPS,
    REALM,
    UPLOADS,
    BucketRow,
    R,
    Table,
)
from storage.catalogue.session import Binding, Session, Taken, Transaction
from storage.errors import RowDamaged

_LOCKED = frozenset(
    table.name for table in (ACCESS_KEYS, BLOBS, CONTENTS, CURSORS, ENVELOPES, LEASES, MOVED_WRAPS, UPLOADS)
)
"""Tables whose rows a transaction locks as it reads them: they belong to no one bucket, key or upload alone."""

_FIRST_ROWS = 4
"""Rows of a walk that are read at once; a walk that wants more gets a cursor."""
_CURSOR_ROWS = (32, 256, 1024)
"""Rows that a cursor gives with its first fetches; the last number holds for all further ones."""


class SnapshotNeeded(Exception):
    """A read wants more rows than one statement gives, and is to be begun again in a snapshot."""


class PostgresSession(Session):
    """Reads verified rows over one connection."""

    def __init__(
        self, connection: AsyncConnection[Any], tables: Mapping[str, PostgresTable[Any]], findings: Findings
    ) -> None:
        super().__init__(findings)
        self.connection = connection
        self._tables = tables
        self._wire = Wire.of(connection)
        self._cursor_names = itertools.count()
        self.in_snapshot = False
        """Whether all statements see one committed state."""
        self._waiting: list[tuple[Statement, Callable[[Answer], None] | None]] = []
        """Statements to be sent with the next one, and what is to be done with the answer to each."""
        self._foreseen: dict[Statement, str] = {}
        """Reads to be sent with the next one, and their tables."""
        self._known: dict[str, dict[Statement, list[tuple[Any, ...]]]] = {}
        """By table, what reads that were foreseen gave. Each is used once, and none after a write to its table."""

    def later(self, statement: str, *bindings: Any, then: Callable[[Answer], None] | None = None) -> None:
        """Send a statement with the next one that is waited for."""
        self._waiting.append(((statement, bindings), then))

    def execute(self, statement: str, *bindings: Any) -> list[tuple[Any, ...]]:
        """Run what waits, then one statement, and give all its rows."""
        return self.execute_all(((statement, bindings),))[0]

    def execute_all(self, statements: Sequence[Statement] = ()) -> list[list[tuple[Any, ...]]]:
        """Run what waits and then these in one round trip; the rows of each of these."""
        waiting, self._waiting = self._waiting, []
        foreseen: dict[Statement, str] = {}
        if statements:  # else nobody waits for a read, but for a commit
            foreseen, self._foreseen = self._foreseen, {}
        answers = wait_for(self._wire.travel([*(statement for statement, _ in waiting), *statements, *foreseen]))
        for (_, then), answer in zip(waiting, answers, strict=False):
            if then is not None:
                then(answer)
        rows = [answer.rows for answer in answers[len(waiting) :]]
        for (asked, table_name), found in zip(foreseen.items(), rows[len(statements) :], strict=True):
            self._known.setdefault(table_name, {})[asked] = found
        return rows[: len(statements)]

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let all reads inside see one committed state."""
        self._forget_reads()
        self.later("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        self.in_snapshot = True
        try:
            yield
        finally:
            self.in_snapshot = False
            self.discard()

    def discard(self) -> None:
        """Roll back, where there is still something to roll back."""
        self._waiting.clear()
        self._forget_reads()
        if not self.connection.closed and self.connection.info.transaction_status in (
            TransactionStatus.INTRANS,
            TransactionStatus.INERROR,
        ):
            self.execute("ROLLBACK")

    def _forget_reads(self) -> None:
        self._foreseen.clear()
        self._known.clear()

    def _table(self, table: Table[R]) -> PostgresTable[R]:
        return self._tables[table.name]

    def _lock(self, table: Table[R]) -> str:  # noqa: ARG002  # a transaction decides by it
        return ""

    def _point(self, table: Table[R], condition: str, bindings: tuple[Binding, ...]) -> Statement:
        return f"{self._table(table).select}{condition} LIMIT 1{self._lock(table)}", bindings

    def foresee(self, table: Table[R], condition: str, *bindings: Binding) -> None:
        """See `Session.foresee`. Rows that a transaction locks as it reads them are locked then."""
        self._foreseen[self._point(table, condition, bindings)] = table.name

    def first(self, table: Table[R], condition: str, *bindings: Binding) -> R | None:
        """See `Session.first`."""
        asked = self._point(table, condition, bindings)
        self._foreseen.pop(asked, None)
        found = self._known.get(table.name, {}).pop(asked, None)
        if found is None:
            (found,) = self.execute_all((asked,))
        return self._table(table).open(found[0]) if found else None

    def all(self, table: Table[R], condition: str, *bindings: Binding) -> list[R]:
        """See `Session.all`."""
        stored = self._table(table)
        found = self.execute(f"{stored.select}{condition}{self._lock(table)}", *bindings)
        return [stored.open(values) for values in found]

    def walk(self, table: Table[R], condition: str = "", *bindings: Binding) -> Iterator[R]:
        """See `Session.walk`."""
        stored = self._table(table)
        for values in self.ask(stored.select + condition, *bindings):
            yield stored.open(values)

    def walk_any(self, table: Table[R], condition: str = "", *bindings: Binding) -> Iterator[tuple[R, bool]]:
        """See `Session.walk_any`."""
        stored = self._table(table)
        for values in self.ask(stored.select + condition, *bindings):
            try:
                yield stored.open(values), True
            except RowDamaged:
                yield stored.place(values), False

    def ask(self, statement: str, *bindings: Binding) -> Iterator[tuple[Any, ...]]:
        """See `Session.ask`. The few rows that most callers want come by one prepared statement.

        Only what asks on pays for a cursor, which gives the same rows in the same order: both see one snapshot.
        """
        limited = " LIMIT " in statement
        found = self.execute(statement if limited else f"{statement} LIMIT {_FIRST_ROWS}", *bindings)
        yield from found
        if limited or len(found) < _FIRST_ROWS:
            return
        if not self.in_snapshot:
            raise SnapshotNeeded
        name = f"walk_{next(self._cursor_names)}"
        self.later(f"DECLARE {name} NO SCROLL CURSOR FOR {statement}", *bindings)
        self.later(f"MOVE FORWARD {_FIRST_ROWS} FROM {name}")
        for size in itertools.chain(_CURSOR_ROWS, itertools.repeat(_CURSOR_ROWS[-1])):
            found = self.execute(f"FETCH {size} FROM {name}")
            yield from found
            if len(found) < size:
                break
        self.later(f"CLOSE {name}")

    def version_count(self, bucket: BucketRow) -> int:
        """See `Session.version_count`."""
        return self.total(bucket.bucket_id)

    def total(self, scope: bytes) -> int:
        """What the parts of a count make. Raises: RowDamaged."""
        return check_count_rows(self.all(COUNTS, "WHERE scope = ? ORDER BY slot", scope))


class PostgresTransaction(PostgresSession, Transaction):
    """What one command does, in a transaction of its own."""

    def __init__(
        self,
        connection: AsyncConnection[Any],
        tables: Mapping[str, PostgresTable[Any]],
        findings: Findings,
        realm_id: bytes,
    ) -> None:
        Transaction.__init__(self, findings)
        PostgresSession.__init__(self, connection, tables, findings)
        self._realm_id = realm_id
        self.drawn: int | None = None
        """A sequence number that was drawn under the command's locks and not given yet."""
        self.has_begun = True
        """Whether what `begin` sent was answered."""

    def begin(self, statement: str, *bindings: Any, then: Callable[[Answer], None]) -> None:
        """Begin, and let a first statement travel with the command's first read: it runs before that one."""
        self.has_begun = False

        def begun(answer: Answer) -> None:
            self.has_begun = True
            then(answer)

        self.later("BEGIN ISOLATION LEVEL READ COMMITTED")
        self.later(statement, *bindings, then=begun)

    def _require_begun(self) -> None:
        if not self.has_begun:
            self.execute_all()

    @property
    def now(self) -> int:
        """See `Transaction.now`."""
        self._require_begun()
        return self._now

    @now.setter
    def now(self, micros: int) -> None:
        self._now = micros

    def _lock(self, table: Table[R]) -> str:
        return " FOR UPDATE" if table.name in _LOCKED else ""

    def ask(self, statement: str, *bindings: Binding) -> Iterator[tuple[Any, ...]]:
        """See `Session.ask`. Statements of a transaction each see a state of their own, so it is one statement."""
        yield from self.execute(statement, *bindings)

    def version_count(self, bucket: BucketRow) -> int:
        """See `Session.version_count`; with what was noted in this transaction."""
        return self.total(bucket.bucket_id) + self._versions.get(bucket.bucket_id, 0)

    def _insert(self, table: Table[R], row: R, taken: Taken) -> None:
        stored = self._table(table)
        self._known.pop(table.name, None)
        self.later(stored.insert, *stored.bindings(row), then=_one_or(taken))
        if isinstance(row, BucketRow):
            self.make_count(row.bucket_id)

    def carry(self, table: Table[R], row: R, taken: Taken) -> None:
        """Add a row as another catalogue has it, untold to the outbox."""
        self._insert(table, row, taken)

    def make_count(self, scope: bytes) -> None:
        """Begin a count."""
        stored = self._table(COUNTS)
        for slot in range(COUNT_SLOTS):
            self.later(stored.insert, *stored.bindings(CountRow(scope, slot, 0)))

    def _update(self, table: Table[R], row: R) -> None:
        stored, size = self._table(table), table.key_size
        self._known.pop(table.name, None)
        self.later(
            stored.update,
            *stored.bindings(row)[size:],
            *row[:size],
            then=_one_or(lambda: RowDamaged(f"a row went missing: {describe(table, row)}")),
        )

    def delete(self, table: Table[R], row: R) -> None:
        """See `Transaction.delete`."""
        size = table.key_size
        self._known.pop(table.name, None)
        self.later(f"DELETE FROM {table.name} {table.by_key}", *row[:size])  # noqa: S608  # names of our own tables
        self._note(table, row[:size], None)

    def delete_where(self, table: Table[R], condition: str, *bindings: Binding) -> int:
        """See `Transaction.delete_where`."""
        answers: list[Answer] = []
        self._known.pop(table.name, None)
        self.later(f"DELETE FROM {table.name} {condition}", *bindings, then=answers.append)  # noqa: S608  # as above
        self.execute_all()
        return answers[0].count

    def next_sequence(self) -> int:
        """See `Transaction.next_sequence`."""
        self._require_begun()
        if self.drawn is not None:
            drawn, self.drawn = self.drawn, None
            return drawn
        ((_, number),) = self.execute("SELECT pg_current_xact_id()::text, nextval('changes')")
        return int(number)

    def forget_bucket(self, bucket_id: bytes) -> None:
        """See `Transaction.forget_bucket`."""
        super().forget_bucket(bucket_id)
        self.later("DELETE FROM counts WHERE scope = ?", bucket_id)

    @property
    def mac(self) -> RowMac:
        """What signs and verifies the rows."""
        return self._table(REALM).mac

    def save_counts(self) -> None:
        """Add what was noted to the counts, each in a part that no other transaction holds. Checks all that waited."""
        steps = {scope: step for scope, step in self._versions.items() if step}
        if self.live_blobs:
            steps[self._realm_id] = self.live_blobs
        stored = self._table(COUNTS)
        start = random.randrange(COUNT_SLOTS)
        free = f"{stored.select}WHERE scope = ? AND slot >= ? ORDER BY slot LIMIT 1 FOR UPDATE SKIP LOCKED"
        answers = self.execute_all([(free, (scope, start)) for scope in steps])
        for (scope, step), found in zip(steps.items(), answers, strict=True):
            row = stored.open(found[0]) if found else self._wait_for_count(scope, start)
            self._update(COUNTS, row._replace(value=row.value + step))

    def _wait_for_count(self, scope: bytes, slot: int) -> CountRow:
        stored = self._table(COUNTS)
        found = self.execute(f"{stored.select}WHERE scope = ? AND slot = ? FOR UPDATE", scope, slot)
        if not found:
            raise RowDamaged("parts of a count are missing")
        return stored.open(found[0])


def _one_or(failure: Callable[[], Exception]) -> Callable[[Answer], None]:
    """What raises unless just one row was met."""

    def check(answer: Answer) -> None:
        if answer.count != 1:
            raise failure()

    return check
