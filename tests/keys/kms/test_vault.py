"""Transit of a real OpenBao keeps the contract, over TLS with client certificates."""

import asyncio
import itertools
import json
import re
import secrets
import socket
import sys
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from keys.errors import (
    KeysError,
    KmsDenied,
    KmsKeyDisabled,
    KmsKeyInvalidState,
    KmsKeyNotFound,
    KmsMisconfigured,
    KmsUnavailable,
    UnwrapFailed,
)
from keys.kms.base import KeyState
from keys.kms.binding import RecordKms
from keys.kms.https import Reach, why_unreachable
from keys.kms.vault import VaultKms, VaultOptions
from keys.kms.vault_login import AppRole, ClientCertificate, Identity, TokenFile
from tests.servers.https_double import Answer, HttpsDouble
from tests.servers.openbao import POLICY, OpenBao, private_file
from tests.servers.pki import Authority
from tests.servers.ports import free_ports
from tests.suites.kms import CONTEXT, KmsSuite

pytestmark = pytest.mark.anyio

_numbers = itertools.count(1)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def reach(openbao: OpenBao, timeout_s: float = 5.0, client: str = "gateway") -> Reach:
    certificate, key = openbao.authority.client(client)
    return Reach(openbao.address, openbao.authority.certificate, certificate, key, timeout_s=timeout_s)


def approle(openbao: OpenBao, folder: Path, name: str = "gateway", **options: str) -> AppRole:
    role_id, secret_id = openbao.new_role(name, **options)
    return AppRole(role_id, private_file(folder / f"{name}.secret-id", secret_id))


class TestVaultKms(KmsSuite):
    exhaustive_tampering = False
    states: ClassVar[Mapping[KeyState, type[KeysError]]] = {KeyState.DISABLED: KmsKeyDisabled}

    @pytest.fixture(autouse=True)
    def _server(self, openbao: OpenBao) -> None:
        self.openbao = openbao

    def make(self, folder: Path) -> VaultKms:
        mount = f"transit-{next(_numbers)}"
        self.openbao.mount(mount)
        identity = approle(self.openbao, folder)
        return VaultKms("vault-test", VaultOptions(reach(self.openbao), "sealgate", identity, mount=mount))

    def mount_of(self, kms: RecordKms) -> str:
        assert isinstance(kms, VaultKms)
        return kms._options.mount

    def add_key(self, kms: RecordKms) -> str:
        self.openbao.create_key("second", self.mount_of(kms))
        return "second"

    def rotate(self, kms: RecordKms) -> None:
        self.openbao.ask("POST", f"{self.mount_of(kms)}/keys/sealgate/rotate")

    def set_state(self, kms: RecordKms, state: KeyState) -> None:
        path = f"{self.mount_of(kms)}/keys/sealgate"
        if state is KeyState.ENABLED:
            self.openbao.ask("POST", f"{path}/soft-delete-restore")
        else:
            self.openbao.ask("DELETE", f"{path}/soft-delete")

    async def test_rewrap_stays_inside(self, kms: RecordKms, monkeypatch: pytest.MonkeyPatch) -> None:
        """Under a new version of the same key, K is never shown: the identity could not even ask for it."""
        _, wrapped = await kms.generate(None, CONTEXT)
        self.rotate(kms)
        monkeypatch.setattr(kms, "_unwrap_secret", None)
        assert (await kms.rewrap(wrapped, CONTEXT, None)).kms_key_version == "2"


def kms_of(openbao: OpenBao, identity: Identity, **options: Any) -> VaultKms:
    return VaultKms("vault-test", VaultOptions(reach(openbao), "sealgate", identity, **options))


@pytest.mark.parametrize("way", ["token", "approle", "certificate"])
async def test_signs_in_by_each_way(openbao: OpenBao, tmp_path: Path, way: str) -> None:
    openbao.trust_certificate("gateway")
    identities: dict[str, Identity] = {
        "token": TokenFile(private_file(tmp_path / "token", openbao.new_token() + "\n")),
        "approle": approle(openbao, tmp_path),
        "certificate": ClientCertificate("gateway"),
    }
    kms = kms_of(openbao, identities[way])
    await kms.prove()
    data_key, wrapped = await kms.generate(None, CONTEXT)
    assert await kms.unwrap(wrapped, CONTEXT) == data_key
    await kms.close()


