"""Checksums against independent values, declarations that conflict, and rows H34 and H43 of the hostile inputs."""

import base64
import hashlib
import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.s3 import checksums
from gateway.s3.checksums import (
    ALGORITHMS,
    CRC32,
    CRC32C,
    CRC64NVME,
    MD5,
    SHA1,
    SHA256,
    Algorithm,
    DeclaredChecksum,
    PayloadDigests,
    declared_checksum,
)
from gateway.s3.errors import S3Error
from gateway.s3.request import Headers
from gateway.s3.types import ChecksumType

# CRCs: check values of the catalogue of parametrised CRC algorithms for "123456789"; hashes: FIPS 180, RFC 1321.
CHECK = {
    "CRC32": "cbf43926",
    "CRC32C": "e3069283",
    "CRC64NVME": "ae8b14860a799888",
    "SHA1": "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
    "SHA256": "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
    "MD5": "25f9e794323b453885f5181f1b624d0b",
}
EVERY = [*ALGORITHMS.values(), MD5]
CRCS = [CRC32, CRC32C, CRC64NVME]


def digest(algorithm: Algorithm, data: bytes) -> bytes:
    hasher = algorithm.new()
    hasher.update(data)
    return hasher.digest()


def headers(**values: str) -> Headers:
    return Headers((name.replace("_", "-").encode(), value.encode()) for name, value in values.items())


def refused(caught: pytest.ExceptionInfo[S3Error]) -> tuple[int, str]:
    return caught.value.row.status, caught.value.row.code


@pytest.mark.parametrize("algorithm", EVERY, ids=lambda a: a.name)
def test_known_values_whole_and_in_pieces(algorithm: Algorithm) -> None:
    data = b"123456789"
    assert digest(algorithm, data).hex() == CHECK[algorithm.name]
    hasher = algorithm.new()
    for at in range(len(data)):
        hasher.update(memoryview(data)[at : at + 1])
        assert hasher.digest() == digest(algorithm, data[: at + 1])
    assert len(digest(algorithm, b"")) == algorithm.digest_size


def test_names_and_headers() -> None:
    assert sorted(ALGORITHMS) == ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"]
    assert CRC64NVME.header == "x-amz-checksum-crc64nvme"
    assert checksums.DEFAULT_ALGORITHM is CRC64NVME
    assert checksums.algorithm_named("crc32") is CRC32


def test_payload_digests() -> None:
    found = PayloadDigests([CRC32, SHA256, MD5, SHA256])
    found.update(b"1234")
    found.update(memoryview(b"56789"))
    for algorithm in (CRC32, SHA256, MD5):
        assert found.digest(algorithm).hex() == CHECK[algorithm.name]


@pytest.mark.parametrize("algorithm", CRCS, ids=lambda a: a.name)
def test_full_object_of_parts(algorithm: Algorithm) -> None:
    rng = random.Random(7)
    parts = [rng.randbytes(size) for size in (5000, 1, 0, 777, 70_000)]
    combined = checksums.combine(algorithm, [(digest(algorithm, part), len(part)) for part in parts])
    assert combined == digest(algorithm, b"".join(parts))
    assert checksums.combine(algorithm, []) == digest(algorithm, b"")


def test_full_object_of_parts_beyond_4_gib() -> None:
    # A run of zeros has a closed form that is cheap to reach by doubling, with zlib as the other opinion for CRC32.
    size, value = 1 << 20, zlib.crc32(bytes(1 << 20))
    parts = (value.to_bytes(4, "big"), size)
    whole = checksums.combine(CRC32, [parts] * (1 << 13))
    doubled, length = parts
    for _ in range(13):
        doubled, length = checksums.combine(CRC32, [(doubled, length), (doubled, length)]), length * 2
    assert length == 1 << 33
    assert whole == doubled


def test_composite() -> None:
    parts = [b"a" * 10, b"b"]
    for algorithm in (CRC32, CRC32C, SHA1, SHA256):
        digests = [digest(algorithm, part) for part in parts]
        expected = base64.b64encode(digest(algorithm, b"".join(digests))).decode() + "-2"
        assert checksums.composite(algorithm, digests) == expected
    sha = [hashlib.sha256(part).digest() for part in parts]
    outer = base64.b64encode(hashlib.sha256(b"".join(sha)).digest()).decode()
    assert checksums.composite(SHA256, sha) == f"{outer}-2"


