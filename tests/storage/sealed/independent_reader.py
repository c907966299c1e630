"""A second reader, written from docs/FORMAT.md alone; it shares no code with the project nor with the second sealer.

It reads whole blobs, with a catalogue row (FORMAT section 8.2) or without one (8.3). Slow and plain on purpose.
"""

import base64
import hashlib
import hmac
import json
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


class Refused(Exception):
    """The blob is not what it should be; `kind` is a word of FORMAT section 8.2's last column."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


def need(truth: bool, kind: str) -> None:
    if not truth:
        raise Refused(kind)


def expand(key: bytes, info: bytes, size: int) -> bytes:
    first = hmac.digest(key, info + b"\x01", "sha512")
    return (first + hmac.digest(key, first + info + b"\x02", "sha512"))[:size]


def unbox(key: bytes, nonce: bytes, aad: bytes, sealed: bytes, kind: str) -> bytes:
    need(len(sealed) >= 16, kind)
    try:
        return AESGCM(key).decrypt(nonce, sealed, aad)
    except InvalidTag:
        raise Refused(kind) from None


def u(data: bytes) -> int:
    return int.from_bytes(data, "big")


def payload_size(plaintext_size: int) -> int:
    return 56 + plaintext_size + 16 * (plaintext_size // 16384 + 1)


def read_with_row(blob: bytes, row: dict[str, Any], data_key: bytes) -> bytes:
    """The plaintext, or `Refused`: the seven steps of section 8.2."""
    row = {k: bytes.fromhex(v) if isinstance(v, str) else v for k, v in row.items()}
    slot_end, size = 64 + row["slot_size"], row["plaintext_size"]
    chunks_end = slot_end + payload_size(size)
    footer_size = row["sealed_size"] - 24 - chunks_end
    need(512 <= footer_size <= 70144 and footer_size % 512 == 0 and len(blob) == row["sealed_size"], "length")
    header = b"\x89SGATE\r\n\x01\x01" + bytes([row["kind"], 0]) + row["slot_size"].to_bytes(4, "big")
    header += row["realm_id"] + row["blob_id"] + bytes(16)
    info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0" + row["salt"] + b"sealgate/v1/payload\0"
    derived = expand(data_key, info + hashlib.sha256(header).digest(), 76)
    need(derived[44:] == row["commitment"], "commitment")
    need(blob[:64] == header, "header")
    need(blob[slot_end : slot_end + 24] == row["salt"], "salt")
    need(blob[slot_end + 24 : slot_end + 56] == row["commitment"], "commitment")
    plaintext, at, index = b"", slot_end + 56, 0
    while at < chunks_end:
        nonce = (u(derived[32:44]) ^ index).to_bytes(12, "big")
        end = min(at + 16400, chunks_end)
        plaintext += unbox(derived[:32], nonce, b"", blob[at:end], "chunk")
        at, index = end, index + 1
    need(len(plaintext) == size, "length")
    slot_hash = hashlib.sha256(blob[64:slot_end]).digest()
    footer_hash = hashlib.sha256(b"sealgate/v1/footer\0" + slot_hash + blob[chunks_end:-24]).digest()
    need(footer_hash == row["footer_hash"], "footer")
    end_mark = size.to_bytes(8, "big") + footer_size.to_bytes(4, "big") + bytes(4) + b"\x89SGEND\r\n"
    need(blob[-24:] == end_mark, "trailer")
    return plaintext


def read_without_row(
    blob: bytes, realm_id: bytes, description_key: bytes
) -> tuple[dict[str, Any], bytes, dict[str, Any]]:
    """Description, sealed inner box and the row that section 8.3 recovers."""
    head, tail = blob[:64], blob[-24:]
    need(len(head) == 64 and head[:10] == b"\x89SGATE\r\n\x01\x01" and 1 <= head[10] <= 9, "header")
    need(head[11] == 0 and head[16:32] == realm_id and head[48:] == bytes(16), "header")
    slot_size = u(head[12:16])
    need(1 <= slot_size <= 8192, "header")
    need(len(tail) == 24 and tail[12:] == bytes(4) + b"\x89SGEND\r\n" and u(tail[:8]) < 2**52, "trailer")
    size, footer_size, slot_end = u(tail[:8]), u(tail[8:12]), 64 + slot_size
    need(512 <= footer_size <= 70144 and footer_size % 512 == 0, "length")
    need(len(blob) == slot_end + payload_size(size) + footer_size + 24, "length")
    header_hash, slot_hash = hashlib.sha256(head).digest(), hashlib.sha256(blob[64:slot_end]).digest()
    salt, commitment, footer = blob[slot_end:][:24], blob[slot_end + 24 :][:32], blob[-24 - footer_size : -24]
    okm = expand(description_key, b"sealgate/v1/description\0" + head[32:48] + salt, 44)
    binding = header_hash + slot_hash + salt + commitment + tail[:8]
    text = unbox(okm[:32], okm[32:], binding, footer, "description")
    json_size, inner_size = u(text[:4]), u(text[4:8])
    used = 8 + json_size + inner_size
    need(2 <= json_size <= 65536 and (inner_size == 0 or 16 <= inner_size <= 4112), "description")
    need(used + (-(used + 16) % 512) == len(text) and not any(text[used:]), "description")
    row = {"kind": head[10], "realm_id": head[16:32].hex(), "blob_id": head[32:48].hex(), "slot_size": slot_size}
    row |= {"plaintext_size": size, "sealed_size": len(blob), "salt": salt.hex(), "commitment": commitment.hex()}
    row["footer_hash"] = hashlib.sha256(b"sealgate/v1/footer\0" + slot_hash + footer).hexdigest()
    return canonical_object(text[8 : 8 + json_size]), text[8 + json_size : used], row


TYPES: dict[str, Any] = {}
for _names, _default in (
    ("account_id bucket_id content_id object_key upload_id", b""),
    ("bucket_name etag lock_mode version_id", ""),
    ("checksums encryption headers sealed_checksums tags user_metadata", {}),
    ("commit_order part_number plaintext_size", 0),
    ("created_at modified_at retain_until", None),
    ("legal_hold", False),
):
    TYPES |= dict.fromkeys(_names.split(), _default)


def strict_integer(text: str) -> int:
    need(not text.startswith("-") and len(text) < 20 and int(text) < 2**63, "description")
    return int(text)


def no_number(text: str) -> None:
    raise Refused("description")


def check_member(name: str, value: Any) -> None:
    default = TYPES[name]
    if default == b"":
        need(isinstance(value, str), "description")
        raw = base64.b64decode(value, validate=True)
        need(raw != b"" and base64.b64encode(raw).decode() == value, "description")
    elif default is None:
        need(type(value) is int and value < 253402300800000000, "description")
    else:
        need(type(value) is type(default) and value != default, "description")
        need(default != {} or all(isinstance(item, str) for item in value.values()), "description")


def depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


def canonical_object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(
            data.decode("utf-8"), parse_int=strict_integer, parse_float=no_number, parse_constant=no_number
        )
        again = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
        need(isinstance(value, dict) and again == data and "created_at" in value, "description")
        need(depth(value) <= 33, "description")
        for name in value.keys() & TYPES.keys():
            check_member(name, value[name])
    except (ValueError, RecursionError):
        raise Refused("description") from None
    return value  # type: ignore[no-any-return]  # json gives Any


def read_inner(row: dict[str, Any], head: bytes, slot: bytes, sealed: bytes, data_key: bytes) -> bytes:
    header_hash, salt = hashlib.sha256(head).digest(), bytes.fromhex(row["salt"])
    okm = expand(data_key, b"sealgate/v1/inner-box\0" + header_hash + salt, 44)
    binding = header_hash + hashlib.sha256(slot).digest() + salt + bytes.fromhex(row["commitment"])
    return unbox(okm[:32], okm[32:], binding + row["plaintext_size"].to_bytes(8, "big"), sealed, "inner")
