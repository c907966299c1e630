"""Lifecycle rules, notifications and access logs, attacked: documents, strangers, addresses of one's own."""

import base64
import hashlib
from typing import Final

import pytest

from tests.hostile.signing import Pairs, Shot, Signer
from tests.hostile.stage import Row, Stage, is_refusal

XML: Final = "MalformedXML"
ARGUMENT: Final = "InvalidArgument"
EXPIRE: Final = "<Expiration><Days>1</Days></Expiration>"
EVENTS: Final = "<Event>s3:ObjectCreated:*</Event>"


def put(
    what: str, document: str | bytes, *, who: str = "alice", bucket: str = "alice-1", headers: Pairs | None = None
) -> Row:
    body = document if isinstance(document, bytes) else document.encode()
    digest = [("Content-MD5", base64.b64encode(hashlib.md5(body).digest()).decode())]

    def make(stage: Stage) -> Shot:
        signer: Signer = getattr(stage, who)
        return signer.header("PUT", f"/{bucket}?{what}=", body, digest if headers is None else headers)

    return Row(make, 400, XML)


def rules(inner: str) -> str:
    return f"<LifecycleConfiguration>{inner}</LifecycleConfiguration>"


def rule(actions: str = EXPIRE, about: str = "<Prefix/>") -> str:
    return f"<Rule><ID>r</ID>{about}<Status>Enabled</Status>{actions}</Rule>"


def lifecycle(document: str | bytes, code: str = XML, status: int = 400) -> Row:
    row = put("lifecycle", document)
    return Row(row.make, status, code)


def notification(inner: str, code: str = XML, status: int = 400) -> Row:
    row = put("notification", f"<NotificationConfiguration>{inner}</NotificationConfiguration>")
    return Row(row.make, status, code)


def queue(arn: str, events: str = EVENTS) -> str:
    return f"<QueueConfiguration><Queue>{arn}</Queue>{events}</QueueConfiguration>"


def logging(document: str, code: str) -> Row:
    return Row(put("logging", document).make, 400, code)


def enabled(bucket: str, prefix: str = "") -> str:
    target = f"<TargetBucket>{bucket}</TargetBucket><TargetPrefix>{prefix}</TargetPrefix>"
    return f"<BucketLoggingStatus><LoggingEnabled>{target}</LoggingEnabled></BucketLoggingStatus>"


TARGET: Final = "InvalidTargetBucketForLogging"
ENTITY: Final = '<!DOCTYPE d [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
DEEP: Final = "<a>" * 100_000

