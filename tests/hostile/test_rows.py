"""Every row of the list of hostile inputs has a test that bears its number: none can be lost in silence."""

import re
from itertools import chain
from pathlib import Path
from typing import Final

import pytest

ROWS: Final = tuple(
    chain(
        range(1, 16), range(17, 20), range(21, 35), range(36, 49), range(50, 73), range(74, 85), range(86, 97),
        (108, 109, 110, 111, 113, 114, 115, 116, 117),
    )
)  # fmt: skip
"""Numbers of the rows that one gateway alone can answer; the list itself leaves some out."""


def _named() -> set[int]:
    text = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py") if path != Path(__file__))
    named = {int(number) for number in re.findall(r"(?:def test_|\")[hH](\d+)[_-]", text)}
    named |= {int(number) for number in re.findall(r"ids=\"H(\d+)-", text)}
    for first, last in re.findall(r"def test_h(\d+)_to_h(\d+)_", text):
        named |= set(range(int(first), int(last) + 1))
    return named | {int(number) for number in re.findall(r"def test_h\d+_and_h(\d+)_", text)}


@pytest.mark.parametrize("row", ROWS)
def test_every_row_has_a_test(row: int) -> None:
    assert row in _named()
