# ruff: noqa: S608, ASYNC220, ASYNC240  # statements are constants; blocking a test's own loop is harmless
import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from storage.catalogue import rows, verifying
from storage.catalogue.base import Catalogue
from storage.catalogue.commands import Conditions, ListQuery, UploadsQuery
from storage.catalogue.conflicts import NoSuchVersion, PreconditionRefused
from storage.catalogue.connection import check_library, connect
from storage.catalogue.owner import Reserve
from storage.catalogue.records import Notice
from storage.catalogue.schema import ACCOUNTS, MANY_KEYS, TABLES, AccountRow, Table
from storage.catalogue.schema import REALM as REALM_TABLE
from storage.catalogue.sqlite import SqliteCatalogue
from storage.catalogue.sqlite_session import SqliteSession, SqliteTransaction
from storage.errors import (
    CatalogueBusy,
    CatalogueConflict,
    CatalogueUnsafe,
    RealmMismatch,
    RowDamaged,
    StorageUnavailable,
)
from tests.suites.catalogue import ALICE, BUCKET, REALM, FakeClock, Maker, populate
from tests.suites.cataloguing.suite import CatalogueSuite
from tests.suites.wraps import WrapsSuite

DATABASE_KEY = bytes(range(32))
ROW_MAC_KEY = bytes(range(32, 64))

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def make() -> Maker:
    return Maker()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalogue.db"


def create(path: Path, clock: FakeClock) -> SqliteCatalogue:
    return SqliteCatalogue.create(path, REALM, DATABASE_KEY, ROW_MAC_KEY, clock, reserve_bytes=4096)


def reopen(path: Path, clock: FakeClock) -> SqliteCatalogue:
    return SqliteCatalogue.open(path, REALM, DATABASE_KEY, ROW_MAC_KEY, clock, reserve_bytes=4096)


@pytest.fixture
async def catalogue(clock: FakeClock, path: Path) -> AsyncIterator[SqliteCatalogue]:
    catalogue = create(path, clock)
    yield catalogue
    await catalogue.close()


class TestSqliteCatalogue(CatalogueSuite, WrapsSuite):
    @pytest.fixture
    def catalogue(self, catalogue: SqliteCatalogue) -> Catalogue:
        return catalogue


async def test_what_was_written_is_there_after_a_restart(path: Path, clock: FakeClock, make: Maker) -> None:
    first = create(path, clock)
    await populate(first)
    published = await first.publish_version(make.publish(b"key", inline=True))
    upload = make.upload()
    part = make.part(upload, 1)
    await first.create_upload(upload)
    await first.put_part(part)
    changes = await first.read_changes(0, 100)
    count = await first.verify()
    await first.close()
    assert not path.with_name("catalogue.db-wal").exists()
    second = reopen(path, clock)
    assert (await second.get_version(BUCKET.bucket_id, b"key")).version == published
    assert await second.list_parts(upload.upload_id) == (part,)
    assert await second.read_changes(0, 100) == changes
    assert await second.verify() == count
    assert await second.count_live_blobs() == 1
    later = await second.publish_version(make.publish(b"key"))
    assert later.sequence == changes[-1].sequence + 1
    await second.close()


# Start


async def test_one_owner(catalogue: SqliteCatalogue, path: Path, clock: FakeClock) -> None:
    with pytest.raises(CatalogueBusy, match=f"process {os.getpid()}$"):
        reopen(path, clock)
    with pytest.raises(CatalogueBusy):
        create(path, clock)
    await catalogue.close()
    await reopen(path, clock).close()


@pytest.mark.parametrize(
    ("realm_id", "database_key", "row_mac_key", "failure"),
    [
        (REALM, bytes(32), ROW_MAC_KEY, CatalogueUnsafe),
        (b"x" * 16, DATABASE_KEY, ROW_MAC_KEY, RealmMismatch),
        (REALM, DATABASE_KEY, bytes(32), RealmMismatch),
        (REALM, DATABASE_KEY[:31], ROW_MAC_KEY, ValueError),
        (REALM, DATABASE_KEY, ROW_MAC_KEY[:31], ValueError),
    ],
)
async def test_keys_and_realm_must_be_its_own(
    path: Path, clock: FakeClock, realm_id: bytes, database_key: bytes, row_mac_key: bytes, failure: type[Exception]
) -> None:
    await create(path, clock).close()
    with pytest.raises(failure) as refused:
        SqliteCatalogue.open(path, realm_id, database_key, row_mac_key, clock)
    assert "\n" not in str(refused.value)
    assert DATABASE_KEY.hex() not in str(refused.value)
    await reopen(path, clock).close()