@pytest.mark.parametrize(
    ("algorithm", "requested", "expected"),
    [
        (CRC32, None, ChecksumType.COMPOSITE),
        (CRC32C, None, ChecksumType.COMPOSITE),
        (SHA1, None, ChecksumType.COMPOSITE),
        (SHA256, "COMPOSITE", ChecksumType.COMPOSITE),
        (CRC64NVME, None, ChecksumType.FULL_OBJECT),
        (CRC32, "FULL_OBJECT", ChecksumType.FULL_OBJECT),
        (CRC64NVME, "COMPOSITE", None),
        (SHA1, "FULL_OBJECT", None),
        (SHA256, "FULL_OBJECT", None),
        (CRC32, "full_object", None),
    ],
)
def test_h80_types(algorithm: Algorithm, requested: str | None, expected: ChecksumType | None) -> None:
    if expected is not None:
        assert checksums.multipart_type(algorithm, requested) is expected
        return
    with pytest.raises(S3Error) as caught:
        checksums.multipart_type(algorithm, requested)
    assert refused(caught) == (400, "InvalidRequest")


BAD_CRC32 = [
    "",
    "AAAA",
    "AAAAAA",
    "AAAAAA=",
    "AAAAAAA=",
    "AAAAAB==",
    "AAAAAA==\n",
    " AAAAAA==",
    "AA-_AA==",
    "\u00e9AAAAA==",
    "AAAAAAAAAAA=",
]


@pytest.mark.parametrize("text", BAD_CRC32)
def test_h34_checksum_not_base64_of_its_size(text: str) -> None:
    with pytest.raises(S3Error) as caught:
        checksums.decode_checksum(CRC32, text)
    assert refused(caught) == (400, "InvalidRequest")
    declared = DeclaredChecksum(CRC32, None)
    with pytest.raises(S3Error) as caught:
        declared.with_trailers({CRC32.header: text})
    assert refused(caught) == (400, "InvalidRequest")


def test_h34_wrong_trailer_checksum() -> None:
    declared = DeclaredChecksum(CRC32, None)
    assert declared.in_trailer
    with pytest.raises(S3Error) as caught:
        declared.with_trailers({})
    assert refused(caught) == (400, "MalformedTrailerError")
    known = declared.with_trailers({CRC32.header: "y/Q5Jg=="})
    assert known.with_trailers({}) is known
    known.check(digest(CRC32, b"123456789"))
    with pytest.raises(S3Error) as caught:
        known.check(digest(CRC32, b"12345678"))
    assert refused(caught) == (400, "BadDigest")


@pytest.mark.parametrize(
    "text",
    ["", "x", "1B2M2Y8AsgTpgAmY7PhCfg", "1B2M2Y8AsgTpgAmY7PhCfh==", "AAAAAA==", "d41d8cd98f00b204e9800998ecf8427e"],
)
def test_h43_content_md5_malformed(text: str) -> None:
    with pytest.raises(S3Error) as caught:
        checksums.decode_content_md5(text)
    assert refused(caught) == (400, "InvalidDigest")


def test_h43_content_md5_mismatch() -> None:
    declared = checksums.decode_content_md5("1B2M2Y8AsgTpgAmY7PhCfg==")
    checksums.check_content_md5(declared, hashlib.md5(b"").digest())
    with pytest.raises(S3Error) as caught:
        checksums.check_content_md5(declared, hashlib.md5(b"x").digest())
    assert refused(caught) == (400, "BadDigest")


@given(st.binary(min_size=4, max_size=4))
def test_encoding_round_trips(value: bytes) -> None:
    assert checksums.decode_checksum(CRC32, checksums.encode_checksum(value)) == value


def test_nothing_declared() -> None:
    assert declared_checksum(headers(x_amz_checksum_mode="ENABLED", x_amz_checksum_algorithm="CRC32")) is None
    assert declared_checksum(headers(x_amz_checksum_type="COMPOSITE")) is None


TRAILER_FORM = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"


def test_declared_in_a_header() -> None:
    found = declared_checksum(headers(x_amz_checksum_crc32="y/Q5Jg==", x_amz_sdk_checksum_algorithm="CRC32"))
    assert found == DeclaredChecksum(CRC32, bytes.fromhex("cbf43926"))
    assert not found.in_trailer


