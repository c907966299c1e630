"""boto3 as programs use it: objects, conditions, listings, copies, presigned addresses, two accounts.

Source: the boto3 S3 reference; S3-SEMANTICS sections 2 to 5 for what must come back.
"""

import datetime as dt
import hashlib
import http.client
import socket
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.blackbox.clients import ODD_NAMES, payload, refusal, s3_client, sha256
from tests.blackbox.process import Credentials, Gateway


@pytest.fixture(scope="session")
def stranger(gateway: Gateway) -> Credentials:
    """The access key of a second account, made while the gateway serves."""
    return gateway.create_account("stranger")


@pytest.fixture(scope="session")
def theirs(gateway: Gateway, stranger: Credentials) -> Iterator[Any]:
    client = s3_client(gateway, stranger)
    yield client
    client.close()


@pytest.fixture(scope="session")
def v4(gateway: Gateway) -> Iterator[Any]:
    client = s3_client(gateway, signature_version="s3v4")
    yield client
    client.close()


def fetch(gateway: Gateway, address: str, method: str = "GET", body: bytes | None = None) -> tuple[int, bytes]:
    """Use a presigned address without any S3 client; return (status, body)."""
    request = urllib.request.Request(address, method=method, data=body)
    if body is not None:
        request.add_header("Content-Type", "")  # urllib's own default would be a header that nobody signed
    try:
        with urllib.request.urlopen(request, context=gateway.tls_context(), timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


@pytest.mark.parametrize("size", [0, 1, 16_383, 16_384, 16_385, 32_768, 1_000_000])
def test_bytes_come_back_as_they_went(s3: Any, bucket: str, size: int) -> None:
    content = payload(size)
    put = s3.put_object(Bucket=bucket, Key="object", Body=content)
    assert put["ETag"] == f'"{hashlib.md5(content).hexdigest()}"'
    got = s3.get_object(Bucket=bucket, Key="object")
    assert sha256(got["Body"].read()) == sha256(content)
    assert (got["ContentLength"], got["ETag"]) == (size, put["ETag"])
    assert got["ServerSideEncryption"] == "AES256"
    (listed,) = s3.list_objects_v2(Bucket=bucket)["Contents"]
    assert (listed["Key"], listed["Size"], listed["ETag"]) == ("object", size, put["ETag"])


@pytest.mark.parametrize("key", [*ODD_NAMES, "/leading", "double//slash", "dots.../.hidden", "trailing/", "x" * 1024])
def test_odd_keys(s3: Any, bucket: str, key: str) -> None:
    content = key.encode()
    s3.put_object(Bucket=bucket, Key=key, Body=content)
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == content
    assert s3.head_object(Bucket=bucket, Key=key)["ContentLength"] == len(content)
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [key]
    s3.delete_object(Bucket=bucket, Key=key)
    assert refusal(s3.get_object, Bucket=bucket, Key=key) == (404, "NoSuchKey")


def test_headers_and_metadata_are_kept(s3: Any, bucket: str) -> None:
    described = {
        "ContentType": "application/x-odd",
        "ContentEncoding": "gzip",
        "ContentDisposition": 'attachment; filename="a b"',
        "ContentLanguage": "de",
        "CacheControl": "max-age=60",
        "Metadata": {"colour": "blue", "empty": "", "spaced": "a  b"},
    }
    s3.put_object(Bucket=bucket, Key="described", Body=b"x", **described)
    for answer in (
        s3.head_object(Bucket=bucket, Key="described"),
        s3.get_object(Bucket=bucket, Key="described"),
    ):
        assert {name: answer[name] for name in described} == described
        age = dt.datetime.now(dt.UTC) - answer["LastModified"]
        assert abs(age) < dt.timedelta(minutes=1)


@pytest.mark.parametrize(
    ("asked", "first", "length"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=16383-16384", 16_383, 2),
        ("bytes=40000-", 40_000, 10_000),
        ("bytes=-1", 49_999, 1),
        ("bytes=-99999", 0, 50_000),
        ("bytes=100-99999", 100, 49_900),
    ],
)
def test_ranges(s3: Any, bucket: str, asked: str, first: int, length: int) -> None:
    content = payload(50_000)
    s3.put_object(Bucket=bucket, Key="ranged", Body=content)
    got = s3.get_object(Bucket=bucket, Key="ranged", Range=asked)
    assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert got["ContentRange"] == f"bytes {first}-{first + length - 1}/50000"
    assert sha256(got["Body"].read()) == sha256(content[first : first + length])


def test_range_beyond_the_end(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="ranged", Body=b"12345")
    assert refusal(s3.get_object, Bucket=bucket, Key="ranged", Range="bytes=5-") == (416, "InvalidRange")


def test_conditional_writes(s3: Any, bucket: str) -> None:
    write = {"Bucket": bucket, "Key": "lock"}
    first = s3.put_object(**write, Body=b"one", IfNoneMatch="*")["ETag"]
    assert refusal(s3.put_object, **write, Body=b"two", IfNoneMatch="*") == (412, "PreconditionFailed")
    assert refusal(s3.put_object, **write, Body=b"two", IfMatch='"00"') == (412, "PreconditionFailed")
    assert s3.get_object(**write)["Body"].read() == b"one"
    s3.put_object(**write, Body=b"two", IfMatch=first)
    assert s3.get_object(**write)["Body"].read() == b"two"
    absent = refusal(s3.put_object, Bucket=bucket, Key="absent", Body=b"x", IfMatch=first)
    assert absent == (404, "NoSuchKey")


def test_conditional_reads(s3: Any, bucket: str) -> None:
    put = s3.put_object(Bucket=bucket, Key="read", Body=b"x")
    read = {"Bucket": bucket, "Key": "read"}
    modified = s3.head_object(**read)["LastModified"]
    later = modified + dt.timedelta(seconds=1)
    earlier = modified - dt.timedelta(seconds=1)
    assert s3.get_object(**read, IfMatch=put["ETag"])["Body"].read() == b"x"
    assert refusal(s3.get_object, **read, IfMatch='"00"') == (412, "PreconditionFailed")
    assert refusal(s3.get_object, **read, IfNoneMatch=put["ETag"]) == (304, "304")
    assert refusal(s3.head_object, **read, IfNoneMatch=put["ETag"]) == (304, "304")
    assert s3.get_object(**read, IfModifiedSince=earlier)["Body"].read() == b"x"
    assert refusal(s3.get_object, **read, IfModifiedSince=modified) == (304, "304")
    assert s3.get_object(**read, IfUnmodifiedSince=later)["Body"].read() == b"x"
    assert refusal(s3.get_object, **read, IfUnmodifiedSince=earlier) == (412, "PreconditionFailed")


def test_copy_keeps_or_replaces(s3: Any, bucket: str) -> None:
    content = payload(100_000)
    s3.put_object(Bucket=bucket, Key="from é+%", Body=content, Metadata={"a": "1"}, ContentType="x/one")
    source = {"Bucket": bucket, "Key": "from é+%"}
    s3.copy_object(Bucket=bucket, Key="kept", CopySource=source)
    kept = s3.get_object(Bucket=bucket, Key="kept")
    assert (kept["Metadata"], kept["ContentType"]) == ({"a": "1"}, "x/one")
    new = {"Metadata": {"b": "2"}, "ContentType": "x/two", "MetadataDirective": "REPLACE"}
    s3.copy_object(Bucket=bucket, Key="replaced", CopySource=source, **new)
    replaced = s3.get_object(Bucket=bucket, Key="replaced")
    assert (replaced["Metadata"], replaced["ContentType"]) == ({"b": "2"}, "x/two")
    assert sha256(kept["Body"].read()) == sha256(replaced["Body"].read()) == sha256(content)
    s3.delete_object(**source)
    assert sha256(s3.get_object(Bucket=bucket, Key="kept")["Body"].read()) == sha256(content)


def test_copy_to_itself_needs_a_change(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="self", Body=b"same", Metadata={"a": "1"})
    where = {"Bucket": bucket, "Key": "self", "CopySource": {"Bucket": bucket, "Key": "self"}}
    assert refusal(s3.copy_object, **where) == (400, "InvalidRequest")
    s3.copy_object(**where, Metadata={"a": "2"}, MetadataDirective="REPLACE")
    got = s3.get_object(Bucket=bucket, Key="self")
    assert (got["Body"].read(), got["Metadata"]) == (b"same", {"a": "2"})


def test_copy_conditions(s3: Any, bucket: str) -> None:
    tag = s3.put_object(Bucket=bucket, Key="from", Body=b"x")["ETag"]
    where = {"Bucket": bucket, "Key": "to", "CopySource": {"Bucket": bucket, "Key": "from"}}
    assert refusal(s3.copy_object, **where, CopySourceIfMatch='"00"') == (412, "PreconditionFailed")
    assert refusal(s3.copy_object, **where, CopySourceIfNoneMatch=tag) == (412, "PreconditionFailed")
    s3.copy_object(**where, CopySourceIfMatch=tag)
    assert s3.get_object(Bucket=bucket, Key="to")["Body"].read() == b"x"


def test_delete_many(s3: Any, bucket: str) -> None:
    keys = [f"doomed/{number} +&<é" for number in range(50)]
    for key in [*keys, "stays"]:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    wanted = {"Objects": [{"Key": key} for key in [*keys, "never was"]]}
    gone = s3.delete_objects(Bucket=bucket, Delete=wanted)
    assert {entry["Key"] for entry in gone["Deleted"]} == {*keys, "never was"}
    assert "Errors" not in gone
    assert "Deleted" not in s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "never was"}], "Quiet": True})
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["stays"]


