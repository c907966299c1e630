"""Object tagging: read only for now, since no request can set a tag yet; tools ask before they copy."""

from gateway.engine.attributes import ObjectAttributes
from gateway.operations.context import Context
from gateway.operations.objects import find, shown_version
from gateway.s3.types import Body, GetObjectInput, GetObjectTaggingInput, GetObjectTaggingOutput


async def get_object_tagging(context: Context, request: GetObjectTaggingInput, _: Body) -> GetObjectTaggingOutput:
    """GetObjectTagging."""
    asked = GetObjectInput(request.bucket, request.object_key, request.version_id)
    version = (await find(context, asked, with_content=False)).version
    return GetObjectTaggingOutput(ObjectAttributes.decode(version.attributes).tags, shown_version(version.version_id))
