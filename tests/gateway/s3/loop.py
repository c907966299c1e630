"""A boto3 client that talks to the parsers and serialisers themselves, for tests that go round.

The answer is given in botocore's own hook before a request is sent, so that no socket is opened. The endpoint is https,
since botocore sends its checksums in trailers only there.
"""

import zlib
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.awsrequest import AWSResponse
from botocore.config import Config

from gateway.s3 import serialising
from gateway.s3.errors import S3Error
from gateway.s3.request import Headers, Request
from gateway.s3.types import Checksum, ChecksumAlgorithm, ChecksumType, Owner
from tests.gateway.s3.wire import NOW, snake, understand

MODIFIED = datetime(2026, 5, 1, 12, 0, 0, 700_000, tzinfo=UTC)
SECOND = MODIFIED.replace(microsecond=0)
OWNER = Owner("0123", "alice & bob")
BODY = b"hello"
CRC = Checksum(ChecksumAlgorithm.CRC32, b64encode(zlib.crc32(BODY).to_bytes(4, "big")).decode())
COMPOSITE = Checksum(ChecksumAlgorithm.SHA256, "YQ==-2", ChecksumType.COMPOSITE)
ODD = "a+b %c/é&<>]]>😀"


class _Raw(BytesIO):
    def stream(self, amount: int = 65536, **_: Any) -> Iterator[bytes]:
        while piece := self.read(amount):
            yield piece


class Loop:
    """A boto3 client whose requests end here."""

    def __init__(self) -> None:
        self.client: Any = boto3.client(
            "s3",
            endpoint_url="https://localhost:9000",
            region_name="us-east-1",
            aws_access_key_id="AKIA",
            aws_secret_access_key="secret",
            config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
        )
        self.client.meta.events.register("before-send.s3", self._answer)
        self.output: Any = None
        self.seen: Any = None
        self.operation = ""

    def _answer(self, request: Any, **_: Any) -> AWSResponse:
        url = urlsplit(request.url)
        items = []
        for name, value in request.headers.items():
            items.append((name.encode(), value if isinstance(value, bytes) else str(value).encode("latin-1")))
        sent = Request(request.method, url.path.encode(), url.query.encode(), Headers(items), "REQUEST1", NOW)
        if "host" not in Headers(items):
            items.append((b"host", url.netloc.encode()))
            sent = replace(sent, headers=Headers(items))
        document = request.body if isinstance(request.body, bytes) else b""
        try:
            self.operation, self.seen = understand(sent, document)
            if isinstance(self.output, S3Error):
                raise self.output
            response = getattr(serialising, f"serialise_{snake(self.operation)}")(self.output)
        except S3Error as error:
            response = serialising.error_response(error, "REQUEST1", sent.raw_path, sent.method == "HEAD")
        body = response.body if isinstance(response.body, bytes) else BODY
        assert all(name.isascii() and value.encode("latin-1") for name, value in response.headers)
        return AWSResponse(request.url, response.status, dict(response.headers), _Raw(body))

    def __call__(self, method: str, output: Any, **arguments: Any) -> Any:
        """Call a method of the client and answer it with an Output; None where the answer says nothing."""
        self.output, self.seen, self.operation = output, None, ""
        result = getattr(self.client, method)(**arguments)
        metadata = result.pop("ResponseMetadata")
        result["status"] = metadata["HTTPStatusCode"]
        return result
