"""Operations on buckets: create, head, delete, and the configuration that is read here."""

from gateway.engine.objects import new_id
from gateway.operations.context import Context
from gateway.operations.granting import resolve, stored
from gateway.operations.rules import ACL, OWNERSHIP, encode_acl, encode_ownership
from gateway.s3.acl import Acl
from gateway.s3.bucket_types import CreateBucketInput, CreateBucketOutput, GetBucketLocationOutput, HeadBucketOutput
from gateway.s3.errors import (
    BUCKET_ALREADY_EXISTS,
    BUCKET_ALREADY_OWNED_BY_YOU,
    BUCKET_NOT_EMPTY,
    ILLEGAL_LOCATION_CONSTRAINT,
    INVALID_BUCKET_ACL_WITH_OBJECT_OWNERSHIP,
    INVALID_LOCATION_CONSTRAINT,
    NO_SUCH_BUCKET,
    TOO_MANY_BUCKETS,
    S3Error,
)
from gateway.s3.public_access import ALL_BLOCKED, ObjectOwnership
from gateway.s3.types import Body, BucketInput, EmptyOutput
from storage.catalogue.conflicts import BucketExists, BucketNotEmpty, NoSuchBucket, TooManyBuckets
from storage.catalogue.records import Bucket, Versioning

CLASSIC_REGION = "us-east-1"
"""The region whose location constraint is the empty one."""


async def create_bucket(context: Context, request: CreateBucketInput, _: Body) -> CreateBucketOutput:
    """CreateBucket, in this endpoint's region alone."""
    services = context.services
    _check_location(request.location_constraint, services.region)
    account_id = context.identity.account.account_id
    bucket = Bucket(
        new_id(),
        request.bucket,
        account_id,
        services.clock(),
        Versioning.ENABLED if request.object_lock else Versioning.NEVER,
        request.object_lock,
    )
    acl = await _acl_to_create(context, request)
    try:
        await services.catalogue.create_bucket(bucket, services.max_buckets_per_account)
    except BucketExists as taken:
        row = BUCKET_ALREADY_OWNED_BY_YOU if taken.owner_id == account_id else BUCKET_ALREADY_EXISTS
        raise S3Error(row, fields={"BucketName": request.bucket}) from None
    except TooManyBuckets:
        raise S3Error(TOO_MANY_BUCKETS) from None
    # A crash between these leaves a bucket that gives less than was asked for, never more.
    if request.ownership is not None:
        document = encode_ownership(request.ownership)
        await services.catalogue.put_configuration(bucket.bucket_id, OWNERSHIP, document)
    if acl is not None:
        await services.catalogue.put_configuration(bucket.bucket_id, ACL, encode_acl(acl))
    return CreateBucketOutput(request.bucket)


async def _acl_to_create(context: Context, request: CreateBucketInput) -> Acl | None:
    """The ACL of a new bucket, None for the owner's alone; a new bucket blocks public ones.

    Raises:
        S3Error: InvalidBucketAclWithObjectOwnership; as `granting.resolve`.
    """
    asked = request.acl
    if request.ownership in (None, ObjectOwnership.BUCKET_OWNER_ENFORCED):
        if asked.grants is not None or asked.canned not in (None, "private"):
            raise S3Error(INVALID_BUCKET_ACL_WITH_OBJECT_OWNERSHIP)
        return None
    owner_id = context.identity.account.canonical_id
    return stored(owner_id, await resolve(context.services.catalogue, asked, owner_id, owner_id, ALL_BLOCKED))


def _check_location(constraint: str, region: str) -> None:
    """AWS: no constraint means the classic region, and only there is none allowed; another region is refused.

    Deviation: an endpoint in another region takes a request without a constraint, since most tools send none to
    endpoints that are not of AWS.
    """
    if constraint in ("", region):
        return
    if constraint == CLASSIC_REGION:
        raise S3Error(INVALID_LOCATION_CONSTRAINT, fields={"LocationConstraint": constraint})
    raise S3Error(
        ILLEGAL_LOCATION_CONSTRAINT,
        f"The {constraint} location constraint is incompatible for the region specific endpoint this request was "
        f"sent to.",
    )


async def head_bucket(context: Context, request: BucketInput, _: Body) -> HeadBucketOutput:
    """HeadBucket; that the bucket is there and the caller may see it was shown by admission."""
    del request
    return HeadBucketOutput(context.services.region)


async def delete_bucket(context: Context, request: BucketInput, _: Body) -> EmptyOutput:
    """DeleteBucket."""
    try:
        await context.services.catalogue.delete_bucket(context.bucket.bucket_id)
    except BucketNotEmpty:
        raise S3Error(BUCKET_NOT_EMPTY, fields={"BucketName": request.bucket}) from None
    except NoSuchBucket:
        raise S3Error(NO_SUCH_BUCKET, fields={"BucketName": request.bucket}) from None
    return EmptyOutput()


async def get_bucket_location(context: Context, request: BucketInput, _: Body) -> GetBucketLocationOutput:
    """GetBucketLocation."""
    del request
    return GetBucketLocationOutput(context.services.region)
