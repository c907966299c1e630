"""The one writer thread: all commands that wait go into one transaction, each in a savepoint of its own.

Answers, refusals included, are released only after the commit, so nobody hears of a state that a crash could take back;
a failed commit fails them all. One durable commit costs one fsync, however many commands it carries. Sources: SQLite
"SAVEPOINT", "Result and Error Codes"; DESIGN part 4.
"""

import asyncio
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeVar

import apsw

from storage.catalogue.checkpoints import RESTART_WAIT_MS
from storage.catalogue.connection import BUSY_TIMEOUT_MS, translate
from storage.catalogue.owner import Reserve
from storage.catalogue.session import id_taken
from storage.catalogue.sqlite_session import SqliteTransaction
from storage.errors import RowDamaged, StorageError, StorageFull, StorageUnavailable
from storage.seams import reach

T = TypeVar("T")

MAX_WAITING = 100_000
"""Commands that may wait; more are refused at once."""
BATCH_S = 0.05
"""A transaction takes no further commands after that long, so that a burst of large ones does not hold up the rest."""
RECLAIMING_BATCH = 8
"""Commands of one transaction while it is paid from the reserve."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    run: Callable[[SqliteTransaction], Any]
    reclaims: bool
    """Whether it gives space back: such a command may use the reserve."""
    future: "asyncio.Future[Any]"
    loop: asyncio.AbstractEventLoop


_Outcome = tuple[_Job, Any, BaseException | None]


class Writer:
    """Runs commands in a thread of its own, over a connection of its own."""

    def __init__(self, connect: Callable[[], SqliteTransaction], now: Callable[[], int], reserve: Reserve) -> None:
        """Start the thread.

        Args:
            connect: opens a fresh connection; called again after an input or output error.
            now: microseconds since 1970.
            reserve: space for commands that give space back.
        """
        self._connect = connect
        self._now = now
        self._reserve = reserve
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closing = False
        self._door = threading.Lock()
        """Held from the look whether commands are taken until one has its place, so that none comes after the last."""
        self._transaction: SqliteTransaction | None = connect()
        self.batches = 0
        """Transactions committed."""
        self.commands = 0
        """Commands that they carried."""
        self._thread = threading.Thread(target=self._work, name="catalogue-writer", daemon=True)
        self._thread.start()

    def submit(self, run: Callable[[SqliteTransaction], T], *, reclaims: bool = False) -> "asyncio.Future[T]":
        """Queue a command; the future is answered after its commit.

        Raises:
            StorageUnavailable: the catalogue is closing, or too many commands wait.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        with self._door:
            self.check_open()
            if self._jobs.qsize() >= MAX_WAITING:
                raise StorageUnavailable("too many commands wait for the catalogue")
            self._jobs.put(_Job(run, reclaims, future, loop))
        return future

    def check_open(self) -> None:
        """See that commands are taken. Raises: StorageUnavailable."""
        if self._closing:
            raise StorageUnavailable("the catalogue is closed")

    def close(self) -> None:
        """Take no more, finish what waits, end the thread. Blocks; idempotent."""
        with self._door:
            if not self._closing:
                self._closing = True
                self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        waiting: deque[_Job] = deque()
        accepted: list[_Job] = []
        is_open = True
        try:
            while is_open:
                is_open = self._drain(waiting)
                accepted = list(waiting)
                while waiting:
                    _answer(self._commit(waiting))
        finally:  # also where a bug ends the thread: nobody may wait for ever
            with self._door:
                self._closing = True
            while not self._jobs.empty():
                self._drain(waiting)
            _answer(_failed([*accepted, *waiting], StorageUnavailable("the catalogue is closed")))
            self._disconnect()

    def _drain(self, waiting: deque[_Job]) -> bool:
        """Wait for a job and take all that are there; say whether more may come."""
        job = self._jobs.get()
        while job is not None:
            waiting.append(job)
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return True
        return False

    def _commit(self, waiting: deque[_Job]) -> list[_Outcome]:
        """Carry out jobs from the head of the queue, at least one, in one durable transaction if all goes well."""
        if not self._reserve.restore():
            return self._reclaim(_take(waiting))
        taken: list[_Job] = []
        try:
            return self._run(waiting, taken)
        except StorageFull:
            return self._reclaim(taken or _take(waiting))
        except StorageError as failure:
            return _failed(taken or _take(waiting), failure)

    def _run(self, waiting: deque[_Job], taken: list[_Job]) -> list[_Outcome]:
        """One transaction, opening the connection anew where it was lost.

        Raises:
            StorageError: it was not committed, or nobody knows; it is rolled back.
        """
        transaction = self._ready()
        try:
            outcomes = self._run_jobs(transaction, waiting, taken)
        except apsw.Error as error:
            failure = translate(error, transaction.connection)
            self._roll_back(transaction, error)
            raise failure from error
        except StorageError:  # past the commands, from the counters: nothing of it may reach the next commit
            self._disconnect()
            raise
        self.batches += 1
        self.commands += len(taken)
        return outcomes

    def _run_jobs(self, transaction: SqliteTransaction, waiting: deque[_Job], taken: list[_Job]) -> list[_Outcome]:
        deadline = monotonic() + BATCH_S
        outcomes: list[_Outcome] = []
        transaction.execute("BEGIN IMMEDIATE")
        while waiting and (not taken or monotonic() < deadline):
            job = waiting.popleft()
            taken.append(job)
            outcomes.append(self._run_job(transaction, job))
        transaction.save_counters()
        reach("catalogue.before_commit")
        transaction.execute("COMMIT")
        reach("catalogue.committed")
        return outcomes

    def _run_job(self, transaction: SqliteTransaction, job: _Job) -> _Outcome:
        """One command in its savepoint. Raises: apsw.Error where the whole transaction is lost."""
        counters = transaction.counters()
        execute = transaction.execute
        transaction.now = self._now()
        execute("SAVEPOINT command")
        transaction.begin_command()
        try:
            result = job.run(transaction)
            transaction.end_command()
        except apsw.ConstraintError:
            failure: BaseException = id_taken()
        except apsw.Error as error:
            translated = translate(error, transaction.connection)
            if not isinstance(translated, RowDamaged):
                raise
            failure = translated
        except Exception as error:  # noqa: BLE001  # whatever a command raises is its caller's, not the batch's
            failure = error
        else:
            execute("RELEASE command")
            return job, result, None
        execute("ROLLBACK TO command")
        execute("RELEASE command")
        transaction.restore(counters)
        return job, None, failure

    def _reclaim(self, jobs: Iterable[_Job]) -> list[_Outcome]:
        """The disk is full: refuse what would grow, pay for what gives space back from the reserve."""
        outcomes: list[_Outcome] = []
        reclaiming: deque[_Job] = deque()
        for job in jobs:
            if job.reclaims:
                reclaiming.append(job)
            else:
                outcomes += _failed([job], StorageFull("no space is left for the catalogue"))
        if reclaiming:
            _log.warning("the catalogue's disk is full: %d deletes use the reserve", len(reclaiming))
            self._reserve.release()
        while reclaiming:
            few = deque(reclaiming.popleft() for _ in range(min(RECLAIMING_BATCH, len(reclaiming))))
            taken: list[_Job] = []
            try:
                outcomes += self._run(few, taken)
            except StorageError as failure:
                outcomes += _failed(taken or _take(few), failure)
            reclaiming.extendleft(reversed(few))
            self._truncate_log()
        self._reserve.restore()
        return outcomes

    def _truncate_log(self) -> None:
        """Give the log's space back if no reader needs it; where one does, later will do."""
        if self._transaction is None:
            return
        connection = self._transaction.connection
        connection.set_busy_timeout(RESTART_WAIT_MS)
        try:
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except apsw.Error as error:
            _log.warning("the catalogue's log was not truncated: %s", type(error).__name__)
        finally:
            connection.set_busy_timeout(BUSY_TIMEOUT_MS)

    def _ready(self) -> SqliteTransaction:
        if self._transaction is None:
            self._transaction = self._connect()
        return self._transaction

    def _roll_back(self, transaction: SqliteTransaction, error: apsw.Error) -> None:
        """Leave the failed transaction; after anything but a full disk, also the connection, which may be astray.

        A sync that failed, for want of space too, is never tried again on what the connection holds.
        """
        if not isinstance(error, apsw.FullError):
            self._disconnect()
            return
        try:
            if transaction.connection.in_transaction:
                transaction.execute("ROLLBACK")
            transaction.reload()
        except (apsw.Error, RowDamaged):
            self._disconnect()

    def _disconnect(self) -> None:
        if self._transaction is not None:
            self._transaction.connection.close(True)  # forced: nothing of it is used again
            self._transaction = None


def _take(waiting: deque[_Job]) -> list[_Job]:
    jobs = list(waiting)
    waiting.clear()
    return jobs


def _failed(jobs: Iterable[_Job], failure: StorageError) -> list[_Outcome]:
    """A failure for each job, not one for all: exceptions collect the traces of those who raise them."""
    return [(job, None, type(failure)(*failure.args)) for job in jobs]


def _answer(outcomes: Iterable[_Outcome]) -> None:
    """Wake the callers, each loop once."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Outcome]] = {}
    for outcome in outcomes:
        by_loop.setdefault(outcome[0].loop, []).append(outcome)
    for loop, of_loop in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle, of_loop)
        except RuntimeError:
            _log.warning("a loop was closed before its commands were answered")


def _settle(outcomes: Iterable[_Outcome]) -> None:
    for job, result, failure in outcomes:
        if job.future.done():  # answered before, or its caller was cancelled and the command carried out all the same
            continue
        if failure is None:
            job.future.set_result(result)
        else:
            job.future.set_exception(failure)
