"""What the listeners are told, from the settings."""

from gateway.config import Settings
from gateway.http.ports import Endpoint as Address
from gateway.http.protocol import EdgeLimits
from gateway.http.server import Monitor, ServerSettings
from gateway.http.tls import Certificate
from gateway.wiring.folders import Folders


def server_settings(settings: Settings, folders: Folders) -> ServerSettings:
    """What the listeners are told."""
    own = settings.tls_certificate, settings.tls_key
    certfile, keyfile = own if own[0] is not None else (folders.tls / "server.pem", folders.tls / "server-key.pem")
    assert certfile is not None, "the settings take both or neither"
    assert keyfile is not None, "the settings take both or neither"
    monitor = None
    if settings.monitor_port:
        pair = Certificate(certfile, keyfile, settings.monitor_client_ca)
        monitor = Monitor(Address(settings.monitor_host, settings.monitor_port), pair)
    admin_host = "127.0.0.1" if settings.admin_host == "localhost" else settings.admin_host
    return ServerSettings(
        https=Address(settings.host, settings.port),
        admin=Address(admin_host, settings.admin_port),
        certificate=Certificate(certfile, keyfile, settings.tls_client_ca),
        plain=Address(settings.http_host, settings.http_port) if settings.http_port else None,
        limits=EdgeLimits(
            max_head_bytes=settings.max_header_bytes,
            max_headers=settings.max_headers,
            head_timeout_s=settings.header_timeout_s,
            body_timeout_s=settings.body_timeout_s,
            idle_timeout_s=settings.idle_timeout_s,
            write_timeout_s=settings.write_timeout_s,
            max_connections=settings.max_connections,
            max_handshakes=settings.max_handshakes,
            drain_timeout_s=settings.drain_timeout_s,
        ),
        files_beside=files_beside(settings),
        monitor=monitor,
    )


def files_beside(settings: Settings) -> int:
    """Open files that are wanted besides connections: a blob for each request, the catalogue, and some to spare."""
    return settings.max_requests + 512
