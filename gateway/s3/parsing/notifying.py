"""Requests about event notifications.

Sources: AWS "PutBucketNotificationConfiguration", "GetBucketNotificationConfiguration".
"""

from typing import Final

from gateway.s3.addressing import Address
from gateway.s3.bucket_types import PutBucketNotificationConfigurationInput
from gateway.s3.headers import single
from gateway.s3.notifications import read_notifications
from gateway.s3.parsing.fields import bucket_of, flag
from gateway.s3.parsing.start import begin
from gateway.s3.request import Request
from gateway.s3.types import BucketInput

_SKIP_VALIDATION: Final = "x-amz-skip-destination-validation"


def parse_put_bucket_notification_configuration(
    request: Request, address: Address, document: bytes
) -> PutBucketNotificationConfigurationInput:
    """Read PutBucketNotificationConfiguration.

    Raises:
        S3Error: as `read_notifications`, `flag` and `begin`.
    """
    headers = begin(request).headers
    skip = flag(single(headers, _SKIP_VALIDATION), _SKIP_VALIDATION)
    return PutBucketNotificationConfigurationInput(bucket_of(address), read_notifications(document), skip)


def parse_get_bucket_notification_configuration(request: Request, address: Address, document: bytes) -> BucketInput:  # noqa: ARG001 - one signature for all
    """Read GetBucketNotificationConfiguration."""
    begin(request)
    return BucketInput(bucket_of(address))
