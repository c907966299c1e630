"""Sizes and plans: every rule of FORMAT sections 2 and 5 against plain reckoning over chunk by chunk lists."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import SealedDamaged
from storage.sealed import layout
from storage.sealed.layout import BlobLayout, RangePlan

EDGES = sorted({edge + delta for edge in (0, 16384, 32768, 49152) for delta in (-2, -1, 0, 1, 2) if edge + delta >= 0})


def chunk_sizes(plaintext_size: int) -> list[int]:
    """Plain sizes of the chunks, the short final one last."""
    return [16384] * (plaintext_size // 16384) + [plaintext_size % 16384]


@pytest.mark.parametrize("size", [*EDGES, 2**52 - 1])
def test_payload_sizes_go_there_and_back(size: int) -> None:
    payload_size = layout.sealed_payload_size(size)
    assert payload_size == 56 + size + 16 * (size // 16384 + 1)
    assert layout.plaintext_size_of(payload_size) == size
    if size < 10**6:
        assert payload_size == 56 + sum(chunk + 16 for chunk in chunk_sizes(size))
        assert layout.chunk_count(size) == len(chunk_sizes(size))


def test_every_payload_size_up_to_three_chunks_is_valid_or_refused() -> None:
    valid = {layout.sealed_payload_size(size): size for size in range(3 * 16384)}
    for payload_size in range(-100, max(valid) + 1):
        if payload_size in valid:
            assert layout.plaintext_size_of(payload_size) == valid[payload_size]
        else:
            with pytest.raises(SealedDamaged, match=r"^length: "):
                layout.plaintext_size_of(payload_size)


@pytest.mark.parametrize("size", [-1, 2**52, 2**64])
def test_sizes_beyond_the_limit_are_refused(size: int) -> None:
    with pytest.raises(SealedDamaged, match=r"^length: "):
        layout.sealed_payload_size(size)
    with pytest.raises(SealedDamaged, match=r"^length: "):
        layout.plaintext_size_of(56 + size + 16 * (size // 16384 + 1))


def test_footer_sizes() -> None:
    assert layout.padded_footer_size(2, 0) == 512
    assert layout.padded_footer_size(512 - 24, 0) == 512
    assert layout.padded_footer_size(512 - 24 + 1, 0) == 1024
    largest = layout.padded_footer_size(layout.MAX_JSON_SIZE, layout.MAX_INNER_SIZE + 16)
    assert largest == layout.MAX_FOOTER_SIZE
    layout.check_footer_size(largest)
    for size in (-512, 0, 511, 513, largest + 512):
        with pytest.raises(SealedDamaged, match=r"^length: "):
            layout.check_footer_size(size)


def test_the_parts_of_a_blob_stand_where_format_md_says() -> None:
    sealed_size = layout.sealed_blob_size(100, 20_000, 1024)
    found = BlobLayout(100, 20_000, sealed_size)
    assert (found.payload_offset, found.prefix_size) == (164, 220)
    assert found.footer_offset == 220 + 20_000 + 32
    assert (found.footer_size, found.tail_size) == (1024, 1048)
    assert sealed_size == found.footer_offset + 1024 + 24


@pytest.mark.parametrize(
    ("slot_size", "plaintext_size", "delta"),
    [(0, 5, 0), (8193, 5, 0), (-1, 5, 0), (5, 5, 1), (5, 5, -512), (5, 5, 10**6 * 512), (5, -1, 0), (5, 2**52, 0)],
)
def test_sizes_that_do_not_agree_are_refused(slot_size: int, plaintext_size: int, delta: int) -> None:
    sealed_size = 64 + slot_size + 56 + plaintext_size + 16 * (plaintext_size // 16384 + 1) + 512 + 24 + delta
    with pytest.raises(SealedDamaged, match=r"^length: "):
        BlobLayout(slot_size, plaintext_size, sealed_size)


def check_plan(plaintext_size: int, offset: int, length: int) -> None:
    """Compare a plan with a walk over the chunks."""
    plan = RangePlan(plaintext_size, offset, length)
    sizes, end = chunk_sizes(plaintext_size), offset + length
    wanted = [i for i in range(len(sizes)) if i * 16384 < end and offset < i * 16384 + sizes[i]]
    if end == plaintext_size and len(sizes) - 1 not in wanted:
        wanted.append(len(sizes) - 1)
    assert wanted == list(range(plan.first_chunk_index, plan.first_chunk_index + plan.chunk_count))
    assert plan.payload_offset == 56 + 16400 * wanted[0]
    assert plan.blob_offset(77) == 64 + 77 + plan.payload_offset
    assert plan.sealed_length == sum(sizes[i] + 16 for i in wanted)
    assert plan.includes_final is (wanted[-1] == len(sizes) - 1)
    assert plan.drop_head == offset - wanted[0] * 16384
    assert plan.drop_tail == sum(sizes[i] for i in wanted) - plan.drop_head - length
    held = 2 if sizes[wanted[-1]] == 0 and len(wanted) > 1 else 1
    assert plan.held_chunk_count == held


@pytest.mark.parametrize("plaintext_size", EDGES)
def test_plans_at_every_edge(plaintext_size: int) -> None:
    check_plan(plaintext_size, 0, plaintext_size)
    for offset in (edge for edge in EDGES if edge < plaintext_size):
        for end in {edge for edge in EDGES if offset < edge <= plaintext_size} | {offset + 1, plaintext_size}:
            check_plan(plaintext_size, offset, end - offset)


@settings(deadline=None, print_blob=True)
@given(st.integers(1, 2**18), st.data())
def test_plans_anywhere(plaintext_size: int, data: st.DataObject) -> None:
    offset = data.draw(st.integers(0, plaintext_size - 1))
    check_plan(plaintext_size, offset, data.draw(st.integers(1, plaintext_size - offset)))


@pytest.mark.parametrize(
    ("plaintext_size", "offset", "length"),
    [
        (0, 0, 1),
        (0, 1, 0),
        (5, 0, 0),
        (5, 5, 0),
        (5, 5, 1),
        (5, 0, 6),
        (5, -1, 2),
        (5, 1, -1),
        (-1, 0, -1),
        (2**52, 0, 1),
    ],
)
def test_spans_outside_the_plaintext_are_the_callers_mistake(plaintext_size: int, offset: int, length: int) -> None:
    with pytest.raises(ValueError, match="not within"):
        RangePlan(plaintext_size, offset, length)
