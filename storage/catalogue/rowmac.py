"""The MAC of every catalogue row: what stands in a row was put there by a holder of the key, in that very place.

HMAC-SHA-256 over the version of the table's layout, realm id, table, and every column in order, the primary key among
them, in the encoding of `rowbytes`, which is injective. It does not notice that an old row was put back (THREATS.md).
Source: RFC 2104; DESIGN part 4.
"""

import hashlib
import hmac
import struct
from collections.abc import Callable

from storage.catalogue.rowbytes import FAILURES, compile_encoder
from storage.catalogue.schema import R, Table
from storage.errors import RowDamaged

KEY_SIZE = 32
"""Bytes of the MAC key."""
KEY_ID_SIZE = 4
MAC_SIZE = KEY_ID_SIZE + 32
"""Bytes of the `mac` column: the key's id, then the HMAC."""

_BLOCK_SIZE = 64
_INNER_PAD = bytes(byte ^ 0x36 for byte in range(256))
_OUTER_PAD = bytes(byte ^ 0x5C for byte in range(256))

_UNNAMED = frozenset({"object_key"})
"""Key columns that an error must not show: names of objects do not go to logs."""


class RowMac:
    """Signs and verifies rows under one key for one realm. Knows nothing of SQL."""

    def __init__(self, row_mac_key: bytes, realm_id: bytes) -> None:
        if len(row_mac_key) != KEY_SIZE:
            raise ValueError(f"the row MAC key has {KEY_SIZE} bytes")
        self._realm_id = realm_id
        self._encoders: dict[str, Callable[..., bytes]] = {}
        # RFC 2104 section 4: the key's two blocks are hashed once, and each MAC goes on from copies of them. That is
        # two fifths of what `hmac.digest` takes for a row.
        block = row_mac_key.ljust(_BLOCK_SIZE, b"\0")
        self._inner = hashlib.sha256(block.translate(_INNER_PAD))
        self._outer = hashlib.sha256(block.translate(_OUTER_PAD))
        self.key_id = hmac.digest(row_mac_key, b"sealgate row mac key id", hashlib.sha256)[:KEY_ID_SIZE]

    def sign(self, table: Table[R], row: R) -> bytes:
        """The `mac` column of this row."""
        encoder = self._encoders.get(table.name)
        if encoder is None:
            encoder = self._encoders[table.name] = compile_encoder(table.row, table.columns, self._place(table))
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(encoder(*row))
        outer.update(inner.digest())
        return self.key_id + outer.digest()

    def verify(self, table: Table[R], values: tuple[object, ...]) -> R:
        """Take a row as read, its `mac` last, and return it without.

        Raises:
            RowDamaged: it does not carry its MAC.
        """
        row = table.make(values[:-1])
        mac = values[-1]
        try:
            wanted = self.sign(table, row)
        except FAILURES:
            wanted = b""
        if not isinstance(mac, bytes) or not wanted or not hmac.compare_digest(mac, wanted):
            raise RowDamaged(f"a row does not carry its MAC: {describe(table, values)}")
        return row

    def _place(self, table: Table[R]) -> bytes:
        """What is bound besides the row itself."""
        name = table.name.encode()
        return struct.pack(">IHH", table.layout, len(self._realm_id), len(name)) + self._realm_id + name


def describe(table: Table[R], values: tuple[object, ...]) -> str:
    """Table and primary key, for messages; an object's name is left out, its sequence number is enough."""
    named = zip(table.columns[: table.key_size], values, strict=False)
    shown = (
        f"{name}={value.hex() if isinstance(value, bytes) else value}" for name, value in named if name not in _UNNAMED
    )
    return f"{table.name} {' '.join(shown)}"
