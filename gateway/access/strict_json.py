"""JSON under limits, read so that no two readers can see two documents: no repeated names, no odd numbers, no NUL.

Source: RFC 8259; RFC 7493 section 2.3 on repeated names.
"""

import json
from typing import Final

MAX_DEPTH: Final = 8
"""Levels of lists and objects; a policy has six."""


class NotStrict(ValueError):
    """The document is none that is read here."""


class Number(str):
    """A number as it stands in the document: it is never computed with before its form was judged."""

    __slots__ = ()


def parse(document: bytes) -> object:
    """Read a document: str, `Number`, bool, None, lists and dicts of them.

    Raises:
        NotStrict: it is not JSON, not UTF-8, too deep, holds NUL or a name twice.
    """
    try:
        text = document.decode("utf-8")
        if _depth(text) > MAX_DEPTH or "\\u0000" in text or "\0" in text:
            raise NotStrict
        return json.loads(text, object_pairs_hook=_object, parse_int=Number, parse_float=Number, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise NotStrict from error


def _depth(text: str) -> int:
    """Levels of brackets outside of strings, counted before anything recurses."""
    depth = deepest = 0
    in_string = escaped = False
    for character in text:
        if in_string:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == '"':
                in_string = False
        elif character == '"':
            in_string = True
        elif character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise NotStrict
    return found


def _refuse(text: str) -> object:  # noqa: ARG001 - the protocol of json
    raise NotStrict
