"""Every byte that a process hands to the kernel for a file, seen by strace, and the forms in which a secret could hide.

Files that were deleted on the way, overwritten pages and renamed temporaries are all in it. Not seen: stores through a
shared mapping (of the gateway only SQLite's -shm file, which holds page numbers); those are read from the disk.
"""

import base64
import hashlib
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.tooling.tools import program

_TRACED: Final = (
    "write,pwrite64,writev,pwritev,pwritev2,sendfile,copy_file_range,splice,io_uring_setup,memfd_create,mmap,"
    "open,openat,creat,mkdir,mkdirat,link,linkat,rename,renameat,renameat2,symlink,symlinkat,unlink,unlinkat"
)
_HIDDEN: Final = frozenset({b"sendfile", b"copy_file_range", b"splice", b"io_uring_setup"})
_CALL: Final = re.compile(rb"^(\w+)\((?:\d+<((?:\\x[0-9a-f]{2})*)>)?")
_STRING: Final = re.compile(rb'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
_WRITES: Final = frozenset({b"write", b"pwrite64", b"writev", b"pwritev", b"pwritev2"})
_END_TIMEOUT_S: Final = 30


@dataclass
class Seen:
    """What went to files: path -> bytes of each thread in order; and every path that a call named."""

    written: dict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    names: set[bytes] = field(default_factory=set)
    mapped: set[str] = field(default_factory=set)
    """Files mapped shared and writable."""

    @property
    def size(self) -> int:
        """Bytes written."""
        return sum(len(stream) for streams in self.written.values() for stream in streams)


class Tracer:
    """Puts strace before commands and reads what it saw."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self._program = str(program("strace"))
        folder.mkdir()

    def command(self, command: Sequence[str]) -> list[str]:
        """The command under strace, which is its grandchild: the process started is the command itself."""
        self._count += 1
        output = self._folder / f"trace-{self._count}"
        options = ["-ff", "-D", "-y", "-xx", "-s", "100000000", "--seccomp-bpf", "-e", "signal=KILL"]
        # libuv batches epoll changes through io_uring where it can; without it, nothing passes by strace.
        options += ["-e", "inject=io_uring_setup:error=ENOSYS"]
        options += ["-E", "LD_LIBRARY_PATH"]  # strace's own, where it runs from where it was unpacked
        return [self._program, *options, "-e", f"trace={_TRACED}", "-o", str(output), "--", *command]

    def seen(self) -> Seen:
        """Read everything; the traced processes have ended."""
        seen = Seen()
        for trace in self._finished():
            streams: dict[str, list[bytes]] = defaultdict(list)
            with trace.open("rb") as lines:
                for line in lines:
                    _take(line, streams, seen)
            for path, pieces in streams.items():
                seen.written[path].append(b"".join(pieces))
        return seen

    def _finished(self) -> list[Path]:
        """Every trace, once strace has written its last line."""
        deadline = time.monotonic() + _END_TIMEOUT_S
        while True:
            traces = sorted(self._folder.glob("trace-*"))
            if all(_last_line(trace).startswith(b"+++ ") for trace in traces):
                return traces
            assert time.monotonic() < deadline, "strace has not ended"
            time.sleep(0.05)


def _last_line(trace: Path) -> bytes:
    with trace.open("rb") as file:
        file.seek(max(0, trace.stat().st_size - 200))
        return file.read().rstrip(b"\n").rpartition(b"\n")[2]


def _unescape(text: bytes) -> bytes:
    return bytes.fromhex(text.replace(b"\\x", b"").decode("ascii"))


def _take(line: bytes, streams: dict[str, list[bytes]], seen: Seen) -> None:
    call = _CALL.match(line)
    if call is None:
        assert line.startswith((b"+++ ", b"--- ")), f"strace wrote a line that this reader does not know: {line[:80]!r}"
        return
    name = call[1]
    assert name not in _HIDDEN or line.rstrip().endswith(b"(INJECTED)"), (
        f"{name!r} writes bytes that strace cannot show"
    )
    if name == b"mmap":
        if b"MAP_SHARED" in line and b"PROT_WRITE" in line and (file := re.search(rb"<((?:\\x[0-9a-f]{2})+)>", line)):
            seen.mapped.add(_unescape(file[1]).decode())
        return
    found = _STRING.findall(line)
    assert not any(cut for _, cut in found), "strace cut a string"
    strings = [_unescape(text) for text, _ in found]
    if name not in _WRITES:
        seen.names.update(strings)
        return
    path = _unescape(call[2] or b"")
    if path.startswith(b"/") and not path.startswith(b"/dev/"):
        streams[path.decode()] += strings


def forms(secret: bytes) -> Iterator[tuple[str, bytes]]:
    """The secret as such, in hexadecimal and in base64 at each of the three alignments."""
    yield "raw", secret
    yield "hex", secret.hex().encode()
    yield "HEX", secret.hex().upper().encode()
    for shift in range(3):
        # Characters that also depend on the bytes before or after the secret are left out.
        encoded = base64.b64encode(bytes(shift) + secret)[(shift * 8 + 5) // 6 :]
        whole = (len(secret) * 8 - (-shift * 8) % 6) // 6
        yield f"base64 at {shift}", encoded[:whole]
        yield f"base64url at {shift}", encoded[:whole].translate(bytes.maketrans(b"+/", b"-_"))


def digests(content: bytes) -> Iterator[tuple[str, bytes]]:
    """MD5 of a content: raw, hexadecimal, base64."""
    digest = hashlib.md5(content).digest()
    yield "md5", digest
    yield "md5 hex", digest.hex().encode()
    yield "md5 base64", base64.b64encode(digest).rstrip(b"=")


@dataclass(frozen=True)
class Needle:
    """One thing that must not be found. `exempt` names the files whose purpose it is to hold it."""

    what: str
    data: bytes
    exempt: tuple[str, ...] = ()


def search(needles: Sequence[Needle], seen: Seen, folder: Path) -> list[str]:
    """Every hit in what was written, in the names of files, and in every file that is left below the folder."""
    places = [(path, stream) for path, streams in seen.written.items() for stream in streams]
    places += [(str(path), path.read_bytes()) for path in folder.rglob("*") if path.is_file()]
    places.append(("names of files", b"\n".join(sorted(seen.names))))
    return [
        f"{needle.what} in {path}"
        for path, stream in places
        for needle in needles
        if not _is_exempt(path, needle) and needle.data in stream
    ]


def _is_exempt(path: str, needle: Needle) -> bool:
    # A file is first written beside its place, as `.<name>.new`.
    return Path(path).name.removeprefix(".").removesuffix(".new") in needle.exempt