ROWS: Final = {
    "lifecycle-entity": lifecycle(ENTITY + rules(rule(about="<Prefix>&a;</Prefix>"))),
    "lifecycle-deep": lifecycle(rules(DEEP)),
    "lifecycle-empty": lifecycle(b""),
    "lifecycle-no-rules": lifecycle(rules("")),
    "lifecycle-utf-16": lifecycle(rules(rule()).encode("utf-16")),
    "lifecycle-foreign-namespace": lifecycle(rules(rule()).replace("Configuration>", 'Configuration xmlns="x">', 1)),
    "lifecycle-1001-rules": lifecycle(rules(rule() * 1001)),
    "lifecycle-60000-rules": lifecycle(rules("<Rule/>" * 60_000)),
    "lifecycle-over-the-limit": lifecycle(rules("<Rule/>" * 100_000), "MaxMessageLengthExceeded"),
    "lifecycle-same-id": lifecycle(rules(rule() + rule(about="<Prefix>a</Prefix>")), ARGUMENT),
    "lifecycle-no-days": lifecycle(rules(rule("<Expiration/>"))),
    "lifecycle-zero-days": lifecycle(rules(rule("<Expiration><Days>0</Days></Expiration>")), ARGUMENT),
    "lifecycle-days-in-other-digits": lifecycle(rules(rule("<Expiration><Days>٣</Days></Expiration>"))),
    "lifecycle-days-of-5000-digits": lifecycle(rules(rule(f"<Expiration><Days>{'9' * 5000}</Days></Expiration>"))),
    "lifecycle-date-of-no-calendar": lifecycle(rules(rule("<Expiration><Date>2030-02-30</Date></Expiration>"))),
    "lifecycle-unknown-action": lifecycle(rules(rule(EXPIRE + "<DeleteEverything/>"))),
    "lifecycle-transition": lifecycle(rules(rule(EXPIRE + "<Transition/>")), "NotImplemented", 501),
    "lifecycle-without-a-digest": Row(put("lifecycle", rules(rule()), headers=()).make, 400, "InvalidRequest"),
    "lifecycle-of-a-stranger": Row(put("lifecycle", rules(rule()), who="mallory").make, 403, "AccessDenied"),
    "lifecycle-of-no-bucket": Row(put("lifecycle", rules(rule()), bucket="no-such").make, 404, "NoSuchBucket"),
    "lifecycle-read-by-a-stranger": Row(lambda s: s.mallory.header("GET", "/alice-1?lifecycle="), 403, "AccessDenied"),
    "lifecycle-dropped-by-a-stranger": Row(
        lambda s: s.mallory.header("DELETE", "/alice-1?lifecycle="), 403, "AccessDenied"
    ),
    "lifecycle-of-an-object": Row(
        lambda s: s.alice.header("PUT", "/alice-1/keep?lifecycle=", rules(rule()).encode()), 501, "NotImplemented"
    ),
    "notification-entity": Row(
        put("notification", ENTITY + "<NotificationConfiguration>&a;</NotificationConfiguration>").make, 400, XML
    ),
    "notification-deep": notification(DEEP),
    **{
        f"notification-to-{name}": notification(queue(arn), ARGUMENT)
        for name, arn in {
            "an-address": "https://169.254.169.254/latest/meta-data",
            "a-file": "file:///etc/passwd",
            "a-queue-of-aws": "arn:aws:sqs:us-east-1:123456789012:queue",
            "a-webhook-that-is-not-there": "arn:sealgate:webhook:::no-such",
            "a-path": "arn:sealgate:webhook:::../../x",
            "a-name-with-an-address": "arn:sealgate:webhook:::hook=https://127.0.0.1/",
            "nobody": "arn:sealgate:webhook:::",
        }.items()
    },
    "notification-without-events": notification(queue("arn:sealgate:webhook:::x", "")),
    "notification-unknown-event": notification(queue("arn:sealgate:webhook:::x", "<Event>s3:*</Event>"), ARGUMENT),
    "notification-101-lines": notification(queue("arn:sealgate:webhook:::x") * 101),
    "notification-event-bridge": notification("<EventBridgeConfiguration/>", "NotImplemented", 501),
    "logging-entity": logging(ENTITY + "<BucketLoggingStatus>&a;</BucketLoggingStatus>", XML),
    "logging-deep": logging(f"<BucketLoggingStatus>{DEEP}</BucketLoggingStatus>", XML),
    "logging-into-a-bucket-of-somebody-else": logging(enabled("mallory-1"), TARGET),
    "logging-into-no-bucket": logging(enabled("no-such-bucket"), TARGET),
    "logging-into-a-path": logging(enabled("../mallory-1"), TARGET),
    "logging-long-prefix": logging(enabled("alice-2", "x" * 801), ARGUMENT),
    "logging-grants": Row(
        put("logging", enabled("alice-2").replace("</LoggingEnabled>", "<TargetGrants/></LoggingEnabled>")).make,
        501,
        "NotImplemented",
    ),
    "logging-of-a-stranger": Row(put("logging", enabled("alice-2"), who="mallory").make, 403, "AccessDenied"),
    "logging-read-by-a-stranger": Row(lambda s: s.mallory.header("GET", "/alice-1?logging="), 403, "AccessDenied"),
    "notification-of-a-stranger": Row(
        put("notification", "<NotificationConfiguration/>", who="mallory").make, 403, "AccessDenied"
    ),
    "notification-read-by-a-stranger": Row(
        lambda s: s.mallory.header("GET", "/alice-1?notification="), 403, "AccessDenied"
    ),
    "notification-skip-in-words": Row(
        put(
            "notification", "<NotificationConfiguration/>", headers=[("x-amz-skip-destination-validation", "maybe")]
        ).make,
        400,
        ARGUMENT,
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_refused(stage: Stage, name: str) -> None:
    stage.refuses(ROWS[name])


def test_skipping_the_validation_does_not_make_a_destination(stage: Stage) -> None:
    row = put(
        "notification",
        f"<NotificationConfiguration>{queue('arn:sealgate:webhook:::no-such')}</NotificationConfiguration>",
        headers=[("x-amz-skip-destination-validation", "true")],
    )
    is_refusal(stage.send(row.make(stage)), 400, ARGUMENT)
    stage.unchanged()
