"""How a content is protected: who wraps its key, what it is bound to, and what may be known without that key.

One shape for rows and for sealed descriptions. It holds no secret. Source: docs/decisions/0006-encryption-modes.md,
docs/FORMAT.md section 10 (`encryption`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gateway.engine.integrity import EtagMode


class Mode(StrEnum):
    """Who holds the key. The values stand in rows and descriptions."""

    S3 = "AES256"
    KMS = "aws:kms"
    CUSTOMER = "SSE-C"


@dataclass(frozen=True, slots=True)
class Protection:
    """The protection of one content."""

    mode: Mode = Mode.S3
    kms_key_id: str = ""
    """The id that the request's name stood for when the content was made; empty for the default key of SSE-S3."""
    kms_key_arn: str = ""
    """What answers show."""
    bucket_key: bool = False
    """Whether SSE-KMS was asked for with a bucket key."""
    context: str = field(default="", repr=False)
    """The client's encryption context as canonical JSON; part of what the content key is bound to."""
    verifier: str = field(default="", repr=False)
    """Of a customer key (`keys.customer`); empty until the content has an id."""

    @property
    def hides_hashes(self) -> bool:
        """Whether hashes of the plaintext may be known to nobody who lacks the content key."""
        return self.mode is not Mode.S3

    def etag_mode(self, default: EtagMode) -> EtagMode:
        """How ETags are made: only SSE-S3 lets a client compare them with an MD5, as on AWS."""
        return EtagMode.OPAQUE if self.hides_hashes else default

    def may_share(self, other: "Protection") -> bool:
        """Whether a copy to be protected so may share a content that is protected as `other`."""
        return self.mode is not Mode.CUSTOMER and self == other

    def encode(self) -> dict[str, str]:
        """Text by name, defaults left out."""
        encoded = {
            "kms_key_id": self.kms_key_id,
            "kms_key_arn": self.kms_key_arn,
            "bucket_key": "true" if self.bucket_key else "",
            "context": self.context,
            "verifier": self.verifier,
        }
        return {"algorithm": self.mode.value} | {name: value for name, value in encoded.items() if value}

    @classmethod
    def decode(cls, encoded: Mapping[str, str] | None) -> "Protection":
        """The reverse; what says nothing is of SSE-S3. The values are authentic."""
        if not encoded:
            return DEFAULT_PROTECTION
        return cls(
            mode=Mode(encoded["algorithm"]),
            kms_key_id=encoded.get("kms_key_id", ""),
            kms_key_arn=encoded.get("kms_key_arn", ""),
            bucket_key=encoded.get("bucket_key") == "true",
            context=encoded.get("context", ""),
            verifier=encoded.get("verifier", ""),
        )


DEFAULT_PROTECTION = Protection()
"""SSE-S3: of every object whose request and bucket ask for nothing else, and of links and manifests always."""
