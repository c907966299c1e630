"""A bucket that answers from a real S3 of another maker until all of it is sealed here; and from one that lies."""

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from gateway.engine.attributes import ObjectAttributes
from gateway.engine.integrity import EtagMode
from gateway.engine.objects import NewObject
from gateway.engine.opening import OpenedSpan
from gateway.moving import jobs
from gateway.moving.bucket import BucketSource
from gateway.moving.client import read_credentials
from gateway.moving.endpoint import AccessKey, Endpoint
from gateway.moving.places import Interrupted, PlaceFailed
from gateway.moving.registering import Closed, Sealing
from gateway.moving.report import IMPORT, Progress, State
from gateway.moving.through import SOURCE, ReadThrough, Registered
from gateway.operations.admission import REGISTERING
from storage.catalogue.commands import Conditions, DeleteVersion, VersionChange
from storage.errors import StorageUnavailable
from tests.blackbox.clients import payload
from tests.gateway.moving.lying import BODY, LARGE, Lying, lying_server
from tests.gateway.moving.moving import PATIENCE, bring, commands, ended, send, why
from tests.gateway.operations.stage import MIB, Stage
from tests.servers.s3_servers import S3Server
from tests.storage.blobs.s3.support import make_bucket

STREAMS = 4
SMALL = {f"{number:02}": payload(number * 37 + 1, number) for number in range(12)}


@pytest.fixture
def theirs(server: S3Server) -> Iterator[Any]:
    client = server.client()
    make_bucket(server, "source")
    yield client
    pages = client.get_paginator("list_objects_v2").paginate(Bucket="source")
    for entry in [entry for page in pages for entry in page.get("Contents", ())]:
        client.delete_object(Bucket="source", Key=entry["Key"])
    client.close()


@pytest.fixture
def reading(stage: Stage) -> Iterator[Stage]:
    """A stage that reads through."""
    through_ = ReadThrough(stage.services.catalogue, STREAMS, 50, 5, PATIENCE)
    stage.services.objects._through = through_
    yield stage
    through_.close()


