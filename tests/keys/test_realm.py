"""Realm keys come back from their root alone; the canary tells a wrong KMS from a silent one."""

import asyncio
import copy
import hmac
import pickle
from dataclasses import fields, replace
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keys.context import Purpose, WrapContext
from keys.datakey import DataKey
from keys.errors import (
    CanaryFailed,
    KeysError,
    KmsDenied,
    KmsKeyDisabled,
    KmsUnavailable,
    UnwrapFailed,
)
from keys.kms.base import KeyState
from keys.kms.memory import Fault, MemoryKms
from keys.realm import RealmKeys, check_canary, copy_root, create_canary, rewrap_root
from keys.recovery import NO_COPIES, Recipient, Recipients, RecoverySecret
from tests.suites.kms import assert_hidden

pytestmark = pytest.mark.anyio
REALM = b"R" * 16


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def _keys_of(realm_keys: RealmKeys) -> list[DataKey]:
    return [value for item in fields(realm_keys) if isinstance(value := getattr(realm_keys, item.name), DataKey)]


async def test_the_same_root_gives_the_same_keys() -> None:
    kms = MemoryKms()
    made, wrapped = await RealmKeys.create(kms, REALM)
    assert await RealmKeys.open(kms, REALM, wrapped) == made


async def test_all_keys_differ_from_each_other_and_from_the_root() -> None:
    kms = MemoryKms()
    made, wrapped = await RealmKeys.create(kms, REALM)
    root = await kms.unwrap(wrapped, WrapContext.for_realm(REALM, Purpose.REALM))
    materials = {key.material() for key in _keys_of(made)} | {root.material()}
    assert len(materials) == 10
    other, _ = await RealmKeys.create(kms, REALM)
    assert not materials & {key.material() for key in _keys_of(other)}


def _hkdf_sha512(key: bytes, salt: bytes, info: bytes) -> bytes:
    """One block of RFC 5869, written out."""
    return hmac.digest(hmac.digest(salt, key, "sha512"), info + b"\x01", "sha512")[:32]


async def test_derivations_are_these_forever() -> None:
    """A changed label or a lost id would lock every realm out, so they are written out a second time."""
    kms = MemoryKms()
    root = DataKey(bytes(range(32)))
    wrapped = await kms.wrap(root, None, WrapContext.for_realm(REALM, Purpose.REALM))
    made = await RealmKeys.open(kms, REALM, wrapped)
    for label, key in (
        (b"description", made.description_key),
        (b"row-mac", made.row_mac_key),
        (b"journal", made.journal_key),
        (b"credentials", made.credentials_key),
        (b"catalogue", made.catalogue_key),
        (b"cursor", made.cursor_key),
    ):
        info = b"\0\x15sealgate/realm-key/v1" + b"\0\x10" + REALM + b"\0" + bytes([len(label)]) + label
        assert key.material() == _hkdf_sha512(root.material(), bytes(64), info)
    sealed = made.seal_credential("secret", "AKIA1")
    context = b"\0\x16sealgate/credential/v1" + b"\0\x10" + REALM + b"\0\x05AKIA1"
    info = b"\0\x12sealgate/record/v1" + len(context).to_bytes(2, "big") + context
    record_key = _hkdf_sha512(made.credentials_key.material(), sealed[1:33], info)
    assert sealed[:1] == b"\x01"
    assert AESGCM(record_key).decrypt(sealed[33:45], sealed[45:], None) == b"secret"


async def test_another_realm_does_not_open_the_root() -> None:
    kms = MemoryKms()
    _, wrapped = await RealmKeys.create(kms, REALM)
    with pytest.raises(UnwrapFailed):
        await RealmKeys.open(kms, b"r" * 16, wrapped)


