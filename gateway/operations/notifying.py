"""A bucket's event notifications: put and get; and what a request has to tell, for the operations that make or remove.

Source: AWS "PutBucketNotificationConfiguration". What is told is written with the change (`gateway.engine.notifying`).
"""

from gateway.engine.notifying import KIND, Announcer
from gateway.engine.webhooks import DeliveryFailed, TrialUnderWay
from gateway.operations.context import Context
from gateway.s3.bucket_types import NotificationsOutput, PutBucketNotificationConfigurationInput
from gateway.s3.errors import INVALID_ARGUMENT, SLOW_DOWN, S3Error
from gateway.s3.notifications import Cause, Notifications, arn_of, notifications_node, test_event
from gateway.s3.types import Body, BucketInput, EmptyOutput

_ANONYMOUS = "Anonymous"
"""Who acted, where nobody signed."""


async def put_bucket_notification_configuration(
    context: Context, request: PutBucketNotificationConfigurationInput, _: Body
) -> EmptyOutput:
    """PutBucketNotificationConfiguration: an empty one turns notifications off.

    Every destination must be there and take an s3:TestEvent, unless the request says that this need not be seen.
    """
    catalogue, bucket = context.services.catalogue, context.bucket
    notifications = request.notifications
    targets = dict.fromkeys(one.target for one in notifications.configurations)
    for target in targets:
        await _validate(context, target, must_answer=not request.skip_validation)
    document = notifications_node(notifications).document() if notifications.configurations else None
    await catalogue.put_configuration(bucket.bucket_id, KIND, document)
    return EmptyOutput()


async def _validate(context: Context, target: str, *, must_answer: bool) -> None:
    webhook = context.services.webhooks.get(target)
    why = "The destination does not exist"
    if webhook is not None:
        if not must_answer:
            return
        try:
            await webhook.try_out(test_event(_cause(context)))
        except TrialUnderWay:
            raise S3Error(SLOW_DOWN, headers={"Retry-After": "1"}) from None
        except DeliveryFailed:
            why = "The destination did not take the test event"
        else:
            return
    raise S3Error(
        INVALID_ARGUMENT,
        "Unable to validate the following destination configurations",
        fields={"ArgumentName": arn_of(target), "ArgumentValue": why},
    )


async def get_bucket_notification_configuration(context: Context, request: BucketInput, _: Body) -> NotificationsOutput:
    """GetBucketNotificationConfiguration: an empty one where there is none."""
    del request
    held = await context.services.announcements.of(context.bucket)
    return NotificationsOutput(Notifications() if held is None else held)


async def announcer(context: Context) -> Announcer:
    """Whoever tells of what this request does. Raises: NoSuchBucket, StorageError."""
    cause = _cause(context)
    return await context.services.announcements.by_request(
        context.bucket,
        principal_id=cause.principal_id,
        source_address=cause.source_address,
        request_id=cause.request_id,
        at=cause.at,
    )


def _cause(context: Context) -> Cause:
    request, bucket = context.request, context.bucket
    return Cause(
        region=context.services.region,
        bucket_name=bucket.name,
        owner_id=bucket.account_id.hex(),
        principal_id=context.access.caller.account_id or _ANONYMOUS,
        source_address=request.client_host,
        request_id=request.request_id,
        at=context.services.clock(),
    )
