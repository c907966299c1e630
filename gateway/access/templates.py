"""Texts of a policy in which policy variables may stand: `${aws:username}`, `${key, 'default'}`, `${*}` `${?}` `${$}`.

Source: IAM "IAM policy elements: Variables and tags". What a variable gives is plain text: a `*` in it is a star.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from gateway.access.actions import S3_KEYS
from gateway.access.condition_keys import GLOBAL, MULTIVALUED, kind_of, normalise
from gateway.access.wildcards import Item, Pattern, Wild, items_of
from gateway.s3.errors import MALFORMED_POLICY, S3Error

Values = tuple[str, ...]
Lookup = Callable[[str], Values | None]
"""Normalised condition key -> its values in this request; None where it has none."""

MAX_TEXT: Final = 2048
"""Characters of a text with its variables filled in, and of a value that is held against one. A longer one is not
judged, as headers are the caller's own; ARNs of objects have at most 1,101."""

_VARIABLE: Final = re.compile(
    r"\$\{(?:(?P<literal>[*?$])|\s*(?P<key>[A-Za-z0-9:/_.+=@-]{1,256})\s*(?:,\s*'(?P<default>[^']*)'\s*)?)\}"
)


@dataclass(frozen=True, slots=True)
class _Variable:
    key: str
    default: str | None


class Template:
    """One text, compiled: as a pattern where no variable stands in it, else filled in for each request."""

    __slots__ = ("_filled_in", "_fixed", "_pieces", "_variables", "arn_parts", "is_dear", "text")

    def __init__(self, text: str, *, variables: bool, wildcards: bool) -> None:
        """`variables` False (Version 2008-10-17) reads `${` as it stands; `wildcards` False reads `*` and `?` so.

        Raises:
            S3Error: MalformedPolicy for a variable that is none, or that names an unknown or multivalued key.
        """
        self.text = text
        read = items_of if wildcards else tuple
        pieces = list(_pieces(text, read)) if variables else [read(text)]
        self._pieces = tuple(pieces)
        plain = [item for piece in pieces if not isinstance(piece, _Variable) for item in piece]
        self._fixed = None if any(isinstance(piece, _Variable) for piece in pieces) else Pattern(plain)
        self.is_dear = self._fixed is None or Wild.ONE in plain
        self.arn_parts: tuple[Pattern, ...] | None = None
        self._variables = tuple(piece for piece in pieces if isinstance(piece, _Variable))
        self._filled_in: tuple[list[str | None], Pattern | None] | None = None

    is_dear: bool
    """Whether a match looks at every character of the text: where there is a `?`, or a variable."""
    arn_parts: tuple[Pattern, ...] | None
    """The parts of an ARN, kept by `operators` once they were compiled."""

    @property
    def is_fixed(self) -> bool:
        """Whether it stands for one text only: neither variables nor wildcards."""
        return self._fixed is not None and not any(isinstance(item, Wild) for item in self._fixed.items)

    def resolve(self, lookup: Lookup) -> Pattern | None:
        """The pattern for one request; None where a variable has no value, or too long a one."""
        if self._fixed is not None:
            return self._fixed
        given = [values[0] if (values := lookup(each.key)) else each.default for each in self._variables]
        # A request asks for many objects at a time, and its values are mostly the same for each.
        if self._filled_in is None or self._filled_in[0] != given:
            self._filled_in = given, self._fill_in(given)
        return self._filled_in[1]

    def _fill_in(self, given: list[str | None]) -> Pattern | None:
        items: list[Item] = []
        values = iter(given)
        for piece in self._pieces:
            filled = next(values) if isinstance(piece, _Variable) else piece
            if filled is None or len(items) + len(filled) > MAX_TEXT:
                return None
            items += filled
        return Pattern(items)


def _pieces(text: str, read: Callable[[str], tuple[Item, ...]]) -> Iterator[tuple[Item, ...] | _Variable]:
    position = 0
    while (start := text.find("${", position)) >= 0:
        yield read(text[position:start])
        match = _VARIABLE.match(text, start)
        if match is None:
            raise S3Error(MALFORMED_POLICY, "Policy has an invalid policy variable")
        if match["literal"] is not None:
            yield (match["literal"],)
        else:
            key = normalise(match["key"])
            if kind_of(key) not in S3_KEYS | GLOBAL or key in MULTIVALUED:
                raise S3Error(MALFORMED_POLICY, "Policy has an invalid policy variable")
            yield _Variable(key, match["default"])
        position = match.end()
    yield read(text[position:])
