"""What it costs to read, and how a client proves itself without a password."""

import asyncio
import contextvars
import dataclasses
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from gateway.engine.turns import OURSELVES, SERVED
from gateway.http.shares import NOBODY
from gateway.wiring import stores
from gateway.wiring.stores import ConnectionTurns
from storage.catalogue import locks, postgres
from storage.catalogue.address import PostgresAddress
from storage.catalogue.commands import Conditions, DeleteVersion, HistoryQuery, ListQuery
from storage.catalogue.postgres import PostgresCatalogue
from storage.catalogue.postgres_connection import conninfo
from storage.catalogue.postgres_wire import Answer, Statement, Wire
from storage.catalogue.records import AccessKey
from storage.catalogue.schema import BUCKETS
from storage.catalogue.schema import REALM as REALM_TABLE
from storage.catalogue.session import Transaction
from storage.errors import RowDamaged, StorageUnavailable
from tests.servers.pki import Authority
from tests.storage.catalogue.postgres.conftest import DATABASE
from tests.suites.catalogue import ALICE, BUCKET, REALM, START, Maker, populate
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
        self.statements = 0
        self.rows = 0


@pytest.fixture
def traffic(monkeypatch: pytest.MonkeyPatch) -> Traffic:
    counted = Traffic()
    travel = Wire.travel

    async def counting(wire: Wire, statements: list[Statement]) -> list[Answer]:
        answers = await travel(wire, statements)
        counted.trips += 1
        counted.statements += len(statements)
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


Step = Callable[[PostgresCatalogue, Maker], Awaitable[object]]


@pytest.mark.parametrize(
    ("step", "trips", "statements"),
    [
        (lambda catalogue, _: catalogue.get_access_key("AKIA1"), 1, 2),
        (lambda catalogue, _: catalogue.get_bucket(BUCKET.name), 1, 1),
        (lambda catalogue, _: catalogue.get_version(BUCKET.bucket_id, b"held"), 4, 4),
        (lambda catalogue, make: catalogue.publish_version(make.publish(b"new", inline=True)), 3, 13),
        (lambda catalogue, make: catalogue.publish_version(make.publish(b"held", inline=True)), 5, 18),
        (lambda catalogue, _: catalogue.delete_versions(BUCKET.bucket_id, [DeleteVersion(b"held")]), 6, 17),
        (lambda catalogue, _: catalogue.acquire_lease("job", "holder", timedelta(minutes=1)), 3, 6),
    ],
    ids=["access key", "bucket", "read", "publish", "publish again", "delete", "lease"],
)
async def test_what_a_command_takes_on_the_way(
    catalogue: PostgresCatalogue, traffic: Traffic, step: Step, trips: int, statements: int
) -> None:
    make = Maker()
    await catalogue.create_access_key(AccessKey("AKIA1", ALICE.account_id, b"sealed", START))
    await catalogue.publish_version(make.publish(b"held", inline=True))
    traffic.trips = traffic.statements = 0
    await step(catalogue, make)
    assert (traffic.trips, traffic.statements) == (trips, statements)


async def test_what_was_foreseen_is_read_anew_after_a_write(catalogue: PostgresCatalogue) -> None:
    def run(tx: Transaction) -> tuple[str, str]:
        tx.foresee(BUCKETS, BUCKETS.by_key, BUCKET.bucket_id)
        before = tx.find(BUCKETS, BUCKET.bucket_id)
        tx.foresee(BUCKETS, BUCKETS.by_key, BUCKET.bucket_id)
        assert tx.find(REALM_TABLE, 1) is not None  # brings the foreseen row along
        assert before is not None
        tx.update(BUCKETS, before._replace(versioning="enabled"))
        after = tx.find(BUCKETS, BUCKET.bucket_id)
        assert after is not None
        return before.versioning, after.versioning

    before, after = await catalogue._write(run, locks.of_bucket(BUCKET.bucket_id))
    assert before != after == "enabled"


async def test_a_command_sees_what_was_committed_while_it_waited_for_its_lock(
    catalogue: PostgresCatalogue, address: PostgresAddress
) -> None:
    """The lock and the first read travel together; the read must not see what was before the lock."""
    make = Maker()
    lock = locks.of_object(BUCKET.bucket_id, b"key")[1].number
    first = await catalogue.publish_version(make.publish(b"key"))
    async with await psycopg.AsyncConnection.connect(conninfo(address)) as other:
        await other.execute("SELECT pg_advisory_xact_lock(%s)", (lock,))
        waiting = asyncio.create_task(
            catalogue.publish_version(make.publish(b"key", conditions=Conditions(if_match_etag=first.etag)))
        )
        await asyncio.sleep(0.3)
        assert not waiting.done()
        await other.execute("UPDATE versions SET is_latest = 7 WHERE object_key = 'key'")
        await other.commit()
    with pytest.raises(RowDamaged):  # it met the row as it is now
        await waiting


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


@pytest.mark.parametrize("crowded", ["crowd", NOBODY])
async def test_an_account_with_many_slow_commands_holds_up_no_other(
    address: PostgresAddress, monkeypatch: pytest.MonkeyPatch, crowded: str
) -> None:
    catalogue = await PostgresCatalogue.create(dataclasses.replace(address, connections=2), REALM, *KEYS)
    turns = ConnectionTurns(2)
    begun: list[str] = []

    @asynccontextmanager
    async def turn() -> AsyncIterator[None]:
        async with turns.turn():
            begun.append(SERVED.get())  # here, since the pool may hand over two connections in any order
            yield

    catalogue.share_out(turn)

    async def ask(account: str, statement: str) -> None:
        async def work(connection: psycopg.AsyncConnection[Any]) -> None:
            await connection.execute(statement)

        if account != OURSELVES:  # a job says nothing of whom it serves
            SERVED.set(account)
        await catalogue._apart(catalogue._on_connection(work))

    try:
        crowd = [asyncio.create_task(ask(crowded, "SELECT pg_sleep(0.05)")) for _ in range(20)]
        others = [asyncio.create_task(ask("one", "SELECT 1"))]
        others.append(asyncio.create_task(ask(OURSELVES, "SELECT 1"), context=contextvars.Context()))
        await asyncio.gather(*crowd, *others)
        assert len(begun) == 22
        # Two had a connection before anybody else asked; the third one may have its turn between the two others.
        assert sorted(set(begun[:5])) == sorted([crowded, "one", OURSELVES]), begun
        # Who finds none in time is refused as where the server does not answer, and the others go on.
        monkeypatch.setattr(stores, "CONNECTION_WAIT_S", 0.0)
        catalogue.share_out(ConnectionTurns(1).turn)
        slow, late = (asyncio.create_task(ask(name, "SELECT pg_sleep(0.2)")) for name in ("slow", "late"))
        with pytest.raises(StorageUnavailable, match="no connection"):
            await late
        await slow
        await ask("late", "SELECT 1")
    finally:
        await catalogue.close()
