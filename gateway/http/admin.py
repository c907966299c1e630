"""Health, readiness and metrics: on a listener of their own that is bound to loopback, and on monitor.

Paths match exactly; everything else is 404, so that no prefix can slip past (FAULTS.md W70). No S3 data and no
secret passes here, which is why plain HTTP is allowed on loopback, and only there; monitor speaks TLS, and only with
who shows a certificate.
"""

import asyncio
import ipaddress
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.types import Receive, Scope, Send

_TEXT = "text/plain; charset=utf-8"
_HOST = re.compile(r"(?:\[(?P<v6>[^]]*)\]|(?P<name>[^:]*))(?::[0-9]+)?")


@dataclass(frozen=True, slots=True)
class _Page:
    status: int
    body: bytes
    content_type: str = _TEXT


class Told(Protocol):
    """What the pages tell."""

    async def is_ready(self) -> bool:
        """Whether requests can be served now."""

    async def metrics(self) -> bytes:
        """The page for Prometheus."""


@dataclass(frozen=True, slots=True)
class OwnTold:
    """What one process tells of itself."""

    registry: CollectorRegistry
    ask_ready: Callable[[], Awaitable[bool]]

    async def is_ready(self) -> bool:
        """Ask whoever knows."""
        return await self.ask_ready()

    async def metrics(self) -> bytes:
        """Render the registry."""
        # Rendering walks every series; beside the loop it cannot hold up a stream.
        return await asyncio.to_thread(generate_latest, self.registry)


class AdminApp:
    """The ASGI application of both.

    `is_for_loopback`: nobody signs in, so that a Host of another machine's is refused.
    """

    def __init__(self, told: Told, *, is_for_loopback: bool = True) -> None:
        self._told = told
        self._is_for_loopback = is_for_loopback
        self._pages: dict[bytes, Callable[[], Awaitable[_Page]]] = {
            b"/healthz": self._health,
            b"/readyz": self._readiness,
            b"/metrics": self._metrics,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        del receive
        assert scope["type"] == "http"
        page = _Page(404, b"not found\n")
        found = self._pages.get(scope["raw_path"])
        if self._is_for_loopback and not _names_loopback(scope):
            page = _Page(421, b"this listener answers to loopback names only\n")
        elif found is not None and scope["method"] in {"GET", "HEAD"}:
            page = await found()
        headers = [
            (b"content-type", page.content_type.encode("ascii")),
            (b"content-length", str(len(page.body)).encode("ascii")),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
            (b"connection", b"close"),
        ]
        await send({"type": "http.response.start", "status": page.status, "headers": headers})
        await send({"type": "http.response.body", "body": page.body})

    async def _health(self) -> _Page:
        return _Page(200, b"ok\n")

    async def _readiness(self) -> _Page:
        return _Page(200, b"ready\n") if await self._told.is_ready() else _Page(503, b"not ready\n")

    async def _metrics(self) -> _Page:
        return _Page(200, await self._told.metrics(), CONTENT_TYPE_LATEST)


def _names_loopback(scope: Scope) -> bool:
    """Whether Host is a name of loopback: a page in the operator's browser may have its own name lead here instead."""
    host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
    match = _HOST.fullmatch(host.strip(" \t").lower())
    if match is None:
        return False
    if match["name"] in {"localhost", "localhost."}:
        return True
    try:
        return ipaddress.ip_address(match["v6"] or match["name"] or "").is_loopback
    except ValueError:
        return False
