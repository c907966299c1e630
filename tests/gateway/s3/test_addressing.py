import pytest

from gateway.s3.addressing import Address, check_bucket_name, check_key, decode_key, resolve
from gateway.s3.errors import BAD_REQUEST, INVALID_BUCKET_NAME, INVALID_URI, KEY_TOO_LONG, ErrorRow, S3Error
from gateway.s3.request import Headers, Request
from tests.gateway.s3.wire import DOMAINS, NOW, request


def address(target: str, host: str = "localhost:9000") -> Address:
    return resolve(request("GET", target, host=host), DOMAINS)


def raised(row: ErrorRow, target: str, host: str | None = "localhost:9000") -> None:
    with pytest.raises(S3Error) as caught:
        resolve(request("GET", target, host=host), DOMAINS)
    assert caught.value.row is row


@pytest.mark.parametrize(
    ("target", "bucket", "object_key"),
    [
        ("/", None, None),
        ("/bucket", "bucket", None),
        ("/bucket/", "bucket", None),
        ("/%62ucket/k", "bucket", b"k"),
        ("/bucket/k?x=/other/key", "bucket", b"k"),
        ("/bucket//", "bucket", b"/"),
        ("/bucket/a/", "bucket", b"a/"),
        ("/bucket/a+b%20c%2Bd", "bucket", b"a+b c+d"),
        ("/bucket/%C3%A9", "bucket", "é".encode()),
    ],
)
def test_path_style(target: str, bucket: str | None, object_key: bytes | None) -> None:
    assert address(target) == Address(bucket, object_key)


@pytest.mark.parametrize(
    ("host", "target", "bucket", "object_key"),
    [
        ("bucket.s3.localhost", "/", "bucket", None),
        ("bucket.s3.localhost:9000", "/k", "bucket", b"k"),
        ("Bucket.S3.LocalHost", "/k", "bucket", b"k"),
        ("my.dotted.bucket.s3.example.org", "/a/b", "my.dotted.bucket", b"a/b"),
        ("bucket.s3.localhost.", "//k", "bucket", b"/k"),
    ],
)
def test_virtual_hosted_style(host: str, target: str, bucket: str, object_key: bytes | None) -> None:
    assert address(target, host) == Address(bucket, object_key, bucket_in_host=True)


@pytest.mark.parametrize("host", ["s3.localhost", "s3.localhost:443", "127.0.0.1:9000", "[::1]:9000", "gateway"])
def test_other_hosts_are_path_style(host: str) -> None:
    assert address("/bucket/k", host) == Address("bucket", b"k")


def test_the_longest_domain_wins() -> None:
    sent = request("GET", "/k", host="bucket.s3.example.org")
    assert resolve(sent, ("example.org", "s3.example.org")).bucket == "bucket"


def test_a_domain_never_reads_as_a_bucket_of_a_shorter_one() -> None:
    sent = request("GET", "/bucket", host="s3.example.org")
    assert resolve(sent, ("example.org", "s3.example.org")) == Address("bucket")


@pytest.mark.parametrize("host", [None, "", "a/b?c#", "a b", "host:port", "host:123456", "-x", "[::1", "a@b", "é"])
def test_h41_host_missing_or_malformed(host: str | None) -> None:
    raised(BAD_REQUEST, "/bucket/k", host)


def test_h41_two_hosts() -> None:
    sent = Request("GET", b"/b/k", b"", Headers([(b"host", b"a"), (b"host", b"a")]), "R", NOW)
    with pytest.raises(S3Error) as caught:
        resolve(sent, DOMAINS)
    assert caught.value.row is BAD_REQUEST


def test_h41_host_not_ours_where_names_are_given() -> None:
    with pytest.raises(S3Error) as caught:
        resolve(request("GET", "/bucket", host="evil.example"), DOMAINS, hosts=("localhost",))
    assert caught.value.row is BAD_REQUEST
    assert resolve(request("GET", "/bucket", host="localhost:1"), DOMAINS, hosts=("localhost",)).bucket == "bucket"
    assert resolve(request("GET", "/bucket", host="s3.localhost"), DOMAINS, hosts=()).bucket == "bucket"


