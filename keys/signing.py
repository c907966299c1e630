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


def parse_record(data: bytes) -> dict[str, Any]:
    """A signed record as a file holds it, which reads alike for everybody: no name stands in it twice.

    Raises:
        ValueError: it is none.
    """
    try:
        record = json.loads(data, object_pairs_hook=_only_once)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(record, dict) or record.get("format") != RECORD_FORMAT:
        raise ValueError("no record of destruction")
    return record


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
    except (InvalidSignature, ValueError, TypeError, RecursionError, binascii.Error):
        raise UnwrapFailed("the record is not as the realm signed it") from None


def _only_once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """What is signed is the last of two members of one name, and a person may read the first."""
    names = dict(members)
    if len(names) < len(members):
        raise ValueError("a name stands there twice")
    return names


def _private(realm_keys: RealmKeys) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(realm_keys.signing_seed.material())


def _bytes_of(record: Mapping[str, Any]) -> bytes:
    return _LABEL + json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")
