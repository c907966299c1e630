"""Whether what clients saw of one key could have come of one register that does one thing at a time.

Wing and Gong's search with Lowe's memory of what was tried: an order of all operations is looked for in which each one
stands between its beginning and its end and gave the answer that it had to give. An operation of which nobody knows
what became may have worked at any time after its beginning, or never. Sources: J. M. Wing, C. Gong, "Testing and
Verifying Concurrent Objects" (1993); G. Lowe, "Testing for linearizability" (2017).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

_UNSEEN = "never seen"


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
    """Whether there is such an order, for a register that holds nothing at first.

    Two things keep it short. Values that nobody ever saw are one value, so that operations of unknown outcome which
    would write them are alike and taken in their order. And a place is not gone on from where the same known operations
    were placed, and the same is held, with fewer unknown ones: whatever can follow here could follow there.
    """
    ordered = _alike(sorted(operations, key=lambda operation: operation.began))
    known = sum(1 << at for at, operation in enumerate(ordered) if operation.is_known)
    tried: dict[tuple[int, str | None], list[int]] = {}
    waiting: list[tuple[int, str | None]] = [(0, None)]
    while waiting:
        done, held = waiting.pop()
        if done & known == known:
            return True
        unknown = done & ~known
        before = tried.setdefault((done & known, held), [])
        if any(fewer & unknown == fewer for fewer in before):
            continue
        before.append(unknown)
        waiting += _steps(ordered, done, held)
    return False


def _alike(ordered: Sequence[Operation]) -> list[Operation]:
    """The operations, with one value for all those that were never read and that no swap expected."""
    seen = {operation.value for operation in ordered if operation.kind is Kind.READ}
    seen |= {operation.expected for operation in ordered if operation.kind is Kind.SWAP}
    return [
        operation if operation.value is None or operation.value in seen else replace(operation, value=_UNSEEN)
        for operation in ordered
    ]


def _steps(ordered: Sequence[Operation], done: int, held: str | None) -> list[tuple[int, str | None]]:
    """What can come next: operations that began before each one still to be placed had ended.

    The likeliest comes last: those that are known, by their end; unknown ones only where none of these leads on.
    """
    known: list[tuple[float, int, str | None]] = []
    unknown: list[tuple[int, str | None]] = []
    offered: set[tuple[Kind, str | None, str | None]] = set()
    first_end = math.inf
    for at in range((~done & (done + 1)).bit_length() - 1, len(ordered)):
        operation = ordered[at]
        if operation.began > first_end:
            break
        if done >> at & 1:
            continue
        first_end = min(first_end, operation.ended)
        may_be, left = operation.after(held)
        if operation.is_known:
            if may_be:
                known.append((operation.ended, done | 1 << at, left))
        elif left != held:  # else it may as well not have been
            form = operation.kind, operation.value, operation.expected
            if form not in offered:
                offered.add(form)
                unknown.append((done | 1 << at, left))
    known.sort(key=lambda step: step[0], reverse=True)
    return unknown + [(place, left) for _, place, left in known]
