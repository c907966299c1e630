"""A gateway beside KMSs: a real OpenBao over TLS with client certificates, SoftHSM2, fakes, and its local keyring."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import requests

from tests.blackbox.process import Gateway
from tests.servers.fake_gcp_kms import RING, FakeGcpKms
from tests.servers.fake_key_vault import ALL, AUDIENCE, TENANT, FakeKeyVault
from tests.servers.openbao import OpenBao, private_file
from tests.servers.softhsm import SoftHsm

_NUMBERS: Final = itertools.count(1)


class KmsGateway(Gateway):
    """One deployment with a `kms_file`."""

    def __init__(
        self, folder: Path, kms: str, tables: str, settings: Mapping[str, str] | None = None, hsm: SoftHsm | None = None
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.kms_file = folder / "kms.toml"
        self.kms_file.write_text(tables)
        self._hsm = hsm
        chosen = {"SEALGATE_KMS": kms, "SEALGATE_KMS_FILE": str(self.kms_file), "SEALGATE_KMS_PROBE_INTERVAL_S": "1"}
        super().__init__(folder, chosen | dict(settings or {}))

    def environment(self) -> dict[str, str]:
        """With what SoftHSM reads of it."""
        return super().environment() | (self._hsm.variables if self._hsm is not None else {})

    def metrics(self) -> dict[str, float]:
        """What the admin listener shows, by the line's name and labels."""
        with requests.Session() as session:
            session.trust_env = False
            text = session.get(f"http://127.0.0.1:{self.admin_port}/metrics", timeout=5).text
        rows = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in rows}

    def kms_calls(self, call: str, provider: str = "vault-one") -> float:
        """How often a KMS was asked that, whatever came of it."""
        wanted = f'sealgate_kms_call_seconds_count{{call="{call}",'
        rows = self.metrics().items()
        return sum(value for name, value in rows if name.startswith(wanted) and f'provider="{provider}"' in name)


def vault_table(openbao: OpenBao, folder: Path, name: str = "vault-one", **more: Any) -> str:
    """A table for that server, signing in by a role of its own; `more` are further lines, or others for the same."""
    number = next(_NUMBERS)
    role_id, secret_id = openbao.new_role(f"gateway-{number}", more.pop("policy", "sealgate"))
    certificate, key = openbao.authority.client(f"gateway-{number}")
    lines: dict[str, Any] = {
        "type": "vault",
        "address": openbao.address,
        "ca_file": str(openbao.authority.certificate),
        "client_certificate_file": str(certificate),
        "client_key_file": str(key),
        "role_id": role_id,
        "secret_id_file": str(private_file(folder / f"secret-id-{number}", secret_id)),
        "key": "sealgate",
    } | more
    return table(name, lines)


def gcp_table(google: FakeGcpKms, name: str = "cloud", **more: Any) -> str:
    """A table for that fake, signing in by the `credentials_file` in `more`."""
    lines: dict[str, Any] = {
        "type": "gcp",
        "address": google.double.address,
        "ca_file": str(google.double.authority.certificate),
        "key_ring": RING,
        "key": "sealgate",
    }
    return table(name, lines | more)


def azure_table(vault: FakeKeyVault, folder: Path, name: str = "cloud", **more: Any) -> str:
    """A table for that fake, signing in by the secret of an application of its own, which has `permissions`."""
    client_id = f"application-{next(_NUMBERS)}"
    secret = vault.new_client(client_id, more.pop("permissions", ALL))
    lines: dict[str, Any] = {
        "type": "azure",
        "address": vault.double.address,
        "ca_file": str(vault.double.authority.certificate),
        "tenant_id": TENANT,
        "authority": vault.double.address,
        "audience": AUDIENCE,
        "client_id": client_id,
        "client_secret_file": str(private_file(folder / f"{client_id}.secret", secret)),
        "key": "sealgate",
    }
    return table(name, lines | more)


def table(name: str, lines: Mapping[str, Any]) -> str:
    """A table of TOML; a value of None leaves its line out."""
    return f"[{name}]\n" + "".join(f"{key} = {_spelled(value)}\n" for key, value in lines.items() if value is not None)


def _spelled(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_spelled(part) for part in value)}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_spelled(part)}" for key, part in value.items()) + "}"
    return f'"{value}"' if isinstance(value, str) else str(value)
