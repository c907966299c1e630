"""Sealer and openers as streams: any cut of input, any range, nothing released early, failed for good."""

import random
import re
import secrets
from datetime import UTC, datetime
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import SealedDamaged
from storage.sealed import stream
from storage.sealed.description import Description
from storage.sealed.header import BlobKind, FixedHeader
from storage.sealed.layout import CHUNK_SIZE, SEALED_CHUNK_SIZE, RangePlan
from storage.sealed.stream import (
    STREAM_MIN_SIZE,
    Expectation,
    Opener,
    RangeOpener,
    Sealer,
    SealReceipt,
    WholeOpener,
)
from tests.storage.sealed.make_vectors import pattern

HEADER = FixedHeader(BlobKind.OBJECT, bytes(range(16)), bytes(range(16, 32)), 33)
SLOT, DATA_KEY, DESCRIPTION_KEY = bytes(range(33)), bytes(range(32)), bytes(range(1, 33))
DESCRIPTION = Description(created_at=datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC), object_key=b"key")
EDGES = (0, 1, 16383, 16384, 16385, 32767, 32768, 32769)


def seal(plaintext: bytes) -> tuple[bytes, SealReceipt]:
    sealer = Sealer(HEADER, SLOT, DATA_KEY)
    blob = sealer.update(plaintext) + sealer.finalize(DESCRIPTION, DESCRIPTION_KEY)
    return blob, sealer.receipt


@cache
def sealed(size: int) -> tuple[bytes, Expectation]:
    blob, receipt = seal(pattern(size))
    return blob, receipt.expectation()


def fresh(size: int) -> tuple[bytes, Opener]:
    blob, expectation = sealed(size)
    return blob, Opener(HEADER, expectation, DATA_KEY)


def cut(data: bytes, seed: int) -> list[memoryview]:
    """`data` in random pieces, some of them empty."""
    rng = random.Random(seed)
    points = sorted(rng.choices(range(len(data) + 1), k=rng.choice((0, 1, 5, 40))))
    bounds = [0, *points, len(data)]
    return [memoryview(data)[start:end] for start, end in pairwise(bounds)]


@pytest.mark.parametrize("size", EDGES)
def test_sealing_gives_the_same_layout_however_the_plaintext_is_cut(size: int) -> None:
    for seed in range(8):
        print(f"seed {seed}")
        sealer = Sealer(HEADER, SLOT, DATA_KEY)
        blob = b"".join(sealer.update(piece) for piece in cut(pattern(size), seed))
        blob += sealer.finalize(DESCRIPTION, DESCRIPTION_KEY)
        receipt = sealer.receipt
        assert len(blob) == receipt.sealed_size == sealed(size)[1].sealed_size
        assert (receipt.plaintext_size, receipt.slot_size) == (size, 33)
        opener = Opener(HEADER, receipt.expectation(), DATA_KEY)
        whole = opener.open_whole()
        assert bytes(whole.update(blob)) + bytes(whole.finalize()) == pattern(size)


def test_the_first_output_carries_the_prefix_and_an_empty_object_is_sealed_too() -> None:
    sealer = Sealer(HEADER, SLOT, DATA_KEY)
    first = sealer.update(b"")
    assert first[:64] == HEADER.encode()
    assert first[64:97] == SLOT
    tail = sealer.finalize(DESCRIPTION, DESCRIPTION_KEY)
    assert first[97:] == sealer.receipt.salt + sealer.receipt.commitment
    assert len(tail) == 16 + 512 + 24
    untouched = Sealer(HEADER, SLOT, DATA_KEY)
    assert len(untouched.finalize(DESCRIPTION, DESCRIPTION_KEY)) == len(first) + len(tail)


def test_two_sealings_of_the_same_never_agree() -> None:
    receipts = [seal(b"same")[1] for _ in range(50)]
    for name in ("salt", "commitment", "footer_hash"):
        assert len({getattr(receipt, name) for receipt in receipts}) == 50


def test_sealer_refuses_what_the_format_cannot_say(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="slot"):
        Sealer(HEADER, SLOT + b"x", DATA_KEY)
    with pytest.raises(ValueError, match=r".+"):
        Sealer(HEADER, SLOT, bytes(31))
    sealer = Sealer(HEADER, SLOT, DATA_KEY)
    monkeypatch.setattr(stream, "MAX_PLAINTEXT_SIZE", 10)
    sealer.update(bytes(10))
    with pytest.raises(ValueError, match="more plaintext"):
        sealer.update(memoryview(b"x"))
    with pytest.raises(AssertionError, match="finalize"):
        _ = sealer.receipt


