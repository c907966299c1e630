"""The folders and the disks below them: ours alone, room enough, a file system that keeps what it says it has.

The sync is tried on a file without a name (O_TMPFILE), so that nothing is left even by a kill. Sources: statvfs(3),
proc(5) mountinfo, open(2); SQLite "Write-Ahead Logging" (no network file systems).
"""

import os
import stat
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.cli.bootstrap import check_apart
from gateway.cli.check.report import Report
from gateway.config import Settings
from gateway.wiring.folders import REALM_FILE, Folders
from keys.kms.routing import LOCAL_PROVIDER

_GIB: Final = 1024**3
LITTLE_BYTES: Final = _GIB
FULL_BYTES: Final = 64 * 1024**2
FEW_INODES: Final = 10_000
SYNCS: Final = 20
SLOW_SYNC_S: Final = 0.05
FALSE_SYNC_S: Final = 0.000_005
"""No storage device answers so soon: the call came back without one."""
NETWORK: Final = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs", "glusterfs", "gpfs", "lustre"}
    | {"ncpfs", "nfs", "nfs4", "orangefs", "smb3", "smbfs", "vboxsf", "virtiofs"}
)
MEMORY: Final = frozenset({"ramfs", "tmpfs"})
_LAYERED: Final = frozenset({"aufs", "overlay"})


@dataclass(frozen=True, slots=True)
class Mount:
    """What a folder lies on."""

    point: str
    kind: str
    is_read_only: bool


def check_disk(report: Report, settings: Settings, folders: Folders) -> None:
    """Look at both folders; one that is not there yet is judged by where it will be made."""
    with report.failing("folders"):
        check_apart(settings, folders)
        report.ok("folders", "keys lie outside the data folder")
    places = {name: _existing(path) for name, path in (("data", folders.data), ("keys", folders.keys))}
    for name, path in (("data", folders.data), ("keys", folders.keys)):
        other = folders.keys if name == "data" else folders.data
        is_lost = not path.exists() and (other / REALM_FILE).exists()
        if is_lost:
            report.fail(
                f"{name} folder",
                f"{path} is not there, but {other} belongs to one",
                f"give --{name} the folder that belongs to it, or restore it from its backup",
            )
        else:
            _check_folder(report, name, path, places[name])
    is_keyring_open = settings.kms == LOCAL_PROVIDER and settings.passphrase_file is None
    if is_keyring_open and _device(places["data"]) == _device(places["keys"]):
        report.warn(
            "keys folder",
            "it lies on the same disk as the data: who takes the disk takes both",
            "give --keys a folder on another disk, or set a passphrase before the first start (docs/THREATS.md)",
        )
    _check_mount(report, places["data"])
    _check_room(report, places["data"])
    _check_sync(report, places["data"])


def _existing(path: Path) -> Path:
    return next((place for place in (path, *path.parents) if place.is_dir()), Path("/"))


def _device(path: Path) -> int:
    return path.stat().st_dev


def _check_folder(report: Report, name: str, path: Path, place: Path) -> None:
    area = f"{name} folder"
    if place != path:
        if path.exists() or path.is_symlink():
            report.fail(area, f"{path} is not a folder", f"give --{name} a folder")
        elif os.access(place, os.W_OK | os.X_OK):
            report.ok(area, f"{path} is not there; a first start makes it")
        else:
            report.fail(area, f"{path} cannot be made in {place}", "make it for this user, or give another")
        return
    status = path.stat()
    if status.st_uid != os.geteuid():
        report.fail(area, f"{path} belongs to user {status.st_uid}", "run as that user")
    elif status.st_mode & (stat.S_IRWXG | stat.S_IRWXO) and any(path.iterdir()):
        report.fail(area, f"{path} is open to other users", f"run chmod 0700 {path}")
    elif not os.access(path, os.W_OK | os.X_OK | os.R_OK):
        report.fail(area, f"{path} cannot be written", "mount it for writing, or run chmod 0700 on it")
    else:
        report.ok(area, f"{path} is ours alone")


