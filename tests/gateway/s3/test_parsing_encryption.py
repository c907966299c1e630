"""Encryption headers: what may stand together, where, and that nothing of them is passed over."""

import base64
import hashlib
import json
from typing import Any

import pytest

from gateway.s3.errors import INVALID_ARGUMENT, INVALID_ENCRYPTION_ALGORITHM, NOT_IMPLEMENTED, ErrorRow
from gateway.s3.parsing.encryption import ENCRYPTION
from gateway.s3.types import CustomerKey, EncryptionRequest
from tests.gateway.s3.wire import read, refused

SSE = "x-amz-server-side-encryption"
SOURCE = "x-amz-copy-source-server-side-encryption"
KEY = bytes(range(32))
KMS = {SSE: "aws:kms"}
UUID = "1234abcd-12ab-34cd-56ef-1234567890ab"


def md5(key: bytes) -> str:
    return base64.b64encode(hashlib.md5(key).digest()).decode()


def customer(key: bytes = KEY, prefix: str = SSE) -> dict[str, str]:
    return {
        f"{prefix}-customer-algorithm": "AES256",
        f"{prefix}-customer-key": base64.b64encode(key).decode(),
        f"{prefix}-customer-key-MD5": md5(key),
    }


def b64(value: Any) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


MINE = CustomerKey(KEY, md5(KEY))
CL = {"Content-Length": "0"}
COPY = {"x-amz-copy-source": "source/k"}
# Every operation on objects, as it is sent, and which families of headers it takes.
WRITES = {"PutObject": ("PUT", "/b12/k", CL), "CreateMultipartUpload": ("POST", "/b12/k?uploads", {})}
COPIES = {"CopyObject": ("PUT", "/b12/k", COPY)}
PARTS = {
    "UploadPart": ("PUT", "/b12/k?uploadId=u&partNumber=1", CL),
    "UploadPartCopy": ("PUT", "/b12/k?uploadId=u&partNumber=1", COPY),
    "ListParts": ("GET", "/b12/k?uploadId=u", {}),
    "CompleteMultipartUpload": ("POST", "/b12/k?uploadId=u", {}),
}
READS: dict[str, tuple[str, str, dict[str, str]]] = {
    "GetObject": ("GET", "/b12/k", {}),
    "HeadObject": ("HEAD", "/b12/k", {}),
}
OTHERS: dict[str, tuple[str, str, dict[str, str]]] = {
    "DeleteObject": ("DELETE", "/b12/k", {}),
    "AbortMultipartUpload": ("DELETE", "/b12/k?uploadId=u", {}),
    "GetObjectTagging": ("GET", "/b12/k?tagging", {}),
    "ListObjectsV2": ("GET", "/b12?list-type=2", {}),
    "CreateBucket": ("PUT", "/b12", {}),
    "GetBucketEncryption": ("GET", "/b12?encryption", {}),
}
COMPLETE = b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>e</ETag></Part></CompleteMultipartUpload>"


def asked(headers: dict[str, str]) -> EncryptionRequest:
    found = [read(method, target, {**own, **headers}).encryption for method, target, own in (WRITES | COPIES).values()]
    assert all(one == found[0] for one in found)
    first = found[0]
    assert isinstance(first, EncryptionRequest)
    return first


def refused_writes(row: ErrorRow, headers: dict[str, str]) -> None:
    for method, target, own in (WRITES | COPIES).values():
        error = refused(row, method, target, {**own, **headers})
        text = f"{error.message} {dict(error.fields)}"
        assert not any(value in text for name, value in headers.items() if "key" in name.lower() and len(value) > 8)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, EncryptionRequest()),
        ({SSE: "AES256"}, EncryptionRequest("AES256")),
        ({SSE: "AES256", f"{SSE}-bucket-key-enabled": "false"}, EncryptionRequest("AES256", bucket_key_enabled=False)),
        (KMS, EncryptionRequest("aws:kms")),
        (KMS | {f"{SSE}-aws-kms-key-id": UUID}, EncryptionRequest("aws:kms", UUID)),
        (KMS | {f"{SSE}-bucket-key-enabled": "True"}, EncryptionRequest("aws:kms", bucket_key_enabled=True)),
        ({f"{SSE}-bucket-key-enabled": "true"}, EncryptionRequest(bucket_key_enabled=True)),
        (
            KMS | {f"{SSE}-context": b64({"b": "2", "a": "ü"})},
            EncryptionRequest("aws:kms", context='{"a":"ü","b":"2"}'),
        ),
        (KMS | {f"{SSE}-context": b64({})}, EncryptionRequest("aws:kms", context="")),
        (customer(), EncryptionRequest(customer_key=MINE)),
        (customer(bytes(32)), EncryptionRequest(customer_key=CustomerKey(bytes(32), md5(bytes(32))))),
    ],
)
def test_what_a_write_asks_for(headers: dict[str, str], expected: EncryptionRequest) -> None:
    found = asked(headers)
    assert found == expected
    assert found.names_any == bool(headers)


