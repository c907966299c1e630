"""Patterns with `*` (any run) and `?` (any one character), matched in time that no pattern can blow up.

Without `?` a match is a few searches for plain text. With it, one bit per pattern position runs beside the text
(Baeza-Yates and Gonnet, "A new approach to text searching"): no backtracking, so 20 KB of pattern against the longest
object key cost a millisecond at the most. Regular expressions are not used, as they would backtrack.
"""

from collections.abc import Iterable
from enum import Enum
from functools import lru_cache


class Wild(Enum):
    """The two wildcards, apart from the characters that spell them."""

    ANY = "*"
    ONE = "?"


Item = str | Wild
"""One character, or a wildcard."""

_REMEMBERED = 1024
_SPELLED = {wild.value: wild for wild in Wild}


def items_of(text: str) -> tuple[Item, ...]:
    """Read a text in which `*` and `?` are wildcards."""
    return tuple(_SPELLED.get(character, character) for character in text)


class Pattern:
    """A compiled pattern."""

    __slots__ = ("_accepts", "_last", "_loops", "_pieces", "_wild", "items")

    def __init__(self, items: Iterable[Item]) -> None:
        self.items = tuple(items)
        self._pieces: tuple[str, ...] | None = None
        if Wild.ONE in self.items:
            self._compile()
        else:
            # NUL cannot stand in a key, so nothing that is matched holds it.
            joined = "".join("\0" if item is Wild.ANY else str(item) for item in self.items)
            self._pieces = tuple(joined.split("\0"))

    def _compile(self) -> None:
        """Bit i: in `_accepts[c]`, position i takes c; in `_wild`, it takes all; in `_loops`, a `*` is before it."""
        self._accepts: dict[str, int] = {}
        self._loops = self._wild = position = 0
        for item in self.items:
            if item is Wild.ANY:
                self._loops |= 1 << position
                continue
            if item is Wild.ONE:
                self._wild |= 1 << position
            else:
                self._accepts[str(item)] = self._accepts.get(str(item), 0) | (1 << position)
            position += 1
        self._last = position

    def matches(self, text: str) -> bool:
        """Whether the whole text fits."""
        if self._pieces is not None:
            return _fits(self._pieces, text)
        state = 1
        for character in text:
            taken = state & (self._accepts.get(character, 0) | self._wild)
            state = (taken << 1) | (state & self._loops)
            if not state:
                return False
        return bool((state >> self._last) & 1)


def _fits(pieces: tuple[str, ...], text: str) -> bool:
    """Whether the pieces stand in the text in their order, the first at its beginning, the last at its end."""
    first, last = pieces[0], pieces[-1]
    if len(pieces) == 1:
        return text == first
    if len(text) < len(first) + len(last) or not (text.startswith(first) and text.endswith(last)):
        return False
    position, end = len(first), len(text) - len(last)
    for piece in pieces[1:-1]:
        position = text.find(piece, position, end)
        if position < 0:
            return False
        position += len(piece)
    return True


@lru_cache(maxsize=_REMEMBERED)
def pattern_of(text: str) -> Pattern:
    """Compile a text in which `*` and `?` are wildcards."""
    return Pattern(items_of(text))
