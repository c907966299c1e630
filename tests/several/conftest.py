"""A PostgreSQL and several gateways over it that share one data folder."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, Final

import pytest

from tests.blackbox.clients import s3_client
from tests.blackbox.process import Gateway
from tests.tooling.places import without_presets
from tests.tooling.postgresql import PostgresServer, postgres_server, postgres_settings

_NUMBERS: Final = itertools.count(1)

Start = Callable[..., list[Gateway]]


@pytest.fixture(scope="session", autouse=True)
def _no_presets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with without_presets(tmp_path_factory.mktemp("aws")):
        yield


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as running:
        yield running


@pytest.fixture(scope="module")
def start(server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts so many gateways over an empty database; they end with the module."""
    with ExitStack() as stack:

        def started(count: int, *, made: type[Gateway] = Gateway, **settings: str) -> list[Gateway]:
            database = f"gateways{next(_NUMBERS)}"
            server.create_database(database)
            folder = tmp_path_factory.mktemp("several")
            told = postgres_settings(server, database, folder) | settings
            first = made(folder / "0", told)
            gateways = [first, *(made(folder / str(number), told, beside=first) for number in range(1, count))]
            for gateway in gateways:
                gateway.start()
                stack.callback(gateway.close)
            return gateways

        yield started


@pytest.fixture
def clients() -> Iterator[Callable[[Gateway], Any]]:
    """Gives a boto3 client of the first account at a gateway."""
    with ExitStack() as stack:

        def client(gateway: Gateway) -> Any:
            made = s3_client(gateway)
            stack.callback(made.close)
            return made

        yield client
