"""The monitor listener: admin's pages for other machines, over TLS, to who shows a certificate, and to nobody else."""

import asyncio
import os
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from gateway.errors import ServeError
from gateway.http.server import Monitor, Server, ServerSettings
from gateway.http.tls import Certificate
from tests.gateway.http.edge import LOOPBACK, Application, on_loop, to_end, until
from tests.servers.pki import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def settings_of(authority: Authority) -> ServerSettings:
    pair = Certificate(*authority.server("gateway"))
    return ServerSettings(
        LOOPBACK, LOOPBACK, pair, monitor=Monitor(LOOPBACK, replace(pair, client_ca=authority.certificate))
    )


@asynccontextmanager
async def monitored(settings: ServerSettings, *, is_ready: bool = True) -> AsyncIterator[tuple[Server, int]]:
    async def ready() -> bool:
        return is_ready

    server = Server(Application(), CollectorRegistry(), ready, settings)
    bound = await server.start()
    assert bound.monitor is not None
    try:
        yield server, bound.monitor.port
    finally:
        await server.drain()


def scraper(authority: Authority, shown: tuple[Path, Path] | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.certificate)
    if shown is not None:
        context.load_cert_chain(*shown)
    return context


async def ask(port: int, path: str, context: ssl.SSLContext | None, host: str = "gateway-1:9446") -> bytes:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname="localhost" if context is not None else None
    )
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    return await to_end(reader, writer)


@pytest.mark.parametrize(
    ("path", "status"), [("/healthz", 200), ("/readyz", 200), ("/metrics", 200), ("/", 404), ("/bucket/key", 404)]
)
def test_it_shows_the_pages_of_admin_under_any_name(authority: Authority, path: str, status: int) -> None:
    async def main() -> None:
        async with monitored(settings_of(authority)) as (_, port):
            answer = await ask(port, path, scraper(authority, authority.client("prometheus")))
            assert answer.startswith(b"HTTP/1.1 %d " % status)

    on_loop(main())


def test_it_tells_that_the_gateway_is_not_ready(authority: Authority) -> None:
    async def main() -> None:
        async with monitored(settings_of(authority), is_ready=False) as (_, port):
            answer = await ask(port, "/readyz", scraper(authority, authority.client("prometheus")))
            assert answer.startswith(b"HTTP/1.1 503 ")

    on_loop(main())


@pytest.mark.parametrize("shows", ["nothing", "a certificate of another authority", "a server's certificate"])
def test_who_shows_no_certificate_of_its_authority_learns_nothing(
    authority: Authority, tmp_path: Path, shows: str
) -> None:
    shown = {
        "nothing": None,
        "a certificate of another authority": Authority(tmp_path, "other").client("prometheus"),
        "a server's certificate": authority.server("other-server"),
    }[shows]

    async def main() -> None:
        async with monitored(settings_of(authority)) as (_, port):
            try:
                answer = await ask(port, "/metrics", scraper(authority, shown))
            except (ssl.SSLError, ConnectionError):
                answer = b""
            assert answer == b""

    on_loop(main())


def test_plain_http_gets_no_answer(authority: Authority) -> None:
    async def main() -> None:
        async with monitored(settings_of(authority)) as (_, port):
            assert b"HTTP" not in await ask(port, "/metrics", None)

    on_loop(main())


def test_a_crowd_of_strangers_leaves_room_for_the_scraper(authority: Authority) -> None:
    async def main() -> None:
        async with monitored(settings_of(authority)) as (_, port):
            crowd = [await asyncio.open_connection("127.0.0.1", port) for _ in range(100)]
            answer = await ask(port, "/healthz", scraper(authority, authority.client("prometheus")))
            assert answer.startswith(b"HTTP/1.1 200 ")
            for _, writer in crowd:
                writer.transport.abort()

    on_loop(main())


def test_its_certificate_is_renewed_with_the_gateways(authority: Authority, tmp_path: Path) -> None:
    pair = Certificate(tmp_path / "s.pem", tmp_path / "s.key")
    for name, place in zip(authority.server("first"), (pair.certfile, pair.keyfile), strict=True):
        place.write_bytes(name.read_bytes())
    settings = ServerSettings(
        LOOPBACK, LOOPBACK, pair, monitor=Monitor(LOOPBACK, replace(pair, client_ca=authority.certificate))
    )
    context = scraper(authority, authority.client("prometheus"))

    async def served(port: int) -> object:
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
        subject = writer.get_extra_info("peercert")["subject"]
        writer.transport.abort()
        return subject[0][0][1]

    async def main() -> None:
        async with monitored(settings) as (server, port):
            assert await served(port) == "first"
            for name, place in zip(authority.server("second"), (pair.certfile, pair.keyfile), strict=True):
                place.write_bytes(name.read_bytes())
            server.reload_certificate()
            assert await served(port) == "second"

    on_loop(main())


def test_it_answers_while_requests_end(authority: Authority) -> None:
    context = scraper(authority, authority.client("prometheus"))

    async def main() -> None:
        async with monitored(settings_of(authority)) as (server, port):
            assert server._acceptor is not None
            _, https_port = server._acceptor.listeners[0].getsockname()
            reader, client = await asyncio.open_connection(
                "127.0.0.1", https_port, ssl=context, server_hostname="localhost"
            )
            client.write(b"PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n12")
            await until(lambda: bool(server._state.tasks))
            drain = asyncio.create_task(server.drain())
            await until(lambda: server._is_draining)
            assert (await ask(port, "/readyz", context)).startswith(b"HTTP/1.1 503 ")
            client.write(b"34")
            assert (await to_end(reader, client)).startswith(b"HTTP/1.1 200 ")
            await drain

    on_loop(main())


def test_a_port_in_use_is_named(authority: Authority) -> None:
    async def main() -> None:
        settings = settings_of(authority)
        async with monitored(settings) as (_, port):
            assert settings.monitor is not None
            taken = replace(settings.monitor, endpoint=replace(LOOPBACK, port=port))
            with pytest.raises(ServeError, match=rf"{port} .*another --monitor-port$"):
                async with monitored(replace(settings, monitor=taken)):
                    pass

    on_loop(main())


def test_the_end_of_the_certificate_is_a_metric(authority: Authority) -> None:
    async def main() -> None:
        async with monitored(settings_of(authority)) as (_, port):
            answer = await ask(port, "/metrics", scraper(authority, authority.client("prometheus")))
            (line,) = [line for line in answer.decode().splitlines() if line.startswith("sealgate_certificate_exp")]
            left_s = float(line.split()[1]) - time.time()
            assert 23 * 3600 < left_s < 25 * 3600

    on_loop(main())


def test_nobody_is_let_in_without_an_authority() -> None:
    with pytest.raises(AssertionError):
        Monitor(LOOPBACK, Certificate(Path(os.devnull), Path(os.devnull)))
