"""Server access logs: asked for by clients, gathered while they work, written as objects that only the owner has."""

from typing import Any

import pytest

from gateway.engine import access_log as module
from storage.errors import StorageUnavailable
from tests.gateway.operations.stage import Stage, refused


def enable(stage: Stage, target: str = "logs", prefix: str = "l/", **more: Any) -> None:
    stage.alice.put_bucket_logging(
        Bucket="bucket",
        BucketLoggingStatus={"LoggingEnabled": {"TargetBucket": target, "TargetPrefix": prefix, **more}},
    )


def lines(stage: Stage, bucket: str = "logs") -> list[str]:
    """Write what waits, and read every log object."""
    stage.run(stage.services.access_logs.write())
    found = stage.alice.list_objects_v2(Bucket=bucket).get("Contents", [])
    bodies = [stage.alice.get_object(Bucket=bucket, Key=one["Key"])["Body"].read().decode() for one in found]
    return [line for body in bodies for line in body.splitlines()]


def test_a_configuration_comes_back_as_it_was_put(stage: Stage) -> None:
    stage.alice.create_bucket(Bucket="logs")
    assert "LoggingEnabled" not in stage.alice.get_bucket_logging(Bucket="bucket")
    key_format = {"PartitionedPrefix": {"PartitionDateSource": "DeliveryTime"}}
    enable(stage, TargetObjectKeyFormat=key_format)
    assert stage.alice.get_bucket_logging(Bucket="bucket")["LoggingEnabled"] == {
        "TargetBucket": "logs",
        "TargetPrefix": "l/",
        "TargetObjectKeyFormat": key_format,
    }
    stage.alice.put_bucket_logging(Bucket="bucket", BucketLoggingStatus={})
    assert "LoggingEnabled" not in stage.alice.get_bucket_logging(Bucket="bucket")


def test_the_target_is_a_bucket_of_the_same_owner(stage: Stage) -> None:
    stage.bob.create_bucket(Bucket="bobs")
    for target in ("no-such", "bobs"):
        status: Any = {"LoggingEnabled": {"TargetBucket": target, "TargetPrefix": ""}}
        refused(
            stage.alice.put_bucket_logging,
            400,
            "InvalidTargetBucketForLogging",
            Bucket="bucket",
            BucketLoggingStatus=status,
        )
    assert "LoggingEnabled" not in stage.alice.get_bucket_logging(Bucket="bucket")


def test_what_is_done_with_a_bucket_stands_in_its_log(stage: Stage) -> None:
    stage.alice.create_bucket(Bucket="logs")
    stage.put("before")
    enable(stage)
    stage.put("k", b"12345")
    stage.body_of("k")
    refused(stage.bob.get_object, 403, "AccessDenied", Bucket="bucket", Key="k")
    refused(stage.nobody.get_object, 403, "AccessDenied", Bucket="bucket", Key="k")
    refused(stage.alice.get_object, 404, "NoSuchKey", Bucket="bucket", Key="none")
    stage.alice.list_buckets()
    told = lines(stage)
    shown = [(line.split()[7], *line.split('" ')[1].split()[:2]) for line in told]
    assert [one for one in shown if one[0].endswith("OBJECT")] == [
        ("REST.PUT.OBJECT", "200", "-"),
        ("REST.GET.OBJECT", "200", "-"),
        ("REST.GET.OBJECT", "403", "AccessDenied"),
        ("REST.GET.OBJECT", "403", "AccessDenied"),
        ("REST.GET.OBJECT", "404", "NoSuchKey"),
    ]
    put = next(line for line in told if "REST.PUT.OBJECT" in line)
    account = stage.rig.account.canonical_id
    assert put.startswith(f"{account} bucket [")
    assert f" 192.0.2.7 {account} " in put
    assert ' k "PUT /bucket/k HTTP/1.1" 200 - - 5 ' in put
    assert lines(stage) == told, "each line is written once"


def test_nothing_is_gathered_of_other_buckets(stage: Stage) -> None:
    stage.alice.create_bucket(Bucket="logs")
    enable(stage)
    lines(stage)
    before = len(lines(stage))
    stage.alice.create_bucket(Bucket="other")
    stage.alice.put_object(Bucket="other", Key="k", Body=b"x")
    assert len(lines(stage)) == before
    stage.alice.put_bucket_logging(Bucket="bucket", BucketLoggingStatus={})
    stage.put("k")
    assert all("PUT /bucket/k " not in line for line in lines(stage))


def test_a_target_that_went_to_somebody_else_gets_nothing(stage: Stage) -> None:
    stage.alice.create_bucket(Bucket="logs")
    enable(stage)
    stage.alice.delete_bucket(Bucket="logs")
    stage.bob.create_bucket(Bucket="logs")
    stage.put("k")
    stage.run(stage.services.access_logs.write())
    assert stage.bob.list_objects_v2(Bucket="logs")["KeyCount"] == 0
    assert stage.services.access_logs.lost_count > 0


