"""Where a bucket's access log goes: put and get.

Source: AWS "PutBucketLogging". Lines are gathered and written by `gateway.engine.access_log`.
"""

from gateway.engine.access_log import KIND
from gateway.operations.context import Context
from gateway.s3.access_log import logging_node
from gateway.s3.bucket_types import LoggingOutput, PutBucketLoggingInput
from gateway.s3.errors import INVALID_TARGET_BUCKET_FOR_LOGGING, S3Error
from gateway.s3.types import Body, BucketInput, EmptyOutput
from storage.catalogue.conflicts import NoSuchBucket


async def put_bucket_logging(context: Context, request: PutBucketLoggingInput, _: Body) -> EmptyOutput:
    """PutBucketLogging; the target must be a bucket of the same owner."""
    services, target = context.services, request.target
    if target is not None:
        try:
            bucket = await services.catalogue.get_bucket(target.bucket)
        except NoSuchBucket:
            bucket = None
        if bucket is None or bucket.account_id != context.bucket.account_id:
            raise S3Error(INVALID_TARGET_BUCKET_FOR_LOGGING, fields={"TargetBucket": target.bucket[:255]})
    document = None if target is None else logging_node(target).document()
    await services.catalogue.put_configuration(context.bucket.bucket_id, KIND, document)
    await services.access_logs.refresh_one(context.bucket.name)
    return EmptyOutput()


async def get_bucket_logging(context: Context, request: BucketInput, _: Body) -> LoggingOutput:
    """GetBucketLogging."""
    del request
    return LoggingOutput(await context.services.access_logs.target_of(context.bucket))
