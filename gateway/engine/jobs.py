"""Long jobs that somebody started and asks after: one at a time, each with its progress, and stopped between two steps.

What a job is to do and how far it came is in the catalogue, never here: one that was cut off is simply started again.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from storage.errors import CatalogueConflict

_log = logging.getLogger(__name__)

Report = Mapping[str, Any]
"""JSON values: counts by name, mostly."""
Tell = Callable[[Report], None]
Work = Callable[[Tell], Awaitable[Report]]


class JobState(StrEnum):
    """How a job stands."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"


class JobRuns(CatalogueConflict):
    """Another job runs."""


@dataclass(slots=True)
class StartedJob:
    """A job, from its start on."""

    job_id: str
    kind: str
    state: JobState = JobState.RUNNING
    report: Report = field(default_factory=dict)
    """What it did so far, and in the end."""
    error: Exception | None = None


class JobRunner:
    """Runs one job at a time and remembers the last one. Belongs to one event loop."""

    def __init__(self) -> None:
        self._last: StartedJob | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self, kind: str, work: Work) -> StartedJob:
        """Begin a job. Raises: JobRuns."""
        if self._task is not None and not self._task.done():
            raise JobRuns(f"a job runs already ({self._last.kind if self._last else ''}): wait for its end, or stop it")
        job = StartedJob(secrets.token_hex(8), kind)
        self._last = job
        self._task = asyncio.create_task(self._run(job, work))
        return job

    def find(self, job_id: str) -> StartedJob | None:
        """The job of that id, if it is the last one."""
        return self._last if self._last is not None and self._last.job_id == job_id else None

    async def wait(self, job: StartedJob) -> None:
        """Wait for the end of the job that was started last, however it ends; who leaves does not end it."""
        if self._task is not None and self._last is job:
            await asyncio.wait([self._task])

    async def stop(self) -> None:
        """End the job that runs, between two of its steps, and wait for its end."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, job: StartedJob, work: Work) -> None:
        def tell(report: Report) -> None:
            job.report = report

        _log.info("job started: %s, %s", job.kind, job.job_id)
        try:
            job.report = await work(tell)
        except asyncio.CancelledError:
            job.state = JobState.STOPPED
        except Exception as error:  # noqa: BLE001 - as the next line says
            # Whatever it raised is for who asks after it.
            job.state, job.error = JobState.FAILED, error
        else:
            job.state = JobState.DONE
        _log.info("job ended: %s, %s: %s", job.kind, job.job_id, job.state.value)
