"""The process as an operator meets it: first start, restart, SIGTERM, crash, plain HTTP, the folders it refuses.

Source: the command line of `sealgate serve`; the write order (sealed blob, catalogue, answer) for what a crash keeps.
"""

import http.client
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.blackbox.clients import MIB, payload, s3_client, sha256
from tests.blackbox.process import Gateway, GatewayFailed, is_alive

_VARIABLES = {
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_ENDPOINT_URL",
    "AWS_CA_BUNDLE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
}


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Gateway]:
    """A gateway of the test's own, which it may stop and kill."""
    deployment = Gateway(tmp_path)
    deployment.start()
    try:
        yield deployment
    finally:
        deployment.close()


def _modes(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): oct(path.stat().st_mode & 0o7777) for path in folder.rglob("*")}


def test_first_start_makes_everything(own: Gateway) -> None:
    assert set(own.client_variables()) == _VARIABLES
    assert stat.S_IMODE(own.client_env.stat().st_mode) == 0o600
    assert own.ca_file.is_file()
    for secret in (own.data, own.keys):
        assert stat.S_IMODE(secret.stat().st_mode) & 0o077 == 0
    assert own.admin("/healthz") == own.admin("/readyz") == own.admin("/metrics") == 200
    assert own.admin("/other") == 404
    told = own.log.read_text()
    assert own.endpoint in told
    assert str(own.ca_file) in told
    assert own.credentials.secret_access_key not in told


def test_second_start_changes_nothing(own: Gateway) -> None:
    client = s3_client(own)
    client.create_bucket(Bucket="kept")
    client.put_object(Bucket="kept", Key="object", Body=payload(100_000))
    before = own.client_env.read_bytes(), own.ca_file.read_bytes(), _modes(own.keys)
    own.restart()
    assert (own.client_env.read_bytes(), own.ca_file.read_bytes(), _modes(own.keys)) == before
    assert sha256(client.get_object(Bucket="kept", Key="object")["Body"].read()) == sha256(payload(100_000))
    client.close()


def test_acknowledged_writes_survive_a_crash(own: Gateway) -> None:
    client = s3_client(own)
    client.create_bucket(Bucket="kept")
    written = {f"object-{number}": payload(number * 40_000, seed=number) for number in range(8)}
    for key, content in written.items():
        client.put_object(Bucket="kept", Key=key, Body=content)
    client.delete_object(Bucket="kept", Key="object-0")
    crashed = own.pid
    own.kill()
    assert not is_alive(crashed)
    own.start()
    listed = [entry["Key"] for entry in client.list_objects_v2(Bucket="kept")["Contents"]]
    assert listed == sorted(written.keys() - {"object-0"})
    for key in listed:
        assert sha256(client.get_object(Bucket="kept", Key=key)["Body"].read()) == sha256(written[key])
    client.close()


def test_sigterm_lets_a_download_end(own: Gateway) -> None:
    client = s3_client(own)
    client.create_bucket(Bucket="kept")
    content = payload(32 * MIB)
    client.put_object(Bucket="kept", Key="large", Body=content)
    body = client.get_object(Bucket="kept", Key="large")["Body"]
    start = body.read(MIB)
    os.kill(own.pid, 15)
    assert sha256(start + body.read()) == sha256(content)
    client.close()
    own.stop()


def test_plain_http_is_refused(own: Gateway) -> None:
    for method, path in (("GET", "/"), ("PUT", "/bucket/key"), ("GET", "/bucket?list-type=2")):
        connection = http.client.HTTPConnection("127.0.0.1", own.http_port, timeout=10)
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        assert (answer.status, answer.getheader("Location")) == (403, None)
        assert b"<Code>AccessDenied</Code>" in body


def test_listeners_other_than_s3_stay_on_loopback(own: Gateway) -> None:
    # /proc/net/tcp: local address in hexadecimal, 0100007F is 127.0.0.1; state 0A is LISTEN.
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    hosts = {int(row[1].rsplit(":", 1)[1], 16): row[1].rsplit(":", 1)[0] for row in rows if row[3] == "0A"}
    assert hosts[own.admin_port] in {"0100007F", "00000000000000000000000001000000"}


def test_keyring_inside_the_data_is_refused(tmp_path: Path) -> None:
    deployment = Gateway(tmp_path)
    deployment.keys = deployment.data / "keys"
    with pytest.raises(GatewayFailed, match="before it was ready"):
        deployment.start()
    assert not deployment.client_env.exists()


def test_second_process_on_the_same_data_is_refused(own: Gateway) -> None:
    second = Gateway(own.folder)
    with pytest.raises(GatewayFailed, match="before it was ready"):
        second.start()
    assert own.admin("/readyz") == 200


def test_unknown_setting_is_an_error(tmp_path: Path) -> None:
    deployment = Gateway(tmp_path, {"SEALGATE_NO_SUCH_SETTING": "1"})
    with pytest.raises(GatewayFailed, match=r"(?i)no_such_setting"):
        deployment.start()
