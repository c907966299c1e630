"""The local keyring as a KMS keeps the contract, over a restart too."""

from pathlib import Path

from keys.keyring_file import LocalKeyring
from keys.kms.base import KeyState
from keys.kms.binding import RecordKms
from keys.kms.local import LocalKms
from tests.suites.kms import CONTEXT, KmsSuite


class TestLocalKms(KmsSuite):
    def make(self, folder: Path) -> LocalKms:
        return LocalKms(LocalKeyring.create(folder / "keys"))

    def add_key(self, kms: RecordKms) -> str:
        assert isinstance(kms, LocalKms)
        return kms._keyring.create_key("second").kms_key_id

    def rotate(self, kms: RecordKms) -> None:
        assert isinstance(kms, LocalKms)
        kms._keyring.rotate_key(None)

    def set_state(self, kms: RecordKms, state: KeyState) -> None:
        assert isinstance(kms, LocalKms)
        kms._keyring.set_key_state(None, state)

    async def test_a_wrapped_key_is_small(self, kms: RecordKms) -> None:
        _, wrapped = await kms.generate(None, CONTEXT)
        assert len(wrapped.encode()) == 233

    async def test_opens_after_a_restart(self, tmp_path: Path) -> None:
        data_key, wrapped = await self.make(tmp_path).generate("alias/default", CONTEXT)
        again = LocalKms(LocalKeyring.open(tmp_path / "keys"))
        assert await again.unwrap(wrapped, CONTEXT) == data_key
        assert (await again.describe("alias/default")).aliases == ("default",)
