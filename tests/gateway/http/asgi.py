"""An endpoint with operations of the test's own, called as a server would call it, without sockets."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp, Message

from gateway.access.identities import Identity
from gateway.http.app import make_app
from gateway.http.endpoint import Endpoint, EndpointSettings
from gateway.http.protocol import ABORT
from gateway.operations.context import BodyUse, Context, Operation, Services
from gateway.s3.response import Response
from gateway.s3.types import Body
from gateway.telemetry import Telemetry
from storage.catalogue.conflicts import NoSuchBucket
from storage.catalogue.records import Account, Bucket

ACCESS_KEY_ID = "AKIDTESTTESTTESTTEST"
SECRET = "not-a-secret-of-anyone"  # a key that opens nothing outside these tests
HOST = "s3.test"
ACCOUNT = Account(b"a" * 16, "alice", datetime(2026, 1, 1, tzinfo=UTC))
IDENTITY = Identity(ACCOUNT, ACCESS_KEY_ID)


class Catalogue:
    """Knows the bucket `box` of the test's account."""

    async def get_bucket(self, name: str) -> Bucket:
        if name != "box":
            raise NoSuchBucket
        return Bucket(b"i" * 16, name, ACCOUNT.account_id, ACCOUNT.created_at)


class Callers:
    """Knows one access key."""

    async def resolve(self, access_key_id: str) -> tuple[Identity, str] | None:
        return (IDENTITY, SECRET) if access_key_id == ACCESS_KEY_ID else None


def operation(
    name: str,
    run: Callable[[Context, bytes, Body], Any],
    *,
    body: BodyUse = BodyUse.NONE,
    serialise: Callable[[Any], Response] = lambda output: output,
    needs_bucket: bool = True,
) -> Operation:
    """A row whose Input is its document, and whose run gives the response itself."""
    return Operation(name, f"s3:{name}", body, needs_bucket, lambda _r, _a, document: document, run, serialise)


async def read_and_answer(_context: Context, _document: bytes, body: Body) -> Response:
    """Read a body to its end and give it back."""
    return Response(200, (), b"".join([bytes(piece) async for piece in body]))


@dataclass
class Answer:
    """What an application sent, and whether it asked for the connection to be cut."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    body_sizes: list[int] = field(default_factory=list)
    """Of each message of the body: what the transport is given at once."""
    is_complete: bool = False
    was_aborted: bool = False
    received_messages: int = 0
    received_before_start: int | None = None
    """Messages that were received before the response began: 0 means that no `100 Continue` was sent."""


@dataclass
class Gateway:
    """The application under test."""

    app: ASGIApp
    telemetry: Telemetry

    @property
    def registry(self) -> CollectorRegistry:
        return self.telemetry.registry

    def counted(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


class Silent:
    """Takes nothing down."""

    def note(self, *_: object) -> None: ...


def make_gateway(*operations: Operation, max_requests: int = 8, max_document_bytes: int = 1000) -> Gateway:
    telemetry = Telemetry(b"n" * 32)
    unused = cast("Any", None)
    services = Services(
        catalogue=cast("Any", Catalogue()),
        objects=unused,
        multipart=unused,
        custody=unused,
        cursors=unused,
        lifecycles=unused,
        access_logs=cast("Any", Silent()),
        announcements=unused,
        webhooks={},
        region="us-east-1",
        max_buckets_per_account=10,
        clock=lambda: datetime.now(UTC),
    )
    endpoint = Endpoint(
        {row.name: row for row in operations},
        services,
        Callers(),
        telemetry,
        EndpointSettings("us-east-1", (HOST,), max_document_bytes=max_document_bytes),
        lambda: datetime.now(UTC),
    )
    return Gateway(make_app(endpoint, telemetry, max_requests=max_requests), telemetry)


def signed_headers(
    method: str, target: str, body: bytes | None, headers: Mapping[str, str] | None = None
) -> list[tuple[bytes, bytes]]:
    """Sign with botocore, an implementation of its own. `body` None: UNSIGNED-PAYLOAD."""
    request = AWSRequest(method, f"https://{HOST}{target}", headers=dict(headers or {}), data=body or b"")
    if body is None:
        request.context["client_config"] = None
        request.context["payload_signing_enabled"] = False
    S3SigV4Auth(Credentials(ACCESS_KEY_ID, SECRET), "s3", "us-east-1").add_auth(request)
    signed = [(name.lower().encode(), value.encode()) for name, value in request.headers.items()]
    return [(b"host", HOST.encode()), *signed]


async def call(
    app: ASGIApp,
    method: str,
    target: str,
    headers: list[tuple[bytes, bytes]],
    messages: list[Message] | None = None,
    *,
    leaves_after: int | None = None,
) -> Answer:
    """Send one request. `messages` is its body; `leaves_after`: the client goes after that many response messages."""
    path, _, query = target.partition("?")
    answer = Answer()
    left = asyncio.Event()
    waiting = list(messages if messages is not None else [{"type": "http.request", "body": b"", "more_body": False}])
    sent = 0

    async def receive() -> Message:
        answer.received_messages += 1
        if waiting:
            return waiting.pop(0)
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        nonlocal sent
        sent += 1
        if message["type"] == "http.response.start":
            answer.received_before_start = answer.received_messages
            answer.status = message["status"]
            for name, value in message["headers"]:
                assert name not in answer.headers, f"{name} is sent twice"
                answer.headers[name.decode()] = value.decode("latin-1")
        else:
            answer.body += bytes(message["body"])
            answer.body_sizes.append(len(message["body"]))
            answer.is_complete = not message.get("more_body", False)
        if sent == leaves_after:
            left.set()
        await asyncio.sleep(0)

    def abort() -> None:
        answer.was_aborted = True
        left.set()

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": headers,
        "client": ("192.0.2.7", 1234),
        "extensions": {"tls": {"tls_version": 0x0304}, ABORT: {"call": abort}},
        "state": {},
    }
    async with asyncio.timeout(20):
        await app(scope, receive, send)
    return answer


def ask(
    gateway: Gateway,
    method: str,
    target: str,
    body: bytes | None = b"",
    headers: Mapping[str, str] | None = None,
    **options: Any,
) -> Answer:
    """Sign and send one request with its body in one message."""
    extra = dict(headers or {})
    if body and "transfer-encoding" not in extra:
        extra.setdefault("content-length", str(len(body)))
    unsigned = [(n, v) for n, v in extra.items() if n in {"content-length", "transfer-encoding", "expect"}]
    signed = signed_headers(method, target, body, {n: v for n, v in extra.items() if (n, v) not in unsigned})
    wire = signed + [(name.encode(), value.encode()) for name, value in unsigned]
    options.setdefault("messages", [{"type": "http.request", "body": body or b"", "more_body": False}])
    return asyncio.run(call(gateway.app, method, target, wire, **options))


async def stream_of(*chunks: bytes, error: Exception | None = None) -> AsyncIterator[bytes]:
    """A body of these chunks, which fails behind them where an error is given."""
    for chunk in chunks:
        yield chunk
    if error is not None:
        raise error
