"""The S3 servers of these tests, each started once, and a fault proxy before one of them."""

import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from storage.blobs.s3 import S3BlobStore
from storage.blobs.s3_backend import S3Target
from tests.servers.s3_faults import S3FaultProxy
from tests.servers.s3_servers import MinIo, S3Server, SeaweedFs
from tests.storage.blobs.s3.support import TRIES, client_tls, new_target, probed, running


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running(SeaweedFs(tmp_path_factory.mktemp("seaweedfs"))) as server:
        yield server


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running(MinIo(tmp_path_factory.mktemp("minio"))) as server:
        yield server


@pytest.fixture(scope="session")
def shared_proxy(tmp_path_factory: pytest.TempPathFactory, seaweedfs: S3Server) -> Iterator[S3FaultProxy]:
    with S3FaultProxy(tmp_path_factory.mktemp("proxy"), seaweedfs) as proxy:
        yield proxy


@pytest.fixture
def proxy(shared_proxy: S3FaultProxy) -> Iterator[S3FaultProxy]:
    shared_proxy.reset()
    yield shared_proxy
    shared_proxy.reset()


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """What stalls goes on once the test is over."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def target(proxy: S3FaultProxy, seaweedfs: S3Server) -> S3Target:
    """The server behind the proxy."""
    tls = client_tls(proxy.double.authority)
    return new_target(seaweedfs, endpoint=proxy.endpoint, tls=tls, tries=TRIES, timeout_s=5)


@pytest.fixture
async def store(target: S3Target) -> AsyncIterator[S3BlobStore]:
    """A store over the proxy."""
    store = probed(target)
    yield store
    await store.close()
