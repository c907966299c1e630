"""Whether what clients saw of one key could have come of one register that does one thing at a time.

Wing and Gong's search with Lowe's memory of what was tried: an order of all operations is looked for in which each one
stands between its beginning and its end and gave the answer that it had to give. An operation of which nobody knows
what became may have worked at any time after its beginning, or never. Sources: J. M. Wing, C. Gong, "Testing and
Verifying Concurrent Objects" (1993); G. Lowe, "Testing for linearizability" (2017).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What an operation does to a register that holds an ETag, or nothing."""

    PUT = "put"
    CREATE = "put, if there is nothing"
    SWAP = "put, if there is a certain one"
    DELETE = "delete"
    READ = "read, or see in a listing"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation on one key, from the moment when it was asked for to that of its answer."""

    kind: Kind
    began: float
    ended: float
    """Infinity where nobody knows what became of it."""
    value: str | None = None
    """What is put, or was read; None for nothing."""
    expected: str | None = None
    """Of a swap."""
    is_refused: bool = False
    """Whether the answer was that a condition did not hold."""

    @property
    def is_known(self) -> bool:
        """Whether there was an answer."""
        return self.ended != math.inf

    def after(self, held: str | None) -> tuple[bool, str | None]:
        """Whether it may find this in the register and give its answer, and what it leaves there."""
        if self.kind is Kind.READ:
            return held == self.value, held
        if self.kind is Kind.DELETE:
            return True, None
        holds = {Kind.PUT: True, Kind.CREATE: held is None, Kind.SWAP: held == self.expected}[self.kind]
        return not self.is_known or holds != self.is_refused, self.value if holds else held


def is_linearizable(operations: Sequence[Operation]) -> bool:
    """Whether there is such an order, for a register that holds nothing at first."""
    ordered = sorted(operations, key=lambda operation: operation.began)
    known = sum(1 << at for at, operation in enumerate(ordered) if operation.is_known)
    tried: set[tuple[int, str | None]] = set()
    waiting: list[tuple[int, str | None]] = [(0, None)]
    while waiting:
        place = waiting.pop()
        if place in tried:
            continue
        tried.add(place)
        done, held = place
        if done & known == known:
            return True
        waiting += _steps(ordered, done, held)
    return False


def _steps(ordered: Sequence[Operation], done: int, held: str | None) -> list[tuple[int, str | None]]:
    """What can come next: operations that began before each one still to be placed had ended."""
    steps = []
    first_end = math.inf
    for at, operation in enumerate(ordered):
        if operation.began > first_end:
            break
        if done >> at & 1:
            continue
        first_end = min(first_end, operation.ended)
        may_be, left = operation.after(held)
        # One of unknown outcome that leaves all as it is may as well not have been.
        if may_be and (operation.is_known or left != held):
            steps.append((done | 1 << at, left))
    return steps
