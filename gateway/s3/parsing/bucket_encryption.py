"""The default encryption of a bucket, as its owner sets it.

Source: AWS "PutBucketEncryption", with the types that a bucket blocks (since November 2025).
"""

from gateway.s3 import xml
from gateway.s3.addressing import Address
from gateway.s3.bucket_types import PutBucketEncryptionInput
from gateway.s3.errors import MALFORMED_XML, NOT_IMPLEMENTED, S3Error
from gateway.s3.parsing.encryption import DUAL_LAYER, check_kms_key_id
from gateway.s3.parsing.fields import bucket_of, invalid
from gateway.s3.parsing.start import begin
from gateway.s3.request import Request
from gateway.s3.types import AES256, AWS_KMS, SSE_C, BucketEncryption


def parse_put_bucket_encryption(request: Request, address: Address, document: bytes) -> PutBucketEncryptionInput:
    """Read PutBucketEncryption: one rule, with the default, the bucket key, and what nobody may ask for.

    Raises:
        S3Error: MalformedXML; NotImplemented for two layers (`aws:kms:dsse`); InvalidArgument for a KMS key beside
            another algorithm than `aws:kms`; what `begin` raises.
    """
    begin(request)
    root = xml.parse(document, "ServerSideEncryptionConfiguration", max_elements=16)
    rules = root.parts(many=("Rule",)).many
    if len(rules) != 1:
        raise S3Error(MALFORMED_XML)
    rule = rules[0].parts(once=("ApplyServerSideEncryptionByDefault", "BucketKeyEnabled", "BlockedEncryptionTypes"))
    algorithm, kms_key_id = AES256, None
    if (default := rule.once.get("ApplyServerSideEncryptionByDefault")) is not None:
        parts = default.parts(once=("SSEAlgorithm", "KMSMasterKeyID"))
        algorithm, kms_key_id = parts.required("SSEAlgorithm"), parts.text("KMSMasterKeyID") or None
    if algorithm == DUAL_LAYER:
        raise S3Error(NOT_IMPLEMENTED)
    if algorithm not in {AES256, AWS_KMS}:
        raise S3Error(MALFORMED_XML)
    if kms_key_id is not None:
        if algorithm != AWS_KMS:
            raise invalid(
                "KMSMasterKeyID", "A KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms"
            )
        check_kms_key_id(kms_key_id, "KMSMasterKeyID")
    bucket_key = rule.text("BucketKeyEnabled") or "false"
    if bucket_key not in {"true", "false"}:
        raise S3Error(MALFORMED_XML)
    return PutBucketEncryptionInput(
        bucket_of(address),
        BucketEncryption(
            algorithm, kms_key_id, bucket_key == "true", _blocked(rule.once.get("BlockedEncryptionTypes"))
        ),
    )


def _blocked(element: xml.Element | None) -> tuple[str, ...]:
    if element is None:
        return ()
    names = [child.leaf() for child in element.parts(many=("EncryptionType",)).many]
    if names not in (["NONE"], [SSE_C]):
        raise S3Error(MALFORMED_XML)
    return tuple(names)
