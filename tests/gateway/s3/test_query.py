import pytest

from gateway.s3 import query
from gateway.s3.errors import INVALID_ARGUMENT, INVALID_URI, S3Error
from gateway.s3.query import effective_headers, parse_query
from tests.gateway.s3.wire import request


def test_names_and_values() -> None:
    found = parse_query(request("GET", "/?a=1&b&c=&&d=x=y&e=+%2B%20%C3%A9"))
    assert dict(found) == {"a": "1", "b": "", "c": "", "d": "x=y", "e": " + é"}


@pytest.mark.parametrize("raw", ["a=%zz", "%", "a=%FF", "%FF=a", "a=%00", "%00", "a=%2"])
def test_undecodable(raw: str) -> None:
    with pytest.raises(S3Error) as caught:
        parse_query(request("GET", f"/?{raw}"))
    assert caught.value.row is INVALID_URI


@pytest.mark.parametrize("raw", ["a=1&a=1", "uploads&uploads", "a=1&%61=2"])
def test_a_name_stands_once(raw: str) -> None:
    with pytest.raises(S3Error) as caught:
        parse_query(request("GET", f"/?{raw}"))
    assert caught.value.row is INVALID_ARGUMENT


def test_presigned_headers_in_the_query_are_headers() -> None:
    sent = request(
        "PUT", "/b/k?x-amz-meta-a=%C3%A9&X-Amz-ACL=private&X-Amz-Signature=00&x-id=PutObject", {"x-amz-b": "1"}
    )
    headers = effective_headers(sent)
    assert headers.get("x-amz-meta-a") == "é"
    assert headers.get("x-amz-acl") == "private"
    assert headers.get("x-amz-b") == "1"
    assert "x-amz-signature" not in headers


def test_headers_are_untouched_without_such_names() -> None:
    sent = request("GET", "/b?X-Amz-Date=x")
    assert effective_headers(sent) is sent.headers


@pytest.mark.parametrize(
    "target",
    [
        "/?x-amz-acl=public-read",
        "/?x-amz-a=1&X-Amz-A=2",
        "/?x-amz-%C3%A9=1",
        "/?x-amz-a=%E2%82%AC",
        "/?x-amz-meta-a%0d%0aSet-Cookie:x=1",
        "/?x-amz-meta-a%20=1",
        "/?x-amz-meta-a%3A=1",
        "/?x-amz-meta-a=%0d%0ab",
    ],
)
def test_doubled_or_unwritable_headers_in_the_query(target: str) -> None:
    with pytest.raises(S3Error) as caught:
        effective_headers(request("PUT", target, {"x-amz-acl": "private"}))
    assert caught.value.row is INVALID_ARGUMENT


def test_a_presigned_header_may_be_sent_as_a_header_too() -> None:
    sent = request("PUT", "/?x-amz-acl=private&x-amz-b=1", {"x-amz-acl": "private"})
    assert [name for name, _ in effective_headers(sent)] == ["host", "x-amz-acl", "x-amz-b"]


def test_a_presigned_header_is_no_cover_for_two() -> None:
    twice = [("x-amz-acl", "private"), ("x-amz-acl", "private")]
    with pytest.raises(S3Error):
        effective_headers(request("PUT", "/?x-amz-acl=private", twice))


@pytest.mark.parametrize(
    "name",
    [
        b"x-amz-server-side-encryption-customer-key",
        b"X-Amz-Server-Side-Encryption-Customer-Key",
        b"x-amz-server-side-encryption%2Dcustomer-%6Bey",
        b"x-amz-copy-source-server-side-encryption-customer-key",
    ],
)
def test_a_query_with_a_clients_key_is_not_remembered(name: bytes) -> None:
    """The key of SSE-C lives as long as its request, also where a presigned URL carries it."""
    query._parse.cache_clear()
    found = parse_query(request("GET", f"/b12/k?versionId=1&{name.decode()}=SECRET"))
    assert "SECRET" in found.values()
    assert query._parse.cache_info().currsize == 0
    parse_query(request("GET", "/b12/k?versionId=1&prefix=customer"))
    assert query._parse.cache_info().currsize == 1
