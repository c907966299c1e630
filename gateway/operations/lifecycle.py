"""A bucket's lifecycle rules: put, get, delete; and what answers about objects and uploads tell of them.

Source: AWS "Managing the lifecycle of objects". The rules are carried out by `gateway.engine.lifecycle`.
"""

from datetime import datetime

from gateway.engine.lifecycle import KIND
from gateway.operations.context import Context
from gateway.s3.bucket_types import (
    LifecycleOutput,
    PutBucketLifecycleConfigurationInput,
    PutBucketLifecycleConfigurationOutput,
)
from gateway.s3.errors import NO_SUCH_LIFECYCLE_CONFIGURATION, S3Error
from gateway.s3.lifecycle import Due
from gateway.s3.lifecycle_document import encode_lifecycle
from gateway.s3.types import Body, BucketInput, EmptyOutput
from storage.catalogue.records import ObjectVersion


async def put_bucket_lifecycle_configuration(
    context: Context, request: PutBucketLifecycleConfigurationInput, _: Body
) -> PutBucketLifecycleConfigurationOutput:
    """PutBucketLifecycleConfiguration: the rules that were there go."""
    document = encode_lifecycle(request.lifecycle)
    await context.services.catalogue.put_configuration(context.bucket.bucket_id, KIND, document)
    return PutBucketLifecycleConfigurationOutput(request.lifecycle.transition_default_minimum_object_size)


async def get_bucket_lifecycle_configuration(context: Context, request: BucketInput, _: Body) -> LifecycleOutput:
    """GetBucketLifecycleConfiguration."""
    lifecycle = await context.services.lifecycles.of(context.bucket)
    if lifecycle is None:
        raise S3Error(NO_SUCH_LIFECYCLE_CONFIGURATION, fields={"BucketName": request.bucket})
    return LifecycleOutput(lifecycle)


async def delete_bucket_lifecycle(context: Context, request: BucketInput, _: Body) -> EmptyOutput:
    """DeleteBucketLifecycle; a bucket without rules has none to lose."""
    del request
    await context.services.catalogue.put_configuration(context.bucket.bucket_id, KIND, None)
    return EmptyOutput()


async def expiry_of(context: Context, version: ObjectVersion) -> Due | None:
    """When the current version of an object expires (`x-amz-expiration`); None of any other."""
    lifecycles = context.services.lifecycles
    lifecycle = await lifecycles.of(context.bucket) if version.is_latest else None
    if lifecycle is None:
        return None
    tags = dict(version.attributes.get("tags", ()))
    return lifecycle.expiry(version.object_key, version.size, tags, version.created_at, lifecycles.age)


async def abortion_of(context: Context, object_key: bytes, initiated_at: datetime) -> Due | None:
    """When an upload is aborted that is not completed (`x-amz-abort-date`)."""
    lifecycles = context.services.lifecycles
    lifecycle = await lifecycles.of(context.bucket)
    return None if lifecycle is None else lifecycle.abort(object_key, initiated_at, lifecycles.age)
