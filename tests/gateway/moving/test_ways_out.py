"""Ways out of a bucket that is closed while it is registered: without what cannot be, or not at all."""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.moving import jobs
from gateway.moving.abandoning import Abandoning
from gateway.moving.bucket import BucketSource
from gateway.moving.client import read_credentials
from gateway.moving.endpoint import Endpoint
from gateway.moving.pace import Pace
from gateway.moving.places import Item, PlaceFailed
from gateway.moving.registering import SEALING, Closed, Sealing
from gateway.moving.report import ABANDONING, IMPORT, Outcome
from gateway.moving.through import SOURCE
from gateway.wiring.moves import MoveCommands
from storage.errors import StorageUnavailable
from tests.gateway.moving.lying import BODY, Lying, lying_server
from tests.gateway.moving.moving import PATIENCE, bring, commands, ended, until, why
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
    listed = stage.keys()
    assert {key: stage.body_of(key) for key in listed} == {"a": BODY, "z": BODY}


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


def _start(stage: Stage, lying: Lying, **more: Any) -> MoveCommands:
    given = commands(stage, **more)
    stage.run(given.start(kind=IMPORT, bucket="bucket", place="s3://source", **_asked(lying)))
    return given


def _configurations(stage: Stage) -> set[str]:
    return set(stage.run(stage.services.catalogue.get_bucket("bucket")).configurations)


async def _waits(*_: Any) -> Any:
    await asyncio.Event().wait()


async def _abandoned(given: MoveCommands) -> dict[str, Any]:
    await given.abandon(bucket="bucket")
    return await ended(given, ABANDONING)


def _open_with_pending(stage: Stage, lying: Lying, monkeypatch: pytest.MonkeyPatch, holder: str = "owner") -> Any:
    """A bucket that answers, none of whose objects is sealed yet, while the import runs."""

    async def is_sealing() -> bool:
        return "registered" in await given.status(kind=IMPORT, bucket="bucket")

    monkeypatch.setattr(Sealing, "move", _waits)
    given = _start(stage, lying, holder=holder)
    stage.run(until(is_sealing))
    return given


def test_a_bucket_that_is_registered_is_given_up(stage: Stage, lying: Lying) -> None:
    """What was brought at once, as it is empty or under SSE-KMS, is sealed here and stays."""
    lying.listed = ["a", "b", "kms", "sse-c"]
    given = _start(stage, lying)
    assert stage.run(ended(given))["phase"] == "registering"
    asked = len(lying.requests)
    done = stage.run(_abandoned(given))
    assert (done["state"], done["phase"], done["removed"], done["stayed"]) == ("done", "given up", 2, 0)
    assert stage.run(given.status(kind=IMPORT, bucket="bucket"))["phase"] == "given up"
    assert stage.keys() == ["kms"]
    assert stage.body_of("kms") == BODY[::-1]
    assert _configurations(stage) == {ABANDONING}, "source, key and place are forgotten"
    stage.put("new", b"new")
    stage.run(given.resume())
    assert len(lying.requests) == asked, "the source is left alone"
    with pytest.raises(PlaceFailed, match="nothing to give up"):
        stage.run(given.abandon(bucket="bucket"))
    for key in ("kms", "new"):
        stage.alice.delete_object(Bucket="bucket", Key=key)
    lying.listed = ["z"]
    assert bring(stage, "s3://source", **_asked(lying))["phase"] == "cut over", "another import may begin"


