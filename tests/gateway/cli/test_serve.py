"""The real `sealgate serve` as a process: two starts, real clients, commands beside it, a clean end."""

import json
import resource
import signal
import ssl
import stat
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from gateway.cli.client_env import ClientEnv
from gateway.cli.exits import Exit
from tests.gateway.cli.helpers import digests
from tests.gateway.cli.process import Running, cli
from tests.servers.ports import free_ports


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running.fresh(tmp_path_factory.mktemp("serve"))
    running.start()
    yield running
    if running.process is not None and running.process.poll() is None:
        running.stop(signal.SIGKILL)


def test_the_first_start_says_how_to_use_it(gateway: Running) -> None:
    said = "\n".join(gateway.said)
    assert f"https://localhost:{gateway.port}" in said
    assert str(gateway.place / "data-keys/tls/ca.pem") in said
    assert f". {gateway.place / 'data-keys/client.env'}" in said
    for tool in ("aws s3", "boto3", "rclone"):
        assert tool in said
    assert gateway.client_env()["AWS_SECRET_ACCESS_KEY"] not in said


def test_objects_go_in_and_come_out(gateway: Running) -> None:
    s3 = gateway.s3()
    s3.create_bucket(Bucket="first")
    s3.put_object(Bucket="first", Key="folder/hello.txt", Body=b"hello, sealed world")
    assert s3.get_object(Bucket="first", Key="folder/hello.txt")["Body"].read() == b"hello, sealed world"
    assert [found["Key"] for found in s3.list_objects_v2(Bucket="first")["Contents"]] == ["folder/hello.txt"]


def test_commands_reach_the_gateway_that_serves(gateway: Running) -> None:
    data = str(gateway.place / "data")
    made = cli("account", "create", "team-b", "--data", data)
    assert made.returncode == 0, made.stderr
    made = cli("access-key", "create", "--account", "team-b", "--json", "--data", data)
    key = json.loads(made.stdout)
    s3 = gateway.s3(key["access_key_id"], key["secret_access_key"])
    assert s3.list_buckets()["Buckets"] == []
    disabled = cli("access-key", "disable", key["access_key_id"], "--data", data)
    assert disabled.returncode == 0, disabled.stderr
    with pytest.raises(ClientError, match="InvalidAccessKeyId"):
        s3.list_buckets()
    assert cli("sweep", "--data", data, "--json").returncode == 0
    again = cli("account", "create", "team-b", "--data", data)
    assert (again.returncode, again.stderr.count("\n")) == (Exit.REFUSED, 1)


def test_an_access_key_comes_with_what_a_client_needs(gateway: Running, tmp_path: Path) -> None:
    """The command knows neither port nor names: the lines are those of the gateway that serves."""
    data, here = str(gateway.place / "data"), gateway.client_env()
    shown = cli("access-key", "create", "--account", "main", "--data", data).stdout
    lines = [line.removeprefix("  export ").split("=", 1) for line in shown.splitlines() if "export " in line]
    env = {name: value.strip("'") for name, value in lines}
    assert env.keys() == here.keys()
    assert {name for name in env if env[name] != here[name]} == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    gateway.s3(env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"]).list_buckets()

    file = tmp_path / "team.env"
    made = cli("access-key", "create", "--account", "main", "--env-file", str(file), "--data", data)
    assert made.returncode == 0, made.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    held = ClientEnv.read(file)
    assert held is not None
    assert held.secret_access_key not in made.stdout + made.stderr
    gateway.s3(held.access_key_id, held.secret_access_key).list_buckets()
    before = json.loads(cli("access-key", "list", "--json", "--data", data).stdout)
    again = cli("access-key", "create", "--account", "main", "--env-file", str(file), "--data", data)
    assert (again.returncode, "another name" in again.stderr) == (Exit.REFUSED, True)
    assert json.loads(cli("access-key", "list", "--json", "--data", data).stdout) == before, "no key without its secret"
    log = (gateway.place / "log").read_text()
    assert held.secret_access_key not in log
    assert env["AWS_SECRET_ACCESS_KEY"] not in log


def test_a_second_gateway_on_the_same_data_is_refused(gateway: Running) -> None:
    second = cli("serve", "--data", str(gateway.place / "data"), "--port", str(free_ports(1)[0]))
    assert second.returncode == Exit.BUSY
    assert "another sealgate process" in second.stderr
    assert "Traceback" not in second.stderr


def test_plain_http_is_refused_and_admin_answers(gateway: Running) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"http://127.0.0.1:{gateway.http_port}/", timeout=10)
    with caught.value as refusal:
        assert refusal.code == 403
        assert b"AccessDenied" in refusal.read()
    for path in ("healthz", "readyz", "metrics"):
        with urllib.request.urlopen(f"http://127.0.0.1:{gateway.admin_port}/{path}", timeout=10) as answer:
            assert answer.status == 200


