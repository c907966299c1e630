"""The checker itself: histories of which is known what they are, and random ones of a register that is right or not."""

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.several.linearizability import Kind, Operation, is_linearizable

PUT, CREATE, SWAP, DELETE, READ = Kind.PUT, Kind.CREATE, Kind.SWAP, Kind.DELETE, Kind.READ


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ([], True),
        ([Operation(READ, 0, 1)], True),
        ([Operation(READ, 0, 1, "a")], False),
        ([Operation(PUT, 0, 1, "a"), Operation(READ, 2, 3, "a")], True),
        # An acknowledged write that is lost.
        ([Operation(PUT, 0, 1, "a"), Operation(READ, 2, 3)], False),
        # A stale read.
        ([Operation(PUT, 0, 1, "a"), Operation(PUT, 2, 3, "b"), Operation(READ, 4, 5, "a")], False),
        # While a write runs both may be seen, but not the new one and then the old one.
        ([Operation(PUT, 0, 9, "a"), Operation(READ, 1, 2), Operation(READ, 3, 4, "a")], True),
        ([Operation(PUT, 0, 9, "a"), Operation(READ, 1, 2, "a"), Operation(READ, 3, 4)], False),
        # Of an unknown outcome: seen late, or never, but not taken back.
        ([Operation(PUT, 0, math.inf, "a"), Operation(READ, 1, 2), Operation(READ, 8, 9, "a")], True),
        ([Operation(PUT, 0, math.inf, "a"), Operation(READ, 1, 2, "a"), Operation(READ, 8, 9)], False),
        ([Operation(PUT, 3, math.inf, "a"), Operation(READ, 1, 2, "a")], False),
        # Of two first writers one wins.
        ([Operation(CREATE, 0, 9, "a"), Operation(CREATE, 1, 8, "b", is_refused=True)], True),
        ([Operation(CREATE, 0, 9, "a"), Operation(CREATE, 1, 8, "b")], False),
        ([Operation(CREATE, 0, 1, "a", is_refused=True)], False),
        ([Operation(CREATE, 0, math.inf, "a"), Operation(CREATE, 1, 8, "b", is_refused=True)], True),
        # A swap that missed what it expected, and one that did not.
        ([Operation(PUT, 0, 1, "a"), Operation(SWAP, 2, 3, "b", "a"), Operation(READ, 4, 5, "b")], True),
        ([Operation(PUT, 0, 1, "a"), Operation(SWAP, 2, 3, "b", "x")], False),
        ([Operation(PUT, 0, 1, "a"), Operation(SWAP, 2, 3, "b", "a", is_refused=True)], False),
        ([Operation(PUT, 0, 1, "a"), Operation(DELETE, 2, 3), Operation(READ, 4, 5)], True),
        ([Operation(PUT, 0, 1, "a"), Operation(DELETE, 2, 3), Operation(READ, 4, 5, "a")], False),
    ],
)
def test_known_histories(operations: list[Operation], expected: bool) -> None:
    assert is_linearizable(operations) == expected


def random_history(rng: random.Random, count: int) -> list[Operation]:
    """What a right register would have answered: each operation works at a point between its beginning and its end."""
    held: str | None = None
    operations = []
    for number in range(count):
        point = number + rng.random()
        began, ended = point - rng.random() * 3, point + rng.random() * 3
        kind = rng.choice(list(Kind))
        value, expected = f"v{number}", rng.choice([held, "other"])
        if kind is READ:
            operations.append(Operation(READ, began, ended, held))
            continue
        holds = {PUT: True, DELETE: True, CREATE: held is None, SWAP: held is not None and held == expected}[kind]
        is_lost = rng.random() < 0.1
        operations.append(
            Operation(kind, began, math.inf if is_lost else ended, value, expected or "none", is_refused=not holds)
        )
        if holds and not (is_lost and rng.random() < 0.5):
            held = None if kind is DELETE else value
    return operations


def by_trying_all(operations: Sequence[Operation]) -> bool:
    """The definition, word for word: every order of the known ones and of any of the unknown ones."""
    known = [operation for operation in operations if operation.is_known]
    unknown = [operation for operation in operations if not operation.is_known]
    choices = (some for count in range(len(unknown) + 1) for some in itertools.combinations(unknown, count))
    return any(is_right(order) for some in choices for order in itertools.permutations([*known, *some]))


def is_right(order: Sequence[Operation]) -> bool:
    """Whether a register would answer so, one operation after the other, none before one that had ended."""
    held = None
    for at, operation in enumerate(order):
        if any(later.ended < operation.began for later in order[at + 1 :]):
            return False
        may_be, held = operation.after(held)
        if not may_be:
            return False
    return True


def disfigured(rng: random.Random, operation: Operation, values: Sequence[str | None]) -> Operation:
    """The same with another value, or refused where it was not, or of unknown outcome."""
    if operation.kind is READ:
        return replace(operation, value=rng.choice(values))
    if operation.kind in {CREATE, SWAP} and operation.is_known:
        return replace(operation, is_refused=not operation.is_refused)
    return replace(operation, ended=math.inf)


def test_it_agrees_with_the_definition() -> None:
    rng = random.Random(20261129)
    found = {True: 0, False: 0}
    for _ in range(300):
        history = random_history(rng, 6)
        values = [None, *(operation.value for operation in history)]
        history = [disfigured(rng, one, values) if rng.random() < 0.2 else one for one in history]
        expected = by_trying_all(history)
        assert is_linearizable(history) == expected, history
        found[expected] += 1
    assert min(found.values()) > 60, found


def test_what_a_register_answers_is_linearizable_and_a_wrong_answer_is_not() -> None:
    rng = random.Random(20261128)
    found = 0
    for _ in range(50):
        history = random_history(rng, 60)
        assert is_linearizable(history)
        reads = [at for at, operation in enumerate(history) if operation.kind is READ and operation.value is not None]
        if reads:
            wrong = list(history)
            old = wrong[reads[-1]]
            wrong[reads[-1]] = Operation(READ, old.began, old.ended, "never written")
            assert not is_linearizable(wrong)
            found += 1
    assert found > 20
