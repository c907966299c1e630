"""What the listeners are told."""

from pathlib import Path

from gateway.wiring.folders import Folders
from gateway.wiring.listeners import server_settings
from tests.gateway.cli.helpers import settings_in


def test_listeners_follow_the_settings(place: Path) -> None:
    settings = settings_in(place, port=7001, admin_host="localhost", http_port=0, idle_timeout_s=7, drain_timeout_s=3)
    made = server_settings(settings, Folders.of(settings))
    assert (made.https.host, made.https.port) == ("127.0.0.1", 7001)
    assert (made.admin.host, made.admin.port) == ("127.0.0.1", 7002)
    assert made.plain is None
    assert made.monitor is None
    assert (made.limits.idle_timeout_s, made.limits.drain_timeout_s) == (7, 3)
    assert made.certificate.certfile == place / "data-keys/tls/server.pem"
    own = settings_in(place, tls_certificate=Path("/c.pem"), tls_key=Path("/k.pem"))
    assert server_settings(own, Folders.of(own)).certificate.keyfile == Path("/k.pem")


def test_the_monitor_listener_shows_the_gateways_certificate(place: Path) -> None:
    settings = settings_in(place, monitor_port=7003, monitor_client_ca=Path("/ca.pem"), monitor_host="127.0.0.2")
    made = server_settings(settings, Folders.of(settings))
    assert made.monitor is not None
    assert made.listeners()[-1] == (made.monitor.endpoint, "monitor-port")
    assert (made.monitor.endpoint.host, made.monitor.endpoint.port) == ("127.0.0.2", 7003)
    assert made.monitor.certificate.certfile == made.certificate.certfile
    assert (made.monitor.certificate.client_ca, made.certificate.client_ca) == (Path("/ca.pem"), None)
