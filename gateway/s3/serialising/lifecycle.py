"""Answers about lifecycle rules, and the headers that tell of them elsewhere.

Sources: AWS "GetBucketLifecycleConfiguration"; "PutObject", `x-amz-expiration`; "CreateMultipartUpload",
`x-amz-abort-date`.
"""

from typing import Final
from urllib.parse import quote

from gateway.s3.bucket_types import LifecycleOutput, PutBucketLifecycleConfigurationOutput
from gateway.s3.headers import format_http_date
from gateway.s3.lifecycle import Due
from gateway.s3.lifecycle_document import lifecycle_node
from gateway.s3.response import Response
from gateway.s3.serialising.common import document
from gateway.s3.types import EmptyOutput

_MINIMUM_SIZE: Final = "x-amz-transition-default-minimum-object-size"


def serialise_put_bucket_lifecycle_configuration(output: PutBucketLifecycleConfigurationOutput) -> Response:
    """Write PutBucketLifecycleConfiguration."""
    return Response(200, ((_MINIMUM_SIZE, output.transition_default_minimum_object_size),))


def serialise_get_bucket_lifecycle_configuration(output: LifecycleOutput) -> Response:
    """Write GetBucketLifecycleConfiguration."""
    lifecycle = output.lifecycle
    return document(lifecycle_node(lifecycle), (_MINIMUM_SIZE, lifecycle.transition_default_minimum_object_size))


def serialise_delete_bucket_lifecycle(output: EmptyOutput) -> Response:  # noqa: ARG001 - one signature for all
    """Write DeleteBucketLifecycle."""
    return Response(204)


def expiration_header(due: Due | None) -> tuple[str, str | None]:
    """Tell when an object expires, and by which rule."""
    if due is None:
        return "x-amz-expiration", None
    return "x-amz-expiration", f'expiry-date="{format_http_date(due.at)}", rule-id="{quote(due.rule_id, safe="")}"'


def abort_headers(due: Due | None) -> tuple[tuple[str, str | None], ...]:
    """Tell when an upload is aborted, and by which rule."""
    if due is None:
        return ()
    return ("x-amz-abort-date", format_http_date(due.at)), ("x-amz-abort-rule-id", quote(due.rule_id, safe=""))
