import asyncio
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from starlette.types import Receive, Scope, Send

from gateway.errors import ServeError, TlsError
from gateway.http.hosts import AcceptedHosts
from gateway.http.plain import PlainRefuser
from gateway.http.ports import Endpoint
from gateway.http.protocol import EdgeLimits
from gateway.http.server import Server, ServerSettings
from gateway.http.tls import Certificate, server_context
from tests.gateway.http.edge import LOOPBACK, PATIENCE_S, Application, make_certificate, on_loop, serving, to_end

GET = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


async def speak_plain(port: int, sent: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    return await to_end(reader, writer)


def client(certificate: Certificate, change: Callable[[ssl.SSLContext], object]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=certificate.certfile)
    change(context)
    return context


def only(version: ssl.TLSVersion) -> Callable[[ssl.SSLContext], None]:
    def change(context: ssl.SSLContext) -> None:
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version

    return change


def ciphers(names: str) -> Callable[[ssl.SSLContext], None]:
    def change(context: ssl.SSLContext) -> None:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(names)

    return change


HANDSHAKES: dict[str, tuple[Callable[[ssl.SSLContext], object], bool]] = {
    "TLS 1.3": (only(ssl.TLSVersion.TLSv1_3), True),
    "TLS 1.2": (only(ssl.TLSVersion.TLSv1_2), True),
    "TLS 1.1": (only(ssl.TLSVersion.TLSv1_1), False),
    "TLS 1.0": (only(ssl.TLSVersion.TLSv1), False),
    "AES-GCM": (ciphers("ECDHE-ECDSA-AES128-GCM-SHA256"), True),
    "ChaCha20": (ciphers("ECDHE-ECDSA-CHACHA20-POLY1305"), True),
    "CBC": (ciphers("ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA:@SECLEVEL=0"), False),
    "CCM": (ciphers("ECDHE-ECDSA-AES128-CCM"), False),
    "NULL": (ciphers("ECDHE-ECDSA-NULL-SHA:@SECLEVEL=0"), False),
    "X25519": (lambda context: context.set_ecdh_curve("X25519"), True),
    "P-256": (lambda context: context.set_ecdh_curve("prime256v1"), True),
    "P-384": (lambda context: context.set_ecdh_curve("secp384r1"), True),
    "P-521": (lambda context: context.set_ecdh_curve("secp521r1"), False),
    "X448": (lambda context: context.set_ecdh_curve("X448"), False),
}


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")  # the refusal of these is what is shown
@pytest.mark.parametrize("name", HANDSHAKES)
def test_tls_offers_the_intermediate_profile_and_nothing_else(name: str, certificate: Certificate) -> None:
    change, is_taken = HANDSHAKES[name]

    async def main() -> None:
        context = client(certificate, change)
        async with serving(Application(), certificate) as running:
            if is_taken:
                _, writer = await running.connect(context)
                writer.transport.abort()
            else:
                with pytest.raises((ssl.SSLError, ConnectionError)):
                    await running.connect(context)

    on_loop(main())


@pytest.mark.parametrize("shows", ["its own", "another CA's", "none"])
def test_clients_show_a_certificate_where_one_is_asked_for(tmp_path: Path, shows: str) -> None:
    server, ours, anothers = (make_certificate(tmp_path, name) for name in ("server", "ours", "anothers"))
    seen: list[dict[str, object]] = []

    class Noting(Application):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                seen.append(scope["extensions"]["tls"])
            await super().__call__(scope, receive, send)

    async def main() -> None:
        asking = Certificate(server.certfile, server.keyfile, ours.certfile)
        async with serving(Noting(), asking) as running:
            context = ssl.create_default_context(cafile=server.certfile)
            if shows != "none":
                (ours if shows == "its own" else anothers).load_into(context)
            try:
                reader, writer = await running.connect(context)
                writer.write(GET)
                answer = await to_end(reader, writer)
            except (ssl.SSLError, ConnectionError):
                answer = b""
            assert answer.startswith(b"HTTP/1.1 200 ") == (shows == "its own")

    on_loop(main())
    told = [(one["tls_version"], one["client_cert_name"]) for one in seen]
    assert told == ([(0x0304, "CN=ours")] if shows == "its own" else [])


def test_a_ca_of_clients_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    pair = make_certificate(tmp_path)
    (tmp_path / "empty.pem").write_text("")
    with pytest.raises(TlsError, match=r"empty\.pem"):
        server_context(Certificate(pair.certfile, pair.keyfile, tmp_path / "empty.pem"))


def test_plain_http_to_the_tls_port_gets_no_http_back(certificate: Certificate) -> None:
    async def main() -> None:
        app = Application()
        async with serving(app, certificate) as running:
            answer = await speak_plain(running.bound.https.port, GET)
            assert b"HTTP" not in answer
            assert b"<" not in answer
            assert app.calls == []

    on_loop(main())


@pytest.mark.parametrize(
    "sent",
    [
        GET,
        b"PUT /b/k HTTP/1.1\r\nHost: h\r\nContent-Length: 5000000\r\n\r\n" + bytes(5_000_000),
        b"GET / HTTP/1.1\nHost: h\n\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-Proto: https\r\n\r\n",
        b"\x16\x03\x01" + bytes(9000),
        b"CONNECT h:443 HTTP/1.1\r\n\r\n",
    ],
    ids=["get", "large put", "bare line feeds", "forwarded", "a TLS hello", "connect"],
)
def test_the_plain_port_refuses_everything_and_redirects_nothing(sent: bytes, certificate: Certificate) -> None:
    async def main() -> None:
        app = Application()
        async with serving(app, certificate) as running:
            assert running.bound.plain is not None
            answer = await speak_plain(running.bound.plain.port, sent)
            head, _, body = answer.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 403 ")
            assert b"<Code>AccessDenied</Code>" in body
            assert b"connection: close" in head
            assert b"location" not in head.lower()
            assert b"strict-transport-security" not in head
            assert app.calls == []

    on_loop(main())


def test_a_client_that_sends_all_before_it_reads_learns_why_it_is_refused(certificate: Certificate) -> None:
    def converse(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as connection:
            connection.sendall(b"PUT /b/k HTTP/1.1\r\nHost: h\r\nContent-Length: 20000000\r\n\r\n" + bytes(20_000_000))
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(4096), b""))

    async def main() -> None:
        async with serving(Application(), certificate) as running:
            assert running.bound.plain is not None
            answer = await asyncio.to_thread(converse, running.bound.plain.port)
            assert b"<Code>AccessDenied</Code>" in answer

    on_loop(main())


