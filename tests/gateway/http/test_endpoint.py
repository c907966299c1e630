import asyncio
import base64
import hashlib
import logging
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from typing import Any, cast

import pytest
from defusedxml import ElementTree

from gateway.engine.journal.chain import CatalogueBehind
from gateway.operations.context import BodyUse, Context
from gateway.s3.addressing import Address
from gateway.s3.errors import INSUFFICIENT_STORAGE, MALFORMED_XML, NO_SUCH_KEY, NOT_MODIFIED, S3Error
from gateway.s3.request import Request
from gateway.s3.response import Response
from gateway.s3.types import Body
from keys import errors as keys
from storage import errors as storage
from storage.catalogue import conflicts
from storage.errors import LeaseLost
from tests.gateway.http.asgi import (
    ACCESS_KEY_ID,
    HOST,
    Answer,
    ask,
    call,
    make_gateway,
    operation,
    read_and_answer,
    signed_headers,
    stream_of,
)
from tests.gateway.http.chunks import signed_streaming


async def answer_ok(_context: Context, _document: bytes, _body: Body) -> Response:
    return Response(200, (("ETag", '"x"'),), b"fine")


Run = Callable[[Context, bytes, Body], Coroutine[Any, Any, Response]]


def failing(error: BaseException) -> Run:
    async def run(_context: Context, _document: bytes, _body: Body) -> Response:
        raise error

    return run


def giving(stream: AsyncIterator[bytes], length: int) -> Run:
    async def run(_context: Context, _document: bytes, _body: Body) -> Response:
        return Response(200, (("Content-Length", str(length)),), stream)

    return run


def code_of(answer: Answer) -> str:
    return str(ElementTree.fromstring(answer.body).findtext("Code"))


def test_every_answer_carries_the_common_headers() -> None:
    answer = ask(make_gateway(operation("GetObject", answer_ok)), "GET", "/box/k")
    assert (answer.status, answer.body, answer.is_complete) == (200, b"fine", True)
    assert answer.headers["server"] == "Sealgate"
    assert answer.headers["etag"] == '"x"'
    assert answer.headers["content-length"] == "4"
    assert "connection" not in answer.headers
    assert {"x-amz-request-id", "x-amz-id-2", "date", "strict-transport-security"} <= answer.headers.keys()


def test_an_error_names_the_request_id_of_its_header() -> None:
    answer = ask(make_gateway(operation("GetObject", failing(S3Error(NO_SUCH_KEY)))), "GET", "/box/k")
    document = ElementTree.fromstring(answer.body)
    assert answer.status == 404
    assert document.findtext("RequestId") == answer.headers["x-amz-request-id"]
    assert document.findtext("HostId") == answer.headers["x-amz-id-2"]
    assert answer.headers["content-type"] == "application/xml"


def test_an_error_of_head_and_a_304_have_no_body() -> None:
    head = ask(make_gateway(operation("HeadObject", failing(S3Error(NO_SUCH_KEY)))), "HEAD", "/box/k")
    assert (head.status, head.body, head.is_complete) == (404, b"", True)
    same = S3Error(NOT_MODIFIED, headers={"ETag": '"x"'})
    unmodified = ask(make_gateway(operation("GetObject", failing(same))), "GET", "/box/k")
    assert (unmodified.status, unmodified.body, unmodified.headers["etag"]) == (304, b"", '"x"')
    assert "content-length" not in unmodified.headers


