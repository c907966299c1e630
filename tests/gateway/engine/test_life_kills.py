"""An incident and a shredding, killed at every point that they reach: nothing is lost, and run again they end."""

import gc
from collections.abc import Callable, Container, Coroutine
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from gateway.engine import shredding
from gateway.engine.custody import WrappingMode
from gateway.engine.exposure import Exposure
from gateway.engine.incident import Incident, IncidentReport
from gateway.engine.journal import packs as packs_module
from gateway.engine.journal.packs import write_packs
from gateway.engine.resealing import Destroyer, Resealer
from gateway.engine.rewrap import LEASE_NAME, LeakedVersions
from gateway.engine.rowless import find_rowless
from gateway.engine.shredding import Scope, Shredder, ShredRefused, ShredReport
from keys.kms.memory import DEFAULT_KEY_ID
from storage import seams
from storage.catalogue.commands import DeleteVersion, HistoryPage, HistoryQuery
from storage.catalogue.conflicts import NoSuchVersion
from storage.sealed.header import BlobKind
from storage.sealed.journal import decode_pack
from tests.gateway.engine.keys_rig import KeysRig, check_all, fill, run_keys

BOTH = pytest.mark.parametrize("wrapping", list(WrappingMode))


class _KilledError(BaseException):
    """The process ends here."""


def destroyer_of(keys: KeysRig) -> Destroyer:
    return Destroyer(keys.rig.catalogue, keys.rig.blobs, keys.rig.clock)


def resealer_of(keys: KeysRig) -> Resealer:
    rig = keys.rig
    return Resealer(
        catalogue=rig.catalogue,
        custody=rig.custody,
        writer=rig.writer,
        opener=rig.opener,
        objects=rig.objects,
        blobs=rig.blobs,
        destroyer=destroyer_of(keys),
        lease=keys.rewrapper.lease,
    )


def exposure_of(keys: KeysRig) -> Exposure:
    rig = keys.rig
    return Exposure(
        catalogue=rig.catalogue,
        blobs=rig.blobs,
        custody=rig.custody,
        envelopes=keys.envelopes,
        realm_id=rig.realm_id,
    )


async def run_incident(
    keys: KeysRig, versions: Container[str], kms_key_id: str = DEFAULT_KEY_ID, *, abort_uploads: bool = False
) -> IncidentReport:
    job = Incident(
        catalogue=keys.rig.catalogue,
        exposure=exposure_of(keys),
        resealer=resealer_of(keys),
        rewrapper=keys.rewrapper,
        destroyer=destroyer_of(keys),
        packs=keys.packs,
    )
    leaked = LeakedVersions(kms_key_id, versions)
    return await job.run(leaked, abort_uploads=abort_uploads, patience_s=0.0, progress=lambda _: None)


async def incident(keys: KeysRig, versions: frozenset[str]) -> int:
    return (await run_incident(keys, versions)).left_count


async def shred(keys: KeysRig, prefix: bytes) -> ShredReport:
    rig = keys.rig
    job = Shredder(
        catalogue=rig.catalogue,
        resealer=resealer_of(keys),
        rewrapper=keys.rewrapper,
        envelopes=keys.envelopes,
        packs=keys.packs,
        destroyer=destroyer_of(keys),
        clock=rig.clock,
    )
    return await job.shred(Scope((rig.bucket,), prefix), lambda _: None)


async def pack_all(keys: KeysRig) -> None:
    """Carry what rests in the catalogue to the store, as the journal does."""
    await write_packs(keys.packs._records, keys.rig.catalogue._inline.items())


async def packed(keys: KeysRig) -> set[bytes]:
    """Ids of all that lies in packs."""
    found = await find_rowless(keys.rig.blobs, keys.rig.catalogue)
    payloads = [await keys.packs._records.read(BlobKind.PACK, stat.blob_id) for stat in found.packs]
    return {blob_id for payload in payloads for blob_id, _ in decode_pack(payload)}


async def points_of(job: Callable[[], Coroutine[Any, Any, Any]]) -> list[str]:
    points: list[str] = []
    seams.hook = points.append
    try:
        await job()
    finally:
        seams.hook = None
    return points


