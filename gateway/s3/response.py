"""An S3 response before it meets a socket: status, headers, and a body that is either whole or a stream."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from gateway.s3.types import Buffer


@dataclass(frozen=True, slots=True)
class Response:
    """What the endpoint sends. `x-amz-request-id`, `Date` and `Connection` are added there, for every answer alike."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    """In order; values are ISO-8859-1 text. A stream carries its own Content-Length."""
    body: bytes | AsyncIterator[Buffer] = field(default=b"", repr=False)
