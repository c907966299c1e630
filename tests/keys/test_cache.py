"""Keys are cached for a bounded time, in bounded number, and asked for once."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from keys.cache import KeyCache
from keys.datakey import DataKey
from keys.errors import KmsUnavailable

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


class Source:
    """Brings a new key each time, once `gate` is open."""

    def __init__(self) -> None:
        self.calls = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None

    async def __call__(self) -> DataKey:
        self.calls += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return DataKey.random()


def _never() -> Callable[[], Awaitable[DataKey]]:
    async def load() -> DataKey:
        raise AssertionError("asked although cached")

    return load


async def test_a_key_is_served_until_its_age_and_not_at_it() -> None:
    clock, source = Clock(), Source()
    cache = KeyCache(clock)
    first = await cache.get(b"a", source)
    clock.now += 299.999
    assert await cache.get(b"a", _never()) is first
    clock.now = 1300.0
    assert await cache.get(b"a", source) is not first
    assert source.calls == 2


async def test_use_does_not_prolong_a_key() -> None:
    clock, source = Clock(), Source()
    cache = KeyCache(clock)
    for _ in range(10):
        await cache.get(b"a", source)
        clock.now += 60
    assert source.calls == 2


async def test_age_counts_from_the_question() -> None:
    clock, source = Clock(), Source()
    cache = KeyCache(clock)
    source.gate.clear()
    waiting = asyncio.create_task(cache.get(b"a", source))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    clock.now += 4
    source.gate.set()
    await waiting
    clock.now = 1300.0
    await cache.get(b"a", source)
    assert source.calls == 2


async def test_a_hundred_waiters_ask_once() -> None:
    source = Source()
    cache = KeyCache(Clock())
    source.gate.clear()
    waiting = [asyncio.create_task(cache.get(b"a", source)) for _ in range(100)]
    await asyncio.sleep(0)
    source.gate.set()
    found = await asyncio.gather(*waiting)
    assert source.calls == 1
    assert all(key is found[0] for key in found)


async def test_a_failure_reaches_all_who_wait_and_is_not_kept() -> None:
    source = Source()
    source.error = KmsUnavailable("gone")
    cache = KeyCache(Clock())
    results = await asyncio.gather(*(cache.get(b"a", source) for _ in range(5)), return_exceptions=True)
    assert [type(result) for result in results] == [KmsUnavailable] * 5
    assert source.calls == 1
    source.error = None
    await cache.get(b"a", source)
    assert source.calls == 2


async def test_a_cancelled_waiter_leaves_the_call_to_the_others() -> None:
    source = Source()
    cache = KeyCache(Clock())
    source.gate.clear()
    first, second = (asyncio.create_task(cache.get(b"a", source)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    source.gate.set()
    await second
    assert first.cancelled()
    assert source.calls == 1


async def test_a_failure_that_nobody_waits_for_is_quiet() -> None:
    source = Source()
    source.error = KmsUnavailable("gone")
    cache = KeyCache(Clock())
    source.gate.clear()
    waiting = asyncio.create_task(cache.get(b"a", source))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.sleep(0)
    source.gate.set()
    for _ in range(4):
        await asyncio.sleep(0)
    assert not cache._pending


async def test_the_loop_may_end_while_a_call_is_under_way() -> None:
    source = Source()
    cache = KeyCache(Clock())
    source.gate.clear()
    waiting = asyncio.create_task(cache.get(b"a", source))
    await asyncio.sleep(0)
    (task,) = cache._pending.values()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not cache._pending


async def test_the_least_recently_used_key_goes_first() -> None:
    source = Source()
    cache = KeyCache(Clock(), max_entries=2)
    first = await cache.get(b"a", source)
    await cache.get(b"b", source)
    await cache.get(b"a", _never())
    await cache.get(b"c", source)
    assert len(cache) == len(cache._expiries) == 2
    assert await cache.get(b"a", _never()) is first
    await cache.get(b"b", source)
    assert source.calls == 4


async def test_book_keeping_stays_bounded() -> None:
    source = Source()
    cache = KeyCache(Clock(), max_entries=3)
    for number in range(100):
        await cache.get(number.to_bytes(1, "big"), source)
        assert len(cache) == len(cache._expiries) <= 3
    assert not cache._pending


async def test_old_keys_are_dropped_without_being_asked_for() -> None:
    clock = Clock()
    cache = KeyCache(clock)
    cache.put(b"a", DataKey.random(), clock.now)
    clock.now += 100
    cache.put(b"b", DataKey.random(), clock.now)
    clock.now = 1300.0
    cache.forget_expired()
    assert list(cache._entries) == [b"b"]
    clock.now = 1400.0
    cache.forget_expired()
    assert len(cache) == 0


async def test_an_old_key_behind_a_young_one_is_not_served() -> None:
    clock, source = Clock(), Source()
    cache = KeyCache(clock)
    cache.put(b"young", DataKey.random(), clock.now)
    cache.put(b"old", DataKey.random(), clock.now - 5)
    clock.now = 1296.0
    await cache.get(b"old", source)
    assert source.calls == 1


@pytest.mark.parametrize("turns", [1, 2])
async def test_forgetting_all_also_outruns_calls_under_way(turns: int) -> None:
    source = Source()
    cache = KeyCache(Clock())
    cache.put(b"b", DataKey.random(), 1000.0)
    source.gate.clear()
    before = asyncio.create_task(cache.get(b"a", source))
    for _ in range(turns):  # the call has not begun; it waits for its answer
        await asyncio.sleep(0)
    cache.forget_all()
    after = asyncio.create_task(cache.get(b"a", source))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    source.gate.set()
    assert await before is not await after
    assert await cache.get(b"a", _never()) is await after
    assert source.calls == 2
    assert len(cache) == 1


@pytest.mark.parametrize(("ttl_s", "max_entries"), [(0.0, 1), (-1.0, 1), (300.1, 1), (1.0, 0), (float("nan"), 1)])
async def test_limits_are_kept(ttl_s: float, max_entries: int) -> None:
    with pytest.raises(ValueError, match="cached"):
        KeyCache(Clock(), ttl_s=ttl_s, max_entries=max_entries)
