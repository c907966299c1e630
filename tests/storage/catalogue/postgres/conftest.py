"""One PostgreSQL for all tests of the catalogue over it, made when the first of them asks."""

from collections.abc import Generator, Iterator

import pytest

from storage.catalogue.address import PostgresAddress
from tests.tooling.postgresql import PostgresServer, postgres_server

DATABASE = "suite"


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    """Its database sorts text as no byte order does."""
    with postgres_server({"max_connections": "100"}) as running:
        running.create_database(DATABASE, "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LOCALE 'C.UTF-8'")
        yield running


@pytest.fixture
def address(server: PostgresServer) -> PostgresAddress:
    """An empty database."""
    server.empty(DATABASE)
    return server.address(DATABASE)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the end of the server's log beside a failure."""
    report = yield
    running = getattr(item, "funcargs", {}).get("server")
    if report.failed and isinstance(running, PostgresServer):
        report.sections.append(("end of PostgreSQL's log", "\n".join(running.log_text().splitlines()[-30:])))
    return report
