from gateway.s3.request import Headers
from tests.gateway.s3.wire import request


def test_headers_are_kept_in_order_and_found_whatever_their_case() -> None:
    headers = Headers([(b"A", b" 1\t"), (b"b", b"\xe9"), (b"a", b"2")])
    assert headers.get("A") == "1"
    assert headers.get_all("a") == ["1", "2"]
    assert headers.get("c") is None
    assert "B" in headers
    assert "c" not in headers
    assert list(headers) == [("a", "1"), ("b", "\xe9"), ("a", "2")]
    assert headers.raw() == ((b"a", b"1"), (b"b", b"\xe9"), (b"a", b"2"))


def test_a_repr_shows_no_value() -> None:
    sent = request("GET", "/bucket/secret-key?X-Amz-Signature=secret", {"authorization": "secret"})
    assert repr(sent) == "Request(GET, request_id=REQUEST1)"
    assert repr(sent.headers) == "Headers(['host', 'authorization'])"
