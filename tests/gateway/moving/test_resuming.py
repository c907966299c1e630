"""Imports go on by themselves, in one gateway alone, and say how they stand and what is to be done next."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.moving import jobs
from gateway.moving.importing import Importer
from gateway.moving.places import PlaceFailed
from gateway.moving.registering import SEALING, Sealing
from gateway.moving.report import IMPORT, Progress, State
from gateway.moving.standing import Phase, phase_of
from gateway.moving.through import SOURCE
from gateway.operations.admission import REGISTERING
from gateway.wiring.moves import MoveCommands
from storage.errors import StorageUnavailable
from tests.gateway.moving.lying import BODY, Lying, lying_server
from tests.gateway.moving.moving import bring, commands, ended, until
from tests.gateway.operations.stage import Stage


@pytest.fixture
def lying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lying]:
    monkeypatch.setattr(jobs, "PAUSE_S", 0)
    with lying_server(tmp_path) as server:
        server.listed = ["a", "b"]
        yield server


def _asked(lying: Lying) -> dict[str, Any]:
    return {"kind": IMPORT, "bucket": "bucket", "place": "s3://source", "read_through": True, **lying.place}


async def _waits(*_: Any) -> Any:
    await asyncio.Event().wait()


def _start(stage: Stage, asked: dict[str, Any], holder: str = "owner") -> MoveCommands:
    given = commands(stage, holder=holder)
    stage.run(given.start(**asked))
    return given


def _cut_off(stage: Stage, lying: Lying, monkeypatch: pytest.MonkeyPatch, *, by_command: bool = False) -> None:
    """A gateway ends amid the sealing, or a command stops it."""

    async def is_sealing() -> bool:
        return "registered" in await given.status(kind=IMPORT, bucket="bucket")

    with monkeypatch.context() as held:
        held.setattr(Sealing, "move", _waits)
        given = _start(stage, _asked(lying))
        stage.run(until(is_sealing))
        stage.run(given.stop(kind=IMPORT, bucket="bucket") if by_command else given._moves.close())


async def _resumed(given: MoveCommands) -> dict[str, Any]:
    await given.resume()
    return await ended(given)


def test_a_gateway_that_starts_goes_on_to_the_cut_over(
    stage: Stage, lying: Lying, monkeypatch: pytest.MonkeyPatch
) -> None:
    _cut_off(stage, lying, monkeypatch)
    given = commands(stage)
    before = stage.run(given.status(kind=IMPORT, bucket="bucket"))
    assert (before["state"], before["phase"], before["problem"]) == ("stopped", "sealing", "it was cut off")
    assert "by itself" in before["next"]
    lying.credentials.unlink()  # the key is the bucket's by now
    done = stage.run(_resumed(given))
    assert (done["state"], done["phase"], done["difference_count"]) == ("done", "cut over", 0)
    assert {key: stage.body_of(key) for key in ("a", "b")} == {"a": BODY, "b": BODY}
    asked = len(lying.requests)
    again = stage.run(given.start(**_asked(lying)))
    assert (again["phase"], again["running"]) == ("cut over", False)
    assert "nothing reads the source any more" in again["next"]
    stage.run(given.resume())
    assert len(lying.requests) == asked, "the source is left alone"


def test_what_a_command_stopped_goes_on_by_command_alone(
    stage: Stage, lying: Lying, monkeypatch: pytest.MonkeyPatch
) -> None:
    _cut_off(stage, lying, monkeypatch, by_command=True)
    given = commands(stage)
    stopped = stage.run(_resumed(given))
    assert (stopped["state"], stopped["phase"]) == ("stopped", "sealing")
    assert "give the same command again" in stopped["next"]
    stage.run(given.start(**_asked(lying)))
    assert stage.run(ended(given))["phase"] == "cut over"


def test_a_registering_that_met_a_problem_goes_on(stage: Stage, lying: Lying, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as held:
        held.setattr(lying, "listing", b"no XML")
        given = _start(stage, _asked(lying))
        stopped = stage.run(ended(given))
    assert (stopped["state"], stopped["phase"]) == ("stopped", "registering")
    assert "closed until all is registered" in stopped["next"]
    assert stage.run(_resumed(given))["phase"] == "cut over"


def test_what_is_left_at_the_source_is_tried_again(stage: Stage, lying: Lying, monkeypatch: pytest.MonkeyPatch) -> None:
    _cut_off(stage, lying, monkeypatch)
    with monkeypatch.context() as held:
        held.setattr(lying, "is_down", True)
        given = commands(stage)
        done = stage.run(_resumed(given))
    assert (done["state"], done["phase"], done["failed"]) == ("done", "sealing", 2)
    assert "restore what is named" in done["next"]
    assert stage.run(_resumed(given))["phase"] == "cut over"


def test_all_is_verified_before_the_source_is_forgotten(
    stage: Stage, lying: Lying, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue = stage.services.catalogue
    real = catalogue.put_configuration

    async def failing(bucket_id: bytes, kind: str, document: bytes | None, lease: Any = None) -> None:
        if kind == SOURCE and document is None:
            raise StorageUnavailable("the database")
        await real(bucket_id, kind, document, lease)

    with monkeypatch.context() as held:
        held.setattr(catalogue, "put_configuration", failing)
        given = _start(stage, _asked(lying))
        stopped = stage.run(ended(given))
    assert (stopped["phase"], stopped["state"]) == ("verified", "done")
    assert "by itself" in stopped["next"]
    assert stage.run(_resumed(given))["phase"] == "cut over"


def test_of_several_gateways_one_goes_on(stage: Stage, lying: Lying, monkeypatch: pytest.MonkeyPatch) -> None:
    _cut_off(stage, lying, monkeypatch)
    one, two = commands(stage, holder="one"), commands(stage, holder="two")
    stage.rig.clock.now += timedelta(seconds=61)
    with monkeypatch.context() as held:
        held.setattr(Sealing, "move", _waits)

        async def is_kept() -> bool:
            held = await one._held(await one._bucket("bucket"), SEALING)
            return held is not None and held.holder == "one"

        async def both() -> None:
            await one.resume()
            await until(is_kept)
            await two.resume()

        stage.run(both())
        for given in (one, two):
            status = stage.run(given.status(kind=IMPORT, bucket="bucket"))
            assert (status["running"], status["state"]) == (True, "running")
        assert two._moves.running(IMPORT, stage.run(two._bucket("bucket"))) is None
        assert stage.run(two.start(**_asked(lying)))["attached"]
        with pytest.raises(PlaceFailed, match="another gateway"):
            stage.run(two.stop(kind=IMPORT, bucket="bucket"))
        stage.run(one._moves.close())
    stage.rig.clock.now += timedelta(seconds=61)
    assert stage.run(_resumed(two))["phase"] == "cut over"


def test_who_finds_the_lease_taken_says_nothing_of_the_others_move(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    bucket = stage.run(stage.services.catalogue.get_bucket("bucket"))
    name = f"{IMPORT}/{bucket.bucket_id.hex()}"
    stage.run(stage.services.catalogue.acquire_lease(name, "another", jobs.LEASE_DURATION))
    given = commands(stage)

    async def is_over() -> bool:
        return given._moves.running(IMPORT, bucket) is None

    async def run() -> None:
        await given.start(kind=IMPORT, bucket="bucket", place=str(tmp_path))
        await until(is_over)

    stage.run(run())
    assert IMPORT not in stage.run(stage.services.catalogue.get_bucket("bucket")).configurations
    assert stage.keys() == []


def test_a_plain_import_goes_on_too(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        (tmp_path / name).write_bytes(name.encode())
    asked: dict[str, Any] = {"kind": IMPORT, "bucket": "bucket", "place": str(tmp_path), "parallel": 2}
    with monkeypatch.context() as held:
        held.setattr(Importer, "move", _waits)
        given = _start(stage, asked)
        second, third = stage.run(given.start(**asked)), None
        assert second["attached"], "the same command finds it, and begins no second one"
        with pytest.raises(PlaceFailed, match="runs already"):
            stage.run(given.start(**{**asked, "place": "/elsewhere"}))
        third = stage.run(given.start(**{**asked, "parallel": 3}))
        assert "attached" not in third, "it goes on as it is asked for now"
        stage.run(given._moves.close())
    done = stage.run(_resumed(commands(stage)))
    assert (done["state"], done["moved"]) == ("done", 3)
    assert stage.keys() == ["a", "b", "c"]
    assert bring(stage, tmp_path)["already_there"] == 3


def test_two_commands_at_once_begin_one_import(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    given = commands(stage)

    async def run() -> list[dict[str, Any]]:
        both = [given.start(kind=IMPORT, bucket="bucket", place=str(tmp_path)) for _ in range(2)]
        answers = await asyncio.gather(*both)
        await ended(given)
        return answers

    assert ["attached" in answer for answer in stage.run(run())] == [False, True]


def test_what_cannot_go_on_says_why(stage: Stage, lying: Lying, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {**_asked(lying), "read_through": False}
    with monkeypatch.context() as held:
        held.setattr(Importer, "move", _waits)
        stage.run(_start(stage, asked)._moves.close())
    content = lying.credentials.read_text()
    lying.credentials.unlink()
    given = commands(stage)
    stopped = stage.run(_resumed(given))
    assert stopped["state"] == "stopped"
    assert "credentials" in stopped["problem"]
    lying.credentials.touch(mode=0o600)
    lying.credentials.write_text(content)
    assert stage.run(_resumed(given))["state"] == "done"


@pytest.mark.parametrize("typo", ["place", "endpoint", "credentials"])
@pytest.mark.parametrize("read_through", [False, True])
def test_what_was_mistyped_gives_way_to_what_is_meant(
    stage: Stage, lying: Lying, tmp_path: Path, typo: str, read_through: bool
) -> None:
    """Nothing was moved yet: no --restart is needed, and no gateway goes on with the wrong one."""
    meant = {**_asked(lying), "read_through": read_through}
    (tmp_path / "wrong").touch(mode=0o600)
    (tmp_path / "wrong").write_text(lying.credentials.read_text().replace("AKID", "typo"))
    wrong = {"place": "s3://sauce", "endpoint": "https://localhost:9", "credentials": str(tmp_path / "wrong")}
    given = commands(stage)
    real, lying.listing = lying.listing, b"no XML"
    stage.run(given.start(**{**meant, typo: wrong[typo]}))
    assert stage.run(ended(given))["state"] == "stopped"
    lying.listing = real
    again = stage.run(given.start(**meant))
    assert again["place"] == "s3://source"
    done = stage.run(ended(given))
    assert (done["state"], done["difference_count"]) == ("done", 0)
    assert {key: stage.body_of(key) for key in ("a", "b")} == {"a": BODY, "b": BODY}
    asked = len(lying.requests)
    stage.run(given.resume())
    assert len(lying.requests) == asked


@pytest.mark.parametrize(("read_through", "says"), [(False, "--restart"), (True, "finish that first")])
def test_what_moved_something_gives_way_to_no_other(stage: Stage, lying: Lying, read_through: bool, says: str) -> None:
    lying.listed = ["a", "redirect"]
    asked = {**_asked(lying), "read_through": read_through, "parallel": 1}
    given = commands(stage)
    stage.run(given.start(**asked))
    stopped = stage.run(ended(given))
    assert (stopped["state"], stopped["moved"]) == ("stopped", 1)
    with pytest.raises(PlaceFailed, match=says):
        stage.run(given.start(**{**asked, "place": "s3://sauce"}))


def test_a_bucket_that_was_closed_for_nothing_opens(stage: Stage) -> None:
    """Cut off between the closing and the naming of the source."""
    bucket = stage.run(stage.services.catalogue.get_bucket("bucket"))
    stage.run(stage.services.catalogue.put_configuration(bucket.bucket_id, REGISTERING, b"{}"))
    stage.run(commands(stage).resume())
    assert stage.keys() == []


def test_a_bucket_with_objects_is_closed_at_no_time(
    stage: Stage, lying: Lying, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.put("mine", b"x")
    kinds = []
    real = stage.services.catalogue.put_configuration

    async def noting(bucket_id: bytes, kind: str, document: bytes | None, lease: Any = None) -> None:
        kinds.append(kind)
        await real(bucket_id, kind, document, lease)

    monkeypatch.setattr(stage.services.catalogue, "put_configuration", noting)
    with pytest.raises(PlaceFailed, match="begins with an empty one"):
        _start(stage, _asked(lying))
    assert REGISTERING not in kinds


def test_phases() -> None:
    done = replace(Progress("place", {}, ""), state=State.DONE)
    assert phase_of({}, None) is None
    assert phase_of({REGISTERING, SOURCE}, None) is Phase.REGISTERING
    assert phase_of({SOURCE}, None) is Phase.SEALING
    assert phase_of({SOURCE}, done) is Phase.VERIFIED
    assert phase_of({}, done) is Phase.CUT_OVER
