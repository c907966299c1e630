"""aws-chunked bodies, signed and unsigned, with and without trailers, attacked: H25 to H38 of the hostile inputs."""

import base64
import binascii
import http.client
import zlib
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

from tests.hostile.signing import (
    SIGNED_CHUNKS,
    SIGNED_CHUNKS_TRAILED,
    TRAILED,
    Pairs,
    Shot,
    other_digit,
    unsigned_chunks,
)
from tests.hostile.stage import Row, Stage, is_refusal, read_answer

NEW: Final = "/alice-1/new"
KEEP: Final = "/alice-1/keep"
INCOMPLETE: Final = "IncompleteBody"
TRAILER: Final = "MalformedTrailerError"
MISMATCH: Final = "SignatureDoesNotMatch"
CRC: Final = "x-amz-checksum-crc32"
MODES: Final = (TRAILED, SIGNED_CHUNKS, SIGNED_CHUNKS_TRAILED)
DELETE_KEEP: Final = b"<Delete><Object><Key>keep</Key></Object></Delete>"


def crc32(content: bytes) -> bytes:
    return base64.b64encode(zlib.crc32(content).to_bytes(4, "big"))


def trailer(content: bytes) -> bytes:
    return b"x-amz-checksum-crc32:" + crc32(content) + b"\r\n"


def raw(
    body: bytes, length: str | None = "4", *, announced: str | None = CRC, target: str = NEW, mode: str = TRAILED
) -> Callable[[Stage], Shot]:
    """A signed request whose aws-chunked body is sent as it stands."""
    return lambda s: s.alice.chunked("PUT", target, body, length=length, trailer=announced, mode=mode)


def wire(stage_body: bytes, status: int, code: str, length: str | None = "4", announced: str | None = CRC) -> Row:
    return Row(raw(stage_body, length, announced=announced), status, code)


def signed(chunks: list[bytes], code: str, status: int = 403, *, trailers: Pairs = (), forge: int | str = 0) -> Row:
    return Row(
        lambda s: s.alice.signed_chunks("PUT", NEW, chunks, trailers=trailers, forge=forge), status, code
    )  # fmt: skip


def forged_seed(method: str, target: str, body: bytes, mode: str = TRAILED) -> Row:
    def make(stage: Stage) -> Shot:
        where = target.format(upload=stage.ids["alice"])
        framed = unsigned_chunks([body], trailer(body))
        shot = stage.alice.chunked(method, where, framed, length=str(len(body)), mode=mode)
        return shot.resigned(shot.signature, other_digit(shot.signature))

    return Row(make, 403, MISMATCH)


def forged_query(method: str, target: str, body: bytes) -> Row:
    def make(stage: Stage) -> Shot:
        headers = [
            ("x-amz-content-sha256", TRAILED),
            ("x-amz-decoded-content-length", str(len(body))),
            ("x-amz-trailer", CRC),
        ]
        where = target.format(upload=stage.ids["alice"])
        framed = unsigned_chunks([body], trailer(body))
        shot = stage.alice.presigned(method, where, framed, headers=headers, payload=TRAILED)
        return replace(shot, target=other_digit(shot.target))

    return Row(make, 403, MISMATCH)


def raw_on(method: str, target: str, mode: str) -> Callable[[Stage], Shot]:
    def make(stage: Stage) -> Shot:
        where = target.format(upload=stage.ids["alice"])
        return stage.alice.chunked(method, where, b"", length="0", trailer=None, mode=mode)

    return make


def raw_without_signature() -> Callable[[Stage], Shot]:
    return lambda s: raw(b"0\r\n\r\n", "0", announced=None)(s).without("Authorization")


def anonymous(mode: str) -> Row:
    shot = raw(b"0\r\n\r\n", "0", announced=None, mode=mode)
    return Row(lambda s: shot(s).without("Authorization"), 400, "InvalidRequest")


def edited(shot: Shot, change: Callable[[bytes], bytes]) -> Shot:
    return replace(shot, body=change(shot.body))


def changed_body(shot: Shot, old: bytes, new: bytes) -> Shot:
    assert old in shot.body
    return replace(shot, body=shot.body.replace(old, new, 1))


