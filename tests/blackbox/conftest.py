"""One gateway per suite, a bucket per test, and an environment without the machine's AWS and certificate presets."""

import itertools
from collections.abc import Generator, Iterator
from typing import Any, Final

import pytest

from tests.blackbox import witness
from tests.blackbox.clients import s3_client
from tests.blackbox.process import Gateway
from tests.servers.ground import Ground
from tests.tooling.places import without_presets

_NUMBERS: Final = itertools.count(1)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{witness.MARK}(answers): answers of operations that the test must have seen")


_witnessed = pytest.fixture(autouse=True)(witness.witnessed)


@pytest.fixture(scope="session", autouse=True)
def _no_presets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with without_presets(tmp_path_factory.mktemp("aws")):
        yield


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory, ground: Ground, _no_presets: None) -> Iterator[Gateway]:
    """The real process, shared by a suite; a test that stops or kills one starts its own."""
    folder = tmp_path_factory.mktemp("gateway")
    deployment = Gateway(folder, ground.settings(folder))
    deployment.start()
    try:
        yield deployment
    finally:
        deployment.close()


@pytest.fixture(scope="session")
def s3(gateway: Gateway) -> Iterator[Any]:
    """A boto3 client of the first account."""
    client = s3_client(gateway)
    yield client
    client.close()


@pytest.fixture
def bucket(s3: Any) -> str:
    """A new, empty bucket."""
    name = f"bucket-{next(_NUMBERS)}"
    s3.create_bucket(Bucket=name)
    return name


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the end of the gateway's log beside a failure."""
    report = yield
    deployment = getattr(item, "funcargs", {}).get("gateway")
    if report.failed and isinstance(deployment, Gateway):
        report.sections.append((f"end of {deployment.log}", deployment.log_tail()))
    return report
