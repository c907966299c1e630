"""The clients of KMSs write no secret into a log of ours at debug level; the records that they make do hold some."""

import base64
import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from gateway.telemetry import configure_logging
from keys.context import WrapContext
from keys.datakey import WrappedKey
from keys.errors import KeysError
from keys.kms.aws import AwsKms, AwsOptions
from keys.kms.azure import Application, AzureKms, AzureOptions, ClientSecret
from keys.kms.binding import RecordKms
from keys.kms.gcp import GcpKms, GcpOptions
from keys.kms.https import Reach
from keys.kms.names import KeyNames
from keys.kms.vault import VaultKms, VaultOptions
from keys.kms.vault_login import AppRole
from tests.servers.fake_gcp_kms import RING, FakeGcpKms
from tests.servers.fake_key_vault import AUDIENCE, TENANT, FakeKeyVault
from tests.servers.moto_kms import ACCOUNT, FaultProxy, MotoKms
from tests.servers.openbao import OpenBao, private_file
from tests.suites.kms import CONTEXT

pytestmark = pytest.mark.anyio

LIBRARIES: Final = ("boto3", "botocore", "google", "google.auth", "hvac", "msal", "requests", "urllib3")


class Loud(logging.Handler):
    """Keeps all that libraries say."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.getMessage()} {vars(record)}")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def loud() -> Iterator[Loud]:
    handler = Loud()
    before = {name: (logging.getLogger(name).level, logging.getLogger(name).propagate) for name in LIBRARIES}
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(logging.DEBUG)
        logging.getLogger(name).propagate = True
        logging.getLogger(name).addHandler(handler)
    yield handler
    for name, (level, propagates) in before.items():
        logging.getLogger(name).setLevel(level)
        logging.getLogger(name).propagate = propagates
        logging.getLogger(name).removeHandler(handler)


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logging(level="DEBUG", stream=stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in ("sealgate", "gateway", "storage", "keys"):
        logging.getLogger(name).setLevel(logging.NOTSET)


async def secrets_of(kms: RecordKms, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have a KMS do everything, and fail once; every K that passed, as JSON and as text has it."""
    seen: list[bytes] = []
    unwraps = kms._unwrap_secret

    async def unwrapping(wrapped: WrappedKey, context: WrapContext) -> bytes:
        seen.append(await unwraps(wrapped, context))
        return seen[-1]

    monkeypatch.setattr(kms, "_unwrap_secret", unwrapping)
    await kms.prove()
    _, wrapped = await kms.generate(None, CONTEXT)
    await kms.unwrap(await kms.rewrap(wrapped, CONTEXT, None), CONTEXT)
    with pytest.raises(KeysError):
        await kms.generate("no-such-key", CONTEXT)
    await kms.close()
    assert seen
    return [told for secret in seen for told in (base64.b64encode(secret).decode(), secret.hex(), repr(secret)[2:-1])]


def check(log: io.StringIO, loud: Loud, secrets: list[str]) -> None:
    assert loud.lines, "the libraries did say something"
    text = log.getvalue()
    assert all(secret not in text for secret in secrets)
    assert not re.search(r"Authorization|Bearer|X-Vault-Token|assertion", text, re.IGNORECASE)


async def test_aws(loud: Loud, log: io.StringIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "moto").mkdir()
    (tmp_path / "proxy").mkdir()
    moto = MotoKms(tmp_path / "moto")
    moto.start()
    try:
        proxy = FaultProxy(tmp_path / "proxy", moto)
        with proxy.double as double:
            text = "[default]\naws_access_key_id=AKIDEXAMPLE\naws_secret_access_key={}\naws_session_token={}\n"
            file = private_file(tmp_path / "credentials", text.format("SECRET-OF-AWS", "SESSION-TOKEN-OF-AWS"))
            options = AwsOptions(Reach(double.address, double.authority.certificate), "us-east-1", moto.new_key(), file)
            kms = AwsKms("aws-main", options, KeyNames("us-east-1", ACCOUNT))
            secrets = await secrets_of(kms, monkeypatch)
    finally:
        moto.stop()
    secrets += ["SECRET-OF-AWS", "SESSION-TOKEN-OF-AWS"]
    check(log, loud, secrets)
    assert "SESSION-TOKEN-OF-AWS" in str(loud.lines), "without our filter it would have been told"


async def test_vault(
    loud: Loud, log: io.StringIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, openbao: OpenBao
) -> None:
    certificate, key = openbao.authority.client("gateway")
    reach = Reach(openbao.address, openbao.authority.certificate, certificate, key)
    role_id, secret_id = openbao.new_role("logs")
    identity = AppRole(role_id, private_file(tmp_path / "secret-id", secret_id))
    kms = VaultKms("vault-one", VaultOptions(reach, "sealgate", identity))
    secrets = await secrets_of(kms, monkeypatch)
    assert kms._login._token is not None
    check(log, loud, [*secrets, secret_id, kms._login._token.value])
    assert "signed in to the KMS vault-one" in log.getvalue(), "our own details are told"


async def test_gcp(loud: Loud, log: io.StringIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    google = FakeGcpKms(tmp_path)
    google.new_key("sealgate")
    account = google.new_account("gateway")
    with google.double as double:
        options = GcpOptions(Reach(double.address, double.authority.certificate), RING, "sealgate", account)
        secrets = await secrets_of(GcpKms("google", options, KeyNames("google")), monkeypatch)
        sent = [part for request in double.requests for part in re.findall(r"assertion=([^&]+)", str(request.body))]
    assert sent
    assert google.tokens
    check(
        log, loud, [*secrets, *sent, *google.tokens, *json.loads(account.read_text())["private_key"].split("\n")[1:3]]
    )
    assert "signed in to the KMS google" in log.getvalue()


async def test_azure(loud: Loud, log: io.StringIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vault = FakeKeyVault(tmp_path)
    vault.new_version("sealgate")
    secret = vault.new_client("application")
    application = Application("application", ClientSecret(private_file(tmp_path / "secret", secret)))
    with vault.double as double:
        reach = Reach(double.address, double.authority.certificate)
        options = AzureOptions(reach, "sealgate", AUDIENCE, TENANT, application, authority=double.address)
        secrets = await secrets_of(AzureKms("azure", options, KeyNames("azure")), monkeypatch)
    assert vault.tokens
    check(log, loud, [*secrets, secret, *vault.tokens])
    assert "signed in to the KMS azure" in log.getvalue()
