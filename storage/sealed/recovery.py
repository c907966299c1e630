"""Reading a blob without its catalogue row: for recovery and offline inspection, with the realm's description key.

Everything starts as a claim of the bytes; once the description has opened, header, slot, salt, commitment and
length are authentic, because all of them are in its binding. Source: docs/FORMAT.md section 8.3.
"""

import hashlib
from dataclasses import dataclass, field

from storage.sealed.damage import Damage, damaged
from storage.sealed.description import Binding, Description, open_description
from storage.sealed.header import Buffer, FixedHeader, parse_untrusted
from storage.sealed.layout import (
    HEADER_SIZE,
    MAX_FOOTER_SIZE,
    MAX_SLOT_SIZE,
    PAYLOAD_HEAD_SIZE,
    SALT_SIZE,
    TRAILER_SIZE,
    BlobLayout,
)
from storage.sealed.stream import Expectation, parse_untrusted_trailer

MAX_PREFIX_SIZE = HEADER_SIZE + MAX_SLOT_SIZE + PAYLOAD_HEAD_SIZE
"""Bytes from the start of a blob that are always enough for `recover`."""
MAX_TAIL_SIZE = MAX_FOOTER_SIZE + TRAILER_SIZE
"""Bytes from the end of a blob that are always enough for `recover`."""


@dataclass(frozen=True, slots=True)
class RecoveredBlob:
    """All that a catalogue row would say of a blob, and what the blob says of itself. Authentic."""

    header: FixedHeader
    expectation: Expectation
    wrapped_key: bytes = field(repr=False)
    binding: Binding = field(repr=False)
    description: Description
    inner_box: bytes = field(repr=False)


def recover(head: Buffer, tail: Buffer, sealed_size: int, realm_id: bytes, description_key: bytes) -> RecoveredBlob:
    """Return what a blob of `sealed_size` bytes is, from its first and last bytes.

    `head` is its first `MAX_PREFIX_SIZE` bytes and `tail` its last `MAX_TAIL_SIZE` bytes, or the whole blob where
    it is shorter. The chunks are not looked at: an `Opener` over header and expectation does that.

    Raises:
        SealedDamaged: it is not a sealed blob of this realm, or it was altered, cut or extended.
    """
    head, tail = bytes(head), bytes(tail)
    header = parse_untrusted(head[:HEADER_SIZE])
    if header.realm_id != realm_id:
        raise damaged(Damage.HEADER, "a blob of another realm")
    plaintext_size, footer_size = parse_untrusted_trailer(tail[-TRAILER_SIZE:])
    layout = BlobLayout(header.slot_size, plaintext_size, sealed_size)
    if layout.footer_size != footer_size or len(head) < layout.prefix_size or len(tail) < layout.tail_size:
        raise damaged(Damage.LENGTH, "the parts do not add up to the blob")
    wrapped_key = head[HEADER_SIZE : layout.payload_offset]
    salt_end = layout.payload_offset + SALT_SIZE
    binding = Binding(
        header=header,
        slot_hash=hashlib.sha256(wrapped_key).digest(),
        salt=head[layout.payload_offset : salt_end],
        commitment=head[salt_end : layout.prefix_size],
        plaintext_size=plaintext_size,
    )
    footer = tail[-layout.tail_size : -TRAILER_SIZE]
    opened = open_description(binding, footer, description_key)
    expectation = Expectation(
        plaintext_size, sealed_size, binding.salt, binding.commitment, binding.footer_hash(footer)
    )
    return RecoveredBlob(header, expectation, wrapped_key, binding, opened.description, opened.inner_box)
