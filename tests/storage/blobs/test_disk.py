"""The disk store keeps the contract, and each call to the kernel may fail once: nothing seen, nothing left or held.

FAULTS section 3: F7, F8, F9.
"""

import asyncio
import errno
import os
import resource
import stat
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import aiofiles.os
import pytest

from storage.blobs import disk
from storage.blobs.base import BlobStore
from storage.blobs.disk import DiskBlobStore
from storage.errors import BlobExists, BlobReadFailed, RealmMismatch, StorageError, StorageFull, StorageUnavailable
from tests.suites.blobs import MIB, REALM, BlobStoreSuite, blob_id, chunks, content, eventually, names, pieces, read_all

PUT_CALLS: Final = ("open", "mkdir", "writev", "fdatasync", "link", "unlink", "fsync", "close")
"""Every function of `os` that a put goes through."""
FULL_ERRORS: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def unfinished(folder: Path) -> list[Path]:
    return list(folder.rglob("*.tmp"))


def everything(folder: Path) -> list[tuple[Path, os.stat_result]]:
    return [(path, path.stat()) for path in folder.rglob("*")]


class FailOnce:
    """Stands before a function of `os` and fails its `number`-th call."""

    def __init__(self, name: str, number: int, error: int) -> None:
        self._original: Callable[..., Any] = getattr(os, name)
        self._name = name
        self._number = number
        self._error = error
        self.calls = 0

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.calls += 1
        if self.calls == self._number:
            if self._name == "close":
                self._original(*arguments)  # Linux has closed it, whatever it says
            raise OSError(self._error, os.strerror(self._error))
        return self._original(*arguments, **options)


class TestDiskBlobStore(BlobStoreSuite):
    folder: Path
    descriptors: int

    def make(self, folder: Path) -> BlobStore:
        self.folder = folder
        self.descriptors = open_descriptors()
        return DiskBlobStore(folder)

    def check_nothing_left(self, store: BlobStore) -> None:
        assert unfinished(self.folder) == []
        # One for the listing itself is in both counts; readers of the tests are closed by now.
        assert open_descriptors() == self.descriptors


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DiskBlobStore]:
    store = DiskBlobStore(tmp_path)
    yield store
    asyncio.run(store.close())


def patch(monkeypatch: pytest.MonkeyPatch, fault: FailOnce, name: str) -> None:
    monkeypatch.setattr(os, name, fault)


@pytest.mark.anyio
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, errno.EMFILE])
@pytest.mark.parametrize("call", PUT_CALLS)
async def test_every_call_of_a_put_fails_once(
    store: DiskBlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: int
) -> None:
    data = content(2 * MIB + 100)
    number = 0
    while True:
        number += 1
        name = blob_id(number << 96)  # a folder that is made by this put
        before = open_descriptors()
        with monkeypatch.context() as context:
            fault = FailOnce(call, number, error)
            patch(context, fault, call)
            failure: StorageError | None = None
            try:
                assert await store.put(name, chunks(data)) == len(data)
            except StorageError as told:
                failure = told
        assert open_descriptors() == before
        visible = name in await names(store)
        if failure is None:
            # Told as done: whole, and durable. Only the close after the sync, and taking the temporary away, may fail.
            assert await read_all(store, name) == data
        else:
            assert not visible
            assert type(failure) is (StorageFull if error in FULL_ERRORS else StorageUnavailable)
            assert str(tmp_path) not in str(failure)
        if fault.calls >= number:
            assert failure is not None or call in ("close", "unlink"), f"{call} failed unheard"
        else:
            assert failure is None
            break
        # A temporary file may stay only where its removal itself failed; sweep takes it.
        assert unfinished(tmp_path) == [] or call == "unlink"
        await store.reclaim_debris(datetime.now(UTC) + timedelta(minutes=1))
        assert unfinished(tmp_path) == []
    assert number > 1, f"a put never calls os.{call}"


