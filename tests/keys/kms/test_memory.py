"""The reference KMS keeps the contract and fails as it is told."""

from pathlib import Path

import pytest

from keys.context import WrapContext
from keys.datakey import DataKey, WrappedKey
from keys.errors import KeysError, KmsDenied, KmsKeyNotFound, KmsUnavailable, UnwrapFailed
from keys.kms.base import KeyState
from keys.kms.binding import RecordKms
from keys.kms.memory import DEFAULT_KEY_ID, Fault, MemoryKms
from tests.suites.kms import CONTEXT, KmsSuite


class TestMemoryKms(KmsSuite):
    def make(self, folder: Path) -> MemoryKms:
        return MemoryKms()

    def add_key(self, kms: RecordKms) -> str:
        assert isinstance(kms, MemoryKms)
        kms.create_key("second")
        return "second"

    def rotate(self, kms: RecordKms) -> None:
        assert isinstance(kms, MemoryKms)
        kms.rotate_key()

    def set_state(self, kms: RecordKms, state: KeyState) -> None:
        assert isinstance(kms, MemoryKms)
        kms.set_key_state(state)

    @pytest.mark.parametrize(
        ("fault", "error"),
        [
            (Fault.UNAVAILABLE, KmsUnavailable),
            (Fault.DENIED, KmsDenied),
            (Fault.WRONG_KEY, UnwrapFailed),
            (Fault.SHORT_KEY, UnwrapFailed),
            (Fault.LONG_KEY, UnwrapFailed),
            (Fault.ZERO_KEY, UnwrapFailed),
        ],
    )
    async def test_fails_as_told(self, fault: Fault, error: type[KeysError]) -> None:
        kms = MemoryKms()
        data_key, wrapped = await kms.generate(None, CONTEXT)
        kms.fault = fault
        with pytest.raises(error):
            await kms.unwrap(wrapped, CONTEXT)
        kms.fault = None
        assert await kms.unwrap(wrapped, CONTEXT) == data_key
        assert kms.calls == {"wrap": 1, "unwrap": 2}

    async def test_answers_late_as_told(self) -> None:
        kms = MemoryKms()
        kms.fault, kms.delay_s = Fault.SLOW, 0.0
        data_key, wrapped = await kms.generate(None, CONTEXT)
        assert await kms.unwrap(wrapped, CONTEXT) == data_key

    async def test_a_revoked_key_is_denied(self) -> None:
        kms = MemoryKms()
        _, wrapped = await kms.generate(None, CONTEXT)
        kms.revoke()
        for call in (kms.unwrap(wrapped, CONTEXT), kms.generate(None, CONTEXT), kms.health()):
            with pytest.raises(KmsDenied):
                await call

    async def test_a_destroyed_key_is_gone(self) -> None:
        kms = MemoryKms()
        _, wrapped = await kms.generate(None, CONTEXT)
        kms.destroy_key()
        with pytest.raises(KmsKeyNotFound):
            await kms.unwrap(wrapped, CONTEXT)

    async def test_swapped_material_does_not_open(self) -> None:
        kms = MemoryKms()
        _, wrapped = await kms.generate(None, CONTEXT)
        kms.swap_key()
        assert (await kms.describe(None)).kms_key_id == DEFAULT_KEY_ID
        with pytest.raises(UnwrapFailed):
            await kms.unwrap(wrapped, CONTEXT)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_kms_that_gives_another_key_back_does_not_prove_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    kms = MemoryKms()
    honest = kms.unwrap

    async def mistaken(wrapped: WrappedKey, context: WrapContext) -> DataKey:
        await honest(wrapped, context)
        return DataKey.random()

    monkeypatch.setattr(kms, "unwrap", mistaken)
    with pytest.raises(UnwrapFailed, match="another key back"):
        await kms.prove()
