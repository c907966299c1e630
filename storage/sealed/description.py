"""The sealed description: what a blob is called and how to serve it, readable with the realm's description key alone.

It stands at the end of every blob, tied to header, slot, salt, commitment and length, and may carry an inner box
that only the data key opens. Source: docs/FORMAT.md sections 6 and 10.
"""

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from storage.sealed import kdf
from storage.sealed.canonical import COUNT, FLAG, OCTETS, STRINGS, TEXT, TIME, Shape
from storage.sealed.damage import Damage, damaged
from storage.sealed.header import Buffer, FixedHeader
from storage.sealed.layout import (
    MAX_INNER_SIZE,
    MAX_JSON_SIZE,
    TAG_SIZE,
    check_footer_size,
    padded_footer_size,
)

_FOOTER_LABEL = b"sealgate/v1/footer\0"
_SIZES = struct.Struct(">II")
_LEAST_JSON_SIZE = 2


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Description:
    """What a blob is called. Every field but `created_at` has an empty default; none of them shows in a repr."""

    created_at: datetime
    """Aware UTC, to the microsecond, not before 1970; so are the other times."""
    account_id: bytes = b""
    bucket_id: bytes = b""
    bucket_name: str = ""
    checksums: Mapping[str, str] = field(default_factory=dict)
    """By S3's algorithm name, as on the wire."""
    commit_order: int = 0
    """A hint for recovery without a journal: later commits have greater values."""
    content_id: bytes = b""
    encryption: Mapping[str, str] = field(default_factory=dict)
    etag: str = ""
    """Without quotes; empty where it sits in the inner box."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Content headers to give back."""
    legal_hold: bool = False
    lock_mode: str = ""
    modified_at: datetime | None = None
    object_key: bytes = b""
    part_number: int = 0
    plaintext_size: int = 0
    """Of the whole object; for a part, of the part."""
    retain_until: datetime | None = None
    sealed_checksums: Mapping[str, str] = field(default_factory=dict)
    """`ALGORITHM:TYPE` to Base64, where only the content key may tell the values."""
    tags: Mapping[str, str] = field(default_factory=dict)
    upload_id: bytes = b""
    user_metadata: Mapping[str, str] = field(default_factory=dict)
    version_id: str = ""
    unknown: Mapping[str, Any] = field(default_factory=dict)
    """Members that this release does not know, as JSON values; they are written back."""


_SHAPE = Shape(
    Description,
    {
        "account_id": OCTETS,
        "bucket_id": OCTETS,
        "bucket_name": TEXT,
        "checksums": STRINGS,
        "commit_order": COUNT,
        "content_id": OCTETS,
        "created_at": TIME,
        "encryption": STRINGS,
        "etag": TEXT,
        "headers": STRINGS,
        "legal_hold": FLAG,
        "lock_mode": TEXT,
        "modified_at": TIME,
        "object_key": OCTETS,
        "part_number": COUNT,
        "plaintext_size": COUNT,
        "retain_until": TIME,
        "sealed_checksums": STRINGS,
        "tags": STRINGS,
        "upload_id": OCTETS,
        "user_metadata": STRINGS,
        "version_id": TEXT,
    },
    unknown="unknown",
)


@dataclass(frozen=True, slots=True)
class Binding:
    """Everything about a blob that its description is tied to: change one and neither box opens."""

    header: FixedHeader
    slot_hash: bytes
    salt: bytes
    commitment: bytes
    plaintext_size: int

    def encode(self) -> bytes:
        """Return the 128 bytes of associated data; every field has a fixed size, so no two bindings agree."""
        size = self.plaintext_size.to_bytes(8, "big")
        return self.header.hash() + self.slot_hash + self.salt + self.commitment + size

    def footer_hash(self, footer: Buffer) -> bytes:
        """Return the hash that the row keeps: it covers key slot and footer."""
        digest = hashlib.sha256(_FOOTER_LABEL + self.slot_hash)
        digest.update(footer)
        return digest.digest()


@dataclass(frozen=True, slots=True)
class OpenedDescription:
    """A description that authenticated, and the inner box beside it, still sealed."""

    description: Description
    inner_box: bytes = field(repr=False)
    """Empty where there is none; `open_inner` opens it."""


def seal_inner(binding: Binding, inner: bytes, data_key: bytes) -> bytes:
    """Return the inner box around at most `MAX_INNER_SIZE` bytes.

    Raises:
        ValueError: there are more.
    """
    if len(inner) > MAX_INNER_SIZE:
        raise ValueError("more bytes than an inner box takes")
    return kdf.inner_box(data_key, binding.header, binding.salt).seal(inner, binding.encode())


def open_inner(binding: Binding, inner_box: bytes, data_key: bytes) -> bytes:
    """Return what the inner box holds.

    Raises:
        SealedDamaged: it does not authenticate, or there is none.
    """
    return kdf.inner_box(data_key, binding.header, binding.salt).open(inner_box, binding.encode(), Damage.INNER)


def seal_description(
    binding: Binding, description: Description, description_key: bytes, inner_box: bytes = b""
) -> bytes:
    """Return the footer: the description and the sealed inner box, padded and sealed. To be called once for a salt.

    Raises:
        ValueError: the description is longer than `MAX_JSON_SIZE` or holds what canonical JSON cannot say.
    """
    data = _SHAPE.encode(description, MAX_JSON_SIZE)
    text = _SIZES.pack(len(data), len(inner_box)) + data + inner_box
    padded = text.ljust(padded_footer_size(len(data), len(inner_box)) - TAG_SIZE, b"\0")
    return kdf.description_box(description_key, binding.header, binding.salt).seal(padded, binding.encode())


def open_description(binding: Binding, footer: Buffer, description_key: bytes) -> OpenedDescription:
    """Return the description in a footer. Needs no data key.

    Raises:
        SealedDamaged: the footer does not authenticate under key and binding, or breaks a rule of the format.
    """
    check_footer_size(len(footer))
    box = kdf.description_box(description_key, binding.header, binding.salt)
    text = box.open(bytes(footer), binding.encode(), Damage.DESCRIPTION)
    json_size, inner_size = _SIZES.unpack_from(text)
    json_end = _SIZES.size + json_size
    inner_end = json_end + inner_size
    sizes_fit = (
        _LEAST_JSON_SIZE <= json_size <= MAX_JSON_SIZE
        and (inner_size == 0 or TAG_SIZE <= inner_size <= MAX_INNER_SIZE + TAG_SIZE)
        and padded_footer_size(json_size, inner_size) == len(footer)
    )
    if not sizes_fit or any(text[inner_end:]):
        raise damaged(Damage.DESCRIPTION, "sizes or padding are not as the format says")
    description = _SHAPE.decode(text[_SIZES.size : json_end], MAX_JSON_SIZE, Damage.DESCRIPTION)
    return OpenedDescription(description, text[json_end:inner_end])
