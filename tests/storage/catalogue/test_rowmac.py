import hashlib
import hmac
from typing import NamedTuple

import pytest

from storage.catalogue.rowbytes import compile_encoder
from storage.catalogue.rowmac import KEY_ID_SIZE, MAC_SIZE, RowMac, describe
from storage.catalogue.schema import ACCOUNTS, VERSIONS, AccountRow, Table
from storage.errors import RowDamaged

KEY = bytes(range(32))
REALM = b"r" * 16


class ThreeRow(NamedTuple):
    one: int
    two: bytes
    three: str


THREE = Table("three", ThreeRow)
ROW = ThreeRow(1, b"2", "3")


def test_a_signed_row_is_read_back() -> None:
    mac = RowMac(KEY, REALM)
    row = AccountRow(b"a" * 16, "alice", 5)
    signed = mac.sign(ACCOUNTS, row)
    assert len(signed) == MAC_SIZE
    assert mac.verify(ACCOUNTS, (*row, signed)) == row
    assert signed.startswith(mac.key_id)


def test_the_mac_is_hmac_sha_256_behind_the_key_s_id() -> None:
    mac = RowMac(KEY, REALM)
    encoded = compile_encoder(THREE.row, THREE.columns, THREE.layout.to_bytes(4) + b"\0\20\0\5" + REALM + b"three")(
        *ROW
    )
    assert mac.sign(THREE, ROW) == mac.key_id + hmac.digest(KEY, encoded, hashlib.sha256)
    assert mac.sign(THREE, ROW) == mac.sign(THREE, ROW)
    assert mac.key_id == hmac.digest(KEY, b"sealgate row mac key id", hashlib.sha256)[:KEY_ID_SIZE]


def test_key_realm_and_table_are_bound() -> None:
    twin = Table("thref", ThreeRow)
    signed = {
        RowMac(KEY, REALM).sign(THREE, ROW),
        RowMac(KEY[::-1], REALM).sign(THREE, ROW),
        RowMac(KEY, b"s" * 16).sign(THREE, ROW),
        RowMac(KEY, REALM).sign(twin, ROW),
    }
    assert len(signed) == 4


@pytest.mark.parametrize("mac", [None, b"", b"x" * MAC_SIZE, "text", 7])
def test_what_is_no_mac_is_refused(mac: object) -> None:
    with pytest.raises(RowDamaged):
        RowMac(KEY, REALM).verify(THREE, (*ROW, mac))


def test_every_bit_of_the_mac_counts() -> None:
    mac = RowMac(KEY, REALM)
    signed = mac.sign(THREE, ROW)
    for bit in range(8 * MAC_SIZE):
        flipped = (int.from_bytes(signed) ^ (1 << bit)).to_bytes(MAC_SIZE)
        with pytest.raises(RowDamaged):
            mac.verify(THREE, (*ROW, flipped))


@pytest.mark.parametrize("row", [("1", b"2", "3"), (1, "2", "3"), (1, b"2", b"3"), (1, b"2", None), (1.0, b"2", "3")])
def test_values_of_other_types_are_damage(row: tuple[object, ...]) -> None:
    mac = RowMac(KEY, REALM)
    with pytest.raises(RowDamaged):
        mac.verify(THREE, (*row, mac.sign(THREE, ROW)))


def test_names_of_objects_stay_out_of_messages() -> None:
    shown = describe(VERSIONS, (b"\x01" * 16, b"secret name", 77, "null"))
    assert shown == f"versions bucket_id={'01' * 16} sequence=77"


def test_the_key_has_its_size() -> None:
    for key in (b"", KEY[:31], KEY + b"x"):
        with pytest.raises(ValueError, match="32 bytes"):
            RowMac(key, REALM)
