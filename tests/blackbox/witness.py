"""What the process answered, as botocore read it off the wire, against what a test says that it shows.

`@shows("GetBucketTagging 404 NoSuchTagSet")` above a test is a claim: the test fails unless that answer was seen while
it ran. `test_every_operation` counts the claims, so that none is counted which the wire does not bear out.
"""

from collections.abc import Iterator
from typing import Any, Final

import pytest

MARK: Final = "shows"
_seen: set[str] = set()


def shows(*answers: str) -> pytest.MarkDecorator:
    """Claim answers of operations: `Name status`, and the code where it is a refusal."""
    return pytest.mark.shows(*answers)


def claims_of(test: object) -> list[str]:
    """The answers that a test function claims."""
    marks = getattr(test, "pytestmark", [])
    return [answer for mark in marks if mark.name == MARK for answer in mark.args]


def note(operation: str, status: int, code: str = "") -> None:
    """Take down an answer."""
    _seen.add(f"{operation} {status} {code}".strip())


def watch(client: Any) -> None:
    """Take down every answer that a boto3 client gets."""
    client.meta.events.register("after-call.s3", _after_call)


def _after_call(model: Any, parsed: dict[str, Any], **_: Any) -> None:
    note(model.name, parsed["ResponseMetadata"]["HTTPStatusCode"], parsed.get("Error", {}).get("Code", ""))


def witnessed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run a test, and hold it to its claims."""
    claims = {answer for mark in request.node.iter_markers(MARK) for answer in mark.args}
    _seen.clear()
    yield
    assert claims <= _seen, f"claimed but not seen: {sorted(claims - _seen)}; seen: {sorted(_seen)}"
