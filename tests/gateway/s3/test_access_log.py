import re
from datetime import UTC, datetime

import pytest

from gateway.s3.access_log import (
    MAX_FIELD_BYTES,
    Access,
    KeyFormat,
    LoggingTarget,
    log_key,
    log_line,
    logging_node,
    operation_of,
    read_logging,
)
from gateway.s3.errors import S3Error
from gateway.s3.request import Headers, Request

AT = datetime(2026, 2, 6, 0, 0, 38, tzinfo=UTC)
FIELDS = re.compile(r'\[[^\]]*\]|"[^"]*"|\S+')
"""As log readers split a line (AWS: "Query server access logs", the expression for Athena)."""


def asked(method: str = "GET", path: bytes = b"/bucket/k", query: bytes = b"", **headers: str) -> Request:
    items = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    return Request(method, path, query, Headers(items), "3E57427F3EXAMPLE", AT, "192.0.2.3", "TLSv1.3")


def access(**changes: object) -> Access:
    made: dict[str, object] = {
        "bucket_owner_id": "owner",
        "bucket_name": "bucket",
        "at": AT,
        "requester_id": "requester",
        "operation": "GetObject",
        "object_key": b"k",
        "status": 200,
        "error_code": "",
        "bytes_sent": 113,
        "object_size": None,
        "total_ms": 7,
    }
    return Access(**(made | changes))  # type: ignore[arg-type]  # names of fields that there are


def fields(request: Request, told: Access) -> list[str]:
    line = log_line(told, request)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    return FIELDS.findall(line.decode("ascii"))


def test_the_fields_in_aws_s_order() -> None:
    request = asked(
        user_agent="S3Console/0.4", referer="http://a/b", host="s3.localhost", authorization="AWS4-HMAC-SHA256 x"
    )
    assert fields(request, access()) == [
        *("owner", "bucket", "[06/Feb/2026:00:00:38 +0000]", "192.0.2.3", "requester", "3E57427F3EXAMPLE"),
        *("REST.GET.OBJECT", "k", '"GET /bucket/k HTTP/1.1"', "200", "-", "113", "-", "7", "-"),
        *('"http://a/b"', '"S3Console/0.4"', "-", "sealgate", "SigV4", "-", "AuthHeader", "s3.localhost", "TLSv1.3"),
        *("-", "-"),
    ]


def test_what_is_not_known_is_a_hyphen() -> None:
    told = fields(
        asked(path=b"/bucket"), access(requester_id="", object_key=None, bytes_sent=0, error_code="AccessDenied")
    )
    assert told[4] == "-"
    assert told[7] == "-"
    assert told[10:12] == ["AccessDenied", "-"]
    assert told[15:17] == ['"-"', '"-"']
    assert told[19:22] == ["-", "-", "-"]


@pytest.mark.parametrize(
    ("query", "version", "form"),
    [
        (b"X-Amz-Signature=abc", "SigV4", "QueryString"),
        (b"AWSAccessKeyId=a&Signature=abc", "SigV2", "QueryString"),
        (b"", "-", "PostForm"),
    ],
)
def test_how_a_request_was_signed(query: bytes, version: str, form: str) -> None:
    told = fields(asked(query=query), access())
    assert (told[19], told[21]) == (version, form)


@pytest.mark.parametrize(
    "query",
    [
        b"X-Amz-Signature=SECRET",
        b"a=b&x-amz-signature=SECRET&c=d",
        b"Signature=SECRET&AWSAccessKeyId=a",
        b"X-Amz-%53ignature=SECRET",
        b"X-Amz-Security-Token=SECRET",
        b"x-amz-server-side-encryption-customer-key=SECRET",
        b"x-amz-server-side-encryption-customer-key-MD5=SECRET",
        b"x-amz-copy-source-server-side-encryption-customer-key=SECRET",
        b"x-amz-copy-source-server-side-encryption-customer-key-md5=SECRET",
        b"%58-Amz-Signature=SECRET%3D%26",
    ],
)
def test_no_signature_stands_in_a_line(query: bytes) -> None:
    line = log_line(access(), asked(query=query, referer=f"https://s3.localhost/b/k?{query.decode()}"))
    assert b"SECRET" not in line
    assert b"REDACTED" in line


@pytest.mark.parametrize("text", ['"', "\r\nforged line", "\x00", '" 200 - "', "a\tb", "é\xff", "\\"])
def test_nothing_that_a_client_sends_ends_a_line_or_a_field(text: str) -> None:
    request = asked(
        path=b"/bucket/" + text.encode("latin-1"), user_agent=text, referer=text, host=text.replace(" ", "")
    )
    told = fields(request, access(object_key=text.encode()))
    assert len(told) == 26


