"""What every KMS provider must do, liars included. A provider's test subclasses `KmsSuite` and says how to set one up.

Source: keys/kms/base.py (the contract), docs/decisions/0002-wrapping-record.md.
"""

import asyncio
import copy
import logging
import pickle
import random
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

import pytest

from keys.context import Purpose, WrapContext
from keys.datakey import MAX_ENCODED_SIZE, DataKey, WrappedKey
from keys.errors import (
    KeysError,
    KmsKeyDisabled,
    KmsKeyError,
    KmsKeyInvalidState,
    KmsKeyNotFound,
    KmsMisconfigured,
    UnwrapFailed,
)
from keys.kms.base import KeyState, Kms
from keys.kms.binding import ProviderWrap, RecordKms

CONTEXT = WrapContext(b"R" * 16, b"B" * 16, b"C" * 16, Purpose.CONTENT)
OTHER_CONTEXTS = {
    "another realm": replace(CONTEXT, realm_id=b"r" * 16),
    "another bucket": replace(CONTEXT, bucket_id=b"b" * 16),
    "another content": replace(CONTEXT, content_id=b"c" * 16),
    "another purpose": replace(CONTEXT, purpose=Purpose.PART),
    "another blob": replace(CONTEXT, blob_id=b"x" * 16),
    "another encryption context": replace(CONTEXT, encryption_context=b"{}"),
    "two ids exchanged": replace(CONTEXT, bucket_id=CONTEXT.content_id, content_id=CONTEXT.bucket_id),
}
LIES: dict[str, Callable[[bytes], bytes]] = {
    "another key": lambda secret: bytes(byte ^ 0x5A for byte in secret),
    "one bit": lambda secret: secret[:-1] + bytes([secret[-1] ^ 1]),
    "short": lambda secret: secret[:16],
    "short, padded by repetition": lambda secret: secret[:16] * 2,
    "short, padded with zeros": lambda secret: secret[:16] + bytes(16),
    "long": lambda secret: secret + b"x",
    "empty": lambda _secret: b"",
    "zero": lambda secret: bytes(len(secret)),
    "one byte repeated": lambda secret: secret[:1] * len(secret),
}


