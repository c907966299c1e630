"""Secret files are private, or refused with one line that says what to do; writes are whole or did not happen."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from keys.errors import KeyringError
from keys.safe_files import check_private_folder, make_private_folder, read_private_file, write_private_file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "private"
    make_private_folder(made)
    return made


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _symlink(path: Path) -> None:
    path.rename(path.with_name("real"))
    path.symlink_to("real")


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir(mode=0o700)


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


BAD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (Path.unlink, "is missing; restore it"),
    "symbolic link": (_symlink, "is a symbolic link; put the file itself there"),
    "folder": (_folder, "is not a regular file"),
    "pipe": (_fifo, "is not a regular file"),
    "group may read": (lambda path: path.chmod(0o640), "mode 0640); run: chmod 0600"),
    "group may write": (lambda path: path.chmod(0o620), "mode 0620); run: chmod 0600"),
    "others may read": (lambda path: path.chmod(0o604), "mode 0604); run: chmod 0600"),
    "everybody": (lambda path: path.chmod(0o777), "mode 0777); run: chmod 0600"),
    "empty": (lambda path: path.write_bytes(b""), "is empty; restore it"),
    "too long": (lambda path: path.write_bytes(bytes(101)), "is longer than 100 bytes"),
}


class TestReading:
    def test_reads_a_private_file(self, folder: Path) -> None:
        write_private_file(folder / "file", b"x" * 100, replace=False)
        assert read_private_file(folder / "file", 100) == b"x" * 100
        (folder / "file").chmod(0o400)
        assert read_private_file(folder / "file", 100) == b"x" * 100

    @pytest.mark.parametrize("name", BAD_FILES)
    def test_refuses_anything_else(self, folder: Path, name: str) -> None:
        spoil, message = BAD_FILES[name]
        path = folder / "file"
        write_private_file(path, b"content", replace=False)
        spoil(path)
        with pytest.raises(KeyringError) as raised:
            read_private_file(path, 100)
        assert message in str(raised.value)
        assert str(path) in str(raised.value)
        assert "\n" not in str(raised.value)

    def test_refuses_another_owner(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_private_file(folder / "file", b"content", replace=False)
        owner = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
        with pytest.raises(KeyringError, match=f"belongs to user {owner}; run as that user"):
            read_private_file(folder / "file", 100)
        with pytest.raises(KeyringError, match=f"belongs to user {owner}; run as that user"):
            check_private_folder(folder)

    def test_says_so_when_the_disk_fails(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_private_file(folder / "file", b"content", replace=False)

        fstat = os.fstat
        hits: list[int] = []

        def fail_once(descriptor: int) -> os.stat_result:
            if hits:
                return fstat(descriptor)
            hits.append(descriptor)
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(os, "fstat", fail_once)
        with pytest.raises(KeyringError, match=r"cannot be read \(Input/output error\); restore it"):
            read_private_file(folder / "file", 100)
        assert hits

    def test_says_so_when_the_system_refuses(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object, **__: object) -> int:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(os, "open", refuse)
        with pytest.raises(KeyringError, match=r"cannot be read \(Permission denied\); run as the user"):
            read_private_file(folder / "file", 100)


class TestFolders:
    def test_is_made_private_whatever_the_umask(self, tmp_path: Path) -> None:
        before = os.umask(0o277)
        try:
            make_private_folder(tmp_path / "new")
            write_private_file(tmp_path / "new" / "file", b"x", replace=False)
        finally:
            os.umask(before)
        assert _mode(tmp_path / "new") == 0o700
        assert _mode(tmp_path / "new" / "file") == 0o600
        make_private_folder(tmp_path / "new")

    def test_refuses_one_that_is_open_or_no_folder(self, tmp_path: Path) -> None:
        (tmp_path / "open").mkdir()
        (tmp_path / "open").chmod(0o750)
        (tmp_path / "file").write_bytes(b"")
        (tmp_path / "link").symlink_to("open")
        for name, message in (
            ("open", r"mode 0750\); run: chmod 0700"),
            ("file", "is not a folder"),
            ("link", "is not a folder"),
        ):
            for refuses in (check_private_folder, make_private_folder):
                with pytest.raises(KeyringError, match=message):
                    refuses(tmp_path / name)

    def test_says_what_to_do_when_it_cannot_be_had(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(KeyringError, match="is missing; restore the keyring"):
            check_private_folder(tmp_path / "none")
        with pytest.raises(KeyringError, match=r"cannot be read \(Not a directory\)"):
            check_private_folder(tmp_path / "file" / "below")
        with pytest.raises(KeyringError, match=r"cannot be made \(Not a directory\)"):
            make_private_folder(tmp_path / "file" / "below")


class TestWriting:
    def test_replaces_only_when_told(self, folder: Path) -> None:
        path = folder / "file"
        write_private_file(path, b"one", replace=False)
        with pytest.raises(KeyringError, match="already exists; Sealgate never replaces it"):
            write_private_file(path, b"two", replace=False)
        assert path.read_bytes() == b"one"
        write_private_file(path, b"two", replace=True)
        assert path.read_bytes() == b"two"
        assert _mode(path) == 0o600
        assert _names(folder) == ["file"]

    def test_removes_what_a_crash_left(self, folder: Path) -> None:
        (folder / ".file.new").write_bytes(b"half")
        write_private_file(folder / "file", b"whole", replace=False)
        assert _names(folder) == ["file"]

    def test_does_not_follow_a_planted_link(self, folder: Path, tmp_path: Path) -> None:
        (folder / ".file.new").symlink_to(tmp_path / "target")
        write_private_file(folder / "file", b"whole", replace=True)
        assert not (tmp_path / "target").exists()
        assert (folder / "file").read_bytes() == b"whole"

    @pytest.mark.parametrize("replace", [True, False])
    @pytest.mark.parametrize("step", ["open", "fchmod", "fsync", "rename", "link"])
    def test_a_failing_step_leaves_what_was_there(
        self, folder: Path, step: str, replace: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = folder / "file"
        if replace:
            write_private_file(path, b"old", replace=False)
        hits: list[str] = []

        def fail(*_: object, **__: object) -> int:
            hits.append(step)
            raise OSError(28, "No space left on device")

        if step in {"rename", "link"}:
            monkeypatch.setattr(Path, "replace" if replace else "hardlink_to", fail)
        else:
            monkeypatch.setattr(os, step, fail)
        with pytest.raises(KeyringError, match=r"cannot be written \(No space left on device\)"):
            write_private_file(path, b"new", replace=replace)
        monkeypatch.undo()
        assert hits
        assert _names(folder) == (["file"] if replace else [])
        if replace:
            assert path.read_bytes() == b"old"

    @pytest.mark.parametrize("crash_after", range(6))
    def test_a_crash_between_two_steps_leaves_the_old_or_the_new(
        self, folder: Path, crash_after: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = folder / "file"
        write_private_file(path, b"old", replace=False)
        if os.fork() == 0:  # the child dies without any clean-up, as by kill -9
            _crash_at(crash_after)
            write_private_file(path, b"new", replace=True)
            os._exit(0)
        _, status = os.wait()
        assert os.waitstatus_to_exitcode(status) == (9 if crash_after < 5 else 0)
        assert path.read_bytes() == (b"old" if crash_after < 4 else b"new")
        write_private_file(path, b"newer", replace=True)
        assert read_private_file(path, 100) == b"newer"
        assert _names(folder) == ["file"]


def _crash_at(count: int) -> None:
    """Exit before the `count`-th of: open, fchmod, fsync, rename, folder open (5 means never)."""
    steps = iter(range(5))

    def crashing(call: Callable[..., object]) -> Callable[..., object]:
        def run(*args: object, **kwargs: object) -> object:
            if next(steps, 99) == count:
                os._exit(9)
            return call(*args, **kwargs)

        return run

    for name in ("open", "fchmod", "fsync"):
        setattr(os, name, crashing(getattr(os, name)))
    Path.replace = crashing(Path.replace)  # type: ignore[method-assign,assignment]  # in a child that dies here


def test_the_folder_is_synced_after_the_name_stands(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[bool, list[str]]] = []
    fsync = os.fsync

    def watch(descriptor: int) -> None:
        synced.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), _names(folder)))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watch)
    write_private_file(folder / "file", b"x", replace=False)
    assert synced == [(False, [".file.new"]), (True, ["file"])]
