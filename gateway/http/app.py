"""The application: the endpoint with the middleware around it for every request, Starlette for the lifespan.

Starlette's own routing works on the decoded path, in which different keys collide, and its layers around each request
cost a tenth of a small one; so requests do not pass through it.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.http.middleware import ConcurrencyLimit, RequestLog
from gateway.telemetry import Telemetry

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]

MAX_REQUESTS = 1024


class Application(Starlette):
    """HTTP goes straight to `http`, whatever its path; the rest, which is the lifespan, to Starlette."""

    def __init__(self, http: ASGIApp, lifespan: Lifespan | None) -> None:
        super().__init__(lifespan=lifespan)
        self._http = http

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on what came, as it stands."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def make_app(
    endpoint: ASGIApp,
    telemetry: Telemetry,
    *,
    lifespan: Lifespan | None = None,
    max_requests: int = MAX_REQUESTS,
) -> Starlette:
    """Put the application together. `lifespan` opens and closes what the endpoint works with."""
    limited = ConcurrencyLimit(endpoint, telemetry, max_requests)
    return Application(RequestLog(limited, telemetry), lifespan)
