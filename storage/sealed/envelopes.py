"""What an envelopes blob holds: the envelopes of many keys that were wrapped anew, and the epoch that orders them.

Decoding is strict: a value or `SealedDamaged`. Source: docs/FORMAT.md section 11.1.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from storage.sealed.damage import Damage, damaged
from storage.sealed.header import ID_SIZE
from storage.sealed.layout import MAX_SLOT_SIZE
from storage.sealed.records import MAX_RECORD_SIZE

MAX_ENVELOPES: Final = 4096
"""Entries of one blob, and rows of one transaction."""
MAX_EPOCH: Final = 2**63 - 1
"""What a catalogue can hold."""

_HEAD: Final = struct.Struct(">QI")
_ENTRY: Final = struct.Struct(f">{ID_SIZE}sH")


@dataclass(frozen=True, slots=True)
class Envelopes:
    """Envelopes by the id of what they open, of one epoch.

    Raises:
        ValueError: it breaks a rule of FORMAT section 11.1.
    """

    epoch: int
    entries: tuple[tuple[bytes, bytes], ...] = field(repr=False)
    """(id, envelope), ids rising strictly."""

    def __post_init__(self) -> None:
        if not 0 <= self.epoch <= MAX_EPOCH or not 0 < len(self.entries) <= MAX_ENVELOPES:
            raise ValueError("the epoch or the number of envelopes is out of range")
        if any(len(name) != ID_SIZE or not 0 < len(envelope) <= MAX_SLOT_SIZE for name, envelope in self.entries):
            raise ValueError("an id or an envelope is out of range")
        if not all(lower[0] < higher[0] for lower, higher in pairwise(self.entries)):
            raise ValueError("ids do not rise")
        if self.encoded_size > MAX_RECORD_SIZE:
            raise ValueError("longer than the format allows")

    @classmethod
    def of(cls, epoch: int, entries: Iterable[tuple[bytes, bytes]]) -> "Envelopes":
        """Of entries in any order. Raises: ValueError."""
        return cls(epoch, tuple(sorted(entries)))

    @property
    def encoded_size(self) -> int:
        """Bytes of the payload."""
        return _HEAD.size + sum(_ENTRY.size + len(envelope) for _, envelope in self.entries)

    def encode(self) -> bytes:
        """The payload of the blob."""
        parts = [_HEAD.pack(self.epoch, len(self.entries))]
        for name, envelope in self.entries:
            parts += (_ENTRY.pack(name, len(envelope)), envelope)
        return b"".join(parts)

    @classmethod
    def decode(cls, payload: bytes) -> "Envelopes":
        """Read what `encode` wrote.

        Raises:
            SealedDamaged: not such a payload.
        """
        try:
            epoch, count = _HEAD.unpack_from(payload)
            entries = []
            offset = _HEAD.size
            for _ in range(min(count, MAX_ENVELOPES + 1)):
                name, size = _ENTRY.unpack_from(payload, offset)
                offset += _ENTRY.size
                entries.append((name, payload[offset : offset + size]))
                offset += size
            decoded = cls(epoch, tuple(entries))
        except (struct.error, ValueError) as error:
            raise damaged(Damage.RECORD, f"not a list of envelopes: {error}") from None
        if offset != len(payload):
            raise damaged(Damage.RECORD, "a list of envelopes does not end with its last entry")
        return decoded
