"""Keys in a real SoftHSM2 keep the contract, from many tasks at once, through one thread."""

import asyncio
import itertools
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pkcs11
import pytest
from pkcs11 import Attribute

from keys.errors import (
    KeyringError,
    KeysError,
    KmsDenied,
    KmsKeyDisabled,
    KmsKeyInvalidState,
    KmsMisconfigured,
    KmsUnavailable,
    UnwrapFailed,
)
from keys.kms.base import KeyState
from keys.kms.binding import RecordKms
from keys.kms.pkcs11 import Pkcs11Kms, Pkcs11Options, _modules
from tests.servers.openbao import private_file
from tests.servers.softhsm import PIN, SoftHsm
from tests.suites.kms import CONTEXT, KmsSuite

pytestmark = pytest.mark.anyio

_numbers = itertools.count(1)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def softhsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftHsm]:
    hsm = SoftHsm(tmp_path_factory.mktemp("softhsm"))
    for token in ("one", "two", "three"):
        hsm.make_token(token)
    with hsm.in_this_process():
        yield hsm


def options(softhsm: SoftHsm, key: str, label: str = "one") -> Pkcs11Options:
    return Pkcs11Options(softhsm.module, label, softhsm.pin_file, key)


class TestPkcs11Kms(KmsSuite):
    states: ClassVar[Mapping[KeyState, type[KeysError]]] = {KeyState.DISABLED: KmsKeyDisabled}
    tells_age = False

    @pytest.fixture(autouse=True)
    def _hsm(self, softhsm: SoftHsm) -> None:
        self.softhsm = softhsm
        self.key = f"key-{next(_numbers)}"

    def make(self, folder: Path) -> Pkcs11Kms:
        self.token = "two" if folder.name == "another" else "one"
        self.softhsm.make_key(self.token, self.key, 1)
        return Pkcs11Kms("hsm-test", options(self.softhsm, self.key, self.token))

    def add_key(self, kms: RecordKms) -> str:
        self.softhsm.make_key(self.token, self.key + "-second", 1)
        return self.key + "-second"

    def rotate(self, kms: RecordKms) -> None:
        self.softhsm.make_key(self.token, self.key, 2)

    def set_state(self, kms: RecordKms, state: KeyState) -> None:
        with self.softhsm.session(self.token) as session:
            for key in session.get_objects({Attribute.LABEL: self.key}):
                for may in (Attribute.ENCRYPT, Attribute.DECRYPT):
                    key[may] = state is KeyState.ENABLED

    async def test_a_wrapped_key_is_small(self, kms: RecordKms) -> None:
        _, wrapped = await kms.generate(None, CONTEXT)
        assert len(wrapped.provider_ciphertext) == 60

    async def test_many_tasks_at_once(self, kms: RecordKms) -> None:
        """SoftHSM ends the process where sessions work at once; one thread keeps it alive."""
        self.softhsm.make_key("three", "busy", 1)
        first, second = (Pkcs11Kms("hsm-test", options(self.softhsm, "busy", "three")) for _ in range(2))
        made = await asyncio.gather(*(one.generate(None, CONTEXT) for one in [first, second] * 200))
        opened = await asyncio.gather(*(first.unwrap(wrapped, CONTEXT) for _, wrapped in made))
        assert opened == [data_key for data_key, _ in made]
        await first.close()
        await second.close()


@pytest.fixture
def key(softhsm: SoftHsm) -> str:
    label = f"key-{next(_numbers)}"
    softhsm.make_key("one", label, 1)
    return label


async def test_the_highest_id_wraps_whatever_the_order(softhsm: SoftHsm) -> None:
    label = f"key-{next(_numbers)}"
    for number in (9, 200, 30):
        softhsm.make_key("one", label, number)
    kms = Pkcs11Kms("hsm", options(softhsm, label))
    assert (await kms.describe(None)).version == "200"
    await kms.close()


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"EXTRACTABLE": True}, "CKA_EXTRACTABLE=false"),
        ({"SENSITIVE": False}, "CKA_SENSITIVE=true"),
        ({"VALUE_LEN": 16}, "not of 256 bits"),
        ({"VALUE": bytes(32)}, "anybody knows"),
        ({"VALUE": b"\x11" * 32}, "anybody knows"),
    ],
)
async def test_a_key_that_is_unfit_is_refused(softhsm: SoftHsm, attributes: dict[str, Any], said: str) -> None:
    label = f"unfit-{next(_numbers)}"
    softhsm.make_key("one", label, 1, **attributes)
    kms = Pkcs11Kms("hsm", options(softhsm, label))
    with pytest.raises(KmsMisconfigured, match=said):
        await kms.prove()
    await kms.close()


@pytest.mark.parametrize(("attributes", "said"), [({"ID": b""}, "no id"), ({"ID": b"x" * 17}, "no id"), ({}, "one id")])
async def test_versions_that_cannot_be_told_apart(
    softhsm: SoftHsm, key: str, attributes: dict[str, Any], said: str
) -> None:
    softhsm.make_key("one", key, 1, **attributes)
    kms = Pkcs11Kms("hsm", options(softhsm, key))
    with pytest.raises(KmsKeyInvalidState, match=said):
        await kms.health()
    await kms.close()


