"""Catalogues that older programs wrote are verified and brought to today's schema, whole or not at all."""

import random
import shutil
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from storage import seams
from storage.catalogue.commands import ListQuery, MoveWraps, UploadsQuery, WrapOwner, WrapsMark
from storage.catalogue.connection import connect
from storage.catalogue.files import peek
from storage.catalogue.rowmac import RowMac
from storage.catalogue.schema import MIGRATIONS, SCHEMA_VERSION
from storage.catalogue.sqlite import SqliteCatalogue
from storage.errors import CatalogueUnsafe, RowDamaged
from tests.suites.catalogue import BUCKET, REALM, FakeClock, Maker
from tests.suites.wraps import envelopes_blob, move_of

DATABASE_KEY = bytes(range(32))
ROW_MAC_KEY = bytes(range(32, 64))
VECTORS = Path(__file__).parents[2] / "vectors" / "catalogue"
OLD = sorted(int(path.stem.removeprefix("schema_")) for path in VECTORS.glob("schema_*.db"))

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=OLD)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return Path(shutil.copy(VECTORS / f"schema_{request.param}.db", tmp_path / "catalogue.db"))


def reopen(path: Path) -> SqliteCatalogue:
    return SqliteCatalogue.open(path, REALM, DATABASE_KEY, ROW_MAC_KEY, FakeClock(), reserve_bytes=0)


def version_of(path: Path) -> int:
    return peek(path, REALM, DATABASE_KEY, RowMac(ROW_MAC_KEY, REALM))


def change(path: Path, statement: str) -> None:
    connection = connect(path, DATABASE_KEY, cache_kib=100)
    connection.execute(statement)
    connection.close()


def test_there_is_an_old_catalogue_for_every_migration() -> None:
    assert sorted(MIGRATIONS) == OLD


async def test_an_old_catalogue_is_served_as_it_was(old: Path) -> None:
    assert version_of(old) < SCHEMA_VERSION
    catalogue = reopen(old)
    page = await catalogue.list_versions(BUCKET.bucket_id, ListQuery())
    assert [version.object_key for version in page.versions] == [b"copy", b"original", b"whole"]
    original = Maker().publish(b"original", inline=True)
    found = await catalogue.get_version(BUCKET.bucket_id, b"original")
    assert found.content == original.content
    (upload,) = (await catalogue.list_uploads(BUCKET.bucket_id, UploadsQuery())).uploads
    assert len(await catalogue.list_parts(upload.upload_id)) == 1
    await catalogue.verify()
    # What the new schema is for works on it.
    wraps = (await catalogue.list_wraps(WrapsMark(), 100)).wraps
    kinds = [wrap.owner for wrap in wraps]
    content, blob, up = WrapOwner.CONTENT, WrapOwner.BLOB, WrapOwner.UPLOAD
    assert kinds == [up, content, blob, content, content, blob, content]
    lease = await catalogue.acquire_lease("keys", "one", timedelta(hours=1))
    moves = tuple(move_of(wrap, b"new") for wrap in {wrap.wrap_id: wrap for wrap in wraps}.values())
    assert len(await catalogue.move_wraps(MoveWraps(envelopes_blob(Maker(random.Random(1))), 1, moves), lease)) == len(
        moves
    )
    await catalogue.verify()
    await catalogue.close()
    assert version_of(old) == SCHEMA_VERSION
    again = reopen(old)
    await again.verify()
    await again.close()


async def test_a_damaged_row_stops_it(old: Path) -> None:
    before = version_of(old)
    change(old, "UPDATE contents SET reference_count = reference_count + 1")
    with pytest.raises(RowDamaged, match="MAC"):
        reopen(old)
    assert version_of(old) == before


async def test_a_missing_row_stops_it(old: Path) -> None:
    before = version_of(old)
    change(old, "DELETE FROM inline_blobs")
    with pytest.raises(RowDamaged, match="without its bytes"):
        reopen(old)
    assert version_of(old) == before


def test_a_newer_schema_and_one_too_old_are_refused(old: Path) -> None:
    for number in (SCHEMA_VERSION + 1, min(MIGRATIONS) - 1):
        change(old, f"UPDATE realm SET schema_version = {number}")  # noqa: S608  # a number
        with pytest.raises(CatalogueUnsafe, match=f"schema {number}"):
            reopen(old)
        with pytest.raises(CatalogueUnsafe, match=f"schema {number}"):
            version_of(old)


_KILLED = """
import os, signal, sys
from pathlib import Path
from storage import seams
from storage.catalogue.sqlite import SqliteCatalogue
from tests.suites.catalogue import REALM, FakeClock
seams.hook = lambda name: os.kill(os.getpid(), signal.SIGKILL) if name == sys.argv[2] else None
SqliteCatalogue.open(Path(sys.argv[1]), REALM, bytes(range(32)), bytes(range(32, 64)), FakeClock(), reserve_bytes=0)
"""


@pytest.mark.parametrize("point", ["catalogue.migrated", "catalogue.migration_committed"])
async def test_killed_on_the_way_it_is_the_old_one_or_the_new_one(old: Path, point: str) -> None:
    assert seams.hook is None
    done = subprocess.run([sys.executable, "-c", _KILLED, str(old), point], check=False)  # noqa: ASYNC221  # ours
    assert done.returncode == -signal.SIGKILL
    catalogue = reopen(old)
    await catalogue.verify()
    assert len((await catalogue.list_wraps(WrapsMark(), 100)).wraps) == 7
    await catalogue.close()
    assert version_of(old) == SCHEMA_VERSION