FAILURES = [
    (storage.StorageUnavailable("x"), 503, "ServiceUnavailable", {}),
    (storage.StorageFull("x"), 507, INSUFFICIENT_STORAGE.code, {}),
    (storage.BlobMissing("x"), 500, "InternalError", {"sealgate_damaged_total": {"kind": "BlobMissing"}}),
    (storage.BlobReadFailed("x"), 500, "InternalError", {"sealgate_damaged_total": {"kind": "BlobReadFailed"}}),
    (storage.SealedDamaged("x"), 500, "InternalError", {"sealgate_damaged_total": {"kind": "SealedDamaged"}}),
    (storage.RowDamaged("x"), 500, "InternalError", {"sealgate_damaged_total": {"kind": "RowDamaged"}}),
    (storage.RealmMismatch("x"), 500, "InternalError", {"sealgate_damaged_total": {"kind": "RealmMismatch"}}),
    (storage.CatalogueBusy("x"), 503, "ServiceUnavailable", {}),
    (CatalogueBehind("x"), 503, "ServiceUnavailable", {}),
    (storage.BlobExists("x"), 500, "InternalError", {"sealgate_unexpected_errors_total": {}}),
    (conflicts.NoSuchBucket(), 404, "NoSuchBucket", {}),
    (conflicts.BlobCondemned(), 503, "ServiceUnavailable", {}),
    (conflicts.ContentGone(), 503, "ServiceUnavailable", {}),
    (conflicts.PartsChanged(), 503, "ServiceUnavailable", {}),
    (LeaseLost(), 500, "InternalError", {"sealgate_unexpected_errors_total": {}}),
    (keys.KmsUnavailable("x"), 503, "ServiceUnavailable", {"sealgate_kms_errors_total": {"kind": "KmsUnavailable"}}),
    (
        keys.KmsMisconfigured("x"),
        503,
        "ServiceUnavailable",
        {"sealgate_kms_errors_total": {"kind": "KmsMisconfigured"}},
    ),
    (keys.KmsDenied("x"), 403, "AccessDenied", {"sealgate_kms_errors_total": {"kind": "KmsDenied"}}),
    (keys.KmsKeyNotFound("x"), 400, "KMS.NotFoundException", {"sealgate_kms_errors_total": {"kind": "KmsKeyNotFound"}}),
    (keys.KmsKeyDisabled("x"), 400, "KMS.DisabledException", {"sealgate_kms_errors_total": {"kind": "KmsKeyDisabled"}}),
    (
        keys.KmsKeyInvalidState("x"),
        400,
        "KMS.KMSInvalidStateException",
        {"sealgate_kms_errors_total": {"kind": "KmsKeyInvalidState"}},
    ),
    (keys.UnwrapFailed("x"), 500, "InternalError", {"sealgate_damaged_total": {"kind": "UnwrapFailed"}}),
    (keys.CustomerKeyMismatch("x"), 403, "AccessDenied", {}),
    (keys.CanaryFailed("x"), 500, "InternalError", {"sealgate_damaged_total": {"kind": "CanaryFailed"}}),
    (ExceptionGroup("g", [storage.StorageFull("x")]), 507, INSUFFICIENT_STORAGE.code, {}),
    (ValueError("the-secret"), 500, "InternalError", {"sealgate_unexpected_errors_total": {}}),
]


@pytest.mark.parametrize(
    ("error", "status", "code", "counted"), FAILURES, ids=[type(row[0]).__name__ for row in FAILURES]
)
def test_failures_become_answers(
    error: Exception, status: int, code: str, counted: dict[str, dict[str, str]], caplog: pytest.LogCaptureFixture
) -> None:
    gateway = make_gateway(operation("PutObject", failing(error), body=BodyUse.STREAM))
    with caplog.at_level(logging.INFO):
        answer = ask(gateway, "PUT", "/box/k", b"data")
    assert (answer.status, code_of(answer)) == (status, code)
    assert b"the-secret" not in answer.body
    for name, labels in counted.items():
        assert gateway.counted(name, **labels) == 1
    assert ("retry-after" in answer.headers) == (status == 503)
    assert gateway.counted("sealgate_requests_total", operation="PutObject", status=str(status)) == 1
    events = [record.getMessage() for record in caplog.records if record.name == "sealgate.audit"]
    assert events == (
        ["damaged"]
        if any(name == "sealgate_damaged_total" for name in counted)
        else ["kms refused"] * isinstance(error, keys.KmsDenied)
    )


def test_every_class_of_the_trees_is_in_the_table_above() -> None:
    told = {type(error) for error, *_ in FAILURES}
    # A blob is deleted beside requests; where a request gives up what it wrote, the sweep takes what the store keeps.
    of_no_request = {storage.BlobHeld, storage.CatalogueUnsafe, keys.PassphraseUnfit, keys.AliasTaken, keys.NotWritten}
    for module, root in ((storage, storage.StorageError), (keys, keys.KeysError)):
        kinds = {kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, root)}
        leaves = {kind for kind in kinds if not any(other is not kind and issubclass(other, kind) for other in kinds)}
        leaves -= {storage.CatalogueConflict}
        assert leaves - of_no_request <= told


def test_every_alarm_is_shown_before_it_rings() -> None:
    registry = make_gateway().registry
    told: list[dict[str, dict[str, str]]] = [cast("Any", row[3]) for row in FAILURES]
    kinds = {counted["sealgate_damaged_total"]["kind"] for counted in told if "sealgate_damaged_total" in counted}
    assert len(kinds) > 5
    for kind in kinds:
        assert registry.get_sample_value("sealgate_damaged_total", {"kind": kind}) == 0


def test_an_acknowledged_mutation_is_an_audit_event_and_a_read_or_refusal_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gateway = make_gateway(
        operation("PutObject", answer_ok, body=BodyUse.STREAM),
        operation("GetObject", answer_ok),
        operation("DeleteObject", failing(S3Error(NO_SUCH_KEY))),
    )
    with caplog.at_level(logging.INFO):
        ask(gateway, "PUT", "/box/secret-name", b"")
        ask(gateway, "GET", "/box/secret-name")
        ask(gateway, "DELETE", "/box/secret-name")
    audit = [record for record in caplog.records if record.name == "sealgate.audit"]
    assert [record.getMessage() for record in audit] == ["mutation"]
    fields = audit[0].__dict__["fields"]
    assert fields["operation"] == "PutObject"
    assert fields["access_key_id"] == ACCESS_KEY_ID
    assert "secret-name" not in str(fields)


def test_what_is_not_read_closes_the_connection_and_is_never_asked_for() -> None:
    gateway = make_gateway(operation("PutObject", failing(S3Error(NO_SUCH_KEY)), body=BodyUse.STREAM))
    answer = ask(gateway, "PUT", "/box/k", b"data", {"expect": "100-continue"})
    assert (answer.status, answer.headers["connection"]) == (404, "close")
    assert answer.received_before_start == 0, "a receive would have sent 100 Continue"


def test_a_body_read_to_its_end_keeps_the_connection() -> None:
    gateway = make_gateway(operation("PutObject", read_and_answer, body=BodyUse.STREAM))
    answer = ask(gateway, "PUT", "/box/k", b"data")
    assert (answer.body, "connection" in answer.headers) == (b"data", False)
    assert gateway.counted("sealgate_received_bytes_total") == 4


def test_a_body_that_nobody_takes_closes_the_connection() -> None:
    answer = ask(make_gateway(operation("DeleteObject", answer_ok)), "DELETE", "/box/k", b"unasked")
    assert (answer.status, answer.headers["connection"]) == (200, "close")


@pytest.mark.parametrize(
    ("method", "target", "status", "code"),
    [
        ("PUT", "/box/k", 403, "AccessDenied"),
        ("PUT", "/other/k", 403, "AccessDenied"),
        ("POST", "/box?delete=", 403, "AccessDenied"),
        ("POST", "/other?delete=", 403, "AccessDenied"),
        # As on AWS, a POST to a bucket must be a form before it matters who sends it.
        ("POST", "/box", 412, "PreconditionFailed"),
        ("OPTIONS", "/box/k", 400, "BadRequest"),
    ],
)
def test_the_anonymous_caller_is_refused_before_a_body_byte(method: str, target: str, status: int, code: str) -> None:
    gateway = make_gateway(
        operation("PutObject", answer_ok, body=BodyUse.STREAM),
        operation("DeleteObjects", answer_ok, body=BodyUse.DOCUMENT),
    )
    headers = [(b"host", HOST.encode()), (b"content-length", b"4"), (b"expect", b"100-continue")]
    answer = asyncio.run(call(gateway.app, method, target, headers))
    assert (answer.status, answer.received_messages) == (status, 0)
    assert answer.headers["connection"] == "close"
    assert method == "HEAD" or code_of(answer) == code


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({b"authorization": lambda v: v[:-1] + (b"0" if v[-1:] != b"0" else b"1")}, 403, "SignatureDoesNotMatch"),
        (
            {b"authorization": lambda v: v.replace(ACCESS_KEY_ID.encode(), b"AKIDOTHEROTHEROTHERO")},
            403,
            "InvalidAccessKeyId",
        ),
        ({b"authorization": lambda v: v[:0] + b"x"}, 400, "InvalidArgument"),
    ],
)
def test_a_wrong_signature_is_refused_before_100_continue(
    change: dict[bytes, Callable[[bytes], bytes]], status: int, code: str
) -> None:
    gateway = make_gateway(operation("PutObject", answer_ok, body=BodyUse.STREAM))
    headers = [(name, change.get(name, bytes)(value)) for name, value in signed_headers("PUT", "/box/k", None)]
    headers += [(b"content-length", b"9"), (b"expect", b"100-continue")]
    answer = asyncio.run(call(gateway.app, "PUT", "/box/k", headers))
    assert (answer.status, code_of(answer), answer.received_messages) == (status, code, 0)


def test_an_unknown_bucket_is_refused_before_the_body() -> None:
    gateway = make_gateway(operation("PutObject", answer_ok, body=BodyUse.STREAM))
    answer = ask(gateway, "PUT", "/absent/k", b"data")
    assert (answer.status, code_of(answer), answer.received_messages) == (404, "NoSuchBucket", 0)


DOCUMENT = b"<Delete/>"
MD5 = base64.b64encode(hashlib.md5(DOCUMENT).digest()).decode()


@pytest.mark.parametrize(
    ("headers", "body", "code"),
    [
        ({"content-md5": MD5}, DOCUMENT, None),
        ({"content-md5": MD5}, b"<delete/>", "BadDigest"),
        ({"content-md5": "abc"}, DOCUMENT, "InvalidDigest"),
        ({"x-amz-checksum-crc32": "AAAAAA=="}, DOCUMENT, "BadDigest"),
        ({"content-md5": MD5}, b"x" * 1001, "MaxMessageLengthExceeded"),
    ],
)
def test_documents_are_held_against_what_the_request_declares(
    headers: dict[str, str], body: bytes, code: str | None
) -> None:
    async def run(_context: Context, document: bytes, _body: Body) -> Response:
        return Response(200, (), document)

    gateway = make_gateway(operation("DeleteObjects", run, body=BodyUse.DOCUMENT))
    answer = ask(gateway, "POST", "/box?delete", body, headers)
    assert answer.body == DOCUMENT if code is None else code_of(answer) == code


def test_a_document_that_differs_from_its_signed_hash_is_refused() -> None:
    gateway = make_gateway(operation("CreateBucket", answer_ok, body=BodyUse.DOCUMENT, needs_bucket=False))
    tampered = [{"type": "http.request", "body": b"other", "more_body": False}]
    answer = ask(gateway, "PUT", "/new", b"signd", messages=tampered)
    assert (answer.status, code_of(answer)) == (400, "XAmzContentSHA256Mismatch")


