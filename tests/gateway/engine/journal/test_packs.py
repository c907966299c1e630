"""Packs that are mostly dead go, what lives in them stays, and a crash at any step loses nothing that is named."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.engine.journal import packs as module
from gateway.engine.journal.packs import LEASE_DURATION, LEASE_NAME, Packs, PacksHeld
from gateway.engine.rowless import find_rowless
from storage import seams
from storage.blobs.base import BlobStat
from storage.catalogue.commands import ListQuery
from storage.errors import LeaseLost, RowDamaged, SealedDamaged, StorageUnavailable
from storage.sealed.header import BlobKind
from storage.sealed.journal import decode_pack
from storage.sealed.recovery import RecoveredBlob
from tests.gateway.engine.journal.stage import Stage, on_stage


class Crash(BaseException):
    """The process ends here."""


def packs_of(stage: Stage, holder: str = "owner") -> Packs:
    return Packs(catalogue=stage.catalogue, records=stage.records(), settle=stage.journal().settle, holder=holder)


async def found(stage: Stage) -> list[BlobStat]:
    return (await find_rowless(stage.blobs, stage.catalogue)).packs


async def held(stage: Stage) -> list[dict[bytes, bytes]]:
    """What each pack of the store holds."""
    payloads = [await stage.records().read(BlobKind.PACK, stat.blob_id) for stat in await found(stage)]
    return [{blob_id: bytes(sealed) for blob_id, sealed in decode_pack(payload)} for payload in payloads]


async def fill(stage: Stage, count: int) -> None:
    """So many small objects in one pack."""
    for number in range(count):
        await stage.put(b"%d" % number, b"body %d" % number)
    await stage.journal().tend()


async def recovered_keys(stage: Stage, folder: Path) -> dict[bytes, bytes]:
    """Object keys and the bytes behind them, from a catalogue that is made from the store alone."""
    catalogue, restored = await stage.recover(folder / "recovered/catalogue.db")
    assert restored.dropped_version_count == 0
    try:
        return await bodies(stage, catalogue)
    finally:
        await catalogue.close()


async def bodies(stage: Stage, catalogue: Any) -> dict[bytes, bytes]:

    page = await catalogue.list_versions(stage.bucket.bucket_id, ListQuery())
    read = {}
    for version in page.versions:
        one = await catalogue.get_version(stage.bucket.bucket_id, version.object_key)
        pieces = await stage.objects.open(one, 0, version.size)
        read[version.object_key] = b"".join([bytes(piece) async for piece in pieces])
    return read


async def expect(stage: Stage, tmp_path: Path, wanted: dict[bytes, bytes]) -> None:
    assert await bodies(stage, stage.catalogue) == wanted
    assert await recovered_keys(stage, tmp_path) == wanted


def test_a_pack_that_is_mostly_dead_is_written_anew(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        await fill(stage, 10)
        for number in range(5):
            await stage.delete(b"%d" % number)
        assert (await packs_of(stage).compact(await found(stage))).told() == {
            "pack_count": 1,
            "rewritten_pack_count": 0,
            "freed_pack_bytes": 0,
            "damaged_pack_count": 0,
            "remaining_pack_count": 0,
        }, "half of it is not more than half"
        (before,) = await held(stage)
        await stage.delete(b"5")  # not in the journal yet
        report = await packs_of(stage).compact(await found(stage))
        assert (report.pack_count, report.rewritten_pack_count) == (1, 1)
        (after,) = await held(stage)
        dead = before.keys() - after.keys()
        assert len(after) == 4
        assert {blob_id: before[blob_id] for blob_id in after} == after, "byte for byte"
        assert report.freed_pack_bytes == sum(len(before[blob_id]) + 20 for blob_id in dead)
        await expect(stage, tmp_path, {b"%d" % number: b"body %d" % number for number in range(6, 10)})
        for number in range(6, 10):
            await stage.delete(b"%d" % number)
        assert (await packs_of(stage).compact(await found(stage))).rewritten_pack_count == 1
        assert await held(stage) == [], "nothing lived in it"
        await expect(stage, tmp_path, {})

    on_stage(tmp_path, test)


def test_many_small_packs_become_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MERGED_COUNT", 4)

    async def test(stage: Stage) -> None:
        wanted: dict[bytes, bytes] = {}
        for number in range(4):
            assert (await packs_of(stage).compact(await found(stage))).rewritten_pack_count == 0
            wanted[b"%d" % number] = b"x" * number
            await stage.put(b"%d" % number, b"x" * number)
            await stage.journal().tend()
        report = await packs_of(stage).compact(await found(stage))
        assert (report.rewritten_pack_count, report.freed_pack_bytes) == (4, 0)
        assert [len(pack) for pack in await held(stage)] == [4]
        await expect(stage, tmp_path, wanted)
        monkeypatch.setattr(module, "PACK_BYTES", 700)
        monkeypatch.setattr(module, "MERGED_COUNT", 1)
        await packs_of(stage).compact(await found(stage))
        assert len(await held(stage)) > 1, "no pack takes more than it should"
        await expect(stage, tmp_path, wanted)

    on_stage(tmp_path, test)


def test_a_bounded_run_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        for number in range(5):
            await stage.put(b"%d" % number, b"x")
            await stage.journal().tend()
            await stage.delete(b"%d" % number)
        packs, size = packs_of(stage), max(stat.sealed_size for stat in await found(stage))
        seen = []
        for _ in range(3):
            left = len(await found(stage))
            report = await packs.compact(await found(stage), 2 * size)
            seen.append(report.pack_count)
            assert len(await found(stage)) == left - report.rewritten_pack_count
        assert seen == [2, 2, 1]
        # Those that live are come to in turns, also where nothing is to be done with them.
        for number in range(3):
            await stage.put(b"%d" % number, b"x")
            await stage.journal().tend()
        read: list[bytes] = []
        real = packs._entries

        async def noted(blob_id: bytes) -> dict[bytes, bytes]:
            read.append(blob_id)
            return await real(blob_id)

        packs._entries = noted  # type: ignore[method-assign]
        for _ in range(6):
            await packs.compact(await found(stage), 1)
        ids = sorted(stat.blob_id for stat in await found(stage))
        assert sorted(read) == sorted(ids * 2)
        assert (await packs.compact([], 1)).pack_count == 0

    on_stage(tmp_path, test)


@pytest.mark.parametrize("seam", ["journal.pack_durable", "packs.written", "journal.segment_durable", "packs.deleted"])
@pytest.mark.parametrize("is_purge", [False, True])
def test_a_crash_at_any_step_loses_nothing_that_is_referred_to(tmp_path: Path, seam: str, is_purge: bool) -> None:
    async def test(stage: Stage) -> None:
        for begin in (0, 4):
            for number in range(begin, begin + 4):
                await stage.put(b"%d" % number, b"body %d" % number)
            await stage.journal().tend()
        wanted = {b"%d" % number: b"body %d" % number for number in (3, 7)}
        for number in (0, 1, 2, 4, 5, 6):
            await stage.delete(b"%d" % number)

        async def run() -> Any:
            packs = packs_of(stage)
            return await (packs.purge(lambda _: True) if is_purge else packs.compact(await found(stage)))

        def crash(reached: str) -> None:
            if reached == seam:
                seams.hook = None
                raise Crash

        seams.hook = crash
        try:
            with pytest.raises(Crash):
                await run()
        finally:
            seams.hook = None
        assert await bodies(stage, stage.catalogue) == wanted
        # What the journal had not been told of yet is as before: whole.
        left = await recovered_keys(stage, tmp_path)
        assert left in (wanted, {b"%d" % number: b"body %d" % number for number in range(8)})
        await run()
        await expect(stage, tmp_path, wanted)
        held_ids = [blob_id for pack in await held(stage) for blob_id in pack]
        assert len(set(held_ids)) == 2, "what is dead is gone"
        assert len(held_ids) <= 4

    on_stage(tmp_path, test)


def test_what_does_not_open_stays_and_is_counted(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        await fill(stage, 3)
        for number in range(3):
            await stage.delete(b"%d" % number)
        (stat,) = await found(stage)
        data, at = stage.blobs._blobs[stat.blob_id]
        stage.blobs._blobs[stat.blob_id] = data[:-100] + bytes((data[-100] ^ 1,)) + data[-99:], at
        report = await packs_of(stage).compact(await found(stage))
        assert (report.damaged_pack_count, report.pack_count, report.rewritten_pack_count) == (1, 0, 0)
        assert (await packs_of(stage).purge(lambda _: True)).damaged_pack_count == 1
        assert [each.blob_id for each in await found(stage)] == [stat.blob_id]
        # One that went since it was listed is no damage.
        await stage.blobs.delete(stat.blob_id)
        assert (await packs_of(stage).compact([stat])).damaged_pack_count == 0

    on_stage(tmp_path, test)


def test_a_new_pack_that_does_not_read_as_it_was_written_replaces_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(stage: Stage) -> None:
        await fill(stage, 3)
        await stage.delete(b"0")
        await stage.delete(b"1")
        (stat,) = await found(stage)
        real = module.write_packs

        async def lying(records: Any, entries: Any) -> tuple[bytes, ...]:
            return await real(records, [(blob_id, sealed[:-1]) for blob_id, sealed in entries])

        monkeypatch.setattr(module, "write_packs", lying)
        with pytest.raises(SealedDamaged, match="read as it was written"):
            await packs_of(stage).compact([stat])
        assert stat.blob_id in {each.blob_id for each in await found(stage)}
        await stage.catalogue.acquire_lease(LEASE_NAME, "another", LEASE_DURATION)

    on_stage(tmp_path, test)


def test_a_pack_that_the_store_keeps_is_written_anew_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(stage: Stage) -> None:
        await fill(stage, 3)
        await stage.delete(b"0")
        await stage.delete(b"1")

        async def refuse(_: bytes) -> None:
            raise StorageUnavailable("locked")

        monkeypatch.setattr(stage.blobs, "delete", refuse)
        packs = packs_of(stage)
        (old,) = await found(stage)
        for _ in range(3):
            report = await packs.compact(await found(stage))
            assert (report.rewritten_pack_count, report.remaining_packs) == (0, [old.blob_id])
            assert len(await found(stage)) == 2, "it is not added to each time"
        await expect(stage, tmp_path, {b"2": b"body 2"})

    on_stage(tmp_path, test)


def test_a_purge_reaches_what_is_doomed_and_leaves_the_rest(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        await fill(stage, 10)
        await stage.put(b"other", b"o")
        await stage.put(b"elsewhere", b"e")
        await stage.journal().tend()
        await stage.delete(b"3")
        await stage.delete(b"elsewhere")
        untouched = next(pack for pack in await held(stage) if len(pack) == 2)

        def is_doomed(blob: RecoveredBlob) -> bool:
            return blob.description.object_key == b"3"

        assert (await packs_of(stage).purge(is_doomed)).rewritten_pack_count == 1
        after = await held(stage)
        assert sorted(map(len, after)) == [2, 9]
        assert untouched in after, "what is dead there is not what was asked for"
        wanted = {b"%d" % number: b"body %d" % number for number in range(10) if number != 3} | {b"other": b"o"}
        await expect(stage, tmp_path, wanted)
        # Doomed is only what is dead: what lives stays whatever is said of it.
        await packs_of(stage).purge(lambda _: True)
        await expect(stage, tmp_path, wanted)

    on_stage(tmp_path, test)


def test_no_pack_goes_because_rows_were_taken_away(tmp_path: Path) -> None:
    """Who can write to the database alone cannot have the gateway destroy what a recovery would bring back."""

    async def test(stage: Stage) -> None:
        await fill(stage, 3)

        def take_away(tx: Any) -> None:
            tx.connection.execute("PRAGMA defer_foreign_keys = 1")
            tx.connection.execute("DELETE FROM blobs WHERE is_inline = 1")
            tx.begin_command()

        await stage.catalogue._writer.submit(take_away)
        packs = {each.blob_id for each in await found(stage)}
        with pytest.raises(RowDamaged):
            await packs_of(stage).compact(await found(stage))
        with pytest.raises(RowDamaged):
            await packs_of(stage).purge(lambda _: True)
        assert packs <= {each.blob_id for each in await found(stage)}
        assert await recovered_keys(stage, tmp_path) == {b"%d" % number: b"body %d" % number for number in range(3)}

    on_stage(tmp_path, test)


def test_old_packs_go_before_much_lies_there_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(stage: Stage) -> None:
        for number in range(6):
            await stage.put(b"%d" % number, b"body %d" % number)
            if number % 2:
                await stage.journal().tend()
        for number in (0, 2, 4):
            await stage.delete(b"%d" % number)
        for name, value in (("PACK_BYTES", 1), ("MOST_TWICE_BYTES", 1), ("MAX_DEAD_SHARE", 0.0)):
            monkeypatch.setattr(module, name, value)
        verify, there = stage.catalogue.verify, []

        async def verified() -> int:
            there.append(len(await found(stage)))
            return await verify()

        monkeypatch.setattr(stage.catalogue, "verify", verified)
        before = await found(stage)
        assert len(before) == 3
        report = await packs_of(stage).compact(before)
        assert (report.rewritten_pack_count, there) == (len(before), [len(before) + 1] * len(before))
        await expect(stage, tmp_path, {b"%d" % number: b"body %d" % number for number in (1, 3, 5)})

    on_stage(tmp_path, test)


def test_a_gateway_that_stood_still_deletes_no_pack_that_another_one_keeps(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        await fill(stage, 3)
        await stage.delete(b"0")
        await stage.delete(b"1")
        (old,) = await found(stage)
        settle = stage.journal().settle

        async def slowly() -> None:
            await settle()
            stage.clock.now += LEASE_DURATION
            await stage.catalogue.acquire_lease(LEASE_NAME, "a backup", LEASE_DURATION)

        packs = Packs(catalogue=stage.catalogue, records=stage.records(), settle=slowly, holder="owner")
        with pytest.raises(LeaseLost):
            await packs.compact([old])
        assert old.blob_id in {each.blob_id for each in await found(stage)}
        await expect(stage, tmp_path, {b"2": b"body 2"})

    on_stage(tmp_path, test)


def test_two_gateways_do_not_write_packs_anew_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_POLL_S", 0.0)

    async def test(stage: Stage) -> None:
        await fill(stage, 1)
        await stage.delete(b"0")
        lease = await stage.catalogue.acquire_lease(LEASE_NAME, "another", LEASE_DURATION)
        with pytest.raises(LeaseLost):
            await packs_of(stage).compact(await found(stage))
        with pytest.raises(PacksHeld, match=r"a backup, .*: another holder \(another\) .* ends by .* unless renewed"):
            await packs_of(stage).purge(lambda _: True, -1.0)
        with pytest.raises(PacksHeld, match="a backup"):
            await packs_of(stage).check_free(-1.0)
        real, asked = stage.catalogue.acquire_lease, 0

        async def acquire(name: str, holder: str, duration: timedelta) -> Any:
            nonlocal asked
            asked += name == LEASE_NAME
            if asked == 3:
                await stage.catalogue.release_lease(lease)
            return await real(name, holder, duration)

        monkeypatch.setattr(stage.catalogue, "acquire_lease", acquire)
        assert (await packs_of(stage).purge(lambda _: True)).rewritten_pack_count == 1
        assert [record.message for record in caplog.records if "waiting" in record.message] == [
            f"waiting for the packs of small objects: {lease.refusal()}"
        ]

    on_stage(tmp_path, test)