@pytest.fixture
def registered(reading: Stage, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Registers a source, and stops before a byte of it is sealed."""

    def register(place: dict[str, Any]) -> dict[str, Any]:
        async def run() -> dict[str, Any]:
            given = commands(reading)
            await given.start(kind="import", bucket="bucket", place="s3://source", read_through=True, **place)
            while True:
                status = await given.status(kind="import", bucket="bucket")
                if not status["running"] or "registered" in status:
                    return await given.stop(kind="import", bucket="bucket")
                await asyncio.sleep(0.005)

        async def waits(*_: Any) -> Any:
            await asyncio.Event().wait()

        with monkeypatch.context() as held:
            held.setattr(Sealing, "move", waits)
            answer: dict[str, Any] = reading.run(run())
        return answer

    return register


def _fill(theirs: Any, tmp_path: Path) -> dict[str, bytes]:
    wanted = dict(SMALL)
    for key, content in wanted.items():
        theirs.put_object(Bucket="source", Key=key, Body=content)
    wanted |= {"told": b"told", "empty": b"", "large": payload(3 * MIB + 5), "parts": payload(12 * MIB)}
    theirs.put_object(
        Bucket="source", Key="told", Body=b"told", Metadata={"who": "me"}, ContentType="text/odd", Tagging="a=b&c=d"
    )
    for key in ("empty", "large"):
        theirs.put_object(Bucket="source", Key=key, Body=wanted[key])
    (tmp_path / "parts").write_bytes(wanted["parts"])
    config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
    theirs.upload_file(str(tmp_path / "parts"), "source", "parts", Config=config)
    return wanted


def _told(stage: Stage) -> Any:
    """What listings and heads say, without what is of one answer."""
    listed = stage.alice.list_objects_v2(Bucket="bucket")
    told = [listed["Contents"]]
    for entry in listed["Contents"]:
        head = stage.alice.head_object(Bucket="bucket", Key=entry["Key"])
        told.append({name: value for name, value in head.items() if name != "ResponseMetadata"})
    return told


def _told_keys(stage: Stage) -> list[str]:
    return stage.keys()


def _pending(stage: Stage) -> list[str]:
    async def walk() -> list[str]:
        bucket = await stage.services.catalogue.get_bucket("bucket")
        mover = Sealing(stage.services, bucket, None, None, None, None)  # type: ignore[arg-type]  # only walks
        return [version.object_key.decode() async for version in mover.walk(b"")]

    found: list[str] = stage.run(walk())
    return found


def _code(stage: Stage, key: str, **arguments: Any) -> str:
    with pytest.raises(ClientError) as caught:
        stage.body_of(key, **arguments)
    return str(caught.value.response["Error"]["Code"])


def test_a_bucket_answers_at_once_and_is_sealed_behind_that(
    reading: Stage, registered: Any, theirs: Any, place: dict[str, Any], tmp_path: Path
) -> None:
    wanted = _fill(theirs, tmp_path)
    answer = registered(place)
    assert (answer["phase"], answer["registered"], answer["difference_count"]) == ("sealing", len(wanted), 0)
    assert _pending(reading) == sorted(set(wanted) - {"empty"}), "an empty object needs no source"
    assert reading.keys() == sorted(wanted)
    before = _told(reading)
    head = reading.alice.head_object(Bucket="bucket", Key="told")
    assert (head["Metadata"], head["ContentType"], head["TagCount"]) == ({"who": "me"}, "text/odd", 2)
    assert {key: reading.body_of(key) for key in wanted} == wanted
    for first, last in ((0, 0), (MIB - 1, MIB + 7), (3 * MIB, 3 * MIB + 4)):
        assert reading.body_of("large", Range=f"bytes={first}-{last}") == wanted["large"][first : last + 1]
    assert reading.body_of("parts", Range="bytes=-9") == wanted["parts"][-9:]
    assert _code(reading, "parts", PartNumber=2) == "ServiceUnavailable"
    sent = send(reading, tmp_path / "out")
    assert "finish that first" in why(sent)["told"]
    assert "phase" not in sent, "that is the import's"

    done = bring(reading, "s3://source", read_through=True, **place)
    assert (done["state"], done["difference_count"], done["unproven"]) == ("done", 0, 0)
    assert _pending(reading) == []
    assert _told(reading) == before, "nothing that is told changes"
    theirs.delete_object(Bucket="source", Key="large")
    assert {key: reading.body_of(key) for key in wanted} == wanted
    assert reading.body_of("parts", PartNumber=2) == wanted["parts"][5 * MIB : 10 * MIB]
    bucket = reading.run(reading.services.catalogue.get_bucket("bucket"))
    assert not {SOURCE, REGISTERING} & set(bucket.configurations), "the key of the source is forgotten"


def test_what_is_done_here_wins(
    reading: Stage, registered: Any, theirs: Any, place: dict[str, Any], tmp_path: Path
) -> None:
    _fill(theirs, tmp_path)
    registered(place)
    alice = reading.alice
    reading.put("00", b"ours")
    alice.delete_object(Bucket="bucket", Key="01")
    alice.put_object_tagging(Bucket="bucket", Key="02", Tagging={"TagSet": [{"Key": "mine", "Value": "1"}]})
    alice.copy_object(Bucket="bucket", Key="copy", CopySource="bucket/large")
    assert (
        alice.head_object(Bucket="bucket", Key="copy")["ETag"]
        == alice.head_object(Bucket="bucket", Key="large")["ETag"]
    )
    upload = {"Bucket": "bucket", "Key": "joined"}
    upload["UploadId"] = alice.create_multipart_upload(**upload)["UploadId"]
    part = alice.upload_part_copy(**upload, PartNumber=1, CopySource="bucket/large", CopySourceRange="bytes=5-1000000")
    parts = [{"PartNumber": 1, "ETag": part["CopyPartResult"]["ETag"]}]
    alice.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    assert "copy" not in _pending(reading)
    for is_sealed in (False, True):
        if is_sealed:
            done = bring(reading, "s3://source", read_through=True, **place)
            assert (done["state"], done["difference_count"]) == ("done", 0)
        assert reading.body_of("00") == b"ours"
        assert "01" not in _told_keys(reading)
        assert alice.get_object_tagging(Bucket="bucket", Key="02")["TagSet"] == [{"Key": "mine", "Value": "1"}]
        assert reading.body_of("02") == SMALL["02"]
        assert reading.body_of("copy") == payload(3 * MIB + 5)
        assert reading.body_of("joined") == payload(3 * MIB + 5)[5:1_000_001]


def test_a_change_while_an_object_is_sealed_is_kept(
    reading: Stage, registered: Any, theirs: Any, place: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client comes between the last byte and the transaction: its tags stay, its write and its delete win."""
    for key in ("deleted", "tagged", "written"):
        theirs.put_object(Bucket="source", Key=key, Body=key.encode() * 1000)
    registered(place)
    catalogue = reading.services.catalogue
    real, met = catalogue.replace_content, set[bytes]()

    async def late(command: Any, lease: Any) -> None:
        seen = command.versions[0].seen
        if seen.object_key not in met:
            met.add(seen.object_key)
            bucket = await catalogue.get_bucket("bucket")
            if seen.object_key == b"deleted":
                await catalogue.delete_versions(bucket.bucket_id, [DeleteVersion(b"deleted")])
            elif seen.object_key == b"tagged":
                await catalogue.update_version(bucket.bucket_id, b"tagged", None, VersionChange(tags=[("t", "1")]))
            else:
                await reading.rig.put(b"written", b"ours")
        await real(command, lease)

    monkeypatch.setattr(catalogue, "replace_content", late)
    reading.rig.bucket = reading.run(catalogue.get_bucket("bucket"))
    done = bring(reading, "s3://source", read_through=True, **place)
    assert (done["state"], done["difference_count"]) == ("done", 0)
    assert met == {b"deleted", b"tagged", b"written"}
    assert reading.keys() == ["tagged", "written"]
    assert reading.body_of("written") == b"ours"
    assert reading.body_of("tagged") == b"tagged" * 1000
    assert reading.alice.head_object(Bucket="bucket", Key="tagged")["TagCount"] == 1
    assert _pending(reading) == []


@pytest.mark.parametrize("is_committed", [False, True])
def test_an_outcome_that_is_unknown_loses_nothing(
    reading: Stage,
    registered: Any,
    theirs: Any,
    place: dict[str, Any],
    is_committed: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The answer of the transaction is lost: what was sealed may be live, so it may not be taken away."""
    content = payload(200_000)
    theirs.put_object(Bucket="source", Key="x", Body=content)
    registered(place)
    catalogue = reading.services.catalogue
    real = catalogue.replace_content

    async def lost(command: Any, lease: Any) -> None:
        if is_committed:
            await real(command, lease)
        raise StorageUnavailable("the answer was lost")

    with monkeypatch.context() as held:
        held.setattr(catalogue, "replace_content", lost)
        stopped = bring(reading, "s3://source", read_through=True, **place)
    assert (stopped["state"], stopped["problem"]) == ("stopped", "the answer was lost")
    assert _pending(reading) == ([] if is_committed else ["x"])
    assert reading.body_of("x") == content
    assert bring(reading, "s3://source", read_through=True, **place)["state"] == "done"
    assert reading.body_of("x") == content


@pytest.mark.parametrize("change", ["written", "deleted", "no such bucket", "no key"])
def test_a_source_that_changes_gives_503_and_never_other_bytes(
    reading: Stage,
    registered: Any,
    theirs: Any,
    place: dict[str, Any],
    change: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jobs, "PAUSE_S", 0)
    theirs.put_object(Bucket="source", Key="x", Body=b"registered")
    theirs.put_object(Bucket="source", Key="y", Body=b"other")
    registered(place)
    if change == "written":
        theirs.put_object(Bucket="source", Key="x", Body=b"other bytes")
    elif change == "deleted":
        theirs.delete_object(Bucket="source", Key="x")
    else:
        bucket = reading.run(reading.services.catalogue.get_bucket("bucket"))
        held = Registered.decode(reading.run(reading.services.catalogue.get_configuration(bucket.bucket_id, SOURCE)))
        if change == "no key":
            held = replace(held, key=AccessKey("nobody", "nothing"))
        else:
            held = replace(held, endpoint=replace(held.endpoint, bucket="none-such"))
        document = held.encode()
        reading.run(reading.services.catalogue.put_configuration(bucket.bucket_id, SOURCE, document))
    for arguments in ({}, {"Range": "bytes=2-4"}):
        assert _code(reading, "x", **arguments) == "ServiceUnavailable"
    assert "the source of the import does not give the object" in caplog.text
    assert reading.keys() == ["x", "y"], "still listed"
    if change in ("written", "deleted"):
        done = bring(reading, "s3://source", read_through=True, **place)
        assert set(why(done)) == {"x"}
        assert _pending(reading) == ["x"]
        assert reading.body_of("y") == b"other"
        assert _code(reading, "x") == "ServiceUnavailable"
        reading.alice.delete_object(Bucket="bucket", Key="x")
        assert bring(reading, "s3://source", read_through=True, **place)["difference_count"] == 0


def test_versions_and_markers_stand_above_what_was_registered(
    reading: Stage, registered: Any, theirs: Any, place: dict[str, Any]
) -> None:
    reading.alice.put_bucket_versioning(Bucket="bucket", VersioningConfiguration={"Status": "Enabled"})
    for key in ("kept", "deleted", "written"):
        theirs.put_object(Bucket="source", Key=key, Body=key.encode())
    registered(place)
    first = {one["Key"]: one["VersionId"] for one in reading.alice.list_object_versions(Bucket="bucket")["Versions"]}
    reading.alice.delete_object(Bucket="bucket", Key="deleted")
    reading.put("written", b"ours")
    assert reading.body_of("written", VersionId=first["written"]) == b"written"
    done = bring(reading, "s3://source", read_through=True, **place)
    assert (done["state"], done["moved"]) == ("done", 3)
    assert reading.keys() == ["kept", "written"]
    assert reading.body_of("written") == b"ours"
    for key in ("deleted", "written"):
        assert reading.body_of(key, VersionId=first[key]) == key.encode()


def test_a_bucket_is_closed_until_all_is_registered(
    reading: Stage, theirs: Any, place: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source that fails amid the registering leaves it closed, and the same command goes on."""
    for key in ("a", "b", "c"):
        theirs.put_object(Bucket="source", Key=key, Body=key.encode())
    real = BucketSource.look

    async def failing(self: Any, item: Any) -> Any:
        if item.object_key == b"b":
            raise Interrupted("the endpoint cannot be used")
        return await real(self, item)

    with monkeypatch.context() as held:
        held.setattr(BucketSource, "look", failing)
        answer = bring(reading, "s3://source", read_through=True, **{**place, "parallel": 1})
    assert (answer["state"], answer["phase"]) == ("stopped", "registering")
    assert answer["problem"].startswith("'b' cannot be registered")
    alice = reading.alice
    reading.alice.head_bucket(Bucket="bucket")
    alice.create_bucket(Bucket="other")
    asks: list[Callable[[], Any]] = [
        lambda: alice.list_objects_v2(Bucket="bucket"),
        lambda: alice.get_object(Bucket="bucket", Key="a"),
        lambda: alice.put_object(Bucket="bucket", Key="d", Body=b""),
        lambda: alice.delete_object(Bucket="bucket", Key="c"),
        lambda: alice.copy_object(Bucket="other", Key="a", CopySource="bucket/a"),
    ]
    for ask in asks:
        with pytest.raises(ClientError, match="ServiceUnavailable"):
            ask()
    with pytest.raises(ClientError, match="403"):
        reading.nobody.head_object(Bucket="bucket", Key="a")
    with pytest.raises(PlaceFailed, match="give --read-through"):
        bring(reading, "s3://source", **place)
    assert bring(reading, "s3://source", read_through=True, **place)["state"] == "done"
    assert {key: reading.body_of(key) for key in _told_keys(reading)} == {"a": b"a", "b": b"b", "c": b"c"}


@pytest.mark.parametrize("paused_at", ["look", "open"])
def test_who_stood_still_amid_the_registering_registers_and_opens_nothing_late(
    reading: Stage, theirs: Any, place: dict[str, Any], monkeypatch: pytest.MonkeyPatch, paused_at: str
) -> None:
    """Another gateway went on meanwhile, and a client deleted what was registered: it stays deleted."""
    bodies = {"empty": b"", "here": b"here", "gone": b"gone"}
    for key, body in bodies.items():
        theirs.put_object(Bucket="source", Key=key, Body=body)
    catalogue, alice = reading.services.catalogue, reading.alice
    pauses = {"look": (BucketSource, "look"), "open": (Closed, "open")}[paused_at]
    real, wake, stood = getattr(*pauses), asyncio.Event(), asyncio.Event()

    async def paused(self: Any, *given: Any) -> Any:
        answer = await real(self, *given) if paused_at == "look" else None
        stood.set()
        await wake.wait()
        return answer if paused_at == "look" else await real(self, *given)

    async def start(holder: str) -> Any:
        given = commands(reading, holder=holder)
        await given.start(kind="import", bucket="bucket", place="s3://source", read_through=True, **place)
        return given

    monkeypatch.setattr(jobs, "SAVE_EVERY_S", 1000.0)  # it stands still, so it renews no lease either
    with monkeypatch.context() as held:
        held.setattr(*pauses, paused)
        first = reading.run(start("one"))
        reading.run(stood.wait())
    reading.rig.clock.now += timedelta(seconds=61)
    assert reading.run(ended(reading.run(start("two"))))["state"] == "done"
    assert {key: reading.body_of(key) for key in _told_keys(reading)} == bodies
    for key in ("empty", "gone"):
        alice.delete_object(Bucket="bucket", Key=key)
    bucket = reading.run(catalogue.get_bucket("bucket"))
    reading.run(catalogue.put_configuration(bucket.bucket_id, REGISTERING, b"{}"))  # as by an import that begins anew
    wake.set()
    reading.run(ended(first))
    late = Progress.decode(reading.run(catalogue.get_configuration(bucket.bucket_id, IMPORT)))
    assert (late.state, late.holder) == (State.DONE, "two"), "what came late is not written over it"
    assert REGISTERING in reading.run(catalogue.get_bucket("bucket")).configurations
    reading.run(catalogue.put_configuration(bucket.bucket_id, REGISTERING, None))
    assert reading.keys() == ["here"]


def test_what_cannot_be_is_refused_and_leaves_the_bucket_open(
    reading: Stage, registered: Any, theirs: Any, place: dict[str, Any], tmp_path: Path
) -> None:
    theirs.put_object(Bucket="source", Key="a", Body=b"a")

    def refused(match: str, place_: str = "s3://source", **asked: Any) -> None:
        with pytest.raises(PlaceFailed, match=match):
            bring(reading, place_, read_through=True, **{**place, **asked})

    for name in ("versions", "update", "index", "read_back"):
        refused("takes a bucket", "s3://source", **{name: True})
    refused("takes a bucket", str(tmp_path))
    with pytest.raises(PlaceFailed, match="opaque"):
        reading.run(
            commands(reading, EtagMode.OPAQUE).start(
                kind="import", bucket="bucket", place="s3://source", read_through=True, **place
            )
        )
    reading.put("there", b"there")
    refused("begins with an empty one")
    assert reading.body_of("there") == b"there"
    reading.alice.delete_object(Bucket="bucket", Key="there")
    registered(place)
    refused("reads through to", "s3://another")
    refused("leave --restart out", restart=True)
    assert reading.body_of("a") == b"a"


@pytest.mark.parametrize("ca_file", [None, Path("/ca")])
def test_the_key_of_the_source_is_in_no_repr(ca_file: Path | None) -> None:
    key = AccessKey("AKID", "SECRET", "TOKEN")
    held = Registered("id", Endpoint("https://x", "b", "p/", "r", ca_file, None, ""), key, "account")
    assert Registered.decode(held.encode()) == held
    assert "SECRET" not in repr(held)
    assert "TOKEN" not in repr(held)


LIES = ["wrong-bytes", "short", "long", "cut", "changed", "error", "gone", "redirect"]


@pytest.mark.parametrize("lie", LIES)
def test_a_source_that_lies_gives_no_byte_of_it(
    reading: Stage, tmp_path: Path, lie: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registered state is that of the key `honest`; what comes for it then is a lie."""
    monkeypatch.setattr(jobs, "PAUSE_S", 0)
    with lying_server(tmp_path) as lying:
        _register_lie(reading, lying, lie)
        with pytest.raises(StorageUnavailable):
            reading.run(reading.rig.get(lie.encode()))
        with pytest.raises(StorageUnavailable):
            reading.run(reading.rig.get(lie.encode(), 3, 10))
        assert reading.run(reading.rig.get(b"honest")) == BODY


def _register_lie(stage: Stage, lying: Lying, key: str, bucket_name: str = "bucket") -> None:
    async def run() -> None:
        bucket = await stage.services.catalogue.get_bucket(bucket_name)
        stage.rig.bucket = bucket
        endpoint = Endpoint(lying.url, "source", "", "us-east-1", lying.ca_file, None, "")
        access_key = read_credentials(lying.credentials, "default")
        registered = Registered("id", endpoint, access_key, bucket.account_id.hex())
        await stage.services.catalogue.put_configuration(bucket.bucket_id, SOURCE, registered.encode())
        for name in (key, "honest", "large"):
            body = LARGE if name == "large" else BODY
            new = NewObject(name.encode(), replace(ObjectAttributes(), pending="id"), Conditions())
            etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
            await stage.services.objects.register(bucket, new, len(body), etag)

    stage.run(run())


def test_slow_readers_of_one_account_hold_up_no_other(reading: Stage, tmp_path: Path) -> None:
    """They are told to slow down once they hold their share, and only they; what was let go of can be had again."""
    through_ = ReadThrough(reading.services.catalogue, STREAMS, 50, 0.01, PATIENCE)
    reading.services.objects._through = through_
    reading.alice.create_bucket(Bucket="alices-other")
    reading.bob.create_bucket(Bucket="bobs")
    share = STREAMS // 2
    with lying_server(tmp_path) as lying:
        for name in ("bucket", "alices-other", "bobs"):
            _register_lie(reading, lying, "another", name)

        async def slow() -> list[OpenedSpan]:
            """Of both buckets of hers; they read the first piece and no more."""
            catalogue, objects = reading.services.catalogue, reading.services.objects
            found = [
                await objects.find(await catalogue.get_bucket(name), b"large") for name in ("bucket", "alices-other")
            ]
            return [await objects.open(found[number % 2], 0, len(LARGE)) for number in range(share)]

        async def let_go(held: list[OpenedSpan]) -> None:
            for span in held:
                await span.aclose()

        held = reading.run(slow())
        for name in ("bucket", "alices-other"):
            with pytest.raises(ClientError, match=r"SlowDown.*Too many objects are being read"):
                reading.alice.get_object(Bucket=name, Key="honest")
            assert reading.exchanges[-1].headers["retry-after"] == "1"
        for key, body in (("honest", BODY), ("large", LARGE)):
            assert reading.bob.get_object(Bucket="bobs", Key=key)["Body"].read() == body
        reading.run(let_go(held))
        for _ in range(STREAMS + 1):
            assert reading.body_of("large") == LARGE
    through_.close()


def test_who_has_all_of_a_small_object_holds_no_stream(reading: Stage, tmp_path: Path) -> None:
    with lying_server(tmp_path) as lying:
        _register_lie(reading, lying, "another")

        async def run() -> None:
            found = await reading.services.objects.find(reading.rig.bucket, b"honest")
            spans = [await reading.services.objects.open(found, 0, len(BODY)) for _ in range(2 * STREAMS)]
            for span in spans:
                assert b"".join([bytes(piece) async for piece in span]) == BODY

        reading.run(run())
