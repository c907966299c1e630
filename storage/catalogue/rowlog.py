"""Rows of the catalogue as the journal has them: JSON objects by column, without wraps, and back.

What a command wrote is kept as rows, not as what it meant: replaying it needs no rule of S3, and the same object stands
in journal, snapshot and comparison. Source: docs/FORMAT.md section 16.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, get_type_hints

from storage.catalogue.records import Attributes
from storage.catalogue.schema import (
    ACCESS_KEYS,
    ACCOUNTS,
    BLOBS,
    BUCKETS,
    CONFIGURATIONS,
    CONTENTS,
    ENVELOPES,
    MOVED_WRAPS,
    PARTS,
    UPLOADS,
    VERSIONS,
    R,
    Table,
)
from storage.errors import SealedDamaged

LOGGED: Final[Mapping[str, Table[Any]]] = {
    table.name: table
    for table in (
        ACCOUNTS,
        ACCESS_KEYS,
        BUCKETS,
        CONFIGURATIONS,
        UPLOADS,
        PARTS,
        CONTENTS,
        BLOBS,
        ENVELOPES,
        MOVED_WRAPS,
        VERSIONS,
    )
}
"""Tables that are rebuilt, in an order in which what is referred to stands first.

Inline bytes travel in packs; counters of the realm are counted anew; leases, cursors and the outbox end with their
catalogue.
"""

LEFT_OUT: Final[Mapping[str, frozenset[str]]] = {
    BUCKETS.name: frozenset({"version_count"}),
    CONTENTS.name: frozenset({"wrapped_key"}),
    BLOBS.name: frozenset({"wrapped_key"}),
    UPLOADS.name: frozenset({"wrapped_key"}),
}
"""Columns that no row of the log holds: wraps, which blobs carry, and a count that each commit writes once."""

_EMPTY: Final[Mapping[object, object]] = {int: 0, str: "", bytes: b""}


def _plain(value: str | None) -> str | None:
    """Text as such: members of enumerations are of a type of their own."""
    return None if value is None else str(value)


def _same(value: int | None) -> int | None:
    return value


def _to_text(value: bytes | None) -> str | None:
    return None if value is None else binascii.b2a_base64(value, newline=False).decode("ascii")


_TO_JSON: Final[Mapping[type, Callable[[Any], Any]]] = {bytes: _to_text, str: _plain, int: _same}


def _of_kind(kind: type) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if type(value) is not kind:
            raise ValueError(f"not {kind.__name__}")
        return value

    return check


def _from_text(value: Any) -> bytes:
    return base64.b64decode(_of_kind(str)(value).encode("ascii"), validate=True)


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    place: int
    """Of its value in a row."""
    empty: object
    """The value that is left out."""
    to_json: Callable[[Any], Any]
    from_json: Callable[[Any], Any]


@cache
def _columns(table: Table[Any]) -> tuple[_Column, ...]:
    """The columns of a table that its log holds, in order."""
    left_out = LEFT_OUT.get(table.name, frozenset())
    found = []
    for place, (name, hint) in enumerate(get_type_hints(table.row).items()):
        kind = next(kind for kind in (bytes, int, str) if hint in (kind, kind | None))
        from_json = _from_text if kind is bytes else _of_kind(kind)
        if name not in left_out:
            found.append(_Column(name, place, _EMPTY.get(hint), _TO_JSON[kind], from_json))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Written:
    """A row that came to be as it is, or rows that went: those whose primary key begins with `key`."""

    table: Table[Any]
    key: tuple[Any, ...]
    row: tuple[Any, ...] | None
    """All columns but the MAC, those that the log leaves out empty; None where the rows went."""

    def to_json(self) -> Attributes:
        """As lines of the outbox, the journal and snapshots have it."""
        columns = _columns(self.table)
        if self.row is None:
            gone = {column.name: column.to_json(value) for column, value in zip(columns, self.key, strict=False)}
            return {"table": self.table.name, "gone": gone}
        return put_json(self.table, self.row)

    @classmethod
    def from_json(cls, value: Any) -> "Written":
        """The reverse. Raises: SealedDamaged for anything else."""
        try:
            table = LOGGED[value["table"]]
            if value.keys() == {"table", "row"}:
                row = _row(table, value["row"])
                return cls(table, tuple(row[: table.key_size]), tuple(row))
            return cls(table, _leading_key(table, value), None)
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise SealedDamaged(f"record: a row of the journal is not one ({type(error).__name__})") from None


def _leading_key(table: Table[R], value: Mapping[str, Any]) -> tuple[Any, ...]:
    """The key, or how it begins, of rows that went. Raises: KeyError, ValueError, TypeError."""
    gone = value["gone"]
    if value.keys() != {"table", "gone"} or not 0 < len(gone) <= table.key_size:
        raise ValueError("not a key")
    return tuple(column.from_json(gone[column.name]) for column in _columns(table)[: len(gone)])


def put_json(table: Table[R], row: tuple[Any, ...]) -> Attributes:
    """A row as it stands now."""
    shown = {
        column.name: column.to_json(value) for column in _columns(table) if (value := row[column.place]) != column.empty
    }
    return {"table": table.name, "row": shown}


def _row(table: Table[R], shown: Mapping[str, Any]) -> R:
    """The row of an object by column. Raises: KeyError, ValueError, TypeError."""
    known = {
        column.name: column.from_json(shown[column.name]) if column.name in shown else column.empty
        for column in _columns(table)
    }
    if not shown.keys() <= known.keys():
        raise ValueError("unknown columns")
    hints = get_type_hints(table.row)
    return table.make(known[name] if name in known else _EMPTY[hints[name]] for name in table.columns)
