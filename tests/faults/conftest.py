"""An environment without the machine's AWS and certificate presets, for every client that the fault tests make."""

import os
from collections.abc import Iterator

import pytest

from tests.tooling.places import is_preset


@pytest.fixture(scope="session", autouse=True)
def _no_presets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    empty = tmp_path_factory.mktemp("aws") / "empty"
    empty.touch()
    with pytest.MonkeyPatch.context() as patch:
        for name in filter(is_preset, list(os.environ)):
            patch.delenv(name)
        patch.setenv("AWS_CONFIG_FILE", str(empty))
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(empty))
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield
