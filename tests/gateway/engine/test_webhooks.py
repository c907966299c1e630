"""Webhooks over real TLS on loopback: what is sent, what counts as taken, and what is not followed or believed."""

import asyncio
import hmac
import json
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.pki import TlsFiles, make_certificates
from gateway.engine.webhooks import DeliveryFailed, TrialUnderWay, Webhook, client_context

MESSAGE = {"Records": [{"eventName": "ObjectCreated:Put", "key": "ü☃"}]}


@dataclass
class Target:
    """An HTTPS server that writes down what it gets."""

    port: int = 0
    ca_file: Path = Path()
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    is_silent: threading.Event = field(default_factory=threading.Event)
    drips: threading.Event = field(default_factory=threading.Event)
    """While it is set a byte of a header line comes now and then."""
    seen: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    def hook(self, **changes: Any) -> Webhook:
        url = f"https://localhost:{self.port}/events?a=b"
        arguments: dict[str, Any] = {"name": "hook", "url": url, "context": client_context(self.ca_file)} | changes
        return Webhook(**arguments)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    made = TlsFiles(tmp_path_factory.mktemp("tls") / "keys")
    make_certificates(made, ("localhost",), datetime.now(UTC))
    return made


@pytest.fixture
def target(files: TlsFiles) -> Iterator[Target]:
    held = Target(ca_file=files.ca_certificate)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            held.seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            while held.is_silent.is_set():
                time.sleep(0.01)
            self.send_response(held.status)
            while held.drips.is_set():
                self.flush_headers()
                try:
                    self.wfile.write(b"x")
                except OSError:
                    return
                time.sleep(0.01)
            for name, value in held.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    held.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield held
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def send(hook: Webhook) -> None:
    asyncio.run(hook.send(MESSAGE))


def test_a_silent_target_takes_no_thread_of_anybody_else(target: Target) -> None:
    """Whoever configures notifications decides how often a target is tried out."""
    target.is_silent.set()

    async def main() -> None:
        hook = target.hook()
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1) as only:
            loop.set_default_executor(only)
            delivery, trial = asyncio.ensure_future(hook.send(MESSAGE)), asyncio.ensure_future(hook.try_out(MESSAGE))
            while len(target.seen) < 2:
                await asyncio.to_thread(lambda: None)
            with pytest.raises(TrialUnderWay):
                await hook.try_out(MESSAGE)
            target.is_silent.clear()
            await asyncio.gather(delivery, trial)
        await hook.try_out(MESSAGE)

    asyncio.run(main())
    assert len(target.seen) == 3


@pytest.mark.parametrize("status", [200, 500])
def test_a_target_that_drips_holds_its_thread_no_longer_than_the_deadline(target: Target, status: int) -> None:
    """Each byte ends one wait and begins the next, so that no single wait is long."""
    target.status = status
    target.drips.set()
    assert str(failed(target.hook(deadline_s=0.3))) == "TimeoutError"
    target.drips.clear()
    target.status = 200
    send(target.hook())


def failed(hook: Webhook) -> DeliveryFailed:
    with pytest.raises(DeliveryFailed) as caught:
        send(hook)
    return caught.value


def test_a_message_is_json_and_unsigned_without_a_secret(target: Target) -> None:
    send(target.hook())
    ((path, headers, body),) = target.seen
    assert (path, headers["content-type"]) == ("/events?a=b", "application/json")
    assert json.loads(body) == MESSAGE
    assert "x-sealgate-signature" not in headers


def test_the_signature_covers_time_and_body(target: Target) -> None:
    send(target.hook(secret=b"secret"))
    ((_, headers, body),) = target.seen
    signed = headers["x-sealgate-timestamp"].encode() + b"." + body
    assert headers["x-sealgate-signature"] == "v1=" + hmac.new(b"secret", signed, "sha256").hexdigest()


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_what_counts_as_taken(target: Target, status: int) -> None:
    target.status = status
    send(target.hook())


@pytest.mark.parametrize(
    ("status", "is_final"), [(400, True), (413, True), (401, False), (404, False), (429, False), (500, False)]
)
def test_what_does_not(target: Target, status: int, is_final: bool) -> None:
    target.status = status
    assert failed(target.hook()).is_final == is_final


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(target: Target, status: int) -> None:
    target.status = status
    target.headers["Location"] = f"https://localhost:{target.port}/elsewhere"
    assert not failed(target.hook()).is_final
    assert [path for path, _, _ in target.seen] == ["/events?a=b"]


def test_a_certificate_of_another_authority_or_name_is_not_believed(target: Target) -> None:
    failed(target.hook(context=client_context(None)))
    failed(target.hook(url=f"https://127.0.0.1:{target.port}/"))
    assert target.seen == []


def test_proxies_of_the_environment_are_not_asked(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    send(target.hook())
    assert len(target.seen) == 1


def test_nobody_there(target: Target) -> None:
    error = failed(target.hook(url="https://localhost:1/"))
    assert str(error) == "ConnectionRefusedError"


def test_nothing_of_it_is_shown(target: Target) -> None:
    shown = repr(target.hook(secret=b"very secret"))
    assert "events" not in shown
    assert "very secret" not in shown


def test_tls_1_2_is_the_floor(files: TlsFiles) -> None:
    context = client_context(files.ca_certificate)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
