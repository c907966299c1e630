import asyncio
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive

from gateway.http import bodies
from gateway.http.bodies import GATHER_BYTES, ChunkedBody, HeldBody, PlainBody, RequestBody, WireBody, decode_body
from gateway.s3.errors import S3Error
from gateway.s3.request import Headers
from gateway.s3.sigv4 import PayloadMode
from tests.gateway.http.chunks import framed

TRAILER_FORM = PayloadMode.STREAMING_UNSIGNED_PAYLOAD_TRAILER
CHUNKED = Headers([(b"transfer-encoding", b"chunked")])


def receiving(messages: list[Message]) -> Receive:
    waiting = list(messages)

    async def receive() -> Message:
        return waiting.pop(0)

    return receive


def split(data: bytes, sizes: Callable[[], int]) -> list[Message]:
    messages: list[Message] = []
    at = 0
    while at < len(data):
        size = max(1, sizes())
        messages.append({"type": "http.request", "body": data[at : at + size], "more_body": True})
        at += size
    return [*messages, {"type": "http.request", "body": b"", "more_body": False}]


def read(body: RequestBody) -> list[bytes]:
    async def run() -> list[bytes]:
        return [bytes(piece) async for piece in body]

    return asyncio.run(run())


def streaming(payload: bytes, wire: bytes, sizes: Callable[[], int]) -> ChunkedBody:
    headers = Headers(
        [
            (b"transfer-encoding", b"chunked"),
            (b"x-amz-decoded-content-length", b"%d" % len(payload)),
            (b"x-amz-trailer", b"x-amz-checksum-crc32"),
        ]
    )
    body = decode_body(WireBody(receiving(split(wire, sizes)), headers), headers, TRAILER_FORM, None)
    assert isinstance(body, ChunkedBody)
    return body


def test_a_plain_body_comes_in_slices_of_useful_size(seed: int) -> None:
    rng = random.Random(seed)
    data = rng.randbytes(1_000_000)
    headers = Headers([(b"content-length", b"1000000")])
    wire = WireBody(receiving(split(data, lambda: rng.randrange(1, 60_000))), headers)
    body = PlainBody(wire)
    assert body.decoded_length == len(data)
    pieces = read(body)
    assert b"".join(pieces) == data
    assert all(len(piece) >= GATHER_BYTES for piece in pieces[:-1])
    assert (wire.has_ended, body.received_bytes, dict(body.trailers)) == (True, len(data), {})


def test_a_large_read_is_handed_on_without_a_copy() -> None:
    large = bytes(GATHER_BYTES)
    headers = Headers([(b"content-length", b"%d" % len(large))])
    body = PlainBody(WireBody(receiving([{"type": "http.request", "body": large, "more_body": False}]), headers))

    async def only() -> bool:
        return [piece is large async for piece in body] == [True]

    assert asyncio.run(only())


@pytest.mark.parametrize("headers", [Headers(), Headers([(b"content-length", b"0")])])
def test_no_body_has_ended_before_anything_is_received(headers: Headers) -> None:
    wire = WireBody(receiving([]), headers)
    assert wire.has_ended
    assert read(PlainBody(wire)) == []


def test_a_body_of_unknown_length_says_so() -> None:
    wire = WireBody(receiving([{"type": "http.request", "body": b"x", "more_body": False}]), CHUNKED)
    assert PlainBody(wire).decoded_length is None
    assert not wire.has_ended


@pytest.mark.parametrize("size", [0, 1, 8192, 65536, 300_000])
@pytest.mark.parametrize("step", [1, 7, 4096, 10**6])
def test_an_aws_chunked_body_is_decoded_however_it_is_cut(size: int, step: int) -> None:
    payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
    wire = framed(payload)
    if step == 1 and size > 8192:
        step = 1021  # byte by byte over every position is shown by the smaller ones
    body = streaming(payload, wire, lambda: step)
    assert body.decoded_length == size
    assert b"".join(read(body)) == payload
    assert body.trailers.keys() == {"x-amz-checksum-crc32"}
    assert body.received_bytes == size


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda wire: wire[:-4], "IncompleteBody"),
        (lambda wire: wire + b"x", "IncompleteBody"),
        (lambda wire: wire[:100], "IncompleteBody"),
        (lambda wire: wire.replace(b"x-amz-checksum-crc32:", b"x-amz-checksum-sha1:"), "MalformedTrailerError"),
    ],
)
def test_a_spoilt_aws_chunked_body_is_refused(spoil: Callable[[bytes], bytes], code: str) -> None:
    payload = bytes(20_000)
    body = streaming(payload, spoil(framed(payload)), lambda: 5000)
    with pytest.raises(S3Error) as refused:
        read(body)
    assert refused.value.row.code == code
    assert body.trailers == {}


def test_a_client_that_leaves_is_an_incomplete_body() -> None:
    messages: list[Message] = [
        {"type": "http.request", "body": b"part", "more_body": True},
        {"type": "http.disconnect"},
    ]
    wire = WireBody(receiving(messages), CHUNKED)
    with pytest.raises(S3Error, match="IncompleteBody"):
        read(PlainBody(wire))
    assert wire.is_disconnected
    assert not wire.has_ended


def test_a_body_without_end_is_refused_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "MAX_BODY_BYTES", 2 * GATHER_BYTES)
    pieces = split(bytes(3 * GATHER_BYTES), lambda: GATHER_BYTES)
    with pytest.raises(S3Error, match="EntityTooLarge"):
        read(PlainBody(WireBody(receiving(pieces), CHUNKED)))


def test_a_streaming_form_needs_its_decoded_length() -> None:
    with pytest.raises(S3Error, match="MissingContentLength"):
        decode_body(WireBody(receiving([]), CHUNKED), CHUNKED, TRAILER_FORM, None)


@given(
    st.lists(st.one_of(st.binary(max_size=3), st.sampled_from([bytes(16383), bytes(16384), bytes(20000)])), max_size=9)
)
def test_what_is_held_is_given_as_it_came(pieces: list[bytes]) -> None:
    held = HeldBody()
    for piece in pieces:
        held += piece
    assert bytes(held) == b"".join(pieces)
    assert len(held) == len(bytes(held))


def test_a_large_piece_is_held_and_given_without_a_copy() -> None:
    held, piece = HeldBody(), bytes(100_000)
    held += piece
    assert bytes(held) is piece


def test_single_bytes_cost_no_object_each() -> None:
    held = HeldBody()
    for _ in range(100_000):
        held += b"x"
    assert bytes(held) == b"x" * 100_000
    assert len(held._pieces) < 10