@pytest.mark.anyio
@pytest.mark.parametrize("size", [1, 7, 4096])
async def test_short_writes_lose_nothing(store: DiskBlobStore, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    original = os.writev

    def short(fd: int, views: list[memoryview]) -> int:
        return original(fd, [views[0][:size]])

    monkeypatch.setattr(os, "writev", short)
    parts = [content(3000, seed) for seed in range(9)]
    await store.put(blob_id(1), pieces(parts))
    assert await read_all(store, blob_id(1)) == b"".join(parts)


@pytest.mark.anyio
async def test_short_reads_are_completed(store: DiskBlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    data = content(10_000)
    await store.put(blob_id(1), chunks(data))
    original = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, length, offset: original(fd, min(length, 999), offset))
    assert await read_all(store, blob_id(1)) == data


@pytest.mark.anyio
async def test_what_is_no_file_is_never_waited_for(store: DiskBlobStore) -> None:
    """Who writes to the disk can put a named pipe in a blob's place, and one for each thread stopped every read."""
    await store.put(blob_id(0), chunks(b"x"))
    for number in range(1, disk.POOL_SIZE + 2):
        await store.put(blob_id(number), chunks(b"x"))
        path = store._path(blob_id(number))
        path.unlink()
        path.mkdir() if number == 1 else os.mkfifo(path)
    async with asyncio.timeout(5):
        for number in range(1, disk.POOL_SIZE + 2):
            with pytest.raises(BlobReadFailed):
                await store.open(blob_id(number))
        assert await read_all(store, blob_id(0)) == b"x"
        store._realm_file.unlink(missing_ok=True)
        os.mkfifo(store._realm_file)
        assert await store.realm_id() != REALM


@pytest.mark.anyio
async def test_a_file_cut_short_under_a_reader_is_told(store: DiskBlobStore, tmp_path: Path) -> None:
    await store.put(blob_id(1), chunks(content(1000)))
    reader = await store.open(blob_id(1))
    os.truncate(path_of(tmp_path, 1), 500)
    with pytest.raises(BlobReadFailed):
        await reader.read(0, 1000)
    await reader.close()


def path_of(folder: Path, number: int) -> Path:
    name = blob_id(number).hex()
    return folder / "b" / name[:2] / name[2:4] / name


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("call", "error", "failure"),
    [
        ("open", errno.EIO, BlobReadFailed),
        ("open", errno.EACCES, BlobReadFailed),
        ("open", errno.EMFILE, StorageUnavailable),
        ("fstat", errno.EIO, BlobReadFailed),
        ("fstat", errno.ENOMEM, StorageUnavailable),
        ("dup", errno.EMFILE, StorageUnavailable),
        ("dup", errno.EIO, BlobReadFailed),
        ("pread", errno.EIO, BlobReadFailed),
        ("pread", errno.ENOMEM, StorageUnavailable),
    ],
)
async def test_reads_that_fail_hold_no_descriptor(
    store: DiskBlobStore, monkeypatch: pytest.MonkeyPatch, call: str, error: int, failure: type[StorageError]
) -> None:
    await store.put(blob_id(1), chunks(b"data"))
    before = open_descriptors()
    with monkeypatch.context() as context:
        patch(context, FailOnce(call, 1, error), call)
        with pytest.raises(failure) as told:
            await read_all(store, blob_id(1))
        assert type(told.value) is failure
    assert open_descriptors() == before
    assert await read_all(store, blob_id(1)) == b"data"


