"""Lifecycle rules as clients put them, and what answers tell of them; the runner has a suite of its own."""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from gateway.engine.lifecycle import LifecycleRunner
from tests.gateway.operations.stage import Stage, headers_of, refused, status_of

RULE: dict[str, Any] = {
    "ID": "a rule & more",
    "Filter": {"Prefix": "tmp/"},
    "Status": "Enabled",
    "Expiration": {"Days": 30},
    "NoncurrentVersionExpiration": {"NoncurrentDays": 7, "NewerNoncurrentVersions": 3},
    "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 2},
}


def put(stage: Stage, *rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    result: dict[str, Any] = stage.alice.put_bucket_lifecycle_configuration(
        Bucket="bucket", LifecycleConfiguration={"Rules": list(rules)}, **more
    )
    return result


def midnight_after(moment: datetime, days: int) -> datetime:
    day = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return day + timedelta(days=days + 1)


def test_rules_have_an_end(stage: Stage) -> None:
    """Each GET of an object asks them when it expires: 1.9 MB of them were 0.15 s, every time."""
    rules = [RULE | {"ID": f"{n}", "Filter": {"Prefix": f"{n}/{'p' * 1000}"}} for n in range(450)]
    wanted = {"Bucket": "bucket", "LifecycleConfiguration": {"Rules": rules}}
    refused(stage.alice.put_bucket_lifecycle_configuration, 400, "MaxMessageLengthExceeded", **wanted)
    put(stage, *rules[:300])


def test_rules_come_back_as_they_were_put(stage: Stage) -> None:
    refused(stage.alice.get_bucket_lifecycle_configuration, 404, "NoSuchLifecycleConfiguration", Bucket="bucket")
    tags = [{"Key": "k", "Value": "v"}, {"Key": "l", "Value": ""}]
    rules = [
        RULE,
        {"ID": "s", "Filter": {"And": {"Prefix": "x", "Tags": tags}}, "Status": "Disabled", "Expiration": {"Days": 1}},
        {"ID": "t", "Filter": {"ObjectSizeLessThan": 5}, "Status": "Enabled", "Expiration": {"Days": 1}},
        {"ID": "u", "Prefix": "old", "Status": "Enabled", "Expiration": {"ExpiredObjectDeleteMarker": True}},
    ]
    assert headers_of(put(stage, *rules))["x-amz-transition-default-minimum-object-size"] == "all_storage_classes_128K"
    held = stage.alice.get_bucket_lifecycle_configuration(Bucket="bucket")
    assert held["Rules"] == rules
    assert held["TransitionDefaultMinimumObjectSize"] == "all_storage_classes_128K"
    put(stage, rules[1], TransitionDefaultMinimumObjectSize="varies_by_storage_class")
    held = stage.alice.get_bucket_lifecycle_configuration(Bucket="bucket")
    assert held["Rules"] == [rules[1]]
    assert held["TransitionDefaultMinimumObjectSize"] == "varies_by_storage_class"
    for _ in range(2):
        assert status_of(stage.alice.delete_bucket_lifecycle(Bucket="bucket")) == 204
    refused(stage.alice.get_bucket_lifecycle_configuration, 404, "NoSuchLifecycleConfiguration", Bucket="bucket")


def test_a_rule_without_an_id_gets_one_and_keeps_it(stage: Stage) -> None:
    put(stage, {name: value for name, value in RULE.items() if name != "ID"})
    first, second = (stage.alice.get_bucket_lifecycle_configuration(Bucket="bucket")["Rules"][0]["ID"] for _ in "12")
    assert first == second
    assert len(first) == 48


def test_a_refused_document_leaves_the_rules_that_were_there(stage: Stage) -> None:
    put(stage, RULE)
    bad: Any = {"Bucket": "bucket", "LifecycleConfiguration": {"Rules": [RULE, RULE]}}
    refused(stage.alice.put_bucket_lifecycle_configuration, 400, "InvalidArgument", **bad)
    transition = RULE | {"Transitions": [{"Days": 1, "StorageClass": "GLACIER"}]}
    bad["LifecycleConfiguration"] = {"Rules": [transition]}
    refused(stage.alice.put_bucket_lifecycle_configuration, 501, "NotImplemented", **bad)
    assert stage.alice.get_bucket_lifecycle_configuration(Bucket="bucket")["Rules"] == [RULE]


def test_a_digest_of_the_document_is_needed(stage: Stage) -> None:
    answer = stage.raw("PUT", "/bucket?lifecycle", {}, b"<LifecycleConfiguration/>")
    assert (answer.status, b"Content-MD5" in answer.body) == (400, True)


def test_what_is_no_minimum_size_is_refused(stage: Stage) -> None:
    bad: Any = {"LifecycleConfiguration": {"Rules": [RULE]}, "TransitionDefaultMinimumObjectSize": "128K"}
    refused(stage.alice.put_bucket_lifecycle_configuration, 400, "InvalidArgument", Bucket="bucket", **bad)


def test_answers_about_objects_tell_when_they_expire(stage: Stage) -> None:
    put(stage, RULE)
    written = stage.put("tmp/k")
    due = midnight_after(stage.rig.clock(), 30)
    expected = f'expiry-date="{due:%a, %d %b %Y} 00:00:00 GMT", rule-id="a%20rule%20%26%20more"'
    assert written["Expiration"] == expected
    assert stage.alice.head_object(Bucket="bucket", Key="tmp/k")["Expiration"] == expected
    assert stage.alice.get_object(Bucket="bucket", Key="tmp/k")["Expiration"] == expected
    copied = stage.alice.copy_object(Bucket="bucket", Key="tmp/c", CopySource="bucket/tmp/k")
    assert copied["Expiration"] == expected
    for result in (
        stage.put("k"),
        stage.alice.head_object(Bucket="bucket", Key="k"),
        stage.alice.copy_object(Bucket="bucket", Key="c", CopySource="bucket/tmp/k"),
    ):
        assert "Expiration" not in result
    stage.alice.delete_bucket_lifecycle(Bucket="bucket")
    assert "Expiration" not in stage.alice.head_object(Bucket="bucket", Key="tmp/k")


def test_answers_about_uploads_tell_when_they_are_aborted(stage: Stage) -> None:
    put(stage, RULE)
    made = stage.alice.create_multipart_upload(Bucket="bucket", Key="tmp/k")
    due = midnight_after(stage.rig.clock(), 2)
    assert (made["AbortDate"], made["AbortRuleId"]) == (due, "a%20rule%20%26%20more")
    names = {"Bucket": "bucket", "Key": "tmp/k", "UploadId": made["UploadId"]}
    listed = stage.alice.list_parts(**names)
    assert (listed["AbortDate"], listed["AbortRuleId"]) == (due, "a%20rule%20%26%20more")
    etag = stage.alice.upload_part(**names, PartNumber=1, Body=b"x")["ETag"]
    done = stage.alice.complete_multipart_upload(**names, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
    assert parsedate_to_datetime(done["Expiration"].split('"')[1]) == midnight_after(stage.rig.clock(), 30)
    other = stage.alice.create_multipart_upload(Bucket="bucket", Key="k")
    assert "AbortDate" not in other


def test_rules_are_carried_out(stage: Stage) -> None:
    put(stage, RULE)
    for key in ("tmp/a", "tmp/b", "keep"):
        stage.put(key)
    runner = LifecycleRunner(
        catalogue=stage.rig.catalogue,
        lifecycles=stage.services.lifecycles,
        announcements=stage.services.announcements,
        holder="me",
        clock=stage.rig.clock,
    )
    assert stage.run(runner.run()).expired_count == 0
    stage.rig.clock.now += timedelta(days=32)
    assert stage.run(runner.run()).expired_count == 2
    assert stage.keys() == ["keep"]


@pytest.mark.parametrize("days", [0, -1])
def test_days_are_positive(stage: Stage, days: int) -> None:
    bad = RULE | {"Expiration": {"Days": days}}
    refused(
        stage.alice.put_bucket_lifecycle_configuration,
        400,
        "InvalidArgument",
        Bucket="bucket",
        LifecycleConfiguration={"Rules": [bad]},
    )


def test_rules_go_with_their_bucket(stage: Stage) -> None:
    put(stage, RULE)
    stage.alice.delete_bucket(Bucket="bucket")
    stage.alice.create_bucket(Bucket="bucket")
    refused(stage.alice.get_bucket_lifecycle_configuration, 404, "NoSuchLifecycleConfiguration", Bucket="bucket")
