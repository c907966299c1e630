"""Put, get, copy and delete over the memory references: bytes, ETags, checksums, refusals, damage."""

import asyncio
import hashlib
import random
from base64 import b64encode
from functools import partial

import pytest

from gateway.engine.attributes import ObjectAttributes
from gateway.engine.custody import WrappingMode
from gateway.engine.integrity import EtagMode
from gateway.engine.objects import REFERENCES_PER_TURN, NewObject, blob_references, in_turns
from gateway.s3.errors import S3Error
from gateway.s3.types import Checksum, ChecksumAlgorithm, ObjectHeaders, PayloadExpectation
from keys.errors import CanaryFailed
from storage.catalogue.commands import Conditions, DeleteVersion
from storage.catalogue.conflicts import NoSuchVersion, PreconditionRefused
from storage.errors import BlobMissing, SealedDamaged
from tests.gateway.engine.rig import PieceBody, Rig, run

SIZES = [0, 1, 16383, 16384, 16385, 32768, 100_000, 2 * 1024 * 1024 + 17]


def flip(index: int, held: bytes) -> bytes:
    return held[:index] + bytes([held[index] ^ 1]) + held[index + 1 :]


def content_of(size: int) -> bytes:
    return random.Random(size).randbytes(size)


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_put_that_ends_after_the_canary_failed_is_not_published(size: int) -> None:
    """Its key may come from the wrong KMS: nothing but a restart with the right one opens or wraps again."""

    async def body(rig: Rig) -> None:
        await rig.put(b"k", b"old")
        rig.writer.stop_publishing(CanaryFailed("wrong"))
        with pytest.raises(CanaryFailed):
            await rig.put(b"k", content_of(size))
        assert await rig.get(b"k") == b"old"

    run(body)


