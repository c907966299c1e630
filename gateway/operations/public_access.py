"""The public-access block of a bucket. A bucket that was never told otherwise has all of it."""

from gateway.operations.context import Context
from gateway.operations.rules import PUBLIC_ACCESS_BLOCK, encode_block
from gateway.s3.access_types import GetPublicAccessBlockOutput, PutPublicAccessBlockInput
from gateway.s3.errors import NO_SUCH_PUBLIC_ACCESS_BLOCK, S3Error
from gateway.s3.public_access import NOTHING_BLOCKED
from gateway.s3.types import Body, BucketInput, EmptyOutput


async def put_public_access_block(context: Context, request: PutPublicAccessBlockInput, _: Body) -> EmptyOutput:
    """PutPublicAccessBlock: the four settings together."""
    document = encode_block(request.block)
    await context.services.catalogue.put_configuration(context.bucket.bucket_id, PUBLIC_ACCESS_BLOCK, document)
    return EmptyOutput()


async def get_public_access_block(context: Context, request: BucketInput, _: Body) -> GetPublicAccessBlockOutput:
    """GetPublicAccessBlock. Raises S3Error: NoSuchPublicAccessBlockConfiguration where it was deleted."""
    block = context.access.rules.block
    if block == NOTHING_BLOCKED and await _was_deleted(context):
        raise S3Error(NO_SUCH_PUBLIC_ACCESS_BLOCK, fields={"BucketName": request.bucket})
    return GetPublicAccessBlockOutput(block)


async def _was_deleted(context: Context) -> bool:
    stored = await context.services.catalogue.get_configuration(context.bucket.bucket_id, PUBLIC_ACCESS_BLOCK)
    return stored == encode_block(None)


async def delete_public_access_block(context: Context, request: BucketInput, _: Body) -> EmptyOutput:
    """DeletePublicAccessBlock: nothing is blocked from now on, which has to be remembered as the default blocks all."""
    del request
    document = encode_block(None)
    await context.services.catalogue.put_configuration(context.bucket.bucket_id, PUBLIC_ACCESS_BLOCK, document)
    return EmptyOutput()
