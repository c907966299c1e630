"""A browser's upload form on its way: fields first, within their limits, since they decide; then the file as a stream.

The file goes straight into whoever seals it; nothing of it is kept anywhere else.
"""

from collections.abc import AsyncIterator, Mapping

from gateway.http.bodies import MAX_BODY_BYTES, WireBody
from gateway.s3.addressing import Address
from gateway.s3.errors import (
    ENTITY_TOO_LARGE,
    ENTITY_TOO_SMALL,
    INCORRECT_NUMBER_OF_FILES,
    MISSING_CONTENT_LENGTH,
    S3Error,
)
from gateway.s3.form import read_form
from gateway.s3.multipart_form import Event, Field, FileBegin, FileData, FormDecoder, boundary_of
from gateway.s3.request import Request
from gateway.s3.routing import Level, level_of
from gateway.s3.sigv4 import SizeRange
from gateway.s3.types import Buffer


def is_form(request: Request, address: Address) -> bool:
    """Whether a request brings its signature, if any, in a form: a POST to a bucket that has none elsewhere."""
    return (
        request.method == "POST"
        and level_of(address) is Level.BUCKET
        and not request.raw_query
        and "authorization" not in request.headers
    )


class FormBody:
    """The file of a form. Implements `gateway.s3.types.Body`, once `fields` has read what stands before it."""

    def __init__(self, wire: WireBody, request: Request) -> None:
        """Raises: S3Error PreconditionFailed where it is no form; MissingContentLength."""
        self._decoder = FormDecoder(boundary_of(request.headers.get("content-type")))
        if wire.content_length is None:
            raise S3Error(MISSING_CONTENT_LENGTH)
        self._pieces = wire.pieces()
        self._waiting: list[Event] = []
        self.allowed = SizeRange()
        """How large the file may be; the policy says so, once it was read."""
        self.received_bytes = 0

    @property
    def decoded_length(self) -> int | None:
        """None: no form tells the length of its file."""
        return None

    @property
    def trailers(self) -> Mapping[str, str]:
        """None: trailers belong to aws-chunked."""
        return {}

    async def fields(self, bucket: str) -> Mapping[str, str]:
        """Read the fields, up to where the file begins; `bucket` is the bucket that the form was sent to.

        Raises:
            S3Error: IncorrectNumberOfFilesInPostRequest where there is none; as `FormDecoder` and `read_form`.
        """
        fields: list[Field] = []
        async for event in self._events():
            if isinstance(event, Field):
                fields.append(event)
            elif isinstance(event, FileBegin):
                return read_form(fields, event.file_name, bucket)
        self._decoder.finish()
        raise S3Error(INCORRECT_NUMBER_OF_FILES)

    async def __aiter__(self) -> AsyncIterator[Buffer]:
        """Give the file.

        Raises:
            S3Error: EntityTooLarge, EntityTooSmall; IncompleteBody; as `FormDecoder`.
        """
        high = MAX_BODY_BYTES if self.allowed.high is None else min(self.allowed.high, MAX_BODY_BYTES)
        async for event in self._events():
            if isinstance(event, FileData):
                self.received_bytes += len(event.data)
                if self.received_bytes > high:
                    told = {"ProposedSize": str(self.received_bytes), "MaxSizeAllowed": str(high)}
                    raise S3Error(
                        ENTITY_TOO_LARGE, "Your proposed upload exceeds the maximum allowed size", fields=told
                    )
                yield event.data
        self._decoder.finish()
        if self.received_bytes < self.allowed.low:
            told = {"ProposedSize": str(self.received_bytes), "MinSizeAllowed": str(self.allowed.low)}
            raise S3Error(
                ENTITY_TOO_SMALL, "Your proposed upload is smaller than the minimum allowed size", fields=told
            )

    async def _events(self) -> AsyncIterator[Event]:
        """Go on where the last reader stopped."""
        while True:
            while self._waiting:
                yield self._waiting.pop(0)
            piece = await anext(self._pieces, None)
            if piece is None:
                return
            self._waiting = self._decoder.feed(piece)
