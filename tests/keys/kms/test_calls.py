"""Blocking calls never hold up the loop, wait in a bounded queue, and are not made once nobody waits for them."""

import asyncio
import threading
import time

import pytest

from keys.errors import KmsUnavailable
from keys.kms.calls import BlockingCalls

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_the_loop_goes_on_while_calls_block() -> None:
    calls, gate = BlockingCalls("test", 2), threading.Event()
    blocked = [asyncio.create_task(calls.run(lambda: gate.wait(10))) for _ in range(5)]
    began = time.perf_counter()
    for _ in range(100):
        await asyncio.sleep(0)
    assert time.perf_counter() - began < 1
    gate.set()
    assert await asyncio.gather(*blocked) == [True] * 5
    calls.close()


async def test_what_a_call_raises_comes_out() -> None:
    calls = BlockingCalls("test", 1)

    def fail() -> None:
        raise KmsUnavailable("away")

    with pytest.raises(KmsUnavailable, match="away"):
        await calls.run(fail)
    calls.close()


async def test_a_call_that_was_given_up_in_the_queue_is_never_made() -> None:
    calls, gate = BlockingCalls("test", 1), threading.Event()
    made: list[int] = []
    first = asyncio.create_task(calls.run(lambda: gate.wait(10)))
    waiting = asyncio.create_task(calls.run(lambda: made.append(1)))
    await asyncio.sleep(0.05)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    gate.set()
    assert await first
    await calls.run(lambda: None)
    assert not made
    calls.close()


async def test_no_more_wait_than_may() -> None:
    calls, gate = BlockingCalls("test", 1, max_waiting=1), threading.Event()
    tasks = [asyncio.create_task(calls.run(lambda: gate.wait(10))) for _ in range(2)]
    await asyncio.sleep(0.05)
    with pytest.raises(KmsUnavailable, match="too many"):
        await calls.run(lambda: None)
    gate.set()
    await asyncio.gather(*tasks)
    await asyncio.sleep(0.05)
    await calls.run(lambda: None)
    calls.close()


def test_a_thread_may_outlive_its_loop() -> None:
    """A KMS that hangs while the process ends: its answer is nobody's, and nothing complains."""
    calls, gate, ended = BlockingCalls("test", 1), threading.Event(), threading.Event()

    def linger() -> None:
        gate.wait(10)
        ended.set()

    async def leave() -> None:
        task = asyncio.create_task(calls.run(linger))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(leave())
    gate.set()
    assert ended.wait(5)
    calls.close()
