"""Framing, smuggling, deadlines, TLS and the other listeners: H39 to H48 and H108 to H116 of the hostile inputs."""

import http.client
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest

from tests.hostile.signing import Shot
from tests.hostile.stage import TIMEOUT_S, Row, Stage, is_refusal, read_answer

KEEP: Final = "/alice-1/keep"
NEW: Final = "/alice-1/new"
BAD: Final = "BadRequest"
DEADLINE_S: Final = 3
"""What the suite's settings allow for a head, a stalled body and an idle connection."""
SLACK_S: Final = 6

Make = Callable[[Stage], bytes]


def framed(*lines: bytes, body: bytes = b"x") -> Make:
    """A PUT whose framing headers are these lines; it is signed, so that only its framing can be at fault."""

    def make(stage: Stage) -> bytes:
        shot = stage.alice.header("PUT", NEW, payload="UNSIGNED-PAYLOAD", framed=False)
        return shot.head().removesuffix(b"\r\n") + b"".join(lines) + b"\r\n" + body

    return make


def line(raw: bytes) -> Make:
    """A GET with one more header line, as it stands."""

    def make(stage: Stage) -> bytes:
        return stage.alice.header("GET", KEEP).head().removesuffix(b"\r\n") + raw + b"\r\n"

    return make


def edited(change: Callable[[bytes], bytes]) -> Make:
    return lambda s: change(s.alice.header("GET", KEEP).head())


CL: Final = b"Content-Length: "
TE: Final = b"Transfer-Encoding: "
CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"
ZERO: Final = b"0\r\n\r\n"
SMUGGLED: Final = b"DELETE /alice-1/keep HTTP/1.1\r\nHost: h\r\n\r\n"