def test_a_sealer_is_good_for_one_blob() -> None:
    sealer = Sealer(HEADER, SLOT, DATA_KEY)
    sealer.finalize(DESCRIPTION, DESCRIPTION_KEY)
    with pytest.raises(Exception, match=r"finalized|already"):
        sealer.update(b"more")
    with pytest.raises(Exception, match=r"finalized|already"):
        sealer.finalize(DESCRIPTION, DESCRIPTION_KEY)


def test_no_repr_shows_keys_or_names() -> None:
    sealer = Sealer(HEADER, SLOT, DATA_KEY)
    sealer.finalize(DESCRIPTION, DESCRIPTION_KEY)
    opener = Opener(HEADER, sealer.receipt.expectation(), DATA_KEY)
    shown = "".join(map(repr, (sealer, opener, sealer.receipt, sealer.receipt.expectation(), DESCRIPTION)))
    shown = re.sub(r"object at 0x[0-9a-f]+", "", shown)
    assert "x1f" not in shown
    assert "key" not in shown


@pytest.mark.parametrize("size", EDGES)
def test_whole_reads_however_the_blob_is_cut_and_nothing_of_the_end_before_finalize(size: int) -> None:
    held = size % 16384 or min(size, 16384)
    for seed in range(12):
        print(f"seed {seed}")
        blob, opener = fresh(size)
        opener.check_stored_size(len(blob))
        whole = opener.open_whole()
        released = b"".join(whole.update(piece) for piece in cut(blob, seed))
        assert released == pattern(size)[: size - held]
        assert whole.finalize() == pattern(size)[size - held :]


@pytest.mark.parametrize("size", [0, 5, 16384])
def test_byte_by_byte_and_every_split(size: int) -> None:
    blob, opener = fresh(size)
    whole = opener.open_whole()
    plaintext = b"".join(whole.update(blob[i : i + 1]) for i in range(len(blob)))
    assert plaintext + bytes(whole.finalize()) == pattern(size)
    for split in range(0, len(blob), 1 if size < 10 else 61):
        blob, opener = fresh(size)
        whole = opener.open_whole()
        pieces = [bytes(whole.update(piece)) for piece in (blob[:split], blob[split:])]
        assert b"".join(pieces) + bytes(whole.finalize()) == pattern(size)


def read_range(size: int, offset: int, length: int, seed: int) -> bytes:
    blob, opener = fresh(size)
    plan = RangePlan(size, offset, length)
    start = plan.blob_offset(33)
    chunks = opener.open_range(plan)
    pieces = [bytes(chunks.update(piece)) for piece in cut(blob[start : start + plan.sealed_length], seed)]
    return b"".join(pieces) + bytes(chunks.finalize())


@pytest.mark.parametrize("size", EDGES[1:])
def test_ranges_at_every_chunk_edge(size: int) -> None:
    points = sorted({edge + delta for edge in EDGES for delta in (-1, 0, 1) if 0 <= edge + delta <= size} | {size})
    for offset in points:
        for end in points:
            if offset < end:
                assert read_range(size, offset, end - offset, seed=end) == pattern(size)[offset:end]


@settings(deadline=None, print_blob=True, max_examples=150)
@given(st.data())
def test_ranges_anywhere(data: st.DataObject) -> None:
    size = 70_000
    offset = data.draw(st.integers(0, size - 1))
    length = data.draw(st.integers(1, size - offset))
    assert read_range(size, offset, length, data.draw(st.integers(0, 99))) == pattern(size)[offset : offset + length]


def test_a_range_releases_nothing_of_its_last_chunk_before_finalize_and_nothing_unverified() -> None:
    blob, opener = fresh(70_000)
    plan = RangePlan(70_000, 16384, 2 * 16384)
    chunks = opener.open_range(plan)
    start = plan.blob_offset(33)
    altered = bytearray(blob[start : start + plan.sealed_length])
    altered[16400] ^= 1  # first byte of the range's last chunk
    assert chunks.update(altered) == pattern(70_000)[16384:32768]
    with pytest.raises(SealedDamaged, match=r"^chunk: chunk 2 "):
        chunks.finalize()


