"""Answers about event notifications.

Source: AWS "GetBucketNotificationConfiguration".
"""

from gateway.s3.bucket_types import NotificationsOutput
from gateway.s3.notifications import notifications_node
from gateway.s3.response import Response
from gateway.s3.serialising.common import document
from gateway.s3.types import EmptyOutput


def serialise_put_bucket_notification_configuration(output: EmptyOutput) -> Response:  # noqa: ARG001 - one signature for all
    """Write PutBucketNotificationConfiguration."""
    return Response(200)


def serialise_get_bucket_notification_configuration(output: NotificationsOutput) -> Response:
    """Write GetBucketNotificationConfiguration."""
    return document(notifications_node(output.notifications))
