from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest

from gateway.s3 import parsing, serialising
from gateway.s3.addressing import resolve
from gateway.s3.errors import INVALID_ARGUMENT, METHOD_NOT_ALLOWED, NOT_IMPLEMENTED, ErrorRow, S3Error
from gateway.s3.routing import ROUTES, route
from tests.gateway.s3.wire import DOMAINS, request, snake

MODEL: Any = botocore.session.get_session().get_service_model("s3")
NAMES = [found.name for found in ROUTES.values()]
NOT_IN_MODEL = {"PostObject"}
"""A browser's form, which no SDK sends."""

UNREACHABLE = {
    "WriteGetObjectResponse": "its path is no bucket name, so addressing refuses it with 400",
    "ListBuckets": "served",
    "GetBucketNotification": "the first version of GetBucketNotificationConfiguration, with the same path",
    "PutBucketNotification": "the first version of PutBucketNotificationConfiguration, with the same path",
    "GetBucketLifecycle": "the first version of GetBucketLifecycleConfiguration, with the same path",
    "PutBucketLifecycle": "the first version of PutBucketLifecycleConfiguration, with the same path",
    "ListDirectoryBuckets": "its path is that of ListBuckets; only max-directory-buckets tells it",
}


def name_of(method: str, target: str, headers: dict[str, str] | None = None) -> str:
    sent = request(method, target, headers)
    return route(sent, resolve(sent, DOMAINS))


def refused(row: ErrorRow, method: str, target: str, headers: dict[str, str] | None = None) -> S3Error:
    with pytest.raises(S3Error) as caught:
        name_of(method, target, headers)
    assert caught.value.row is row
    return caught.value


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        ("GET", "/", "ListBuckets"),
        ("GET", "/?x-id=ListBuckets&max-buckets=5", "ListBuckets"),
        ("PUT", "/bucket", "CreateBucket"),
        ("HEAD", "/bucket/", "HeadBucket"),
        ("DELETE", "/bucket", "DeleteBucket"),
        ("GET", "/bucket?location", "GetBucketLocation"),
        ("GET", "/bucket?location=", "GetBucketLocation"),
        ("GET", "/bucket?encryption", "GetBucketEncryption"),
        ("GET", "/bucket?versioning", "GetBucketVersioning"),
        ("PUT", "/bucket?notification", "PutBucketNotificationConfiguration"),
        ("GET", "/bucket?notification", "GetBucketNotificationConfiguration"),
        ("PUT", "/bucket?logging", "PutBucketLogging"),
        ("GET", "/bucket?logging", "GetBucketLogging"),
        ("PUT", "/bucket?lifecycle", "PutBucketLifecycleConfiguration"),
        ("GET", "/bucket?lifecycle", "GetBucketLifecycleConfiguration"),
        ("DELETE", "/bucket?lifecycle", "DeleteBucketLifecycle"),
        ("GET", "/bucket?delimiter=/&prefix=", "ListObjects"),
        ("GET", "/bucket?list-type=2&prefix=a", "ListObjectsV2"),
        ("GET", "/bucket?uploads&prefix=a", "ListMultipartUploads"),
        ("POST", "/bucket?delete", "DeleteObjects"),
        ("PUT", "/bucket/k?x-id=PutObject", "PutObject"),
        ("GET", "/bucket/k?response-content-type=a&versionId=null&partNumber=1", "GetObject"),
        ("HEAD", "/bucket/k", "HeadObject"),
        ("DELETE", "/bucket/k?versionId=null", "DeleteObject"),
        ("GET", "/bucket/k?tagging", "GetObjectTagging"),
        ("PUT", "/bucket/k?tagging&versionId=null", "PutObjectTagging"),
        ("DELETE", "/bucket/k?tagging", "DeleteObjectTagging"),
        ("GET", "/bucket/k?retention", "GetObjectRetention"),
        ("PUT", "/bucket/k?retention", "PutObjectRetention"),
        ("GET", "/bucket/k?legal-hold", "GetObjectLegalHold"),
        ("PUT", "/bucket/k?legal-hold", "PutObjectLegalHold"),
        ("GET", "/bucket/k?attributes&versionId=null", "GetObjectAttributes"),
        ("PUT", "/bucket?versioning", "PutBucketVersioning"),
        ("GET", "/bucket?versions&key-marker=k&version-id-marker=null", "ListObjectVersions"),
        ("GET", "/bucket?object-lock", "GetObjectLockConfiguration"),
        ("PUT", "/bucket?object-lock", "PutObjectLockConfiguration"),
        ("GET", "/bucket?tagging", "GetBucketTagging"),
        ("PUT", "/bucket?tagging", "PutBucketTagging"),
        ("DELETE", "/bucket?tagging", "DeleteBucketTagging"),
        ("POST", "/bucket/k?uploads", "CreateMultipartUpload"),
        ("PUT", "/bucket/k?uploadId=u&partNumber=1", "UploadPart"),
        ("POST", "/bucket/k?uploadId=u", "CompleteMultipartUpload"),
        ("DELETE", "/bucket/k?uploadId=u", "AbortMultipartUpload"),
        ("GET", "/bucket/k?uploadId=u&max-parts=1", "ListParts"),
        ("PUT", "/bucket/k?X-Amz-Algorithm=a&X-Amz-Signature=b&x-amz-acl=private", "PutObject"),
        ("GET", "/bucket/k?AWSAccessKeyId=a&Signature=b&Expires=1", "GetObject"),
    ],
)
def test_served(method: str, target: str, expected: str) -> None:
    assert name_of(method, target) == expected


