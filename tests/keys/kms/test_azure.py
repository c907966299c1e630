"""The client of Azure Key Vault keeps the contract against a fake over TLS; Microsoft's own service was not there."""

import asyncio
import itertools
import json
import sys
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from keys.deadline import within
from keys.errors import (
    KeyringError,
    KeysError,
    KmsDenied,
    KmsKeyDisabled,
    KmsKeyInvalidState,
    KmsKeyNotFound,
    KmsMisconfigured,
    KmsUnavailable,
    UnwrapFailed,
)
from keys.kms.azure import Application, AzureKms, AzureOptions, Certificate, ClientSecret, Credential, FederatedToken
from keys.kms.base import KeyState
from keys.kms.binding import RecordKms
from keys.kms.https import Reach
from keys.kms.names import KeyNames
from tests.servers.fake_key_vault import ALL, AUDIENCE, GET, TENANT, UNWRAP, WRAP, FakeKeyVault, rsa_key
from tests.servers.https_double import Answer, HttpsDouble
from tests.servers.openbao import private_file
from tests.suites.kms import CONTEXT, LIES, KmsSuite

pytestmark = pytest.mark.anyio

_numbers = itertools.count(1)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def running(folder: Path) -> Iterator[FakeKeyVault]:
    fake = FakeKeyVault(folder)
    with fake.double:
        yield fake


@pytest.fixture(scope="module")
def shared_vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeKeyVault]:
    yield from running(tmp_path_factory.mktemp("vault"))


@pytest.fixture(scope="module")
def other_vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeKeyVault]:
    yield from running(tmp_path_factory.mktemp("other"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("secrets")


@pytest.fixture
def vault(shared_vault: FakeKeyVault) -> Iterator[FakeKeyVault]:
    yield shared_vault
    shared_vault.reset()


@pytest.fixture
def key(vault: FakeKeyVault) -> str:
    name = f"key-{next(_numbers)}"
    vault.new_version(name)
    return name


def application(vault: FakeKeyVault, folder: Path, permissions: Any = ALL) -> Application:
    number = next(_numbers)
    secret = vault.new_client(f"application-{number}", permissions)
    return Application(f"application-{number}", ClientSecret(private_file(folder / f"secret-{number}", secret)))


def azure_kms(vault: FakeKeyVault, application: Application, key: str, **changes: Any) -> AzureKms:
    reach = Reach(vault.double.address, vault.double.authority.certificate, timeout_s=changes.pop("timeout_s", 5.0))
    options = AzureOptions(reach, key, AUDIENCE, TENANT, application, authority=vault.double.address)
    return AzureKms("azure-test", replace(options, **changes), KeyNames("azure-test"))


class TestAzureKms(KmsSuite):
    exhaustive_tampering = False
    states: ClassVar[Mapping[KeyState, type[KeysError]]] = {KeyState.DISABLED: KmsKeyDisabled}

    @pytest.fixture(autouse=True)
    def _servers(self, vault: FakeKeyVault, other_vault: FakeKeyVault, folder: Path) -> None:
        self.vault, self.other_vault, self.folder = vault, other_vault, folder

    def make(self, folder: Path) -> AzureKms:
        vault = self.other_vault if folder.name == "another" else self.vault
        self.key = f"key-{next(_numbers)}"
        vault.new_version(self.key)
        return azure_kms(vault, application(vault, self.folder), self.key)

    def add_key(self, kms: RecordKms) -> str:
        name = f"key-{next(_numbers)}"
        self.vault.new_version(name)
        return name

    def rotate(self, kms: RecordKms) -> None:
        self.vault.rotate(self.key)

    def set_state(self, kms: RecordKms, state: KeyState) -> None:
        self.vault.set_state(self.key, state.name)

    async def test_the_version_that_wrapped_unwraps(self, kms: RecordKms) -> None:
        """Also where it is no longer the latest, and that one is switched off; and no other version does."""
        data_key, wrapped = await kms.generate(None, CONTEXT)
        self.rotate(kms)
        self.set_state(kms, KeyState.DISABLED)
        assert await kms.unwrap(wrapped, CONTEXT) == data_key
        self.set_state(kms, KeyState.ENABLED)
        latest = (await kms.describe(None)).version
        assert latest != wrapped.kms_key_version
        with pytest.raises(UnwrapFailed):
            await kms.unwrap(replace(wrapped, kms_key_version=latest), CONTEXT)
        with pytest.raises(KmsKeyNotFound):
            await kms.unwrap(replace(wrapped, kms_key_version="0" * 32), CONTEXT)

    async def test_the_latest_version_is_asked_for_now_and_then(self, kms: RecordKms) -> None:
        await kms.generate(None, CONTEXT)
        before = len(self.vault.double.requests)
        await kms.generate(None, CONTEXT)
        assert len(self.vault.double.requests) == before + 1
        self.rotate(kms)
        assert isinstance(kms, AzureKms)
        seen_at, version, algorithm = kms._latest[self.key]
        kms._latest[self.key] = seen_at - 5, version, algorithm
        _, wrapped = await kms.generate(None, CONTEXT)
        assert wrapped.kms_key_version == self.vault.keys[self.key][-1].name != version

    async def test_a_key_that_was_deleted_comes_back(self, kms: RecordKms) -> None:
        data_key, wrapped = await kms.generate(None, CONTEXT)
        self.vault.delete(self.key)
        for call in (kms.unwrap(wrapped, CONTEXT), kms.generate(None, CONTEXT), kms.describe(None)):
            with pytest.raises(KmsKeyNotFound):
                await call
        self.vault.recover(self.key)
        assert await kms.unwrap(wrapped, CONTEXT) == data_key


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("Throttled", KmsUnavailable),
        ("InternalServerError", KmsUnavailable),
        ("ServiceUnavailable", KmsUnavailable),
        ("Unauthorized", KmsUnavailable),
        ("Forbidden", KmsDenied),
        ("KeyNotFound", KmsKeyNotFound),
        ("Conflict", KmsKeyInvalidState),
        ("BadParameter", UnwrapFailed),
    ],
)
async def test_what_azure_refuses_is_told_in_our_words(
    vault: FakeKeyVault, folder: Path, key: str, code: str, error: type[KeysError]
) -> None:
    kms = azure_kms(vault, application(vault, folder), key)
    _, wrapped = await kms.generate(None, CONTEXT)
    vault.error = code
    before = len(vault.double.requests)
    with pytest.raises(error):
        await kms.unwrap(wrapped, CONTEXT)
    assert len(vault.double.requests) == before + 1, "nothing is tried twice"
    with pytest.raises(KeysError) as raised:
        await kms.generate(None, CONTEXT)
    assert not isinstance(raised.value, UnwrapFailed)
    vault.reset()
    await kms.unwrap(wrapped, CONTEXT)
    await kms.close()


