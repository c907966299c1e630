"""The MAC of every catalogue row: what stands in a row was put there by a holder of the key, in that very place.

HMAC-SHA-256 over schema version, realm id, table, and every column in order, the primary key among them. The encoding
is injective: a head of fixed size names the type of each column and its value (integers) or length (bytes and text),
and the bytes follow in order. It does not notice that an old row was put back (THREATS.md). Source: RFC 2104; DESIGN
part 4.
"""

import hashlib
import hmac
import struct
from typing import cast

from storage.catalogue.schema import SCHEMA_VERSION, R, Table
from storage.errors import RowDamaged

KEY_SIZE = 32
"""Bytes of the MAC key."""
KEY_ID_SIZE = 4
MAC_SIZE = KEY_ID_SIZE + 32
"""Bytes of the `mac` column: the key's id, then the HMAC."""

_UNNAMED = frozenset({"object_key"})
"""Key columns that an error must not show: names of objects do not go to logs."""


class RowMac:
    """Signs and verifies rows under one key for one realm. Knows nothing of SQL."""

    def __init__(self, row_mac_key: bytes, realm_id: bytes) -> None:
        if len(row_mac_key) != KEY_SIZE:
            raise ValueError(f"the row MAC key has {KEY_SIZE} bytes")
        self._key = row_mac_key
        self._realm_id = realm_id
        self._places: dict[str, tuple[struct.Struct, bytes]] = {}
        self.key_id = hmac.digest(row_mac_key, b"sealgate row mac key id", hashlib.sha256)[:KEY_ID_SIZE]

    def sign(self, table: Table[R], row: R) -> bytes:
        """The `mac` column of this row."""
        return self.key_id + hmac.digest(self._key, self._encode(table, row), "sha256")

    def verify(self, table: Table[R], values: tuple[object, ...]) -> R:
        """Take a row as read, its `mac` last, and return it without.

        Raises:
            RowDamaged: it does not carry its MAC.
        """
        row = table.make(values[:-1])
        mac = values[-1]
        if not isinstance(mac, bytes) or not hmac.compare_digest(mac, self.sign(table, row)):
            raise RowDamaged(f"a row does not carry its MAC: {describe(table, values)}")
        return row

    def _encode(self, table: Table[R], row: R) -> bytes:
        """Schema, realm and table, the head, then the bytes of all columns."""
        place = self._places.get(table.name)
        if place is None:
            place = self._places[table.name] = self._place(table)
        head: list[int] = []
        body: list[bytes] = [place[1], b""]
        for value in cast("tuple[int | bytes | str | None, ...]", row):
            if isinstance(value, bytes):
                head += (1, len(value))
                body.append(value)
            elif isinstance(value, str):
                encoded = value.encode()
                head += (2, len(encoded))
                body.append(encoded)
            elif value is None:
                head += (3, 0)
            else:
                head += (4, value)
        body[1] = place[0].pack(*head)
        return b"".join(body)

    def _place(self, table: Table[R]) -> tuple[struct.Struct, bytes]:
        name = table.name.encode()
        prefix = struct.pack(">IHH", SCHEMA_VERSION, len(self._realm_id), len(name)) + self._realm_id + name
        return struct.Struct(">" + "Bq" * len(table.columns)), prefix


def describe(table: Table[R], values: tuple[object, ...]) -> str:
    """Table and primary key, for messages; an object's name is left out, its sequence number is enough."""
    named = zip(table.columns[: table.key_size], values, strict=False)
    shown = (
        f"{name}={value.hex() if isinstance(value, bytes) else value}" for name, value in named if name not in _UNNAMED
    )
    return f"{table.name} {' '.join(shown)}"
