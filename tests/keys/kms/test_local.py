"""The local keyring as a KMS keeps the contract, over a restart too."""

import hmac
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keys.datakey import DataKey
from keys.errors import KmsKeyDisabled, UnwrapFailed
from keys.keyring_file import LocalKeyring
from keys.kms.base import KeyState, PromptKms
from keys.kms.binding import RecordKms
from keys.kms.local import LocalKms
from tests.suites.kms import CONTEXT, OTHER_CONTEXTS, KmsSuite


class TestLocalKms(KmsSuite):
    def make(self, folder: Path) -> LocalKms:
        return LocalKms(LocalKeyring.create(folder / "keys"))

    def add_key(self, kms: RecordKms) -> str:
        assert isinstance(kms, LocalKms)
        return kms.keyring.create_key("second").kms_key_id

    def rotate(self, kms: RecordKms) -> None:
        assert isinstance(kms, LocalKms)
        kms.keyring.rotate_key(None)

    def set_state(self, kms: RecordKms, state: KeyState) -> None:
        assert isinstance(kms, LocalKms)
        kms.keyring.set_key_state(None, state)

    async def test_a_wrapped_key_is_small(self, kms: RecordKms) -> None:
        _, wrapped = await kms.generate(None, CONTEXT)
        assert len(wrapped.encode()) == 233

    async def test_opens_after_a_restart(self, tmp_path: Path) -> None:
        data_key, wrapped = await self.make(tmp_path).generate("alias/default", CONTEXT)
        again = LocalKms(LocalKeyring.open(tmp_path / "keys"))
        assert await again.unwrap(wrapped, CONTEXT) == data_key
        assert (await again.describe("alias/default")).aliases == ("default",)

    async def test_a_move_is_a_rewrap_that_was_proved(self, kms: RecordKms) -> None:
        assert isinstance(kms, LocalKms)
        assert isinstance(kms, PromptKms)
        told: list[str] = []
        kms.watch.observe = lambda provider, call, outcome, seconds: told.append(f"{call} {outcome}")
        data_key, wrapped = await kms.generate(None, CONTEXT)
        self.rotate(kms)
        moved = kms.move(wrapped, CONTEXT, None)
        assert (moved.kms_key_version, moved.record) == ("2", wrapped.record)
        assert await kms.unwrap(moved, CONTEXT) == data_key
        spoiled = replace(wrapped.record, ciphertext=bytes(len(wrapped.record.ciphertext)))
        refused = [
            (wrapped, OTHER_CONTEXTS["another content"]),
            (replace(wrapped, provider="memory"), CONTEXT),
            (replace(wrapped, provider_ciphertext=bytes(92)), CONTEXT),
            (replace(wrapped, record=spoiled), CONTEXT),
        ]
        for given, context in refused:
            with pytest.raises(UnwrapFailed):
                kms.move(given, context, None)
        self.set_state(kms, KeyState.DISABLED)
        with pytest.raises(KmsKeyDisabled):
            kms.move(moved, CONTEXT, None)
        assert told.count("rewrap UnwrapFailed") == len(refused)
        assert [told.count(f"rewrap {outcome}") for outcome in ("ok", "KmsKeyDisabled")] == [1, 1]

    async def test_a_move_of_a_lie_is_refused(self, kms: RecordKms, monkeypatch: pytest.MonkeyPatch) -> None:
        """What takes the old wrap's place must open under its own K, not be one that the KMS forgot to make."""
        assert isinstance(kms, LocalKms)
        _, wrapped = await kms.generate(None, CONTEXT)
        honest = kms._seal
        monkeypatch.setattr(kms, "_seal", lambda _secret, kms_key_id: honest(DataKey.random().material(), kms_key_id))
        with pytest.raises(UnwrapFailed):
            kms.move(wrapped, CONTEXT, None)

    async def test_the_wrap_is_this_forever(self, kms: RecordKms) -> None:
        """K under the wrapping key, bound to its id and version, written out a second time from the RFCs."""
        assert isinstance(kms, LocalKms)
        kms.keyring.rotate_key(None)
        data_key, wrapped = await kms.generate(None, CONTEXT)
        key = kms.keyring.find(None)
        binding = b"\0\x15sealgate/local-kms/v1" + b"\0\x24" + key.kms_key_id.encode() + b"\0\x012"
        secret = _open(key.versions[1].secret().material(), wrapped.provider_ciphertext, binding)
        assert _open(secret, wrapped.record.encode(), CONTEXT.encode()) == data_key.material()


def _open(wrapping_key: bytes, record: bytes, context: bytes) -> bytes:
    info = b"\0\x12sealgate/record/v1" + len(context).to_bytes(2, "big") + context
    extracted = hmac.digest(record[:32], wrapping_key, "sha512")
    record_key = hmac.digest(extracted, info + b"\x01", "sha512")[:32]
    return AESGCM(record_key).decrypt(record[32:44], record[44:], None)