@pytest.mark.parametrize("kind", ["RSA", "oct-HSM"])
@pytest.mark.parametrize("lie", LIES)
async def test_a_lie_over_the_wire_yields_no_key(vault: FakeKeyVault, folder: Path, lie: str, kind: str) -> None:
    key = f"key-{next(_numbers)}"
    vault.new_version(key, kind)
    kms = azure_kms(vault, application(vault, folder), key)
    _, wrapped = await kms.generate(None, CONTEXT)
    vault.lie = LIES[lie]
    with pytest.raises(UnwrapFailed):
        await kms.unwrap(wrapped, CONTEXT)
    await kms.close()


async def test_an_hsm_wraps_with_aes(vault: FakeKeyVault, folder: Path, key: str) -> None:
    vault.new_version("hsm", "oct-HSM")
    kms = azure_kms(vault, application(vault, folder), "hsm")
    await kms.prove()
    data_key, wrapped = await kms.generate(None, CONTEXT)
    assert len(wrapped.provider_ciphertext) == 40
    assert await kms.unwrap(wrapped, CONTEXT) == data_key
    altered = bytes([wrapped.provider_ciphertext[0] ^ 1]) + wrapped.provider_ciphertext[1:]
    with pytest.raises(UnwrapFailed):
        await kms.unwrap(replace(wrapped, provider_ciphertext=altered), CONTEXT)
    moved = await kms.rewrap(wrapped, CONTEXT, key)
    assert len(moved.provider_ciphertext) == 384
    assert await kms.unwrap(moved, CONTEXT) == data_key
    assert await kms.unwrap(await kms.rewrap(moved, CONTEXT, "hsm"), CONTEXT) == data_key
    vault.new_version("hsm", "RSA")  # a key may have versions of several types
    assert await kms.unwrap(wrapped, CONTEXT) == data_key
    assert len((await kms.rewrap(wrapped, CONTEXT, "hsm")).provider_ciphertext) == 384
    await kms.close()