def mount_of(place: Path) -> Mount | None:
    """The mount that a folder lies on; None where the system does not say."""
    try:
        table = Path("/proc/self/mountinfo").read_text()
    except OSError:
        return None
    device = place.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    best: Mount | None = None
    for line in table.splitlines():
        fields = line.split()
        after = fields.index("-")
        point = fields[4].encode("ascii", "surrogateescape").decode("unicode_escape")
        under = point == "/" or str(place) == point or str(place).startswith(point + "/")
        # Btrfs gives each subvolume a device of its own, so the path decides and the device only among equals.
        if under and (best is None or (len(point), fields[2] == wanted) >= (len(best.point), False)):
            options = {*fields[5].split(","), *fields[after + 3].split(",")}
            best = Mount(point, fields[after + 1], "ro" in options)
    return best


def _check_mount(report: Report, place: Path) -> None:
    area = "file system"
    mount = mount_of(place)
    if mount is None:
        report.warn(area, "the system does not say what the data lie on", "see that it is a local disk")
        return
    where = f"{mount.kind} on {mount.point}"
    if mount.is_read_only:
        report.fail(area, f"{where} is mounted read-only", "mount it for writing, or give another --data")
    elif mount.kind in NETWORK:
        report.fail(
            area,
            f"{where} is a network file system, on which the catalogue is not safe",
            "give --data a folder on a local disk or a block device",
        )
    elif mount.kind in MEMORY:
        report.warn(area, f"{where} is memory: a restart of the machine loses everything", "give --data a disk")
    elif mount.kind in _LAYERED:
        report.warn(area, f"{where} is a container's own layer, which goes with it", "give --data a volume")
    else:
        report.ok(area, where)


def _check_room(report: Report, place: Path) -> None:
    about = os.statvfs(place)
    free, whole = about.f_bavail * about.f_frsize, about.f_blocks * about.f_frsize
    said = f"{free / _GIB:.1f} GiB of {whole / _GIB:.1f} GiB are free"
    if free < FULL_BYTES:
        report.fail("free space", said, "make room: writes are refused, and deletes soon as well")
    elif free < LITTLE_BYTES:
        report.warn("free space", said, "make room, or grow the disk")
    else:
        report.ok("free space", said)
    # File systems that make inodes as they go (btrfs, zfs) tell of none.
    if about.f_files and about.f_favail < FEW_INODES:
        report.warn("inodes", f"{about.f_favail} are free", "make room: each object above inline_max_bytes takes one")
    elif about.f_files:
        report.ok("inodes", f"{about.f_favail} are free")


def sync_times_s(place: Path, count: int = SYNCS) -> list[float]:
    """How long each of `count` small writes took to become durable, on a file that has no name.

    Raises:
        OSError: the file system has no such files, or does not take the write.
    """
    descriptor = os.open(place, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        taken = []
        for _ in range(count):
            os.write(descriptor, b"\x5a" * 4096)
            begun = time.perf_counter()
            os.fdatasync(descriptor)
            taken.append(time.perf_counter() - begun)
        return taken
    finally:
        os.close(descriptor)


def _check_sync(report: Report, place: Path) -> None:
    area = "disk sync"
    try:
        taken = sync_times_s(place)
    except OSError as error:
        report.warn(area, f"it could not be tried ({error.strerror})", "none, if the gateway starts: a start tries it")
        return
    middle, worst = statistics.median(taken), max(taken)
    said = (
        f"{middle * 1000:.2f} ms for 4 KiB (longest {worst * 1000:.1f} ms): about {1 / max(middle, 1e-9):,.0f} a second"
    )
    if middle < FALSE_SYNC_S:
        report.warn(area, f"{said}, which no disk can do", "see that the disk is not set to ignore syncs")
    elif middle > SLOW_SYNC_S:
        report.warn(area, f"{said}; every write waits for it", "use a disk with a durable write cache")
    else:
        report.ok(area, said)
