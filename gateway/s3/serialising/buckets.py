"""Answers about the service and about buckets as such.

Sources: AWS "ListBuckets", "CreateBucket", "HeadBucket" and the configuration reads.
"""

from typing import Final

from gateway.s3.bucket_types import (
    CreateBucketOutput,
    GetBucketEncryptionOutput,
    GetBucketLocationOutput,
    GetBucketVersioningOutput,
    HeadBucketOutput,
    ListBucketsOutput,
)
from gateway.s3.headers import format_iso8601
from gateway.s3.response import Response
from gateway.s3.serialising.common import document, person
from gateway.s3.types import EmptyOutput
from gateway.s3.xml import Node, optional

_DEFAULT_REGION: Final = "us-east-1"


def serialise_list_buckets(output: ListBucketsOutput) -> Response:
    """Write ListBuckets."""
    buckets = (
        Node(
            "Bucket",
            Node("Name", bucket.name),
            Node("CreationDate", format_iso8601(bucket.created_at)),
            Node("BucketRegion", output.region),
        )
        for bucket in output.buckets
    )
    return document(
        Node(
            "ListAllMyBucketsResult",
            person("Owner", output.owner),
            Node("Buckets", *buckets),
            optional("Prefix", output.prefix or None),
            optional("ContinuationToken", output.continuation_token),
        )
    )


def serialise_create_bucket(output: CreateBucketOutput) -> Response:
    """Write CreateBucket."""
    return Response(200, (("Location", f"/{output.bucket}"),))


def serialise_head_bucket(output: HeadBucketOutput) -> Response:
    """Write HeadBucket."""
    return Response(200, (("x-amz-bucket-region", output.region),))


def serialise_delete_bucket(output: EmptyOutput) -> Response:  # noqa: ARG001 - one signature for all
    """Write DeleteBucket."""
    return Response(204)


def serialise_get_bucket_location(output: GetBucketLocationOutput) -> Response:
    """Write GetBucketLocation: S3's first region is spelled as nothing at all."""
    return document(Node("LocationConstraint", None if output.region == _DEFAULT_REGION else output.region))


def serialise_get_bucket_encryption(output: GetBucketEncryptionOutput) -> Response:
    """Write GetBucketEncryption."""
    encryption = output.encryption
    blocked = [Node("EncryptionType", name) for name in encryption.blocked_types]
    return document(
        Node(
            "ServerSideEncryptionConfiguration",
            Node(
                "Rule",
                Node(
                    "ApplyServerSideEncryptionByDefault",
                    Node("SSEAlgorithm", encryption.algorithm),
                    optional("KMSMasterKeyID", encryption.kms_key_id),
                ),
                Node("BucketKeyEnabled", encryption.bucket_key_enabled),
                Node("BlockedEncryptionTypes", *blocked) if blocked else None,
            ),
        )
    )


def serialise_put_bucket_encryption(output: EmptyOutput) -> Response:  # noqa: ARG001 - one signature for all
    """Write PutBucketEncryption."""
    return Response(200)


def serialise_delete_bucket_encryption(output: EmptyOutput) -> Response:  # noqa: ARG001 - one signature for all
    """Write DeleteBucketEncryption."""
    return Response(204)


def serialise_get_bucket_versioning(output: GetBucketVersioningOutput) -> Response:
    """Write GetBucketVersioning."""
    return document(Node("VersioningConfiguration", optional("Status", output.status or None)))