FRAMING: Final[dict[str, tuple[Make, int, str]]] = {
    "H39-length-and-chunked": (framed(CL + b"1\r\n", CHUNKED, body=ZERO), 400, BAD),
    "H39-chunked-and-length": (framed(CHUNKED, CL + b"1\r\n", body=ZERO), 400, BAD),
    "H39-chunked-and-length-zero": (framed(CL + b"0\r\n", CHUNKED, body=ZERO + SMUGGLED), 400, BAD),
    "H39-two-lengths": (framed(CL + b"1\r\n", CL + b"2\r\n"), 400, BAD),
    "H39-same-length-twice": (framed(CL + b"1\r\n", CL + b"1\r\n"), 400, BAD),
    "H39-length-plus": (framed(CL + b"+1\r\n"), 400, BAD),
    "H39-length-negative": (framed(CL + b"-1\r\n"), 400, BAD),
    "H39-length-list": (framed(CL + b"1,1\r\n"), 400, BAD),
    "H39-length-hex": (framed(CL + b"0x1\r\n"), 400, BAD),
    "H39-length-float": (framed(CL + b"1.0\r\n"), 400, BAD),
    "H39-length-empty": (framed(CL + b"\r\n"), 400, BAD),
    "H39-length-abc": (framed(CL + b"abc\r\n"), 400, BAD),
    "H39-length-blank-inside": (framed(CL + b"1 1\r\n"), 400, BAD),
    "H39-length-2-to-the-64": (framed(CL + b"18446744073709551616\r\n"), 400, BAD),
    "H39-length-40-digits": (framed(CL + b"1" * 40 + b"\r\n"), 400, BAD),
    "H39-xchunked": (framed(TE + b"xchunked\r\n", body=ZERO), 400, BAD),
    "H39-identity": (framed(TE + b"identity\r\n", CL + b"1\r\n"), 400, BAD),
    "H39-gzip-chunked": (framed(TE + b"gzip, chunked\r\n", body=ZERO), 400, BAD),
    "H39-chunked-twice": (framed(TE + b"chunked, chunked\r\n", body=ZERO), 400, BAD),
    "H39-chunked-in-two-headers": (framed(CHUNKED, CHUNKED, body=ZERO), 400, BAD),
    "H39-chunked-quoted": (framed(TE + b'"chunked"\r\n', body=ZERO), 400, BAD),
    "H39-chunked-with-parameter": (framed(TE + b"chunked;q=1\r\n", body=ZERO), 400, BAD),
    "H39-chunked-vertical-tab": (framed(TE + b"\x0bchunked\r\n", body=ZERO), 400, BAD),
    "H39-te-blank-before-colon": (framed(b"Transfer-Encoding : chunked\r\n", body=ZERO), 400, BAD),
    "H39-te-in-underscore": (framed(b"Transfer_Encoding: chunked\r\n", body=ZERO), 411, "MissingContentLength"),
    "H39-chunk-size-negative": (framed(CHUNKED, body=b"-1\r\nx\r\n" + ZERO), 400, BAD),
    "H39-chunk-size-0x": (framed(CHUNKED, body=b"0x1\r\nx\r\n" + ZERO), 400, BAD),
    "H39-chunk-size-17-digits": (framed(CHUNKED, body=b"10000000000000001\r\nx\r\n" + ZERO), 400, BAD),
    "H39-chunk-size-blank": (framed(CHUNKED, body=b" 1\r\nx\r\n" + ZERO), 400, BAD),
    "H39-chunk-without-line-end": (framed(CHUNKED, body=b"1\r\nxx" + ZERO), 400, BAD),
    "H39-chunk-bare-line-feed": (framed(CHUNKED, body=b"1\nx\n0\n\n"), 400, BAD),
    "H39-chunk-carriage-return-alone": (framed(CHUNKED, body=b"1\rx\r\n" + ZERO), 400, BAD),
    "H39-chunk-extension-with-line-feed": (framed(CHUNKED, body=b"1;a\nb\r\nx\r\n" + ZERO), 400, BAD),
    "H39-trailer-field": (framed(CHUNKED, body=b"1\r\nx\r\n0\r\nx-amz-acl: public-read\r\n\r\n"), 400, BAD),
    "H39-trailer-length": (framed(CHUNKED, body=b"1\r\nx\r\n0\r\nContent-Length: 5\r\n\r\n"), 400, BAD),
    "H39-blank-before-colon": (line(b"X-A : b\r\n"), 400, BAD),
    "H39-blank-before-name": (line(b" X-A: b\r\n"), 400, BAD),
    "H39-fold": (line(b"X-A: b\r\n c\r\n"), 400, BAD),
    "H39-fold-by-tab": (line(b"X-A: b\r\n\tc\r\n"), 400, BAD),
    "H39-no-colon": (line(b"X-A\r\n"), 400, BAD),
    "H39-empty-name": (line(b": b\r\n"), 400, BAD),
    "H39-name-with-a-slash": (line(b"X/A: b\r\n"), 400, BAD),
    "H39-name-latin-1": (line(b"X-\xe9: b\r\n"), 400, BAD),
    "H39-nul": (line(b"X-A: b\0c\r\n"), 400, BAD),
    "H39-carriage-return": (line(b"X-A: b\rc\r\n"), 400, BAD),
    "H39-line-feed-alone": (line(b"X-A: b\nX-B: c\r\n"), 400, BAD),
    "H39-escape": (line(b"X-A: \x1b[2J\r\n"), 400, BAD),
    "H39-bare-line-feeds": (edited(lambda head: head.replace(b"\r\n", b"\n")), 400, BAD),
    "H39-no-version": (lambda _: b"GET /\r\n\r\n", 400, BAD),
    "H39-version-0.9": (edited(lambda head: head.replace(b"HTTP/1.1", b"HTTP/0.9")), 400, BAD),
    "H39-version-2.0": (edited(lambda head: head.replace(b"HTTP/1.1", b"HTTP/2.0")), 400, BAD),
    "H39-version-1.11": (edited(lambda head: head.replace(b"HTTP/1.1", b"HTTP/1.11")), 400, BAD),
    "H39-lower-case-http": (edited(lambda head: head.replace(b"HTTP/1.1", b"http/1.1")), 400, BAD),
    "H39-version-of-rtsp": (edited(lambda head: head.replace(b"HTTP/1.1", b"RTSP/1.1")), 400, BAD),
    "H39-version-of-ice": (edited(lambda head: head.replace(b"HTTP/1.1", b"ICE/1.1")), 400, BAD),
    "H39-two-blanks-before-version": (edited(lambda head: head.replace(b" HTTP/1.1", b"  HTTP/1.1")), 400, BAD),
    "H39-two-blanks-before-target": (edited(lambda head: head.replace(b"GET ", b"GET  ")), 400, BAD),
    "H39-blank-behind-version": (edited(lambda head: head.replace(b"HTTP/1.1", b"HTTP/1.1 ")), 400, BAD),
    "H39-blank-before-method": (edited(lambda head: b" " + head), 405, "MethodNotAllowed"),
    "H39-blank-in-target": (edited(lambda head: head.replace(b"/keep", b"/ke ep")), 400, BAD),
    "H39-tab-in-target": (edited(lambda head: head.replace(b"/keep", b"/ke\tep")), 400, BAD),
    "H39-nul-in-target": (edited(lambda head: head.replace(b"/keep", b"/ke\0ep")), 400, BAD),
    "H39-http-1.0-chunked": (
        lambda s: framed(CHUNKED, body=ZERO)(s).replace(b"HTTP/1.1", b"HTTP/1.0"), 400, BAD,
    ),
    "H39-http-2-preface": (lambda _: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, BAD),
    "H39-upgrade-h2c": (line(b"Connection: Upgrade\r\nUpgrade: h2c\r\n"), 400, BAD),
    "H39-upgrade-websocket": (line(b"Connection: Upgrade\r\nUpgrade: websocket\r\n"), 400, BAD),
    "H41-no-host": (edited(lambda head: re.sub(rb"Host: [^\r]*\r\n", b"", head)), 400, BAD),
    "H41-empty-host": (edited(lambda head: re.sub(rb"Host: [^\r]*\r\n", b"Host:\r\n", head)), 400, BAD),
    "H41-host-with-path": (edited(lambda head: re.sub(rb"Host: [^\r]*", b"Host: a/b?c#", head)), 400, BAD),
    "H41-host-with-user": (edited(lambda head: re.sub(rb"Host: [^\r]*", b"Host: a@b", head)), 400, BAD),
    "H41-host-list": (edited(lambda head: re.sub(rb"Host: [^\r]*", b"Host: a, b", head)), 400, BAD),
    "H41-host-port-text": (edited(lambda head: re.sub(rb"Host: [^\r]*", b"Host: a:b", head)), 400, BAD),
    "H41-host-300-letters": (edited(lambda head: re.sub(rb"Host: [^\r]*", b"Host: " + b"a" * 300, head)), 400, BAD),
    "H42-head-of-20-kilobytes": (line(b"X-A: " + b"b" * 20_000 + b"\r\n"), 400, "RequestHeaderSectionTooLarge"),
    "H42-5000-headers": (line(b"a: b\r\n" * 5000), 400, "RequestHeaderSectionTooLarge"),
    "H42-target-of-20-kilobytes": (
        lambda _: b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n", 400, "RequestHeaderSectionTooLarge",
    ),
    "H42-name-of-a-megabyte": (
        lambda _: b"GET / HTTP/1.1\r\n" + b"a" * 1_000_000, 400, "RequestHeaderSectionTooLarge",
    ),
    "H48-trace": (lambda s: s.alice.header("TRACE", KEEP).wire(), 405, "MethodNotAllowed"),
    "H48-connect": (lambda _: b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 405, "MethodNotAllowed"),
    "H48-foo": (lambda s: s.alice.header("FOO", KEEP).wire(), 405, "MethodNotAllowed"),
    "H48-patch": (lambda s: s.alice.header("PATCH", KEEP, b"x").wire(), 405, "MethodNotAllowed"),
    "H48-propfind": (lambda s: s.alice.header("PROPFIND", "/").wire(), 405, "MethodNotAllowed"),
    "H48-lower-case-get": (lambda s: s.alice.header("get", KEEP).wire(), 405, "MethodNotAllowed"),
    "H48-tls-in-tls": (lambda _: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64, 405, "MethodNotAllowed"),
}  # fmt: skip


