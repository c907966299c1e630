# ruff: noqa: S608, ASYNC240  # statements are made of this file's own constants; blocking a test's loop is harmless
"""What one with the database key, but without the MAC key, can make the catalogue say: nothing that was not written."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from storage.catalogue import audit
from storage.catalogue.base import Catalogue
from storage.catalogue.commands import (
    Conditions,
    Deleted,
    DeleteVersion,
    HistoryPage,
    HistoryQuery,
    ListPage,
    ListQuery,
    MoveWraps,
    UploadsPage,
    UploadsQuery,
    WrapsMark,
    WrapsPage,
)
from storage.catalogue.connection import connect
from storage.catalogue.records import NO_LOCK, AccessKey, ObjectLock, RetentionMode, Versioning
from storage.catalogue.schema import TABLES
from storage.catalogue.sqlite import SqliteCatalogue
from storage.errors import CatalogueConflict, CatalogueUnsafe, RealmMismatch, RowDamaged
from tests.suites.catalogue import ALICE, BUCKET, OTHER, REALM, START, FakeClock, Maker, populate
from tests.suites.tampering import NAMES, Tampered, TamperingSuite
from tests.suites.wraps import envelopes_blob, move_of

pytestmark = pytest.mark.anyio


DATABASE_KEY = bytes(range(32))
ROW_MAC_KEY = bytes(range(32, 64))
CLOCK = FakeClock(START + timedelta(minutes=1))

make = Maker()
STORED, INLINE, REPLACED = make.publish(b"stored"), make.publish(b"inline", inline=True), make.publish(b"stored")
assert STORED.content is not None
SHARED = make.share(b"shared", STORED.content.content_id)
OPEN, COMPLETED = make.upload(b"open"), make.upload(b"whole")
OPEN_PARTS = [make.part(OPEN, number) for number in (1, 2)]
PARTS = [make.part(COMPLETED, number) for number in (1, 2)]
HELD = ObjectLock(RetentionMode.GOVERNANCE, START + timedelta(days=1), legal_hold=True)
OLD, NEW, GONE = (make.publish(key, bucket=OTHER, etag=key.decode()) for key in (b"twice", b"twice", b"gone"))
OLD, NEW, GONE = (
    replace(command, version=replace(command.version, version_id=version_id, lock=lock))
    for command, version_id, lock in ((OLD, "1" * 32, HELD), (NEW, "2" * 32, NO_LOCK), (GONE, "3" * 32, NO_LOCK))
)


async def fill(catalogue: SqliteCatalogue) -> None:
    """At least one row of every table, and of every kind of blob."""
    await populate(catalogue)
    await catalogue.create_access_key(AccessKey("AKIA", ALICE.account_id, b"sealed", START))
    await catalogue.publish_version(REPLACED)
    for command in (STORED, INLINE, SHARED):
        await catalogue.publish_version(command)
    for upload, parts in ((OPEN, OPEN_PARTS), (COMPLETED, PARTS)):
        await catalogue.create_upload(upload)
        for part in parts:
            await catalogue.put_part(part)
    await catalogue.complete_upload(make.complete(COMPLETED, *PARTS))
    await catalogue.put_configuration(BUCKET.bucket_id, "policy", b"{}")
    await catalogue.set_versioning(OTHER.bucket_id, Versioning.ENABLED)
    await catalogue.enable_object_lock(OTHER.bucket_id)
    for command in (OLD, NEW, GONE):
        await catalogue.publish_version(command)
    await catalogue.delete_versions(OTHER.bucket_id, [DeleteVersion(b"gone", marker_id="4" * 32)])
    lease = await catalogue.acquire_lease("sweep", "one", timedelta(hours=1))
    await catalogue.set_cursor("reader", 5)
    wraps = (await catalogue.list_wraps(WrapsMark(), 1000)).wraps
    once = {wrap.wrap_id: wrap for wrap in wraps}
    moves = [move_of(wrap, b"new " + wrap.wrap_id) for wrap in once.values()]
    await catalogue.move_wraps(MoveWraps(envelopes_blob(make), 1, tuple(moves)), lease)


def reads(catalogue: SqliteCatalogue) -> dict[str, Callable[[], Awaitable[object]]]:
    """Every read of the contract, over all that `fill` wrote."""
    bucket_id = BUCKET.bucket_id
    after = START + timedelta(hours=1)
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "realm": catalogue.realm_id,
        "account": lambda: catalogue.get_account(ALICE.account_id),
        "account by name": lambda: catalogue.get_account_by_name("alice"),
        "account of bob by name": lambda: catalogue.get_account_by_name("bob"),
        "accounts": catalogue.list_accounts,
        "access key": lambda: catalogue.get_access_key("AKIA"),
        "access keys": lambda: catalogue.list_access_keys(ALICE.account_id),
        "bucket": lambda: catalogue.get_bucket(BUCKET.name),
        "buckets": lambda: catalogue.list_buckets(ALICE.account_id),
        "other bucket": lambda: catalogue.get_bucket(OTHER.name),
        "configuration": lambda: catalogue.get_configuration(bucket_id, "policy"),
        "versions": lambda: catalogue.list_versions(bucket_id, ListQuery()),
        "other versions": lambda: catalogue.list_versions(OTHER.bucket_id, ListQuery()),
        "history": lambda: catalogue.list_history(bucket_id, HistoryQuery()),
        "other history": lambda: catalogue.list_history(OTHER.bucket_id, HistoryQuery()),
        "open upload": lambda: catalogue.get_upload(bucket_id, b"open", OPEN.upload_id),
        "completed upload": lambda: catalogue.get_upload(bucket_id, b"whole", COMPLETED.upload_id),
        "parts": lambda: catalogue.list_parts(OPEN.upload_id),
        "uploads": lambda: catalogue.list_uploads(bucket_id, UploadsQuery()),
        "live": catalogue.count_live_blobs,
        "condemned": lambda: catalogue.list_condemned(after, 100),
        "cursor": lambda: catalogue.get_cursor("reader"),
        "changes": lambda: catalogue.read_changes(0, 100),
        "wraps": lambda: catalogue.list_wraps(WrapsMark(), 1000),
        "envelopes": catalogue.list_envelopes,
        "versions of the shared": lambda: catalogue.versions_of_content(SHARED.version.content_id or b""),
    }
    for key in (b"stored", b"inline", b"shared", b"whole"):
        calls[f"version {key!r}"] = lambda key=key: catalogue.get_version(bucket_id, key)  # type: ignore[misc]  # binds now
    for key, version_id in (
        (b"twice", None),
        (b"twice", "1" * 32),
        (b"twice", "2" * 32),
        (b"gone", None),
        (b"gone", "3" * 32),
    ):
        calls[f"other version {key!r} {version_id}"] = lambda key=key, version_id=version_id: (  # type: ignore[misc]  # binds now
            catalogue.get_version(OTHER.bucket_id, key, version_id)
        )
    ids = [
        blob.blob_id
        for command in (STORED, INLINE, REPLACED)
        if command.content is not None
        for blob in command.content.blobs
    ]
    ids += [part.blob.blob_id for part in (*OPEN_PARTS, *PARTS)]
    ids += [SHARED.link.blob_id] if SHARED.link else []
    calls["states"] = lambda: catalogue.blob_states(ids)
    # Leases are read by those who ask for them only: this comes last, since it writes.
    calls["lease"] = lambda: catalogue.acquire_lease("sweep", "one", timedelta(hours=1))
    return calls


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def items(answer: object) -> tuple[object, ...]:
    """What an answer says, one by one."""
    match answer:
        case ListPage() | HistoryPage():
            return answer.versions
        case WrapsPage():
            return tuple((wrap, wrap.version) for wrap in answer.wraps)
        case UploadsPage():
            return answer.uploads
        case dict():
            return tuple(answer.items())
        case tuple():
            return answer
        case _:
            return (answer,)


async def ask(catalogue: SqliteCatalogue) -> dict[str, object]:
    """The answers, failures and refusals among them."""
    answers: dict[str, object] = {}
    for name, call in reads(catalogue).items():
        try:
            answers[name] = await call()
        except (RowDamaged, CatalogueConflict) as failure:
            answers[name] = failure
    return answers


def reopen(path: Path) -> SqliteCatalogue:
    return SqliteCatalogue.open(path, REALM, DATABASE_KEY, ROW_MAC_KEY, CLOCK, reserve_bytes=0)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("original") / "catalogue.db"

    async def prepare() -> None:
        catalogue = SqliteCatalogue.create(path, REALM, DATABASE_KEY, ROW_MAC_KEY, CLOCK, reserve_bytes=0)
        await fill(catalogue)
        await catalogue.close()

    asyncio.run(prepare())
    return path


@pytest.fixture(scope="module")
def truth(original: Path) -> dict[str, object]:
    async def read() -> dict[str, object]:
        catalogue = reopen(original)
        answers = await ask(catalogue)
        await catalogue.verify()
        await catalogue.close()
        return answers

    answers = asyncio.run(read())
    assert not [name for name, answer in answers.items() if isinstance(answer, Exception)]
    return answers


async def consequences(
    original: Path, folder: Path, truth: dict[str, object], statement: str
) -> tuple[set[str], set[str]]:
    """Change a copy by hand; return which reads raise, and which leave something out. None may say a new thing."""
    path = folder / original.name
    shutil.copy(original, path)
    connection = connect(path, DATABASE_KEY, cache_kib=100)
    connection.pragma("foreign_keys", 0)
    connection.execute(statement)
    assert connection.changes() == 1, "the statement changes one row"
    connection.close()
    try:
        catalogue = reopen(path)
    except (RowDamaged, RealmMismatch, CatalogueUnsafe):
        return {"open"}, set()
    try:
        answers = await ask(catalogue)
        with pytest.raises(RowDamaged):
            await catalogue.verify()
    finally:
        await catalogue.close()
    silent = set()
    for name, answer in answers.items():
        if isinstance(answer, RowDamaged):
            continue
        if isinstance(answer, CatalogueConflict):
            silent.add(name)
            continue
        assert all(item in items(truth[name]) for item in items(answer)), f"{name} says what was never written"
        if answer != truth[name]:
            silent.add(name)
    return {name for name, answer in answers.items() if isinstance(answer, RowDamaged)}, silent


_UNTOLD = "what a wrap was moved to is asked where it goes: at worst an envelopes blob stays for ever"
UNNOTICED = {
    ("moved_wraps", "wrap_id"): _UNTOLD,
    ("moved_wraps", "envelopes_id"): _UNTOLD,
    ("moved_wraps", "mac"): _UNTOLD,
    ("leases", "name"): "a lease that is not found is taken anew, which at worst lets a second sweep run",
}
"""Cells that no read notices, and why that harms nobody. `verify` notices them too."""


def mutations() -> list[tuple[str, str, str]]:
    """(table, column, statement) for every column of every table and every row of `fill`, by row number."""
    cases = []
    for table in TABLES:
        for column in (*table.columns, "mac"):
            if (table.name, column) == ("realm", "singleton"):
                continue  # a CHECK holds it
            cases += [(table.name, column, way) for way in ("flip", "null")]
    return cases


def changed(value: object) -> str:
    """SQL of another value of the same type."""
    match value:
        case bytes():
            return f"x'{(bytes((value[0] ^ 1,)) + value[1:] if value else b'!').hex()}'"
        case str():
            return "'~" + value.replace("'", "''") + "'"
        case int():
            return str(value + 1000)
        case _:
            return "0"


@pytest.mark.parametrize(("table", "column", "way"), mutations())
def test_every_column_of_every_row(
    original: Path, truth: dict[str, object], tmp_path: Path, table: str, column: str, way: str
) -> None:
    (spec,) = (spec for spec in TABLES if spec.name == table)
    connection = connect(original, DATABASE_KEY, cache_kib=100)
    keys = spec.columns[: spec.key_size]
    rows = connection.execute(f"SELECT {', '.join(keys)}, {column} FROM {table}").fetchall()
    nullable = {name for _, name, _, not_null, *_ in connection.execute(f"PRAGMA table_info({table})") if not not_null}
    connection.close()
    assert rows, f"{table} has no row to change"
    if table == "outbox":
        rows = [rows[0], rows[-1]]  # its rows are all alike
    if way == "null" and column not in nullable:
        return
    for number, row in enumerate(rows):
        if way == "null" and row[-1] is None:
            continue
        if row[-1] is None and column.endswith("_id"):
            new = f"x'{(b'?' * 16).hex()}'"
        elif row[-1] is None and column == "completed":
            new = "'{}'"
        else:
            new = "NULL" if way == "null" else changed(row[-1])
        where = " AND ".join(
            f"{key} = " + (f"x'{value.hex()}'" if isinstance(value, bytes) else repr(value))
            for key, value in zip(keys, row[:-1], strict=True)
        )
        folder = tmp_path / str(number)
        folder.mkdir()
        raised, silent = asyncio.run(
            consequences(original, folder, truth, f"UPDATE {table} SET {column} = {new} WHERE {where}")
        )
        assert not silent, f"{silent} left something out"
        assert raised or (table, column) in UNNOTICED, "nobody noticed"
        if table == "versions":  # reading the object, and both ways of listing its bucket
            where = "other " if row[0] == OTHER.bucket_id else ""
            assert {f"{where}versions", f"{where}history"} <= raised
            assert any(name.startswith(f"{where}version {row[1]!r}") for name in raised)


async def test_what_was_found_at_the_start_refuses_only_what_it_touches(original: Path, tmp_path: Path) -> None:
    """A version that strayed to another bucket: neither can tell any more what it does not hold; the rest is served."""
    path = tmp_path / "catalogue.db"
    shutil.copy(original, path)
    connection = connect(path, DATABASE_KEY, cache_kib=100)
    connection.execute(
        "UPDATE versions SET bucket_id = ? WHERE object_key = CAST('inline' AS BLOB)", (OTHER.bucket_id,)
    )
    connection.close()
    catalogue = reopen(path)
    for bucket in (BUCKET, OTHER):
        for refused in (
            catalogue.get_version(bucket.bucket_id, b"absent"),
            catalogue.list_versions(bucket.bucket_id, ListQuery(prefix=b"s")),
            catalogue.list_history(bucket.bucket_id, HistoryQuery(prefix=b"s")),
            catalogue.publish_version(
                replace(make.publish(b"new", bucket=bucket), conditions=Conditions(if_none_match_any=True))
            )
            if bucket is BUCKET
            else catalogue.get_version(bucket.bucket_id, b"inline"),
        ):
            with pytest.raises(RowDamaged):
                await refused
    await catalogue.get_version(BUCKET.bucket_id, b"stored")
    await catalogue.publish_version(make.publish(b"stored"))
    await catalogue.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE versions SET bucket_id = CAST('????????????????' AS BLOB) WHERE object_key = CAST('inline' AS BLOB)",
        "DELETE FROM versions WHERE object_key = CAST('inline' AS BLOB)",
        "UPDATE versions SET object_key = CAST('zzz' AS BLOB) WHERE object_key = CAST('inline' AS BLOB)",
    ],
)
async def test_a_change_beside_a_running_catalogue_is_found_by_a_whole_listing(
    original: Path, tmp_path: Path, statement: str
) -> None:
    """The owner lock is passed by. A whole listing tells what only that can; no old version stands for a newer one."""
    path = tmp_path / "catalogue.db"
    shutil.copy(original, path)
    catalogue = reopen(path)
    connection = connect(path, DATABASE_KEY, cache_kib=100)
    connection.pragma("foreign_keys", 0)
    connection.execute(statement)
    connection.execute("UPDATE versions SET object_key = CAST('moved' AS BLOB) WHERE version_id = ?", ("2" * 32,))
    connection.close()
    with pytest.raises(RowDamaged):
        await catalogue.list_versions(BUCKET.bucket_id, ListQuery())
    with pytest.raises(RowDamaged):
        await catalogue.list_history(BUCKET.bucket_id, HistoryQuery())
    with pytest.raises(RowDamaged):  # the newer of two versions was taken away: the older one does not stand for it
        await catalogue.get_version(OTHER.bucket_id, b"twice")
    with pytest.raises(RowDamaged):
        await catalogue.list_versions(OTHER.bucket_id, ListQuery(prefix=b"twice"))
    await catalogue.close()


@pytest.mark.parametrize(
    "statement", ["DELETE FROM blobs WHERE is_inline = 0", "UPDATE blobs SET state = 'condemned' WHERE is_inline = 0"]
)
async def test_rows_of_blobs_that_were_taken_away_are_found(original: Path, tmp_path: Path, statement: str) -> None:
    path = tmp_path / "catalogue.db"
    shutil.copy(original, path)
    catalogue = reopen(path)
    await catalogue.check_live_blobs()
    connection = connect(path, DATABASE_KEY, cache_kib=100)
    connection.pragma("foreign_keys", 0)
    connection.execute(statement)
    connection.close()
    with pytest.raises(RowDamaged):
        await catalogue.check_live_blobs()
    await catalogue.close()


async def test_a_long_audit_goes_on_beside(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no time before serving and snapshots of one row, the last row of the last table is found all the same."""
    monkeypatch.setattr(audit, "FOREGROUND_S", 0.0)
    monkeypatch.setattr(audit, "PAUSE_S", 0.0)
    monkeypatch.setattr(audit, "SNAPSHOT_ROWS", 1)
    monkeypatch.setattr(audit, "SLICE_ROWS", 1)
    path = tmp_path / "catalogue.db"
    shutil.copy(original, path)
    connection = connect(path, DATABASE_KEY, cache_kib=100)
    connection.execute("UPDATE versions SET object_key = CAST('zzz' AS BLOB) WHERE object_key = CAST('whole' AS BLOB)")
    connection.execute("UPDATE blobs SET sealed_size = 1 WHERE blob_id = (SELECT max(blob_id) FROM blobs)")
    connection.close()
    catalogue = reopen(path)
    thread = catalogue._auditor._thread
    assert thread is not None
    thread.join(60)
    with pytest.raises(RowDamaged):
        await catalogue.get_version(BUCKET.bucket_id, b"whole")
    with pytest.raises(RowDamaged):
        await catalogue.blob_states([b"?" * 16])
    await catalogue.close()


