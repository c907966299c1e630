"""The published slots of every mode, through the custody and through a reader written from the documents alone."""

import base64
import json
import time
from typing import Any

import pytest

from gateway.engine.attributes import SealedChecksum
from gateway.engine.custody import Custody, Unlock, WrappingMode
from gateway.engine.protection import Mode, Protection
from gateway.s3.types import ChecksumAlgorithm, ChecksumType
from keys.customer import customer_key
from keys.datakey import DataKey
from keys.errors import CustomerKeyMismatch, KeysError
from keys.keyring import Keyring
from keys.kms.memory import MemoryKms
from storage.catalogue.records import Content
from tests.gateway.engine import independent_slots as independent

VECTORS: Any = json.loads(independent.FILE.read_text(encoding="ascii"))
CONTENT = Content(independent.CONTENT, independent.BUCKET, b"", "", "", b"")
pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def custody() -> Custody:
    kms = MemoryKms()
    kms.create_key(independent.KMS_KEY_ID)
    kms._keys[independent.KMS_KEY_ID].versions = [DataKey(independent.WRAPPING_KEY)]
    return Custody(Keyring(kms, time.monotonic), independent.REALM, WrappingMode.DIRECT, time.monotonic, 60)


def parts(vector: Any) -> tuple[bytes, str, bytes | None]:
    material = vector["customer_key"]
    return base64.b64decode(vector["slot"]), vector["context"], None if material is None else bytes.fromhex(material)


async def opened(custody: Custody, vector: Any) -> bytes:
    slot, context, material = parts(vector)
    unlock = Unlock(context, None if material is None else customer_key(material))
    key = await custody.open_content_key(independent.BUCKET, independent.CONTENT, slot, unlock)
    return key.material()


def test_the_checked_in_vectors_are_what_the_independent_sealer_writes() -> None:
    assert independent.FILE.read_text(encoding="ascii") == independent.build()
    assert len(VECTORS["negative"]) >= 40


@pytest.mark.parametrize("vector", VECTORS["positive"], ids=lambda vector: vector["name"])
async def test_positive(custody: Custody, vector: Any) -> None:
    assert await opened(custody, vector) == independent.open_slot(*parts(vector)) == independent.CONTENT_KEY


@pytest.mark.parametrize("vector", VECTORS["negative"], ids=lambda vector: vector["name"])
async def test_negative(custody: Custody, vector: Any) -> None:
    with pytest.raises(KeysError):
        await opened(custody, vector)
    with pytest.raises(independent.Refused):
        independent.open_slot(*parts(vector))


@pytest.mark.parametrize("mode", ["sse_s3", "sse_kms", "sse_kms_bucket_key", "sse_c"])
async def test_what_the_custody_makes_the_independent_reader_opens(custody: Custody, mode: str) -> None:
    material = independent.CLIENT if mode == "sse_c" else None
    is_kms = mode.startswith("sse_kms")
    protection = Protection(
        Mode.CUSTOMER if material is not None else Mode.KMS,
        "" if material is not None else independent.KMS_KEY_ID,
        bucket_key=mode == "sse_kms_bucket_key",
        context=independent.CONTEXT if is_kms else "",
    )
    key = None if material is None else customer_key(material)
    made = await custody.new_content_key(independent.BUCKET, independent.CONTENT, protection, key)
    assert independent.open_slot(made.slot, protection.context, material) == made.data_key.material()
    if material is not None:
        salt = base64.b64decode(made.protection.verifier)[:32]
        assert made.protection.verifier == independent.verifier(material, salt)


def test_verifiers(custody: Custody) -> None:
    notes = VECTORS["notes"]
    mine = customer_key(independent.CLIENT)
    for verifier, is_mine in ((notes["verifier"], True), (notes["verifier_of_another_key"], False)):
        protection = Protection(Mode.CUSTOMER, verifier=verifier)
        for bucket, content in ((independent.BUCKET, independent.CONTENT), (independent.CONTENT, independent.BUCKET)):
            if is_mine and bucket == independent.BUCKET:
                custody.check_customer_key(bucket, content, protection, mine)
            else:
                with pytest.raises(CustomerKeyMismatch):
                    custody.check_customer_key(bucket, content, protection, mine)


def test_sealed_checksums(custody: Custody) -> None:
    notes, key = VECTORS["notes"], DataKey(independent.CONTENT_KEY)
    sealed = base64.b64decode(notes["sealed_checksum"])
    kept = SealedChecksum(ChecksumAlgorithm.CRC32, ChecksumType.FULL_OBJECT, sealed)
    assert custody.open_checksum(key, CONTENT, kept).value == notes["checksum"] == independent.CHECKSUM
    wrongs = (
        (SealedChecksum(ChecksumAlgorithm.CRC32C, ChecksumType.FULL_OBJECT, sealed), bytes(16), key),
        (SealedChecksum(ChecksumAlgorithm.CRC32, ChecksumType.COMPOSITE, sealed), bytes(16), key),
        (SealedChecksum(ChecksumAlgorithm.CRC32, ChecksumType.FULL_OBJECT, sealed[:-1]), bytes(16), key),
        (kept, b"p" * 16, key),
        (kept, bytes(16), DataKey(independent.BUCKET_KEY)),
    )
    for checksum, blob_id, content_key in wrongs:
        with pytest.raises(KeysError):
            custody.open_checksum(content_key, CONTENT, checksum, blob_id)
    again = custody.seal_checksum(key, CONTENT, custody.open_checksum(key, CONTENT, kept))
    context = independent.checksum_context("CRC32", "FULL_OBJECT")
    assert independent.open_record(independent.CONTENT_KEY, again.sealed, context).decode() == independent.CHECKSUM
