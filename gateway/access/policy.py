"""The one place that decides: a pure function of who asks, for which action, on whose bucket. Deny by default.

Accounts own buckets and may do everything with their own and nothing with others'. Bucket policies will come as
further input to the same function (AWS: "Policy evaluation logic").
"""

from gateway.access.identities import Identity
from gateway.s3.errors import ACCESS_DENIED, S3Error
from storage.catalogue.records import Bucket

SERVICE_ACTIONS = frozenset({"s3:ListAllMyBuckets", "s3:CreateBucket"})
"""Actions that need no bucket: every account has them for itself."""


def authorise(identity: Identity | None, action: str, bucket: Bucket | None) -> None:
    """Let the request pass, or raise. `identity` None is the anonymous caller; `bucket` None: no bucket is concerned.

    Raises:
        S3Error: AccessDenied, in words that do not tell why.
    """
    if identity is None:
        raise S3Error(ACCESS_DENIED)
    if bucket is None:
        if action not in SERVICE_ACTIONS:
            raise S3Error(ACCESS_DENIED)
        return
    if bucket.account_id != identity.account.account_id:
        raise S3Error(ACCESS_DENIED)