async def killed_at(number: int, job: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    left = number

    def kill(_: str) -> None:
        nonlocal left
        if not left:
            raise _KilledError
        left -= 1

    seams.hook = kill
    try:
        with pytest.raises(_KilledError):
            await job()
    finally:
        seams.hook = None
    gc.collect()  # what the process had in memory goes with it: keys on their way among it


@BOTH
def test_an_incident_loses_nothing(wrapping: WrappingMode) -> None:
    async def body(keys: KeysRig) -> None:
        rig = keys.rig
        contents = await fill(rig)

        async def rotated() -> frozenset[str]:
            rig.kms.rotate_key()
            await rig.custody.renew()  # as every rotation does
            return frozenset(str(number + 1) for number in range(len(rig.kms._keys[DEFAULT_KEY_ID].versions) - 1))

        leaked = await rotated()
        await pack_all(keys)
        points = await points_of(lambda: incident(keys, leaked))
        assert {"reseal.sealed", "reseal.blob_durable", "reseal.replaced", "reseal.destroyed"} <= set(points)
        for number in range(len(points)):
            leaked = await rotated()
            await pack_all(keys)
            await killed_at(number, lambda leaked=leaked: incident(keys, leaked))  # type: ignore[misc]
            keys.realm.root, keys.realm.canary = keys.realm.saved
            await check_all(keys, contents)
            assert await incident(keys, leaked) == 0
            assert await packed(keys) <= keys.rig.catalogue._inline.keys(), "what was sealed anew is in no pack"
            await check_all(keys, contents)
            await rig.catalogue.verify()

    run_keys(body, wrapping=wrapping)


HOUR = timedelta(hours=1)
SHREDDED = b"b"
"""The prefix that goes: an object of its own content, whose copy survives."""


@BOTH
def test_a_shredding_destroys_what_is_named_and_nothing_else(wrapping: WrappingMode) -> None:
    async def prepared(keys: KeysRig) -> dict[bytes, bytes]:
        contents = await fill(keys.rig)
        await keys.rig.put(b"brief, before", b"deleted by now")
        await keys.rig.put(b"brief", b"in a pack")
        await pack_all(keys)
        await keys.rig.objects.delete(keys.rig.bucket, [DeleteVersion(b"brief, before")])
        keys.rig.kms.rotate_key()
        await keys.rewrap()  # so that envelopes blobs carry what goes
        return {name: content for name, content in contents.items() if not name.startswith(SHREDDED)}

    async def whole(keys: KeysRig) -> None:
        survivors = await prepared(keys)
        found.extend(await points_of(lambda: shred(keys, SHREDDED)))
        await check_all(keys, survivors)

    async def cut(keys: KeysRig, number: int) -> None:
        survivors = await prepared(keys)
        before = keys.rig.stored()
        gone = [
            blob.blob_id
            for blob in (await keys.rig.objects.find(keys.rig.bucket, b"big")).content.blobs  # type: ignore[union-attr]
        ]
        assert set(gone) <= set(before)
        in_packs = await packed(keys)
        await killed_at(number, lambda: shred(keys, SHREDDED))
        await check_all(keys, survivors)
        await shred(keys, SHREDDED)
        await check_all(keys, survivors)
        with pytest.raises(NoSuchVersion):
            await keys.rig.objects.find(keys.rig.bucket, b"big")
        left = keys.rig.catalogue._inline.keys() & in_packs
        assert len(left) == len(in_packs) - 2, "of the prefix there were two"
        assert await packed(keys) == left
        # What a kill left condemned is for the sweep, after its time of grace.
        await keys.rig.sweeper.sweep()
        keys.rig.clock.now += 25 * HOUR
        await keys.rig.sweeper.sweep(many_orphans_are_right=True)
        assert not set(gone) & set(keys.rig.stored())
        await keys.rig.catalogue.verify()

    found: list[str] = []
    run_keys(whole, wrapping=wrapping)
    assert {"shred.row_gone", "shred.versions_gone", "shred.envelopes_durable", "shred.envelopes_replaced"} <= set(
        found
    )
    assert {"packs.written", "packs.deleted"} <= set(found)
    for number in range(len(found)):
        run_keys(partial(cut, number=number), wrapping=wrapping)


@pytest.mark.parametrize("job", ["rewrap", "incident", "shred", "refused"])
def test_no_job_leaves_its_lease_behind(job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that is started anew is another holder: it would wait for what nobody does any more."""
    monkeypatch.setattr(shredding, "PATIENCE_S", 0.0)

    async def test(keys: KeysRig) -> None:
        rig = keys.rig
        await fill(rig)
        await pack_all(keys)
        rig.kms.rotate_key()
        await keys.rewrap()
        rig.kms.rotate_key()
        if job == "rewrap":
            await keys.rewrap()
        elif job == "incident":
            await incident(keys, frozenset({"1", "2"}))
        elif job == "shred":
            await shred(keys, SHREDDED)
        else:
            await rig.catalogue.acquire_lease(packs_module.LEASE_NAME, "another", HOUR)
            with pytest.raises(ShredRefused):
                await shred(keys, SHREDDED)
        await rig.catalogue.acquire_lease(LEASE_NAME, "another", HOUR)

    run_keys(test)


def test_a_shredding_is_refused_while_a_backup_keeps_the_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Soon, and before anything is touched; of one that began later the report says what was not looked through."""
    monkeypatch.setattr(shredding, "PATIENCE_S", 0.0)

    async def test(keys: KeysRig) -> None:
        rig = keys.rig
        await fill(keys.rig)
        await pack_all(keys)
        packs = await keys.packs.count()
        assert packs > 0
        before = (await rig.catalogue.list_history(rig.bucket.bucket_id, HistoryQuery())).versions
        held = await rig.catalogue.acquire_lease(packs_module.LEASE_NAME, "another", timedelta(hours=1))
        with pytest.raises(ShredRefused, match=r"a backup.*nothing was shredded"):
            await shred(keys, b"")
        assert (await rig.catalogue.list_history(rig.bucket.bucket_id, HistoryQuery())).versions == before
        await rig.catalogue.release_lease(held)
        async with keys.packs.held():  # one of this gateway
            with pytest.raises(ShredRefused, match="a backup"):
                await shred(keys, b"")

        def begin_backup(name: str) -> None:
            if name == "shred.versions_gone":
                # The catalogue of a rig answers without a wait.
                coroutine = rig.catalogue.acquire_lease(packs_module.LEASE_NAME, "another", timedelta(hours=1))
                with pytest.raises(StopIteration):
                    coroutine.send(None)

        monkeypatch.setattr(seams, "hook", begin_backup)
        report = await shred(keys, b"")
        await rig.catalogue.acquire_lease(LEASE_NAME, "another", timedelta(hours=1))  # it was given back at the end
        assert report.destroyed_count == len(before)
        assert (report.unread_pack_count, report.rewritten_pack_count) == (packs, 0)

    run_keys(test)


def test_a_shredding_tells_what_came_behind_its_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(keys: KeysRig) -> None:
        rig = keys.rig
        await rig.put(b"shred/m", b"goes")
        bucket_id, list_history, walks = rig.bucket.bucket_id, rig.catalogue.list_history, 0

        async def listed(of_bucket: bytes, query: HistoryQuery) -> HistoryPage:
            nonlocal walks
            walks += 1
            page = await list_history(of_bucket, query)
            if walks == 2:  # the first looked for locks
                await rig.put(b"shred/a", b"written where the walk has been")
            return page

        monkeypatch.setattr(rig.catalogue, "list_history", listed)
        report = await shred(keys, b"shred/")
        assert (report.destroyed_count, report.present_count) == (1, 1)
        report = await shred(keys, b"shred/")
        assert (report.destroyed_count, report.present_count) == (1, 0)
        assert (await list_history(bucket_id, HistoryQuery(prefix=b"shred/"))).versions == ()

    run_keys(test)


@pytest.mark.parametrize("is_missing", [True, False])
def test_a_shredding_goes_on_past_envelopes_that_do_not_open(
    is_missing: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The rows are gone by then: it says what it could not look into, and a rotation with a rewrap ends that."""

    async def test(keys: KeysRig) -> None:
        contents = await fill(keys.rig)
        keys.rig.kms.rotate_key()
        await keys.rewrap()
        (kept, *_) = [each async for each in keys.envelopes.all() if each.wrap_count > 1]
        blob_id = kept.blob.blob_id
        if is_missing:
            del keys.rig.blobs._blobs[blob_id]
        else:
            keys.rig.damage(blob_id, lambda sealed: sealed[:-600] + bytes(600))
        report = await shred(keys, SHREDDED)
        assert (report.damaged_envelopes_count, report.destroyed_count) == (1, 1)
        assert blob_id.hex() in caplog.text
        await check_all(keys, {name: content for name, content in contents.items() if not name.startswith(SHREDDED)})
        keys.rig.kms.rotate_key()
        assert (await keys.rewrap()).left_count == 0
        assert (await shred(keys, SHREDDED)).damaged_envelopes_count == 0
        assert blob_id not in keys.rig.stored()

    run_keys(test)
