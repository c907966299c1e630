"""Blobs as files on a local disk: temporary file, write, fdatasync, link without replacing, fsync of the folder.

Layout: `realm` (the realm id in hexadecimal) and `b/<2 hex>/<2 hex>/<32 hex>`; a temporary file stands in its blob's
own folder under a name that ends in `.tmp`. Bulk bytes go through a thread pool of this store's own in writes of
about `WRITE_BYTES`, one under way while the next is made; rarer file operations use aiofiles.
"""

import asyncio
import contextlib
import errno
import os
import secrets
import stat
from collections.abc import AsyncIterable, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import aiofiles.os

from storage.blobs.base import BLOB_ID_SIZE, BlobStat, Buffer
from storage.budget import StreamBudget
from storage.errors import (
    BlobExists,
    BlobMissing,
    BlobReadFailed,
    RealmMismatch,
    StorageError,
    StorageFull,
    StorageUnavailable,
)
from storage.seams import reach
from storage.syncing import sync_folder

WRITE_BYTES = 1024 * 1024
"""Bytes gathered before one write is handed to the pool: an executor hop costs as much as sealing 64 KiB."""

WRITE_BUDGET_BYTES = 8 * 1024 * 1024
"""Bytes that wait to be written in all streams together; many streams get smaller writes."""

MIN_WRITE_BYTES = 128 * 1024
"""No write but a blob's last one is smaller."""

POOL_SIZE = 8
"""Threads that write, sync and read; each stream has at most one operation under way."""

MAX_IOV = 512
"""Buffers in one writev; the kernel's limit (IOV_MAX) is 1024."""

_NO_WAIT: int | None = getattr(os, "RWF_NOWAIT", None)
"""Flag of preadv2(2) on Linux: take what the page cache has and never wait for the medium."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""What the process or the machine lacks for a moment; it says nothing about the blob."""
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""To open a file that others may have put there: of a named pipe the end would be waited for without end."""
_REALM_BYTES = 256
"""Nothing longer is a realm's id."""
_FILE_MODE = 0o600
_FOLDER_MODE = 0o700
_TEMPORARY_SUFFIX = ".tmp"
_OF_THE_SYSTEM = frozenset({"lost+found"})
"""What lies in the root of an empty file system."""

_T = TypeVar("_T")


def _as_storage_error(error: OSError, doing: str) -> StorageError:
    """Translate an error of the medium; the message names the errno, never a path."""
    reason = os.strerror(error.errno) if error.errno else type(error).__name__
    if error.errno in _FULL:
        return StorageFull(f"no space left while {doing}: {reason}")
    return StorageUnavailable(f"the disk failed while {doing}: {reason}")


def _as_read_error(error: OSError, doing: str) -> StorageError:
    if error.errno in _EXHAUSTED:
        return _as_storage_error(error, doing)
    return BlobReadFailed(f"the disk failed while {doing}: {os.strerror(error.errno or 0)}")


def _write_all(fd: int, buffers: list[Buffer]) -> None:
    """Write every byte of `buffers`; the kernel may take fewer than it is offered."""
    views = [memoryview(buffer) for buffer in buffers if len(buffer)]
    while views:
        written = os.writev(fd, views[:MAX_IOV])
        while views and written >= len(views[0]):
            written -= len(views[0])
            views.pop(0)
        if written:
            views[0] = views[0][written:]


def _discard(fd: int, temporary: Path) -> None:
    # What counts is synced by now. A close that fails has closed all the same, as close(2) tells of Linux.
    with contextlib.suppress(OSError):
        os.close(fd)
    # It is gone where the blob was published; and a medium that fails here leaves debris for sweep.
    with contextlib.suppress(OSError):
        temporary.unlink()


def _withdraw(final: Path) -> None:
    """Make a published blob unseen again; where that fails, it is an orphan for sweep."""
    with contextlib.suppress(OSError):
        final.unlink()


