"""Options shared by all tests: `--full` runs what is marked slow, and without it those are deselected, not skipped."""

import random
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from hypothesis import settings

# Shared suites and helpers assert as well; their failures should show values.
pytest.register_assert_rewrite(
    "tests.blackbox", "tests.suites", "tests.kms", "tests.servers", "tests.faults", "tests.hostile"
)

from tests.servers.ground import BLOBS, CATALOGUES, Ground  # noqa: E402 - its asserts are rewritten, too

_FIXED_SEED = 20_261_122


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="also run tests marked slow, more iterations, and new seeds")
    parser.addoption("--catalogue", choices=CATALOGUES, default="sqlite", help="what gateways keep their catalogue in")
    parser.addoption("--blobs", choices=BLOBS, default="disk", help="what gateways keep their blobs in")
    parser.addoption("--seed", type=int, help="the seed of random tests, as a failure printed it")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: runs only with --full")
    config.addinivalue_line(
        "markers",
        "own_catalogue: kills who holds a lease, which outlives him by minutes where the catalogue is shared",
    )
    # A change is judged by what it changes: new examples are hunted for in the long form.
    # Nor does an example fail for a machine that looked elsewhere: suites have budgets of their own.
    settings.register_profile("fixed", derandomize=True, deadline=None)
    settings.register_profile("drawn", deadline=None)
    settings.load_profile("drawn" if config.getoption("--full") else "fixed")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    unwanted = [] if config.getoption("--full") else ["slow"]
    unwanted += [] if config.getoption("--catalogue") == "sqlite" else ["own_catalogue"]
    left_out = [item for item in items if any(item.get_closest_marker(mark) is not None for mark in unwanted)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def full(pytestconfig: pytest.Config) -> bool:
    """Tell whether this is the long form; iteration counts may depend on it."""
    return bool(pytestconfig.getoption("--full"))


@pytest.fixture(scope="session")
def ground(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """What the options have gateways stand on."""
    with ExitStack() as stack:
        chosen = pytestconfig.getoption("--catalogue"), pytestconfig.getoption("--blobs")
        yield Ground(*chosen, tmp_path_factory.mktemp("ground"), stack)


@pytest.fixture
def seed(pytestconfig: pytest.Config, full: bool) -> int:
    """The seed of a random test, printed: the same in every run, unless `--seed` names one or `--full` draws one."""
    given: int | None = pytestconfig.getoption("--seed")
    chosen = given if given is not None else random.randrange(2**32) if full else _FIXED_SEED
    print("seed", chosen)
    return chosen