def test_a_bucket_that_reads_through_is_given_up(stage: Stage, lying: Lying, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it runs. What clients wrote stays, and what they tagged goes: its bytes are nowhere here."""
    lying.listed = ["a", "b", "c", "d"]
    with monkeypatch.context() as held:
        given = _open_with_pending(stage, lying, held)
        stage.put("a", b"ours")
        stage.alice.put_object_tagging(Bucket="bucket", Key="b", Tagging={"TagSet": [{"Key": "t", "Value": "1"}]})
        done = stage.run(_abandoned(given))
    assert (done["phase"], done["removed"], done["stayed"]) == ("given up", 3, 0)
    assert stage.keys() == ["a"]
    assert stage.body_of("a") == b"ours"
    assert _configurations(stage) == {ABANDONING}
    bucket = stage.run(stage.services.catalogue.get_bucket("bucket"))
    assert given._moves.running(IMPORT, bucket) is None


def test_what_is_sealed_or_written_meanwhile_stays(stage: Stage, lying: Lying, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at a version and the transaction that would delete it."""
    lying.listed = ["sealed", "written"]
    catalogue = stage.services.catalogue
    with monkeypatch.context() as held:
        given = _open_with_pending(stage, lying, held)
        stage.run(given.stop(kind=IMPORT, bucket="bucket"))
    bucket = stage.run(catalogue.get_bucket("bucket"))
    real = catalogue.delete_versions

    async def late(bucket_id: bytes, deletes: Any) -> Any:
        (command,) = deletes
        if command.object_key == b"written":
            stage.rig.bucket = bucket
            await stage.rig.put(b"written", b"ours")
        else:
            version = (await catalogue.get_version(bucket_id, command.object_key)).version
            endpoint = Endpoint(lying.url, "source", "", "us-east-1", lying.ca_file, None, "")
            key = read_credentials(lying.credentials, "default")
            source = BucketSource(endpoint, 1, PATIENCE, key)
            mover = Sealing(stage.services, bucket, source, given._filler, Pace(None), given._lease(SEALING, bucket))
            assert (await mover.move([version], 0)).outcome is Outcome.MOVED
            await source.close()
        return await real(bucket_id, deletes)

    with monkeypatch.context() as held:
        held.setattr(catalogue, "delete_versions", late)
        done = stage.run(_abandoned(given))
    assert (done["phase"], done["removed"], done["stayed"]) == ("given up", 0, 0)
    assert {key: stage.body_of(key) for key in ("sealed", "written")} == {"sealed": BODY, "written": b"ours"}


@pytest.mark.parametrize("is_closed", [True, False])
def test_what_a_lock_holds_stays_and_so_does_its_source(
    stage: Stage, lying: Lying, monkeypatch: pytest.MonkeyPatch, is_closed: bool
) -> None:
    stage.alice.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
    stage.alice.put_object_lock_configuration(
        Bucket="locked",
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}},
        },
    )
    lying.listed = ["a", "sse-c"]
    given = commands(stage)
    asked = {"kind": IMPORT, "bucket": "locked", "place": "s3://source", **_asked(lying)}
    with monkeypatch.context() as held:
        held.setattr(Sealing, "move", _waits)
        if is_closed:
            stage.run(given.start(**asked))
            stage.run(ended(given, bucket="locked"))
        else:

            async def is_sealing() -> bool:
                return "registered" in await given.status(kind=IMPORT, bucket="locked")

            stage.run(given.start(**asked, leave_out_failed=True))
            stage.run(until(is_sealing))

        async def abandoned() -> dict[str, Any]:
            await given.abandon(bucket="locked")
            return await ended(given, ABANDONING, "locked")

        done = stage.run(abandoned())
    assert (done["state"], done["phase"], done["removed"], done["stayed"]) == ("done", "giving up", 0, 1)
    assert "retained" in why(done)["a"]
    assert stage.keys("locked") == ["a"], "it is open"
    stage.run(given.resume())
    assert stage.run(ended(given, bucket="locked"))["phase"] == "cut over", "the import goes on with what stayed"
    assert stage.alice.get_object(Bucket="locked", Key="a")["Body"].read() == BODY


