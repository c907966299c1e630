"""The whole gateway in one process, called by boto3 clients whose HTTP layer is the ASGI application itself.

Serialisation, signature, retries, checksums in trailers and the parsing of answers are botocore's own; routing, access,
operations and engine are ours, over the memory references. No socket is opened.
"""

import asyncio
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from io import BytesIO
from typing import Any, cast
from urllib.parse import urlsplit

import boto3
import pytest
from botocore import UNSIGNED
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError
from starlette.types import ASGIApp, Message

from gateway.access.identities import Identities
from gateway.engine.access_log import AccessLogs
from gateway.engine.lifecycle import Lifecycles
from gateway.engine.notifying import Announcements
from gateway.engine.objects import new_id
from gateway.http.app import make_app
from gateway.http.endpoint import Endpoint, EndpointSettings
from gateway.operations.context import Services
from gateway.operations.cursors import SealedCursors
from gateway.operations.table import OPERATIONS
from gateway.s3.checksums import ALGORITHMS, PayloadDigests
from gateway.telemetry import Telemetry
from keys.realm import RealmKeys
from storage.catalogue.records import AccessKey, Account
from tests.gateway.engine.hook import Hook
from tests.gateway.engine.rig import Rig, rig_parts
from tests.gateway.http.asgi import ACCESS_KEY_ID, HOST, SECRET, Answer, call, signed_headers

ALICE, ALICE_TOO, BOB, NOBODY = ACCESS_KEY_ID, "AKIDSECONDKEYOFALICE", "AKIDTHEOTHERACCOUNT1", ""
"""Access key ids: two of the account that owns `bucket`, one of another account, and the anonymous caller."""

REGION = "us-east-1"
MAX_BUCKETS = 5
WIRE_PIECE_BYTES = 50_000
"""Size of the body messages: no divisor of any chunk or slice."""

MIB = 1024 * 1024


class _Raw(BytesIO):
    def stream(self, amount: int = 65536, **_: Any) -> Iterator[bytes]:
        while piece := self.read(amount):
            yield piece


@cache
def _client(access_key_id: str, addressing: str) -> Any:
    """Making a client costs more than most tests, so all stages share them."""
    return boto3.client(
        "s3",
        endpoint_url=f"https://{HOST}",
        region_name=REGION,
        aws_access_key_id=access_key_id or "unused",
        aws_secret_access_key=SECRET,
        config=Config(
            signature_version="s3v4" if access_key_id else UNSIGNED,
            retries={"total_max_attempts": 1},
            s3={"addressing_style": addressing},
        ),
    )


