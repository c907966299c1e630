"""The values of a row as one sealed box: what PostgreSQL keeps besides the columns that it has to search and sort by.

AES-256-GCM-SIV under a key of the realm with a random nonce, the table's name as associated data. Which row the values
belong to is bound by the row's MAC, which covers clear and sealed columns alike. GCM-SIV, since rows are sealed without
end under one key: a nonce that happens to be drawn twice tells no more than whether two boxes hold the same. Sources:
RFC 8452; docs/THREATS.md; DESIGN part 4.
"""

import secrets
from collections.abc import Callable
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from storage.catalogue.rowbytes import FAILURES, compile_decoder, compile_encoder
from storage.errors import RowDamaged

KEY_SIZE = 32
_NONCE_SIZE = 12
_INFO = b"sealgate/postgres/row-values/v1"


class RowSeal:
    """Seals and opens the values of some columns of one table."""

    def __init__(self, box: AESGCMSIV, table_name: str, row: type, columns: tuple[str, ...]) -> None:
        self._box = box
        self._table_name = table_name
        self._context = table_name.encode()
        self._encode: Callable[..., bytes] = compile_encoder(row, columns, b"")
        self._decode: Callable[[bytes], tuple[Any, ...]] = compile_decoder(row, columns)

    def seal(self, values: tuple[object, ...]) -> bytes:
        """The box of these values."""
        nonce = secrets.token_bytes(_NONCE_SIZE)
        return nonce + self._box.encrypt(nonce, self._encode(*values), self._context)

    def open(self, sealed: object) -> tuple[Any, ...]:
        """The values in a box. Raises: RowDamaged where it does not authenticate."""
        try:
            if isinstance(sealed, bytes):
                return self._decode(self._box.decrypt(sealed[:_NONCE_SIZE], sealed[_NONCE_SIZE:], self._context))
        except (InvalidTag, *FAILURES):
            pass
        raise RowDamaged(f"the values of a row of {self._table_name} do not open")


def sealing_box(catalogue_key: bytes) -> AESGCMSIV:
    """What seals the rows of a realm; the key is 32 bytes, and never used as it is."""
    if len(catalogue_key) != KEY_SIZE:
        raise ValueError(f"the catalogue key has {KEY_SIZE} bytes")
    return AESGCMSIV(HKDFExpand(SHA512(), KEY_SIZE, _INFO).derive(catalogue_key))
