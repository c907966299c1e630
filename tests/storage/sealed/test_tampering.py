"""Every bit, every length, every order of chunks, every swap of parts: refused, by the check meant for it."""

import itertools
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any, Self

import pytest

from storage.errors import SealedDamaged
from storage.sealed.layout import SEALED_CHUNK_SIZE, RangePlan
from tests.storage.sealed.independent_sealer import Recipe, canonical, seal
from tests.storage.sealed.make_vectors import other, pattern
from tests.storage.sealed.reading import kind_of, opener_of, project_with_row, recover_blob

DESCRIPTION = canonical({"created_at": 1, "object_key": "YQ==", "plaintext_size": 20})
SMALL = Recipe(pattern(20), description=DESCRIPTION)
SIZES = {"one chunk": 20, "two chunks": 16389}


@cache
def sealed(recipe: Recipe) -> tuple[bytes, dict[str, Any]]:
    return seal(recipe)


def regions(row: dict[str, Any]) -> Iterator[tuple[str, int, int]]:
    """Part of the blob, its span, and by its name the kind of damage that a flip there is to show."""
    slot_end = 64 + row["slot_size"]
    chunks_end = slot_end + 56 + row["plaintext_size"] + 16 * (row["plaintext_size"] // 16384 + 1)
    ends = (0, 64, slot_end, slot_end + 24, slot_end + 56, chunks_end, row["sealed_size"] - 24, row["sealed_size"])
    names = ("header", "slot", "salt", "commitment", "chunk", "footer", "trailer")
    yield from zip(names, ends, ends[1:], strict=False)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_every_bit_flipped_is_refused_by_the_check_of_its_part(size: int) -> None:
    recipe = SMALL.but(plaintext=pattern(size))
    original, row = sealed(recipe)
    plan = RangePlan.whole(size)
    right = pattern(size)
    blob, caught = bytearray(original), Counter[tuple[str, str]]()
    chunks_at = plan.blob_offset(row["slot_size"])
    for part, start, end in regions(row):
        for offset, bit in itertools.product(range(start, end), range(8)):
            blob[offset] ^= 1 << bit
            opener = opener_of(row, recipe.data_key)
            view = memoryview(blob)
            plaintext = b""
            with Refusal() as error:
                opener.check_stored_size(len(blob))
                opener.check_prefix(view[: opener.layout.prefix_size])
                if part == "chunk":  # only this part's bytes decide; the others were seen above and below
                    chunks = opener.open_range(plan)
                    plaintext = bytes(chunks.update(view[chunks_at : chunks_at + plan.sealed_length]))
                    chunks.finalize()
                opener.check_tail(view[opener.layout.footer_offset :])
            caught[part, kind_of(error.value)] += 1
            assert right.startswith(plaintext)
            view.release()
            blob[offset] ^= 1 << bit
    assert bytes(blob) == original
    expected_kind = {"slot": "footer"}
    assert caught == {(part, expected_kind.get(part, part)): (end - start) * 8 for part, start, end in regions(row)}


class Refusal:
    """`pytest.raises(SealedDamaged)` without its cost, for a hundred thousand uses."""

    value: BaseException

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, value: BaseException | None, trace: object) -> bool:
        assert type(value) is SealedDamaged, "accepted, or another exception"
        self.value = value
        return True


def test_every_bit_flipped_is_refused_without_a_row_except_in_the_chunks() -> None:
    original, row = sealed(SMALL)
    blob = bytearray(original)
    opened = Counter[str]()
    for part, start, end in regions(row):
        for offset, bit in itertools.product(range(start, end), range(8)):
            blob[offset] ^= 1 << bit
            try:
                recover_blob(bytes(blob), SMALL.realm_id, SMALL.description_key)
                opened[part] += 1
            except SealedDamaged:
                pass
            blob[offset] ^= 1 << bit
    assert opened == {"chunk": (20 + 16) * 8}


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_every_truncation_is_refused(size: int) -> None:
    recipe = SMALL.but(plaintext=pattern(size))
    blob, row = sealed(recipe)
    plan = RangePlan.whole(size)
    chunks_at = plan.blob_offset(row["slot_size"])
    view, right = memoryview(blob), pattern(size)
    for length in range(len(blob)):
        opener = opener_of(row, recipe.data_key)
        with Refusal() as error:
            opener.check_stored_size(length)
        assert kind_of(error.value) == "length"
        with Refusal():  # without a row, as if the rest had never been
            recover_blob(bytes(view[:length]), recipe.realm_id, recipe.description_key)
    for length in range(plan.sealed_length):
        chunks = opener_of(row, recipe.data_key).open_range(plan)
        assert right.startswith(chunks.update(view[chunks_at : chunks_at + length]))
        with Refusal() as error:
            chunks.finalize()
        assert kind_of(error.value) == "length"
    for length in [*range(200), *range(chunks_at, len(blob), 997), len(blob) - 1]:
        whole = opener_of(row, recipe.data_key).open_whole()
        whole.update(view[:length])
        with Refusal():
            whole.finalize()


