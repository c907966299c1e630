"""boto3 goes round: what it sends becomes an Input, what it hears was an Output. Service, buckets, objects, errors."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from gateway.s3 import bucket_types, errors, types, version_types
from gateway.s3.access_log import KeyFormat, LoggingTarget
from gateway.s3.errors import S3Error
from gateway.s3.lifecycle import Filter, Lifecycle, Rule
from gateway.s3.notifications import Configuration, Destination, Notifications
from gateway.s3.parsing.support import ONLY_INERT, SERVED
from gateway.s3.request import Headers, Request
from gateway.s3.routing import ROUTES
from gateway.s3.types import ChecksumAlgorithm, ObjectHeaders
from tests.gateway.s3.loop import BODY, COMPOSITE, CRC, MODIFIED, ODD, OWNER, SECOND, Loop
from tests.gateway.s3.wire import NOW, snake, understand

ID, OLD_ID = "0123456789abcdef" * 2, "null"


@pytest.fixture(scope="module")
def loop() -> Loop:
    return Loop()


def test_list_buckets(loop: Loop) -> None:
    entries = (bucket_types.BucketEntry("one", MODIFIED), bucket_types.BucketEntry("two", MODIFIED))
    result = loop(
        "list_buckets", bucket_types.ListBucketsOutput(entries, OWNER, "eu-west-1", "p", "t"), MaxBuckets=5, Prefix="p"
    )
    assert loop.seen == bucket_types.ListBucketsInput(max_buckets=5, prefix="p")
    assert result == {
        "Buckets": [{"Name": name, "CreationDate": SECOND, "BucketRegion": "eu-west-1"} for name in ("one", "two")],
        "Owner": {"DisplayName": "alice & bob", "ID": "0123"},
        "Prefix": "p",
        "ContinuationToken": "t",
        "status": 200,
    }


def test_list_no_buckets(loop: Loop) -> None:
    result = loop("list_buckets", bucket_types.ListBucketsOutput((), OWNER, "us-east-1"))
    assert result["Buckets"] == []
    assert "Prefix" not in result


def test_buckets(loop: Loop) -> None:
    result = loop(
        "create_bucket",
        bucket_types.CreateBucketOutput("bucket"),
        Bucket="bucket",
        CreateBucketConfiguration={"LocationConstraint": "eu-west-1"},
    )
    assert loop.seen == bucket_types.CreateBucketInput("bucket", "eu-west-1")
    assert result == {"Location": "/bucket", "status": 200}
    loop("create_bucket", bucket_types.CreateBucketOutput("bucket"), Bucket="bucket")
    assert loop.seen == bucket_types.CreateBucketInput("bucket")
    result = loop("head_bucket", bucket_types.HeadBucketOutput("eu-west-1"), Bucket="bucket")
    assert result == {"BucketRegion": "eu-west-1", "status": 200}
    assert loop("delete_bucket", types.EmptyOutput(), Bucket="bucket") == {"status": 204}
    assert loop.seen == types.BucketInput("bucket")


@pytest.mark.parametrize(("region", "constraint"), [("us-east-1", None), ("eu-west-1", "eu-west-1")])
def test_bucket_location(loop: Loop, region: str, constraint: str | None) -> None:
    result = loop("get_bucket_location", bucket_types.GetBucketLocationOutput(region), Bucket="bucket")
    assert result["LocationConstraint"] == constraint


def test_bucket_configuration(loop: Loop) -> None:
    result = loop(
        "get_bucket_encryption",
        bucket_types.GetBucketEncryptionOutput(types.BucketEncryption(bucket_key_enabled=True)),
        Bucket="bucket",
    )
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": True}
    assert result["ServerSideEncryptionConfiguration"] == {"Rules": [rule]}
    by_default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "alias/mine"}
    blocked = {"EncryptionType": ["SSE-C"]}
    rule = {
        "ApplyServerSideEncryptionByDefault": by_default,
        "BucketKeyEnabled": True,
        "BlockedEncryptionTypes": blocked,
    }
    encryption = types.BucketEncryption("aws:kms", "alias/mine", bucket_key_enabled=True, blocked_types=("SSE-C",))
    configuration = {"Bucket": "bucket", "ServerSideEncryptionConfiguration": {"Rules": [rule]}}
    assert loop("put_bucket_encryption", types.EmptyOutput(), **configuration) == {"status": 200}
    assert loop.seen == bucket_types.PutBucketEncryptionInput("bucket", encryption)
    result = loop("get_bucket_encryption", bucket_types.GetBucketEncryptionOutput(encryption), Bucket="bucket")
    assert result["ServerSideEncryptionConfiguration"] == {"Rules": [rule]}
    assert loop("delete_bucket_encryption", types.EmptyOutput(), Bucket="bucket") == {"status": 204}
    assert "Status" not in loop("get_bucket_versioning", bucket_types.GetBucketVersioningOutput(), Bucket="bucket")
    result = loop("get_bucket_versioning", bucket_types.GetBucketVersioningOutput("Suspended"), Bucket="bucket")
    assert result["Status"] == "Suspended"


def test_lifecycle(loop: Loop) -> None:
    rule = Rule("r", True, Filter("a/", (("k", "v"),), 1, 9), 30, None, None, 7, 3)
    again = Rule("s", False, Filter(), expiration_date=SECOND.replace(hour=0), abort_days=2)
    sent = [
        {
            "ID": "r",
            "Filter": {
                "And": {
                    "Prefix": "a/",
                    "Tags": [{"Key": "k", "Value": "v"}],
                    "ObjectSizeGreaterThan": 1,
                    "ObjectSizeLessThan": 9,
                }
            },
            "Status": "Enabled",
            "Expiration": {"Days": 30},
            "NoncurrentVersionExpiration": {"NoncurrentDays": 7, "NewerNoncurrentVersions": 3},
        },
        {
            "ID": "s",
            "Filter": {"Prefix": ""},
            "Status": "Disabled",
            "Expiration": {"Date": SECOND.replace(hour=0)},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 2},
        },
    ]
    minimum = "varies_by_storage_class"
    result = loop(
        "put_bucket_lifecycle_configuration",
        bucket_types.PutBucketLifecycleConfigurationOutput(minimum),
        Bucket="bucket",
        LifecycleConfiguration={"Rules": sent},
        TransitionDefaultMinimumObjectSize=minimum,
    )
    lifecycle = Lifecycle((rule, again), minimum)
    assert loop.seen == bucket_types.PutBucketLifecycleConfigurationInput("bucket", lifecycle)
    assert result == {"TransitionDefaultMinimumObjectSize": minimum, "status": 200}
    result = loop("get_bucket_lifecycle_configuration", bucket_types.LifecycleOutput(lifecycle), Bucket="bucket")
    assert result == {"Rules": sent, "TransitionDefaultMinimumObjectSize": minimum, "status": 200}
    assert loop("delete_bucket_lifecycle", types.EmptyOutput(), Bucket="bucket") == {"status": 204}


def test_notifications(loop: Loop) -> None:
    arn = "arn:sealgate:webhook:::hook"
    lines = (
        Configuration(Destination.TOPIC, "t", "hook", ("ObjectCreated:*",), "a/", ".jpg"),
        Configuration(Destination.QUEUE, "q", "hook", ("ObjectRemoved:Delete", "LifecycleExpiration:*")),
        Configuration(Destination.CLOUD_FUNCTION, "l", "hook", ("ObjectCreated:Put",), "b/"),
    )
    rules = [{"Name": "Prefix", "Value": "a/"}, {"Name": "Suffix", "Value": ".jpg"}]
    sent = {
        "TopicConfigurations": [
            {"Id": "t", "TopicArn": arn, "Events": ["s3:ObjectCreated:*"], "Filter": {"Key": {"FilterRules": rules}}}
        ],
        "QueueConfigurations": [
            {"Id": "q", "QueueArn": arn, "Events": ["s3:ObjectRemoved:Delete", "s3:LifecycleExpiration:*"]}
        ],
        "LambdaFunctionConfigurations": [
            {
                "Id": "l",
                "LambdaFunctionArn": arn,
                "Events": ["s3:ObjectCreated:Put"],
                "Filter": {"Key": {"FilterRules": [{"Name": "Prefix", "Value": "b/"}]}},
            }
        ],
    }
    result = loop(
        "put_bucket_notification_configuration",
        types.EmptyOutput(),
        Bucket="bucket",
        NotificationConfiguration=sent,
        SkipDestinationValidation=True,
    )
    assert loop.seen == bucket_types.PutBucketNotificationConfigurationInput("bucket", Notifications(lines), True)
    assert result == {"status": 200}
    output = bucket_types.NotificationsOutput(Notifications(lines))
    assert loop("get_bucket_notification_configuration", output, Bucket="bucket") == {**sent, "status": 200}


def test_logging(loop: Loop) -> None:
    target = LoggingTarget("logs", "a/", KeyFormat.BY_EVENT_TIME, True)
    sent = {
        "LoggingEnabled": {
            "TargetBucket": "logs",
            "TargetPrefix": "a/",
            "TargetObjectKeyFormat": {"PartitionedPrefix": {"PartitionDateSource": "EventTime"}},
        }
    }
    result = loop("put_bucket_logging", types.EmptyOutput(), Bucket="bucket", BucketLoggingStatus=sent)
    assert (loop.seen, result) == (bucket_types.PutBucketLoggingInput("bucket", target), {"status": 200})
    assert loop("get_bucket_logging", bucket_types.LoggingOutput(target), Bucket="bucket") == {**sent, "status": 200}
    assert loop("get_bucket_logging", bucket_types.LoggingOutput(), Bucket="bucket") == {"status": 200}


def test_put_object(loop: Loop) -> None:
    result = loop(
        "put_object",
        types.PutObjectOutput("abc", types.EncryptionReport(), CRC, ID),
        Bucket="bucket",
        Key=ODD,
        Body=BODY,
        ContentType="a/b",
        ContentEncoding="gzip",
        Metadata={"Colour": "blue"},
        IfNoneMatch="*",
        ServerSideEncryption="AES256",
    )
    assert loop.seen == types.PutObjectInput(
        "bucket",
        ODD.encode(),
        types.PayloadExpectation(5, algorithm=ChecksumAlgorithm.CRC32, trailer="x-amz-checksum-crc32"),
        ObjectHeaders("a/b", content_encoding="gzip"),
        {"colour": "blue"},
        types.WriteConditions(if_none_match_any=True),
        types.EncryptionRequest("AES256"),
    )
    assert result == {
        "ETag": '"abc"',
        "ServerSideEncryption": "AES256",
        "ChecksumCRC32": CRC.value,
        "ChecksumType": "FULL_OBJECT",
        "VersionId": ID,
        "status": 200,
    }


OBJECT = types.GetObjectOutput(
    size=5,
    offset=0,
    length=5,
    is_partial=False,
    etag="abc",
    last_modified=MODIFIED,
    headers=ObjectHeaders("a/b", "no-cache", "inline", "x", "de", "Sun, 06 Nov 1994 08:49:37 GMT"),
    metadata={"colour": "bl\xfce"},
    encryption=types.EncryptionReport(),
    checksum=CRC,
    version_id=ID,
    parts_count=3,
    tag_count=2,
)


async def _stream() -> Any:
    yield BODY


def test_get_object(loop: Loop) -> None:
    date = datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)
    result = loop(
        "get_object",
        replace(OBJECT, body=_stream()),
        Bucket="bucket",
        Key=ODD,
        VersionId=ID,
        IfMatch='"abc"',
        IfModifiedSince=date,
    )
    assert loop.seen == types.GetObjectInput(
        "bucket",
        ODD.encode(),
        ID,
        conditions=types.ReadConditions('"abc"', if_modified_since=date),
        checksum_mode=True,
    )
    assert result.pop("Body").read() == BODY
    assert result == {
        "AcceptRanges": "bytes",
        "LastModified": SECOND,
        "ContentLength": 5,
        "ETag": '"abc"',
        "ChecksumCRC32": CRC.value,
        "ChecksumType": "FULL_OBJECT",
        "VersionId": ID,
        "CacheControl": "no-cache",
        "ContentDisposition": "inline",
        "ContentEncoding": "x",
        "ContentLanguage": "de",
        "ContentType": "a/b",
        "Expires": date,
        "ExpiresString": "Sun, 06 Nov 1994 08:49:37 GMT",
        "ServerSideEncryption": "AES256",
        "Metadata": {"colour": "bl\xfce"},
        "PartsCount": 3,
        "TagCount": 2,
        "status": 200,
    }


def test_get_a_range(loop: Loop) -> None:
    part = replace(OBJECT, size=9, offset=2, is_partial=True, checksum=None, body=_stream())
    result = loop("get_object", part, Bucket="bucket", Key="k", Range="bytes=2-6")
    assert loop.seen.range == types.RangeRequest(2, 6)
    assert (result["status"], result["ContentRange"], result["ContentLength"]) == (206, "bytes 2-6/9", 5)
    head = loop("head_object", replace(part, body=None), Bucket="bucket", Key="k", PartNumber=2)
    assert loop.seen.part_number == 2
    assert (head["status"], head["ContentRange"], head["ContentLength"]) == (206, "bytes 2-6/9", 5)


def test_bare_objects(loop: Loop) -> None:
    bare = replace(
        OBJECT,
        size=0,
        length=0,
        headers=ObjectHeaders(),
        metadata={},
        checksum=None,
        version_id=None,
        parts_count=None,
        tag_count=0,
    )
    result = loop("get_object", bare, Bucket="bucket", Key="k")
    assert result.pop("Body").read() == b""
    head = loop("head_object", bare, Bucket="bucket", Key="k")
    expected = {
        "AcceptRanges": "bytes",
        "LastModified": SECOND,
        "ContentLength": 0,
        "ETag": '"abc"',
        "ContentType": "binary/octet-stream",
        "ServerSideEncryption": "AES256",
        "Metadata": {},
        "status": 200,
    }
    assert result == head == expected


def test_overrides_reach_the_answer(loop: Loop) -> None:
    loop("get_object", OBJECT, Bucket="bucket", Key="k", ResponseContentType="text/plain", ResponseCacheControl="x")
    overrides = loop.seen.response_overrides
    result = loop("get_object", replace(OBJECT, response_overrides=overrides), Bucket="bucket", Key="k")
    assert (result["ContentType"], result["CacheControl"], result["ContentLanguage"]) == ("text/plain", "x", "de")


def test_delete_object(loop: Loop) -> None:
    result = loop("delete_object", types.DeleteObjectOutput(ID, True), Bucket="bucket", Key=ODD, IfMatch='"a"')
    assert loop.seen == types.DeleteObjectInput("bucket", ODD.encode(), None, types.WriteConditions(if_match="a"))
    assert result == {"DeleteMarker": True, "VersionId": ID, "status": 204}
    assert loop("delete_object", types.DeleteObjectOutput(), Bucket="bucket", Key="k") == {"status": 204}


def test_delete_objects(loop: Loop) -> None:
    output = types.DeleteObjectsOutput(
        (types.DeletedEntry(ODD.encode(), ID), types.DeletedEntry(b"m", None, True, "v2")),
        (types.DeleteErrorEntry(b"k", "v3", "AccessDenied", "Access Denied"),),
    )
    objects = [{"Key": ODD, "VersionId": ID}, {"Key": "m", "ETag": '"e"'}]
    result = loop("delete_objects", output, Bucket="bucket", Delete={"Objects": objects, "Quiet": True})
    assert loop.seen == types.DeleteObjectsInput(
        "bucket",
        (types.ObjectIdentifier(ODD.encode(), ID), types.ObjectIdentifier(b"m", None, "e")),
        quiet=True,
    )
    assert result == {
        "Deleted": [
            {"Key": ODD, "VersionId": ID},
            {"Key": "m", "DeleteMarker": True, "DeleteMarkerVersionId": "v2"},
        ],
        "Errors": [{"Key": "k", "VersionId": "v3", "Code": "AccessDenied", "Message": "Access Denied"}],
        "status": 200,
    }


def test_copy_object(loop: Loop) -> None:
    result = loop(
        "copy_object",
        types.CopyObjectOutput("abc", MODIFIED, types.EncryptionReport(), COMPOSITE, ID, OLD_ID),
        Bucket="bucket",
        Key="k",
        CopySource={"Bucket": "source", "Key": ODD + "?versionId=x", "VersionId": OLD_ID},
        MetadataDirective="REPLACE",
        Metadata={"a": "1"},
        CopySourceIfNoneMatch="x",
    )
    source = types.CopySource(
        "source", (ODD + "?versionId=x").encode(), OLD_ID, types.ReadConditions(if_none_match="x")
    )
    assert loop.seen == types.CopyObjectInput("bucket", b"k", source, replace_metadata=True, metadata={"a": "1"})
    assert result == {
        "CopyObjectResult": {
            "ETag": '"abc"',
            "LastModified": SECOND,
            "ChecksumSHA256": "YQ==-2",
            "ChecksumType": "COMPOSITE",
        },
        "ServerSideEncryption": "AES256",
        "VersionId": ID,
        "CopySourceVersionId": OLD_ID,
        "status": 200,
    }


def test_tagging(loop: Loop) -> None:
    output = version_types.TaggingOutput((("a", "<1>"), ("b", "")), ID)
    result = loop("get_object_tagging", output, Bucket="bucket", Key="k", VersionId=ID)
    assert loop.seen == version_types.VersionInput("bucket", b"k", ID)
    assert result["TagSet"] == [{"Key": "a", "Value": "<1>"}, {"Key": "b", "Value": ""}]
    assert loop("get_object_tagging", version_types.TaggingOutput(), Bucket="bucket", Key="k")["TagSet"] == []


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (S3Error(errors.NO_SUCH_KEY, fields={"Key": ODD}), 404, "NoSuchKey"),
        (S3Error(errors.PRECONDITION_FAILED, fields={"Condition": "If-Match"}), 412, "PreconditionFailed"),
        (S3Error(errors.NOT_MODIFIED, headers={"ETag": '"a"'}), 304, "304"),
    ],
)
def test_errors(loop: Loop, error: S3Error, status: int, code: str) -> None:
    with pytest.raises(ClientError) as caught:
        loop("get_object", error, Bucket="bucket", Key="k")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert caught.value.response["Error"]["Code"] == code
    for name, value in error.fields.items():
        assert caught.value.response["Error"][name] == value


def test_errors_of_head_have_a_status_only(loop: Loop) -> None:
    with pytest.raises(ClientError) as caught:
        loop("head_object", S3Error(errors.NO_SUCH_KEY), Bucket="bucket", Key="k")
    assert caught.value.response["Error"]["Code"] == "404"


def test_refusals_reach_the_client(loop: Loop) -> None:
    with pytest.raises(ClientError) as caught:
        loop("put_object", None, Bucket="bucket", Key="k", Body=b"", ServerSideEncryption="aws:kms:dsse")
    assert caught.value.response["Error"] == {
        "Code": "NotImplemented",
        "Message": errors.NOT_IMPLEMENTED.message,
        "Header": "x-amz-server-side-encryption",
        "Resource": "/bucket/k",
    }


PRESIGNED: list[tuple[str, dict[str, Any]]] = [
    ("get_object", {"Key": ODD, "ResponseContentType": "text/plain", "VersionId": ID}),
    ("put_object", {"Key": ODD, "ContentType": "a/b", "ACL": "private", "Metadata": {"a": "1"}}),
    ("head_object", {"Key": "k"}),
    ("delete_object", {"Key": "k"}),
    ("list_objects_v2", {"Prefix": "a b"}),
    ("upload_part", {"Key": "k", "UploadId": "u", "PartNumber": 1}),
    ("copy_object", {"Key": "k", "CopySource": "source/k"}),
    ("create_multipart_upload", {"Key": "k"}),
]


@pytest.mark.parametrize("version", ["s3", "s3v4"])
@pytest.mark.parametrize(("method", "arguments"), PRESIGNED)
def test_presigned_urls(version: str, method: str, arguments: dict[str, Any]) -> None:
    client = boto3.client(
        "s3",
        endpoint_url="https://localhost:9000",
        region_name="us-east-1",
        aws_access_key_id="AKIA",
        aws_secret_access_key="secret",
        config=Config(signature_version=version),
    )
    url = urlsplit(client.generate_presigned_url(method, Params={"Bucket": "bucket", **arguments}))
    assert ("AWSAccessKeyId" in url.query) is (version == "s3")
    http_method = {"get": "GET", "list": "GET", "head": "HEAD", "delete": "DELETE", "create": "POST"}
    # With SigV4, boto3 leaves headers to the sender; with SigV2, they stand in the URL and are sent as well.
    headers = [(b"host", url.netloc.encode()), (b"content-length", b"5")]
    if method == "put_object":
        headers += [(b"content-type", b"a/b"), (b"x-amz-acl", b"private"), (b"x-amz-meta-a", b"1")]
    if method == "copy_object":
        headers.append((b"x-amz-copy-source", b"source/k"))
    verb = http_method.get(method.partition("_")[0], "PUT")
    sent = Request(verb, url.path.encode(), url.query.encode(), Headers(headers), "REQ", NOW)
    operation, seen = understand(sent)
    assert snake(operation) == method
    assert seen.bucket == "bucket"
    if method == "put_object":
        assert (seen.metadata, seen.headers.content_type) == ({"a": "1"}, "a/b")


NOT_IN_MODEL = {"PostObject"}
"""A browser's form: `tests/gateway/operations/test_posting.py` sends it."""


def test_every_operation_goes_round() -> None:
    # The tests above call each by hand; this one sees that none is forgotten when the table grows.
    source = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_botocore*.py"))
    for found in ROUTES.values():
        assert found.name in NOT_IN_MODEL or f'"{snake(found.name)}"' in source


def test_h46_every_header_of_botocores_model_is_served_or_refused() -> None:
    model: Any = botocore.session.get_session().get_service_model("s3")
    names = set()
    for found in ROUTES.values():
        if found.name in NOT_IN_MODEL:
            continue
        shape = model.operation_model(found.name).input_shape
        members = shape.members.values() if shape else []
        names |= {m.serialization["name"].lower() for m in members if m.serialization.get("location") == "header"}
    amz = {name for name in names if name.startswith("x-amz-")}
    assert amz <= SERVED | ONLY_INERT.keys()
    assert not SERVED & ONLY_INERT.keys()
    assert ONLY_INERT.keys() <= amz
