"""A rewrap as a job: beside writes and other jobs, with its lease, at its pace, over a KMS that is silent."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from gateway.engine import rewrap
from gateway.engine.attributes import ObjectAttributes
from gateway.engine.custody import WrappingMode
from gateway.engine.objects import NewObject
from gateway.s3.types import PayloadExpectation
from keys.errors import KmsUnavailable
from keys.kms.memory import DEFAULT_KEY_ID, Fault
from storage import seams
from storage.catalogue.commands import Conditions, Lease, WrapsMark, WrapsPage
from storage.errors import LeaseLost, StorageUnavailable
from tests.gateway.engine.keys_rig import KeysRig, check_all, run_keys
from tests.gateway.engine.rig import PieceBody, Rig

BOTH = pytest.mark.parametrize("wrapping", list(WrappingMode))
_HOUR = timedelta(hours=1)


async def begin_slowly(rig: Rig, object_key: bytes) -> tuple[asyncio.Task[Any], asyncio.Event]:
    """A write that has its key, and ends once the event is set."""
    gate, reached = asyncio.Event(), asyncio.Event()

    class Slow(PieceBody):
        async def __aiter__(self) -> Any:
            yield b"be"
            reached.set()
            await gate.wait()
            yield b"hind"

    new = NewObject(object_key, ObjectAttributes(), Conditions())
    writing = asyncio.create_task(rig.objects.put(rig.bucket, new, PayloadExpectation(), Slow()))
    await reached.wait()
    return writing, gate


def test_a_write_under_way_counts_until_it_is_published() -> None:
    async def body(keys: KeysRig) -> None:
        rig = keys.rig
        writing, gate = await begin_slowly(rig, b"slow")
        rig.kms.rotate_key()
        report = await keys.rewrap()
        assert (report.on_their_way_count, report.left_count) == (1, 1)
        assert await keys.left_under(DEFAULT_KEY_ID, "1") == 1
        rewrapping = asyncio.create_task(keys.rewrap(patience_s=30.0))
        await asyncio.sleep(0.1)
        assert not rewrapping.done(), "it waits for the write"
        gate.set()
        await writing
        report = await rewrapping
        assert (report.left_count, report.moved_count) == (0, 1)
        assert await keys.left_under(DEFAULT_KEY_ID, "1") == 0
        await check_all(keys, {b"slow": b"behind"})

    run_keys(body)


def test_a_write_that_arrives_where_the_walk_has_been_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(keys: KeysRig) -> None:
        rig = keys.rig
        await rig.put(b"m", b"1")
        await rig.put(b"n", b"1")
        writing, gate = await begin_slowly(rig, b"a")
        rig.kms.rotate_key()
        assert (await keys.rewrap()).left_count == 1
        monkeypatch.setattr("gateway.engine.rewrap.PAGE_VERSIONS", 1)
        list_wraps = rig.catalogue.list_wraps

        async def arriving(mark: WrapsMark, limit: int) -> WrapsPage:
            page = await list_wraps(mark, limit)
            if page.next_mark is not None and page.next_mark.object_key == b"m" and not writing.done():
                gate.set()
                await writing
            return page

        monkeypatch.setattr(rig.catalogue, "list_wraps", arriving)
        assert await keys.left_under(DEFAULT_KEY_ID, "1") == 1, "a scan that began before it arrived"
        assert writing.done()
        assert await keys.left_under(DEFAULT_KEY_ID, "1") == 1
        assert (await keys.rewrap()).left_count == 0
        assert await keys.left_under(DEFAULT_KEY_ID, "1") == 0

    run_keys(body)


def test_bucket_keys_made_before_the_rotation_wrap_nothing_more() -> None:
    async def body(keys: KeysRig) -> None:
        rig = keys.rig
        await rig.put(b"before", b"1")
        rig.kms.rotate_key()
        await keys.rewrap()
        await rig.put(b"after", b"2")
        assert await keys.left_under(DEFAULT_KEY_ID, "1") == 0

    run_keys(body, wrapping=WrappingMode.BUCKET_KEY)


@BOTH
def test_a_key_being_made_is_waited_for(wrapping: WrappingMode) -> None:
    async def body(keys: KeysRig) -> None:
        rig = keys.rig
        real, gate, asked = rig.kms._wrap_secret, asyncio.Event(), asyncio.Event()

        async def slow(*arguments: Any) -> Any:
            done = await real(*arguments)
            asked.set()
            await gate.wait()
            return done

        rig.kms._wrap_secret = slow  # type: ignore[method-assign,assignment]  # a KMS that answers late
        writing = asyncio.create_task(rig.put(b"late", b"x"))
        await asked.wait()
        rig.kms.rotate_key()
        renewing = asyncio.create_task(rig.custody.renew())
        await asyncio.sleep(0.05)
        assert not renewing.done()
        gate.set()
        await renewing
        await writing
        # A content key is published as it is; a bucket key that came too late is given up for a fresh one.
        assert await keys.left_under(DEFAULT_KEY_ID, "1") == (wrapping is WrappingMode.DIRECT) + 2

    run_keys(body, wrapping=wrapping)


def test_a_silent_kms_ends_the_job_and_the_next_one_goes_on() -> None:
    async def body(keys: KeysRig) -> None:
        rig = keys.rig
        for number in range(10):
            await rig.put(b"%d" % number, b"x")
        rig.kms.rotate_key()
        real, count = rig.kms._reach, 0

        async def failing(*arguments: Any) -> str:
            nonlocal count
            count += arguments[0] == "wrap"
            if count > 6:
                rig.kms.fault = Fault.UNAVAILABLE
            return await real(*arguments)

        rig.kms._reach = failing  # type: ignore[method-assign,assignment]  # it goes silent in the middle
        with pytest.raises(KmsUnavailable):
            await keys.rewrap()
        rig.kms._reach = real  # type: ignore[method-assign]  # it is back
        rig.kms.fault = None
        left = await keys.left_under(DEFAULT_KEY_ID, "1")
        assert 0 < left < 10
        report = await keys.rewrap()
        assert (report.left_count, report.moved_count) == (0, left)
        await check_all(keys, {b"%d" % number: b"x" for number in range(10)})

    run_keys(body, batch=4)


def test_others_are_told_and_waited_for_where_something_moves() -> None:
    """Other gateways make keys too: what they still make under what was before is left, until they have noticed."""

    async def body(keys: KeysRig) -> None:
        rig, told, behind = keys.rig, [0], [0]

        async def renew() -> None:
            told[0] += 1
            await rig.custody.renew()

        keys.rewrapper._renew, keys.rewrapper._behind = renew, lambda: behind[0]
        await rig.put(b"k", b"x")
        assert (await keys.rewrap()).left_count == 0
        assert told == [0], "nothing was to be moved, so nothing has changed"
        rig.kms.rotate_key()
        behind[0] = 2
        report = await keys.rewrap()
        assert (report.behind_count, report.left_count, report.moved_count) == (2, 2, 1 + 2)
        assert told == [2], "before the first move, and once the realm has moved"
        assert await keys.left_under(DEFAULT_KEY_ID, "1") == 2
        behind[0] = 0
        assert (await keys.rewrap()).left_count == 0
        assert told == [2]

    run_keys(body)


def test_one_job_at_a_time() -> None:
    async def body(keys: KeysRig) -> None:
        rig = keys.rig
        await rig.catalogue.acquire_lease("keys", "another", _HOUR)
        rig.kms.rotate_key()
        with pytest.raises(LeaseLost):
            await keys.rewrap()

    run_keys(body)


def lease_of(keys: KeysRig) -> Lease:
    return keys.rig.catalogue._leases[rewrap.LEASE_NAME]


def test_a_job_keeps_its_lease_however_long_a_step_takes_and_gives_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewrap, "LEASE_DURATION", timedelta(seconds=0.04))
    renewals = 0

    async def body(keys: KeysRig) -> None:
        real, renewed = keys.rig.catalogue.acquire_lease, asyncio.Event()

        async def failing(*asked: Any) -> Lease:
            nonlocal renewals
            renewals += 1
            if renewals == 1:
                raise StorageUnavailable("the database restarts")
            lease = await real(*asked)
            renewed.set()
            return lease

        async with keys.rewrapper.leased():
            first = lease_of(keys)
            monkeypatch.setattr(keys.rig.catalogue, "acquire_lease", failing)
            await renewed.wait()
            assert lease_of(keys) == replace(first, expires_at=lease_of(keys).expires_at)
            assert lease_of(keys).expires_at > first.expires_at
            async with keys.rewrapper.leased():  # of a job within it
                pass
            assert lease_of(keys).holder == first.holder
        assert renewals > 1
        assert lease_of(keys).holder == ""
        await real(rewrap.LEASE_NAME, "another", _HOUR)

    run_keys(body)


def test_who_stood_still_while_another_had_the_lease_goes_on_with_nothing() -> None:
    async def body(keys: KeysRig) -> None:
        rig = keys.rig
        async with keys.rewrapper.leased():
            rig.clock.now += rewrap.LEASE_DURATION
            other = await rig.catalogue.acquire_lease(rewrap.LEASE_NAME, "another", _HOUR)
            await rig.catalogue.release_lease(other)
            with pytest.raises(LeaseLost, match="run it again"):
                await keys.rewrapper.lease()
        await rig.catalogue.acquire_lease(rewrap.LEASE_NAME, "another", _HOUR)  # it was given back

    run_keys(body)


def test_the_file_of_the_root_is_not_written_by_who_lost_the_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(keys: KeysRig) -> None:
        rig, saved = keys.rig, keys.realm.saved
        rig.kms.rotate_key()

        def stand_still(point: str) -> None:
            if point == "rewrap.rows_moved":
                rig.clock.now += rewrap.LEASE_DURATION
                coroutine = rig.catalogue.acquire_lease(rewrap.LEASE_NAME, "another", _HOUR)
                with pytest.raises(StopIteration):  # the catalogue of a rig answers without a wait
                    coroutine.send(None)

        monkeypatch.setattr(seams, "hook", stand_still)
        with pytest.raises(LeaseLost):
            await keys.rewrap()
        assert keys.realm.saved == saved

    run_keys(body)


def test_a_throttle_holds() -> None:
    async def body(keys: KeysRig) -> None:
        rig = keys.rig
        for number in range(30):
            await rig.put(b"%d" % number, b"x")
        rig.kms.rotate_key()
        started = asyncio.get_running_loop().time()
        seen: list[int] = []
        report = await keys.rewrap(rate_per_s=20.0, progress=lambda so_far: seen.append(so_far.moved_count))
        took = asyncio.get_running_loop().time() - started
        assert report.moved_count == 30 + 2
        assert took >= 0.9, "20 at once, the other 10 a second later"
        assert seen[0] == 20 + 2

    run_keys(body)
