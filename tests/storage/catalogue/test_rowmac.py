from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.catalogue.rowmac import MAC_SIZE, RowMac, describe
from storage.catalogue.schema import ACCOUNTS, VERSIONS, AccountRow, Table
from storage.errors import RowDamaged

KEY = bytes(range(32))
REALM = b"r" * 16


class ThreeRow(NamedTuple):
    one: Any
    two: Any
    three: Any


THREE = Table("three", ThreeRow)
VALUES = st.none() | st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=4) | st.text(max_size=4)
ROWS = st.tuples(VALUES, VALUES, VALUES).map(ThreeRow._make)


def test_a_signed_row_is_read_back() -> None:
    mac = RowMac(KEY, REALM)
    row = AccountRow(b"a" * 16, "alice", 5)
    signed = mac.sign(ACCOUNTS, row)
    assert len(signed) == MAC_SIZE
    assert mac.verify(ACCOUNTS, (*row, signed)) == row
    assert signed.startswith(mac.key_id)


@given(ROWS, ROWS)
def test_different_rows_are_encoded_differently(first: ThreeRow, second: ThreeRow) -> None:
    mac = RowMac(KEY, REALM)
    typed = [[(type(value), value) for value in row] for row in (first, second)]
    assert (mac._encode(THREE, first) == mac._encode(THREE, second)) == (typed[0] == typed[1])


def test_neighbours_do_not_run_together() -> None:
    mac = RowMac(KEY, REALM)
    rows = [
        ThreeRow(b"ab", b"c", b""),
        ThreeRow(b"a", b"bc", b""),
        ThreeRow("ab", b"c", b""),
        ThreeRow(None, b"abc", b""),
    ]
    assert len({mac.sign(THREE, row) for row in rows}) == len(rows)


def test_key_realm_and_table_are_bound() -> None:
    row = ThreeRow(1, 2, 3)
    twin = Table("thref", ThreeRow)
    signed = {
        RowMac(KEY, REALM).sign(THREE, row),
        RowMac(KEY[::-1], REALM).sign(THREE, row),
        RowMac(KEY, b"s" * 16).sign(THREE, row),
        RowMac(KEY, REALM).sign(twin, row),
    }
    assert len(signed) == 4


@pytest.mark.parametrize("mac", [None, b"", b"x" * MAC_SIZE, "text", 7])
def test_what_is_no_mac_is_refused(mac: object) -> None:
    with pytest.raises(RowDamaged):
        RowMac(KEY, REALM).verify(THREE, (1, 2, 3, mac))


def test_every_bit_of_the_mac_counts() -> None:
    mac = RowMac(KEY, REALM)
    row = ThreeRow(1, b"2", "3")
    signed = mac.sign(THREE, row)
    for bit in range(8 * MAC_SIZE):
        flipped = (int.from_bytes(signed) ^ (1 << bit)).to_bytes(MAC_SIZE)
        with pytest.raises(RowDamaged):
            mac.verify(THREE, (*row, flipped))


def test_names_of_objects_stay_out_of_messages() -> None:
    shown = describe(VERSIONS, (b"\x01" * 16, b"secret name", 77, "null"))
    assert shown == f"versions bucket_id={'01' * 16} sequence=77"


def test_the_key_has_its_size() -> None:
    for key in (b"", KEY[:31], KEY + b"x"):
        with pytest.raises(ValueError, match="32 bytes"):
            RowMac(key, REALM)
