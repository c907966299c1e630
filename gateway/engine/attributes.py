"""What a version carries besides its bytes, between S3's types and the catalogue's JSON attributes.

One shape for versions, uploads and parts: absent members are left out, so that later members need no migration.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from gateway.s3.types import Checksum, ChecksumAlgorithm, ChecksumType, ObjectHeaders
from storage.catalogue.records import Attributes


@dataclass(frozen=True, slots=True)
class ObjectAttributes:
    """The attributes of an object version, of an upload that will become one, or of a part (checksum alone)."""

    headers: ObjectHeaders = field(default_factory=ObjectHeaders)
    metadata: Mapping[str, str] = field(default_factory=dict)
    checksum: Checksum | None = None
    tags: tuple[tuple[str, str], ...] = ()
    checksum_algorithm: ChecksumAlgorithm | None = None
    """Of an upload: what its parts are to be summed with; None where the client named none."""
    checksum_type: ChecksumType | None = None

    def encode(self) -> Attributes:
        """JSON values for the catalogue."""
        encoded: dict[str, Any] = {}
        headers = {name: value for name, value in asdict(self.headers).items() if value is not None}
        if headers:
            encoded["headers"] = headers
        if self.metadata:
            encoded["metadata"] = dict(self.metadata)
        if self.checksum is not None:
            encoded["checksum"] = encode_checksum(self.checksum)
        if self.tags:
            encoded["tags"] = [list(tag) for tag in self.tags]
        if self.checksum_algorithm is not None:
            encoded["checksum_algorithm"] = self.checksum_algorithm.value
        if self.checksum_type is not None:
            encoded["checksum_type"] = self.checksum_type.value
        return encoded

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
        )


def encode_checksum(checksum: Checksum) -> dict[str, str]:
    """A checksum as JSON values."""
    return {
        "algorithm": checksum.algorithm.value,
        "value": checksum.value,
        "type": checksum.checksum_type.value,
    }


def decode_checksum(encoded: Mapping[str, str] | None) -> Checksum | None:
    """The reverse; None stays None."""
    if encoded is None:
        return None
    return Checksum(ChecksumAlgorithm(encoded["algorithm"]), encoded["value"], ChecksumType(encoded["type"]))
