"""Configurations that must not stand: the real command refuses each in one line that says what to do.

docs/KEYS.md lists them; a test compares.
"""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from gateway.cli.main import run
from tests.kms.deployment import KmsGateway, azure_table, gcp_table, table, vault_table
from tests.servers.fake_gcp_kms import ALL, FakeGcpKms
from tests.servers.fake_key_vault import FakeKeyVault
from tests.servers.openbao import OpenBao, private_file
from tests.servers.pki import Authority
from tests.servers.ports import free_ports
from tests.servers.softhsm import SoftHsm
from tests.tooling.places import ROOT

ARN: Final = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"


@dataclass
class World:
    """What a case may build on; `folder` is its own, outside the data folder."""

    openbao: OpenBao
    hsm: SoftHsm
    google: FakeGcpKms
    vault_of_azure: FakeKeyVault
    folder: Path
    data: Path
    patch: pytest.MonkeyPatch
    kms: str = "vault-one"
    settings: dict[str, str] = field(default_factory=dict)

    def vault(self, **lines: Any) -> str:
        return vault_table(self.openbao, self.folder, **lines)

    def token(self, text: str, mode: int = 0o600) -> dict[str, Any]:
        """Sign in by a token file instead of the role."""
        file = private_file(self.folder / "token", text)
        file.chmod(mode)
        return {"token_file": str(file), "role_id": None, "secret_id_file": None}

    def pkcs11(self, **lines: Any) -> str:
        self.kms = "hsm"
        known = {
            "type": "pkcs11",
            "module": str(self.hsm.module),
            "token_label": "vault",
            "pin_file": str(self.hsm.pin_file),
            "key": "hsm-key",
        }
        return table("hsm", known | lines)

    def aws(self, **lines: Any) -> str:
        self.kms = "cloud"
        file = private_file(self.folder / "credentials", "[default]\naws_access_key_id=a\naws_secret_access_key=b\n")
        known = {"type": "aws", "region": "eu-west-1", "credentials_file": str(file), "key": ARN}
        return table("cloud", known | lines)

    def gcp(self, **lines: Any) -> str:
        self.kms = "cloud"
        account = str(self.google.new_account("gateway", lines.pop("permissions", ALL)))
        return gcp_table(self.google, **{"credentials_file": account} | lines)

    def gcp_ended(self) -> str:
        tables = self.gcp()
        self.google.end_account("gateway")
        return tables

    def gcp_key(self, name: str, state: str = "ENABLED", **options: Any) -> str:
        self.google.new_key(name, **options)
        self.google.set_state(name, state)
        return self.gcp(key=name)

    def azure(self, **lines: Any) -> str:
        self.kms = "cloud"
        return azure_table(self.vault_of_azure, self.folder, **lines)

    def azure_key(self, name: str, state: str = "ENABLED", **options: Any) -> str:
        self.vault_of_azure.new_version(name, **options)
        self.vault_of_azure.set_state(name, state)
        return self.azure(key=name)

    def made(self, name: str, **options: Any) -> str:
        """A transit key of that kind."""
        self.openbao.create_key(name, **options)
        return self.vault(key=name)

    def written(self, name: str, text: str, mode: int = 0o600) -> str:
        file = private_file(self.folder / name, text)
        file.chmod(mode)
        return str(file)

    def without_file(self) -> str:
        self.settings["KMS_FILE"] = ""
        return ""

    def nowhere(self) -> str:
        self.settings["KMS_FILE"] = str(self.folder / "none.toml")
        return ""

    def another(self, kms: str, tables: str) -> str:
        self.kms = kms
        return tables

    def bare(self) -> str:
        """Without the client of Vault."""
        self.patch.setitem(sys.modules, "hvac", None)
        return self.vault()

    def imported(self) -> str:
        self.openbao.import_key("zero", bytes(32))
        return self.vault(key="zero")

    def soft_deleted(self) -> str:
        told = self.made("off")
        self.openbao.ask("DELETE", "transit/keys/off/soft-delete")
        return told

    def powerless(self) -> str:
        self.openbao.write_policy("nothing", 'path "nothing" { capabilities = ["read"] }')
        return self.vault(policy="nothing")

    def closed_port(self) -> str:
        return self.vault(address=f"https://localhost:{free_ports(1)[0]}")

    def beside_the_data(self) -> str:
        return self.vault(secret_id_file=str(self.data / "secret-id"))


