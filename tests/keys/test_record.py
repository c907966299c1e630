"""Records open under their own key and context only; checked by a second derivation written out from the RFCs."""

import hashlib
import hmac
import secrets

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keys.errors import UnwrapFailed
from keys.record import OVERHEAD, Record, seal, unseal

_KEY = bytes(range(32))


def test_opens_what_it_sealed() -> None:
    for size in (0, 1, 32, 1000):
        secret = secrets.token_bytes(size)
        record = seal(_KEY, secret, b"context")
        assert len(record.encode()) == size + OVERHEAD
        assert unseal(_KEY, Record.decode(record.encode()), b"context") == secret


def test_agrees_with_hkdf_written_out_from_rfc_5869() -> None:
    record = seal(_KEY, b"secret", b"context")
    extracted = hmac.digest(record.salt, _KEY, "sha512")
    info = b"\0\x12sealgate/record/v1" + b"\0\x07context"
    record_key = hmac.digest(extracted, info + b"\x01", "sha512")[:32]
    assert AESGCM(record_key).decrypt(record.nonce, record.ciphertext, None) == b"secret"


def test_every_bit_counts() -> None:
    encoded = seal(_KEY, b"secret", b"context").encode()
    for index in range(len(encoded) * 8):
        altered = bytearray(encoded)
        altered[index // 8] ^= 1 << index % 8
        with pytest.raises(UnwrapFailed):
            unseal(_KEY, Record.decode(bytes(altered)), b"context")


@pytest.mark.parametrize("context", [b"", b"contexT", b"context\0", b"contex"])
def test_another_context_does_not_open(context: bytes) -> None:
    with pytest.raises(UnwrapFailed):
        unseal(_KEY, seal(_KEY, b"secret", b"context"), context)


def test_another_key_does_not_open() -> None:
    with pytest.raises(UnwrapFailed) as raised:
        unseal(hashlib.sha256(_KEY).digest(), seal(_KEY, b"secret", b"context"), b"context")
    assert raised.value.__cause__ is None


def test_salts_and_nonces_are_fresh() -> None:
    records = [seal(_KEY, b"secret", b"context") for _ in range(100)]
    assert len({record.salt for record in records}) == len({record.nonce for record in records}) == 100


def test_a_short_record_is_refused() -> None:
    encoded = seal(_KEY, b"", b"context").encode()
    for size in range(OVERHEAD):
        with pytest.raises(UnwrapFailed):
            Record.decode(encoded[:size])
    with pytest.raises(ValueError, match="salt"):
        Record(bytes(31), bytes(12), bytes(16))
