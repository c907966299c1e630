"""Recovery copies: they open for their recipient under their context alone, and have one encoding."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from keys.context import canonical
from keys.datakey import DataKey
from keys.errors import KeyringError, UnwrapFailed
from keys.recovery import (
    MAX_RECIPIENTS,
    NO_COPIES,
    PUBLIC_PREFIX,
    Copies,
    Recipient,
    Recipients,
    RecoverySecret,
    public_of,
)
from tests.suites.kms import CONTEXT

NOW = datetime(2026, 1, 2, tzinfo=UTC)
SECRETS = [RecoverySecret.generate() for _ in range(3)]
ALL = [Recipient(f"r{number}", secret.public, NOW) for number, secret in enumerate(SECRETS)]


def test_every_recipient_opens_its_copy_and_nobody_else_does() -> None:
    data_key = DataKey.random()
    copies = Recipients(ALL[:2]).copy(data_key, CONTEXT)
    assert copies.ids == {ALL[0].recipient_id, ALL[1].recipient_id}
    for secret in SECRETS[:2]:
        assert secret.open(copies, CONTEXT) == data_key
    with pytest.raises(UnwrapFailed, match="no copy"):
        SECRETS[2].open(copies, CONTEXT)
    with pytest.raises(UnwrapFailed, match="authenticate"):
        SECRETS[0].open(copies, replace(CONTEXT, content_id=b"x" * 16))
    swapped = Copies(dict(zip(copies.entries, reversed(list(copies.entries.values())), strict=True)))
    with pytest.raises(UnwrapFailed, match="authenticate"):
        SECRETS[0].open(swapped, CONTEXT)


def test_a_copy_is_hpke_as_the_format_says() -> None:
    private, data_key = X25519PrivateKey.generate(), DataKey.random()
    recipient = Recipient("r", private.public_key().public_bytes_raw(), NOW)
    sealed = Recipients([recipient]).copy(data_key, CONTEXT).entries[recipient.recipient_id]
    info = b"\x00\x19sealgate/recovery-copy/v1" + len(CONTEXT.encode()).to_bytes(2) + CONTEXT.encode()
    assert info == canonical("sealgate/recovery-copy/v1", CONTEXT.encode())
    suite = Suite(KEM.X25519, KDF.HKDF_SHA512, AEAD.AES_256_GCM)
    assert suite.decrypt(sealed, private, info=info) == data_key.material()
    assert len(sealed) == 80


def test_copies_have_one_encoding() -> None:
    copies = Recipients(ALL).copy(DataKey.random(), CONTEXT)
    encoded = copies.encode()
    assert len(encoded) == 2 + 3 * 96
    assert Copies.decode(encoded) == copies
    assert Copies.decode(b"") == NO_COPIES
    assert NO_COPIES.encode() == b""
    wrong = [encoded[:size] for size in range(1, len(encoded))]
    wrong += [encoded + b"\0", b"\x02" + encoded[1:], b"\x01\x00", b"\x01", encoded[:1] + b"\x02" + encoded[2:]]
    wrong.append(encoded[:2] + encoded[98:194] + encoded[2:98] + encoded[194:])
    wrong.append(encoded[:2] + encoded[2:98] * 3)
    many = Copies({bytes((number,)) * 16: bytes(80) for number in range(MAX_RECIPIENTS + 1)})
    wrong.append(many.encode())
    for data in wrong:
        with pytest.raises(UnwrapFailed):
            Copies.decode(data)


def test_a_flipped_bit_is_noticed() -> None:
    data_key = DataKey.random()
    copies = Recipients(ALL[:1]).copy(data_key, CONTEXT)
    sealed = copies.entries[ALL[0].recipient_id]
    for index in range(len(sealed)):
        altered = sealed[:index] + bytes((sealed[index] ^ 1,)) + sealed[index + 1 :]
        with pytest.raises(UnwrapFailed):
            SECRETS[0].open(Copies({ALL[0].recipient_id: altered}), CONTEXT)


def test_nobody_means_no_copies() -> None:
    assert Recipients().copy(DataKey.random(), CONTEXT) is NO_COPIES


def test_a_secret_goes_to_its_file_and_back_and_shows_nothing() -> None:
    encoded = SECRETS[0].encode()
    assert RecoverySecret.decode(encoded).public == SECRETS[0].public
    assert encoded.split(b"\n")[1].decode() not in repr(SECRETS[0])
    spoils: list[Callable[[bytes], bytes]] = [
        lambda data: data[1:],
        lambda data: data[:-1],
        lambda data: data + b"\n",
        lambda data: data.upper(),
        lambda data: data[:-2] + b"\n",
        lambda data: data[:-2] + b"x\n",
        lambda _: b"",
    ]
    for spoil in spoils:
        with pytest.raises(KeyringError, match="no recovery secret"):
            RecoverySecret.decode(spoil(encoded))


def test_public_keys_are_text() -> None:
    assert public_of(ALL[0].text + "\n") == ALL[0].public
    for text in ("", "x", ALL[0].text[:-1], ALL[0].text + "A", ALL[0].text.removeprefix(PUBLIC_PREFIX), "é"):
        with pytest.raises(KeyringError, match="no public recovery key"):
            public_of(text)


@pytest.mark.parametrize(("name", "public"), [("", b"k" * 32), ("a b", b"k" * 32), ("a", b""), ("a", bytes(32))])
def test_a_recipient_has_a_name_and_a_key(name: str, public: bytes) -> None:
    with pytest.raises(KeyringError):
        Recipient(name, public, NOW)
