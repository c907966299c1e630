"""Ownership controls of a bucket: whether ACLs count. A bucket that was never told otherwise has none."""

from gateway.operations.context import Context
from gateway.operations.rules import OWNERSHIP, encode_ownership
from gateway.s3.access_types import GetBucketOwnershipControlsOutput, PutBucketOwnershipControlsInput
from gateway.s3.acl import private
from gateway.s3.errors import INVALID_BUCKET_ACL_WITH_OBJECT_OWNERSHIP, OWNERSHIP_CONTROLS_NOT_FOUND, S3Error
from gateway.s3.public_access import ObjectOwnership
from gateway.s3.types import Body, BucketInput, EmptyOutput


async def put_bucket_ownership_controls(
    context: Context, request: PutBucketOwnershipControlsInput, _: Body
) -> EmptyOutput:
    """PutBucketOwnershipControls.

    Raises:
        S3Error: InvalidBucketAclWithObjectOwnership where ACLs are to be switched off and the bucket's gives others
            something: they would lose it without a word.
    """
    owner_id = context.access.owner_id
    acl = context.access.rules.acl or private(owner_id)
    if request.ownership is ObjectOwnership.BUCKET_OWNER_ENFORCED and any(
        grant.grantee != owner_id for grant in acl.grants
    ):
        raise S3Error(INVALID_BUCKET_ACL_WITH_OBJECT_OWNERSHIP)
    document = encode_ownership(request.ownership)
    await context.services.catalogue.put_configuration(context.bucket.bucket_id, OWNERSHIP, document)
    return EmptyOutput()


async def get_bucket_ownership_controls(
    context: Context, request: BucketInput, _: Body
) -> GetBucketOwnershipControlsOutput:
    """GetBucketOwnershipControls. Raises S3Error: OwnershipControlsNotFoundError where they were deleted."""
    stored = await context.services.catalogue.get_configuration(context.bucket.bucket_id, OWNERSHIP)
    if stored == encode_ownership(None):
        raise S3Error(OWNERSHIP_CONTROLS_NOT_FOUND, fields={"BucketName": request.bucket})
    return GetBucketOwnershipControlsOutput(context.access.rules.ownership)


async def delete_bucket_ownership_controls(context: Context, request: BucketInput, _: Body) -> EmptyOutput:
    """DeleteBucketOwnershipControls: as on a bucket from before there were any, writers own what they write."""
    del request
    document = encode_ownership(None)
    await context.services.catalogue.put_configuration(context.bucket.bucket_id, OWNERSHIP, document)
    return EmptyOutput()