async def test_an_existing_catalogue_is_never_made_anew(path: Path, clock: FakeClock) -> None:
    await create(path, clock).close()
    before = path.read_bytes()
    with pytest.raises(CatalogueUnsafe):
        create(path, clock)
    assert path.read_bytes() == before


async def test_a_creation_cut_short_is_done_again(path: Path, clock: FakeClock) -> None:
    path.with_name("catalogue.db.new").write_bytes(b"half")
    await create(path, clock).close()
    assert sorted(file.name for file in path.parent.iterdir()) == ["catalogue.db", "catalogue.db.reserve", "owner.lock"]


async def test_a_missing_file_is_not_made_by_opening(path: Path, clock: FakeClock) -> None:
    with pytest.raises(StorageUnavailable):
        reopen(path, clock)
    assert not path.exists()


async def test_a_missing_folder_is_unavailable(tmp_path: Path, clock: FakeClock) -> None:
    with pytest.raises(StorageUnavailable, match="folder"):
        reopen(tmp_path / "absent" / "catalogue.db", clock)


async def test_a_linked_folder_is_fine_and_a_linked_file_is_not(path: Path, tmp_path: Path, clock: FakeClock) -> None:
    await create(path, clock).close()
    other = tmp_path / "other"
    other.mkdir()
    (other / "folder").symlink_to(tmp_path)
    await reopen(other / "folder" / path.name, clock).close()
    (other / path.name).symlink_to(path)
    with pytest.raises(StorageUnavailable):
        reopen(other / path.name, clock)


async def test_a_plain_database_is_refused(path: Path, clock: FakeClock) -> None:
    with apsw.Connection(str(path)) as plain:
        plain.execute("CREATE TABLE realm (x)")
    plain.close()
    with pytest.raises(CatalogueUnsafe, match="not encrypted"):
        reopen(path, clock)


async def test_another_schema_is_refused(path: Path, clock: FakeClock) -> None:
    await create(path, clock).close()
    tamper(path, "UPDATE realm SET schema_version = schema_version + 1")
    with pytest.raises(CatalogueUnsafe, match="has schema"):
        reopen(path, clock)


@pytest.mark.parametrize("version", ["3.7.0", "3.40.1", "3.44.5", "3.45.0", "3.50.6", "3.51.0", "3.51.2"])
def test_libraries_that_lose_commits_are_refused(version: str) -> None:
    with pytest.raises(CatalogueUnsafe):
        check_library(version)


@pytest.mark.parametrize("version", ["3.44.6", "3.50.7", "3.51.3", "3.54.0", "4.0.0"])
def test_fixed_libraries_are_taken(version: str) -> None:
    check_library(version)


# At rest


async def test_no_file_shows_anything(catalogue: SqliteCatalogue, path: Path, make: Maker) -> None:
    await populate(catalogue)
    canary = b"canary-4711-canary-4711"
    for number in range(50):
        command = make.publish(canary + b"%d" % number, etag=canary.decode(), inline=True)
        await catalogue.publish_version(command)
    files = sorted(path.parent.iterdir())
    assert [file.name for file in files] == [
        "catalogue.db", "catalogue.db-shm", "catalogue.db-wal", "catalogue.db.reserve", "owner.lock",
    ]  # fmt: skip  # a list of names reads better in one line
    assert files[2].stat().st_size > 0
    for file in files:
        content = file.read_bytes()
        for needle in (canary, canary.hex().encode(), b"SQLite format", b"first-bucket", b"etag", DATABASE_KEY):
            assert needle not in content
        assert file.stat().st_mode & 0o077 == 0, file.name


async def test_the_schema_is_what_its_rows_say(catalogue: SqliteCatalogue, path: Path) -> None:
    await catalogue.close()
    connection = connect(path, DATABASE_KEY, cache_kib=100)
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    assert names == {table.name for table in TABLES}
    for table in TABLES:
        columns = connection.execute(f"PRAGMA table_info({table.name})").fetchall()
        assert [column[1] for column in columns] == [*table.columns, "mac"]
        key = [column[1] for column in sorted(columns, key=lambda column: column[5]) if column[5]]  # type: ignore[arg-type,return-value]  # integers
        assert key == list(table.columns[: table.key_size])
    connection.close()