class DiskBlobReader:
    """An open file; its bytes stay readable after the blob was deleted."""

    def __init__(self, fd: int, sealed_size: int, submit: Callable[..., "asyncio.Future[bytes]"]) -> None:
        self._fd = fd
        self._sealed_size = sealed_size
        self._submit = submit
        self._at_hand = bytearray()

    @property
    def sealed_size(self) -> int:
        """Bytes at rest, as the file system tells it."""
        return self._sealed_size

    async def read(self, offset: int, length: int) -> bytes:
        """Return exactly that span. Raises: BlobReadFailed, StorageUnavailable."""
        if offset < 0 or length < 0 or offset + length > self._sealed_size:
            raise BlobReadFailed("the span lies outside the blob")
        assert self._fd >= 0, "the reader is closed"
        try:
            fd = os.dup(self._fd)
        except OSError as error:
            raise _as_read_error(error, "reading") from error
        # Shielded: a job that is cancelled before it began would never close its descriptor.
        return await asyncio.shield(self._submit(self._read, fd, offset, length))

    @staticmethod
    def _read(fd: int, offset: int, length: int) -> bytes:
        # On a descriptor of its own, so that a close() beside it can never make it read another file.
        try:
            pieces: list[bytes] = []
            while length:
                piece = os.pread(fd, length, offset)
                if not piece:
                    raise BlobReadFailed("the blob is shorter than its file said")
                if len(piece) == length and not pieces:
                    return piece
                pieces.append(piece)
                offset += len(piece)
                length -= len(piece)
            return b"".join(pieces)
        except OSError as error:
            raise _as_read_error(error, "reading") from error
        finally:
            os.close(fd)

    def read_at_hand(self, offset: int, length: int) -> memoryview | None:
        """Return that span if all of it is in the page cache: a copy at the speed of memory, without a hop to the pool.

        Source: preadv2(2), RWF_NOWAIT.
        """
        assert self._fd >= 0, "the reader is closed"
        if _NO_WAIT is None or offset < 0 or not 0 < length <= self._sealed_size - offset:
            return None
        if len(self._at_hand) < length:
            self._at_hand = bytearray(length)
        view = memoryview(self._at_hand)[:length]
        try:
            return view if os.preadv(self._fd, [view], offset, _NO_WAIT) == length else None
        except OSError:
            return None

    async def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)


