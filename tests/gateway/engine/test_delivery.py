"""From the outbox to a webhook: order, retries, what is given up, and what a crash leaves."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from gateway.engine import delivery as module
from gateway.engine.delivery import FIRST_REST, LONGEST_REST, Delivery
from gateway.engine.webhooks import DeliveryFailed
from storage.catalogue.commands import DeleteVersion
from storage.catalogue.memory import MemoryCatalogue
from storage.catalogue.records import Notice
from tests.gateway.engine.hook import Hook
from tests.suites.catalogue import BUCKET, REALM, FakeClock, Maker, populate

PATIENCE = timedelta(hours=1)


@dataclass
class World:
    clock: FakeClock = field(default_factory=FakeClock)
    make: Maker = field(default_factory=Maker)
    hook: Hook = field(default_factory=lambda: Hook("hook"))
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    catalogue: Any = None

    def delivery(self) -> Delivery:
        return Delivery(
            holder="gateway",
            catalogue=self.catalogue,
            webhook=self.hook,  # type: ignore[arg-type]  # stands in for it
            clock=self.clock,
            patience=PATIENCE,
            count=lambda target, outcome: self.counts.update([(target, outcome)]),
        )

    async def put(self, key: bytes, *targets: str) -> None:
        event = {"eventName": "ObjectCreated:Put", "s3": {"object": {"key": key.decode()}}}
        notices = tuple(Notice(target, event) for target in targets)
        await self.catalogue.publish_version(replace(self.make.publish(key), notices=notices))

    @property
    def told(self) -> list[str]:
        return [key for _, key in self.hook.events]


def run(body: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        world = World()
        world.catalogue = MemoryCatalogue(REALM, world.clock)
        await populate(world.catalogue)
        await body(world)

    asyncio.run(main())


def test_a_target_is_told_in_the_order_of_the_changes_and_of_its_own_only() -> None:
    async def body(world: World) -> None:
        delivery = world.delivery()
        await delivery.run()
        await world.put(b"a", "hook", "other")
        await world.put(b"b", "other")
        await world.put(b"c")
        await world.put(b"a", "hook")
        await delivery.run()
        assert world.told == ["a", "a"]
        first, second = (message["Records"][0]["s3"]["object"]["sequencer"] for message in world.hook.sent)
        assert len(first) == 16
        assert first < second
        await delivery.run()
        assert world.told == ["a", "a"]
        assert world.counts == {("hook", "delivered"): 2}

    run(body)


def test_a_new_process_goes_on_where_the_old_one_was() -> None:
    async def body(world: World) -> None:
        await world.put(b"a", "hook")
        await world.delivery().run()
        await world.put(b"b", "hook")
        await world.delivery().run()
        assert world.told == ["a", "b"]

    run(body)


def test_a_crash_before_the_place_is_noted_tells_again() -> None:
    async def body(world: World) -> None:
        await world.put(b"a", "hook")
        noted = world.catalogue.set_cursor

        async def crash(*_: Any) -> None:
            raise RuntimeError("killed")

        world.catalogue.set_cursor = crash
        with pytest.raises(RuntimeError):
            await world.delivery().run()
        world.catalogue.set_cursor = noted
        await world.delivery().run()
        assert world.told == ["a", "a"], "at least once"

    run(body)


def test_what_fails_is_tried_again_ever_less_often_and_nothing_overtakes_it() -> None:
    async def body(world: World) -> None:
        delivery = world.delivery()
        for key in (b"a", b"b"):
            await world.put(key, "hook")
        world.hook.failure = DeliveryFailed("ConnectionRefusedError")
        rest = FIRST_REST
        for _ in range(12):
            failed = world.counts["hook", "failed"]
            await delivery.run()
            await delivery.run()
            assert world.counts["hook", "failed"] == failed + 1
            world.clock.advance(rest - timedelta(microseconds=1))
            await delivery.run()
            assert world.counts["hook", "failed"] == failed + 1
            world.clock.advance(timedelta(microseconds=1))
            rest = min(2 * rest, LONGEST_REST)
        world.hook.failure = None
        await delivery.run()
        assert world.told == ["a", "b"]

    run(body)


def test_what_was_delivered_before_a_failure_is_not_told_again() -> None:
    async def body(world: World) -> None:
        for key in (b"a", b"b"):
            await world.put(key, "hook")
        sent = world.hook.send

        async def once(message: Any) -> None:
            if world.hook.sent:
                raise DeliveryFailed("status 500")
            await sent(message)

        world.hook.send = once  # type: ignore[method-assign]
        await world.delivery().run()
        world.hook.send = sent  # type: ignore[method-assign]
        await world.delivery().run()
        assert world.told == ["a", "b"]

    run(body)


def test_what_waited_too_long_is_given_up() -> None:
    async def body(world: World) -> None:
        await world.put(b"old", "hook")
        world.clock.advance(PATIENCE)
        await world.put(b"young", "hook")
        world.clock.advance(timedelta(seconds=1))
        await world.delivery().run()
        assert world.told == ["young"]
        assert world.counts == {("hook", "dropped"): 1, ("hook", "delivered"): 1}

    run(body)


def test_what_a_target_refuses_for_good_does_not_hold_up_the_rest() -> None:
    async def body(world: World) -> None:
        await world.put(b"a", "hook")
        world.hook.failure = DeliveryFailed("status 400", is_final=True)
        delivery = world.delivery()
        await delivery.run()
        world.hook.failure = None
        await world.put(b"b", "hook")
        await delivery.run()
        assert world.told == ["b"]
        assert world.counts == {("hook", "rejected"): 1, ("hook", "delivered"): 1}

    run(body)


@pytest.mark.parametrize("batch", [1, 2, 100])
def test_the_batches_do_not_matter(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_SIZE", batch)

    async def body(world: World) -> None:
        for number in range(7):
            await world.put(b"%d" % number, "hook")
            await world.put(b"quiet")
        await world.delivery().run()
        assert world.told == [str(number) for number in range(7)]

    run(body)


def test_the_place_is_noted_now_and_then_where_nothing_concerns_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAVE_EVERY", 10)

    async def body(world: World) -> None:
        delivery = world.delivery()
        await world.put(b"k")
        await delivery.run()
        assert await world.catalogue.get_cursor("notifications:hook") == 0
        for _ in range(10):
            await world.catalogue.delete_versions(BUCKET.bucket_id, [DeleteVersion(b"k")])
            await world.put(b"k")
        await delivery.run()
        assert await world.catalogue.get_cursor("notifications:hook") > 10

    run(body)