async def test_another_nonce_each_time(softhsm: SoftHsm, key: str) -> None:
    kms = Pkcs11Kms("hsm", options(softhsm, key))
    made = [(await kms.generate(None, CONTEXT))[1].provider_ciphertext[:12] for _ in range(50)]
    assert len(set(made)) == 50
    await kms.close()


async def test_a_wrong_pin_is_tried_once(
    softhsm: SoftHsm, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = private_file(tmp_path / "pin", "0000-wrong")
    kms = Pkcs11Kms("hsm", replace(options(softhsm, key), pin_file=wrong))
    for _ in range(12):
        with pytest.raises(KmsDenied, match="not tried again"):
            await kms.health()
    await kms.close()
    right = Pkcs11Kms("hsm", options(softhsm, key))
    await right.health()  # the token is not locked
    await right.close()


async def test_what_cannot_be_opened(softhsm: SoftHsm, key: str, tmp_path: Path) -> None:
    good = options(softhsm, key)
    with pytest.raises(KmsMisconfigured, match="is not there"):
        Pkcs11Kms("hsm", replace(good, module=tmp_path / "none.so"))
    (tmp_path / "text.so").write_text("no library")
    no_library = Pkcs11Kms("hsm", replace(good, module=tmp_path / "text.so"))
    with pytest.raises(KmsMisconfigured, match="cannot be loaded"):
        await no_library.health()
    await no_library.close()
    no_token = Pkcs11Kms("hsm", replace(good, token_label="none"))
    with pytest.raises(KmsUnavailable, match="correct token_label"):
        await no_token.health()
    await no_token.close()
    softhsm.pin_file.chmod(0o644)
    open_pin = Pkcs11Kms("hsm", good)
    try:
        with pytest.raises(KeyringError, match="chmod 0600"):
            await open_pin.health()
    finally:
        softhsm.pin_file.chmod(0o600)
    await open_pin.close()


def test_a_client_that_is_not_installed_is_named(softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    with pytest.raises(KmsMisconfigured, match=re.escape("run pip install '.[pkcs11]' in the folder")):
        Pkcs11Kms("hsm", options(softhsm, "x"))


class _Gone:
    """The session of an HSM that was pulled out."""

    def get_objects(self, _: object) -> Iterator[object]:
        raise pkcs11.DeviceRemoved

    def close(self) -> None:
        raise pkcs11.SessionHandleInvalid


async def test_a_session_that_died_is_opened_anew(softhsm: SoftHsm, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kms = Pkcs11Kms("hsm", options(softhsm, key))
    _, wrapped = await kms.generate(None, CONTEXT)
    await kms._module.calls.run(kms._drop_session)
    monkeypatch.setattr(kms, "_session", _Gone())
    with pytest.raises(KmsUnavailable, match="the HSM hsm fails"):
        await kms.unwrap(wrapped, CONTEXT)
    await kms.unwrap(wrapped, CONTEXT)
    await kms.close()


class _Broken:
    """A key in an HSM that fails at everything."""

    def __getitem__(self, _: object) -> bool:
        return True

    def encrypt(self, *_: object, **__: object) -> bytes:
        raise pkcs11.DeviceError

    def decrypt(self, *_: object, **__: object) -> bytes:
        raise pkcs11.GeneralError


async def test_a_broken_hsm_is_away_and_not_wrong(softhsm: SoftHsm, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong answer to the canary ends the process, so a broken device must not look like one."""
    kms = Pkcs11Kms("hsm", options(softhsm, key))
    _, wrapped = await kms.generate(None, CONTEXT)
    with pytest.raises(UnwrapFailed):
        await kms.unwrap(replace(wrapped, provider_ciphertext=bytes(60)), CONTEXT)
    with pytest.raises(UnwrapFailed):
        await kms.unwrap(replace(wrapped, provider_ciphertext=bytes(59)), CONTEXT)
    found = kms._versions

    def broken(name: str) -> list[Any]:
        return [replace(version, key=_Broken()) for version in found(name)]

    monkeypatch.setattr(kms, "_versions", broken)
    with pytest.raises(KmsUnavailable):
        await kms.unwrap(wrapped, CONTEXT)
    await kms.close()


async def test_the_module_is_let_go_by_the_last_user(softhsm: SoftHsm, key: str) -> None:
    one, two = (Pkcs11Kms("hsm", options(softhsm, key)) for _ in range(2))
    await one.health()
    users = _modules[softhsm.module].users
    await one.close()
    assert _modules[softhsm.module].users == users - 1
    await two.health()
    await two.close()


async def test_the_pin_is_not_shown(
    softhsm: SoftHsm, key: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    kms = Pkcs11Kms("hsm", options(softhsm, key))
    await kms.prove()
    wrong = Pkcs11Kms("hsm", replace(options(softhsm, key), token_label="none"))
    with pytest.raises(KmsUnavailable) as raised:
        await wrong.health()
    for text in (caplog.text, repr(kms), repr(kms._options), "".join(traceback.format_exception(raised.value))):
        assert PIN not in text
    await kms.close()
    await wrong.close()
