"""Browser forms as boto3 makes them, signed by either version, and as a browser sends them."""

import base64
import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from botocore.config import Config

from gateway.s3.sigv4.canonical import Scope, signature, signing_key
from tests.gateway.http.asgi import HOST, SECRET, Answer, call
from tests.gateway.operations.stage import ALICE, MIB, REGION, Stage, messages_of, refused

MD5: Any = {"Content-MD5": base64.b64encode(hashlib.md5(b"content").digest()).decode()}
BOUNDARY = "----WebKitFormBoundary7MA4YWxkTrZu0gW"


def body_of(fields: dict[str, str], content: bytes, file_name: str | None = "a.txt", *, submit: bool = True) -> bytes:
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    named = "" if file_name is None else f'; filename="{file_name}"'
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"{named}\r\nContent-Type: text/plain\r\n\r\n'
    tail = f'\r\n--{BOUNDARY}\r\nContent-Disposition: form-data; name="submit"\r\n\r\nUpload' if submit else ""
    return b"".join(parts) + head.encode() + content + tail.encode() + f"\r\n--{BOUNDARY}--\r\n".encode()


def send(stage: Stage, body: bytes, *headers: tuple[bytes, bytes], target: str = "/bucket") -> Answer:
    sent = [
        (b"host", HOST.encode()),
        (b"content-type", f"multipart/form-data; boundary={BOUNDARY}".encode()),
        (b"content-length", str(len(body)).encode()),
        *headers,
    ]
    answer: Answer = stage.run(call(stage.app, "POST", target, sent, messages_of(body)))
    return answer


def client(version: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=f"https://{HOST}",
        region_name=REGION,
        aws_access_key_id=ALICE,
        aws_secret_access_key=SECRET,
        config=Config(signature_version=version),
    )


def fields_of(key: str = "k", *conditions: Any, version: str = "s3v4", **fields: str) -> dict[str, str]:
    """A form that boto3 signs; each field gets a condition of its own."""
    named = {name.replace("_", "-") if name.startswith("x_") else name: value for name, value in fields.items()}
    made = client(version).generate_presigned_post(
        "bucket", key, Fields=dict(named), Conditions=[*({n: v} for n, v in named.items()), *conditions]
    )
    given: dict[str, str] = made["fields"]
    return given


def post(stage: Stage, content: bytes = b"content", key: str = "k", *conditions: Any, **fields: Any) -> Answer:
    return send(stage, body_of(fields_of(key, *conditions, **fields), content))


def is_refused(answer: Answer, status: int, code: str, says: str = "") -> None:
    assert (answer.status, f"<Code>{code}</Code>".encode() in answer.body) == (status, True), answer.body
    assert says.encode() in answer.body, answer.body


@pytest.mark.parametrize("version", ["s3v4", "s3"])
def test_a_form_of_boto3(stage: Stage, version: str) -> None:
    answer = send(stage, body_of(fields_of("u/${filename}", version=version), b"content"))
    etag = f'"{hashlib.md5(b"content").hexdigest()}"'
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["etag"] == etag
    assert answer.headers["location"] == f"https://{HOST}/bucket/u%2Fa.txt"
    assert answer.headers["x-amz-checksum-type"] == "FULL_OBJECT"
    assert stage.body_of("u/a.txt") == b"content"
    assert stage.alice.head_object(Bucket="bucket", Key="u/a.txt")["ContentType"] == "binary/octet-stream"