@dataclass
class Stage:
    """One gateway, its engine, and the callers."""

    runner: asyncio.Runner
    rig: Rig
    services: Services
    app: ASGIApp
    hooks: dict[str, Hook]
    exchanges: list[Answer] = field(default_factory=list)
    """Every answer that was given to a client, as it went over the wire."""
    sent: list[Mapping[str, str]] = field(default_factory=list)
    """The headers of every request of a client."""
    next_body: bytes | None = None
    """Takes the place of the next request's body, once its headers are signed."""
    alice: Any = None
    alice_too: Any = None
    bob: Any = None
    nobody: Any = None

    def answer(self, request: Any, **_: Any) -> AWSResponse:
        """Stand in for botocore's HTTP layer."""
        url = urlsplit(request.url)
        headers = {name: value if isinstance(value, bytes) else str(value) for name, value in request.headers.items()}
        items = [(n.lower().encode(), v if isinstance(v, bytes) else v.encode("latin-1")) for n, v in headers.items()]
        if all(name != b"host" for name, _ in items):
            items.insert(0, (b"host", url.netloc.encode()))
        self.sent.append({name.decode(): value.decode("latin-1") for name, value in items})
        body, self.next_body = self.next_body if self.next_body is not None else request.body, None
        if body is None:
            body = b""
        elif not isinstance(body, bytes | bytearray):
            body = body.read()
        target = url.path + (f"?{url.query}" if url.query else "")
        answer = self.runner.run(call(self.app, request.method, target, items, messages_of(bytes(body))))
        self.exchanges.append(answer)
        assert answer.is_complete, "the connection was cut"
        return AWSResponse(request.url, answer.status, answer.headers, _Raw(answer.body))

    def raw(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        """Send what no client sends, signed by ALICE."""
        signed = signed_headers(method, target, body, headers)
        if body:
            signed.append((b"content-length", str(len(body)).encode()))
        return self.runner.run(call(self.app, method, target, signed, messages_of(body)))

    def run(self, awaitable: Any) -> Any:
        """Run a coroutine on the stage's loop."""
        return self.runner.run(awaitable)

    @property
    def last(self) -> Answer:
        """The newest answer."""
        return self.exchanges[-1]

    # Short ways

    def put(self, key: str, body: bytes = b"data", **arguments: Any) -> dict[str, Any]:
        """Put an object as alice."""
        result: dict[str, Any] = self.alice.put_object(Bucket="bucket", Key=key, Body=body, **arguments)
        return result

    def body_of(self, key: str, **arguments: Any) -> bytes:
        """Get an object's bytes as alice."""
        given: bytes = self.alice.get_object(Bucket="bucket", Key=key, **arguments)["Body"].read()
        return given

    def keys(self, bucket: str = "bucket") -> list[str]:
        """Every key of a bucket."""
        return [entry["Key"] for entry in self.alice.list_objects_v2(Bucket=bucket).get("Contents", [])]


def messages_of(body: bytes) -> list[Message]:
    """A body as a server hands it on."""
    pieces = [body[start : start + WIRE_PIECE_BYTES] for start in range(0, len(body), WIRE_PIECE_BYTES)] or [b""]
    return [
        {"type": "http.request", "body": piece, "more_body": index < len(pieces)}
        for index, piece in enumerate(pieces, 1)
    ]


def refused(method: Any, status: int, code: str, **arguments: Any) -> dict[str, Any]:
    """See that a client's call is refused so; give the error's fields and `headers`. HEAD has the status for a code."""
    with pytest.raises(ClientError) as caught:
        method(**arguments)
    response = caught.value.response
    metadata = response["ResponseMetadata"]
    assert (metadata["HTTPStatusCode"], response["Error"]["Code"]) == (status, code), response
    assert metadata["RequestId"], "a refusal names its request"
    return {**response["Error"], "headers": metadata["HTTPHeaders"]}


def status_of(result: Mapping[str, Any]) -> int:
    """The status of a client's result."""
    status: int = result["ResponseMetadata"]["HTTPStatusCode"]
    return status


def headers_of(result: Mapping[str, Any]) -> Mapping[str, str]:
    """The headers of a client's result."""
    headers: Mapping[str, str] = result["ResponseMetadata"]["HTTPHeaders"]
    return headers


def checksum_of(name: str, data: bytes) -> str:
    """The Base64 of a checksum of S3."""
    algorithm = ALGORITHMS[name]
    digests = PayloadDigests([algorithm])
    digests.update(data)
    return b64encode(digests.digest(algorithm)).decode()


@contextmanager
def make_stage(**options: Any) -> Iterator[Stage]:
    """Set a stage; `options` are the rig's."""
    with rig_parts(**options) as make, asyncio.Runner() as runner:
        rig = runner.run(make())
        stage = runner.run(_wire(runner, rig))
        clients = {
            "alice": _client(ALICE, "path"),
            "alice_too": _client(ALICE_TOO, "path"),
            "bob": _client(BOB, "path"),
            "nobody": _client(NOBODY, "path"),
        }
        for name, client in clients.items():
            setattr(stage, name, client)
            client.meta.events.register("before-send.s3", stage.answer)
        try:
            yield stage
        finally:
            for client in clients.values():
                client.meta.events.unregister("before-send.s3", stage.answer)


async def _wire(runner: asyncio.Runner, rig: Rig) -> Stage:
    realm_keys, _ = await RealmKeys.create(rig.kms, rig.realm_id)
    bob = Account(new_id(), "bob", rig.clock())
    await rig.catalogue.create_account(bob)
    for account, access_key_id in ((rig.account, ALICE), (rig.account, ALICE_TOO), (bob, BOB)):
        sealed = realm_keys.seal_credential(SECRET, access_key_id)
        await rig.catalogue.create_access_key(AccessKey(access_key_id, account.account_id, sealed, rig.clock()))
    hooks = {name: Hook(name) for name in ("hook", "other")}
    services = Services(
        catalogue=rig.catalogue,
        objects=rig.objects,
        multipart=rig.multipart,
        custody=rig.custody,
        cursors=SealedCursors(realm_keys.cursor_key.material()),
        lifecycles=Lifecycles(rig.catalogue),
        access_logs=AccessLogs(catalogue=rig.catalogue, objects=rig.objects, region=REGION, clock=rig.clock),
        announcements=Announcements(rig.catalogue, REGION, hooks),
        webhooks=cast("Any", hooks),
        region=REGION,
        max_buckets_per_account=MAX_BUCKETS,
        clock=rig.clock,
    )
    telemetry = Telemetry(b"n" * 32)
    endpoint = Endpoint(
        OPERATIONS,
        services,
        Identities(rig.catalogue, realm_keys.open_credential),
        telemetry,
        EndpointSettings(REGION, (HOST,)),
        lambda: datetime.now(UTC),
    )
    return Stage(runner, rig, services, make_app(endpoint, telemetry), hooks)