@pytest.mark.parametrize(
    ("row", "headers"),
    [
        (NOT_IMPLEMENTED, {SSE: "aws:kms:dsse"}),
        (INVALID_ENCRYPTION_ALGORITHM, {SSE: "aes256"}),
        (INVALID_ENCRYPTION_ALGORITHM, {SSE: ""}),
        (INVALID_ENCRYPTION_ALGORITHM, {SSE: "aws:fsx"}),
        (INVALID_ENCRYPTION_ALGORITHM, {SSE: "AES256,aws:kms"}),
        # A key, context or bucket key of SSE-KMS without SSE-KMS.
        (INVALID_ARGUMENT, {f"{SSE}-aws-kms-key-id": UUID}),
        (INVALID_ARGUMENT, {SSE: "AES256", f"{SSE}-aws-kms-key-id": UUID}),
        (INVALID_ARGUMENT, {f"{SSE}-context": b64({"a": "b"})}),
        (INVALID_ARGUMENT, {SSE: "AES256", f"{SSE}-context": b64({"a": "b"})}),
        (INVALID_ARGUMENT, {SSE: "AES256", f"{SSE}-bucket-key-enabled": "true"}),
        (INVALID_ARGUMENT, KMS | {f"{SSE}-bucket-key-enabled": "1"}),
        (INVALID_ARGUMENT, KMS | {f"{SSE}-aws-kms-key-id": ""}),
        (INVALID_ARGUMENT, KMS | {f"{SSE}-aws-kms-key-id": "a b"}),
        (INVALID_ARGUMENT, KMS | {f"{SSE}-aws-kms-key-id": "x" * 2049}),
        # Contexts that are none.
        (INVALID_ARGUMENT, KMS | {f"{SSE}-context": "!"}),
        (INVALID_ARGUMENT, KMS | {f"{SSE}-context": ""}),
        (INVALID_ARGUMENT, KMS | {f"{SSE}-context": b64(["a"])}),
        (INVALID_ARGUMENT, KMS | {f"{SSE}-context": b64({"a": 1})}),
        (INVALID_ARGUMENT, KMS | {f"{SSE}-context": b64({"a": {"b": "c"}})}),
        (INVALID_ARGUMENT, KMS | {f"{SSE}-context": b64("a")}),
        (INVALID_ARGUMENT, KMS | {f"{SSE}-context": base64.b64encode(b'{"a":"1","a":"2"}').decode()}),
        (INVALID_ARGUMENT, KMS | {f"{SSE}-context": base64.b64encode(b'{"a":"\\ud800"}').decode()}),
        (INVALID_ARGUMENT, KMS | {f"{SSE}-context": base64.b64encode('{"a":"b"}'.encode("utf-16")).decode()}),
        (INVALID_ARGUMENT, KMS | {f"{SSE}-context": base64.b64encode(b'{"a":' * 4000).decode()}),
        (INVALID_ARGUMENT, KMS | {f"{SSE}-context": b64({"a": "x" * 8192})}),
        # A client's key beside anything else.
        (INVALID_ARGUMENT, customer() | {SSE: "AES256"}),
        (INVALID_ARGUMENT, customer() | KMS),
        (INVALID_ARGUMENT, customer() | {f"{SSE}-aws-kms-key-id": UUID}),
        (INVALID_ARGUMENT, customer() | {f"{SSE}-context": b64({"a": "b"})}),
        (INVALID_ARGUMENT, customer() | {f"{SSE}-bucket-key-enabled": "true"}),
    ],
)
def test_h46_what_cannot_stand_together_is_refused(row: ErrorRow, headers: dict[str, str]) -> None:
    refused_writes(row, headers)