def test_what_a_legal_hold_held_goes_once_it_is_lifted(
    stage: Stage, lying: Lying, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.alice.put_bucket_versioning(Bucket="bucket", VersioningConfiguration={"Status": "Enabled"})
    bucket = stage.run(stage.services.catalogue.get_bucket("bucket"))
    stage.run(stage.services.catalogue.enable_object_lock(bucket.bucket_id))
    lying.listed = ["a", "b", "c"]
    with monkeypatch.context() as held:
        given = _open_with_pending(stage, lying, held)
        stage.alice.put_object_legal_hold(Bucket="bucket", Key="b", LegalHold={"Status": "ON"})
        done = stage.run(_abandoned(given))
        assert (done["phase"], done["removed"], done["stayed"], set(why(done))) == ("giving up", 2, 1, {"b"})
        assert "give --abandon again" in done["next"]
        assert SOURCE in _configurations(stage), "what stays is read from it"
        stage.alice.put_object_legal_hold(Bucket="bucket", Key="b", LegalHold={"Status": "OFF"})
        done = stage.run(_abandoned(given))
    assert (done["phase"], done["removed"], done["stayed"]) == ("given up", 1, 0)
    assert stage.alice.list_object_versions(Bucket="bucket").get("Versions", []) == []
    assert not _configurations(stage) & {SOURCE, IMPORT, SEALING}


@pytest.mark.parametrize("seam", ["abandon.fenced", "abandon.removed", "abandon.forgotten", "abandon.opened"])
@pytest.mark.parametrize("is_closed", [True, False])
def test_it_goes_on_wherever_it_was_cut_off(
    stage: Stage, lying: Lying, monkeypatch: pytest.MonkeyPatch, seam: str, is_closed: bool
) -> None:
    lying.listed = ["a", "b", "c", *(["sse-c"] if is_closed else [])]
    with monkeypatch.context() as held:
        if is_closed:
            given = _start(stage, lying)
            stage.run(ended(given))
        else:
            given = _open_with_pending(stage, lying, held)

        def cut_off(name: str) -> None:
            if name == seam:
                raise StorageUnavailable("cut off")

        held.setattr("gateway.moving.abandoning.reach", cut_off)
        stopped = stage.run(_abandoned(given))
    assert stopped["state"] == "stopped"
    assert "by itself" in stopped["next"]
    with pytest.raises(PlaceFailed, match="being given up"):
        stage.run(given.start(kind=IMPORT, bucket="bucket", place="s3://source", **_asked(lying)))
    asked = len(lying.requests)
    stage.run(given.resume())
    done = stage.run(ended(given, ABANDONING))
    assert (done["state"], done["phase"], len(lying.requests)) == ("done", "given up", asked)
    assert stage.keys() == []
    assert _configurations(stage) == {ABANDONING}


@pytest.mark.parametrize("is_closed", [True, False])
@pytest.mark.parametrize("parallel", [1, 8])
def test_another_gateway_stops_the_import_for_it(
    stage: Stage, lying: Lying, monkeypatch: pytest.MonkeyPatch, is_closed: bool, parallel: int
) -> None:
    """However long that one waits for what it deals with."""
    lying.listed = ["a", "b"]
    real = BucketSource.look

    async def paused(self: BucketSource, item: Item) -> Any:
        return await (_waits() if is_closed and item.object_key == b"b" else real(self, item))

    async def is_so() -> bool:
        status = await one.status(kind=IMPORT, bucket="bucket")
        return status["moved"] == 1 if is_closed else "registered" in status

    monkeypatch.setattr(jobs, "SAVE_EVERY_S", 0.05)
    monkeypatch.setattr(BucketSource, "look", paused)
    monkeypatch.setattr(Sealing, "move", _waits)
    one, two = commands(stage, holder="one"), commands(stage, holder="two")
    asked = {"kind": IMPORT, "bucket": "bucket", "place": "s3://source", **_asked(lying, parallel=parallel)}
    stage.run(one.start(**asked))
    stage.run(until(is_so))
    done = stage.run(_abandoned(two))
    assert (done["phase"], done["removed"]) == ("given up", 1 if is_closed else 2)
    bucket = stage.run(stage.services.catalogue.get_bucket("bucket"))
    assert one._moves.running(IMPORT, bucket) is None
    assert _configurations(stage) == {ABANDONING}
    assert stage.keys() == []


def test_who_begins_to_register_late_looks_first(stage: Stage, lying: Lying, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was let begin, stood still, and has the lease anew while another gateway gives the import up."""
    lying.listed = ["a", "sse-c"]
    one, two = _start(stage, lying, holder="one"), commands(stage, holder="two")
    assert stage.run(ended(one))["phase"] == "registering"
    lying.listed = ["a", "b"]
    catalogue = stage.services.catalogue
    real, real_delete, wake, stood = Closed.walk, catalogue.delete_versions, asyncio.Event(), asyncio.Event()

    async def paused(self: Closed, *given: Any) -> Any:
        stood.set()
        await wake.wait()
        async with aclosing(real(self, *given)) as items:
            async for item in items:
                yield item

    async def late(bucket_id: bytes, deletes: Any) -> Any:
        wake.set()
        await until(is_over)
        return await real_delete(bucket_id, deletes)

    async def is_over() -> bool:
        return one._moves.running(IMPORT, bucket) is None

    monkeypatch.setattr(jobs, "SAVE_EVERY_S", 1000.0)
    monkeypatch.setattr(Closed, "walk", paused)
    monkeypatch.setattr(catalogue, "delete_versions", late)
    bucket = stage.run(catalogue.get_bucket("bucket"))
    stage.run(one.start(kind=IMPORT, bucket="bucket", place="s3://source", **_asked(lying)))
    stage.run(stood.wait())
    stage.rig.clock.now += timedelta(seconds=61)
    assert stage.run(_abandoned(two))["phase"] == "given up"
    assert stage.keys() == []
    assert _configurations(stage) == {ABANDONING}


@pytest.mark.parametrize("wakes", ["amid", "after"])
def test_who_stood_still_registers_nothing_late(
    stage: Stage, lying: Lying, monkeypatch: pytest.MonkeyPatch, wakes: str
) -> None:
    """Another gateway registers, stands still for more than a minute, and comes amid the giving up or after it."""
    lying.listed = ["a", "b"]
    real, wake, stood = BucketSource.look, asyncio.Event(), asyncio.Event()

    async def paused(self: BucketSource, item: Item) -> Any:
        looked = await real(self, item)
        if item.object_key == b"b":
            stood.set()
            await wake.wait()
        return looked

    monkeypatch.setattr(jobs, "SAVE_EVERY_S", 1000.0)
    monkeypatch.setattr(BucketSource, "look", paused)
    one, two = _start(stage, lying, holder="one"), commands(stage, holder="two")
    stage.run(stood.wait())
    stage.rig.clock.now += timedelta(seconds=61)

    async def run() -> dict[str, Any]:
        bucket = await two._bucket("bucket")
        real_delete = stage.services.catalogue.delete_versions

        async def late(bucket_id: bytes, deletes: Any) -> Any:
            wake.set()
            await until(is_over)
            return await real_delete(bucket_id, deletes)

        async def is_over() -> bool:
            return one._moves.running(IMPORT, bucket) is None

        if wakes == "amid":
            monkeypatch.setattr(stage.services.catalogue, "delete_versions", late)
        done = await _abandoned(two)
        wake.set()
        await until(is_over)
        return done

    assert stage.run(run())["phase"] == "given up"
    assert stage.keys() == []
    assert _configurations(stage) == {ABANDONING}


def test_what_a_command_stops_goes_on_by_command(stage: Stage, lying: Lying, monkeypatch: pytest.MonkeyPatch) -> None:
    lying.listed = ["a", "sse-c"]
    given = _start(stage, lying)
    stage.run(ended(given))
    with monkeypatch.context() as held:
        held.setattr(Abandoning, "move", _waits)
        stage.run(given.abandon(bucket="bucket"))
        assert stage.run(given.abandon(bucket="bucket"))["attached"]
        assert stage.run(given.status(kind=IMPORT, bucket="bucket"))["phase"] == "giving up"
        stopped = stage.run(given.stop(kind=IMPORT, bucket="bucket"))
    assert (stopped["state"], stopped["phase"]) == ("stopped", "giving up")
    assert "same command again" in stopped["next"]
    stage.run(given.resume())
    assert stage.run(given.status(kind=ABANDONING, bucket="bucket"))["state"] == "stopped"
    assert stage.run(_abandoned(given))["phase"] == "given up"


def test_only_what_reads_through_is_given_up(stage: Stage, lying: Lying, tmp_path: Path) -> None:
    given = commands(stage)
    for _ in range(2):
        with pytest.raises(PlaceFailed, match="nothing to give up"):
            stage.run(given.abandon(bucket="bucket"))
        with pytest.raises(PlaceFailed, match="was given up"):
            stage.run(given.status(kind=ABANDONING, bucket="bucket"))
        bring(stage, tmp_path)
    with pytest.raises(PlaceFailed, match="there is no bucket"):
        stage.run(given.abandon(bucket="none-such"))
