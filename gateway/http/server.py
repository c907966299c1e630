"""Three listeners in one process and one loop: S3 over HTTPS, the plain-HTTP refuser, and admin on loopback.

uvicorn's protocol and lifespan serve here without uvicorn's own server, whose signals end the process with a signal
status and which knows one listener (DESIGN D10, D11; docs/decisions/0004-server.md).
"""

import asyncio
import ipaddress
import logging
import signal
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import uvloop
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.lifespan.on import LifespanOn
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.server import ServerState

from gateway.http.admin import AdminApp
from gateway.http.plain import PlainRefuser
from gateway.http.ports import Endpoint, ServeError, refused_port
from gateway.http.process import make_room_for_files, prepare_process
from gateway.http.protocol import EdgeLimits, S3Protocol
from gateway.http.tls import Certificate, TlsError, reload_certificate, server_context

_LOG = logging.getLogger(__name__)

_BACKLOG = 2048
_POLL_S = 0.02
_CANCEL_GRACE_S = 5.0
_GOODBYE_S = 0.1
"""How long a client that has asked nothing for a while may take to answer the end of TLS, which most never do."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Plain values; `gateway.wiring` makes them from the settings."""

    https: Endpoint
    admin: Endpoint
    certificate: Certificate
    plain: Endpoint | None = None
    """The refuser; None leaves that port closed, which refuses as well."""
    limits: EdgeLimits = field(default_factory=EdgeLimits)

    def listeners(self) -> tuple[tuple[Endpoint, str], ...]:
        """Every address to listen on, with the flag of its port."""
        plain = () if self.plain is None else ((self.plain, "http-port"),)
        return ((self.https, "port"), (self.admin, "admin-port"), *plain)


@dataclass(frozen=True, slots=True)
class Bound:
    """Where the listeners stand once they do: real port numbers."""

    https: Endpoint
    admin: Endpoint
    plain: Endpoint | None


class Server:
    """The listeners of one application. `start()` once, `drain()` once."""

    def __init__(
        self,
        app: ASGIApp,
        registry: CollectorRegistry,
        is_ready: Callable[[], Awaitable[bool]],
        settings: ServerSettings,
    ) -> None:
        if not ipaddress.ip_address(settings.admin.host).is_loopback:
            raise ServeError("the admin listener speaks plain HTTP and may only stand on a loopback address")
        self._settings = settings
        self._is_app_ready = is_ready
        self._context: ssl.SSLContext | None = None
        self._config = _config(app, lifespan="on")
        self._lifespan = LifespanOn(self._config)
        self._state = ServerState()
        self._admin_config = _config(AdminApp(registry, self._is_ready), lifespan="off")
        self._admin_state = ServerState()
        self._refusers: set[PlainRefuser] = set()
        self._listeners: list[asyncio.Server] = []
        self._admin_listener: asyncio.Server | None = None
        self._is_draining = False

    async def _is_ready(self) -> bool:
        return not self._is_draining and await self._is_app_ready()

    @property
    def connection_count(self) -> int:
        """Connections of clients that are open now."""
        return len(self._state.connections)

    async def start(self) -> Bound:
        """Start the application, then listen; nothing is accepted before the application stands.

        Raises:
            ServeError: the application did not start, or an address cannot be taken.
            TlsError: the certificate cannot be used.
        """
        settings = self._settings
        self._context = server_context(settings.certificate)
        await self._lifespan.startup()
        if self._lifespan.should_exit:
            raise ServeError("the application did not start; its reason is in the log")
        try:
            https = await _listen(
                lambda: S3Protocol(self._config, self._state, self._lifespan.state, settings.limits),
                settings.https,
                "port",
                ssl=self._context,
                backlog=_BACKLOG,
                ssl_handshake_timeout=settings.limits.head_timeout_s,
                ssl_shutdown_timeout=settings.limits.linger_s,
            )
            self._listeners.append(https)
            self._admin_listener = await _listen(
                lambda: S3Protocol(self._admin_config, self._admin_state, {}, EdgeLimits(max_connections=64)),
                settings.admin,
                "admin-port",
            )
            plain = None
            if settings.plain is not None:
                plain = await _listen(lambda: PlainRefuser(self._refusers), settings.plain, "http-port")
                self._listeners.append(plain)
        except ServeError:
            await self.drain()
            raise
        return Bound(_bound(https), _bound(self._admin_listener), _bound(plain) if plain else None)

    def reload_certificate(self) -> None:
        """Serve the certificate that the files hold now; where they hold none, log that and keep the old one."""
        if self._context is None:
            return
        try:
            reload_certificate(self._context, self._settings.certificate)
        except TlsError as error:
            _LOG.error("the old certificate stays: %s", error)
        else:
            _LOG.info("serving the renewed certificate")

    async def drain(self) -> None:
        """Accept no more, let running requests end within the time they have, then stop the application.

        Admin answers until the end, so that a load balancer reads "not ready" meanwhile.
        """
        self._is_draining = True
        for listener in self._listeners:
            listener.close()
        for refuser in list(self._refusers):
            refuser.close()
        loop = asyncio.get_running_loop()
        for connection in list(self._state.connections):
            assert isinstance(connection, S3Protocol)
            is_long_idle = _is_long_idle(connection, loop.time(), self._settings.limits.linger_s)
            connection.shutdown()
            if is_long_idle:
                loop.call_later(_GOODBYE_S, connection.abort)
        if not await _emptied(self._state, self._settings.limits.drain_timeout_s):
            _LOG.warning("cutting %d requests that did not end in time", len(self._state.tasks))
            for task in list(self._state.tasks):
                task.cancel()
            for connection in list(self._state.connections):
                assert isinstance(connection, S3Protocol)
                connection.abort()
            await _emptied(self._state, _CANCEL_GRACE_S)
        if self._admin_listener is not None:
            self._admin_listener.close()
            for connection in list(self._admin_state.connections):
                connection.shutdown()
        await self._lifespan.shutdown()


