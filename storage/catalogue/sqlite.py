"""The embedded catalogue: one encrypted SQLite file, one owner process, one writer thread with group commit.

Reads run on the event loop, point reads in one go and scans in slices of half a millisecond over a snapshot of their
own; decision record 0003 has the measurements. Source: DESIGN part 4.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

import apsw

from storage.catalogue import jobs, verifying
from storage.catalogue.audit import Auditor
from storage.catalogue.checkpoints import Checkpointer
from storage.catalogue.commands import CatalogueStatistics, Change
from storage.catalogue.connection import connect, translated
from storage.catalogue.files import check_realm, create_file, migrate
from storage.catalogue.findings import Findings
from storage.catalogue.locks import Lock
from storage.catalogue.owner import OwnerLock, Reserve
from storage.catalogue.rowmac import RowMac
from storage.catalogue.rows import to_micros
from storage.catalogue.session import Scan, Session, Transaction
from storage.catalogue.sql import SqlCatalogue
from storage.catalogue.sqlite_session import SqliteSession, SqliteTransaction
from storage.catalogue.writer import Writer
from storage.errors import StorageUnavailable

T = TypeVar("T")

RESERVE_BYTES = 8 << 20
"""Space kept for deletes on a full disk."""
SNAPSHOTS = 4
"""Scans that run at once; more wait for one of these."""
_CACHE_KIB = 16 << 10
_SCAN_CACHE_KIB = 4 << 10


class SqliteCatalogue(SqlCatalogue):
    """`Catalogue` over SQLite. Make it with `create` or `open`, use it from one event loop, `close` it."""

    def __init__(
        self,
        lock: OwnerLock,
        writer: Writer,
        checkpointer: Checkpointer,
        auditor: Auditor,
        point: SqliteSession,
        scanners: list[SqliteSession],
    ) -> None:
        self._lock = lock
        self._auditor = auditor
        self._writer = writer
        self._checkpointer = checkpointer
        self._point = point
        self._scanners = scanners
        self._free_scanners = asyncio.Semaphore(len(scanners))
        self._closed: asyncio.Future[None] | None = None

    @classmethod
    def create(
        cls,
        path: Path,
        realm_id: bytes,
        database_key: bytes,
        row_mac_key: bytes,
        clock: Callable[[], datetime],
        *,
        reserve_bytes: int = RESERVE_BYTES,
    ) -> Self:
        """Make an empty catalogue and open it. Arguments and errors as `open`.

        Raises:
            CatalogueUnsafe: a catalogue is there already.
        """
        lock = OwnerLock(path.parent)
        try:
            create_file(path, realm_id, database_key, RowMac(row_mac_key, realm_id))
        except BaseException:
            lock.release()
            raise
        return cls._open(lock, path, realm_id, database_key, row_mac_key, clock, reserve_bytes)

    @classmethod
    def open(
        cls,
        path: Path,
        realm_id: bytes,
        database_key: bytes,
        row_mac_key: bytes,
        clock: Callable[[], datetime],
        *,
        reserve_bytes: int = RESERVE_BYTES,
    ) -> Self:
        """Open an existing catalogue and own it until `close`. Blocks for some milliseconds, longer after a crash.

        One that an older version of this program wrote is verified and brought to today's schema first
        (`files.migrate`), which takes about ten seconds of CPU for a million rows.

        It looks for damage (`audit`) for a moment before it returns, and goes on with that beside what it serves.

        Args:
            path: the database; lock, log and reserve stand beside it.
            realm_id: 16 bytes, the realm that the caller expects.
            database_key: 32 raw bytes, the key of the file.
            row_mac_key: 32 raw bytes, the key of the rows' MACs.
            clock: the time, aware.
            reserve_bytes: space kept for deletes on a full disk.

        Raises:
            CatalogueBusy: another process owns it.
            CatalogueUnsafe: library, settings, schema or database key are not right.
            RealmMismatch: it belongs to another realm, or its rows to another key.
            RowDamaged: it is damaged.
            StorageUnavailable: it cannot be read.
        """
        return cls._open(OwnerLock(path.parent), path, realm_id, database_key, row_mac_key, clock, reserve_bytes)

    @classmethod
    def _open(
        cls,
        lock: OwnerLock,
        path: Path,
        realm_id: bytes,
        database_key: bytes,
        row_mac_key: bytes,
        clock: Callable[[], datetime],
        reserve_bytes: int,
    ) -> Self:
        with ExitStack() as undo:
            undo.callback(lock.release)
            mac = RowMac(row_mac_key, realm_id)
            migrate(path, realm_id, database_key, mac)
            findings = Findings()

            def session(cache_kib: int) -> SqliteSession:
                connection = connect(path, database_key, cache_kib=cache_kib)
                undo.callback(connection.close)
                return SqliteSession(connection, mac, findings)

            point = session(_CACHE_KIB)
            check_realm(point, realm_id, mac)
            scanners = [session(_SCAN_CACHE_KIB) for _ in range(SNAPSHOTS)]
            checkpointer = Checkpointer(connect(path, database_key, cache_kib=_SCAN_CACHE_KIB))
            undo.callback(checkpointer.close)

            def connect_writer() -> SqliteTransaction:
                connection = connect(path, database_key, cache_kib=_CACHE_KIB)
                connection.set_wal_hook(lambda _connection, _name, pages: checkpointer.notice(pages))
                with translated(connection):
                    return SqliteTransaction(connection, mac, findings)

            auditor = Auditor(session(_SCAN_CACHE_KIB))
            undo.callback(auditor.close)
            reserve = Reserve(path.with_name(path.name + ".reserve"), reserve_bytes)
            reserve.restore()
            writer = Writer(connect_writer, lambda: to_micros(clock()), reserve)
            undo.pop_all()
        return cls(lock, writer, checkpointer, auditor, point, scanners)

    async def close(self) -> None:
        """See `Catalogue.close`."""
        if self._closed is None:
            loop = asyncio.get_running_loop()
            self._closed = loop.create_future()
            for _ in range(len(self._scanners)):
                await self._free_scanners.acquire()
            ending = threading.Thread(target=self._finish, args=(loop, self._closed), name="catalogue-close")
            ending.start()
            await asyncio.shield(self._closed)
            ending.join()
        await asyncio.shield(self._closed)

    def _finish(self, loop: asyncio.AbstractEventLoop, done: "asyncio.Future[None]") -> None:
        """What blocks in `close`, in a thread of its own."""
        try:
            self._auditor.close()
            self._writer.close()
            for session in (self._point, *self._scanners):
                session.connection.close()
            self._checkpointer.close()
            self._lock.release()
        finally:
            loop.call_soon_threadsafe(done.set_result, None)

    def _check_open(self) -> None:
        if self._closed is not None:
            raise StorageUnavailable("the catalogue is closed")

    async def _read(self, read: Callable[[Session], T]) -> T:
        """A read of few rows, on the loop: it costs less than a hop to a thread."""
        self._check_open()
        with translated(self._point.connection), self._point.snapshot():
            return read(self._point)

    async def _scan(self, read: Callable[[Session], Scan[T]], *, is_short: bool = False) -> T:  # noqa: ARG002  # all begin alike
        """A read of any number of rows: small ones end in the first slice, others go on in a snapshot of their own."""
        self._check_open()
        with translated(self._point.connection), self._point.snapshot():
            scan = read(self._point)
            try:
                next(scan)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]  # a generator's return value is untyped there
            finally:
                scan.close()
        async with self._long_read() as session:
            return await self._drive(read(session))

    @asynccontextmanager
    async def _long_read(self) -> AsyncIterator[SqliteSession]:
        """A session of its own over a snapshot of its own."""
        async with self._free_scanners:
            self._check_open()
            session = self._scanners.pop()
            try:
                with translated(session.connection), session.snapshot():
                    yield session
            finally:
                self._scanners.append(session)

    async def _drive(self, scan: Scan[T]) -> T:
        """Let others run between the slices of a scan, which ends early where the catalogue is closed."""
        try:
            while True:
                try:
                    next(scan)
                except StopIteration as done:
                    return done.value  # type: ignore[no-any-return]  # a generator's return value is untyped there
                await asyncio.sleep(0)
                self._check_open()
        finally:
            scan.close()

    def _write(self, run: Callable[[Transaction], T], *held: Lock, reclaims: bool = False) -> Awaitable[T]:  # noqa: ARG002  # one writer
        return self._writer.submit(run, reclaims=reclaims)

    def statistics(self) -> CatalogueStatistics:
        """See `Catalogue.statistics`."""
        return CatalogueStatistics(self._writer.batches, self._writer.commands)

    async def realm_id(self) -> bytes:
        """See `Catalogue.realm_id`. Fails also where the writer has ended: readiness is asked by this."""
        self._writer.check_open()
        return await self._read(lambda session: session.realm().realm_id)

    async def count_live_blobs(self) -> int:
        """See `Catalogue.count_live_blobs`."""
        return await self._read(lambda _: self._point.realm().live_blob_count)

    async def check_live_blobs(self) -> None:
        """See `Catalogue.check_live_blobs`."""

        def check(session: Session) -> Scan[None]:
            assert isinstance(session, SqliteSession), "as all of this catalogue"
            return jobs.check_live_blobs(session, session.realm().live_blob_count)

        await self._scan(check)

    async def read_changes(self, after: int, limit: int) -> tuple[Change, ...]:
        """See `Catalogue.read_changes`."""
        return await self._scan(lambda session: jobs.read_changes(session, after, limit))

    async def verify(self) -> int:
        """See `Catalogue.verify`. References are judged beside the loop: among many rows a statement takes seconds."""
        async with self._long_read() as session:
            total = await self._drive(verifying.verify_rows(session))
            for what, statement in (*verifying.REFERENCES, *verifying.SQLITE_REFERENCES):
                self._check_open()
                await _aside(session.connection, partial(verifying.check_reference, session, what, statement))
            return total


async def _aside(connection: apsw.Connection, run: Callable[[], None]) -> None:
    """Run in a thread what uses a connection; a caller who leaves waits until the connection is free again."""
    job = asyncio.get_running_loop().run_in_executor(None, run)
    try:
        await asyncio.shield(job)
    except asyncio.CancelledError:
        connection.interrupt()
        await asyncio.wait([job])
        job.exception()  # looked at, so that asyncio does not complain of it
        raise