async def test_an_audit_ends_with_its_catalogue(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "FOREGROUND_S", 0.0)
    monkeypatch.setattr(audit, "PAUSE_S", 60.0)
    path = tmp_path / "catalogue.db"
    shutil.copy(original, path)
    catalogue = reopen(path)
    thread = catalogue._auditor._thread
    assert thread is not None
    assert thread.is_alive()
    await asyncio.wait_for(catalogue.close(), 10)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("statement", "reads_that_raise"),
    [
        (f"DELETE FROM contents WHERE content_id = x'{STORED.content.content_id.hex()}'", {"version b'stored'"}),
        (
            f"DELETE FROM blobs WHERE blob_id = x'{STORED.content.blobs[0].blob_id.hex()}'",
            {"version b'stored'", "version b'shared'"},
        ),
        (f"DELETE FROM blobs WHERE blob_id = x'{PARTS[0].blob.blob_id.hex()}'", {"version b'whole'"}),
        (f"DELETE FROM blobs WHERE blob_id = x'{OPEN_PARTS[0].blob.blob_id.hex()}'", {"parts"}),
        ("DELETE FROM inline_blobs", {"version b'inline'"}),
        (f"DELETE FROM parts WHERE upload_id = x'{OPEN.upload_id.hex()}' AND part_number = 1", {"parts"}),
        (f"DELETE FROM parts WHERE upload_id = x'{OPEN.upload_id.hex()}' AND part_number = 2", {"parts"}),
        (f"DELETE FROM accounts WHERE account_id = x'{ALICE.account_id.hex()}'", {"access key"}),
        ("DELETE FROM realm", {"open"}),
        (f"DELETE FROM versions WHERE object_key = x'{b'shared'.hex()}'", {"version b'shared'", "versions", "history"}),
        ("DELETE FROM configurations", {"configuration"}),
        (f"DELETE FROM blobs WHERE blob_id = x'{SHARED.link.blob_id.hex() if SHARED.link else ''}'", set()),
        (f"DELETE FROM buckets WHERE bucket_id = x'{BUCKET.bucket_id.hex()}'", {"bucket", "buckets"}),
    ],
)
async def test_missing_rows(
    original: Path, truth: dict[str, object], tmp_path: Path, statement: str, reads_that_raise: set[str]
) -> None:
    raised, _ = await consequences(original, tmp_path, truth, statement)
    assert reads_that_raise <= raised