def with_chunks(blob: bytes, row: dict[str, Any], chunks: list[bytes]) -> tuple[bytes, dict[str, Any]]:
    """The blob with other chunks, and the row it came with."""
    (start, end), *_ = [(start, end) for part, start, end in regions(row) if part == "chunk"]
    return blob[:start] + b"".join(chunks) + blob[end:], row


def chunks_of(blob: bytes, row: dict[str, Any]) -> list[bytes]:
    (start, end), *_ = [(start, end) for part, start, end in regions(row) if part == "chunk"]
    return [blob[at : min(at + SEALED_CHUNK_SIZE, end)] for at in range(start, end, SEALED_CHUNK_SIZE)]


@pytest.mark.parametrize("size", [0, 20, 16384, 16389, 32768, 32788])
def test_every_order_drop_and_repeat_of_chunks_is_refused(size: int) -> None:
    recipe = SMALL.but(plaintext=pattern(size))
    blob, row = sealed(recipe)
    chunks = chunks_of(blob, row)
    assert len(chunks) == size // 16384 + 1
    tried = 0
    for count in range(len(chunks) + 2):
        for order in itertools.product(range(len(chunks)), repeat=count):
            if order == tuple(range(len(chunks))):
                continue
            altered, _ = with_chunks(blob, row, [chunks[index] for index in order])
            with pytest.raises(SealedDamaged) as error:
                project_with_row(altered, row, recipe.data_key)
            assert kind_of(error.value) in {"length", "chunk"}
            # The row may not know the length: then the trailer or the tags must.
            with pytest.raises(SealedDamaged):
                project_with_row(altered, row | {"sealed_size": len(altered)}, recipe.data_key)
            tried += 1
    assert tried >= 2


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_every_swap_of_parts_between_two_blobs_is_refused(size: int) -> None:
    mine, theirs = SMALL.but(plaintext=pattern(size)), other(SMALL).but(plaintext=pattern(size))
    (blob, row), (other_blob, other_row) = sealed(mine), sealed(theirs)
    assert len(blob) == len(other_blob)
    parts = [part for part in regions(row) if part[0] != "trailer"]  # two blobs of one size have the same trailer
    for count in range(1, len(parts) + 1):
        for chosen in itertools.combinations(parts, count):
            altered = bytearray(blob)
            for _, start, end in chosen:
                altered[start:end] = other_blob[start:end]
            with pytest.raises(SealedDamaged):
                project_with_row(bytes(altered), row, mine.data_key)
            names = {part for part, _, _ in chosen}
            if names not in ({part for part, _, _ in parts}, {"chunk"}, {part for part, _, _ in parts} - {"chunk"}):
                with pytest.raises(SealedDamaged):
                    recover_blob(bytes(altered), mine.realm_id, mine.description_key)
    with pytest.raises(SealedDamaged) as error:
        project_with_row(blob, row, theirs.data_key)
    assert kind_of(error.value) == "commitment"
    with pytest.raises(SealedDamaged) as error:
        project_with_row(other_blob, other_row, mine.data_key)
    assert kind_of(error.value) == "commitment"


def test_a_matrix_of_twelve_blobs_opens_on_its_diagonal_only() -> None:
    recipes = [
        SMALL.but(
            plaintext=pattern(20),
            kind=1 + i % 3,
            blob_id=bytes([i] * 16),
            salt=bytes([i] * 24),
            data_key=bytes([i] * 32),
        )
        for i in range(12)
    ]
    blobs = [sealed(recipe) for recipe in recipes]
    for (i, (blob, _)), (j, (_, row)) in itertools.product(enumerate(blobs), enumerate(blobs)):
        if i == j:
            assert project_with_row(blob, row, recipes[j].data_key) == pattern(20)
        else:
            with pytest.raises(SealedDamaged) as error:
                project_with_row(blob, row, recipes[j].data_key)
            assert kind_of(error.value) == "header"


def test_zero_and_default_keys_open_nothing() -> None:
    blob, row = sealed(SMALL)
    for key in (bytes(32), b"\xff" * 32, bytes(range(32)), SMALL.description_key, b"0" * 32):
        with pytest.raises(SealedDamaged):
            project_with_row(blob, row, key)
        if key != SMALL.description_key:
            with pytest.raises(SealedDamaged):
                recover_blob(blob, SMALL.realm_id, key)
