"""The 64 bytes: fixed offsets, compared bit by bit, parsed only where nothing else is known."""

import contextlib
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import SealedDamaged
from storage.sealed.header import BlobKind, FixedHeader, parse_untrusted

REALM_ID, BLOB_ID = bytes(range(16)), bytes(range(16, 32))
HEADER = FixedHeader(BlobKind.MANIFEST, REALM_ID, BLOB_ID, 0x1234)


def test_every_field_stands_where_format_md_says() -> None:
    data = HEADER.encode()
    assert len(data) == 64
    assert data[:8] == bytes.fromhex("8953474154450d0a")
    assert data[8:12] == b"\x01\x01\x03\x00"
    assert data[12:16] == b"\x00\x00\x12\x34"
    assert (data[16:32], data[32:48], data[48:]) == (REALM_ID, BLOB_ID, bytes(16))
    assert HEADER.hash() == hashlib.sha256(data).digest()
    assert HEADER.context() == b"sealgate/v1/payload\0" + HEADER.hash()


def test_kinds_have_the_numbers_of_format_md() -> None:
    names = ["object", "part", "manifest", "link", "pack", "keyring", "envelopes", "journal", "snapshot"]
    assert {kind.name.lower(): int(kind) for kind in BlobKind} == {name: i for i, name in enumerate(names, 1)}


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_check_accepts_the_same_bytes_and_no_other_bit_or_length(wrap: type) -> None:
    data = HEADER.encode()
    HEADER.check(wrap(data))
    for i in range(512):
        altered = bytearray(data)
        altered[i // 8] ^= 1 << i % 8
        with pytest.raises(SealedDamaged, match=r"^header: "):
            HEADER.check(wrap(bytes(altered)))
    for other in (b"", data[:-1], data + b"\0"):
        with pytest.raises(SealedDamaged, match=r"^header: "):
            HEADER.check(wrap(other))


def test_every_field_changes_the_context() -> None:
    headers_made = [
        HEADER,
        FixedHeader(BlobKind.LINK, REALM_ID, BLOB_ID, 0x1234),
        FixedHeader(BlobKind.MANIFEST, BLOB_ID, BLOB_ID, 0x1234),
        FixedHeader(BlobKind.MANIFEST, REALM_ID, REALM_ID, 0x1234),
        FixedHeader(BlobKind.MANIFEST, REALM_ID, BLOB_ID, 0x1235),
    ]
    assert len({made.context() for made in headers_made}) == 5


@pytest.mark.parametrize("slot_size", [0, -1, 8193, 2**32])
def test_slot_sizes_out_of_bounds_are_the_callers_mistake(slot_size: int) -> None:
    with pytest.raises(ValueError, match="slot size"):
        FixedHeader(BlobKind.OBJECT, REALM_ID, BLOB_ID, slot_size)


@pytest.mark.parametrize("identifier", [b"", bytes(15), bytes(17)])
def test_ids_have_sixteen_bytes(identifier: bytes) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        FixedHeader(BlobKind.OBJECT, identifier, BLOB_ID, 1)
    with pytest.raises(ValueError, match="16 bytes"):
        FixedHeader(BlobKind.OBJECT, REALM_ID, identifier, 1)


@settings(deadline=None, print_blob=True)
@given(st.sampled_from(BlobKind), st.binary(min_size=16, max_size=16), st.integers(1, 8192))
def test_what_is_encoded_parses_again(kind: BlobKind, identifier: bytes, slot_size: int) -> None:
    made = FixedHeader(kind, identifier, identifier[::-1], slot_size)
    assert parse_untrusted(made.encode()) == made
    assert parse_untrusted(memoryview(made.encode())) == made


def test_every_flipped_bit_parses_to_another_header_or_is_refused() -> None:
    data, parsed = HEADER.encode(), 0
    for i in range(512):
        altered = bytearray(data)
        altered[i // 8] ^= 1 << i % 8
        with contextlib.suppress(SealedDamaged):
            assert parse_untrusted(altered) != HEADER
            parsed += 1
    # Realm and blob id are free; three kinds are one bit from kind 3; some slot sizes near 0x1234 are in range.
    assert parsed == 256 + 3 + sum(1 <= 0x1234 ^ 1 << bit <= 8192 for bit in range(32))


@settings(deadline=None, print_blob=True)
@given(st.binary(max_size=80) | st.binary(min_size=52, max_size=52).map(lambda rest: HEADER.encode()[:12] + rest))
def test_parsing_gives_a_value_or_our_error(data: bytes) -> None:
    with contextlib.suppress(SealedDamaged):
        assert parse_untrusted(data).encode() == data
