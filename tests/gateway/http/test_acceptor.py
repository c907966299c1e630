import asyncio
import contextlib
import os
import resource
import socket
import ssl
from collections.abc import Iterator

import pytest

from gateway.errors import ServeError
from gateway.http.acceptor import network_of
from gateway.http.protocol import EdgeLimits
from gateway.http.tls import Certificate
from tests.gateway.http.edge import PATIENCE_S, Application, Running, on_loop, serving, to_end, until

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


async def from_address(running: Running, address: str) -> socket.socket:
    """Connect from an address of loopback, and say nothing."""
    raw = socket.socket()
    raw.setblocking(False)
    raw.bind((address, 0))
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", running.bound.https.port))
    return raw


async def is_open(raw: socket.socket) -> bool:
    await asyncio.sleep(0.05)
    try:
        return bool(raw.recv(1))
    except BlockingIOError:
        return True
    except OSError:
        return False


async def answers(running: Running) -> bool:
    """Whether a good client is let in and answered."""
    reader, writer = await running.connect()
    writer.write(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    return (await to_end(reader, writer)).startswith(b"HTTP/1.1 200 ")


def turned_away(running: Running, which: str) -> float:
    return running.registry.get_sample_value("sealgate_connections_turned_away_total", {"which": which}) or 0.0


def test_where_all_places_are_taken_the_longest_idle_makes_room(certificate: Certificate) -> None:
    async def main() -> None:
        async with serving(Application(), certificate, EdgeLimits(max_connections=3, linger_s=0.3)) as running:
            held = [await running.connect() for _ in range(3)]
            for reader, writer in (*held, held[0]):
                writer.write(GET)
                await reader.readuntil(b"\r\n\r\n0")
                await asyncio.sleep(0.1)  # until the kernels have agreed that the answer arrived
            assert await answers(running)
            assert await to_end(*held[1]) == b"", "the first came last to wait"
            for reader, writer in (held[0], held[2]):
                writer.write(GET)
                await reader.readuntil(b"\r\n\r\n0")
                writer.transport.abort()
            assert turned_away(running, "waiting") == 1

    on_loop(main())


def test_whoever_is_being_answered_is_never_cut_for_a_newcomer(certificate: Certificate) -> None:
    async def main() -> None:
        async with serving(Application(), certificate, EdgeLimits(max_connections=2, linger_s=0.3)) as running:
            busy = [await running.connect() for _ in range(2)]
            for _, writer in busy:
                writer.write(b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na")
            await until(lambda: running.server.waiting_count == 0)
            with pytest.raises((ConnectionError, ssl.SSLError)):
                await running.connect()
            assert turned_away(running, "at-once") == 1
            for reader, writer in busy:
                writer.write(b"bc")
                assert (await reader.readuntil(b"\r\n\r\n3")).startswith(b"HTTP/1.1 200 ")
                writer.transport.abort()

    on_loop(main())


def test_a_crowd_of_silent_clients_gives_way_before_a_lonely_one(certificate: Certificate) -> None:
    async def main() -> None:
        limits = EdgeLimits(max_connections=8, linger_s=0.3)
        async with serving(Application(), certificate, limits) as running:
            lonely = await from_address(running, "127.0.0.2")
            crowd = [await from_address(running, "127.0.0.3") for _ in range(7)]
            await until(lambda: running.server.handshake_count == 8)
            await asyncio.sleep(1.1)
            assert await answers(running)
            assert await is_open(lonely), "though it waits longest"
            assert [await is_open(one) for one in crowd].count(False) == 1
            assert turned_away(running, "handshake") == 1
            for one in (lonely, *crowd):
                one.close()

    on_loop(main())


def test_handshakes_have_a_limit_of_their_own_and_newcomers_wait_for_a_place(certificate: Certificate) -> None:
    async def main() -> None:
        limits = EdgeLimits(max_handshakes=4, linger_s=0.3)
        async with serving(Application(), certificate, limits) as running:
            silent = [await from_address(running, "127.0.0.2") for _ in range(12)]
            await asyncio.sleep(0.3)
            assert running.server.handshake_count == 4, "the others wait in the queue of the kernel"
            assert await answers(running), "stalled handshakes make room after a second"
            for one in silent:
                one.close()

    on_loop(main())


def test_a_handshake_that_fails_leaves_nothing(certificate: Certificate) -> None:
    async def main() -> None:
        async with serving(Application(), certificate, EdgeLimits(head_timeout_s=0.5, linger_s=0.3)) as running:
            wrong = [await from_address(running, "127.0.0.1") for _ in range(3)]
            await until(lambda: running.server.handshake_count == 3)
            wrong[0].close()
            wrong[1].send(b"GET / HTTP/1.1\r\n\r\n")
            await until(lambda: running.server.handshake_count == 0)
            assert not await is_open(wrong[2]), "the deadline of a head is that of a handshake"
            assert await answers(running)
            await until(lambda: running.server.connection_count == 0)
            for one in wrong:
                one.close()

    on_loop(main())


@contextlib.contextmanager
def no_file_more() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_no_file_left_is_no_end_of_accepting(certificate: Certificate) -> None:
    """Where the limit on files is reached all the same, the listener rests, makes room, and goes on."""

    async def main() -> None:
        async with serving(Application(), certificate, EdgeLimits(linger_s=0.3)) as running:
            idle = [await running.connect() for _ in range(3)]
            await asyncio.sleep(0.2)
            newcomer = socket.socket()
            newcomer.setblocking(False)
            with no_file_more():
                await asyncio.get_running_loop().sock_connect(newcomer, ("127.0.0.1", running.bound.https.port))
                await until(lambda: turned_away(running, "no-file") > 0)
            await until(lambda: turned_away(running, "waiting") > 0)
            assert await answers(running)
            newcomer.close()
            for _, writer in idle:
                writer.transport.abort()

    on_loop(main())


def test_too_few_files_are_one_clear_error(certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.http.server.room_for_connections", lambda wanted, beside: wanted - beside - 10_000)

    async def main() -> None:
        with pytest.raises(ServeError, match=r"too few open files.*ulimit -n.*lower max_requests"):
            async with serving(Application(), certificate):
                pass

    on_loop(main())


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
    ],
)
def test_one_client_is_an_address_or_a_site(address: str, network: str) -> None:
    assert network_of(address) == network


def test_nobody_waits_for_ever_behind_a_crowd(certificate: Certificate) -> None:
    """Many more than there is room for, and each is let in sooner or later."""

    async def main() -> None:
        limits = EdgeLimits(max_connections=16, max_handshakes=4, linger_s=0.3)
        async with serving(Application(), certificate, limits) as running:
            async with asyncio.timeout(PATIENCE_S):
                told = await asyncio.gather(*(answers(running) for _ in range(60)), return_exceptions=True)
            assert told.count(True) >= 40

    on_loop(main())