@pytest.mark.parametrize("name", FRAMING)
def test_framing_is_refused_and_the_connection_closed(stage: Stage, name: str) -> None:
    make, status, code = FRAMING[name]
    with stage.connected() as secure:
        secure.sendall(make(stage))
        answer = read_answer(secure)
        is_refusal(answer, status, code)
        assert answer.closes
        assert everything(secure) == b"", "something came behind the refusal"
    stage.unchanged()


def everything(secure: ssl.SSLSocket) -> bytes:
    """All that still comes; a reset is an end as well."""
    got = b""
    try:
        while piece := secure.recv(65_536):
            got += piece
    except ConnectionError:
        pass
    except ssl.SSLEOFError:
        pass
    return got


SMUGGLING: Final[dict[str, Make]] = {
    "behind-a-get": lambda s: s.alice.header("GET", KEEP).wire(),
    "behind-a-put": lambda s: s.alice.header("PUT", KEEP, b"kept").without("Authorization").wire(),
    "behind-a-refusal": lambda s: s.alice.bent(secret="x").header("GET", KEEP).wire(),
    "as-the-body-of-a-refused-put": lambda s: s.alice.bent(secret="x").header("PUT", NEW, SMUGGLED).wire(),
    "as-the-body-of-a-get": lambda s: s.alice.header("GET", KEEP, SMUGGLED).wire(),
    "as-the-body-of-a-delete": lambda s: s.alice.header("DELETE", "/alice-1/absent", SMUGGLED).wire(),
    "as-the-body-of-a-copy": lambda s: s.alice.header(
        "PUT", NEW, SMUGGLED, [("x-amz-copy-source", "/alice-1/absent")]
    ).wire(),
}


