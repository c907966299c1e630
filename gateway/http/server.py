"""The listeners in one process and one loop: S3 over HTTPS, the plain-HTTP refuser, admin on loopback, and monitor.

uvicorn's protocol and lifespan serve here without uvicorn's own server, whose signals end the process with a signal
status and which knows one listener (DESIGN D10, D11; docs/decisions/0004-server.md).
"""

import asyncio
import logging
import signal
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import cast

import uvloop
from prometheus_client import CollectorRegistry, Gauge
from starlette.types import ASGIApp
from uvicorn.lifespan.on import LifespanOn
from uvicorn.server import ServerState

from gateway.errors import ServeError, TlsError
from gateway.http.acceptor import Acceptor, TurnedAway
from gateway.http.admin import AdminApp, OwnTold, Told
from gateway.http.admin_listener import ADMIN_CONNECTIONS, ADMIN_LIMITS, AdminListener
from gateway.http.hosts import AcceptedHosts
from gateway.http.plain import MAX_CONNECTIONS, PlainRefuser
from gateway.http.ports import Endpoint, Inherited, listen_on, serve_each
from gateway.http.process import prepare_process, room_for_connections
from gateway.http.protocol import EdgeLimits, S3Protocol, config_of
from gateway.http.tls import Certificate, server_context

_LOG = logging.getLogger(__name__)

_POLL_S = 0.02
_SOON = timedelta(days=14)
"""A private CA's certificate is renewed before; from then on somebody should know of one that is the user's own."""
_CANCEL_GRACE_S = 5.0
_LEAST_CONNECTIONS = 64
"""With room for fewer connections than that (or than were asked for) serving is not begun."""
_GOODBYE_S = 0.1
"""How long a client that has all it asked for may take to answer the end of TLS, which most never do."""