async def test_who_wraps_need_not_be_able_to_unwrap(openbao: OpenBao, tmp_path: Path) -> None:
    openbao.write_policy(
        "wraps",
        'path "transit/encrypt/sealgate" { capabilities = ["update"] }\n'
        'path "transit/keys/sealgate" { capabilities = ["read"] }',
    )
    openbao.write_policy("unwraps", 'path "transit/decrypt/sealgate" { capabilities = ["update"] }')
    wraps, unwraps = (approle(openbao, tmp_path, name, policy=name) for name in ("wraps", "unwraps"))
    data_key, wrapped = await kms_of(openbao, wraps, unwrap_identity=unwraps).generate(None, CONTEXT)
    assert await kms_of(openbao, wraps, unwrap_identity=unwraps).unwrap(wrapped, CONTEXT) == data_key
    with pytest.raises(KmsDenied):
        await kms_of(openbao, wraps).unwrap(wrapped, CONTEXT)
    with pytest.raises(KmsDenied):
        await kms_of(openbao, unwraps).generate(None, CONTEXT)


async def test_makes_no_key_where_its_policy_would_let_it(openbao: OpenBao, tmp_path: Path) -> None:
    openbao.write_policy("careless", 'path "transit/*" { capabilities = ["create", "read", "update"] }')
    kms = kms_of(openbao, approle(openbao, tmp_path, "careless", policy="careless"))
    with pytest.raises(KmsKeyNotFound):
        await kms.generate("a-typing-error", CONTEXT)
    assert "a-typing-error" not in openbao.ask("LIST", "transit/keys")["data"]["keys"]


async def test_a_token_that_died_early_is_replaced(openbao: OpenBao, tmp_path: Path) -> None:
    kms = kms_of(openbao, approle(openbao, tmp_path, "dying"))
    kms._login._pause_s = 0.2
    _, wrapped = await kms.generate(None, CONTEXT)
    await asyncio.sleep(0.2)
    assert kms._login._token is not None
    openbao.ask("POST", "auth/token/revoke", {"token": kms._login._token.value})
    await asyncio.gather(*(kms.unwrap(wrapped, CONTEXT) for _ in range(50)))


async def test_a_policy_that_changes_denies(openbao: OpenBao, tmp_path: Path) -> None:
    openbao.write_policy("changing", POLICY)
    kms = kms_of(openbao, approle(openbao, tmp_path, "changing", policy="changing"))
    _, wrapped = await kms.generate(None, CONTEXT)
    openbao.write_policy("changing", 'path "none" { capabilities = ["read"] }')
    kms._login._tried_at = -1e9
    with pytest.raises(KmsDenied, match="see the policy"):
        await kms.unwrap(wrapped, CONTEXT)
    openbao.write_policy("changing", POLICY)
    await kms.unwrap(wrapped, CONTEXT)


async def test_a_wrong_secret_id_is_refused(openbao: OpenBao, tmp_path: Path) -> None:
    role = approle(openbao, tmp_path, "wrong")
    role.secret_id_file.write_text("11111111-2222-3333-4444-555555555555")
    with pytest.raises(KmsDenied, match="refuses the login"):
        await kms_of(openbao, role).health()


async def test_a_deleted_key_is_gone_and_a_new_one_of_its_name_is_another(openbao: OpenBao, tmp_path: Path) -> None:
    openbao.create_key("mortal")
    kms = kms_of(openbao, approle(openbao, tmp_path, "mortal"))
    _, wrapped = await kms.generate("mortal", CONTEXT)
    openbao.delete_key("mortal")
    with pytest.raises(KmsKeyNotFound):
        await kms.unwrap(wrapped, CONTEXT)
    openbao.create_key("mortal")
    with pytest.raises(UnwrapFailed):
        await kms.unwrap(wrapped, CONTEXT)