def test_several_ranges_may_be_open_together() -> None:
    blob, opener = fresh(70_000)
    plans = [RangePlan(70_000, offset, 20_000) for offset in (0, 100, 50_000)]
    ranges = [opener.open_range(plan) for plan in plans]
    found = [b""] * 3
    for step in range(3):
        for i, (plan, chunks) in enumerate(zip(plans, ranges, strict=True)):
            start, end = plan.blob_offset(33), plan.blob_offset(33) + plan.sealed_length
            piece = blob[start:end][step * 20_000 : (step + 1) * 20_000]
            found[i] += chunks.update(piece)
    found = [data + chunks.finalize() for data, chunks in zip(found, ranges, strict=True)]
    assert found == [pattern(70_000)[plan.offset : plan.end] for plan in plans]


def test_a_failed_opener_stays_failed_in_every_way() -> None:
    blob, opener = fresh(20)
    chunks, other = opener.open_range(RangePlan.whole(20)), opener.open_range(RangePlan.whole(20))
    whole = opener.open_whole()
    opener.check_prefix(blob[:153])
    with pytest.raises(SealedDamaged, match=r"^length: more bytes"):
        chunks.update(bytes(1000))
    right = blob[153 : 153 + 36]
    for again in (
        lambda: chunks.update(b""),
        chunks.finalize,
        lambda: other.update(right),
        other.finalize,
        lambda: whole.update(blob),
        whole.finalize,
        lambda: opener.check_prefix(blob[:153]),
        lambda: opener.check_tail(blob[189:]),
        lambda: opener.check_stored_size(len(blob)),
        lambda: opener.open_description(blob[189:], DESCRIPTION_KEY),
    ):
        with pytest.raises(SealedDamaged, match=r"^failed: "):
            again()


def test_whole_reads_refuse_early_and_late() -> None:
    blob, opener = fresh(20)
    whole = opener.open_whole()
    with pytest.raises(SealedDamaged, match=r"^length: "):
        whole.update(blob + b"x")
    blob, opener = fresh(20)
    with pytest.raises(SealedDamaged, match=r"^header: "):
        opener.open_whole().update(bytes(153))
    blob, opener = fresh(20)
    whole = opener.open_whole()
    whole.update(blob[:-1])
    with pytest.raises(SealedDamaged, match=r"^length: "):
        whole.finalize()
    blob, opener = fresh(20)
    whole = opener.open_whole()
    assert not whole.update(blob[:-1] + b"x")
    with pytest.raises(SealedDamaged, match=r"^trailer: "):
        whole.finalize()


def test_parts_of_another_length_are_refused() -> None:
    blob, opener = fresh(20)
    with pytest.raises(SealedDamaged, match=r"^length: the prefix"):
        opener.check_prefix(blob[:152])
    blob, opener = fresh(20)
    opener.check_prefix(memoryview(blob)[:153])
    with pytest.raises(SealedDamaged, match=r"^length: the tail"):
        opener.check_tail(blob[190:])


def test_the_description_is_read_with_the_row() -> None:
    blob, opener = fresh(20)
    opener.check_prefix(blob[:153])
    opened = opener.open_description(memoryview(blob)[189:], DESCRIPTION_KEY)
    assert opened.description == DESCRIPTION
    assert opened.inner_box == b""
    with pytest.raises(SealedDamaged, match=r"^description: "):
        opener.open_description(blob[189:], DATA_KEY)


def test_rows_that_do_not_agree_with_themselves_are_refused() -> None:
    _, right = sealed(20)
    row = {
        name: getattr(right, name) for name in ("plaintext_size", "sealed_size", "salt", "commitment", "footer_hash")
    }
    for change, kind in (
        ({"salt": b""}, "salt"),
        ({"salt": right.salt + b"x"}, "salt"),
        ({"commitment": b""}, "commitment"),
        ({"commitment": bytes(32)}, "commitment"),
        ({"sealed_size": 0}, "length"),
        ({"plaintext_size": -1}, "length"),
    ):
        with pytest.raises(SealedDamaged, match=f"^{kind}: "):
            Opener(HEADER, Expectation(**(row | change)), DATA_KEY)
    with pytest.raises(ValueError, match="32 bytes"):
        Opener(HEADER, right, bytes(16))


def test_misuse_is_an_assertion() -> None:
    blob, opener = fresh(20)
    with pytest.raises(AssertionError, match="check_prefix"):
        opener.check_tail(blob[189:])
    with pytest.raises(AssertionError, match="another size"):
        opener.open_range(RangePlan.whole(21))


def test_random_blobs_are_refused_and_nothing_else_is_raised() -> None:
    _, expectation = sealed(20)
    for _ in range(300):
        noise = secrets.token_bytes(expectation.sealed_size)
        whole = Opener(HEADER, expectation, DATA_KEY).open_whole()
        with pytest.raises(SealedDamaged):
            whole.update(noise)


