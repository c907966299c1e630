"""Reading without a row: everything found must authenticate, and what is found is what the row would say."""

import secrets
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import SealedDamaged
from storage.sealed.description import open_inner
from storage.sealed.header import BlobKind, FixedHeader
from storage.sealed.recovery import MAX_PREFIX_SIZE, MAX_TAIL_SIZE, recover
from storage.sealed.stream import Opener, Sealer, parse_untrusted_trailer
from tests.storage.sealed.test_description import DESCRIPTIONS
from tests.storage.sealed.test_stream import DATA_KEY, DESCRIPTION, DESCRIPTION_KEY, HEADER, SLOT


def make(header: FixedHeader = HEADER, slot: bytes = SLOT, size: int = 50_000) -> bytes:
    sealer = Sealer(header, slot, DATA_KEY)
    return sealer.update(bytes(size)) + sealer.finalize(DESCRIPTION, DESCRIPTION_KEY, b"inner")


@pytest.mark.parametrize("kind", BlobKind)
@pytest.mark.parametrize("slot_size", [1, 33, 8192])
def test_all_that_a_row_says_is_recovered(kind: BlobKind, slot_size: int) -> None:
    header, slot = replace(HEADER, kind=kind, slot_size=slot_size), secrets.token_bytes(slot_size)
    sealer = Sealer(header, slot, DATA_KEY)
    blob = sealer.update(bytes(50_000)) + sealer.finalize(DESCRIPTION, DESCRIPTION_KEY, b"inner")
    head, tail = blob[:MAX_PREFIX_SIZE], memoryview(blob)[-MAX_TAIL_SIZE:]
    found = recover(head, tail, len(blob), HEADER.realm_id, DESCRIPTION_KEY)
    assert found.header == header
    assert found.expectation == sealer.receipt.expectation()
    assert found.wrapped_key == slot
    assert found.description == DESCRIPTION
    assert open_inner(found.binding, found.inner_box, DATA_KEY) == b"inner"
    whole = Opener(found.header, found.expectation, DATA_KEY).open_whole()
    assert bytes(whole.update(blob)) + bytes(whole.finalize()) == bytes(50_000)
    assert "key" not in repr(found)


@settings(deadline=None, print_blob=True, max_examples=30)
@given(DESCRIPTIONS)
def test_descriptions_come_back_through_a_whole_blob(description: object) -> None:
    sealer = Sealer(HEADER, SLOT, DATA_KEY)
    blob = sealer.finalize(description, DESCRIPTION_KEY)  # type: ignore[arg-type]  # the strategy builds descriptions
    found = recover(blob, blob, len(blob), HEADER.realm_id, DESCRIPTION_KEY)
    assert found.description == description


def test_too_little_of_the_blob_is_refused() -> None:
    blob = make()
    prefix_size, tail_size = 64 + 33 + 56, 512 + 24
    recover(blob[:prefix_size], blob[-tail_size:], len(blob), HEADER.realm_id, DESCRIPTION_KEY)
    for head, tail in ((blob[: prefix_size - 1], blob), (blob, blob[1 - tail_size :])):
        with pytest.raises(SealedDamaged, match=r"^length: "):
            recover(head, tail, len(blob), HEADER.realm_id, DESCRIPTION_KEY)


def test_a_tail_cut_at_a_possible_footer_is_refused_for_its_length() -> None:
    sealer = Sealer(HEADER, SLOT, DATA_KEY)
    blob = sealer.finalize(replace(DESCRIPTION, etag="x" * 900), DESCRIPTION_KEY)
    recover(blob, blob[-1024 - 24 :], len(blob), HEADER.realm_id, DESCRIPTION_KEY)
    with pytest.raises(SealedDamaged, match=r"^length: "):
        recover(blob, blob[-512 - 24 :], len(blob), HEADER.realm_id, DESCRIPTION_KEY)


@pytest.mark.parametrize("delta", [-512, -1, 1, 512, 10**9])
def test_a_size_that_the_store_gets_wrong_is_refused(delta: int) -> None:
    blob = make()
    with pytest.raises(SealedDamaged, match=r"^length: "):
        recover(blob, blob, len(blob) + delta, HEADER.realm_id, DESCRIPTION_KEY)


def test_other_realms_and_keys_are_refused() -> None:
    blob = make()
    with pytest.raises(SealedDamaged, match=r"^header: a blob of another realm"):
        recover(blob, blob, len(blob), bytes(16), DESCRIPTION_KEY)
    with pytest.raises(SealedDamaged, match=r"^description: "):
        recover(blob, blob, len(blob), HEADER.realm_id, DATA_KEY)


@pytest.mark.parametrize("size", [0, 1, 23, 25])
def test_trailers_have_one_size(size: int) -> None:
    with pytest.raises(SealedDamaged, match=r"^trailer: "):
        parse_untrusted_trailer(make()[-size:] if size else b"")


@settings(deadline=None, print_blob=True)
@given(st.binary(max_size=700), st.integers(0, 2**64))
def test_anything_is_refused_with_our_error(data: bytes, sealed_size: int) -> None:
    blob = HEADER.encode() + data
    for head in (data, blob):
        with pytest.raises(SealedDamaged):
            recover(head, data, sealed_size, HEADER.realm_id, DESCRIPTION_KEY)
