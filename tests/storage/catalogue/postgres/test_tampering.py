"""Somebody changes rows, or takes them away, with all the rights of the database: what was changed is never served."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from storage.catalogue import audit, postgres, postgres_files
from storage.catalogue.address import PostgresAddress
from storage.catalogue.base import Catalogue
from storage.catalogue.commands import DeleteVersion, ListQuery
from storage.catalogue.postgres import PostgresCatalogue
from storage.catalogue.postgres_schema import TABLES, clear_columns
from storage.catalogue.records import AccessKey
from storage.catalogue.schema import SCHEMA_VERSION
from storage.catalogue.session import Session
from storage.errors import CatalogueUnsafe, RealmMismatch, RowDamaged, StorageError, StorageUnavailable
from tests.storage.catalogue.postgres.conftest import DATABASE
from tests.suites.catalogue import ALICE, BUCKET, REALM, START, Maker, populate
from tests.suites.tampering import NAMES, Tampered, TamperingSuite
from tests.tooling.postgresql import PostgresServer

KEYS = bytes(range(32)), bytes(range(32, 64))

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def catalogue(address: PostgresAddress) -> AsyncIterator[PostgresCatalogue]:
    """One row at least in every table that a version rests on."""
    catalogue = await PostgresCatalogue.create(address, REALM, *KEYS)
    make = Maker()
    await populate(catalogue)
    await catalogue.create_access_key(AccessKey("SGAK", ALICE.account_id, b"sealed secret", START))
    await catalogue.publish_version(make.publish(b"key", etag="the-etag-of-it", inline=True))
    await catalogue.put_configuration(BUCKET.bucket_id, "policy", b"the-document")
    upload = make.upload()
    await catalogue.create_upload(upload)
    await catalogue.put_part(make.part(upload, 1))
    yield catalogue
    await catalogue.close()


_FLIPPED = {
    "bytea": "set_byte({0}, length({0}) - 1, get_byte({0}, length({0}) - 1) # 1)",
    "text": "{0} || 'x'",
    "bigint": "{0} + 1000",
}
_ROWS = (
    *("realm", "accounts", "access_keys", "buckets", "configurations", "versions", "contents", "blobs"),
    *("inline_blobs", "uploads", "parts", "outbox", "counts"),
)


@pytest.mark.parametrize("table", _ROWS)
async def test_a_change_in_any_column_is_found(
    catalogue: PostgresCatalogue, server: PostgresServer, table: str
) -> None:
    listed = server.sql(
        f"SELECT column_name || ' ' || data_type FROM information_schema.columns WHERE table_name = '{table}'"  # noqa: S608
        " AND table_schema = 'public'",
        DATABASE,
    )
    tried = 0
    for column, kind in (line.split(" ", 1) for line in listed.splitlines()):
        flipped = _FLIPPED[kind].format(column)
        victim = f"ctid = (SELECT min(ctid) FROM {table} WHERE {flipped} IS NOT NULL)"  # noqa: S608
        before = server.sql(f"SELECT {column}::text FROM {table} WHERE {victim}", DATABASE)  # noqa: S608
        if not before:
            continue
        server.sql(f"CREATE TABLE kept AS TABLE {table}", DATABASE)
        server.sql(f"UPDATE {table} SET {column} = {flipped} WHERE {victim}", DATABASE)  # noqa: S608
        with pytest.raises(RowDamaged) as found:
            await catalogue.verify()
        assert "\n" not in str(found.value)
        server.sql(f"TRUNCATE {table}; INSERT INTO {table} TABLE kept; DROP TABLE kept", DATABASE)
        tried += 1
    assert tried >= len(clear_columns(next(each for each in TABLES if each.name == table))) - 3
    await catalogue.verify()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE versions SET sealed_values = set_byte(sealed_values, 20, get_byte(sealed_values, 20) # 1)",
        "UPDATE contents SET reference_count = 7",
        "DELETE FROM contents",
        "DELETE FROM inline_blobs",
        "DELETE FROM blobs WHERE is_inline = 1",
    ],
)
async def test_what_was_changed_is_not_served(
    catalogue: PostgresCatalogue, server: PostgresServer, statement: str
) -> None:
    await catalogue.get_version(BUCKET.bucket_id, b"key")
    server.sql(statement, DATABASE)
    with pytest.raises(RowDamaged):
        await catalogue.get_version(BUCKET.bucket_id, b"key")


@pytest.mark.parametrize("statement", ["DELETE FROM versions", "DELETE FROM counts WHERE slot = 3"])
async def test_a_listing_that_lacks_a_version_is_not_given(
    catalogue: PostgresCatalogue, server: PostgresServer, statement: str
) -> None:
    server.sql(statement, DATABASE)
    with pytest.raises(RowDamaged):
        await catalogue.list_versions(BUCKET.bucket_id, ListQuery())


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM blobs WHERE is_inline = 0 AND state = 'live'",
        "UPDATE blobs SET state = 'condemned' WHERE is_inline = 0",
        "UPDATE blobs SET blob_id = set_byte(blob_id, 0, 255) WHERE is_inline = 0",
        "DELETE FROM counts WHERE slot = 3",
    ],
)
async def test_rows_of_blobs_that_were_taken_away_are_found(
    catalogue: PostgresCatalogue, server: PostgresServer, statement: str
) -> None:
    await catalogue.publish_version(Maker().publish(b"stored"))
    await catalogue.check_live_blobs()
    server.sql(statement, DATABASE)
    with pytest.raises(RowDamaged):
        await catalogue.check_live_blobs()


async def test_values_do_not_lie_in_the_clear(catalogue: PostgresCatalogue, server: PostgresServer) -> None:
    everything = server.run(
        "pg_dump", "-h", server.folder, "-p", str(server.port), "-U", "postgres", "--inserts", DATABASE
    )
    for name in (b"key".hex(), BUCKET.name, "alice", "SGAK"):
        assert name in everything  # these do: docs/THREATS.md
    for value in ("the-etag-of-it", "the-document", "text/plain", "sealed secret", "AES256", "CRC32", "first publish"):
        assert value not in everything
        assert value.encode().hex() not in everything


async def test_keys_and_realm_must_be_its_own(catalogue: PostgresCatalogue, address: PostgresAddress) -> None:
    for realm_id, keys, failure in (
        (b"x" * 16, KEYS, RealmMismatch),
        (REALM, (KEYS[0], bytes(32)), RealmMismatch),
        (REALM, (KEYS[0][:31], KEYS[1]), ValueError),
        (REALM, (KEYS[0], KEYS[1][:31]), ValueError),
    ):
        with pytest.raises(failure):
            await PostgresCatalogue.open(address, realm_id, *keys)
    wrong = await PostgresCatalogue.open(address, REALM, bytes(32), KEYS[1])
    with pytest.raises(RowDamaged, match="do not open"):
        await wrong.get_bucket(BUCKET.name)
    await wrong.close()


async def test_an_existing_catalogue_is_never_made_anew_nor_a_missing_one_opened(
    catalogue: PostgresCatalogue, address: PostgresAddress, server: PostgresServer
) -> None:
    with pytest.raises(CatalogueUnsafe, match="a catalogue already"):
        await PostgresCatalogue.create(address, REALM, *KEYS)
    await catalogue.verify()
    server.create_database("bare")
    for look in (PostgresCatalogue.open, PostgresCatalogue.peek):
        with pytest.raises(CatalogueUnsafe, match=r"holds no catalogue: .*`sealgate migrate --catalogue`"):
            await look(server.address("bare"), REALM, *KEYS)
    server.sql("DROP DATABASE bare")


async def test_a_newer_schema_is_refused_also_by_who_has_it_open(
    catalogue: PostgresCatalogue, address: PostgresAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = SCHEMA_VERSION + 1
    with monkeypatch.context() as newer_program:
        for module in (postgres, postgres_files):
            newer_program.setattr(module, "SCHEMA_VERSION", newer)
        newer_program.setattr("storage.catalogue.files.SCHEMA_VERSION", newer)
        upgraded = await PostgresCatalogue.open(address, REALM, *KEYS)
        await upgraded.publish_version(Maker().publish(b"key"))
        await upgraded.verify()
        await upgraded.close()
    with pytest.raises(CatalogueUnsafe, match=f"has schema {newer}"):
        await PostgresCatalogue.open(address, REALM, *KEYS)
    with pytest.raises(StorageError, match="another version"):
        await catalogue.publish_version(Maker().publish(b"key"))


class TestPostgresTampering(TamperingSuite):
    @pytest.fixture
    async def tampered(self, address: PostgresAddress, server: PostgresServer) -> AsyncIterator[Tampered]:
        opened: list[PostgresCatalogue] = []

        async def tamper(statement: str) -> Catalogue:
            catalogue = await PostgresCatalogue.create(address, REALM, *KEYS)
            await self.fill(catalogue)
            await catalogue.close()
            values = {name: f"'\\x{value.hex()}'::bytea" for name, value in NAMES.items()}
            server.sql(statement.format(**values), DATABASE)
            opened.append(await audited(address))
            return opened[0]

        yield tamper
        for catalogue in opened:
            await catalogue.close()


async def audited(address: PostgresAddress) -> PostgresCatalogue:
    """Opened, and looked at to the end, however busy the machine is."""
    catalogue = await PostgresCatalogue.open(address, REALM, *KEYS)
    assert catalogue._auditing is not None
    await asyncio.wait_for(asyncio.shield(catalogue._auditing), 60)
    return catalogue


async def test_a_damaged_count_is_found_when_the_catalogue_is_opened(
    catalogue: PostgresCatalogue, server: PostgresServer, address: PostgresAddress
) -> None:
    server.sql("DELETE FROM counts WHERE slot = 3", DATABASE)
    opened = await audited(address)
    with pytest.raises(RowDamaged):
        await opened.get_version(BUCKET.bucket_id, b"absent")
    await opened.close()


async def test_who_opens_while_others_write_finds_nothing(
    catalogue: PostgresCatalogue, address: PostgresAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Versions and their counts are of one snapshot; rows are read in snapshots of few."""
    monkeypatch.setattr(audit, "SNAPSHOT_ROWS", 32)
    monkeypatch.setattr(audit, "PAUSE_S", 0.0)
    make, is_over = Maker(), False

    async def write(number: int) -> None:
        turn = 0
        while not is_over:
            turn += 1
            await catalogue.publish_version(make.publish(b"%d/%d" % (number, turn % 7)))
            if turn % 3 == 0:
                await catalogue.delete_versions(BUCKET.bucket_id, [DeleteVersion(b"%d/%d" % (number, turn % 5))])

    writers = [asyncio.create_task(write(number)) for number in range(2)]
    for _ in range(2):
        opened = await audited(address)
        await opened.list_versions(BUCKET.bucket_id, ListQuery(prefix=b"absent"))
        await opened.close()
    is_over = True
    await asyncio.gather(*writers)
    await catalogue.verify()


async def test_an_audit_that_breaks_off_is_begun_anew(
    catalogue: PostgresCatalogue, server: PostgresServer, address: PostgresAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "_AUDIT_AGAIN_S", 0.0)
    server.sql("DELETE FROM versions", DATABASE)
    real, tried = audit.count_versions, 0

    def count(session: Session) -> None:
        nonlocal tried
        tried += 1
        if tried < 3:
            raise StorageUnavailable("the server went away")
        real(session)

    monkeypatch.setattr(audit, "count_versions", count)
    opened = await audited(address)
    with pytest.raises(RowDamaged):
        await opened.get_version(BUCKET.bucket_id, b"key")
    await opened.close()


async def test_an_audit_ends_with_its_catalogue(
    catalogue: PostgresCatalogue, address: PostgresAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "FOREGROUND_S", 0.0)
    monkeypatch.setattr(audit, "PAUSE_S", 60.0)
    opened = await PostgresCatalogue.open(address, REALM, *KEYS)
    task = opened._auditing
    assert task is not None
    assert not task.done()
    await asyncio.wait_for(opened.close(), 10)
    assert task.cancelled()
