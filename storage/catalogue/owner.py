"""What one owner process holds beside the database: the lock that keeps others out, and a reserve of space.

The lock is an `flock` on a file of its own, freed by the kernel with the process; the reserve is a file of allocated
blocks that is given up when the disk is full, so that deletes still commit. Sources: flock(2), posix_fallocate(3);
DESIGN part 4.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from storage.errors import CatalogueBusy, StorageUnavailable

LOCK_NAME = "owner.lock"


class OwnerLock:
    """The right to open the catalogue of a folder, for this process and this opening only."""

    def __init__(self, folder: Path) -> None:
        """Take it.

        Raises:
            CatalogueBusy: another has it; the message names its process.
            StorageUnavailable: there is no such folder, or no lock to be had in it.
        """
        try:
            self._descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StorageUnavailable(
                f"the catalogue's folder {folder} cannot be written ({error.strerror}); check its owner,"
                " permissions and file system"
            ) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip()
            self.release()
            raise CatalogueBusy(f"the catalogue belongs to process {owner or 'unknown'}") from None
        except OSError as error:
            self.release()
            raise StorageUnavailable(
                f"the catalogue's folder {folder} cannot be locked ({error.strerror}); check its file system,"
                " which must know flock"
            ) from error
        with suppress(OSError):  # without space for the number the lock holds all the same
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Give it back. Idempotent; the file stays, since removing it would race with the next owner."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Reserve:
    """A file of `size` allocated bytes that can be turned into free space."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._size = size
        self.is_held = False

    def restore(self) -> bool:
        """Allocate it if it is not there; say whether it is."""
        if not self.is_held:
            try:
                self._allocate()
                self.is_held = True
            except OSError:  # no space yet
                self.release()
        return self.is_held

    def _allocate(self) -> None:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            if self._size:
                os.posix_fallocate(descriptor, 0, self._size)
        finally:
            os.close(descriptor)

    def release(self) -> None:
        """Turn it into free space."""
        self._path.unlink(missing_ok=True)
        self.is_held = False
