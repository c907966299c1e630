"""Folders and disks: whose, how full, of which kind; and a sync that leaves no trace."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.cli.check import disk
from gateway.cli.check.disk import Mount, check_disk, mount_of, sync_times_s
from gateway.cli.check.report import Report, State
from gateway.wiring.folders import Folders
from tests.gateway.cli.helpers import settings_in

GIB = 1024**3


def looked(place: Path, **changes: Any) -> dict[str, tuple[State, str]]:
    report, settings = Report(), settings_in(place, **changes)
    check_disk(report, settings, Folders.of(settings))
    return {row.area: (row.state, f"{row.found} -> {row.remedy}") for row in report.findings}


def test_a_sync_is_tried_and_leaves_nothing(tmp_path: Path) -> None:
    taken = sync_times_s(tmp_path, 3)
    assert len(taken) == 3
    assert all(time > 0 for time in taken)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("seconds", "state", "words"),
    [(0.001, State.OK, "1,000 a second"), (0.1, State.WARNING, "every write waits"), (1e-7, State.WARNING, "no disk")],
)
def test_a_sync_is_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, state: State, words: str
) -> None:
    monkeypatch.setattr(disk, "sync_times_s", lambda _: [seconds] * 3)
    found = looked(tmp_path)["disk sync"]
    assert found[0] is state
    assert words in found[1]


def test_a_file_system_without_nameless_files_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> list[float]:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(disk, "sync_times_s", refuse)
    assert looked(tmp_path)["disk sync"][0] is State.WARNING


@pytest.mark.parametrize(
    ("kind", "is_read_only", "state"),
    [
        ("ext4", False, State.OK),
        ("xfs", False, State.OK),
        ("ext4", True, State.FAILED),
        ("nfs4", False, State.FAILED),
        ("cifs", False, State.FAILED),
        ("fuse.sshfs", False, State.FAILED),
        ("tmpfs", False, State.WARNING),
        ("overlay", False, State.WARNING),
    ],
)
def test_the_kind_of_file_system_is_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, is_read_only: bool, state: State
) -> None:
    monkeypatch.setattr(disk, "mount_of", lambda _: Mount("/srv", kind, is_read_only))
    assert looked(tmp_path)["file system"][0] is state


def test_this_machine_s_mounts_are_read(tmp_path: Path) -> None:
    found = mount_of(Path("/proc"))
    assert found is not None
    assert (found.point, found.kind) == ("/proc", "proc")
    below = mount_of(tmp_path)
    assert below is not None
    assert str(tmp_path).startswith(below.point)


@pytest.mark.parametrize(
    ("free", "inodes", "states"),
    [
        (10 * GIB, 10**6, (State.OK, State.OK)),
        (GIB // 2, 10**6, (State.WARNING, State.OK)),
        (GIB // 100, 10**6, (State.FAILED, State.OK)),
        (10 * GIB, 100, (State.OK, State.WARNING)),
    ],
)
def test_room_is_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, inodes: int, states: tuple[State, State]
) -> None:
    about = SimpleNamespace(f_bavail=free // 4096, f_frsize=4096, f_blocks=25 * GIB // 4096, f_files=1, f_favail=inodes)
    monkeypatch.setattr(os, "statvfs", lambda _: about)
    found = looked(tmp_path)
    assert (found["free space"][0], found["inodes"][0]) == states


def test_folders_are_judged_by_owner_and_mode(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o755)
    assert looked(tmp_path)["data folder"][0] is State.OK, "an empty one is taken over and closed"
    (tmp_path / "data/file").touch()
    assert "chmod 0700" in looked(tmp_path)["data folder"][1]
    (tmp_path / "data").chmod(0o700)
    os.chown(tmp_path / "data", 12345, -1) if os.geteuid() == 0 else None
    if os.geteuid() == 0:
        assert "run as that user" in looked(tmp_path)["data folder"][1]


@pytest.mark.parametrize(("lost", "kept"), [("keys", "data"), ("data", "keys")])
def test_a_folder_that_is_gone_beside_its_other_half_fails(tmp_path: Path, lost: str, kept: str) -> None:
    folders = {"data": tmp_path / "data", "keys": tmp_path / "data-keys"}

    def failures() -> list[str]:
        report, settings = Report(), settings_in(tmp_path)
        check_disk(report, settings, Folders.of(settings))
        return [row.remedy for row in report.findings if (row.area, row.state) == (f"{lost} folder", State.FAILED)]

    assert failures() == [], "before the first start there is neither"
    folders[kept].mkdir(mode=0o700)
    (folders[kept] / "realm.json").touch()
    assert "backup" in failures()[0]


def test_keys_on_the_same_disk_are_a_warning_without_a_passphrase(tmp_path: Path) -> None:
    assert looked(tmp_path)["keys folder"][0] is State.WARNING
    assert looked(tmp_path, passphrase_file=tmp_path / "p")["keys folder"][0] is State.OK


def test_a_file_in_the_place_of_a_folder_fails(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    assert looked(tmp_path)["data folder"][0] is State.FAILED


@pytest.mark.parametrize(
    "changes", [{"kms": "vault-eu", "kms_file": Path("elsewhere")}, {"passphrase_file": "elsewhere"}, {}], ids=str
)
def test_a_keyring_on_the_disk_of_the_data_is_a_warning_where_it_opens_there(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    found = looked(tmp_path, **changes)
    assert ("keys folder" in found and found["keys folder"][0] is State.WARNING) is (not changes)
