"""Tags of objects, kept with their version, and tags of buckets, one of their configurations."""

import json

from gateway.access.facts import tag_facts
from gateway.engine.attributes import ObjectAttributes
from gateway.operations.context import Context
from gateway.operations.needs import versioned
from gateway.operations.objects import change_version, find_version, shown_version
from gateway.s3.errors import NO_SUCH_TAG_SET, S3Error
from gateway.s3.types import Body, BucketInput, EmptyOutput, Tags
from gateway.s3.version_types import (
    PutBucketTaggingInput,
    PutObjectTaggingInput,
    TaggingOutput,
    VersionInput,
    VersionOutput,
)
from storage.catalogue.commands import VersionChange

CONFIGURATION = "tagging"
"""The kind under which a bucket's tags are kept."""


async def get_object_tagging(context: Context, request: VersionInput, _: Body) -> TaggingOutput:
    """GetObjectTagging."""
    version = await find_version(context, request)
    shown = shown_version(context.bucket, version.version_id, request.version_id)
    return TaggingOutput(ObjectAttributes.decode(version.attributes).tags, shown)


async def put_object_tagging(context: Context, request: PutObjectTaggingInput, _: Body) -> VersionOutput:
    """PutObjectTagging."""
    target = request.target
    action = versioned("s3:PutObjectTagging", target.version_id)
    await context.access.require(action, target.object_key, target.version_id, tag_facts(dict(request.tags)))
    return await _tag(context, request.target, request.tags)


async def delete_object_tagging(context: Context, request: VersionInput, _: Body) -> VersionOutput:
    """DeleteObjectTagging."""
    return await _tag(context, request, ())


async def _tag(context: Context, target: VersionInput, tags: Tags) -> VersionOutput:
    """Replace the tags of the version that is found and judged now."""
    version = await change_version(context, target, VersionChange(tags=tags))
    return VersionOutput(shown_version(context.bucket, version.version_id, target.version_id))


async def get_bucket_tagging(context: Context, request: BucketInput, _: Body) -> TaggingOutput:
    """GetBucketTagging."""
    document = await context.services.catalogue.get_configuration(context.bucket.bucket_id, CONFIGURATION)
    if document is None:
        raise S3Error(NO_SUCH_TAG_SET, fields={"BucketName": request.bucket})
    return TaggingOutput(tuple((name, value) for name, value in json.loads(document)))


async def put_bucket_tagging(context: Context, request: PutBucketTaggingInput, _: Body) -> EmptyOutput:
    """PutBucketTagging."""
    document = json.dumps(request.tags).encode()
    await context.services.catalogue.put_configuration(context.bucket.bucket_id, CONFIGURATION, document)
    return EmptyOutput()


async def delete_bucket_tagging(context: Context, request: BucketInput, _: Body) -> EmptyOutput:
    """DeleteBucketTagging."""
    del request
    await context.services.catalogue.put_configuration(context.bucket.bucket_id, CONFIGURATION, None)
    return EmptyOutput()
