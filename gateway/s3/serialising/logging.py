"""Answers about access logs.

Source: AWS "GetBucketLogging".
"""

from gateway.s3.access_log import logging_node
from gateway.s3.bucket_types import LoggingOutput
from gateway.s3.response import Response
from gateway.s3.serialising.common import document
from gateway.s3.types import EmptyOutput


def serialise_put_bucket_logging(output: EmptyOutput) -> Response:  # noqa: ARG001 - one signature for all
    """Write PutBucketLogging."""
    return Response(200)


def serialise_get_bucket_logging(output: LoggingOutput) -> Response:
    """Write GetBucketLogging."""
    return document(logging_node(output.target))
