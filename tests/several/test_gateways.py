"""Several gateways over one PostgreSQL and one blob store: what one does the others know at once."""

import json
import shutil
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.blackbox.clients import s3_client
from tests.blackbox.process import Gateway, GatewayFailed
from tests.several.client import Client
from tests.several.conftest import Start
from tests.tooling.postgresql import PostgresServer, postgres_settings


@pytest.fixture(scope="module")
def gateways(start: Start) -> list[Gateway]:
    return start(3)


def test_what_one_writes_the_other_reads_and_lists(gateways: list[Gateway], clients: Callable[[Gateway], Any]) -> None:
    one, two = map(clients, gateways[:2])
    one.create_bucket(Bucket="shared")
    for size in (100, 20_000, 6 << 20):
        body = bytes(range(256)) * (size // 256 + 1)
        one.put_object(Bucket="shared", Key=f"{size}", Body=body)
        assert two.get_object(Bucket="shared", Key=f"{size}")["Body"].read() == body
        assert f"{size}" in [entry["Key"] for entry in two.list_objects_v2(Bucket="shared")["Contents"]]
    two.delete_object(Bucket="shared", Key="100")
    with pytest.raises(ClientError, match="404"):
        one.head_object(Bucket="shared", Key="100")


def test_an_upload_goes_over_both(gateways: list[Gateway], clients: Callable[[Gateway], Any]) -> None:
    one, two = map(clients, gateways[:2])
    one.create_bucket(Bucket="uploads")
    upload_id = one.create_multipart_upload(Bucket="uploads", Key="big")["UploadId"]
    named = {"Bucket": "uploads", "Key": "big", "UploadId": upload_id}
    parts = []
    for number, client in enumerate((one, two), start=1):
        part = client.upload_part(**named, PartNumber=number, Body=bytes([number]) * (5 << 20))
        parts.append({"PartNumber": number, "ETag": part["ETag"]})
    two.complete_multipart_upload(**named, MultipartUpload={"Parts": parts})
    assert one.head_object(Bucket="uploads", Key="big")["ContentLength"] == 10 << 20


def test_a_policy_and_a_disabled_key_bite_everywhere_at_once(
    gateways: list[Gateway], clients: Callable[[Gateway], Any]
) -> None:
    one, two, _ = gateways
    owner = clients(one)
    owner.create_bucket(Bucket="guarded")
    owner.put_object(Bucket="guarded", Key="key", Body=b"x")
    stranger = s3_client(two, one.create_account("stranger"))
    account = stranger._request_signer._credentials.access_key
    with pytest.raises(ClientError, match="403"):
        stranger.head_object(Bucket="guarded", Key="key")
    allowed = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::guarded/*"}
    policy = {"Version": "2012-10-17", "Statement": [allowed]}
    owner.delete_public_access_block(Bucket="guarded")
    for _ in range(3):
        owner.put_bucket_policy(Bucket="guarded", Policy=json.dumps(policy))
        stranger.head_object(Bucket="guarded", Key="key")
        owner.delete_bucket_policy(Bucket="guarded")
        with pytest.raises(ClientError, match="403"):
            stranger.head_object(Bucket="guarded", Key="key")
    owner.put_bucket_policy(Bucket="guarded", Policy=json.dumps(policy))
    assert one.run("access-key", "disable", account).returncode == 0
    with pytest.raises(ClientError, match="403"):
        stranger.head_object(Bucket="guarded", Key="key")
    stranger.close()


def test_commands_reach_the_catalogue_with_and_without_a_gateway(gateways: list[Gateway]) -> None:
    one, two, _ = gateways
    assert one.run("check").returncode == 0
    one.stop()
    try:
        two.create_account("without-a-socket")
        assert "without-a-socket" in two.run("account", "list").stdout
        assert two.run("verify").returncode == 0
    finally:
        one.start()


def test_any_of_them_can_be_asked_to_sweep(gateways: list[Gateway]) -> None:
    for gateway in gateways[:2]:
        done = gateway.run("sweep", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["scanned_count"] > 0


def test_of_a_hundred_first_writers_over_three_gateways_one_wins(
    gateways: list[Gateway], clients: Callable[[Gateway], Any]
) -> None:
    """H88."""
    clients(gateways[0]).create_bucket(Bucket="race")
    begin = threading.Barrier(100)

    def write(number: int) -> tuple[int, bytes]:
        body = b"%d" % number
        with closing(Client(gateways[number % 3], 30)) as client:
            assert client.ask("GET", "/race", query="list-type=2") is not None  # connected
            begin.wait(60)
            answer = client.ask("PUT", "/race/key", body, {"If-None-Match": "*"})
        assert answer is not None
        return answer.status, body

    with ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(write, range(100)))
    (won,) = (body for status, body in answers if status == 200)
    assert {status for status, body in answers if body != won} <= {409, 412}
    for gateway in gateways:
        assert clients(gateway).get_object(Bucket="race", Key="key")["Body"].read() == won


def test_no_path_leads_out_of_a_bucket_at_any_gateway(
    gateways: list[Gateway], clients: Callable[[Gateway], Any]
) -> None:
    """H57: a policy for one bucket lets nobody into another one."""
    owner = clients(gateways[0])
    for bucket in ("open-one", "closed-one"):
        owner.create_bucket(Bucket=bucket)
        owner.put_object(Bucket=bucket, Key="k", Body=b"kept")
    owner.delete_public_access_block(Bucket="open-one")
    allowed = {"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::open-one/*"}
    owner.put_bucket_policy(Bucket="open-one", Policy=json.dumps({"Version": "2012-10-17", "Statement": [allowed]}))
    stranger = gateways[1].create_account("wanderer")
    for gateway in gateways:
        with closing(Client(gateway, who=stranger)) as client:
            for method in ("GET", "PUT", "DELETE"):
                for path in ("/open-one/../closed-one/k", "/open-one/%2e%2e/closed-one/k"):
                    answer = client.ask(method, path, b"x" if method == "PUT" else b"")
                    assert answer is not None
                    assert answer.status == 400, (method, path, answer)
            reached = client.ask("GET", "/open-one/k")
            assert reached is not None
            assert reached.status == 200
    assert owner.get_object(Bucket="closed-one", Key="k")["Body"].read() == b"kept"


def test_a_tag_that_denies_bites_at_every_gateway_at_once(
    gateways: list[Gateway], clients: Callable[[Gateway], Any]
) -> None:
    one, two, three = gateways
    owner = clients(one)
    owner.create_bucket(Bucket="tagged")
    owner.put_object(Bucket="tagged", Key="key", Body=b"x")
    owner.delete_public_access_block(Bucket="tagged")
    everything = {"Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::tagged/*"}
    secret = {"Condition": {"StringEquals": {"s3:ExistingObjectTag/secret": "yes"}}}
    statements = [{"Effect": "Allow"} | everything, {"Effect": "Deny"} | everything | secret]
    owner.put_bucket_policy(Bucket="tagged", Policy=json.dumps({"Version": "2012-10-17", "Statement": statements}))
    reader = one.create_account("reader")
    with closing(Client(two, who=reader)) as second, closing(Client(three, who=reader)) as third:
        for value, status in (("yes", 403), ("no", 200)) * 5:
            tags = {"TagSet": [{"Key": "secret", "Value": value}]}
            owner.put_object_tagging(Bucket="tagged", Key="key", Tagging=tags)
            for client in (second, third):
                answer = client.ask("GET", "/tagged/key")
                assert answer is not None
                assert answer.status == status, (value, answer)


def test_a_paused_gateway_holds_nothing_up_and_commits_nothing_late(
    gateways: list[Gateway], clients: Callable[[Gateway], Any]
) -> None:
    """It stands still in the middle of whatever it does; what others do meanwhile is not undone when it goes on."""
    one, two, _ = gateways
    there, here = clients(one), clients(two)
    there.create_bucket(Bucket="paused")
    there.put_object(Bucket="paused", Key="key", Body=b"first")
    one_process = one._process
    assert one_process is not None
    one_process.send_signal(signal.SIGSTOP)
    try:
        for number in range(5):
            here.put_object(Bucket="paused", Key="key", Body=b"while it stood %d" % number)
        time.sleep(1)
    finally:
        one_process.send_signal(signal.SIGCONT)
    assert there.get_object(Bucket="paused", Key="key")["Body"].read() == b"while it stood 4"


def test_over_sqlite_a_second_gateway_is_refused(tmp_path: Any) -> None:
    first = Gateway(tmp_path / "0")
    first.start()
    try:
        with pytest.raises(GatewayFailed, match="another sealgate process works on"):
            Gateway(tmp_path / "1", beside=first).start()
    finally:
        first.close()


def test_each_may_have_a_data_folder_of_its_own_and_lose_it(
    server: PostgresServer, tmp_path: Path, clients: Callable[[Gateway], Any]
) -> None:
    """They share a database, a blob store and the keys folder alone; whichever starts first makes everything."""
    server.create_database("apart")
    told = postgres_settings(server, "apart", tmp_path) | {"SEALGATE_BLOBS": str(tmp_path / "blobs")}
    one = Gateway(tmp_path / "one", told)
    two = Gateway(tmp_path / "two", told, beside=one, has_own_data=True)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(Gateway.start, (one, two)))
    try:
        assert [("Made keys" in gateway.log.read_text()) for gateway in (one, two)].count(True) == 1
        client, other = map(clients, (one, two))
        client.create_bucket(Bucket="apart")
        for size in (100, 3 << 20):
            client.put_object(Bucket="apart", Key=f"{size}", Body=bytes(size))
            assert other.get_object(Bucket="apart", Key=f"{size}")["Body"].read() == bytes(size)
        # The wraps of the realm move with one gateway; the other, which comes up with an older file or none, follows.
        older = (two.data / "realm.json").read_bytes()
        assert one.run("key", "rotate", "alias/default").returncode == 0
        assert one.run("key", "rewrap").returncode == 0
        two.stop()
        assert one.run("key", "retire", "alias/default", "--version", "1", "--destroy").returncode == 0
        (two.data / "realm.json").write_bytes(older)  # as if it had stopped before it followed
        assert older != (one.data / "realm.json").read_bytes()
        two.start()
        assert (two.data / "realm.json").read_bytes() == (one.data / "realm.json").read_bytes()
        two.stop()
        shutil.rmtree(two.data)
        two.start()
        assert other.get_object(Bucket="apart", Key="100")["Body"].read() == bytes(100)
        assert two.run("verify").returncode == 0
        two.stop()
        refused = two.run("unseal", "--output", str(tmp_path / "opened"))  # which needs every gateway stopped
        assert refused.returncode == 8
        assert f"another sealgate process works with {one.keys}" in refused.stderr
    finally:
        one.close()
        two.close()


def test_keys_of_a_start_that_never_ended_are_told(server: PostgresServer, tmp_path: Path) -> None:
    server.create_database("never")
    told = postgres_settings(server, "never", tmp_path) | {"SEALGATE_BLOBS": str(tmp_path / "blobs")}
    gateway = Gateway(tmp_path / "one", told)
    gateway.keys.mkdir(mode=0o700)
    (gateway.keys / "keyring.json").touch(0o600)
    with pytest.raises(GatewayFailed, match="the first start of the gateway that made it did not end"):
        gateway.start()
