"""What an attacker tries who has read the list: races over bucket names, costs, injections, the control socket, noise.

Sources: the spirit of the hostile inputs ("a real attacker sends what is not on it"); RFC 9112 section 11 (smuggling).
"""

import contextlib
import json
import random
import re
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.client import HTTPException
from pathlib import Path
from typing import Final
from urllib.parse import quote, quote_from_bytes

import pytest

from tests.hostile.signing import Shot, unsigned_chunks
from tests.hostile.stage import BIG, NAMED_5XX, TIMEOUT_S, Answer, Row, Stage, cpu, is_refusal, read_answer
from tests.hostile.test_chunked import crc32, resident, trailer

KEEP: Final = "/alice-1/keep"
NEW: Final = "/alice-1/new"
MIB: Final = 1024 * 1024
_LOG_LINE: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00 [A-Z]+ [\w.]+: |    \S")


# Names that change hands


def test_a_bucket_that_changes_hands_in_the_middle_of_a_put_gets_nothing(stage: Stage) -> None:
    """The writer was admitted to his own bucket; when his body ends, the name belongs to somebody else."""
    name = "/changes-hands"
    assert stage.send(stage.alice.header("PUT", name)).status == 200
    shot = stage.alice.header("PUT", f"{name}/secret", BIG)
    with stage.connected() as secure:
        secure.sendall(shot.wire()[:-1])
        time.sleep(0.3)
        assert stage.send(stage.alice.header("DELETE", name)).status == 204
        assert stage.send(stage.mallory.header("PUT", name)).status == 200
        secure.sendall(shot.wire()[-1:])
        is_refusal(read_answer(secure), 404, "NoSuchBucket")
    listed = stage.send(stage.mallory.header("GET", f"{name}?list-type=2"))
    assert listed.text("KeyCount") == "0"
    is_refusal(stage.send(stage.mallory.header("GET", f"{name}/secret")), 404, "NoSuchKey")
    stage.gone(stage.mallory, name)


def test_an_upload_does_not_outlive_its_bucket(stage: Stage) -> None:
    name = "/uploads-change-hands"
    assert stage.send(stage.alice.header("PUT", name)).status == 200
    upload = stage.send(stage.alice.header("POST", f"{name}/k?uploads=")).text("UploadId")
    part = stage.alice.header("PUT", f"{name}/k?partNumber=1&uploadId={upload}", BIG)
    assert stage.send(part).status == 200
    deleted = stage.send(stage.alice.header("DELETE", name))
    if deleted.status == 204:
        assert stage.send(stage.mallory.header("PUT", name)).status == 200
        target = f"{name}/k?uploadId={upload}"
        is_refusal(stage.send(stage.mallory.header("GET", target)), 404, "NoSuchUpload")
        is_refusal(stage.send(stage.mallory.header("DELETE", target)), 404, "NoSuchUpload")
        stage.gone(stage.mallory, name)
    else:
        is_refusal(deleted, 409, "BucketNotEmpty")
        stage.gone(stage.alice, f"{name}/k?uploadId={upload}", name)


def test_one_name_has_one_owner(stage: Stage) -> None:
    def create(number: int) -> int:
        who = stage.alice if number % 2 else stage.mallory
        return stage.send(who.header("PUT", "/wanted-by-two")).status

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(create, range(16)))
    assert outcomes.count(200) == 1
    assert set(outcomes) <= {200, 409}
    owners = [
        who for who in (stage.alice, stage.mallory) if stage.send(who.header("HEAD", "/wanted-by-two")).status == 200
    ]
    assert len(owners) == 1
    stage.gone(owners[0], "/wanted-by-two")


# Injections


MARKUP: Final = '</Key></Error><script>alert("&")</script><!--'


