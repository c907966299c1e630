"""Key slots in every mode of encryption, written and read a second time from FORMAT.md and decision 0002 alone.

    python -m tests.gateway.engine.independent_slots

writes the published vectors: salts, nonces and keys are fixed, so that the output is a function of this file.
"""

import base64
import hmac
import json
import struct
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

FILE = Path(__file__).parents[2] / "vectors" / "slots" / "modes.json"
REALM, BUCKET, CONTENT, BUCKET_KEY_ID = (bytes(range(at, at + 16)) for at in (0, 16, 32, 48))
NIL = bytes(16)
WRAPPING_KEY, K, BUCKET_KEY, CONTENT_KEY, CLIENT = (bytes(range(at, at + 32)) for at in (60, 90, 120, 150, 180))
CONTEXT = '{"team":"\u00fc"}'
KMS_KEY_ID = "1234abcd-12ab-34cd-56ef-1234567890ab"
CHECKSUM = "NSRBwg=="


class Refused(Exception):
    """A slot or a note that does not open."""


def canonical(label: str, *fields: bytes) -> bytes:
    parts = (label.encode(), *fields)
    return b"".join(struct.pack(">H", len(part)) + part for part in parts)


def hkdf(key: bytes, salt: bytes, info: bytes) -> bytes:
    extracted = hmac.digest(salt or bytes(64), key, "sha512")
    return hmac.digest(extracted, info + b"\x01", "sha512")[:32]


def context_of(bucket: bytes, content: bytes, purpose: str, client_context: str = "") -> bytes:
    fields = [REALM, bucket, content, purpose.encode(), NIL]
    return canonical("sealgate/wrap-context/v1", *fields, *([client_context.encode()] if client_context else []))


def seal_record(key: bytes, secret: bytes, context: bytes, at: int) -> bytes:
    """`at` makes salt and nonce, which nobody may do but here."""
    salt, nonce = bytes([at]) * 32, bytes([at + 1]) * 12
    record_key = hkdf(key, salt, canonical("sealgate/record/v1", context))
    return salt + nonce + AESGCM(record_key).encrypt(nonce, secret, None)


def open_record(key: bytes, record: bytes, context: bytes) -> bytes:
    record_key = hkdf(key, record[:32], canonical("sealgate/record/v1", context))
    try:
        return AESGCM(record_key).decrypt(record[32:44], record[44:], None)
    except (InvalidTag, ValueError):
        raise Refused from None


def wrapped(provider: str, key_id: str, version: str, ciphertext: bytes, record: bytes) -> bytes:
    def sized(data: bytes, size: int) -> bytes:
        return len(data).to_bytes(size, "big") + data

    whole = b"\x01" + sized(provider.encode(), 1) + sized(key_id.encode(), 2) + sized(version.encode(), 1)
    whole += sized(ciphertext, 2) + record
    return sized(whole, 2)


def by_kms(secret: bytes, context: bytes, at: int) -> bytes:
    binding = canonical("sealgate/memory-kms/v1", KMS_KEY_ID.encode(), b"1")
    ciphertext = seal_record(WRAPPING_KEY, K, binding, at)
    return wrapped("memory", KMS_KEY_ID, "1", ciphertext, seal_record(K, secret, context, at + 2))


def own(provider: str, context: bytes) -> bytes:
    return canonical("sealgate/own-wrap/v1", provider.encode(), context)


def client_key(material: bytes) -> bytes:
    return hkdf(material, b"", canonical("sealgate/customer-key/v1"))


def slots() -> dict[str, tuple[str, bytes]]:
    """name: (encryption context, slot)."""
    bucket_context = context_of(BUCKET, BUCKET_KEY_ID, "bucket")
    found: dict[str, tuple[str, bytes]] = {}
    for name, client_context in (("sse_s3", ""), ("sse_kms", ""), ("sse_kms_context", CONTEXT)):
        context = context_of(BUCKET, CONTENT, "content", client_context)
        found[name] = (client_context, by_kms(CONTENT_KEY, context, 1 + 4 * len(found)))
    for name, client_context in (("sse_kms_bucket_key", ""), ("sse_kms_bucket_key_context", CONTEXT)):
        context = context_of(BUCKET, CONTENT, "content", client_context)
        record = seal_record(BUCKET_KEY, CONTENT_KEY, own("bucket", context), 50 + len(found))
        slot = wrapped("bucket", BUCKET_KEY_ID.hex(), "", b"", record) + BUCKET_KEY_ID
        found[name] = (client_context, slot + by_kms(BUCKET_KEY, bucket_context, 70))
    context = context_of(BUCKET, CONTENT, "content")
    record = seal_record(client_key(CLIENT), CONTENT_KEY, own("customer", context), 90)
    found["sse_c"] = ("", wrapped("customer", CONTENT.hex(), "", b"", record))
    return found


def verifier(material: bytes, salt: bytes) -> str:
    info = canonical("sealgate/customer-verifier/v1", context_of(BUCKET, CONTENT, "content"))
    return base64.b64encode(salt + hkdf(client_key(material), salt, info)).decode()


