"""Whatever is sent: a value or an S3Error, never another exception."""

import contextlib
from datetime import UTC, datetime
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.s3.checksums import declared_checksum, trailer_names
from gateway.s3.errors import S3Error
from gateway.s3.request import Headers, Request
from gateway.s3.sigv4 import ChunkedDecoder, PayloadMode, Presentation, decoded_content_length, present, verify
from tests.gateway.s3.sigv4.signer import NOW, REGION, header_request, presigned_request, presigned_v2_request
from tests.gateway.s3.sigv4.test_chunked import CRC, framed, signer

WORDS = st.sampled_from(
    [
        "AWS4-HMAC-SHA256 ",
        "Credential=AK/20261122/eu-central-1/s3/aws4_request",
        "SignedHeaders=host",
        "Signature=00",
        "Credential=",
        "/",
        ";",
        ",",
        "=",
        "%",
        "%zz",
        "%00",
        "&",
        "+",
        "20261122T120000Z",
        "99991231T235959Z",
        "00000101T000000Z",
        "-1",
        "604800",
        "X-Amz-Algorithm",
        "X-Amz-Credential",
        "X-Amz-Date",
        "X-Amz-Expires",
        "X-Amz-SignedHeaders",
        "X-Amz-Signature",
        "AWSAccessKeyId",
        "Signature",
        "Expires",
        "host",
        "x-amz-date",
        "x-amz-acl",
    ]
)
TEXT = st.lists(WORDS | st.binary(max_size=4).map(lambda b: b.decode("latin-1")), max_size=12).map("".join)
NAMES = st.sampled_from(
    [
        "authorization",
        "host",
        "date",
        "x-amz-date",
        "x-amz-content-sha256",
        "x-amz-decoded-content-length",
        "x-amz-trailer",
        "x-amz-sdk-checksum-algorithm",
        "x-amz-checksum-crc32",
        "x-amz-checksum-sha256",
        "x-amz-checksum-type",
        "x-amz-checksum-xxhash3",
        "content-type",
        "x-amz-security-token",
    ]
)
VALUES = TEXT | st.sampled_from(
    ["CRC32", "SHA256", CRC, "AAAAAA==", "AAAAAA==-3", "UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"]
)
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=6).map(
    lambda items: Headers((name.encode(), value.encode("latin-1")) for name, value in items)
)
VALID = [header_request(), presigned_request(), presigned_v2_request()]


def settle(request: Request, now: datetime = NOW) -> None:
    with contextlib.suppress(S3Error):
        found = present(request, now, REGION)
        if isinstance(found, Presentation):
            verify(found, request, "secret")


@settings(max_examples=400, deadline=None)
@given(
    headers=HEADERS,
    query=TEXT,
    path=st.binary(max_size=8),
    now=st.datetimes(timezones=st.just(UTC)) | st.just(NOW),
)
def test_any_request(headers: Headers, query: str, path: bytes, now: datetime) -> None:
    settle(Request("GET", path, query.encode("latin-1"), headers, "R", NOW, tls_version="TLSv1.3"), now)
    for read in (declared_checksum, trailer_names, decoded_content_length):
        with contextlib.suppress(S3Error):
            read(headers)
    with contextlib.suppress(S3Error):
        declared_checksum(headers, composite_allowed=True)


@settings(max_examples=400, deadline=None)
@given(data=st.data(), index=st.integers(0, 2), insert=st.binary(max_size=4))
def test_any_request_near_a_valid_one(data: st.DataObject, index: int, insert: bytes) -> None:
    valid = VALID[index]
    items = [*valid.headers.raw(), (b"", valid.raw_query)]
    target = data.draw(st.integers(0, len(items) - 1))
    name, value = items[target]
    start = data.draw(st.integers(0, len(value)))
    end = data.draw(st.integers(start, min(len(value), start + 4)))
    items[target] = (name, value[:start] + insert + value[end:])
    query = items.pop()[1]
    settle(Request(valid.method, valid.raw_path, query, Headers(items), "R", NOW, tls_version="TLSv1.3"))


@settings(max_examples=400, deadline=None)
@given(
    mode=st.sampled_from([mode for mode in PayloadMode if mode.is_streaming]),
    cuts=st.lists(st.integers(0, 600), max_size=4),
    edit=st.tuples(st.integers(0, 600), st.integers(0, 4), st.binary(max_size=6)),
    length=st.sampled_from([0, 5, 6, 2**40]),
)
def test_any_body(mode: PayloadMode, cuts: list[int], edit: tuple[int, int, bytes], length: int) -> None:
    trailers = [(CRC, "NhCmhg==")] if mode.has_trailer else []
    body = framed(mode, (5,), trailers)
    at, removed, inserted = edit
    body = body[:at] + inserted + body[at + removed :]
    chunked = ChunkedDecoder(
        mode, length, [name for name, _ in trailers], signer() if mode.is_signed_streaming else None
    )
    edges = [0, *sorted(cuts), len(body)]
    with contextlib.suppress(S3Error):
        for start, end in pairwise(edges):
            chunked.feed(body[start:end])
        chunked.finish()