@pytest.mark.parametrize("name", SMUGGLING)
def test_a_second_request_in_the_same_breath_is_never_answered(stage: Stage, name: str) -> None:
    """A pipelined DELETE, itself rightly signed, must neither run nor be answered in place of the first."""
    first = SMUGGLING[name](stage)
    second = stage.alice.header("DELETE", KEEP).wire()
    with stage.connected() as secure:
        secure.sendall(first + second)
        read_answer(secure)
        assert everything(secure) == b""
    kept = stage.send(stage.alice.header("GET", KEEP))
    assert (kept.status, kept.body) == (200, b"kept")


def test_requests_one_after_the_other_share_a_connection(stage: Stage) -> None:
    with stage.connected() as secure:
        for _ in range(3):
            secure.sendall(stage.alice.header("GET", KEEP).wire())
            answer = read_answer(secure)
            assert (answer.status, answer.closes) == (200, False)


@pytest.mark.parametrize("who", ["nobody", "wrong-secret", "anothers-bucket", "no-bucket"])
@pytest.mark.parametrize("chunked", [False, True])
def test_h47_refused_before_100_continue(stage: Stage, who: str, chunked: bool) -> None:
    signer, target, status = {
        "nobody": (stage.alice.bent(access_key_id="AKNOBODY"), NEW, 403),
        "wrong-secret": (stage.alice.bent(secret="x"), NEW, 403),
        "anothers-bucket": (stage.mallory, NEW, 403),
        "no-bucket": (stage.alice, "/nobody-has-this/new", 404),
    }[who]
    framing = ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", "1000000")
    headers = [("Expect", "100-continue"), framing]
    shot = signer.header("PUT", target, headers=headers, payload="UNSIGNED-PAYLOAD", framed=False)
    with stage.connected() as secure:
        secure.sendall(shot.head())
        status_line = secure.recv(65_536).split(b"\r\n")[0]
        assert status_line.startswith(b"HTTP/1.1 %d " % status), status_line
    stage.unchanged()


def until_closed(secure: ssl.SSLSocket, drip: bytes, every_s: float = 0.2) -> tuple[float, bytes]:
    """Send `drip` again and again until the server ends it; return how long that took and what it said."""
    started = time.monotonic()
    said = b""
    secure.settimeout(every_s)
    while time.monotonic() - started < DEADLINE_S + SLACK_S:
        try:
            if drip:
                secure.sendall(drip)
            piece = secure.recv(65_536)
        except TimeoutError:
            continue
        except OSError:
            return time.monotonic() - started, said
        if not piece:
            return time.monotonic() - started, said
        said += piece
    raise AssertionError("the connection is still open")


def slow_head(stage: Stage) -> tuple[bytes, bytes, bool]:
    return b"GET / HTTP/1.1\r\nHost: h\r\n", b"X-A: b\r\n", False


def slow_request_line(stage: Stage) -> tuple[bytes, bytes, bool]:
    return b"GET /", b"a", False


def blank_lines(stage: Stage) -> tuple[bytes, bytes, bool]:
    return b"\r\n", b"\r\n", False


def silence(stage: Stage) -> tuple[bytes, bytes, bool]:
    return b"", b"", False


def idle(stage: Stage) -> tuple[bytes, bytes, bool]:
    return stage.alice.header("GET", KEEP).wire(), b"", True


def blank_lines_after_an_answer(stage: Stage) -> tuple[bytes, bytes, bool]:
    return stage.alice.header("GET", KEEP).wire(), b"\r\n", True


def one_blank_line_after_a_refusal(stage: Stage) -> tuple[bytes, bytes, bool]:
    return Shot("GET", "/", [("Host", "h")]).wire(), b"", True


def slow_second_head(stage: Stage) -> tuple[bytes, bytes, bool]:
    return stage.alice.header("GET", KEEP).wire(), b"G", True


