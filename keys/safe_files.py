"""Small secret files: read only if nobody else can, written so that a crash leaves the old file or the new one.

Source: open(2), rename(2), link(2), fsync(2) of Linux.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from keys.errors import KeyringError, NotWritten

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def make_private_folder(folder: Path) -> None:
    """Make a folder with mode 0700, durably; one that is there must already be private.

    Raises:
        NotWritten: it cannot be made. KeyringError: it is not private.
    """
    try:
        folder.mkdir(mode=0o700, parents=True)
        folder.chmod(0o700)  # the umask may have taken more
        _sync_folder(folder.parent)
    except FileExistsError:
        check_private_folder(folder)
    except OSError as error:
        raise NotWritten(
            f"{folder} cannot be made ({error.strerror}); choose a folder that this user may write"
        ) from None


def check_private_folder(folder: Path) -> None:
    """Check that a folder is a real folder, ours, and closed to everyone else.

    Raises:
        KeyringError: it is not; the message says what to do.
    """
    try:
        status = folder.lstat()
    except FileNotFoundError:
        _refuse(folder, "is missing; restore the keyring from its backup, or correct the path")
    except OSError as error:
        _refuse(folder, f"cannot be read ({error.strerror}); run as the user that owns it")
    if not stat.S_ISDIR(status.st_mode):
        _refuse(folder, "is not a folder (symbolic links are not followed); give the folder itself")
    _check_private(folder, status, "0700")


@contextmanager
def taking_turns(path: Path) -> Iterator[None]:
    """Hold a lock file, made where there is none, against all others that take turns by it; waits for who has it.

    Raises:
        KeyringError: it cannot be opened or held.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        _refuse(path, f"cannot be opened ({error.strerror}); restore its folder, or correct the path")
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            _refuse(path, f"cannot be locked ({error.strerror}); put it on a file system that knows flock")
        yield
    finally:
        os.close(descriptor)


def read_private_file(path: Path, max_bytes: int) -> bytes:
    """The bytes of a regular file that belongs to us and is closed to everyone else.

    Raises:
        KeyringError: missing, unreadable, a symbolic link, of another owner, open to others, empty, or too long.
    """
    try:
        descriptor = os.open(path, _READ_FLAGS)
    except FileNotFoundError:
        _refuse(path, "is missing; restore it from its backup, or correct the path")
    except OSError as error:
        if error.errno == errno.ELOOP:
            _refuse(path, "is a symbolic link; put the file itself there")
        _refuse(path, f"cannot be read ({error.strerror}); run as the user that owns it")
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            _refuse(path, "is not a regular file; put the file itself there")
        _check_private(path, status, "0600")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        _refuse(path, f"cannot be read ({error.strerror}); restore it from its backup")
    finally:
        os.close(descriptor)
    if not data:
        _refuse(path, "is empty; restore it from its backup")
    if len(data) > max_bytes:
        _refuse(path, f"is longer than {max_bytes} bytes, so it is something else; restore it from its backup")
    return data


def write_private_file(path: Path, data: bytes, *, replace: bool) -> None:
    """Write a file with mode 0600: complete and durable on return, unchanged on any failure.

    Without `replace` an existing file is never touched. The temporary name is fixed, so a crash leaves at most one
    stray file, which the next write removes; writers of one folder must take turns.

    Raises:
        KeyringError: it exists (without `replace`). NotWritten: the system refuses.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.unlink(missing_ok=True)
        try:
            _write_durably(temporary, data)
            if replace:
                temporary.replace(path)
            else:
                path.hardlink_to(temporary)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except FileExistsError:
        _refuse(path, "already exists; Sealgate never replaces it")
    except OSError as error:
        raise NotWritten(
            f"{path} cannot be written ({error.strerror}); check space and permissions of its folder"
        ) from None


def _write_durably(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, 0o600)  # the umask may have taken more
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_private(path: Path, status: os.stat_result, mode: str) -> None:
    if status.st_uid != os.geteuid():
        _refuse(path, f"belongs to user {status.st_uid}; run as that user, or chown it to {os.geteuid()}")
    if status.st_mode & _OTHERS:
        found = f"{stat.S_IMODE(status.st_mode):04o}"
        _refuse(path, f"is open to other users (mode {found}); run: chmod {mode} {path}")


def _refuse(path: Path, reason: str) -> NoReturn:
    raise KeyringError(f"{path} {reason}") from None