async def test_an_old_version_that_is_shut_out_does_not_unwrap(openbao: OpenBao, tmp_path: Path) -> None:
    openbao.create_key("old")
    kms = kms_of(openbao, approle(openbao, tmp_path, "old"))
    _, wrapped = await kms.generate("old", CONTEXT)
    openbao.ask("POST", "transit/keys/old/rotate")
    openbao.ask("POST", "transit/keys/old/config", {"min_decryption_version": 2})
    with pytest.raises(KmsKeyInvalidState, match="min_decryption_version"):
        await kms.unwrap(wrapped, CONTEXT)
    openbao.ask("POST", "transit/keys/old/config", {"min_decryption_version": 1})
    await kms.unwrap(wrapped, CONTEXT)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"type": "aes128-gcm96"}, "not of 256 bits"),
        ({"type": "rsa-2048"}, "not of 256 bits"),
        ({"derived": True}, "derived"),
        ({"exportable": True}, "exported"),
        ({"exportable": True, "allow_plaintext_backup": True}, "exported"),
        ({"allow_plaintext_backup": True}, "in the clear"),
    ],
)
async def test_a_key_that_is_unfit_is_refused(
    openbao: OpenBao, tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    name = f"unfit-{next(_numbers)}"
    openbao.create_key(name, **options)
    kms = VaultKms("vault-test", VaultOptions(reach(openbao), name, approle(openbao, tmp_path)))
    with pytest.raises(KmsMisconfigured, match=said):
        await kms.prove()


@pytest.mark.parametrize("material", [bytes(32), b"\xff" * 32, b"0123456789abcdef" * 2, bytes(range(32))])
async def test_a_key_that_anybody_knows_is_refused(openbao: OpenBao, tmp_path: Path, material: bytes) -> None:
    name = f"known-{next(_numbers)}"
    openbao.import_key(name, material)
    kms = VaultKms("vault-test", VaultOptions(reach(openbao), name, approle(openbao, tmp_path)))
    with pytest.raises(KmsMisconfigured, match="anybody knows"):
        await kms.prove()
    other = f"unknown-{next(_numbers)}"
    openbao.import_key(other, secrets.token_bytes(32))
    await VaultKms("vault-test", VaultOptions(reach(openbao), other, approle(openbao, tmp_path))).prove()


async def test_a_server_without_storage_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "forgetful"
    folder.mkdir()
    server = OpenBao(folder, storage="inmem")
    server.start()
    try:
        server.prepare()
        with pytest.raises(KmsMisconfigured, match="in memory alone"):
            await kms_of(server, approle(server, tmp_path)).prove()
    finally:
        server.kill()


async def test_without_our_certificate_nothing_is_said(openbao: OpenBao, tmp_path: Path) -> None:
    bare = Reach(openbao.address, openbao.authority.certificate)
    with pytest.raises(KmsUnavailable, match="a client certificate"):
        await VaultKms("vault-test", VaultOptions(bare, "sealgate", approle(openbao, tmp_path))).health()


async def test_another_authority_is_not_trusted(openbao: OpenBao, tmp_path: Path) -> None:
    other = replace(reach(openbao), ca_file=Authority(tmp_path, "other-ca").certificate)
    with pytest.raises(KmsUnavailable, match="not of the authorities in ca_file"):
        await VaultKms("vault-test", VaultOptions(other, "sealgate", approle(openbao, tmp_path))).health()


async def test_the_environment_decides_nothing(
    openbao: OpenBao, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "VAULT_ADDR"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "VAULT_CACERT", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("VAULT_TOKEN", "not this one")
    monkeypatch.setenv("VAULT_NAMESPACE", "elsewhere")
    kms = kms_of(openbao, approle(openbao, tmp_path))
    await kms.prove()
    await kms.close()


@pytest.fixture
def double(tmp_path: Path) -> Iterator[HttpsDouble]:
    folder = tmp_path / "double"
    folder.mkdir()
    with HttpsDouble(folder, lambda _: double_answers[0]) as server:
        yield server


double_answers: list[Answer] = []


def double_kms(double: HttpsDouble, tmp_path: Path, answer: Answer, **changes: Any) -> VaultKms:
    double_answers[:] = [answer]
    way = replace(Reach(double.address, double.authority.certificate, timeout_s=0.5), **changes)
    token = TokenFile(private_file(tmp_path / "token", "s.token"))
    return VaultKms("vault-test", VaultOptions(way, "sealgate", token))


async def test_a_version_that_is_none_is_not_found(openbao: OpenBao, tmp_path: Path) -> None:
    kms = kms_of(openbao, approle(openbao, tmp_path))
    _, wrapped = await kms.generate(None, CONTEXT)
    for version in ("", "0", "latest", "1:x"):
        with pytest.raises(KmsKeyNotFound):
            await kms.unwrap(replace(wrapped, kms_key_version=version), CONTEXT)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(307, headers={"Location": "https://elsewhere.example/"}), "redirect"),
        (Answer(204), "what is no answer"),
        (Answer(200, b"<html>"), "what is no answer"),
        (Answer(200, b"{}"), "no token"),
        (Answer(429, b'{"errors": []}'), "throttling"),
        (Answer(500, b'{"errors": []}'), "failing"),
        (Answer(501, b'{"errors": []}'), "not initialised"),
        (Answer(503, b'{"errors": ["Vault is sealed"]}'), "sealed"),
        (Answer(400, b'{"errors": ["what is this"]}'), "does not take"),
        (Answer(400, b""), "does not take"),
    ],
)
async def test_what_is_no_answer_makes_it_unavailable(
    double: HttpsDouble, tmp_path: Path, answer: Answer, said: str
) -> None:
    kms = double_kms(double, tmp_path, answer)
    with pytest.raises(KmsUnavailable, match=said):
        await kms.health()
    assert len(double.requests) == 1, "nothing is followed and nothing is tried twice"


async def test_a_certificate_for_another_host_is_refused(double: HttpsDouble, tmp_path: Path) -> None:
    double.show_certificate(*double.authority.server("other", ["elsewhere.example"]))
    with pytest.raises(KmsUnavailable, match="another host"):
        await double_kms(double, tmp_path, Answer(200)).health()
    assert not double.requests