def test_the_plain_port_waits_for_nobody() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        refusers: set[PlainRefuser] = set()
        listener = await loop.create_server(lambda: PlainRefuser(refusers, deadline_s=0.2), "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        assert await speak_plain(port, b"GET / HT") == b""
        assert refusers == set()
        listener.close()

    on_loop(main())


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("GET /healthz", 200),
        ("HEAD /healthz", 200),
        ("GET /readyz", 200),
        ("GET /metrics", 200),
        ("GET /healthz?x=1", 200),
        ("POST /healthz", 404),
        ("GET /healthz/", 404),
        ("GET /healthz%20", 404),
        ("GET /%68ealthz", 404),
        ("GET /metrics-tenant/x", 404),
        ("GET /", 404),
        ("DELETE /metrics", 404),
    ],
)
def test_admin_answers_its_exact_paths_only(request_line: str, status: int, certificate: Certificate) -> None:
    async def main() -> None:
        async with serving(Application(), certificate) as running:
            request = f"{request_line} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
            answer = await speak_plain(running.bound.admin.port, request)
            assert answer.startswith(b"HTTP/1.1 %d " % status)

    on_loop(main())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])  # noqa: S104 - none of them is bound
def test_admin_stands_on_loopback_or_nowhere(host: str, certificate: Certificate) -> None:
    async def is_ready() -> bool:
        return True

    with pytest.raises(ServeError, match="loopback"):
        Server(
            Application(),
            CollectorRegistry(),
            is_ready,
            ServerSettings(LOOPBACK, Endpoint(host, 0), certificate),
        )


