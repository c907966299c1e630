"""Encryption headers, attacked: H46 of the hostile inputs where they are supported. Nothing of them passes in silence.

What must hold besides: no answer repeats a key that a client sent, and nothing is stored by a request that is refused.
"""

import base64
import hashlib
from typing import Final

import pytest

from tests.hostile.signing import Pairs, Shot
from tests.hostile.stage import Row, Stage

SSE: Final = "x-amz-server-side-encryption"
KEEP: Final = "/alice-1/keep"
NEW: Final = "/alice-1/new"
KEY: Final = bytes(range(100, 132))
ARN: Final = "arn:aws:kms:us-east-1:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def customer(
    prefix: str = SSE, key: bytes = KEY, algorithm: str = "AES256", md5: str | None = None
) -> list[tuple[str, str]]:
    values = {
        "algorithm": algorithm,
        "key": b64(key),
        "key-MD5": b64(hashlib.md5(key).digest()) if md5 is None else md5,
    }
    return [(f"{prefix}-customer-{name}", value) for name, value in values.items() if value]


def row(method: str, target: str, status: int, code: str, *headers: tuple[str, str], body: bytes = b"") -> Row:
    return Row(lambda stage: stage.alice.header(method, target, body, headers), status, code)


def put(status: int, code: str, *headers: tuple[str, str]) -> Row:
    return row("PUT", NEW, status, code, *headers, body=b"lost")


def part(method: str, status: int, code: str, *headers: tuple[str, str], number: bool = True) -> Row:
    def make(stage: Stage) -> Shot:
        query = f"{'partNumber=2&' if number else ''}uploadId={stage.ids['alice']}"
        body = b"lost" if method == "PUT" else b""
        return stage.alice.header(method, f"/alice-1/alice-upload?{query}", body, headers)

    return Row(make, status, code)


