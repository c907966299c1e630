"""Ways out of a bucket that is closed while it is registered: without what cannot be, or not at all."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.moving import jobs
from gateway.moving.places import PlaceFailed
from gateway.moving.report import IMPORT
from tests.gateway.moving.lying import BODY, Lying, lying_server
from tests.gateway.moving.moving import bring, commands, ended, why
from tests.gateway.operations.stage import Stage


@pytest.fixture
def lying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lying]:
    monkeypatch.setattr(jobs, "PAUSE_S", 0)
    with lying_server(tmp_path) as server:
        yield server


def _asked(lying: Lying, **more: Any) -> dict[str, Any]:
    return {"read_through": True, "parallel": 1, **lying.place, **more}


@pytest.mark.parametrize("bad", ["sse-c", "metadata", "tagged"])
def test_what_cannot_be_registered_is_left_out_by_command(stage: Stage, lying: Lying, bad: str) -> None:
    lying.listed = ["a", bad, "z"]
    stopped = bring(stage, "s3://source", **_asked(lying))
    assert (stopped["state"], stopped["phase"], stopped["moved"]) == ("stopped", "registering", 1)
    assert stopped["problem"].startswith(f"'{bad}' cannot be registered")
    assert "--leave-out-failed" in stopped["problem"]
    assert "--abandon" in stopped["problem"]
    done = bring(stage, "s3://source", **_asked(lying, leave_out_failed=True))
    assert (done["state"], done["phase"], done["registered"], done["difference_count"]) == ("done", "cut over", 2, 1)
    assert set(why(done)) == {bad}
    assert "was left out" in done["next"]
    assert {key: stage.body_of(key) for key in stage.keys()} == {"a": BODY, "z": BODY}


def test_a_gateway_goes_on_leaving_out(stage: Stage, lying: Lying) -> None:
    lying.listed = ["a", "sse-c"]
    given = commands(stage)
    real, lying.listing = lying.listing, b"no XML"
    stage.run(given.start(kind=IMPORT, bucket="bucket", place="s3://source", **_asked(lying, leave_out_failed=True)))
    assert stage.run(ended(given))["phase"] == "registering"
    lying.listing = real
    stage.run(given.resume())
    done = stage.run(ended(given))
    assert (done["phase"], set(why(done))) == ("cut over", {"sse-c"})


@pytest.mark.parametrize("bad", ["busy", "redirect"])
def test_what_fails_for_now_is_never_left_out(stage: Stage, lying: Lying, bad: str) -> None:
    lying.listed = ["a", bad]
    stopped = bring(stage, "s3://source", **_asked(lying, leave_out_failed=True))
    assert (stopped["state"], stopped["phase"]) == ("stopped", "registering")
    assert "--leave-out-failed" not in stopped["problem"]
    assert "--abandon" in stopped["next"]


def test_leaving_out_is_for_reading_through(stage: Stage, lying: Lying) -> None:
    with pytest.raises(PlaceFailed, match="for --read-through"):
        bring(stage, "s3://source", **_asked(lying, read_through=False, leave_out_failed=True))