@pytest.mark.parametrize("size", [0, 1, 20_000, 200_000, 3 * MIB + 17])
def test_every_size_arrives(stage: Stage, size: int) -> None:
    content = (b"\r\n--" + BOUNDARY[:-1].encode()) * (size // 40) + b"-" * (size % 40)
    assert post(stage, content).status == 204
    assert stage.body_of("k") == content


def test_fields_are_kept_as_headers_are(stage: Stage) -> None:
    headers: Any = {"Content-Type": "image/png", "Cache-Control": "no-store", "acl": "private"}
    answer = post(
        stage,
        **headers,
        x_amz_meta_uuid="14365123651274",
        x_amz_server_side_encryption="AES256",
    )
    assert answer.status == 204, answer.body
    head = stage.alice.head_object(Bucket="bucket", Key="k")
    assert (head["ContentType"], head["CacheControl"], head["Metadata"]) == (
        "image/png",
        "no-store",
        {"uuid": "14365123651274"},
    )


def test_a_document_is_answered_where_the_form_asks_for_it(stage: Stage) -> None:
    answer = post(stage, key="a/é <&>", success_action_status="201")
    assert answer.status == 201
    location = f"https://{HOST}/bucket/a%2F%C3%A9%20%3C%26%3E"
    assert answer.headers["location"] == location
    etag = hashlib.md5(b"content").hexdigest()
    assert answer.body.decode() == (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<PostResponse><Location>{location}</Location><Bucket>bucket</Bucket><Key>a/é &lt;&amp;&gt;</Key>"
        f"<ETag>&quot;{etag}&quot;</ETag></PostResponse>"
    )
    assert post(stage, success_action_status="200").status == 200
    assert post(stage, success_action_status="404").status == 204


@pytest.mark.parametrize(
    "target", ["https://example.org/done", "https://example.org/done?a=b", "http://example.org/#f"]
)
def test_the_browser_is_sent_on(stage: Stage, target: str) -> None:
    answer = post(stage, key="a b&c", success_action_redirect=target, success_action_status="201")
    assert (answer.status, answer.body) == (303, b"")
    sent, asked = urlsplit(answer.headers["location"]), urlsplit(target)
    assert (sent.scheme, sent.netloc, sent.path, sent.fragment) == (
        asked.scheme,
        asked.netloc,
        asked.path,
        asked.fragment,
    )
    told = {"bucket": ["bucket"], "key": ["a b&c"], "etag": [answer.headers["etag"]]}
    assert parse_qs(sent.query) == parse_qs(asked.query) | told


def test_digests_are_compared(stage: Stage) -> None:
    assert post(stage, **MD5).status == 204
    is_refused(post(stage, b"contenT", "new", **MD5), 400, "BadDigest")
    sha256 = base64.b64encode(hashlib.sha256(b"content").digest()).decode()
    assert post(stage, x_amz_checksum_sha256=sha256).headers["x-amz-checksum-sha256"] == sha256
    is_refused(post(stage, b"contenT", "new", x_amz_checksum_sha256=sha256), 400, "BadDigest")
    assert stage.keys() == ["k"]


def test_the_size_is_judged_by_what_arrives(stage: Stage) -> None:
    limits = ["content-length-range", 5, 10]
    for size in (5, 10):
        assert post(stage, b"x" * size, "k", limits).status == 204
    answer = post(stage, b"x" * 4, "new", limits)
    is_refused(answer, 400, "EntityTooSmall", "<ProposedSize>4</ProposedSize><MinSizeAllowed>5</MinSizeAllowed>")
    answer = post(stage, b"x" * 11, "new", limits)
    is_refused(answer, 400, "EntityTooLarge", "<MaxSizeAllowed>10</MaxSizeAllowed>")
    assert stage.keys() == ["k"]
    assert stage.rig.stored() == {}


def test_too_large_a_file_is_refused_before_it_has_come(stage: Stage) -> None:
    body = body_of(fields_of("k", ["content-length-range", 0, MIB]), b"x" * (20 * MIB))
    messages = messages_of(body)
    sent = [
        (b"host", HOST.encode()),
        (b"content-type", f"multipart/form-data; boundary={BOUNDARY}".encode()),
        (b"content-length", str(len(body)).encode()),
    ]
    # The server has no more to give than this: who asks for it would fail.
    answer = stage.run(call(stage.app, "POST", "/bucket", sent, messages[: len(messages) // 4]))
    is_refused(answer, 400, "EntityTooLarge")
    assert answer.headers["connection"] == "close"
    assert stage.keys() == []


def test_conditions_bind(stage: Stage) -> None:
    fields = fields_of("u/", ["starts-with", "$key", "u/"]) | {"key": "other"}
    is_refused(send(stage, body_of(fields, b"x")), 403, "AccessDenied", "Policy Condition failed")
    is_refused(
        send(stage, body_of(fields_of() | {"x-amz-meta-a": "b"}, b"x")),
        403,
        "AccessDenied",
        "Extra input fields: x-amz-meta-a",
    )
    assert stage.keys() == []


def test_a_form_is_for_its_bucket(stage: Stage) -> None:
    stage.alice.create_bucket(Bucket="other")
    answer = send(stage, body_of(fields_of(), b"x"), target="/other")
    is_refused(answer, 403, "AccessDenied", "$bucket")
    assert stage.keys("other") == []


def test_a_form_that_ran_out(stage: Stage) -> None:
    now = datetime.now(UTC)
    policy = {
        "expiration": f"{now - timedelta(seconds=1):%Y-%m-%dT%H:%M:%SZ}",
        "conditions": [["starts-with", f"${name}", ""] for name in ("bucket", "key", *CLAIMS)],
    }
    is_refused(send(stage, body_of(signed(policy), b"x")), 403, "AccessDenied", "Policy expired")
    policy["expiration"] = f"{now + timedelta(seconds=60):%Y-%m-%dT%H:%M:%SZ}"
    assert send(stage, body_of(signed(policy), b"x")).status == 204


CLAIMS = ("x-amz-algorithm", "x-amz-credential", "x-amz-date")


def signed(policy: object, access_key_id: str = ALICE, secret: str = SECRET) -> dict[str, str]:
    now = datetime.now(UTC)
    scope = Scope(f"{now:%Y%m%d}", REGION, "s3")
    text = base64.b64encode(json.dumps(policy).encode()).decode()
    return {
        "key": "k",
        "x-amz-algorithm": "AWS4-HMAC-SHA256",
        "x-amz-credential": f"{access_key_id}/{scope}",
        "x-amz-date": f"{now:%Y%m%dT%H%M%SZ}",
        "policy": text,
        "x-amz-signature": signature(signing_key(secret, scope), text.encode()).decode(),
    }


def test_the_signer_must_be_allowed_to_put(stage: Stage) -> None:
    policy = {
        "expiration": "2999-01-01T00:00:00Z",
        "conditions": [["starts-with", f"${name}", ""] for name in ("bucket", "key", *CLAIMS)],
    }
    is_refused(send(stage, body_of(signed(policy, "AKIDTHEOTHERACCOUNT1"), b"x")), 403, "AccessDenied")
    is_refused(send(stage, body_of(signed(policy, "AKIDNOBODY"), b"x")), 403, "InvalidAccessKeyId")
    is_refused(send(stage, body_of(signed(policy, ALICE, SECRET + "x"), b"x")), 403, "SignatureDoesNotMatch")
    is_refused(send(stage, body_of(signed(policy), b"x"), target="/no-such"), 404, "NoSuchBucket")
    assert stage.keys() == []


def test_a_form_without_a_signature_is_anonymous(stage: Stage) -> None:
    is_refused(send(stage, body_of({"key": "k"}, b"x")), 403, "AccessDenied")
    is_refused(send(stage, body_of({"key": "k"}, b"x"), target="/no-such"), 403, "AccessDenied")
    assert stage.keys() == []


def test_a_post_that_is_no_form(stage: Stage) -> None:
    answer = stage.raw("POST", "/bucket", {"content-type": "text/plain"}, b"x")
    is_refused(answer, 412, "PreconditionFailed", "Bucket POST must be of the enclosure-type multipart/form-data")
    sent = [(b"host", HOST.encode()), (b"content-type", b"text/plain"), (b"content-length", b"1")]
    answer = stage.run(call(stage.app, "POST", "/bucket", sent, messages_of(b"x")))
    is_refused(answer, 412, "PreconditionFailed", "multipart/form-data")


def test_a_form_needs_a_length(stage: Stage) -> None:
    sent = [
        (b"host", HOST.encode()),
        (b"content-type", f"multipart/form-data; boundary={BOUNDARY}".encode()),
        (b"transfer-encoding", b"chunked"),
    ]
    answer = stage.run(call(stage.app, "POST", "/bucket", sent, messages_of(body_of(fields_of(), b"x"))))
    is_refused(answer, 411, "MissingContentLength")


def test_a_form_signed_by_its_header_is_none(stage: Stage) -> None:
    content_type = f"multipart/form-data; boundary={BOUNDARY}"
    answer = stage.raw("POST", "/bucket", {"content-type": content_type}, body_of({"key": "k"}, b"x"))
    is_refused(answer, 412, "PreconditionFailed")
    assert stage.keys() == []


def test_an_overwritten_object_is_replaced_whole_or_not_at_all(stage: Stage) -> None:
    stage.put("k", b"old")
    cut = body_of(fields_of(), b"new" * 100_000)[:-2000]
    is_refused(send(stage, cut), 400, "MalformedPOSTRequest")
    assert stage.body_of("k") == b"old"
    assert stage.rig.stored() == {}
    assert post(stage, b"new").status == 204
    assert stage.body_of("k") == b"new"


def test_two_files_are_refused_and_nothing_stays(stage: Stage) -> None:
    body = body_of(fields_of(), b"x" * 100_000, submit=False)
    more = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"\r\n\r\ny\r\n--{BOUNDARY}--\r\n'.encode()
    end = f"--{BOUNDARY}--\r\n".encode()
    assert body.endswith(end)
    is_refused(send(stage, body[: -len(end)] + more), 400, "IncorrectNumberOfFilesInPostRequest")
    assert stage.keys() == []
    assert stage.rig.stored() == {}


def test_nothing_secret_is_answered(stage: Stage) -> None:
    fields = fields_of() | {"x-amz-signature": "0" * 64}
    answer = send(stage, body_of(fields, b"x"))
    is_refused(answer, 403, "SignatureDoesNotMatch")
    right = fields_of()["x-amz-signature"]
    assert right.encode() not in answer.body
    assert re.search(rb"[0-9a-f]{64}", answer.body) is None


def test_a_stranger_is_told_the_same_of_buckets_that_are_and_are_not(stage: Stage) -> None:
    refused(stage.nobody.head_bucket, 403, "403", Bucket="bucket")
    there, absent = (send(stage, body_of({"key": "k"}, b"x"), target=t) for t in ("/bucket", "/no-such"))
    assert re.sub(rb"<(Resource|RequestId)>.*?</", b"", there.body) == re.sub(
        rb"<(Resource|RequestId)>.*?</", b"", absent.body
    )