class KmsSuite(ABC):
    """Subclass it as `Test...`; tests run on asyncio."""

    pytestmark = pytest.mark.anyio
    exhaustive_tampering = True
    """Flip every byte of a wrapped key; a provider over a network may set it to False and flip a sample."""
    states: ClassVar[Mapping[KeyState, type[KeysError]]] = {
        KeyState.DISABLED: KmsKeyDisabled,
        KeyState.PENDING_DELETION: KmsKeyInvalidState,
    }
    """The states besides enabled that this KMS knows, and what they lead to; every one can at least be switched off."""

    shows_versions: ClassVar[bool] = True
    """Whether it tells the versions of a key apart."""
    tells_age: ClassVar[bool] = True
    """Whether it says when a key was made."""

    @abstractmethod
    def make(self, folder: Path) -> RecordKms:
        """A KMS with an enabled default key. `folder` is empty and private to the test."""

    @abstractmethod
    def add_key(self, kms: RecordKms) -> str:
        """Add another enabled key; its id."""

    @abstractmethod
    def rotate(self, kms: RecordKms) -> None:
        """Give the default key a new version."""

    @abstractmethod
    def set_state(self, kms: RecordKms, state: KeyState) -> None:
        """Bring the default key into a state."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture
    async def kms(self, tmp_path: Path) -> AsyncIterator[RecordKms]:
        kms = self.make(tmp_path)
        yield kms
        await kms.close()

    async def test_keeps_the_contract(self, kms: RecordKms) -> None:
        contract: Kms = kms  # checked by mypy as well
        assert contract.provider

    async def test_what_is_wrapped_is_unwrapped(self, kms: RecordKms) -> None:
        data_key = DataKey.random()
        wrapped = await kms.wrap(data_key, None, CONTEXT)
        assert await kms.unwrap(wrapped, CONTEXT) == data_key
        assert await kms.unwrap(WrappedKey.decode(wrapped.encode()), CONTEXT) == data_key

    async def test_generates_a_fresh_key_each_time(self, kms: RecordKms) -> None:
        (first, wrapped), (second, _) = await asyncio.gather(kms.generate(None, CONTEXT), kms.generate(None, CONTEXT))
        assert first != second
        assert await kms.unwrap(wrapped, CONTEXT) == first

    async def test_names_provider_key_and_version(self, kms: RecordKms) -> None:
        _, wrapped = await kms.generate(None, CONTEXT)
        described = await kms.describe(None)
        assert wrapped.provider == kms.provider
        assert (wrapped.kms_key_id, wrapped.kms_key_version) == (described.kms_key_id, described.version)
        assert len(wrapped.encode()) <= MAX_ENCODED_SIZE

    async def test_two_wraps_of_one_key_share_nothing(self, kms: RecordKms) -> None:
        data_key = DataKey.random()
        one, two = [await kms.wrap(data_key, None, CONTEXT) for _ in range(2)]
        assert one.provider_ciphertext != two.provider_ciphertext
        assert one.record.salt != two.record.salt
        assert one.record.nonce != two.record.nonce
        assert one.record.ciphertext != two.record.ciphertext

    @pytest.mark.parametrize("name", OTHER_CONTEXTS)
    async def test_another_context_does_not_open(self, kms: RecordKms, name: str) -> None:
        _, wrapped = await kms.generate(None, CONTEXT)
        with pytest.raises(UnwrapFailed):
            await kms.unwrap(wrapped, OTHER_CONTEXTS[name])

    async def test_pieces_of_two_wrapped_keys_do_not_mix(self, kms: RecordKms) -> None:
        (_, one), (_, two) = [await kms.generate(None, CONTEXT) for _ in range(2)]
        for mixed in (
            replace(one, record=two.record),
            replace(one, provider_ciphertext=two.provider_ciphertext),
        ):
            with pytest.raises(UnwrapFailed):
                await kms.unwrap(mixed, CONTEXT)

    async def test_every_byte_counts(self, kms: RecordKms) -> None:
        _, wrapped = await kms.generate(None, CONTEXT)
        encoded = wrapped.encode()
        indexes = list(range(len(encoded)))
        if not self.exhaustive_tampering:
            seed = random.randrange(1 << 32)
            print(f"seed {seed}")
            indexes = random.Random(seed).sample(indexes, 24)
        for index in indexes:
            for flip in (0x01, 0x80):
                altered = bytearray(encoded)
                altered[index] ^= flip
                with pytest.raises((UnwrapFailed, KmsKeyError)):
                    await kms.unwrap(WrappedKey.decode(bytes(altered)), CONTEXT)

    async def test_another_providers_key_is_refused(self, kms: RecordKms) -> None:
        _, wrapped = await kms.generate(None, CONTEXT)
        foreign = replace(wrapped, provider="elsewhere")
        with pytest.raises(UnwrapFailed):
            await kms.unwrap(foreign, CONTEXT)
        with pytest.raises(UnwrapFailed):
            await kms.rewrap(foreign, CONTEXT, None)

    async def test_another_kms_does_not_open(self, kms: RecordKms, tmp_path: Path) -> None:
        _, wrapped = await kms.generate(None, CONTEXT)
        folder = tmp_path / "another"
        folder.mkdir(mode=0o700)
        another = self.make(folder)
        with pytest.raises((UnwrapFailed, KmsKeyNotFound)):
            await another.unwrap(wrapped, CONTEXT)
        await another.close()

    @pytest.mark.parametrize("lie", LIES)
    async def test_a_lying_kms_yields_no_key(self, kms: RecordKms, lie: str, monkeypatch: pytest.MonkeyPatch) -> None:
        _, wrapped = await kms.generate(None, CONTEXT)
        honest = kms._unwrap_secret

        async def lying(wrapped: WrappedKey, context: WrapContext) -> bytes:
            return LIES[lie](await honest(wrapped, context))

        monkeypatch.setattr(kms, "_unwrap_secret", lying)
        with pytest.raises(UnwrapFailed):
            await kms.unwrap(wrapped, CONTEXT)
        monkeypatch.undo()
        await kms.unwrap(wrapped, CONTEXT)

    async def test_rewraps_to_another_key(self, kms: RecordKms) -> None:
        data_key, wrapped = await kms.generate(None, CONTEXT)
        other = self.add_key(kms)
        moved = await kms.rewrap(wrapped, CONTEXT, other)
        assert moved.kms_key_id == other != wrapped.kms_key_id
        assert moved.record == wrapped.record, "the data key was not opened"
        assert await kms.unwrap(moved, CONTEXT) == data_key
        assert await kms.unwrap(wrapped, CONTEXT) == data_key
        self.set_state(kms, KeyState.DISABLED)
        assert await kms.unwrap(moved, CONTEXT) == data_key

    async def test_rewraps_to_a_new_version(self, kms: RecordKms) -> None:
        data_key, wrapped = await kms.generate(None, CONTEXT)
        self.rotate(kms)
        assert await kms.unwrap(wrapped, CONTEXT) == data_key
        moved = await kms.rewrap(wrapped, CONTEXT, None)
        assert moved.kms_key_version == (await kms.describe(None)).version
        assert (moved.kms_key_version != wrapped.kms_key_version) == self.shows_versions
        assert moved.provider_ciphertext != wrapped.provider_ciphertext
        assert await kms.unwrap(moved, CONTEXT) == data_key

    async def test_rewrap_does_not_change_the_context(self, kms: RecordKms) -> None:
        _, wrapped = await kms.generate(None, CONTEXT)
        for other in OTHER_CONTEXTS.values():
            with pytest.raises(UnwrapFailed):
                await kms.unwrap(await kms.rewrap(wrapped, other, None), other)

    async def test_rewrap_refuses_an_altered_key(self, kms: RecordKms) -> None:
        _, wrapped = await kms.generate(None, CONTEXT)
        ciphertext = wrapped.provider_ciphertext
        altered = replace(wrapped, provider_ciphertext=ciphertext[:-1] + bytes([ciphertext[-1] ^ 1]))
        with pytest.raises(UnwrapFailed):
            await kms.rewrap(altered, CONTEXT, None)

    async def test_an_unknown_key_is_not_found(self, kms: RecordKms) -> None:
        with pytest.raises(KmsKeyNotFound):
            await kms.generate("no-such-key", CONTEXT)
        with pytest.raises(KmsKeyNotFound):
            await kms.describe("no-such-key")
        _, wrapped = await kms.generate(None, CONTEXT)
        with pytest.raises(KmsKeyNotFound):
            await kms.unwrap(replace(wrapped, kms_key_version="99"), CONTEXT)

    async def test_a_key_in_another_state_does_nothing(self, kms: RecordKms) -> None:
        assert KeyState.DISABLED in self.states
        data_key, wrapped = await kms.generate(None, CONTEXT)
        for state, error in self.states.items():
            self.set_state(kms, state)
            for call in (
                kms.generate(None, CONTEXT),
                kms.wrap(data_key, None, CONTEXT),
                kms.unwrap(wrapped, CONTEXT),
                kms.rewrap(wrapped, CONTEXT, None),
                kms.health(),
                kms.prove(),
            ):
                with pytest.raises(error):
                    await call
            assert (await kms.describe(None)).state is state
            self.set_state(kms, KeyState.ENABLED)
            await kms.health()
            assert await kms.unwrap(wrapped, CONTEXT) == data_key

    async def test_proves_itself(self, kms: RecordKms) -> None:
        await kms.prove()

    @pytest.mark.parametrize("lie", LIES)
    async def test_a_liar_does_not_prove_itself(
        self, kms: RecordKms, lie: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        honest = kms._unwrap_secret

        async def lying(wrapped: WrappedKey, context: WrapContext) -> bytes:
            return LIES[lie](await honest(wrapped, context))

        monkeypatch.setattr(kms, "_unwrap_secret", lying)
        with pytest.raises(UnwrapFailed):
            await kms.prove()

    async def test_a_kms_that_does_not_encrypt_is_refused(
        self, kms: RecordKms, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        honest = kms._wrap_secret

        async def showing(secret: bytes, kms_key_id: str | None, context: WrapContext) -> ProviderWrap:
            return replace(await honest(secret, kms_key_id, context), ciphertext=b"wrapped:" + secret)

        monkeypatch.setattr(kms, "_wrap_secret", showing)
        with pytest.raises(KmsMisconfigured, match="does not encrypt"):
            await kms.generate(None, CONTEXT)

    @pytest.mark.parametrize("name", ["../sealgate", "a/b", "sealgate/../x", "a b", "*", "alias/none", "arn:aws:kms:x"])
    async def test_what_cannot_be_a_name_is_not_found(self, kms: RecordKms, name: str) -> None:
        with pytest.raises(KmsKeyNotFound):
            await kms.generate(name, CONTEXT)

    async def test_describes_the_default_key(self, kms: RecordKms) -> None:
        described = await kms.describe(None)
        assert described.state is KeyState.ENABLED
        assert (described.created_at is not None) == self.tells_age
        assert described.created_at is None or described.created_at.utcoffset() == timedelta(0)
        assert described.kms_key_id in described.arn
        for name in (described.kms_key_id, described.arn):
            assert await kms.describe(name) == described
            _, wrapped = await kms.generate(name, CONTEXT)
            assert wrapped.kms_key_id == described.kms_key_id

    async def test_nothing_secret_is_shown(
        self, kms: RecordKms, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        caplog.set_level(logging.DEBUG)
        seen: list[bytes] = []
        honest = kms._unwrap_secret

        async def watching(wrapped: WrappedKey, context: WrapContext) -> bytes:
            seen.append(await honest(wrapped, context))
            return seen[-1]

        monkeypatch.setattr(kms, "_unwrap_secret", watching)
        data_key, wrapped = await kms.generate(None, CONTEXT)
        await kms.unwrap(wrapped, CONTEXT)
        with pytest.raises(UnwrapFailed) as raised:
            await kms.unwrap(wrapped, OTHER_CONTEXTS["another bucket"])
        shown = [repr(data_key), f"{data_key}", repr(wrapped), str(wrapped), repr(kms), caplog.text]
        shown += [repr(raised.value), str(raised.value), repr(raised.value.__cause__)]
        assert seen
        assert "does not authenticate" in caplog.text
        for secret in (data_key.material(), *seen):
            assert_hidden(secret, *shown)


def assert_hidden(secret: bytes, *texts: str) -> None:
    """No text holds the secret as hexadecimal, Python literal or 6 of its bytes; and it is not in a pickle."""
    assert texts
    for text in texts:
        assert secret.hex() not in text.lower()
        assert repr(secret)[2:-1] not in text
        assert secret[:6].hex() not in text.lower()


def assert_sealed_object(value: object) -> None:
    """Nothing copies or pickles it."""
    for leak in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            leak(value)
