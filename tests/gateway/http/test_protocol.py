import asyncio
import gc
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from starlette.types import Receive, Scope, Send

from gateway.http.protocol import EdgeLimits, S3Protocol
from gateway.http.tls import Certificate
from gateway.operations.context import BodyUse
from tests.gateway.http.asgi import make_gateway, operation, read_and_answer, signed_headers
from tests.gateway.http.edge import LARGE_BYTES, PATIENCE_S, Application, Running, on_loop, serving, to_end, until

HEAD = b"PUT /k HTTP/1.1\r\nHost: h\r\n"
GET = b"GET / HTTP/1.1\r\nHost: h\r\n"
LARGE = "RequestHeaderSectionTooLarge"
LENGTH = b"Content-Length: 3\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"

# HOSTILE.md H39, H41, H42, H48, H58, and what else two parsers could read in two ways.
REFUSED: dict[str, tuple[bytes, int, str]] = {
    "length and chunked": (HEAD + LENGTH + CHUNKED + b"\r\n0\r\n\r\n", 400, "BadRequest"),
    "chunked and length": (HEAD + CHUNKED + LENGTH + b"\r\n0\r\n\r\n", 400, "BadRequest"),
    "two lengths": (HEAD + LENGTH + LENGTH + b"\r\nabc", 400, "BadRequest"),
    "two different lengths": (HEAD + LENGTH + b"Content-Length: 4\r\n\r\nabc", 400, "BadRequest"),
    "length +5": (HEAD + b"Content-Length: +5\r\n\r\nabcde", 400, "BadRequest"),
    "length -1": (HEAD + b"Content-Length: -1\r\n\r\n", 400, "BadRequest"),
    "length 5,5": (HEAD + b"Content-Length: 5,5\r\n\r\nabcde", 400, "BadRequest"),
    "length 0x5": (HEAD + b"Content-Length: 0x5\r\n\r\nabcde", 400, "BadRequest"),
    "empty length": (HEAD + b"Content-Length:\r\n\r\n", 400, "BadRequest"),
    "huge length": (HEAD + b"Content-Length: 99999999999999999999999\r\n\r\n", 400, "BadRequest"),
    "xchunked": (HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400, "BadRequest"),
    "gzip, chunked": (HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400, "BadRequest"),
    "identity": (HEAD + b"Transfer-Encoding: identity\r\n\r\nabc", 400, "BadRequest"),
    "chunked twice": (HEAD + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n", 400, "BadRequest"),
    "chunked in 1.0": (b"PUT /k HTTP/1.0\r\nHost: h\r\n" + CHUNKED + b"\r\n0\r\n\r\n", 400, "BadRequest"),
    "wrong end of a chunk": (HEAD + CHUNKED + b"\r\n3\r\nabcX\r\n0\r\n\r\n", 400, "BadRequest"),
    "chunk of no size": (HEAD + CHUNKED + b"\r\n\r\nabc\r\n0\r\n\r\n", 400, "BadRequest"),
    "trailer fields": (HEAD + CHUNKED + b"\r\n0\r\nAuthorization: x\r\n\r\n", 400, "BadRequest"),
    "blank before colon": (b"PUT /k HTTP/1.1\r\nHost : h\r\n\r\n", 400, "BadRequest"),
    "folded header": (HEAD + b"X-A: a\r\n b\r\n\r\n", 400, "BadRequest"),
    "bare line feed": (b"PUT /k HTTP/1.1\r\nHost: h\nX-A: a\r\n\r\n", 400, "BadRequest"),
    "bare carriage return": (HEAD + b"X-A: a\rb\r\n\r\n", 400, "BadRequest"),
    "NUL in a value": (HEAD + b"X-A: a\0b\r\n\r\n", 400, "BadRequest"),
    "SOH in a value": (HEAD + b"X-A: a\x01b\r\n\r\n", 400, "BadRequest"),
    "DEL in a value": (HEAD + b"X-A: a\x7fb\r\n\r\n", 400, "BadRequest"),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400, "BadRequest"),
    "no host in 1.0": (b"GET / HTTP/1.0\r\n\r\n", 400, "BadRequest"),
    "two hosts": (GET + b"Host: h\r\n\r\n", 400, "BadRequest"),
    "empty host": (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400, "BadRequest"),
    "host with a path": (b"GET / HTTP/1.1\r\nHost: a/b?c#\r\n\r\n", 400, "BadRequest"),
    "host with a user": (b"GET / HTTP/1.1\r\nHost: u@h\r\n\r\n", 400, "BadRequest"),
    "two authorizations": (GET + b"Authorization: a\r\nAuthorization: a\r\n\r\n", 400, "BadRequest"),
    "two dates": (GET + b"X-Amz-Date: a\r\nX-Amz-Date: b\r\n\r\n", 400, "BadRequest"),
    "absolute form": (b"GET http://evil/x HTTP/1.1\r\nHost: h\r\n\r\n", 400, "BadRequest"),
    "absolute form of ours": (b"GET https://h/x HTTP/1.1\r\nHost: h\r\n\r\n", 400, "BadRequest"),
    "asterisk form": (b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", 400, "BadRequest"),
    "fragment": (b"GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n", 400, "BadRequest"),
    "raw byte in the path": (b"GET /\xc3\xa9 HTTP/1.1\r\nHost: h\r\n\r\n", 400, "BadRequest"),
    "upgrade": (GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 400, "BadRequest"),
    "version 2.0": (b"GET / HTTP/2.0\r\nHost: h\r\n\r\n", 400, "BadRequest"),
    "version 0.9": (b"GET /\r\n\r\n", 400, "BadRequest"),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "BadRequest"),
    "garbage": (b"\x16\x03\x01\r\n\r\n", 405, "MethodNotAllowed"),
    "TRACE": (b"TRACE / HTTP/1.1\r\nHost: h\r\n\r\n", 405, "MethodNotAllowed"),
    "CONNECT": (b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n", 405, "MethodNotAllowed"),
    "PROPFIND": (b"PROPFIND / HTTP/1.1\r\nHost: h\r\n\r\n", 405, "MethodNotAllowed"),
    "FOO": (b"FOO / HTTP/1.1\r\nHost: h\r\n\r\n", 405, "MethodNotAllowed"),
    "large header": (GET + b"X-A: " + b"a" * 17000 + b"\r\n\r\n", 400, LARGE),
    "many headers": (GET + b"X-A: a\r\n" * 3000 + b"\r\n", 400, LARGE),
    "one header too many": (GET + b"a:\r\n" * 512 + b"\r\n", 400, LARGE),
    "long target": (b"GET /" + b"a" * 17000 + b" HTTP/1.1\r\nHost: h\r\n\r\n", 400, LARGE),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_ambiguous_or_oversized_heads_are_refused_and_closed(name: str, certificate: Certificate) -> None:
    request, status, code = REFUSED[name]

    async def main() -> None:
        app = Application()
        async with serving(app, certificate) as running:
            answer = await running.say(request + b"GET / HTTP/1.1\r\nHost: smuggled\r\n\r\n")
            head, _, body = answer.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 %d " % status), answer[:200]
            assert b"<Code>%s</Code>" % code.encode() in body
            assert b"\r\nconnection: close\r\n" in head + b"\r\n"
            assert b"\r\nserver: Sealgate\r\n" in head
            assert answer.count(b"HTTP/1.1 ") == 1
            assert "GET" not in app.calls

    on_loop(main())


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nHost: h:443\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: [::1]:443\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: h\r\n\r\n",
        b"GET /?a=b%20c+d&e HTTP/1.1\r\nhost:\th \r\nConnection: close\r\n\r\n",
        b"PUT / HTTP/1.1\r\nHost: h\r\nExpect: 200\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n" + b"a:\r\n" * 510 + b"\r\n",
        b"PUT / HTTP/1.0\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n",
        b"PUT / HTTP/1.1\r\nHost: h\r\nExpect:\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        b"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\nConnection: close\r\n\r\n0;a=b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nX-Name: caf\xe9\r\nX-Name: twice\r\nConnection: close\r\n\r\n",
    ],
)
def test_honest_heads_are_served(request_bytes: bytes, certificate: Certificate) -> None:
    async def main() -> None:
        async with serving(Application(), certificate) as running:
            for sent in ([request_bytes], [request_bytes[at : at + 1] for at in range(len(request_bytes))]):
                answer = await running.say(*sent)
                assert answer.startswith(b"HTTP/1.1 200 "), answer
                assert answer.endswith(b"\r\n\r\n0")

    on_loop(main())


