"""Records that a realm signs: Ed25519 over their canonical JSON, so that anybody who has the public key checks them.

Source: RFC 8032; docs/KEYS.md "Shredding".
"""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from keys.errors import UnwrapFailed
from keys.realm import RealmKeys

RECORD_FORMAT: Final = "sealgate-destruction"
"""What a record of destruction calls itself."""
_LABEL: Final = b"sealgate/signed-record/v1\0"


def public_key_of(realm_keys: RealmKeys) -> str:
    """The realm's public key, 64 hexadecimal digits."""
    return _private(realm_keys).public_key().public_bytes_raw().hex()


def sign_record(realm_keys: RealmKeys, record: Mapping[str, Any]) -> dict[str, Any]:
    """A record with `public_key` and `signature` beside what it says."""
    signed = {**record, "public_key": public_key_of(realm_keys)}
    signature = _private(realm_keys).sign(_bytes_of(signed))
    return signed | {"signature": base64.b64encode(signature).decode("ascii")}


def check_record(record: Mapping[str, Any], public_key: str) -> None:
    """See that a record is as the holder of a key signed it.

    Raises:
        UnwrapFailed: another key signed it, nobody did, or it was altered.
    """
    said = {name: value for name, value in record.items() if name != "signature"}
    try:
        if said.get("public_key") != public_key:
            raise UnwrapFailed("the record was signed by another realm")
        signature = base64.b64decode(str(record.get("signature")), validate=True)
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key)).verify(signature, _bytes_of(said))
    except (InvalidSignature, ValueError, TypeError, binascii.Error):
        raise UnwrapFailed("the record is not as the realm signed it") from None


def _private(realm_keys: RealmKeys) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(realm_keys.signing_seed.material())


def _bytes_of(record: Mapping[str, Any]) -> bytes:
    return _LABEL + json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")
