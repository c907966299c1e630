"""The primitives under the published vectors: C2SP chunked-encryption, and Wycheproof's AES-GCM, HKDF, HMAC."""

import base64
import hashlib
import hmac
import json
import re
import zlib
from pathlib import Path
from typing import Any

import cryptography_vectors
import pytest
from cryptography.cobblestone import Cobblestone256Decryptor
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from storage.errors import SealedDamaged
from storage.sealed import kdf
from storage.sealed.damage import Damage
from storage.sealed.header import BlobKind, FixedHeader
from storage.sealed.layout import RangePlan, plaintext_size_of
from storage.sealed.stream import Opener, RangeOpener
from tests.storage.sealed import independent_reader, independent_sealer

WYCHEPROOF = Path(__file__).parents[2] / "vectors" / "primitives" / "wycheproof"
PYCA = Path(cryptography_vectors.__file__).parent / "chunked-encryption" / "vectors.json"
HEADER = FixedHeader(BlobKind.OBJECT, bytes(16), bytes(16), 1)


def wycheproof(name: str) -> list[dict[str, Any]]:
    """All tests of a file, each with the parameters of its group."""
    document = json.loads((WYCHEPROOF / f"{name}_test.json").read_text(encoding="utf-8"))
    tests = [group | test for group in document["testGroups"] for test in group["tests"]]
    assert len(tests) == document["numberOfTests"]
    return tests


def octets(text: str) -> bytes:
    return bytes.fromhex(text)


def open_chunks(keys: kdf.PayloadKeys, payload: bytes) -> bytes:
    """Open a payload without header and row by the parts of the project's opener that touch its chunks."""
    opener = Opener.__new__(Opener)
    opener._keys, opener._failed = keys, False
    chunks = RangeOpener(opener, RangePlan.whole(plaintext_size_of(len(payload))))
    return bytes(chunks.update(payload[56:])) + bytes(chunks.finalize())


def open_payload(data_key: bytes, context: bytes, payload: bytes) -> bytes:
    """The same from the data key on, with the commitment checked first."""
    if len(payload) < 56:
        raise SealedDamaged("length: no head")
    keys = kdf.PayloadKeys(data_key, payload[:24], context)
    if keys.commitment != payload[24:56]:
        raise SealedDamaged("commitment: another key or context")
    return open_chunks(keys, payload)


def pyca_open(data_key: bytes, context: bytes, payload: bytes) -> bytes:
    decryptor = Cobblestone256Decryptor(data_key, context)
    return decryptor.update(payload) + decryptor.finalize()


def test_chunks_of_c2sp_chunked_encryption_from_pyca() -> None:
    """pyca derives with SHA-256 here, which no Sealgate suite does; the chunk keys are given, so chunks are tested."""
    results = {"success": 0, "failure": 0}
    for vector in json.loads(PYCA.read_text(encoding="utf-8"))["vectors"]:
        if vector["aead"] != "AEAD_AES_256_GCM" or "aead_key" not in vector:
            continue
        payload = base64.b64decode(vector["ciphertext"])
        payload = zlib.decompress(payload) if vector.get("compressed") else payload
        keys = kdf.PayloadKeys(bytes(32), bytes(24), b"")
        keys._aead, keys._base_nonce = AESGCM(octets(vector["aead_key"])), int(vector["base_nonce"], 16)
        if vector["expect"] == "success":
            plaintext = open_chunks(keys, payload)
            assert len(plaintext) == vector["payload_length"]
            assert hashlib.sha256(plaintext).hexdigest() == vector["payload_sha256"]
        else:
            with pytest.raises(SealedDamaged):
                open_chunks(keys, payload)
        results[vector["expect"]] += 1
    assert results == {"success": 9, "failure": 15}


def test_c2sp_chunked_encryption_from_wycheproof() -> None:
    results = {"valid": 0, "invalid": 0}
    for test in wycheproof("c2sp_chunked_encryption_aes_256_gcm"):
        assert (test["aead"], test["sha"]) == ("AEAD_AES_256_GCM", "SHA-512")
        payload, data_key, context = zlib.decompress(octets(test["ct"])), octets(test["key"]), octets(test["ctx"])
        if test["result"] == "valid":
            plaintext = open_payload(data_key, context, payload)
            assert len(plaintext) == test["msgLength"]
            assert hashlib.sha512(plaintext).hexdigest() == test["msgSha512"]
            assert pyca_open(data_key, context, payload) == plaintext
        else:
            expected = ValueError if "InvalidKeySize" in test["flags"] else SealedDamaged
            with pytest.raises(expected):
                open_payload(data_key, context, payload)
        results[test["result"]] += 1
    assert results == {"valid": 10, "invalid": 25}


