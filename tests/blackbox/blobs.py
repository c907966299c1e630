"""What the tests know of blobs from outside: only what docs/FORMAT.md says of the bytes before the seal."""

import time
from pathlib import Path
from typing import Final

_MAGIC: Final = b"\x89SGATE\r\n"
_KIND_AT: Final = 10
_BEGINNING_S: Final = 1.0
_OF_THE_JOURNAL: Final = frozenset({5, 7, 8, 9})
"""Packs, envelopes of open uploads, journal records and snapshots (FORMAT section 3): they come whenever the journal
runs, not by a request."""


def is_of_the_journal(path: Path) -> bool:
    """Whether a file is a blob that the journal wrote, or is gone meanwhile. One that has just begun is waited for."""
    deadline = time.monotonic() + _BEGINNING_S
    while True:
        try:
            with path.open("rb") as file:
                head = file.read(_KIND_AT + 1)
        except FileNotFoundError:
            return True
        if len(head) > _KIND_AT:
            return head.startswith(_MAGIC) and head[_KIND_AT] in _OF_THE_JOURNAL
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
