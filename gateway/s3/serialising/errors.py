"""An S3Error as a response.

Source: AWS "Error responses", REST error responses.
"""

from typing import Final

from gateway.s3.errors import S3Error
from gateway.s3.response import Response
from gateway.s3.serialising.common import XML_HEADERS
from gateway.s3.xml import Node

_HOST_ID: Final = "sealgate"
"""AWS names a machine here; which one answered is nobody's business."""
_BODILESS: Final = frozenset({304})


def error_response(error: S3Error, request_id: str, resource_path: bytes, is_head: bool) -> Response:
    """Write an error. `resource_path` is the path as sent; the query stays out, as it may be a credential.

    An answer to HEAD and a 304 have no body and speak of none.
    """
    headers = tuple(error.headers.items())
    if error.row.status in _BODILESS or is_head:
        return Response(error.row.status, headers)
    fields = (Node(name, value) for name, value in error.fields.items())
    root = Node(
        "Error",
        Node("Code", error.row.code),
        Node("Message", error.message),
        *fields,
        Node("Resource", resource_path.decode("utf-8", "replace")),
        Node("RequestId", request_id),
        Node("HostId", _HOST_ID),
    )
    return Response(error.row.status, (*XML_HEADERS, *headers), root.document(namespace=None))
