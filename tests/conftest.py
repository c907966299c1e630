"""Options shared by all tests: `--full` runs what is marked slow, and without it those are deselected, not skipped."""

import pytest

# Shared suites and helpers assert as well; their failures should show values.
pytest.register_assert_rewrite("tests.blackbox", "tests.suites", "tests.faults", "tests.hostile")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="also run tests marked slow, and more iterations")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: runs only with --full")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--full"):
        return
    slow = [item for item in items if item.get_closest_marker("slow") is not None]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]


@pytest.fixture(scope="session")
def full(pytestconfig: pytest.Config) -> bool:
    """Tell whether this is the long form; iteration counts may depend on it."""
    return bool(pytestconfig.getoption("--full"))
