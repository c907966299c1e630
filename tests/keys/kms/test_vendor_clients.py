"""The vendors' own clients understand our fakes and open what we wrapped: so the two are not wrong alike."""

import base64
import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from awscrt.checksums import crc32c

from keys.kms.azure import Application, AzureKms, AzureOptions, ClientSecret
from keys.kms.gcp import GcpKms, GcpOptions, _bound
from keys.kms.https import Reach
from keys.kms.names import KeyNames
from tests.servers.fake_gcp_kms import RING, FakeGcpKms
from tests.servers.fake_key_vault import AUDIENCE, TENANT, FakeKeyVault
from tests.servers.openbao import private_file
from tests.suites.kms import CONTEXT
from tests.tooling.places import bare_environment
from tests.tooling.tools import program

pytestmark = [pytest.mark.anyio, pytest.mark.slow]  # their packages take longer to fetch than all else here

SECRET: Final = bytes(range(32))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def vendor_client(script: str, authority: Path, folder: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """What a script of `scripts` says, run by the environment of the vendors' clients."""
    done = subprocess.run(
        [str(program("cloud-kms-clients")), "-W", "ignore", str(Path(__file__).with_name("scripts") / script)],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=bare_environment(folder, REQUESTS_CA_BUNDLE=str(authority)),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def text(value: bytes) -> str:
    return base64.b64encode(value).decode()


async def test_google_cloud_kms(tmp_path: Path) -> None:
    google = FakeGcpKms(tmp_path)
    for name in ("sealgate", "off", "gone"):
        google.new_key(name)
    google.rotate("sealgate")
    google.set_state("off", "DISABLED")
    google.set_state("gone", "DESTROYED")
    account = google.new_account("gateway")
    key = f"{RING}/cryptoKeys/sealgate"
    with google.double as double:
        options = GcpOptions(Reach(double.address, double.authority.certificate), RING, "sealgate", account)
        kms = GcpKms("google", options, KeyNames("google"))
        done = await kms._wrap_secret(SECRET, None, CONTEXT)
        told = vendor_client(
            "google_client.py",
            double.authority.certificate,
            tmp_path,
            {
                "host": f"localhost:{double.port}",
                "credentials_file": str(account),
                "key": key,
                "bound": text(_bound(CONTEXT, "2")),
                "wrapped": text(done.ciphertext),
                "secret": text(SECRET[::-1]),
                "secret_crc32c": crc32c(SECRET[::-1]),
                "refused": [f"{RING}/cryptoKeys/{name}" for name in ("off", "gone", "none")],
            },
        )
        _, wrapped = await kms.generate(None, CONTEXT)
        wrapped = replace(wrapped, provider_ciphertext=base64.b64decode(told["made"]))
        assert await kms._unwrap_secret(wrapped, CONTEXT) == SECRET[::-1]
        await kms.close()
    assert (done.kms_key_id, done.kms_key_version) == ("sealgate", "2")
    assert base64.b64decode(told["opened"]) == SECRET
    assert told["opened_crc32c"] == crc32c(SECRET)
    assert (told["purpose"], told["state"]) == ("ENCRYPT_DECRYPT", "ENABLED")
    assert told["primary"] == told["made_by"] == f"{key}/cryptoKeyVersions/2"
    assert told["verified"] == [True, False]
    refused = {name.rpartition("/")[2]: found for name, found in told.items() if name.startswith(f"{RING}/cryptoKeys")}
    assert refused == {
        "off": ["BadRequest", ["KEY_DISABLED"]],
        "gone": ["BadRequest", ["KEY_DESTROYED"]],
        "none": ["NotFound", []],
    }


async def test_azure_key_vault(tmp_path: Path) -> None:
    vault = FakeKeyVault(tmp_path)
    for name in ("sealgate", "sealgate", "off", "other"):
        vault.new_version(name)
    vault.new_version("hsm", "oct-HSM")
    vault.set_state("off", "DISABLED")
    secret = vault.new_client("application")
    application = Application("application", ClientSecret(private_file(tmp_path / "secret", secret)))
    with vault.double as double:
        reach = Reach(double.address, double.authority.certificate)
        options = AzureOptions(reach, "sealgate", AUDIENCE, TENANT, application, authority=double.address)
        kms = AzureKms("azure", options, KeyNames("azure"))
        done, hsm = [await kms._wrap_secret(SECRET, name, CONTEXT) for name in (None, "hsm")]
        told = vendor_client(
            "azure_client.py",
            double.authority.certificate,
            tmp_path,
            {
                "address": double.address,
                "tenant_id": TENANT,
                "client_id": "application",
                "client_secret": secret,
                "key": "sealgate",
                "version": done.kms_key_version,
                "wrapped": text(done.ciphertext),
                "secret": text(SECRET[::-1]),
                "hsm_version": hsm.kms_key_version,
                "hsm_wrapped": text(hsm.ciphertext),
                "refused": {
                    "off": vault.keys["off"][0].name,
                    "other": vault.keys["other"][0].name,
                    "none": "0" * 32,
                },
            },
        )
        _, wrapped = await kms.generate(None, CONTEXT)
        wrapped = replace(wrapped, provider_ciphertext=base64.b64decode(told["made"]))
        assert await kms._unwrap_secret(wrapped, CONTEXT) == SECRET[::-1]
        await kms.close()
    assert [base64.b64decode(told[name]) for name in ("opened", "hsm")] == [SECRET, SECRET]
    assert (told["type"], told["enabled"], told["version"]) == ("RSA", True, done.kms_key_version)
    assert told["bits"] == 3072
    assert told["off"] == ["HttpResponseError", 403, "Forbidden"]
    assert told["other"] == ["HttpResponseError", 400, "BadParameter"]
    assert told["none"] == ["ResourceNotFoundError", 404, "KeyNotFound"]
