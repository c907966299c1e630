"""Keys that anybody knows: zero, repeated, counted up, and those of well-known examples.

A KMS shows no key, but what it wraps under such a one opens for everybody: so that is tried, once at each start.
"""

import hashlib
from collections.abc import Iterator
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

_SIZE: Final = 32
_PHRASES: Final = (b"", b"password", b"changeme", b"secret", b"test", b"minioadmin", b"sealgate")
_EXAMPLES: Final = (
    bytes(range(_SIZE)),
    bytes(range(1, _SIZE + 1)),
    b"0123456789abcdef" * 2,
    b"01234567890123456789012345678901",
    b"12345678901234567890123456789012",
    b"abcdefghijklmnopqrstuvwxyz123456",
    bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"),  # NIST SP 800-38A, F.5.5
    bytes.fromhex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308"),  # GCM specification, case 15
)


def known_keys() -> Iterator[bytes]:
    """All of them, 32 bytes each."""
    yield from (bytes([byte]) * _SIZE for byte in range(256))
    yield from _EXAMPLES
    for phrase in _PHRASES:
        yield hashlib.sha256(phrase).digest()
        yield phrase.ljust(_SIZE, b"\0")


def is_opened_by_a_known_key(nonce: bytes, ciphertext: bytes, associated_data: bytes) -> bool:
    """Try them all on what AES-256-GCM or ChaCha20-Poly1305 made; `ciphertext` ends with the tag."""
    return any(
        _opens(cipher(key), nonce, ciphertext, associated_data)
        for key in known_keys()
        for cipher in (AESGCM, ChaCha20Poly1305)
    )


def _opens(cipher: AESGCM | ChaCha20Poly1305, nonce: bytes, ciphertext: bytes, associated_data: bytes) -> bool:
    try:
        cipher.decrypt(nonce, ciphertext, associated_data)
    except InvalidTag:
        return False
    return True
