"""Event notifications as clients ask for them, and what is told of what they do."""

from datetime import timedelta
from typing import Any

import pytest

from gateway.engine.delivery import Delivery
from gateway.engine.webhooks import DeliveryFailed
from tests.gateway.operations.stage import Stage, refused, status_of
from tests.gateway.operations.test_posting import post

ARN, OTHER = "arn:sealgate:webhook:::hook", "arn:sealgate:webhook:::other"


def configure(stage: Stage, *queues: dict[str, Any], **more: Any) -> dict[str, Any]:
    result: dict[str, Any] = stage.alice.put_bucket_notification_configuration(
        Bucket="bucket", NotificationConfiguration={"QueueConfigurations": list(queues)}, **more
    )
    stage.hooks["hook"].sent.clear()
    return result


def queue(*events: str, arn: str = ARN, name: str = "q", **rules: str) -> dict[str, Any]:
    made: dict[str, Any] = {"Id": name, "QueueArn": arn, "Events": [f"s3:{event}" for event in events]}
    if rules:
        made["Filter"] = {"Key": {"FilterRules": [{"Name": n.title(), "Value": v} for n, v in rules.items()]}}
    return made


def deliver(stage: Stage, name: str = "hook") -> list[dict[str, Any]]:
    hook: Any = stage.hooks[name]
    hook.sent.clear()
    delivery = Delivery(
        holder="gateway",
        catalogue=stage.rig.catalogue,
        webhook=hook,
        clock=stage.rig.clock,
        patience=timedelta(days=1),
        count=lambda *_: None,
    )
    stage.run(delivery.run())
    return [record for message in hook.sent for record in message["Records"]]


def test_a_destination_that_somebody_else_is_trying_out(stage: Stage) -> None:
    stage.hooks["hook"].is_on_trial = True
    wanted = {"QueueConfigurations": [queue("ObjectCreated:*")]}
    put = stage.alice.put_bucket_notification_configuration
    refused(put, 503, "SlowDown", Bucket="bucket", NotificationConfiguration=wanted)
    put(Bucket="bucket", NotificationConfiguration=wanted, SkipDestinationValidation=True)


def test_a_configuration_comes_back_as_it_was_put(stage: Stage) -> None:
    empty = stage.alice.get_bucket_notification_configuration(Bucket="bucket")
    assert "QueueConfigurations" not in empty
    sent: dict[str, Any] = {
        "QueueConfigurations": [queue("ObjectCreated:*", prefix="a/", suffix=".jpg")],
        "TopicConfigurations": [{"Id": "t", "TopicArn": OTHER, "Events": ["s3:ObjectRemoved:Delete"]}],
        "LambdaFunctionConfigurations": [{"Id": "l", "LambdaFunctionArn": ARN, "Events": ["s3:LifecycleExpiration:*"]}],
    }
    stage.alice.put_bucket_notification_configuration(Bucket="bucket", NotificationConfiguration=sent)
    held = stage.alice.get_bucket_notification_configuration(Bucket="bucket")
    assert {name: held[name] for name in sent} == sent
    assert status_of(configure(stage)) == 200
    assert "QueueConfigurations" not in stage.alice.get_bucket_notification_configuration(Bucket="bucket")


def test_a_target_gets_a_test_event_and_must_take_it(stage: Stage) -> None:
    bad: Any = {"QueueConfigurations": [queue("ObjectCreated:*")]}
    call = stage.alice.put_bucket_notification_configuration
    stage.hooks["hook"].failure = DeliveryFailed("status 500")
    refused(call, 400, "InvalidArgument", Bucket="bucket", NotificationConfiguration=bad)
    assert "QueueConfigurations" not in stage.alice.get_bucket_notification_configuration(Bucket="bucket")
    call(Bucket="bucket", NotificationConfiguration=bad, SkipDestinationValidation=True)
    stage.hooks["hook"].failure = None
    call(Bucket="bucket", NotificationConfiguration=bad)
    (message,) = stage.hooks["hook"].sent
    assert {name: message[name] for name in ("Service", "Event", "Bucket")} == {
        "Service": "Amazon S3",
        "Event": "s3:TestEvent",
        "Bucket": "bucket",
    }
    bad = {"QueueConfigurations": [queue("ObjectCreated:*", arn="arn:sealgate:webhook:::no-such")]}
    for skip in (True, False):
        call_arguments: Any = {"NotificationConfiguration": bad, "SkipDestinationValidation": skip}
        refused(call, 400, "InvalidArgument", Bucket="bucket", **call_arguments)


def test_what_clients_do_is_told(stage: Stage) -> None:
    configure(stage, queue("ObjectCreated:*", "ObjectRemoved:*", prefix="in/"))
    stage.put("in/a b&ü", b"12345")
    stage.put("out/a")
    assert post(stage, b"form", "in/form").status == 204
    stage.alice.copy_object(Bucket="bucket", Key="in/copy", CopySource="bucket/in/form")
    upload = {"Bucket": "bucket", "Key": "in/parts"}
    upload["UploadId"] = stage.alice.create_multipart_upload(**upload)["UploadId"]
    etag = stage.alice.upload_part(**upload, PartNumber=1, Body=b"part")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    whole, _again = (stage.alice.complete_multipart_upload(**upload, MultipartUpload=parts) for _ in range(2))
    stage.alice.delete_object(Bucket="bucket", Key="in/copy")
    stage.alice.delete_object(Bucket="bucket", Key="in/copy")
    stage.alice.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": "in/form"}, {"Key": "out/a"}]})
    records = deliver(stage)
    assert [(r["eventName"], r["s3"]["object"]["key"]) for r in records] == [
        ("ObjectCreated:Put", "in/a+b%26%C3%BC"),
        ("ObjectCreated:Post", "in/form"),
        ("ObjectCreated:Copy", "in/copy"),
        ("ObjectCreated:CompleteMultipartUpload", "in/parts"),
        ("ObjectRemoved:Delete", "in/copy"),
        ("ObjectRemoved:Delete", "in/form"),
    ]
    sequencers = [r["s3"]["object"]["sequencer"] for r in records]
    assert sequencers == sorted(set(sequencers))
    assert records[3]["s3"]["object"]["eTag"] == whole["ETag"].strip('"')
    assert deliver(stage) == []


