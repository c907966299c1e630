"""What boto3 is about to send over TLS, caught before it leaves: verified, decoded and compared with its checksum."""

import hashlib
import io
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config

from gateway.s3.checksums import ALGORITHMS, PayloadDigests, declared_checksum, trailer_names
from gateway.s3.request import Headers, Request
from gateway.s3.sigv4 import ChunkedDecoder, Kind, Presentation, Verified, decoded_content_length, present, verify

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
REGION = "us-east-1"
KEYS = ["k", "a b+c/é//../x(1)!*'~=&$@,;:?#%41", "/lead", "end/"]
XML = b"<R><UploadId>u</UploadId><Location>x</Location></R>"


class _Raw(io.BytesIO):
    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self.read()


def wire(method: str, url: str, headers: dict[str, Any]) -> Request:
    parts = urlsplit(url)
    items = [
        (name.encode(), value if isinstance(value, bytes) else str(value).encode()) for name, value in headers.items()
    ]
    if not any(name.lower() == b"host" for name, _ in items):
        items.append((b"host", parts.netloc.encode()))
    return Request(
        method, parts.path.encode(), parts.query.encode(), Headers(items), "R", datetime.now(UTC), tls_version="TLSv1.3"
    )


def accepted(request: Request, bucket_from_host: str | None = None) -> Verified:
    found = present(request, request.received_at, REGION, bucket_from_host=bucket_from_host)
    assert isinstance(found, Presentation)
    return verify(found, request, SECRET)


def read(verified: Verified, headers: Headers, body: bytes) -> bytes:
    """Decode the body and compare all that was declared; gives the payload."""
    declared, trailers, payload = declared_checksum(headers), {}, body
    if verified.payload.mode.is_streaming:
        chunked = ChunkedDecoder(
            verified.payload.mode, decoded_content_length(headers), trailer_names(headers), verified.chunk_signer
        )
        payload = b"".join(chunked.feed(body))
        trailers = chunked.finish()
    if declared is not None:
        digests = PayloadDigests([declared.algorithm])
        digests.update(payload)
        declared.with_trailers(trailers).check(digests.digest(declared.algorithm))
    verified.payload.check(hashlib.sha256(payload).digest())
    return payload


class _Catcher:
    """Stands where the network would, and keeps what came by."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.modes: Counter[str] = Counter()

    def __call__(self, request: Any, **_: Any) -> AWSResponse:
        sent = wire(request.method, request.url, request.headers)
        verified = accepted(sent)
        body = request.body
        data = body.read() if hasattr(body, "read") else body or b""
        self.payloads.append(read(verified, sent.headers, data.encode() if isinstance(data, str) else data))
        self.modes[verified.payload.mode.value] += 1
        return AWSResponse(request.url, 200, {"ETag": '"x"'}, _Raw(XML))


def client(style: str, signature: str = "s3v4") -> Any:
    return boto3.client(
        "s3",
        endpoint_url="https://s3.example.test:9443",
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key=SECRET,
        region_name=REGION,
        config=Config(s3={"addressing_style": style}, retries={"max_attempts": 1}, signature_version=signature),
    )


@pytest.mark.parametrize("style", ["path", "virtual"])
@pytest.mark.parametrize("key", KEYS)
def test_every_upload_form_of_boto3(style: str, key: str) -> None:
    s3, caught = client(style), _Catcher()
    s3.meta.events.register("before-send.s3", caught)
    bodies: list[tuple[bytes, Any]] = [
        (b"", b""),
        (b"hello", b"hello"),
        (b"z" * 3_000_000, io.BytesIO(b"z" * 3_000_000)),
    ]
    for expected, body in bodies:
        for algorithm in (*ALGORITHMS, None):
            if isinstance(body, io.BytesIO):
                body.seek(0)
            extra = {"ChecksumAlgorithm": algorithm} if algorithm else {}
            s3.put_object(Bucket="bucket", Key=key, Body=body, Metadata={"a": "b  c"}, **extra)
            assert caught.payloads[-1] == expected
    s3.upload_part(Bucket="bucket", Key=key, PartNumber=1, UploadId="u/ +", Body=b"x" * 9000)
    assert caught.payloads[-1] == b"x" * 9000
    assert caught.modes["STREAMING-UNSIGNED-PAYLOAD-TRAILER"] > 12


@pytest.mark.parametrize("style", ["path", "virtual"])
def test_other_calls_of_boto3(style: str) -> None:
    s3, caught = client(style), _Catcher()
    s3.meta.events.register("before-send.s3", caught)
    for key in KEYS:
        s3.head_object(Bucket="bucket", Key=key)
        s3.delete_object(Bucket="bucket", Key=key, VersionId="a/b+c d")
        s3.copy_object(Bucket="bucket", Key=key, CopySource={"Bucket": "b", "Key": key})
        s3.create_multipart_upload(Bucket="bucket", Key=key, ChecksumAlgorithm="CRC32")
        parts = {"Parts": [{"PartNumber": 1, "ETag": "x"}]}
        s3.complete_multipart_upload(Bucket="bucket", Key=key, UploadId="u", MultipartUpload=parts)
    s3.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": key} for key in KEYS]})
    assert b"<Delete" in caught.payloads[-1]
    s3.list_objects_v2(Bucket="bucket", Prefix="a/b c+é", Delimiter="/", ContinuationToken="a=b/+")
    s3.create_bucket(Bucket="bucket")
    s3.list_buckets()
    assert len(caught.payloads) == 5 * len(KEYS) + 4


@pytest.mark.parametrize("style", ["path", "virtual"])
@pytest.mark.parametrize("signature", ["s3", "s3v4"])
@pytest.mark.parametrize("key", KEYS)
def test_presigned_urls_of_boto3(style: str, signature: str, key: str) -> None:
    s3 = client(style, signature)
    calls: list[tuple[str, dict[str, Any], dict[str, str]]] = [
        ("get_object", {"ResponseContentDisposition": 'attachment; filename="a b&c=é+.txt"', "VersionId": "v"}, {}),
        ("put_object", {"ContentType": "text/plain"}, {"content-type": "text/plain"}),
        ("upload_part", {"UploadId": "u/ +", "PartNumber": 3}, {}),
        ("head_object", {}, {}),
        ("delete_object", {}, {}),
    ]
    methods = {"get": "GET", "put": "PUT", "upload": "PUT", "head": "HEAD", "delete": "DELETE"}
    for call, more, headers in calls:
        url = s3.generate_presigned_url(call, Params={"Bucket": "bucket", "Key": key, **more}, ExpiresIn=600)
        request = wire(methods[call.partition("_")[0]], url, headers)
        bucket = "bucket" if style == "virtual" else None
        assert accepted(request, bucket_from_host=bucket).access_key_id == "AKIDEXAMPLE"


def test_presigned_urls_are_sigv2_unless_told_otherwise() -> None:
    s3 = boto3.client(
        "s3",
        endpoint_url="https://s3.example.test",
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key=SECRET,
        region_name=REGION,
    )
    url = s3.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "k"}, ExpiresIn=604800)
    bucket = "bucket" if url.startswith("https://bucket.") else None
    assert accepted(wire("GET", url, {}), bucket_from_host=bucket).kind is Kind.PRESIGNED_V2
