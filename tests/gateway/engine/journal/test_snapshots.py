"""Snapshots hold every row, name unchanged parts again, and let the journal be cut behind two of them alone."""

from pathlib import Path
from typing import Any

import pytest

from gateway.engine.journal import chain as chains
from gateway.engine.journal import snapshots as module
from gateway.engine.journal.chain import Head, JournalDamaged
from gateway.engine.journal.snapshots import Snapshots, read_part
from gateway.engine.rowless import find_rowless
from storage import seams
from storage.blobs.base import BlobStat
from storage.catalogue.replay import Replay, key_of
from storage.catalogue.rowlog import LOGGED
from storage.errors import StorageUnavailable
from tests.gateway.engine.journal.stage import Stage, on_stage
from tests.suites.catalogue import all_rows


async def replayed(stage: Stage, head: Head) -> Replay:
    """What the newest snapshot and the segments since its beginning tell."""
    chain, replay = stage.chain(), Replay()
    snapshot = (await chain.read(head.snapshot_count - 1)).head
    for part in snapshot.parts:
        replay.apply(await read_part(stage.records(), part))
    async for segment in chain.walk(snapshot.begun_count, head.count):
        for change in segment.changes:
            replay.apply(change["rows"])
    return replay


async def check(stage: Stage, replay: Replay) -> None:
    for table in LOGGED:
        rows = await all_rows(stage.catalogue, table, 100)
        assert [replay.check(table, key_of(row), row) for row in rows] == [None] * replay.count(table), table


def test_a_snapshot_and_what_came_since_it_began_are_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PART_ROWS", 4)
    monkeypatch.setattr(module, "MAX_PART_ROWS", 16)
    monkeypatch.setattr(module, "PAGE_ROWS", 8)

    async def test(stage: Stage) -> None:
        journal = stage.journal()
        for number in range(30):
            await stage.put(b"%d" % number, b"x" * number * 100)
        snapshots = Snapshots(stage.catalogue, journal)
        # Commands go on while it is taken.
        write = stage.records().write
        written = 0

        async def disturbed(*arguments: Any) -> bytes:
            nonlocal written
            written += 1
            await stage.put(b"during %d" % written, b"y")
            await stage.delete(b"%d" % written)
            return await write(*arguments)

        snapshots._records.write = disturbed  # type: ignore[method-assign,assignment]
        first = await snapshots.take()
        assert first.written_part_count == first.part_count > 5
        del snapshots._records.write
        await stage.put(b"since", b"z")
        await journal.tend()
        head = await journal.begin_snapshot()
        assert head.snapshot_count
        await check(stage, await replayed(stage, head))
        assert await snapshots.taken_at() is not None
        # One more object changes a part of each table that it has a row in, and no more.
        await snapshots.take()
        await stage.put(b"one more", b"small")
        third = await snapshots.take()
        assert third.part_count > 8
        assert third.written_part_count <= 5
        await check(stage, await replayed(stage, await journal.begin_snapshot()))

    on_stage(tmp_path, test)


async def cut_and_check(stage: Stage) -> None:
    """See that nothing is cut but behind two snapshots and the exported head, with milestones at every fourth."""
    journal = stage.journal()
    snapshots = Snapshots(stage.catalogue, journal)
    chain = stage.chain()
    assert await snapshots.taken_at() is None
    assert await snapshots.cut(None) == 0
    assert await snapshots.oldest(await journal.begin_snapshot()) is None

    async def grow(count: int) -> None:
        for number in range(count):
            await stage.put(b"%d" % number, b"x")
            await journal.tend()

    await grow(9)
    await snapshots.take()
    assert await snapshots.cut(None) == 0, "one snapshot is not enough"
    await grow(5)
    await snapshots.take()
    await grow(6)
    await snapshots.take()
    await grow(3)
    before = [position for position in range(50) if await chain.has(position)]
    assert await snapshots.cut(6) == 3, "no further than the exported head, whose segment stays"
    assert [p for p in before if not await chain.has(p)] == [1, 2, 3]
    assert await snapshots.cut(None) > 0
    assert await snapshots.cut(None) == 0
    left = [position for position in range(50) if await chain.has(position)]
    newest = await chain.read((await journal.begin_snapshot()).snapshot_count - 1)
    assert set(left) >= {0, 4, 8, *range(newest.head.begun_count, before[-1] + 1)}
    # The head is found, and the catalogue can be rebuilt, as before.
    assert await chain.count() == before[-1] + 1
    assert await stage.chain().count(3) == before[-1] + 1 if await chain.has(2) else True
    await check(stage, await replayed(stage, await journal.begin_snapshot()))
    oldest = await snapshots.oldest(await journal.begin_snapshot())
    assert oldest is not None
    assert oldest.head.position < newest.head.position


def test_the_journal_is_cut_behind_two_snapshots_and_the_exported_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chains, "MILESTONE", 4)
    monkeypatch.setattr(module, "MILESTONE", 4)
    on_stage(tmp_path, cut_and_check)


async def take_and_cut(snapshots: Snapshots) -> None:
    await snapshots.take()
    await snapshots.cut(None)


