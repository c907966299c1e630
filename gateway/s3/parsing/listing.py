"""Requests that list objects and uploads.

Sources: AWS "ListObjects", "ListObjectsV2", "ListMultipartUploads".
"""

from gateway.s3.addressing import Address
from gateway.s3.parsing.fields import bucket_of, flag, invalid, limit, url_encoding
from gateway.s3.parsing.start import begin
from gateway.s3.query import Query
from gateway.s3.request import Request
from gateway.s3.types import ListObjectsInput, ListObjectsV2Input
from gateway.s3.upload_types import ListMultipartUploadsInput


def _name(query: Query, name: str) -> bytes:
    return query.get(name, "").encode()


def parse_list_objects(request: Request, address: Address, document: bytes) -> ListObjectsInput:  # noqa: ARG001 - one signature for all
    """Read ListObjects, version 1.

    Raises:
        S3Error: InvalidArgument for a bad max-keys or encoding-type; what `begin` raises.
    """
    query = begin(request).query
    return ListObjectsInput(
        bucket=bucket_of(address),
        prefix=_name(query, "prefix"),
        delimiter=_name(query, "delimiter"),
        marker=_name(query, "marker"),
        max_keys=limit(query, "max-keys"),
        url_encoding=url_encoding(query),
    )


def parse_list_objects_v2(request: Request, address: Address, document: bytes) -> ListObjectsV2Input:  # noqa: ARG001 - one signature for all
    """Read ListObjectsV2. The token is opaque; who made it judges it.

    Raises:
        S3Error: InvalidArgument for a bad list-type, max-keys, encoding-type or fetch-owner, and for an empty token;
            what `begin` raises.
    """
    query = begin(request).query
    if query.get("list-type") != "2":
        raise invalid("list-type", "Invalid List Type specified in Request")
    token = query.get("continuation-token")
    if token == "":
        raise invalid("continuation-token", "The continuation token provided is incorrect")
    return ListObjectsV2Input(
        bucket=bucket_of(address),
        prefix=_name(query, "prefix"),
        delimiter=_name(query, "delimiter"),
        start_after=_name(query, "start-after"),
        continuation_token=token,
        max_keys=limit(query, "max-keys"),
        fetch_owner=flag(query.get("fetch-owner"), "fetch-owner"),
        url_encoding=url_encoding(query),
    )


def parse_list_multipart_uploads(request: Request, address: Address, document: bytes) -> ListMultipartUploadsInput:  # noqa: ARG001 - one signature for all
    """Read ListMultipartUploads. An upload-id-marker without a key-marker says nothing, as on AWS.

    Raises:
        S3Error: InvalidArgument for a bad max-uploads or encoding-type; what `begin` raises.
    """
    query = begin(request).query
    return ListMultipartUploadsInput(
        bucket=bucket_of(address),
        prefix=_name(query, "prefix"),
        delimiter=_name(query, "delimiter"),
        key_marker=_name(query, "key-marker"),
        upload_id_marker=(query.get("upload-id-marker") or None) if query.get("key-marker") else None,
        max_uploads=limit(query, "max-uploads"),
        url_encoding=url_encoding(query),
    )
