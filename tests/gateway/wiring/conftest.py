"""One deployment, made once, that every test of the room opens."""

from pathlib import Path

import pytest

from tests.gateway.cli.helpers import settings_in, start


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("wiring")
    start(settings_in(made))
    return made
