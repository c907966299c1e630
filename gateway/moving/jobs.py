"""Moves as they run: listed, dealt with several at a time, kept in the catalogue, and taken up again after a crash.

One import and one export at most stand in a bucket's configurations, sealed as everything there. A gateway that serves
runs them beside its requests.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Generic, Protocol, TypeVar

from gateway.errors import MoveError
from gateway.moving.places import (
    Interrupted,
    ItemChanged,
    ItemFailed,
    PlaceFailed,
)
from gateway.moving.report import Marks, Outcome, Progress, Result, State
from gateway.s3.errors import S3Error
from keys.errors import CustomerKeyMismatch, KeysError
from storage.catalogue.base import Catalogue
from storage.catalogue.commands import Lease
from storage.catalogue.conflicts import NoSuchBucket
from storage.catalogue.records import Bucket
from storage.errors import BlobError, CatalogueConflict, Damaged, LeaseLost, StorageError
from storage.seams import reach

ATTEMPTS: Final = 3
"""Times that a transfer which broke off is tried."""
PAUSE_S: Final = 0.5
"""Before the second attempt; doubled before the next."""
SAVE_EVERY_S: Final = 2.0
"""How often a move's place is kept: after a crash so much is looked at again."""
LEASE_DURATION: Final = timedelta(seconds=60)
MAX_PARALLEL: Final = 32
MAX_VERSIONS: Final = 100_000
"""Of one key, which are held in memory together."""

_OLDER_FAILED: Final = "an older version of it was not moved"


class Movable(Protocol):
    """One version, on whichever side it is."""

    @property
    def object_key(self) -> bytes:
        """Its key."""

    @property
    def version_id(self) -> str | None:
        """None where versions do not count."""


M = TypeVar("M", bound=Movable)
S_contra = TypeVar("S_contra", bound=Movable, contravariant=True)


class Mover(Protocol[S_contra]):
    """What deals with one version."""

    async def move(self, history: Sequence[S_contra], index: int) -> Result:
        """Deal with the version at `index` of its key's history, the oldest first; those before it were dealt with.

        Raises: MoveError, S3Error, StorageError, KeysError.
        """


@dataclass(slots=True)
class Job(Generic[M]):
    """One move of a bucket."""

    catalogue: Catalogue
    bucket: Bucket
    kind: str
    """The configuration that keeps it."""
    clock: Callable[[], datetime]
    holder: str
    progress: Progress
    walk: Callable[[bytes], AsyncGenerator[M]]
    """Everything behind a mark, by key, and the versions of a key from the newest on."""
    mover: Mover[M]
    parallel: int
    at_end: Callable[[], Awaitable[None]] | None = None
    """Called once all was dealt with, while nobody else can run it."""
    check: Callable[[], Awaitable[None]] | None = None
    """Called at its beginning and whenever its place is kept: what it raises ends it."""
    halted: bool = False

    def halt(self) -> None:
        """What ends it next is a command."""
        self.halted = True

    async def run(self) -> None:
        """Go on from the mark until all is dealt with. How it ended stands in `progress`; only bugs are raised.

        It is kept in the catalogue under the lease alone, so that nobody writes over what another gateway says of it.
        """
        with _told_in(self.progress):
            lease = await self._lease()
            try:
                with _told_in(self.progress):
                    await self._save(lease)
                    await self._check()
                    await self._run()
                    if self.at_end is not None:
                        await self.at_end()
                    self.progress.state = State.DONE
            except asyncio.CancelledError:
                if self.halted:
                    self.progress.stop("stopped", by_command=True)
                raise
            finally:
                await asyncio.shield(self._end(lease))

    async def _end(self, lease: Lease) -> None:
        with contextlib.suppress(StorageError):
            await self._save(lease)
        with contextlib.suppress(StorageError):
            await self.catalogue.release_lease(lease)

    async def _lease(self) -> Lease:
        name = f"{self.kind}/{self.bucket.bucket_id.hex()}"
        try:
            return await self.catalogue.acquire_lease(name, self.holder, LEASE_DURATION)
        except LeaseLost:
            raise PlaceFailed(f"another gateway runs this {self.kind}") from None

    async def _save(self, lease: Lease) -> None:
        self.progress.holder = self.holder
        document = self.progress.encode(self.clock())
        await self.catalogue.put_configuration(self.bucket.bucket_id, self.kind, document, lease)
        reach("move.saved")

    async def _check(self) -> None:
        if self.check is not None:
            await self.check()

    async def _run(self) -> None:
        marks, running = Marks(), set[asyncio.Task[None]]()
        saving = asyncio.create_task(self._keep_saving())
        try:
            async with aclosing(by_key(self.walk(self.progress.mark))) as keys:
                async for history in keys:
                    while len(running) >= self.parallel:
                        await _some_end(running, saving)
                    if saving.done():
                        break
                    running.add(asyncio.create_task(self._deal_with(history, marks)))
            while running and not saving.done():
                await _some_end(running, saving)
        finally:
            for task in (*running, saving):
                task.cancel()
            ends = await asyncio.gather(*running, saving, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception):
                raise end

    async def _keep_saving(self) -> None:
        while True:
            await asyncio.sleep(SAVE_EVERY_S)
            await self._check()
            await self._save(await self._lease())

    async def _deal_with(self, history: Sequence[M], marks: Marks) -> None:
        dealt = marks.begin(history[0].object_key)
        results: list[tuple[str | None, Result]] = []
        stands = True
        for number, item in enumerate(history):
            result = Result(Outcome.FAILED, why=_OLDER_FAILED)
            if stands:
                result = await self._move(history, number)
                stands = result.outcome in (Outcome.MOVED, Outcome.THERE)
            results.append((item.version_id, result))
        dealt.results = results
        # Counted with the mark, so that a run which goes on from there counts nothing twice.
        for passed in marks.passed():
            for version_id, result in passed.results:
                self.progress.take(passed.object_key, version_id, result)
            self.progress.mark = passed.object_key
        reach("move.dealt_with")

    async def _move(self, history: Sequence[M], index: int) -> Result:
        why = ""
        for attempt in range(ATTEMPTS):
            try:
                return await self.mover.move(history, index)
            except Interrupted as error:
                why = str(error)
                await asyncio.sleep(PAUSE_S * 2**attempt)
            except ItemChanged as error:
                return Result(Outcome.CHANGED, why=str(error))
            except (ItemFailed, Damaged, BlobError, CustomerKeyMismatch) as error:
                return Result(Outcome.FAILED, why=str(error) or type(error).__name__)
            except S3Error as error:
                return Result(Outcome.FAILED, why=f"{error.row.code}: {error.message}")
            except NoSuchBucket:
                raise
            except CatalogueConflict as conflict:
                return Result(Outcome.KEPT, why=str(conflict) or type(conflict).__name__)
        return Result(Outcome.FAILED, why=why)


