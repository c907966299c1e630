"""`sealgate serve --workers N`: a small process that holds the listening sockets and starts N gateways behind them.

It opens the ports before anything is made, starts one worker, which makes whatever a first start makes and says what
cannot stand, and then the others. A worker that dies is replaced; its sockets stay open here, so that no connection
that waits for it is lost. This process holds no key, opens neither catalogue nor blobs, and reads nothing of clients.
"""

import asyncio
import itertools
import logging
import signal
import socket
import sys
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge

from gateway.cli.exits import Exit
from gateway.cli.link import COUNTS, IS_ALIVE, IS_READY, Streams, decoded, encoded, streams_of
from gateway.cli.output import is_debug
from gateway.config import Settings
from gateway.http.admin_listener import AdminListener
from gateway.http.gathering import gathered_page
from gateway.http.ports import Endpoint, listen_on
from gateway.http.server import Bound, ServerSettings

_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 30.0
"""Between the death of a worker and the start of the next one; doubled where they die one after the other."""
_SOUND_S: Final = 60.0
"""A worker that has stood for so long did not die of its start."""
_LOOKS: Final = 4
"""How often a worker is asked for a sign of life in the time in which it must give one."""
_ANSWER_S: Final = 5.0
"""A worker that does not answer in this time is not ready, and missing on the page of metrics."""

_log = logging.getLogger(__name__)


class _NotStarted(Exception):
    """A worker ended before it stood; it has said why."""

    def __init__(self, code: int) -> None:
        self.code = code


@dataclass(eq=False)
class _Worker:
    process: asyncio.subprocess.Process
    streams: Streams
    is_first: bool = False
    asked: int = 0
    waiting: dict[int, asyncio.Future[Any]] = field(default_factory=dict)
    """Who waits for an answer, by the number of his question."""
    is_gone: bool = False

    async def listen(self) -> None:
        """Give each answer to who waits for it, until the worker is gone."""
        with suppress(ConnectionError):
            while (answer := decoded(await self.streams[0].readline())) is not None:
                number, told = answer
                waiting = self.waiting.pop(number, None)  # None where the time of the question was over
                if waiting is not None and not waiting.done():
                    waiting.set_result(told)
        self.is_gone = True
        for waiting in self.waiting.values():
            if not waiting.done():
                waiting.set_result(None)

    async def ask(self, question: str, patience_s: float | None = None) -> Any:
        """Its answer; None where it gives none in time."""
        if self.is_gone:
            return None
        self.asked += 1
        number = self.asked
        waiting = self.waiting[number] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(_ANSWER_S if patience_s is None else patience_s):
                self.streams[1].write(encoded([number, question]))
                return await waiting
        except TimeoutError:
            return None
        finally:
            self.waiting.pop(number, None)


class OnStarted(Protocol):
    """What is to be done once all workers stand."""

    def __call__(self, bound: Bound, *, is_first: bool) -> None:
        """`is_first`: whether this was the first start."""