def test_aes_256_gcm_with_nonces_of_96_bits_from_wycheproof() -> None:
    counted = 0
    for test in wycheproof("aes_gcm"):
        if (test["keySize"], test["ivSize"], test["tagSize"]) != (256, 96, 128):
            continue
        box = kdf.BoxKey(bytes(32), b"")
        box._aead, box._nonce = AESGCM(octets(test["key"])), octets(test["iv"])
        sealed, aad, text = octets(test["ct"] + test["tag"]), octets(test["aad"]), octets(test["msg"])
        if test["result"] == "valid":
            assert box.seal(text, aad) == sealed
            assert box.open(sealed, aad, Damage.INNER) == text
        else:
            with pytest.raises(SealedDamaged, match=r"^inner: "):
                box.open(sealed, aad, Damage.INNER)
        counted += 1
    assert counted == 66


def test_hkdf_sha_512_from_wycheproof() -> None:
    counted = 0
    for test in wycheproof("hkdf_sha512"):
        ikm, salt, info, size = octets(test["ikm"]), octets(test["salt"]), octets(test["info"]), test["size"]
        extracted = hmac.digest(salt or bytes(64), ikm, "sha512")
        if test["result"] == "valid":
            assert kdf.expand(extracted, info, size) == octets(test["okm"])
            assert independent_sealer.expand(extracted, info, size) == octets(test["okm"])
            assert HKDF(SHA512(), size, salt, info).derive(ikm) == octets(test["okm"])
        else:
            with pytest.raises(ValueError):
                kdf.expand(extracted, info, size)
        counted += 1
    assert counted == 83


def test_hmac_sha_512_from_wycheproof_holds_for_the_independent_derivation() -> None:
    counted = 0
    for test in wycheproof("hmac_sha512"):
        tag = hmac.digest(octets(test["key"]), octets(test["msg"]), "sha512")[: test["tagSize"] // 8]
        assert (tag == octets(test["tag"])) is (test["result"] == "valid")
        counted += 1
    assert counted == 174


@pytest.mark.parametrize("size", [1, 44, 64, 65, 76, 128])
def test_three_expansions_agree(size: int) -> None:
    key, info = bytes(range(32)), b"label\0" + bytes(range(40))
    assert kdf.expand(key, info, size) == independent_sealer.expand(key, info, size)
    assert kdf.expand(key, info, size)[:128] == independent_reader.expand(key, info, size)


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_keys_of_another_length_are_refused_before_anything_is_derived(size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        kdf.PayloadKeys(bytes(size), bytes(24), b"")
    with pytest.raises(ValueError, match="32 bytes"):
        kdf.description_box(bytes(size), HEADER, bytes(24))
    with pytest.raises(ValueError, match="32 bytes"):
        kdf.inner_box(bytes(size), HEADER, bytes(24))
    with pytest.raises(ValueError, match="24 bytes"):
        kdf.PayloadKeys(bytes(32), bytes(size), b"")


def test_boxes_for_different_uses_have_different_keys() -> None:
    other = FixedHeader(BlobKind.OBJECT, bytes(16), b"\1" * 16, 1)
    key = bytes(range(32))
    boxes = [
        kdf.description_box(key, HEADER, bytes(24)),
        kdf.description_box(key, other, bytes(24)),
        kdf.description_box(key, HEADER, b"\1" * 24),
        kdf.inner_box(key, HEADER, bytes(24)),
        kdf.inner_box(key, other, bytes(24)),
        kdf.inner_box(key, HEADER, b"\1" * 24),
    ]
    assert len({box.seal(b"text", b"") for box in boxes}) == len(boxes)
    assert len({box._nonce for box in boxes}) == len(boxes)


@pytest.mark.parametrize("size", [0, 1, 15])
def test_a_box_too_short_for_a_tag_is_refused(size: int) -> None:
    with pytest.raises(SealedDamaged, match=r"^inner: "):
        kdf.inner_box(bytes(32), HEADER, bytes(24)).open(bytes(size), b"", Damage.INNER)


def test_no_repr_shows_a_key() -> None:
    keys = kdf.PayloadKeys(b"\xaa" * 32, bytes(24), b"")
    box = kdf.BoxKey(b"\xaa" * 32, b"")
    for shown in (repr(keys), repr(box), str(keys), str(box)):
        assert re.fullmatch(r"<storage\.sealed\.kdf\.\w+ object at 0x[0-9a-f]+>", shown)
