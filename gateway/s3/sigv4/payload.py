"""What `x-amz-content-sha256` says about the body: hashed, unsigned, or one of the aws-chunked forms.

Source: AWS "Authenticating Requests: Using the Authorization Header", section on payload options.
"""

import hmac
import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from gateway.s3.errors import INVALID_ARGUMENT, INVALID_REQUEST, X_AMZ_CONTENT_SHA256_MISMATCH, S3Error

HEADER: Final = "x-amz-content-sha256"

_HEX_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}")
_ECDSA: Final = "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"


class PayloadMode(Enum):
    """The forms of a body; but for HASH, a value is its wire spelling."""

    HASH = "HASH"
    UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
    STREAMING_UNSIGNED_PAYLOAD_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
    STREAMING_AWS4_HMAC_SHA256_PAYLOAD = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    STREAMING_AWS4_HMAC_SHA256_PAYLOAD_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"

    @property
    def is_streaming(self) -> bool:
        """Whether the body is aws-chunked."""
        return self.value.startswith("STREAMING-")

    @property
    def is_signed_streaming(self) -> bool:
        """Whether each chunk carries a signature."""
        return self.value.startswith("STREAMING-AWS4-")

    @property
    def has_trailer(self) -> bool:
        """Whether trailers may follow the last chunk."""
        return self.value.endswith("-TRAILER")


_BY_WIRE: Final = {mode.value: mode for mode in PayloadMode if mode is not PayloadMode.HASH}


@dataclass(frozen=True, slots=True)
class Payload:
    """The declared form of a body."""

    mode: PayloadMode
    declared: str
    """The text that stands in the canonical request."""

    @property
    def sha256(self) -> bytes | None:
        """The 32-byte hash that the body must have; None where the mode names none."""
        return bytes.fromhex(self.declared) if self.mode is PayloadMode.HASH else None

    def check(self, actual_sha256: bytes) -> None:
        """Compare the body's SHA-256 with the declared one; other modes declare none and nothing is compared.

        Raises:
            S3Error: XAmzContentSHA256Mismatch.
        """
        expected = self.sha256
        if expected is not None and not hmac.compare_digest(expected, actual_sha256):
            raise S3Error(X_AMZ_CONTENT_SHA256_MISMATCH)


UNSIGNED: Final = Payload(PayloadMode.UNSIGNED_PAYLOAD, PayloadMode.UNSIGNED_PAYLOAD.value)


def parse_payload(text: str) -> Payload:
    """Read a value of `x-amz-content-sha256`.

    Raises:
        S3Error: InvalidRequest for the SigV4A forms, which are not supported; InvalidArgument for anything unknown.
    """
    mode = _BY_WIRE.get(text)
    if mode is not None:
        return Payload(mode, text)
    if _HEX_SHA256.fullmatch(text):
        return Payload(PayloadMode.HASH, text)
    if text.startswith(_ECDSA):
        raise S3Error(INVALID_REQUEST, "SigV4A (ECDSA) is not supported. Please use AWS4-HMAC-SHA256.")
    raise S3Error(
        INVALID_ARGUMENT,
        f"{HEADER} must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, "
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.",
        fields={"ArgumentName": HEADER},
    )
