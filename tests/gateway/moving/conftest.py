"""One stage a test: a gateway in this process, over the memory references; and a real S3 of another maker."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.operations.stage import Stage, make_stage
from tests.servers.s3_servers import ACCESS_KEY_ID, SECRET_ACCESS_KEY, S3Server, SeaweedFs
from tests.storage.blobs.s3.support import running


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running(SeaweedFs(tmp_path_factory.mktemp("seaweedfs"))) as started:
        yield started


@pytest.fixture
def place(server: S3Server, tmp_path: Path) -> dict[str, Any]:
    """What a command is told of that server."""
    credentials = tmp_path / "credentials"
    credentials.write_text(f"AWS_ACCESS_KEY_ID={ACCESS_KEY_ID}\nAWS_SECRET_ACCESS_KEY={SECRET_ACCESS_KEY}\n")
    credentials.chmod(0o600)
    return {
        "endpoint": server.endpoint,
        "ca_file": str(server.authority.certificate),
        "credentials": str(credentials),
        "parallel": 8,
    }


@pytest.fixture
def stage() -> Iterator[Stage]:
    with make_stage() as made:
        yield made
