"""The real servers of these tests: each is started once for a module that uses it."""

from collections.abc import Iterator

import pytest

from tests.servers.openbao import OpenBao


@pytest.fixture(scope="module")
def openbao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    server = OpenBao(tmp_path_factory.mktemp("openbao"))
    server.start()
    try:
        server.prepare()
        yield server
    finally:
        server.kill()
