"""A disk whose power can be cut: `mounted` at a folder, by the tests' own tools, and a gateway that stands on it."""

import ctypes
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from tests.faults.crashing import CrashingGateway
from tests.tooling.places import ROOT
from tests.tooling.tools import TABLE, program

_START_TIMEOUT_S: Final = 30
_POLL_S: Final = 0.02
_MNT_DETACH: Final = 2
_DEVICE: Final = Path("/dev/fuse")


def _library() -> Path:
    program("libfuse")
    (found,) = (TABLE["libfuse"].folder / "root").glob("**/libfuse3.so.3")
    return found


class Disk:
    """One file system at `folder`, with the power on."""

    def __init__(self, folder: Path) -> None:
        """Mount it, empty."""
        assert _DEVICE.exists(), f"there is no {_DEVICE}: this test needs a kernel with FUSE"
        assert os.geteuid() == 0, "only root can mount a file system without a helper"
        self.folder = folder
        self._image = folder.with_name(f"{folder.name}.image")
        self._log = folder.with_name(f"{folder.name}.log")
        self._process: subprocess.Popen[str] | None = None
        self.cuts = 0
        self.lost = 0
        """Writes and changes of names that the cuts took away, in whole or in part."""
        folder.mkdir()
        self._mount()

    def _mount(self) -> None:
        image = [str(self._image)] if self._image.exists() else []
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                [str(program("mfusepy")), "-m", "tests.faults.power.mounted", str(self.folder), *image],
                cwd=ROOT,
                env=os.environ | {"FUSE_LIBRARY_PATH": str(_library())},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self.folder.is_mount():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, f"no mount in {_START_TIMEOUT_S} s"
            time.sleep(_POLL_S)

    def _tell(self, **command: Any) -> int:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def go_deaf(self, kind: str, part: str) -> None:
        """Do nothing on a sync of a `file` or a `folder` with `part` in its path, and say that it was done."""
        self._tell(deaf=[kind, part])

    def cut(self, seed: int | None, and_then: Callable[[], None] = lambda: None) -> None:
        """Cut the power: with a seed, any part of what was not synced survives. Then mount what is left.

        Whoever works on the disk is to end in `and_then`: its calls have failed since.
        """
        lost = self._tell(cut=seed, image=str(self._image))
        self.cuts += 1
        self.lost += lost
        and_then()
        self.close()
        self._mount()

    def close(self) -> None:
        """Kill the process and take the mount away."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.umount2(os.fsencode(self.folder), _MNT_DETACH) != 0:
            raise OSError(ctypes.get_errno(), f"umount of {self.folder}")


class PoweredGateway(CrashingGateway):
    """A deployment on such a disk, data and keys, in folders that are not there before its first start.

    A seam that strikes cuts the power: by `seed`, if there is one, else nothing but what was synced is left.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(folder, settings)
        self.disk = Disk(folder / "disk")
        self.data = self.disk.folder / "var" / "lib" / "sealgate-data"
        self.keys = self.disk.folder / "etc" / "sealgate" / "keys"
        self.seed: int | None = None

    def disarm(self) -> bool:
        """See `CrashingGateway.disarm`."""
        struck = super().disarm()
        if struck:
            self.disk.cut(self.seed)
        return struck

    def cut(self) -> None:
        """Cut the power amid whatever is going on, and start again."""
        self.disk.cut(self.seed, and_then=self.kill)
        self.start()

    def close(self) -> None:
        """End everything."""
        try:
            super().close()
        finally:
            self.disk.close()
