"""What journal, snapshot and pack blobs hold: lines of canonical JSON, and runs of sealed blobs.

Decoding is strict: a value or `SealedDamaged`. What a row or a change means is for those who wrote it. Source:
docs/FORMAT.md section 16.
"""

import hashlib
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from storage.sealed.canonical import COUNT, TEXT, Codec, Shape, encode_object, octets, strict_json
from storage.sealed.damage import Damage, damaged
from storage.sealed.header import ID_SIZE
from storage.sealed.layout import HASH_SIZE

NO_SEGMENT: Final = bytes(HASH_SIZE)
"""Stands for the segment before the first one."""
MAX_LINE_SIZE: Final = 256 * 2**20
"""One command that releases an object of 10,000 parts takes 2 MiB."""
MAX_HEAD_SIZE: Final = 32 * 2**20
"""Names of 200,000 parts of a snapshot."""

_ENTRY: Final = struct.Struct(f">{ID_SIZE}sI")
_IDENTIFIER: Final = octets(ID_SIZE, ID_SIZE)
_DIGEST: Final = octets(HASH_SIZE, HASH_SIZE)


def _list_from_json(value: Any) -> tuple[bytes, ...]:
    if type(value) is not list:
        raise ValueError("not a list")
    return tuple(_IDENTIFIER.from_json(item) for item in value)


_IDENTIFIERS: Final = Codec(lambda values: [_IDENTIFIER.to_json(item) for item in values], _list_from_json)


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotPart:
    """A snapshot blob, as the segment that ends a snapshot names it."""

    blob_id: bytes
    digest: bytes = field(repr=False)
    """SHA-256 of its payload."""
    table: str
    row_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentHead:
    """The first line of a segment."""

    position: int = 0
    """From 0, one more than the segment before."""
    previous: bytes = field(repr=False)
    """SHA-256 of the payload of the segment before; `NO_SEGMENT` where the chain begins, or begins anew."""
    after: int = 0
    """The sequence that the segment before went to."""
    through: int = 0
    """The sequence that this one goes to: all changes between the two are in it."""
    change_count: int = 0
    packs: tuple[bytes, ...] = ()
    """Blobs that hold the bytes of the inline blobs in its rows."""
    snapshot_count: int = 0
    """How many segments there are up to the newest snapshot, that included; 0 where there is none."""
    begun_count: int = 0
    """Of a snapshot: how many segments there were when it was begun. Who has its rows replays from there."""
    parts: tuple[SnapshotPart, ...] = ()
    """Of a snapshot: its blobs."""

    @property
    def is_snapshot(self) -> bool:
        """Whether this segment ends a snapshot."""
        return self.snapshot_count == self.position + 1


_PART: Final = Shape(SnapshotPart, {"blob_id": _IDENTIFIER, "digest": _DIGEST, "row_count": COUNT, "table": TEXT})


def _check_head(head: SegmentHead) -> None:
    """Raise ValueError for a head that cannot be."""
    if head.through < head.after or head.snapshot_count > head.position + 1:
        raise ValueError("a segment goes back")
    if (head.parts or head.begun_count) and not head.is_snapshot:
        raise ValueError("parts without a snapshot")
    if head.begun_count > head.position:
        raise ValueError("a snapshot begins after its end")
    if head.previous == NO_SEGMENT and head.position and not head.is_snapshot:
        raise ValueError("a chain begins anew without a snapshot")


_HEAD: Final = Shape(
    SegmentHead,
    {
        "after": COUNT,
        "begun_count": COUNT,
        "change_count": COUNT,
        "packs": _IDENTIFIERS,
        "parts": _PART.codec(),
        "position": COUNT,
        "previous": _DIGEST,
        "snapshot_count": COUNT,
        "through": COUNT,
    },
    check=_check_head,
)


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment as it was read."""

    head: SegmentHead
    changes: tuple[Mapping[str, Any], ...] = field(repr=False)
    digest: bytes
    """SHA-256 of the payload: what the next one calls `previous`."""


def segment_lines(head: SegmentHead, changes: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """Give the payload of a journal blob line by line; `changes` are JSON objects.

    Raises:
        ValueError: the head breaks a rule of FORMAT section 16, or a value has no canonical form.
    """
    yield _HEAD.encode(head, MAX_HEAD_SIZE) + b"\n"
    yield from lines_of(changes)


def lines_of(values: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """Give one line for each JSON object: the payload of a snapshot blob. Raises: ValueError."""
    for value in values:
        yield encode_object(value) + b"\n"


def decode_segment(payload: bytes) -> Segment:
    """Return the segment of a payload.

    Raises:
        SealedDamaged: it is not one, or not in canonical form.
    """
    first, newline, rest = payload.partition(b"\n")
    if not newline:
        raise damaged(Damage.RECORD, "a segment without a head")
    head = _HEAD.decode(first, MAX_HEAD_SIZE, Damage.RECORD)
    changes = decode_lines(rest)
    if len(changes) != head.change_count:
        raise damaged(Damage.RECORD, "another number of changes than the segment says")
    return Segment(head, changes, hashlib.sha256(payload).digest())


def decode_lines(payload: bytes) -> tuple[Mapping[str, Any], ...]:
    """Return the JSON objects of a payload, one a line.

    Raises:
        SealedDamaged: it holds anything else, or not in canonical form.
    """
    if payload and not payload.endswith(b"\n"):
        raise damaged(Damage.RECORD, "the last line is cut")
    return tuple(_line(line) for line in payload.split(b"\n")[:-1])


def _line(line: bytes) -> Mapping[str, Any]:
    if len(line) > MAX_LINE_SIZE:
        raise damaged(Damage.RECORD, "a line is too long")
    try:
        value = strict_json(line)
        if type(value) is not dict or encode_object(value) != line:
            raise ValueError("another text for the same value")  # noqa: TRY301  # the one way out is below
    except (ValueError, RecursionError) as error:
        raise damaged(Damage.RECORD, f"a line is not in canonical form ({type(error).__name__})") from None
    return value


def pack_entry(blob_id: bytes, sealed: bytes) -> bytes:
    """Return one entry of a pack: a blob's id, its size and its own sealed bytes."""
    return _ENTRY.pack(blob_id, len(sealed)) + sealed


def decode_pack(payload: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Give id and sealed bytes of each blob in a pack.

    Raises:
        SealedDamaged: it does not end with an entry.
    """
    view = memoryview(payload)
    offset = 0
    while offset < len(view):
        if len(view) - offset < _ENTRY.size:
            raise damaged(Damage.RECORD, "a pack is cut")
        blob_id, size = _ENTRY.unpack_from(view, offset)
        offset += _ENTRY.size
        if size > len(view) - offset:
            raise damaged(Damage.RECORD, "a pack is cut")
        yield blob_id, view[offset : offset + size]
        offset += size
