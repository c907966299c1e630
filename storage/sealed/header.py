"""The 64 bytes that open every sealed blob, and the context that ties the payload to them.

A reader with a catalogue row builds the header from the row and compares; only offline tools parse one. Source:
docs/FORMAT.md section 3.
"""

import hashlib
import struct
from dataclasses import dataclass
from enum import IntEnum

from storage.sealed.damage import Damage, damaged
from storage.sealed.layout import HEADER_SIZE, MAX_SLOT_SIZE

MAGIC = b"\x89SGATE\r\n"
FORMAT_VERSION = 1
SUITE_COBBLESTONE_256 = 1
ID_SIZE = 16

_LAYOUT = struct.Struct(">8sBBBBI16s16s16s")
_RESERVED = bytes(16)
_CONTEXT_LABEL = b"sealgate/v1/payload\0"

Buffer = bytes | bytearray | memoryview
"""Bytes of the three kinds that every entry point takes."""


class BlobKind(IntEnum):
    """What a blob is; the number stands in its header."""

    OBJECT = 1
    PART = 2
    MANIFEST = 3
    LINK = 4
    PACK = 5
    KEYRING = 6
    ENVELOPES = 7
    JOURNAL = 8
    SNAPSHOT = 9


@dataclass(frozen=True, slots=True)
class FixedHeader:
    """What a blob is called by the catalogue. Ids are 16 bytes, `slot_size` is 1 to `MAX_SLOT_SIZE` bytes.

    Raises:
        ValueError: an id or the slot size is out of bounds.
    """

    kind: BlobKind
    realm_id: bytes
    blob_id: bytes
    slot_size: int

    def __post_init__(self) -> None:
        if len(self.realm_id) != ID_SIZE or len(self.blob_id) != ID_SIZE:
            raise ValueError("realm id and blob id have 16 bytes")
        if not 0 < self.slot_size <= MAX_SLOT_SIZE:
            raise ValueError("slot size out of range")

    def encode(self) -> bytes:
        """Return the 64 bytes."""
        return _LAYOUT.pack(
            MAGIC,
            FORMAT_VERSION,
            SUITE_COBBLESTONE_256,
            self.kind,
            0,
            self.slot_size,
            self.realm_id,
            self.blob_id,
            _RESERVED,
        )

    def hash(self) -> bytes:
        """Return SHA-256 of the 64 bytes: `header_hash` in FORMAT.md."""
        return hashlib.sha256(self.encode()).digest()

    def context(self) -> bytes:
        """Return the payload's context: no chunk opens under another header."""
        return _CONTEXT_LABEL + self.hash()

    def check(self, read: Buffer) -> None:
        """Compare the 64 bytes read with those of this header.

        Raises:
            SealedDamaged: they differ in any bit or in length.
        """
        if bytes(read) != self.encode():
            raise damaged(Damage.HEADER, "not the expected 64 bytes")


def parse_untrusted(read: Buffer) -> FixedHeader:
    """Return what 64 bytes claim to be. For offline tools alone: nothing in the answer is authentic yet.

    Raises:
        SealedDamaged: not a header of this version and suite, an unknown kind, or reserved bytes that are not zero.
    """
    if len(read) != HEADER_SIZE:
        raise damaged(Damage.HEADER, "not 64 bytes")
    _, _, _, kind, _, slot_size, realm_id, blob_id, _ = _LAYOUT.unpack(read)
    try:
        header = FixedHeader(BlobKind(kind), realm_id, blob_id, slot_size)
    except ValueError as error:
        raise damaged(Damage.HEADER, "unknown kind or slot size out of range") from error
    header.check(read)
    return header