def test_markup_in_names_stays_text(stage: Stage) -> None:
    target = f"/alice-2/{quote(MARKUP)}"
    missing = stage.send(stage.alice.header("GET", target))
    is_refusal(missing, 404, "NoSuchKey")
    assert missing.text("Key") == MARKUP
    assert b"<script" not in missing.body
    prefix = stage.send(stage.alice.header("GET", f"/alice-2?prefix={quote(MARKUP, safe='')}"))
    assert prefix.text("Prefix") == MARKUP
    refused = stage.send(Shot("GET", "/%3Cscript%3E?<script>", [("Host", stage.alice.host)]))
    is_refusal(refused, 400, "InvalidBucketName")
    assert b"<script" not in refused.body
    stage.unchanged()


def test_what_is_stored_comes_back_as_one_header_line_and_is_not_sniffed(stage: Stage) -> None:
    given = [
        ("Content-Type", "text/html"),
        ("Content-Disposition", 'inline; filename="a\xe9\xff"'),
        ("Cache-Control", "no-cache"),
        ("x-amz-meta-a", "\xe4 = ?utf-8?q?=0D=0A?="),
        ("x-amz-meta-location", "https://evil.example/"),
        ("x-amz-meta-set-cookie", "a=b"),
    ]
    assert stage.send(stage.alice.header("PUT", "/alice-2/page", b"<script>", given)).status == 200
    answer = stage.send(stage.alice.header("GET", "/alice-2/page"))
    for name, value in given:
        assert answer.headers[name.lower()] == value
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert {"location", "set-cookie"}.isdisjoint(answer.headers)
    stage.gone(stage.alice, "/alice-2/page")


