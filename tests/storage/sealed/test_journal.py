"""Segments, snapshot lines and packs: what was encoded comes back, and anything else is refused as a record."""

import contextlib
import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import SealedDamaged
from storage.sealed import journal
from storage.sealed.journal import (
    NO_SEGMENT,
    SegmentHead,
    SnapshotPart,
    decode_lines,
    decode_pack,
    decode_segment,
    lines_of,
    pack_entry,
    segment_lines,
)

CHANGES = [
    {"at": 1, "kind": "publish_version", "rows": [{"table": "versions", "row": {"a": "b"}}], "sequence": 4},
    {"at": 2, "kind": "upkeep", "rows": [], "sequence": 5},
]
HEAD = SegmentHead(
    position=7, previous=b"p" * 32, after=3, through=5, change_count=2, packs=(b"k" * 16, b"l" * 16), snapshot_count=3
)
PART = SnapshotPart(blob_id=b"b" * 16, digest=b"d" * 32, table="versions", row_count=3)
SNAPSHOT = SegmentHead(position=7, previous=NO_SEGMENT, through=5, snapshot_count=8, begun_count=6, parts=(PART, PART))


def payload(head: SegmentHead = HEAD, changes: list[Any] = CHANGES) -> bytes:  # never changed
    return b"".join(segment_lines(head, changes))


def test_what_was_written_is_read() -> None:
    segment = decode_segment(payload())
    assert segment.head == HEAD
    assert list(segment.changes) == CHANGES
    assert segment.digest == hashlib.sha256(payload()).digest()
    assert not segment.head.is_snapshot
    snapshot = decode_segment(payload(SNAPSHOT, []))
    assert snapshot.head == SNAPSHOT
    assert snapshot.head.is_snapshot
    empty = SegmentHead(previous=NO_SEGMENT)
    assert payload(empty, []) == b'{"previous":"' + b"A" * 43 + b'="}\n'
    assert decode_segment(payload(empty, [])).head == empty


@pytest.mark.parametrize(
    "wrong",
    [
        SegmentHead(previous=NO_SEGMENT, after=2, through=1),
        SegmentHead(previous=NO_SEGMENT, snapshot_count=2),
        SegmentHead(previous=b"p" * 32, position=3, parts=(PART,)),
        SegmentHead(previous=b"p" * 32, position=3, begun_count=1),
        SegmentHead(previous=b"p" * 32, position=3, snapshot_count=4, begun_count=4),
        SegmentHead(previous=NO_SEGMENT, position=3),
    ],
)
def test_heads_that_cannot_be(wrong: SegmentHead) -> None:
    with pytest.raises(ValueError):
        payload(wrong, [])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"{}\n",
        payload()[:-1],
        payload()[:-20],
        payload() + b"\n",
        payload() + b"{}\n",
        payload().replace(b'"at":1', b'"at": 1'),
        payload().replace(b'"at":1', b'"at":1.5'),
        payload().replace(b'"at":1', b'"at":-1'),
        payload().replace(b'"at":1', b'"at":[' + b"[" * 5000),
        payload().replace(b'"upkeep"', b'"up\xff"'),
        payload().replace(b'"position":7', b'"position":"7"'),
        payload().replace(b'"packs":["', b'"packs":["AAAA","'),
        payload().replace(b'"packs":[', b'"packs":{}, "x":['),
        payload().partition(b"\n")[0] + b"\n[]\n[]\n",
        payload(SNAPSHOT, []).replace(b'"parts":[', b'"parts":[1,'),
    ],
)
def test_what_is_no_segment(data: bytes) -> None:
    with pytest.raises(SealedDamaged, match="record"):
        decode_segment(data)


def test_packs_that_are_no_list() -> None:
    data = payload().replace(b'"packs":["', b'"packs":"').replace(b'"],"position"', b'","position"')
    with pytest.raises(SealedDamaged, match="record"):
        decode_segment(data)


def test_lines_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"".join(lines_of([{"a": "x" * 50}]))
    assert decode_lines(data) == ({"a": "x" * 50},)
    assert decode_lines(b"") == ()
    monkeypatch.setattr(journal, "MAX_LINE_SIZE", 20)
    with pytest.raises(SealedDamaged, match="too long"):
        decode_lines(data)


@given(st.lists(st.tuples(st.binary(min_size=16, max_size=16), st.binary(max_size=40)), max_size=5))
def test_packs(entries: list[tuple[bytes, bytes]]) -> None:
    data = b"".join(pack_entry(*entry) for entry in entries)
    assert [(blob_id, bytes(sealed)) for blob_id, sealed in decode_pack(data)] == entries
    borders = {0}
    for _, sealed in entries:
        borders.add(max(borders) + 20 + len(sealed))
    for size in range(len(data)):
        if size not in borders:
            with pytest.raises(SealedDamaged, match="cut"):
                list(decode_pack(data[:size]))


@given(st.binary(max_size=200))
def test_anything_is_a_value_or_damage(data: bytes) -> None:
    for decode in (decode_segment, decode_lines, lambda data: list(decode_pack(data))):
        with contextlib.suppress(SealedDamaged):
            decode(data)