BAD_KEYS: list[tuple[ErrorRow, dict[str, str | None]]] = [
    (INVALID_ARGUMENT, {"algorithm": None}),
    (INVALID_ARGUMENT, {"key": None}),
    (INVALID_ARGUMENT, {"key-MD5": None}),
    (INVALID_ARGUMENT, {"key": None, "key-MD5": None}),
    (INVALID_ARGUMENT, {"algorithm": None, "key": None}),
    (INVALID_ENCRYPTION_ALGORITHM, {"algorithm": "aes256"}),
    (INVALID_ENCRYPTION_ALGORITHM, {"algorithm": "AES128"}),
    (INVALID_ENCRYPTION_ALGORITHM, {"algorithm": ""}),
    (INVALID_ARGUMENT, {"key": ""}),
    (INVALID_ARGUMENT, {"key": "!"}),
    (INVALID_ARGUMENT, {"key": base64.b64encode(KEY[:31]).decode(), "key-MD5": md5(KEY[:31])}),
    (INVALID_ARGUMENT, {"key": base64.b64encode(KEY + b"x").decode(), "key-MD5": md5(KEY + b"x")}),
    (INVALID_ARGUMENT, {"key": base64.urlsafe_b64encode(b"\xfb" * 32).decode(), "key-MD5": md5(b"\xfb" * 32)}),
    (INVALID_ARGUMENT, {"key-MD5": md5(b"another")}),
    (INVALID_ARGUMENT, {"key-MD5": ""}),
    (INVALID_ARGUMENT, {"key-MD5": "AAAA"}),
    (INVALID_ARGUMENT, {"key-MD5": hashlib.md5(KEY).hexdigest()}),
]
TAKE_A_KEY = WRITES | COPIES | PARTS | READS
TAKE_A_SOURCE_KEY = {name: sent for name, sent in (COPIES | PARTS).items() if sent[2] is COPY}


@pytest.mark.parametrize("operation", TAKE_A_KEY)
def test_a_clients_key_is_whole_and_right(operation: str) -> None:
    method, target, own = TAKE_A_KEY[operation]
    found = read(method, target, own | customer(), COMPLETE)
    assert (found.encryption.customer_key if operation in WRITES | COPIES else found.customer_key) == MINE
    assert KEY.hex() not in repr(found)
    assert repr(KEY)[2:-1] not in repr(found)
    assert md5(KEY) not in repr(found)
    _bad_keys(method, target, own, SSE)


@pytest.mark.parametrize("operation", TAKE_A_SOURCE_KEY)
def test_a_sources_key_is_whole_and_right(operation: str) -> None:
    method, target, own = TAKE_A_SOURCE_KEY[operation]
    found = read(method, target, own | customer(prefix=SOURCE))
    assert found.source.customer_key == MINE
    assert KEY.hex() not in repr(found)
    both = read(method, target, own | customer(bytes(32)) | customer(prefix=SOURCE))
    assert both.source.customer_key == MINE
    _bad_keys(method, target, own, SOURCE)


def _bad_keys(method: str, target: str, own: dict[str, str], prefix: str) -> None:
    for row, changes in BAD_KEYS:
        headers = customer(prefix=prefix) | {f"{prefix}-customer-{name}": value for name, value in changes.items()}
        sent = {name: value for name, value in headers.items() if value is not None}
        error = refused(row, method, target, own | sent, COMPLETE)
        text = f"{error.message} {dict(error.fields)} {error}"
        assert not any(value in text for name, value in sent.items() if "key" in name and len(value) > 8), text
    for name, value in customer(prefix=prefix).items():
        twice = [*(own | customer(prefix=prefix)).items(), (name, value)]
        refused(INVALID_ARGUMENT, method, target, twice, COMPLETE)


@pytest.mark.parametrize("name", sorted(ENCRYPTION))
def test_h46_no_operation_skips_a_header_that_it_does_not_take(name: str) -> None:
    everything = WRITES | COPIES | PARTS | READS | OTHERS
    taken = {
        operation
        for operation in everything
        if (operation in WRITES | COPIES and name.startswith(SSE))
        or (operation in TAKE_A_KEY and name.startswith(f"{SSE}-customer"))
        or (operation in TAKE_A_SOURCE_KEY and name.startswith(SOURCE))
    }
    value = {SSE: "AES256", f"{SSE}-bucket-key-enabled": "true"}.get(name, "x")
    for operation in everything.keys() - taken:
        method, target, own = everything[operation]
        error = refused(INVALID_ARGUMENT, method, target, own | {name: value}, COMPLETE)
        assert error.fields["ArgumentName"] == name
        mark = "&" if "?" in target else "?"
        refused(INVALID_ARGUMENT, method, f"{target}{mark}{name}={value}", own, COMPLETE)


def test_a_presigned_url_may_carry_a_clients_key() -> None:
    """boto3 writes the headers of a URL that it presigns by SigV2 into the query."""
    query = "&".join(f"{name}={value.replace('+', '%2B').replace('=', '%3D')}" for name, value in customer().items())
    assert read("GET", f"/b12/k?{query}").customer_key == MINE
