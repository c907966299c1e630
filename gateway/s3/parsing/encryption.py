"""Encryption headers: what a write asks for, and the keys that clients bring.

Sources: AWS "Protecting data with server-side encryption", "Using server-side encryption with customer-provided keys",
"Specifying server-side encryption with AWS KMS". Each operation names the headers that it takes; any other encryption
header is refused, for nothing that asks for encryption may be skipped.
"""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Collection
from typing import Any, Final

from gateway.s3.errors import INVALID_ARGUMENT, INVALID_ENCRYPTION_ALGORITHM, NOT_IMPLEMENTED, S3Error
from gateway.s3.headers import single
from gateway.s3.request import Headers
from gateway.s3.types import AES256, AWS_KMS, CustomerKey, EncryptionRequest

SSE: Final = "x-amz-server-side-encryption"
_KMS_KEY_ID: Final = f"{SSE}-aws-kms-key-id"
_CONTEXT: Final = f"{SSE}-context"
_BUCKET_KEY: Final = f"{SSE}-bucket-key-enabled"
_SOURCE: Final = "x-amz-copy-source-server-side-encryption-customer"
_CUSTOMER_PARTS: Final = ("algorithm", "key", "key-md5")

CUSTOMER: Final = frozenset(f"{SSE}-customer-{part}" for part in _CUSTOMER_PARTS)
"""The key of the object that is read or written."""
SOURCE_CUSTOMER: Final = frozenset(f"{_SOURCE}-{part}" for part in _CUSTOMER_PARTS)
"""The key of a copy's source."""
WRITE: Final = CUSTOMER | {SSE, _KMS_KEY_ID, _CONTEXT, _BUCKET_KEY}
"""Everything that a new object or upload may ask for."""
ENCRYPTION: Final = WRITE | SOURCE_CUSTOMER

MAX_CONTEXT_BYTES: Final = 8192
"""Of an encryption context in canonical form (AWS KMS has the same limit)."""
MAX_KMS_KEY_ID_CHARS: Final = 2048
"""As AWS KMS has it."""
_KEY_SIZE: Final = 32
_MD5_SIZE: Final = 16
DUAL_LAYER: Final = "aws:kms:dsse"


def refuse_untaken(name: str, takes: Collection[str]) -> None:
    """Refuse an encryption header that the operation does not take.

    Raises:
        S3Error: InvalidArgument, as on AWS.
    """
    if name not in takes:
        raise _wrong(name, f"{name} header is not supported for this operation.")


def encryption_request(headers: Headers) -> EncryptionRequest:
    """Read what a write asks for; nothing, where it names nothing.

    Raises:
        S3Error: InvalidEncryptionAlgorithmError; NotImplemented for two layers (`aws:kms:dsse`); InvalidArgument for
            headers that exclude each other, and for values that cannot be.
    """
    algorithm = single(headers, SSE)
    kms_key_id, context = single(headers, _KMS_KEY_ID), single(headers, _CONTEXT)
    bucket_key = _flag(single(headers, _BUCKET_KEY))
    brought = customer_key(headers)
    if algorithm == DUAL_LAYER:
        raise S3Error(NOT_IMPLEMENTED, fields={"Header": SSE})
    if algorithm not in (None, AES256, AWS_KMS):
        raise S3Error(INVALID_ENCRYPTION_ALGORITHM)
    if brought is not None and (algorithm, kms_key_id, context, bucket_key or None) != (None, None, None, None):
        raise _wrong(
            SSE,
            "Server Side Encryption with Customer provided key is incompatible with the encryption method specified",
        )
    if algorithm != AWS_KMS and (kms_key_id is not None or context is not None):
        raise _wrong(
            _KMS_KEY_ID if kms_key_id is not None else _CONTEXT,
            "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : "
            "aws:kms",
        )
    if algorithm == AES256 and bucket_key:
        raise _wrong(_BUCKET_KEY, "A bucket key needs x-amz-server-side-encryption : aws:kms")
    if kms_key_id is not None:
        check_kms_key_id(kms_key_id, _KMS_KEY_ID)
    return EncryptionRequest(
        algorithm, kms_key_id, None if context is None else _canonical_context(context), bucket_key, brought
    )


