"""Every supported operation against botocore's service model: each member of a request, each member of an answer.

A member of a request takes effect in the parsed Input, is refused with 501, or stands in the table of those that may
be ignored; a member of an answer is given under its name and type, or stands in the table of those that are not.
"""

from collections.abc import Iterator

import pytest

from gateway.operations.table import OPERATIONS
from tests.gateway.s3.conformance.answers import expected, given, unknown
from tests.gateway.s3.conformance.members import Path, judge, members
from tests.gateway.s3.conformance.samples import MODEL
from tests.gateway.s3.conformance.tables import IGNORED, NOT_GIVEN, row_of

MODELLED = [name for name in OPERATIONS if name in MODEL.operation_names]


def every_member() -> Iterator[tuple[str, Path]]:
    for operation in MODELLED:
        for path in members(operation):
            yield operation, path


@pytest.mark.parametrize(
    ("operation", "path"), list(every_member()), ids=lambda part: ".".join(part) if isinstance(part, tuple) else part
)
def test_each_member_of_a_request_is_taken_refused_or_named(operation: str, path: Path) -> None:
    outcome = judge(operation, path)
    row = row_of(IGNORED, operation, path[-1])
    if outcome.effect == "ignored":
        assert row is not None, "it changes nothing: have it take effect, refuse it, or say in IGNORED why it may pass"
    elif outcome.effect == "refused":
        assert outcome.code == "NotImplemented", "a value that S3 takes is refused as wrong; is the sample right?"


def test_no_row_of_what_is_ignored_is_stale() -> None:
    found = {
        row_of(IGNORED, *seen) for seen in ((o, p[-1]) for o, p in every_member() if judge(o, p).effect == "ignored")
    }
    assert set(IGNORED) <= found, "take these rows out: their members take effect now"


@pytest.mark.parametrize("operation", MODELLED)
def test_each_member_of_an_answer_is_given_or_named(operation: str) -> None:
    missing = {".".join(path) for path in expected(operation) - given(operation)}
    nameless = {path for path in missing if row_of(NOT_GIVEN, operation, path.rpartition(".")[2]) is None}
    assert nameless == set(), "give them, or say in NOT_GIVEN why not"
    assert given(operation) <= expected(operation)


@pytest.mark.parametrize("operation", MODELLED)
def test_answers_hold_nothing_that_the_model_does_not_know(operation: str) -> None:
    assert unknown(operation) == set()


def test_no_row_of_what_is_not_given_is_stale() -> None:
    found = {
        row_of(NOT_GIVEN, operation, path[-1])
        for operation in MODELLED
        for path in expected(operation) - given(operation)
    }
    assert set(NOT_GIVEN) <= found, "take these rows out: every answer gives them now"
