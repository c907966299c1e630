"""What a wrapped key is bound to, as bytes that no two different contexts share.

Source: docs/decisions/0002-wrapping-record.md. Contexts hold random ids only, never names.
"""

from dataclasses import dataclass
from enum import StrEnum

ID_SIZE = 16
"""Bytes of every id: realm, bucket, content, blob."""

NIL_ID = bytes(ID_SIZE)
"""Stands where a purpose has no such id (a realm key belongs to no bucket)."""

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
    parts: list[bytes] = []
    for field in (label.encode("ascii"), *fields):
        if len(field) > _MAX_FIELD_BYTES:
            raise ValueError(f"a context field has {len(field)} bytes; the limit is {_MAX_FIELD_BYTES}")
        parts += [len(field).to_bytes(2, "big"), field]
    return b"".join(parts)


@dataclass(frozen=True, slots=True)
class WrapContext:
    """The ids that a wrapped key opens under, and under no others.

    All ids have 16 bytes; those that a purpose does not have are `NIL_ID`. For a bucket key, `content_id` is the id
    of the bucket key itself. `blob_id` is set for parts alone, so that the keys of two parts cannot change places.

    Raises:
        ValueError: an id does not have 16 bytes.
    """

    realm_id: bytes
    bucket_id: bytes
    content_id: bytes
    purpose: Purpose
    blob_id: bytes = NIL_ID

    def __post_init__(self) -> None:
        for name in ("realm_id", "bucket_id", "content_id", "blob_id"):
            if len(getattr(self, name)) != ID_SIZE:
                raise ValueError(f"{name} has {len(getattr(self, name))} bytes instead of {ID_SIZE}")

    @classmethod
    def for_realm(cls, realm_id: bytes, purpose: Purpose) -> "WrapContext":
        """The context of a key that belongs to the whole realm."""
        return cls(realm_id, NIL_ID, NIL_ID, purpose)

    def encode(self) -> bytes:
        """The canonical bytes; different contexts never share them."""
        return canonical(
            _WRAP_LABEL,
            self.realm_id,
            self.bucket_id,
            self.content_id,
            self.purpose.value.encode("ascii"),
            self.blob_id,
        )
