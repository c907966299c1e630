"""The client of AWS KMS keeps the contract against moto, a mock, behind a fault proxy; AWS itself was not there."""

import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

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
from keys.kms.aws import AwsKms, AwsOptions
from keys.kms.base import KeyState
from keys.kms.binding import RecordKms
from keys.kms.https import Reach
from keys.kms.names import KeyNames
from tests.servers.moto_kms import ACCOUNT, SECRET, FaultProxy, MotoKms
from tests.servers.openbao import private_file
from tests.suites.kms import CONTEXT, LIES, OTHER_CONTEXTS, KmsSuite

pytestmark = pytest.mark.anyio

REGION = "us-east-1"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MotoKms]:
    server = MotoKms(tmp_path_factory.mktemp("moto"))
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def shared_proxy(tmp_path_factory: pytest.TempPathFactory, moto: MotoKms) -> Iterator[FaultProxy]:
    proxy = FaultProxy(tmp_path_factory.mktemp("proxy"), moto)
    with proxy.double:
        yield proxy


@pytest.fixture
def proxy(shared_proxy: FaultProxy) -> Iterator[FaultProxy]:
    yield shared_proxy
    shared_proxy.reset()


def aws_kms(moto: MotoKms, proxy: FaultProxy, key: str, region: str = REGION, **changes: Any) -> AwsKms:
    reach = Reach(proxy.double.address, proxy.double.authority.certificate, timeout_s=changes.pop("timeout_s", 5.0))
    options = replace(AwsOptions(reach, region, key, moto.credentials_file), **changes)
    return AwsKms("aws-test", options, KeyNames(region, ACCOUNT))


class TestAwsKms(KmsSuite):
    exhaustive_tampering = False
    shows_versions: ClassVar[bool] = False

    @pytest.fixture(autouse=True)
    def _servers(self, moto: MotoKms, proxy: FaultProxy) -> None:
        self.moto, self.proxy = moto, proxy

    def make(self, folder: Path) -> AwsKms:
        region = "eu-west-1" if folder.name == "another" else REGION
        self.key = self.moto.new_key(region)
        return aws_kms(self.moto, self.proxy, self.key, region)

    def add_key(self, kms: RecordKms) -> str:
        return self.moto.new_key()

    def rotate(self, kms: RecordKms) -> None:
        self.moto.admin().rotate_key_on_demand(KeyId=self.key)

    def set_state(self, kms: RecordKms, state: KeyState) -> None:
        admin = self.moto.admin()
        if state is KeyState.PENDING_DELETION:
            admin.schedule_key_deletion(KeyId=self.key, PendingWindowInDays=7)
        elif state is KeyState.DISABLED:
            admin.disable_key(KeyId=self.key)
        else:
            if admin.describe_key(KeyId=self.key)["KeyMetadata"]["KeyState"] == "PendingDeletion":
                admin.cancel_key_deletion(KeyId=self.key)
            admin.enable_key(KeyId=self.key)

    async def test_aws_binds_realm_and_purpose_as_well(self, kms: RecordKms) -> None:
        _, wrapped = await kms.generate(None, CONTEXT)
        await kms._unwrap_secret(wrapped, OTHER_CONTEXTS["another bucket"])
        for other in ("another realm", "another purpose"):
            with pytest.raises(UnwrapFailed):
                await kms._unwrap_secret(wrapped, OTHER_CONTEXTS[other])


@pytest.fixture
def key(moto: MotoKms) -> str:
    return moto.new_key()


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("ThrottlingException", KmsUnavailable),
        ("LimitExceededException", KmsUnavailable),
        ("KMSInternalException", KmsUnavailable),
        ("DependencyTimeoutException", KmsUnavailable),
        ("KeyUnavailableException", KmsUnavailable),
        ("DisabledException", KmsKeyDisabled),
        ("KMSInvalidStateException", KmsKeyInvalidState),
        ("InvalidKeyUsageException", KmsKeyInvalidState),
        ("NotFoundException", KmsKeyNotFound),
        ("IncorrectKeyException", UnwrapFailed),
        ("AccessDeniedException", KmsDenied),
        ("ExpiredTokenException", KmsDenied),
        ("UnrecognizedClientException", KmsDenied),
        ("NeverHeardOfException", KmsUnavailable),
    ],
)
async def test_what_aws_refuses_is_told_in_our_words(
    moto: MotoKms, proxy: FaultProxy, key: str, code: str, error: type[KeysError]
) -> None:
    kms = aws_kms(moto, proxy, key)
    _, wrapped = await kms.generate(None, CONTEXT)
    proxy.error = code
    before = len(proxy.double.requests)
    with pytest.raises(error):
        await kms.unwrap(wrapped, CONTEXT)
    assert len(proxy.double.requests) == before + 1, "nothing is tried twice"
    proxy.reset()
    await kms.unwrap(wrapped, CONTEXT)


