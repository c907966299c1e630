"""The jobs that run behind the requests: each at its own pace, for as long as the application stands."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """What runs, and how long it rests before each run."""

    interval_s: float
    run: Callable[[], Awaitable[None]]


@asynccontextmanager
async def running(jobs: Iterable[Job]) -> AsyncIterator[None]:
    """Run the jobs until the block is left; then end them, and wait for their ends."""
    tasks = [asyncio.create_task(repeat(job)) for job in jobs]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def repeat(job: Job) -> None:
    """Run one job for ever."""
    while True:
        await asyncio.sleep(job.interval_s)
        try:
            await job.run()
        except Exception:  # noqa: BLE001 - as the next line says
            # A job that fails today runs again tomorrow; what it met is in the log, without values.
            _log.exception("a background job failed")
