"""What the forgetful file system keeps and forgets, by its model alone; `test_power_loss` mounts it."""

import errno
import stat
from collections.abc import Callable, Iterator
from typing import Final

import pytest

from tests.faults.power.platter import File, Folder, PowerLoss, Tree, Write

FILE: Final = stat.S_IFREG | 0o600
FOLDER: Final = stat.S_IFDIR | 0o700
SEEDS: Final = range(200)


def write(tree: Tree, path: str, data: bytes, *, offset: int = 0) -> File:
    """Write to a file, made where there is none; nothing is synced."""
    above, _, name = path.rpartition("/")
    if name not in tree.folder(above).entries:
        tree.make(path, FILE)
    tree.file(path).change(Write(offset, data))
    return tree.file(path)


def sync(tree: Tree, *paths: str) -> None:
    """Sync files and folders."""
    for path in paths:
        node = tree.find(path)
        assert isinstance(node, File | Folder)
        node.sync()


def after(tree: Tree, seed: int | None = None) -> Tree:
    """The tree after a power loss."""
    return Tree(PowerLoss(seed).leave(tree.root))


def contents(tree: Tree) -> dict[str, bytes | None]:
    """Path -> bytes, or None for a folder."""

    def walk(folder: Folder, above: str) -> Iterator[tuple[str, bytes | None]]:
        for name, node in folder.entries.items():
            yield f"{above}/{name}", bytes(node.content) if isinstance(node, File) else None
            if isinstance(node, Folder):
                yield from walk(node, f"{above}/{name}")

    return dict(walk(tree.root, ""))


def test_bytes_and_name_are_durable_by_syncs_of_their_own() -> None:
    tree = Tree()
    for path in ("/neither", "/named", "/written", "/both"):
        write(tree, path, b"bytes")
    sync(tree, "/written", "/both")
    assert contents(after(tree)) == {}
    sync(tree, "/")
    write(tree, "/late", b"bytes")
    sync(tree, "/late")
    assert contents(after(tree)) == {"/neither": b"", "/named": b"", "/written": b"bytes", "/both": b"bytes"}
    assert contents(tree)["/neither"] == b"bytes"
    assert contents(tree)["/late"] == b"bytes"


def test_a_folder_whose_own_name_is_lost_takes_what_is_in_it() -> None:
    tree = Tree()
    tree.make("/a", FOLDER)
    write(tree, "/a/file", b"bytes")
    sync(tree, "/a/file", "/a")
    assert contents(after(tree)) == {}
    sync(tree, "/")
    assert contents(after(tree)) == {"/a": None, "/a/file": b"bytes"}


def test_a_write_over_synced_bytes_is_lost_alone() -> None:
    tree = Tree()
    write(tree, "/file", b"0123456789")
    sync(tree, "/file", "/")
    write(tree, "/file", b"xx", offset=2)
    write(tree, "/file", b"beyond", offset=12)
    assert contents(tree)["/file"] == b"01xx456789\0\0beyond"
    assert contents(after(tree))["/file"] == b"0123456789"
    tree.file("/file").change(Write(3, None))
    sync(tree, "/file")
    assert contents(after(tree))["/file"] == b"01x"


def _unlink(tree: Tree) -> None:
    tree.remove("/old", is_folder=False)


def _rename(tree: Tree) -> None:
    tree.rename("/old", "/new")


def _replace(tree: Tree) -> None:
    tree.rename("/new", "/old")


def _link_and_unlink(tree: Tree) -> None:
    tree.link("/new", "/linked")
    tree.remove("/new", is_folder=False)


@pytest.mark.parametrize("change", [_unlink, _rename, _replace, _link_and_unlink])
def test_names_change_durably_with_their_folder(change: Callable[[Tree], None]) -> None:
    tree = Tree()
    write(tree, "/old", b"old")
    write(tree, "/new", b"new")
    sync(tree, "/old", "/new", "/")
    before = contents(tree)
    change(tree)
    assert contents(tree) != before
    assert contents(after(tree)) == before
    sync(tree, "/")
    assert contents(after(tree)) == contents(tree) != before


def test_a_rename_between_folders_is_durable_on_each_side_by_its_sync() -> None:
    tree = Tree()
    for folder in ("/a", "/b"):
        tree.make(folder, FOLDER)
    write(tree, "/a/file", b"bytes")
    sync(tree, "/a/file", "/a", "/")
    tree.rename("/a/file", "/b/file")
    sync(tree, "/b")
    assert contents(after(tree)).keys() == {"/a", "/b", "/a/file", "/b/file"}
    sync(tree, "/a")
    assert contents(after(tree)).keys() == {"/a", "/b", "/b/file"}