def test_a_head_that_never_ends_is_refused_at_the_limit(certificate: Certificate) -> None:
    async def main() -> None:
        async with serving(Application(), certificate) as running:
            pieces = [b"GET / HTTP/1.1\r\nHost: h\r\nX-A: "] + [b"a" * 2000] * 200
            answer = await running.say(*pieces)
            assert b"RequestHeaderSectionTooLarge" in answer

    on_loop(main())


@pytest.mark.parametrize("line", [b"3;a=" + b"x" * 1_000_000, b"0" * 1_000_000 + b"3"], ids=["extension", "zeros"])
def test_a_body_that_is_all_framing_is_refused_at_the_limit(line: bytes, certificate: Certificate) -> None:
    async def main() -> None:
        async with serving(Application(), certificate) as running:
            answer = await running.say(HEAD + CHUNKED + b"\r\n" + line + b"\r\nabc\r\n0\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 400 "), answer[:200]
            assert b"chunk" in answer

    on_loop(main())


def test_a_connection_serves_requests_one_after_the_other(certificate: Certificate) -> None:
    async def main() -> None:
        async with serving(Application(), certificate) as running:
            reader, writer = await running.connect()
            for size in (0, 5, 100_000):
                writer.write(b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
                async with asyncio.timeout(PATIENCE_S):
                    answer = await reader.readuntil(b"\r\n\r\n")
                    assert answer.startswith(b"HTTP/1.1 200 ")
                    assert await reader.readexactly(len(str(size))) == str(size).encode()
            writer.transport.abort()

    on_loop(main())


def test_a_request_that_does_not_wait_is_dropped_with_the_connection(certificate: Certificate) -> None:
    async def main() -> None:
        app = Application()
        async with serving(app, certificate) as running:
            one = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
            answer = await running.say(one + one.replace(b"GET", b"PUT"))
            assert answer.count(b"HTTP/1.1 200") == 1
            assert b"connection: close" in answer
            assert app.calls == ["GET"]

    on_loop(main())


def test_an_early_answer_reaches_a_client_that_is_still_sending(certificate: Certificate) -> None:
    async def main() -> None:
        async with serving(Application(), certificate) as running:
            reader, writer = await running.connect()
            writer.write(b"PUT /early HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n" + bytes(3_000_000))
            assert (await to_end(reader, writer)).startswith(b"HTTP/1.1 200 ")

    on_loop(main())


def test_a_cut_response_has_no_clean_end(certificate: Certificate) -> None:
    async def main() -> None:
        async with serving(Application(), certificate) as running:
            answer = await running.say(b"GET /cut HTTP/1.1\r\nHost: h\r\n\r\n")
            assert b"content-length: 100\r\n" in answer or answer == b""
            assert len(answer.partition(b"\r\n\r\n")[2]) <= 50

    on_loop(main())


async def _expect(running: Running, headers: list[tuple[bytes, bytes]]) -> bytes:
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    reader, writer = await running.connect()
    writer.write(b"PUT /box/k HTTP/1.1\r\n" + lines + b"Content-Length: 4\r\nExpect: 100-continue\r\n\r\n")
    async with asyncio.timeout(PATIENCE_S):
        first = await reader.readuntil(b"\r\n\r\n")
    if first.startswith(b"HTTP/1.1 100"):
        writer.write(b"data")
        async with asyncio.timeout(PATIENCE_S):
            first += await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()
        return first
    return first + await to_end(reader, writer)


def test_expect_is_refused_without_100_and_granted_with_it(certificate: Certificate) -> None:
    async def main() -> None:
        gateway = make_gateway(operation("PutObject", read_and_answer, body=BodyUse.STREAM))
        async with serving(gateway.app, certificate) as running:
            good = signed_headers("PUT", "/box/k", None)
            bad = [(name, value.replace(b"Signature=", b"Signature=0")) for name, value in good]
            refused = await _expect(running, bad)
            assert refused.startswith(b"HTTP/1.1 403 ")
            assert b"connection: close" in refused
            granted = await _expect(running, good)
            assert granted.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ")

    on_loop(main())


def test_nobody_of_http_1_0_is_told_to_go_on(certificate: Certificate) -> None:
    async def main() -> None:
        async with serving(Application(), certificate) as running:
            answer = await running.say(
                b"PUT / HTTP/1.0\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc"
            )
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert answer.endswith(b"\r\n\r\n3")

    on_loop(main())


@pytest.mark.parametrize("size", [0, 5, 100_000])
def test_a_small_answer_is_one_record(size: int, certificate: Certificate) -> None:
    """Head and body of a small answer cost one write and one packet; a large body is not copied behind its head."""
    body = bytes(size)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await Application()(scope, receive, send)
            return
        start = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % size)]}
        await send(start)
        await send({"type": "http.response.body", "body": body})

    async def main() -> None:
        async with serving(app, certificate) as running:
            for method in (b"GET", b"HEAD"):
                wire = _Records()
                answer = await wire.ask(running, method + b" / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
                head, _, got = answer.partition(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200 ")
                assert got == (b"" if method == b"HEAD" else body)
                assert wire.pieces[0] == (answer if len(got) <= 16384 else head + b"\r\n\r\n")

    on_loop(main())


class _Records:
    """A client that notes what each record of TLS holds."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    async def ask(self, running: Running, request: bytes) -> bytes:
        def conversation() -> None:
            with (
                socket.create_connection(("127.0.0.1", running.bound.https.port), timeout=PATIENCE_S) as raw,
                running.client.wrap_socket(raw, server_hostname="localhost", suppress_ragged_eofs=True) as secure,
            ):
                secure.sendall(request)
                while piece := secure.recv(65536):  # never more than one record
                    self.pieces.append(piece)

        await asyncio.to_thread(conversation)
        return b"".join(self.pieces)


def test_a_late_head_closes_the_connection(certificate: Certificate) -> None:
    async def main() -> None:
        app = Application()
        async with serving(app, certificate, EdgeLimits(head_timeout_s=1.0, linger_s=0.3)) as running:
            assert await running.say() == b""
            assert await running.say(b"GET / HTTP/1.1\r\nHost: h\r\nX-") == b""
            reader, writer = await running.connect()
            writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\nGET / HT")
            assert (await to_end(reader, writer)).count(b"HTTP/1.1") == 1
            assert app.calls == ["GET"]

    on_loop(main())


def test_a_stalled_body_is_a_request_timeout(certificate: Certificate) -> None:
    async def main() -> None:
        app = Application()
        async with serving(app, certificate, EdgeLimits(body_timeout_s=0.3, linger_s=0.3)) as running:
            answer = await running.say(HEAD + b"Content-Length: 100000\r\n\r\nabc")
            assert answer.startswith(b"HTTP/1.1 400 ")
            assert b"<Code>RequestTimeout</Code>" in answer
            async with asyncio.timeout(PATIENCE_S):
                await app.ended.wait()

    on_loop(main())


async def busy(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that has other things to do before it asks for the body."""
    if scope["type"] == "http":
        await asyncio.sleep(3.0)
    await Application()(scope, receive, send)


def test_a_few_bytes_that_lie_unread_do_not_excuse_a_stalled_body(certificate: Certificate) -> None:
    async def main() -> None:
        async with serving(busy, certificate, EdgeLimits(body_timeout_s=0.5, linger_s=0.3)) as running:
            began = asyncio.get_running_loop().time()
            answer = await running.say(HEAD + b"Content-Length: 100000\r\n\r\nabc")
            assert b"<Code>RequestTimeout</Code>" in answer
            assert asyncio.get_running_loop().time() - began < 2.5

    on_loop(main())


def test_a_client_that_was_held_back_is_not_late(certificate: Certificate) -> None:
    """What the gateway did not read in time is not the client's fault."""
    size = 4 * 1024 * 1024

    async def main() -> None:
        async with serving(busy, certificate, EdgeLimits(body_timeout_s=0.5, linger_s=0.3)) as running:
            answer = await running.say(HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % size, bytes(size))
            assert answer.startswith(b"HTTP/1.1 200 ")

    on_loop(main())


def test_a_body_that_waits_for_100_continue_is_not_late(certificate: Certificate) -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await asyncio.sleep(2.5)  # several windows, in which nobody asks for the body
        await Application()(scope, receive, send)

    async def main() -> None:
        async with serving(slow, certificate, EdgeLimits(body_timeout_s=1.0, linger_s=0.3)) as running:
            reader, writer = await running.connect()
            writer.write(HEAD + b"Content-Length: 3\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
            async with asyncio.timeout(PATIENCE_S):
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
            writer.write(b"abc")
            assert (await to_end(reader, writer)).startswith(b"HTTP/1.1 200 ")

    on_loop(main())


def test_a_client_that_reads_nothing_is_cut_off(certificate: Certificate) -> None:
    async def main() -> None:
        app = Application()
        async with serving(app, certificate, EdgeLimits(write_timeout_s=0.3, drain_timeout_s=5)) as running:
            _, writer = await running.connect()
            writer.transport.pause_reading()  # type: ignore[attr-defined]  # of every real transport
            writer.write(b"GET /endless HTTP/1.1\r\nHost: h\r\n\r\n")
            async with asyncio.timeout(PATIENCE_S):
                while not app.calls or running.server.connection_count:  # noqa: ASYNC110 - no event tells it
                    await asyncio.sleep(0.01)
            app.is_stopping = True
            writer.transport.abort()

    on_loop(main())


async def slowly(reader: asyncio.StreamReader) -> bytes:
    """Read an answer to its end, but not before the server has long finished with it."""
    await asyncio.sleep(1.0)
    return await reader.read()


@pytest.mark.parametrize("ends", ["by the client's wish", "by a drain"])
def test_whoever_reads_slowly_gets_all_before_the_connection_ends(certificate: Certificate, ends: str) -> None:
    close = b"Connection: close\r\n" if ends == "by the client's wish" else b""

    async def main() -> None:
        limits = EdgeLimits(linger_s=0.1, drain_timeout_s=PATIENCE_S)
        async with serving(Application(), certificate, limits) as running:
            reader, writer = await running.connect_narrowly()
            writer.write(b"GET /large HTTP/1.1\r\nHost: h\r\n" + close + b"\r\n")
            await reader.readuntil(b"\r\n\r\n")
            reading = asyncio.create_task(slowly(reader))
            if not close:
                await running.server.drain()
            assert len(await reading) == LARGE_BYTES
            writer.transport.abort()

    on_loop(main())


def test_whoever_reads_nothing_of_a_closed_connection_is_cut(certificate: Certificate) -> None:
    async def main() -> None:
        async with serving(Application(), certificate, EdgeLimits(linger_s=0.1, write_timeout_s=0.5)) as running:
            reader, writer = await running.connect_narrowly()
            writer.write(b"GET /large HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            await until(lambda: not running.server.connection_count)
            writer.transport.abort()

    on_loop(main())


def test_an_idle_connection_is_closed(certificate: Certificate) -> None:
    async def main() -> None:
        async with serving(Application(), certificate, EdgeLimits(idle_timeout_s=1.0, linger_s=0.3)) as running:
            answer = await running.say(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200 ")

    on_loop(main())


def living() -> list[object]:
    return [one for one in gc.get_objects() if type(one) is S3Protocol]


@contextmanager
def without_the_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("request_bytes", "is_reset"),
    [
        (b"", True),
        (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", True),
        (b"GET /endless HTTP/1.1\r\nHost: h\r\n\r\n", True),
        (HEAD + b"Content-Length: 100000\r\n\r\nabc", True),
        (b"no HTTP\r\n\r\n", True),
    ],
    ids=["silent", "idle, closed", "idle, reset", "in an answer", "in a body", "refused"],
)
def test_a_connection_that_is_over_leaves_no_memory_to_the_collector(
    request_bytes: bytes, is_reset: bool, certificate: Certificate
) -> None:
    """What was written ahead of a client, up to 1 MiB, goes with its connection and waits for no collection."""

    async def main() -> None:
        app = Application()
        async with serving(app, certificate) as running:
            reader, writer = await running.connect_narrowly()
            await until(lambda: running.server.connection_count == 1)
            assert len(living()) == 1
            writer.write(request_bytes)
            if request_bytes.startswith(b"GET"):
                await reader.readuntil(b"\r\n\r\n")
            elif request_bytes.startswith(b"PUT"):
                await until(lambda: bool(app.calls))
            if is_reset:
                writer.transport.abort()
            else:
                writer.close()
            await until(lambda: running.server.connection_count == 0)
            app.is_stopping = True
            await until(lambda: not living())

    with without_the_collector():
        on_loop(main())


def test_a_handshake_that_fails_leaves_no_memory_to_the_collector(certificate: Certificate) -> None:
    async def main() -> None:
        async with serving(Application(), certificate) as running:
            port = running.bound.https.port
            _, silent = await asyncio.open_connection("127.0.0.1", port)
            await until(lambda: bool(living()))
            silent.transport.abort()
            _, garbled = await asyncio.open_connection("127.0.0.1", port)
            garbled.write(b"GET / HTTP/1.1\r\n\r\n")
            await until(lambda: running.server.handshake_count == 0)
            await until(lambda: not living())
            garbled.transport.abort()

    with without_the_collector():
        on_loop(main())
