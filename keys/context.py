"""What a wrapped key is bound to, as bytes that no two different contexts share.

Source: docs/decisions/0002-wrapping-record.md. Contexts hold random ids only, never names.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

ID_SIZE = 16
"""Bytes of every id: realm, bucket, content, blob."""

NIL_ID = bytes(ID_SIZE)
"""Stands where a purpose has no such id (a realm key belongs to no bucket)."""

MAX_ENCRYPTION_CONTEXT_BYTES = 8192
"""As AWS KMS has it."""

_WRAP_LABEL = "sealgate/wrap-context/v1"
_MAX_FIELD_BYTES = 0xFFFF


class Purpose(StrEnum):
    """What the wrapped key is for. The value is part of the bytes it is bound to: never rename one."""

    CONTENT = "content"
    BUCKET = "bucket"
    PART = "part"
    REALM = "realm"
    CREDENTIALS = "credentials"
    CANARY = "canary"


def canonical(label: str, *fields: bytes) -> bytes:
    """Join a label and fields injectively: each is preceded by its length, two bytes, big-endian.

    Raises:
        ValueError: a field is longer than 65,535 bytes.
    """
    parts = [_prefixed(label)]
    for part in fields:
        if len(part) > _MAX_FIELD_BYTES:
            raise ValueError(f"a context field has {len(part)} bytes; the limit is {_MAX_FIELD_BYTES}")
        parts += (len(part).to_bytes(2, "big"), part)
    return b"".join(parts)


@lru_cache(maxsize=256)
def _prefixed(label: str) -> bytes:
    return len(label).to_bytes(2, "big") + label.encode("ascii")


@dataclass(frozen=True, slots=True)
class WrapContext:
    """The ids that a wrapped key opens under, and under no others.

    All ids have 16 bytes; those that a purpose does not have are `NIL_ID`. For a bucket key, `content_id` is the id
    of the bucket key itself. `blob_id` is set for parts alone, so that the keys of two parts cannot change places.
    `encryption_context` is what a client wants its content bound to as well (SSE-KMS), in its canonical bytes.

    Raises:
        ValueError: an id does not have 16 bytes, or the encryption context is too long.
    """

    realm_id: bytes
    bucket_id: bytes
    content_id: bytes
    purpose: Purpose
    blob_id: bytes = NIL_ID
    encryption_context: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        if not len(self.realm_id) == len(self.bucket_id) == len(self.content_id) == len(self.blob_id) == ID_SIZE:
            sizes = {name: len(getattr(self, name)) for name in ("realm_id", "bucket_id", "content_id", "blob_id")}
            raise ValueError(f"ids of a context have {ID_SIZE} bytes: {sizes}")
        if len(self.encryption_context) > MAX_ENCRYPTION_CONTEXT_BYTES:
            raise ValueError(f"an encryption context has at most {MAX_ENCRYPTION_CONTEXT_BYTES} bytes")

    @classmethod
    def for_realm(cls, realm_id: bytes, purpose: Purpose) -> "WrapContext":
        """The context of a key that belongs to the whole realm."""
        return cls(realm_id, NIL_ID, NIL_ID, purpose)

    def encode(self) -> bytes:
        """The canonical bytes; different contexts never share them.

        An encryption context is one field more, so that wraps without one stay what they were.
        """
        return canonical(
            _WRAP_LABEL,
            self.realm_id,
            self.bucket_id,
            self.content_id,
            self.purpose.value.encode("ascii"),
            self.blob_id,
            *((self.encryption_context,) if self.encryption_context else ()),
        )
