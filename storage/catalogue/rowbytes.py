"""Rows as bytes, one encoding for each row of a table, made by a function that is compiled once for each table.

A head of fixed size holds, column by column, an integer's value or the length of bytes and text, and for what may be
absent whether it is; the bytes follow in column order. Within one table columns have fixed types, so that the head
tells every column apart and no two rows share an encoding; a value of another type has none. Compiled, since a listing
encodes a thousand rows on the event loop: a branch for every value took three times as long.
"""

import struct
from collections.abc import Callable, Sequence
from typing import Any, Final, cast, get_type_hints

FAILURES: Final = (TypeError, AttributeError, ValueError, struct.error)
"""What an encoder raises for a row whose values are not of its columns' types."""

# For each type: its form in the head, its values there, and its bytes. An absent value must not pass for an empty one,
# nor a text for bytes: what is joined is the value itself, so that another type fails there.
_FORMS: Final[dict[object, tuple[str, str, str]]] = {
    int: ("q", "{0}", ""),
    bytes: ("i", "len({0})", "{0}"),
    str: ("i", "len({0}_ := {0}.encode())", "{0}_"),
    int | None: ("?q", "{0} is not None, 0 if {0} is None else {0}", ""),
    bytes | None: ("i", "-1 if {0} is None else len({0})", "b'' if {0} is None else {0}"),
    str | None: ("i", "-1 if {0} is None else len({0}_ := {0}.encode())", "b'' if {0} is None else {0}_"),
}


def compile_encoder(row: type, columns: Sequence[str], place: bytes) -> Callable[..., bytes]:
    """Give the function that takes the values of some columns of a row and gives `place` and their encoding.

    It raises one of `FAILURES` for values that a row of this table cannot have.

    Raises:
        KeyError: a column is of a type that has no encoding.
    """
    types = get_type_hints(row)
    forms = [(name, *_FORMS[types[name]]) for name in columns]
    head = ", ".join(values.format(name) for name, _, values, _ in forms)
    body = ", ".join(["b''", *(content.format(name) for name, _, _, content in forms if content)])
    source = f"lambda {', '.join(columns)}: join((place, pack({head}), {body}))"
    pack = struct.Struct(">" + "".join(form for _, form, _, _ in forms)).pack
    scope: dict[str, Any] = {"place": place, "pack": pack, "join": b"".join}
    return cast("Callable[..., bytes]", eval(source, scope))  # noqa: S307  # made of our own columns' names alone


def compile_decoder(row: type, columns: Sequence[str]) -> Callable[[bytes], tuple[Any, ...]]:
    """Give the reverse of `compile_encoder` without a place: what it encoded to its values.

    It raises one of `FAILURES` for bytes that are no encoding.
    """
    types = get_type_hints(row)
    forms = [_FORMS[types[name]] for name in columns]
    head = struct.Struct(">" + "".join(form for form, _, _ in forms))
    kinds = [types[name] for name in columns]

    def decode(encoded: bytes) -> tuple[Any, ...]:
        numbers = iter(head.unpack_from(encoded))
        values: list[Any] = []
        at = head.size
        for kind in kinds:
            number = next(numbers)
            if kind is int:
                values.append(number)
            elif kind == int | None:
                value = next(numbers)
                values.append(value if number else None)
            elif number < 0:
                values.append(None)
            else:
                content = encoded[at : at + number]
                at += number
                values.append(content if kind in (bytes, bytes | None) else content.decode())
        if at != len(encoded):
            raise ValueError("not an encoding")
        return tuple(values)

    return decode
