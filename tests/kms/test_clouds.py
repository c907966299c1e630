"""A gateway whose keys lie with a cloud, which is a fake over TLS: life, rotation, outages and what the logs hold."""

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from botocore.exceptions import ClientError

from gateway.kms_file import read_kms_file
from keys.errors import KmsDenied
from tests.blackbox.clients import s3_client
from tests.kms.deployment import KmsGateway, azure_table, gcp_table
from tests.servers.fake_gcp_kms import FakeGcpKms
from tests.servers.fake_key_vault import FakeKeyVault
from tests.servers.https_double import HttpsDouble
from tests.servers.openbao import private_file
from tests.tooling.places import ROOT

BODY: Final = b"keys in a cloud " * 3000
LIMIT_S: Final = 6.0
"""A 503 comes within 5 s, and the machine of the tests is busy."""
TEXT: Final = (ROOT / "docs/KMS.md").read_text()


@dataclass
class Cloud:
    """One fake, and what a gateway beside it needs: where its secrets lie, and how it spells a throttled call."""

    fake: FakeGcpKms | FakeKeyVault
    double: HttpsDouble
    table: str
    secret_files: list[Path]
    throttled: str

    def secrets(self) -> list[bytes]:
        """Everything that must stand in no log."""
        found = [text.encode() for text in self.fake.tokens]
        for file in self.secret_files:
            found += [part.encode() for part in re.findall(r"[A-Za-z0-9+/_~-]{24,}", file.read_text())]
        return found


def google_cloud(google: FakeGcpKms, _: Path) -> Cloud:
    account = google.new_account("gateway")
    told = json.loads(account.read_text())
    key_file = account.with_name("private-key")
    key_file.write_text(told["private_key"].replace("\n", " "))
    return Cloud(
        google, google.double, gcp_table(google, credentials_file=str(account)), [key_file], "RESOURCE_EXHAUSTED"
    )


def azure_cloud(azure: FakeKeyVault, folder: Path) -> Cloud:
    table = azure_table(azure, folder)
    return Cloud(azure, azure.double, table, list(folder.glob("*.secret")), "Throttled")


CLOUDS: Final[Mapping[str, Callable[[Any, Path], Cloud]]] = {"google": google_cloud, "azure": azure_cloud}


@pytest.fixture(scope="module", params=CLOUDS)
def cloud(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Cloud:
    return CLOUDS[request.param](request.getfixturevalue(request.param), tmp_path_factory.mktemp("secrets"))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, cloud: Cloud) -> Iterator[KmsGateway]:
    folder = tmp_path_factory.mktemp("gateway")
    deployment = KmsGateway(folder, "cloud", cloud.table, {"SEALGATE_LOG_LEVEL": "debug"})
    looked = deployment.run("check", "--data", str(deployment.data), "--json")
    (found,) = [look for look in json.loads(looked.stdout)["checks"] if look["area"] == "kms cloud"]
    assert found["state"] == "ok", looked.stdout
    assert "experimental" in found["found"]
    deployment.start()
    try:
        yield deployment
    finally:
        deployment.close()


@pytest.fixture(scope="module")
def s3(gateway: KmsGateway) -> Iterator[Any]:
    client = s3_client(gateway)
    client.create_bucket(Bucket="clouds")
    yield client
    client.close()


def put(s3: Any, key: str) -> Any:
    return s3.put_object(Bucket="clouds", Key=key, Body=BODY)


def read(s3: Any, key: str) -> bytes:
    body: bytes = s3.get_object(Bucket="clouds", Key=key)["Body"].read()
    return body


def refusal(call: partial[Any]) -> tuple[str, int]:
    began = time.monotonic()
    with pytest.raises(ClientError) as refused:
        call()
    assert time.monotonic() - began < LIMIT_S
    answer = refused.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]


def test_it_says_that_it_is_experimental(gateway: KmsGateway, s3: Any) -> None:
    assert "KMS cloud: experimental" in gateway.log.read_text()


def test_it_rotates_and_opens_after_a_restart(gateway: KmsGateway, s3: Any, cloud: Cloud) -> None:
    put(s3, "kept")
    cloud.fake.rotate("sealgate")
    done = gateway.run("key", "rewrap", "--data", str(gateway.data))
    assert done.returncode == 0, done.stderr
    gateway.restart()
    assert read(s3, "kept") == BODY
    put(s3, "new")