def test_h50_key_length_is_counted_in_bytes() -> None:
    assert address("/bucket/" + "a" * 1024).object_key == b"a" * 1024
    raised(KEY_TOO_LONG, "/bucket/" + "a" * 1025)
    raised(KEY_TOO_LONG, "/bucket/" + "%E2%82%AC" * 342)
    assert address("/bucket/" + "%E2%82%AC" * 341).object_key == "€".encode() * 341


@pytest.mark.parametrize("raw", ["%00", "a%00b", "%FF", "%c0%ae", "%ED%A0%80", "%zz", "%", "a%2", "%%41"])
def test_h51_h52_h53_undecodable_keys(raw: str) -> None:
    raised(INVALID_URI, f"/bucket/{raw}")


@pytest.mark.parametrize(
    "raw",
    ["../x", "a/../../x", ".", "..", "%2e%2e%2f", "%2e%2e/x", "a/./b", "./a", "a/..", "a/.", "%2E", "a%2F..%2Fb"],
)
def test_h54_dot_segments(raw: str) -> None:
    raised(BAD_REQUEST, f"/bucket/{raw}")


def test_h54_decoding_happens_once() -> None:
    assert address("/bucket/%252e%252e").object_key == b"%2e%2e"


def test_h55_odd_keys_stay_distinct() -> None:
    raw = [
        "a//b",
        "a/b",
        "a/",
        "a",
        "/a",
        "a%5Cb",
        "a/b%5C..",
        "...",
        "a%20",
        "a%0A",
        "..a",
        "a..",
        "~",
        "a%3Fb",
        "a%23b",
    ]
    keys = [address(f"/bucket/{key}").object_key for key in raw]
    assert len(set(keys)) == len(raw)
    assert b"a\\b" in keys


def test_h56_normal_forms_stay_distinct() -> None:
    assert decode_key(b"%C3%A9") != decode_key(b"e%CC%81")


def test_h57_a_path_never_walks_into_another_bucket() -> None:
    raised(BAD_REQUEST, "/bucket-a/../bucket-b/k")
    raised(BAD_REQUEST, "/bucket-a/%2e%2e/bucket-b/k")
    raised(INVALID_BUCKET_NAME, "/../bucket-b/k")
    raised(BAD_REQUEST, "/../bucket-b/k", "bucket-a.s3.localhost")


@pytest.mark.parametrize(
    "name",
    [
        *("A_b", "ab", "a" * 64, "192.168.1.1", "a..b", "xn--a", "sthree-a", "amzn-s3-demo-a", "a-s3alias"),
        *("a--ol-s3", "a.mrap", "a--x-s3", "a--table-s3", "-abc", "abc-", ".abc", "abc.", "", "a_b", "abc\n"),
        *("a b", "été", "a/b", "999.999.999.999", "WriteGetObjectResponse"),
    ],
)
def test_h60_bucket_names_refused(name: str) -> None:
    with pytest.raises(S3Error) as caught:
        check_bucket_name(name)
    assert caught.value.row is INVALID_BUCKET_NAME


@pytest.mark.parametrize("name", ["abc", "a" * 63, "a.b.c", "a-b", "1.2.3", "192.168.1.a", "0ab", "a.-b", "xn-a"])
def test_h60_bucket_names_taken(name: str) -> None:
    check_bucket_name(name)


def test_h60_on_the_wire() -> None:
    raised(INVALID_BUCKET_NAME, "/A_b")
    raised(INVALID_BUCKET_NAME, "//key")
    raised(INVALID_BUCKET_NAME, "/k", "a_b.s3.localhost")
    raised(INVALID_URI, "/%FF/k")


@pytest.mark.parametrize("path", ["", "*", "bucket/key"])
def test_paths_begin_with_a_slash(path: str) -> None:
    raised(INVALID_URI, path)


def test_keys_from_documents_are_judged_alike() -> None:
    check_key(b"a/b")
    for object_key, row in ((b"\xff", INVALID_URI), (b"a/../b", BAD_REQUEST), (b"a" * 1025, KEY_TOO_LONG)):
        with pytest.raises(S3Error) as caught:
            check_key(object_key)
        assert caught.value.row is row
