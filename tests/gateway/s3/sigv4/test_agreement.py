"""Agreement with botocore, and with the C signers it has where awscrt is installed: what they sign is verified here,
and refused with another secret. Runs from a printed seed.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, unquote_to_bytes, urlsplit

import botocore.auth
import botocore.crt.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from gateway.s3.errors import S3Error
from gateway.s3.request import Headers, Request
from gateway.s3.sigv4 import Presentation, present, verify

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
REGION = "us-east-1"
CREDENTIALS = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
SEGMENTS = ["", ".", "..", "a", "%2F", "%2e", "+", " ", "é", "a=b&c", "~", "(x)", "!*'", "a;b", "@:$,", '"<>`{}|\\^[]']
NAMES = ["prefix", "marker", "x-id", "uploadId", "a b", "é", "Z", "_", "list-type", "delimiter", "~x", "p%q"]
V2_NAMES = [
    "versionId",
    "acl",
    "uploadId",
    "partNumber",
    "response-content-type",
    "response-content-disposition",
    "prefix",
]
VALUES = [
    "",
    "a",
    "a/b",
    "a+b",
    "é ü",
    "=&?#",
    "100%",
    "~-._",
    "\u1234",
    "a  b",
    '"q"',
    "%41",
    "attachment; filename=x",
]
HEADER_VALUES = ["a", "a   b", "  lead", "tail ", "\ta\t b", "é", '"q  q"', "a,b"]


class _QueryAuthV2(botocore.auth.HmacV1QueryAuth):  # type: ignore[misc]  # botocore has no types
    def _get_date(self) -> str:
        return str(int((NOW + timedelta(seconds=int(self._expires))).timestamp()))


def nasty_path(rng: random.Random) -> str:
    """A path as botocore's serialiser writes keys into it: `percent_encode(key, safe="/~")`."""
    parts = [rng.choice([*(one.encode() for one in SEGMENTS), rng.randbytes(4)]) for _ in range(rng.randint(1, 5))]
    return "/bucket/" + quote(b"/".join(parts), safe="/~")


def sent_otherwise(rng: random.Random, raw_path: bytes) -> bytes:
    """The same path as other clients send it, which sign it alike: some marks as they are, some letters encoded."""
    found = b""
    for octet in unquote_to_bytes(raw_path):
        one = bytes([octet])
        plain = one in b"/-_.~!$&'()*+,;=:@" or one.isalnum()
        encoded = rng.choice([b"%%%02X", b"%%%02x"]) % octet
        found += one if one == b"/" or (plain and rng.random() < 0.7) else encoded
    return found


def nasty_query(rng: random.Random, names: list[str]) -> str:
    chosen = rng.sample(names, rng.randint(0, 4))
    fields = [f"{quote(name, safe='-_.~')}={quote(rng.choice(VALUES), safe='-_.~')}" for name in chosen]
    return "&".join(fields)


def nasty_headers(rng: random.Random) -> list[tuple[str, str]]:
    found = [(f"x-amz-meta-{index}", rng.choice(HEADER_VALUES)) for index in range(rng.randint(0, 3))]
    if rng.random() < 0.3:
        found.append(("Content-Type", "text/plain; charset=utf-8"))
    if rng.random() < 0.2:
        found.append(("x-amz-storage-class", "STANDARD"))
    return found


def wire(request: AWSRequest, drop: tuple[str, ...] = ()) -> Request:
    parts = urlsplit(request.prepare().url)
    return Request(
        method=request.method,
        raw_path=parts.path.encode(),
        raw_query=parts.query.encode(),
        headers=Headers(
            (name.encode(), str(value).encode()) for name, value in request.headers.items() if name.lower() not in drop
        ),
        request_id="R",
        received_at=NOW,
        tls_version="TLSv1.3",
    )


def by_any_client(rng: random.Random, request: Request) -> Request:
    return replace(request, raw_path=sent_otherwise(rng, request.raw_path)) if rng.random() < 0.5 else request