@pytest.mark.parametrize("fault", ["silence", "throttle", "certificate"])
def test_an_outage(gateway: KmsGateway, s3: Any, cloud: Cloud, fault: str) -> None:
    put(s3, "cached")
    if fault == "silence":
        cloud.fake.delay_s = 30
    elif fault == "throttle":
        cloud.fake.error = cloud.throttled
    else:
        cloud.double.show_certificate(*cloud.double.authority.server("stranger", ["elsewhere.example"]))
        cloud.double.drop_connections()
    try:
        assert refusal(partial(put, s3, "refused")) == ("ServiceUnavailable", 503)
        assert read(s3, "cached") == BODY
        assert gateway.metrics()['sealgate_kms_up{provider="cloud"}'] == 0
        assert "KMS cloud is away" in gateway.log.read_text()
    finally:
        cloud.fake.reset()
        cloud.double.show_certificate(*cloud.double.authority.server("double"))
    deadline = time.monotonic() + 10
    while True:
        try:
            put(s3, "again")
            break
        except ClientError:
            assert time.monotonic() < deadline, gateway.log_tail()
    log = gateway.log.read_text()
    assert "KMS cloud is back" in log
    assert fault != "certificate" or "its certificate is for another host name" in log


def test_a_key_that_is_switched_off_is_disabled(s3: Any, cloud: Cloud) -> None:
    put(s3, "switched")
    cloud.fake.set_state("sealgate", "DISABLED")
    try:
        assert refusal(partial(put, s3, "off")) == ("KMS.DisabledException", 400)
        assert read(s3, "switched") == BODY, "cached for 300 s at most"
    finally:
        cloud.fake.set_state("sealgate", "ENABLED")
    put(s3, "on")


def test_no_secret_of_a_cloud_in_any_log(gateway: KmsGateway, s3: Any, cloud: Cloud) -> None:
    """Whatever else was asked of this gateway before."""
    put(s3, "logged")
    gateway.restart()
    assert read(s3, "logged") == BODY
    logs = b"".join(path.read_bytes() for path in sorted(gateway.logs.iterdir()))
    assert len(logs) > 1000
    secrets = cloud.secrets()
    assert len(secrets) > 1
    for secret in secrets:
        assert secret not in logs


def documented(title: str, kind: str, permission: str) -> list[list[str]]:
    """The permissions of each block of a section: of one identity, of who wraps, of who unwraps."""
    section = TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    blocks = re.findall(rf"```{kind}\n(.*?)```", section, re.DOTALL)
    return [re.findall(permission, block) for block in blocks]


def test_the_documented_roles_of_azure_work(azure: FakeKeyVault, tmp_path: Path) -> None:
    """And none of their lines can be left out."""
    both, wraps, unwraps = documented("Azure Key Vault", "json", r'"Microsoft.KeyVault/vaults/(keys/\w+)/?\w*"')
    spelled = {"keys/read": "keys/get", "keys/wrap": "keys/wrapKey", "keys/unwrap": "keys/unwrapKey"}

    def prove(permissions: list[str], other: list[str] | None = None) -> None:
        more: dict[str, Any] = {"permissions": [spelled[permission] for permission in permissions]}
        if other is not None:
            secret = azure.new_client("unwraps", [spelled[permission] for permission in other])
            more["unwrap_client_id"] = "unwraps"
            more["unwrap_client_secret_file"] = str(private_file(tmp_path / "unwraps", secret))
        (tmp_path / "kms.toml").write_text(azure_table(azure, tmp_path, **more))
        asyncio.run(proved(tmp_path / "kms.toml"))

    prove(both)
    prove(wraps, unwraps)
    for permission in both:
        with pytest.raises(KmsDenied):
            prove([other for other in both if other != permission])


def test_the_documented_roles_of_google_work(google: FakeGcpKms, tmp_path: Path) -> None:
    """And none of their lines can be left out."""
    both, wraps, unwraps = documented("Google Cloud KMS", "yaml", r"- (cloudkms\.\S+)")

    def prove(permissions: list[str], unwraps: list[str] | None = None) -> None:
        files = {"credentials_file": str(google.new_account("wraps", permissions))}
        if unwraps is not None:
            files["unwrap_credentials_file"] = str(google.new_account("unwraps", unwraps))
        (tmp_path / "kms.toml").write_text(gcp_table(google, **files))
        asyncio.run(proved(tmp_path / "kms.toml"))

    prove(both)
    prove(wraps, unwraps)
    for permission in both:
        with pytest.raises(KmsDenied):
            prove([other for other in both if other != permission])


async def proved(kms_file: Path) -> None:
    kms = read_kms_file(kms_file, "us-east-1")["cloud"].open("cloud", 5.0)
    try:
        await kms.prove()
    finally:
        await kms.close()
