"""What rows a catalogue should have, from the changes that made them: kept as digests, to be compared with rows.

About 200 bytes of memory a row. Applying a change twice does no harm, so a dump that was read page by page while
commands ran is made right by replaying what came since it began. Source: `rowlog`.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from storage.catalogue.records import Attributes
from storage.catalogue.rowlog import LOGGED, Written

_DIGEST_SIZE = 16
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)

Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that is not as the changes say; `what` is `missing`, `unknown` or `altered`."""

    table: str
    key: Key
    what: str


class Replay:
    """Rows by table and key. Rows of one leading key value stand together, so that they can go together."""

    def __init__(self) -> None:
        self._tables: dict[str, dict[Any, dict[Key, bytes]]] = {name: {} for name in LOGGED}

    def apply(self, rows: Iterable[Attributes]) -> None:
        """Take rows that came or went, in their order. Raises: SealedDamaged."""
        for written in map(Written.from_json, rows):
            groups = self._tables[written.table.name]
            first, *rest = written.key
            if written.row is not None:
                groups.setdefault(first, {})[tuple(rest)] = _digest(written)
            elif len(written.key) < written.table.key_size:
                groups.pop(first, None)
            else:
                group = groups.get(first, {})
                group.pop(tuple(rest), None)
                if not group:
                    groups.pop(first, None)

    def count(self, table: str) -> int:
        """How many rows a table should have."""
        return sum(map(len, self._tables[table].values()))

    def check(self, table: str, key: Key, row: Attributes | None) -> Difference | None:
        """Compare one row, or its absence, with what should be."""
        first, *rest = key
        held = self._tables[table].get(first, {}).get(tuple(rest))
        found = None if row is None else _digest(Written.from_json(row))
        if held == found:
            return None
        return Difference(table, key, "missing" if found is None else "unknown" if held is None else "altered")

    def keys(self, table: str) -> Iterator[Key]:
        """The key of every row that a table should have."""
        for first, group in self._tables[table].items():
            for rest in group:
                yield (first, *rest)


def key_of(row: Attributes) -> Key:
    """The primary key of a row of the log. Raises: SealedDamaged."""
    return Written.from_json(row).key


def _digest(written: Written) -> bytes:
    text = _ENCODER.encode(written.to_json()).encode()
    return hashlib.sha256(text).digest()[:_DIGEST_SIZE]
