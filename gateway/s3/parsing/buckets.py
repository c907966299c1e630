"""Requests about the service and about buckets as such.

Sources: AWS "ListBuckets", "CreateBucket", "HeadBucket" and the configuration reads.
"""

from dataclasses import replace
from typing import Final

from gateway.s3 import xml
from gateway.s3.addressing import Address
from gateway.s3.bucket_types import CreateBucketInput, ListBucketsInput
from gateway.s3.errors import NOT_IMPLEMENTED, S3Error
from gateway.s3.headers import single
from gateway.s3.parsing.access import ACL_HEADERS, acl_request, object_ownership
from gateway.s3.parsing.fields import bucket_of, flag, invalid, number
from gateway.s3.parsing.start import begin
from gateway.s3.request import Request
from gateway.s3.types import BucketInput

MAX_BUCKETS: Final = 10_000
_OBJECT_LOCK: Final = "x-amz-bucket-object-lock-enabled"


def parse_list_buckets(request: Request, address: Address, document: bytes) -> ListBucketsInput:  # noqa: ARG001 - one signature for all
    """Read ListBuckets.

    Raises:
        S3Error: InvalidArgument where max-buckets is not 1..10000 or the token is empty; what `begin` raises.
    """
    query = begin(request).query
    max_buckets = number(query, "max-buckets", default=0, low=1, high=MAX_BUCKETS) if "max-buckets" in query else None
    if query.get("continuation-token") == "":
        raise invalid("continuation-token", "The continuation token provided is incorrect")
    return ListBucketsInput(
        max_buckets=max_buckets,
        continuation_token=query.get("continuation-token"),
        prefix=query.get("prefix", ""),
        bucket_region=query.get("bucket-region"),
    )


def parse_create_bucket(request: Request, address: Address, document: bytes) -> CreateBucketInput:
    """Read CreateBucket; the document may be empty.

    Raises:
        S3Error: MalformedXML; NotImplemented for the members of directory buckets and for tags; what `begin` raises.
    """
    headers = begin(request, (*ACL_HEADERS, "x-amz-object-ownership")).headers
    object_lock = flag(single(headers, _OBJECT_LOCK), _OBJECT_LOCK)
    asked = CreateBucketInput(bucket_of(address), "", acl_request(headers), object_ownership(headers), object_lock)
    if not document:
        return asked
    root = xml.parse(document, "CreateBucketConfiguration", max_elements=256)
    parts = root.parts(once=("LocationConstraint", "Location", "Bucket", "Tags"))
    if any(parts.once[name].children or parts.once[name].text for name in parts.once if name != "LocationConstraint"):
        raise S3Error(NOT_IMPLEMENTED)
    return replace(asked, location_constraint=parts.text("LocationConstraint") or "")


def _parse_bucket(request: Request, address: Address, document: bytes) -> BucketInput:  # noqa: ARG001 - one signature for all
    begin(request)
    return BucketInput(bucket_of(address))


parse_head_bucket = _parse_bucket
parse_delete_bucket = _parse_bucket
parse_get_bucket_location = _parse_bucket
parse_get_bucket_encryption = _parse_bucket
parse_delete_bucket_encryption = _parse_bucket
parse_get_bucket_versioning = _parse_bucket
parse_get_object_lock_configuration = _parse_bucket
parse_get_bucket_tagging = _parse_bucket
parse_delete_bucket_tagging = _parse_bucket
