"""A folder as source and as target. Files become objects by their relative paths, objects become files by `names`.

An export writes an index, a line for each object with its key, file and metadata; an import can follow it, and
then gets back exactly what was exported.
"""

import asyncio
import hashlib
import json
import mimetypes
import os
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from gateway.moving.names import fits, hash_path_of, partial_name, path_of
from gateway.moving.places import (
    PIECE_BYTES,
    Interrupted,
    Item,
    ItemChanged,
    ItemFailed,
    Opened,
    Outgoing,
    PlaceFailed,
    part_sizes,
)
from gateway.moving.tree import Tree
from gateway.s3.request import Headers
from gateway.s3.types import Checksum, Tags

INDEX_NAME: Final = ".sealgate-index.jsonl"
"""No object's file has this name: none begins with a dot."""
_MAX_LINE_BYTES: Final = 64 * 1024
"""Of the index: a key, its path, and a few KiB of metadata."""
_META: Final = "x-amz-meta-"
_NAMES: Final = (
    "content_type",
    "cache_control",
    "content_disposition",
    "content_encoding",
    "content_language",
    "expires",
)

T = TypeVar("T")


class _Pooled:
    """Runs what blocks in threads of its own."""

    def __init__(self, parallel: int) -> None:
        self._pool = ThreadPoolExecutor(parallel + 1, thread_name_prefix="moving")

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


@dataclass(slots=True)
class _FilePiece:
    """A span of an open file."""

    pool: _Pooled
    descriptor: int
    offset: int
    size: int

    async def chunks(self, md5: "hashlib._Hash | None" = None) -> AsyncGenerator[bytes]:
        """The bytes. Raises: ItemChanged for a file that became shorter, Interrupted for a disk that failed."""
        at, end = self.offset, self.offset + self.size
        while at < end:
            chunk = await self.pool.run(self._read, min(PIECE_BYTES, end - at), at, md5)
            at += len(chunk)
            yield chunk

    def _read(self, length: int, offset: int, md5: "hashlib._Hash | None") -> bytes:
        try:
            chunk = os.pread(self.descriptor, length, offset)
        except OSError as error:
            raise Interrupted(f"the file cannot be read ({error.strerror})") from None
        if not chunk:
            raise ItemChanged("the file became shorter while it was read")
        if md5 is not None:
            md5.update(chunk)
        return chunk

    async def close(self) -> None:
        """The reading closes the file."""


