"""Requests about access logs.

Sources: AWS "PutBucketLogging", "GetBucketLogging".
"""

from gateway.s3.access_log import read_logging
from gateway.s3.addressing import Address
from gateway.s3.bucket_types import PutBucketLoggingInput
from gateway.s3.parsing import fields
from gateway.s3.parsing.fields import bucket_of
from gateway.s3.parsing.start import begin
from gateway.s3.request import Request
from gateway.s3.types import BucketInput


def parse_put_bucket_logging(request: Request, address: Address, document: bytes) -> PutBucketLoggingInput:
    """Read PutBucketLogging.

    Raises:
        S3Error: as `read_logging`, `require_digest` and `begin`.
    """
    fields.require_digest(begin(request).headers, document)
    return PutBucketLoggingInput(bucket_of(address), read_logging(document))


def parse_get_bucket_logging(request: Request, address: Address, document: bytes) -> BucketInput:  # noqa: ARG001 - one signature for all
    """Read GetBucketLogging."""
    begin(request)
    return BucketInput(bucket_of(address))
