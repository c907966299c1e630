"""What `verify --journal` and `verify --anchor` find: rows deleted, altered, brought back, and an old state of all."""

import dataclasses
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.engine.journal import chain as chains
from gateway.engine.journal import snapshots
from gateway.engine.journal import witness as module
from gateway.engine.journal.anchor import Anchor, AnchorRefused, anchor_path, newest_anchor
from gateway.engine.journal.chain import CatalogueBehind, JournalDamaged
from gateway.engine.journal.snapshots import Snapshots
from gateway.engine.journal.witness import NotWitnessed, Witness
from keys.journal import JournalKeys
from keys.kms.memory import MemoryKms
from keys.realm import RealmKeys
from storage.blobs.memory import MemoryBlobReader
from storage.catalogue.schema import ACCOUNTS, BUCKETS, VERSIONS
from tests.gateway.engine.journal.stage import Stage, on_stage


def witness(stage: Stage) -> Witness:
    journal = stage.journal()
    return Witness(stage.catalogue, journal, Snapshots(stage.catalogue, journal))


async def tampered(stage: Stage, change: Callable[[Any], Any]) -> None:
    """Write rows as one does who has every key: MACs are right, counts are, and nothing goes to the outbox."""

    def run(tx: Any) -> None:
        change(tx)
        tx.begin_command()

    await stage.catalogue._writer.submit(run)


async def anchor_of(stage: Stage) -> Anchor:
    return Anchor.of(stage.keys.realm_id, await stage.journal().begin_snapshot(), stage.clock())


def test_a_catalogue_that_is_as_its_journal_tells(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        for number in range(5):
            await stage.put(b"%d" % number, b"x")
        await stage.delete(b"1")
        report = await witness(stage).verify()
        assert (report.segment_count, report.change_count) == (1, 9)
        assert report.row_count > 10
        anchored = await anchor_of(stage)
        await stage.put(b"later", b"x")
        assert (await witness(stage).verify(anchored)).anchored_segment_count == 1
        journal = stage.journal()
        await Snapshots(stage.catalogue, journal).take()
        await stage.put(b"later still", b"x")
        await witness(stage).verify(anchored)

    on_stage(tmp_path, test)


def _row(tx: Any, table: Any) -> Any:
    return tx.all(table, "ORDER BY 1, 2 LIMIT 1")[0]


TAMPERINGS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a deleted version": (
        lambda tx: (tx.delete(VERSIONS, _row(tx, VERSIONS)), tx.count_version(_row(tx, BUCKETS).bucket_id, -1)),
        r"missing: versions .*publish_version, sequence \d+",
    ),
    "an altered bucket": (
        lambda tx: tx.update(BUCKETS, _row(tx, BUCKETS)._replace(versioning="Enabled")),
        "altered: buckets",
    ),
    "an account that was never made": (
        lambda tx: tx.insert(ACCOUNTS, _row(tx, ACCOUNTS)._replace(account_id=b"!" * 16, name="evil")),
        "unknown: accounts account_id=2121",
    ),
}


@pytest.mark.parametrize("name", TAMPERINGS)
@pytest.mark.parametrize("with_snapshot", [False, True])
def test_rows_that_are_not_as_the_journal_tells_are_named(tmp_path: Path, name: str, with_snapshot: bool) -> None:
    change, message = TAMPERINGS[name]

    async def test(stage: Stage) -> None:
        for number in range(3):
            await stage.put(b"secret name %d" % number, b"x")
        await stage.journal().tend()
        await tampered(stage, change)
        if with_snapshot:  # taken afterwards, it hides nothing
            journal = stage.journal()
            await Snapshots(stage.catalogue, journal).take()
        with pytest.raises(NotWitnessed, match=message) as found:
            await witness(stage).verify()
        assert "secret name" not in str(found.value)

    on_stage(tmp_path, test)


