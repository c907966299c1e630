"""Reading: spans over blobs, reading ahead, and that nothing stays open."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.engine.attributes import ObjectAttributes
from gateway.engine.custody import Unlock
from gateway.engine.objects import NewObject
from gateway.engine.opening import MIN_TURN_BYTES, SLICE_BYTES, TURN_BYTES, plan_spans
from gateway.s3.types import ChecksumAlgorithm, PayloadExpectation
from keys.errors import KmsUnavailable
from keys.kms.memory import Fault
from storage.catalogue.commands import Conditions, Found
from storage.catalogue.records import Blob
from storage.errors import BlobMissing, BlobReadFailed, SealedDamaged, StorageFull
from storage.sealed.layout import CHUNK_SIZE
from tests.gateway.engine.rig import Rig, run

MIB = 1024 * 1024
DATA = random.Random(5).randbytes(3 * MIB + 100)


async def stored(rig: Rig, data: bytes = DATA) -> Found:
    await rig.put(b"k", data)
    return await rig.objects.find(rig.bucket, b"k")


def nothing_is_open(rig: Rig) -> None:
    assert [reader for reader in rig.readers if not reader.is_closed] == []
    assert rig.opener._budget._open_count == 0


class Sized:
    """As much of a blob as planning looks at."""

    def __init__(self, plaintext_size: int) -> None:
        self.plaintext_size = plaintext_size


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.data())
def test_spans_equal_brute_force(sizes: list[int], draw: st.DataObject) -> None:
    blobs = tuple(Sized(size) for size in sizes)
    everything = [(id(blob), index) for blob in blobs for index in range(blob.plaintext_size)]
    offset = draw.draw(st.integers(0, len(everything)))
    length = draw.draw(st.integers(0, len(everything) - offset))
    spans = plan_spans(cast("tuple[Blob, ...]", blobs), offset, length)
    planned = [(id(span.blob), index) for span in spans for index in range(span.offset, span.offset + span.length)]
    assert planned == everything[offset : offset + length]
    if length:
        assert all(span.length > 0 for span in spans)
    else:
        assert all(span.blob.plaintext_size == 0 for span in spans), "an empty blob proves that it is whole"
    if sum(sizes) == 0:
        assert len(spans) == len(sizes)


def test_a_whole_read_leaves_nothing_open_and_reads_each_byte_once() -> None:
    async def body(rig: Rig) -> None:
        found = await stored(rig)
        rig.track_readers()
        assert await rig.get(b"k") == DATA
        (reader,) = rig.readers
        assert found.content is not None
        assert sum(length for _, length in reader.reads) == found.content.blobs[0].sealed_size
        assert [offset for offset, _ in reader.reads] == [MIB * n for n in range(4)]
        nothing_is_open(rig)

    run(body)


def test_the_next_piece_is_read_while_the_last_is_worked_on_and_no_more_than_it() -> None:
    async def body(rig: Rig) -> None:
        found = await stored(rig)
        rig.track_readers()
        pieces = await rig.objects.open(found, 0, len(DATA))
        (reader,) = rig.readers
        given = 0
        while given < len(DATA):
            await asyncio.sleep(0)
            worked_on = max(0, given - 1) // MIB + 1
            assert len(reader.reads) == min(worked_on + 1, 4), "one is worked on, one is on its way"
            given += len(await anext(pieces))
        await pieces.aclose()
        nothing_is_open(rig)

    run(body)


def test_what_is_at_hand_is_opened_in_slices_without_a_read() -> None:
    async def body(rig: Rig) -> None:
        await stored(rig)
        rig.are_at_hand = True
        rig.track_readers()
        pieces = [bytes(piece) async for piece in await rig.objects.open(await _found(rig), 0, len(DATA))]
        assert b"".join(pieces) == DATA
        assert max(map(len, pieces)) == 256 * 1024, "no more in one go on the loop"
        (reader,) = rig.readers
        assert reader.reads == []
        assert max(length for _, length in reader.taken) == SLICE_BYTES
        assert {len(piece) % CHUNK_SIZE for piece in pieces[:-1]} == {0}, "no chunk is pieced together"
        assert len(pieces) == len(reader.taken) + 1, "each slice is opened whole, and one is held back"
        nothing_is_open(rig)

    run(body)


def test_a_range_that_is_at_hand_takes_no_read() -> None:
    async def body(rig: Rig) -> None:
        await stored(rig)
        rig.are_at_hand = True
        rig.track_readers()
        assert await rig.get(b"k", 70_000, 500_000) == DATA[70_000:570_000]
        (reader,) = rig.readers
        assert reader.reads == []
        assert sum(length for _, length in reader.taken) < 500_000 + 3 * 16400
        nothing_is_open(rig)

    run(body)


@pytest.mark.parametrize("begins", [True, False])
def test_a_blob_of_which_some_is_at_hand_is_read_once(begins: bool) -> None:
    async def body(rig: Rig) -> None:
        found = await stored(rig)
        rig.are_at_hand = begins
        rig.track_readers()
        pieces = await rig.objects.open(found, 0, len(DATA))
        (reader,) = rig.readers
        given = bytearray(await anext(pieces))
        reader.is_at_hand = not begins
        await _collect(pieces, given)
        assert given == DATA
        assert found.content is not None
        sealed_size = found.content.blobs[0].sealed_size
        asked = sum(length for _, length in reader.reads)
        if begins:
            ((_, taken),) = reader.taken
            assert asked == sealed_size - taken, "what was taken is not read again"
        else:
            assert asked == 2 * MIB, "the read that was begun is used, and then what is at hand"
        nothing_is_open(rig)

    run(body)


@pytest.mark.parametrize(("stream_count", "share_bytes"), [(1, TURN_BYTES), (4, TURN_BYTES // 4), (16, MIN_TURN_BYTES)])
def test_streams_share_the_bytes_that_they_open_in_a_turn_of_the_loop(stream_count: int, share_bytes: int) -> None:
    async def body(rig: Rig) -> None:
        data = bytes(9 * MIB)
        found = await stored(rig, data)
        rig.are_at_hand = True
        rig.track_readers()
        turns = 0

        def turn() -> None:
            nonlocal turns
            turns += 1
            asyncio.get_running_loop().call_soon(turn)

        async with contextlib.AsyncExitStack() as opened:
            streams = [
                await opened.enter_async_context(contextlib.aclosing(await rig.objects.open(found, 0, len(data))))
                for _ in range(stream_count)
            ]
            turn()
            in_a_turn: dict[int, int] = {}
            async for piece in streams[0]:
                in_a_turn[turns] = in_a_turn.get(turns, 0) + len(piece)
        assert len(in_a_turn) > 1
        assert max(in_a_turn.values()) <= share_bytes + SLICE_BYTES
        assert sum(in_a_turn.values()) / len(in_a_turn) > share_bytes / 2, "a turn moves much"
        nothing_is_open(rig)

    run(body, inline_max_bytes=0)


async def _found(rig: Rig) -> Found:
    return await rig.objects.find(rig.bucket, b"k")


@pytest.mark.parametrize("given_count", [0, 1, 2])
def test_a_reader_that_loses_interest_leaves_nothing_open(given_count: int) -> None:
    async def body(rig: Rig) -> None:
        found = await stored(rig)
        gate = rig.track_readers()
        pieces = await rig.objects.open(found, 0, len(DATA))
        for _ in range(given_count):
            await anext(pieces)
        gate.clear()
        await asyncio.sleep(0)
        await pieces.aclose()
        nothing_is_open(rig)
        (reader,) = rig.readers
        assert reader.finished_count < 4

    run(body)


def test_a_read_that_is_cancelled_leaves_nothing_open() -> None:
    async def body(rig: Rig) -> None:
        found = await stored(rig)
        gate = rig.track_readers()
        gate.clear()
        task = asyncio.create_task(_open(rig, found))
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(rig.readers[0].reads) == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        nothing_is_open(rig)

    run(body)


async def _open(rig: Rig, found: Found) -> AsyncIterator[Any]:
    return await rig.objects.open(found, 0, found.version.size)


@pytest.mark.parametrize("span", [(0, len(DATA)), (70_000, 10)])
@pytest.mark.parametrize("cut", [-1, 1, -200_000])
def test_a_store_of_another_length_than_the_row_is_found_before_a_byte_is_read(span: tuple[int, int], cut: int) -> None:
    async def body(rig: Rig) -> None:
        found = await stored(rig)
        ((blob_id, held),) = rig.stored().items()
        rig.damage(blob_id, lambda _: held[:cut] if cut < 0 else held + b"x")
        rig.track_readers()
        with pytest.raises(SealedDamaged):
            await rig.objects.open(found, *span)
        assert rig.readers[0].reads == []
        nothing_is_open(rig)

    run(body)


def test_a_medium_that_fails_fails_the_read_and_closes() -> None:
    async def body(rig: Rig) -> None:
        found = await stored(rig)
        rig.track_readers()
        pieces = await rig.objects.open(found, 0, len(DATA))

        async def broken(_offset: int, _length: int) -> bytes:
            raise BlobReadFailed("the medium failed")

        rig.readers[0].read = broken  # type: ignore[method-assign,assignment]  # from now on
        given = bytearray()
        with pytest.raises(BlobReadFailed):
            await _collect(pieces, given)
        assert DATA.startswith(given)
        assert len(given) < len(DATA)
        await pieces.aclose()
        nothing_is_open(rig)

    run(body)


async def _collect(pieces: AsyncIterator[Any], given: bytearray) -> None:
    async for piece in pieces:
        given += piece


def test_a_read_ahead_that_fails_unheard_is_no_noise() -> None:
    async def body(rig: Rig) -> None:
        found = await stored(rig)
        rig.track_readers()
        pieces = await rig.objects.open(found, 0, len(DATA))
        (reader,) = rig.readers
        reader._reader._content = b""  # type: ignore[attr-defined]  # the file shrank under its reader
        for _ in range(3):
            await asyncio.sleep(0)
        assert (len(reader.reads), reader.finished_count) == (2, 1), "the second read was begun and failed"
        await pieces.aclose()
        nothing_is_open(rig)

    run(body)


def test_a_version_whose_blobs_have_another_size_is_damaged() -> None:
    async def body(rig: Rig) -> None:
        found = await stored(rig)
        assert found.content is not None
        longer = replace(found.version, size=len(DATA) + 1)
        with pytest.raises(SealedDamaged):
            await rig.objects.open(Found(longer, found.content), 0, 10)
        empty = Found(replace(found.version, size=0), replace(found.content, blobs=()))
        with pytest.raises(SealedDamaged):
            await rig.objects.open(empty, 0, 0)

    run(body)


def test_without_its_key_nothing_is_opened() -> None:
    async def body(rig: Rig) -> None:
        found = await stored(rig)
        rig.track_readers()
        rig.clock.now = rig.clock.now.replace(year=2027)
        rig.kms.fault = Fault.UNAVAILABLE
        with pytest.raises(KmsUnavailable):
            await rig.objects.open(found, 0, len(DATA))
        assert rig.readers == []
        assert rig.opener._budget._open_count == 0

    run(body)


def test_many_reads_share_the_budget() -> None:
    async def body(rig: Rig) -> None:
        found = await stored(rig)
        rig.track_readers()
        async with contextlib.AsyncExitStack() as opened:
            for _ in range(32):
                await opened.enter_async_context(contextlib.aclosing(await rig.objects.open(found, 0, len(DATA))))
            last = rig.readers[-1]
            assert max(length for _, length in last.reads) == (1 << 24) // 32
        nothing_is_open(rig)

    run(body)


async def _full(_blob_id: bytes, chunks: AsyncIterator[bytes]) -> int:
    async for _ in chunks:
        raise StorageFull("no space left")
    raise AssertionError("there were chunks")


@pytest.mark.parametrize("what", ["copy", "part"])
def test_a_copy_that_fails_closes_its_source(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(rig: Rig) -> None:
        found = await stored(rig)
        upload = await rig.multipart.create(rig.bucket, b"big", ObjectAttributes())
        rig.track_readers()
        monkeypatch.setattr(rig.blobs, "put", _full)
        with pytest.raises(StorageFull) as caught:
            await _copy(rig, what, found, upload)
        assert caught.value is not None, "the traceback keeps what it names alive, so that no collector helps"
        nothing_is_open(rig)
        monkeypatch.undo()

    run(body)


async def _copy(rig: Rig, what: str, found: Found, upload: Any) -> None:
    if what == "part":
        await rig.multipart.copy_part(rig.bucket, upload, 1, found, 10, 2 * MIB)
    else:
        new = NewObject(b"copy", ObjectAttributes(), Conditions())
        await rig.objects.copy(found, rig.bucket, new, PayloadExpectation(algorithm=ChecksumAlgorithm.SHA1))


def test_a_part_whose_upload_does_not_open_closes_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(rig: Rig) -> None:
        found = await stored(rig)
        upload = await rig.multipart.create(rig.bucket, b"big", ObjectAttributes())
        rig.track_readers()
        real = rig.custody.open_content_key

        async def refusing(bucket_id: bytes, content_id: bytes, slot: bytes, unlock: Unlock) -> Any:
            if content_id == upload.content.content_id:
                raise KmsUnavailable("gone")
            return await real(bucket_id, content_id, slot, unlock)

        monkeypatch.setattr(rig.custody, "open_content_key", refusing)
        with pytest.raises(KmsUnavailable) as caught:
            await _copy(rig, "part", found, upload)
        assert caught.value is not None
        nothing_is_open(rig)

    run(body)


def test_damage_names_the_blob_and_so_its_file() -> None:
    async def body(rig: Rig) -> None:
        await rig.put(b"k", bytes(range(256)) * 400)
        ((blob_id, _),) = rig.stored().items()
        rig.damage(blob_id, lambda held: held[:-1])
        with pytest.raises(SealedDamaged, match=blob_id.hex()):
            await rig.get(b"k")
        await rig.blobs.delete(blob_id)
        with pytest.raises(BlobMissing, match=blob_id.hex()):
            await rig.get(b"k")

    run(body)
