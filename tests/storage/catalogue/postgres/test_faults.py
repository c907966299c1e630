"""The server and the way to it fail: nothing acknowledged is lost, nothing is done twice, all heals by itself."""

import asyncio
import dataclasses
import json
import sys
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from time import monotonic
from typing import Any

import psycopg
import pytest

from storage.catalogue import locks, postgres, postgres_connection
from storage.catalogue.address import PostgresAddress
from storage.catalogue.bridge import wait_for
from storage.catalogue.commands import ListQuery
from storage.catalogue.postgres import PostgresCatalogue
from storage.catalogue.postgres_connection import conninfo
from storage.catalogue.schema import CONTENTS
from storage.catalogue.session import Transaction
from storage.errors import CatalogueUnsafe, LeaseLost, StorageUnavailable
from tests.storage.catalogue.postgres.conftest import DATABASE
from tests.storage.catalogue.postgres.proxy import Fault, Proxy
from tests.suites.catalogue import BUCKET, REALM, Maker, populate
from tests.tooling.places import ROOT
from tests.tooling.postgresql import PostgresServer, postgres_server

KEYS = bytes(range(32)), bytes(range(32, 64))

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def make() -> Maker:
    return Maker()


@pytest.fixture
async def catalogue(address: PostgresAddress) -> AsyncIterator[PostgresCatalogue]:
    catalogue = await PostgresCatalogue.create(address, REALM, *KEYS)
    await populate(catalogue)
    yield catalogue
    await catalogue.close()


async def keys_of(catalogue: PostgresCatalogue) -> list[bytes]:
    page = await catalogue.list_versions(BUCKET.bucket_id, ListQuery(limit=10_000))
    assert not page.is_truncated
    return [version.object_key for version in page.versions]


