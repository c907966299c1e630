"""The one ASGI endpoint: address, signature, route, access, document, parse, run, serialise, send.

The order is the point: whatever can be refused without the body is refused before its first byte is asked for, and
errors become responses in this one place (STYLE.md "A PUT in five hops", RFC 9110 section 10.1.1).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Container, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol, cast

from starlette.types import Receive, Scope, Send

from gateway.access.facts import Caller
from gateway.access.identities import Identity
from gateway.engine.integrity import EtagMode, PayloadCheck
from gateway.engine.turns import Turns
from gateway.http.answers import RawHeaders, common_headers, encode_headers
from gateway.http.bodies import RequestBody, WireBody, decode_body, refuse_streaming
from gateway.http.failures import as_s3_error
from gateway.http.forms import FormBody, is_form
from gateway.http.memory import ANSWER_BYTES, REQUEST_BYTES, Lease
from gateway.http.protocol import ABORT, UNREAD
from gateway.http.shares import NOBODY, Place, RequestShares
from gateway.operations.admission import Admission
from gateway.operations.context import BodyUse, Context, Operation, Services
from gateway.operations.cors import headers_for, preflight
from gateway.s3.access_log import Access
from gateway.s3.addressing import Address, resolve
from gateway.s3.errors import ACCESS_DENIED, MAX_MESSAGE_LENGTH_EXCEEDED, S3Error
from gateway.s3.form import request_of_form
from gateway.s3.parsing import document_expectation
from gateway.s3.request import Headers, Request
from gateway.s3.response import Response
from gateway.s3.routing import route
from gateway.s3.serialising.errors import error_response
from gateway.s3.sigv4 import (
    Anonymous,
    PostPolicy,
    SignatureSettings,
    Verified,
    present,
    present_form,
    verify,
    verify_form,
)
from gateway.s3.types import Buffer, PayloadExpectation
from gateway.telemetry import RequestRecord, Telemetry
from storage.catalogue.records import Bucket

RECORD = "sealgate.record"
"""Key of the request's `RequestRecord` in `scope["state"]`; the middleware puts it there."""

_TLS_NAMES = {0x0303: "TLSv1.2", 0x0304: "TLSv1.3"}
_LONG_DOCUMENT_BYTES = 64 * 1024
"""Longer ones are parsed beside the loop: a Complete of 10,000 parts takes 0.1 s."""
_BODILESS = frozenset({204, 304})
_COPIES = frozenset({"CopyObject", "UploadPartCopy"})
_UPLOADS = frozenset({"PutObject", "PostObject", "UploadPart"})
_READS = ("Get", "Head", "List")


class CallerLookup(Protocol):
    """What the endpoint needs of `gateway.access.identities.Identities`."""

    async def resolve(self, access_key_id: str) -> tuple[Identity, str] | None:
        """Give the identity and its secret access key; None for a key that is unknown or disabled."""


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """Plain values of the settings table."""

    region: str
    domains: tuple[str, ...] = ()
    """Names under which `BUCKET.name` is a bucket."""
    hosts: Container[str] | None = None
    """All further names of this endpoint; None lets every name in."""
    max_document_bytes: int = 2 * 1024 * 1024
    body_memory_bytes: int = 512 * 1024 * 1024
    """What the bodies of all requests and answers may hold in memory."""
    body_memory_account_percent: int = 50
    """What those of one account may hold of it."""
    body_memory_wait_s: float = 5.0
    """How long a request waits for its share before it is told to slow down."""
    account_requests: int = 512
    """Requests of one account that are answered at once."""
    signatures: SignatureSettings = field(default_factory=SignatureSettings)


@dataclass(slots=True)
class _Exchange:
    """One request on its way, with what is known of it so far."""

    request: Request
    wire: WireBody
    record: RequestRecord
    lease: Lease
    place: Place
    body: RequestBody | FormBody | None = None
    cors: tuple[tuple[str, str], ...] = ()
    """What the bucket's cross-origin rules add to the answer, refusals included."""


@dataclass(frozen=True, slots=True)
class _Form:
    """A form whose signature and policy hold, and the request that it stands for."""

    verified: Verified
    identity: Identity
    request: Request
    address: Address


@dataclass(frozen=True, slots=True)
class _Ready:
    """An answer that may be sent."""

    status: int
    headers: RawHeaders
    body: bytes | AsyncIterator[Buffer] = field(repr=False)
    first: Buffer | None = field(default=None, repr=False)
    """What a stream gave already; None where it gave nothing."""
    length: int = 0
    """Bytes that a stream must give."""


class WrongLength(Exception):
    """A stream gave more or fewer bytes than its Content-Length said: a defect, and the response is cut."""


