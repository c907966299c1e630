"""Protections: one shape in rows and descriptions, and who may share what."""

from dataclasses import replace

import pytest

from gateway.engine.attributes import ObjectAttributes, SealedChecksum
from gateway.engine.integrity import EtagMode
from gateway.engine.protection import DEFAULT_PROTECTION, Mode, Protection
from gateway.s3.types import Checksum, ChecksumAlgorithm, ChecksumType

KMS = Protection(Mode.KMS, "id", "arn", bucket_key=True, context='{"a":"b"}')
CUSTOMER = Protection(Mode.CUSTOMER, verifier="v")


@pytest.mark.parametrize("protection", [DEFAULT_PROTECTION, KMS, replace(KMS, bucket_key=False, context=""), CUSTOMER])
def test_comes_back_from_rows_and_descriptions(protection: Protection) -> None:
    assert Protection.decode(protection.encode()) == protection
    attributes = ObjectAttributes(protection=protection)
    assert ObjectAttributes.decode(attributes.encode()) == attributes
    assert ("encryption" in attributes.encode()) == (protection != DEFAULT_PROTECTION)


def test_rows_of_before_are_of_sse_s3() -> None:
    assert Protection.decode(None) == Protection.decode({}) == DEFAULT_PROTECTION
    assert ObjectAttributes.decode({}).protection == DEFAULT_PROTECTION


@pytest.mark.parametrize(
    "checksum",
    [
        Checksum(ChecksumAlgorithm.CRC32, "AAAAAA=="),
        SealedChecksum(ChecksumAlgorithm.SHA256, ChecksumType.COMPOSITE, b"sealed"),
    ],
)
def test_checksums_come_back(checksum: Checksum | SealedChecksum) -> None:
    attributes = ObjectAttributes(checksum=checksum)
    assert ObjectAttributes.decode(attributes.encode()) == attributes


def test_a_copy_shares_what_is_protected_alike() -> None:
    for one in (DEFAULT_PROTECTION, KMS, CUSTOMER):
        for other in (DEFAULT_PROTECTION, KMS, CUSTOMER):
            assert one.may_share(other) == (one == other and one is not CUSTOMER)
    for change in ({"kms_key_id": "x"}, {"kms_key_arn": "x"}, {"bucket_key": False}, {"context": ""}):
        assert not replace(KMS, **change).may_share(KMS)


def test_only_sse_s3_shows_hashes() -> None:
    assert DEFAULT_PROTECTION.etag_mode(EtagMode.MD5) is EtagMode.MD5
    assert DEFAULT_PROTECTION.etag_mode(EtagMode.OPAQUE) is EtagMode.OPAQUE
    for protection in (KMS, CUSTOMER):
        assert protection.etag_mode(EtagMode.MD5) is EtagMode.OPAQUE
    assert "context" not in repr(KMS)
    assert "verifier" not in repr(CUSTOMER)
