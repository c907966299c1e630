"""That no supported operation goes without its cases: three answers at least over the wire, one of them a refusal."""

import importlib
import inspect
from collections import defaultdict
from pathlib import Path

import pytest

from gateway.operations.table import OPERATIONS
from tests.blackbox import witness

LEAST_CASES = 3
_FAILING = range(300, 600)
"""Of a read whose condition does not hold, too: it does not get what it asked for."""


def cases() -> dict[str, list[tuple[str, int]]]:
    """Operation -> (test, status) of every answer that a test of this folder claims and is held to."""
    found = defaultdict(list)
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        module = importlib.import_module(f"tests.blackbox.api.{path.stem}")
        for name, test in inspect.getmembers(module, inspect.isfunction):
            if not name.startswith("test_") or test.__module__ != module.__name__:
                continue
            assert {mark.name for mark in getattr(test, "pytestmark", [])}.isdisjoint(
                {"slow", "skip", "skipif", "xfail"}
            )
            for claim in witness.claims_of(test):
                operation, status, *_ = claim.split()
                found[operation].append((name, int(status)))
    return found


CASES = cases()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_has_its_cases(operation: str) -> None:
    statuses = [status for _, status in CASES[operation]]
    assert len(statuses) >= LEAST_CASES
    assert any(status in _FAILING for status in statuses), "one must be refused"
    assert any(status not in _FAILING for status in statuses), "one must be carried out"


def test_no_case_is_of_another_operation() -> None:
    assert set(CASES) <= set(OPERATIONS)


def test_what_was_not_seen_cannot_be_claimed() -> None:
    witness.note("GetObject", 404, "NoSuchKey")

    class Request:
        class node:  # noqa: N801 - as pytest spells it
            @staticmethod
            def iter_markers(_: str) -> list[pytest.Mark]:
                return [witness.shows("GetObject 404 NoSuchKey", "GetObject 200").mark]

    held = witness.witnessed(Request())  # type: ignore[arg-type]
    next(held)
    witness.note("GetObject", 404, "NoSuchKey")
    with pytest.raises(AssertionError, match="GetObject 200"):
        next(held)