async def test_rows_do_not_stand_for_each_other(original: Path, truth: dict[str, object], tmp_path: Path) -> None:
    for number, (table, key, own, other) in enumerate(
        [
            ("versions", "object_key", b"stored", b"inline"),
            ("inline_blobs", "blob_id", INLINE.content.blobs[0].blob_id if INLINE.content else b"", b"?" * 16),
            ("blobs", "blob_id", PARTS[0].blob.blob_id, OPEN_PARTS[0].blob.blob_id),
        ]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        connection_statement = f"UPDATE OR REPLACE {table} SET {key} = x'{other.hex()}' WHERE {key} = x'{own.hex()}'"
        raised, _ = await consequences(original, folder, truth, connection_statement)
        assert raised


@pytest.mark.parametrize("table", ["contents", "inline_blobs"])
async def test_an_index_cannot_lead_to_another_row(original: Path, tmp_path: Path, table: str) -> None:
    """Who can write pages can have a key's entry name another row, whole and with its MAC."""
    path = tmp_path / original.name
    shutil.copy(original, path)
    catalogue = reopen(path)
    more = [make.publish(b"more %d" % number, inline=True) for number in range(2)]
    for command in more:
        await catalogue.publish_version(command)
    await catalogue.close()
    connection = connect(path, DATABASE_KEY, cache_kib=100)
    connection.pragma("writable_schema", 1)
    column = "content_id" if table == "contents" else "blob_id"
    one, two = (
        content.content_id if table == "contents" else content.blobs[0].blob_id
        for content in (command.content for command in more)
        if content is not None
    )
    # An index of the same rows in which two of them have each other's key, put in the place of the table's own.
    connection.execute(f"CREATE TABLE decoy ({column} BLOB NOT NULL PRIMARY KEY)")
    connection.execute(
        f"""INSERT INTO decoy (rowid, {column})
            SELECT rowid, CASE {column} WHEN ?1 THEN ?2 WHEN ?2 THEN ?1 ELSE {column} END FROM {table}""",
        (one, two),
    )
    connection.execute(
        f"""UPDATE sqlite_schema
            SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'sqlite_autoindex_decoy_1')
            WHERE name = 'sqlite_autoindex_{table}_1'"""
    )
    connection.close()
    catalogue = reopen(path)
    for command in more:
        with pytest.raises(RowDamaged):
            await catalogue.get_version(BUCKET.bucket_id, command.version.object_key)
    await catalogue.get_version(BUCKET.bucket_id, b"inline")
    await catalogue.close()


async def test_damaged_pages_are_damage(original: Path, tmp_path: Path) -> None:
    path = tmp_path / "catalogue.db"
    content = bytearray(original.read_bytes())
    for offset in range(4096 + 100, len(content), 4096):
        content[offset] ^= 1
    path.write_bytes(content)
    try:
        catalogue = reopen(path)
    except RowDamaged:
        return
    with pytest.raises(RowDamaged):
        await catalogue.verify()
    await catalogue.close()


async def test_deleting_what_is_damaged_is_refused(original: Path, tmp_path: Path) -> None:
    path = tmp_path / "catalogue.db"
    shutil.copy(original, path)
    connection = connect(path, DATABASE_KEY, cache_kib=100)
    connection.execute("UPDATE versions SET etag = 'x' WHERE object_key = CAST('stored' AS BLOB)")
    connection.close()
    catalogue = reopen(path)
    with pytest.raises(RowDamaged) as damaged:
        await catalogue.delete_versions(BUCKET.bucket_id, [DeleteVersion(b"stored")])
    assert "stored" not in str(damaged.value)
    assert b"stored".hex() not in str(damaged.value)
    assert await catalogue.delete_versions(BUCKET.bucket_id, [DeleteVersion(b"inline")]) == (
        Deleted(b"inline", "null"),
    )
    await catalogue.close()


class TestSqliteTampering(TamperingSuite):
    @pytest.fixture
    async def tampered(self, tmp_path: Path) -> AsyncIterator[Tampered]:
        path = tmp_path / "catalogue.db"
        opened: list[SqliteCatalogue] = []

        async def tamper(statement: str) -> Catalogue:
            catalogue = SqliteCatalogue.create(path, REALM, DATABASE_KEY, ROW_MAC_KEY, CLOCK, reserve_bytes=0)
            await self.fill(catalogue)
            await catalogue.close()
            connection = connect(path, DATABASE_KEY, cache_kib=100)
            connection.pragma("foreign_keys", 0)
            connection.execute(statement.format(**{name: f"x'{value.hex()}'" for name, value in NAMES.items()}))
            connection.close()
            opened.append(reopen(path))
            return opened[0]

        yield tamper
        for catalogue in opened:
            await catalogue.close()