SLOW: Final = (
    slow_head, slow_request_line, blank_lines, silence, idle, blank_lines_after_an_answer,
    one_blank_line_after_a_refusal, slow_second_head,
)  # fmt: skip


def test_h108_whoever_dawdles_is_let_go(stage: Stage) -> None:
    """All at once, as each takes some seconds."""

    def dawdle(make: Callable[[Stage], tuple[bytes, bytes, bool]]) -> tuple[str, float]:
        first, drip, is_answered = make(stage)
        with stage.connected() as secure:
            secure.sendall(first)
            if is_answered:
                read_answer(secure)
            if make is one_blank_line_after_a_refusal:
                secure.sendall(b"\r\n")
            return make.__name__, until_closed(secure, drip)[0]

    with ThreadPoolExecutor(len(SLOW)) as pool:
        times = dict(pool.map(dawdle, SLOW))
    assert max(times.values()) < DEADLINE_S + SLACK_S, times
    stage.unchanged()


def slow_bodies(stage: Stage) -> Iterator[tuple[str, bytes, bytes]]:
    who = stage.alice
    plain = who.header("PUT", NEW, payload="UNSIGNED-PAYLOAD", headers=[("Content-Length", "100000")], framed=False)
    yield "plain", plain.head(), b"a"
    chunked = who.header(
        "PUT", NEW, payload="UNSIGNED-PAYLOAD", headers=[("Transfer-Encoding", "chunked")], framed=False
    )
    yield "chunks-of-a-byte", chunked.head(), b"1\r\na\r\n"
    yield "one-endless-chunk-extension", chunked.head() + b"1;", b"a" * 1000
    yield "zeros-of-a-chunk-size", chunked.head(), b"0"
    document = who.header(
        "POST", "/alice-1?delete=", payload="UNSIGNED-PAYLOAD",
        headers=[("Content-Length", "5000"), ("Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg==")], framed=False,
    )  # fmt: skip
    yield "document", document.head(), b"<"
    yield "nothing", plain.head(), b""
    waiting = [("Content-Length", "9"), ("Expect", "100-continue")]
    expecting = who.header("PUT", NEW, payload="UNSIGNED-PAYLOAD", headers=waiting, framed=False)
    yield "nothing-after-100-continue", expecting.head(), b""
    framed_chunk = who.chunked("PUT", NEW, b"", length="100000")
    yield (
        "half-an-aws-chunk",
        framed_chunk.head().replace(b"Content-Length: 0", b"Content-Length: 100100") + b"186a0",
        b"",
    )


def test_h109_a_body_that_dawdles_is_cut_off(stage: Stage) -> None:
    def dawdle(one: tuple[str, bytes, bytes]) -> tuple[str, float, bytes]:
        name, head, drip = one
        with stage.connected() as secure:
            secure.sendall(head)
            took, said = until_closed(secure, drip)
            return name, took, said

    bodies = list(slow_bodies(stage))
    with ThreadPoolExecutor(len(bodies)) as pool:
        for name, _, said in pool.map(dawdle, bodies):
            # Zeros without end are no number for long: the parser may call that a bad request before time is up.
            assert b"<Code>RequestTimeout</Code>" in said or (name.startswith("zeros") and b"400 Bad" in said), (
                name,
                said,
            )
    stage.same_picture()


def test_a_refused_client_that_goes_on_sending_is_cut_off(stage: Stage) -> None:
    shot = stage.alice.bent(secret="x").header(
        "PUT", NEW, payload="UNSIGNED-PAYLOAD", headers=[("Content-Length", str(5 * 1024**3))], framed=False
    )
    with stage.connected() as secure:
        secure.sendall(shot.head())
        took, said = until_closed(secure, b"z" * 65_536, every_s=0.05)
    assert said.startswith(b"HTTP/1.1 403 ")
    assert said.count(b"HTTP/1.1") == 1
    assert took < SLACK_S
    stage.unchanged()


