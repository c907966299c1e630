"""The file system of `platter` under a mount point, through FUSE: one process from the mount to the power loss.

Started as `python -m tests.faults.power.mounted FOLDER [IMAGE]` by an interpreter that has mfusepy; IMAGE holds what
the last power loss left. Commands are JSON lines on standard input, and each is answered by one. `{"deaf": [kind,
part]}`, as a disk does that lies: from then on a sync of a `file` or a `folder` with `part` in its path does nothing.
`{"cut": seed, "image": path}`: every operation fails from then on, and what is left goes to the image. The answer is
how many writes and changes of names are lost; whoever asked kills this process.
"""

import errno
import itertools
import json
import os
import pickle
import stat
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import mfusepy

from tests.faults.power.platter import File, Folder, Node, PowerLoss, Special, Tree, Write, status

_BLOCK_BYTES: Final = 4096
_BLOCKS: Final = 1 << 22


@dataclass(frozen=True)
class Handle:
    """What is open."""

    node: Node
    path: str
    flags: int = 0


class Mounted(mfusepy.Operations):  # type: ignore[misc]  # mfusepy is in the tool's own environment
    """The operations of FUSE. libfuse runs one at a time; the lock keeps commands from coming between."""

    use_ns = True

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._handles: dict[int, Handle] = {}
        self._next = itertools.count(1)
        self._deaf: list[tuple[str, str]] = []
        self._is_off = False
        self._lock = threading.Lock()

    def init_with_config(self, _connection: Any, config: Any) -> None:
        """One kernel cache for the only way in, numbers of nodes as they are, and no names for what is removed."""
        config.use_ino = True
        config.hard_remove = True
        config.kernel_cache = True

    def answer(self, command: dict[str, Any]) -> int:
        """Do what a line of standard input says."""
        with self._lock:
            if "deaf" in command:
                kind, part = command["deaf"]
                self._deaf.append((kind, part))
                return 0
            self._is_off = True
            loss = PowerLoss(command["cut"])
            left = loss.leave(self._tree.root)
            Path(command["image"]).write_bytes(pickle.dumps(left))
            return loss.lost

    def _powered(self) -> Tree:
        if self._is_off:
            raise OSError(errno.EIO, "the power is off")
        return self._tree

    def _opened(self, node: Node, path: str, flags: int = 0) -> int:
        number = next(self._next)
        self._handles[number] = Handle(node, path, flags)
        return number

    def _file(self, path: str | None, number: int | None) -> File:
        """By its handle where there is one: its path may be gone."""
        if number is None:
            assert path is not None
            return self._powered().file(path)
        self._powered()
        node = self._handles[number].node
        assert isinstance(node, File)
        return node

    def _sync(self, kind: str, number: int) -> int:
        with self._lock:
            self._powered()
            handle = self._handles[number]
            assert isinstance(handle.node, File | Folder)
            if not any(kind == deaf and part in handle.path for deaf, part in self._deaf):
                handle.node.sync()
            return 0

    # What follows is called by libfuse, by the names of its operations.

    def getattr(self, path: str | None, fh: int | None = None) -> dict[str, int]:
        with self._lock:
            tree = self._powered()
            if fh is not None and fh in self._handles:
                return status(self._handles[fh].node)
            assert path is not None
            return status(tree.find(path))

    def statfs(self, _path: str) -> dict[str, int]:
        free = dict.fromkeys(("f_blocks", "f_bfree", "f_bavail", "f_files", "f_ffree", "f_favail"), _BLOCKS)
        return {"f_bsize": _BLOCK_BYTES, "f_frsize": _BLOCK_BYTES, "f_namemax": 255, **free}

    def create(self, path: str, mode: int, flags: int) -> int:
        with self._lock:
            return self._opened(self._powered().make(path, stat.S_IFREG | stat.S_IMODE(mode)), path, flags)

    def open(self, path: str, flags: int) -> int:
        with self._lock:
            file = self._powered().file(path)
            if flags & os.O_TRUNC:
                file.change(Write(0, None))
            return self._opened(file, path, flags)

    def read(self, path: str | None, size: int, offset: int, fh: int) -> bytes:
        with self._lock:
            return bytes(memoryview(self._file(path, fh).content)[offset : offset + size])

    def write(self, path: str | None, data: bytes, offset: int, fh: int) -> int:
        with self._lock:
            self._file(path, fh).change(Write(offset, data))
        if self._handles[fh].flags & os.O_DSYNC:  # O_SYNC holds its bit
            self._sync("file", fh)
        return len(data)

    def truncate(self, path: str | None, length: int, fh: int | None = None) -> int:
        with self._lock:
            self._file(path, fh).change(Write(length, None))
            return 0

    def fallocate(self, path: str | None, mode: int, offset: int, size: int, fh: int) -> int:
        with self._lock:
            file = self._file(path, fh)
            if mode != 0:
                raise OSError(errno.EOPNOTSUPP, path)
            if offset + size > file.size:
                file.change(Write(offset + size, None))
            return 0

    def fsync(self, _path: str | None, _datasync: int, fh: int) -> int:
        return self._sync("file", fh)

    def release(self, _path: str | None, fh: int) -> int:
        with self._lock:
            del self._handles[fh]
            return 0

    def opendir(self, path: str) -> int:
        with self._lock:
            return self._opened(self._powered().folder(path), path)

    def readdir(self, _path: str | None, fh: int) -> list[tuple[str, dict[str, int], int]]:
        with self._lock:
            self._powered()
            folder = self._handles[fh].node
            assert isinstance(folder, Folder)
            own = [(name, status(folder), 0) for name in (".", "..")]
            return own + [(name, status(node), 0) for name, node in folder.entries.items()]

    def fsyncdir(self, _path: str | None, _datasync: int, fh: int) -> int:
        return self._sync("folder", fh)

    releasedir = release

    def mkdir(self, path: str, mode: int) -> int:
        with self._lock:
            self._powered().make(path, stat.S_IFDIR | stat.S_IMODE(mode))
            return 0

    def mknod(self, path: str, mode: int, _device: int) -> int:
        with self._lock:
            self._powered().make(path, mode)
            return 0

    def symlink(self, target: str, source: str) -> int:
        with self._lock:
            self._powered().make(target, stat.S_IFLNK | 0o777, source)
            return 0

    def readlink(self, path: str) -> str:
        with self._lock:
            link = self._powered().find(path)
            assert isinstance(link, Special)
            return link.target

    def link(self, target: str, source: str) -> int:
        with self._lock:
            self._powered().link(source, target)
            return 0

    def unlink(self, path: str) -> int:
        with self._lock:
            self._powered().remove(path, is_folder=False)
            return 0

    def rmdir(self, path: str) -> int:
        with self._lock:
            self._powered().remove(path, is_folder=True)
            return 0

    def rename(self, old: str, new: str) -> int:
        with self._lock:
            self._powered().rename(old, new)
            return 0

    def chmod(self, path: str, mode: int) -> int:
        with self._lock:
            node = self._powered().find(path)
            node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(mode)
            return 0

    def chown(self, path: str, _owner: int, _group: int) -> int:
        with self._lock:  # everything belongs to whoever mounted it
            self._powered().find(path)
            return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        with self._lock:
            node = self._powered().find(path)
            if times is None:
                node.touch()
            else:
                node.times = times
            return 0


def _listen(mounted: Mounted, folder: str) -> None:
    for line in sys.stdin:
        print(json.dumps(mounted.answer(json.loads(line))), flush=True)
    subprocess.run(["umount", "--lazy", folder], check=False)  # whoever started this died


def main(folder: str, image: str | None = None) -> None:
    """Serve until the mount is taken away, or the process killed."""
    root = None if image is None else pickle.loads(Path(image).read_bytes())  # noqa: S301 - our own
    mounted = Mounted(Tree(root))
    threading.Thread(target=_listen, args=(mounted, folder), daemon=True).start()
    mfusepy.FUSE(mounted, folder, foreground=True, nothreads=True, fsname="forgetful")


if __name__ == "__main__":
    main(*sys.argv[1:])
