"""Scrub finds every blob that is not what it says, small objects in packs too, and changes nothing."""

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gateway.engine.attributes import ObjectAttributes
from gateway.engine.journal.snapshots import Snapshots
from gateway.engine.moved_wraps import WrapsOfStore
from gateway.engine.objects import NewObject
from gateway.engine.protection import Mode, Protection
from gateway.engine.scrub import DAMAGED, DESCRIBED, GONE, SHAPED, WHOLE, Scrubber, ScrubKeys, behind
from gateway.s3.types import PayloadExpectation
from gateway.s3.upload_types import CompletedPart
from keys.datakey import DataKey
from storage.catalogue.commands import Conditions
from tests.gateway.engine.journal.stage import Stage, on_stage
from tests.gateway.engine.rig import PieceBody


def scrubber(stage: Stage, *, with_keys: bool = True, **options: Any) -> Scrubber:
    description_key = stage.keys.description_key.material()
    wraps = WrapsOfStore(stage.custody, stage.keys, stage.blobs)
    keys = ScrubKeys(stage.records(), stage.custody, wraps, stage.keys.realm_id, description_key)
    return Scrubber(stage.blobs, keys=keys if with_keys else None, **options)


async def scrub(stage: Stage, *, with_keys: bool = True) -> Scrubber:
    made = scrubber(stage, with_keys=with_keys)
    ids = sorted(stage.blobs._blobs)
    _ = [each async for each in made.prepare(ids)]
    assert [each async for each in made.run(ids)] == ids
    return made


async def fill(stage: Stage) -> None:
    for number in range(4):
        await stage.put(b"small %d" % number, b"x" * number)
        await stage.put(b"large %d" % number, bytes(5000 * (number + 1)))
    upload = await stage.multipart.create(stage.bucket, b"parts", ObjectAttributes())
    made = await stage.multipart.put_part(stage.bucket, upload, 1, PayloadExpectation(), PieceBody(bytes(6000)))
    await stage.multipart.complete(stage.bucket, upload, [CompletedPart(1, made.part.etag, None)], Conditions())
    left = await stage.multipart.create(stage.bucket, b"open", ObjectAttributes())
    await stage.multipart.put_part(stage.bucket, left, 1, PayloadExpectation(), PieceBody(bytes(6000)))
    journal = stage.journal()
    await Snapshots(stage.catalogue, journal).take()


def test_a_sound_store_is_whole(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        await fill(stage)
        found = (await scrub(stage)).report
        # Four small ones lie in a pack; the part of an upload that goes on has no manifest yet.
        assert found.counts[DESCRIBED] == 1
        assert found.counts[WHOLE] == len(stage.blobs._blobs) - 1 + 4
        assert found.findings == []
        shapes = (await scrub(stage, with_keys=False)).report
        assert shapes.counts == Counter({SHAPED: len(stage.blobs._blobs)})
        assert shapes.byte_count == sum(len(data) for data, _ in stage.blobs._blobs.values())

    on_stage(tmp_path, test)


def test_every_flipped_bit_is_found(tmp_path: Path, seed: int, full: bool) -> None:
    """G21: 100% of the damage; here one bit at a time, anywhere in any blob."""
    source = random.Random(seed)

    async def test(stage: Stage) -> None:
        await fill(stage)
        names = sorted(stage.blobs._blobs)
        for name in names * (20 if full else 3):
            data, at = stage.blobs._blobs[name]
            place = source.randrange(len(data))
            flipped = data[:place] + bytes((data[place] ^ 1 << source.randrange(8),)) + data[place + 1 :]
            stage.blobs._blobs[name] = flipped, at
            made = scrubber(stage)
            _ = [each async for each in made.prepare(names)]
            _ = [each async for each in made.run([name])]
            unopened = made.report.counts[DESCRIBED]
            assert made.report.findings or unopened, (name.hex(), place)
            if made.report.findings:
                assert made.report.findings[0].blob_id == name
            assert stage.blobs._blobs[name][0] == flipped, "nothing is healed or deleted"
            stage.blobs._blobs[name] = data, at

    on_stage(tmp_path, test)


@pytest.mark.parametrize("with_keys", [True, False])
def test_what_is_cut_extended_swapped_or_no_blob_is_found(tmp_path: Path, with_keys: bool) -> None:
    async def test(stage: Stage) -> None:
        await fill(stage)
        names = sorted(stage.blobs._blobs)
        (one, at), (two, _) = stage.blobs._blobs[names[0]], stage.blobs._blobs[names[1]]
        for wrong in (one[:-1], one + b"x", b"", b"nothing", two, one[: len(one) // 2]):
            stage.blobs._blobs[names[0]] = wrong, at
            found = (await scrub(stage, with_keys=with_keys)).report
            assert [each.blob_id for each in found.findings] == [names[0]], wrong[:20]
            assert found.counts[DAMAGED] == 1
        stage.blobs._blobs[names[0]] = one, at
        made = scrubber(stage, with_keys=with_keys)
        assert [each async for each in made.run([b"?" * 16])] == [b"?" * 16]
        assert made.report.counts == Counter({GONE: 1})

    on_stage(tmp_path, test)


def test_what_a_client_alone_opens_is_proved_by_its_description(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        new = NewObject(
            b"theirs",
            ObjectAttributes(protection=Protection(mode=Mode.CUSTOMER)),
            Conditions(),
            customer_key=DataKey.random(),
        )
        await stage.objects.put(stage.bucket, new, PayloadExpectation(), PieceBody(bytes(5000)))
        found = (await scrub(stage)).report
        assert found.counts == Counter({DESCRIBED: 1})

    on_stage(tmp_path, test)


def test_it_goes_on_behind_the_last_one_and_no_faster_than_told(tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        await fill(stage)
        ids = list(stage.blobs._blobs)
        assert behind(ids, None) == sorted(ids)
        assert behind(ids, sorted(ids)[3]) == sorted(ids)[4:]
        read = 0

        async def throttle(size: int) -> None:
            nonlocal read
            read += size
            await asyncio.sleep(0)

        made = scrubber(stage, throttle=throttle, readers=1)
        _ = [each async for each in made.prepare(ids)]
        read = 0
        _ = [each async for each in made.run(sorted(ids))]
        assert read >= made.report.byte_count * 0.7

    on_stage(tmp_path, test)
