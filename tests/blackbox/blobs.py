"""What the tests know of blobs from outside: only what docs/FORMAT.md says of the bytes before the seal."""

from pathlib import Path
from typing import Final

_MAGIC: Final = b"\x89SGATE\r\n"
_KIND_AT: Final = 10
_OF_THE_JOURNAL: Final = frozenset({5, 8, 9})
"""Packs, journal records and snapshots (FORMAT section 3): they come whenever the journal runs, not by a request."""


def is_of_the_journal(path: Path) -> bool:
    """Whether a file is a blob that the journal wrote, or is writing, or has just taken away."""
    try:
        with path.open("rb") as file:
            head = file.read(_KIND_AT + 1)
    except FileNotFoundError:
        return True
    return len(head) > _KIND_AT and head.startswith(_MAGIC) and head[_KIND_AT] in _OF_THE_JOURNAL