def test_strict_clients_trust_the_endpoint(gateway: Running) -> None:
    context = ssl.create_default_context(cafile=gateway.client_env()["AWS_CA_BUNDLE"])
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"https://localhost:{gateway.port}/", timeout=10, context=context)
    with caught.value as refusal:
        assert refusal.code == 403


def test_it_leaves_no_core_file(gateway: Running) -> None:
    assert gateway.process is not None
    assert resource.prlimit(gateway.process.pid, resource.RLIMIT_CORE) == (0, 0)


def test_a_second_start_changes_no_key_and_serves_the_same_objects(gateway: Running) -> None:
    assert gateway.stop() == 0
    place = gateway.place
    assert not (place / "data/control.sock").exists()
    keys, realm = digests(place / "data-keys"), (place / "data/realm.json").read_bytes()
    gateway.start()
    assert digests(place / "data-keys") == keys
    assert (place / "data/realm.json").read_bytes() == realm
    assert gateway.s3().get_object(Bucket="first", Key="folder/hello.txt")["Body"].read() == b"hello, sealed world"


def test_a_killed_gateway_starts_again(gateway: Running) -> None:
    gateway.s3().put_object(Bucket="first", Key="before the kill", Body=b"kept")
    assert gateway.stop(signal.SIGKILL) == -signal.SIGKILL
    listed = cli("account", "list", "--data", str(gateway.place / "data"), "--json")
    assert [account["name"] for account in json.loads(listed.stdout)["accounts"]] == ["main", "team-b"]
    gateway.start()
    assert gateway.s3().get_object(Bucket="first", Key="before the kill")["Body"].read() == b"kept"


def test_no_secret_and_no_name_reaches_the_log(gateway: Running) -> None:
    log = (gateway.place / "log").read_text()
    assert "PutObject" in log
    for secret in (gateway.client_env()["AWS_SECRET_ACCESS_KEY"], "hello.txt", "before the kill", "sealed world"):
        assert secret not in log


def test_an_address_in_use_is_told_in_one_line(gateway: Running, tmp_path: Path) -> None:
    taken = cli("serve", "--data", str(tmp_path / "other"), "--port", str(gateway.port))
    assert taken.returncode == Exit.BUSY
    assert [line for line in taken.stderr.splitlines() if line.startswith("sealgate: ")]
    assert "Traceback" not in taken.stderr
    assert not list(tmp_path.iterdir()), "nothing was made that a later start would meet"


def test_a_start_that_fails_on_a_port_changes_nothing(gateway: Running, tmp_path: Path) -> None:
    other = Running.fresh(tmp_path)
    other.start()
    assert other.stop() == 0
    before = digests(tmp_path)
    for flag in ("--port", "--admin-port", "--http-port"):
        # A new name would have the certificate made anew, and a new port client.env.
        taken = cli(
            *("serve", "--data", str(tmp_path / "data"), "--port", str(free_ports(1)[0]), "--domains", "other.test"),
            *(flag, str(gateway.port)),
        )
        assert taken.returncode == Exit.BUSY
        assert f"another {flag}" in taken.stderr
        assert {name: held for name, held in digests(tmp_path).items() if "catalogue" not in name} == {
            name: held for name, held in before.items() if "catalogue" not in name
        }


def test_check_looks_on_beside_a_gateway_that_serves(gateway: Running) -> None:
    def held() -> dict[str, str]:
        # The gateway itself writes its log, into the catalogue's log, and its journal, when its jobs come to it.
        own = ("log", "data/catalogue/catalogue.db-", "data/blobs/b/")
        return {name: digest for name, digest in digests(gateway.place).items() if not name.startswith(own)}

    before = held()
    looked = cli("check", "--json", "--data", str(gateway.place / "data"), "--port", str(gateway.port))
    answer = json.loads(looked.stdout)
    assert (looked.returncode, answer["failed"]) == (0, 0), answer
    (served,) = [row["found"] for row in answer["checks"] if row["area"] == "gateway"]
    assert gateway.process is not None
    assert served == f"process {gateway.process.pid} serves and is ready"
    assert held() == before