class DiskBlobStore:
    """Blobs under one folder; the contract is `storage.blobs.base.BlobStore`. One process owns the folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._blobs = root / "b"
        self._realm_file = root / "realm"
        self._pool = ThreadPoolExecutor(POOL_SIZE, thread_name_prefix="blobs")
        self._made_folders: set[Path] = set()
        self._budget = StreamBudget(WRITE_BUDGET_BYTES, least_bytes=MIN_WRITE_BYTES, most_bytes=WRITE_BYTES)

    def _submit(self, function: Callable[..., _T], *arguments: object) -> "asyncio.Future[_T]":
        return asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    async def _run(self, function: Callable[..., _T], *arguments: object) -> _T:
        return await self._submit(function, *arguments)

    def _path(self, blob_id: bytes) -> Path:
        assert len(blob_id) == BLOB_ID_SIZE
        name = blob_id.hex()
        return self._blobs / name[:2] / name[2:4] / name

    async def realm_id(self) -> bytes | None:
        """The realm in the `realm` file.

        Raises:
            RealmMismatch: the file holds no realm id.
            StorageUnavailable: the disk failed.
        """
        return await self._run(self._read_realm)

    def _read_realm(self) -> bytes | None:
        try:
            fd = os.open(self._realm_file, _READ)
            try:
                text = os.read(fd, _REALM_BYTES)
            finally:
                os.close(fd)
            return bytes.fromhex(text.decode("ascii").strip())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _as_storage_error(error, "reading the realm file") from error
        except ValueError as error:  # not ASCII, or not hexadecimal
            raise RealmMismatch("the blob store's realm file is damaged; restore it from a backup") from error

    async def claim(self, realm_id: bytes) -> None:
        """Write the `realm` file. Raises: RealmMismatch, StorageFull, StorageUnavailable."""
        await self._run(self._claim, realm_id)

    def _claim(self, realm_id: bytes) -> None:
        held = self._read_realm()
        if held is not None:
            if held != realm_id:
                raise RealmMismatch("the blob store belongs to another realm")
            return
        try:
            self._write_realm(realm_id)
        except OSError as error:
            raise _as_storage_error(error, "claiming the store") from error

    async def release(self, realm_id: bytes) -> None:
        """Remove the `realm` file. Raises: RealmMismatch, StorageUnavailable."""
        await self._run(self._release, realm_id)

    def _release(self, realm_id: bytes) -> None:
        held = self._read_realm()
        if held is None:
            return
        if held != realm_id:
            raise RealmMismatch("the blob store belongs to another realm")
        try:
            self._realm_file.unlink()
            sync_folder(self._root)
        except OSError as error:
            raise _as_storage_error(error, "releasing the store") from error

    def _write_realm(self, realm_id: bytes) -> None:
        self._blobs.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        temporary = self._realm_file.with_suffix(_TEMPORARY_SUFFIX)
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)
        try:
            _write_all(fd, [realm_id.hex().encode("ascii") + b"\n"])
            os.fsync(fd)
        finally:
            os.close(fd)
        temporary.rename(self._realm_file)
        sync_folder(self._root)

    async def _acquire(self, function: Callable[..., _T], release: Callable[[_T], None], *arguments: object) -> _T:
        """Run `function`; if the caller is cancelled meanwhile, `release` what it gives, so that nothing leaks."""
        job = self._submit(function, *arguments)
        try:
            return await asyncio.shield(job)
        except asyncio.CancelledError:
            job.add_done_callback(
                lambda done: release(done.result()) if not done.cancelled() and done.exception() is None else None
            )
            raise

    async def put(self, blob_id: bytes, chunks: AsyncIterable[Buffer]) -> int:
        """Store a blob durably. Raises: BlobExists, StorageFull, StorageUnavailable, and what `chunks` raises."""
        with self._budget.stream():
            return await self._put(self._path(blob_id), chunks)

    async def _put(self, final: Path, chunks: AsyncIterable[Buffer]) -> int:
        temporary = final.with_name(f"{final.name}.{secrets.token_hex(4)}{_TEMPORARY_SUFFIX}")
        fd = await self._acquire(self._create, lambda fd: _discard(fd, temporary), final, temporary)
        job: asyncio.Future[None] | None = None
        withdrawn: Path | None = None
        size = 0
        try:
            gathered: list[Buffer] = []
            gathered_size = 0
            async for chunk in chunks:
                gathered.append(chunk)
                gathered_size += len(chunk)
                if gathered_size >= self._budget.piece_bytes:
                    if job is not None:
                        await asyncio.shield(job)
                    job = self._submit(self._write, fd, gathered)
                    size += gathered_size
                    gathered, gathered_size = [], 0
            if job is not None:
                await asyncio.shield(job)
            job = self._submit(self._publish, fd, gathered, temporary, final)
            withdrawn = final
            await asyncio.shield(job)
            withdrawn = None
            return size + gathered_size
        finally:
            # A cancelled request must not leave the file behind: the clean-up outlives it.
            await asyncio.shield(asyncio.ensure_future(self._clean_up(fd, job, temporary, withdrawn)))

    async def _clean_up(
        self, fd: int, job: "asyncio.Future[None] | None", temporary: Path, withdrawn: Path | None
    ) -> None:
        """Close and remove the temporary file, whatever happened; never before the last job has left it.

        `withdrawn` is the blob that the job publishes although nobody waits for it any more.
        """
        if job is not None:
            # The failure that brought us here is the one to tell.
            with contextlib.suppress(StorageError):
                await job
                if withdrawn is not None:
                    await self._submit(_withdraw, withdrawn)
        await self._submit(_discard, fd, temporary)

    def _create(self, final: Path, temporary: Path) -> int:
        try:
            self._make_folder(final.parent)
            if final.exists():
                raise BlobExists("a blob of this id is already stored")
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)
        except OSError as error:
            raise _as_storage_error(error, "creating a blob") from error
        reach("blob.created")
        return fd

    def _make_folder(self, folder: Path) -> None:
        """Make a blob's folder with durable entries up to the root; each folder is looked at once per process."""
        if folder in self._made_folders:
            return
        for step in (self._blobs, folder.parent, folder):
            with contextlib.suppress(FileExistsError):
                step.mkdir(mode=_FOLDER_MODE)
            # Also where it was there: the crash that an earlier process died of may have come before its sync.
            sync_folder(step.parent)
        self._made_folders.add(folder)

    @staticmethod
    def _write(fd: int, buffers: list[Buffer]) -> None:
        try:
            _write_all(fd, buffers)
        except OSError as error:
            raise _as_storage_error(error, "writing a blob") from error
        reach("blob.written")

    @staticmethod
    def _publish(fd: int, buffers: list[Buffer], temporary: Path, final: Path) -> None:
        try:
            _write_all(fd, buffers)
            reach("blob.before_sync")
            # A failed sync is never tried again: the kernel may have dropped the pages and would then say "fine".
            os.fdatasync(fd)
            reach("blob.synced")
        except OSError as error:
            raise _as_storage_error(error, "making a blob durable") from error
        try:
            # link() refuses to replace, unlike rename().
            os.link(temporary, final)
        except FileExistsError as error:
            raise BlobExists("a blob of this id is already stored") from error
        except OSError as error:
            raise _as_storage_error(error, "making a blob durable") from error
        reach("blob.linked")
        try:
            temporary.unlink()
            sync_folder(final.parent)
        except OSError as error:
            # Its entry may not survive a crash, so it must not be seen now either.
            _withdraw(final)
            raise _as_storage_error(error, "making a blob durable") from error
        reach("blob.durable")

    async def open(self, blob_id: bytes) -> DiskBlobReader:
        """Open for reading. Raises: BlobMissing, BlobReadFailed, StorageUnavailable."""
        fd, size = await self._acquire(self._open, lambda opened: os.close(opened[0]), self._path(blob_id))
        return DiskBlobReader(fd, size, self._submit)

    @staticmethod
    def _open(path: Path) -> tuple[int, int]:
        try:
            fd = os.open(path, _READ)
        except FileNotFoundError as error:
            raise BlobMissing("a blob is missing") from error
        except OSError as error:
            raise _as_read_error(error, "opening") from error
        try:
            status = os.fstat(fd)
        except OSError as error:
            os.close(fd)
            raise _as_read_error(error, "opening") from error
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise BlobReadFailed("what lies in a blob's place is no file")
        return fd, status.st_size

    async def stat(self, blob_id: bytes) -> BlobStat:
        """Size and time. Raises: BlobMissing, BlobReadFailed, StorageUnavailable."""
        try:
            status = await aiofiles.os.stat(self._path(blob_id))
        except FileNotFoundError as error:
            raise BlobMissing("a blob is missing") from error
        except OSError as error:
            raise _as_read_error(error, "looking for a blob") from error
        return BlobStat(blob_id, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))

    async def delete(self, blob_id: bytes) -> None:
        """Remove a blob durably. Raises: StorageUnavailable."""
        path = self._path(blob_id)

        def remove() -> None:
            try:
                path.unlink(missing_ok=True)
                # Also where it was gone: whoever removed it may have failed, or died, before this sync.
                with contextlib.suppress(FileNotFoundError):
                    sync_folder(path.parent)
            except OSError as error:
                raise _as_storage_error(error, "deleting a blob") from error

        await self._run(remove)

    async def retain(self, blob_id: bytes, until: datetime) -> bool:
        """A disk has no locks that bind who can write to it."""
        del blob_id, until
        return False

    async def iterate(self) -> AsyncIterator[BlobStat]:
        """Every blob, folder by folder. Raises: BlobReadFailed, StorageUnavailable."""
        for folder in await self._run(self._folders):
            for found in await self._run(self._stats, folder):
                yield found

    def _folders(self) -> list[Path]:
        try:
            return sorted(inner for outer in self._blobs.iterdir() for inner in outer.iterdir())
        except FileNotFoundError:  # nothing was ever stored
            return []
        except OSError as error:
            raise _as_read_error(error, "walking the store") from error

    @staticmethod
    def _stats(folder: Path) -> list[BlobStat]:
        stats = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if len(entry.name) != 2 * BLOB_ID_SIZE:
                        continue
                    with contextlib.suppress(FileNotFoundError, ValueError):
                        status = entry.stat(follow_symlinks=False)
                        modified_at = datetime.fromtimestamp(status.st_mtime, UTC)
                        stats.append(BlobStat(bytes.fromhex(entry.name), status.st_size, modified_at))
        except OSError as error:
            raise _as_read_error(error, "walking the store") from error
        return stats

    async def stranger(self) -> str | None:
        """An entry beside ours, also where the folder is not there yet. Raises: StorageUnavailable."""

        def look() -> str | None:
            temporary = self._realm_file.with_suffix(_TEMPORARY_SUFFIX)
            ours = {self._blobs.name, self._realm_file.name, temporary.name, *_OF_THE_SYSTEM}
            try:
                found = sorted({entry.name for entry in self._root.iterdir()} - ours)
            except FileNotFoundError:
                return None
            except OSError as error:
                raise _as_storage_error(error, "looking at the folder") from error
            return found[0] if found else None

        return await self._run(look)

    async def reclaim_debris(self, older_than: datetime) -> int:
        """Remove temporary files that were last written before that. Raises: BlobReadFailed, StorageUnavailable."""

        def reclaim(folder: Path) -> int:
            count = 0
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if not entry.name.endswith(_TEMPORARY_SUFFIX):
                            continue
                        with contextlib.suppress(FileNotFoundError):
                            if entry.stat(follow_symlinks=False).st_mtime < older_than.timestamp():
                                Path(entry.path).unlink()
                                count += 1
            except OSError as error:
                raise _as_storage_error(error, "removing unfinished files") from error
            return count

        return sum([await self._run(reclaim, folder) for folder in await self._run(self._folders)])

    async def check(self) -> None:
        """Write, sync, read and delete one small blob. Raises: StorageError."""
        blob_id, content = secrets.token_bytes(BLOB_ID_SIZE), secrets.token_bytes(64)

        async def chunks() -> AsyncIterator[bytes]:
            yield content

        await self.put(blob_id, chunks())
        try:
            reader = await self.open(blob_id)
            try:
                if await reader.read(0, len(content)) != content:
                    raise StorageUnavailable("the disk gave back other bytes than were written; replace it")
            finally:
                await reader.close()
        finally:
            await self.delete(blob_id)

    async def close(self) -> None:
        """Wait for the pool and end it."""
        self._pool.shutdown(wait=True)