def at_commit(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Do something once, just before a COMMIT is sent."""
    acts = [act]

    def reach(name: str) -> None:
        if name == "catalogue.before_commit" and acts:
            acts.pop()()

    monkeypatch.setattr(postgres, "reach", reach)


async def test_of_a_hundred_first_writers_in_three_processes_one_wins(
    catalogue: PostgresCatalogue, address: PostgresAddress
) -> None:
    told = json.dumps(
        {"address": dataclasses.asdict(address) | {"ca_file": str(address.ca_file)}, "count": 34, "object_key": "key"}
    )
    command = (sys.executable, "-m", "tests.storage.catalogue.postgres.racer")
    pipes: dict[str, Any] = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE, "cwd": ROOT}
    racers = [await asyncio.create_subprocess_exec(*command, **pipes) for _ in range(3)]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write(told.encode() + b"\n")
    for racer in racers:
        assert racer.stdout is not None
        assert await racer.stdout.readline() == b"ready\n"
    answers = await asyncio.gather(*(racer.communicate(b"go\n") for racer in racers))
    assert sum(int(out) for out, _ in answers) == 1
    assert await keys_of(catalogue) == [b"key"]
    await catalogue.verify()


@pytest.mark.parametrize("fault", [Fault.LOSE_ANSWERS, Fault.LOSE_REQUESTS])
async def test_a_commit_whose_answer_is_lost_is_settled(
    catalogue: PostgresCatalogue,
    address: PostgresAddress,
    make: Maker,
    monkeypatch: pytest.MonkeyPatch,
    fault: Fault,
) -> None:
    async with Proxy(address.port) as proxy:
        through = await PostgresCatalogue.open(dataclasses.replace(address, port=proxy.port), REALM, *KEYS)
        # Else the fault may hit a connection that the pool still makes, or one of the audit, and be used up.
        await through._pool.wait()
        assert through._auditing is not None
        await through._auditing
        before = len(await catalogue.read_changes(0, 100))
        settled: list[bool] = []
        settle = through._settle

        async def noted(operation_id: bytes) -> bool:
            settled.append(await settle(operation_id))
            return settled[-1]

        monkeypatch.setattr(through, "_settle", noted)
        at_commit(monkeypatch, lambda: setattr(proxy, "fault", fault))
        published = await through.publish_version(make.publish(b"key"))
        assert proxy.cuts == 1
        assert settled == [fault is Fault.LOSE_ANSWERS]
        await through.close()
    # The command was carried out just once, and the answer tells of that time.
    assert (await catalogue.get_version(BUCKET.bucket_id, b"key")).version == published
    assert len(await catalogue.read_changes(0, 100)) == before + 1
    await catalogue.verify()


async def test_a_transaction_that_was_settled_as_lost_can_never_commit(
    catalogue: PostgresCatalogue, make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The late COMMIT of a gateway that stood still: its row is taken by then."""
    operations: list[Any] = []
    begin = catalogue._begin

    def noted(tx: Any, operation: Any) -> None:
        operations.append(operation)
        begin(tx, operation)

    monkeypatch.setattr(catalogue, "_begin", noted)
    outcome: list[bool] = []

    def reach(name: str) -> None:
        if name == "catalogue.before_commit" and not outcome:
            outcome.append(wait_for(catalogue._settle(operations[-1].operation_id)))

    monkeypatch.setattr(postgres, "reach", reach)
    with pytest.raises(Exception, match="taken"):
        await catalogue.publish_version(make.publish(b"key"))
    assert outcome == [False]
    assert await keys_of(catalogue) == []


async def test_who_stands_still_in_a_transaction_loses_it_and_then_its_lease(
    catalogue: PostgresCatalogue, address: PostgresAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had proved its lease before it stood still; the server ends its transaction, so that another one can run."""
    monkeypatch.setattr(postgres_connection, "IDLE_IN_TRANSACTION_S", 1)
    late = await PostgresCatalogue.open(address, REALM, *KEYS)
    lease = await late.acquire_lease("sweep", "late", timedelta(seconds=1))
    at_commit(monkeypatch, lambda: wait_for(asyncio.sleep(3)))
    standing = asyncio.create_task(late.condemn_orphans([bytes(16)], lease))
    await asyncio.sleep(1.2)
    taken = await catalogue.acquire_lease("sweep", "another", timedelta(minutes=1))
    assert not standing.done()
    assert taken.epoch == lease.epoch + 1
    with pytest.raises(LeaseLost):
        await standing
    assert await catalogue.blob_states([bytes(16)]) == {}
    await late.close()


async def test_all_connections_lost_is_not_noticed(catalogue: PostgresCatalogue, server: PostgresServer) -> None:
    await catalogue.get_bucket(BUCKET.name)
    server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'sealgate'")
    assert await catalogue.get_bucket(BUCKET.name) == BUCKET
    server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'sealgate'")
    await catalogue.publish_version(Maker().publish(b"key"))


async def test_a_crash_of_the_server_loses_nothing_and_heals(
    catalogue: PostgresCatalogue, server: PostgresServer, make: Maker
) -> None:
    acknowledged: list[bytes] = []
    is_over = False

    async def write(writer: int) -> None:
        number = 0
        while not is_over:
            number += 1
            key = b"%d/%d" % (writer, number)
            try:
                await catalogue.publish_version(make.publish(key, inline=True))
            except StorageUnavailable:
                continue
            acknowledged.append(key)

    writers = [asyncio.create_task(write(number)) for number in range(8)]
    await asyncio.sleep(0.5)
    await asyncio.to_thread(server.stop, "immediate")
    await asyncio.to_thread(server.start)
    count, back = len(acknowledged), monotonic()
    while len(acknowledged) < count + 20:
        assert monotonic() < back + 5, "the pool did not heal in 5 s"
        await asyncio.sleep(0.02)
    is_over = True
    await asyncio.gather(*writers)
    assert set(acknowledged) <= set(await keys_of(catalogue))
    await catalogue.verify()


async def test_deadlocks_are_tried_again(catalogue: PostgresCatalogue, make: Maker) -> None:
    contents = []
    for key in (b"a", b"b"):
        command = make.publish(key)
        assert command.content is not None
        contents.append(command.content.content_id)
        await catalogue.publish_version(command)
    met = asyncio.Barrier(2)
    tries: list[int] = []

    def cross(tx: Transaction, order: list[bytes], number: int) -> int:
        tries.append(number)
        assert tx.find(CONTENTS, order[0]) is not None
        if tries.count(number) == 1:
            wait_for(met.wait())
        assert tx.find(CONTENTS, order[1]) is not None
        return number

    answers = await asyncio.gather(
        catalogue._write(lambda tx: cross(tx, contents, 1)), catalogue._write(lambda tx: cross(tx, contents[::-1], 2))
    )
    assert list(answers) == [1, 2]
    assert len(tries) == 3


async def test_who_waits_too_long_for_a_lock_is_told_to_try_again(
    catalogue: PostgresCatalogue, address: PostgresAddress, make: Maker
) -> None:
    lock = locks.of_object(BUCKET.bucket_id, b"key")[1].number
    async with await psycopg.AsyncConnection.connect(conninfo(address)) as other:
        await other.execute("SELECT pg_advisory_lock(%s)", (lock,))
        began = monotonic()
        with pytest.raises(StorageUnavailable, match="LockNotAvailable"):
            await catalogue.publish_version(make.publish(b"key"))
        assert monotonic() - began < 10
        await catalogue.publish_version(make.publish(b"another key"))


async def test_the_outbox_is_read_no_further_than_it_is_whole(
    catalogue: PostgresCatalogue, address: PostgresAddress, make: Maker
) -> None:
    before = await catalogue.read_changes(0, 100)
    async with await psycopg.AsyncConnection.connect(conninfo(address)) as slow:
        await slow.execute("SELECT pg_current_xact_id(), nextval('changes')")
        published = await catalogue.publish_version(make.publish(b"key"))
        assert await catalogue.read_changes(0, 100) == before
        await slow.rollback()
    assert (await catalogue.read_changes(0, 100))[-1].sequence == published.sequence


async def test_a_server_that_could_lose_commits_is_refused(server: PostgresServer, address: PostgresAddress) -> None:
    for name in ("fsync", "full_page_writes"):
        server.sql(f"ALTER SYSTEM SET {name} = off")
        server.sql("SELECT pg_reload_conf()")
        try:
            await wait_until_off(server, name)
            with pytest.raises(CatalogueUnsafe, match=name):
                await PostgresCatalogue.create(address, REALM, *KEYS)
        finally:
            server.sql(f"ALTER SYSTEM RESET {name}")
            server.sql("SELECT pg_reload_conf()")
    server.sql("ALTER ROLE sealgate SET synchronous_commit = off")
    try:
        with pytest.raises(CatalogueUnsafe, match="synchronous_commit"):
            await PostgresCatalogue.create(address, REALM, *KEYS)
    finally:
        server.sql("ALTER ROLE sealgate RESET synchronous_commit")


async def wait_until_off(server: PostgresServer, name: str) -> None:
    deadline = monotonic() + 5
    while server.sql(f"SHOW {name}") != "off":
        assert monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_a_standby_is_refused(catalogue: PostgresCatalogue, server: PostgresServer) -> None:
    with postgres_server(copy_of=server) as standby, pytest.raises(StorageUnavailable, match="standby"):
        await PostgresCatalogue.open(standby.address(DATABASE), REALM, *KEYS)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"password": "wrong"}, "postgres_password_file"),
        ({"database": "nowhere"}, "no such database"),
        ({"host": "localhost.localdomain"}, "postgres_host"),
        ({"ca_file": None}, "TLS"),
        ({"port": 1}, "postgres_port"),
    ],
)
async def test_who_is_not_let_in_is_told_why(address: PostgresAddress, changed: dict[str, Any], words: str) -> None:
    with pytest.raises(StorageUnavailable, match=words) as refused:
        await PostgresCatalogue.create(dataclasses.replace(address, **changed), REALM, *KEYS)
    assert "\n" not in str(refused.value)
    assert str(address.password) not in str(refused.value) + repr(address)


async def test_a_catalogue_that_a_test_left_open_does_not_hold_up_the_next_one(
    server: PostgresServer, address: PostgresAddress
) -> None:
    async with await psycopg.AsyncConnection.connect(conninfo(address)) as left:
        await left.execute("CREATE TABLE held (name text)")
        await left.commit()
        await left.execute("SELECT * FROM held")  # in a transaction that nobody ends
        await asyncio.to_thread(server.empty, DATABASE)
        with pytest.raises(psycopg.OperationalError):
            await left.execute("SELECT 1")
    assert server.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", DATABASE) == "0"