def test_h111_a_client_that_leaves_in_the_middle_leaves_nothing(stage: Stage) -> None:
    body = b"q" * 300_000
    shots = [
        stage.alice.header("PUT", KEEP, body),
        stage.alice.header("PUT", f"/alice-1/alice-upload?partNumber=1&uploadId={stage.ids['alice']}", body),
        stage.alice.signed_chunks("PUT", KEEP, [body]),
    ]
    for shot in shots:
        wire = shot.wire()
        for cut in (len(shot.head()) - 1, len(shot.head()), len(shot.head()) + 1, len(wire) // 2, len(wire) - 1):
            with stage.connected() as secure:
                secure.sendall(wire[:cut])
    stage.same_picture()


def test_h113_a_client_that_stops_reading_holds_up_nobody(stage: Stage) -> None:
    big = stage.alice.header("PUT", "/alice-2/long", b"r" * (16 * 1024 * 1024))
    assert stage.send(big).status == 200
    with stage.connected() as stuck:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.sendall(stage.alice.header("GET", "/alice-2/long").wire())
        stuck.recv(10)
        started = time.monotonic()
        for _ in range(10):
            assert stage.send(stage.alice.header("GET", KEEP)).status == 200
        assert time.monotonic() - started < SLACK_S
    stage.gone(stage.alice, "/alice-2/long")


# Plain HTTP, TLS, admin


def plainly(port: int, wire: bytes) -> bytes:
    got = b""
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as plain:
        try:
            plain.sendall(wire)
            while piece := plain.recv(65_536):
                got += piece
        except ConnectionResetError:
            pass
    return got


@pytest.mark.parametrize("wire", [b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", b"\x00" * 600, b"SSH-2.0-x\r\n"])
def test_h114_plain_http_on_the_tls_port_is_not_answered(stage: Stage, wire: bytes) -> None:
    got = plainly(stage.gateway.port, wire)
    assert b"HTTP" not in got
    assert b"<" not in got


PLAIN: Final[dict[str, Make]] = {
    "signed-get": lambda s: s.alice.header("GET", KEEP).wire(),
    "presigned": lambda s: s.alice.presigned("GET", KEEP).wire(),
    "claims-https": lambda s: s.alice.header("GET", KEEP, headers=[("X-Forwarded-Proto", "https")]).wire(),
    "put": lambda s: s.alice.header("PUT", NEW, b"x").wire(),
    "head": lambda s: s.alice.header("HEAD", KEEP).wire(),
    "garbage": lambda _: b"\0\1\2\r\n\r\n",
    "upgrade": lambda _: b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: TLS/1.0\r\nConnection: Upgrade\r\n\r\n",
    "endless-head": lambda _: b"GET / HTTP/1.1\r\nX: " + b"a" * 1_000_000,
    "two-requests": lambda s: s.alice.header("GET", KEEP).wire() * 2,
    "metrics": lambda _: b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
}


@pytest.mark.parametrize("name", PLAIN)
def test_h114_the_plain_listener_says_no_once_and_never_redirects(stage: Stage, name: str) -> None:
    got = plainly(stage.gateway.http_port, PLAIN[name](stage))
    assert got.startswith(b"HTTP/1.1 403 Forbidden\r\n"), got[:200]
    assert got.count(b"HTTP/1.1") == 1
    assert b"<Code>AccessDenied</Code>" in got
    assert b"location:" not in got.lower()
    assert b"strict-transport-security" not in got.lower()
    assert b"kept" not in got
    stage.unchanged()


def test_h114_silent_clients_do_not_close_the_plain_listener_for_others(stage: Stage) -> None:
    held = [socket.create_connection(("127.0.0.1", stage.gateway.http_port), timeout=TIMEOUT_S) for _ in range(300)]
    try:
        assert stage.send(stage.alice.header("GET", KEEP)).status == 200
    finally:
        for one in held:
            one.close()
    deadline = time.monotonic() + SLACK_S
    while not plainly(stage.gateway.http_port, b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 403"):
        assert time.monotonic() < deadline
        time.sleep(0.05)


WEAK: Final[dict[str, Callable[[ssl.SSLContext], object]]] = {
    "tls-1.0": lambda context: only(context, ssl.TLSVersion.TLSv1),
    "tls-1.1": lambda context: only(context, ssl.TLSVersion.TLSv1_1),
    "rsa-key-exchange": lambda context: with_ciphers(context, "AES128-GCM-SHA256:AES256-SHA"),
    "cbc": lambda context: with_ciphers(context, "ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA"),
    "null": lambda context: with_ciphers(context, "ECDHE-ECDSA-NULL-SHA:NULL-SHA256"),
    "anonymous": lambda context: with_ciphers(context, "AECDH-AES256-SHA:ADH-AES256-GCM-SHA384"),
}


def only(context: ssl.SSLContext, version: ssl.TLSVersion) -> None:
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version


def with_ciphers(context: ssl.SSLContext, names: str) -> None:
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(names + ":@SECLEVEL=0")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")  # the refusal of these is what is shown
@pytest.mark.parametrize("name", WEAK, ids="H115-{}".format)
def test_h115_weak_tls_gets_no_handshake(stage: Stage, name: str) -> None:
    context = stage.gateway.tls_context()
    WEAK[name](context)
    with (
        socket.create_connection(("127.0.0.1", stage.gateway.port), timeout=TIMEOUT_S) as raw,
        pytest.raises((ssl.SSLError, ConnectionResetError)),
    ):
        context.wrap_socket(raw, server_hostname="localhost")


ADMIN: Final = {
    "root": "/",
    "dot-dot": "/healthz/../metrics",
    "two-slashes": "//metrics",
    "slash-behind": "/metrics/",
    "encoded": "/%6detrics",
    "upper-case": "/METRICS",
    "semicolon": "/metrics;x",
    "s3-object": KEEP,
    "s3-list": "/alice-1?list-type=2",
    "debug": "/debug/pprof",
}


@pytest.mark.parametrize("name", ADMIN)
def test_admin_has_three_paths_and_no_other(stage: Stage, name: str) -> None:
    answer = stage.admin(ADMIN[name], stage.alice.header("GET", KEEP).headers)
    assert (answer.status, answer.body) == (404, b"not found\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_admin_is_only_read(stage: Stage, method: str) -> None:
    assert stage.admin("/metrics", [("Host", "localhost")], method).status == 404


def test_metrics_name_nobody(stage: Stage) -> None:
    text = stage.admin("/metrics").body.decode()
    for word in ("alice", "mallory", "keep", stage.alice.access_key_id, stage.mallory.access_key_id):
        assert word not in text


def test_admin_and_s3_are_apart(stage: Stage) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        answer = stage.send(Shot("GET", path, [("Host", stage.alice.host)]))
        is_refusal(answer, 403, "AccessDenied")


# Headers of objects

UNSUPPORTED: Final = {
    "x-amz-acl": "aws-exec-read",
    "x-amz-grant-read": 'emailAddress="a@example.org"',
    "x-amz-website-redirect-location": "/x",
    "x-amz-write-offset-bytes": "0",
}


MD5_OF_X: Final = ("Content-MD5", "ndTkYSaMgDT1yFZOFVxnpg==")
HALF_SAID: Final = {
    "x-amz-server-side-encryption-customer-algorithm": "AES256",
    "x-amz-server-side-encryption-customer-key": "x",
    "x-amz-server-side-encryption-aws-kms-key-id": "k",
    "x-amz-server-side-encryption-context": "e30=",
    "x-amz-object-lock-mode": "COMPLIANCE",
    "x-amz-object-lock-retain-until-date": "2030-01-01T00:00:00Z",
}
"""Headers of encryption and locks that mean nothing alone; to ignore one would store what is not what was asked for."""


def half_said(name: str, value: str) -> Row:
    return Row(lambda s: s.alice.header("PUT", NEW, b"x", [(name, value)]), 400, "InvalidArgument")


def unsupported(name: str, value: str) -> Row:
    return Row(lambda s: s.alice.header("PUT", NEW, b"x", [(name, value)]), 501, "NotImplemented")


HEADERS: Final = {
    "H46-expected-bucket-owner": Row(
        lambda s: s.alice.header("PUT", NEW, b"x", [("x-amz-expected-bucket-owner", "1")]), 403, "AccessDenied"
    ),
    "H46-legal-hold-without-digest": Row(
        lambda s: s.alice.header("PUT", NEW, b"x", [("x-amz-object-lock-legal-hold", "ON")]), 400, "InvalidRequest"
    ),
    "H46-legal-hold-where-nothing-is-locked": Row(
        lambda s: s.alice.header("PUT", NEW, b"x", [("x-amz-object-lock-legal-hold", "ON"), MD5_OF_X]),
        400, "InvalidRequest",
    ),
    "tag-twice": Row(
        lambda s: s.alice.header("PUT", NEW, b"x", [("x-amz-tagging", "a=1&a=2")]), 400, "InvalidArgument"
    ),
    "tags-too-many": Row(
        lambda s: s.alice.header("PUT", NEW, b"x", [("x-amz-tagging", "&".join(f"t{i}=1" for i in range(11)))]),
        400, "BadRequest",
    ),
    "H40-no-length": Row(
        lambda s: s.alice.header("PUT", NEW, payload="UNSIGNED-PAYLOAD", framed=False), 411, "MissingContentLength"
    ),
    "H42-metadata-of-2-kilobytes": Row(
        lambda s: s.alice.header("PUT", NEW, b"x", [("x-amz-meta-a", "b" * 2048)]), 400, "MetadataTooLarge"
    ),
    "H42-metadata-in-many-names": Row(
        lambda s: s.alice.header("PUT", NEW, b"x", [(f"x-amz-meta-{i:04}", "b") for i in range(411)]),
        400, "MetadataTooLarge",
    ),
    "H43-md5-not-base64": Row(
        lambda s: s.alice.header("PUT", NEW, b"x", [("Content-MD5", "!!!")]), 400, "InvalidDigest"
    ),
    "H43-md5-too-short": Row(
        lambda s: s.alice.header("PUT", NEW, b"x", [("Content-MD5", "AAAA")]), 400, "InvalidDigest"
    ),
    "H43-md5-empty": Row(lambda s: s.alice.header("PUT", NEW, b"x", [("Content-MD5", "")]), 400, "InvalidDigest"),
    "H43-md5-in-hex": Row(
        lambda s: s.alice.header("PUT", NEW, b"x", [("Content-MD5", "9dd4e461268c8034f5c8564e155c67a6")]),
        400, "InvalidDigest",
    ),
    "H43-md5-of-another-body": Row(
        lambda s: s.alice.header("PUT", KEEP, b"x", [("Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg==")]), 400, "BadDigest"
    ),
    "H45-sealgate": Row(
        lambda s: s.alice.header("PUT", NEW, b"x", [("x-sealgate-key", "1")]), 400, "InvalidArgument"
    ),
    "H45-minio": Row(
        lambda s: s.alice.header("PUT", NEW, b"x", [("x-minio-source-etag", "1")]), 400, "InvalidArgument"
    ),
    "H45-x-amz-key": Row(lambda s: s.alice.header("PUT", NEW, b"x", [("x-amz-key", "1")]), 400, "InvalidArgument"),
    **{f"H46-{name}": unsupported(name, value) for name, value in UNSUPPORTED.items()},
    **{f"H46-{name}-alone": half_said(name, value) for name, value in HALF_SAID.items()},
    "H46-sse-c-on-read": Row(
        lambda s: s.alice.header("GET", KEEP, b"", [("x-amz-server-side-encryption-customer-algorithm", "AES256")]),
        400, "InvalidArgument",
    ),
    "H46-sse-on-read": Row(
        lambda s: s.alice.header("GET", KEEP, b"", [("x-amz-server-side-encryption", "AES256")]),
        400, "InvalidArgument",
    ),
    "H46-unknown-algorithm": Row(
        lambda s: s.alice.header("PUT", NEW, b"x", [("x-amz-server-side-encryption", "none")]),
        400, "InvalidEncryptionAlgorithmError",
    ),
    "content-length-over-5-gib": Row(
        lambda s: s.alice.header(
            "PUT", NEW, payload="UNSIGNED-PAYLOAD", headers=[("Content-Length", "5368709121")], framed=False
        ), 400, "EntityTooLarge",
    ),
    "content-length-2-to-the-63": Row(
        lambda s: s.alice.header(
            "PUT", NEW, payload="UNSIGNED-PAYLOAD", headers=[("Content-Length", str(2**63))], framed=False
        ), 400, "EntityTooLarge",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADERS)
def test_refused_and_nothing_changed(stage: Stage, name: str) -> None:
    stage.refuses(HEADERS[name])


def test_h45_our_own_names_as_user_metadata_are_plain_user_data(stage: Stage) -> None:
    given = [("x-amz-meta-sealgate-key", "1"), ("x-amz-meta-x-amz-key", "2")]
    assert stage.send(stage.alice.header("PUT", "/alice-2/own", b"x", given)).status == 200
    answer = stage.send(stage.alice.header("GET", "/alice-2/own"))
    assert [(name, answer.headers[name]) for name, _ in given] == given
    stage.gone(stage.alice, "/alice-2/own")


def test_h116_many_at_once_are_answered_or_told_to_slow_down(stage: Stage) -> None:
    codes: list[int] = []
    lock = threading.Lock()

    def one(_: int) -> None:
        status = stage.send(stage.alice.header("GET", KEEP)).status
        with lock:
            codes.append(status)

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(one, range(96)))
    assert set(codes) <= {http.client.OK, http.client.SERVICE_UNAVAILABLE}
    assert codes.count(200) > 0