@pytest.mark.parametrize("way", ["secret", "certificate", "federated"])
async def test_signs_in_by_each_way_and_is_denied_where_it_no_longer_may(
    vault: FakeKeyVault, tmp_path: Path, key: str, way: str
) -> None:
    secret = vault.new_client(way, ALL)
    if way == "certificate":
        file = private_file(tmp_path / "pem", certificate_and_key())
        vault.clients[way].certificate = x509.load_pem_x509_certificate(contents(file))
        vault.clients[way].secret = ""
        credential: Credential = Certificate(file)
    elif way == "federated":
        vault.clients[way].secret, vault.clients[way].assertion = "", "header.payload.signature"
        file = private_file(tmp_path / "token", "header.payload.signature\n")
        file.chmod(0o644)
        credential = FederatedToken(file)
    else:
        credential = ClientSecret(private_file(tmp_path / "secret", f"{secret}\n"))
    kms = azure_kms(vault, Application(way, credential), key)
    await kms.prove()
    del vault.clients[way]
    vault.tokens.clear()
    kms._tokens._taken_at -= 60
    logins = vault.logins
    for _ in range(20):
        with pytest.raises(KmsDenied, match="renew its credential"):
            await kms.health()
    assert vault.logins == logins + 1, "no storm"
    await kms.close()


def certificate_and_key() -> str:
    """One that the application itself signed, as Entra ID takes it."""
    key, name = rsa_key(2048, 0), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    pem = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return (pem + made.public_bytes(encoding)).decode()


def contents(file: Path) -> bytes:
    return file.read_bytes()


async def test_a_secret_that_was_renewed_is_read_anew(vault: FakeKeyVault, folder: Path, key: str) -> None:
    app = application(vault, folder)
    kms = azure_kms(vault, app, key)
    await kms.health()
    assert isinstance(app.credential, ClientSecret)
    app.credential.path.write_text(vault.new_client(app.client_id, ALL))
    vault.tokens.clear()
    kms._tokens._taken_at -= 60
    await asyncio.gather(*(kms.health() for _ in range(20)))
    await kms.close()


async def test_who_wraps_need_not_be_who_unwraps(vault: FakeKeyVault, folder: Path, key: str) -> None:
    wraps, unwraps = (application(vault, folder, may) for may in ({GET, WRAP}, {UNWRAP}))
    kms = azure_kms(vault, wraps, key, unwrap_application=unwraps)
    await kms.prove()
    data_key, wrapped = await kms.generate(None, CONTEXT)
    assert await kms.unwrap(wrapped, CONTEXT) == data_key
    with pytest.raises(KmsDenied):
        await azure_kms(vault, wraps, key).unwrap(wrapped, CONTEXT)
    with pytest.raises(KmsDenied):
        await azure_kms(vault, unwraps, key).generate(None, CONTEXT)
    await kms.close()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"bits": 2048}, "make one of 4096 bits"),
        ({"kind": "EC"}, "make one of type RSA"),
        ({"exportable": True}, "not exportable"),
        ({"key_ops": ("wrapKey",)}, "permit both"),
    ],
)
async def test_a_key_that_is_unfit(vault: FakeKeyVault, folder: Path, options: dict[str, Any], said: str) -> None:
    vault.new_version("unfit", **options)
    kms = azure_kms(vault, application(vault, folder), "unfit")
    with pytest.raises(KmsMisconfigured, match=said):
        await kms.prove()
    await kms.close()


async def test_a_key_of_another_type_wraps_nothing(vault: FakeKeyVault, folder: Path) -> None:
    vault.new_version("curve", "EC")
    kms = azure_kms(vault, application(vault, folder), "curve")
    with pytest.raises(KmsKeyInvalidState, match="type"):
        await kms.generate(None, CONTEXT)
    await kms.close()


