"""What a request says of its body, held against what arrived; and which digests that takes."""

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from gateway.engine import integrity
from gateway.engine.integrity import EtagMode, PayloadCheck, VerifiedPayload
from gateway.s3.checksums import ALGORITHMS, Algorithm, PayloadDigests
from gateway.s3.errors import S3Error
from gateway.s3.types import ChecksumAlgorithm, ChecksumType, PayloadExpectation

DATA = b"some data"
MD5, SHA256 = hashlib.md5(DATA).digest(), hashlib.sha256(DATA).digest()
ALL = list(ChecksumAlgorithm)


def sum_of(name: str, data: bytes = DATA) -> str:
    digests = PayloadDigests([ALGORITHMS[name]])
    digests.update(data)
    return b64encode(digests.digest(ALGORITHMS[name])).decode()


def judge(
    expectation: PayloadExpectation,
    *,
    data: bytes = DATA,
    trailers: Mapping[str, str] | None = None,
    mode: EtagMode = EtagMode.MD5,
    algorithm: ChecksumAlgorithm | None = None,
) -> VerifiedPayload:
    check = PayloadCheck(expectation, mode, algorithm)
    check.digests.update(data)
    return check.finish(len(data), trailers or {})


def refuse(code: str, expectation: PayloadExpectation, **options: Any) -> S3Error:
    with pytest.raises(S3Error) as caught:
        judge(expectation, **options)
    assert caught.value.row.code == code
    return caught.value


def test_nothing_said_is_an_md5_and_crc64nvme() -> None:
    payload = judge(PayloadExpectation())
    assert (payload.size, payload.etag, payload.md5) == (len(DATA), MD5.hex(), MD5)
    assert (payload.checksum.algorithm, payload.checksum.value) == ("CRC64NVME", sum_of("CRC64NVME"))
    assert payload.checksum.checksum_type is ChecksumType.FULL_OBJECT


@pytest.mark.parametrize("algorithm", ALL)
@pytest.mark.parametrize("mode", list(EtagMode))
def test_every_declaration_that_holds_together(algorithm: ChecksumAlgorithm, mode: EtagMode) -> None:
    payload = judge(
        PayloadExpectation(len(DATA), MD5, SHA256, algorithm, checksum=sum_of(algorithm)), mode=mode, algorithm=ALL[0]
    )
    assert (payload.checksum.algorithm, payload.checksum.value) == (algorithm, sum_of(algorithm))
    assert (payload.md5 == MD5) == (mode is EtagMode.MD5)
    assert len(payload.etag) == 32


@pytest.mark.parametrize("algorithm", ALL)
def test_a_checksum_by_header_or_trailer_that_is_wrong_missing_or_malformed(algorithm: ChecksumAlgorithm) -> None:
    name = f"x-amz-checksum-{algorithm.value.lower()}"
    announced = PayloadExpectation(algorithm=algorithm, trailer=name)
    assert judge(announced, trailers={name: sum_of(algorithm)}).checksum.value == sum_of(algorithm)
    refuse("BadDigest", announced, trailers={name: sum_of(algorithm, b"other")})
    refuse("MalformedTrailerError", announced)
    refuse("InvalidRequest", announced, trailers={name: "no base64"})
    refuse("BadDigest", PayloadExpectation(algorithm=algorithm, checksum=sum_of(algorithm, b"other")))
    refuse("InvalidRequest", PayloadExpectation(algorithm=algorithm, checksum="AAAA"))


def test_the_order_of_refusals_is_length_then_hash_then_md5_then_checksum() -> None:
    wrong: dict[str, Any] = {
        "content_length": 1, "content_sha256": bytes(32), "content_md5": bytes(16),
        "algorithm": ChecksumAlgorithm.CRC32, "checksum": "AAAAAA==",
    }  # fmt: skip
    refuse("IncompleteBody", PayloadExpectation(**wrong))
    del wrong["content_length"]
    mismatch = refuse("XAmzContentSHA256Mismatch", PayloadExpectation(**wrong))
    assert mismatch.fields["S3ComputedContentSHA256"] == SHA256.hex()
    assert mismatch.fields["ClientComputedContentSHA256"] == bytes(32).hex()
    del wrong["content_sha256"]
    assert "Content-MD5" in refuse("BadDigest", PayloadExpectation(**wrong)).message
    del wrong["content_md5"]
    assert "CRC32" in refuse("BadDigest", PayloadExpectation(**wrong)).message


@pytest.mark.parametrize("length", [len(DATA) - 1, len(DATA) + 1, 0])
def test_a_length_must_hold_to_the_byte(length: int) -> None:
    refuse("IncompleteBody", PayloadExpectation(content_length=length))


def test_5_gib_are_allowed_and_no_byte_more(monkeypatch: pytest.MonkeyPatch) -> None:
    most = integrity.MAX_SINGLE_UPLOAD_BYTES
    assert most == 5 * 1024**3
    PayloadCheck(PayloadExpectation(content_length=most), EtagMode.MD5)
    declared = refuse("EntityTooLarge", PayloadExpectation(content_length=most + 1))
    assert declared.fields["MaxSizeAllowed"] == str(most)
    monkeypatch.setattr(integrity, "MAX_SINGLE_UPLOAD_BYTES", len(DATA))
    judge(PayloadExpectation())
    monkeypatch.setattr(integrity, "MAX_SINGLE_UPLOAD_BYTES", len(DATA) - 1)
    refuse("EntityTooLarge", PayloadExpectation())


RUNS = [
    (PayloadExpectation(), EtagMode.MD5, None, {"MD5", "CRC64NVME"}),
    (PayloadExpectation(), EtagMode.OPAQUE, None, {"CRC64NVME"}),
    (PayloadExpectation(), EtagMode.OPAQUE, ChecksumAlgorithm.SHA1, {"SHA1"}),
    (PayloadExpectation(algorithm=ChecksumAlgorithm.CRC32), EtagMode.OPAQUE, ChecksumAlgorithm.SHA1, {"CRC32"}),
    (PayloadExpectation(content_md5=MD5), EtagMode.OPAQUE, None, {"MD5", "CRC64NVME"}),
    (PayloadExpectation(content_sha256=SHA256), EtagMode.OPAQUE, None, {"SHA256", "CRC64NVME"}),
    (PayloadExpectation(content_sha256=SHA256, algorithm=ChecksumAlgorithm.SHA256), EtagMode.MD5, None,
     {"MD5", "SHA256"}),
]  # fmt: skip


@pytest.mark.parametrize(("expectation", "mode", "algorithm", "names"), RUNS)
def test_only_the_digests_that_are_needed_run(
    expectation: PayloadExpectation,
    mode: EtagMode,
    algorithm: ChecksumAlgorithm | None,
    names: set[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[set[str]] = []

    def recording(algorithms: Iterable[Algorithm]) -> PayloadDigests:
        wanted = list(algorithms)
        made.append({one.name for one in wanted})
        assert len(wanted) == len(made[-1]), "each algorithm once"
        return PayloadDigests(wanted)

    monkeypatch.setattr(integrity, "PayloadDigests", recording)
    PayloadCheck(expectation, mode, algorithm)
    assert made == [names]


def test_an_opaque_etag_is_fresh_every_time() -> None:
    etags = {judge(PayloadExpectation(), mode=EtagMode.OPAQUE).etag for _ in range(20)}
    assert len(etags) == 20
    assert MD5.hex() not in etags
