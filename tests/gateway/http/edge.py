"""A real server on loopback, and raw TLS conversations with it."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.http.ports import Endpoint
from gateway.http.protocol import ABORT, EdgeLimits
from gateway.http.server import Bound, Server, ServerSettings
from gateway.http.tls import Certificate

LOOPBACK = Endpoint("127.0.0.1", 0)
PATIENCE_S = 20.0
"""The longest that any test waits for something that must happen; nothing waits that long when all is well."""


def make_certificate(folder: Path, name: str = "server", *, left: timedelta = timedelta(days=30)) -> Certificate:
    """A self-signed pair for localhost and 127.0.0.1."""
    private_key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=30))
        .not_valid_after(now + left)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(private_key, hashes.SHA256())
    )
    pair = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    pair.certfile.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pair.keyfile.write_bytes(
        private_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return pair


LARGE_BYTES = 900_000
"""More than a narrow client and the kernel hold, less than what a server writes ahead of its clients."""


class Application:
    """Answers `/` with what it received, streams on `/endless`, cuts on `/cut`, refuses unread on `/early`."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.ended = asyncio.Event()
        self.is_stopping = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for _ in range(2):
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
            return
        self.calls.append(scope["method"])
        try:
            await self._answer(scope, receive, send)
        finally:
            self.ended.set()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/endless":
            await send(_start(200, 10**12))
            while not self.is_stopping:
                await send({"type": "http.response.body", "body": bytes(262144), "more_body": True})
                await asyncio.sleep(0)
        if scope["path"] == "/cut":
            await send(_start(200, 100))
            await send({"type": "http.response.body", "body": bytes(50), "more_body": True})
            scope["extensions"][ABORT]["call"]()
            return
        if scope["path"] == "/large":
            await send(_start(200, LARGE_BYTES))
            await send({"type": "http.response.body", "body": bytes(LARGE_BYTES)})
            return
        size = 0
        while scope["path"] != "/early":
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            size += len(message["body"])
            if not message["more_body"]:
                break
        body = b"%d" % size
        start = _start(200, len(body))
        if scope["path"] == "/early":
            start["headers"].append((b"connection", b"close"))
        await send(start)
        await send({"type": "http.response.body", "body": body})


def _start(status: int, length: int) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": [(b"content-length", b"%d" % length)]}


@dataclass
class Running:
    """A server that stands, and how to reach it."""

    server: Server
    bound: Bound
    client: ssl.SSLContext
    registry: CollectorRegistry

    async def connect(self, context: ssl.SSLContext | None = None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a TLS connection."""
        return await asyncio.open_connection(
            "127.0.0.1", self.bound.https.port, ssl=context or self.client, server_hostname="localhost"
        )

    async def connect_narrowly(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a TLS connection whose buffers hold next to nothing."""
        narrow = socket.socket()
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        narrow.setblocking(False)
        await asyncio.get_running_loop().sock_connect(narrow, ("127.0.0.1", self.bound.https.port))
        return await asyncio.open_connection(sock=narrow, ssl=self.client, server_hostname="localhost", limit=4096)

    async def say(self, *sent: bytes) -> bytes:
        """Send bytes over TLS and return all that comes back until the server closes."""
        reader, writer = await self.connect()
        for piece in sent:
            writer.write(piece)
            await writer.drain()
        return await to_end(reader, writer)


async def to_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Read until the server closes; a reset ends what was read as well."""
    answer = b""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while piece := await reader.read(65536):
                answer += piece
    except ConnectionError:
        pass
    writer.transport.abort()
    return answer


@asynccontextmanager
async def serving(app: ASGIApp, certificate: Certificate, limits: EdgeLimits | None = None) -> AsyncIterator[Running]:
    """Serve an application on free ports of loopback, and drain at the end."""

    async def is_ready() -> bool:
        return True

    limits = limits or EdgeLimits(linger_s=0.5, drain_timeout_s=0.5)
    settings = ServerSettings(LOOPBACK, LOOPBACK, certificate, LOOPBACK, limits)
    registry = CollectorRegistry()
    server = Server(app, registry, is_ready, settings)
    bound = await server.start()
    try:
        yield Running(server, bound, ssl.create_default_context(cafile=certificate.certfile), registry)
    finally:
        await server.drain()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what must come to pass."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.01)


def on_loop(main: Coroutine[Any, Any, None]) -> None:
    """Run a test on the loop that serves in production."""
    uvloop.run(main)
