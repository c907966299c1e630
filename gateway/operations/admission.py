"""What stands between an authenticated request and its operation: the bucket exists, and the caller may do this.

Runs before a byte of the body is read. Copies use the same function for their source.
"""

from gateway.access.identities import Identity
from gateway.access.policy import authorise
from gateway.s3.errors import NO_SUCH_BUCKET, S3Error
from storage.catalogue.base import Catalogue, NoSuchBucket
from storage.catalogue.records import Bucket


async def admit(catalogue: Catalogue, identity: Identity | None, action: str, bucket_name: str | None) -> Bucket | None:
    """Find the bucket that a request names and authorise the action on it.

    `bucket_name` is None for actions that need none (`ListBuckets`, `CreateBucket`). An anonymous caller is refused
    before the look-up, so that he cannot learn which buckets exist.

    Raises:
        S3Error: AccessDenied, NoSuchBucket.
    """
    if bucket_name is None or identity is None:
        authorise(identity, action, None)
        return None
    try:
        bucket = await catalogue.get_bucket(bucket_name)
    except NoSuchBucket:
        raise S3Error(NO_SUCH_BUCKET, fields={"BucketName": bucket_name}) from None
    authorise(identity, action, bucket)
    return bucket
