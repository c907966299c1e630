"""The runner of lifecycle rules, over the reference catalogue: what goes, what stays, and when it looks again."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from gateway.engine import lifecycle as module
from gateway.engine.lifecycle import KIND, LEASE_DURATION, LEASE_NAME, LifecycleReport, LifecycleRunner, Lifecycles
from gateway.engine.notifying import KIND as NOTIFICATION
from gateway.engine.notifying import Announcements
from gateway.s3.lifecycle import Age, Filter, Lifecycle, Rule
from gateway.s3.lifecycle_document import encode_lifecycle
from gateway.s3.notifications import Configuration, Destination, Notifications, notifications_node
from storage.catalogue.commands import DeleteVersion, HistoryQuery, UploadsQuery
from storage.catalogue.conflicts import NoSuchBucket
from storage.catalogue.memory import MemoryCatalogue
from storage.catalogue.records import NULL_VERSION_ID, ObjectLock, ObjectVersion, Versioning
from storage.errors import LeaseLost
from tests.suites.catalogue import BUCKET, OTHER, REALM, START, FakeClock, Maker, populate

DAY = timedelta(days=1)


@dataclass
class World:
    """A catalogue with two buckets, and a runner."""

    clock: FakeClock = field(default_factory=FakeClock)
    make: Maker = field(default_factory=Maker)
    catalogue: Any = None
    lifecycles: Any = None
    runner: Any = None

    async def open(self, age: Age) -> "World":
        self.catalogue = MemoryCatalogue(REALM, self.clock)
        await populate(self.catalogue)
        self.lifecycles = Lifecycles(self.catalogue, age)
        self.runner = LifecycleRunner(
            catalogue=self.catalogue,
            lifecycles=self.lifecycles,
            announcements=Announcements(self.catalogue, "us-east-1", ["hook"]),
            holder="me",
            clock=self.clock,
        )
        return self

    async def rules(self, *rules: Rule) -> None:
        await self.catalogue.put_configuration(BUCKET.bucket_id, KIND, encode_lifecycle(Lifecycle(rules)))

    async def put(
        self, key: bytes, *, size: int = 100, tags: tuple[tuple[str, str], ...] = (), **more: Any
    ) -> ObjectVersion:
        command = self.make.publish(key, **more)
        attributes = {**command.version.attributes, "tags": [list(tag) for tag in tags]}
        version = replace(command.version, size=size, created_at=self.clock(), attributes=attributes)
        published: ObjectVersion = await self.catalogue.publish_version(replace(command, version=version))
        return published

    async def version(self, key: bytes, **more: Any) -> str:
        version_id = self.make.version_id()
        await self.put(key, version_id=version_id, **more)
        return version_id

    async def mark(self, key: bytes) -> str:
        (deleted,) = await self.catalogue.delete_versions(
            BUCKET.bucket_id, [DeleteVersion(key, marker_id=self.make.version_id())]
        )
        assert deleted.marker_version_id is not None
        return str(deleted.marker_version_id)

    async def held(self) -> list[tuple[bytes, str]]:
        page = await self.catalogue.list_history(BUCKET.bucket_id, HistoryQuery(limit=10_000))
        return [(version.object_key, version.version_id) for version in page.versions]

    async def keys(self) -> list[bytes]:
        return [key for key, _ in await self.held()]


def run(body: Callable[[World], Awaitable[None]], age: Age | None = None) -> None:
    async def main() -> None:
        await body(await World().open(age or Age()))

    asyncio.run(main())


def rule(rule_id: str = "r", prefix: str = "", **parts: Any) -> Rule:
    return replace(Rule(rule_id, True, Filter(prefix)), **parts)


def counts(report: LifecycleReport) -> dict[str, int]:
    fields = {name: getattr(report, name) for name in LifecycleReport.__slots__}
    return {name.removesuffix("_count"): count for name, count in fields.items() if count}


def midnight(after: datetime, days: int) -> datetime:
    return datetime(after.year, after.month, after.day, tzinfo=after.tzinfo) + (days + 1) * DAY


def test_objects_expire_at_midnight_and_not_before() -> None:
    async def body(world: World) -> None:
        await world.rules(rule(prefix="tmp/", expiration_days=2))
        for key in (b"tmp/a", b"tmp/b", b"tmp", b"keep/tmp/"):
            await world.put(key)
        world.clock.now = midnight(START, 2) - timedelta(microseconds=1)
        assert counts(await world.runner.run()) == {"bucket": 1, "scanned": 2}
        world.clock.now = midnight(START, 2)
        assert counts(await world.runner.run()) == {"bucket": 1, "scanned": 2, "expired": 2}
        assert await world.keys() == [b"keep/tmp/", b"tmp"]
        await world.catalogue.verify()

    run(body)


def test_tags_and_sizes_are_judged() -> None:
    async def body(world: World) -> None:
        await world.rules(rule(filter=Filter("", (("a", "b"),), 10, 200), expiration_days=1))
        await world.put(b"hit", tags=(("a", "b"), ("c", "d")))
        await world.put(b"other tag", tags=(("a", "c"),))
        await world.put(b"small", size=10, tags=(("a", "b"),))
        await world.put(b"large", size=200, tags=(("a", "b"),))
        world.clock.now = midnight(START, 1)
        assert counts(await world.runner.run()) == {"bucket": 1, "scanned": 4, "expired": 1}
        assert await world.keys() == [b"large", b"other tag", b"small"]

    run(body)


def test_in_a_versioned_bucket_a_marker_covers_what_expires() -> None:
    async def body(world: World) -> None:
        await world.catalogue.set_versioning(BUCKET.bucket_id, Versioning.ENABLED)
        await world.rules(rule(expiration_days=1))
        version_id = await world.version(b"k")
        world.clock.now = midnight(START, 1)
        assert counts(await world.runner.run()) == {"bucket": 1, "scanned": 1, "expired": 1}
        (_, marker_id), (_, below) = await world.held()
        assert below == version_id
        assert len(marker_id) == 32
        world.clock.advance(DAY)
        assert counts(await world.runner.run()) == {"bucket": 1, "scanned": 2}, "it expires once"

    run(body)


def test_in_a_suspended_bucket_the_null_version_gives_way_to_a_null_marker() -> None:
    async def body(world: World) -> None:
        await world.put(b"k")
        await world.catalogue.set_versioning(BUCKET.bucket_id, Versioning.ENABLED)
        await world.catalogue.set_versioning(BUCKET.bucket_id, Versioning.SUSPENDED)
        await world.rules(rule(expiration_days=1))
        world.clock.now = midnight(START, 1)
        assert counts(await world.runner.run()) == {"bucket": 1, "scanned": 1, "expired": 1}
        assert await world.held() == [(b"k", NULL_VERSION_ID)]
        assert (await world.catalogue.get_version(BUCKET.bucket_id, b"k")).version.is_delete_marker

    run(body)


def test_noncurrent_versions_go_by_the_time_of_their_successor_and_some_stay() -> None:
    async def body(world: World) -> None:
        await world.catalogue.set_versioning(BUCKET.bucket_id, Versioning.ENABLED)
        await world.rules(rule(noncurrent_days=3, newer_noncurrent_versions=1))
        ids = []
        for _ in range(5):
            ids.append(await world.version(b"k"))
            world.clock.advance(DAY)
        # ids[0] became noncurrent on day 1, ids[1] on day 2, ids[2] on day 3; ids[3] is the newest noncurrent one.
        world.clock.now = midnight(START + DAY, 3) - timedelta(seconds=1)
        assert counts(await world.runner.run()) == {"bucket": 1, "scanned": 5}
        world.clock.now = midnight(START + DAY, 3)
        assert counts(await world.runner.run()) == {"bucket": 1, "scanned": 5, "removed": 1}
        assert [version_id for _, version_id in await world.held()] == ids[:0:-1]
        world.clock.now = midnight(START + 100 * DAY, 0)
        assert counts(await world.runner.run()) == {"bucket": 1, "scanned": 4, "removed": 2}
        assert [version_id for _, version_id in await world.held()] == [ids[4], ids[3]]

    run(body)


def test_a_marker_goes_once_it_stands_alone() -> None:
    async def body(world: World) -> None:
        await world.catalogue.set_versioning(BUCKET.bucket_id, Versioning.ENABLED)
        await world.rules(rule(expired_object_delete_marker=True), rule("n", noncurrent_days=1))
        await world.version(b"a")
        await world.mark(b"a")
        await world.mark(b"b")
        kept = await world.version(b"c")
        assert counts(await world.runner.run()) == {"bucket": 1, "scanned": 4, "marker": 1}
        assert await world.keys() == [b"a", b"a", b"c"]
        world.clock.now = midnight(START, 1)
        assert counts(await world.runner.run()) == {"bucket": 1, "scanned": 3, "removed": 1}
        world.clock.advance(DAY)
        assert counts(await world.runner.run()) == {"bucket": 1, "scanned": 2, "marker": 1}
        assert await world.held() == [(b"c", kept)]

    run(body)


def test_noncurrent_markers_go_as_noncurrent_versions_do() -> None:
    async def body(world: World) -> None:
        await world.catalogue.set_versioning(BUCKET.bucket_id, Versioning.ENABLED)
        await world.rules(rule(noncurrent_days=1))
        await world.mark(b"k")
        await world.mark(b"k")
        current = await world.version(b"k")
        world.clock.now = midnight(START, 1)
        assert counts(await world.runner.run()) == {"bucket": 1, "scanned": 3, "removed": 2}
        assert await world.held() == [(b"k", current)]

    run(body)


def test_stale_uploads_are_aborted_and_their_parts_condemned() -> None:
    async def body(world: World) -> None:
        await world.rules(rule(prefix="big/", abort_days=1))
        stale, fresh, other = (
            world.make.upload(b"big/a"),
            world.make.upload(b"big/b", created_at=START + DAY),
            world.make.upload(b"small"),
        )
        for upload in (stale, fresh, other):
            await world.catalogue.create_upload(upload)
        part = world.make.part(stale, 1)
        await world.catalogue.put_part(part)
        world.clock.now = midnight(START, 1)
        assert counts(await world.runner.run()) == {"bucket": 1, "scanned": 2, "aborted": 1}
        page = await world.catalogue.list_uploads(BUCKET.bucket_id, UploadsQuery())
        assert [upload.object_key for upload in page.uploads] == [b"big/b", b"small"]
        world.clock.advance()
        assert await world.catalogue.list_condemned(world.clock(), 10) == (part.blob.blob_id,)

    run(body)


def test_locked_versions_stay() -> None:
    async def body(world: World) -> None:
        await world.catalogue.set_versioning(BUCKET.bucket_id, Versioning.ENABLED)
        await world.catalogue.enable_object_lock(BUCKET.bucket_id)
        held = await world.version(b"k", lock=ObjectLock(legal_hold=True))
        await world.version(b"k")
        await world.rules(rule(noncurrent_days=1, expiration_days=1))
        world.clock.now = midnight(START, 1)
        assert counts(await world.runner.run()) == {"bucket": 1, "scanned": 2, "expired": 1, "locked": 1}
        assert held in [version_id for _, version_id in await world.held()]

    run(body)


def test_what_changes_between_look_and_command_stays() -> None:
    async def body(world: World) -> None:
        await world.rules(rule(expiration_days=1))
        await world.put(b"k")
        world.clock.now = midnight(START, 1)
        listed = world.catalogue.list_history

        async def overtaken(*arguments: Any) -> Any:
            page = await listed(*arguments)
            await world.put(b"k")
            return page

        world.catalogue.list_history = overtaken
        assert counts(await world.runner.run()) == {"bucket": 1, "scanned": 1, "changed": 1}
        world.catalogue.list_history = listed
        assert await world.keys() == [b"k"]

    run(body)


@pytest.mark.parametrize("batch", [1, 2, 3, 1000])
def test_every_version_is_seen_once_whatever_the_pages(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_SIZE", batch)

    async def body(world: World) -> None:
        await world.catalogue.set_versioning(BUCKET.bucket_id, Versioning.ENABLED)
        await world.rules(rule(noncurrent_days=1, newer_noncurrent_versions=2), rule("e", expiration_days=1))
        for key in (b"a", b"b", b"c"):
            for _ in range(6):
                await world.version(key)
        for number in range(5):
            await world.catalogue.create_upload(world.make.upload(b"up%d" % number))
        await world.rules(
            rule(noncurrent_days=1, newer_noncurrent_versions=2), rule("e", expiration_days=1), rule("u", abort_days=1)
        )
        world.clock.now = midnight(START, 1)
        expected = {"bucket": 1, "scanned": 23, "expired": 3, "removed": 9, "aborted": 5}
        assert counts(await world.runner.run()) == expected
        assert await world.keys() == [b"a"] * 4 + [b"b"] * 4 + [b"c"] * 4
        await world.catalogue.verify()

    run(body)


def test_a_key_whose_place_went_is_not_counted_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_SIZE", 2)

    async def body(world: World) -> None:
        await world.catalogue.set_versioning(BUCKET.bucket_id, Versioning.ENABLED)
        await world.rules(rule(noncurrent_days=1, newer_noncurrent_versions=3))
        ids = [await world.version(b"k") for _ in range(5)]
        world.clock.now = midnight(START, 1)
        listed = world.catalogue.list_history

        async def elsewhere(bucket_id: bytes, query: HistoryQuery) -> Any:
            page = await listed(bucket_id, query)
            if query.key_marker == b"":
                await world.catalogue.delete_versions(bucket_id, [DeleteVersion(b"k", ids[3])])
            return page

        world.catalogue.list_history = elsewhere
        await world.runner.run()
        world.catalogue.list_history = listed
        assert [version_id for _, version_id in await world.held()] == [ids[4], ids[2], ids[1]]

    run(body)


def test_a_bucket_is_walked_once_a_day_and_when_its_rules_change() -> None:
    async def body(world: World) -> None:
        await world.rules(rule(expiration_days=1))
        assert counts(await world.runner.run()) == {"bucket": 1}
        assert counts(await world.runner.run()) == {}
        await world.rules(rule(expiration_days=2))
        assert counts(await world.runner.run()) == {"bucket": 1}
        world.clock.advance(DAY)
        assert counts(await world.runner.run()) == {"bucket": 1}
        await world.catalogue.put_configuration(BUCKET.bucket_id, KIND, None)
        world.clock.advance(DAY)
        assert counts(await world.runner.run()) == {}
        await world.catalogue.delete_bucket(BUCKET.bucket_id)
        assert counts(await world.runner.run()) == {}

    run(body)


def test_shorter_days() -> None:
    async def body(world: World) -> None:
        await world.rules(rule(expiration_days=1))
        await world.put(b"k")
        world.clock.advance(timedelta(seconds=20))
        assert counts(await world.runner.run()) == {"bucket": 1, "scanned": 1, "expired": 1}

    run(body, Age(10))


def test_one_runs_at_a_time_and_a_lost_lease_ends_it() -> None:
    async def body(world: World) -> None:
        await world.rules(rule(expiration_days=1))
        await world.put(b"k")
        world.clock.now = midnight(START, 1)
        await world.catalogue.acquire_lease(LEASE_NAME, "another", LEASE_DURATION)
        with pytest.raises(LeaseLost):
            await world.runner.run()
        assert await world.keys() == [b"k"]
        world.clock.advance(LEASE_DURATION)
        assert counts(await world.runner.run())["expired"] == 1

    run(body)


def test_a_bucket_that_goes_meanwhile_is_passed() -> None:
    async def body(world: World) -> None:
        await world.rules(rule(expiration_days=1))
        document = encode_lifecycle(Lifecycle((rule(expiration_days=1),)))
        await world.catalogue.put_configuration(OTHER.bucket_id, KIND, document)

        async def gone(*_: Any) -> Any:
            raise NoSuchBucket("gone")

        listed, world.catalogue.list_history = world.catalogue.list_history, gone
        assert counts(await world.runner.run()) == {"bucket": 2}
        world.catalogue.list_history = listed
        assert counts(await world.runner.run()) == {"bucket": 2}, "neither walk came to its end"

    run(body)


def test_rules_that_are_not_understood_delete_nothing() -> None:
    async def body(world: World) -> None:
        await world.catalogue.put_configuration(BUCKET.bucket_id, KIND, b"<Rules/>")
        await world.put(b"k")
        world.clock.advance(1000 * DAY)
        assert counts(await world.runner.run()) == {"bucket": 1}
        assert await world.keys() == [b"k"]

    run(body)


def test_rules_are_parsed_once_and_the_memory_of_them_is_limited() -> None:
    async def body(world: World) -> None:
        lifecycles = Lifecycles(world.catalogue, remembered_bytes=1200)
        reads = 0
        read = world.catalogue.get_configuration

        async def counted(*arguments: Any) -> Any:
            nonlocal reads
            reads += 1
            return await read(*arguments)

        world.catalogue.get_configuration = counted
        assert await lifecycles.of(await world.catalogue.get_bucket(BUCKET.name)) is None
        assert reads == 0
        for days in (1, 2, 3):
            await world.rules(rule(expiration_days=days))
            bucket = await world.catalogue.get_bucket(BUCKET.name)
            for _ in range(3):
                found = await lifecycles.of(bucket)
                assert found is not None
                assert found.rules[0].expiration_days == days
        assert reads == 3
        assert len(lifecycles._kept) == 2
        await world.rules(rule(expiration_days=4, rule_id="a" * 1300))
        bucket = await world.catalogue.get_bucket(BUCKET.name)
        for _ in range(3):
            assert await lifecycles.of(bucket) is not None
        assert reads == 4, "what is larger than all the room there is has it to itself"
        assert len(lifecycles._kept) == 1

    run(body)


def test_what_expires_is_announced() -> None:
    async def body(world: World) -> None:
        line = Configuration(Destination.QUEUE, "c", "hook", ("LifecycleExpiration:*", "ObjectRemoved:*"))
        document = notifications_node(Notifications((line,))).document()
        await world.catalogue.put_configuration(BUCKET.bucket_id, NOTIFICATION, document)
        await world.rules(rule(expiration_days=1, noncurrent_days=1))
        await world.put(b"gone")
        world.clock.now = midnight(START, 1)
        before = (await world.catalogue.read_changes(0, 1000))[-1].sequence
        await world.runner.run()
        await world.catalogue.set_versioning(BUCKET.bucket_id, Versioning.ENABLED)
        old = await world.version(b"covered")
        world.clock.now = midnight(world.clock(), 1)
        await world.runner.run()
        world.clock.now = midnight(world.clock(), 1)
        await world.runner.run()
        changes = await world.catalogue.read_changes(before, 1000)
        events = [notice.event for change in changes for notice in change.notices]
        told = [(event["eventName"], event["s3"]["object"].get("versionId")) for event in events]
        # The marker stands alone once the version under it has gone: the same rule takes it the day after.
        assert told[0] == ("LifecycleExpiration:Delete", None)
        assert told[1][0] == "LifecycleExpiration:DeleteMarkerCreated"
        assert told[2] == ("LifecycleExpiration:Delete", old)

    run(body)


def test_progress_is_told() -> None:
    async def body(world: World) -> None:
        await world.rules(rule(expiration_days=1))
        await world.put(b"k")
        told: list[int] = []
        await world.runner.run(lambda report: told.append(report.scanned_count))
        assert told[-1] == 1

    run(body)


def test_requests_go_on_while_a_batch_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(world: World) -> None:
        await world.rules(rule(expiration_days=1))
        for number in range(100):
            await world.put(b"%d" % number)
        in_a_row, longest = 0, 0
        expiry = Lifecycle.expiry

        def pause() -> None:
            nonlocal in_a_row
            in_a_row = 0

        def counted(*arguments: Any) -> Any:
            nonlocal in_a_row, longest
            in_a_row += 1
            longest = max(longest, in_a_row)
            asyncio.get_running_loop().call_soon(pause)
            return expiry(*arguments)

        monkeypatch.setattr(Lifecycle, "expiry", counted)
        assert counts(await world.runner.run()) == {"bucket": 1, "scanned": 100}
        assert 1 <= longest <= 20

    run(body)