def test_a_document_of_no_declared_length_is_read_no_further_than_the_limit() -> None:
    gateway = make_gateway(operation("CreateBucket", answer_ok, body=BodyUse.DOCUMENT, needs_bucket=False))
    endless = [{"type": "http.request", "body": bytes(256 * 1024), "more_body": True}] * 50
    answer = ask(gateway, "PUT", "/new", None, {"transfer-encoding": "chunked"}, messages=endless)
    assert code_of(answer) == "MaxMessageLengthExceeded"
    assert answer.received_messages == 1
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize(("size", "beside"), [(64 * 1024, False), (64 * 1024 + 1, True)])
def test_a_long_document_is_parsed_beside_the_loop(size: int, beside: bool) -> None:
    parsed_in: list[int] = []

    def parse(_request: Request, _address: Address, document: bytes) -> bytes:
        parsed_in.append(threading.get_ident())
        if document.endswith(b"!"):
            raise S3Error(MALFORMED_XML)
        return document

    async def run(_context: Context, document: bytes, _body: Body) -> Response:
        return Response(200, (), b"%d" % len(document))

    reading = replace(operation("CreateBucket", run, body=BodyUse.DOCUMENT, needs_bucket=False), parse=parse)
    gateway = make_gateway(reading, max_document_bytes=size)
    assert ask(gateway, "PUT", "/new", b"x" * size).body == b"%d" % size
    assert code_of(ask(gateway, "PUT", "/new", b"x" * (size - 1) + b"!")) == "MalformedXML"
    assert [ident != threading.get_ident() for ident in parsed_in] == [beside, beside]


def test_a_missing_document_is_an_empty_one() -> None:
    async def run(_context: Context, document: bytes, _body: Body) -> Response:
        return Response(200, (), b"%d" % len(document))

    gateway = make_gateway(operation("CreateBucket", run, body=BodyUse.DOCUMENT, needs_bucket=False))
    assert ask(gateway, "PUT", "/new").body == b"0"


def test_a_streaming_form_on_an_operation_without_body_is_refused() -> None:
    gateway = make_gateway(operation("DeleteObject", answer_ok))
    answer = asyncio.run(call(gateway.app, "DELETE", "/box/k", signed_streaming("DELETE", "/box/k", 0)))
    assert (answer.status, code_of(answer)) == (400, "InvalidRequest")


def test_a_stream_is_sent_whole_and_closed() -> None:
    closed = []

    async def chunks() -> AsyncIterator[bytes]:
        try:
            yield b"one"
            yield b"two"
        finally:
            closed.append(True)

    gateway = make_gateway(operation("GetObject", giving(chunks(), 6)))
    answer = ask(gateway, "GET", "/box/k")
    assert (answer.body, answer.is_complete, answer.was_aborted, closed) == (b"onetwo", True, False, [True])
    assert gateway.counted("sealgate_sent_bytes_total") == 6


def test_an_empty_stream_is_a_whole_answer() -> None:
    answer = ask(make_gateway(operation("GetObject", giving(stream_of(), 0))), "GET", "/box/k")
    assert (answer.status, answer.body, answer.is_complete) == (200, b"", True)


def test_damage_in_the_first_chunk_is_a_500_before_the_status_line() -> None:
    damaged = stream_of(error=storage.SealedDamaged("x"))
    gateway = make_gateway(operation("GetObject", giving(damaged, 6)))
    answer = ask(gateway, "GET", "/box/k")
    assert (answer.status, code_of(answer), answer.was_aborted) == (500, "InternalError", False)
    assert gateway.counted("sealgate_damaged_total", kind="SealedDamaged") == 1


@pytest.mark.parametrize(
    ("stream", "length", "kind"),
    [
        (stream_of(b"one", error=storage.SealedDamaged("x")), 6, "SealedDamaged"),
        (stream_of(b"one"), 6, "WrongLength"),
        (stream_of(b"one", b"four"), 6, "WrongLength"),
        (stream_of(b"one", b"two", error=ValueError("x")), 6, "ValueError"),
    ],
)
def test_a_stream_that_fails_later_cuts_the_connection(stream: AsyncIterator[bytes], length: int, kind: str) -> None:
    gateway = make_gateway(operation("GetObject", giving(stream, length)))
    answer = ask(gateway, "GET", "/box/k")
    assert (answer.status, answer.is_complete, answer.was_aborted) == (200, False, True)
    assert len(answer.body) <= length
    assert gateway.counted("sealgate_responses_cut_total", cause=kind) == 1