@pytest.mark.anyio
async def test_cancelled_reads_and_opens_hold_no_descriptor(store: DiskBlobStore) -> None:
    await store.put(blob_id(1), chunks(content(MIB)))
    before = open_descriptors()
    reader = await store.open(blob_id(1))
    for turns in range(3):
        # More than the pool has threads, so that some are cancelled before they begin.
        tasks = [asyncio.ensure_future(reader.read(0, MIB)) for _ in range(4 * disk.POOL_SIZE)]
        openings = [asyncio.ensure_future(store.open(blob_id(1))) for _ in range(4 * disk.POOL_SIZE)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in (*tasks, *openings):
            task.cancel()
        results = await asyncio.gather(*tasks, *openings, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
    await reader.close()

    def check_closed() -> None:
        assert open_descriptors() == before

    await eventually(check_closed)


@pytest.mark.anyio
@pytest.mark.parametrize("call", ["unlink", "open", "fsync", "close"])
async def test_a_delete_that_fails_says_so_and_can_be_repeated(
    store: DiskBlobStore, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    await store.put(blob_id(1), chunks(b"x"))
    before = open_descriptors()
    with monkeypatch.context() as context:
        patch(context, FailOnce(call, 1, errno.EIO), call)
        with pytest.raises(StorageUnavailable):
            await store.delete(blob_id(1))
    # The second time it may be gone already; its folder is synced all the same.
    with monkeypatch.context() as context:
        synced = FailOnce("fsync", 0, 0)
        patch(context, synced, "fsync")
        await store.delete(blob_id(1))
    assert synced.calls == 1
    assert await names(store) == []
    assert open_descriptors() == before


@pytest.mark.anyio
async def test_files_and_folders_are_private(store: DiskBlobStore, tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        await store.claim(REALM)
        await store.put(blob_id(1), chunks(b"x"))
    finally:
        os.umask(previous)
    for path, status in everything(tmp_path):
        assert stat.S_IMODE(status.st_mode) == (0o700 if stat.S_ISDIR(status.st_mode) else 0o600), path


@pytest.mark.anyio
async def test_lays_blobs_out_as_documented(store: DiskBlobStore, tmp_path: Path) -> None:
    name = bytes(range(16))
    await store.claim(REALM)
    await store.put(name, chunks(b"sealed"))
    assert (tmp_path / "b/00/01/000102030405060708090a0b0c0d0e0f").read_bytes() == b"sealed"
    assert (tmp_path / "realm").read_text() == REALM.hex() + "\n"


@pytest.mark.anyio
async def test_what_else_lies_in_the_folder_is_a_stranger(store: DiskBlobStore, tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "realm.tmp").write_bytes(b"cut off")
    assert await store.stranger() is None
    (tmp_path / "realm.bak").write_bytes(b"")
    assert await store.stranger() == "realm.bak"
    assert await DiskBlobStore(tmp_path / "none").stranger() is None


@pytest.mark.anyio
async def test_debris_goes_when_it_is_old(store: DiskBlobStore, tmp_path: Path) -> None:
    await store.put(blob_id(1), chunks(b"x"))
    folder = path_of(tmp_path, 1).parent
    debris = folder / f"{blob_id(2).hex()}.0011.tmp"
    debris.write_bytes(b"unfinished")
    (folder / "no blob").write_bytes(b"")
    (folder / ("z" * 32)).write_bytes(b"")
    assert await names(store) == [blob_id(1)]
    assert await store.reclaim_debris(datetime.now(UTC) - timedelta(minutes=1)) == 0
    assert await store.reclaim_debris(datetime.now(UTC) + timedelta(minutes=1)) == 1
    assert not debris.exists()
    assert await read_all(store, blob_id(1)) == b"x"


@pytest.mark.anyio
@pytest.mark.parametrize("text", [b"no hexadecimal\n", b"\xff\xfe"])
async def test_a_damaged_realm_file_is_no_unclaimed_store(store: DiskBlobStore, tmp_path: Path, text: bytes) -> None:
    (tmp_path / "realm").write_bytes(text)
    with pytest.raises(RealmMismatch):
        await store.realm_id()
    with pytest.raises(RealmMismatch):
        await store.claim(REALM)


@pytest.mark.anyio
@pytest.mark.parametrize("call", ["open", "writev", "fsync", "close", "rename", "mkdir"])
async def test_a_claim_that_fails_can_be_repeated(
    store: DiskBlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    before = open_descriptors()
    with monkeypatch.context() as context:
        patch(context, FailOnce(call, 1, errno.ENOSPC), call)
        with pytest.raises(StorageFull):
            await store.claim(REALM)
    assert open_descriptors() == before
    await store.claim(REALM)
    assert await store.realm_id() == REALM
    assert unfinished(tmp_path) == []


@pytest.mark.anyio
async def test_a_realm_file_that_cannot_be_read_is_told(store: DiskBlobStore, tmp_path: Path) -> None:
    (tmp_path / "realm").mkdir()
    with pytest.raises(StorageUnavailable):
        await store.realm_id()


async def failing_stat(_path: Path) -> os.stat_result:
    raise OSError(errno.EIO, "failed")


@pytest.mark.anyio
async def test_walks_that_fail_are_told(store: DiskBlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await store.put(blob_id(1), chunks(b"x"))
    with monkeypatch.context() as context:
        patch(context, FailOnce("scandir", 1, errno.EIO), "scandir")
        with pytest.raises(BlobReadFailed):
            await names(store)
    with monkeypatch.context() as context:
        patch(context, FailOnce("scandir", 1, errno.EIO), "scandir")
        with pytest.raises(StorageUnavailable):
            await store.reclaim_debris(datetime.now(UTC))
    (tmp_path / "b" / "stray").write_bytes(b"")
    with pytest.raises(BlobReadFailed):
        await names(store)
    with monkeypatch.context() as context:
        context.setattr(aiofiles.os, "stat", failing_stat)
        with pytest.raises(BlobReadFailed):
            await store.stat(blob_id(1))


@pytest.mark.anyio
async def test_check_finds_a_disk_that_alters_bytes(store: DiskBlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    original = os.pread
    monkeypatch.setattr(os, "pread", lambda *arguments: bytes(byte ^ 1 for byte in original(*arguments)))
    with pytest.raises(StorageUnavailable, match="other bytes"):
        await store.check()
    assert await names(store) == []


@pytest.mark.anyio
async def test_a_file_size_limit_is_a_full_store(store: DiskBlobStore, tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, limits[1]))  # Python ignores SIGXFSZ: writes tell EFBIG
    try:
        with pytest.raises(StorageFull):
            await store.put(blob_id(1), chunks(content(3 * MIB)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert await names(store) == []
    assert unfinished(tmp_path) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.anyio
async def test_a_full_disk(small_disk: Path) -> None:
    store = DiskBlobStore(small_disk)
    before = open_descriptors()
    held = content(MIB)
    await store.put(blob_id(1), chunks(held))
    for number in (2, 3):
        with pytest.raises(StorageFull):
            await store.put(blob_id(number), chunks(content(5 * MIB)))
    puts = (store.put(blob_id(number), chunks(content(2 * MIB))) for number in (4, 5, 6, 7))
    # Each is waited for: one that still wrote while the next lines delete would have its space.
    outcomes = await asyncio.gather(*puts, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} <= {int, StorageFull}
    assert any(isinstance(outcome, StorageFull) for outcome in outcomes)
    for number in range(4, 8):
        await store.delete(blob_id(number))
    assert await read_all(store, blob_id(1)) == held
    await store.delete(blob_id(1))
    await store.put(blob_id(8), chunks(content(3 * MIB)))
    await store.close()
    assert unfinished(small_disk) == []
    assert open_descriptors() == before


@pytest.mark.anyio
async def test_an_id_taken_while_the_put_ran_is_found_at_the_link(
    store: DiskBlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.put(blob_id(1), chunks(b"first"))
    with monkeypatch.context() as context:
        context.setattr(Path, "exists", lambda _path: False)
        with pytest.raises(BlobExists):
            await store.put(blob_id(1), chunks(b"second"))
    assert await read_all(store, blob_id(1)) == b"first"
    assert unfinished(tmp_path) == []


@pytest.mark.anyio
async def test_what_the_page_cache_holds_takes_no_hop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = DiskBlobStore(tmp_path)
    await store.claim(REALM)
    data = content(2 * MIB)
    await store.put(blob_id(1), chunks(data))
    reader = await store.open(blob_id(1))
    monkeypatch.setattr(store._pool, "submit", _never)
    taken = reader.read_at_hand(MIB, MIB)
    assert taken is not None, "it was written a moment ago"
    assert bytes(taken) == data[MIB:]
    again = reader.read_at_hand(0, 1000)
    assert again is not None
    assert again.obj is taken.obj, "one buffer for all of them"
    monkeypatch.undo()
    await reader.close()
    await store.close()


def _never(*_: object) -> None:
    raise AssertionError("a hop to the pool")


def _refused(*_: object) -> int:
    raise BlockingIOError(errno.EAGAIN, "would wait")


def _unsupported(*_: object) -> int:
    raise OSError(errno.EOPNOTSUPP, "no such flag here")


@pytest.mark.anyio
@pytest.mark.parametrize("preadv", [_refused, _unsupported, lambda *_: 0, lambda *_: 999])
async def test_what_would_wait_or_is_cut_is_not_at_hand(
    preadv: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = DiskBlobStore(tmp_path)
    await store.claim(REALM)
    await store.put(blob_id(1), chunks(content(1000)))
    reader = await store.open(blob_id(1))
    monkeypatch.setattr(os, "preadv", preadv)
    assert reader.read_at_hand(0, 1000) is None
    assert await reader.read(0, 1000) == content(1000)
    monkeypatch.undo()
    monkeypatch.setattr(disk, "_NO_WAIT", None)
    assert reader.read_at_hand(0, 1000) is None, "a system without the flag"
    await reader.close()
    await store.close()
