"""boto3 talks to the parsers and serialisers themselves: what it sends becomes an Input, what it hears was an Output.

The answer is given in botocore's own hook before a request is sent, so that no socket is opened. The endpoint is https,
since botocore sends its checksums in trailers only there.
"""

import zlib
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.session
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError

from gateway.s3 import errors, serialising, types
from gateway.s3.errors import S3Error
from gateway.s3.parsing.support import ONLY_INERT, SERVED
from gateway.s3.request import Headers, Request
from gateway.s3.routing import ROUTES
from gateway.s3.types import Checksum, ChecksumAlgorithm, ChecksumType, ObjectHeaders, Owner
from tests.gateway.s3.wire import NOW, snake, understand

MODIFIED = datetime(2026, 5, 1, 12, 0, 0, 700_000, tzinfo=UTC)
SECOND = MODIFIED.replace(microsecond=0)
OWNER = Owner("0123", "alice & bob")
BODY = b"hello"
CRC = Checksum(ChecksumAlgorithm.CRC32, b64encode(zlib.crc32(BODY).to_bytes(4, "big")).decode())
COMPOSITE = Checksum(ChecksumAlgorithm.SHA256, "YQ==-2", ChecksumType.COMPOSITE)
ODD = "a+b %c/é&<>]]>😀"


class _Raw(BytesIO):
    def stream(self, amount: int = 65536, **_: Any) -> Iterator[bytes]:
        while piece := self.read(amount):
            yield piece


class Loop:
    """A boto3 client whose requests end here."""

    def __init__(self) -> None:
        self.client: Any = boto3.client(
            "s3",
            endpoint_url="https://localhost:9000",
            region_name="us-east-1",
            aws_access_key_id="AKIA",
            aws_secret_access_key="secret",
            config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
        )
        self.client.meta.events.register("before-send.s3", self._answer)
        self.output: Any = None
        self.seen: Any = None
        self.operation = ""

    def _answer(self, request: Any, **_: Any) -> AWSResponse:
        url = urlsplit(request.url)
        items = []
        for name, value in request.headers.items():
            items.append((name.encode(), value if isinstance(value, bytes) else str(value).encode("latin-1")))
        sent = Request(request.method, url.path.encode(), url.query.encode(), Headers(items), "REQUEST1", NOW)
        if "host" not in Headers(items):
            items.append((b"host", url.netloc.encode()))
            sent = replace(sent, headers=Headers(items))
        document = request.body if isinstance(request.body, bytes) else b""
        try:
            self.operation, self.seen = understand(sent, document)
            if isinstance(self.output, S3Error):
                raise self.output
            response = getattr(serialising, f"serialise_{snake(self.operation)}")(self.output)
        except S3Error as error:
            response = serialising.error_response(error, "REQUEST1", sent.raw_path, sent.method == "HEAD")
        body = response.body if isinstance(response.body, bytes) else BODY
        assert all(name.isascii() and value.encode("latin-1") for name, value in response.headers)
        return AWSResponse(request.url, response.status, dict(response.headers), _Raw(body))

    def __call__(self, method: str, output: Any, **arguments: Any) -> Any:
        """Call a method of the client and answer it with an Output; None where the answer says nothing."""
        self.output, self.seen, self.operation = output, None, ""
        result = getattr(self.client, method)(**arguments)
        metadata = result.pop("ResponseMetadata")
        result["status"] = metadata["HTTPStatusCode"]
        return result


@pytest.fixture(scope="module")
def loop() -> Loop:
    return Loop()


def test_list_buckets(loop: Loop) -> None:
    entries = (types.BucketEntry("one", MODIFIED), types.BucketEntry("two", MODIFIED))
    result = loop(
        "list_buckets", types.ListBucketsOutput(entries, OWNER, "eu-west-1", "p", "t"), MaxBuckets=5, Prefix="p"
    )
    assert loop.seen == types.ListBucketsInput(max_buckets=5, prefix="p")
    assert result == {
        "Buckets": [{"Name": name, "CreationDate": SECOND, "BucketRegion": "eu-west-1"} for name in ("one", "two")],
        "Owner": {"DisplayName": "alice & bob", "ID": "0123"},
        "Prefix": "p",
        "ContinuationToken": "t",
        "status": 200,
    }


def test_list_no_buckets(loop: Loop) -> None:
    result = loop("list_buckets", types.ListBucketsOutput((), OWNER, "us-east-1"))
    assert result["Buckets"] == []
    assert "Prefix" not in result