def checksum_context(algorithm: str, kind: str) -> bytes:
    return canonical("sealgate/checksum/v1", REALM, BUCKET, CONTENT, NIL, algorithm.encode(), kind.encode())


def open_slot(slot: bytes, client_context: str, material: bytes | None) -> bytes:
    """The content key of a slot, by the layout alone."""
    first, rest = _take(slot)
    provider, key_id, _, ciphertext, record = _fields(first)
    context = context_of(BUCKET, CONTENT, "content", client_context)
    if provider == "customer":
        if material is None or rest or ciphertext or key_id != CONTENT.hex():
            raise Refused
        return open_record(client_key(material), record, own("customer", context))
    if material is not None:
        raise Refused
    if provider == "bucket":
        second, trailing = _take(rest[16:])
        if trailing or rest[:16].hex() != key_id or ciphertext:
            raise Refused
        bucket_key = _by_kms(second, context_of(BUCKET, rest[:16], "bucket"))
        return open_record(bucket_key, record, own("bucket", context))
    if rest:
        raise Refused
    return _by_kms(first, context)


def _by_kms(data: bytes, context: bytes) -> bytes:
    provider, key_id, version, ciphertext, record = _fields(data)
    if (provider, key_id, version) != ("memory", KMS_KEY_ID, "1"):
        raise Refused
    secret = open_record(WRAPPING_KEY, ciphertext, canonical("sealgate/memory-kms/v1", key_id.encode(), b"1"))
    return open_record(secret, record, context)


def _take(data: bytes) -> tuple[bytes, bytes]:
    size = int.from_bytes(data[:2], "big")
    if not size or len(data) < 2 + size:
        raise Refused
    return data[2 : 2 + size], data[2 + size :]


def _fields(data: bytes) -> tuple[str, str, str, bytes, bytes]:
    if data[:1] != b"\x01":
        raise Refused
    at, fields = 1, []
    for size in (1, 2, 1, 2):
        length = int.from_bytes(data[at : at + size], "big")
        fields.append(data[at + size : at + size + length])
        at += size + length
    if len(data) - at != 92:
        raise Refused
    try:
        provider, key_id, version = (field.decode("ascii") for field in fields[:3])
    except UnicodeDecodeError:
        raise Refused from None
    return provider, key_id, version, fields[3], data[at:]


def build() -> str:
    """The text of modes.json. Negative ones say what is wrong; every one of them must be refused."""
    positive: list[dict[str, Any]] = []
    for name, (client_context, slot) in slots().items():
        positive.append({"name": name, "context": client_context, "slot": base64.b64encode(slot).decode()})
        positive[-1]["customer_key"] = CLIENT.hex() if name == "sse_c" else None
    by_name = {vector["name"]: vector for vector in positive}
    negative = [by_name[name] | change | {"name": f"{name}: {wrong}"} for name, wrong, change in _wrongs(by_name)]
    salt = bytes(range(7, 39))
    sealed = seal_record(CONTENT_KEY, CHECKSUM.encode(), checksum_context("CRC32", "FULL_OBJECT"), 110)
    notes = {
        "content_key": CONTENT_KEY.hex(),
        "verifier": verifier(CLIENT, salt),
        "verifier_of_another_key": verifier(CLIENT[::-1], salt),
        "checksum": CHECKSUM,
        "sealed_checksum": base64.b64encode(sealed).decode(),
    }
    return json.dumps({"positive": positive, "negative": negative, "notes": notes}, indent=1) + "\n"


def _wrongs(by_name: dict[str, dict[str, Any]]) -> list[tuple[str, str, dict[str, Any]]]:
    wrongs: list[tuple[str, str, dict[str, Any]]] = []
    for name, vector in by_name.items():
        slot = base64.b64decode(vector["slot"])
        for what, data in (
            ("first byte", bytes([slot[0] ^ 1]) + slot[1:]),
            ("last bit", slot[:-1] + bytes([slot[-1] ^ 1])),
            ("cut by one", slot[:-1]),
            ("one byte more", slot + b"\0"),
            ("empty", b""),
        ):
            wrongs.append((name, what, {"slot": base64.b64encode(data).decode()}))
        wrongs.append((name, "another context", {"context": '{"team":"x"}'}))
        other_key = CLIENT[::-1].hex() if name == "sse_c" else CLIENT.hex()
        wrongs.append((name, "another key of a client", {"customer_key": other_key}))
    wrongs += [
        ("sse_c", "without the key of its client", {"customer_key": None}),
        ("sse_kms_context", "without its context", {"context": ""}),
        ("sse_kms_bucket_key_context", "without its context", {"context": ""}),
        ("sse_kms", "the slot of another mode", {"slot": by_name["sse_c"]["slot"]}),
        ("sse_c", "the slot of another mode", {"slot": by_name["sse_kms"]["slot"]}),
    ]
    return wrongs


if __name__ == "__main__":
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(build(), encoding="ascii")