def test_names_of_one_file_stay_one_file() -> None:
    tree = Tree()
    write(tree, "/file", b"bytes")
    tree.link("/file", "/linked")
    sync(tree, "/file", "/")
    left = after(tree)
    assert left.find("/file") is left.find("/linked")
    assert left.find("/file").links == 2
    left.remove("/file", is_folder=False)
    assert left.find("/linked").links == 1


def test_by_a_seed_any_part_survives_and_what_was_synced_always() -> None:
    tree = Tree()
    old, new = bytes(8192), b"\1" * 8192
    write(tree, "/file", old)
    sync(tree, "/file", "/")
    write(tree, "/file", new)
    write(tree, "/other", b"tail", offset=8192)
    found = [contents(after(tree, seed)) for seed in SEEDS]
    assert found == [contents(after(tree, seed)) for seed in SEEDS]
    files = {file for state in found if (file := state["/file"]) is not None}
    assert {old, new} < files
    for file in files:
        assert all(len(set(file[at : at + 512])) == 1 for at in range(0, len(file), 512)), "a sector is whole"
    torn = {tuple(file[::512]) for file in files - {old, new}}
    assert any(states[0] != states[1] for states in torn), "torn at 512 bytes"
    assert any(len(set(states[:8])) == 1 and len(set(states[8:])) == 1 for states in torn), "torn at 4096 bytes"
    assert {state.get("/other") for state in found} == {None, b"", bytes(8192) + b"tail"}


def test_by_a_seed_a_later_change_may_survive_an_earlier_one() -> None:
    tree = Tree()
    write(tree, "/file", b"")
    sync(tree, "/file", "/")
    write(tree, "/file", b"a")
    write(tree, "/file", b"b", offset=1)
    tree.make("/first", FOLDER)
    tree.make("/second", FOLDER)
    found = [contents(after(tree, seed)) for seed in SEEDS]
    assert {state["/file"] for state in found} == {b"", b"a", b"\0b", b"ab"}
    assert {("/first" in state, "/second" in state) for state in found} == {
        (first, second) for first in (False, True) for second in (False, True)
    }


def test_a_rename_survives_whole_or_not_at_all() -> None:
    tree = Tree()
    write(tree, "/old", b"old")
    write(tree, "/new", b"new")
    sync(tree, "/old", "/new", "/")
    tree.rename("/new", "/old")
    assert {tuple(sorted(contents(after(tree, seed)).items())) for seed in SEEDS} == {
        (("/new", b"new"), ("/old", b"old")),
        (("/old", b"new"),),
    }


def test_what_is_left_is_durable() -> None:
    tree = Tree()
    write(tree, "/file", b"bytes")
    left = next(left for seed in SEEDS if contents(left := after(tree, seed)) == {"/file": b"bytes"})
    assert contents(after(left)) == {"/file": b"bytes"}


@pytest.mark.parametrize(
    ("call", "number"),
    [
        (lambda tree: tree.find("/absent"), errno.ENOENT),
        (lambda tree: tree.find("/file/inner"), errno.ENOTDIR),
        (lambda tree: tree.make("/file", FILE), errno.EEXIST),
        (lambda tree: tree.link("/file", "/folder"), errno.EEXIST),
        (lambda tree: tree.file("/folder"), errno.EISDIR),
        (lambda tree: tree.folder("/file"), errno.ENOTDIR),
        (lambda tree: tree.remove("/folder", is_folder=True), errno.ENOTEMPTY),
        (lambda tree: tree.remove("/folder", is_folder=False), errno.EISDIR),
        (lambda tree: tree.remove("/file", is_folder=True), errno.ENOTDIR),
        (lambda tree: tree.rename("/file", "/folder"), errno.EISDIR),
        (lambda tree: tree.rename("/folder", "/file"), errno.ENOTDIR),
        (lambda tree: tree.rename("/empty", "/folder"), errno.ENOTEMPTY),
    ],
)
def test_refusals_are_those_of_the_system(call: Callable[[Tree], object], number: int) -> None:
    tree = Tree()
    tree.make("/folder", FOLDER)
    tree.make("/empty", FOLDER)
    write(tree, "/folder/inner", b"")
    write(tree, "/file", b"")
    before = contents(tree)
    with pytest.raises(OSError, match=rf"\[Errno {number}\]"):
        call(tree)
    assert contents(tree) == before