def test_buckets(loop: Loop) -> None:
    result = loop(
        "create_bucket",
        types.CreateBucketOutput("bucket"),
        Bucket="bucket",
        CreateBucketConfiguration={"LocationConstraint": "eu-west-1"},
    )
    assert loop.seen == types.CreateBucketInput("bucket", "eu-west-1")
    assert result == {"Location": "/bucket", "status": 200}
    loop("create_bucket", types.CreateBucketOutput("bucket"), Bucket="bucket")
    assert loop.seen == types.CreateBucketInput("bucket")
    result = loop("head_bucket", types.HeadBucketOutput("eu-west-1"), Bucket="bucket")
    assert result == {"BucketRegion": "eu-west-1", "status": 200}
    assert loop("delete_bucket", types.EmptyOutput(), Bucket="bucket") == {"status": 204}
    assert loop.seen == types.BucketInput("bucket")


@pytest.mark.parametrize(("region", "constraint"), [("us-east-1", None), ("eu-west-1", "eu-west-1")])
def test_bucket_location(loop: Loop, region: str, constraint: str | None) -> None:
    result = loop("get_bucket_location", types.GetBucketLocationOutput(region), Bucket="bucket")
    assert result["LocationConstraint"] == constraint


def test_bucket_configuration(loop: Loop) -> None:
    result = loop("get_bucket_encryption", types.GetBucketEncryptionOutput("AES256", True), Bucket="bucket")
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": True}
    assert result["ServerSideEncryptionConfiguration"] == {"Rules": [rule]}
    assert "Status" not in loop("get_bucket_versioning", types.GetBucketVersioningOutput(), Bucket="bucket")
    result = loop("get_bucket_versioning", types.GetBucketVersioningOutput("Suspended"), Bucket="bucket")
    assert result["Status"] == "Suspended"