@pytest.mark.parametrize("seam", ["journal.part_durable", "journal.segment_durable", "journal.noted", "journal.cut"])
def test_a_crash_in_a_snapshot_or_cut_leaves_what_can_be_gone_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seam: str
) -> None:
    monkeypatch.setattr(chains, "MILESTONE", 4)
    monkeypatch.setattr(module, "MILESTONE", 4)

    async def test(stage: Stage) -> None:
        def crash(reached: str) -> None:
            if reached == seam:
                seams.hook = None
                raise ZeroDivisionError

        for number in range(14):
            await stage.put(b"%d" % number, b"x")
            await stage.journal().tend()
            if number in (4, 8):
                await Snapshots(stage.catalogue, stage.journal()).take()
        snapshots = Snapshots(stage.catalogue, stage.journal())
        seams.hook = crash
        try:
            with pytest.raises(ZeroDivisionError):
                await take_and_cut(snapshots)
        finally:
            seams.hook = None
        await stage.put(b"later", b"x")
        journal = stage.journal()
        await journal.check()
        await Snapshots(stage.catalogue, journal).take()
        await Snapshots(stage.catalogue, journal).cut(None)
        await check(stage, await replayed(stage, await journal.begin_snapshot()))
        left = [position for position in range(50) if await stage.chain().has(position)]
        assert 1 not in left, "the cut was gone on with"

    on_stage(tmp_path, test)


def test_parts_that_a_crash_left_are_reclaimed_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PART_ROWS", 1)

    async def stored(stage: Stage) -> list[BlobStat]:
        return (await find_rowless(stage.blobs, stage.catalogue)).parts

    async def test(stage: Stage) -> None:
        async def named() -> set[bytes]:
            head = await stage.journal().current()
            snapshots = await Snapshots(stage.catalogue, stage.journal())._snapshots(head, head.count)
            return {part.blob_id for snapshot in snapshots for part in snapshot.head.parts}

        async def reclaimed() -> int:
            return await Snapshots(stage.catalogue, stage.journal()).reclaim(await stored(stage))

        def crash(reached: str) -> None:
            if reached == "journal.part_durable":
                raise ZeroDivisionError

        for number in range(2):
            await stage.put(b"%d" % number, b"x")
            await Snapshots(stage.catalogue, stage.journal()).take()
        await stage.put(b"lost", b"x")
        monkeypatch.setattr(seams, "hook", crash)
        with pytest.raises(ZeroDivisionError):
            await Snapshots(stage.catalogue, stage.journal()).take()
        monkeypatch.setattr(seams, "hook", None)
        assert len(await stored(stage)) == len(await named()) + 1
        assert await reclaimed() == 0, "a snapshot may still be under way"
        stage.clock.now += module.PART_GRACE
        # Another gateway takes one right now: its parts are young, or those of the snapshot before.
        running = Snapshots(stage.catalogue, stage.journal())
        real, seen = running._records.write, list[int]()

        async def write(*arguments: Any) -> bytes:
            sealed = await real(*arguments)
            seen.append(await reclaimed())
            return sealed

        monkeypatch.setattr(running._records, "write", write)
        await running.take()
        assert seen[0] == 1
        assert sum(seen) == 1
        assert {part.blob_id for part in await stored(stage)} == await named()
        journal = stage.journal()
        await check(stage, await replayed(stage, await journal.begin_snapshot()))

    on_stage(tmp_path, test)


def test_a_snapshot_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    """Its first parts might be taken away before it names them."""

    async def test(stage: Stage) -> None:
        await stage.put(b"key", b"x")
        snapshots = Snapshots(stage.catalogue, stage.journal())
        real = snapshots._records.write

        async def write(*arguments: Any) -> bytes:
            stage.clock.now += module.LONGEST
            return await real(*arguments)

        snapshots._records.write = write  # type: ignore[method-assign,assignment]
        with pytest.raises(StorageUnavailable, match="too long"):
            await snapshots.take()
        assert (await stage.journal().current()).snapshot_count == 0
        await Snapshots(stage.catalogue, stage.journal()).take()

    on_stage(tmp_path, test)


@pytest.mark.parametrize("harm", ["gone", "flipped", "another"])
def test_a_snapshot_that_does_not_verify_is_named_and_nothing_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    monkeypatch.setattr(chains, "MILESTONE", 4)
    monkeypatch.setattr(module, "MILESTONE", 4)

    async def test(stage: Stage) -> None:
        journal = stage.journal()
        snapshots = Snapshots(stage.catalogue, journal)
        for number in range(9):
            await stage.put(b"%d" % number, b"x")
            await journal.tend()
            if number > 5:
                await snapshots.take()
        head = (await stage.chain().read((await journal.begin_snapshot()).snapshot_count - 1)).head
        part, other = head.parts[-1], head.parts[0]
        data, at = stage.blobs._blobs[part.blob_id]
        if harm == "gone":
            await stage.blobs.delete(part.blob_id)
        elif harm == "flipped":
            stage.blobs._blobs[part.blob_id] = data[:400] + bytes((data[400] ^ 1,)) + data[401:], at
        else:
            stage.blobs._blobs[part.blob_id] = stage.blobs._blobs[other.blob_id]
        with pytest.raises(JournalDamaged, match=f"snapshot .*{part.blob_id.hex()}"):
            await snapshots.cut(None)
        assert await stage.chain().has(1)

    on_stage(tmp_path, test)