CASES: Final[dict[str, tuple[Callable[[World], str], str]]] = {
    # What is refused: how it is made, and what the line must say.
    "`kms` names a remote KMS without a `kms_file`": (World.without_file, "give kms_file"),
    "`kms_file` is not there": (World.nowhere, "correct kms_file"),
    "`kms_file` is not TOML": (lambda w: "[vault-one", "is not TOML"),
    "`kms_file` is empty": (lambda w: "", "1 to 16 tables"),
    "`kms` names a table that is not there": (lambda w: w.another("vault-two", w.vault()), "give one of vault-one"),
    "a table has a reserved name": (lambda w: w.vault(name="bucket"), "that name cannot stand"),
    "a table has an unknown type": (lambda w: w.vault(type="kmip"), "needs a type, one of"),
    "a setting is misspelt": (lambda w: w.vault(ca_fil="x"), "ca_fil is no setting"),
    "the address is plain HTTP": (lambda w: w.vault(address="http://localhost:8200"), "never asked over plain HTTP"),
    "the address holds a password": (lambda w: w.vault(address="https://a:b@localhost"), "without user or path"),
    "no key is named": (lambda w: w.vault(key=None), "key field required"),
    "the key's name is a path": (lambda w: w.vault(key="../sys/raw"), "takes the name of a key"),
    "an alias means a key that is not offered": (
        lambda w: w.vault(aliases={"pay": "other"}),
        "neither key nor one of keys",
    ),
    "no way to sign in": (lambda w: w.vault(role_id=None, secret_id_file=None), "one way to sign in"),
    "two ways to sign in": (lambda w: w.vault(token_file="token"), "one way to sign in"),
    "a role without its secret": (lambda w: w.vault(secret_id_file=None), "belong together"),
    "a client certificate without its key": (lambda w: w.vault(client_key_file=None), "belong together"),
    "the CA file is not there": (lambda w: w.vault(ca_file="none.pem"), "cannot be read"),
    "the CA file holds no certificate": (lambda w: w.vault(ca_file=w.written("ca", "x")), "holds no PEM"),
    "the CA is another": (
        lambda w: w.vault(ca_file=str(Authority(w.folder, "stranger").certificate)),
        "not of the authorities in ca_file",
    ),
    "no client certificate where one is asked for": (
        lambda w: w.vault(client_certificate_file=None, client_key_file=None),
        "a client certificate",
    ),
    "nothing listens at the address": (World.closed_port, "nothing listens at its address"),
    "the token file is not there": (lambda w: w.vault(**w.token("x") | {"token_file": "none"}), "is missing"),
    "the token file is open to others": (lambda w: w.vault(**w.token("x", 0o644)), "chmod 0600"),
    "the token file is empty": (lambda w: w.vault(**w.token("")), "is empty"),
    "the token file holds more than a token": (lambda w: w.vault(**w.token("two\nlines\n")), "must hold one line"),
    "the token is a root token": (lambda w: w.vault(**w.token(w.openbao.root_token)), "holds a root token"),
    "the token is dead": (lambda w: w.vault(**w.token("s.AAAAAAAAAAAAAAAAAAAAAAAA")), "renew the identity"),
    "the secret id is wrong": (
        lambda w: w.vault(secret_id_file=w.written("id", "11111111-2222-3333-4444-555555555555")),
        "renew the identity",
    ),
    "the policy allows nothing": (World.powerless, "see the policy of its identity"),
    "there is no such key": (lambda w: w.vault(key="no-such-key"), "there is no such wrapping key"),
    "there is no such transit engine": (lambda w: w.vault(mount="nowhere"), "no transit engine at that mount"),
    "the key can be exported": (lambda w: w.made("exportable", exportable=True), "exportable=false"),
    "the key is derived": (lambda w: w.made("derived", derived=True), "derived=false"),
    "the key has 128 bits": (lambda w: w.made("short", type="aes128-gcm96"), "is not of 256 bits"),
    "the key is one that anybody knows": (World.imported, "make a random one"),
    "the key is switched off": (World.soft_deleted, "the wrapping key is disabled"),
    "a secret lies inside the data folder": (World.beside_the_data, "keep it outside"),
    "two KMSs offer a key of one id": (
        lambda w: w.vault() + w.vault(name="vault-two"),
        "give one another id",
    ),
    "the client of a KMS is not installed": (World.bare, "pip install '.[vault]' in the folder"),
    "the PKCS#11 module is not there": (lambda w: w.pkcs11(module="none.so"), "is not there"),
    "the PKCS#11 module is no library": (lambda w: w.pkcs11(module=w.written("m.so", "x")), "cannot be loaded"),
    "the HSM has no such token": (lambda w: w.pkcs11(token_label="none"), "correct token_label"),
    "the PIN is wrong": (lambda w: w.pkcs11(pin_file=w.written("pin", "0000-wrong")), "correct pin_file"),
    "the PIN file is open to others": (lambda w: w.pkcs11(pin_file=w.written("pin", "1", 0o640)), "chmod 0600"),
    "the HSM has no key of that label": (lambda w: w.pkcs11(key="none"), "no AES key of that label"),
    "the key can be taken out of the HSM": (lambda w: w.pkcs11(key="extractable"), "CKA_EXTRACTABLE=false"),
    "the key in the HSM has 128 bits": (lambda w: w.pkcs11(key="short"), "is not of 256 bits"),
    "the key in the HSM is zero": (lambda w: w.pkcs11(key="zero"), "make a random one"),
    "a key of AWS is named by its alias": (lambda w: w.aws(key="alias/main"), "takes the ARN of a key"),
    "a key of AWS is of another region": (lambda w: w.aws(region="eu-west-2"), "make a table for each other"),
    "the credentials file holds none": (
        lambda w: w.aws(credentials_file=w.written("none", "[other]\n")),
        "must hold [default]",
    ),
    "the key ring of Google is none": (lambda w: w.gcp(key_ring="gateway"), "takes projects/PROJECT"),
    "the credentials file of Google holds no service account": (
        lambda w: w.gcp(credentials_file=w.written("user", '{"type": "authorized_user"}')),
        "must hold the JSON key of a service account",
    ),
    "Google knows no such service account": (World.gcp_ended, "renew its key"),
    "the service account has no role": (lambda w: w.gcp(permissions=()), "see its roles on the key ring"),
    "the key of Google is not there": (lambda w: w.gcp(key="none"), "there is no such wrapping key"),
    "the key of Google is not symmetric": (
        lambda w: w.gcp_key("signs", purpose="ASYMMETRIC_SIGN"),
        "make one with purpose encryption",
    ),
    "the key of Google is switched off": (lambda w: w.gcp_key("off", "DISABLED"), "the wrapping key is disabled"),
    "the key of Google is to be destroyed": (
        lambda w: w.gcp_key("doomed", "DESTROY_SCHEDULED"),
        "the wrapping key is in state pending-deletion",
    ),
    "the application of Azure has no way to sign in": (
        lambda w: w.azure(client_secret_file=None),
        "client_id with one way to sign in",
    ),
    "the application of Azure has two ways to sign in": (
        lambda w: w.azure(certificate_file="pem"),
        "client_id with one way to sign in",
    ),
    "it cannot be told whom tokens of Azure are for": (lambda w: w.azure(audience=None), "audience cannot be told"),
    "the certificate file of Azure has no key": (
        lambda w: w.azure(client_secret_file=None, certificate_file=w.written("pem", "x")),
        "must hold a private key and its certificate",
    ),
    "Azure does not know the secret": (
        lambda w: w.azure(client_secret_file=w.written("wrong", "wrong")),
        "renew its credential",
    ),
    "there is no such tenant of Azure": (lambda w: w.azure(tenant_id="none"), "see tenant_id"),
    "the application of Azure has no role": (lambda w: w.azure(permissions=()), "see its role on the key"),
    "the key of Azure is not there": (lambda w: w.azure(key="none"), "there is no such wrapping key"),
    "the key of Azure is of RSA with 2048 bits": (lambda w: w.azure_key("small", bits=2048), "make one of 4096 bits"),
    "the key of Azure is of an elliptic curve": (lambda w: w.azure_key("curve", kind="EC"), "make one of type RSA"),
    "the key of Azure can be exported": (lambda w: w.azure_key("out", exportable=True), "not exportable"),
    "the key of Azure may not unwrap": (lambda w: w.azure_key("half", key_ops=("wrapKey",)), "permit both operations"),
    "the key of Azure is switched off": (lambda w: w.azure_key("off", "DISABLED"), "the wrapping key is disabled"),
}


