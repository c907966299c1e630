"""Operations on the service: ListBuckets."""

from gateway.operations.context import Context
from gateway.s3.bucket_types import BucketEntry, ListBucketsInput, ListBucketsOutput
from gateway.s3.types import Body, Owner

MAX_BUCKETS_PER_PAGE = 10_000
"""As on AWS; also the page where the request names none."""


def _caller_as_owner(context: Context) -> Owner:
    account = context.identity.account
    return Owner(account.canonical_id, account.name)


async def owner_of(context: Context) -> Owner:
    """The owner of the bucket, as listings show owners. Raises: StorageError."""
    if context.access.is_owner:
        return _caller_as_owner(context)
    account = await context.services.catalogue.get_account(context.bucket.account_id)
    return Owner(account.canonical_id, account.name)


async def list_buckets(context: Context, request: ListBucketsInput, _: Body) -> ListBucketsOutput:
    """ListBuckets: the caller's own, by name."""
    services = context.services
    account_id = context.identity.account.account_id
    after = ""
    if request.continuation_token is not None:
        after = services.cursors.open(request.continuation_token, account_id).decode("utf-8")
    limit = min(request.max_buckets or MAX_BUCKETS_PER_PAGE, MAX_BUCKETS_PER_PAGE)
    if request.bucket_region not in (None, services.region):
        return ListBucketsOutput((), _caller_as_owner(context), services.region, request.prefix)
    buckets = await services.catalogue.list_buckets(
        account_id, prefix=request.prefix, start_after=after, limit=limit + 1
    )
    page = buckets[:limit]
    token = services.cursors.seal(page[-1].name.encode("utf-8"), account_id) if len(buckets) > limit else None
    return ListBucketsOutput(
        buckets=tuple(BucketEntry(bucket.name, bucket.created_at) for bucket in page),
        owner=_caller_as_owner(context),
        region=services.region,
        prefix=request.prefix,
        continuation_token=token,
    )