def test_boto3_repeats_headers_in_the_urls_that_it_presigns_by_sigv2() -> None:
    assert name_of("PUT", "/bucket/k?AWSAccessKeyId=a&Signature=b&Expires=1&content-type=a%2Fb") == "PutObject"
    refused(INVALID_ARGUMENT, "PUT", "/bucket/k?content-type=a%2Fb")


def test_a_copy_source_makes_a_copy_wherever_it_stands() -> None:
    header = {"x-amz-copy-source": "b/k"}
    assert name_of("PUT", "/bucket/k", header) == "CopyObject"
    assert name_of("PUT", "/bucket/k?uploadId=u&partNumber=1", header) == "UploadPartCopy"
    assert name_of("PUT", "/bucket/k?x-amz-copy-source=b/k") == "CopyObject"
    assert name_of("PUT", "/bucket/k", {"x-amz-copy-source": ""}) == "CopyObject"


@pytest.mark.parametrize(
    ("method", "target"),
    [
        *(("PUT", "/bucket"), ("GET", "/bucket/k"), ("DELETE", "/bucket/k"), ("POST", "/bucket/k?uploads")),
        *(("GET", "/"), ("POST", "/bucket?delete"), ("PUT", "/bucket/k?tagging"), ("POST", "/bucket/k?uploadId=u")),
    ],
)
def test_h95_copy_source_on_other_routes(method: str, target: str) -> None:
    refused(INVALID_ARGUMENT, method, target, {"x-amz-copy-source": "b/k"})


@pytest.mark.parametrize("name", ["torrent", "renameObject"])
def test_h59_subresources_never_fall_through_to_put_object(name: str) -> None:
    refused(NOT_IMPLEMENTED, "PUT", f"/bucket/k?{name}")


@pytest.mark.parametrize(
    "query", ["foo", "foo=bar", "Uploads", "partNumber=1", "versionId=1", "response-foo=1", "prefix=a", "signature=a"]
)
def test_h59_unknown_names_never_fall_through_to_put_object(query: str) -> None:
    error = refused(INVALID_ARGUMENT, "PUT", f"/bucket/k?{query}")
    assert error.fields["ArgumentName"] == query.partition("=")[0]


@pytest.mark.parametrize("method", ["FOO", "TRACE", "CONNECT", "PATCH", "OPTIONS", "get", ""])
def test_h48_methods(method: str) -> None:
    assert "Allow" in refused(METHOD_NOT_ALLOWED, method, "/bucket/k").headers


@pytest.mark.parametrize(
    ("method", "target", "allow"),
    [
        ("PUT", "/", "GET"),
        ("DELETE", "/", "GET"),
        ("POST", "/bucket/k", "DELETE, GET, HEAD, POST, PUT"),
        ("POST", "/bucket?list-type=2", "DELETE, GET, HEAD, POST, PUT"),
        ("HEAD", "/bucket?list-type=2", "DELETE, GET, HEAD, POST, PUT"),
    ],
)
def test_methods_that_a_path_has_not(method: str, target: str, allow: str) -> None:
    assert refused(METHOD_NOT_ALLOWED, method, target).headers["Allow"] == allow


def test_h24_a_form_is_sent_to_a_bucket_and_has_no_query() -> None:
    assert name_of("POST", "/bucket") == name_of("POST", "/bucket/") == "PostObject"
    refused(METHOD_NOT_ALLOWED, "POST", "/bucket/k")
    refused(METHOD_NOT_ALLOWED, "POST", "/")
    refused(INVALID_ARGUMENT, "POST", "/bucket?key=k")


def test_two_selectors_are_never_one_operation() -> None:
    refused(NOT_IMPLEMENTED, "GET", "/bucket?location&encryption")
    refused(NOT_IMPLEMENTED, "POST", "/bucket/k?uploads&uploadId=u")


def unserved() -> Iterator[tuple[str, str, str]]:
    for name in MODEL.operation_names:
        if name in NAMES or name in UNREACHABLE:
            continue
        http = MODEL.operation_model(name).http
        target = http["requestUri"].replace("{Bucket}", "bucket").replace("{Key+}", "k")
        yield name, http["method"], target


@pytest.mark.parametrize(("name", "method", "target"), list(unserved()))
def test_every_other_operation_of_botocores_model_answers_501(name: str, method: str, target: str) -> None:
    refused(NOT_IMPLEMENTED, method, target)


def test_directory_buckets_answer_501() -> None:
    refused(NOT_IMPLEMENTED, "GET", "/?max-directory-buckets=5")


def test_every_operation_is_in_botocores_model_with_this_method_and_these_names() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert set(NAMES) - NOT_IN_MODEL <= set(MODEL.operation_names)
    for (method, _, selectors, _), found in ROUTES.items():
        if found.name in NOT_IN_MODEL:
            continue
        operation = MODEL.operation_model(found.name)
        assert operation.http["method"] == method
        members = operation.input_shape.members.values() if operation.input_shape else []
        queried = {m.serialization["name"] for m in members if m.serialization.get("location") == "querystring"}
        static = {item.partition("=")[0] for item in operation.http["requestUri"].partition("?")[2].split("&") if item}
        own = {name for name in queried if not name.startswith("response-")}
        assert selectors <= own | static, found.name
        assert own | static <= selectors | found.arguments, found.name


def test_every_operation_has_a_parser_and_a_serialiser() -> None:
    for name in NAMES:
        assert callable(getattr(parsing, f"parse_{snake(name)}"))
        assert callable(getattr(serialising, f"serialise_{snake(name)}"))
        assert f"parse_{snake(name)}" in parsing.__all__
        assert f"serialise_{snake(name)}" in serialising.__all__