async def test_realm_keys_do_not_leak() -> None:
    made, _ = await RealmKeys.create(MemoryKms(), REALM)
    for leak in (copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            leak(made)
    for key in _keys_of(made):
        assert_hidden(key.material(), repr(made), str(made))


async def test_a_slow_kms_is_unavailable() -> None:
    kms = MemoryKms()
    _, wrapped = await RealmKeys.create(kms, REALM)
    canary = await create_canary(kms, REALM)
    kms.fault = Fault.SLOW
    for call in (
        RealmKeys.create(kms, REALM, deadline_s=0.01),
        RealmKeys.open(kms, REALM, wrapped, deadline_s=0.01),
        create_canary(kms, REALM, deadline_s=0.01),
        check_canary(kms, REALM, canary, deadline_s=0.01),
    ):
        with pytest.raises(KmsUnavailable, match=r"0\.01 s"):
            await call


class TestCredentials:
    SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzEXAMPLEKEY"

    async def test_opens_what_it_sealed(self) -> None:
        made, _ = await RealmKeys.create(MemoryKms(), REALM)
        sealed = made.seal_credential(self.SECRET, "AKIA1")
        assert made.open_credential(sealed, "AKIA1") == self.SECRET
        assert sealed != made.seal_credential(self.SECRET, "AKIA1")
        assert len(sealed) == len(self.SECRET) + 61
        assert self.SECRET.encode() not in sealed

    async def test_is_bound_to_realm_and_access_key_id(self) -> None:
        kms = MemoryKms()
        made, _ = await RealmKeys.create(kms, REALM)
        other, _ = await RealmKeys.create(kms, REALM)
        sealed = made.seal_credential(self.SECRET, "AKIA1")
        for keys, access_key_id in ((made, "AKIA2"), (made, ""), (other, "AKIA1")):
            with pytest.raises(UnwrapFailed):
                keys.open_credential(sealed, access_key_id)

    async def test_every_byte_and_every_cut_counts(self) -> None:
        made, _ = await RealmKeys.create(MemoryKms(), REALM)
        sealed = made.seal_credential(self.SECRET, "AKIA1")
        for index in range(len(sealed)):
            altered = sealed[:index] + bytes([sealed[index] ^ 1]) + sealed[index + 1 :]
            for bad in (altered, sealed[:index]):
                with pytest.raises(UnwrapFailed) as raised:
                    made.open_credential(bad, "AKIA1")
                assert_hidden(self.SECRET.encode(), str(raised.value))

    @pytest.mark.parametrize("secret", ["", "x" * 1025])
    async def test_has_a_length(self, secret: str) -> None:
        made, _ = await RealmKeys.create(MemoryKms(), REALM)
        with pytest.raises(ValueError, match="1 to 1,024"):
            made.seal_credential(secret, "AKIA1")


class TestCanary:
    async def test_passes_with_the_right_kms(self) -> None:
        kms = MemoryKms()
        canary = await create_canary(kms, REALM)
        await check_canary(kms, REALM, canary)
        kms.rotate_key()
        await check_canary(kms, REALM, canary)

    @pytest.mark.parametrize("fault", [Fault.WRONG_KEY, Fault.SHORT_KEY, Fault.LONG_KEY, Fault.ZERO_KEY])
    async def test_a_wrong_answer_fails(self, fault: Fault) -> None:
        kms = MemoryKms()
        canary = await create_canary(kms, REALM)
        kms.fault = fault
        with pytest.raises(CanaryFailed):
            await check_canary(kms, REALM, canary)

    async def test_another_kms_with_the_same_ids_fails(self) -> None:
        canary = await create_canary(MemoryKms(), REALM)
        with pytest.raises(CanaryFailed):
            await check_canary(MemoryKms(), REALM, canary)

    async def test_another_realms_canary_fails(self) -> None:
        kms = MemoryKms()
        with pytest.raises(CanaryFailed):
            await check_canary(kms, REALM, await create_canary(kms, b"r" * 16))

    async def test_another_value_under_the_right_context_fails(self) -> None:
        kms = MemoryKms()
        context = WrapContext.for_realm(REALM, Purpose.CANARY)
        with pytest.raises(CanaryFailed):
            await check_canary(kms, REALM, await kms.wrap(DataKey.random(), None, context))

    @pytest.mark.parametrize(("fault", "error"), [(Fault.UNAVAILABLE, KmsUnavailable), (Fault.DENIED, KmsDenied)])
    async def test_no_answer_is_told_apart(self, fault: Fault, error: type[KeysError]) -> None:
        kms = MemoryKms()
        canary = await create_canary(kms, REALM)
        kms.fault = fault
        with pytest.raises(error):
            await check_canary(kms, REALM, canary)

    async def test_a_disabled_key_is_told_apart(self) -> None:
        kms = MemoryKms()
        canary = await create_canary(kms, REALM)
        kms.set_key_state(KeyState.DISABLED)
        with pytest.raises(KmsKeyDisabled):
            await check_canary(kms, REALM, canary)

    async def test_a_client_timeout_is_unavailability(self, monkeypatch: pytest.MonkeyPatch) -> None:
        kms = MemoryKms()
        canary = await create_canary(kms, REALM)

        async def reset(*_: object) -> bytes:
            await asyncio.sleep(0)
            raise TimeoutError

        monkeypatch.setattr(kms, "_unwrap_secret", reset)
        with pytest.raises(KmsUnavailable):
            await check_canary(kms, REALM, canary)


async def test_the_root_moves_to_a_new_version_and_gives_the_same_keys() -> None:
    kms = MemoryKms()
    realm_keys, root = await RealmKeys.create(kms, REALM)
    kms.rotate_key()
    moved = await rewrap_root(kms, REALM, root, None)
    assert (root.kms_key_version, moved.kms_key_version) == ("1", "2")
    assert await RealmKeys.open(kms, REALM, moved) == realm_keys
    with pytest.raises(UnwrapFailed):
        await rewrap_root(kms, b"S" * 16, root, None)


async def test_a_recovery_secret_gives_the_same_keys_without_a_kms() -> None:
    kms, secret = MemoryKms(), RecoverySecret.generate()
    realm_keys, root = await RealmKeys.create(kms, REALM)
    recipients = Recipients([Recipient("offline", secret.public, datetime.now(UTC))])
    copies = await copy_root(kms, REALM, root, recipients)
    recovered, material = RealmKeys.recover(secret, copies, REALM)
    assert recovered == realm_keys
    assert material == await kms.unwrap(root, WrapContext.for_realm(REALM, Purpose.REALM))
    for wrong in ((RecoverySecret.generate(), copies, REALM), (secret, copies, b"S" * 16), (secret, NO_COPIES, REALM)):
        with pytest.raises(UnwrapFailed):
            RealmKeys.recover(*wrong)


async def test_the_key_of_an_envelopes_blob_is_bound_to_realm_and_blob() -> None:
    realm_keys, _ = await RealmKeys.create(MemoryKms(), REALM)
    other, _ = await RealmKeys.create(MemoryKms(), REALM)
    data_key, wrapped = realm_keys.new_blob_key(b"b" * 16)
    assert realm_keys.open_blob_key(wrapped, b"b" * 16) == data_key
    assert realm_keys.new_blob_key(b"b" * 16)[0] != data_key
    named = (replace(wrapped, kms_key_id="journal"), replace(wrapped, provider="local"))
    for keys, wrap, blob_id in ((realm_keys, wrapped, b"c" * 16), (other, wrapped, b"b" * 16)):
        with pytest.raises(UnwrapFailed):
            keys.open_blob_key(wrap, blob_id)
    for wrap in named:
        with pytest.raises(UnwrapFailed, match="not wrapped by the realm"):
            realm_keys.open_blob_key(wrap, b"b" * 16)
