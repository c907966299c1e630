"""What the listeners are told."""

from pathlib import Path

from gateway.wiring import Folders, server_settings
from tests.gateway.cli.helpers import settings_in


def test_listeners_follow_the_settings(place: Path) -> None:
    settings = settings_in(place, port=7001, admin_host="localhost", http_port=0, idle_timeout_s=7, drain_timeout_s=3)
    made = server_settings(settings, Folders.of(settings))
    assert (made.https.host, made.https.port) == ("127.0.0.1", 7001)
    assert (made.admin.host, made.admin.port) == ("127.0.0.1", 7002)
    assert made.plain is None
    assert (made.limits.idle_timeout_s, made.limits.drain_timeout_s) == (7, 3)
    assert made.certificate.certfile == place / "data-keys/tls/server.pem"
    own = settings_in(place, tls_certificate=Path("/c.pem"), tls_key=Path("/k.pem"))
    assert server_settings(own, Folders.of(own)).certificate.keyfile == Path("/k.pem")
