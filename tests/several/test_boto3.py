"""The whole black-box suite of boto3, over PostgreSQL."""

from collections.abc import Iterator

import pytest

from tests.blackbox.conftest import bucket, s3
from tests.blackbox.process import Gateway
from tests.blackbox.test_boto3 import *  # noqa: F403  # every test of it
from tests.blackbox.test_boto3_transfers import *  # noqa: F403  # as above
from tests.tooling.postgresql import PostgresServer, postgres_settings

__all__ = ["bucket", "s3"]


@pytest.fixture(scope="session")
def gateway(server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One gateway for all of them."""
    folder = tmp_path_factory.mktemp("boto3")
    server.create_database("boto3")
    running = Gateway(folder, postgres_settings(server, "boto3", folder))
    running.start()
    try:
        yield running
    finally:
        running.close()