@pytest.mark.parametrize("lie", LIES)
async def test_a_lie_over_the_wire_yields_no_key(moto: MotoKms, proxy: FaultProxy, key: str, lie: str) -> None:
    kms = aws_kms(moto, proxy, key)
    _, wrapped = await kms.generate(None, CONTEXT)
    proxy.lie = LIES[lie]
    with pytest.raises((UnwrapFailed, KmsUnavailable)):
        await kms.unwrap(wrapped, CONTEXT)


async def test_a_silent_kms_is_given_up(moto: MotoKms, proxy: FaultProxy, key: str) -> None:
    kms = aws_kms(moto, proxy, key, timeout_s=0.5)
    await kms.health()
    proxy.delay_s = 2
    with pytest.raises(KmsUnavailable):
        await within(5, kms.health())


async def test_another_certificate_is_refused(
    moto: MotoKms, shared_proxy: FaultProxy, key: str, tmp_path: Path
) -> None:
    with FaultProxy(tmp_path, moto).double as double:
        proxy = shared_proxy
        stranger = replace(Reach(double.address), ca_file=proxy.double.authority.certificate)
        with pytest.raises(KmsUnavailable, match="not of the authorities"):
            await aws_kms(moto, proxy, key, reach=stranger).health()
        double.show_certificate(*double.authority.server("elsewhere", ["elsewhere.example"]))
        elsewhere = Reach(double.address, double.authority.certificate)
        with pytest.raises(KmsUnavailable, match="another host"):
            await aws_kms(moto, proxy, key, reach=elsewhere).health()
        assert not double.requests


async def test_the_environment_decides_nothing(
    moto: MotoKms, proxy: FaultProxy, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_CA_BUNDLE", "/nowhere")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://127.0.0.1:9")
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDENVIRONMENT")
    await aws_kms(moto, proxy, key).prove()
    used = proxy.double.requests[-1].headers["authorization"]
    assert "AKIDEXAMPLE" in used


async def test_who_wraps_need_not_be_who_unwraps(moto: MotoKms, proxy: FaultProxy, key: str, tmp_path: Path) -> None:
    other = private_file(tmp_path / "other", "[default]\naws_access_key_id=AKIDUNWRAP\naws_secret_access_key=x\n")
    kms = aws_kms(moto, proxy, key, unwrap_credentials_file=other)
    _, wrapped = await kms.generate(None, CONTEXT)
    assert "AKIDEXAMPLE" in proxy.double.requests[-1].headers["authorization"]
    await kms.unwrap(wrapped, CONTEXT)
    assert "AKIDUNWRAP" in proxy.double.requests[-1].headers["authorization"]


async def test_credentials_that_were_renewed_are_read_anew(
    moto: MotoKms, proxy: FaultProxy, key: str, tmp_path: Path
) -> None:
    text = "[default]\naws_access_key_id={}\naws_secret_access_key=x\naws_session_token=t\n"
    file = private_file(tmp_path / "credentials", text.format("AKIDFIRST"))
    kms = aws_kms(moto, proxy, key, credentials_file=file)
    await kms.health()
    file.write_text(text.format("AKIDSECOND"))
    proxy.error = "ExpiredTokenException"
    with pytest.raises(KmsDenied, match="renew them"):
        await kms.health()
    proxy.reset()
    await kms.health()
    assert "AKIDSECOND" in proxy.double.requests[-1].headers["authorization"]


@pytest.mark.parametrize("text", ["", "[default]\n", "[other]\naws_access_key_id=x\n", "no section", "[default]\nä=1"])
async def test_files_that_hold_no_credentials(
    moto: MotoKms, proxy: FaultProxy, key: str, tmp_path: Path, text: str
) -> None:
    file = private_file(tmp_path / "credentials", text)
    with pytest.raises((KmsMisconfigured, KeyringError)):
        await aws_kms(moto, proxy, key, credentials_file=file).health()


async def test_an_asymmetric_key_is_unfit(moto: MotoKms, proxy: FaultProxy) -> None:
    key = moto.new_key(KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")
    with pytest.raises(KmsMisconfigured, match="is not symmetric"):
        await aws_kms(moto, proxy, key).prove()


async def test_no_secret_is_shown(
    moto: MotoKms, proxy: FaultProxy, key: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """boto3 logs requests and answers at debug level: what it logs must not reach a log of ours."""
    kms = aws_kms(moto, proxy, key)
    await kms.prove()
    proxy.error = "AccessDeniedException"
    with pytest.raises(KmsDenied) as raised:
        await kms.health()
    for text in (repr(kms), repr(kms._options), repr(kms._client), "".join(traceback.format_exception(raised.value))):
        assert SECRET not in text