ARGUMENT: Final = (400, "InvalidArgument")
ROWS: Final[dict[str, Row]] = {
    "kms-two-layers": put(501, "NotImplemented", (SSE, "aws:kms:dsse")),
    "unknown-method": put(400, "InvalidEncryptionAlgorithmError", (SSE, "rot13")),
    "method-twice": put(*ARGUMENT, (SSE, "AES256"), (SSE, "aws:kms")),
    "kms-unknown-key": put(400, "KMS.NotFoundException", (SSE, "aws:kms"), (f"{SSE}-aws-kms-key-id", ARN)),
    "kms-key-of-a-path": put(400, "KMS.NotFoundException", (SSE, "aws:kms"), (f"{SSE}-aws-kms-key-id", "../root.key")),
    "kms-key-alone": put(*ARGUMENT, (f"{SSE}-aws-kms-key-id", ARN)),
    "kms-key-beside-aes": put(*ARGUMENT, (SSE, "AES256"), (f"{SSE}-aws-kms-key-id", ARN)),
    "kms-key-of-3000": put(*ARGUMENT, (SSE, "aws:kms"), (f"{SSE}-aws-kms-key-id", "k" * 3000)),
    "context-alone": put(*ARGUMENT, (f"{SSE}-context", b64(b"{}"))),
    "context-no-json": put(*ARGUMENT, (SSE, "aws:kms"), (f"{SSE}-context", b64(b"{"))),
    "context-nested": put(*ARGUMENT, (SSE, "aws:kms"), (f"{SSE}-context", b64(b"[" * 4000))),
    "context-name-twice": put(*ARGUMENT, (SSE, "aws:kms"), (f"{SSE}-context", b64(b'{"a":"1","a":"2"}'))),
    "bucket-key-maybe": put(*ARGUMENT, (SSE, "aws:kms"), (f"{SSE}-bucket-key-enabled", "maybe")),
    "bucket-key-alone": put(*ARGUMENT, (f"{SSE}-bucket-key-enabled", "true")),
    "customer-and-aes": put(*ARGUMENT, *customer(), (SSE, "AES256")),
    "customer-and-kms": put(*ARGUMENT, *customer(), (SSE, "aws:kms")),
    "customer-key-alone": put(*ARGUMENT, *customer(algorithm="", md5="")),
    "customer-no-key": put(*ARGUMENT, *(pair for pair in customer() if not pair[0].endswith("-key"))),
    "customer-no-md5": put(*ARGUMENT, *customer(md5="")),
    "customer-md5-of-another": put(*ARGUMENT, *customer(md5=b64(hashlib.md5(b"").digest()))),
    "customer-key-of-16": put(*ARGUMENT, *customer(key=KEY[:16])),
    "customer-key-of-64": put(*ARGUMENT, *customer(key=KEY * 2)),
    "customer-aes-128": put(400, "InvalidEncryptionAlgorithmError", *customer(algorithm="AES128")),
    "customer-key-twice": put(*ARGUMENT, *customer(), customer()[1]),
    "get-customer-of-plain": row("GET", KEEP, 400, "InvalidRequest", *customer()),
    "head-customer-of-plain": row("HEAD", KEEP, 400, "InvalidRequest", *customer()),
    "get-with-method": row("GET", KEEP, *ARGUMENT, (SSE, "AES256")),
    "head-with-kms": row("HEAD", KEEP, *ARGUMENT, (f"{SSE}-aws-kms-key-id", ARN)),
    "get-source-key": row("GET", KEEP, *ARGUMENT, *customer("x-amz-copy-source-server-side-encryption")),
    "delete-with-customer": row("DELETE", KEEP, *ARGUMENT, *customer()),
    "list-with-customer": row("GET", "/alice-1", *ARGUMENT, *customer()),
    "put-source-key": put(*ARGUMENT, *customer("x-amz-copy-source-server-side-encryption")),
    "part-with-method": part("PUT", *ARGUMENT, (SSE, "AES256")),
    "part-with-customer": part("PUT", 400, "InvalidRequest", *customer()),
    "parts-with-customer": part("GET", 400, "InvalidRequest", *customer(), number=False),
    "copy-source-customer-of-plain": row(
        "PUT", NEW, 400, "InvalidRequest",
        ("x-amz-copy-source", KEEP), *customer("x-amz-copy-source-server-side-encryption"),
    ),
    "default-no-xml": row("PUT", "/alice-1?encryption", 400, "MalformedXML", body=b"x"),
    "default-doctype": row("PUT", "/alice-1?encryption", 400, "MalformedXML", body=b"<!DOCTYPE a><a/>"),
    "default-of-another": row("PUT", "/mallory-1?encryption", 403, "AccessDenied", body=b"<x/>"),
    "default-of-another-dropped": row("DELETE", "/mallory-1?encryption", 403, "AccessDenied"),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS, ids="H46-{}".format)
def test_refused_and_nothing_changed(stage: Stage, name: str) -> None:
    answer = stage.refuses(ROWS[name])
    for secret in (b64(KEY), b64(KEY[:16]), b64(KEY * 2), b64(hashlib.md5(KEY).digest())):
        assert secret.encode() not in answer.body
        assert secret not in str(answer.headers)


def test_h46_a_wrong_key_learns_nothing(stage: Stage) -> None:
    """Neither size, nor ETag, nor whether a condition would hold."""
    own: Pairs = customer()
    assert stage.send(stage.alice.header("PUT", NEW, b"closed", own)).status == 200
    seen = stage.picture()
    wrong: Pairs = customer(key=KEY[::-1])
    conditions = ((), (("If-None-Match", "*"),), (("If-Match", '"0"'),), (("Range", "bytes=0-0"),))
    for method in ("GET", "HEAD"):
        for more in conditions:
            for headers, status in ((wrong, 403), ((), 400)):
                answer = stage.send(stage.alice.header(method, NEW, b"", [*headers, *more]))
                assert answer.status == status, (method, more, answer)
                assert not {"etag", "last-modified", "content-range"} & set(answer.headers)
                assert b"closed" not in answer.body
    assert stage.picture() == seen
    log = stage.gateway.log.read_text()
    for secret in (b64(KEY), KEY.hex(), b64(hashlib.md5(KEY).digest()), hashlib.md5(KEY).hexdigest()):
        assert secret not in log
    stage.gone(stage.alice, NEW)
