"""Notifications from the real process to a webhook on loopback, over TLS of the gateway's own private CA."""

import json
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest

from tests.blackbox.clients import refusal, s3_client
from tests.blackbox.process import Gateway
from tests.blackbox.witness import shows
from tests.servers.ground import Ground
from tests.servers.ports import free_ports

_PATIENCE_S: Final = 100
"""Over PostgreSQL a gateway that was killed holds its right to deliver for a minute; then others go on."""
ARN: Final = "arn:sealgate:webhook:::hook"


@dataclass
class Receiver:
    """The other end: keeps every message, and refuses while `is_down`."""

    port: int
    messages: list[dict[str, Any]] = field(default_factory=list)
    is_down: bool = False
    server: ThreadingHTTPServer | None = None

    def start(self, certificate: Path, key: Path) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if not receiver.is_down:
                    receiver.messages.append(json.loads(body))
                self.send_response(503 if receiver.is_down else 204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def keys(self) -> list[tuple[str, str]]:
        records = [record for message in self.messages for record in message.get("Records", [])]
        return [(record["eventName"], record["s3"]["object"]["key"]) for record in records]

    def wait_for(self, *expected: tuple[str, str]) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while self.keys() != list(expected):
            assert time.monotonic() < deadline, self.keys()
            time.sleep(0.1)


@pytest.fixture
def receiver(tmp_path: Path, ground: Ground) -> Iterator[tuple[Receiver, Gateway]]:
    (port,) = free_ports(1)
    held = Receiver(port)
    stands_on = ground.settings(tmp_path)
    first = Gateway(tmp_path, stands_on)
    first.start()  # it makes the private CA that the webhook's certificate is of
    first.stop()
    secret = tmp_path / "secret"
    secret.write_text("between us\n")
    secret.chmod(0o600)
    settings = {
        "SEALGATE_WEBHOOKS": f"hook=https://localhost:{held.port}/events",
        "SEALGATE_WEBHOOK_CA_FILE": str(first.ca_file),
        "SEALGATE_WEBHOOK_SECRET_FILE": str(secret),
    }
    deployment = Gateway(tmp_path, stands_on | settings)
    held.start(first.keys / "tls" / "server.pem", first.keys / "tls" / "server-key.pem")
    deployment.start()
    try:
        yield held, deployment
    finally:
        deployment.close()
        assert held.server is not None
        held.server.shutdown()
        held.server.server_close()


@shows("PutBucketNotificationConfiguration 200", "PutObject 200", "DeleteObject 204")
def test_a_target_learns_of_every_change_also_of_those_it_slept_through(receiver: tuple[Receiver, Gateway]) -> None:
    held, deployment = receiver
    client = s3_client(deployment)
    client.create_bucket(Bucket="told")
    line = {"QueueArn": ARN, "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]}
    configuration = {"QueueConfigurations": [line]}
    client.put_bucket_notification_configuration(Bucket="told", NotificationConfiguration=configuration)
    assert [message["Event"] for message in held.messages] == ["s3:TestEvent"]
    client.put_object(Bucket="told", Key="a", Body=b"x" * 100_000)
    created = ("ObjectCreated:Put", "a")
    held.wait_for(created)
    held.is_down = True
    client.delete_object(Bucket="told", Key="a")
    client.put_object(Bucket="told", Key="b", Body=b"x")
    time.sleep(2)
    deployment.kill()
    held.is_down = False
    deployment.start()
    held.wait_for(created, ("ObjectRemoved:Delete", "a"), ("ObjectCreated:Put", "b"))
    sequencers = [m["Records"][0]["s3"]["object"]["sequencer"] for m in held.messages if "Records" in m]
    assert sequencers == sorted(set(sequencers))
    assert "between us" not in deployment.log.read_text()
    client.close()


@shows(
    "PutBucketNotificationConfiguration 200",
    "PutBucketNotificationConfiguration 400 InvalidArgument",
    "PutBucketNotificationConfiguration 403 AccessDenied",
    "GetBucketNotificationConfiguration 200",
    "GetBucketNotificationConfiguration 403 AccessDenied",
    "GetBucketNotificationConfiguration 404 NoSuchBucket",
)
def test_only_the_owner_has_others_told(s3: Any, guest: Any, nobody: Any, bucket: str) -> None:
    put = {"Bucket": bucket, "NotificationConfiguration": {}}
    line = {"QueueArn": "arn:sealgate:webhook:::not-one-of-the-settings", "Events": ["s3:ObjectCreated:*"]}
    unknown = put | {"NotificationConfiguration": {"QueueConfigurations": [line]}}
    assert refusal(s3.put_bucket_notification_configuration, **unknown) == (400, "InvalidArgument")
    for other in (guest, nobody):
        assert refusal(other.put_bucket_notification_configuration, **put) == (403, "AccessDenied")
        assert refusal(other.get_bucket_notification_configuration, Bucket=bucket) == (403, "AccessDenied")
    told = s3.get_bucket_notification_configuration(Bucket=bucket)
    assert "QueueConfigurations" not in told
    s3.put_bucket_notification_configuration(**put)
    gone = refusal(s3.get_bucket_notification_configuration, Bucket="no-such-bucket")
    assert gone == (404, "NoSuchBucket")