@dataclass(slots=True)
class _FileReading:
    """One file, opened."""

    pool: _Pooled
    descriptor: int
    status: os.stat_result
    headers: Headers
    tags: Tags = ()
    md5: bytes | None = None
    parts_etag: str | None = None
    checksum: Checksum | None = None
    parts: tuple[int, ...] = ()

    @property
    def part_count(self) -> int:
        """1 up to `PART_BYTES`."""
        return len(self.parts) or 1

    async def piece(self, number: int) -> _FilePiece:
        """A span of the file."""
        sizes = self.parts or (self.status.st_size,)
        return _FilePiece(self.pool, self.descriptor, sum(sizes[: number - 1]), sizes[number - 1])

    async def settle(self) -> None:
        """Raises: ItemChanged for a file that was written meanwhile."""
        now = os.fstat(self.descriptor)
        if (now.st_size, now.st_mtime_ns) != (self.status.st_size, self.status.st_mtime_ns):
            raise ItemChanged("the file was written while it was read")

    async def close(self) -> None:
        """Close the file."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class FolderSource:
    """Every regular file below a folder."""

    def __init__(self, root: Path, parallel: int, *, by_index: bool = False) -> None:
        """`by_index` follows the index of an export. Raises: PlaceFailed."""
        self.name = f"folder {root}"
        self._tree = Tree(root)
        self._pool = _Pooled(parallel)
        self._index: dict[bytes, dict[str, Any]] | None = None
        if by_index:
            self._index = _read_index(self._tree)

    async def walk(self, after: bytes, *, versions: bool) -> AsyncGenerator[Item]:
        """Files by path, or by the index. Raises: PlaceFailed."""
        if versions:
            raise PlaceFailed("a folder keeps no versions: leave --versions out")
        if self._index is not None:
            for object_key in sorted(key for key in self._index if key > after):
                yield self._indexed(object_key)
            return
        async with aclosing(self._below((), after)) as items:
            async for item in items:
                yield item

    async def _below(self, names: tuple[bytes, ...], after: bytes) -> AsyncGenerator[Item]:
        """Files of a folder and, between them, those of the folders below: keys come in byte order."""
        try:
            entries = await self._pool.run(self._tree.entries, names)
        except ItemFailed as failed:
            if not names:
                raise PlaceFailed(str(failed)) from None
            yield Item(b"/".join(names) + b"/", 0, "", _EPOCH, trouble=str(failed))
            return
        for entry in entries:
            here = (*names, entry.name)
            object_key = b"/".join(here)
            prefix = object_key + b"/"
            if not entry.is_folder:
                if object_key > after:
                    yield _item(object_key, entry.status, entry.trouble)
            elif prefix > after or after.startswith(prefix):
                async with aclosing(self._below(here, after)) as items:
                    async for item in items:
                        yield item

    def _indexed(self, object_key: bytes) -> Item:
        assert self._index is not None, "asked for by who follows it"
        try:
            names = _names_of(self._index[object_key])
            descriptor, status = self._tree.open_file(names)
        except (ItemFailed, KeyError, TypeError, ValueError) as error:
            return Item(object_key, 0, "", _EPOCH, trouble=str(error))
        os.close(descriptor)
        return _item(object_key, status, None)

    async def open(self, item: Item) -> _FileReading:
        """Open the file. Raises: ItemFailed, ItemChanged."""
        if self._index is None:
            names, told = item.object_key.split(b"/"), _Told(_guessed(item.object_key))
        else:
            names, told = _names_of(self._index[item.object_key]), _told_by(self._index[item.object_key])
        descriptor, status = await self._pool.run(self._tree.open_file, names)
        if (status.st_size, _etag(status)) != (item.size, item.etag):
            os.close(descriptor)
            raise ItemChanged("the file was written since it was listed")
        reading = _FileReading(self._pool, descriptor, status, told.headers, told.tags, parts=part_sizes(item.size))
        if reading.part_count == 1:
            reading.md5 = told.md5
        return reading

    async def close(self) -> None:
        """Let go of the folder."""
        self._pool.close()
        self._tree.close()


_EPOCH: Final = datetime.fromtimestamp(0, UTC)


def _etag(status: os.stat_result) -> str:
    return f"{status.st_mtime_ns:x}"


def _item(object_key: bytes, status: os.stat_result, trouble: str | None) -> Item:
    try:
        modified_at = datetime.fromtimestamp(status.st_mtime, UTC)
    except (ValueError, OverflowError):  # behind the year 9999; the ETag tells it all the same
        modified_at = _EPOCH
    return Item(object_key, status.st_size, _etag(status), modified_at, trouble=trouble)


def _guessed(object_key: bytes) -> Headers:
    kind, encoding = mimetypes.guess_type(object_key.rsplit(b"/", 1)[-1].decode("utf-8", "replace"))
    given = {b"content-type": kind, b"content-encoding": encoding}
    return Headers((name, value.encode("ascii")) for name, value in given.items() if value)


def _read_index(tree: Tree) -> dict[bytes, dict[str, Any]]:
    """Lines by object key; the last of a key counts, since an export adds one for what changed."""
    lines = {}
    try:
        for number, told in enumerate(_index_lines(tree), start=1):
            if told is None:
                raise PlaceFailed(f"line {number} of {INDEX_NAME} is not as an export writes it")
            lines[told["object_key"].encode("utf-8")] = told
    except ItemFailed as failed:
        raise PlaceFailed(f"there is no {INDEX_NAME} of an export: {failed}") from None
    return lines


def _index_lines(tree: Tree) -> Iterator[dict[str, Any] | None]:
    """Every line of the index, None for one that names no object. Raises: ItemFailed where there is no index."""
    descriptor, _ = tree.open_file([INDEX_NAME.encode()])
    with os.fdopen(descriptor, "rb") as file:
        for line in iter(lambda: file.readline(_MAX_LINE_BYTES), b""):
            try:
                told = json.loads(line)
                told["object_key"].encode("utf-8")
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                told = None
            yield told


def _indexed(tree: Tree) -> dict[bytes, bytes]:
    """Digests of the lines of an index, where there is one; the last of a key counts."""
    found = {}
    with suppress(ItemFailed):
        for line in filter(None, _index_lines(tree)):
            found[line["object_key"].encode("utf-8")] = _line_digest(line)
    return found


def _line_digest(line: dict[str, Any]) -> bytes:
    """What of a line is compared: all but the MD5, which is only known of what is written."""
    told = json.dumps({**line, "md5": ""}, sort_keys=True)
    return hashlib.blake2b(told.encode("ascii"), digest_size=16).digest()


def _names_of(line: dict[str, Any]) -> list[bytes]:
    """The path that a line names, which may not leave the folder. Raises: ItemFailed."""
    path = line.get("path")
    names = path.encode("utf-8", "surrogateescape").split(b"/") if isinstance(path, str) else [b""]
    if any(name in (b"", b".", b"..") or b"\0" in name for name in names):
        raise ItemFailed(f"{INDEX_NAME} names no path below the folder")
    return names


@dataclass(frozen=True, slots=True)
class _Told:
    """What is known of a file besides its bytes."""

    headers: Headers
    tags: Tags = ()
    md5: bytes | None = None


def _told_by(line: dict[str, Any]) -> _Told:
    """What a line of the index tells. Raises: ItemFailed."""
    try:
        tags = tuple((str(name), str(value)) for name, value in line.get("tags", {}).items())
        md5 = bytes.fromhex(line["md5"]) if line.get("md5") else None
        return _Told(_headers_of(line), tags, md5)
    except (AttributeError, TypeError, ValueError):
        raise ItemFailed(f"its line in {INDEX_NAME} is not as an export writes it") from None


def _headers_of(line: dict[str, Any]) -> Headers:
    held = {name.replace("_", "-"): value for name, value in line.get("headers", {}).items()}
    held |= {_META + name: value for name, value in line.get("metadata", {}).items()}
    return Headers((name.encode("latin-1"), str(value).encode("latin-1")) for name, value in held.items())


@dataclass(slots=True)
class FolderTarget:
    """A folder that objects are written into, with an index."""

    root: Path
    parallel: int
    name: str = field(init=False)
    keeps_versions: bool = False
    _tree: Tree = field(init=False)
    _pool: _Pooled = field(init=False)
    _paths: dict[bytes, tuple[tuple[str, ...], str]] = field(default_factory=dict, init=False)
    _indexed: dict[bytes, bytes] | None = field(default=None, init=False)
    """Of each object in the index, the digest of its line; None until the first is noted."""
    _indexing: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    def __post_init__(self) -> None:
        self.name = f"folder {self.root}"
        self._tree = Tree(self.root, make=True)
        self._pool = _Pooled(self.parallel)

    async def holds(self, outgoing: Outgoing, index: int, count: int, opened: Opened) -> int:
        """Whether the file is there with the same bytes. Raises: ItemChanged, MoveError."""
        assert (index, count) == (0, 1), "a folder has no versions"
        for names in self._candidates(outgoing.object_key):
            try:
                descriptor, status = await self._pool.run(self._tree.open_file, names)
            except ItemFailed:
                continue
            try:
                piece = _FilePiece(self._pool, descriptor, 0, status.st_size)
                if status.st_size != outgoing.size or not await _same(piece, opened, outgoing.size):
                    raise ItemChanged("another file is there; it was left as it is")
            finally:
                os.close(descriptor)
            self._paths[outgoing.object_key] = (_decoded(names), "")
            return 1
        return 0

    def _candidates(self, object_key: bytes) -> list[list[bytes]]:
        paths = (path_of(object_key), hash_path_of(object_key))
        return [[name.encode() for name in names] for names in paths if fits(names)]

    async def put(self, outgoing: Outgoing, opened: Opened, *, read_back: bool) -> None:
        """Write the file whole, or not at all. Raises: MoveError."""
        assert not outgoing.is_delete_marker, "a folder has no versions"
        problem: OSError | None = None
        for names in self._candidates(outgoing.object_key):
            try:
                md5 = await self._write(names, outgoing, opened)
            except (NotADirectoryError, IsADirectoryError, FileExistsError) as error:
                problem = error  # a file stands where a folder should, or the reverse
            except OSError as error:
                raise PlaceFailed(f"{self.name} cannot be written ({error.strerror}): make room there") from None
            else:
                self._paths[outgoing.object_key] = (_decoded(names), md5)
                if read_back:
                    await self._read_back(names, outgoing, md5)
                return
        raise ItemFailed(f"no file can be made for it ({'' if problem is None else problem.strerror})")

    async def _write(self, names: list[bytes], outgoing: Outgoing, opened: Opened) -> str:
        partial = [*names[:-1], partial_name(names[-1].decode()).encode()]
        descriptor = await self._pool.run(self._tree.create, partial)
        md5 = hashlib.md5(usedforsecurity=False)
        size = 0
        try:
            async with aclosing(opened(0, outgoing.size)) as chunks:
                async for chunk in chunks:
                    await self._pool.run(_write_all, descriptor, chunk, md5)
                    size += len(chunk)
            assert size == outgoing.size, "the opener gives what the row says, or fails"
            await self._pool.run(os.fsync, descriptor)
            await self._pool.run(self._tree.publish, partial, names[-1])
        except BaseException:
            with suppress(OSError):
                self._tree.remove(partial)
            raise
        finally:
            os.close(descriptor)
        return md5.hexdigest()

    async def _read_back(self, names: list[bytes], outgoing: Outgoing, md5: str) -> None:
        descriptor, status = await self._pool.run(self._tree.open_file, names)
        try:
            there = hashlib.md5(usedforsecurity=False)
            async for _ in _FilePiece(self._pool, descriptor, 0, status.st_size).chunks(there):
                pass
        finally:
            os.close(descriptor)
        if (status.st_size, there.hexdigest()) != (outgoing.size, md5):
            raise ItemFailed("what was read back is not what was written")

    async def note(self, outgoing: Outgoing) -> None:
        """Add a line to the index, unless it says that already. Raises: PlaceFailed."""
        names, md5 = self._paths.pop(outgoing.object_key)
        if not md5 and outgoing.md5_etag and "-" not in outgoing.etag:
            md5 = outgoing.etag
        line = {
            "object_key": outgoing.object_key.decode("utf-8"),
            "path": "/".join(names),
            "size": outgoing.size,
            "md5": md5,
            "etag": outgoing.etag,
            "created_at": outgoing.created_at.isoformat(),
            "headers": {name: outgoing.headers[name] for name in _NAMES if name in outgoing.headers},
            "metadata": dict(outgoing.metadata),
            "tags": dict(outgoing.tags),
        }
        digest = _line_digest(line)
        async with self._indexing:
            if self._indexed is None:
                self._indexed = await self._pool.run(_indexed, self._tree)
        if self._indexed.get(outgoing.object_key) == digest:
            return
        try:
            await self._pool.run(self._tree.append, INDEX_NAME.encode(), json.dumps(line).encode("ascii") + b"\n")
        except OSError as error:
            raise PlaceFailed(f"{self.name} cannot be written ({error.strerror}): make room there") from None
        self._indexed[outgoing.object_key] = digest

    async def close(self) -> None:
        """Let go of the folder."""
        self._pool.close()
        self._tree.close()


def _decoded(names: list[bytes]) -> tuple[str, ...]:
    return tuple(name.decode() for name in names)


def _write_all(descriptor: int, chunk: bytes, md5: "hashlib._Hash") -> None:
    md5.update(chunk)
    view = memoryview(chunk)
    while view:
        view = view[os.write(descriptor, view) :]


async def _same(piece: _FilePiece, opened: Opened, size: int) -> bool:
    """Whether a file has the bytes of an object."""
    there, ours = hashlib.sha256(), hashlib.sha256()
    async for chunk in piece.chunks(there):
        del chunk
    async for chunk in opened(0, size):
        ours.update(chunk)
    return there.digest() == ours.digest()
