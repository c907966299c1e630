"""Wrapping keys under two gateways: what one changes the other notices in time, and is waited for until it has."""

import contextlib
import datetime as dt
import http.client
import json
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from gateway.cli.exits import Exit
from gateway.engine.rewrap import LEASE_DURATION
from tests.blackbox.clients import s3_client
from tests.blackbox.process import Gateway
from tests.keylife.conftest import rewraps_begun, started, told, wait_until_it_runs
from tests.several.conftest import Start
from tests.tooling.postgresql import PostgresServer

BUCKET = "keys"
WATCH_S = 1.0


@pytest.fixture(scope="module")
def gateways(start: Start) -> list[Gateway]:
    """Bucket keys are remembered for a day: for so long the second gateway would go on under the old version."""
    made = start(2, SEALGATE_WRAPPING="bucket-key", SEALGATE_KEY_WATCH_INTERVAL_S=str(WATCH_S))
    client = s3_client(made[0])
    client.create_bucket(Bucket=BUCKET)
    client.close()
    return made


def test_a_rotation_reaches_the_other_gateway(gateways: list[Gateway], clients: Callable[[Gateway], Any]) -> None:
    one, two = map(clients, gateways)
    one.put_object(Bucket=BUCKET, Key="by one", Body=b"1" * 20_000)
    two.put_object(Bucket=BUCKET, Key="by two", Body=b"2" * 20_000)
    assert told(gateways[0], "key", "rotate", "alias/default")["version"] == "2"
    report = told(gateways[0], "key", "rewrap")
    assert (report["left_count"], report["behind_count"]) == (0, 0)
    two.put_object(Bucket=BUCKET, Key="after", Body=b"3" * 20_000)
    # Had the second one gone on with its bucket key, this would be refused, or its object lost with the version.
    gone = told(gateways[0], "key", "retire", "alias/default", "--version", "1", "--destroy")
    assert (gone["state"], gone["left_count"]) == ("destroyed", 0)
    for gateway in gateways:
        gateway.restart()
    for client in (one, two):
        for key, byte in (("by one", b"1"), ("by two", b"2"), ("after", b"3")):
            assert client.get_object(Bucket=BUCKET, Key=key)["Body"].read() == byte * 20_000


class Slow:
    """A body whose end waits for its gate."""

    def __init__(self) -> None:
        self.gate, self.begun = threading.Event(), threading.Event()
        self._pieces = iter([b"b" * 100_000, b"e" * 100_000])

    def __len__(self) -> int:
        return 200_000

    def read(self, _size: int = -1) -> bytes:
        piece = next(self._pieces, b"")
        if piece.startswith(b"e"):
            self.begun.set()
            assert self.gate.wait(120)
        return piece


@contextlib.contextmanager
def under_way(client: Any, key: str) -> Iterator[None]:
    """An upload that is under way in the block, and succeeds after it."""
    body = Slow()
    answers: list[int] = []
    uploading = threading.Thread(target=lambda: answers.append(put_unsigned(client, key, body)))
    uploading.start()
    try:
        assert body.begun.wait(30)
        yield
    finally:
        body.gate.set()
        uploading.join()
    assert answers == [200]
    assert client.get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"b" * 100_000 + b"e" * 100_000


def test_an_upload_at_the_other_gateway_is_waited_for(
    gateways: list[Gateway], clients: Callable[[Gateway], Any]
) -> None:
    """Its key was made before: until it is there, nothing proves that the old version is needed by nothing."""
    two = clients(gateways[1])
    with under_way(two, "before"):
        told(gateways[0], "key", "rotate", "alias/default")
        before = rewraps_begun(gateways[0])
        rewrap = started(gateways[0], "key", "rewrap", "--json")
        wait_until_it_runs(gateways[0], rewrap, before)
        time.sleep(3 * WATCH_S)
        assert rewrap.poll() is None, "it waits for the upload"
    said, _ = rewrap.communicate(timeout=90)
    assert json.loads(said)["left_count"] == 0
    with under_way(two, "after"):  # under the new version: nobody waits for it
        assert told(gateways[0], "key", "rewrap")["left_count"] == 0
        assert told(gateways[0], "key", "retire", "alias/default", "--version", "2", "--destroy")["left_count"] == 0
    gateways[1].restart()
    for key in ("before", "after"):
        assert two.get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"b" * 100_000 + b"e" * 100_000


