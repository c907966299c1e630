"""A real OpenBao on loopback: over TLS, with client certificates demanded, sealed and unsealed as an operator does.

Storage is a folder, so it outlives `kill -9`. The root token is used by the tests' own administration alone.
"""

import base64
import contextlib
import json
import secrets
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import requests
from cryptography.hazmat.primitives import hashes, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.servers.pki import Authority
from tests.servers.ports import free_ports
from tests.tooling.places import bare_environment
from tests.tooling.tools import program

_START_TIMEOUT_S: Final = 30
_POLL_S: Final = 0.05

POLICY: Final = """
path "+/encrypt/*" { capabilities = ["update"] }
path "+/decrypt/*" { capabilities = ["update"] }
path "+/rewrap/*" { capabilities = ["update"] }
path "+/keys/*" { capabilities = ["read"] }
"""


class OpenBao:
    """One server; `start` makes everything at its first call and unseals at later ones."""

    def __init__(self, folder: Path, *, storage: str = "raft", asks_certificate: bool = True) -> None:
        self.folder = folder
        self.authority = Authority(folder)
        self.certificate, self.key = self.authority.server("openbao")
        self.admin_certificate = self.authority.client("admin")
        self.port, cluster_port = free_ports(2)
        self.address = f"https://localhost:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._unseal_key = ""
        self.root_token = ""
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = str(self.authority.certificate)
        self._session.cert = (str(self.admin_certificate[0]), str(self.admin_certificate[1]))
        (folder / "storage").mkdir()
        self.take_clients_of()
        # Raft answers a restart fast only where it need not wait long for votes.
        places = {"path": str(folder / "storage"), "node_id": "one", "performance_multiplier": "1"}
        listener = {
            "address": f"127.0.0.1:{self.port}",
            "tls_cert_file": str(self.certificate),
            "tls_key_file": str(self.key),
        }
        if asks_certificate:
            listener |= {
                "tls_client_ca_file": str(folder / "client-authorities.pem"),
                "tls_require_and_verify_client_cert": "true",
            }
        self.config = folder / "openbao.json"
        self.config.write_text(
            json.dumps(
                {
                    "storage": {storage: places if storage == "raft" else {}},
                    "listener": [{"tcp": listener}],
                    "api_addr": self.address,
                    "cluster_addr": f"https://127.0.0.1:{cluster_port}",
                    "default_lease_ttl": "1h",
                    "max_lease_ttl": "2h",
                }
            )
        )

    def take_clients_of(self, *authorities: Path) -> None:
        """Take client certificates of these authorities from the next start on, besides those of the tests' own."""
        trusted = (self.authority.certificate, *authorities)
        (self.folder / "client-authorities.pem").write_text("".join(path.read_text() for path in trusted))

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start, initialise once, and unseal."""
        assert self._process is None
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(program("openbao")), "server", f"-config={self.config}"],
                env=bare_environment(self.folder),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._listens():
            assert self._process.poll() is None, (self.folder / "server.log").read_text()[-2000:]
            assert time.monotonic() < deadline, "OpenBao did not start"
            time.sleep(_POLL_S)
        if not self.root_token:
            made = self.ask("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
            self._unseal_key, self.root_token = made["keys"][0], made["root_token"]
        self.unseal()

    def _listens(self) -> bool:
        with contextlib.suppress(requests.RequestException):
            return self._session.get(f"{self.address}/v1/sys/seal-status", timeout=2).ok
        return False

    def unseal(self) -> None:
        """Unseal, and wait until it serves."""
        self.ask("PUT", "sys/unseal", {"key": self._unseal_key})
        deadline = time.monotonic() + _START_TIMEOUT_S
        while self._session.get(f"{self.address}/v1/sys/health", timeout=5).status_code != 200:
            assert time.monotonic() < deadline, "OpenBao did not become active"
            time.sleep(_POLL_S)

    def seal(self) -> None:
        """Seal it: from now on it answers 503."""
        self.ask("PUT", "sys/seal")

    def suspend(self) -> None:
        """Let it hang: connections open, nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as a power loss would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None, token: str | None = None) -> Any:
        """One call of the HTTP API, as root unless another token is given; what it answers, or {}."""
        headers = {"X-Vault-Token": token or self.root_token} if token or self.root_token else {}
        answer = self._session.request(method, f"{self.address}/v1/{path}", json=body, headers=headers, timeout=20)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text[:500]}"
        return answer.json() if answer.content else {}

    def prepare(self) -> None:
        """Mount transit, make the key `sealgate`, the policy `sealgate`, and the three ways to sign in."""
        self.mount("transit")
        self.write_policy("sealgate", POLICY)
        self.ask("POST", "sys/auth/approle", {"type": "approle"})
        self.ask("POST", "sys/auth/cert", {"type": "cert"})

    def mount(self, mount: str) -> None:
        """Mount a transit engine with the key `sealgate`."""
        self.ask("POST", f"sys/mounts/{mount}", {"type": "transit"})
        self.create_key("sealgate", mount)

    def create_key(self, name: str, mount: str = "transit", **options: Any) -> None:
        """Make a transit key of 256 bits."""
        self.ask("POST", f"{mount}/keys/{name}", options or None)

    def import_key(self, name: str, material: bytes, mount: str = "transit") -> None:
        """Bring a transit key of one's own, as its documentation says: under an AES key under the engine's RSA key."""
        public = serialization.load_pem_public_key(
            self.ask("GET", f"{mount}/wrapping_key")["data"]["public_key"].encode()
        )
        assert isinstance(public, rsa.RSAPublicKey)
        passing = secrets.token_bytes(32)
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
        blob = public.encrypt(passing, oaep) + keywrap.aes_key_wrap_with_padding(passing, material)
        self.ask("POST", f"{mount}/keys/{name}/import", {"ciphertext": encoded(blob), "type": "aes256-gcm96"})

    def delete_key(self, name: str, mount: str = "transit") -> None:
        """Destroy a transit key for good."""
        self.ask("POST", f"{mount}/keys/{name}/config", {"deletion_allowed": True})
        self.ask("DELETE", f"{mount}/keys/{name}")

    def write_policy(self, name: str, text: str) -> None:
        """Make or replace a policy."""
        self.ask("PUT", f"sys/policies/acl/{name}", {"policy": text})

    def new_token(self, policy: str = "sealgate", ttl: str = "1h", **options: Any) -> str:
        """A token of a policy alone."""
        asked = {"policies": [policy], "ttl": ttl, "no_parent": True} | options
        return str(self.ask("POST", "auth/token/create", asked)["auth"]["client_token"])

    def new_role(self, name: str, policy: str = "sealgate", lifetime: str = "1h", **options: Any) -> tuple[str, str]:
        """An AppRole: its role id and a secret id."""
        self.ask("POST", f"auth/approle/role/{name}", {"token_policies": policy, "token_ttl": lifetime} | options)
        role_id = self.ask("GET", f"auth/approle/role/{name}/role-id")["data"]["role_id"]
        return role_id, self.ask("POST", f"auth/approle/role/{name}/secret-id")["data"]["secret_id"]

    def trust_certificate(self, name: str, policy: str = "sealgate", lifetime: str = "1h") -> None:
        """Let whoever holds a client certificate with this common name sign in."""
        asked = {
            "certificate": self.authority.certificate.read_text(),
            "allowed_common_names": name,
            "token_policies": policy,
            "token_ttl": lifetime,
        }
        self.ask("POST", f"auth/cert/certs/{name}", asked)


def private_file(path: Path, text: str) -> Path:
    """Write a secret as the gateway wants to find it: mode 0600."""
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def encoded(data: bytes) -> str:
    """Base64, as transit takes its plaintexts."""
    return base64.b64encode(data).decode("ascii")