def tamper(path: Path, *statements: str) -> None:
    """Do to a closed catalogue what one with the database key, but without the MAC key, could do."""
    connection = connect(path, DATABASE_KEY, cache_kib=100)
    connection.pragma("foreign_keys", 0)
    for statement in statements:
        connection.execute(statement)
    connection.close()


# Group commit


async def test_commands_that_wait_share_a_commit(catalogue: SqliteCatalogue, make: Maker) -> None:
    await populate(catalogue)
    held = threading.Event()
    blocker = catalogue._writer.submit(lambda tx: held.wait(10))
    await asyncio.sleep(0)
    batches = catalogue._writer.batches
    waiting = [asyncio.ensure_future(catalogue.publish_version(make.publish(b"%d" % number))) for number in range(30)]
    refused = asyncio.ensure_future(
        catalogue.publish_version(make.publish(b"0", conditions=Conditions(if_none_match_any=True)))
    )
    await asyncio.sleep(0)
    assert not any(future.done() for future in waiting)
    held.set()
    assert await blocker is True
    await asyncio.gather(*waiting)
    with pytest.raises(PreconditionRefused):
        await refused
    assert catalogue._writer.batches <= batches + 2
    assert len((await catalogue.list_versions(BUCKET.bucket_id, ListQuery())).versions) == 30


async def test_a_bug_in_one_command_does_not_touch_the_others(catalogue: SqliteCatalogue, make: Maker) -> None:
    await populate(catalogue)

    def broken(tx: SqliteTransaction) -> None:
        tx.record("ghost")
        raise ZeroDivisionError

    good, bad = (
        asyncio.ensure_future(catalogue.publish_version(make.publish(b"key"))),
        catalogue._writer.submit(broken),
    )
    with pytest.raises(ZeroDivisionError):
        await bad
    await good
    assert "ghost" not in [change.kind for change in await catalogue.read_changes(0, 100)]
    await catalogue.verify()


async def test_a_caller_that_left_does_not_stop_its_command(catalogue: SqliteCatalogue, make: Maker) -> None:
    await populate(catalogue)
    task = asyncio.ensure_future(catalogue.publish_version(make.publish(b"key")))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await catalogue.publish_version(make.publish(b"other"))
    await catalogue.get_version(BUCKET.bucket_id, b"key")


async def test_a_lost_connection_fails_its_batch_and_comes_back(catalogue: SqliteCatalogue, make: Maker) -> None:
    await populate(catalogue)

    def failing(tx: SqliteTransaction) -> None:
        tx.record("ghost")
        raise apsw.IOError("the medium failed")

    published = asyncio.ensure_future(catalogue.publish_version(make.publish(b"lost")))
    with pytest.raises(StorageUnavailable):
        await catalogue._writer.submit(failing)
    await asyncio.gather(published, return_exceptions=True)
    await catalogue.publish_version(make.publish(b"kept"))
    await catalogue.get_version(BUCKET.bucket_id, b"kept")
    if published.exception() is not None:  # it shared the failed transaction
        assert isinstance(published.exception(), StorageUnavailable)
        with pytest.raises(NoSuchVersion):
            await catalogue.get_version(BUCKET.bucket_id, b"lost")
    assert "ghost" not in [change.kind for change in await catalogue.read_changes(0, 100)]
    await catalogue.verify()


