"""What commands and pages of the SQLite catalogue cost, in counts that a busy machine does not change."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.catalogue import rows
from storage.catalogue.commands import HistoryQuery, ListQuery
from storage.catalogue.rowmac import RowMac
from storage.catalogue.schema import VERSIONS
from storage.catalogue.sqlite import SqliteCatalogue
from storage.catalogue.sqlite_session import SqliteTransaction
from tests.suites.catalogue import BUCKET, REALM, FakeClock, Maker, populate

pytestmark = pytest.mark.anyio

WRITERS = 64
PUTS = 10
FIRST_SLICE = 64
"""Rows that a long scan reads once more, having begun again in a snapshot of its own."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def make() -> Maker:
    return Maker()


@pytest.fixture
async def catalogue(tmp_path: Path) -> AsyncIterator[SqliteCatalogue]:
    catalogue = SqliteCatalogue.create(
        tmp_path / "catalogue.db", REALM, bytes(32), bytes(range(32)), FakeClock(), reserve_bytes=4096
    )
    await populate(catalogue)
    yield catalogue
    await catalogue.close()


@pytest.fixture
def signed(monkeypatch: pytest.MonkeyPatch, catalogue: SqliteCatalogue) -> Iterator[Counter[str]]:
    """MACs computed by table from when the catalogue is open, for rows written and rows read alike."""
    counts: Counter[str] = Counter()
    sign = RowMac.sign

    def counting(self: RowMac, table: Any, row: Any) -> bytes:
        counts[table.name] += 1
        return sign(self, table, row)

    monkeypatch.setattr(RowMac, "sign", counting)
    yield counts
    monkeypatch.undo()


async def test_concurrent_writers_share_commits(catalogue: SqliteCatalogue, make: Maker, signed: Counter[str]) -> None:
    before = catalogue.statistics()

    async def write(writer: int) -> None:
        for number in range(PUTS):
            await catalogue.publish_version(make.publish(b"%d/%d" % (writer, number), inline=True))

    await asyncio.gather(*(write(writer) for writer in range(WRITERS)))
    after = catalogue.statistics()
    commands = after.command_count - before.command_count
    commits = after.commit_count - before.commit_count
    assert commands == WRITERS * PUTS
    assert commands >= 8 * commits, "64 writers that do nothing but write share a commit by far more than that"
    # Five rows are written for a PUT, and its bucket is read; what counts them is written once for each commit.
    assert {
        name: signed[name] for name in ("versions", "contents", "blobs", "inline_blobs", "outbox")
    } == dict.fromkeys(("versions", "contents", "blobs", "inline_blobs", "outbox"), commands)
    assert signed["buckets"] <= commands + 2 * commits
    assert signed["realm"] <= commits
    assert signed.total() <= 6 * commands + 3 * commits


async def test_a_put_alone_and_what_it_replaces(catalogue: SqliteCatalogue, make: Maker, signed: Counter[str]) -> None:
    await catalogue.publish_version(make.publish(b"key", inline=True))
    assert signed.total() == 9
    signed.clear()
    await catalogue.publish_version(make.publish(b"key", inline=True))
    # The version, content and blob that go are verified before they are let go.
    assert signed.total() <= 12


async def test_a_get_verifies_what_it_gives(catalogue: SqliteCatalogue, make: Maker, signed: Counter[str]) -> None:
    await catalogue.publish_version(make.publish(b"key", inline=True))
    signed.clear()
    await catalogue.get_version(BUCKET.bucket_id, b"key")
    assert signed == {"versions": 1, "contents": 1, "blobs": 1, "inline_blobs": 1}
    signed.clear()
    await catalogue.get_version(BUCKET.bucket_id, b"key", with_content=False)
    assert signed == {"versions": 1}


@pytest.mark.parametrize("size", [1_000, 100_000])
async def test_a_page_visits_its_entries_however_many_keys_there_are(
    catalogue: SqliteCatalogue, make: Maker, signed: Counter[str], size: int
) -> None:
    row = rows.version_row(make.publish(b"?").version, link_id=None)

    def fill(tx: SqliteTransaction) -> None:
        for number in range(size):
            key = b"p%03d/%06d" % (number % 500, number)
            tx.insert(VERSIONS, row._replace(object_key=key, sequence=number))

    await catalogue._writer.submit(fill)
    for query, entries in (
        (ListQuery(start_after=b"p1", limit=100), 100),
        (ListQuery(start_after=b"p1", limit=500), 500),
        (ListQuery(delimiter=b"/", limit=100), 100),
        (ListQuery(delimiter=b"/", limit=500), 500),
        (ListQuery(prefix=b"p01", delimiter=b"/", limit=100), 10),
        (ListQuery(prefix=b"p", delimiter=b"/", start_after=b"p250/", limit=1000), 249),
    ):
        signed.clear()
        page = await catalogue.list_versions(BUCKET.bucket_id, query)
        assert len(page.versions) + len(page.common_prefixes) == entries, query
        assert signed["versions"] <= entries + 1 + FIRST_SLICE, query
        assert signed.total() == signed["versions"], query
    signed.clear()
    history = await catalogue.list_history(BUCKET.bucket_id, HistoryQuery(key_marker=b"p1", limit=200))
    assert len(history.versions) == 200
    assert signed["versions"] <= 200 + 1 + FIRST_SLICE