STREAMED = STREAM_MIN_SIZE + 3 * CHUNK_SIZE
"""A size that is opened many chunks at a time."""


@pytest.mark.parametrize("size", [STREAM_MIN_SIZE - 1, STREAM_MIN_SIZE, STREAMED, STREAMED + 1, STREAMED - 1])
@pytest.mark.parametrize("seed", [None, 1, 2, 3])
def test_many_chunks_at_a_time_give_what_single_ones_do(size: int, seed: int | None) -> None:
    blob, opener = fresh(size)
    pieces = [blob] if seed is None else cut(blob, seed)
    whole = opener.open_whole()
    assert (whole._chunks._stream is None) == (size < STREAM_MIN_SIZE)
    assert b"".join([bytes(whole.update(piece)) for piece in pieces]) + bytes(whole.finalize()) == pattern(size)
    whole = opener.open_whole()
    whole._chunks._stream = None
    assert b"".join([bytes(whole.update(piece)) for piece in pieces]) + bytes(whole.finalize()) == pattern(size)


def feed(opened: WholeOpener | RangeOpener, pieces: list[bytearray], given: bytearray) -> None:
    for piece in pieces:
        given += opened.update(piece)
    given += opened.finalize()


@pytest.mark.parametrize("index", [0, 1, 7, 17, 18, 19])
@pytest.mark.parametrize("is_whole", [True, False])
@pytest.mark.parametrize("slice_size", [SEALED_CHUNK_SIZE, 5 * SEALED_CHUNK_SIZE, 100 * SEALED_CHUNK_SIZE])
def test_no_chunk_of_many_that_was_altered_is_given_out(index: int, is_whole: bool, slice_size: int) -> None:
    blob, opener = fresh(STREAMED)
    plan = RangePlan.whole(STREAMED)
    begin = 0 if is_whole else plan.blob_offset(33)
    end = len(blob) if is_whole else begin + plan.sealed_length
    altered = bytearray(blob)
    altered[plan.blob_offset(33) + index * SEALED_CHUNK_SIZE] ^= 1
    opened: WholeOpener | RangeOpener = opener.open_whole() if is_whole else opener.open_range(plan)
    given = bytearray()
    with pytest.raises(SealedDamaged, match=r"^chunk: chunk "):
        feed(opened, [altered[start : min(start + slice_size, end)] for start in range(begin, end, slice_size)], given)
    assert len(given) <= index * CHUNK_SIZE
    assert pattern(STREAMED).startswith(given)
    with pytest.raises(SealedDamaged, match=r"^failed: "):
        opened.update(b"x")


def test_chunks_that_change_places_are_found_many_at_a_time() -> None:
    blob, opener = fresh(STREAMED)
    first = RangePlan.whole(STREAMED).blob_offset(33)
    second = first + SEALED_CHUNK_SIZE
    swapped = blob[:first] + blob[second : second + SEALED_CHUNK_SIZE] + blob[first:second]
    with pytest.raises(SealedDamaged, match=r"^chunk: "):
        opener.open_whole().update(swapped + blob[len(swapped) :])


@pytest.mark.parametrize(("size", "held"), [(STREAMED, CHUNK_SIZE), (STREAMED + 1, 1), (STREAMED - 1, CHUNK_SIZE - 1)])
def test_many_at_a_time_hold_back_the_last_bytes(size: int, held: int) -> None:
    blob, opener = fresh(size)
    whole = opener.open_whole()
    assert len(whole.update(blob)) == size - held
    assert len(whole.finalize()) == held


def test_a_view_that_is_held_is_never_written_over_and_memory_that_is_not_is_used_again() -> None:
    blob, opener = fresh(STREAMED)
    plan = RangePlan.whole(STREAMED)
    chunks = opener.open_range(plan)
    start = plan.blob_offset(33)
    size = 2 * SEALED_CHUNK_SIZE
    slices = [blob[start + at : start + at + size] for at in range(0, 8 * size, size)]
    held = [chunks.update(piece) for piece in slices[:4]]
    parts = [chunks.update(piece)[5:10] for piece in slices[4:6]]
    assert b"".join(held) == pattern(STREAMED)[: 8 * CHUNK_SIZE]
    assert [bytes(part) for part in parts] == [pattern(STREAMED)[at * CHUNK_SIZE :][5:10] for at in (8, 10)]
    buffers = {id(part.obj) for part in parts}
    del parts
    assert id(chunks.update(slices[6]).obj) in buffers
    assert b"".join(held) == pattern(STREAMED)[: 8 * CHUNK_SIZE]