async def test_a_writer_that_breaks_leaves_nobody_waiting(
    path: Path, clock: FakeClock, make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue = create(path, clock)
    await populate(catalogue)
    broken: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda hook: broken.append(hook.exc_type))

    def bug(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(catalogue._writer, "_run_job", bug)
    with pytest.raises(StorageUnavailable):
        await catalogue.publish_version(make.publish(b"key"))
    with pytest.raises(StorageUnavailable):
        await catalogue.publish_version(make.publish(b"key"))
    with pytest.raises(StorageUnavailable):  # what asks whether it is there must not be told that all is well
        await catalogue.realm_id()
    await catalogue.close()
    assert broken == [ZeroDivisionError]


async def test_no_thread_outlives_the_catalogue(path: Path, clock: FakeClock, make: Maker) -> None:
    before = set(threading.enumerate())
    catalogue = create(path, clock)
    await populate(catalogue)
    pending = [asyncio.ensure_future(catalogue.publish_version(make.publish(b"%d" % number))) for number in range(20)]
    await asyncio.sleep(0)
    await catalogue.close()
    await asyncio.gather(*pending)
    assert set(threading.enumerate()) == before
    again = reopen(path, clock)
    assert len((await again.list_versions(BUCKET.bucket_id, ListQuery())).versions) == 20
    await again.close()


async def test_a_command_that_meets_the_end_is_answered(
    catalogue: SqliteCatalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer ends between the look whether it is open and the command's place in the queue."""
    writer = catalogue._writer
    jobs = writer._jobs
    ending = threading.Thread(target=writer.close)

    class Slow:
        """The queue, whose length takes so long to tell that another thread closes the writer meanwhile."""

        def __getattr__(self, name: str) -> Any:
            return getattr(jobs, name)

        def qsize(self) -> int:
            ending.start()
            ending.join(0.2)
            return jobs.qsize()

    monkeypatch.setattr(writer, "_jobs", Slow())
    answer = await asyncio.wait_for(
        asyncio.gather(writer.submit(lambda tx: tx.sequence), return_exceptions=True), timeout=5
    )
    assert answer[0] == 0 or isinstance(answer[0], StorageUnavailable)
    ending.join()


async def test_a_refusal_past_the_commands_leaves_no_transaction_open(
    catalogue: SqliteCatalogue, make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await populate(catalogue)

    def damaged(_: SqliteTransaction) -> None:
        raise RowDamaged("the realm row went missing")

    with monkeypatch.context() as patched:
        patched.setattr(SqliteTransaction, "save_counters", damaged)
        with pytest.raises(RowDamaged):
            await catalogue.publish_version(make.publish(b"lost"))
    await catalogue.publish_version(make.publish(b"kept"))
    with pytest.raises(NoSuchVersion):
        await catalogue.get_version(BUCKET.bucket_id, b"lost")
    await catalogue.verify()


async def test_a_long_scan_does_not_hold_up_the_end(path: Path, clock: FakeClock, make: Maker) -> None:
    catalogue = create(path, clock)
    await populate(catalogue)
    await asyncio.gather(*(catalogue.publish_version(make.publish(b"%04d" % number)) for number in range(500)))
    scan = asyncio.ensure_future(catalogue.verify())
    for _ in range(3):
        await asyncio.sleep(0)
    assert not scan.done()
    await catalogue.close()
    with pytest.raises(StorageUnavailable):
        await scan


async def test_the_log_moves_into_the_database_while_it_is_open(catalogue: SqliteCatalogue, path: Path) -> None:
    before = path.stat().st_size
    filler = Notice("nobody", {"filler": "x" * 100_000})
    for _ in range(60):
        await catalogue._writer.submit(lambda tx: tx.record("filler", notices=[filler]))
    async with asyncio.timeout(20):
        # One checkpoint moves 4 MB, less what was written twice; the log then begins anew and may be short of the next.
        while path.stat().st_size < before + (2 << 20):  # noqa: ASYNC110  # nothing tells when a file has grown
            await asyncio.sleep(0.01)
    assert path.with_name("catalogue.db-wal").stat().st_size > 0


async def test_a_long_reader_does_not_stop_the_writer(catalogue: SqliteCatalogue, path: Path, make: Maker) -> None:
    await populate(catalogue)
    reader = connect(path, DATABASE_KEY, cache_kib=100)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM accounts").fetchall()
    filler = Notice("nobody", {"filler": "x" * 1_000_000})
    for _ in range(50):
        await catalogue._writer.submit(lambda tx: tx.record("filler", notices=[filler]))
    reader.execute("ROLLBACK")
    reader.close()
    await catalogue.publish_version(make.publish(b"key"))
    await catalogue.verify()


# Scans


async def test_a_statement_is_parsed_once(catalogue: SqliteCatalogue, make: Maker) -> None:
    """Also where the bound of a range is another one each time, as in every skip-scan."""
    await populate(catalogue)

    async def work(round_number: int) -> None:
        for number in range(100):
            await catalogue.publish_version(make.publish(b"%d/%d" % (number, round_number), inline=True))
            await catalogue.get_version(BUCKET.bucket_id, b"%d/%d" % (number, round_number))
        await catalogue.list_versions(BUCKET.bucket_id, ListQuery(delimiter=b"/"))
        await catalogue.list_versions(BUCKET.bucket_id, ListQuery(start_after=b"5"))
        await catalogue.list_uploads(BUCKET.bucket_id, UploadsQuery(prefix=b"%d" % round_number, delimiter=b"/"))

    assert catalogue._writer._transaction is not None
    sessions = [catalogue._point, *catalogue._scanners, catalogue._writer._transaction]
    parsed: list[int] = []

    def ask(operation: int, *_: str | None) -> int:
        parsed.append(operation)
        return apsw.SQLITE_OK

    for session in sessions:
        # It is asked whenever a statement is parsed, and setting it has all of them parsed once more.
        session.connection.authorizer = ask
    await work(0)
    await work(1)
    assert parsed
    parsed.clear()
    await work(2)
    # Of 400 commands and reads, and as many seeks of the listings; a scan that is left early may give a statement back
    # too late for the cache.
    assert parsed.count(apsw.SQLITE_SELECT) <= 4
    assert not {apsw.SQLITE_INSERT, apsw.SQLITE_UPDATE, apsw.SQLITE_DELETE} & set(parsed)


async def test_a_long_scan_lets_others_run_and_sees_one_state(catalogue: SqliteCatalogue, make: Maker) -> None:
    await populate(catalogue)
    await asyncio.gather(*(catalogue.publish_version(make.publish(b"%04d" % number)) for number in range(500)))
    scan = asyncio.ensure_future(catalogue.list_versions(BUCKET.bucket_id, ListQuery()))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not scan.done()
    await catalogue.publish_version(make.publish(b"9999"))
    assert len((await scan).versions) == 500
    scans = [catalogue.list_versions(BUCKET.bucket_id, ListQuery()) for _ in range(10)]
    pages = await asyncio.gather(*scans)
    assert {len(page.versions) for page in pages} == {501}


async def test_references_are_judged_beside_the_loop_and_can_be_left(
    catalogue: SqliteCatalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    await populate(catalogue)
    began = threading.Event()
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n WHERE i < 0"

    def check_reference(session: SqliteSession, *_: str) -> None:
        began.set()
        session.execute(endless).fetchall()

    with monkeypatch.context() as patched:
        patched.setattr(verifying, "check_reference", check_reference)
        looking = asyncio.ensure_future(catalogue.verify())
        await asyncio.to_thread(began.wait, 10)
        await asyncio.sleep(0.05)  # the statement runs by now, and the loop does as well
        looking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(looking, timeout=10)
    assert await asyncio.gather(*(catalogue.verify() for _ in range(8))) == [await catalogue.verify()] * 8


async def test_a_cancelled_scan_gives_its_snapshot_back(catalogue: SqliteCatalogue, make: Maker) -> None:
    await populate(catalogue)
    await asyncio.gather(*(catalogue.publish_version(make.publish(b"%04d" % number)) for number in range(300)))
    for _ in range(10):
        scan = asyncio.ensure_future(catalogue.list_versions(BUCKET.bucket_id, ListQuery()))
        for _ in range(3):
            await asyncio.sleep(0)
        scan.cancel()
        with pytest.raises(asyncio.CancelledError):
            await scan
    assert len((await catalogue.list_versions(BUCKET.bucket_id, ListQuery())).versions) == 300


# Crash

_LOAD = """
import asyncio, itertools, sys
from datetime import UTC, datetime
from pathlib import Path
from storage.catalogue.sqlite import SqliteCatalogue
from tests.suites.catalogue import REALM, Maker
import random

async def main(path, seed):
    catalogue = SqliteCatalogue.open(
        Path(path), REALM, bytes(range(32)), bytes(range(32, 64)), lambda: datetime.now(UTC), reserve_bytes=4096
    )
    make = Maker(random.Random(seed))
    async def publisher(lane):
        for number in itertools.count():
            etag = f"{seed}-{number}"
            await catalogue.publish_version(make.publish(b"lane%d" % lane, etag=etag, inline=number % 2 == 0))
            sys.stdout.write(f"{lane} {etag}\\n")
            sys.stdout.flush()
    await asyncio.gather(*(publisher(lane) for lane in range(8)))

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


async def test_kill_9_loses_no_acknowledged_commit(path: Path, clock: FakeClock) -> None:
    catalogue = create(path, clock)
    await populate(catalogue)
    await catalogue.close()
    acknowledged: dict[str, tuple[int, int]] = {}
    kills = 20
    for seed in range(kills):
        with subprocess.Popen(
            [sys.executable, "-c", _LOAD, str(path), str(seed)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[3],
            text=True,
        ) as process:
            assert process.stdout is not None
            for _ in range(10 + 7 * seed):
                line = process.stdout.readline()
                assert line, "the load ended by itself"
                note(acknowledged, line)
            process.send_signal(signal.SIGKILL)
            for line in process.stdout:
                if line.endswith("\n"):
                    note(acknowledged, line)
        assert process.returncode == -signal.SIGKILL
        catalogue = reopen(path, clock)
        for lane, expected in acknowledged.items():
            found = await catalogue.get_version(BUCKET.bucket_id, b"lane" + lane.encode())
            run, number = map(int, found.version.etag.split("-"))
            # At most the one command that was on its way may have been committed without an answer.
            assert expected <= (run, number)
            assert (run, number) <= (seed, expected[1] + 1) if run == expected[0] else number == 0
        await catalogue.verify()
        await catalogue.close()
    print(f"{kills} kills, {len(acknowledged)} lanes, last {max(acknowledged.values())}")


def note(acknowledged: dict[str, tuple[int, int]], line: str) -> None:
    lane, etag = line.split()
    run, number = map(int, etag.split("-"))
    acknowledged[lane] = (run, number)


# Small parts


def test_a_reserve_is_space(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path / "reserve", 1 << 20)
    assert reserve.restore()
    assert (tmp_path / "reserve").stat().st_blocks * 512 >= 1 << 20
    reserve.release()
    reserve.release()
    assert not reserve.is_held
    assert not (tmp_path / "reserve").exists()
    assert reserve.restore()


def test_a_reserve_that_does_not_fit_leaves_nothing(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path / "reserve", 1 << 60)
    assert not reserve.restore()
    assert list(tmp_path.iterdir()) == []


def test_attributes_keep_their_values() -> None:
    attributes = {"ü": ["☃", 1, None, True, {"x": -5}], "a": ""}
    assert rows.from_json(rows.to_json(attributes)) == attributes
    with pytest.raises(ValueError, match="JSON"):
        rows.to_json({"x": float("nan")})


async def test_a_row_must_have_the_key_that_it_was_found_by(catalogue: SqliteCatalogue) -> None:
    await populate(catalogue)
    astray = Table("accounts", AccountRow)
    astray.__dict__["by_key"] = "WHERE account_id != ?"
    with pytest.raises(RowDamaged, match=f"not where its key leads: accounts account_id={bytes(16).hex()}"):
        catalogue._point.find(astray, bytes(16))
    astray.__dict__["by_keys"] = f"WHERE account_id NOT IN ({', '.join('?' * MANY_KEYS)})"
    with pytest.raises(RowDamaged, match="not where its key leads: accounts"):
        catalogue._point.find_each(astray, [bytes(16)])


async def test_many_rows_are_found_and_changed_at_once(catalogue: SqliteCatalogue) -> None:
    made = [AccountRow(bytes(15) + bytes([number]), f"{number}", 1) for number in range(2 * MANY_KEYS + 2)]
    await catalogue._write(lambda tx: tx.insert_each(ACCOUNTS, made))
    keys = [row.account_id for row in made]
    assert catalogue._point.find_each(ACCOUNTS, [*keys, b"x" * 16]) == {row.account_id: row for row in made}
    assert catalogue._point.find_each(ACCOUNTS, []) == {}
    changed = [row._replace(created_at=2) for row in made]
    await catalogue._write(lambda tx: tx.update_each(ACCOUNTS, changed))
    assert set(catalogue._point.find_each(ACCOUNTS, keys).values()) == set(changed)
    with pytest.raises(CatalogueConflict):
        await catalogue._write(lambda tx: tx.insert_each(ACCOUNTS, made[:1]))
    absent = AccountRow(b"x" * 16, "x", 1)
    with pytest.raises(RowDamaged, match="went missing"):
        await catalogue._write(lambda tx: tx.update_each(ACCOUNTS, [made[0], absent]))
    assert catalogue._point.find(ACCOUNTS, keys[0]) == changed[0], "all or none"
    assert await catalogue.verify() > len(made)


async def test_the_realm_row_is_read_verified(catalogue: SqliteCatalogue, path: Path, clock: FakeClock) -> None:
    await catalogue.create_account(ALICE)
    await catalogue.close()
    tamper(path, f"UPDATE {REALM_TABLE.name} SET sequence = sequence + 1")
    with pytest.raises(RowDamaged):
        reopen(path, clock)