def test_put_object(loop: Loop) -> None:
    result = loop(
        "put_object",
        types.PutObjectOutput("abc", "AES256", CRC, "v1"),
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
        "AES256",
    )
    assert result == {
        "ETag": '"abc"',
        "ServerSideEncryption": "AES256",
        "ChecksumCRC32": CRC.value,
        "ChecksumType": "FULL_OBJECT",
        "VersionId": "v1",
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
    encryption="AES256",
    checksum=CRC,
    version_id="v1",
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
        VersionId="v1",
        IfMatch='"abc"',
        IfModifiedSince=date,
    )
    assert loop.seen == types.GetObjectInput(
        "bucket",
        ODD.encode(),
        "v1",
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
        "VersionId": "v1",
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
    result = loop("delete_object", types.DeleteObjectOutput("v1", True), Bucket="bucket", Key=ODD, IfMatch='"a"')
    assert loop.seen == types.DeleteObjectInput("bucket", ODD.encode(), None, types.WriteConditions(if_match="a"))
    assert result == {"DeleteMarker": True, "VersionId": "v1", "status": 204}
    assert loop("delete_object", types.DeleteObjectOutput(), Bucket="bucket", Key="k") == {"status": 204}


def test_delete_objects(loop: Loop) -> None:
    output = types.DeleteObjectsOutput(
        (types.DeletedEntry(ODD.encode(), "v1"), types.DeletedEntry(b"m", None, True, "v2")),
        (types.DeleteErrorEntry(b"k", "v3", "AccessDenied", "Access Denied"),),
    )
    objects = [{"Key": ODD, "VersionId": "v1"}, {"Key": "m", "ETag": '"e"'}]
    result = loop("delete_objects", output, Bucket="bucket", Delete={"Objects": objects, "Quiet": True})
    assert loop.seen == types.DeleteObjectsInput(
        "bucket",
        (types.ObjectIdentifier(ODD.encode(), "v1"), types.ObjectIdentifier(b"m", None, "e")),
        quiet=True,
    )
    assert result == {
        "Deleted": [
            {"Key": ODD, "VersionId": "v1"},
            {"Key": "m", "DeleteMarker": True, "DeleteMarkerVersionId": "v2"},
        ],
        "Errors": [{"Key": "k", "VersionId": "v3", "Code": "AccessDenied", "Message": "Access Denied"}],
        "status": 200,
    }


def test_copy_object(loop: Loop) -> None:
    result = loop(
        "copy_object",
        types.CopyObjectOutput("abc", MODIFIED, "AES256", COMPOSITE, "v1", "v0"),
        Bucket="bucket",
        Key="k",
        CopySource={"Bucket": "source", "Key": ODD + "?versionId=x", "VersionId": "v0"},
        MetadataDirective="REPLACE",
        Metadata={"a": "1"},
        CopySourceIfNoneMatch="x",
    )
    source = types.CopySource("source", (ODD + "?versionId=x").encode(), "v0", types.ReadConditions(if_none_match="x"))
    assert loop.seen == types.CopyObjectInput("bucket", b"k", source, replace_metadata=True, metadata={"a": "1"})
    assert result == {
        "CopyObjectResult": {
            "ETag": '"abc"',
            "LastModified": SECOND,
            "ChecksumSHA256": "YQ==-2",
            "ChecksumType": "COMPOSITE",
        },
        "ServerSideEncryption": "AES256",
        "VersionId": "v1",
        "CopySourceVersionId": "v0",
        "status": 200,
    }


def test_tagging(loop: Loop) -> None:
    output = types.GetObjectTaggingOutput((("a", "<1>"), ("b", "")), "v1")
    result = loop("get_object_tagging", output, Bucket="bucket", Key="k", VersionId="v1")
    assert loop.seen == types.GetObjectTaggingInput("bucket", b"k", "v1")
    assert result["TagSet"] == [{"Key": "a", "Value": "<1>"}, {"Key": "b", "Value": ""}]
    assert loop("get_object_tagging", types.GetObjectTaggingOutput(), Bucket="bucket", Key="k")["TagSet"] == []


ENTRIES = (
    types.ObjectEntry(ODD.encode(), MODIFIED, "abc", 5, OWNER, ChecksumAlgorithm.CRC32, ChecksumType.FULL_OBJECT),
    types.ObjectEntry(b"\x01\r\n", MODIFIED, "def-2", 0),
)
CONTENTS = [
    {
        "Key": ODD,
        "LastModified": SECOND,
        "ETag": '"abc"',
        "ChecksumAlgorithm": ["CRC32"],
        "ChecksumType": "FULL_OBJECT",
        "Size": 5,
        "StorageClass": "STANDARD",
        "Owner": {"DisplayName": "alice & bob", "ID": "0123"},
    },
    {"Key": "\x01\r\n", "LastModified": SECOND, "ETag": '"def-2"', "Size": 0, "StorageClass": "STANDARD"},
]


def test_list_objects(loop: Loop) -> None:
    asked = types.ListObjectsInput("bucket", b"a+", b"/ ", b"m%", 5, url_encoding=True)
    output = types.ListObjectsOutput(asked, ENTRIES, ("p é/".encode(),), True, b"n+")
    result = loop("list_objects", output, Bucket="bucket", Prefix="a+", Delimiter="/ ", Marker="m%", MaxKeys=5)
    assert loop.seen == asked
    assert result == {
        "Name": "bucket",
        "Prefix": "a%2B",  # of version 1, botocore decodes all names but this one
        "Marker": "m%",
        "NextMarker": "n+",
        "MaxKeys": 5,
        "Delimiter": "/ ",
        "EncodingType": "url",
        "IsTruncated": True,
        "Contents": CONTENTS,
        "CommonPrefixes": [{"Prefix": "p é/"}],
        "status": 200,
    }


def test_an_empty_list_echoes_its_marker(loop: Loop) -> None:
    asked = types.ListObjectsInput("bucket")
    result = loop("list_objects", types.ListObjectsOutput(asked, (), (), False), Bucket="bucket", EncodingType="url")
    assert result["Marker"] == ""
    assert "NextMarker" not in result
    assert "Delimiter" not in result


def test_list_objects_v2(loop: Loop) -> None:
    asked = types.ListObjectsV2Input("bucket", b"a+", b"/ ", b"s%", "t1", 5, fetch_owner=True, url_encoding=True)
    output = types.ListObjectsV2Output(asked, ENTRIES, (b"p+/",), True, "t2+%")
    result = loop(
        "list_objects_v2",
        output,
        Bucket="bucket",
        Prefix="a+",
        Delimiter="/ ",
        StartAfter="s%",
        ContinuationToken="t1",
        MaxKeys=5,
        FetchOwner=True,
    )
    assert loop.seen == asked
    assert result == {
        "Name": "bucket",
        "Prefix": "a+",
        "StartAfter": "s%",
        "ContinuationToken": "t1",
        "NextContinuationToken": "t2+%",
        "KeyCount": 3,
        "MaxKeys": 5,
        "Delimiter": "/ ",
        "EncodingType": "url",
        "IsTruncated": True,
        "Contents": CONTENTS,
        "CommonPrefixes": [{"Prefix": "p+/"}],
        "status": 200,
    }


def test_multipart_uploads(loop: Loop) -> None:
    output = types.CreateMultipartUploadOutput(
        "bucket", ODD.encode(), "u1", "AES256", ChecksumAlgorithm.SHA256, ChecksumType.COMPOSITE
    )
    result = loop("create_multipart_upload", output, Bucket="bucket", Key=ODD, ChecksumAlgorithm="SHA256")
    assert loop.seen.checksum_type is ChecksumType.COMPOSITE
    assert result == {
        "Bucket": "bucket",
        "Key": ODD,
        "UploadId": "u1",
        "ServerSideEncryption": "AES256",
        "ChecksumAlgorithm": "SHA256",
        "ChecksumType": "COMPOSITE",
        "status": 200,
    }
    plain = types.CreateMultipartUploadOutput("bucket", b"k", "u1", "AES256")
    result = loop("create_multipart_upload", plain, Bucket="bucket", Key="k")
    assert "ChecksumType" not in result


def test_upload_part(loop: Loop) -> None:
    result = loop(
        "upload_part",
        types.UploadPartOutput("abc", "AES256", CRC),
        Bucket="bucket",
        Key="k",
        UploadId="u/1+",
        PartNumber=7,
        Body=BODY,
    )
    assert (loop.seen.upload_id, loop.seen.part_number) == ("u/1+", 7)
    assert loop.seen.payload.trailer == "x-amz-checksum-crc32"
    assert (result["ETag"], result["ChecksumCRC32"]) == ('"abc"', CRC.value)


def test_upload_part_copy(loop: Loop) -> None:
    result = loop(
        "upload_part_copy",
        types.UploadPartCopyOutput("abc", MODIFIED, "AES256", CRC, "v0"),
        Bucket="bucket",
        Key="k",
        UploadId="u1",
        PartNumber=7,
        CopySource="source/k",
        CopySourceRange="bytes=0-4",
    )
    assert loop.seen == types.UploadPartCopyInput("bucket", b"k", "u1", 7, types.CopySource("source", b"k"), 0, 4)
    assert result == {
        "CopyPartResult": {"ETag": '"abc"', "LastModified": SECOND, "ChecksumCRC32": CRC.value},
        "ServerSideEncryption": "AES256",
        "CopySourceVersionId": "v0",
        "status": 200,
    }


def test_complete_multipart_upload(loop: Loop) -> None:
    output = types.CompleteMultipartUploadOutput(
        "bucket", ODD.encode(), "https://localhost/bucket/k", "abc-2", "AES256", COMPOSITE, "v1"
    )
    parts = [{"PartNumber": 1, "ETag": '"a"'}, {"PartNumber": 2, "ETag": "b", "ChecksumCRC32": CRC.value}]
    result = loop(
        "complete_multipart_upload",
        output,
        Bucket="bucket",
        Key=ODD,
        UploadId="u1",
        MultipartUpload={"Parts": parts},
        IfMatch='"e"',
        MpuObjectSize=12,
        ChecksumCRC32=CRC.value,
    )
    assert loop.seen == types.CompleteMultipartUploadInput(
        "bucket",
        ODD.encode(),
        "u1",
        (types.CompletedPart(1, "a"), types.CompletedPart(2, "b", CRC)),
        types.WriteConditions(if_match="e"),
        CRC,
        None,
        12,
    )
    assert result == {
        "Location": "https://localhost/bucket/k",
        "Bucket": "bucket",
        "Key": ODD,
        "ETag": '"abc-2"',
        "ChecksumSHA256": "YQ==-2",
        "ChecksumType": "COMPOSITE",
        "ServerSideEncryption": "AES256",
        "VersionId": "v1",
        "status": 200,
    }


def test_abort_multipart_upload(loop: Loop) -> None:
    result = loop("abort_multipart_upload", types.EmptyOutput(), Bucket="bucket", Key="k", UploadId="u1")
    assert loop.seen == types.AbortMultipartUploadInput("bucket", b"k", "u1")
    assert result == {"status": 204}


def test_list_parts(loop: Loop) -> None:
    asked = types.ListPartsInput("bucket", ODD.encode(), "u1", 1, 5)
    entries = (types.PartEntry(2, MODIFIED, "a", 5, CRC), types.PartEntry(3, MODIFIED, "b", 6))
    output = types.ListPartsOutput(asked, entries, True, OWNER, 3, ChecksumAlgorithm.CRC32, ChecksumType.FULL_OBJECT)
    result = loop("list_parts", output, Bucket="bucket", Key=ODD, UploadId="u1", PartNumberMarker=1, MaxParts=5)
    assert loop.seen == asked
    person = {"DisplayName": "alice & bob", "ID": "0123"}
    assert result == {
        "Bucket": "bucket",
        "Key": ODD,
        "UploadId": "u1",
        "PartNumberMarker": 1,
        "NextPartNumberMarker": 3,
        "MaxParts": 5,
        "IsTruncated": True,
        "Parts": [
            {"PartNumber": 2, "LastModified": SECOND, "ETag": '"a"', "Size": 5, "ChecksumCRC32": CRC.value},
            {"PartNumber": 3, "LastModified": SECOND, "ETag": '"b"', "Size": 6},
        ],
        "Initiator": person,
        "Owner": person,
        "StorageClass": "STANDARD",
        "ChecksumAlgorithm": "CRC32",
        "ChecksumType": "FULL_OBJECT",
        "status": 200,
    }


def test_list_multipart_uploads(loop: Loop) -> None:
    asked = types.ListMultipartUploadsInput("bucket", b"a+", b"/", b"k ", "u0", 5, url_encoding=True)
    entry = types.UploadEntry(ODD.encode(), "u1", MODIFIED, OWNER, ChecksumAlgorithm.SHA1, ChecksumType.COMPOSITE)
    output = types.ListMultipartUploadsOutput(asked, (entry,), (b"p /",), True, b"n+", "u9")
    result = loop(
        "list_multipart_uploads",
        output,
        Bucket="bucket",
        Prefix="a+",
        Delimiter="/",
        KeyMarker="k ",
        UploadIdMarker="u0",
        MaxUploads=5,
        EncodingType="url",
    )
    assert loop.seen == asked
    person = {"DisplayName": "alice & bob", "ID": "0123"}
    # botocore decodes listings of objects by itself, but not this one.
    assert result == {
        "Bucket": "bucket",
        "KeyMarker": "k%20",
        "UploadIdMarker": "u0",
        "NextKeyMarker": "n%2B",
        "NextUploadIdMarker": "u9",
        "Prefix": "a%2B",
        "Delimiter": "/",
        "EncodingType": "url",
        "MaxUploads": 5,
        "IsTruncated": True,
        "Uploads": [
            {
                "Key": "a%2Bb%20%25c/%C3%A9%26%3C%3E%5D%5D%3E%F0%9F%98%80",
                "UploadId": "u1",
                "Initiated": SECOND,
                "StorageClass": "STANDARD",
                "Owner": person,
                "Initiator": person,
                "ChecksumAlgorithm": "SHA1",
                "ChecksumType": "COMPOSITE",
            }
        ],
        "CommonPrefixes": [{"Prefix": "p%20/"}],
        "status": 200,
    }


def test_no_uploads(loop: Loop) -> None:
    asked = types.ListMultipartUploadsInput("bucket")
    result = loop("list_multipart_uploads", types.ListMultipartUploadsOutput(asked, (), (), False), Bucket="bucket")
    assert result == {
        "Bucket": "bucket",
        "KeyMarker": "",
        "UploadIdMarker": "",
        "MaxUploads": 1000,
        "IsTruncated": False,
        "status": 200,
    }


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
        loop("put_object", None, Bucket="bucket", Key="k", Body=b"", ServerSideEncryption="aws:kms")
    assert caught.value.response["Error"] == {
        "Code": "NotImplemented",
        "Message": errors.NOT_IMPLEMENTED.message,
        "Header": "x-amz-server-side-encryption",
        "Resource": "/bucket/k",
    }


PRESIGNED: list[tuple[str, dict[str, Any]]] = [
    ("get_object", {"Key": ODD, "ResponseContentType": "text/plain", "VersionId": "v"}),
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


def test_every_operation_goes_round() -> None:
    # The tests above call each by hand; this one sees that none is forgotten when the table grows.
    source = Path(__file__).read_text(encoding="utf-8")
    for found in ROUTES.values():
        assert f'"{snake(found.name)}"' in source


def test_h46_every_header_of_botocores_model_is_served_or_refused() -> None:
    model: Any = botocore.session.get_session().get_service_model("s3")
    names = set()
    for found in ROUTES.values():
        shape = model.operation_model(found.name).input_shape
        members = shape.members.values() if shape else []
        names |= {m.serialization["name"].lower() for m in members if m.serialization.get("location") == "header"}
    amz = {name for name in names if name.startswith("x-amz-")}
    assert amz <= SERVED | ONLY_INERT.keys()
    assert not SERVED & ONLY_INERT.keys()
    assert ONLY_INERT.keys() <= amz