class Stream:
    """A body that notes whether it was closed."""

    is_closed = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        return b"one"

    async def aclose(self) -> None:
        self.is_closed = True


def test_a_stream_without_a_length_is_a_defect_and_is_closed() -> None:
    stream = Stream()

    async def run(_context: Context, _document: bytes, _body: Body) -> Response:
        return Response(200, (), stream)

    gateway = make_gateway(operation("GetObject", run))
    assert ask(gateway, "GET", "/box/k").status == 500
    assert gateway.counted("sealgate_unexpected_errors_total") == 1
    assert stream.is_closed


def test_a_response_header_that_could_end_its_line_is_never_sent() -> None:
    async def run(_context: Context, _document: bytes, _body: Body) -> Response:
        return Response(200, (("Content-Type", "a\r\nSet-Cookie: x"),), b"")

    answer = ask(make_gateway(operation("GetObject", run)), "GET", "/box/k")
    assert (answer.status, code_of(answer)) == (500, "InternalError")


def test_a_client_that_leaves_ends_the_stream() -> None:
    given, closed = [], []

    async def chunks() -> AsyncIterator[bytes]:
        try:
            for number in range(1000):
                given.append(number)
                yield b"x"
        finally:
            closed.append(True)

    gateway = make_gateway(operation("GetObject", giving(chunks(), 1000)))
    answer = ask(gateway, "GET", "/box/k", leaves_after=3)
    assert not answer.is_complete
    assert len(given) < 10
    assert closed == [True]


def test_a_client_that_leaves_in_its_body_is_an_incomplete_body(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str] = []

    async def run(_context: Context, _document: bytes, body: Body) -> Response:
        try:
            async for _ in body:
                pass
        except S3Error as error:
            seen.append(error.row.code)
            raise
        return Response(200)

    gateway = make_gateway(operation("PutObject", run, body=BodyUse.STREAM))
    messages = [{"type": "http.request", "body": b"da", "more_body": True}, {"type": "http.disconnect"}]
    with caplog.at_level(logging.INFO):
        ask(gateway, "PUT", "/box/k", b"data", messages=messages)
    assert seen == ["IncompleteBody"]
    assert not [record for record in caplog.records if record.name == "sealgate.audit"]


def test_more_requests_than_allowed_are_told_to_slow_down() -> None:
    async def run(_context: Context, _document: bytes, _body: Body) -> Response:
        refused.append(await asyncio.wait_for(call(gateway.app, "GET", "/box/k", [(b"host", HOST.encode())]), 5))
        return Response(200)

    refused: list[Answer] = []
    gateway = make_gateway(operation("GetObject", run), max_requests=1)
    assert ask(gateway, "GET", "/box/k").status == 200
    assert (refused[0].status, code_of(refused[0]), refused[0].headers["connection"]) == (503, "SlowDown", "close")
    assert ask(gateway, "GET", "/box/k").status == 200, "the place is free again"
    assert gateway.counted("sealgate_requests_shed_total") == 2
    assert gateway.counted("sealgate_requests_in_flight") == 0


def test_paths_that_a_router_would_trip_over_reach_the_endpoint() -> None:
    seen: list[bytes | None] = []

    async def run(context: Context, _document: bytes, _body: Body) -> Response:
        seen.append(context.address.object_key)
        assert context.request.tls_version == "TLSv1.3"
        assert context.request.client_host == "192.0.2.7"
        return Response(200)

    gateway = make_gateway(operation("GetObject", run))
    for path in ("/box/a%0Ab", "/box//a", "/box/a/"):
        assert ask(gateway, "GET", path).status == 200
    assert seen == [b"a\nb", b"/a", b"a/"]
