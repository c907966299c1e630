"""What a version carries besides its bytes, between S3's types and the catalogue's JSON attributes.

One shape for versions, uploads and parts: absent members are left out, so that later members need no migration.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from gateway.engine.protection import DEFAULT_PROTECTION, Protection
from gateway.s3.acl import Acl
from gateway.s3.types import Checksum, ChecksumAlgorithm, ChecksumType, ObjectHeaders
from storage.catalogue.records import Attributes


@dataclass(frozen=True, slots=True)
class SealedChecksum:
    """A checksum whose value only the content key opens (`Custody.open_checksum`)."""

    algorithm: ChecksumAlgorithm
    checksum_type: ChecksumType
    sealed: bytes = field(repr=False)


KeptChecksum = Checksum | SealedChecksum
"""As rows keep it: the protection decides which."""


_HEADERS = tuple(each.name for each in fields(ObjectHeaders))


@dataclass(frozen=True, slots=True)
class ObjectAttributes:
    """The attributes of an object version, of an upload that will become one, or of a part (checksum alone)."""

    headers: ObjectHeaders = field(default_factory=ObjectHeaders)
    metadata: Mapping[str, str] = field(default_factory=dict)
    checksum: KeptChecksum | None = None
    tags: tuple[tuple[str, str], ...] = ()
    checksum_algorithm: ChecksumAlgorithm | None = None
    """Of an upload: what its parts are to be summed with; None where the client named none."""
    checksum_type: ChecksumType | None = None
    protection: Protection = DEFAULT_PROTECTION
    initiator: str | None = None
    """Of an upload: canonical id of the account that began it, where it is not the bucket's owner."""
    acl: Acl | None = None
    """Where others than the bucket's owner have a part in it; None: he alone, with full control."""
    origin: str | None = None
    """Of a version that an import made: which state of the source it is (`gateway.moving.importing`). Whoever writes
    the object anew leaves it out, so that an import knows what is its own."""
    pending: str | None = None
    """Of a version whose bytes still lie at the source of an import: which source (`gateway.moving.through`). Its
    content is an empty stub, so that whoever does not look at this finds sizes that differ, and gives nothing."""

    def encode(self) -> Attributes:
        """JSON values for the catalogue."""
        headers = {name: value for name in _HEADERS if (value := getattr(self.headers, name)) is not None}
        given: dict[str, Any] = {
            "headers": headers or None,
            "metadata": dict(self.metadata) or None,
            "checksum": None if self.checksum is None else encode_checksum(self.checksum),
            "tags": [list(tag) for tag in self.tags] or None,
            "checksum_algorithm": None if self.checksum_algorithm is None else self.checksum_algorithm.value,
            "checksum_type": None if self.checksum_type is None else self.checksum_type.value,
            "encryption": None if self.protection == DEFAULT_PROTECTION else self.protection.encode(),
            "initiator": self.initiator,
            "acl": None if self.acl is None else self.acl.encode(),
            "origin": self.origin,
            "pending": self.pending,
        }
        return {name: value for name, value in given.items() if value is not None}

    @classmethod
    def decode(cls, attributes: Attributes) -> "ObjectAttributes":
        """The reverse; the catalogue has authenticated the values."""
        algorithm, kind = attributes.get("checksum_algorithm"), attributes.get("checksum_type")
        return cls(
            headers=ObjectHeaders(**attributes.get("headers", {})),
            metadata=dict(attributes.get("metadata", {})),
            checksum=decode_checksum(attributes.get("checksum")),
            tags=tuple((name, value) for name, value in attributes.get("tags", [])),
            checksum_algorithm=None if algorithm is None else ChecksumAlgorithm(algorithm),
            checksum_type=None if kind is None else ChecksumType(kind),
            protection=Protection.decode(attributes.get("encryption")),
            initiator=attributes.get("initiator"),
            acl=None if attributes.get("acl") is None else Acl.decode(attributes["acl"]),
            origin=attributes.get("origin"),
            pending=attributes.get("pending"),
        )


def encode_checksum(checksum: KeptChecksum) -> dict[str, str]:
    """A checksum as JSON values."""
    kind = {"algorithm": checksum.algorithm.value, "type": checksum.checksum_type.value}
    if isinstance(checksum, SealedChecksum):
        return kind | {"sealed": base64.b64encode(checksum.sealed).decode("ascii")}
    return kind | {"value": checksum.value}


def decode_checksum(encoded: Mapping[str, str] | None) -> KeptChecksum | None:
    """The reverse; None stays None."""
    if encoded is None:
        return None
    algorithm, checksum_type = ChecksumAlgorithm(encoded["algorithm"]), ChecksumType(encoded["type"])
    if "sealed" in encoded:
        return SealedChecksum(algorithm, checksum_type, base64.b64decode(encoded["sealed"]))
    return Checksum(algorithm, encoded["value"], checksum_type)
