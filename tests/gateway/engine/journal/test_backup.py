"""A backup is whole or refused; it goes on where it was cut off, and puts back what the store lacks and no more."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.engine.journal import backup as module
from gateway.engine.journal import chain as chains
from gateway.engine.journal import snapshots as snapshots_module
from gateway.engine.journal.anchor import Anchor
from gateway.engine.journal.backup import Backup, BackupReport, NoWholeBackup, PutBack, put_back_blobs
from gateway.engine.journal.chain import JournalDamaged
from gateway.engine.journal.packs import LEASE_DURATION, LEASE_NAME, Packs
from gateway.engine.journal.snapshots import Snapshots
from gateway.engine.rowless import find_rowless
from storage import seams
from storage.blobs.memory import MemoryBlobReader, MemoryBlobStore
from storage.errors import BlobMissing, BlobReadFailed, SealedDamaged
from storage.sealed.header import BlobKind, parse_untrusted
from storage.sealed.layout import HEADER_SIZE
from tests.gateway.engine.journal.stage import Stage, on_stage
from tests.gateway.engine.journal.test_packs import Crash, bodies


class _Endless(MemoryBlobReader):
    """A blob that says that it is larger than any memory, as a sparse file does."""

    @property
    def sealed_size(self) -> int:
        return 1 << 50

    async def read(self, offset: int, length: int) -> bytes:
        assert length <= 1 << 20, "what nothing bears out is not read into memory"
        return (await super().read(0, super().sealed_size))[offset : offset + length].ljust(length, b"\0")


def make_endless(blobs: MemoryBlobStore, blob_id: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a store have that instead of a blob, until it is deleted."""
    opened, sealed = blobs.open, blobs._blobs[blob_id]

    async def lying(wanted: bytes) -> MemoryBlobReader:
        is_it = wanted == blob_id and blobs._blobs.get(wanted) is sealed
        return _Endless(sealed[0]) if is_it else await opened(wanted)

    monkeypatch.setattr(blobs, "open", lying)


