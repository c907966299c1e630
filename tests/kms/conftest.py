"""The real KMSs of these tests, each started once for a module, and an environment without the machine's presets."""

from collections.abc import Iterator

import pytest

from tests.servers.fake_gcp_kms import FakeGcpKms
from tests.servers.fake_key_vault import FakeKeyVault
from tests.servers.openbao import OpenBao
from tests.servers.softhsm import SoftHsm
from tests.tooling.places import without_presets


@pytest.fixture(scope="session", autouse=True)
def _no_presets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with without_presets(tmp_path_factory.mktemp("aws")):
        yield


@pytest.fixture(scope="module")
def openbao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    server = OpenBao(tmp_path_factory.mktemp("openbao"))
    server.start()
    try:
        server.prepare()
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="module")
def google(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeGcpKms]:
    fake = FakeGcpKms(tmp_path_factory.mktemp("google"))
    fake.new_key("sealgate")
    with fake.double:
        yield fake


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeKeyVault]:
    fake = FakeKeyVault(tmp_path_factory.mktemp("azure"))
    fake.new_version("sealgate")
    with fake.double:
        yield fake


@pytest.fixture(scope="session")
def softhsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftHsm]:
    hsm = SoftHsm(tmp_path_factory.mktemp("softhsm"))
    hsm.make_token("vault")
    with hsm.in_this_process():
        hsm.make_key("vault", "hsm-key", 1)
        yield hsm