def _is_long_idle(connection: S3Protocol, now: float, linger_s: float) -> bool:
    """Whether no answer can still be on its way: none was begun, or the last was whole longer ago than it may linger.

    uvicorn starts the keep-alive timer when an answer is whole, and stops it at the next request.
    """
    cycle: RequestResponseCycle | None = connection.cycle  # uvicorn leaves None there before the first request
    if cycle is None:
        return True
    timer = connection.timeout_keep_alive_task
    return timer is not None and timer.when() - connection.timeout_keep_alive + linger_s <= now


async def _listen(
    protocol: Callable[[], asyncio.BaseProtocol], address: Endpoint, setting: str, **options: Any
) -> asyncio.Server:
    """Listen on one address; `setting` is the flag of its port. Raises: ServeError."""
    loop = asyncio.get_running_loop()
    try:
        return await loop.create_server(protocol, address.host, address.port, **options)
    except OSError as error:
        raise refused_port(address, setting, error) from error


async def _emptied(state: ServerState, timeout_s: float) -> bool:
    """Wait until no connection and no task is left; False where the time was over first."""
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout_s
    while state.connections or state.tasks:
        if loop.time() >= end:
            return False
        await asyncio.sleep(_POLL_S)
    return True


def _config(app: ASGIApp, *, lifespan: Literal["on", "off"]) -> Config:
    config = Config(
        app,
        http=S3Protocol,
        ws="none",
        lifespan=lifespan,
        interface="asgi3",
        log_config=None,
        access_log=False,
        # X-Forwarded-* is a claim of the peer and changes nothing here (HOSTILE.md H44).
        proxy_headers=False,
        server_header=False,
        date_header=False,
    )
    config.load()
    return config


def _bound(listener: asyncio.Server) -> Endpoint:
    host, port = listener.sockets[0].getsockname()[:2]
    return Endpoint(str(host), int(port))


async def run_until_stopped(server: Server, on_started: Callable[[Bound], None]) -> None:
    """Serve until SIGTERM or SIGINT, renew the certificate on SIGHUP, then drain.

    Raises: ServeError, TlsError.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, server.reload_certificate)
    bound = await server.start()
    try:
        on_started(bound)
        await stop.wait()
        _LOG.info("stopping: running requests may end")
    finally:
        await server.drain()
    _LOG.info("stopped: every connection is closed")


def serve(
    app: ASGIApp,
    registry: CollectorRegistry,
    is_ready: Callable[[], Awaitable[bool]],
    settings: ServerSettings,
    on_started: Callable[[Bound], None] = lambda _: None,
) -> None:
    """Serve from this process until it is told to stop; returns after a drain, so that the process may exit 0.

    `on_started` is told the real addresses once all listeners stand. `prepare_process` should have run before keys
    were loaded; it is repeated here because it costs nothing.

    Raises: ServeError, TlsError, OSError (core dumps cannot be forbidden).
    """
    prepare_process()
    make_room_for_files(settings.limits.max_connections)
    uvloop.run(run_until_stopped(Server(app, registry, is_ready, settings), on_started))
