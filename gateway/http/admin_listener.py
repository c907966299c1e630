"""The admin listener: plain HTTP on loopback, of a gateway or of the supervisor of several workers."""

import asyncio
import ipaddress

from uvicorn.server import ServerState

from gateway.errors import ServeError
from gateway.http.admin import AdminApp, Told
from gateway.http.ports import Endpoint, listen_on, serve_each
from gateway.http.protocol import EdgeLimits, S3Protocol, config_of

ADMIN_CONNECTIONS = 64
"""Of admin, and of monitor."""
ADMIN_LIMITS = EdgeLimits(max_connections=ADMIN_CONNECTIONS)


class AdminListener:
    """Answers with what is told. `start()` once, `close()` once."""

    def __init__(self, told: Told, address: Endpoint) -> None:
        if not ipaddress.ip_address(address.host).is_loopback:
            raise ServeError("the admin listener speaks plain HTTP and may only stand on a loopback address")
        self._address = address
        self._config = config_of(AdminApp(told), lifespan="off")
        self._state = ServerState()
        self._servers: list[asyncio.Server] = []

    async def start(self) -> Endpoint:
        """Listen, and return where: a real port number. Raises: ServeError."""
        listeners = listen_on(self._address, "admin-port")
        host, port = listeners[0].getsockname()[:2]
        self._servers = await serve_each(lambda: S3Protocol(self._config, self._state, {}, ADMIN_LIMITS), listeners)
        return Endpoint(str(host), int(port))

    def close(self) -> None:
        """Accept no more, and end each connection with its answer."""
        for server in self._servers:
            server.close()
        for connection in list(self._state.connections):
            connection.shutdown()
