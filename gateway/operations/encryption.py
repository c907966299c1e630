"""What a request's encryption means: the bucket's default, the KMS key behind a name, the key that a client brings.

Sources: AWS "Protecting data with server-side encryption", "Using server-side encryption with customer-provided keys";
docs/decisions/0006-encryption-modes.md.
"""

import hashlib
import json
from dataclasses import asdict

from gateway.engine.attributes import ObjectAttributes
from gateway.engine.protection import DEFAULT_PROTECTION, Mode, Protection
from gateway.operations.context import Context, InBucket
from gateway.s3.bucket_types import GetBucketEncryptionOutput, PutBucketEncryptionInput
from gateway.s3.errors import (
    ACCESS_DENIED,
    INVALID_ARGUMENT,
    INVALID_REQUEST,
    KMS_DISABLED,
    KMS_NOT_FOUND,
    SERVER_SIDE_ENCRYPTION_CONFIGURATION_NOT_FOUND,
    S3Error,
)
from gateway.s3.types import (
    AES256,
    AWS_KMS,
    SSE_C,
    Body,
    BucketEncryption,
    BucketInput,
    CustomerKey,
    EmptyOutput,
    EncryptionReport,
    EncryptionRequest,
)
from keys.customer import customer_key as wrapping_key
from keys.datakey import DataKey
from keys.errors import CustomerKeyMismatch, KmsKeyDisabled, KmsKeyNotFound
from storage.catalogue.records import ObjectVersion, Upload

CONFIGURATION = "encryption"
"""The kind under which a bucket's default is kept."""
MAX_PARSED = 1000
"""Documents whose parsed form is remembered."""

_UNSET = BucketEncryption()
_REMOVED = BucketEncryption(algorithm="")
"""Stands for a default that was taken away: as if it had never been set, but for GetBucketEncryption."""
_parsed: dict[str, BucketEncryption] = {}
"""By the SHA-256 of the document, so that no entry can grow old."""

_NOT_APPLICABLE = "The encryption parameters are not applicable to this object."
_NEEDS_KEY = (
    "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve "
    "the object."
)
_UPLOAD_NOT_APPLICABLE = (
    "The multipart upload initiate did not request encryption. Please resend the request without sending encryption "
    "parameters."
)
_UPLOAD_NEEDS_KEY = (
    "The multipart upload initiate requested encryption. Subsequent part requests must include the appropriate "
    "encryption parameters."
)
_UPLOAD_MISMATCH = "The provided encryption parameters did not match the ones used originally."


async def protection_for(context: InBucket, request: EncryptionRequest) -> Protection:
    """How a new object in the admitted bucket is to be protected.

    What the request names comes first, then the bucket's default. The KMS key is resolved and found usable now.

    Raises:
        S3Error: AccessDenied where the bucket blocks SSE-C; InvalidArgument for a bucket key without SSE-KMS;
            KMS.NotFoundException, KMS.DisabledException.
        KeysError: the KMS does not answer, refuses, or the key is in another state.
    """
    default = await bucket_default(context)
    if request.customer_key is not None:
        if SSE_C in default.blocked_types:
            raise S3Error(ACCESS_DENIED, "This bucket has blocked server-side encryption with customer-provided keys.")
        return Protection(Mode.CUSTOMER)
    algorithm = request.algorithm or default.algorithm or AES256
    if algorithm == AES256:
        if request.bucket_key_enabled:
            raise S3Error(
                INVALID_ARGUMENT,
                "A bucket key needs x-amz-server-side-encryption : aws:kms",
                fields={"ArgumentName": "x-amz-server-side-encryption-bucket-key-enabled"},
            )
        return DEFAULT_PROTECTION
    assert algorithm == AWS_KMS, "parsing lets no other in"
    # As on AWS: a request that names `aws:kms` alone means the managed key, not the one of the bucket's default.
    name = request.kms_key_id if request.algorithm is not None else default.kms_key_id
    wants_bucket_key = default.bucket_key_enabled if request.bucket_key_enabled is None else request.bucket_key_enabled
    try:
        key = await context.services.custody.describe_key(name)
    except KmsKeyNotFound:
        raise S3Error(KMS_NOT_FOUND, "The KMS key that is named does not exist.") from None
    except KmsKeyDisabled:
        raise S3Error(KMS_DISABLED, "The KMS key that is named is disabled.") from None
    return Protection(Mode.KMS, key.kms_key_id, key.arn, wants_bucket_key, request.context or "")


async def bucket_default(context: InBucket) -> BucketEncryption:
    """The default encryption of the admitted bucket, parsed once for each document."""
    bucket = context.bucket
    digest = bucket.configurations.get(CONFIGURATION)
    if digest is None:
        return _UNSET
    known = _parsed.get(digest)
    if known is not None:
        return known
    document = await context.services.catalogue.get_configuration(bucket.bucket_id, CONFIGURATION)
    if document is None:
        return _UNSET
    encryption = _decode(document)
    if len(_parsed) >= MAX_PARSED:
        _parsed.clear()
    # By the hash of what was read, which may be newer than what the bucket's row said.
    _parsed[hashlib.sha256(document).hexdigest()] = encryption
    return encryption