class Endpoint:
    """Serves every S3 request. Raises nothing but cancellation: each failure becomes an answer or a cut connection."""

    def __init__(
        self,
        operations: Mapping[str, Operation],
        services: Services,
        callers: CallerLookup,
        telemetry: Telemetry,
        settings: EndpointSettings,
        clock: Callable[[], datetime],
    ) -> None:
        """`clock` gives aware UTC."""
        self._operations = operations
        self._services = services
        self._admission = Admission(services.catalogue, services.region)
        self._callers = callers
        self._telemetry = telemetry
        self._settings = settings
        self._clock = clock
        self._memory = Turns(
            settings.body_memory_bytes,
            settings.body_memory_wait_s,
            account_percent=settings.body_memory_account_percent,
        )
        self._shares = RequestShares(settings.account_requests, telemetry.shed.inc)
        self._ending: set[asyncio.Future[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        record: RequestRecord = scope["state"][RECORD]
        request = request_of(scope, record.request_id, self._clock())
        record.client_host = request.client_host
        wire = WireBody(receive, request.headers)
        exchange = _Exchange(request, wire, record, Lease(self._memory), Place(self._shares))
        try:
            await self._exchange(exchange, scope, receive, send)
        finally:
            exchange.place.end()
            self._end(exchange.lease, scope)
            if record.bucket:
                self._services.access_logs.note(request, record.bucket, partial(_access_of, record))

    async def _exchange(self, exchange: _Exchange, scope: Scope, receive: Receive, send: Send) -> None:
        record = exchange.record
        try:
            ready = await self._make_ready(exchange)
        except Exception as error:  # noqa: BLE001 - the one place where every failure becomes an answer
            ready = self._refusal(error, exchange)
        if exchange.body is not None:
            record.bytes_in = exchange.body.received_bytes
        record.status = ready.status
        if isinstance(ready.body, bytes):
            await _send_whole(ready.body, ready, record, send)
        else:
            await self._send_stream(ready.body, ready, record, scope, receive, send)

    def _end(self, lease: Lease, scope: Scope) -> None:
        """Give back the memory of an exchange; behind its back, since the client may take its time to read the rest."""
        if not lease.held_bytes:
            return
        is_unread: Callable[[], bool] = scope.get("extensions", {}).get(UNREAD, {}).get("call", lambda: False)
        ending = asyncio.ensure_future(lease.end(is_unread))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    async def _make_ready(self, exchange: _Exchange) -> _Ready:
        """Get the response and, of a stream, the first bytes: they are authenticated before a status line goes out."""
        response = await self._answer(exchange)
        if isinstance(response.body, bytes):
            return _Ready(response.status, _headers_of(response, exchange), response.body)
        try:
            headers = _headers_of(response, exchange)
            length = _length_of(headers)
            await exchange.lease.hold(exchange.record.account_id, length, ANSWER_BYTES)
            first = await anext(response.body, None)
        except BaseException:
            await _close(response.body)
            raise
        return _Ready(response.status, headers, response.body, first, length)

    # From request to response

    async def _answer(self, exchange: _Exchange) -> Response:
        request, record = exchange.request, exchange.record
        address = resolve(request, self._settings.domains, self._settings.hosts)
        record.bucket, record.object_key = address.bucket or "", address.object_key
        if request.method == "OPTIONS":
            record.operation = "PreflightCors"
            return await preflight(self._admission, request, address.bucket)
        if is_form(request, address):
            exchange.place.take(NOBODY)
            form = await self._take_form(exchange, address)
            verified: Verified | Anonymous = form.verified
            caller = Caller(form.identity, form.verified.kind)
        else:
            form = None
            verified, caller = await self._authenticate(request, address)
        if caller.identity is not None:
            record.access_key_id = caller.identity.access_key_id
            record.account_id = caller.identity.account.canonical_id
        exchange.place.take(record.account_id or NOBODY)
        operation = self._operations[route(request, address)]
        if form is not None:
            request, address = form.request, form.address
            record.object_key = address.object_key
        record.operation = operation.name
        bucket = await self._find_bucket(operation, address, caller, exchange)
        access = await self._admission.admit(request, address, operation.name, operation.action, caller, bucket)
        document = await self._take_body(operation, exchange, verified)
        parsed = await _parse(operation, request, address, document)
        await access.judge_document(operation.action, address.object_key, parsed)
        context = Context(self._services, access, request, address, bucket)
        assert exchange.body is not None
        response = operation.serialise(await operation.run(context, parsed, exchange.body))
        if not operation.name.startswith(_READS):
            record.status, record.bytes_in = response.status, exchange.body.received_bytes
            self._telemetry.mutation(record)
        return response

    async def _find_bucket(
        self, operation: Operation, address: Address, caller: Caller, exchange: _Exchange
    ) -> Bucket | None:
        """Look up the bucket that the request names, and the headers that its rules add. Raises S3Error."""
        if not operation.needs_bucket:
            return None
        assert address.bucket is not None, "routing knows the level"
        bucket = await self._admission.find_bucket(address.bucket, caller)
        exchange.cors = await headers_for(self._admission.rules, exchange.request, bucket)
        return bucket

    async def _authenticate(self, request: Request, address: Address) -> tuple[Verified | Anonymous, Caller]:
        """Find out who asks. Raises S3Error: as `present` and `verify`."""
        presentation = present(
            request,
            request.received_at,
            self._settings.region,
            self._settings.signatures,
            bucket_from_host=address.bucket if address.bucket_in_host else None,
        )
        if isinstance(presentation, Anonymous):
            return presentation, Caller(None)
        found = await self._callers.resolve(presentation.access_key_id)
        verified = verify(presentation, request, found[1] if found is not None else None)
        assert found is not None, "verify() refuses a key that nobody knows"
        return verified, Caller(found[0], verified.kind)

    async def _take_form(self, exchange: _Exchange, address: Address) -> _Form:
        """Read a form up to its file, and find out who signed it and whether it does what was signed.

        Raises: S3Error as `FormBody`, `present_form`, `verify_form`, `PostPolicy` and `request_of_form`; AccessDenied
            for the anonymous caller.
        """
        assert address.bucket is not None, "a form is sent to a bucket"
        request, settings = exchange.request, self._settings
        body = exchange.body = FormBody(exchange.wire, request)
        fields = await body.fields(address.bucket)
        presentation = present_form(fields, settings.region, settings.signatures)
        if presentation is None:
            raise S3Error(ACCESS_DENIED)  # a form without a policy has nothing that would bound what it uploads
        found = await self._callers.resolve(presentation.access_key_id)
        verified = verify_form(presentation, found[1] if found is not None else None)
        assert found is not None, "verify_form() refuses a key that nobody knows"
        policy = PostPolicy.parse(presentation.policy)
        policy.check(fields, request.received_at)
        body.allowed = policy.size
        return _Form(verified, found[0], *request_of_form(request, fields, address))

    async def _take_body(self, operation: Operation, exchange: _Exchange, verified: Verified | Anonymous) -> bytes:
        """Prepare the body as the operation wants it; read it only where it is a document.

        Raises:
            S3Error: InvalidRequest, MaxMessageLengthExceeded, and all that a body can be refused for.
        """
        mode, headers = verified.payload.mode, exchange.request.headers
        if operation.body is BodyUse.NONE:
            refuse_streaming(mode)
        account = exchange.record.account_id
        await exchange.lease.hold(account, _bytes_under_way(operation, exchange), REQUEST_BYTES)
        if isinstance(exchange.body, FormBody):
            return b""
        body = exchange.body = decode_body(
            exchange.wire, headers, mode, None if isinstance(verified, Anonymous) else verified.chunk_signer
        )
        if operation.body is not BodyUse.DOCUMENT:
            return b""
        expectation = document_expectation(exchange.request, operation.name)
        return await read_document(body, expectation, self._settings.max_document_bytes)

    # Refusals

    def _refusal(self, error: Exception, exchange: _Exchange) -> _Ready:
        request, record = exchange.request, exchange.record
        refusal = as_s3_error(error, self._telemetry, record)
        record.error_code = refusal.row.code
        record.was_cut = exchange.wire.is_disconnected
        response = error_response(refusal, record.request_id, request.raw_path, request.method == "HEAD")
        return _Ready(response.status, _headers_of(response, exchange), cast("bytes", response.body))

    # Streams

    async def _send_stream(
        self,
        stream: AsyncIterator[Buffer],
        ready: _Ready,
        record: RequestRecord,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Send exactly Content-Length bytes, or cut the connection: no client sees a clean end of less."""
        left = ready.length
        departure: asyncio.Task[None] | None = None
        try:
            await send({"type": "http.response.start", "status": ready.status, "headers": ready.headers})
            chunk = ready.first
            while chunk is not None:
                left -= len(chunk)
                _check_length(left >= 0)
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                record.bytes_out += len(chunk)
                if left and departure is None:
                    departure = asyncio.create_task(_departure(receive))
                if departure is not None and departure.done():
                    record.was_cut = True
                    return
                chunk = await anext(stream, None)
            _check_length(left == 0)
            await send({"type": "http.response.body", "body": b""})
        except Exception as error:  # noqa: BLE001 - after the status line only the connection can say that it failed
            self._cut(error, record, scope)
        finally:
            if departure is not None:
                departure.cancel()
            await _close(stream)

    def _cut(self, error: Exception, record: RequestRecord, scope: Scope) -> None:
        record.was_cut = True
        self._telemetry.cut_responses.labels(type(error).__name__).inc()
        record.error_code = as_s3_error(error, self._telemetry, record).row.code
        abort = scope.get("extensions", {}).get(ABORT)
        if abort is None:
            # A server without the extension cuts the connection when its application fails.
            raise ConnectionAbortedError("the response was cut") from None
        abort["call"]()


def _access_of(record: RequestRecord, owner_id: str) -> Access:
    """What the log of a bucket says of a request, beside what stands in the request itself."""
    is_upload = record.operation in _UPLOADS
    return Access(
        bucket_owner_id=owner_id,
        bucket_name=record.bucket,
        at=datetime.now(UTC),
        requester_id=record.account_id,
        operation=record.operation,
        object_key=record.object_key,
        status=record.status,
        error_code=record.error_code,
        bytes_sent=record.bytes_out,
        object_size=record.bytes_in if is_upload else None,
        total_ms=round((time.monotonic() - record.began) * 1000),
    )


def request_of(scope: Scope, request_id: str, received_at: datetime) -> Request:
    """Make the request value from an ASGI scope; of its paths only `raw_path` still tells `%FF` from `%FE`."""
    client = scope.get("client")
    tls = scope.get("extensions", {}).get("tls", {})
    return Request(
        method=scope["method"],
        raw_path=scope["raw_path"],
        raw_query=scope["query_string"],
        headers=Headers(scope["headers"]),
        request_id=request_id,
        received_at=received_at,
        client_host=client[0] if client else "",
        tls_version=_TLS_NAMES.get(tls.get("tls_version")),
    )


async def _parse(operation: Operation, request: Request, address: Address, document: bytes) -> Any:
    """Read what the operation asks for. Raises S3Error: whatever is wrong with it."""
    if len(document) > _LONG_DOCUMENT_BYTES:
        return await asyncio.to_thread(operation.parse, request, address, document)
    return operation.parse(request, address, document)


async def read_document(body: RequestBody, expectation: PayloadExpectation, max_bytes: int) -> bytes:
    """Read a small body whole and hold it against all that the request declares of it, as is done with object data.

    Raises:
        S3Error: MaxMessageLengthExceeded; else as `gateway.engine.integrity.PayloadCheck`.
    """
    if (expectation.content_length or 0) > max_bytes:
        raise S3Error(MAX_MESSAGE_LENGTH_EXCEEDED)
    check = PayloadCheck(expectation, EtagMode.OPAQUE)
    document = bytearray()
    async for piece in body:
        document += piece
        if len(document) > max_bytes:
            raise S3Error(MAX_MESSAGE_LENGTH_EXCEEDED)
    whole = bytes(document)
    check.digests.update(whole)
    check.finish(len(whole), body.trailers)
    return whole


def _bytes_under_way(operation: Operation, exchange: _Exchange) -> int:
    """How long the body is that an operation reads: its own, or the source of a copy, of which no length is known."""
    if operation.body is BodyUse.NONE:
        return REQUEST_BYTES if operation.name in _COPIES else 0
    length = exchange.wire.content_length
    return REQUEST_BYTES if length is None else length


def _headers_of(response: Response, exchange: _Exchange) -> RawHeaders:
    headers = common_headers(exchange.record.request_id) + encode_headers((*response.headers, *exchange.cors))
    is_bodiless = exchange.request.method == "HEAD" or response.status in _BODILESS
    if isinstance(response.body, bytes) and not is_bodiless and all(name != b"content-length" for name, _ in headers):
        headers.append((b"content-length", str(len(response.body)).encode("ascii")))
    if not exchange.wire.has_ended:
        # What is left of the body must not be taken for the next request.
        headers.append((b"connection", b"close"))
    return headers


def _length_of(headers: RawHeaders) -> int:
    """Return the Content-Length of a stream; a stream without one is a defect. Raises: ValueError."""
    declared = [value for name, value in headers if name == b"content-length"]
    if len(declared) != 1:
        raise ValueError("a stream needs one Content-Length")
    return int(declared[0])


def _check_length(holds: bool) -> None:
    if not holds:
        raise WrongLength


async def _send_whole(body: bytes, ready: _Ready, record: RequestRecord, send: Send) -> None:
    if record.method == "HEAD" or ready.status in _BODILESS:
        body = b""
    await send({"type": "http.response.start", "status": ready.status, "headers": ready.headers})
    await send({"type": "http.response.body", "body": body})
    record.bytes_out = len(body)


async def _close(stream: AsyncIterator[Buffer]) -> None:
    close = getattr(stream, "aclose", None)
    if close is not None:
        await close()


async def _departure(receive: Receive) -> None:
    """Return when the client has left; what it still sends meanwhile is thrown away."""
    while (await receive())["type"] != "http.disconnect":
        pass