@pytest.mark.parametrize("wrapping", list(WrappingMode))
@pytest.mark.parametrize("size", SIZES)
def test_what_was_put_comes_back(size: int, wrapping: WrappingMode) -> None:
    data = content_of(size)

    async def body(rig: Rig) -> None:
        version = await rig.put(b"k", data[: size // 3], data[size // 3 :])
        assert version.size == size
        assert version.etag == hashlib.md5(data).hexdigest()
        assert await rig.get(b"k") == data
        inline = size <= 16384
        assert len(rig.stored()) == (0 if inline else 1)

    run(body, wrapping=wrapping)


@pytest.mark.parametrize("inline", [0, 1 << 20])
def test_every_range_at_a_chunk_edge_comes_back(inline: int) -> None:
    size = 3 * 16384
    data = content_of(size)

    async def body(rig: Rig) -> None:
        await rig.put(b"k", data)
        edges = sorted(
            {edge + step for edge in range(0, size + 1, 16384) for step in (-1, 0, 1)} & set(range(size + 1))
        )
        for first in edges:
            for last in edges:
                if first < last:
                    assert await rig.get(b"k", first, last - first) == data[first:last]

    run(body, inline_max_bytes=inline, read_ahead_bytes=20_000)


def test_an_opaque_etag_tells_nothing_of_the_content() -> None:
    async def body(rig: Rig) -> None:
        first, second = await rig.put(b"a", b"same"), await rig.put(b"b", b"same")
        assert first.etag != second.etag
        assert hashlib.md5(b"same").hexdigest() not in (first.etag, second.etag)

    run(body, etag_mode=EtagMode.OPAQUE)


REFUSED = [
    ("length", PayloadExpectation(content_length=4), "IncompleteBody"),
    ("md5", PayloadExpectation(content_md5=bytes(16)), "BadDigest"),
    ("sha256", PayloadExpectation(content_sha256=bytes(32)), "XAmzContentSHA256Mismatch"),
    (
        "checksum",
        PayloadExpectation(algorithm=ChecksumAlgorithm.CRC32, checksum=b64encode(bytes(4)).decode()),
        "BadDigest",
    ),
    (
        "trailer",
        PayloadExpectation(algorithm=ChecksumAlgorithm.CRC32, trailer="x-amz-checksum-crc32"),
        "MalformedTrailerError",
    ),
]


@pytest.mark.parametrize(("name", "expectation", "code"), REFUSED, ids=[row[0] for row in REFUSED])
@pytest.mark.parametrize("size", [5, 100_000])
def test_a_body_that_is_not_what_its_request_says_leaves_nothing(
    name: str, expectation: PayloadExpectation, code: str, size: int
) -> None:
    async def body(rig: Rig) -> None:
        await rig.put(b"k", b"before")
        with pytest.raises(S3Error) as caught:
            await rig.put(b"k", content_of(size), expectation=expectation)
        assert caught.value.row.code == code
        assert await rig.get(b"k") == b"before"
        assert rig.stored() == {}

    run(body)


def test_a_body_that_breaks_off_leaves_nothing() -> None:
    async def body(rig: Rig) -> None:
        new = NewObject(b"k", ObjectAttributes(), Conditions())
        broken = PieceBody(content_of(200_000), error=ConnectionResetError("gone"))
        with pytest.raises(ConnectionResetError):
            await rig.objects.put(rig.bucket, new, PayloadExpectation(), broken)
        assert rig.stored() == {}
        with pytest.raises(NoSuchVersion):
            await rig.get(b"k")

    run(body)


def test_conditions_are_judged_when_the_version_is_published() -> None:
    async def body(rig: Rig) -> None:
        first = await rig.put(b"k", b"1", conditions=Conditions(if_none_match_any=True))
        with pytest.raises(PreconditionRefused):
            await rig.put(b"k", b"2", conditions=Conditions(if_none_match_any=True))
        await rig.put(b"k", b"3", conditions=Conditions(if_match_etag=first.etag))
        with pytest.raises(PreconditionRefused):
            await rig.put(b"k", b"4", conditions=Conditions(if_match_etag=first.etag))
        assert await rig.get(b"k") == b"3"

    run(body)


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_copy_shares_its_content_and_outlives_its_source(size: int) -> None:
    data = content_of(size)

    async def body(rig: Rig) -> None:
        version = await rig.put(b"a", data)
        found = await rig.objects.find(rig.bucket, b"a")
        headers = ObjectHeaders(content_type="text/x")
        new = NewObject(b"b", ObjectAttributes(headers), Conditions())
        copied = (await rig.objects.copy(found, rig.bucket, new)).version
        assert copied.content_id == version.content_id
        assert copied.etag == version.etag
        await rig.objects.delete(rig.bucket, [DeleteVersion(b"a")])
        rig.clock.now = rig.clock.now.replace(year=2027)
        await rig.sweeper.sweep()
        assert await rig.get(b"b") == data
        await rig.objects.delete(rig.bucket, [DeleteVersion(b"b")])
        rig.clock.now = rig.clock.now.replace(year=2028)
        await rig.sweeper.sweep()
        assert rig.stored() == {}

    run(body)


def test_a_copy_that_wants_another_checksum_is_sealed_anew() -> None:
    async def body(rig: Rig) -> None:
        version = await rig.put(b"a", b"data")
        found = await rig.objects.find(rig.bucket, b"a")
        new = NewObject(b"b", ObjectAttributes(), Conditions())
        wanted = PayloadExpectation(algorithm=ChecksumAlgorithm.SHA256)
        copied = (await rig.objects.copy(found, rig.bucket, new, wanted)).version
        assert copied.content_id != version.content_id
        checksum = ObjectAttributes.decode(copied.attributes).checksum
        assert isinstance(checksum, Checksum)
        assert checksum.value == b64encode(hashlib.sha256(b"data").digest()).decode()
        assert await rig.get(b"b") == b"data"

    run(body)


def test_every_flipped_byte_of_a_stored_blob_is_found_and_no_wrong_byte_given() -> None:
    data = content_of(16384 + 100)

    async def body(rig: Rig) -> None:
        await rig.put(b"k", data)
        ((blob_id, sealed),) = rig.stored().items()
        for index in range(0, len(sealed), 7):
            rig.damage(blob_id, partial(flip, index))
            given = bytearray()
            with pytest.raises(SealedDamaged):
                await read_into(rig, given)
            assert data.startswith(given)
            assert len(given) < len(data)
            rig.damage(blob_id, lambda _: sealed)
        assert await rig.get(b"k") == data

    run(body, inline_max_bytes=0, read_ahead_bytes=8192)


async def read_into(rig: Rig, given: bytearray) -> None:
    found = await rig.objects.find(rig.bucket, b"k")
    async for piece in await rig.objects.open(found, 0, found.version.size):
        given += piece


def test_damage_in_the_first_chunk_is_known_before_anything_is_given() -> None:
    async def body(rig: Rig) -> None:
        await rig.put(b"k", content_of(300_000))
        ((blob_id, _),) = rig.stored().items()
        rig.damage(blob_id, partial(flip, 2000))
        found = await rig.objects.find(rig.bucket, b"k")
        with pytest.raises(SealedDamaged):
            await rig.objects.open(found, 0, 300_000)

    run(body)


def test_a_missing_blob_is_damage_and_never_an_absent_object() -> None:
    async def body(rig: Rig) -> None:
        await rig.put(b"k", content_of(300_000))
        (blob_id,) = rig.stored()
        await rig.blobs.delete(blob_id)
        found = await rig.objects.find(rig.bucket, b"k")
        with pytest.raises(BlobMissing):
            await rig.objects.open(found, 0, 300_000)

    run(body)


def test_a_valid_blob_in_the_place_of_another_does_not_open() -> None:
    async def body(rig: Rig) -> None:
        await rig.put(b"a", content_of(100_000))
        (first,) = rig.stored()
        await rig.put(b"b", content_of(100_000)[::-1])
        (second,) = set(rig.stored()) - {first}
        one, two = rig.stored()[first], rig.stored()[second]
        rig.damage(first, lambda _: two)
        rig.damage(second, lambda _: one)
        for key in (b"a", b"b"):
            with pytest.raises(SealedDamaged):
                await rig.get(key)
            with pytest.raises(SealedDamaged):
                await rig.get(key, 50_000, 10)

    run(body)


def test_records_of_many_blobs_are_made_in_turns() -> None:
    """What a Complete of 10,000 parts makes holds nobody up: others run between every few references."""

    async def body(rig: Rig) -> None:
        await rig.put(b"key", b"x")
        content = (await rig.catalogue.get_version(rig.bucket.bucket_id, b"key")).content
        assert content is not None
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        beside = asyncio.ensure_future(other())
        references = await blob_references([content.blobs[0]] * 10 * REFERENCES_PER_TURN)
        assert len(references) == 10 * REFERENCES_PER_TURN
        assert turns >= 10
        before = turns
        assert [piece async for piece in in_turns([b"x"] * 10)] == [b"x"] * 10
        assert turns >= before + 10
        beside.cancel()

    run(body)