def check(request: Request, *, bucket_from_host: str | None = None) -> None:
    presentation = present(request, NOW, REGION, bucket_from_host=bucket_from_host)
    assert isinstance(presentation, Presentation)
    verify(presentation, request, CREDENTIALS.secret_key)
    with pytest.raises(S3Error):
        verify(presentation, request, "another secret")


def by_header(rng: random.Random, signer: Any = botocore.auth.S3SigV4Auth) -> None:
    query = nasty_query(rng, NAMES)
    url = f"https://s3.example.test:8443{nasty_path(rng)}" + (f"?{query}" if query else "")
    headers = [("Host", "s3.example.test:8443"), *nasty_headers(rng)]
    body = rng.randbytes(rng.randint(0, 8))
    request = AWSRequest(rng.choice(["GET", "PUT", "DELETE", "HEAD", "POST"]), url, data=body)
    if not query and rng.random() < 0.5 and signer is botocore.auth.S3SigV4Auth:
        # The serialiser of botocore writes the query into the URL; only the Python signer knows parameters besides.
        request.params = dict(zip(rng.sample(NAMES, 2), rng.choices(VALUES, k=2), strict=True))
    for name, value in headers:
        request.headers.add_header(name, value)
        if rng.random() < 0.1 and name != "Host":
            request.headers.add_header(name, "again")
    if rng.random() < 0.1:
        request.headers["Date"] = "replaced by botocore"
    signer(CREDENTIALS, "s3", REGION).add_auth(request)
    check(by_any_client(rng, wire(request)))


def by_header_crt(rng: random.Random) -> None:
    by_header(rng, botocore.crt.auth.CrtS3SigV4Auth)


def by_query(rng: random.Random, signer: Any = botocore.auth.S3SigV4QueryAuth) -> None:
    query = nasty_query(rng, NAMES)
    url = f"https://s3.example.test{nasty_path(rng)}" + (f"?{query}" if query else "")
    request = AWSRequest(rng.choice(["GET", "PUT", "DELETE", "HEAD"]), url)
    for name, value in [("Host", "s3.example.test"), *nasty_headers(rng)]:
        request.headers.add_header(name, value)
    signer(CREDENTIALS, "s3", REGION, expires=rng.randint(1, 604800)).add_auth(request)
    check(by_any_client(rng, wire(request)))


def by_query_crt(rng: random.Random) -> None:
    by_query(rng, botocore.crt.auth.CrtS3SigV4QueryAuth)


def by_query_v2(rng: random.Random) -> None:
    query = nasty_query(rng, V2_NAMES)
    path = nasty_path(rng)
    hosted = rng.random() < 0.3
    shown = path.removeprefix("/bucket") if hosted else path
    request = AWSRequest(rng.choice(["GET", "PUT"]), f"https://s3.example.test{shown}" + (f"?{query}" if query else ""))
    if hosted:
        request.auth_path = path
    headers = [(name, value.strip()) for name, value in nasty_headers(rng)]
    for name, value in headers:
        request.headers.add_header(name, value)
    _QueryAuthV2(CREDENTIALS, rng.randint(1, 604800)).add_auth(request)
    # A program that was handed the URL alone sends no x-amz-* header: they stand in the query. Others it must send.
    amz = tuple(name for name, _ in headers if name.startswith("x-amz-"))
    dropped = amz if rng.random() < 0.5 else ()
    check(wire(request, drop=("date", *dropped)), bucket_from_host="bucket" if hosted else None)


@pytest.mark.parametrize("sign", [by_header, by_header_crt, by_query, by_query_crt, by_query_v2])
def test_what_botocore_signs_is_verified(
    sign: Callable[[random.Random], None], full: bool, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: NOW.replace(tzinfo=None))
    monkeypatch.setattr(botocore.crt.auth, "get_current_datetime", lambda **_: NOW)
    rounds = 20_000 if full else 2_000  # of a seed that is the same in every short run
    disagreements = []
    for number in range(rounds):
        try:
            sign(random.Random(f"{seed}/{number}"))
        except S3Error as error:
            disagreements.append((number, str(error)))
    print(f"seed={seed} rounds={rounds} disagreements={len(disagreements)}")
    assert disagreements == [], f"seed={seed}"
