"""Keys of clients: any 32 bytes will do, and what is kept of them knows them again and nothing else."""

import base64
from dataclasses import replace

import pytest

from keys.customer import check_verifier, customer_key, new_verifier
from keys.errors import CustomerKeyMismatch, UnwrapFailed
from tests.suites.kms import CONTEXT, OTHER_CONTEXTS, assert_hidden

MATERIAL = bytes(range(32))


@pytest.mark.parametrize("material", [MATERIAL, bytes(32), b"a" * 32, b"0123456789abcdef" * 2])
def test_any_32_bytes_are_a_key(material: bytes) -> None:
    key = customer_key(material)
    assert key == customer_key(material)
    assert key.material() != material
    check_verifier(key, new_verifier(key, CONTEXT), CONTEXT)


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_only_32_bytes_are_a_key(size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        customer_key(bytes(size))


def test_the_derivation_is_this_forever() -> None:
    """Written out a second time from RFC 5869."""
    import hmac  # noqa: PLC0415

    info = b"\0\x18sealgate/customer-key/v1"
    extracted = hmac.digest(bytes(64), MATERIAL, "sha512")
    assert customer_key(MATERIAL).material() == hmac.digest(extracted, info + b"\x01", "sha512")[:32]


def test_a_verifier_knows_one_key() -> None:
    key = customer_key(MATERIAL)
    verifier = new_verifier(key, CONTEXT)
    for other in (MATERIAL[::-1], MATERIAL[:-1] + b"\x20", bytes(32)):
        with pytest.raises(CustomerKeyMismatch):
            check_verifier(customer_key(other), verifier, CONTEXT)


@pytest.mark.parametrize("context", OTHER_CONTEXTS.values(), ids=OTHER_CONTEXTS)
def test_a_verifier_is_of_one_content(context: object) -> None:
    key = customer_key(MATERIAL)
    with pytest.raises(CustomerKeyMismatch):
        check_verifier(key, new_verifier(key, CONTEXT), context)  # type: ignore[arg-type]


def test_verifiers_of_one_key_share_nothing() -> None:
    key = customer_key(MATERIAL)
    one, two = (base64.b64decode(new_verifier(key, CONTEXT)) for _ in range(2))
    assert one[:32] != two[:32]
    assert one[32:] != two[32:]
    for verifier in (one, two):
        assert_hidden(MATERIAL, verifier.hex())
        assert_hidden(key.material(), verifier.hex())


@pytest.mark.parametrize("verifier", ["", "!", "AAAA", base64.b64encode(bytes(65)).decode(), "ä"])
def test_what_is_no_verifier_fails(verifier: str) -> None:
    with pytest.raises((UnwrapFailed, ValueError)):
        check_verifier(customer_key(MATERIAL), verifier, replace(CONTEXT))
