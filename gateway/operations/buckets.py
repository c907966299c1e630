"""Operations on buckets: create, head, delete, and the configuration that is read here."""

from gateway.engine.objects import new_id
from gateway.operations.context import Context
from gateway.s3.errors import (
    BUCKET_ALREADY_EXISTS,
    BUCKET_ALREADY_OWNED_BY_YOU,
    BUCKET_NOT_EMPTY,
    ILLEGAL_LOCATION_CONSTRAINT,
    INVALID_LOCATION_CONSTRAINT,
    NO_SUCH_BUCKET,
    TOO_MANY_BUCKETS,
    S3Error,
)
from gateway.s3.types import (
    Body,
    BucketInput,
    CreateBucketInput,
    CreateBucketOutput,
    EmptyOutput,
    GetBucketLocationOutput,
    GetBucketVersioningOutput,
    HeadBucketOutput,
)
from storage.catalogue.base import BucketExists, BucketNotEmpty, NoSuchBucket, TooManyBuckets
from storage.catalogue.records import Bucket

CLASSIC_REGION = "us-east-1"
"""The region whose location constraint is the empty one."""


async def create_bucket(context: Context, request: CreateBucketInput, _: Body) -> CreateBucketOutput:
    """CreateBucket, in this endpoint's region alone."""
    services = context.services
    _check_location(request.location_constraint, services.region)
    account_id = context.identity.account.account_id
    bucket = Bucket(new_id(), request.bucket, account_id, services.clock())
    try:
        await services.catalogue.create_bucket(bucket, services.max_buckets_per_account)
    except BucketExists as taken:
        row = BUCKET_ALREADY_OWNED_BY_YOU if taken.owner_id == account_id else BUCKET_ALREADY_EXISTS
        raise S3Error(row, fields={"BucketName": request.bucket}) from None
    except TooManyBuckets:
        raise S3Error(TOO_MANY_BUCKETS) from None
    return CreateBucketOutput(request.bucket)


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


async def get_bucket_versioning(context: Context, request: BucketInput, _: Body) -> GetBucketVersioningOutput:
    """GetBucketVersioning: never enabled, since it cannot be enabled yet."""
    del context, request
    return GetBucketVersioningOutput()
