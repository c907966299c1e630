"""A browser's upload form: PutObject in every respect but the answer."""

from gateway.operations.context import Context
from gateway.operations.objects import put_by
from gateway.s3.notifications import CREATED_POST
from gateway.s3.types import Body, PostObjectInput, PostObjectOutput


async def post_object(context: Context, request: PostObjectInput, body: Body) -> PostObjectOutput:
    """POST Object."""
    return PostObjectOutput(request, await put_by(context, request.put, body, CREATED_POST))
