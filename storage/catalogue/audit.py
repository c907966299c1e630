"""What opening a catalogue looks at: that every bucket has as many versions as its row says, and each row its MAC.

Counting is fast (0.25 s for a million versions, measured on one core) and is done before anything is served. MACs take
about 10 s of CPU for a million, so they are verified for a moment before serving, which is enough for small catalogues,
and the rest beside it, slowly. Over PostgreSQL each gateway looks for itself, and not even the count is waited for
longer than that moment. What is found goes to `findings`. Source: docs/THREATS.md.
"""

import logging
import threading
from collections.abc import Generator, Iterable
from time import monotonic
from typing import Any, cast

from storage.catalogue.connection import translated
from storage.catalogue.schema import (
    ACCESS_KEYS,
    ACCOUNTS,
    BLOBS,
    BUCKETS,
    CONFIGURATIONS,
    CURSORS,
    ENVELOPES,
    PARTS,
    UPLOADS,
    VERSIONS,
    Table,
)
from storage.catalogue.session import SLICE_ROWS, Scan, Session
from storage.catalogue.sqlite_session import SqliteSession
from storage.errors import RowDamaged, StorageError

FOREGROUND_S = 0.25
"""How long opening verifies rows before it lets the rest be verified beside what is served."""
PAUSE_S = 0.01
"""Between two slices of rows beside what is served: that leaves it about a twentieth of one core."""
SNAPSHOT_ROWS = 1024
"""Rows read in one snapshot, so that the log can be reset while a long audit runs."""

TABLES: tuple[Table[Any], ...] = (
    ACCOUNTS,
    ACCESS_KEYS,
    BUCKETS,
    CONFIGURATIONS,
    UPLOADS,
    PARTS,
    CURSORS,
    ENVELOPES,
    VERSIONS,
    BLOBS,
)
"""What is looked up by a column that could be changed, or, of blobs, swept where a row is missing. Every other row is
named by a verified one."""

Mark = tuple[Any, ...]
"""The leading columns of the last rows that were verified; empty before the first."""

_log = logging.getLogger(__name__)


def audit(session: SqliteSession) -> Generator[None]:
    """Count at once, then verify row by row; pauses by `yield` after every slice of rows."""
    with session.snapshot():
        count_versions(session)
    yield
    for table in TABLES:
        behind: Mark | None = ()
        while behind is not None:
            behind = yield from verify_some(session, table, behind)


def count_versions(session: Session) -> None:
    """Compare how many versions each bucket has with what its row says, and find versions of no bucket at all."""
    statement = "SELECT bucket_id, count(*) FROM versions GROUP BY bucket_id"
    held = dict(cast("Iterable[tuple[bytes, int]]", session.ask(statement)))
    for row, _ in session.walk_any(BUCKETS):
        there = held.pop(row.bucket_id, 0)
        try:
            is_right = there == session.version_count(row)
        except RowDamaged:
            is_right = False
        if not is_right:
            session.findings.add_bucket(row.bucket_id, "they are not as many as they were")
    for bucket_id in held:
        try:
            session.first(VERSIONS, "WHERE bucket_id = ?", bucket_id)
        except RowDamaged:
            continue  # it strayed from a bucket that has one too few
        session.findings.add_table(BUCKETS, "versions are there of a bucket that is not")


def verify_some(session: Session, table: Table[Any], behind: Mark) -> Scan[Mark | None]:
    """Verify rows behind a mark, in one snapshot that ends between two groups (versions of a key, parts of an upload).

    Gives the mark to go on from, None at the end of the table.
    """
    size = max(1, table.key_size - 1)
    group = ", ".join(table.columns[:size])
    start = f"WHERE ({group}) > ({', '.join('?' * size)})" if behind else ""
    for number, (row, is_intact) in enumerate(session.walk_any(table, f"{start} ORDER BY {group}", *behind), start=1):
        if number > SNAPSHOT_ROWS and row[:size] != behind:
            return behind
        behind = row[:size]
        if not is_intact:
            _note(session, table, row)
        if number % SLICE_ROWS == 0:
            yield
    return None


def _note(session: Session, table: Table[Any], row: Any) -> None:  # a row of any table
    why = "a row does not carry its MAC"
    if table is VERSIONS:
        session.findings.add_bucket(row.bucket_id, why)
    else:
        session.findings.add_table(table, why)


class Auditor:
    """The audit of one catalogue over a session of its own, which it closes at its end."""

    def __init__(self, session: SqliteSession) -> None:
        """Look for a moment; what then remains is done in a thread. Blocks for `FOREGROUND_S`, longer for the count.

        Raises: StorageError where it cannot be read.
        """
        self._session = session
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._rest = audit(session)
        with translated(session.connection):
            if self._look(monotonic() + FOREGROUND_S):
                session.connection.close()
                return
        self._thread = threading.Thread(target=self._work, name="catalogue-audit", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it, done or not. Blocks for a slice at most; idempotent."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _look(self, deadline: float) -> bool:
        """Go on with the audit; say whether it came to its end."""
        return all(monotonic() < deadline for _ in self._rest)

    def _work(self) -> None:
        try:
            with translated(self._session.connection):
                while not self._stop.wait(PAUSE_S):
                    if self._look(0.0):
                        _log.info("every row of the catalogue that is looked up was verified")
                        return
        except StorageError as failure:  # what cannot be read is refused where it is asked for
            _log.error("the audit of the catalogue ended early: %s", failure)
        finally:
            self._rest.close()
            self._session.connection.close()
