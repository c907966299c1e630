"""The catalogue of several gateways: one PostgreSQL database, any number of processes, a transaction for every command.

Transactions see what others have committed, statement by statement (READ COMMITTED), and hold by advisory locks and row
locks what they decide upon; so none fails because another one came close, as they would under SERIALIZABLE where keys
are neighbours. What became of a transaction whose COMMIT was not answered is found by a row that it wrote. The decision
record on the PostgreSQL catalogue has the measurements. Source: DESIGN part 4; PostgreSQL 15 "Concurrency Control".
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from time import monotonic
from typing import Any, Final, Generic, Self, TypeVar, cast

import psycopg
from psycopg import AsyncConnection

from storage.catalogue import audit, jobs, rows, verifying
from storage.catalogue.address import PostgresAddress
from storage.catalogue.bridge import bridged, wait_for
from storage.catalogue.commands import CatalogueStatistics, Change
from storage.catalogue.findings import Findings
from storage.catalogue.locks import Lock
from storage.catalogue.postgres_connection import (
    POOL_FAILURES,
    RETRIED,
    Pool,
    checked_connection,
    is_lost,
    open_pool,
    translate,
)
from storage.catalogue.postgres_files import (
    CATALOGUE_IS_THERE,
    LOOK,
    check_realm,
    create_tables,
    migrate,
    require_tables,
)
from storage.catalogue.postgres_files import REFERENCES as POSTGRES_REFERENCES
from storage.catalogue.postgres_outbox import Frontier
from storage.catalogue.postgres_schema import PostgresTable, tables_of
from storage.catalogue.postgres_session import PostgresSession, PostgresTransaction, SnapshotNeeded
from storage.catalogue.postgres_wire import Answer
from storage.catalogue.rowmac import RowMac
from storage.catalogue.rows import to_micros
from storage.catalogue.rowseal import sealing_box
from storage.catalogue.schema import BUCKETS, CONFIGURATIONS, SCHEMA_VERSION
from storage.catalogue.session import SLICE_ROWS, Scan, Session, Transaction
from storage.catalogue.sql import SqlCatalogue
from storage.catalogue.transfer import Digests, digests
from storage.errors import CatalogueUnsafe, RowDamaged, StorageError, StorageUnavailable
from storage.seams import reach

T = TypeVar("T")

TRIES: Final = 4
"""A command is carried out anew three times at most where it only met another one, or where its connection was lost
before its COMMIT was sent."""
SETTLE_S: Final = 10.0
"""How long it is asked what became of a COMMIT that was not answered, before that is told as unknown."""
OPERATIONS_KEPT: Final = timedelta(days=1)
"""How long the server remembers which transactions were carried out: far longer than anybody asks."""
_TIDY_S: Final = 600.0
_PAUSE_S: Final = 0.2
_AUDIT_AGAIN_S: Final = 60.0
"""When an audit that broke off, as the server did, begins anew."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Operation(Generic[T]):
    """One try to carry out a command."""

    run: Callable[[Transaction], T]
    held: tuple[Lock, ...]
    operation_id: bytes = b""
    """Begins with the server's time, so that old ones lie together."""
    result: T | None = None


class _Unsettled(Exception):
    """The connection was lost while COMMIT was on its way."""