class Supervisor:
    """N workers behind one set of listening sockets. `run()` once."""

    def __init__(self, settings: Settings, told: ServerSettings, on_started: OnStarted) -> None:
        self._settings = settings
        self._told = told
        self._on_started = on_started
        self._listeners: dict[str, list[socket.socket]] = {}
        self._admin = told.admin
        self._processes: set[asyncio.subprocess.Process] = set()
        """All that run."""
        self._standing: dict[int, _Worker] = {}
        """Those of them that serve, by their numbers."""
        self._have_all_stood = False
        self._stop = asyncio.Event()
        self._code = 0
        self._registry = CollectorRegistry(auto_describe=True)
        Gauge("sealgate_workers", "Workers that are wanted.", registry=self._registry).set(settings.workers)
        Gauge("sealgate_workers_standing", "Workers that serve.", registry=self._registry).set_function(
            lambda: len(self._standing)
        )
        self._deaths = Counter(
            "sealgate_worker_deaths", "Workers that ended without being told to.", registry=self._registry
        )

    async def run(self) -> int:
        """Serve until SIGTERM or SIGINT, or until no worker can be started; return the code to leave with.

        Raises: ServeError.
        """
        loop = asyncio.get_running_loop()
        with ExitStack() as opened:
            for address, setting in self._told.listeners():
                if setting != "admin-port":
                    self._listeners[setting] = await asyncio.to_thread(listen_on, address, setting)
                    for listener in self._listeners[setting]:
                        opened.callback(listener.close)
            admin = AdminListener(self, self._told.admin)
            self._admin = await admin.start()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self._stop.set)
            loop.add_signal_handler(signal.SIGHUP, self._renew)
            try:
                await self._tend_all()
            finally:
                admin.close()
        return self._code

    async def _tend_all(self) -> None:
        numbers = range(1, self._settings.workers + 1)
        stood = {number: asyncio.Event() for number in numbers}
        tasks: set[asyncio.Task[None]] = set()
        is_first = False
        try:
            # The first one makes what is to be made, and what it cannot live with would hold for all.
            for group in (numbers[:1], numbers[1:]):
                tasks |= {asyncio.create_task(self._tended(number, stood[number])) for number in group}
                for number in group:
                    await self._unless_stopped(stood[number].wait())
                if 1 in self._standing:
                    is_first = is_first or self._standing[1].is_first
            if not self._stop.is_set():
                self._have_all_stood = True
                self._on_started(self._bound(), is_first=is_first)
            await self._stop.wait()
            _log.info("stopping: running requests may end")
        finally:
            self._stop.set()
            for listeners in self._listeners.values():
                for listener in listeners:
                    listener.close()
            for process in self._processes:
                _signal(process, signal.SIGTERM)
            await self._drained(tasks)
        _log.info("stopped: every worker has ended")

    async def _drained(self, tasks: set[asyncio.Task[None]]) -> None:
        """Wait until all have ended; who takes longer than its drain may, by the time of one that hangs, is killed."""
        if tasks:
            await asyncio.wait(tasks, timeout=self._settings.drain_timeout_s + self._settings.worker_timeout_s)
        for process in self._processes:
            _log.error("process %d does not end: it is killed", process.pid)
            _signal(process, signal.SIGKILL)
        await asyncio.gather(*tasks)

    async def _unless_stopped(self, wanted: Any) -> None:
        """Wait for something, or for the end."""
        tasks = [asyncio.ensure_future(wanted), asyncio.ensure_future(self._stop.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    # One worker

    async def _tended(self, number: int, stood: asyncio.Event) -> None:
        """As `_tend`; where that fails in a way nobody foresaw, nothing goes on without it."""
        try:
            await self._tend(number, stood)
        except BaseException:
            self._stop.set()
            raise

    async def _tend(self, number: int, stood: asyncio.Event) -> None:
        """Start a worker, and another whenever it dies, until all are to stop."""
        loop = asyncio.get_running_loop()
        pause_s = _FIRST_PAUSE_S
        while not self._stop.is_set():
            began = loop.time()
            try:
                worker = await self._start(number)
            except _NotStarted as failed:
                code = failed.code
                if not self._stop.is_set() and not (self._have_all_stood and self._standing):
                    self._give_up(code)
            else:
                self._standing[number] = worker
                _log.info("worker %d stands (process %d)", number, worker.process.pid)
                stood.set()
                code = await self._watched(number, worker)
                del self._standing[number]
                worker.streams[1].close()
                if code == Exit.KEYS:
                    # It let go of keys that the KMS no longer has: the others have the same.
                    self._give_up(code)
            if self._stop.is_set():
                self._code = self._code or _code_of(code)
                return
            self._deaths.inc()
            if loop.time() - began >= _SOUND_S:
                pause_s = _FIRST_PAUSE_S
            _log.error("worker %d %s: another one is started in %g s", number, _told_of(code), pause_s)
            await self._unless_stopped(asyncio.sleep(pause_s))
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _start(self, number: int) -> _Worker:
        """Start a worker, and wait until it stands. Raises: _NotStarted."""
        ours, theirs = socket.socketpair()
        listeners = {setting: [listener.fileno() for listener in opened] for setting, opened in self._listeners.items()}
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-P", "-m", "gateway.cli.worker", str(theirs.fileno())),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=[theirs.fileno(), *itertools.chain.from_iterable(listeners.values())],
                    start_new_session=True,  # a Ctrl-C comes here alone, and from here to each of them
                )
        except OSError as error:
            ours.close()
            _log.error("no process can be started: %s", error.strerror)
            raise _NotStarted(Exit.BUSY) from error
        self._processes.add(process)
        reader, writer = streams = await streams_of(ours)
        orders = {
            "number": number,
            "log_level": "DEBUG" if is_debug() else self._settings.log_level.upper(),
            "settings": self._settings.of_one_worker(),
            "listeners": listeners,
            "admin": [self._admin.host, self._admin.port],
        }
        try:
            writer.write(encoded(orders))
            if self._stop.is_set():
                _signal(process, signal.SIGTERM)
            answer = decoded(await reader.readline())
        except ConnectionError:
            answer = None
        if answer is None:
            writer.close()
            raise _NotStarted(await self._ended(process))
        return _Worker(process, streams, is_first=answer["is_first"])

    async def _watched(self, number: int, worker: _Worker) -> int:
        """Its code, once it has ended. One whose loop does not come round is killed: it would take connections on."""
        timeout_s = self._settings.worker_timeout_s
        ended = asyncio.create_task(self._ended(worker.process))
        listening = asyncio.create_task(worker.listen())
        try:
            while not ended.done():
                asking = asyncio.create_task(worker.ask(IS_ALIVE, timeout_s))
                await asyncio.wait([ended, asking], return_when=asyncio.FIRST_COMPLETED)
                is_alive = asking.done() and asking.result()
                asking.cancel()
                await asyncio.wait([ended], timeout=timeout_s / _LOOKS)  # who leaves closes the link first
                if not (ended.done() or is_alive or self._stop.is_set()):
                    _log.error("worker %d (process %d) stands still: it is killed", number, worker.process.pid)
                    _signal(worker.process, signal.SIGKILL)
        finally:
            listening.cancel()
        return await ended

    async def _ended(self, process: asyncio.subprocess.Process) -> int:
        code = await process.wait()
        self._processes.discard(process)
        return code

    def _give_up(self, code: int) -> None:
        """End all, since another start would meet the same."""
        self._code = _code_of(code) or Exit.BUG
        self._stop.set()

    def _renew(self) -> None:
        """Pass SIGHUP on. Who is about to serve reads the certificate anyway, and would die of it."""
        for worker in self._standing.values():
            _signal(worker.process, signal.SIGHUP)

    # What the admin listener tells

    async def is_ready(self) -> bool:
        """Whether all have stood, and each that stands now can serve: whoever connects may come to any of them."""
        if self._stop.is_set() or not self._have_all_stood or not self._standing:
            return False
        return all(await asyncio.gather(*(worker.ask(IS_READY) for worker in self._standing.values())))

    async def metrics(self) -> bytes:
        """One page of all workers."""
        standing = dict(self._standing)
        answers = await asyncio.gather(*(worker.ask(COUNTS) for worker in standing.values()))
        counts = {number: told for number, told in zip(standing, answers, strict=True) if told is not None}
        return await asyncio.to_thread(gathered_page, counts, self._registry)

    def _bound(self) -> Bound:
        def place(setting: str) -> Endpoint:
            host, port = self._listeners[setting][0].getsockname()[:2]
            return Endpoint(str(host), int(port))

        plain, monitor = (place(flag) if flag in self._listeners else None for flag in ("http-port", "monitor-port"))
        return Bound(place("port"), self._admin, plain, monitor)


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.send_signal(number)


def _code_of(code: int) -> int:
    """The code to leave with: one that SIGTERM met in its start has nothing to tell."""
    return code if code >= 0 else 0 if code == -signal.SIGTERM else Exit.BUG


def _told_of(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"left with {code}"
