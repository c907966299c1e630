"""What it costs to read, and how a client proves itself without a password."""

import dataclasses
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage.catalogue import postgres
from storage.catalogue.address import PostgresAddress
from storage.catalogue.base import HistoryQuery, ListQuery
from storage.catalogue.postgres import PostgresCatalogue
from storage.catalogue.postgres_wire import Answer, Statement, Wire
from storage.errors import StorageUnavailable
from tests.servers.pki import Authority
from tests.storage.catalogue.postgres.conftest import DATABASE
from tests.suites.catalogue import BUCKET, REALM, Maker, populate
from tests.tooling.postgresql import PostgresServer

KEYS = bytes(range(32)), bytes(range(32, 64))

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def catalogue(address: PostgresAddress) -> AsyncIterator[PostgresCatalogue]:
    catalogue = await PostgresCatalogue.create(address, REALM, *KEYS)
    await populate(catalogue)
    yield catalogue
    await catalogue.close()


class Traffic:
    """Counts what travels."""

    def __init__(self) -> None:
        self.trips = 0
        self.rows = 0


@pytest.fixture
def traffic(monkeypatch: pytest.MonkeyPatch) -> Traffic:
    counted = Traffic()
    travel = Wire.travel

    async def counting(wire: Wire, statements: list[Statement]) -> list[Answer]:
        answers = await travel(wire, statements)
        counted.trips += 1
        counted.rows += sum(len(answer.rows) for answer in answers)
        return answers

    monkeypatch.setattr(Wire, "travel", counting)
    return counted


async def test_a_delimited_listing_reads_few_rows_for_each_prefix(
    catalogue: PostgresCatalogue, traffic: Traffic
) -> None:
    make = Maker()
    for folder in range(10):
        for name in range(30):
            await catalogue.publish_version(make.publish(b"folder%02d/%02d" % (folder, name), inline=True))
    traffic.rows = traffic.trips = 0
    page = await catalogue.list_versions(BUCKET.bucket_id, ListQuery(delimiter=b"/", prefix=b"folder"))
    assert len(page.common_prefixes) == 10
    assert traffic.rows <= 5 * (10 + 1)
    assert traffic.trips <= 10 + 4
    traffic.rows = 0
    history = await catalogue.list_history(BUCKET.bucket_id, HistoryQuery(delimiter=b"/", limit=5))
    assert len(history.common_prefixes) == 5
    assert traffic.rows <= 5 * (5 + 1)


async def test_a_publish_takes_five_round_trips(catalogue: PostgresCatalogue, traffic: Traffic) -> None:
    make = Maker()
    await catalogue.publish_version(make.publish(b"first", inline=True))
    traffic.trips = 0
    await catalogue.publish_version(make.publish(b"second", inline=True))
    assert traffic.trips == 5


async def test_operations_are_forgotten_after_a_day(catalogue: PostgresCatalogue, server: PostgresServer) -> None:
    held = "SELECT count(*) FROM operations"
    count = int(server.sql(held, DATABASE))
    assert count > 0
    server.sql("INSERT INTO operations VALUES (decode(repeat('00', 16), 'hex'), true)", DATABASE)
    await catalogue._on_connection(postgres._forget_operations)
    assert int(server.sql(held, DATABASE)) == count


async def test_a_client_certificate_stands_for_the_user(server: PostgresServer, tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    trusted = server.folder / "client-ca.pem"
    shutil.copy(authority.certificate, trusted)
    if server.user is not None:
        os.chown(trusted, server.user, server.user)
    server.sql("CREATE ROLE carded LOGIN")
    server.sql("CREATE DATABASE carded OWNER carded")
    server.sql(f"ALTER SYSTEM SET ssl_ca_file = '{trusted}'")
    server.sql("SELECT pg_reload_conf()")
    certificate, key = authority.client("carded")
    address = dataclasses.replace(
        server.address("carded"), user="carded", password=None, client_certificate=certificate, client_key=key
    )
    catalogue = await PostgresCatalogue.create(address, REALM, *KEYS)
    await populate(catalogue)
    await catalogue.close()
    for refused in (
        dict(zip(("client_certificate", "client_key"), stranger.client("carded"), strict=True)),
        dict(zip(("client_certificate", "client_key"), authority.client("sealgate"), strict=True)),
        {"client_certificate": None, "client_key": None},
    ):
        with pytest.raises(StorageUnavailable):
            await PostgresCatalogue.open(dataclasses.replace(address, **refused), REALM, *KEYS)
