"""A second sealer, written from docs/FORMAT.md alone; it shares no code with the project.

It takes the salt as an argument, so that its output is fixed: the published vectors come from it. Source: FORMAT
sections 2 to 7.
"""

import hashlib
import hmac
import json
import struct
from dataclasses import dataclass, replace

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

CHUNK = 16384


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the bytes of a blob; the last fields exist to seal blobs that break a rule."""

    plaintext: bytes = b""
    kind: int = 1
    realm_id: bytes = bytes(range(16))
    blob_id: bytes = bytes(range(16, 32))
    data_key: bytes = bytes(range(32, 64))
    description_key: bytes = bytes(range(64, 96))
    salt: bytes = bytes(range(96, 120))
    slot: bytes = b"an opaque wrapped key"
    description: bytes = b'{"created_at":1700000000000000}'
    inner: bytes | None = None
    header: bytes | None = None  # instead of the one that is built
    chunks: tuple[bytes, ...] | None = None  # instead of the right cut
    footer_text: bytes | None = None  # instead of the padded text
    trailer: bytes | None = None
    claimed_size: int | None = None  # a lie about plaintext_size

    def but(self, **changes: object) -> "Recipe":
        return replace(self, **changes)  # type: ignore[arg-type]  # the tests name existing fields


def expand(key: bytes, info: bytes, size: int) -> bytes:
    """HKDF-Expand, RFC 5869 section 2.3, HMAC-SHA-512."""
    block, out, counter = b"", b"", 1
    while len(out) < size:
        block = hmac.new(key, block + info + bytes([counter]), hashlib.sha512).digest()
        out, counter = out + block, counter + 1
    return out[:size]


def box(key_and_nonce: bytes, aad: bytes | None, text: bytes) -> bytes:
    return AESGCM(key_and_nonce[:32]).encrypt(key_and_nonce[32:44], text, aad)


def canonical(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def cut(plaintext: bytes) -> tuple[bytes, ...]:
    return tuple(plaintext[i : i + CHUNK] for i in range(0, len(plaintext) // CHUNK * CHUNK + 1, CHUNK))


def seal(recipe: Recipe) -> tuple[bytes, dict[str, str | int]]:
    """The blob, and the row that a catalogue would keep of it (bytes as hexadecimal)."""
    r = recipe
    header = r.header or struct.pack(
        ">8sBBBBI16s16s16x", b"\x89SGATE\r\n", 1, 1, r.kind, 0, len(r.slot), r.realm_id, r.blob_id
    )
    header_hash, slot_hash = hashlib.sha256(header).digest(), hashlib.sha256(r.slot).digest()
    info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0" + r.salt + b"sealgate/v1/payload\0" + header_hash
    derived = expand(r.data_key, info, 76)
    base_nonce, commitment = int.from_bytes(derived[32:44], "big"), derived[44:]
    sealed_chunks = b"".join(
        box(derived[:32] + (base_nonce ^ i).to_bytes(12, "big"), None, chunk)
        for i, chunk in enumerate(cut(r.plaintext) if r.chunks is None else r.chunks)
    )
    size = len(r.plaintext) if r.claimed_size is None else r.claimed_size
    binding = header_hash + slot_hash + r.salt + commitment + struct.pack(">Q", size)
    inner = b""
    if r.inner is not None:
        inner = box(expand(r.data_key, b"sealgate/v1/inner-box\0" + header_hash + r.salt, 44), binding, r.inner)
    text = r.footer_text
    if text is None:
        text = struct.pack(">II", len(r.description), len(inner)) + r.description + inner
        text += bytes(-(len(text) + 16) % 512)
    box_key = expand(r.description_key, b"sealgate/v1/description\0" + r.blob_id + r.salt, 44)
    footer = box(box_key, binding, text)
    trailer = r.trailer or struct.pack(">QI4x8s", size, len(footer), b"\x89SGEND\r\n")
    blob = header + r.slot + r.salt + commitment + sealed_chunks + footer + trailer
    row: dict[str, str | int] = {
        "kind": r.kind,
        "realm_id": r.realm_id.hex(),
        "blob_id": r.blob_id.hex(),
        "slot_size": len(r.slot),
        "plaintext_size": size,
        "sealed_size": len(blob),
        "salt": r.salt.hex(),
        "commitment": commitment.hex(),
        "footer_hash": hashlib.sha256(b"sealgate/v1/footer\0" + slot_hash + footer).hexdigest(),
    }
    return blob, row