EIGHT: Final = [b"a" * 8192, b"b" * 8192, b"c" * 100]
FRAMED: Final = 8192 + len("2000;chunk-signature=\r\n\r\n") + 64
LARGE: Final = [b"a" * 65_536, b"b" * 65_536, b"c" * 65_536, b"d" * 100]
SUM: Final = [(CRC, crc32(b"".join(EIGHT)).decode())]
BODY_ROUTES: Final = {
    "put": ("PUT", KEEP, b"x"),
    "new": ("PUT", NEW, b"x"),
    "part": ("PUT", "/alice-1/alice-upload?partNumber=1&uploadId={upload}", b"x"),
    "delete": ("POST", "/alice-1?delete=", DELETE_KEEP),
    "complete": ("POST", "/alice-1/alice-upload?uploadId={upload}", b"<CompleteMultipartUpload/>"),
    "bucket": ("PUT", "/alice-3", b""),
    "tagging": ("PUT", f"{KEEP}?tagging=", b"<Tagging/>"),
    "policy": ("PUT", "/alice-1?policy=", b"{}"),
}

ROWS: Final = {
    "H25-first": signed(EIGHT, MISMATCH, forge=0),
    "H25-middle": signed(EIGHT, MISMATCH, forge=1),
    "H25-last-with-data": signed(EIGHT, MISMATCH, forge=2),
    "H25-final-zero-chunk": signed(EIGHT, MISMATCH, forge=3),
    "H25-final-zero-chunk-of-a-blob": signed(LARGE, MISMATCH, forge=4),
    "H25-final-zero-chunk-of-nothing": signed([], MISMATCH, forge=0),
    "H25-trailer": signed(EIGHT, MISMATCH, trailers=SUM, forge="trailer"),
    "H25-final-zero-chunk-before-a-trailer": signed(EIGHT, MISMATCH, trailers=SUM, forge=3),
    "H25-data-changed": Row(
        lambda s: changed_body(s.alice.signed_chunks("PUT", NEW, EIGHT), b"aaaa", b"aaab"), 403, MISMATCH
    ),
    "H25-data-of-a-blob-changed": Row(
        lambda s: changed_body(s.alice.signed_chunks("PUT", KEEP, LARGE), b"dddd", b"dddc"), 403, MISMATCH
    ),
    "H25-chunks-swapped": Row(
        lambda s: edited(
            s.alice.signed_chunks("PUT", NEW, EIGHT),
            lambda body: body[FRAMED : 2 * FRAMED] + body[:FRAMED] + body[2 * FRAMED :],
        ), 403, MISMATCH,
    ),
    "H25-chunk-left-out": Row(
        lambda s: edited(s.alice.signed_chunks("PUT", NEW, EIGHT), lambda body: body[FRAMED:]), 403, MISMATCH
    ),
    "H25-chunk-repeated": Row(
        lambda s: edited(s.alice.signed_chunks("PUT", NEW, EIGHT), lambda body: body[:FRAMED] + body), 403, MISMATCH
    ),
    "H25-chunks-of-another-request": Row(
        lambda s: replace(
            s.alice.signed_chunks("PUT", NEW, EIGHT), body=s.alice.signed_chunks("PUT", KEEP, EIGHT).body
        ), 403, MISMATCH,
    ),
    "H25-chunks-of-another-account": Row(
        lambda s: replace(
            s.alice.signed_chunks("PUT", NEW, EIGHT), body=s.mallory.signed_chunks("PUT", NEW, EIGHT).body
        ), 403, MISMATCH,
    ),
    "H25-no-chunk-signature": Row(
        lambda s: replace(s.alice.signed_chunks("PUT", NEW, [b"abcd"]), body=unsigned_chunks([b"abcd"])),
        400, INCOMPLETE,
    ),
    "H25-upper-case-chunk-signature": Row(
        lambda s: edited(
            s.alice.signed_chunks("PUT", NEW, [b"a" * 8192]), lambda body: body[:21] + body[21:85].upper() + body[85:]
        ), 403, MISMATCH,
    ),
    "H25-empty-chunk-signature": Row(
        raw(b"4;chunk-signature=\r\nabcd\r\n0;chunk-signature=\r\n\r\n", announced=None, mode=SIGNED_CHUNKS),
        403, MISMATCH,
    ),
    "H25-second-extension": Row(
        lambda s: changed_body(s.alice.signed_chunks("PUT", NEW, [b"abcd"]), b"\r\nabcd", b";x=y\r\nabcd"),
        400, INCOMPLETE,
    ),
    "H25-trailer-value-changed": Row(
        lambda s: changed_body(
            s.alice.signed_chunks("PUT", NEW, EIGHT, trailers=SUM), SUM[0][1].encode(), crc32(b"")
        ), 403, MISMATCH,
    ),
    "H25-trailer-signature-missing": Row(
        lambda s: edited(
            s.alice.signed_chunks("PUT", NEW, EIGHT, trailers=SUM),
            lambda body: body.partition(b"x-amz-trailer-signature")[0] + b"\r\n",
        ), 400, TRAILER,
    ),
    "H25-trailer-signature-twice": Row(
        lambda s: changed_body(
            s.alice.signed_chunks("PUT", NEW, EIGHT, trailers=SUM), b"x-amz-trailer-signature",
            b"x-amz-trailer-signature:0\r\nx-amz-trailer-signature",
        ), 400, TRAILER,
    ),
    "H27-size-16-f": wire(b"ffffffffffffffff\r\nabcd\r\n0\r\n\r\n", 400, INCOMPLETE),
    "H27-size-17-digits": wire(b"00000000000000004\r\nabcd\r\n0\r\n\r\n", 400, INCOMPLETE),
    "H27-size-negative": wire(b"-1\r\nabcd\r\n0\r\n\r\n", 400, INCOMPLETE),
    "H27-size-plus": wire(b"+4\r\nabcd\r\n0\r\n\r\n", 400, INCOMPLETE),
    "H27-size-0x": wire(b"0x4\r\nabcd\r\n0\r\n\r\n", 400, INCOMPLETE),
    "H27-size-blank-behind": wire(b"4 \r\nabcd\r\n0\r\n\r\n", 400, INCOMPLETE),
    "H27-size-blank-before": wire(b" 4\r\nabcd\r\n0\r\n\r\n", 400, INCOMPLETE),
    "H27-size-empty": wire(b"\r\nabcd\r\n0\r\n\r\n", 400, INCOMPLETE),
    "H27-size-underscore": wire(b"0_4\r\nabcd\r\n0\r\n\r\n", 400, INCOMPLETE),
    "H27-size-nul": wire(b"4\0\r\nabcd\r\n0\r\n\r\n", 400, INCOMPLETE),
    "H27-size-a-kilobyte": wire(b"0" * 1024 + b"4\r\nabcd\r\n0\r\n\r\n", 400, INCOMPLETE),
    "H27-size-a-megabyte-without-end": wire(b"4" * 1_000_000, 400, INCOMPLETE),
    "H27-extension-on-the-unsigned-form": wire(b"4;a=b\r\nabcd\r\n0\r\n\r\n", 400, INCOMPLETE),
    "H27-bare-line-feeds": wire(b"4\nabcd\n0\n\n", 400, INCOMPLETE),
    "H27-no-line-end-behind-data": wire(b"4\r\nabcd0\r\n\r\n", 400, INCOMPLETE),
    "H27-wrong-line-end-behind-data": wire(b"4\r\nabcd\n\r0\r\n\r\n", 400, INCOMPLETE),
    "H28-small-chunk-first": Row(
        raw(unsigned_chunks([b"a" * 8191, b"b" * 9000], trailer(b"a" * 8191 + b"b" * 9000)), "17191"),
        400, "InvalidChunkSizeError",
    ),
    "H28-small-chunk-in-the-middle": Row(
        raw(unsigned_chunks([b"a" * 9000, b"b", b"c"], trailer(b"a" * 9000 + b"bc")), "9002"),
        400, "InvalidChunkSizeError",
    ),
    "H28-small-signed-chunk": signed([b"a" * 100, b"b" * 9000], "InvalidChunkSizeError", 400, forge=99),
    "H28-ten-thousand-chunks-of-a-byte": Row(
        raw(unsigned_chunks([b"a"] * 10_000, trailer(b"a" * 10_000)), "10000"), 400, "InvalidChunkSizeError"
    ),
    "H29-no-length": Row(raw(unsigned_chunks([b"abcd"], trailer(b"abcd")), None), 411, "MissingContentLength"),
    "H29-length-abc": Row(raw(unsigned_chunks([b"abcd"], trailer(b"abcd")), "abc"), 411, "MissingContentLength"),
    "H29-length-negative": Row(raw(unsigned_chunks([b"abcd"], trailer(b"abcd")), "-4"), 411, "MissingContentLength"),
    "H29-length-empty": Row(raw(unsigned_chunks([b"abcd"], trailer(b"abcd")), ""), 411, "MissingContentLength"),
    "H29-length-smaller": wire(unsigned_chunks([b"abcd"], trailer(b"abcd")), 400, INCOMPLETE, "3"),
    "H29-length-larger": wire(unsigned_chunks([b"abcd"], trailer(b"abcd")), 400, INCOMPLETE, "5"),
    "H29-length-zero": wire(unsigned_chunks([b"abcd"], trailer(b"abcd")), 400, INCOMPLETE, "0"),
    "H29-length-over-5-gib": wire(unsigned_chunks([b"abcd"], trailer(b"abcd")), 400, "EntityTooLarge", "5368709121"),
    "H29-length-19-digits": wire(unsigned_chunks([b"abcd"], trailer(b"abcd")), 400, "EntityTooLarge", "9" * 19),
    "H29-length-20-digits": wire(
        unsigned_chunks([b"abcd"], trailer(b"abcd")), 411, "MissingContentLength", "9" * 20
    ),
    "H30-bytes-behind": wire(unsigned_chunks([b"abcd"], trailer(b"abcd")) + b"x", 400, INCOMPLETE),
    "H30-line-end-behind": wire(unsigned_chunks([b"abcd"], trailer(b"abcd")) + b"\r\n", 400, INCOMPLETE),
    "H30-another-request-behind": wire(
        unsigned_chunks([b"abcd"], trailer(b"abcd")) + b"DELETE /alice-1/keep HTTP/1.1\r\nHost: h\r\n\r\n",
        400, INCOMPLETE,
    ),
    "H30-no-end-at-all": wire(b"4\r\nabcd\r\n", 400, INCOMPLETE),
    "H30-no-last-line-end": wire(b"4\r\nabcd\r\n0\r\n" + trailer(b"abcd"), 400, INCOMPLETE),
    "H30-plain-body": wire(b"abcd", 400, INCOMPLETE),
    "H30-empty-body": wire(b"", 400, INCOMPLETE),
    **{f"H32-{name}": forged_seed(*route) for name, route in BODY_ROUTES.items()},
    **{f"H32-{name}-in-query": forged_query(*route) for name, route in BODY_ROUTES.items()},
    **{f"H32-{name}-signed-form": forged_seed(*route, mode=SIGNED_CHUNKS) for name, route in BODY_ROUTES.items()},
    "H32-unsigned-form-under-a-signature-for-the-signed-one": Row(
        lambda s: replace(
            s.alice.chunked("PUT", NEW, b"", length="4", mode=SIGNED_CHUNKS, trailer=None).changed(
                "x-amz-content-sha256", TRAILED
            ),
            body=unsigned_chunks([b"abcd"]),
        ), 403, MISMATCH,
    ),
    "H32-unsigned-payload-under-a-signature-for-a-hash": Row(
        lambda s: s.alice.header("PUT", NEW, b"abcd").changed("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        403, MISMATCH,
    ),
    "H33-absent": wire(unsigned_chunks([b"abcd"]), 400, TRAILER),
    "H33-extra": wire(unsigned_chunks([b"abcd"], trailer(b"abcd") + b"x-extra:1\r\n"), 400, TRAILER),
    "H33-twice": wire(unsigned_chunks([b"abcd"], trailer(b"abcd") * 2), 400, TRAILER),
    "H33-other": wire(unsigned_chunks([b"abcd"], b"x-amz-checksum-crc32c:AAAAAA==\r\n"), 400, TRAILER),
    "H33-not-announced": wire(unsigned_chunks([b"abcd"], trailer(b"abcd")), 400, TRAILER, announced=None),
    "H33-empty-name": wire(unsigned_chunks([b"abcd"], b":" + crc32(b"abcd") + b"\r\n"), 400, TRAILER),
    "H33-blank-before-colon": wire(
        unsigned_chunks([b"abcd"], b"x-amz-checksum-crc32 :" + crc32(b"abcd") + b"\r\n"), 400, TRAILER
    ),
    "H33-no-colon": wire(unsigned_chunks([b"abcd"], b"x-amz-checksum-crc32\r\n"), 400, TRAILER),
    "H33-control-in-value": wire(unsigned_chunks([b"abcd"], b"x-amz-checksum-crc32:\x01\r\n"), 400, TRAILER),
    "H33-folded": wire(
        unsigned_chunks([b"abcd"], b"x-amz-checksum-crc32:\r\n " + crc32(b"abcd") + b"\r\n"), 400, TRAILER
    ),
    "H33-line-of-64-kilobytes": wire(
        unsigned_chunks([b"abcd"], b"x-amz-checksum-crc32:" + b"A" * 65_536 + b"\r\n"), 400, TRAILER
    ),
    "H33-megabyte-of-trailers": wire(unsigned_chunks([b"abcd"], b"a:b\r\n" * 200_000), 400, TRAILER),
    "H33-metadata-as-trailer": wire(
        unsigned_chunks([b"abcd"], b"x-amz-meta-a:b\r\n"), 400, "InvalidRequest", announced="x-amz-meta-a"
    ),
    "H33-authorization-as-trailer": wire(
        unsigned_chunks([b"abcd"], b"authorization:b\r\n"), 400, "InvalidRequest", announced="authorization"
    ),
    "H33-announced-two": wire(
        unsigned_chunks([b"abcd"], trailer(b"abcd")), 400, "InvalidRequest", announced=f"{CRC},x-amz-checksum-sha1"
    ),
    "H33-announced-same-twice": wire(
        unsigned_chunks([b"abcd"], trailer(b"abcd")), 400, "InvalidRequest", announced=f"{CRC},{CRC}"
    ),
    "H33-announced-to-a-form-without": Row(
        raw(b"", announced=CRC, mode=SIGNED_CHUNKS), 400, TRAILER
    ),
    "H33-signed-form-lacks-it": Row(
        lambda s: edited(
            s.alice.signed_chunks("PUT", NEW, EIGHT, trailers=SUM),
            lambda body: body.replace(SUM[0][0].encode() + b":" + SUM[0][1].encode() + b"\r\n", b""),
        ), 400, TRAILER,
    ),
    "H33-newer-algorithm": wire(
        unsigned_chunks([b"abcd"], b"x-amz-checksum-sha512:AA==\r\n"), 501, "NotImplemented",
        announced="x-amz-checksum-sha512",
    ),
    "H34-not-base64": wire(unsigned_chunks([b"abcd"], b"x-amz-checksum-crc32:!!!!!!!!\r\n"), 400, "InvalidRequest"),
    "H34-too-short": wire(unsigned_chunks([b"abcd"], b"x-amz-checksum-crc32:AAAA\r\n"), 400, "InvalidRequest"),
    "H34-empty": wire(unsigned_chunks([b"abcd"], b"x-amz-checksum-crc32:\r\n"), 400, "InvalidRequest"),
    "H34-bits-behind-the-padding": wire(
        unsigned_chunks([b"abcd"], b"x-amz-checksum-crc32:7YLNER==\r\n"), 400, "InvalidRequest"
    ),
    "H34-wrong": wire(unsigned_chunks([b"abcd"], trailer(b"abce")), 400, "BadDigest"),
    "H34-wrong-of-a-blob": Row(
        raw(unsigned_chunks([b"a" * 200_000], trailer(b"a")), "200000"), 400, "BadDigest"
    ),
    "H34-wrong-over-what-is-there": Row(
        raw(unsigned_chunks([b"lost"], trailer(b"kept")), target=KEEP), 400, "BadDigest"
    ),
    "H34-wrong-of-a-part": Row(
        lambda s: s.alice.chunked(
            "PUT", f"/alice-1/alice-upload?partNumber=1&uploadId={s.ids['alice']}",
            unsigned_chunks([b"abcd"], trailer(b"abce")), length="4",
        ), 400, "BadDigest",
    ),
    "H34-header-and-trailer": Row(
        lambda s: s.alice.chunked(
            "PUT", NEW, unsigned_chunks([b"abcd"], trailer(b"abcd")), length="4",
            headers=[(CRC, crc32(b"abcd").decode())],
        ), 400, "InvalidRequest",
    ),
    "H34-right-signature-wrong-sum": Row(
        lambda s: s.alice.signed_chunks("PUT", NEW, EIGHT, trailers=[(CRC, crc32(b"x").decode())]), 400, "BadDigest"
    ),
    "H34-wrong-md5-beside-a-right-trailer": Row(
        lambda s: s.alice.chunked(
            "PUT", NEW, unsigned_chunks([b"abcd"], trailer(b"abcd")), length="4",
            headers=[("Content-MD5", base64.b64encode(b"0" * 16).decode())],
        ), 400, "BadDigest",
    ),
    **{
        f"H36-{mode}-on-{name}": Row(
            raw_on(method, target, mode), 400, "InvalidRequest"
        )
        for mode in MODES
        for name, (method, target) in {
            "get": ("GET", KEEP), "head": ("HEAD", KEEP), "list": ("GET", "/alice-1"), "buckets": ("GET", "/"),
            "delete": ("DELETE", KEEP), "abort": ("DELETE", "/alice-1/alice-upload?uploadId={upload}"),
            "create-upload": ("POST", "/alice-1/x?uploads="), "delete-bucket": ("DELETE", "/alice-2"),
        }.items()
    },
    "H36-on-copy": Row(
        lambda s: s.alice.chunked(
            "PUT", NEW, b"0\r\n\r\n", length="0", trailer=None, headers=[("x-amz-copy-source", "/alice-1/big")]
        ), 400, "InvalidRequest",
    ),
    **{f"H36-anonymous-{mode}": anonymous(mode) for mode in MODES[1:]},
    "H36-anonymous-unsigned": Row(
        raw_without_signature(), 403, "AccessDenied"
    ),
    "H36-presigned-signed-form": Row(
        lambda s: s.alice.presigned(
            "PUT", NEW, b"0\r\n\r\n", headers=[("x-amz-content-sha256", SIGNED_CHUNKS)], payload=SIGNED_CHUNKS
        ), 400, "InvalidRequest",
    ),
    "H36-ecdsa": Row(
        raw(b"0\r\n\r\n", "0", announced=None, mode="STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"), 400, "InvalidRequest"
    ),
    "H36-unknown-streaming": Row(
        raw(b"0\r\n\r\n", "0", announced=None, mode="STREAMING-UNSIGNED-PAYLOAD"), 400, "InvalidArgument"
    ),
    "document-signed-chunks-forged": Row(
        lambda s: s.alice.signed_chunks(
            "POST", "/alice-1?delete=", [DELETE_KEEP], forge=1,
            headers=[(CRC, crc32(DELETE_KEEP).decode())],
        ), 403, MISMATCH,
    ),
    "document-wrong-trailer": Row(
        lambda s: s.alice.chunked(
            "POST", "/alice-1?delete=", unsigned_chunks([DELETE_KEEP], trailer(b"")), length=str(len(DELETE_KEEP))
        ), 400, "BadDigest",
    ),
    "document-claims-four-bytes": Row(
        lambda s: s.alice.chunked(
            "POST", "/alice-1?delete=", unsigned_chunks([DELETE_KEEP], trailer(DELETE_KEEP)), length="4"
        ), 400, INCOMPLETE,
    ),
    "document-claims-a-gigabyte": Row(
        lambda s: s.alice.chunked(
            "POST", "/alice-1?delete=", unsigned_chunks([DELETE_KEEP], trailer(DELETE_KEEP)), length="1073741824"
        ), 400, "MaxMessageLengthExceeded",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_refused_and_nothing_changed(stage: Stage, name: str) -> None:
    stage.refuses(ROWS[name])


@pytest.mark.parametrize("declared", [10, 100_000, 5 * 1024**3], ids="H26-{}".format)
def test_h26_a_chunk_that_is_cut_short_by_the_client(stage: Stage, declared: int) -> None:
    """CVE-2021-21390: the size of a chunk was believed, and what followed was signed by nobody."""
    body = b"%x\r\n" % declared + b"a" * 9
    shot = stage.alice.chunked("PUT", KEEP, body, length=str(declared))
    head = shot.head().replace(b"Content-Length: %d" % len(body), b"Content-Length: %d" % (declared + 60))
    with stage.connected() as secure:
        secure.sendall(head + body)
    stage.same_picture()
    with stage.connected() as secure:
        secure.sendall(shot.wire())  # the whole body was sent, and is too short for its own chunk
        is_refusal(read_answer(secure), 400, INCOMPLETE)
    stage.same_picture()


SHAPES: Final = ("unsigned", "unsigned-with-trailer", "signed", "signed-with-trailer")


def right(stage: Stage, shape: str, target: str) -> tuple[Shot, bytes]:
    content = b"".join(EIGHT)
    if shape == "unsigned":
        framed = unsigned_chunks(EIGHT)
        return stage.alice.chunked("PUT", target, framed, length=str(len(content)), trailer=None), content
    if shape == "unsigned-with-trailer":
        framed = unsigned_chunks(EIGHT, trailer(content))
        return stage.alice.chunked("PUT", target, framed, length=str(len(content))), content
    trailers = SUM if shape == "signed-with-trailer" else ()
    return stage.alice.signed_chunks("PUT", target, EIGHT, trailers=trailers), content


@pytest.mark.parametrize("shape", SHAPES)
def test_right_ones_are_taken(stage: Stage, shape: str) -> None:
    shot, content = right(stage, shape, "/alice-2/chunked")
    answer = stage.send(shot)
    assert answer.status == 200, answer
    assert stage.send(stage.alice.header("GET", "/alice-2/chunked")).body == content
    stage.gone(stage.alice, "/alice-2/chunked")


@pytest.mark.parametrize("shape", SHAPES[1:])
def test_h31_the_framing_cut_at_every_byte(stage: Stage, shape: str) -> None:
    """Each piece travels as a TLS record of its own, so that the decoder sees every split of its lines."""
    shot, content = right(stage, shape, "/alice-2/split")
    first = shot.body.index(b"a" * 64)
    second = shot.body.index(b"\r\n", first + 8192)
    last = shot.body.index(b"c" * 64) + 98
    whole = len(shot.body)
    cuts = [*range(first + 2), *range(second - 1, second + 100), *range(last, whole + 1)]
    with stage.connected() as secure:
        secure.sendall(shot.head())
        for start, end in pairwise(cuts):
            secure.sendall(shot.body[start:end])
        assert read_answer(secure).status == 200
    assert stage.send(stage.alice.header("GET", "/alice-2/split")).body == content
    stage.gone(stage.alice, "/alice-2/split")


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("aws-chunked,gzip", "gzip"), ("gzip,aws-chunked", "gzip"), ("aws-chunked", None), ("AWS-Chunked, br", "br")],
    ids="H37-{}".format,
)
def test_h37_framing_is_no_encoding_of_the_content(stage: Stage, sent: str, kept: str | None) -> None:
    body = unsigned_chunks([b"abcd"], trailer(b"abcd"))
    shot = stage.alice.chunked("PUT", "/alice-2/coded", body, length="4", headers=[("Content-Encoding", sent)])
    assert stage.send(shot).status == 200
    answer = stage.send(stage.alice.header("GET", "/alice-2/coded"))
    assert (answer.body, answer.headers.get("content-encoding")) == (b"abcd", kept)
    stage.gone(stage.alice, "/alice-2/coded")


def resident(pid: int) -> int:
    """Resident memory of a process, in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


@pytest.mark.parametrize("mebibytes", [64, pytest.param(256, marks=pytest.mark.slow)], ids="H38-{}MiB".format)
def test_h38_one_huge_signed_chunk_in_flat_memory(stage: Stage, mebibytes: int) -> None:
    block = b"m" * (mebibytes * 1024 * 1024)
    shot = stage.alice.signed_chunks("PUT", "/alice-2/huge", [block])
    before = resident(stage.gateway.pid)
    assert stage.send(shot).status == 200
    grown = resident(stage.gateway.pid) - before
    assert grown < 48 * 1024 * 1024, grown
    with stage.connected() as secure:
        secure.sendall(stage.alice.header("GET", "/alice-2/huge").wire())
        response = http.client.HTTPResponse(secure)
        response.begin()
        crc = 0
        while piece := response.read(1024 * 1024):
            crc = binascii.crc32(piece, crc)
        response.close()
    assert crc == binascii.crc32(block)
    stage.gone(stage.alice, "/alice-2/huge")
