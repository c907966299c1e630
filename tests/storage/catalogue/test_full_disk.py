"""A real full disk: a small tmpfs. What would grow is refused, deletes commit, and all comes back with the space."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.catalogue.commands import DeleteVersion, ListQuery
from storage.catalogue.conflicts import NoSuchVersion
from storage.catalogue.sqlite import SqliteCatalogue
from storage.errors import StorageFull
from tests.suites.catalogue import BUCKET, REALM, FakeClock, Maker, populate

pytestmark = pytest.mark.anyio

DATABASE_KEY = bytes(range(32))
ROW_MAC_KEY = bytes(range(32, 64))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a tmpfs")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_deletes_commit_on_a_full_disk(small_disk: Path) -> None:
    path, clock, make = small_disk / "catalogue.db", FakeClock(), Maker()
    catalogue = SqliteCatalogue.create(path, REALM, DATABASE_KEY, ROW_MAC_KEY, clock, reserve_bytes=1 << 20)
    await populate(catalogue)
    written: list[bytes] = []
    refusals = 0
    for number in range(5000):
        key = b"%05d" % number
        try:
            await catalogue.publish_version(make.publish(key, inline=True))
        except StorageFull:
            refusals += 1
            with pytest.raises(NoSuchVersion):
                await catalogue.get_version(BUCKET.bucket_id, key)
            if refusals == 3:
                break
        else:
            written.append(key)
        if number == 60:  # somebody else takes most of the disk, but for the reserve and a little
            stat = os.statvfs(small_disk)
            filler = stat.f_bavail * stat.f_frsize - (900 << 10)
            with (small_disk / "filler").open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, filler)
    assert refusals == 3, "the disk was never full"
    # How many more fitted depends on when the last checkpoint ran: it gives the log's pages back.
    assert len(written) > 60
    with (small_disk / "last").open("wb") as file:  # not one page is left
        while left := os.statvfs(small_disk).f_bavail:
            os.posix_fallocate(file.fileno(), file.tell(), left * 4096)
            file.seek(left * 4096, os.SEEK_CUR)
    assert os.statvfs(small_disk).f_bavail == 0

    with pytest.raises(StorageFull):
        await catalogue.publish_version(make.publish(b"more", inline=True))
    page = await catalogue.list_versions(BUCKET.bucket_id, ListQuery(limit=10_000))
    assert [version.object_key for version in page.versions] == written

    answers = await catalogue.delete_versions(BUCKET.bucket_id, [DeleteVersion(key) for key in written[:50]])
    assert all(getattr(answer, "removed_version_id", None) == "null" for answer in answers)
    for key in written[50:]:
        await catalogue.delete_versions(BUCKET.bucket_id, [DeleteVersion(key)])
    assert (await catalogue.list_versions(BUCKET.bucket_id, ListQuery())).versions == ()
    await catalogue.verify()

    (small_disk / "last").unlink()
    (small_disk / "filler").unlink()
    await asyncio.gather(*(catalogue.publish_version(make.publish(key, inline=True)) for key in written[:50]))
    assert path.with_name("catalogue.db.reserve").stat().st_size == 1 << 20
    await catalogue.verify()
    await catalogue.close()

    again = SqliteCatalogue.open(path, REALM, DATABASE_KEY, ROW_MAC_KEY, clock, reserve_bytes=1 << 20)
    assert len((await again.list_versions(BUCKET.bucket_id, ListQuery())).versions) == 50
    await again.close()