def test_many_rows_are_not_all_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TOLD", 2)

    async def test(stage: Stage) -> None:
        for number in range(5):
            await stage.put(b"%d" % number, b"x")
        await stage.journal().tend()

        def forget(tx: Any) -> None:
            for row in tx.all(VERSIONS, ""):
                tx.delete(VERSIONS, row)
                tx.count_version(row.bucket_id, -1)

        await tampered(stage, forget)
        with pytest.raises(NotWitnessed, match=r"5 rows .* and 3 more"):
            await witness(stage).verify()

    on_stage(tmp_path, test)


def test_rows_that_commands_write_meanwhile_are_not_told(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        await stage.put(b"key", b"x")
        judge = witness(stage)
        compare = judge._compare

        async def disturbed() -> Any:
            await stage.put(b"key", b"y")
            return await compare()

        judge._compare = disturbed  # type: ignore[method-assign]
        await judge.verify()

    on_stage(tmp_path, test)


def test_an_old_state_of_catalogue_and_store_is_found_by_the_anchor(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        await stage.put(b"one", b"1")
        await stage.journal().tend()
        path = tmp_path / "catalogue" / "catalogue.db"
        await stage.catalogue.close()
        old, blobs = path.read_bytes(), dict(stage.blobs._blobs)
        stage.catalogue = stage.objects._catalogue = stage.open_again(path)
        await stage.put(b"two", b"2")
        anchored = await anchor_of(stage)
        await stage.catalogue.close()
        path.write_bytes(old)
        stage.catalogue = stage.objects._catalogue = stage.open_again(path)
        # The catalogue alone is old: it is behind its store.
        with pytest.raises(CatalogueBehind):
            await witness(stage).verify(anchored)
        # Both are old: nothing in them says so, the anchor does.
        stage.blobs._blobs = blobs
        await witness(stage).verify()
        with pytest.raises(NotWitnessed, match=r"ends with segment 0 and sequence 4, but .* 2 segments .* 5: .* older"):
            await witness(stage).verify(anchored)
        # And where something else was done since, the chain is another.
        await stage.put(b"other", b"3")
        with pytest.raises(NotWitnessed, match="segment 1 of the journal is another"):
            await witness(stage).verify(anchored)

    on_stage(tmp_path, test)


async def _go_back(stage: Stage, catalogue: bytes | None = None) -> bytes:
    """Put an old catalogue, or the same, in its place; what lay there before."""
    path = stage.folder / "catalogue" / "catalogue.db"
    await stage.catalogue.close()
    before = path.read_bytes()
    path.write_bytes(catalogue or before)
    stage.catalogue = stage.objects._catalogue = stage.open_again(path)
    return before


def _showing(stage: Stage, honest: list[bytes]) -> Callable[[bytes], Any]:
    """A store that shows the honest chain, from the anchor on, to the first who walks along it."""
    ids = [stage.records().keys.segment_id(position) for position in range(len(honest))]
    opened, left = stage.blobs.open, ids[3:]

    async def lying(blob_id: bytes) -> Any:
        if left and blob_id == left[0]:
            left.pop(0)
            return MemoryBlobReader(honest[ids.index(blob_id)])
        return await opened(blob_id)

    return lying


@pytest.mark.parametrize("hides", ["the segment of the anchor", "what follows it", "that it is another"])
def test_a_gap_behind_an_anchor_hides_no_old_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hides: str) -> None:
    """A store of other deeds, without its segments up to a snapshot: so does one look that was cut."""
    for each in (chains, snapshots, module):
        monkeypatch.setattr(each, "MILESTONE", 4)

    async def test(stage: Stage) -> None:
        keys = stage.records().keys
        await stage.put(b"one", b"1")
        await stage.journal().tend()
        old, blobs = await _go_back(stage), dict(stage.blobs._blobs)
        for number in range(3):
            await stage.put(b"to be undone %d" % number, b"2")
            await stage.journal().tend()
        anchored = await anchor_of(stage)
        for number in range(8):
            await stage.put(b"to be undone, too %d" % number, b"2")
            await stage.journal().tend()
        honest = dict(stage.blobs._blobs)
        stage.blobs._blobs = blobs
        await _go_back(stage, old)
        for number in range(8):
            await stage.put(b"other %d" % number, b"3")
            await stage.journal().tend()
        journal = stage.journal()
        await Snapshots(stage.catalogue, journal).take()
        await journal.release()
        with pytest.raises(NotWitnessed, match="segment 3 of the journal is another"):
            await witness(stage).verify(anchored)
        for position in range(1, 8):
            if position % 4:
                await stage.blobs.delete(keys.segment_id(position))
        await witness(stage).verify()
        if hides == "what follows it":
            stage.blobs._blobs[keys.segment_id(3)] = honest[keys.segment_id(3)]
        if hides == "that it is another":
            seen = [honest[keys.segment_id(position)][0] for position in range(10)]
            monkeypatch.setattr(stage.blobs, "open", _showing(stage, seen))
        told = "gave another journal" if hides == "that it is another" else "does not lead from the anchor"
        with pytest.raises(NotWitnessed, match=told):
            await witness(stage).verify(anchored)

    on_stage(tmp_path, test)


def test_a_segment_that_was_lost_early_is_not_taken_for_one_that_was_cut(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        for number in range(3):
            await stage.put(b"%d" % number, b"x")
            await stage.journal().tend()
        journal = stage.journal()
        await Snapshots(stage.catalogue, journal).take()
        await journal.release()
        await witness(stage).verify()
        await stage.blobs.delete(stage.records().keys.segment_id(1))
        with pytest.raises(JournalDamaged, match="segment 1 of the journal is missing"):
            await witness(stage).verify()

    on_stage(tmp_path, test)


def test_a_chain_that_began_anew_is_compared_from_there(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        await stage.put(b"before", b"x")
        await stage.journal().tend()
        # As a recovery from blobs alone leaves it: other rows, and a chain that goes on with a snapshot of them.
        await tampered(stage, lambda tx: tx.update(BUCKETS, _row(tx, BUCKETS)._replace(versioning="Enabled")))
        journal = stage.journal()
        await journal.begin_anew(1, (await journal.current()).through)
        await Snapshots(stage.catalogue, journal).take()
        await stage.journal().tend()
        assert (await witness(stage).verify()).began_anew_at == 1

    on_stage(tmp_path, test)


def test_a_journal_that_does_not_begin_with_its_catalogue_needs_a_snapshot(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        # As after an upgrade: the outbox of before had no rows.
        lease = await stage.catalogue.acquire_lease("x", "y", timedelta(minutes=1))
        await stage.catalogue.trim_changes(2, lease)
        with pytest.raises(NotWitnessed, match="snapshot"):
            await witness(stage).verify()
        journal = stage.journal()
        await Snapshots(stage.catalogue, journal).take()
        await stage.put(b"key", b"x")
        await witness(stage).verify()

    on_stage(tmp_path, test)


async def _keys() -> JournalKeys:
    return JournalKeys((await RealmKeys.create(MemoryKms(), b"O" * 16))[0])


def test_anchors_are_exact_signed_and_of_one_realm(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        keys = stage.records().keys
        anchor = await anchor_of(stage)
        data = anchor.encode(keys)
        assert Anchor.decode(data, keys) == anchor
        other = dataclasses.replace(anchor, realm_id=b"O" * 16)
        for wrong in (
            b"",
            b"[]",
            data[:-1],
            data.replace(b'"count": 1', b'"count": 2'),
            data.replace(b'"count": 1', b'"count": true'),
            data.replace(b" ", b"  ", 1),
            data.replace(b'"version": 1', b'"version": 2'),
            anchor.encode(await _keys()),
        ):
            with pytest.raises(AnchorRefused):
                Anchor.decode(wrong, keys)
        with pytest.raises(AnchorRefused, match="another realm"):
            await witness(stage).verify(other)
        # A file is replaced, a folder collects.
        assert anchor_path(tmp_path / "file", anchor) == tmp_path / "file"
        assert newest_anchor(tmp_path / "file") is None
        folder = tmp_path / "folder"
        folder.mkdir()
        assert newest_anchor(folder) is None
        for count in (1, 2):
            anchor_path(folder, dataclasses.replace(anchor, count=count)).write_bytes(data)
        newest = newest_anchor(folder)
        assert newest is not None
        assert newest.name.endswith("0000000002.json")

    on_stage(tmp_path, test)