@contextlib.contextmanager
def _told_in(progress: Progress) -> Iterator[None]:
    """What stops a move is told by its progress."""
    try:
        yield
    except (MoveError, StorageError, KeysError) as error:
        progress.stop(str(error) or type(error).__name__)


async def _some_end(running: set[asyncio.Task[None]], saving: asyncio.Task[None]) -> None:
    """Take out of them what has ended, up to the first that failed. Raises: as that one, or as the saving."""
    ended, _ = await asyncio.wait({*running, saving}, return_when=asyncio.FIRST_COMPLETED)
    for task in ended:
        running.discard(task)
        task.result()


async def by_key(items: AsyncGenerator[M]) -> AsyncGenerator[Sequence[M]]:
    """Versions of one key together and the oldest first; they come one after the other, the newest first."""
    history: list[M] = []
    async with aclosing(items):
        async for item in items:
            if history and history[0].object_key != item.object_key:
                yield history[::-1]
                history = []
            history.append(item)
            if len(history) > MAX_VERSIONS:
                raise PlaceFailed(f"a key has more than {MAX_VERSIONS} versions")
    if history:
        yield history[::-1]


class Runs(Protocol):
    """A move, of whatever kind."""

    @property
    def bucket(self) -> Bucket:
        """Where."""

    @property
    def kind(self) -> str:
        """Import or export."""

    @property
    def progress(self) -> Progress:
        """How far it is."""

    def halt(self) -> None:
        """What ends it next is a command, and it goes on by command alone."""

    async def run(self) -> None:
        """Go on to the end; only bugs are raised."""


Closing = Callable[[], Awaitable[None]]


class Moves:
    """The moves that run in this process, by kind and bucket."""

    def __init__(self) -> None:
        self._running: dict[tuple[str, bytes], tuple[Runs, asyncio.Task[None]]] = {}

    def start(self, job: Runs, close: Closing) -> None:
        """Let it run; `close` is called at its end. The caller saw that none of its kind runs in the bucket."""
        key = (job.kind, job.bucket.bucket_id)

        async def run() -> None:
            try:
                await job.run()
            finally:
                await close()

        self._running[key] = (job, asyncio.create_task(run()))

    def running(self, kind: str, bucket: Bucket) -> Progress | None:
        """How far a move is that runs here. Raises: what no move should."""
        held = self._running.get((kind, bucket.bucket_id))
        if held is None:
            return None
        job, task = held
        if not task.done():
            return job.progress
        del self._running[kind, bucket.bucket_id]
        if not task.cancelled():
            task.result()
        return None

    async def stop(self, kind: str, bucket: Bucket, *, by_command: bool = True) -> None:
        """Stop a move, and wait for its end; stopped by command it goes on by command alone."""
        held = self._running.pop((kind, bucket.bucket_id), None)
        if held is not None:
            if by_command:
                held[0].halt()
            await _ended(held[1])

    async def close(self) -> None:
        """Stop them all: their gateway ends, and the next one goes on with them."""
        tasks = [task for _, task in self._running.values()]
        self._running.clear()
        for task in tasks:
            await _ended(task)


async def _ended(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
