"""A file system in memory that knows what of it a power loss would leave: the model under `mounted`, without FUSE.

Durable are the bytes and the size of a file once it was synced, and the names in a folder once that folder was: made,
linked, renamed and removed ones alike. A sync of a file does not make its name durable, nor one of a folder what lies
in it. This is less than ext4 or XFS keep, and all that fsync(2) of Linux promises. The mode and the times of what
survives are durable at once.

A power loss leaves what is durable and, by a seed, any part of the rest: a disk may have written each of it or none, in
any order, and whole sectors of a write alone. Sources: fsync(2), open(2); Pillai et al., "All File Systems Are Not
Created Equal", OSDI 2014.
"""

import errno
import itertools
import os
import random
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

SECTORS: Final = (512, 4096)
"""What a disk writes whole, in bytes: any other cut of a write is torn."""


@dataclass(frozen=True)
class Write:
    """Bytes that were written at an offset, or, without bytes, a size that was set."""

    offset: int
    data: bytes | None

    def apply(self, content: bytearray) -> None:
        """Do it; a gap becomes zeros."""
        if len(content) < self.offset:
            content.extend(bytes(self.offset - len(content)))
        if self.data is None:
            del content[self.offset :]
        else:
            content[self.offset : self.offset + len(self.data)] = self.data

    def sectors(self, size: int) -> Iterator["Write"]:
        """The same in pieces that a disk with sectors of that size writes whole."""
        if self.data is None:
            yield self
            return
        end = self.offset + len(self.data)
        bounds = [self.offset, *range((self.offset // size + 1) * size, end, size), end]
        for begin, stop in itertools.pairwise(bounds):
            yield Write(begin, self.data[begin - self.offset : stop - self.offset])


@dataclass(eq=False, kw_only=True)
class Node:
    """What a name refers to. `mode` holds the type, too."""

    mode: int
    number: int
    links: int = 0
    times: tuple[int, int] = field(default_factory=lambda: (time.time_ns(), time.time_ns()))
    """Of the last access and of the last change, in nanoseconds."""

    @property
    def size(self) -> int:
        """In bytes."""
        return 0

    def touch(self) -> None:
        """Note a change."""
        self.times = (self.times[0], time.time_ns())


@dataclass(eq=False, kw_only=True)
class File(Node):
    """A file: `content` as it is read, `durable` as it would be after a power loss, and the changes between the two."""

    content: bytearray = field(default_factory=bytearray)
    durable: bytearray = field(default_factory=bytearray)
    unsynced: list[Write] = field(default_factory=list)

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.content)

    def change(self, write: Write) -> None:
        """Write, or set the size."""
        write.apply(self.content)
        self.unsynced.append(write)
        self.touch()

    def sync(self) -> None:
        """Make every change durable."""
        for write in self.unsynced:
            write.apply(self.durable)
        self.unsynced.clear()


Change = dict[str, Node | None]
"""Names of one folder that change together, and what each refers to afterwards; None is nothing."""


@dataclass(eq=False, kw_only=True)
class Folder(Node):
    """A folder: its `entries` as they are listed and as they would be after a power loss, and the changes between."""

    entries: dict[str, Node] = field(default_factory=dict)
    durable: dict[str, Node] = field(default_factory=dict)
    unsynced: list[Change] = field(default_factory=list)

    def change(self, change: Change) -> None:
        """Change names, all of them or none after a power loss: a rename within a folder is atomic."""
        _apply(change, self.entries)
        self.unsynced.append(change)
        self.touch()

    def sync(self) -> None:
        """Make every change durable."""
        for change in self.unsynced:
            _apply(change, self.durable)
        self.unsynced.clear()


@dataclass(eq=False, kw_only=True)
class Special(Node):
    """A symbolic link or a socket."""

    target: str = ""


def _apply(change: Change, entries: dict[str, Node]) -> None:
    for name, node in change.items():
        if node is None:
            entries.pop(name, None)
        else:
            entries[name] = node


class Tree:
    """The file system by paths, as the system calls see it; every refusal is an OSError with its errno."""

    def __init__(self, root: Folder | None = None) -> None:
        self._numbers = itertools.count(1)
        self.root = root or Folder(mode=stat.S_IFDIR | 0o700, number=next(self._numbers))
        for node in _reachable(self.root):
            node.number = next(self._numbers)

    def find(self, path: str) -> Node:
        """The node of a path from the root."""
        node: Node = self.root
        for name in filter(None, path.split("/")):
            if not isinstance(node, Folder):
                raise OSError(errno.ENOTDIR, path)
            if name not in node.entries:
                raise OSError(errno.ENOENT, path)
            node = node.entries[name]
        return node

    def folder(self, path: str) -> Folder:
        """The folder of a path."""
        found = self.find(path)
        if not isinstance(found, Folder):
            raise OSError(errno.ENOTDIR, path)
        return found

    def file(self, path: str) -> File:
        """The file of a path."""
        found = self.find(path)
        if not isinstance(found, File):
            raise OSError(errno.EISDIR if isinstance(found, Folder) else errno.EINVAL, path)
        return found

    def make(self, path: str, mode: int, target: str = "") -> Node:
        """Make what the type in `mode` says, under a name that is free."""
        if stat.S_ISREG(mode):
            made: Node = File(mode=mode, number=next(self._numbers))
        elif stat.S_ISDIR(mode):
            made = Folder(mode=mode, number=next(self._numbers))
        else:
            made = Special(mode=mode, number=next(self._numbers), target=target)
        self._name(made, path)
        return made

    def link(self, source: str, path: str) -> None:
        """Give a file one more name, which is free."""
        self._name(self.file(source), path)

    def _name(self, node: Node, path: str) -> None:
        folder, name = self._place(path)
        if name in folder.entries:
            raise OSError(errno.EEXIST, path)
        node.links += 1
        folder.change({name: node})

    def _place(self, path: str) -> tuple[Folder, str]:
        above, _, name = path.rpartition("/")
        return self.folder(above), name

    def remove(self, path: str, *, is_folder: bool) -> None:
        """Take a name away; what is open stays readable. A folder must be empty."""
        node = self.find(path)
        if isinstance(node, Folder) != is_folder:
            raise OSError(errno.ENOTDIR if is_folder else errno.EISDIR, path)
        if isinstance(node, Folder) and node.entries:
            raise OSError(errno.ENOTEMPTY, path)
        node.links -= 1
        folder, name = self._place(path)
        folder.change({name: None})

    def rename(self, old: str, new: str) -> None:
        """Move a name over whatever has the new one. Between two folders each side is durable by its own sync."""
        node = self.find(old)
        (here, old_name), (there, new_name) = self._place(old), self._place(new)
        replaced = there.entries.get(new_name)
        if replaced is node:
            return
        if replaced is not None:
            if isinstance(replaced, Folder) != isinstance(node, Folder):
                raise OSError(errno.EISDIR if isinstance(replaced, Folder) else errno.ENOTDIR, new)
            if isinstance(replaced, Folder) and replaced.entries:
                raise OSError(errno.ENOTEMPTY, new)
            replaced.links -= 1
        if here is there:
            here.change({old_name: None, new_name: node})
        else:
            there.change({new_name: node})
            here.change({old_name: None})


def _reachable(root: Folder) -> Iterator[Node]:
    """Every node once, the root last of those on its way."""
    seen: dict[int, Node] = {}

    def walk(node: Node) -> None:
        if id(node) not in seen:
            seen[id(node)] = node
            for inner in node.entries.values() if isinstance(node, Folder) else ():
                walk(inner)

    walk(root)
    return iter(seen.values())


class PowerLoss:
    """What one power loss leaves: with a seed any part of what was not synced, without one nothing of it."""

    def __init__(self, seed: int | None) -> None:
        self._random = None if seed is None else random.Random(seed)
        self._left: dict[int, Node] = {}
        self.lost = 0
        """Writes and changes of names that were given up, in whole or in part."""

    def leave(self, root: Folder) -> Folder:
        """A tree of its own, with all of it durable: what is found when the power is back."""
        left = self._node(root)
        assert isinstance(left, Folder)
        return left

    def _node(self, node: Node) -> Node:
        if (known := self._left.get(id(node))) is not None:  # one more name of the same file
            return known
        if isinstance(node, File):
            content = bytearray(node.durable)
            for write in self._writes(node.unsynced):
                write.apply(content)
            left: Node = File(mode=node.mode, number=0, content=content, durable=bytearray(content))
        elif isinstance(node, Folder):
            left = Folder(mode=node.mode, number=0)
        else:
            assert isinstance(node, Special)
            left = Special(mode=node.mode, number=0, target=node.target)
        left.times = node.times
        self._left[id(node)] = left
        if isinstance(node, Folder):
            assert isinstance(left, Folder)
            entries = dict(node.durable)
            for change in node.unsynced:
                if self._is_kept():
                    _apply(change, entries)
                else:
                    self.lost += 1
            for name, inner in entries.items():
                found = left.entries[name] = self._node(inner)
                found.links += 1
            left.durable = dict(left.entries)
        return left

    def _is_kept(self) -> bool:
        return self._random is not None and self._random.random() < 0.5

    def _writes(self, unsynced: list[Write]) -> Iterator[Write]:
        """The pieces that survive; one that is lost may stand between two that are not."""
        for write in unsynced:
            fate = "lost" if self._random is None else self._random.choice(("lost", "whole", "torn"))
            if fate == "whole":
                yield write
                continue
            self.lost += 1
            if fate == "torn":
                assert self._random is not None
                size = self._random.choice(SECTORS)
                yield from (piece for piece in write.sectors(size) if self._is_kept())


def status(node: Node) -> dict[str, int]:
    """The fields of stat(2)."""
    links = 2 if isinstance(node, Folder) else node.links
    owner = {"st_uid": os.getuid(), "st_gid": os.getgid()}
    accessed, changed = node.times
    times = {"st_atime": accessed, "st_mtime": changed, "st_ctime": changed}
    space = {"st_size": node.size, "st_blocks": -(-node.size // SECTORS[0])}
    return {"st_mode": node.mode, "st_ino": node.number, "st_nlink": links, **owner, **times, **space}
