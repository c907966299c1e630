"""Payloads of envelopes blobs: published vectors, every rule broken once, and a value or our error for anything."""

import base64
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import SealedDamaged
from storage.sealed.envelopes import MAX_ENVELOPES, MAX_EPOCH, Envelopes
from tests.storage.sealed.make_vectors import FOLDER

VECTORS = {
    vector["name"]: (vector["outcome"], base64.b64decode(vector["payload"]))
    for vector in json.loads((FOLDER / "envelopes.json").read_text())
}


@pytest.mark.parametrize("name", VECTORS)
def test_vectors(name: str) -> None:
    outcome, payload = VECTORS[name]
    if outcome == "opens":
        decoded = Envelopes.decode(payload)
        assert decoded.encode() == payload
        assert decoded.encoded_size == len(payload)
    else:
        with pytest.raises(SealedDamaged, match=f"^{outcome}: "):
            Envelopes.decode(payload)


def test_what_the_vectors_hold_is_what_comes_out() -> None:
    two = Envelopes.decode(VECTORS["two"][1])
    assert two == Envelopes(7, (((1).to_bytes(16), b"one"), ((2).to_bytes(16), b"another")))
    assert len(Envelopes.decode(VECTORS["most"][1]).entries) == MAX_ENVELOPES
    assert Envelopes.decode(VECTORS["longest"][1]).epoch == MAX_EPOCH


def test_entries_are_put_in_order() -> None:
    entries = [(bytes((number,)) * 16, b"envelope") for number in (3, 1, 2)]
    assert Envelopes.of(1, entries).entries == tuple(sorted(entries))


@pytest.mark.parametrize(
    ("epoch", "entries"),
    [
        (-1, ((bytes(16), b"a"),)),
        (MAX_EPOCH + 1, ((bytes(16), b"a"),)),
        (1, ()),
        (1, ((bytes(15), b"a"),)),
        (1, ((bytes(16), b""),)),
        (1, ((bytes(16), bytes(8193)),)),
        (1, ((bytes(16), b"a"), (bytes(16), b"b"))),
        (1, tuple((number.to_bytes(16), b"a") for number in range(MAX_ENVELOPES + 1))),
        (1, tuple((number.to_bytes(16), bytes(8192)) for number in range(MAX_ENVELOPES))),
    ],
    ids=["epoch", "epoch-great", "none", "id", "empty", "long", "twice", "many", "size"],
)
def test_rules_hold_for_writers_too(epoch: int, entries: tuple[tuple[bytes, bytes], ...]) -> None:
    with pytest.raises(ValueError, match=r"range|rise|longer"):
        Envelopes(epoch, entries)


@given(st.binary(max_size=200))
def test_a_value_or_our_error(payload: bytes) -> None:
    with contextlib.suppress(SealedDamaged):
        assert Envelopes.decode(payload).encode() == payload


@given(st.data())
def test_no_flipped_bit_gives_the_same_value(data: st.DataObject) -> None:
    payload = VECTORS["two"][1]
    place = data.draw(st.integers(0, len(payload) * 8 - 1))
    changed = bytearray(payload)
    changed[place // 8] ^= 1 << place % 8
    with contextlib.suppress(SealedDamaged):
        assert Envelopes.decode(bytes(changed)) != Envelopes.decode(payload)