ROWS: Final = {
    "metadata-without-a-name": Row(
        lambda s: s.alice.header("PUT", NEW, b"x", [("x-amz-meta-", "b")]), 400, "InvalidArgument"
    ),
    "unknown-x-amz-header": Row(
        lambda s: s.alice.header("PUT", NEW, b"x", [("x-amz-debug", "1")]), 400, "InvalidArgument"
    ),
    "override-of-the-method": Row(
        lambda s: replace(s.alice.header("GET", KEEP, headers=[("X-HTTP-Method-Override", "DELETE")]), method="DELETE"),
        403, "SignatureDoesNotMatch",
    ),
    "rewritten-url": Row(
        lambda s: s.alice.header("GET", "/alice-1/absent", headers=[("X-Original-URL", KEEP), ("X-Rewrite-URL", KEEP)]),
        404, "NoSuchKey",
    ),
    "cookie-is-no-credential": Row(
        lambda s: Shot("GET", KEEP, [("Host", s.alice.host), ("Cookie", f"key={s.alice.access_key_id}")]),
        403, "AccessDenied",
    ),
    "proxy-authorization-is-no-credential": Row(
        lambda s: s.alice.header("GET", KEEP).without("Authorization").with_header(
            "Proxy-Authorization", s.alice.header("GET", KEEP).authorization
        ), 403, "AccessDenied",
    ),
    "delete-by-options": Row(
        lambda s: replace(s.alice.header("DELETE", KEEP), method="OPTIONS"), 400, "BadRequest"
    ),
    "options-by-its-own-signature": Row(
        lambda s: s.alice.header("OPTIONS", KEEP), 400, "BadRequest"
    ),
    "preflight": Row(
        lambda s: Shot(
            "OPTIONS", KEEP,
            [("Host", s.alice.host), ("Origin", "https://evil.example"), ("Access-Control-Request-Method", "PUT")],
        ), 403, "AccessForbidden",
    ),
    "signed-chunks-for-a-part-as-an-object": Row(
        lambda s: replace(
            s.alice.signed_chunks("PUT", f"/alice-1/alice-upload?partNumber=1&uploadId={s.ids['alice']}", [b"x" * 99]),
            target="/alice-1/alice-upload",
        ), 403, "SignatureDoesNotMatch",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_refused_and_nothing_changed(stage: Stage, name: str) -> None:
    answer = stage.refuses(ROWS[name])
    assert not [header for header in answer.headers if header.startswith("access-control-")]


# Costs


def test_many_names_in_query_and_headers_cost_a_stranger_more_than_us(stage: Stage) -> None:
    """Parameters that stand for headers were once looked for in every header: 100 ms for 13 kB of a stranger."""
    query = "&".join(f"x-amz-{number:x}" for number in range(700))
    shot = stage.alice.bent(access_key_id="AKNOBODY").presigned("GET", f"/alice-1?{query}")
    shot = replace(shot, headers=[*shot.headers, *[("a", "")] * 500])  # as many as are let in (`max_headers`)
    started = time.process_time(), cpu(stage)
    for _ in range(20):
        is_refusal(stage.send(shot), 403, "InvalidAccessKeyId")
    assert cpu(stage) - started[1] < 1.0, "seconds of CPU for 20 requests"


def test_a_body_that_nobody_will_read_is_not_held(stage: Stage) -> None:
    body = b"m" * (32 * MIB)
    before = resident(stage.gateway.pid)
    for shot in (
        stage.alice.bent(secret="x").header("PUT", NEW, body),
        stage.mallory.header("PUT", NEW, body),
        stage.alice.header("GET", KEEP, body),
        stage.alice.header("POST", "/alice-1?delete=", body),
    ):
        answer = stage.send(shot)
        assert answer.closes
    assert resident(stage.gateway.pid) - before < 48 * MIB
    stage.unchanged()


def test_a_million_chunks_of_a_byte_are_a_megabyte(stage: Stage) -> None:
    shot = stage.alice.header(
        "PUT", "/alice-2/crumbs", b"", [("Transfer-Encoding", "chunked")], payload="UNSIGNED-PAYLOAD", framed=False
    )
    before = resident(stage.gateway.pid)
    answer = stage.send_raw(shot.head() + b"1\r\nA\r\n" * MIB + b"0\r\n\r\n", "PUT")
    assert answer.status == 200
    assert resident(stage.gateway.pid) - before < 48 * MIB
    assert stage.send(stage.alice.header("GET", "/alice-2/crumbs")).body == b"A" * MIB
    stage.gone(stage.alice, "/alice-2/crumbs")


def test_a_handshake_that_never_comes_is_not_waited_for(stage: Stage) -> None:
    with socket.create_connection(("127.0.0.1", stage.gateway.port), timeout=TIMEOUT_S) as raw:
        started = time.monotonic()
        with contextlib.suppress(ConnectionResetError):
            assert raw.recv(1) == b""
        assert time.monotonic() - started < 10


def test_h88_the_losers_of_a_race_leave_no_blobs(stage: Stage) -> None:
    """All are admitted while the key is free, and all but one are refused by the transaction, their blobs durable."""
    blobs = len(stage.blobs().splitlines())
    with contextlib.ExitStack() as stack:
        racers = []
        for number in range(12):
            body = b"%02d" % number * 20_000
            wire = stage.alice.header("PUT", "/alice-2/race", body, [("If-None-Match", "*")]).wire()
            racers.append((stack.enter_context(stage.connected()), wire))
            racers[-1][0].sendall(wire[:-1])
        time.sleep(0.3)
        for secure, wire in racers:
            secure.sendall(wire[-1:])
        outcomes = [read_answer(secure).status for secure, _ in racers]
    assert sorted(outcomes) == [200] + [412] * 11
    assert len(stage.blobs().splitlines()) == blobs + 1
    stage.gone(stage.alice, "/alice-2/race")


def test_the_process_takes_room_for_its_files() -> None:
    """With the 1,024 open files that many systems begin with, as many silent connections would stop every blob."""
    script = (
        "import resource; from gateway.http.process import room_for_connections as room\n"
        "hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, min(hard, 4096) if hard > 0 else 4096))\n"
        "print(room(1000, 500), resource.getrlimit(resource.RLIMIT_NOFILE)[0])\n"
        "print(room(100_000, 500), resource.getrlimit(resource.RLIMIT_NOFILE)[0])\n"
        "print(room(10, 500), room(10, 5000))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    assert done.stdout.split() == ["1000", "1500", "3596", "4096", "10", "-904"]


def test_the_gateway_has_taken_room_for_its_files(stage: Stage) -> None:
    """4,096 connections, a file for each of 1,024 requests, and the other listeners."""
    lines = Path(f"/proc/{stage.gateway.pid}/limits").read_text().splitlines()
    [soft] = [int(line.split()[3]) for line in lines if line.startswith("Max open files")]
    assert soft >= 4096 + 1024 + 512


# The other doors


@pytest.mark.parametrize("host", ["evil.example", "169.254.169.254", "127.0.0.1.evil.example", "localhost.evil"])
def test_admin_answers_no_name_that_was_rebound_to_loopback(stage: Stage, host: str) -> None:
    """A page in the operator's browser may call 127.0.0.1 under a name of its own; Host then tells that name."""
    for path in ("/metrics", "/healthz", "/readyz"):
        answer = stage.admin(path, [("Host", f"{host}:{stage.gateway.admin_port}")])
        assert answer.status == 421
        assert b"sealgate_" not in answer.body


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.2:9444", "[::1]:9444", "localhost."]
)
def test_admin_answers_loopback_by_any_of_its_names(stage: Stage, host: str) -> None:
    assert stage.admin("/healthz", [("Host", host)]).status == 200


def control(stage: Stage, said: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(TIMEOUT_S)
        connection.connect(str(stage.gateway.data / "control.sock"))
        try:
            connection.sendall(said)
            connection.shutdown(socket.SHUT_WR)
            return connection.recv(65_536)
        except (BrokenPipeError, ConnectionResetError):
            return b""


CONTROL: Final = {
    "nothing": b"",
    "line-end": b"\n",
    "not-json": b"GET / HTTP/1.1\r\n\r\n",
    "not-an-object": b"[1, 2]\n",
    "unknown-command": b'{"command": "shutdown", "arguments": {}}\n',
    "dunder": b'{"command": "__class__", "arguments": {}}\n',
    "list-as-command": b'{"command": [], "arguments": {}}\n',
    "no-arguments": b'{"command": "account create"}\n',
    "arguments-as-text": b'{"command": "account create", "arguments": "x"}\n',
    "deep": b"[" * 100_000 + b"\n",
    "two-megabytes": b'{"command": "' + b"a" * (2 * MIB) + b'"}\n',
    "long-number": b'{"command": ' + b"9" * 10_000 + b"}\n",
    "not-utf-8": b'{"command": "\xff\xfe"}\n',
    "nan": b'{"command": NaN, "arguments": {}}\n',
}


@pytest.mark.parametrize("name", CONTROL)
def test_the_control_socket_takes_no_nonsense(stage: Stage, name: str) -> None:
    path = stage.gateway.data / "control.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    said = control(stage, CONTROL[name])
    if said:
        assert "error" in json.loads(said)
    assert stage.send(stage.alice.header("GET", KEEP)).status == 200
    stage.unchanged()


# Noise: whatever comes, no 5xx and nothing that is not XML; the seeds are printed


def judged(answer: Answer, method: str) -> None:
    assert answer.status < 500 or answer.status in NAMED_5XX, answer
    if answer.status >= 400 and method != "HEAD":
        is_refusal(answer, answer.status, answer.text("Code"))


ALPHABET: Final = (
    b"a",
    b"/",
    b"..",
    b"%",
    b"\0",
    b"\xff",
    b"\xe2\x82\xac",
    b"+",
    b"&",
    b"=",
    b"\r\n",
    b"<",
    b"'",
    b"~",
    b" ",
)
NAMES: Final = (
    *("prefix", "delimiter", "marker", "max-keys", "encoding-type", "list-type", "start-after", "continuation-token"),
    *("uploads", "uploadId", "partNumber", "versionId", "location", "versioning", "encryption", "tagging", "acl"),
    *("key-marker", "upload-id-marker", "max-uploads", "max-parts", "part-number-marker", "fetch-owner", "x-id"),
    *("response-content-type", "x-amz-meta-a", "x-amz-acl", "foo", "delete", "attributes"),
)
VALUES: Final = ("", "0", "1", "2", "-1", "1000", "99999999999999999999", "url", "true", "*", '"0"', "bytes=0-0", "a,b")
HEADERS: Final = (
    *("Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Range", "Content-Type", "Content-MD5", "Expect"),
    *(
        "x-amz-checksum-crc32",
        "x-amz-checksum-mode",
        "x-amz-storage-class",
        "x-amz-copy-source",
        "x-amz-mp-object-size",
    ),
    *(
        "x-amz-metadata-directive",
        "x-amz-copy-source-range",
        "x-amz-checksum-algorithm",
        "x-amz-sdk-checksum-algorithm",
    ),
    *("x-amz-checksum-type", "x-amz-trailer", "x-amz-decoded-content-length", "Accept-Encoding", "Content-Encoding"),
)


def noise(chance: random.Random) -> bytes:
    return b"".join(chance.choices(ALPHABET, k=chance.randrange(6)))


def noisy(stage: Stage, chance: random.Random) -> Shot:
    method = chance.choice(["GET", "HEAD", "PUT", "POST", "DELETE"])
    path = "/mallory-noise" + chance.choice(["", "/", "/" + quote_from_bytes(noise(chance), safe="/~")])
    pairs = {
        quote(chance.choice(NAMES)): quote(chance.choice(VALUES), safe="")
        if chance.random() < 0.6
        else quote_from_bytes(noise(chance), safe="~")
        for _ in range(chance.randrange(4))
    }
    query = "&".join(f"{name}={value}" for name, value in sorted(pairs.items()))
    headers = [(name, chance.choice(VALUES)) for name in chance.sample(HEADERS, chance.randrange(4))]
    body = chance.choice([b"", b"x", b"<Delete/>", noise(chance)]) if method in {"PUT", "POST"} else b""
    return stage.mallory.header(method, f"{path}?{query}" if query else path, body, headers)


def test_noise_that_is_rightly_signed(stage: Stage, seed: int) -> None:
    chance = random.Random(seed)
    assert stage.send(stage.mallory.header("PUT", "/mallory-noise")).status == 200
    for _ in range(400):
        shot = noisy(stage, chance)
        judged(stage.send(shot), shot.method)
    cleared(stage, "/mallory-noise")


def cleared(stage: Stage, bucket: str) -> None:
    """Delete a bucket with all that noise has put there; it may have deleted the bucket itself."""
    who = stage.mallory
    stage.send(who.header("PUT", bucket))
    for element in list(stage.send(who.header("GET", f"{bucket}?encoding-type=url&list-type=2")).xml().iter()):
        if element.tag.endswith("}Key"):
            # The listing encodes names as a path does: a name with a percent sign must not be decoded here.
            stage.send(who.header("DELETE", f"{bucket}/{element.text}"))
    uploads = stage.send(who.header("GET", f"{bucket}?encoding-type=url&uploads=")).xml()
    for upload in [element for element in uploads.iter() if element.tag.endswith("}Upload")]:
        key, upload_id = (next(e.text or "" for e in upload if e.tag.endswith(name)) for name in ("}Key", "}UploadId"))
        stage.send(who.header("DELETE", f"{bucket}/{key}?uploadId={upload_id}"))
    stage.gone(who, bucket)


def mutated(wire: bytes, chance: random.Random, first: int = 0) -> bytes:
    at = chance.randrange(first, len(wire))
    match chance.randrange(4):
        case 0:
            return wire[:at] + bytes([chance.randrange(256)]) + wire[at + 1 :]
        case 1:
            return wire[:at] + wire[at + 1 :]
        case 2:
            return wire[:at] + chance.choice([b"\r\n", b"\0", b"\n", b" ", b"\t", b":", b"0", b"\xff"]) + wire[at:]
        case _:
            end = min(len(wire), at + chance.randrange(1, 20))
            return wire[:end] + wire[at:]


def test_one_byte_of_a_right_request_changed(stage: Stage, seed: int) -> None:
    """Either the change was without meaning and the right object comes, or a refusal comes, or the connection ends."""
    chance = random.Random(seed)
    for _ in range(250):
        wire = mutated(stage.alice.header("GET", KEEP).wire(), chance)
        with stage.connected() as secure:
            secure.sendall(wire + b"\r\n\r\n")
            try:
                answer = read_answer(secure)
            except (HTTPException, ConnectionError, TimeoutError):
                continue
        assert answer.body in {b"kept", b""} if answer.status == 200 else 400 <= answer.status < 500, (wire, answer)
    stage.same_picture()


@pytest.mark.parametrize("form", ["unsigned-with-trailer", "signed"])
def test_one_byte_of_a_right_chunked_body_changed(stage: Stage, form: str, seed: int) -> None:
    """Never are other bytes stored than those that were sent and summed or signed."""
    chance = random.Random(seed)
    content = b"p" * 8192 + b"q" * 50
    makers: dict[str, Callable[[], Shot]] = {
        "unsigned-with-trailer": lambda: stage.alice.chunked(
            "PUT", "/alice-2/mutant", unsigned_chunks([content[:8192], content[8192:]], trailer(content)),
            length=str(len(content)),
        ),
        "signed": lambda: stage.alice.signed_chunks("PUT", "/alice-2/mutant", [content[:8192], content[8192:]]),
    }  # fmt: skip
    stored = 0
    for _ in range(150):
        shot = makers[form]()
        edge = chance.choice([0, shot.body.index(b"q" * 50) - 100, len(shot.body) - 120])
        answer = stage.send(replace(shot, body=mutated(shot.body, chance, max(edge, 0))))
        judged(answer, "PUT")
        if answer.status == 200:
            stored += 1
            assert stage.send(stage.alice.header("GET", "/alice-2/mutant")).body == content
    print("taken", stored, crc32(content))
    stage.gone(stage.alice, "/alice-2/mutant")


# What the gateway says of all this


def test_no_client_writes_a_line_of_the_log(stage: Stage) -> None:
    said_before = stage.gateway.log.stat().st_size
    forged = "2026-01-01T00:00:00.000+00:00 INFO sealgate.audit: mutation account=admin"
    canary = "canary-in-the-log"
    shots = [
        stage.alice.header("GET", f"/alice-1/{quote(chr(10) + forged)}", headers=[("User-Agent", canary)]),
        stage.alice.header("GET", f"/alice-1/{canary}?versionId={quote(chr(10) + forged)}"),
        stage.alice.bent(access_key_id=canary).header("GET", KEEP),
        stage.alice.header("PUT", f"/alice-2/{canary}", canary.encode(), [("x-amz-meta-a", canary)]),
        stage.alice.presigned("GET", f"/alice-2/{canary}"),
        Shot("GET", f"/{canary}", [("Host", canary)]),
        Shot(canary, f"/{canary}", [("Host", canary)]),
    ]
    for shot in shots:
        stage.send(shot)
    stage.gone(stage.alice, f"/alice-2/{canary}")
    log = stage.gateway.log.read_text()
    assert canary not in log
    assert forged not in log
    assert stage.alice.secret not in log
    assert stage.mallory.secret not in log
    assert "X-Amz-Signature=" not in log
    strange = [line for line in log[said_before:].splitlines() if not _LOG_LINE.match(line)]
    assert strange == []