def test_what_waits_is_limited(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING_BYTES", 1000)
    stage.alice.create_bucket(Bucket="logs")
    enable(stage)
    for number in range(10):
        stage.put(f"{number}")
    assert stage.services.access_logs.lost_count >= 7
    assert 0 < len(lines(stage)) <= 4
    stage.put("again")
    assert any("/bucket/again " in line for line in lines(stage))


def test_one_account_cannot_silence_the_log_of_another(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that are refused stand in a log too, so that anybody could fill what all logs shared."""
    monkeypatch.setattr(module, "MAX_WAITING_BYTES", 20_000)
    monkeypatch.setattr(module, "MAX_ACCOUNT_BYTES", 10_000)
    for name in ("logs", "other"):
        stage.alice.create_bucket(Bucket=name)
    enable(stage)
    stage.bob.create_bucket(Bucket="bobs")
    status: Any = {"LoggingEnabled": {"TargetBucket": "bobs", "TargetPrefix": "l/"}}
    stage.bob.put_bucket_logging(Bucket="bobs", BucketLoggingStatus=status)
    for _ in range(10):
        refused(stage.nobody.head_object, 403, "403", Bucket="bobs", Key="k" * 1000)
    lost = stage.services.access_logs.lost_count
    assert lost > 0
    stage.put("k")
    assert stage.services.access_logs.lost_count == lost
    assert any("PUT /bucket/k " in line for line in lines(stage))


def test_much_is_written_without_waiting_for_its_turn(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EARLY_BYTES", 2000)
    stage.alice.create_bucket(Bucket="logs")
    enable(stage)
    logs = stage.services.access_logs
    stage.put("k")
    assert stage.run(logs.write_early()) == 0
    for number in range(6):
        stage.put(f"{number}")
    assert stage.run(logs.write_early()) == 1
    assert stage.alice.list_objects_v2(Bucket="logs")["KeyCount"] == 1

    async def refuse(*_: Any) -> Any:
        raise StorageUnavailable("not now")

    for number in range(6):
        stage.put(f"{number}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage.rig.catalogue, "publish_version", refuse)
        with pytest.raises(StorageUnavailable):
            stage.run(logs.write_early())
        assert stage.run(logs.write_early()) == 0, "it is not tried again and again"
    assert stage.run(logs.write()) == 1
    assert logs.lost_count == 0


def test_lines_that_cannot_be_written_are_kept_by_whoever_looks_up_the_buckets_meanwhile(stage: Stage) -> None:
    stage.alice.create_bucket(Bucket="logs")
    enable(stage)
    stage.put("k")
    logs = stage.services.access_logs

    async def refuse(*_: Any) -> Any:
        await logs.refresh()
        raise StorageUnavailable("not now")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage.rig.catalogue, "publish_version", refuse)
        with pytest.raises(StorageUnavailable):
            stage.run(logs.write())
    assert len([line for line in lines(stage) if "PUT /bucket/k " in line]) == 1


def test_a_bucket_that_logs_into_itself_does_not_run_away(stage: Stage) -> None:
    enable(stage, target="bucket")
    stage.put("k")
    for _ in range(3):
        stage.run(stage.services.access_logs.write())
    held = stage.keys()
    assert len([key for key in held if key.startswith("l/")]) == 1


def test_lines_wait_while_they_cannot_be_written(stage: Stage) -> None:
    stage.alice.create_bucket(Bucket="logs")
    enable(stage)
    stage.put("k")

    async def refuse(*_: Any) -> Any:
        raise StorageUnavailable("not now")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage.rig.catalogue, "publish_version", refuse)
        with pytest.raises(StorageUnavailable):
            stage.run(stage.services.access_logs.write())
    told = lines(stage)
    assert len([line for line in told if "PUT /bucket/k " in line]) == 1
    assert stage.services.access_logs.lost_count == 0


def test_a_refresh_keeps_what_waits_and_forgets_buckets_that_went(stage: Stage) -> None:
    stage.alice.create_bucket(Bucket="logs")
    enable(stage)
    stage.put("k")
    stage.run(stage.services.access_logs.refresh())
    assert any("/bucket/k " in line for line in lines(stage))
    stage.alice.delete_object(Bucket="bucket", Key="k")
    stage.alice.delete_bucket(Bucket="bucket")
    stage.run(stage.services.access_logs.refresh())
    assert stage.services.access_logs._sources == {}


def test_only_its_own_bucket_is_looked_up_when_a_log_is_set(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never() -> list[object]:
        raise AssertionError("the accounts are gone through")

    monkeypatch.setattr(stage.rig.catalogue, "list_accounts", never)
    stage.alice.create_bucket(Bucket="logs")
    on = {"LoggingEnabled": {"TargetBucket": "logs", "TargetPrefix": ""}}
    for name in ("bucket", "logs"):
        stage.alice.put_bucket_logging(Bucket=name, BucketLoggingStatus=on)
    stage.put("k")
    assert stage.run(stage.services.access_logs.write()) == 2
    stage.alice.put_bucket_logging(Bucket="bucket", BucketLoggingStatus={})
    stage.put("k")
    assert stage.run(stage.services.access_logs.write()) == 0
