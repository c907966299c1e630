"""Verified access to rows, whatever database keeps them: what commands and reads of the contract are written against.

A `Session` reads; a `Transaction` also writes, numbers changes and fills the outbox with the rows that each command
wrote. No row comes or goes without its MAC. Conditions are SQL with `?` for their values, in words that SQLite and
PostgreSQL understand alike. Source: DESIGN part 4.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from storage.catalogue import rows
from storage.catalogue.commands import UPKEEP
from storage.catalogue.findings import Findings
from storage.catalogue.records import Notice
from storage.catalogue.rowlog import LOGGED, Written
from storage.catalogue.rowmac import describe
from storage.catalogue.schema import MANY_KEYS, OUTBOX, REALM, BucketRow, ChangeRow, R, RealmRow, Table
from storage.errors import CatalogueConflict, RowDamaged

T = TypeVar("T")
Scan = Generator[None, None, T]
"""A read of many rows that pauses by `yield` after every slice, so that its driver can let others run."""

SLICE_ROWS = 64
"""Rows that a scan reads between two pauses: about half a millisecond."""

Binding = bytes | str | int | None
Taken = Callable[[], Exception]
"""Says why a row could not be added; it may look into the tables for that."""


def id_taken() -> CatalogueConflict:
    """What a command is refused with where nobody has a better word."""
    return CatalogueConflict("an id is taken, or what it refers to is gone")


class Session(ABC):
    """Reads verified rows."""

    def __init__(self, findings: Findings | None = None) -> None:
        self.findings = Findings() if findings is None else findings

    def find(self, table: Table[R], *key: Binding) -> R | None:
        """The row of that primary key.

        Raises:
            RowDamaged: an index led to the row of another key.
        """
        row = self.first(table, table.by_key, *key)
        if row is not None and row[: table.key_size] != key:
            raise RowDamaged(f"a row is not where its key leads: {describe(table, key)}")
        return row

    def find_each(self, table: Table[R], keys: Sequence[Binding]) -> dict[Binding, R]:
        """The rows of many primary keys of one column, by key; without those that are not there.

        Raises:
            RowDamaged: as `find`.
        """
        found: dict[Binding, R] = {}
        for start in range(0, len(keys), MANY_KEYS):
            some = list(keys[start : start + MANY_KEYS])
            wanted = set(some)
            # One statement for every number of keys: the last one is asked for again instead of fewer.
            for row in self.all(table, table.by_keys, *some, *some[-1:] * (MANY_KEYS - len(some))):
                key: Binding = row[0]  # type: ignore[assignment]  # columns are bindings
                if key not in wanted:
                    raise RowDamaged(f"a row is not where its key leads: {describe(table, row)}")
                found[key] = row
        return found

    @abstractmethod
    def foresee(self, table: Table[R], condition: str, *bindings: Binding) -> None:
        """Say what `first` will soon be asked for, so that a database far away gives it along with the next answer.

        Nothing but time depends on it: what was written since is read anew.
        """

    @abstractmethod
    def first(self, table: Table[R], condition: str, *bindings: Binding) -> R | None:
        """The first row that meets an SQL condition (with its order)."""

    @abstractmethod
    def all(self, table: Table[R], condition: str, *bindings: Binding) -> list[R]:
        """Every row that meets a condition: for few rows."""

    @abstractmethod
    def walk(self, table: Table[R], condition: str = "", *bindings: Binding) -> Iterator[R]:
        """Rows one by one as they are asked for. Close the iterator, or drop it, to end the statement."""

    @abstractmethod
    def walk_any(self, table: Table[R], condition: str = "", *bindings: Binding) -> Iterator[tuple[R, bool]]:
        """Rows as `walk`, with whether each carries its MAC: for who looks for damage, never to be served."""

    @abstractmethod
    def ask(self, statement: str, *bindings: Binding) -> Iterator[tuple[Any, ...]]:
        """What any statement gives, unverified: to be compared with what verified rows say, or to look for them."""

    @abstractmethod
    def version_count(self, bucket: BucketRow) -> int:
        """How many versions a bucket has, by verified rows."""

    def count(self, table: Table[R], condition: str, *bindings: Binding) -> int:
        """How many rows meet a condition; only to compare with a count that a verified row holds."""
        ((number,),) = self.ask(f"SELECT count(*) FROM {table.name} {condition}", *bindings)  # noqa: S608  # names of our own tables
        return int(number)

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


class Transaction(Session):
    """Writes, all or nothing."""

    def __init__(self, findings: Findings | None = None) -> None:
        super().__init__(findings)
        self.now = 0
        """Microseconds since 1970, read once for each command."""
        self.live_blobs = 0
        """Live blobs whose bytes rest in the blob store: commands raise and lower it."""
        self._versions: dict[bytes, int] = {}
        """Versions that came to a bucket or went since the last commit; they are counted once for all of them."""
        self._written: dict[tuple[str, tuple[object, ...]], Written] = {}
        """What the command under way wrote, each key once, in the order of the last writes."""
        self._lines: list[_Line] = []

    def insert(self, table: Table[R], row: R, taken: Taken = id_taken) -> None:
        """Add a row. Where its key is taken, what `taken` gives is raised: here, or before the next row is read."""
        self._insert(table, row, taken)
        self._note(table, row[: table.key_size], row)

    def update(self, table: Table[R], row: R, *, is_logged: bool = True) -> None:
        """Replace the row of the same primary key, which this transaction has read. Raises: RowDamaged.

        `is_logged` is false where nothing changed but columns that the log leaves out (`rowlog.LEFT_OUT`).
        """
        self._update(table, row)
        if is_logged:
            self._note(table, row[: table.key_size], row)

    def insert_each(self, table: Table[R], rows_of: Sequence[R]) -> None:
        """Add many rows. Raises: CatalogueConflict where a key is taken."""
        self._insert_each(table, rows_of)
        for row in rows_of:
            self._note(table, row[: table.key_size], row)

    def update_each(self, table: Table[R], rows_of: Sequence[R], *, is_logged: bool = True) -> None:
        """Replace many rows, all with different keys; as `update`. Raises: RowDamaged."""
        self._update_each(table, rows_of)
        for row in rows_of if is_logged else ():
            self._note(table, row[: table.key_size], row)

    def delete(self, table: Table[R], row: R) -> None:
        """Remove the row of that primary key."""
        self.delete_where(table, table.by_key, *row[: table.key_size])  # type: ignore[arg-type]  # columns are bindings
        self._note(table, row[: table.key_size], None)

    def delete_group(self, table: Table[R], leading: Binding) -> None:
        """Remove every row whose primary key begins so."""
        self.delete_where(table, f"WHERE {table.columns[0]} = ?", leading)
        self._note(table, (leading,), None)

    @abstractmethod
    def _insert(self, table: Table[R], row: R, taken: Taken) -> None: ...

    @abstractmethod
    def _update(self, table: Table[R], row: R) -> None: ...

    def _insert_each(self, table: Table[R], rows_of: Sequence[R]) -> None:
        for row in rows_of:
            self._insert(table, row, id_taken)

    def _update_each(self, table: Table[R], rows_of: Sequence[R]) -> None:
        for row in rows_of:
            self._update(table, row)

    @abstractmethod
    def delete_where(self, table: Table[R], condition: str, *bindings: Binding) -> int:
        """Remove all rows that meet a condition, untold to the outbox; return their number."""

    def _note(self, table: Table[R], key: tuple[object, ...], row: R | None) -> None:
        if table.name in LOGGED:
            place = (table.name, key)
            self._written.pop(place, None)
            self._written[place] = Written(table, key, row)

    @abstractmethod
    def next_sequence(self) -> int:
        """A number greater than every one that a commit before this one was given."""

    def count_version(self, bucket_id: bytes, step: int) -> None:
        """Note that a bucket has so many versions more."""
        self._versions[bucket_id] = self._versions.get(bucket_id, 0) + step

    def forget_bucket(self, bucket_id: bytes) -> None:
        """Drop what was noted of a bucket that goes."""
        self._versions.pop(bucket_id, None)

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
