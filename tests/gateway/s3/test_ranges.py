import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.s3.errors import INVALID_ARGUMENT, INVALID_RANGE, S3Error
from gateway.s3.ranges import BEYOND_ANY_SIZE, parse_copy_range, parse_range, resolve
from gateway.s3.types import RangeRequest


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bytes=0-0", RangeRequest(0, 0)),
        ("bytes=5-", RangeRequest(5)),
        ("bytes=-7", RangeRequest(suffix_length=7)),
        ("bytes=-0", RangeRequest(suffix_length=0)),
        ("Bytes= 1-2 ", RangeRequest(1, 2)),
        ("bytes=0000000000000000000000001-2", RangeRequest(1, 2)),
        ("bytes=" + "9" * 30 + "-", RangeRequest(BEYOND_ANY_SIZE)),
        ("bytes=0-" + "9" * 10_000, RangeRequest(0, BEYOND_ANY_SIZE)),
        ("bytes=-" + "9" * 30, RangeRequest(suffix_length=BEYOND_ANY_SIZE)),
    ],
)
def test_grammar(text: str, expected: RangeRequest) -> None:
    assert parse_range(text) == expected


@pytest.mark.parametrize(
    "text",
    ["bytes=10-5", "abc", "foo=0-1", "bytes=0-0,1-2", "", "bytes=", "bytes=-", "bytes=1", "bytes=+1-2", "bytes=٣-٤"],
)
def test_h82_a_bad_range_or_several_are_ignored(text: str) -> None:
    assert parse_range(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "bytes=" + ",".join(f"{n}-{n}" for n in range(5000)),
        "bytes=" + "0-," * 5000,
        "bytes=" + " " * 16000,
        "bytes=" + "1" * 16000,
    ],
)
def test_h84_long_ranges_are_quick(text: str) -> None:
    best = min(_elapsed(text) for _ in range(5))
    assert best < 0.010


def _elapsed(text: str) -> float:
    started = time.process_time()
    assert parse_range(text) is None
    return time.process_time() - started


@pytest.mark.parametrize(
    ("text", "size", "span"),
    [
        ("bytes=0-0", 1, (0, 1)),
        ("bytes=0-", 10, (0, 10)),
        ("bytes=9-", 10, (9, 1)),
        ("bytes=2-5", 10, (2, 4)),
        ("bytes=2-99", 10, (2, 8)),
        ("bytes=-3", 10, (7, 3)),
        ("bytes=-99", 10, (0, 10)),
        ("bytes=0-" + "9" * 30, 10, (0, 10)),
        ("bytes=-" + "9" * 30, 10, (0, 10)),
    ],
)
def test_h83_spans(text: str, size: int, span: tuple[int, int]) -> None:
    assert resolve(parse_range(text), size) == span


def test_no_range_no_span() -> None:
    assert resolve(None, 10) is None


@pytest.mark.parametrize(
    ("text", "size", "spelling"),
    [
        ("bytes=-0", 10, "bytes=-0"),
        ("bytes=10-", 10, "bytes=10-"),
        ("bytes=10-11", 10, "bytes=10-11"),
        ("bytes=0-0", 0, "bytes=0-0"),
        ("bytes=-1", 0, "bytes=-1"),
        ("bytes=0-", 0, "bytes=0-"),
        ("bytes=" + "9" * 30 + "-", 10, f"bytes={BEYOND_ANY_SIZE}-"),
    ],
)
def test_h81_unsatisfiable(text: str, size: int, spelling: str) -> None:
    with pytest.raises(S3Error) as caught:
        resolve(parse_range(text), size)
    assert caught.value.row is INVALID_RANGE
    assert dict(caught.value.fields) == {"RangeRequested": spelling, "ActualObjectSize": str(size)}
    assert dict(caught.value.headers) == {"Content-Range": f"bytes */{size}"}


@given(st.integers(0, 50), st.integers(0, 60), st.integers(0, 60))
def test_a_span_is_what_slicing_gives(size: int, first: int, last: int) -> None:
    data = bytes(range(size))
    wanted = parse_range(f"bytes={first}-{last}")
    if wanted is None:
        assert last < first
    elif first >= size:
        with pytest.raises(S3Error):
            resolve(wanted, size)
    else:
        span = resolve(wanted, size)
        assert span is not None
        assert data[span[0] : sum(span)] == data[first : last + 1]


def test_copy_ranges_are_strict() -> None:
    assert parse_copy_range("bytes=0-9") == (0, 9)
    for text in ("bytes=0-", "bytes=-5", "0-9", "bytes=9-0", "bytes=0-9,11-12", "", "bytes= 0-9", "Bytes=0-9"):
        with pytest.raises(S3Error) as caught:
            parse_copy_range(text)
        assert caught.value.row is INVALID_ARGUMENT