def test_fields_have_a_limit() -> None:
    line = log_line(access(), asked(user_agent="x" * 10_000, referer="y" * 10_000, query=b"z" * 10_000))
    assert len(line) < 5 * MAX_FIELD_BYTES


@pytest.mark.parametrize(
    ("operation", "method", "key", "shown"),
    [
        ("PutObject", "PUT", b"k", "REST.PUT.OBJECT"),
        ("PostObject", "POST", b"k", "REST.POST.OBJECT"),
        ("CopyObject", "PUT", b"k", "REST.COPY.OBJECT"),
        ("ListObjectsV2", "GET", None, "REST.GET.BUCKET"),
        ("CreateBucket", "PUT", None, "REST.PUT.BUCKET"),
        ("DeleteBucket", "DELETE", None, "REST.DELETE.BUCKET"),
        ("GetObjectTagging", "GET", b"k", "REST.GET.OBJECT_TAGGING"),
        ("GetBucketVersioning", "GET", None, "REST.GET.VERSIONING"),
        ("PutBucketLifecycleConfiguration", "PUT", None, "REST.PUT.LIFECYCLE"),
        ("GetBucketLogging", "GET", None, "REST.GET.LOGGING_STATUS"),
        ("UploadPart", "PUT", b"k", "REST.PUT.PART"),
        ("CompleteMultipartUpload", "POST", b"k", "REST.POST.UPLOAD"),
        ("DeleteObjects", "POST", None, "REST.POST.MULTI_OBJECT_DELETE"),
        ("", "GET", b"k", "REST.GET.OBJECT"),
    ],
)
def test_operations(operation: str, method: str, key: bytes | None, shown: str) -> None:
    assert operation_of(access(operation=operation, object_key=key), method) == shown


def document(inner: str) -> bytes:
    return f"<BucketLoggingStatus>{inner}</BucketLoggingStatus>".encode()


def enabled(more: str = "", bucket: str = "logs", prefix: str = "a/") -> str:
    target = f"<TargetBucket>{bucket}</TargetBucket><TargetPrefix>{prefix}</TargetPrefix>"
    return f"<LoggingEnabled>{target}{more}</LoggingEnabled>"


def key_format(inner: str) -> str:
    return f"<TargetObjectKeyFormat>{inner}</TargetObjectKeyFormat>"


@pytest.mark.parametrize(
    ("inner", "target"),
    [
        ("", None),
        (enabled(), LoggingTarget("logs", "a/")),
        (enabled(key_format("<SimplePrefix/>")), LoggingTarget("logs", "a/", KeyFormat.SIMPLE, True)),
        (
            enabled(
                key_format(
                    "<PartitionedPrefix><PartitionDateSource>EventTime</PartitionDateSource></PartitionedPrefix>"
                )
            ),
            LoggingTarget("logs", "a/", KeyFormat.BY_EVENT_TIME, True),
        ),
    ],
)
def test_what_is_read_is_written_back(inner: str, target: LoggingTarget | None) -> None:
    assert read_logging(document(inner)) == target
    assert read_logging(logging_node(target).document()) == target


@pytest.mark.parametrize(
    ("inner", "code"),
    [
        ("<LoggingEnabled/>", "MalformedXML"),
        (enabled("<More/>"), "MalformedXML"),
        (enabled(key_format("")), "MalformedXML"),
        (enabled(key_format("<SimplePrefix/><PartitionedPrefix/>")), "MalformedXML"),
        (enabled(key_format("<PartitionedPrefix/>")), "MalformedXML"),
        (enabled("<TargetGrants/>"), "NotImplemented"),
        (enabled(prefix="x" * 801), "InvalidArgument"),
        (enabled(prefix="../"), "InvalidArgument"),
        (enabled(prefix="a/./b"), "InvalidArgument"),
    ],
)
def test_what_cannot_stand(inner: str, code: str) -> None:
    with pytest.raises(S3Error) as caught:
        read_logging(document(inner))
    assert caught.value.row.code == code


def test_the_names_of_log_objects() -> None:
    simple = log_key(LoggingTarget("logs", "a/"), "id", "us-east-1", "bucket", AT, "UNIQUE")
    assert simple == b"a/2026-02-06-00-00-38-UNIQUE"
    target = LoggingTarget("logs", "a/", KeyFormat.BY_DELIVERY_TIME)
    assert log_key(target, "id", "us-east-1", "bucket", AT, "UNIQUE") == (
        b"a/id/us-east-1/bucket/2026/02/06/2026-02-06-00-00-38-UNIQUE"
    )