def put_unsigned(client: Any, key: str, body: Any) -> int:
    """Send it by a presigned URL, since boto3 would read it whole before; the status of the answer."""
    url = urlsplit(client.generate_presigned_url("put_object", Params={"Bucket": BUCKET, "Key": key}))
    context = ssl.create_default_context(cafile=str(client._endpoint.http_session._verify))
    connection = http.client.HTTPSConnection(str(url.hostname), url.port, context=context, timeout=90)
    with contextlib.closing(connection):
        connection.request("PUT", f"{url.path}?{url.query}", body, {"Content-Length": str(len(body))})
        return connection.getresponse().status


def test_a_key_that_goes_off_and_a_recipient_are_noticed(
    gateways: list[Gateway], clients: Callable[[Gateway], Any]
) -> None:
    two = clients(gateways[1])
    told(gateways[0], "key", "create", "--alias", "second")
    asked = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/second"}
    deadline = time.monotonic() + 20
    while True:
        with contextlib.suppress(two.exceptions.ClientError):
            two.put_object(Bucket=BUCKET, Key="second", Body=b"s" * 20_000, **asked)
            break
        assert time.monotonic() < deadline, "a key that was made at one is never known to the other"
        time.sleep(0.2)
    told(gateways[0], "key", "disable", "alias/second", "--force")
    with pytest.raises(two.exceptions.ClientError, match="DisabledException"):
        two.get_object(Bucket=BUCKET, Key="second")  # it was waited for, and cached keys are forgotten
    told(gateways[0], "key", "enable", "alias/second")
    made = told(gateways[0], "recovery", "keygen", "secret")
    told(gateways[0], "recovery", "add", "vault", made["public"])
    assert told(gateways[0], "key", "rewrap")["left_count"] == 0
    assert two.get_object(Bucket=BUCKET, Key="second")["Body"].read() == b"s" * 20_000
    two.put_object(Bucket=BUCKET, Key="copied", Body=b"c" * 20_000)
    report = told(gateways[0], "key", "rewrap")
    assert (report["moved_count"], report["left_count"]) == (0, 0), "what the second one writes has its copies"


def test_commands_where_no_gateway_serves_hold_nothing_once_they_ended(gateways: list[Gateway]) -> None:
    """They run in this process, which lives on: what each made keys under is let go of with it."""
    for gateway in gateways:
        gateway.stop()
    try:
        told(gateways[0], "key", "create", "--alias", "unserved")
        told(gateways[0], "key", "default", "unserved")
        report = told(gateways[0], "key", "rewrap", "alias/default", "--to", "alias/unserved")
        assert (report["left_count"], report["behind_count"]) == (0, 0)
    finally:
        for gateway in gateways:
            gateway.start()


def test_the_next_job_is_told_who_was_killed_and_until_when_to_wait(
    gateways: list[Gateway], clients: Callable[[Gateway], Any], server: PostgresServer
) -> None:
    """The last one here, since the lease outlives who was killed."""
    one, two = gateways
    killed = one.pid

    def lease() -> str:
        """Which transaction wrote it; what it says is for gateways alone."""
        return server.sql(
            "SELECT xmin FROM leases WHERE name = 'keys'", one.environment()["SEALGATE_POSTGRES_DATABASE"]
        )

    told(two, "key", "rewrap")
    before = lease()
    with under_way(clients(two), "meanwhile"):
        told(one, "key", "rotate", "alias/default")
        rewrap = started(one, "key", "rewrap")  # which waits for the upload
        deadline = time.monotonic() + 60
        while lease() == before:
            assert time.monotonic() < deadline
            assert rewrap.poll() is None, rewrap.communicate()
            time.sleep(0.05)
        one.kill()
        rewrap.communicate(timeout=60)
        refused = told(two, "key", "rewrap", code=Exit.BUSY)["error"]
        one.start()
    found = re.search(rf":{killed}\) has the lease of 'keys': it ends by (\S+) unless renewed", refused)
    assert found is not None, refused
    left = dt.datetime.fromisoformat(found[1]) - dt.datetime.now(dt.UTC)
    assert left < LEASE_DURATION
