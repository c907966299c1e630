"""A database that goes back beneath a running gateway, as by a failover to a standby that lagged, or a restore."""

import time
from pathlib import Path

import pytest

from gateway.cli.exits import Exit
from tests.blackbox.process import Gateway, GatewayFailed
from tests.several.client import Client
from tests.tooling.postgresql import PostgresServer, postgres_settings

_LONG_S = 60.0
_BEHIND = "the catalogue is behind its blob store"


def status_of(gateway: Gateway, method: str, path: str, body: bytes = b"") -> int | None:
    """What it answers; None where it answers nothing."""
    client = Client(gateway, 10)
    try:
        answer = client.ask(method, path, body)
    except OSError:
        return None
    finally:
        client.close()
    return None if answer is None else answer.status


@pytest.mark.parametrize("journal", ["sync", "async"])
def test_a_gateway_ends_instead_of_serving_an_old_catalogue(
    server: PostgresServer, tmp_path: Path, journal: str
) -> None:
    """What it acknowledged from then on would be lost with that catalogue."""
    now, old, gone = (f"{name}_{journal}" for name in ("now", "old", "gone"))
    server.create_database(now)
    told = postgres_settings(server, now, tmp_path) | {"SEALGATE_JOURNAL": journal}
    gateway = Gateway(tmp_path / "gateway", told)
    try:
        gateway.start()
        assert status_of(gateway, "PUT", "/bucket") == 200
        assert status_of(gateway, "PUT", "/bucket/one", b"1") == 200
        gateway.stop()
        server.create_database(old, f"TEMPLATE {now}")
        gateway.start()
        for number in range(3):
            assert status_of(gateway, "PUT", f"/bucket/two-{number}", b"2") == 200
        time.sleep(2)  # until the journal has them, where it is written behind the answers
        server.sql(f"ALTER DATABASE {now} ALLOW_CONNECTIONS false")
        server.sql(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{now}'")  # noqa: S608
        server.sql(f"ALTER DATABASE {now} RENAME TO {gone}")
        server.sql(f"ALTER DATABASE {old} RENAME TO {now}")
        process = gateway._process
        assert process is not None
        if journal == "sync":
            assert status_of(gateway, "PUT", "/bucket/three", b"3") != 200
        assert process.wait(_LONG_S) == Exit.STORAGE, gateway.log.read_text()
        gateway._process = None
        assert _BEHIND in gateway.log.read_text()
        with pytest.raises(GatewayFailed, match=_BEHIND):
            gateway.start()
    finally:
        gateway.close()