class PostgresCatalogue(SqlCatalogue):
    """`Catalogue` over PostgreSQL. Make it with `create` or `open`, use it from one event loop, `close` it."""

    def __init__(
        self,
        pool: Pool,
        tables: dict[str, PostgresTable[Any]],
        realm_id: bytes,
        clock: Callable[[], datetime] | None,
    ) -> None:
        self._pool = pool
        self._tables = tables
        self._realm_id = realm_id
        self._clock = clock
        self._findings = Findings()
        self._frontier = Frontier()
        self._running: set[asyncio.Task[Any]] = set()
        self._commits = 0
        self._is_closed = False
        self._turn: Callable[[], AbstractAsyncContextManager[None]] = nullcontext
        self._tidying = asyncio.create_task(self._tidy())
        self._auditing: asyncio.Task[None] | None = None

    @classmethod
    async def create(
        cls,
        address: PostgresAddress,
        realm_id: bytes,
        catalogue_key: bytes,
        row_mac_key: bytes,
        clock: Callable[[], datetime] | None = None,
    ) -> Self:
        """Make an empty catalogue in an empty database and open it. Arguments and errors as `open`.

        Raises:
            CatalogueUnsafe: a catalogue is there already.
        """
        return await cls._open(address, realm_id, catalogue_key, row_mac_key, clock, create_tables)

    @classmethod
    async def take_over(
        cls,
        address: PostgresAddress,
        realm_id: bytes,
        catalogue_key: bytes,
        row_mac_key: bytes,
        fill: Callable[[PostgresTransaction, bytes], None],
    ) -> Self:
        """Make a catalogue in an empty database, filled by `fill` in the same transaction, and open it.

        Raises: as `create`, and what `fill` raises; nothing is left then.
        """
        return await cls._open(address, realm_id, catalogue_key, row_mac_key, None, fill)

    @classmethod
    async def open(
        cls,
        address: PostgresAddress,
        realm_id: bytes,
        catalogue_key: bytes,
        row_mac_key: bytes,
        clock: Callable[[], datetime] | None = None,
    ) -> Self:
        """Open an existing catalogue, which other processes may have open as well.

        It looks for damage (`audit`) for a moment before it returns, and goes on with that beside what it serves.

        Args:
            address: where the database is.
            realm_id: 16 bytes, the realm that the caller expects.
            catalogue_key: 32 bytes, from which the key of the rows' values is made.
            row_mac_key: 32 raw bytes, the key of the rows' MACs.
            clock: the time, aware; None for that of the server, which all gateways share.

        Raises:
            CatalogueUnsafe: server, settings or schema are not right.
            RealmMismatch: it belongs to another realm, or its rows to another key.
            RowDamaged: it is damaged.
            StorageUnavailable: it cannot be reached, or is read-only.
        """
        catalogue = await cls._open(address, realm_id, catalogue_key, row_mac_key, clock, migrate)
        await catalogue.begin_audit()
        return catalogue

    @classmethod
    async def peek(cls, address: PostgresAddress, realm_id: bytes, catalogue_key: bytes, row_mac_key: bytes) -> int:
        """The schema version of a catalogue of this realm; nothing is changed. Raises: as `open`."""
        catalogue = await cls._open(address, realm_id, catalogue_key, row_mac_key, None, require_tables)
        await catalogue.close()
        return SCHEMA_VERSION

    @classmethod
    async def look(cls, address: PostgresAddress) -> None:
        """See that a database can be used and holds no catalogue yet; nothing is changed. Raises: as `create`."""
        async with checked_connection(address) as connection:
            found = await (await connection.execute(LOOK)).fetchone()
        if found != (None,):
            raise CatalogueUnsafe(CATALOGUE_IS_THERE)

    @classmethod
    async def _open(
        cls,
        address: PostgresAddress,
        realm_id: bytes,
        catalogue_key: bytes,
        row_mac_key: bytes,
        clock: Callable[[], datetime] | None,
        make_ready: Callable[[PostgresTransaction, bytes], None],
    ) -> Self:
        mac, box = RowMac(row_mac_key, realm_id), sealing_box(catalogue_key)
        tables = tables_of(mac, box)
        pool = await open_pool(address)
        try:
            async with pool.connection() as connection:
                tx = PostgresTransaction(connection, tables, Findings(), realm_id)
                async with connection.transaction():
                    await bridged(partial(make_ready, tx, realm_id))
                await bridged(partial(check_realm, tx, realm_id, mac))
        except BaseException as error:
            await pool.close()
            if isinstance(error, psycopg.Error):
                raise translate(error) from None
            if isinstance(error, POOL_FAILURES):
                raise StorageUnavailable(f"{address} does not answer") from None
            raise
        return cls(pool, tables, realm_id, clock)

    def share_out(self, turn: Callable[[], AbstractAsyncContextManager[None]]) -> None:
        """Take a connection only within such a turn, of which there are as many as connections.

        It is for those above to know who is served. It may raise StorageError.
        """
        self._turn = turn

    async def close(self) -> None:
        """See `Catalogue.close`."""
        self._is_closed = True
        beside = [self._tidying] if self._auditing is None else [self._tidying, self._auditing]
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, *self._running, return_exceptions=True)
        await self._pool.close()

    # How things are run

    def _check_open(self) -> None:
        if self._is_closed:
            raise StorageUnavailable("the catalogue is closed")

    async def _apart(self, work: Coroutine[Any, Any, T]) -> T:
        """Carry something out to its end, also where its caller leaves: a connection is never left in the middle."""
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def _on_connection(self, work: Callable[[AsyncConnection[Any]], Awaitable[T]]) -> T:
        """Do something on a connection, anew on another one where it was lost and nothing can have happened.

        Raises: StorageError.
        """
        for left in range(TRIES - 1, -1, -1):
            try:
                async with self._turn(), self._pool.connection() as connection:
                    return await work(connection)
            except POOL_FAILURES:
                self._check_open()
                raise StorageUnavailable("PostgreSQL does not answer") from None
            except psycopg.Error as error:
                if not left or not (is_lost(error) or isinstance(error, RETRIED)):
                    raise translate(error) from None
                if is_lost(error):
                    await self._pool.check()  # the others are likely lost as well
        raise AssertionError("the last try returns or raises")

    async def _read(self, read: Callable[[Session], T]) -> T:
        """A read of few rows: without a snapshot, since that costs two statements more.

        What several statements then saw may not fit together, where others wrote in between. That looks like damage,
        so what looks like it is judged again in a snapshot.
        """
        self._check_open()

        def run(connection: AsyncConnection[Any]) -> T:
            session = self._session(connection)
            try:
                return read(session)
            except (RowDamaged, SnapshotNeeded):
                with session.snapshot():
                    return read(session)

        return await self._apart(self._on_connection(lambda connection: bridged(partial(run, connection))))

    async def _scan(self, read: Callable[[Session], Scan[T]], *, is_short: bool = False) -> T:
        if is_short:
            return await self._read(lambda session: _drive(read(session), self._check_open))
        return await self._snapshot(lambda session: _drive(read(session), self._check_open))

    async def _snapshot(self, read: Callable[[PostgresSession], T]) -> T:
        self._check_open()

        def run(connection: AsyncConnection[Any]) -> T:
            session = self._session(connection)
            with session.snapshot():
                return read(session)

        return await self._apart(self._on_connection(lambda connection: bridged(partial(run, connection))))

    def _session(self, connection: AsyncConnection[Any]) -> PostgresSession:
        return PostgresSession(connection, self._tables, self._findings)

    def _write(self, run: Callable[[Transaction], T], *held: Lock, reclaims: bool = False) -> Awaitable[T]:  # noqa: ARG002  # the server has no reserve
        self._check_open()
        return self._apart(self._carry_out(run, held))

    async def _carry_out(self, run: Callable[[Transaction], T], held: tuple[Lock, ...]) -> T:
        """A command, until it is known to be durable or known to have changed nothing. Raises: StorageError."""
        for _ in range(TRIES):
            operation = _Operation(run, held)
            try:
                await self._on_connection(partial(self._attempt, operation))
            except _Unsettled:
                if not await self._settle(operation.operation_id):
                    continue
            self._commits += 1
            return cast("T", operation.result)
        raise StorageUnavailable("PostgreSQL was lost at every try to commit")

    async def _attempt(self, operation: _Operation[Any], connection: AsyncConnection[Any]) -> None:
        await bridged(partial(self._transact, operation, connection))

    def _transact(self, operation: _Operation[Any], connection: AsyncConnection[Any]) -> None:
        """One try of a command, bridged. Raises: psycopg.Error, StorageError, _Unsettled."""
        tx = PostgresTransaction(connection, self._tables, self._findings, self._realm_id)
        try:
            self._begin(tx, operation)
            operation.result = operation.run(tx)
            tx.end_command()
            tx.save_counts()
        except BaseException:
            tx.discard()
            raise
        tx.later("INSERT INTO operations (operation_id, is_done) VALUES (?, true)", operation.operation_id)
        tx.later("COMMIT")
        reach("catalogue.before_commit")
        try:
            tx.execute_all()
        except psycopg.Error as error:
            if is_lost(error) or connection.closed:
                raise _Unsettled from None
            tx.discard()
            raise
        reach("catalogue.committed")

    def _begin(self, tx: PostgresTransaction, operation: _Operation[Any]) -> None:
        """Begin a transaction that holds what its command must hold, and give the operation its id.

        Each statement sees what was committed when it begins, so those behind this one see what the locks protect. The
        expressions of a SELECT are worked out in their order. The change number must be drawn under the locks, so
        that the numbers of one key rise with its commits, and after a transaction id, so that it is known who may still
        write a line with such a number (`postgres_outbox`).
        """
        ordered = sorted(operation.held)
        takes = [f"pg_advisory_xact_lock{'_shared' if lock.is_shared else ''}(?)" for lock in ordered]

        def begun(answer: Answer) -> None:
            ((*_, schema_version, _, drawn, server_micros),) = answer.rows
            if schema_version != SCHEMA_VERSION:
                raise CatalogueUnsafe("the catalogue's schema was changed by another version of this program: restart")
            tx.drawn = drawn
            tx.now = server_micros if self._clock is None else to_micros(self._clock())
            operation.operation_id = int(server_micros).to_bytes(8) + secrets.token_bytes(8)

        tx.begin(f"SELECT {', '.join((*takes, _TAKEN))}", *(lock.number for lock in ordered), then=begun)

    async def _settle(self, operation_id: bytes) -> bool:
        """Whether a transaction whose COMMIT was not answered was carried out; if not, it never will be.

        Either its row is there, or a row of the same id is put in its place, which makes it fail should it still come.
        Raises: StorageUnavailable where that cannot be found out in time.
        """

        async def ask(connection: AsyncConnection[Any]) -> bool:
            put = "INSERT INTO operations (operation_id, is_done) VALUES ($1, false) ON CONFLICT DO NOTHING"
            await connection.execute(put, (operation_id,))
            cursor = await connection.execute("SELECT is_done FROM operations WHERE operation_id = $1", (operation_id,))
            row = await cursor.fetchone()
            if row is None:
                raise StorageUnavailable("the memory of operations is gone")
            return bool(row[0])

        deadline = monotonic() + SETTLE_S
        while True:
            try:
                return await self._on_connection(ask)
            except StorageUnavailable:
                if monotonic() > deadline:
                    raise StorageUnavailable(
                        "PostgreSQL was lost while it committed: the outcome is not known"
                    ) from None
                await asyncio.sleep(_PAUSE_S)

    async def _tidy(self) -> None:
        """Forget old operations, now and then."""
        while True:
            await asyncio.sleep(_TIDY_S)
            try:
                await self._on_connection(_forget_operations)
            except StorageError as failure:
                _log.warning("old operations were not forgotten: %s", failure)

    async def begin_audit(self) -> None:
        """Look for damage for a moment, and go on with that in the background."""
        self._auditing = asyncio.create_task(self._keep_auditing())
        await asyncio.wait([self._auditing], timeout=audit.FOREGROUND_S)

    async def _keep_auditing(self) -> None:
        """Audit once to the end, whatever the server does meanwhile."""
        begins_at = monotonic()
        while True:
            try:
                await self._audit(begins_at + audit.FOREGROUND_S)
            except StorageError as failure:
                _log.warning("the audit of the catalogue broke off and is begun anew later: %s", failure)
            else:
                _log.info("every row of the catalogue that is looked up was verified")
                return
            await asyncio.sleep(_AUDIT_AGAIN_S)

    async def _audit(self, deadline: float) -> None:
        """See `audit.audit`. Each group of rows is a read of its own, so that no connection is held for long."""

        def count(session: PostgresSession) -> None:
            session.execute("SET LOCAL statement_timeout = 0")
            audit.count_versions(session)

        await self._snapshot(count)
        for table in audit.TABLES:
            behind: audit.Mark | None = ()
            while behind is not None:
                behind = await self._scan(partial(audit.verify_some, table=table, behind=behind))
                if monotonic() > deadline:
                    await asyncio.sleep(audit.PAUSE_S * audit.SNAPSHOT_ROWS / SLICE_ROWS)

    # What is not the same over SQLite

    def statistics(self) -> CatalogueStatistics:
        """See `Catalogue.statistics`."""
        return CatalogueStatistics(self._commits, self._commits)

    async def realm_id(self) -> bytes:
        """See `Catalogue.realm_id`."""
        return await self._read(lambda session: session.realm().realm_id)

    async def count_live_blobs(self) -> int:
        """See `Catalogue.count_live_blobs`."""
        return await self._snapshot(lambda session: session.total(self._realm_id))

    async def check_live_blobs(self) -> None:
        """See `Catalogue.check_live_blobs`."""

        def check(session: Session) -> Scan[None]:
            assert isinstance(session, PostgresSession), "as all of this catalogue"
            return jobs.check_live_blobs(session, session.total(self._realm_id))

        await self._scan(check)

    async def read_changes(self, after: int, limit: int) -> tuple[Change, ...]:
        """See `Catalogue.read_changes`. Lines whose turn may still come hold up those behind them."""
        self._check_open()
        through = await self._apart(self._on_connection(self._frontier.advance))
        return await self._scan(lambda session: jobs.read_changes(session, after, limit, through))

    async def digests(self) -> Digests:
        """What tells whether another catalogue holds the same rows. Raises: RowDamaged."""

        def read(session: PostgresSession) -> Digests:
            session.execute("SET LOCAL statement_timeout = 0")
            return digests(session)

        return await self._snapshot(read)

    async def verify(self) -> int:
        """See `Catalogue.verify`."""
        return await self._snapshot(self._verify)

    def _verify(self, session: PostgresSession) -> int:
        for setting in ("statement_timeout = 0", "enable_seqscan = on", "enable_bitmapscan = on"):
            session.execute(f"SET LOCAL {setting}")
        total = _drive(verifying.verify_rows(session), self._check_open)
        for what, statement in (*verifying.REFERENCES, *POSTGRES_REFERENCES):
            self._check_open()
            verifying.check_reference(session, what, statement)
        for bucket in session.walk(BUCKETS):
            session.total(bucket.bucket_id)
            held = {row.kind for row in session.all(CONFIGURATIONS, "WHERE bucket_id = ?", bucket.bucket_id)}
            if held != rows.from_json(bucket.configurations).keys():
                raise RowDamaged("a configuration without its bucket, or a bucket without its configuration")
        session.total(self._realm_id)
        return total


_TAKEN: Final = (
    "(SELECT schema_version FROM realm), pg_current_xact_id()::text, nextval('changes'),"
    " (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
)


async def _forget_operations(connection: AsyncConnection[Any]) -> None:
    """Drop operations by the server's own time, which stands at the head of their ids."""
    cursor = await connection.execute("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
    row = await cursor.fetchone()
    assert row is not None, "a SELECT without FROM gives a row"
    before = row[0] - OPERATIONS_KEPT // timedelta(microseconds=1)
    await connection.execute("DELETE FROM operations WHERE operation_id < $1", (before.to_bytes(8),))


def _drive(scan: Scan[T], check_open: Callable[[], None]) -> T:
    """Let others run between the slices of a scan, which ends early where the catalogue is closed."""
    try:
        while True:
            try:
                next(scan)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]  # a generator's return value is untyped there
            wait_for(asyncio.sleep(0))
            check_open()
    finally:
        scan.close()