def test_the_form_of_a_message(stage: Stage) -> None:
    configure(stage, queue("ObjectCreated:Put", name="my line"))
    etag = stage.put("k", b"12345")["ETag"].strip('"')
    request_id = stage.last.headers["x-amz-request-id"]
    (record,) = deliver(stage)
    sequencer = record["s3"]["object"].pop("sequencer")
    assert int(sequencer, 16) > 0
    account = stage.rig.account.canonical_id
    now = stage.rig.clock()
    assert record == {
        "eventVersion": "2.3",
        "eventSource": "aws:s3",
        "awsRegion": "us-east-1",
        "eventTime": f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03}Z",
        "eventName": "ObjectCreated:Put",
        "userIdentity": {"principalId": account},
        "requestParameters": {"sourceIPAddress": "192.0.2.7"},
        "responseElements": {"x-amz-request-id": request_id, "x-amz-id-2": "sealgate"},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "my line",
            "bucket": {"name": "bucket", "ownerIdentity": {"principalId": account}, "arn": "arn:aws:s3:::bucket"},
            "object": {"key": "k", "size": 5, "eTag": etag},
        },
    }


def test_what_is_refused_is_not_told(stage: Stage) -> None:
    configure(stage, queue("ObjectCreated:*"))
    stage.put("k")
    refused(stage.alice.put_object, 412, "PreconditionFailed", Bucket="bucket", Key="k", Body=b"x", IfNoneMatch="*")
    refused(
        stage.alice.put_object,
        400,
        "BadDigest",
        Bucket="bucket",
        Key="k",
        Body=b"x",
        ContentMD5="1B2M2Y8AsgTpgAmY7PhCfg==",
    )
    assert len(deliver(stage)) == 1


def test_filters_and_targets_are_kept_apart(stage: Stage) -> None:
    configure(
        stage,
        queue("ObjectCreated:*", suffix=".jpg"),
        queue("ObjectCreated:*", name="r", arn=OTHER, suffix=".png"),
    )
    for key in ("a.jpg", "b.png", "c.gif"):
        stage.put(key)
    assert [r["s3"]["object"]["key"] for r in deliver(stage)] == ["a.jpg"]
    assert [r["s3"]["object"]["key"] for r in deliver(stage, "other")] == ["b.png"]


BAD: Any = [
    ([queue("ObjectCreated:Everything")], 400, "InvalidArgument"),
    ([queue("ObjectRestore:*")], 501, "NotImplemented"),
    ([queue("ObjectTagging:Put")], 501, "NotImplemented"),
    ([queue("ObjectCreated:*", arn="arn:aws:sqs:us-east-1:1:q")], 400, "InvalidArgument"),
    ([queue("ObjectCreated:*", arn="https://169.254.169.254/")], 400, "InvalidArgument"),
    ([queue("ObjectCreated:*"), queue("ObjectCreated:Put", name="r")], 400, "InvalidArgument"),
    ([queue("ObjectCreated:*"), queue("ObjectRemoved:*")], 400, "InvalidArgument"),
    (
        [queue("ObjectCreated:*", prefix="a"), queue("ObjectCreated:Put", name="r", prefix="ab", suffix=".jpg")],
        400,
        "InvalidArgument",
    ),
    ([queue("ObjectCreated:*", name="x" * 256)], 400, "InvalidArgument"),
    ([queue("ObjectCreated:*", prefix="x" * 1025)], 400, "InvalidArgument"),
    ([queue("ObjectCreated:*", infix="x")], 400, "InvalidArgument"),
    ([queue()], 400, "MalformedXML"),
]


@pytest.mark.parametrize(("queues", "status", "code"), BAD, ids=range(len(BAD)))
def test_what_cannot_be_asked_for(stage: Stage, queues: list[dict[str, Any]], status: int, code: str) -> None:
    refused(
        stage.alice.put_bucket_notification_configuration,
        status,
        code,
        Bucket="bucket",
        NotificationConfiguration={"QueueConfigurations": queues},
    )


def test_event_bridge_is_not_there(stage: Stage) -> None:
    bad: Any = {"EventBridgeConfiguration": {}}
    call = stage.alice.put_bucket_notification_configuration
    refused(call, 501, "NotImplemented", Bucket="bucket", NotificationConfiguration=bad)


def test_lines_that_never_meet_may_share_an_event(stage: Stage) -> None:
    configure(
        stage,
        queue("ObjectCreated:*", prefix="a/"),
        queue("ObjectCreated:*", name="r", prefix="b/"),
        queue("ObjectRemoved:*", name="s"),
    )


def test_a_target_that_the_settings_no_longer_name_is_passed(stage: Stage) -> None:
    configure(stage, queue("ObjectCreated:*"))
    stage.services.announcements.targets = frozenset({"other"})
    stage.put("k")
    stage.services.announcements.targets = frozenset({"hook", "other"})
    assert deliver(stage) == []