def check_kms_key_id(kms_key_id: str, argument: str) -> None:
    """See that a name of a wrapping key could be one.

    Raises:
        S3Error: InvalidArgument.
    """
    is_name = 0 < len(kms_key_id) <= MAX_KMS_KEY_ID_CHARS and kms_key_id.isascii() and kms_key_id.isprintable()
    if not is_name or " " in kms_key_id:
        raise _wrong(argument, "The name of the KMS key is not valid.")


def customer_key(headers: Headers) -> CustomerKey | None:
    """Read the key that a client brings for the object itself; None where it brings none.

    Raises:
        S3Error: InvalidEncryptionAlgorithmError; InvalidArgument where one of the three headers is missing, the key
            does not have 256 bits, or its MD5 is not that of the key. No error repeats a value.
    """
    return _customer_key(headers, f"{SSE}-customer")


def source_customer_key(headers: Headers) -> CustomerKey | None:
    """Read the key of a copy's source. Raises: S3Error, as `customer_key`."""
    return _customer_key(headers, _SOURCE)


def _customer_key(headers: Headers, prefix: str) -> CustomerKey | None:
    algorithm, key, md5 = (single(headers, f"{prefix}-{part}") for part in _CUSTOMER_PARTS)
    if algorithm is None and key is None and md5 is None:
        return None
    subject = "Requests specifying Server Side Encryption with Customer provided keys must provide"
    if algorithm is None:
        raise _wrong(f"{prefix}-algorithm", f"{subject} a valid encryption algorithm.")
    if algorithm != AES256:
        raise S3Error(INVALID_ENCRYPTION_ALGORITHM)
    if key is None:
        raise _wrong(f"{prefix}-key", f"{subject} an appropriate secret key.")
    if md5 is None:
        raise _wrong(f"{prefix}-key-MD5", f"{subject} the client calculated MD5 of the secret key.")
    material, digest = _decoded(key), _decoded(md5)
    if material is None or len(material) != _KEY_SIZE:
        raise _wrong(f"{prefix}-key", "The secret key was invalid for the specified algorithm.")
    expected = hashlib.md5(material, usedforsecurity=False).digest()
    if digest is None or len(digest) != _MD5_SIZE or not hmac.compare_digest(digest, expected):
        raise _wrong(
            f"{prefix}-key-MD5", "The calculated MD5 hash of the key did not match the hash that was provided."
        )
    return CustomerKey(material, md5)


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _flag(text: str | None) -> bool | None:
    if text is None:
        return None
    if text.lower() not in {"true", "false"}:
        raise _wrong(_BUCKET_KEY, f"{_BUCKET_KEY} must be true or false.")
    return text.lower() == "true"


def _canonical_context(text: str) -> str:
    """The one JSON text that stands for an encryption context: sorted names, no blanks; empty for no pairs."""
    try:
        context = json.loads((_decoded(text) or b"").decode("utf-8"), object_pairs_hook=_distinct)
    except (ValueError, RecursionError):
        context = None
    if not isinstance(context, dict) or any(not isinstance(value, str) for value in context.values()):
        raise _wrong(_CONTEXT, "The header must be Base64 of a JSON object whose values are strings.")
    try:
        canonical = json.dumps(context, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        size = len(canonical.encode("utf-8"))
    except UnicodeEncodeError:
        raise _wrong(_CONTEXT, "The encryption context holds half a character.") from None
    if size > MAX_CONTEXT_BYTES:
        raise _wrong(_CONTEXT, f"An encryption context has at most {MAX_CONTEXT_BYTES} bytes.")
    return canonical if context else ""


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) != len(pairs):
        raise ValueError("a name stands twice")
    return names


def _wrong(name: str, message: str) -> S3Error:
    return S3Error(INVALID_ARGUMENT, message, fields={"ArgumentName": name})
