"""An environment without the machine's AWS and certificate presets, for every client that the fault tests make."""

from collections.abc import Iterator

import pytest

from tests.tooling.places import without_presets


@pytest.fixture(scope="session", autouse=True)
def _no_presets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with without_presets(tmp_path_factory.mktemp("aws")):
        yield