def test_declared_in_a_trailer() -> None:
    for extra in ({}, {"x_amz_sdk_checksum_algorithm": "crc64nvme"}):
        found = declared_checksum(
            headers(x_amz_trailer="X-Amz-Checksum-CRC64NVME", x_amz_content_sha256=TRAILER_FORM, **extra)
        )
        assert found == DeclaredChecksum(CRC64NVME, None)


def test_declared_composite_only_where_an_object_is_completed() -> None:
    sent = headers(x_amz_checksum_crc32="y/Q5Jg==-3")
    assert declared_checksum(sent, composite_allowed=True) == DeclaredChecksum(CRC32, bytes.fromhex("cbf43926"), 3)
    with pytest.raises(S3Error) as caught:
        declared_checksum(sent)
    assert refused(caught) == (400, "InvalidRequest")
    plain = declared_checksum(headers(x_amz_checksum_crc32="y/Q5Jg=="), composite_allowed=True)
    assert plain is not None
    assert plain.part_count is None


CONFLICTS: list[tuple[str, Headers, int, str]] = [
    ("two headers", headers(x_amz_checksum_crc32="AAAAAA==", x_amz_checksum_crc32c="AAAAAA=="), 400, "InvalidRequest"),
    (
        "one header twice",
        Headers([(b"x-amz-checksum-crc32", b"AAAAAA==")] * 2),
        400,
        "InvalidRequest",
    ),
    (
        "header and trailer",
        headers(
            x_amz_checksum_crc32="AAAAAA==", x_amz_trailer="x-amz-checksum-crc32", x_amz_content_sha256=TRAILER_FORM
        ),
        400,
        "InvalidRequest",
    ),
    (
        "two trailers",
        headers(x_amz_trailer="x-amz-checksum-crc32, x-amz-checksum-sha1", x_amz_content_sha256=TRAILER_FORM),
        400,
        "InvalidRequest",
    ),
    (
        "trailer on a body without",
        headers(x_amz_trailer="x-amz-checksum-crc32", x_amz_content_sha256="UNSIGNED-PAYLOAD"),
        400,
        "InvalidRequest",
    ),
    ("trailer on a body unsaid", headers(x_amz_trailer="x-amz-checksum-crc32"), 400, "InvalidRequest"),
    (
        "trailer of another kind",
        headers(x_amz_trailer="x-foo", x_amz_content_sha256=TRAILER_FORM),
        400,
        "InvalidRequest",
    ),
    (
        "trailer name left out",
        headers(x_amz_trailer="x-amz-checksum-crc32,", x_amz_content_sha256=TRAILER_FORM),
        400,
        "InvalidRequest",
    ),
    (
        "newer trailer",
        headers(x_amz_trailer="x-amz-checksum-xxhash3", x_amz_content_sha256=TRAILER_FORM),
        501,
        "NotImplemented",
    ),
    ("newer header", headers(x_amz_checksum_sha512="AAAA"), 501, "NotImplemented"),
    ("md5 header", headers(x_amz_checksum_md5="AAAA"), 501, "NotImplemented"),
    ("unknown header", headers(x_amz_checksum_foo="AAAA"), 400, "InvalidRequest"),
    (
        "algorithm of another",
        headers(x_amz_checksum_crc32="AAAAAA==", x_amz_sdk_checksum_algorithm="SHA1"),
        400,
        "InvalidRequest",
    ),
    ("algorithm without value", headers(x_amz_sdk_checksum_algorithm="CRC32"), 400, "InvalidRequest"),
    (
        "unknown algorithm",
        headers(x_amz_checksum_crc32="AAAAAA==", x_amz_sdk_checksum_algorithm="CRC16"),
        400,
        "InvalidRequest",
    ),
    ("newer algorithm", headers(x_amz_sdk_checksum_algorithm="XXHASH128"), 501, "NotImplemented"),
    ("malformed", headers(x_amz_checksum_crc32="AAAA"), 400, "InvalidRequest"),
]


@pytest.mark.parametrize(("sent", "status", "code"), [row[1:] for row in CONFLICTS], ids=[row[0] for row in CONFLICTS])
def test_h33_conflicting_declaration_is_refused(sent: Headers, status: int, code: str) -> None:
    with pytest.raises(S3Error) as caught:
        declared_checksum(sent)
    assert refused(caught) == (status, code)
