"""The Starlette application: one catch-all route to the endpoint, the middleware around it, and the lifespan.

Starlette's own routing works on the decoded path, in which different keys collide; so nothing here looks at it.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.http.middleware import ConcurrencyLimit, RequestLog
from gateway.telemetry import Telemetry

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]

MAX_REQUESTS = 1024


class CatchAll(BaseRoute):
    """Sends every HTTP request, whatever its path, to one application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match HTTP and nothing else."""
        return (Match.FULL if scope["type"] == "http" else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, as it stands."""
        await self._app(scope, receive, send)


def make_app(
    endpoint: ASGIApp,
    telemetry: Telemetry,
    *,
    lifespan: Lifespan | None = None,
    max_requests: int = MAX_REQUESTS,
) -> Starlette:
    """Put the application together. `lifespan` opens and closes what the endpoint works with."""
    return Starlette(
        routes=[CatchAll(endpoint)],
        middleware=[
            Middleware(RequestLog, telemetry=telemetry),
            Middleware(ConcurrencyLimit, telemetry=telemetry, most=max_requests),
        ],
        lifespan=lifespan,
    )