@dataclass(frozen=True, slots=True)
class Monitor:
    """Where admin's pages are shown over TLS. `certificate.client_ca` says to whom, and is never left out."""

    endpoint: Endpoint
    certificate: Certificate

    def __post_init__(self) -> None:
        assert self.certificate.client_ca is not None, "nobody signs in there: a certificate is what lets one in"


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Plain values; `gateway.wiring` makes them from the settings."""

    https: Endpoint
    admin: Endpoint
    certificate: Certificate
    plain: Endpoint | None = None
    """The refuser; None leaves that port closed, which refuses as well."""
    limits: EdgeLimits = field(default_factory=EdgeLimits)
    files_beside: int = 1024
    """Open files that are kept for blobs, catalogue and libraries, whatever connections there are."""
    certificate_check_s: float = 60.0
    """How often the files of the certificate are looked at, for whoever renews them without telling."""
    monitor: Monitor | None = None
    """Shows the pages of admin to other machines; None shows them to nobody."""

    inherited: Inherited | None = None
    """What a worker is given to listen on; its supervisor has the admin listener then."""

    def listeners(self) -> tuple[tuple[Endpoint, str], ...]:
        """Every address to listen on, with the flag of its port."""
        plain = () if self.plain is None else ((self.plain, "http-port"),)
        monitor = () if self.monitor is None else ((self.monitor.endpoint, "monitor-port"),)
        return ((self.https, "port"), (self.admin, "admin-port"), *plain, *monitor)

    def certificates(self) -> tuple[Certificate, ...]:
        """What is shown at each listener that speaks TLS, and who must show one there."""
        return (self.certificate,) if self.monitor is None else (self.certificate, self.monitor.certificate)


@dataclass(frozen=True, slots=True)
class Bound:
    """Where the listeners stand once they do: real port numbers."""

    https: Endpoint
    admin: Endpoint
    plain: Endpoint | None
    monitor: Endpoint | None


class Server:
    """The listeners of one application. `start()` once, `drain()` once."""

    def __init__(
        self,
        app: ASGIApp,
        registry: CollectorRegistry,
        is_ready: Callable[[], Awaitable[bool]],
        settings: ServerSettings,
        hosts: AcceptedHosts | None = None,
        told: Told | None = None,
    ) -> None:
        """`hosts` is told the names of each certificate that is served; monitor shows `told`, or what admin does."""
        own = OwnTold(registry, self.is_ready)
        self._admin = AdminListener(own, settings.admin) if settings.inherited is None else None
        self._settings = settings
        self._is_app_ready = is_ready
        self._hosts = hosts or AcceptedHosts()
        self._contexts: tuple[ssl.SSLContext, ...] = ()
        """As `settings.certificates()`."""
        self._stamp: tuple[tuple[int, ...], ...] = ()
        self._watch: asyncio.Task[None] | None = None
        self._turned_away = TurnedAway(registry)
        self._expiry = Gauge(
            "sealgate_certificate_expires_at_seconds",
            "When the served certificate ends (Unix time).",
            registry=registry,
        )
        self._acceptor: Acceptor | None = None
        self._monitor_acceptor: Acceptor | None = None
        self._config = config_of(app, lifespan="on")
        self._lifespan = LifespanOn(self._config)
        self._state = ServerState()
        self._monitor_config = config_of(AdminApp(told or own, is_for_loopback=False), lifespan="off")
        self._monitor_state = ServerState()
        self._refusers: set[PlainRefuser] = set()
        self._listeners: list[asyncio.Server] = []
        self._is_draining = False

    async def is_ready(self) -> bool:
        """Whether requests are answered, and those to come will be."""
        return not self._is_draining and await self._is_app_ready()

    @property
    def connection_count(self) -> int:
        """Connections of clients that are open now."""
        return len(self._state.connections)

    @property
    def waiting_count(self) -> int:
        """Those of them that nobody answers."""
        return sum(one.waiting_since is not None for one in cast("set[S3Protocol]", self._state.connections))

    @property
    def handshake_count(self) -> int:
        """Connections of clients that have not yet spoken TLS."""
        return self._acceptor.handshake_count if self._acceptor is not None else 0

    async def start(self) -> Bound:
        """Start the application, then listen; nothing is accepted before the application stands.

        Raises:
            ServeError: the application did not start, or an address cannot be taken.
            TlsError: the certificate cannot be used.
        """
        settings = self._settings
        self._serve_certificate()
        await self._lifespan.startup()
        if self._lifespan.should_exit:
            raise ServeError("the application did not start; its reason is in the log")
        try:
            room = self._room_for_connections()
            https = await self._listeners_of(settings.https, "port")
            self._acceptor = Acceptor(
                https,
                self._greet,
                cast("set[S3Protocol]", self._state.connections),
                self._turned_away,
                max_connections=room,
                max_handshakes=min(room, settings.limits.max_handshakes),
                is_shared=settings.inherited is not None,
            )
            admin = settings.admin if self._admin is None else await self._admin.start()
            monitor = None
            if settings.monitor is not None:
                monitor = await self._listeners_of(settings.monitor.endpoint, "monitor-port")
                self._monitor_acceptor = Acceptor(
                    monitor,
                    self._greet_monitor,
                    cast("set[S3Protocol]", self._monitor_state.connections),
                    self._turned_away,
                    max_connections=ADMIN_CONNECTIONS,
                    max_handshakes=ADMIN_CONNECTIONS,
                )
            plain = None
            if settings.plain is not None:
                plain = await self._listeners_of(settings.plain, "http-port")
                self._listeners += await serve_each(lambda: PlainRefuser(self._refusers), plain)
        except ServeError:
            await self.drain()
            raise
        self._watch = asyncio.create_task(self._watch_certificate())
        return Bound(
            _bound(https[0]),
            admin,
            _bound(plain[0]) if plain is not None else None,
            _bound(monitor[0]) if monitor is not None else None,
        )

    async def _listeners_of(self, address: Endpoint, setting: str) -> Sequence[socket.socket]:
        """What listens on an address: opened now, or given. May ask a name server. Raises: ServeError."""
        inherited = self._settings.inherited
        return await asyncio.to_thread(listen_on, address, setting) if inherited is None else inherited[setting]

    def _room_for_connections(self) -> int:
        """How many connections the open files suffice for. Raises: ServeError where that is next to none."""
        wanted = self._settings.limits.max_connections
        beside = self._settings.files_beside + MAX_CONNECTIONS + 2 * ADMIN_CONNECTIONS
        room = room_for_connections(wanted, beside)
        if room < min(wanted, _LEAST_CONNECTIONS):
            raise ServeError(
                f"the system allows too few open files: {beside + min(wanted, _LEAST_CONNECTIONS)} are needed, and"
                f" {beside + wanted} wanted; raise the limit (ulimit -n, LimitNOFILE), or lower max_requests"
            )
        if room < wanted:
            _LOG.warning("open files suffice for %d connections, not %d: raise ulimit -n or LimitNOFILE", room, wanted)
        return room

    async def _greet(self, connection: socket.socket) -> None:
        """Speak TLS, and from then on S3. Raises: OSError, ssl's among them."""
        limits = self._settings.limits
        protocol = S3Protocol(self._config, self._state, self._lifespan.state, limits)
        await _speak_tls(connection, protocol, self._contexts[0], limits)

    async def _greet_monitor(self, connection: socket.socket) -> None:
        """Speak TLS with who shows a certificate, and answer as admin does. Raises: OSError, ssl's among them."""
        protocol = S3Protocol(self._monitor_config, self._monitor_state, {}, ADMIN_LIMITS)
        await _speak_tls(connection, protocol, self._contexts[1], ADMIN_LIMITS)

    # The certificate

    def _serve_certificate(self) -> None:
        """Serve what the files hold now to every handshake to come. Raises: TlsError, and then nothing has changed."""
        certificate = self._settings.certificate
        stamp = self._stamp_of_files()
        contexts = tuple(server_context(one) for one in self._settings.certificates())
        names, expires_at = certificate.names(), certificate.expires_at()
        self._contexts, self._stamp = contexts, stamp
        self._hosts.serve(names)
        self._expiry.set(expires_at.timestamp())
        left = expires_at - datetime.now(UTC)
        if left <= timedelta():
            _LOG.error("the certificate %s ended on %s: clients refuse it, renew it", certificate.certfile, expires_at)
        elif left < _SOON:
            _LOG.warning("the certificate %s ends on %s: renew it", certificate.certfile, expires_at)

    def _stamp_of_files(self) -> tuple[tuple[int, ...], ...]:
        """What changes with any of the files. Raises: TlsError where one is gone."""
        return tuple(part for one in self._settings.certificates() for part in one.stamp())

    def reload_certificate(self) -> None:
        """Serve the certificate that the files hold now; where they hold none, log that and keep the old one."""
        try:
            self._serve_certificate()
        except TlsError as error:
            _LOG.error("the old certificate stays: %s", error)
        else:
            _LOG.info("serving the renewed certificate")

    async def _watch_certificate(self) -> None:
        """Notice files that were written anew. A pair that does not fit (yet) is tried again at the next look."""
        while True:
            await asyncio.sleep(self._settings.certificate_check_s)
            try:
                has_changed = self._stamp_of_files() != self._stamp
            except TlsError:
                continue  # in the middle of being replaced
            if has_changed:
                self.reload_certificate()

    async def drain(self) -> None:
        """Accept no more, let running requests end within the time they have, then stop the application.

        Admin and monitor answer until the end, so that a load balancer reads "not ready" meanwhile.
        """
        self._is_draining = True
        if self._watch is not None:
            self._watch.cancel()
        if self._acceptor is not None:
            acceptor, self._acceptor = self._acceptor, None
            await acceptor.close()
        for listener in self._listeners:
            listener.close()
        for refuser in list(self._refusers):
            refuser.close()
        await self._end_connections()
        if self._admin is not None:
            self._admin.close()
        if self._monitor_acceptor is not None:
            monitor, self._monitor_acceptor = self._monitor_acceptor, None
            await monitor.close()
        for connection in list(self._monitor_state.connections):
            connection.shutdown()
        await self._lifespan.shutdown()

    async def _end_connections(self) -> None:
        """Close those that nobody answers, let the others come to their end, and cut what takes too long."""
        connections = cast("set[S3Protocol]", self._state.connections)
        for connection in list(connections):
            connection.shutdown()
            if connection.waiting_since is not None:
                connection.linger(_GOODBYE_S)
        if not await _emptied(self._state, self._settings.limits.drain_timeout_s):
            _LOG.warning("cutting %d requests that did not end in time", len(self._state.tasks))
            for task in list(self._state.tasks):
                task.cancel()
            for connection in list(connections):
                connection.abort()
            await _emptied(self._state, _CANCEL_GRACE_S)


async def _speak_tls(
    connection: socket.socket, protocol: S3Protocol, context: ssl.SSLContext, limits: EdgeLimits
) -> None:
    """Speak TLS on an accepted connection, and hand it to its protocol. Raises: OSError, ssl's among them."""
    try:
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: protocol,
            connection,
            ssl=context,
            ssl_handshake_timeout=limits.head_timeout_s,
            ssl_shutdown_timeout=limits.write_timeout_s,
        )
    except BaseException:
        protocol.let_go()  # nobody tells it of a handshake that failed
        raise


async def _emptied(state: ServerState, timeout_s: float) -> bool:
    """Wait until no connection and no task is left; False where the time was over first."""
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout_s
    while state.connections or state.tasks:
        if loop.time() >= end:
            return False
        await asyncio.sleep(_POLL_S)
    return True


def _bound(listener: socket.socket) -> Endpoint:
    host, port = listener.getsockname()[:2]
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
    uvloop.run(run_until_stopped(Server(app, registry, is_ready, settings), on_started))