@pytest.mark.parametrize("operation", ["list_objects", "list_objects_v2"])
def test_paginators(s3: Any, bucket: str, operation: str) -> None:
    keys = sorted(
        [f"p/{folder} é/{number}" for folder in "abc" for number in range(5)] + ["p/top", "q"], key=str.encode
    )
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    pages = s3.get_paginator(operation)
    small = {"PageSize": 2}
    everything = [
        entry["Key"] for page in pages.paginate(Bucket=bucket, PaginationConfig=small) for entry in page["Contents"]
    ]
    assert everything == keys
    folders, files = [], []
    for page in pages.paginate(Bucket=bucket, Prefix="p/", Delimiter="/", PaginationConfig=small):
        folders += [entry["Prefix"] for entry in page.get("CommonPrefixes", [])]
        files += [entry["Key"] for entry in page.get("Contents", [])]
        assert len(page.get("CommonPrefixes", [])) + len(page.get("Contents", [])) <= 2
    assert (folders, files) == (["p/a é/", "p/b é/", "p/c é/"], ["p/top"])


def test_buckets(s3: Any, gateway: Gateway, bucket: str) -> None:
    assert bucket in {entry["Name"] for entry in s3.list_buckets()["Buckets"]}
    head = s3.head_bucket(Bucket=bucket)["ResponseMetadata"]["HTTPHeaders"]
    assert head["x-amz-bucket-region"] == gateway.region
    where = s3.get_bucket_location(Bucket=bucket)["LocationConstraint"]
    assert where == (None if gateway.region == "us-east-1" else gateway.region)
    rules = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rules[0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    s3.put_object(Bucket=bucket, Key="x", Body=b"x")
    assert refusal(s3.delete_bucket, Bucket=bucket) == (409, "BucketNotEmpty")
    s3.delete_object(Bucket=bucket, Key="x")
    s3.delete_bucket(Bucket=bucket)
    assert refusal(s3.head_bucket, Bucket=bucket) == (404, "404")
    assert refusal(s3.list_objects_v2, Bucket=bucket) == (404, "NoSuchBucket")


@pytest.mark.parametrize("name", ["Upper", "under_score", "a..b", "192.168.1.1", "ab", "xn--x", "x-s3alias"])
def test_bad_bucket_names(s3: Any, name: str) -> None:
    assert refusal(s3.create_bucket, Bucket=name) == (400, "InvalidBucketName")


@pytest.mark.parametrize("kind", ["v2", "v4"])
def test_presigned_get_and_put(gateway: Gateway, s3: Any, v4: Any, bucket: str, kind: str) -> None:
    client, mark = {"v2": (s3, "AWSAccessKeyId"), "v4": (v4, "X-Amz-Signature")}[kind]
    where = {"Bucket": bucket, "Key": "signed +%é"}
    put = client.generate_presigned_url("put_object", Params=where, ExpiresIn=60)
    get = client.generate_presigned_url("get_object", Params=where, ExpiresIn=60)
    assert all(mark in urllib.parse.parse_qs(urllib.parse.urlsplit(address).query) for address in (put, get))
    content = payload(100_000)
    assert fetch(gateway, put, "PUT", content)[0] == 200
    status, body = fetch(gateway, get)
    assert (status, sha256(body)) == (200, sha256(content))
    assert fetch(gateway, get.replace("signed", "forged"))[0] == 403
    assert fetch(gateway, get, "DELETE")[0] == 403
    assert s3.get_object(**where)["ContentLength"] == len(content)


def test_presigned_address_ends(gateway: Gateway, s3: Any, v4: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="x", Body=b"x")
    past = {"Bucket": bucket, "Key": "x"}
    old = s3.generate_presigned_url("get_object", Params=past, ExpiresIn=-5)
    status, body = fetch(gateway, old)
    assert (status, b"<Code>AccessDenied</Code>" in body) == (403, True)
    beyond = v4.generate_presigned_url("get_object", Params=past, ExpiresIn=604_801)
    assert fetch(gateway, beyond)[0] in {400, 403}


def test_presigned_override_of_headers(gateway: Gateway, s3: Any, v4: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="x", Body=b"x")
    wanted = {"Bucket": bucket, "Key": "x", "ResponseContentType": "x/asked"}
    address = v4.generate_presigned_url("get_object", Params=wanted, ExpiresIn=60)
    with urllib.request.urlopen(address, context=gateway.tls_context(), timeout=20) as answer:
        assert answer.headers["Content-Type"] == "x/asked"


def test_virtual_hosted_style(gateway: Gateway, s3: Any, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = socket.getaddrinfo
    asked = set()

    def loopback(host: Any, *rest: Any, **named: Any) -> Any:
        asked.add(host)
        return resolve("127.0.0.1" if str(host).endswith(".localhost") else host, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", loopback)
    monkeypatch.setattr(Gateway, "endpoint", property(lambda own: f"https://s3.localhost:{own.port}"))
    client = s3_client(gateway, s3={"addressing_style": "virtual"}, signature_version="s3v4")
    try:
        client.put_object(Bucket=bucket, Key="by/host +%", Body=b"virtual")
        assert client.get_object(Bucket=bucket, Key="by/host +%")["Body"].read() == b"virtual"
        address = client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "by/host +%"})
        assert fetch(gateway, address) == (200, b"virtual")
    finally:
        client.close()
    assert f"{bucket}.s3.localhost" in asked
    assert s3.get_object(Bucket=bucket, Key="by/host +%")["Body"].read() == b"virtual"


def test_accounts_do_not_see_each_other(s3: Any, theirs: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="mine", Body=b"mine")
    assert bucket not in {entry["Name"] for entry in theirs.list_buckets()["Buckets"]}
    denied = (403, "AccessDenied")
    assert refusal(theirs.list_objects_v2, Bucket=bucket) == denied
    assert refusal(theirs.get_object, Bucket=bucket, Key="mine") == denied
    assert refusal(theirs.get_object, Bucket=bucket, Key="absent") == denied
    assert refusal(theirs.put_object, Bucket=bucket, Key="mine", Body=b"theirs") == denied
    assert refusal(theirs.delete_object, Bucket=bucket, Key="mine") == denied
    assert refusal(theirs.delete_bucket, Bucket=bucket) == denied
    assert refusal(theirs.head_object, Bucket=bucket, Key="mine") == (403, "403")
    assert refusal(theirs.create_bucket, Bucket=bucket) == (409, "BucketAlreadyExists")
    theirs.create_bucket(Bucket=f"{bucket}-theirs")
    source = {"Bucket": bucket, "Key": "mine"}
    assert refusal(theirs.copy_object, Bucket=f"{bucket}-theirs", Key="stolen", CopySource=source) == denied
    assert theirs.list_objects_v2(Bucket=f"{bucket}-theirs")["KeyCount"] == 0
    assert s3.get_object(Bucket=bucket, Key="mine")["Body"].read() == b"mine"


def test_anonymous_and_forged_requests(gateway: Gateway, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="x", Body=b"x")
    status, body = fetch(gateway, f"{gateway.endpoint}/{bucket}/x")
    assert (status, b"<Code>AccessDenied</Code>" in body) == (403, True)
    who = gateway.credentials
    for credentials, code in (
        (Credentials(who.access_key_id, "not-the-secret"), "SignatureDoesNotMatch"),
        (Credentials("AKIAUNKNOWNUNKNOWN00", who.secret_access_key), "InvalidAccessKeyId"),
    ):
        client = s3_client(gateway, credentials)
        assert refusal(client.get_object, Bucket=bucket, Key="x") == (403, code)
        client.close()


def _expecting(gateway: Gateway, address: str, length: int) -> tuple[ssl.SSLSocket, bytes]:
    """Send the head of a PUT that waits for 100; return the socket and the first line of the answer."""
    target = urllib.parse.urlsplit(address)
    raw = socket.create_connection(("127.0.0.1", gateway.port), timeout=20)
    wire = gateway.tls_context().wrap_socket(raw, server_hostname=target.hostname)
    head = f"PUT {target.path}?{target.query} HTTP/1.1\r\nHost: {target.netloc}\r\nContent-Length: {length}\r\n"
    wire.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
    return wire, wire.recv(12)


def test_expect_is_answered_before_the_body(gateway: Gateway, s3: Any, v4: Any, bucket: str) -> None:
    content = payload(200_000)
    address = v4.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "waited"})
    wire, first = _expecting(gateway, address, len(content))
    with wire:
        assert first == b"HTTP/1.1 100"
        while not first.endswith(b"\r\n\r\n"):
            first += wire.recv(1)
        wire.sendall(content)
        answer = http.client.HTTPResponse(wire)
        answer.begin()
        assert (answer.status, answer.read()) == (200, b"")
    assert sha256(s3.get_object(Bucket=bucket, Key="waited")["Body"].read()) == sha256(content)


def test_expect_is_refused_without_100(gateway: Gateway, v4: Any, bucket: str) -> None:
    address = v4.generate_presigned_url("put_object", Params={"Bucket": f"{bucket}-absent", "Key": "waited"})
    wire, first = _expecting(gateway, address, 200_000)
    with wire:
        assert first == b"HTTP/1.1 404"
    forged = v4.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "waited"}) + "0"
    wire, first = _expecting(gateway, forged, 200_000)
    with wire:
        assert first == b"HTTP/1.1 403"