def _encode(encryption: BucketEncryption) -> bytes:
    return json.dumps(asdict(encryption), sort_keys=True).encode("ascii")


def _decode(document: bytes) -> BucketEncryption:
    fields = json.loads(document)
    return BucketEncryption(**fields | {"blocked_types": tuple(fields["blocked_types"])})


def brought(key: CustomerKey | None) -> DataKey | None:
    """The wrapping key that a client's key stands for."""
    return None if key is None else wrapping_key(key.material)


def protection_of(version: ObjectVersion | Upload) -> Protection:
    """How a version or an upload is protected."""
    return ObjectAttributes.decode(version.attributes).protection


def check_reader(context: Context, version: ObjectVersion, key: CustomerKey | None) -> DataKey | None:
    """Judge what a reader of an object brought; before anything of it is told, for HEAD as well.

    Raises:
        S3Error: InvalidRequest for a key where none is needed, and for none where one is; AccessDenied for another.
    """
    protection = protection_of(version)
    if protection.mode is not Mode.CUSTOMER:
        if key is not None:
            raise S3Error(INVALID_REQUEST, _NOT_APPLICABLE)
        return None
    if key is None:
        raise S3Error(INVALID_REQUEST, _NEEDS_KEY)
    assert version.content_id is not None, "a delete marker is protected by nothing"
    wrapping = wrapping_key(key.material)
    try:
        # A content under a client's key is never shared, so that its bucket is the version's.
        context.services.custody.check_customer_key(version.bucket_id, version.content_id, protection, wrapping)
    except CustomerKeyMismatch:
        raise S3Error(ACCESS_DENIED) from None
    return wrapping


def check_uploader(
    context: Context, upload: Upload, key: CustomerKey | None, *, may_be_absent: bool = False
) -> DataKey | None:
    """Judge what a request about an upload brought: the key that the upload was begun with, or none.

    `may_be_absent` is for requests that do without: Complete and ListParts then tell no checksums.

    Raises:
        S3Error: InvalidRequest.
    """
    protection = protection_of(upload)
    if protection.mode is not Mode.CUSTOMER:
        if key is not None:
            raise S3Error(INVALID_REQUEST, _UPLOAD_NOT_APPLICABLE)
        return None
    if key is None:
        if may_be_absent:
            return None
        raise S3Error(INVALID_REQUEST, _UPLOAD_NEEDS_KEY)
    wrapping = wrapping_key(key.material)
    content = upload.content
    try:
        context.services.custody.check_customer_key(content.bucket_id, content.content_id, protection, wrapping)
    except CustomerKeyMismatch:
        raise S3Error(INVALID_REQUEST, _UPLOAD_MISMATCH) from None
    return wrapping


def report(protection: Protection, key: CustomerKey | None = None) -> EncryptionReport:
    """How answers tell of a protection; `key` is what the request brought."""
    return EncryptionReport(
        algorithm=None if protection.mode is Mode.CUSTOMER else protection.mode.value,
        kms_key_id=protection.kms_key_arn or None,
        bucket_key_enabled=protection.bucket_key,
        context=protection.context or None,
        customer_key_md5=None if key is None else key.md5,
    )


async def get_bucket_encryption(context: Context, request: BucketInput, _: Body) -> GetBucketEncryptionOutput:
    """GetBucketEncryption: every bucket is encrypted, by default as SSE-S3."""
    encryption = await bucket_default(context)
    if encryption == _REMOVED:
        raise S3Error(SERVER_SIDE_ENCRYPTION_CONFIGURATION_NOT_FOUND, fields={"BucketName": request.bucket})
    return GetBucketEncryptionOutput(encryption)


async def put_bucket_encryption(context: Context, request: PutBucketEncryptionInput, _: Body) -> EmptyOutput:
    """PutBucketEncryption. As on AWS, whether the KMS key exists is seen when an object is written."""
    document = _encode(request.encryption)
    await context.services.catalogue.put_configuration(context.bucket.bucket_id, CONFIGURATION, document)
    return EmptyOutput()


async def delete_bucket_encryption(context: Context, request: BucketInput, _: Body) -> EmptyOutput:
    """DeleteBucketEncryption: the default is SSE-S3 again, and nothing is blocked.

    That it was removed is remembered, since GetBucketEncryption then finds no configuration, while a bucket that never
    had one tells its default (AWS answered so until every bucket had a default of its own in 2023).
    """
    del request
    document = _encode(_REMOVED)
    await context.services.catalogue.put_configuration(context.bucket.bucket_id, CONFIGURATION, document)
    return EmptyOutput()
