"""Continuation tokens: a list position sealed by AES-256-GCM, good for one bucket (or account) and no other."""

import base64
import binascii
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.s3.errors import INVALID_ARGUMENT, S3Error

NONCE_SIZE = 12
MAX_TOKEN_LENGTH = 2048
"""Characters that are looked at: a key of 1,024 bytes, its nonce and tag in Base64, and room."""

_LABEL = b"sealgate/cursor/v1\0"


class SealedCursors:
    """The `CursorSealer` of one realm."""

    def __init__(self, key: bytes) -> None:
        """`key` is 32 bytes that seal nothing else."""
        self._cipher = AESGCM(key)

    def seal(self, position: bytes, scope: bytes) -> str:
        """Return an opaque token; random nonces are safe for 2^32 tokens and more of one key."""
        nonce = secrets.token_bytes(NONCE_SIZE)
        sealed = nonce + self._cipher.encrypt(nonce, position, _LABEL + scope)
        return base64.urlsafe_b64encode(sealed).decode("ascii")

    def open(self, token: str, scope: bytes) -> bytes:
        """Give the position back.

        Raises:
            S3Error: InvalidArgument for a token that was not made here for this scope.
        """
        try:
            sealed = base64.b64decode(token[: MAX_TOKEN_LENGTH + 1], altchars=b"-_", validate=True)
            return self._cipher.decrypt(sealed[:NONCE_SIZE], sealed[NONCE_SIZE:], _LABEL + scope)
        except (ValueError, binascii.Error, InvalidTag):
            raise S3Error(
                INVALID_ARGUMENT,
                "The continuation token provided is incorrect",
                fields={"ArgumentName": "continuation-token"},
            ) from None