@pytest.mark.parametrize(
    "changes",
    [
        {"kid": "https://x/keys/other/" + "0" * 32},
        {"kid": None},
        {"value": "?"},
        {"value": 7},
        {"kid": "version-of-none"},
    ],
)
async def test_an_answer_that_is_not_right_wraps_and_unwraps_nothing(
    vault: FakeKeyVault, folder: Path, key: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    kms = azure_kms(vault, application(vault, folder), key)
    _, wrapped = await kms.generate(None, CONTEXT)
    honest = vault.double.answer

    def lies(request: Any) -> Answer:
        answer: Answer = honest(request)
        return replace(answer, body=json.dumps(json.loads(answer.body) | changes).encode())

    monkeypatch.setattr(vault.double, "answer", lies)
    for call in (kms.generate(None, CONTEXT), kms.unwrap(wrapped, CONTEXT)):
        with pytest.raises(KmsUnavailable):
            await call
    await kms.close()


async def test_another_version_than_was_named_is_refused(
    vault: FakeKeyVault, folder: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kms = azure_kms(vault, application(vault, folder), key)
    await kms.health()
    kid = {"kid": f"https://x/keys/{key}/{'0' * 32}"}
    honest = vault.double.answer

    def lies(request: Any) -> Answer:
        answer: Answer = honest(request)
        return replace(answer, body=json.dumps(json.loads(answer.body) | kid).encode())

    monkeypatch.setattr(vault.double, "answer", lies)
    with pytest.raises(KmsUnavailable, match="another version"):
        await kms.generate(None, CONTEXT)
    await kms.close()


async def test_100_calls_of_a_silent_kms_hold_up_nobody(vault: FakeKeyVault, folder: Path, key: str) -> None:
    kms = azure_kms(vault, application(vault, folder), key, timeout_s=0.5)
    await kms.health()
    vault.delay_s = 30
    answers = await asyncio.gather(
        *(within(1, kms.generate(None, CONTEXT)) for _ in range(100)), return_exceptions=True
    )
    assert all(isinstance(answer, KmsUnavailable) for answer in answers)
    await kms.close()


async def test_the_environment_decides_nothing(
    vault: FakeKeyVault, folder: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere")
    monkeypatch.setenv("MSAL_FORCE_REGION", "nowhere")
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", "nowhere.example")
    kms = azure_kms(vault, application(vault, folder), key)
    await kms.prove()
    await kms.close()


@pytest.mark.parametrize("answer", [Answer(503), Answer(200, b"{}"), Answer(200, b"<html>"), Answer(302), Answer(400)])
async def test_a_token_endpoint_that_fails(
    vault: FakeKeyVault, folder: Path, key: str, answer: Answer, tmp_path: Path
) -> None:
    with HttpsDouble(tmp_path, lambda _: answer, vault.double.authority) as double:
        kms = azure_kms(vault, application(vault, folder), key, authority=double.address)
        with pytest.raises(KmsUnavailable):
            await kms.health()
        await kms.close()


async def test_a_token_endpoint_of_another_certificate_gets_no_secret(
    vault: FakeKeyVault, other_vault: FakeKeyVault, folder: Path, key: str
) -> None:
    before = len(other_vault.double.requests)
    kms = azure_kms(vault, application(vault, folder), key, authority=other_vault.double.address)
    with pytest.raises(KmsUnavailable, match="Entra ID"):
        await kms.health()
    assert len(other_vault.double.requests) == before
    await kms.close()


@pytest.mark.parametrize("kind", [ClientSecret, Certificate, FederatedToken])
@pytest.mark.parametrize("text", ["", "two words\nand lines\n", "-----BEGIN PRIVATE KEY-----\nAA\n"])
async def test_files_that_hold_no_credential(
    vault: FakeKeyVault, key: str, tmp_path: Path, kind: type[Any], text: str
) -> None:
    file = private_file(tmp_path / "credential", text)
    with pytest.raises((KmsMisconfigured, KeyringError)):
        await azure_kms(vault, Application("x", kind(file)), key).health()


async def test_a_federated_token_that_is_not_there(vault: FakeKeyVault, key: str, tmp_path: Path) -> None:
    with pytest.raises(KmsMisconfigured, match="holds no token"):
        await azure_kms(vault, Application("x", FederatedToken(tmp_path / "none")), key).health()


async def test_a_certificate_that_is_none(vault: FakeKeyVault, key: str, tmp_path: Path) -> None:
    both = "".join(f"-----BEGIN {of}-----\nAA==\n-----END {of}-----\n" for of in ("PRIVATE KEY", "CERTIFICATE"))
    with pytest.raises(KmsUnavailable, match="and the certificate"):
        await azure_kms(vault, Application("x", Certificate(private_file(tmp_path / "pem", both))), key).health()


async def test_its_client_is_asked_for_only_when_it_is_used(
    vault: FakeKeyVault, folder: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "msal", None)
    with pytest.raises(KmsMisconfigured, match=r"pip install .\.\[azure\]"):
        azure_kms(vault, application(vault, folder), key)


async def test_no_secret_is_shown(vault: FakeKeyVault, folder: Path, key: str) -> None:
    app = application(vault, folder)
    kms = azure_kms(vault, app, key)
    await kms.prove()
    vault.error = "Forbidden"
    with pytest.raises(KmsDenied) as raised:
        await kms.health()
    secrets = [vault.clients[app.client_id].secret, *vault.tokens]
    shown = [repr(kms), repr(kms._options), repr(kms._tokens._token), repr(kms._tokens._sign_in)]
    shown.append("".join(traceback.format_exception(raised.value)))
    for secret in secrets:
        assert all(secret not in text for text in shown)
    await kms.close()