async def test_a_changed_certificate_is_refused(double: HttpsDouble, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "stranger-ca")
    double.show_certificate(*stranger.server("stranger"))
    with pytest.raises(KmsUnavailable, match="not of the authorities"):
        await double_kms(double, tmp_path, Answer(200)).health()
    assert not double.requests


async def test_a_proxy_that_is_set_is_used(double: HttpsDouble, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    kms = double_kms(double, tmp_path, Answer(200), proxy=f"http://127.0.0.1:{port}")
    with pytest.raises(KmsUnavailable, match=r"cannot be reached|nothing listens"):
        await kms.health()
    assert not double.requests


async def test_a_connection_that_is_cut(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        way = Reach(f"https://127.0.0.1:{listener.getsockname()[1]}", timeout_s=0.3)
        kms = VaultKms("x", VaultOptions(way, "sealgate", TokenFile(private_file(tmp_path / "token", "t"))))
        with pytest.raises(KmsUnavailable, match="did not answer in time"):
            await kms.health()
        accepted, _ = listener.accept()
        accepted.close()


async def test_another_failure_is_told_by_its_kind() -> None:
    assert why_unreachable(OSError("s.secret in here")) == "it cannot be reached (OSError)"


async def test_an_address_where_nothing_listens(double: HttpsDouble, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with pytest.raises(KmsUnavailable, match="nothing listens"):
        await double_kms(double, tmp_path, Answer(200), address=f"https://127.0.0.1:{port}").health()


TOLD: dict[str, Any] = {"latest_version": 1, "keys": {"1": 0}, "ttl": 60, "renewable": True, "policies": []}


@pytest.mark.parametrize(
    "data",
    [
        {"ciphertext": "vault:v0:AAAA"},
        {"ciphertext": "AAAA"},
        {"ciphertext": "vault:v1:A"},
        {"ciphertext": 5},
        {},
        {"latest_version": "x"},
        {"keys": {}},
    ],
)
async def test_malformed_answers_make_it_unavailable(double: HttpsDouble, tmp_path: Path, data: dict[str, Any]) -> None:
    kms = double_kms(double, tmp_path, Answer(200, json.dumps({"data": TOLD | data}).encode()))
    with pytest.raises(KmsUnavailable):
        await kms.generate(None, CONTEXT)


def test_files_that_cannot_be_used_are_refused(openbao: OpenBao, tmp_path: Path) -> None:
    identity = TokenFile(tmp_path / "token")
    with pytest.raises(KmsMisconfigured, match=r"ca_file .* cannot be read"):
        VaultKms("x", VaultOptions(Reach("https://localhost", tmp_path / "none"), "sealgate", identity))
    (tmp_path / "no.pem").write_text("nothing")
    with pytest.raises(KmsMisconfigured, match="holds no PEM"):
        VaultKms("x", VaultOptions(Reach("https://localhost", tmp_path / "no.pem"), "sealgate", identity))


def test_a_client_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hvac", None)
    with pytest.raises(KmsMisconfigured, match=re.escape("run pip install '.[vault]' in the folder")):
        VaultKms("x", VaultOptions(Reach("https://localhost"), "sealgate", TokenFile(tmp_path / "token")))


async def test_no_secret_is_shown(openbao: OpenBao, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither at debug level nor in an error: the token, the secret id, K in any form."""
    caplog.set_level("DEBUG")
    role = approle(openbao, tmp_path, "quiet")
    kms = kms_of(openbao, role)
    sent: list[str] = []
    honest = kms._send

    def watching(method: str, path: str, token: str, body: Mapping[str, Any] | None) -> Any:
        sent.extend([token, *(str(value) for name, value in (body or {}).items() if name != "ciphertext")])
        return honest(method, path, token, body)

    kms._login._send = watching
    data_key, wrapped = await kms.generate(None, CONTEXT)
    assert await kms.unwrap(wrapped, CONTEXT) == data_key
    errors = []
    for altered in (
        replace(wrapped, provider_ciphertext=bytes(60)),
        replace(wrapped, kms_key_id="absent"),
        replace(wrapped, kms_key_version="7"),
    ):
        with pytest.raises(KeysError) as raised:
            await kms.unwrap(altered, CONTEXT)
        errors.append("".join(traceback.format_exception(raised.value)))
    openbao.seal()
    try:
        with pytest.raises(KmsUnavailable) as raised:
            await kms.unwrap(wrapped, CONTEXT)
        errors.append("".join(traceback.format_exception(raised.value)))
    finally:
        openbao.unseal()
    shown = [caplog.text, repr(kms), repr(role), *errors]
    found = {secret for secret in sent if secret and secret != role.role_id}
    assert len(found) >= 3
    for text in shown:
        assert not [secret for secret in found if secret in text]
