"""What an operation is, what it is given, and what stands in its row of the table (`gateway.operations.table`)."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Protocol

from gateway.access.identities import Identity
from gateway.engine.access_log import AccessLogs
from gateway.engine.custody import Custody
from gateway.engine.lifecycle import Lifecycles
from gateway.engine.multipart import MultipartEngine
from gateway.engine.notifying import Announcements
from gateway.engine.objects import ObjectEngine
from gateway.engine.webhooks import Webhook
from gateway.operations.admission import Access
from gateway.s3.addressing import Address
from gateway.s3.request import Request
from gateway.s3.response import Response
from gateway.s3.types import Body
from storage.catalogue.base import Catalogue
from storage.catalogue.records import Bucket


class BodyUse(Enum):
    """What an operation does with a request body."""

    NONE = "none"
    """It takes none; what is sent all the same is not read."""
    DOCUMENT = "document"
    """A small XML document, read whole (`max_document_bytes`) and verified before `parse`."""
    STREAM = "stream"
    """Object data, given to `run` as a stream after every check that needs no body."""


@dataclass(frozen=True, slots=True)
class Services:
    """What operations work with; made once by `gateway.wiring`."""

    catalogue: Catalogue
    objects: ObjectEngine
    multipart: MultipartEngine
    custody: Custody
    cursors: "CursorSealer"
    lifecycles: Lifecycles
    access_logs: AccessLogs
    announcements: Announcements
    webhooks: Mapping[str, Webhook]
    """By their names in the settings."""
    region: str
    max_buckets_per_account: int
    clock: Callable[[], datetime]
    """Aware UTC."""


class CursorSealer(Protocol):
    """Makes list positions opaque and refuses those that it did not make."""

    def seal(self, position: bytes, scope: bytes) -> str:
        """Return an opaque token for a position within one scope (a bucket or an account id)."""

    def open(self, token: str, scope: bytes) -> bytes:
        """Give the position back. Raises: S3Error InvalidArgument for any other token."""


class InBucket(Protocol):
    """What the rules of a bucket are read with: the context of a request, or a job that works on one bucket."""

    @property
    def services(self) -> Services:
        """What operations work with."""

    @property
    def bucket(self) -> Bucket:
        """The bucket."""


@dataclass(frozen=True, slots=True)
class Context:
    """One request on its way through an operation."""

    services: Services
    access: Access
    request: Request
    address: Address
    bucket_or_none: Bucket | None = None
    """The admitted bucket (`gateway.operations.admission`); None for ListBuckets and CreateBucket."""

    @property
    def identity(self) -> Identity:
        """Who asks, for the operations that need no bucket: those never admit the anonymous caller."""
        identity = self.access.caller.identity
        assert identity is not None, "admission lets nobody pass who is not known"
        return identity

    @property
    def bucket(self) -> Bucket:
        """The admitted bucket of an operation that has one."""
        assert self.bucket_or_none is not None, "the operation's row says that it needs no bucket"
        return self.bucket_or_none


@dataclass(frozen=True, slots=True)
class Operation:
    """One row of the operation table."""

    name: str
    """As in the API: `PutObject`."""
    action: str
    """The IAM action that access is judged by: `s3:PutObject`; `gateway.operations.needs` adds what a request shows."""
    body: BodyUse
    needs_bucket: bool
    """Whether admission looks the addressed bucket up; false for ListBuckets and CreateBucket alone."""
    parse: Callable[[Request, Address, bytes], Any]
    """(request, address, document) -> Input. Raises S3Error."""
    run: Callable[[Context, Any, Body], Awaitable[Any]]
    """(context, Input, body) -> Output. Raises S3Error, StorageError, KeysError."""
    serialise: Callable[[Any], Response]
    """Output -> response."""
