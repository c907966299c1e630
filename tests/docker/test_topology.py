"""The services of `docker/compose.yaml`, running together: boto3 through the balancer and through both gateways."""

import re
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import boto3
import pytest
import requests
from botocore.config import Config

from tests.docker.recipes import DOCKER, documents, services
from tests.docker.topology import Topology, client_environment, running
from tests.tooling.places import without_presets

_PATIENCE_S: Final = 30
_METRIC: Final = re.compile(r"\bsealgate_\w+")


@pytest.fixture(scope="module")
def topology(tmp_path_factory: pytest.TempPathFactory, *, full: bool) -> Iterator[Topology]:
    folder = tmp_path_factory.mktemp("compose")
    with without_presets(folder), running(folder, with_minio=full) as made:
        yield made


def client(topology: Topology, service: str) -> Any:
    told = client_environment(topology)
    return boto3.client(
        "s3",
        endpoint_url=f"https://localhost:{topology.ports[service, 9443]}",
        verify=str(topology.volume("gateway") / "ca.crt"),
        region_name=told["AWS_REGION"],
        aws_access_key_id=told["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=told["AWS_SECRET_ACCESS_KEY"],
        config=Config(retries={"max_attempts": 3}),
    )


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.2)


def test_what_one_gateway_took_the_other_serves_and_the_store_cannot_read(topology: Topology) -> None:
    body = secrets.token_bytes(3_000_003) + b"plain words that nobody else shall see"
    first, second, both = (client(topology, name) for name in ("gateway-1", "gateway-2", "balancer"))
    both.create_bucket(Bucket="compose")
    first.put_object(Bucket="compose", Key="one", Body=body)
    assert second.get_object(Bucket="compose", Key="one")["Body"].read() == body
    second.put_object(Bucket="compose", Key="two", Body=b"small")
    assert first.get_object(Bucket="compose", Key="two")["Body"].read() == b"small"
    assert [one["Key"] for one in both.list_objects_v2(Bucket="compose")["Contents"]] == ["one", "two"]
    store = topology.store.client()
    stored = [one["Key"] for one in store.list_objects_v2(Bucket="sealed-blobs")["Contents"]]
    sizes = []
    for key in stored:
        held = store.get_object(Bucket="sealed-blobs", Key=key)["Body"].read()
        sizes.append(len(held))
        assert b"plain words" not in held
    assert max(sizes) > len(body)


def test_a_gateway_that_stops_gets_no_more_connections(topology: Topology) -> None:
    both = client(topology, "balancer")
    both.create_bucket(Bucket="rolling")
    assert topology.stop("gateway-1") == 0
    for number in range(8):
        client(topology, "balancer").put_object(Bucket="rolling", Key=f"{number}", Body=b"x" * 1000)
    until(lambda: "Server gateways/gateway-1 is DOWN" in topology.log("balancer"))
    topology.start("gateway-1")
    topology.wait("gateway-1", lambda: topology.is_healthy("gateway-1"))
    assert client(topology, "gateway-1").list_objects_v2(Bucket="rolling")["KeyCount"] == 8
    until(lambda: "Server gateways/gateway-1 is UP" in topology.log("balancer"))
    assert "Server gateways/gateway-2 is DOWN" not in topology.log("balancer")


def test_prometheus_sees_both_gateways_and_itself_and_loads_every_alert(topology: Topology) -> None:
    def are_up() -> bool:
        active = topology.monitor("prometheus", "/api/v1/targets").json()["data"]["activeTargets"]
        return len(active) == 3 and all(one["health"] == "up" for one in active)

    until(are_up)
    groups = topology.monitor("prometheus", "/api/v1/rules").json()["data"]["groups"]
    loaded = [rule["name"] for group in groups for rule in group["rules"]]
    (alerts,) = documents(DOCKER / "alerts.yaml")
    assert loaded == [rule["alert"] for group in alerts["groups"] for rule in group["rules"]]


def test_every_metric_of_an_alert_is_one_that_gateways_show(topology: Topology) -> None:
    shown = set(_METRIC.findall(topology.monitor("gateway-1", "/metrics").text))
    asked = set(_METRIC.findall((DOCKER / "alerts.yaml").read_text()))
    assert asked
    assert asked <= shown, asked - shown


