"""The S3 servers of these tests, each started once."""

from collections.abc import Iterator

import pytest

from tests.servers.s3_servers import MinIo, S3Server, SeaweedFs
from tests.storage.blobs.s3.support import running


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running(SeaweedFs(tmp_path_factory.mktemp("seaweedfs"))) as server:
        yield server


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running(MinIo(tmp_path_factory.mktemp("minio"))) as server:
        yield server
