"""The answer to a browser's upload form.

Source: AWS "POST Object", fields `success_action_redirect` and `success_action_status`.
"""

from urllib.parse import urlencode, urlsplit

from gateway.s3.headers import quote_etag
from gateway.s3.response import Response
from gateway.s3.serialising.common import XML_HEADERS, key_text
from gateway.s3.serialising.objects import serialise_put_object
from gateway.s3.types import PostObjectOutput
from gateway.s3.xml import Node


def serialise_post_object(output: PostObjectOutput) -> Response:
    """Write the headers of PutObject, and send the browser on or tell it what was made."""
    put = output.request.put
    kept = serialise_put_object(output.put).headers
    etag, key = quote_etag(output.put.etag), key_text(put.object_key)
    redirect = output.request.redirect
    if redirect:
        joint = "&" if urlsplit(redirect).query else "?"
        address, _, fragment = redirect.partition("#")
        told = urlencode({"bucket": put.bucket, "key": key, "etag": etag})
        return Response(303, (*kept, ("Location", f"{address}{joint}{told}{'#' + fragment if fragment else ''}")))
    headers = (*kept, ("Location", output.request.location))
    if output.request.status != 201:
        return Response(output.request.status, headers)
    root = Node(
        "PostResponse",
        Node("Location", output.request.location),
        Node("Bucket", put.bucket),
        Node("Key", key),
        Node("ETag", etag),
    )
    return Response(201, (*XML_HEADERS, *headers), root.document(namespace=None))
