"""The real application in this process: SQLite, blob files, keyring and all, called by boto3 without a socket.

What a call gives is put in the model's words: chosen fields of botocore's parsed output, or `refused` and `code`.
"""

import asyncio
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import boto3
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError
from starlette.types import ASGIApp, Message

from gateway.cli.session import run_command
from gateway.wiring.folders import Folders
from gateway.wiring.gateway import open_gateway
from tests.gateway.cli.helpers import settings_in, start
from tests.gateway.http.asgi import call

Answer = dict[str, Any]
_PIECE_BYTES: Final = 70_001
"""Size of body messages: no divisor of any chunk or slice."""


class _Raw(BytesIO):
    def stream(self, amount: int = 65536, **_: Any) -> Iterator[bytes]:
        while piece := self.read(amount):
            yield piece


class World:
    """One account's view of one gateway."""

    def __init__(self, runner: asyncio.Runner, app: ASGIApp, client: Any, guest: Any) -> None:
        self._runner = runner
        self._app = app
        self.client = client
        self.guest = guest
        """Of another account."""
        for each in (client, guest):
            each.meta.events.register("before-send.s3", self.respond)
        self.guest_id = guest.list_buckets()["Owner"]["ID"]

    def respond(self, request: Any, **_: Any) -> AWSResponse:
        """Stand in for botocore's HTTP layer."""
        url = urlsplit(request.url)
        headers = [
            (name.lower().encode(), value if isinstance(value, bytes) else str(value).encode("latin-1"))
            for name, value in request.headers.items()
        ]
        if all(name != b"host" for name, _ in headers):
            headers.insert(0, (b"host", url.netloc.encode()))
        body = request.body or b""
        if not isinstance(body, bytes | bytearray):
            body = body.read()
        target = url.path + (f"?{url.query}" if url.query else "")
        answer = self._runner.run(call(self._app, request.method, target, headers, _messages(bytes(body))))
        assert answer.is_complete, "the connection was cut"
        assert answer.status < 500, (request.method, target, answer.status, answer.body)
        return AWSResponse(request.url, answer.status, answer.headers, _Raw(answer.body))

    def ask(self, method: str, fields: tuple[str, ...], *, as_guest: bool = False, **arguments: Any) -> Answer:
        """Make a call; give those fields of its output (None where absent), or the refusal."""
        try:
            output = getattr(self.guest if as_guest else self.client, method)(
                **{name: given for name, given in arguments.items() if given is not None}
            )
        except ClientError as error:
            return _refusal(error)
        return {name: _plain(output.get(name)) for name in fields}

    def pages(
        self, method: str, arguments: Mapping[str, Any], entries_of: Callable[[Mapping[str, Any]], list[Any]], size: int
    ) -> list[Any] | Answer:
        """Walk every page of a listing by hand of botocore's paginator; no page exceeds its size."""
        found: list[Any] = []
        try:
            for page in self.client.get_paginator(method).paginate(**arguments, PaginationConfig={"PageSize": size}):
                entries = entries_of(page)
                assert len(entries) <= size
                assert entries or not page["IsTruncated"], "a page that says there is more gives something"
                found += entries
        except ClientError as error:
            return _refusal(error)
        return found


def _refusal(error: ClientError) -> Answer:
    response = error.response
    metadata = response["ResponseMetadata"]
    answer: Answer = {"refused": metadata["HTTPStatusCode"], "code": response["Error"]["Code"]}
    if (marker := metadata["HTTPHeaders"].get("x-amz-delete-marker")) is not None:
        answer["DeleteMarker"] = marker == "true"
    return answer


def _plain(value: Any) -> Any:
    return value.read() if hasattr(value, "read") else value


def _messages(body: bytes) -> list[Message]:
    pieces = [body[start : start + _PIECE_BYTES] for start in range(0, len(body), _PIECE_BYTES)] or [b""]
    return [
        {"type": "http.request", "body": piece, "more_body": index < len(pieces)}
        for index, piece in enumerate(pieces, 1)
    ]


def tagging(tags: Mapping[str, str]) -> str | None:
    """The `x-amz-tagging` form of tags."""
    return urlencode(tags) if tags else None


def _client(env: Mapping[str, str], access_key_id: str, secret_access_key: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=env["AWS_ENDPOINT_URL"],
        region_name=env["AWS_REGION"],
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret_access_key,
        config=Config(signature_version="s3v4", retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )


@contextmanager
def open_world(place: Path, variables: Mapping[str, str]) -> Iterator[World]:
    """Make a deployment in an empty folder, and open it; `variables` say what it stands on."""
    stands_on = {name.removeprefix("SEALGATE_").lower(): value for name, value in variables.items()}
    settings = settings_in(place, max_buckets_per_account=1000, hosts=("localhost",), **stands_on)
    start(settings)
    folders = Folders.of(settings)
    run_command(settings, "create_account", {"name": "guest"})
    made = run_command(settings, "create_access_key", {"account": "guest"})
    lines = (line.removeprefix("export ") for line in folders.client_env.read_text().splitlines())
    env = dict(shlex.split(line)[0].split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        gateway = runner.run(stack.enter_async_context(open_gateway(settings, folders)))
        try:
            clients = (
                _client(env, env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"]),
                _client(env, made["access_key_id"], made["secret_access_key"]),
            )
            yield World(runner, gateway.app, *clients)
        finally:
            runner.run(stack.aclose())
