"""Browser uploads: forms that boto3 signs, sent over TLS as a browser sends them, with no S3 client in between.

Source: the boto3 reference of `generate_presigned_post`; AWS "Browser-Based Uploads Using POST".
"""

import hashlib
import http.client
import urllib.parse
import uuid
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.blackbox.clients import MIB, ODD_NAMES, payload, s3_client
from tests.blackbox.process import Gateway
from tests.blackbox.witness import note, shows


@pytest.fixture(scope="session", params=["s3v4", "default"])
def signer(gateway: Gateway, request: pytest.FixtureRequest) -> Iterator[Any]:
    """boto3 signs forms by Version 2 unless it is told otherwise."""
    options = {} if request.param == "default" else {"signature_version": request.param}
    client = s3_client(gateway, **options)
    yield client
    client.close()


def encoded(fields: dict[str, str], content: bytes, file_name: str) -> tuple[str, bytes]:
    boundary = uuid.uuid4().hex
    # HTML: "multipart/form-data encoding algorithm".
    shown = file_name.replace("\n", "%0A").replace("\r", "%0D").replace('"', "%22")
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{shown}"\r\n'
    head += "Content-Type: application/octet-stream\r\n\r\n"
    return f"multipart/form-data; boundary={boundary}", b"".join(
        [*parts, head.encode(), content, f"\r\n--{boundary}--\r\n".encode()]
    )


def send(
    gateway: Gateway, form: dict[str, Any], content: bytes, file_name: str = "a.txt"
) -> tuple[http.client.HTTPResponse, bytes]:
    address = urllib.parse.urlsplit(form["url"])
    content_type, body = encoded(form["fields"], content, file_name)
    assert address.hostname is not None
    connection = http.client.HTTPSConnection(address.hostname, address.port, context=gateway.tls_context(), timeout=30)
    try:
        connection.request("POST", address.path or "/", body, {"Content-Type": content_type})
        answer = connection.getresponse()
        told = answer.read()
        code = ET.fromstring(told).findtext("Code", "") if told else ""  # noqa: S314 - of our own gateway
        note("PostObject", answer.status, code)
        return answer, told
    finally:
        connection.close()


@shows("PostObject 204")
@pytest.mark.parametrize("size", [0, 1, 100_000, 12 * MIB])
def test_a_form_makes_an_object(gateway: Gateway, s3: Any, signer: Any, bucket: str, size: int) -> None:
    content = payload(size)
    answer, body = send(gateway, signer.generate_presigned_post(bucket, "folder/${filename}"), content)
    assert (answer.status, body) == (204, b"")
    held = s3.get_object(Bucket=bucket, Key="folder/a.txt")
    assert held["Body"].read() == content
    assert answer.headers["ETag"] == held["ETag"] == f'"{hashlib.md5(content).hexdigest()}"'


@shows(
    "PostObject 201", "PostObject 400 EntityTooSmall", "PostObject 400 EntityTooLarge", "PostObject 403 AccessDenied"
)
def test_the_fields_of_a_form(gateway: Gateway, s3: Any, signer: Any, bucket: str) -> None:
    fields = {
        "Content-Type": "image/png",
        "acl": "private",
        "success_action_status": "201",
        "x-amz-meta-note": "hello",
        "x-amz-server-side-encryption": "AES256",
    }
    conditions = [
        *({name: value} for name, value in fields.items() if name != "Content-Type"),
        ["starts-with", "$Content-Type", "image/"],
        ["content-length-range", 1, 10],
    ]
    form = signer.generate_presigned_post(bucket, "k", Fields=fields, Conditions=conditions)
    answer, body = send(gateway, form, b"0123456789")
    assert answer.status == 201, body
    root = ET.fromstring(body)  # noqa: S314 - of our own gateway
    assert [(e.tag, e.text) for e in root][1:] == [("Bucket", bucket), ("Key", "k"), ("ETag", answer.headers["ETag"])]
    assert root.findtext("Location") == answer.headers["Location"] == f"{gateway.endpoint}/{bucket}/k"
    head = s3.head_object(Bucket=bucket, Key="k")
    assert (head["ContentType"], head["Metadata"], head["ServerSideEncryption"]) == (
        "image/png",
        {"note": "hello"},
        "AES256",
    )
    for content, code in ((b"", b"EntityTooSmall"), (b"x" * 11, b"EntityTooLarge")):
        answer, body = send(gateway, form, content)
        assert (answer.status, code in body) == (400, True)
    form["fields"]["Content-Type"] = "text/html"
    answer, body = send(gateway, form, b"x")
    assert (answer.status, b"Policy Condition failed" in body) == (403, True)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"0123456789"


def test_file_names_become_keys(gateway: Gateway, s3: Any, signer: Any, bucket: str) -> None:
    form = signer.generate_presigned_post(bucket, "up/${filename}")
    names = [name for name in ODD_NAMES if "/" not in name and "\\" not in name]
    for name in names:
        answer, body = send(gateway, form, name.encode(), name)
        assert answer.status == 204, (name, body)
    listed = {entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]}
    assert listed == {f"up/{name}" for name in names}


def test_the_browser_is_sent_on(gateway: Gateway, signer: Any, bucket: str) -> None:
    fields = {"success_action_redirect": "https://example.org/done"}
    form = signer.generate_presigned_post(bucket, "k", Fields=fields, Conditions=[fields])
    answer, _ = send(gateway, form, b"x")
    told = urllib.parse.parse_qs(urllib.parse.urlsplit(answer.headers["Location"]).query)
    assert answer.status == 303
    assert told == {"bucket": [bucket], "key": ["k"], "etag": [answer.headers["ETag"]]}


@shows("PostObject 403 AccessDenied")
def test_another_bucket_and_another_key_are_refused(gateway: Gateway, s3: Any, signer: Any, bucket: str) -> None:
    s3.create_bucket(Bucket=f"{bucket}-other")
    form = signer.generate_presigned_post(bucket, "k")
    elsewhere = form | {"url": form["url"] + "-other"}
    renamed = form | {"fields": form["fields"] | {"key": "other"}}
    for bent in (elsewhere, renamed):
        answer, body = send(gateway, bent, b"x")
        assert (answer.status, b"<Code>AccessDenied</Code>" in body) == (403, True), body
    for name in (bucket, f"{bucket}-other"):
        assert s3.list_objects_v2(Bucket=name)["KeyCount"] == 0


def test_nothing_of_a_form_reaches_the_log(gateway: Gateway, signer: Any, bucket: str) -> None:
    form = signer.generate_presigned_post(bucket, "very-secret-name")
    send(gateway, form, b"very-secret-content")
    log = gateway.log.read_text()
    assert "POST" in log or "PostObject" in log
    for secret in ("very-secret", *(form["fields"][name] for name in form["fields"] if "signature" in name)):
        assert secret not in log