@pytest.mark.parametrize("name", ["gateway-1", "prometheus"])
def test_nobody_is_shown_anything_without_a_certificate(topology: Topology, name: str) -> None:
    port = topology.ports[name, 9090 if name == "prometheus" else 9446]
    with requests.Session() as session:
        session.trust_env = False
        with pytest.raises(requests.exceptions.ConnectionError):
            session.get(
                f"https://localhost:{port}/metrics", verify=str(topology.volume("prometheus") / "ca.crt"), timeout=10
            )


@pytest.mark.parametrize(("name", "port"), [(n, p) for n, p in Topology.addresses() if (n, p) != ("openbao", 8201)])
def test_no_port_answers_plain_http(topology: Topology, name: str, port: int) -> None:
    with socket.create_connection(("127.0.0.1", topology.ports[name, port]), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b""
        try:
            while piece := connection.recv(4096):
                answer += piece
        except ConnectionError:
            pass
    # Go's servers say in plain words that they speak TLS alone, and show nothing.
    assert answer == b"" or answer.startswith(b"HTTP/1.0 400 Bad Request")


def test_the_kms_lets_nobody_but_the_gateways_use_the_key(topology: Topology) -> None:
    address = f"https://localhost:{topology.ports['openbao', 8200]}/v1"

    def sign_in(volume: str, role: str) -> requests.Response:
        held = topology.volume(volume)
        with requests.Session() as session:
            session.trust_env = False
            return session.post(
                f"{address}/auth/cert/login",
                json={"name": role},
                verify=str(held / "ca.crt"),
                cert=(str(held / "client.crt"), str(held / "client.key")),
                timeout=10,
            )

    assert sign_in("gateway", "sealgate").ok
    assert not sign_in("prometheus", "sealgate").ok
    assert not sign_in("balancer", "operator").ok
    token = sign_in("openbao", "operator").json()["auth"]["client_token"]
    held = topology.volume("openbao")
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(held / "ca.crt")
        session.cert = (str(held / "client.crt"), str(held / "client.key"))
        session.headers["X-Vault-Token"] = token
        rotated = session.post(f"{address}/transit/keys/sealgate/rotate", timeout=10)
        refused = session.post(f"{address}/transit/decrypt/sealgate", json={"ciphertext": "vault:v1:x"}, timeout=10)
    assert rotated.ok, rotated.text
    assert refused.status_code == 403
    assert client(topology, "gateway-2").get_object(Bucket="compose", Key="two")["Body"].read() == b"small"


def test_the_database_takes_the_gateways_certificate_and_no_other(topology: Topology) -> None:
    hba = topology.config("postgres", "/config/pg_hba.conf").read_text()
    rules = [line.split() for line in hba.splitlines() if line and not line.startswith("#")]
    assert [rule[0] for rule in rules] == ["local", "hostssl"]
    shown = topology.postgres.sql(
        "SELECT DISTINCT usename, ssl, version, client_dn FROM pg_stat_activity JOIN pg_stat_ssl USING (pid)"
        " WHERE usename = 'sealgate'"
    )
    assert shown == "sealgate|t|TLSv1.3|/CN=sealgate"


def test_provisioning_again_changes_nothing(topology: Topology) -> None:
    def held() -> dict[Path, bytes]:
        names = [name for name in services() if (topology.volume(name)).is_dir()]
        files = [path for name in [*names, "gateway", "authority"] for path in topology.volume(name).rglob("*")]
        return {path: path.read_bytes() for path in files if path.is_file()}

    before = held()
    topology.provision()
    assert held() == before


def test_no_secret_is_in_a_log(topology: Topology) -> None:
    words = (topology.volume("authority") / "minio").read_text().split()
    words.append(client_environment(topology)["AWS_SECRET_ACCESS_KEY"])
    for log in topology.folder.glob("*.log"):
        text = log.read_text(errors="replace")
        assert not any(word in text for word in words), log


def test_the_bucket_is_made_with_object_lock_where_that_is_asked_for(topology: Topology) -> None:
    wanted = ("--object-lock", "on")
    for _ in range(2):
        made = topology.run_bucket(*wanted, SEALGATE_S3_BUCKET="locked-blobs")
        assert made.returncode == 0, made.stderr
    held = topology.store.client().get_object_lock_configuration(Bucket="locked-blobs")
    assert held["ObjectLockConfiguration"]["ObjectLockEnabled"] == "Enabled"
    refused = topology.run_bucket(*wanted)
    assert refused.returncode == 1
    assert "was made without object lock" in refused.stderr
