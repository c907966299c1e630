"""Canonical JSON: one encoding for each value, and dataclasses laid over it by a table of fields.

A decoder gives a value or `SealedDamaged`, never another exception: it encodes what it decoded and compares.
Source: docs/FORMAT.md section 9.
"""

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, NoReturn, TypeVar

from storage.sealed.damage import Damage, damaged

MAX_INTEGER = 2**63 - 1
MAX_DEPTH = 32
"""Levels of nesting below the outermost object."""
MAX_TIME_US = 253_402_300_799_999_999
"""The last microsecond of the year 9999, as far as datetime goes."""

_ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

T = TypeVar("T")


def _refuse(literal: str) -> NoReturn:
    """Take no fractions, exponents, NaN or infinities."""
    raise ValueError(f"{len(literal)} characters of a number that is not an integer")


def _integer(literal: str) -> int:
    """Take integers from 0 to `MAX_INTEGER`, without sign."""
    value = int(literal)
    if literal.startswith("-") or value > MAX_INTEGER:
        raise ValueError("integer out of range")
    return value


def _check_depth(value: Any, levels: int) -> None:
    """Refuse values that nest deeper than `levels`."""
    if isinstance(value, dict | list):
        if levels == 0:
            raise ValueError("nested too deep")
        for item in value.values() if isinstance(value, dict) else value:
            _check_depth(item, levels - 1)


def strict_json(data: bytes) -> Any:
    """Return the JSON value of UTF-8 text whose numbers are all integers from 0 to `MAX_INTEGER`.

    Raises:
        ValueError, RecursionError: it is anything else.
    """
    return json.loads(data.decode(), parse_int=_integer, parse_float=_refuse, parse_constant=_refuse)


def encode_object(value: Mapping[str, Any]) -> bytes:
    """Return the one encoding of a JSON object.

    Raises:
        ValueError: lone surrogates, or nested deeper than `MAX_DEPTH`.
    """
    _check_depth(value, MAX_DEPTH + 1)
    return _ENCODER.encode(value).encode()


@dataclass(frozen=True, slots=True)
class Codec:
    """How one kind of field stands in JSON. `from_json` raises ValueError for what it does not take."""

    to_json: Callable[[Any], Any]
    from_json: Callable[[Any], Any]


def _of_type(kind: type[T]) -> Callable[[Any], T]:
    """Return a check that a JSON value has exactly that type (a boolean is not an integer here)."""

    def check(value: Any) -> T:
        if type(value) is not kind:
            raise ValueError(f"not {kind.__name__}")
        return value

    return check


_string, _count = _of_type(str), _of_type(int)


def _octets_from_json(value: Any) -> bytes:
    """Return the bytes of standard base64; other spellings of the same bytes fail the final comparison."""
    return base64.b64decode(_string(value).encode("ascii"), validate=True)


def _octets_to_json(value: bytes) -> str:
    return binascii.b2a_base64(value, newline=False).decode("ascii")


def _time_from_json(value: Any) -> datetime:
    """Return aware UTC from microseconds since 1970."""
    if _count(value) > MAX_TIME_US:
        raise ValueError("time out of range")
    return _EPOCH + timedelta(microseconds=value)


def _time_to_json(value: datetime) -> int:
    microseconds = (value - _EPOCH) // _MICROSECOND
    if microseconds < 0:
        raise ValueError("time before 1970")
    return microseconds


def _strings_from_json(value: Any) -> dict[str, str]:
    """Return a mapping of strings to strings."""
    mapping: dict[str, Any] = _of_type(dict)(value)
    return {name: _string(item) for name, item in mapping.items()}


TEXT = Codec(str, _string)
COUNT = Codec(int, _count)
FLAG = Codec(bool, _of_type(bool))
TIME = Codec(_time_to_json, _time_from_json)
STRINGS = Codec(dict, _strings_from_json)
OCTETS = Codec(_octets_to_json, _octets_from_json)


def octets(least: int, most: int) -> Codec:
    """Return the codec of bytes that have `least` to `most` bytes."""

    def from_json(value: Any) -> bytes:
        data = _octets_from_json(value)
        if not least <= len(data) <= most:
            raise ValueError("wrong number of bytes")
        return data

    return Codec(_octets_to_json, from_json)


class Shape(Generic[T]):
    """A frozen dataclass laid over JSON: its fields by name, each with its codec; defaults are left out.

    With `unknown`, members that the table does not name are kept in that attribute; without, they are refused.
    `check` raises ValueError for values that break a rule beyond the types of their fields.
    """

    def __init__(
        self,
        cls: type[T],
        codecs: Mapping[str, Codec],
        *,
        unknown: str | None = None,
        check: Callable[[T], None] = lambda _: None,
    ) -> None:
        self._cls = cls
        self._codecs = codecs
        self._unknown = unknown
        self._check = check
        self._defaults = {
            field.name: field.default if field.default_factory is MISSING else field.default_factory()
            for field in fields(cls)  # type: ignore[arg-type]  # every shape is given a dataclass
        }

    def to_json(self, value: T) -> dict[str, Any]:
        """Return the JSON object of a value."""
        result = dict(getattr(value, self._unknown)) if self._unknown else {}
        if not result.keys().isdisjoint(self._codecs):
            raise ValueError("an unknown field has the name of a known one")
        for name, codec in self._codecs.items():
            item = getattr(value, name)
            if item != self._defaults[name]:
                result[name] = codec.to_json(item)
        return result

    def from_json(self, value: Any) -> T:
        """Return the value of a JSON object; ValueError for what is missing, unknown or of another type."""
        members: dict[str, Any] = _of_type(dict)(value)
        known = {name: self._codecs[name].from_json(item) for name, item in members.items() if name in self._codecs}
        rest = {name: item for name, item in members.items() if name not in self._codecs}
        missing = [name for name in self._codecs if name not in known and self._defaults[name] is MISSING]
        if missing or (rest and self._unknown is None):
            raise ValueError("missing or unknown members")
        return self._cls(**known, **({self._unknown: rest} if self._unknown else {}))

    def codec(self) -> Codec:
        """Return this shape as the codec of a tuple of such values."""

        def from_json(value: Any) -> tuple[T, ...]:
            items: list[Any] = _of_type(list)(value)
            return tuple(self.from_json(item) for item in items)

        return Codec(lambda values: [self.to_json(item) for item in values], from_json)

    def encode(self, value: T, max_size: int) -> bytes:
        """Return the one encoding of a value.

        Raises:
            ValueError: it is longer than `max_size` bytes, or a field cannot be said in canonical JSON.
        """
        self._check(value)
        data = encode_object(self.to_json(value))
        if len(data) > max_size:
            raise ValueError("longer than the format allows")
        return data

    def decode(self, data: bytes, max_size: int, kind: Damage) -> T:
        """Return the value that `data` is the one encoding of.

        Raises:
            SealedDamaged: of that kind, for anything else.
        """
        if len(data) > max_size:
            raise damaged(kind, "longer than the format allows")
        try:
            value = self.from_json(strict_json(data))
            canonical = self.encode(value, max_size)
        except (ValueError, RecursionError) as error:
            # The cause may quote names, so it is not chained into logs.
            raise damaged(kind, f"not in canonical form ({type(error).__name__})") from None
        if canonical != data:
            raise damaged(kind, "not in canonical form")
        return value
