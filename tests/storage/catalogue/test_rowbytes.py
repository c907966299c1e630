from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.catalogue.rowbytes import FAILURES, compile_encoder
from storage.catalogue.schema import TABLES, Table

PLACE = b"the place"


class EveryRow(NamedTuple):
    """A column of each type, and twins beside each other that could run together."""

    number: int
    octets: bytes
    text: str
    more_text: str
    perhaps_octets: bytes | None
    more_octets: bytes
    perhaps_number: int | None
    perhaps_text: str | None


class FractionRow(NamedTuple):
    share: float


EVERY = Table("every", EveryRow)
INTEGERS = st.integers(-(2**63), 2**63 - 1)
# Few short values, so that draws differ in one column or in where one ends.
NUMBERS = st.sampled_from([0, 1, -1, 256]) | INTEGERS
OCTETS = st.sampled_from([b"", b"a", b"b", b"ab", b"\0", b"\xff\xff\xff\xff"]) | st.binary(max_size=5)
TEXTS = st.sampled_from(["", "a", "b", "ab", "\0", "ä"]) | st.text(max_size=4)
ROWS = st.builds(
    EveryRow, NUMBERS, OCTETS, TEXTS, TEXTS, st.none() | OCTETS, OCTETS, st.none() | NUMBERS, st.none() | TEXTS
)
ANYTHING = st.one_of(st.none(), NUMBERS, OCTETS, TEXTS, st.floats())
ROW = EveryRow(1, b"octets", "text", "more", None, b"more octets", None, None)


@pytest.fixture(scope="module")
def encode() -> Callable[..., bytes]:
    return compile_encoder(EVERY.row, EVERY.columns, PLACE)


@given(ROWS, ROWS)
def test_only_equal_rows_are_encoded_alike(encode: Callable[..., bytes], first: EveryRow, second: EveryRow) -> None:
    assert (encode(*first) == encode(*second)) == (first == second)


@given(ROWS, st.integers(0, len(EveryRow._fields) - 1), ANYTHING)
def test_another_value_in_a_column_has_another_encoding_or_none(
    encode: Callable[..., bytes], row: EveryRow, column: int, value: object
) -> None:
    changed = [*row[:column], value, *row[column + 1 :]]
    try:
        encoded = encode(*changed)
    except FAILURES:
        return
    same = type(value) is type(row[column]) and value == row[column]
    assert (encoded == encode(*row)) == same


@pytest.mark.parametrize("column", range(len(EveryRow._fields)))
@pytest.mark.parametrize("value", [None, 0, "", b"", 0.0], ids=repr)
def test_only_values_of_a_column_s_type_have_an_encoding(
    encode: Callable[..., bytes], column: int, value: object
) -> None:
    hint = EveryRow.__annotations__[EveryRow._fields[column]]
    changed: list[Any] = [*ROW[:column], value, *ROW[column + 1 :]]
    if isinstance(value, hint):
        assert encode(*changed).startswith(PLACE)
    else:
        with pytest.raises(FAILURES):
            encode(*changed)


def test_neighbours_do_not_run_together(encode: Callable[..., bytes]) -> None:
    rows = [
        ROW._replace(text="ab", more_text="c"),
        ROW._replace(text="a", more_text="bc"),
        ROW._replace(text="", more_text="abc"),
        ROW._replace(perhaps_octets=b"ab", more_octets=b"c"),
        ROW._replace(perhaps_octets=b"", more_octets=b"abc"),
        ROW._replace(perhaps_octets=None, more_octets=b"abc"),
        ROW._replace(perhaps_number=0),
        ROW._replace(perhaps_text=""),
        ROW._replace(perhaps_text=None),
    ]
    assert len({encode(*row) for row in rows}) == len(rows)


@pytest.mark.parametrize("count", [0, 7, 9])
def test_a_row_of_another_length_has_no_encoding(encode: Callable[..., bytes], count: int) -> None:
    with pytest.raises(FAILURES):
        encode(*[b""] * count)


def test_a_column_of_another_type_is_noticed_when_the_program_is_written() -> None:
    with pytest.raises(KeyError):
        compile_encoder(FractionRow, FractionRow._fields, PLACE)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_table_has_an_encoding(table: Table[Any]) -> None:
    assert callable(compile_encoder(table.row, table.columns, PLACE))
