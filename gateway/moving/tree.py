"""A folder and what lies below it, reached step by step: no symbolic link is followed, nothing outside is touched.

Every function here blocks; the places call them in a pool. Sources: openat(2), open(2) O_NOFOLLOW, link(2).
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.moving.places import ItemFailed, PlaceFailed

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_MODE: Final = 0o600
_FOLDER_MODE: Final = 0o700
_LINK: Final = "symbolic links are not followed"


@dataclass(frozen=True, slots=True)
class Entry:
    """What a folder has under a name."""

    name: bytes
    status: os.stat_result

    @property
    def is_folder(self) -> bool:
        """A real one."""
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def trouble(self) -> str | None:
        """Why it is no file to be read."""
        if stat.S_ISLNK(self.status.st_mode):
            return _LINK
        return None if stat.S_ISREG(self.status.st_mode) or self.is_folder else "not a regular file"


class Tree:
    """One folder. Names are single components: no slash, neither `.` nor `..`."""

    def __init__(self, root: Path, *, make: bool = False) -> None:
        """Raises: PlaceFailed."""
        try:
            if make:
                root.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise PlaceFailed(f"the folder {root} cannot be opened ({error.strerror})") from None

    def close(self) -> None:
        """Let go of the folder."""
        if self._root >= 0:
            os.close(self._root)
            self._root = -1

    @contextlib.contextmanager
    def folder(self, names: Sequence[bytes], *, make: bool = False) -> Iterator[int]:
        """A descriptor of the folder below the root. Raises: OSError."""
        here = os.dup(self._root)
        try:
            for name in names:
                assert name not in (b"", b".", b"..") and b"/" not in name, "one component each"  # noqa: PT018  # one rule
                if make:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(name, _FOLDER_MODE, dir_fd=here)
                        os.fsync(here)
                step = os.open(name, _FOLDER, dir_fd=here)
                os.close(here)
                here = step
            yield here
        finally:
            os.close(here)

    def entries(self, names: Sequence[bytes]) -> list[Entry]:
        """What a folder holds, in the byte order of the keys below it. Raises: ItemFailed."""
        found = []
        try:
            with self.folder(names) as here:
                for name in map(os.fsencode, os.listdir(here)):  # noqa: PTH208  # a descriptor, which cannot be moved away
                    with contextlib.suppress(FileNotFoundError):  # gone since
                        found.append(Entry(name, os.stat(name, dir_fd=here, follow_symlinks=False)))
        except OSError as error:
            raise ItemFailed(f"the folder cannot be read ({_reason(error)})") from None
        return sorted(found, key=lambda entry: entry.name + b"/" if entry.is_folder else entry.name)

    def open_file(self, names: Sequence[bytes]) -> tuple[int, os.stat_result]:
        """Open a regular file for reading. Raises: ItemFailed."""
        try:
            with self.folder(names[:-1]) as here:
                descriptor = os.open(names[-1], _READ, dir_fd=here)
        except OSError as error:
            raise ItemFailed(f"the file cannot be read ({_reason(error)})") from None
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise ItemFailed("not a regular file")
        return descriptor, status

    def create(self, names: Sequence[bytes]) -> int:
        """Make a new file and its folders; what a killed run left under the name goes. Raises: OSError."""
        with self.folder(names[:-1], make=True) as here:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(names[-1], dir_fd=here)
            return os.open(names[-1], _NEW, _FILE_MODE, dir_fd=here)

    def publish(self, names: Sequence[bytes], final: bytes) -> None:
        """Give a finished file its name, which nothing may have, durably. Raises: FileExistsError, OSError."""
        with self.folder(names[:-1]) as here:
            os.link(names[-1], final, src_dir_fd=here, dst_dir_fd=here, follow_symlinks=False)
            os.unlink(names[-1], dir_fd=here)
            os.fsync(here)

    def remove(self, names: Sequence[bytes]) -> None:
        """Remove a file; one that is gone is right already."""
        with contextlib.suppress(FileNotFoundError), self.folder(names[:-1]) as here:
            os.unlink(names[-1], dir_fd=here)

    def append(self, name: bytes, lines: bytes) -> None:
        """Add whole lines to a file in the root, durably. Raises: OSError."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(name, flags, _FILE_MODE, dir_fd=self._root)
        with os.fdopen(descriptor, "wb") as file:
            file.write(lines)
            file.flush()
            os.fsync(descriptor)


def _reason(error: OSError) -> str:
    return _LINK if error.errno == errno.ELOOP else error.strerror or type(error).__name__
