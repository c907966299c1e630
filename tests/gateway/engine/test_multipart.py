"""Multipart uploads and sweep over the memory references."""

import hashlib
import random
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.engine.attributes import ObjectAttributes, SealedChecksum
from gateway.engine.custody import WrappingMode
from gateway.engine.integrity import EtagMode
from gateway.engine.multipart import (
    COMPLETE_ATTEMPTS,
    MAX_OBJECT_BYTES,
    MIN_PART_BYTES,
    choose_parts,
    object_checksum,
    part_checksum,
)
from gateway.engine.sweep import TooManyOrphans
from gateway.s3.checksums import CRC32, CRC64NVME, PayloadDigests
from gateway.s3.errors import S3Error
from gateway.s3.types import Checksum, ChecksumAlgorithm, ChecksumType, PayloadExpectation
from gateway.s3.upload_types import CompletedPart
from storage.catalogue.commands import CompleteUpload, Conditions
from storage.catalogue.conflicts import NoSuchUpload, NoSuchVersion, PreconditionRefused
from storage.catalogue.records import ObjectVersion, Part, Upload
from tests.gateway.engine.rig import PieceBody, Rig, run

MIB = 1024 * 1024


def content_of(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def plain(part: Part) -> Checksum | None:
    checksum = part_checksum(part)
    assert not isinstance(checksum, SealedChecksum)
    return checksum


async def begin(rig: Rig, attributes: ObjectAttributes | None = None) -> Upload:
    return await rig.multipart.create(rig.bucket, b"big", attributes or ObjectAttributes())


async def part(rig: Rig, upload: Upload, number: int, data: bytes) -> Part:
    uploaded = await rig.multipart.put_part(rig.bucket, upload, number, PayloadExpectation(), PieceBody(data))
    return uploaded.part


def named(*parts: Part) -> list[CompletedPart]:
    return [CompletedPart(part.part_number, part.etag) for part in parts]


@pytest.mark.parametrize("wrapping", list(WrappingMode))
def test_parts_become_one_object_with_s3s_etag(wrapping: WrappingMode) -> None:
    first, second = content_of(5 * MIB), content_of(100_000)

    async def body(rig: Rig) -> None:
        upload = await begin(rig)
        two = await part(rig, upload, 7, second)
        one = await part(rig, upload, 2, first)
        version = (await rig.multipart.complete(rig.bucket, upload, named(one, two), Conditions())).version
        md5s = hashlib.md5(first).digest() + hashlib.md5(second).digest()
        assert version.etag == f"{hashlib.md5(md5s).hexdigest()}-2"
        assert await rig.get(b"big") == first + second
        border = len(first)
        assert await rig.get(b"big", border - 3, 6) == (first + second)[border - 3 : border + 3]
        checksum = ObjectAttributes.decode(version.attributes).checksum
        assert isinstance(checksum, Checksum)
        whole = PayloadDigests([CRC64NVME])
        whole.update(first + second)
        assert checksum.value == b64encode(whole.digest(CRC64NVME)).decode()
        assert checksum.checksum_type is ChecksumType.FULL_OBJECT

    run(body, wrapping=wrapping)


def test_a_composite_checksum_is_over_the_checksums_of_the_parts() -> None:
    first, second = content_of(5 * MIB), content_of(10)

    async def body(rig: Rig) -> None:
        upload = await begin(rig, ObjectAttributes(checksum_algorithm=ChecksumAlgorithm.CRC32))
        parts = [await part(rig, upload, 1, first), await part(rig, upload, 2, second)]
        version = (await rig.multipart.complete(rig.bucket, upload, named(*parts), Conditions())).version
        of_parts = PayloadDigests([CRC32])
        for data in (first, second):
            one = PayloadDigests([CRC32])
            one.update(data)
            of_parts.update(one.digest(CRC32))
        checksum = ObjectAttributes.decode(version.attributes).checksum
        assert isinstance(checksum, Checksum)
        assert checksum.value == b64encode(of_parts.digest(CRC32)).decode() + "-2"

    run(body)


def test_a_part_uploaded_again_replaces_the_first_under_another_key() -> None:
    async def body(rig: Rig) -> None:
        upload = await begin(rig)
        before = await part(rig, upload, 1, b"first")
        after = await part(rig, upload, 1, b"first")
        assert before.blob.wrapped_key != after.blob.wrapped_key
        assert before.blob.salt != after.blob.salt
        stored = list(rig.stored().values())
        assert stored[0][200:] != stored[1][200:]
        await rig.multipart.complete(rig.bucket, upload, named(after), Conditions())
        assert await rig.get(b"big") == b"first"

    run(body)


def test_complete_twice_answers_the_same_and_parts_not_named_are_reclaimed() -> None:
    async def body(rig: Rig) -> None:
        upload = await begin(rig)
        one, two = await part(rig, upload, 1, b"one"), await part(rig, upload, 2, b"two")
        first = (await rig.multipart.complete(rig.bucket, upload, named(one), Conditions())).version
        again = await rig.catalogue.get_upload(rig.bucket.bucket_id, b"big", upload.upload_id)
        second = (await rig.multipart.complete(rig.bucket, again, named(one), Conditions())).version
        assert (first.etag, first.sequence) == (second.etag, second.sequence)
        rig.clock.now += timedelta(hours=2)
        await rig.sweeper.sweep()
        assert two.blob.blob_id not in rig.stored()
        assert await rig.get(b"big") == b"one"

    run(body)


def test_abort_ends_an_upload_and_its_parts() -> None:
    async def body(rig: Rig) -> None:
        upload = await begin(rig)
        one = await part(rig, upload, 1, b"one")
        await rig.catalogue.abort_upload(rig.bucket.bucket_id, b"big", upload.upload_id)
        with pytest.raises(NoSuchUpload):
            await part(rig, upload, 2, b"late")
        assert list(rig.stored()) == [one.blob.blob_id], "the late part's blob went with the refusal of its row"
        rig.clock.now += timedelta(days=2)
        report = await rig.sweeper.sweep()
        assert report.orphan_count == 0
        rig.clock.now += timedelta(hours=2)
        await rig.sweeper.sweep()
        assert rig.stored() == {}

    run(body)


REFUSED = [
    ("unknown part", lambda one, two: [CompletedPart(9, one.etag)], {}, "InvalidPart"),
    ("wrong etag", lambda one, two: [CompletedPart(1, two.etag)], {}, "InvalidPart"),
    ("small part not last", named, {}, "EntityTooSmall"),
    ("wrong size", lambda one, two: named(one), {"object_size": 1}, "InvalidRequest"),
    ("wrong type", lambda one, two: named(one), {"checksum_type": ChecksumType.COMPOSITE}, "InvalidRequest"),
]


@pytest.mark.parametrize(("name", "choose", "options", "code"), REFUSED, ids=[row[0] for row in REFUSED])
def test_complete_refuses_what_s3_refuses_and_the_upload_goes_on(
    name: str, choose: Callable[[Part, Part], list[CompletedPart]], options: dict[str, Any], code: str
) -> None:
    async def body(rig: Rig) -> None:
        upload = await begin(rig)
        one, two = await part(rig, upload, 1, b"one"), await part(rig, upload, 2, b"twotwo")
        with pytest.raises(S3Error) as caught:
            await rig.multipart.complete(rig.bucket, upload, choose(one, two), Conditions(), **options)
        assert caught.value.row.code == code
        await rig.multipart.complete(rig.bucket, upload, named(two), Conditions())
        assert await rig.get(b"big") == b"twotwo"

    run(body)


def test_a_condition_on_complete_is_judged_when_it_publishes() -> None:
    async def body(rig: Rig) -> None:
        await rig.put(b"big", b"there")
        upload = await begin(rig)
        one = await part(rig, upload, 1, b"one")
        with pytest.raises(PreconditionRefused):
            await rig.multipart.complete(rig.bucket, upload, named(one), Conditions(if_none_match_any=True))
        assert await rig.get(b"big") == b"there"

    run(body)


def test_a_part_copied_from_a_span_is_sealed_anew() -> None:
    data = content_of(200_000)

    async def body(rig: Rig) -> None:
        await rig.put(b"source", data)
        found = await rig.objects.find(rig.bucket, b"source")
        upload = await begin(rig)
        one = (await rig.multipart.copy_part(rig.bucket, upload, 1, found, 1000, 50_000)).part
        assert one.etag == hashlib.md5(data[1000:51_000]).hexdigest()
        await rig.multipart.complete(rig.bucket, upload, named(one), Conditions())
        assert await rig.get(b"big") == data[1000:51_000]

    run(body)


def test_sweep_refuses_when_so_many_blobs_look_orphaned() -> None:
    async def body(rig: Rig) -> None:
        for number in range(200):
            await rig.put(b"k%d" % number, b"data")
        rig.catalogue._blobs.clear()
        rig.clock.now += timedelta(days=2)
        with pytest.raises(TooManyOrphans):
            await rig.sweeper.sweep()
        assert len(rig.stored()) == 200
        assert (await rig.sweeper.sweep(many_orphans_are_right=True)).condemned_count == 200

    run(body, inline_max_bytes=0)


def test_an_opaque_etag_still_tells_the_number_of_parts() -> None:
    async def body(rig: Rig) -> None:
        upload = await begin(rig)
        one = await part(rig, upload, 1, b"one")
        version = (await rig.multipart.complete(rig.bucket, upload, named(one), Conditions())).version
        digest, _, count = version.etag.partition("-")
        assert (len(digest), count) == (32, "1")
        assert one.etag != hashlib.md5(b"one").hexdigest()
        assert digest != hashlib.md5(hashlib.md5(b"one").digest()).hexdigest()
        assert await rig.get(b"big") == b"one"

    run(body, etag_mode=EtagMode.OPAQUE)


@pytest.mark.parametrize("changes", [1, COMPLETE_ATTEMPTS - 1, COMPLETE_ATTEMPTS])
def test_complete_reads_parts_again_that_changed_meanwhile(changes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(rig: Rig) -> None:
        upload = await begin(rig)
        one = await part(rig, upload, 1, b"the same again")
        real, left = rig.catalogue.complete_upload, [changes]

        async def beaten(command: CompleteUpload) -> ObjectVersion:
            if left[0]:
                left[0] -= 1
                await part(rig, upload, 1, b"the same again")
            return await real(command)

        monkeypatch.setattr(rig.catalogue, "complete_upload", beaten)
        if changes < COMPLETE_ATTEMPTS:
            await rig.multipart.complete(rig.bucket, upload, named(one), Conditions())
            assert await rig.get(b"big") == b"the same again"
        else:
            with pytest.raises(S3Error) as caught:
                await rig.multipart.complete(rig.bucket, upload, named(one), Conditions())
            assert caught.value.row.code == "ServiceUnavailable"
        monkeypatch.undo()

    run(body)


def test_a_part_that_changed_into_another_is_no_longer_the_named_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(rig: Rig) -> None:
        upload = await begin(rig)
        one = await part(rig, upload, 1, b"one")
        real = rig.catalogue.complete_upload

        async def beaten(command: CompleteUpload) -> ObjectVersion:
            await part(rig, upload, 1, b"another")
            return await real(command)

        monkeypatch.setattr(rig.catalogue, "complete_upload", beaten)
        with pytest.raises(S3Error) as caught:
            await rig.multipart.complete(rig.bucket, upload, named(one), Conditions())
        assert caught.value.row.code == "InvalidPart"
        monkeypatch.undo()

    run(body)


def test_a_complete_that_meets_an_abort_finds_no_upload(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(rig: Rig) -> None:
        upload = await begin(rig)
        one = await part(rig, upload, 1, b"one")
        await rig.catalogue.abort_upload(rig.bucket.bucket_id, b"big", upload.upload_id)
        with pytest.raises(NoSuchUpload):
            await rig.multipart.complete(rig.bucket, upload, named(one), Conditions())
        with pytest.raises(NoSuchVersion):
            await rig.get(b"big")

    run(body)


def test_an_upload_that_neither_opens_nor_ended_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(rig: Rig) -> None:
        upload = await begin(rig)

        async def gone(_upload_id: bytes) -> None:
            raise NoSuchUpload

        monkeypatch.setattr(rig.catalogue, "list_parts", gone)
        with pytest.raises(NoSuchUpload):
            await rig.multipart.complete(rig.bucket, upload, [CompletedPart(1, "x")], Conditions())
        monkeypatch.undo()

    run(body)


def held_part(number: int, size: int) -> Part:
    blob: Any = None
    return Part(b"u" * 16, number, blob, f"etag {number}", size, datetime(2026, 1, 1, tzinfo=UTC))


def test_the_limits_of_parts_and_objects() -> None:
    gib = 1024**3
    assert (5 * MIB, 5 * 1024 * gib) == (MIN_PART_BYTES, MAX_OBJECT_BYTES)
    fits = {1: held_part(1, MIN_PART_BYTES), 2: held_part(2, 0)}
    assert choose_parts(fits, named(*fits.values())) == list(fits.values())
    most = {number: held_part(number, 5 * gib) for number in range(1, 1025)}
    assert len(choose_parts(most, named(*most.values()))) == 1024
    over = {**most, 1025: held_part(1025, 1)}
    with pytest.raises(S3Error) as caught:
        choose_parts(over, named(*over.values()))
    assert caught.value.row.code == "EntityTooLarge"
    small = {1: held_part(1, MIN_PART_BYTES - 1), 2: held_part(2, 10 * MIB)}
    with pytest.raises(S3Error) as caught:
        choose_parts(small, named(*small.values()))
    assert (caught.value.row.code, caught.value.fields["PartNumber"]) == ("EntityTooSmall", "1")


def test_parts_without_a_checksum_give_an_object_without_one() -> None:
    parts = [held_part(1, 1)]
    assert object_checksum(ObjectAttributes(), parts, [plain(part) for part in parts], None, None) is None
    with pytest.raises(S3Error):
        object_checksum(
            ObjectAttributes(),
            parts,
            [plain(part) for part in parts],
            Checksum(ChecksumAlgorithm.CRC32, "AAAAAA=="),
            None,
        )
