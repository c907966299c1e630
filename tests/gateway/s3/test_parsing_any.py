"""Whatever is sent, address, route and parser give a value or an S3Error, never another exception."""

import contextlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.s3 import parsing
from gateway.s3.addressing import Address, decode_key, resolve
from gateway.s3.errors import S3Error
from gateway.s3.parsing.support import ONLY_INERT, SERVED
from gateway.s3.ranges import parse_range
from gateway.s3.ranges import resolve as resolve_range
from gateway.s3.request import Headers, Request
from gateway.s3.routing import ROUTES, route
from tests.gateway.s3.wire import DOMAINS, NOW, snake

HEADER_NAMES = sorted(
    {
        *SERVED,
        *ONLY_INERT,
        *("host", "content-length", "content-md5", "content-type", "content-encoding", "expires", "range", "if-match"),
        *("if-none-match", "if-modified-since", "if-unmodified-since", "transfer-encoding", "x-amz-meta-a"),
        *("x-amz-meta-", "x-amz-key", "cache-control", "content-language", "content-disposition", "x-minio-a"),
    }
)
QUERY_NAMES = sorted(
    {*(name for found in ROUTES.values() for name in found.arguments), "uploadId", "list-type", "delete"}
)
TEXTS = st.sampled_from(
    [
        *("", "0", "1", "-1", "10001", "9" * 5000, "abc", "true", "2", "url", "*", '"a"', "bytes=0-1", "bytes=-0"),
        *("AES256", "COPY", "REPLACE", "source/k", "source/k?versionId=x", "CRC32", "SHA256", "COMPOSITE", "AAAAAA=="),
        *("STREAMING-UNSIGNED-PAYLOAD-TRAILER", "x-amz-checksum-crc32", "aws-chunked,gzip", "private", "STANDARD"),
        *("Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "localhost", "bucket.s3.localhost:1"),
    ]
)
VALUES = TEXTS.map(lambda text: text.encode("latin-1")) | st.binary(max_size=24)
HEADERS = st.lists(
    st.tuples(st.sampled_from(HEADER_NAMES).map(str.encode) | st.binary(min_size=1, max_size=12), VALUES), max_size=8
)
QUERY = st.lists(
    st.tuples(st.sampled_from(QUERY_NAMES).map(str.encode) | st.binary(max_size=8), VALUES), max_size=4
).map(lambda pairs: b"&".join(name + b"=" + value for name, value in pairs))
DOCUMENTS = st.binary(max_size=40) | st.sampled_from(
    [
        b"<Delete><Object><Key>a</Key></Object></Delete>",
        b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>a</ETag></Part></CompleteMultipartUpload>",
        b"<CreateBucketConfiguration/>",
    ]
)


def sent(method: str, path: bytes, query: bytes, headers: list[tuple[bytes, bytes]]) -> Request:
    return Request(method, path, query, Headers(headers), "REQ", NOW)


@given(
    method=st.sampled_from(["GET", "PUT", "POST", "HEAD", "DELETE", "FOO"]),
    path=st.binary(max_size=30) | st.binary(max_size=20).map(lambda tail: b"/bucket/" + tail),
    query=st.binary(max_size=30) | QUERY,
    headers=HEADERS,
)
def test_addresses_and_routes(method: str, path: bytes, query: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    with contextlib.suppress(S3Error):
        request = sent(method, path, query, headers)
        assert route(request, resolve(request, DOMAINS)) in {found.name for found in ROUTES.values()}


@given(found=st.sampled_from(list(ROUTES.items())), query=QUERY, headers=HEADERS, document=DOCUMENTS)
def test_every_parser(found: Any, query: bytes, headers: list[tuple[bytes, bytes]], document: bytes) -> None:
    (method, _, selectors, _), row = found
    needed = b"".join(f"{name}={'2' if name == 'list-type' else 'u'}&".encode() for name in sorted(selectors))
    request = sent(method, b"/bucket/k", needed + query, headers)
    parse = getattr(parsing, f"parse_{snake(row.name)}")
    with contextlib.suppress(S3Error):
        assert parse(request, Address("bucket", b"k"), document) is not None
    with contextlib.suppress(S3Error):
        parsing.document_expectation(request, row.name)


@given(st.binary(max_size=40))
def test_keys(raw: bytes) -> None:
    with contextlib.suppress(S3Error):
        decoded = decode_key(raw)
        assert b"\0" not in decoded
        assert not {b".", b".."} & set(decoded.split(b"/"))
        assert decoded.decode("utf-8").encode() == decoded


@given(st.text(max_size=40) | st.from_regex(r"bytes=[0-9]*-[0-9]*", fullmatch=True), st.integers(0, 2**63))
def test_ranges(text: str, size: int) -> None:
    with contextlib.suppress(S3Error):
        span = resolve_range(parse_range(text), size)
        if span is not None:
            assert span[0] >= 0
            assert span[1] > 0
            assert sum(span) <= size