def test_an_application_that_is_not_ready_says_so(certificate: Certificate) -> None:
    async def is_ready() -> bool:
        return False

    async def main() -> None:
        settings = ServerSettings(LOOPBACK, LOOPBACK, certificate)
        server = Server(Application(), CollectorRegistry(), is_ready, settings)
        bound = await server.start()
        answer = await speak_plain(bound.admin.port, b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 503 ")
        await server.drain()

    on_loop(main())


def test_an_address_in_use_is_one_clear_error(certificate: Certificate) -> None:
    async def main() -> None:
        async def is_ready() -> bool:
            return True

        async with serving(Application(), certificate) as running:
            settings = ServerSettings(running.bound.https, LOOPBACK, certificate)
            words = rf"port {running.bound.https.port} .*Address already in use.*another --port$"
            with pytest.raises(ServeError, match=words):
                await Server(Application(), CollectorRegistry(), is_ready, settings).start()

    on_loop(main())


def test_an_address_that_is_none_of_ours_is_named(certificate: Certificate) -> None:
    async def main() -> None:
        async def is_ready() -> bool:
            return True

        settings = ServerSettings(Endpoint("192.0.2.1", 9443), LOOPBACK, certificate)
        with pytest.raises(ServeError, match=r"192\.0\.2\.1 port 9443 .*correct --host"):
            await Server(Application(), CollectorRegistry(), is_ready, settings).start()

    on_loop(main())


def test_a_drain_does_not_wait_for_clients_that_ask_nothing(certificate: Certificate) -> None:
    def connect(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
        raw = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        return context.wrap_socket(raw, server_hostname="localhost")

    async def main() -> None:
        async with serving(Application(), certificate, EdgeLimits(linger_s=PATIENCE_S * 2)) as running:
            # Nobody reads here, so the end of TLS gets no answer, as from the pools that clients keep.
            idle = await asyncio.to_thread(connect, running.bound.https.port, running.client)
            while not running.server.connection_count:  # noqa: ASYNC110 - the server tells nobody of a connection
                await asyncio.sleep(0)
            began = time.monotonic()
        assert time.monotonic() - began < PATIENCE_S
        idle.close()

    on_loop(main())


async def served_name(port: int, context: ssl.SSLContext) -> str:
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return "new" if b"renewed" in der else "old"


@pytest.mark.parametrize(
    ("left", "said"), [(-timedelta(days=1), "ended on"), (timedelta(days=9), "ends on"), (timedelta(days=30), "")]
)
def test_a_certificate_that_ends_is_told_in_the_log(
    left: timedelta, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with serving(Application(), make_certificate(tmp_path, left=left)):
            pass

    on_loop(main())
    told = [record.getMessage() for record in caplog.records if str(tmp_path / "server.pem") in record.getMessage()]
    assert len(told) == bool(said)
    assert said in "".join(told)


def test_a_renewed_certificate_is_served_without_a_restart(tmp_path: Path) -> None:
    pair = make_certificate(tmp_path)
    renewed = make_certificate(tmp_path, "renewed")

    async def main() -> None:
        async with serving(Application(), pair) as running:
            port, context = running.bound.https.port, running.client
            reader, writer = await running.connect()
            assert await served_name(port, context) == "old"
            pair.certfile.write_bytes(renewed.certfile.read_bytes())
            running.server.reload_certificate()
            assert await served_name(port, context) == "old", "a pair that does not fit is not taken"
            pair.keyfile.write_bytes(renewed.keyfile.read_bytes())
            running.server.reload_certificate()
            assert await served_name(port, context) == "new"
            writer.write(GET)
            assert (await to_end(reader, writer)).startswith(b"HTTP/1.1 200 "), "connections that stand go on"

    on_loop(main())


def test_files_that_were_written_anew_are_noticed(tmp_path: Path) -> None:
    pair, renewed = make_certificate(tmp_path), make_certificate(tmp_path, "renewed")

    async def is_ready() -> bool:
        return True

    async def main() -> None:
        hosts = AcceptedHosts()
        settings = ServerSettings(LOOPBACK, LOOPBACK, pair, certificate_check_s=0.05)
        server = Server(Application(), CollectorRegistry(), is_ready, settings, hosts)
        port = (await server.start()).https.port
        assert "localhost" in hosts
        assert await served_name(port, ssl.create_default_context()) == "old"
        pair.certfile.unlink()
        await asyncio.sleep(0.2)
        assert await served_name(port, ssl.create_default_context()) == "old", "in the middle of a renewal"
        renewed.certfile.rename(pair.certfile)
        await asyncio.sleep(0.2)
        assert await served_name(port, ssl.create_default_context()) == "old", "half a pair is not taken"
        renewed.keyfile.rename(pair.keyfile)
        await asyncio.sleep(0.5)
        assert await served_name(port, ssl.create_default_context()) == "new"
        await server.drain()

    on_loop(main())


def test_an_unusable_certificate_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(TlsError, match=r"absent\.pem"):
        server_context(Certificate(tmp_path / "absent.pem", tmp_path / "absent.key"))


def poll(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.01)


def readiness(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    connection.request("GET", "/readyz")
    status = connection.getresponse().status
    connection.close()
    return status


def test_sigterm_lets_requests_end_and_exits_with_0(tmp_path: Path) -> None:
    pair = make_certificate(tmp_path)
    root = Path(__file__).parents[3]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.gateway.http.served", str(tmp_path)],
        cwd=root,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    try:
        assert process.stdout is not None
        https, admin = json.loads(process.stdout.readline())
        context = ssl.create_default_context(cafile=pair.certfile)
        running = http.client.HTTPSConnection("localhost", https, context=context, timeout=PATIENCE_S)
        idle = http.client.HTTPSConnection("localhost", https, context=context, timeout=PATIENCE_S)
        idle.connect()
        running.putrequest("PUT", "/")
        running.putheader("Content-Length", "6")
        running.endheaders(b"abc")
        assert readiness(admin) == 200
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        assert [line.split()[-3:] for line in limits.splitlines() if "core file" in line] == [["0", "0", "bytes"]]

        process.send_signal(signal.SIGHUP)
        assert readiness(admin) == 200, "SIGHUP renews the certificate and ends nothing"
        process.send_signal(signal.SIGTERM)
        poll(lambda: readiness(admin) == 503)
        with pytest.raises(ConnectionError):
            http.client.HTTPSConnection("localhost", https, context=context, timeout=PATIENCE_S).connect()
        assert idle.sock.recv(1) == b"", "an idle connection is closed at once"
        running.send(b"def")
        answer = running.getresponse()
        assert (answer.status, answer.read()) == (200, b"6")
        assert answer.getheader("connection") == "close"
        assert process.wait(PATIENCE_S) == 0
        running.close()
        idle.close()
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
