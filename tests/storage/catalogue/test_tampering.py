# ruff: noqa: S608, ASYNC240  # statements are made of this file's own constants; blocking a test's loop is harmless
"""What one with the database key, but without the MAC key, can make the catalogue say: nothing that was not written."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from storage.catalogue.base import Deleted, DeleteVersion, ListPage, ListQuery, UploadsPage, UploadsQuery
from storage.catalogue.connection import connect
from storage.catalogue.records import AccessKey
from storage.catalogue.schema import TABLES
from storage.catalogue.sqlite import SqliteCatalogue
from storage.errors import CatalogueConflict, CatalogueUnsafe, RealmMismatch, RowDamaged
from tests.suites.catalogue import ALICE, BUCKET, REALM, START, FakeClock, Maker, populate

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
    await catalogue.acquire_lease("sweep", "one", timedelta(hours=1))


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
        "versions": lambda: catalogue.list_versions(bucket_id, ListQuery()),
        "open upload": lambda: catalogue.get_upload(bucket_id, b"open", OPEN.upload_id),
        "completed upload": lambda: catalogue.get_upload(bucket_id, b"whole", COMPLETED.upload_id),
        "parts": lambda: catalogue.list_parts(OPEN.upload_id),
        "uploads": lambda: catalogue.list_uploads(bucket_id, UploadsQuery()),
        "live": catalogue.count_live_blobs,
        "condemned": lambda: catalogue.list_condemned(after, 100),
        "changes": lambda: catalogue.read_changes(0, 100),
    }
    for key in (b"stored", b"inline", b"shared", b"whole"):
        calls[f"version {key!r}"] = lambda key=key: catalogue.get_version(bucket_id, key)  # type: ignore[misc]  # binds now
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
        case ListPage():
            return answer.versions
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


LOOKED_UP_BY = {
    "accounts.name",
    "access_keys.account_id",
    "buckets.name",
    "buckets.account_id",
    "uploads.bucket_id",
    "blobs.condemned_at",
}
"""Columns besides primary keys that a read looks rows up by: changed, the row is not found there."""


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
        is_place = column in keys or f"{table}.{column}" in LOOKED_UP_BY
        assert raised or is_place, "nobody noticed"
        assert not silent or is_place, f"{silent} left something out"


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
        (f"DELETE FROM versions WHERE object_key = x'{b'shared'.hex()}'", set()),
        (f"DELETE FROM blobs WHERE blob_id = x'{SHARED.link.blob_id.hex() if SHARED.link else ''}'", set()),
        (f"DELETE FROM buckets WHERE bucket_id = x'{BUCKET.bucket_id.hex()}'", set()),
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
