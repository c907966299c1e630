"""Keys that clients bring with each request (SSE-C): nothing of them is kept but a salted verifier.

Source: AWS "Using server-side encryption with customer-provided keys"; docs/decisions/0006-encryption-modes.md.
"""

import base64
import binascii
import hmac
import secrets
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from keys.context import WrapContext, canonical
from keys.datakey import KEY_SIZE, DataKey
from keys.errors import CustomerKeyMismatch, UnwrapFailed

_SALT_SIZE: Final = 32
_TAG_SIZE: Final = 32


def customer_key(material: bytes) -> DataKey:
    """The wrapping key that the 32 bytes of a client stand for.

    Clients may send bytes that no random source makes, which AWS takes, so that a derivation stands before `DataKey`.

    Raises:
        ValueError: not 32 bytes.
    """
    if len(material) != KEY_SIZE:
        raise ValueError(f"a customer key has {KEY_SIZE} bytes, not {len(material)}")
    return DataKey(HKDF(SHA512(), KEY_SIZE, None, canonical("sealgate/customer-key/v1")).derive(material))


def new_verifier(key: DataKey, context: WrapContext) -> str:
    """What is kept to know this key again, under a fresh salt: tells nothing of the key, is of no use elsewhere."""
    salt = secrets.token_bytes(_SALT_SIZE)
    return base64.b64encode(salt + _tag(key, salt, context)).decode("ascii")


def check_verifier(key: DataKey, verifier: str, context: WrapContext) -> None:
    """See that a client's key is the one that a verifier was made of, in constant time.

    Raises:
        CustomerKeyMismatch: it is another.
        UnwrapFailed: that is no verifier.
    """
    try:
        kept = base64.b64decode(verifier, validate=True)
    except binascii.Error:
        kept = b""
    if len(kept) != _SALT_SIZE + _TAG_SIZE:
        raise UnwrapFailed("that is no verifier of a customer key")
    if not hmac.compare_digest(kept[_SALT_SIZE:], _tag(key, kept[:_SALT_SIZE], context)):
        raise CustomerKeyMismatch("the customer key is not the one that the content was written with")


def _tag(key: DataKey, salt: bytes, context: WrapContext) -> bytes:
    info = canonical("sealgate/customer-verifier/v1", context.encode())
    return HKDF(SHA512(), _TAG_SIZE, salt, info).derive(key.material())
