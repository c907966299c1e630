"""Every change once and in order, whatever the steps between outbox and journal a crash falls."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.engine.journal import chain as chains
from gateway.engine.journal import runner
from gateway.engine.journal.chain import CatalogueBehind, Head, JournalDamaged, JournalLost
from gateway.engine.journal.runner import CURSOR, Journal
from gateway.engine.journal.synced import synced
from storage import seams
from storage.catalogue.commands import Lease
from storage.catalogue.records import Versioning
from storage.catalogue.replay import Replay, key_of
from storage.catalogue.rowlog import LOGGED
from storage.errors import LeaseLost, StorageUnavailable
from storage.sealed.header import BlobKind
from storage.sealed.journal import NO_SEGMENT, Segment, SegmentHead, decode_pack
from tests.gateway.engine.journal.stage import Stage, on_stage
from tests.suites.catalogue import all_rows

SEAMS = ("journal.pack_durable", "journal.segment_durable", "journal.noted", "journal.trimmed")


class Crash(Exception):
    """The process ends here."""


@pytest.fixture
def crash_at() -> Iterator[Callable[[str], None]]:
    def arm(name: str) -> None:
        def hook(reached: str) -> None:
            if reached == name:
                seams.hook = None
                raise Crash

        seams.hook = hook

    yield arm
    seams.hook = None


async def segments(stage: Stage) -> list[Segment]:
    chain = stage.chain()
    count = await chain.count()
    return [segment async for segment in chain.walk(0, count, Head())]


async def check_whole(stage: Stage) -> list[Segment]:
    """The journal alone tells every row of the catalogue, and its packs hold every inline blob."""
    found = await segments(stage)
    replay = Replay()
    for segment in found:
        for change in segment.changes:
            replay.apply(change["rows"])
    for table in LOGGED:
        rows = await all_rows(stage.catalogue, table, 100)
        assert [replay.check(table, key_of(row), row) for row in rows] == [None] * replay.count(table), table
    packed: dict[bytes, bytes] = {}
    for segment in found:
        for pack in segment.head.packs:
            payload = await stage.records().read(BlobKind.PACK, pack)
            packed |= {blob_id: bytes(sealed) for blob_id, sealed in decode_pack(payload)}
    inline = await stage.catalogue.read_inline(list(packed))
    assert {blob_id: packed[blob_id] for blob_id in inline} == inline
    sequences = [change["sequence"] for segment in found for change in segment.changes]
    assert sequences == sorted(set(sequences))
    return found


def test_changes_come_to_the_journal_and_leave_the_outbox(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        journal = stage.journal()
        await journal.tend()
        await stage.put(b"inline", b"small")
        await stage.put(b"stored", bytes(2000), metadata={"a": "b"})
        await stage.put(b"inline", b"small again")
        await stage.delete(b"stored")
        await journal.tend()
        await journal.tend()
        found = await check_whole(stage)
        assert [segment.head.change_count for segment in found] == [3, 4]
        assert await stage.catalogue.read_changes(0, 10) == ()
        assert await stage.catalogue.get_cursor(CURSOR) == 2
        # What was replaced before it was journalled needs no place in a pack.
        (pack,) = found[1].head.packs
        assert len(list(decode_pack(await stage.records().read(BlobKind.PACK, pack)))) == 1
        wraps = [b"wrapped_key", b"wrapped"]
        for segment in found:
            payload = await stage.records().read(
                BlobKind.JOURNAL, stage.records().keys.segment_id(segment.head.position)
            )
            assert not any(name in payload for name in wraps)

    on_stage(tmp_path, test)


@pytest.mark.parametrize("seam", SEAMS)
@pytest.mark.parametrize("batch", [1, 1000])
def test_a_crash_at_any_step_leaves_a_chain_that_goes_on(
    tmp_path: Path, crash_at: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, seam: str, batch: int
) -> None:
    monkeypatch.setattr(runner, "BATCH_SIZE", batch)

    async def test(stage: Stage) -> None:
        for number in range(3):
            await stage.put(b"key", b"%d" % number)
        crash_at(seam)
        with pytest.raises(Crash):
            await stage.journal().tend()
        await stage.put(b"later", b"x")
        journal = stage.journal()
        await journal.check()
        await journal.tend()
        await check_whole(stage)
        assert await stage.catalogue.read_changes(0, 10) == ()

    on_stage(tmp_path, test)


def test_who_waits_is_answered_by_one_segment(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        journal = stage.journal()
        objects = stage.objects
        objects._catalogue = synced(stage.catalogue, journal.settle)
        await asyncio.gather(*(stage.put(b"%d" % number, b"x") for number in range(40)))
        found = await check_whole(stage)
        assert found[-1].head.through == (await stage.catalogue.read_changes(0, 1000))[-1].sequence
        assert len(found) < 40
        await objects._catalogue.get_version(stage.bucket.bucket_id, b"1")
        await objects._catalogue.acquire_lease("x", "y", timedelta(1))
        assert len(await segments(stage)) == len(found)

    on_stage(tmp_path, test)


def test_readers_of_the_outbox_keep_their_lines(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        await stage.journal(readers=("notifications:one",)).tend()
        changes = await stage.catalogue.read_changes(0, 10)
        assert len(changes) == 3
        await stage.catalogue.set_cursor("notifications:one", changes[0].sequence)
        await stage.journal(readers=("notifications:one",)).tend()
        assert await stage.catalogue.read_changes(0, 10) == changes[1:]

    on_stage(tmp_path, test)


def test_an_old_catalogue_is_refused(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        await stage.put(b"one", b"1")
        await stage.journal().tend()
        path = tmp_path / "catalogue" / "catalogue.db"
        await stage.catalogue.close()
        old = path.read_bytes()
        stage.catalogue = stage.objects._catalogue = stage.open_again(path)
        await stage.put(b"two", b"2")
        await stage.journal().tend()
        await stage.catalogue.close()
        path.write_bytes(old)
        stage.catalogue = stage.objects._catalogue = stage.open_again(path)
        with pytest.raises(CatalogueBehind, match="recover"):
            await stage.journal().check()
        await stage.put(b"other", b"3")
        with pytest.raises(CatalogueBehind):
            await stage.journal().tend()
        assert len(await segments(stage)) == 2

    on_stage(tmp_path, test)


async def put_in_place(stage: Stage, catalogue: bytes | None, journals: Sequence[Journal]) -> bytes:
    """Let these journals go on over an old copy of the catalogue, or over the same; what lay there before."""
    path = stage.folder / "catalogue" / "catalogue.db"
    await stage.catalogue.close()
    before = path.read_bytes()
    path.write_bytes(before if catalogue is None else catalogue)
    stage.catalogue = stage.objects._catalogue = stage.open_again(path)
    for journal in journals:
        journal._catalogue = stage.catalogue
    return before


@pytest.mark.parametrize("write", ["tend", "settle"])
@pytest.mark.parametrize("count", [1, 3, 8])
def test_a_catalogue_that_goes_back_beneath_a_running_gateway_is_refused(
    tmp_path: Path, write: str, count: int
) -> None:
    """As a database does that fails over to a standby which lagged behind: the lease is there, the changes are not."""

    async def test(stage: Stage) -> None:
        journal, other = stage.journal(), stage.journal("other")
        await stage.put(b"kept", b"1")
        await journal.tend()
        old = await put_in_place(stage, None, [journal, other])
        for number in range(3):
            await stage.put(b"lost %d" % number, b"2")
        await getattr(journal, write)()
        if write == "tend":
            assert await other._is_journalled(1)
        await put_in_place(stage, old, [journal, other])
        for number in range(count):
            await stage.put(b"new %d" % number, b"3")
        steps = [journal.settle, journal.check, journal.tend, stage.journal().check]
        for step in [*steps, other.settle] if write == "tend" else steps:
            with pytest.raises(CatalogueBehind):
                await step()
        assert len(await segments(stage)) == 2

    on_stage(tmp_path, test)


def test_a_catalogue_that_lost_no_more_than_a_note_is_taken(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        journal = stage.journal()
        await stage.put(b"one", b"1")
        await journal.settle()
        old = await put_in_place(stage, None, [journal])
        await journal.tend()
        await put_in_place(stage, old, [journal])
        await stage.put(b"two", b"2")
        await journal.settle()
        await journal.tend()
        await check_whole(stage)
        assert await stage.catalogue.get_cursor(CURSOR) == 2

    on_stage(tmp_path, test)


def test_a_store_that_lost_its_last_segments_is_refused(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        await stage.journal().tend()
        await stage.put(b"one", b"1")
        await stage.journal().tend()
        await stage.blobs.delete(stage.records().keys.segment_id(1))
        with pytest.raises(JournalLost, match="no segment 1"):
            await stage.journal().check()

    on_stage(tmp_path, test)


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "header": lambda data: flip(data, 20),
    "slot": lambda data: flip(data, 100),
    "payload": lambda data: flip(data, len(data) // 3),
    "description": lambda data: flip(data, len(data) - 100),
    "torn": lambda data: data[: len(data) // 2],
    "empty": lambda _: b"",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_segment_is_named_and_never_skipped(tmp_path: Path, damage: str) -> None:
    async def test(stage: Stage) -> None:
        for number in range(3):
            await stage.put(b"%d" % number, b"x")
            await stage.journal().tend()
        blob_id, whole, at = b"", b"", stage.clock()
        for position in (1, 2):
            blob_id = stage.records().keys.segment_id(position)
            whole, at = stage.blobs._blobs[blob_id]
            stage.blobs._blobs[blob_id] = DAMAGES[damage](whole), at
            with pytest.raises(JournalDamaged, match=f"segment {position} .*{blob_id.hex()}"):
                await segments(stage)
            stage.blobs._blobs[blob_id] = whole, at
        stage.blobs._blobs[blob_id] = DAMAGES[damage](whole), at
        for attempt in (stage.journal().check, stage.journal().tend, stage.journal().settle):
            with pytest.raises(JournalDamaged, match="segment 2"):
                await attempt()

    on_stage(tmp_path, test)


def test_segments_that_change_places_are_refused(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        for number in range(3):
            await stage.put(b"%d" % number, b"x")
            await stage.journal().tend()
        names = [stage.records().keys.segment_id(position) for position in range(3)]
        held = stage.blobs._blobs
        held[names[1]], held[names[2]] = held[names[2]], held[names[1]]
        with pytest.raises(JournalDamaged, match="segment 1"):
            await segments(stage)

    on_stage(tmp_path, test)


def test_a_segment_that_does_not_follow_is_refused(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        chain = stage.chain()
        head = await chain.append(SegmentHead(previous=NO_SEGMENT, through=5), ())
        await chain.append(SegmentHead(position=1, previous=b"x" * 32, after=5, through=6), ())
        with pytest.raises(JournalDamaged, match=r"segment 1 .* broken"):
            _ = [each async for each in chain.walk(0, 2, Head())]
        # Only with a snapshot a chain may begin anew.
        anew = SegmentHead(position=2, previous=NO_SEGMENT, after=0, through=9, snapshot_count=3, begun_count=2)
        await chain.append(anew, ())
        assert [each.head async for each in chain.walk(2, 3, Head(count=2))] == [anew]
        assert head.count == 1

    on_stage(tmp_path, test)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 7, 8, 9, 40, 41])
def test_the_head_is_found_by_few_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(chains, "MILESTONE", 4)

    async def test(stage: Stage) -> None:
        chain, keys = stage.chain(), stage.records().keys
        for position in range(count):
            stage.blobs._blobs[keys.segment_id(position)] = b"", stage.clock()
        looks = 0
        stat = stage.blobs.stat

        async def counted(blob_id: bytes) -> Any:
            nonlocal looks
            looks += 1
            return await stat(blob_id)

        stage.blobs.stat = counted  # type: ignore[method-assign]
        for known in range(count + 1):
            looks = 0
            assert await chain.count(known) == count
            assert looks <= 16
        assert looks <= 3, "nothing came since"
        # What was cut before the last milestone is not missed, be the catalogue ever so old.
        for position in range(max(0, (count - 1) // 4 * 4)):
            if position % 4:
                await stage.blobs.delete(keys.segment_id(position))
        assert await chain.count(0) == count
        for known in range(1, count + 1):
            if known % 4 == 1:
                assert await chain.count(known) == count

    on_stage(tmp_path, test)


def test_another_holder_goes_on_and_the_first_finds_its_way(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        one, two = stage.journal("one"), stage.journal("two")
        await one.tend()
        await stage.put(b"1", b"x")
        await two.check()
        await two.tend()
        assert len(await segments(stage)) == 1
        with pytest.raises(LeaseLost):
            await two.begin_snapshot()
        stage.clock.now += timedelta(minutes=1)
        await two.tend()
        await stage.put(b"2", b"x")
        await two.tend()
        await stage.put(b"3", b"x")
        # A paused one whose lease is over writes nothing twice.
        one._lease = Lease("journal", "one", 1, stage.clock() + timedelta(hours=1))
        await one.settle()
        stage.clock.now += timedelta(minutes=1)
        await one.tend()
        await two.tend()
        await check_whole(stage)

    on_stage(tmp_path, test)


def test_who_waits_for_another_gateways_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "POLL_S", 0.01)
    monkeypatch.setattr(runner, "PATIENCE_S", 0.05)

    async def test(stage: Stage) -> None:
        one, two = stage.journal("one"), stage.journal("two")
        await one.tend()
        await stage.put(b"1", b"x")
        with pytest.raises(StorageUnavailable):
            await two.settle()
        monkeypatch.setattr(runner, "PATIENCE_S", 10)
        for wait in (two.settle, two.current):
            waiting = asyncio.create_task(wait())
            await asyncio.sleep(0.03)
            assert not waiting.done()
            await one.tend()
            await waiting
            await stage.put(b"2", b"x")
        await one.tend()
        assert await two.current() == await one.current()

    on_stage(tmp_path, test)


def test_the_lag_is_told(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        seen: list[float] = []
        journal = Journal(
            catalogue=stage.catalogue, chain=stage.chain(), holder="o", clock=stage.clock, observe=seen.append
        )
        await journal.tend()
        await stage.catalogue.set_versioning(stage.bucket.bucket_id, Versioning.ENABLED)
        stage.clock.now += timedelta(seconds=7)
        await journal.tend()
        await journal.tend()
        assert seen[1] >= 7
        assert seen[2] == 0

    on_stage(tmp_path, test)
