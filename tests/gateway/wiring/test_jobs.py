"""Background jobs go on."""

import asyncio

from gateway.wiring.jobs import Job, running


def test_a_job_that_fails_runs_again() -> None:
    async def look() -> None:
        done = asyncio.Event()
        runs: list[int] = []

        async def job() -> None:
            runs.append(1)
            if len(runs) == 3:
                done.set()
            raise RuntimeError("again")

        before = asyncio.all_tasks()
        async with asyncio.timeout(10), running([Job(0, job)]):
            await done.wait()
        assert asyncio.all_tasks() == before

    asyncio.run(look())
