"""One certificate for all tests of the edge."""

from pathlib import Path

import pytest

from gateway.http.tls import Certificate
from tests.gateway.http.edge import make_certificate


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A pair for localhost."""
    folder: Path = tmp_path_factory.mktemp("tls")
    return make_certificate(folder)
