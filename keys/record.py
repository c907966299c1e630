"""The one shape in which Sealgate puts a secret under a key: AES-256-GCM under HKDF-SHA-512(key, fresh salt, context).

Source: RFC 5869 (HKDF), NIST SP 800-38D (GCM), docs/decisions/0002-wrapping-record.md.
"""

import secrets
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from keys.context import canonical
from keys.errors import UnwrapFailed

SALT_SIZE = 32
NONCE_SIZE = 12
TAG_SIZE = 16
OVERHEAD = SALT_SIZE + NONCE_SIZE + TAG_SIZE
"""Bytes that a record adds to the secret inside it."""

_LABEL = "sealgate/record/v1"
_KEY_SIZE = 32
_HASH = SHA512()


@dataclass(frozen=True, slots=True)
class Record:
    """A sealed secret: public bytes. `ciphertext` ends with the 16-byte tag."""

    salt: bytes = field(repr=False)
    nonce: bytes = field(repr=False)
    ciphertext: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.salt) != SALT_SIZE or len(self.nonce) != NONCE_SIZE or len(self.ciphertext) < TAG_SIZE:
            raise ValueError("a record is a salt of 32 bytes, a nonce of 12, and at least a tag")

    def encode(self) -> bytes:
        """Salt, nonce, ciphertext, one after the other."""
        return self.salt + self.nonce + self.ciphertext

    @property
    def size(self) -> int:
        """Bytes of the encoding."""
        return SALT_SIZE + NONCE_SIZE + len(self.ciphertext)

    @classmethod
    def decode(cls, data: bytes) -> "Record":
        """Read what `encode` wrote.

        Raises:
            UnwrapFailed: too few bytes for a record.
        """
        if len(data) < OVERHEAD:
            raise UnwrapFailed("a sealed record is too short")
        return cls(data[:SALT_SIZE], data[SALT_SIZE : SALT_SIZE + NONCE_SIZE], data[SALT_SIZE + NONCE_SIZE :])


def seal(wrapping_key: bytes, secret: bytes, context: bytes) -> Record:
    """Seal a secret under a 32-byte key and canonical context bytes.

    Every record has a salt, so a key, of its own: one wrapping key may seal any number of records. The nonce is
    random as well, which costs 12 bytes and makes a repeated salt harmless.
    """
    drawn = secrets.token_bytes(SALT_SIZE + NONCE_SIZE)
    salt, nonce = drawn[:SALT_SIZE], drawn[SALT_SIZE:]
    return Record(salt, nonce, _cipher(wrapping_key, salt, context).encrypt(nonce, secret, None))


def unseal(wrapping_key: bytes, record: Record, context: bytes) -> bytes:
    """Open a record.

    Raises:
        UnwrapFailed: another key, another context, or altered bytes; which of them cannot be told.
    """
    cipher = _cipher(wrapping_key, record.salt, context)
    try:
        return cipher.decrypt(record.nonce, record.ciphertext, None)
    except InvalidTag:
        raise UnwrapFailed("a wrapped key does not authenticate under its context") from None


def _cipher(wrapping_key: bytes, salt: bytes, context: bytes) -> AESGCM:
    assert len(wrapping_key) == _KEY_SIZE, "wrapping keys have 32 bytes"
    # The context is the HKDF info, so it needs no second place as associated data.
    return AESGCM(HKDF(_HASH, _KEY_SIZE, salt, canonical(_LABEL, context)).derive(wrapping_key))
