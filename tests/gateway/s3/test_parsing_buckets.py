import pytest

from gateway.s3.bucket_types import CreateBucketInput, ListBucketsInput
from gateway.s3.errors import INVALID_ARGUMENT, INVALID_URI, MALFORMED_XML, NOT_IMPLEMENTED, ErrorRow
from gateway.s3.types import BucketInput, ListObjectsInput, ListObjectsV2Input
from gateway.s3.upload_types import ListMultipartUploadsInput
from tests.gateway.s3.wire import read, refused


def test_list_buckets() -> None:
    assert read("GET", "/") == ListBucketsInput()
    found = read("GET", "/?max-buckets=5&continuation-token=t&prefix=p&bucket-region=r")
    assert found == ListBucketsInput(5, "t", "p", "r")


@pytest.mark.parametrize("query", ["max-buckets=0", "max-buckets=10001", "max-buckets=x", "continuation-token="])
def test_list_buckets_refused(query: str) -> None:
    refused(INVALID_ARGUMENT, "GET", f"/?{query}")


@pytest.mark.parametrize(
    ("method", "target"),
    [
        *(("HEAD", "/bucket"), ("DELETE", "/bucket"), ("GET", "/bucket?location"), ("GET", "/bucket?versioning")),
        ("GET", "/bucket?encryption"),
    ],
)
def test_operations_on_a_bucket_as_such(method: str, target: str) -> None:
    assert read(method, target) == BucketInput("bucket")
    assert read(method, target, {"x-amz-expected-bucket-owner": "1"}) == BucketInput("bucket")
    refused(NOT_IMPLEMENTED, method, target, {"x-amz-mfa": "1"})


def configuration(inner: str) -> bytes:
    return f"<CreateBucketConfiguration>{inner}</CreateBucketConfiguration>".encode()


@pytest.mark.parametrize(
    ("document", "constraint"),
    [
        (b"", ""),
        (configuration(""), ""),
        (configuration("<LocationConstraint>eu-west-1</LocationConstraint>"), "eu-west-1"),
        (configuration("<LocationConstraint/>"), ""),
        (configuration("<Tags/>"), ""),
    ],
)
def test_create_bucket(document: bytes, constraint: str) -> None:
    assert read("PUT", "/bucket", {}, document) == CreateBucketInput("bucket", constraint)


@pytest.mark.parametrize(
    ("row", "document"),
    [
        (MALFORMED_XML, b"<"),
        (MALFORMED_XML, b"<Delete/>"),
        (MALFORMED_XML, configuration("<LocationConstraint>a</LocationConstraint>" * 2)),
        (MALFORMED_XML, configuration("<LocationConstraint><a/></LocationConstraint>")),
        (MALFORMED_XML, configuration("<Foo/>")),
        (NOT_IMPLEMENTED, configuration("<Tags><Tag><Key>a</Key><Value>b</Value></Tag></Tags>")),
        (NOT_IMPLEMENTED, configuration("<Location><Name>a</Name><Type>AvailabilityZone</Type></Location>")),
        (NOT_IMPLEMENTED, configuration("<Bucket>Directory</Bucket>")),
    ],
)
def test_create_bucket_refused(row: ErrorRow, document: bytes) -> None:
    refused(row, "PUT", "/bucket", {}, document)


@pytest.mark.parametrize(
    ("headers", "taken"),
    [
        ({"x-amz-bucket-object-lock-enabled": "false"}, True),
    ],
)
def test_headers_of_create_bucket(headers: dict[str, str], taken: bool) -> None:
    if taken:
        assert read("PUT", "/bucket", headers) == CreateBucketInput("bucket")
    else:
        refused(NOT_IMPLEMENTED, "PUT", "/bucket", headers)


def test_a_bucket_with_object_lock() -> None:
    headers = {"x-amz-bucket-object-lock-enabled": "True"}
    assert read("PUT", "/bucket", headers) == CreateBucketInput("bucket", object_lock=True)
    refused(INVALID_ARGUMENT, "PUT", "/bucket", {"x-amz-bucket-object-lock-enabled": "1"})


def test_list_objects() -> None:
    assert read("GET", "/bucket") == ListObjectsInput("bucket")
    found = read("GET", "/bucket?prefix=a%20b&delimiter=%2F&marker=%C3%A9&max-keys=7&encoding-type=url")
    assert found == ListObjectsInput("bucket", b"a b", b"/", "é".encode(), 7, url_encoding=True)


def test_list_objects_v2() -> None:
    assert read("GET", "/bucket?list-type=2") == ListObjectsV2Input("bucket")
    query = (
        "prefix=a%2Bb&delimiter=%2F&start-after=s&continuation-token=t&max-keys=0&fetch-owner=true&encoding-type=url"
    )
    assert read("GET", f"/bucket?list-type=2&{query}") == ListObjectsV2Input(
        "bucket", b"a+b", b"/", b"s", "t", 0, fetch_owner=True, url_encoding=True
    )


def test_list_multipart_uploads() -> None:
    assert read("GET", "/bucket?uploads") == ListMultipartUploadsInput("bucket")
    query = "prefix=a&delimiter=d&key-marker=k&upload-id-marker=u&max-uploads=3&encoding-type=url"
    assert read("GET", f"/bucket?uploads&{query}") == ListMultipartUploadsInput(
        "bucket", b"a", b"d", b"k", "u", 3, url_encoding=True
    )
    assert read("GET", "/bucket?uploads&upload-id-marker=u").upload_id_marker is None
    assert read("GET", "/bucket?uploads&key-marker=k&upload-id-marker=").upload_id_marker is None


@pytest.mark.parametrize(("text", "expected"), [("0", 0), ("1000", 1000), ("1001", 1000), ("1000000000", 1000)])
def test_h61_max_keys_taken(text: str, expected: int) -> None:
    assert read("GET", f"/bucket?max-keys={text}").max_keys == expected
    assert read("GET", f"/bucket?list-type=2&max-keys={text}").max_keys == expected
    assert read("GET", f"/bucket?uploads&max-uploads={text}").max_uploads == expected


@pytest.mark.parametrize("text", ["-1", "abc", "", "1.0", "%2B1", "2147483648", "9" * 5000, "%D9%A3", "0x10", "1_0"])
def test_h61_max_keys_refused(text: str) -> None:
    refused(INVALID_ARGUMENT, "GET", f"/bucket?max-keys={text}")
    refused(INVALID_ARGUMENT, "GET", f"/bucket?list-type=2&max-keys={text}")
    refused(INVALID_ARGUMENT, "GET", f"/bucket?uploads&max-uploads={text}")


@pytest.mark.parametrize(
    "query",
    [
        *("list-type=1", "list-type=", "list-type=2&continuation-token=", "list-type=2&fetch-owner=yes"),
        *("encoding-type=base64", "encoding-type=", "list-type=2&encoding-type=URL", "uploads&encoding-type=x"),
        "prefix=a&prefix=b",
    ],
)
def test_listings_refused(query: str) -> None:
    refused(INVALID_ARGUMENT, "GET", f"/bucket?{query}")


@pytest.mark.parametrize("query", ["prefix=%FF", "prefix=%00", "marker=%", "list-type=2&start-after=%C3"])
def test_names_are_utf_8_without_nul(query: str) -> None:
    refused(INVALID_URI, "GET", f"/bucket?{query}")