class Kept:
    """A backup in memory, and short ways to use it."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.blobs = MemoryBlobStore(stage.clock)
        self.anchor: Anchor | None = None

    async def make(self, *, verify: bool = False) -> BackupReport:
        stage, journal = self.stage, self.stage.journal()
        packs = Packs(catalogue=stage.catalogue, records=stage.records(), settle=journal.settle, holder="owner")
        backup = Backup(catalogue=stage.catalogue, journal=journal, packs=packs)
        head, report = await backup.run(self.blobs, lambda _: None, verify=verify)
        self.anchor = Anchor.of(stage.keys.realm_id, head, stage.clock())
        return report

    async def put_back(self) -> PutBack:
        assert self.anchor is not None
        own = self.stage.records()
        return await put_back_blobs(own.beside(self.blobs), own, self.anchor, lambda: None)

    @property
    def held(self) -> dict[bytes, bytes]:
        return {blob_id: data for blob_id, (data, _) in self.blobs._blobs.items()}


async def fill(stage: Stage, begin: int, end: int) -> dict[bytes, bytes]:
    for number in range(begin, end):
        await stage.put(b"%d" % number, b"small %d" % number)
        await stage.journal().tend()
    await stage.put(b"large", bytes(3000))
    return {b"%d" % number: b"small %d" % number for number in range(end)} | {b"large": bytes(3000)}


async def records_of(stage: Stage) -> set[bytes]:
    """Blobs of the store that the gateway keeps for itself."""
    found = await find_rowless(stage.blobs, stage.catalogue)
    states = await stage.catalogue.blob_states(list(stage.blobs._blobs))
    assert not found.orphans
    return stage.blobs._blobs.keys() - states.keys()


async def lose_records(stage: Stage) -> None:
    for blob_id in await records_of(stage):
        await stage.blobs.delete(blob_id)


async def recovered(stage: Stage, folder: Path) -> dict[bytes, bytes]:
    catalogue, _ = await stage.recover(folder / "recovered/catalogue.db")
    try:
        return await bodies(stage, catalogue)
    finally:
        await catalogue.close()


def test_all_that_a_catalogue_is_made_of_comes_back(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        kept = Kept(stage)
        await fill(stage, 0, 5)
        first = await kept.make()
        assert first.copied_count == first.blob_count == len(kept.held)
        wanted = await fill(stage, 5, 8)
        await stage.delete(b"0")
        del wanted[b"0"]
        second = await kept.make()
        assert 0 < second.copied_count < second.blob_count, "what is there is not copied again"
        assert second.blob_count == len(kept.held)
        assert (await kept.make()).removed_count >= 0
        assert all(stage.blobs._blobs[blob_id][0] == data for blob_id, data in kept.held.items()), "byte for byte"
        await lose_records(stage)
        done = await kept.put_back()
        assert (done.put_back_count, done.healed_count) == (len(kept.held), 0)
        assert await recovered(stage, tmp_path) == wanted
        assert await kept.put_back() == PutBack()

    on_stage(tmp_path, test)


@pytest.mark.parametrize("kind", [BlobKind.JOURNAL, BlobKind.SNAPSHOT, BlobKind.PACK])
def test_no_blob_is_read_into_memory_for_the_size_that_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: BlobKind
) -> None:
    async def test(stage: Stage) -> None:
        kept, newer = Kept(stage), Kept(stage)
        await fill(stage, 0, 5)
        await kept.make()
        chosen = next(
            blob_id for blob_id, data in kept.held.items() if parse_untrusted(data[:HEADER_SIZE]).kind is kind
        )
        with monkeypatch.context() as patched:
            make_endless(stage.blobs, chosen, patched)
            with pytest.raises((SealedDamaged, JournalDamaged)):
                await newer.make()
            assert (await kept.put_back()).healed_count == 1
        with monkeypatch.context() as patched:
            make_endless(kept.blobs, chosen, patched)
            with pytest.raises(NoWholeBackup):
                await kept.put_back()

    on_stage(tmp_path, test)


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes((data[at] ^ 1,)) + data[at:][1:]


HARM: dict[str, Callable[[bytes], bytes]] = {
    "truncated": _cut,
    "emptied": lambda _: b"",
    "longer": lambda data: data + bytes(512),
    "beginning": lambda data: _flipped(data, 9),
    "end": lambda data: _flipped(data, len(data) - 1),
    "a byte within": lambda data: _flipped(data, HEADER_SIZE + parse_untrusted(data[:HEADER_SIZE]).slot_size + 60),
}


@pytest.mark.parametrize("harm", HARM)
def test_what_is_damaged_in_the_backup_is_copied_again(tmp_path: Path, harm: str) -> None:
    """What the ends of a blob and its length show is found by every backup, a byte within by `verify`."""

    async def test(stage: Stage) -> None:
        kept = Kept(stage)
        wanted = await fill(stage, 0, 4)
        await kept.make()
        sound = kept.held
        for blob_id, data in sound.items():
            kept.blobs._blobs[blob_id] = HARM[harm](data), stage.clock()
        shown = harm != "a byte within"
        quick = await kept.make()
        assert quick.damaged_count == (len(sound) if shown else 0)
        verified = await kept.make(verify=True)
        assert verified.damaged_count + quick.damaged_count >= len(sound)
        there = kept.held.keys() & sound.keys()
        assert there
        assert all(kept.held[blob_id] == sound[blob_id] for blob_id in there), "byte for byte what it was"
        assert (await kept.make(verify=True)).damaged_count == 0
        await lose_records(stage)
        await kept.put_back()
        assert await recovered(stage, tmp_path) == wanted

    on_stage(tmp_path, test)


def test_blobs_of_a_backup_that_changed_their_places_are_copied_again(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        kept = Kept(stage)
        await fill(stage, 0, 4)
        await kept.make()
        first, second = list(kept.held)[:2]
        held = kept.blobs._blobs
        held[first], held[second] = held[second], held[first]
        assert (await kept.make()).damaged_count == 2
        assert (await kept.make(verify=True)).damaged_count == 0

    on_stage(tmp_path, test)


def test_a_blob_of_the_backup_that_its_disk_does_not_give_is_copied_again(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        kept = Kept(stage)
        await fill(stage, 0, 2)
        await kept.make()
        bad, real = next(iter(kept.held)), kept.blobs.open

        async def failing(blob_id: bytes) -> Any:
            if blob_id == bad:
                raise BlobReadFailed("the disk")
            return await real(blob_id)

        kept.blobs.open = failing  # type: ignore[method-assign]
        assert (await kept.make()).damaged_count == 1
        kept.blobs.open = real  # type: ignore[method-assign]
        assert (await kept.make(verify=True)).damaged_count == 0

    on_stage(tmp_path, test)


def test_a_damaged_copy_stays_where_the_store_has_no_sound_one(tmp_path: Path) -> None:
    """What lies in the backup may be all that is left of it: it goes only where better takes its place."""

    async def test(stage: Stage) -> None:
        kept = Kept(stage)
        await fill(stage, 0, 2)
        await kept.make()
        blob_id = (await find_rowless(stage.blobs, stage.catalogue)).packs[0].blob_id
        data, at = stage.blobs._blobs[blob_id]
        stage.blobs._blobs[blob_id] = _flipped(data, len(data) - 100), at
        kept.blobs._blobs[blob_id] = data[:-1], at
        with pytest.raises(SealedDamaged):
            await kept.make()
        assert kept.held[blob_id] == data[:-1]

    on_stage(tmp_path, test)


def test_what_came_since_the_backup_stays(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        kept = Kept(stage)
        await fill(stage, 0, 3)
        await kept.make()
        wanted = await fill(stage, 3, 6)
        await stage.journal().tend()
        assert await kept.put_back() == PutBack()
        assert await recovered(stage, tmp_path) == wanted, "as new as the store"

    on_stage(tmp_path, test)


def test_what_is_damaged_in_the_store_is_healed(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        kept = Kept(stage)
        wanted = await fill(stage, 0, 4)
        await kept.make()
        for blob_id in kept.held:
            data, at = stage.blobs._blobs[blob_id]
            stage.blobs._blobs[blob_id] = data[: len(data) // 2], at
        done = await kept.put_back()
        assert (done.put_back_count, done.healed_count) == (0, len(kept.held))
        assert await recovered(stage, tmp_path) == wanted

    on_stage(tmp_path, test)


@pytest.mark.parametrize("harm", ["a segment gone", "a part gone", "flipped", "older", "another blob's", "a stranger"])
def test_what_is_not_whole_puts_nothing_back(tmp_path: Path, harm: str) -> None:
    async def test(stage: Stage) -> None:
        kept = Kept(stage)
        await fill(stage, 0, 4)
        await kept.make()
        old = dict(kept.blobs._blobs)
        await fill(stage, 4, 6)
        await kept.make()
        head = await stage.journal().begin_snapshot()
        segment = stage.records().keys.segment_id(head.count - 1)
        part = (await stage.chain().read(head.snapshot_count - 1)).head.parts[0].blob_id
        held = kept.blobs._blobs
        if harm == "a segment gone":
            del held[segment]
        elif harm == "a part gone":
            del held[part]
        elif harm == "flipped":
            pack = (await find_rowless(stage.blobs, stage.catalogue)).packs[0].blob_id
            data, at = held[pack]
            held[pack] = data[:-40] + bytes((data[-40] ^ 1,)) + data[-39:], at
        elif harm == "older":
            kept.blobs._blobs = old
        elif harm == "another blob's":
            held[part] = held[segment]
        else:
            own = await records_of(stage)
            large = next(name for name in stage.blobs._blobs if name not in own)
            held[large] = stage.blobs._blobs[large]
        await lose_records(stage)
        with pytest.raises(NoWholeBackup):
            await kept.put_back()
        assert await records_of(stage) == set()

    on_stage(tmp_path, test)


@pytest.mark.parametrize("is_there", [True, False])
def test_what_the_store_itself_lost_is_named(tmp_path: Path, is_there: bool) -> None:
    async def test(stage: Stage) -> None:
        await fill(stage, 0, 2)
        segment = stage.records().keys.segment_id(0)
        data, at = stage.blobs._blobs.pop(segment)
        if is_there:
            stage.blobs._blobs[segment] = _flipped(data, len(data) - 20), at
        with pytest.raises(SealedDamaged if is_there else BlobMissing, match=segment.hex()):
            await Kept(stage).make()

    on_stage(tmp_path, test)


def test_a_store_that_went_another_way_is_left_alone(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        kept = Kept(stage)
        await fill(stage, 0, 2)
        await stage.journal().tend()
        path = tmp_path / "catalogue" / "catalogue.db"
        await stage.catalogue.close()
        old, blobs = path.read_bytes(), dict(stage.blobs._blobs)
        await stage.take(stage.open_again(path))
        await stage.put(b"this way", b"x")
        await kept.make()
        await stage.catalogue.close()
        path.write_bytes(old)
        stage.blobs._blobs = blobs
        await stage.take(stage.open_again(path))
        await stage.put(b"that way", b"y")
        await stage.journal().tend()
        with pytest.raises(JournalDamaged, match="another than that of the backup"):
            await kept.put_back()

    on_stage(tmp_path, test)


def test_a_backup_that_is_cut_off_goes_on(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        kept = Kept(stage)
        wanted = await fill(stage, 0, 4)
        left = 3

        def crash(reached: str) -> None:
            nonlocal left
            left -= reached == "backup.blob"
            if not left:
                seams.hook = None
                raise Crash

        seams.hook = crash
        try:
            with pytest.raises(Crash):
                await kept.make()
        finally:
            seams.hook = None
        assert (kept.anchor, len(kept.held)) == (None, 3)
        report = await kept.make()
        assert report.copied_count in (report.blob_count - 3, report.blob_count - 2), "one snapshot more"
        await stage.catalogue.acquire_lease(LEASE_NAME, "another", LEASE_DURATION)  # it was given back
        await lose_records(stage)
        for seam in ("restore.blob",) * 3:
            await killed(kept, seam)
        await kept.put_back()
        assert await recovered(stage, tmp_path) == wanted
        # A blob that is to be healed is gone for a moment: the next run puts it back.
        blob_id = next(iter(kept.held))
        data, at = stage.blobs._blobs[blob_id]
        stage.blobs._blobs[blob_id] = data[:-1], at
        await killed(kept, "restore.damaged_gone")
        assert (await kept.put_back()).put_back_count == 1
        assert await recovered(stage, tmp_path) == wanted

    on_stage(tmp_path, test)


async def killed(kept: Kept, seam: str) -> None:
    def crash(reached: str) -> None:
        if reached == seam:
            seams.hook = None
            raise Crash

    seams.hook = crash
    try:
        with pytest.raises(Crash):
            await kept.put_back()
    finally:
        seams.hook = None


def test_what_is_damaged_is_not_backed_up_and_an_old_one_stays_whole(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        kept = Kept(stage)
        await fill(stage, 0, 2)
        await kept.make()
        held = kept.held
        await fill(stage, 2, 4)
        await stage.journal().tend()
        newest = [
            stat.blob_id
            for stat in (await find_rowless(stage.blobs, stage.catalogue)).packs
            if stat.blob_id not in held
        ]
        data, at = stage.blobs._blobs[newest[0]]
        stage.blobs._blobs[newest[0]] = data[:-100] + bytes((data[-100] ^ 1,)) + data[-99:], at
        with pytest.raises(SealedDamaged):
            await kept.make()
        assert held.items() <= kept.held.items()

    on_stage(tmp_path, test)


def test_a_journal_that_was_cut_is_found_again_from_its_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for each in (chains, snapshots_module, module):  # each has it by its own name
        monkeypatch.setattr(each, "MILESTONE", 4)

    async def test(stage: Stage) -> None:
        kept = Kept(stage)
        wanted = await fill(stage, 0, 7)
        for number in range(7, 16):
            wanted |= await fill(stage, number, number + 1)
            if number % 4 == 0:
                journal = stage.journal()
                await Snapshots(stage.catalogue, journal).take()
                await Snapshots(stage.catalogue, journal).cut(None)
        assert not await stage.chain().has(1), "it was cut"
        await kept.make()
        await lose_records(stage)
        await kept.put_back()
        assert await recovered(stage, tmp_path) == wanted
        assert (await kept.make()).copied_count <= 4

    on_stage(tmp_path, test)


def test_packs_stay_where_they_are_while_they_are_copied(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        kept = Kept(stage)
        wanted = await fill(stage, 0, 3)
        journal = stage.journal()
        packs = Packs(catalogue=stage.catalogue, records=stage.records(), settle=journal.settle, holder="owner")
        backup = Backup(catalogue=stage.catalogue, journal=journal, packs=packs)
        real, asked = stage.blobs.open, asyncio.Event()

        async def slow(blob_id: bytes) -> Any:
            asked.set()
            await asyncio.sleep(0)
            return await real(blob_id)

        stage.blobs.open = slow  # type: ignore[method-assign]
        running = asyncio.create_task(backup.run(kept.blobs, lambda _: None))
        await asked.wait()
        listed = (await find_rowless(stage.blobs, stage.catalogue)).packs
        for key in (b"0", b"1", b"2"):
            await stage.delete(key)
        await packs.compact(listed)
        head, _ = await running
        kept.anchor = Anchor.of(stage.keys.realm_id, head, stage.clock())
        stage.blobs.open = real  # type: ignore[method-assign]
        del wanted[b"0"], wanted[b"1"], wanted[b"2"]
        await lose_records(stage)
        await kept.put_back()
        assert (await recovered(stage, tmp_path)).items() >= wanted.items()

    on_stage(tmp_path, test)


def test_the_kinds_that_a_backup_holds() -> None:
    assert {BlobKind.JOURNAL, BlobKind.SNAPSHOT, BlobKind.PACK} == module.KINDS
