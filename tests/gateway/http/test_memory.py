import asyncio

import pytest

from gateway.engine.turns import Turns
from gateway.http.memory import UNCOUNTED_BYTES, Lease
from gateway.s3.errors import SLOW_DOWN, S3Error
from tests.gateway.http.edge import on_loop

KIB = 1024


async def hold(memory: Turns, kib: int, account: str = "one") -> Lease:
    lease = Lease(memory)
    await lease.hold(account, kib * KIB, 1024 * KIB)
    return lease


async def let_go(lease: Lease) -> None:
    await lease.end(lambda: False)


def test_what_is_held_is_given_back() -> None:
    async def main() -> None:
        memory = Turns(1000 * KIB, 0)
        lease = await hold(memory, 600)
        assert memory.free == 400 * KIB
        await lease.hold("one", 200 * KIB, 1024 * KIB)
        await let_go(lease)
        assert memory.free == 1000 * KIB

    on_loop(main())


def test_small_bodies_count_for_nothing_and_huge_ones_for_what_they_hold() -> None:
    async def main() -> None:
        memory = Turns(1000 * KIB, 0)
        lease = Lease(memory)
        await lease.hold("one", UNCOUNTED_BYTES, 1024 * KIB)
        assert memory.free == 1000 * KIB
        await lease.hold("one", 5 * 1024**3, 300 * KIB)
        assert memory.free == 700 * KIB
        await let_go(lease)

    on_loop(main())


def test_more_than_there_is_at_all_is_all_there_is() -> None:
    async def main() -> None:
        memory = Turns(100 * KIB, 0)
        lease = await hold(memory, 900)
        assert memory.free == 0
        await let_go(lease)
        assert memory.free == 100 * KIB

    on_loop(main())


def test_whoever_finds_none_free_is_told_to_slow_down() -> None:
    async def main() -> None:
        memory = Turns(1000 * KIB, 0.05)
        first = await hold(memory, 800)
        with pytest.raises(S3Error) as caught:
            await hold(memory, 800)
        assert caught.value.row is SLOW_DOWN
        await let_go(first)
        await let_go(await hold(memory, 800))
        assert memory.free == 1000 * KIB

    on_loop(main())


def test_turns_are_taken_in_order_and_nobody_overtakes() -> None:
    async def main() -> None:
        memory = Turns(1000 * KIB, 20)
        held = [await hold(memory, 500), await hold(memory, 500)]
        served: list[int] = []

        async def one(kib: int) -> None:
            lease = await hold(memory, kib)
            served.append(kib)
            await let_go(lease)

        large, small = asyncio.create_task(one(900)), asyncio.create_task(one(100))
        await asyncio.sleep(0.01)
        await let_go(held[0])
        await asyncio.sleep(0.01)
        assert served == [], "a small one must not starve the large one before it"
        await let_go(held[1])
        await asyncio.gather(large, small)
        assert served == [900, 100]

    on_loop(main())


@pytest.mark.parametrize("granted", [False, True])
def test_whoever_leaves_the_queue_takes_nothing_along(granted: bool) -> None:
    async def main() -> None:
        memory = Turns(1000 * KIB, 20)
        first = await hold(memory, 1000)
        leaver = asyncio.create_task(hold(memory, 600))
        stayer = asyncio.create_task(hold(memory, 700))
        await asyncio.sleep(0.01)
        if granted:
            await let_go(first)
        leaver.cancel()
        if not granted:
            await asyncio.sleep(0.01)
            await let_go(first)
        await let_go(await stayer)
        assert memory.free == 1000 * KIB

    on_loop(main())


def test_memory_is_held_until_the_client_has_read() -> None:
    async def main() -> None:
        memory = Turns(1000 * KIB, 0)
        lease = await hold(memory, 600)
        unread = [True, True, False]
        await lease.end(lambda: unread.pop(0))
        assert unread == []
        assert memory.free == 1000 * KIB

    on_loop(main())


def test_no_account_holds_more_than_its_share() -> None:
    async def main() -> None:
        memory = Turns(1000 * KIB, 0.05, account_percent=50)
        held = [await hold(memory, 300), await hold(memory, 200)]
        with pytest.raises(S3Error) as caught:
            await hold(memory, 100)
        assert caught.value.row is SLOW_DOWN
        other = await hold(memory, 500, "another")
        for lease in (*held, other):
            await let_go(lease)
        await let_go(await hold(memory, 900))
        assert memory.free == 1000 * KIB

    on_loop(main())


def test_more_than_a_share_is_a_share() -> None:
    async def main() -> None:
        memory = Turns(1000 * KIB, 0, account_percent=50)
        lease = await hold(memory, 900)
        assert lease.held_bytes == memory.free == 500 * KIB
        await let_go(lease)

    on_loop(main())


def test_who_waits_for_a_share_holds_up_no_other_account() -> None:
    async def main() -> None:
        memory = Turns(1000 * KIB, 20, account_percent=50)
        full = await hold(memory, 500)
        waiting = [asyncio.create_task(hold(memory, 100)) for _ in range(3)]
        await asyncio.sleep(0.01)
        await let_go(await hold(memory, 400, "another"))
        assert not any(one.done() for one in waiting)
        await let_go(full)
        for one in waiting:
            await let_go(await one)
        assert memory.free == 1000 * KIB

    on_loop(main())


def test_accounts_that_wait_take_turns() -> None:
    async def main() -> None:
        memory = Turns(1000 * KIB, 20, account_percent=60)
        held = [await hold(memory, 600, "first"), await hold(memory, 400, "second")]
        served: list[str] = []

        async def one(account: str) -> None:
            lease = await hold(memory, 500, account)
            served.append(account)
            await let_go(lease)

        order = ["first", "first", "first", "second", "third"]
        waiting = [asyncio.create_task(one(account)) for account in order]
        await asyncio.sleep(0.01)
        assert served == []
        for lease in held:
            await let_go(lease)
        await asyncio.gather(*waiting)
        assert served.index("third") <= 2, "who comes with many requests is not served all of them first"

    on_loop(main())
