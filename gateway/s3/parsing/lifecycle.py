"""Requests about lifecycle rules.

Sources: AWS "PutBucketLifecycleConfiguration", "GetBucketLifecycleConfiguration", "DeleteBucketLifecycle".
"""

from typing import Final

from gateway.s3.addressing import Address
from gateway.s3.bucket_types import PutBucketLifecycleConfigurationInput
from gateway.s3.errors import MAX_MESSAGE_LENGTH_EXCEEDED, S3Error
from gateway.s3.headers import single
from gateway.s3.lifecycle_document import MINIMUM_SIZES, read_lifecycle
from gateway.s3.parsing import fields
from gateway.s3.parsing.fields import bucket_of
from gateway.s3.parsing.start import begin
from gateway.s3.request import Request
from gateway.s3.types import BucketInput

MAX_LIFECYCLE_BYTES: Final = 512 * 1024
"""A thousand rules of 500 bytes. Requests on a bucket are told by its rules when an object expires, so that whoever
asks pays for reading them where they are not remembered."""
_MINIMUM_SIZE: Final = "x-amz-transition-default-minimum-object-size"
_DEFAULT: Final = "all_storage_classes_128K"


def parse_put_bucket_lifecycle_configuration(
    request: Request, address: Address, document: bytes
) -> PutBucketLifecycleConfigurationInput:
    """Read PutBucketLifecycleConfiguration.

    Raises:
        S3Error: MaxMessageLengthExceeded; InvalidArgument for a minimum size that S3 does not know; as
            `read_lifecycle`, `require_digest` and `begin`.
    """
    headers = begin(request).headers
    fields.require_digest(headers, document)
    if len(document) > MAX_LIFECYCLE_BYTES:
        raise S3Error(MAX_MESSAGE_LENGTH_EXCEEDED, fields={"MaxMessageLengthBytes": str(MAX_LIFECYCLE_BYTES)})
    minimum_size = single(headers, _MINIMUM_SIZE) or _DEFAULT
    if minimum_size not in MINIMUM_SIZES:
        raise fields.invalid(_MINIMUM_SIZE, "The transition default minimum object size is not valid.")
    return PutBucketLifecycleConfigurationInput(bucket_of(address), read_lifecycle(document, minimum_size))


def _parse_bucket(request: Request, address: Address, document: bytes) -> BucketInput:  # noqa: ARG001 - one signature for all
    begin(request)
    return BucketInput(bucket_of(address))


parse_get_bucket_lifecycle_configuration = _parse_bucket
parse_delete_bucket_lifecycle = _parse_bucket
