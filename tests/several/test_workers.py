"""`sealgate serve --workers 2`: real processes behind one port, over TLS and a real PostgreSQL."""

import json
import os
import re
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path

import pytest

from tests.blackbox.process import Gateway, GatewayFailed
from tests.servers.pki import Authority
from tests.servers.ports import free_ports
from tests.several.client import Client
from tests.several.conftest import Start
from tests.tooling.postgresql import PostgresServer, postgres_settings

_LONG_S = 90
_WORKERS = {"SEALGATE_WORKERS": "2", "SEALGATE_WORKER_TIMEOUT_S": "20"}
_PATIENT = {"SEALGATE_DRAIN_TIMEOUT_S": "300", "SEALGATE_BODY_TIMEOUT_S": "300"}


class Workers(Gateway):
    """Two workers start one after the other, which takes them twice as long."""

    start_timeout_s = _LONG_S


def until(look: Callable[[], object]) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + _LONG_S
    while not look():
        assert time.monotonic() < deadline, "it did not come in time"
        time.sleep(0.05)


def state_of(pid: int) -> str:
    """How the system calls the state of a process (proc(5)); Z as well where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "Z"


def is_gone(pid: int) -> bool:
    """Whether a process has ended, whoever has yet to take note of that."""
    return state_of(pid) == "Z"


def page(gateway: Gateway, path: str = "/metrics") -> str:
    with closing(HTTPConnection("127.0.0.1", gateway.admin_port, timeout=_LONG_S)) as connection:
        connection.request("GET", path)
        return connection.getresponse().read().decode()


def requests_of(metrics: str, worker: int) -> float:
    """How many requests a worker has answered; -1 where it is missing."""
    lines = re.findall(rf'^sealgate_sent_bytes_total{{worker="{worker}"}} (\S+)$', metrics, re.MULTILINE)
    counts = re.findall(rf'^sealgate_requests_total{{[^}}]*worker="{worker}"[^}}]*}} (\S+)$', metrics, re.MULTILINE)
    return sum(map(float, counts)) if lines else -1


def worker_pids(gateway: Gateway) -> dict[int, int]:
    """The process of each worker by its number, as the log tells of the latest."""
    return {
        int(number): int(pid) for number, pid in re.findall(r"worker (\d) stands \(process (\d+)\)", log_of(gateway))
    }


def log_of(gateway: Gateway) -> str:
    return gateway.log.read_text()


def ask(gateway: Gateway, method: str, path: str, body: bytes = b"") -> bytes:
    """Ask over a connection of its own; the answer must be 200."""
    with closing(Client(gateway, _LONG_S)) as client:
        answer = client.ask(method, path, body)
    assert answer is not None
    assert answer.status == 200, answer
    return answer.body


@contextmanager
def paused(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    until(lambda: state_of(pid) == "T")
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def gateway(start: Start, authority: Authority) -> Gateway:
    monitor = {"SEALGATE_MONITOR_PORT": str(free_ports(1)[0]), "SEALGATE_MONITOR_CLIENT_CA": str(authority.certificate)}
    (one,) = start(1, made=Workers, **_WORKERS, **_PATIENT, **monitor)
    ask(one, "PUT", "/shared")
    return one


def test_each_of_them_serves_while_the_other_stands_still(gateway: Gateway) -> None:
    pids = worker_pids(gateway)
    assert len(set(pids.values())) == 2
    before = page(gateway)
    for other, pid in pids.items():
        with paused(pid):
            for number in range(4):
                ask(gateway, "PUT", f"/shared/{other}-{number}", b"kept")
                assert ask(gateway, "GET", f"/shared/{other}-{number}") == b"kept"
    after = page(gateway)
    for worker in pids:
        assert requests_of(after, worker) - requests_of(before, worker) >= 8
    assert log_of(gateway).count("Made keys in ") == 1, "what a first start makes is made and told once"
    for worker in pids:
        assert re.search(rf"mutation .* worker={worker}$", log_of(gateway), re.MULTILINE)


def test_every_scrape_shows_both_here_and_on_the_monitor(gateway: Gateway, authority: Authority) -> None:
    context = ssl.create_default_context(cafile=gateway.ca_file)
    context.load_cert_chain(*authority.client("prometheus"))
    port = int(gateway.environment()["SEALGATE_MONITOR_PORT"])
    for _ in range(3):
        with closing(HTTPSConnection("localhost", port, timeout=_LONG_S, context=context)) as connection:
            connection.request("GET", "/metrics")
            monitored = connection.getresponse().read().decode()
        for shown in (page(gateway), monitored):
            assert min(requests_of(shown, 1), requests_of(shown, 2)) > 0
            assert "sealgate_workers_standing 2.0" in shown
            families = re.findall(r"^# TYPE (\S+)", shown, re.MULTILINE)
            assert len(families) == len(set(families)), "Prometheus refuses a family that comes twice"


def test_a_renewed_certificate_reaches_both(gateway: Gateway) -> None:
    os.kill(gateway.pid, signal.SIGHUP)
    told = {f"serving the renewed certificate worker={worker}" for worker in (1, 2)}
    until(lambda: all(line in log_of(gateway) for line in told))


def test_requests_go_on_where_one_is_killed_and_another_takes_its_place(gateway: Gateway) -> None:
    before = worker_pids(gateway)
    os.kill(before[1], signal.SIGKILL)
    until(lambda: is_gone(before[1]))
    for number in range(10):
        ask(gateway, "PUT", f"/shared/after-{number}", b"kept")
    until(lambda: worker_pids(gateway)[1] != before[1])
    until(lambda: page(gateway, "/readyz") == "ready\n")
    assert worker_pids(gateway)[2] == before[2]
    assert log_of(gateway).count("worker 1 was killed by SIGKILL: another one is started in 1 s") == 1
    metrics = page(gateway)
    assert "sealgate_worker_deaths_total 1.0" in metrics
    assert requests_of(metrics, 1) == 0, "a new process counts from the start"
    with paused(before[2]):
        assert ask(gateway, "GET", "/shared/after-0") == b"kept"


def test_one_that_stands_still_for_long_is_replaced(gateway: Gateway) -> None:
    before = worker_pids(gateway)
    os.kill(before[1], signal.SIGSTOP)
    until(lambda: worker_pids(gateway)[1] != before[1])
    assert is_gone(before[1])
    assert worker_pids(gateway)[2] == before[2], "the other one answered all the while"
    ask(gateway, "PUT", "/shared/replaced", b"kept")


def test_commands_reach_it_and_so_do_its_answers(gateway: Gateway) -> None:
    made = gateway.create_account("of-the-workers")
    listed = gateway.run("access-key", "list", "--json")
    assert made.access_key_id in listed.stdout
    swept = gateway.run("sweep", "--json")
    assert swept.returncode == 0, swept.stderr
    assert json.loads(swept.stdout)["orphan_count"] == 0


def test_an_upload_that_has_begun_ends_well_after_sigterm(gateway: Gateway) -> None:
    half = os.urandom(1 << 20)
    with closing(Client(gateway, _LONG_S)) as client:
        connection = client._connected()
        connection.putrequest("PUT", "/shared/late", skip_host=True, skip_accept_encoding=True)
        for name, value in client._signed("PUT", "/shared/late", "").items():
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(2 * len(half)))
        connection.endheaders(half)
        until(lambda: in_flight(gateway) == 1)
        process = gateway._process
        assert process is not None
        os.kill(gateway.pid, signal.SIGTERM)
        until(lambda: page(gateway, "/readyz") == "not ready\n")
        until(lambda: is_refused(gateway.port))
        connection.send(half)
        assert connection.getresponse().status == 200
    gateway._process = None
    assert process.wait(_LONG_S) == 0
    assert all(map(is_gone, worker_pids(gateway).values()))
    gateway.start()
    assert ask(gateway, "GET", "/shared/late") == half + half


def in_flight(gateway: Gateway) -> float:
    return sum(map(float, re.findall(r"^sealgate_requests_in_flight{\S+} (\S+)$", page(gateway), re.MULTILINE)))


def is_refused(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_no_worker_outlives_its_supervisor(gateway: Gateway) -> None:
    pids = worker_pids(gateway)
    gateway.kill()
    until(lambda: all(map(is_gone, pids.values())))
    gateway.start()


def test_it_leaves_where_no_worker_can_be_started_any_more(gateway: Gateway) -> None:
    """Both die, and none can come back: that is told once by each that tried, and whoever watches starts it again."""
    password = Path(gateway.environment()["SEALGATE_POSTGRES_PASSWORD_FILE"])
    right = password.read_text()
    password.write_text("wrong")
    process, gateway._process = gateway._process, None
    assert process is not None
    try:
        for pid in worker_pids(gateway).values():
            os.kill(pid, signal.SIGKILL)
        assert process.wait(_LONG_S) in (6, 8)
    finally:
        password.write_text(right)
    assert 1 <= log_of(gateway).count("\nsealgate: ") <= 2


def test_a_port_in_use_is_told_once_before_anything_is_made(server: PostgresServer, tmp_path: Path) -> None:
    fresh = Workers(
        tmp_path / "0", postgres_settings(server, "postgres", tmp_path) | _WORKERS | {"SEALGATE_LOG_LEVEL": "info"}
    )
    with socket.create_server(("127.0.0.1", fresh.port)), pytest.raises(GatewayFailed, match="left with 8"):
        fresh.start()
    assert log_of(fresh).count("\n") == 1, "one line, and no worker's"
    assert f"port {fresh.port} cannot be listened on (Address already in use)" in log_of(fresh)
    assert not fresh.data.exists()
    assert not fresh.keys.exists()


def test_what_cannot_stand_is_told_once(server: PostgresServer, tmp_path: Path) -> None:
    settings = postgres_settings(server, "postgres", tmp_path) | {"SEALGATE_WORKERS": "3"}
    bad = Workers(tmp_path / "0", settings | {"SEALGATE_ANCHOR": str(tmp_path / "no/such/folder/anchor")})
    with pytest.raises(GatewayFailed, match="left with 4"):
        bad.start()
    assert len(re.findall("^sealgate: the anchor .* has no folder above it", log_of(bad), re.MULTILINE)) == 1
    assert log_of(bad).count("sealgate: ") == 1


def test_over_sqlite_it_is_told_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(GatewayFailed, match=r"left with 2(.|\n)*give catalogue = postgres, or leave it at 1"):
        Workers(tmp_path / "0", _WORKERS).start()