@pytest.fixture(scope="module")
def hsm(softhsm: SoftHsm) -> SoftHsm:
    """With keys that nobody should have."""
    softhsm.make_key("vault", "extractable", 1, EXTRACTABLE=True)
    softhsm.make_key("vault", "short", 1, VALUE_LEN=16)
    softhsm.make_key("vault", "zero", 1, VALUE=bytes(32))
    return softhsm


@pytest.mark.parametrize("title", CASES)
def test_it_is_refused_in_one_line(
    title: str,
    openbao: OpenBao,
    hsm: SoftHsm,
    google: FakeGcpKms,
    azure: FakeKeyVault,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`sealgate check` before a first start, by its entry; a process for each would take minutes."""
    make, said = CASES[title]
    world = World(openbao, hsm, google, azure, tmp_path, tmp_path / "sealgate-data", monkeypatch)
    tables = make(world)
    (tmp_path / "kms.toml").write_text(tables)
    for name, value in ({"KMS": world.kms, "KMS_FILE": str(tmp_path / "kms.toml")} | world.settings).items():
        if value:
            monkeypatch.setenv(f"SEALGATE_{name}", value)
    code = run(["check", "--data", str(world.data), "--json"])
    told = capsys.readouterr()
    assert code not in {0, 1}, told.out
    assert not told.err
    failed = [look for look in json.loads(told.out)["checks"] if look["state"] == "failed"]
    lines = [f"{look['found']}: {look['remedy']}" for look in failed]
    assert [said in line and "\n" not in line for line in lines].count(True) == 1, lines


def test_a_development_server_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bao").mkdir()
    server = OpenBao(tmp_path / "bao", storage="inmem")
    server.start()
    try:
        server.prepare()
        gateway = KmsGateway(tmp_path / "gateway", "vault-one", vault_table(server, tmp_path))
        done = gateway.run("check", "--data", str(gateway.data))
        assert done.returncode == 5
        assert "give it durable storage" in done.stdout
    finally:
        server.kill()


def test_serve_refuses_as_check_does(tmp_path: Path, openbao: OpenBao) -> None:
    gateway = KmsGateway(tmp_path / "gateway", "vault-one", vault_table(openbao, tmp_path, key="no-such-key"))
    done = gateway.run("serve", "--data", str(gateway.data))
    assert done.returncode == 5
    assert done.stderr.splitlines()[-1].startswith("sealgate: there is no such wrapping key")
    assert not (gateway.data / "realm.json").exists(), "nothing was sealed"


def documented() -> Iterator[str]:
    text = (ROOT / "docs/KEYS.md").read_text().partition("### A KMS")[2]
    return (line.removeprefix("- ").rstrip() for line in text.splitlines() if line.startswith("- "))


def test_the_documentation_lists_them_all() -> None:
    assert list(documented()) == [*CASES, "an OpenBao whose storage is its memory (a development server)"]
    assert len(CASES) >= 25
