"""Gateways of their own for the life cycle of wrapping keys, and clients that go on while it is at work."""

import io
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, Final, Self
from unittest import mock

import boto3
import pytest

from gateway.cli.main import run
from tests.blackbox.clients import payload, s3_client
from tests.blackbox.process import PROGRAM, Credentials, Gateway
from tests.servers.ground import Ground
from tests.tooling.places import without_presets

BUCKET: Final = "bucket"
INLINE_TOO: Final = {"SEALGATE_INLINE_MAX_BYTES": "16384"}
"""As on a disk, so that small objects rest in the catalogue wherever the blobs are."""


@pytest.fixture(scope="session", autouse=True)
def _no_presets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with without_presets(tmp_path_factory.mktemp("aws")):
        yield


@pytest.fixture
def make_gateway(tmp_path: Path, ground: Ground) -> Iterator[Callable[..., Gateway]]:
    """Starts gateways with further settings; all are ended with the test."""
    made: list[Gateway] = []

    def make(name: str = "gateway", **settings: str) -> Gateway:
        folder = tmp_path / name
        folder.mkdir()
        told = {f"SEALGATE_{key.upper()}": value for key, value in settings.items()}
        gateway = Gateway(folder, ground.settings(folder) | INLINE_TOO | told)
        gateway.start()
        made.append(gateway)
        return gateway

    yield make
    for gateway in made:
        gateway.close()


@pytest.fixture
def gateway(make_gateway: Callable[..., Gateway]) -> Gateway:
    return make_gateway()


def told(gateway: Gateway, *arguments: str, code: int = 0) -> dict[str, Any]:
    """Run a command with `--json`; what it answered, or its one line of error.

    It runs in this process, beside a gateway in a process of its own: loading the program anew for each of some hundred
    commands would take half of the time. The runbooks start it as people do.
    """
    out, err, here = io.StringIO(), io.StringIO(), Path.cwd()
    environment = gateway.environment() | {"SEALGATE_KEYS": str(gateway.keys)}
    with mock.patch.dict(os.environ, environment, clear=True), redirect_stdout(out), redirect_stderr(err):
        os.chdir(gateway.folder)
        umask = os.umask(0o077)
        try:
            left_with = run([*arguments, "--json"])
        finally:
            os.umask(umask)
            os.chdir(here)
    assert left_with == code, (left_with, out.getvalue(), err.getvalue())
    if code:
        assert err.getvalue().count("\n") == 1, err.getvalue()
        return {"error": err.getvalue()}
    answer: dict[str, Any] = json.loads(out.getvalue())
    return answer


def started(gateway: Gateway, *arguments: str) -> subprocess.Popen[str]:
    """A command in a process of its own, while it runs."""
    return subprocess.Popen(
        [str(PROGRAM), *arguments],
        cwd=gateway.folder,
        env=gateway.environment() | {"SEALGATE_KEYS": str(gateway.keys)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def rewraps_begun(gateway: Gateway) -> int:
    """How many the gateway's log tells of."""
    return gateway.log.read_text().count("job started: rewrap")


def wait_until_it_runs(gateway: Gateway, command: subprocess.Popen[str], before: int = 0) -> None:
    """Until the gateway has begun one more rewrap than before; a command takes seconds to load on a busy machine."""
    deadline = time.monotonic() + 60
    while rewraps_begun(gateway) == before:
        assert time.monotonic() < deadline
        assert command.poll() is None, command.communicate()
        time.sleep(0.05)


def fill(gateway: Gateway, names: list[str], content: Callable[[str], bytes], threads: int = 4) -> None:
    """Put an object for each name."""
    failures: list[BaseException] = []

    def put(mine: list[str]) -> None:
        client = s3_client(gateway)
        try:
            for name in mine:
                client.put_object(Bucket=BUCKET, Key=name, Body=content(name))
        except BaseException as error:
            failures.append(error)
        finally:
            client.close()

    workers = [threading.Thread(target=put, args=(names[number::threads],)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures


class Traffic:
    """Readers and writers that go on until they are stopped; every request must succeed and every byte be right."""

    def __init__(self, gateway: Gateway, names: list[str], content: Callable[[str], bytes]) -> None:
        self._gateway = gateway
        self._names = names
        self._content = content
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._guarded, args=(run,)) for run in (self._read, self._write)]
        self.failures: list[BaseException] = []
        self.read_count = 0
        self.written: dict[str, bytes] = {}

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        deadline = time.monotonic() + 60
        while kind is None and min(self.read_count, len(self.written)) <= 10 and time.monotonic() < deadline:
            if self.failures:
                break
            time.sleep(0.05)  # a busy machine carries out few requests while a job runs
        self._stop.set()
        for thread in self._threads:
            thread.join()
        assert not self.failures, self.failures[0]
        assert self.read_count > 10
        assert len(self.written) > 10

    def _guarded(self, run: Callable[[Any], None]) -> None:
        client = s3_client(self._gateway)
        try:
            run(client)
        except BaseException as error:
            self.failures.append(error)
        finally:
            client.close()

    def _read(self, client: Any) -> None:
        while not self._stop.is_set():
            name = self._names[self.read_count * 7919 % len(self._names)]
            got = client.get_object(Bucket=BUCKET, Key=name)["Body"].read()
            assert got == self._content(name), name
            self.read_count += 1

    def _write(self, client: Any) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            name = f"written/{number % 500}"
            body = payload(100 if number % 20 else 40_000, number)
            client.put_object(Bucket=BUCKET, Key=name, Body=body)
            self.written[name] = body


def read_all(gateway: Gateway, contents: dict[str, bytes]) -> None:
    """Compare every object with what it should hold."""
    client = s3_client(gateway)
    try:
        for name, content in contents.items():
            assert client.get_object(Bucket=BUCKET, Key=name)["Body"].read() == content, name
    finally:
        client.close()


def client_of(gateway: Gateway, who: Credentials) -> Any:
    """A client without `client.env`, which went with the keys."""
    return boto3.client(
        "s3",
        endpoint_url=f"https://127.0.0.1:{gateway.port}",
        region_name="us-east-1",
        aws_access_key_id=who.access_key_id,
        aws_secret_access_key=who.secret_access_key,
        verify=str(gateway.keys / "tls" / "ca.pem"),
    )
