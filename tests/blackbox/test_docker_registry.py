"""The Docker registry with its S3 driver: layers pushed in chunks and whole, a manifest, pulls, spans, a deletion.

The driver writes a layer as an upload in parts under a name of its own, goes on with it by listing uploads and parts,
moves it to its place by a copy, and deletes folders by DeleteObjects.
"""

import hashlib
import http.client
import json
import subprocess
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from tests.blackbox.clients import MIB, payload, sha256
from tests.blackbox.process import Gateway
from tests.servers.ports import free_ports
from tests.tooling.places import bare_environment
from tests.tooling.tools import program

_START_TIMEOUT_S: Final = 20
_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"


class Registry:
    """One registry process on loopback, spoken to by HTTP."""

    def __init__(self, port: int) -> None:
        self._port = port

    def __call__(
        self, method: str, url: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Send one request; `url` may be a whole one, as a Location is."""
        parts = urlsplit(url)
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            path = f"{parts.path}?{parts.query}" if parts.query else parts.path
            connection.request(method, path, body, {"Content-Type": "application/octet-stream"} | (headers or {}))
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def push(self, content: bytes, chunk_bytes: int) -> str:
        """Push one layer of `one/image` in chunks and return its digest."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        status, headers, _ = self("POST", "/v2/one/image/blobs/uploads/")
        assert status == HTTPStatus.ACCEPTED
        for at in range(0, len(content), chunk_bytes):
            chunk = content[at : at + chunk_bytes]
            span = {"Content-Range": f"{at}-{at + len(chunk) - 1}"}
            status, headers, told = self("PATCH", headers["location"], chunk, span)
            assert status == HTTPStatus.ACCEPTED, told
        location = headers["location"]
        status, _, told = self("PUT", f"{location}{'&' if '?' in location else '?'}digest={digest}")
        assert status == HTTPStatus.CREATED, told
        return digest


@pytest.fixture
def registry(gateway: Gateway, bucket: str, tmp_path: Path) -> Iterator[Registry]:
    who = gateway.credentials
    (port,) = free_ports(1)
    driver = {
        "accesskey": who.access_key_id,
        "secretkey": who.secret_access_key,
        "region": gateway.region,
        "regionendpoint": gateway.endpoint,
        "bucket": bucket,
        "rootdirectory": "/below",
        "chunksize": 5 * MIB,
        "secure": True,
        "v4auth": True,
    }
    # JSON is YAML.
    config = {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {"s3": driver, "delete": {"enabled": True}, "redirect": {"disable": True}},
        "http": {"addr": f"127.0.0.1:{port}", "secret": "of the upload state"},
    }
    (tmp_path / "config.yml").write_text(json.dumps(config))
    # Not AWS_CA_BUNDLE: this old SDK for Go fails over it.
    environment = bare_environment(tmp_path, SSL_CERT_FILE=str(gateway.ca_file))
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(program("docker-registry")), "serve", str(tmp_path / "config.yml")],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        made = Registry(port)
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            try:
                assert made("GET", "/v2/")[0] == HTTPStatus.OK
                break
            except OSError:
                told = (tmp_path / "log").read_text()
                assert process.poll() is None, told
                assert time.monotonic() < deadline, told
                time.sleep(0.05)
        yield made
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.parametrize("chunk_bytes", [MIB, 7 * MIB, 64 * MIB])
def test_layer_in_chunks_and_back(registry: Registry, bucket: str, s3: Any, chunk_bytes: int) -> None:
    content = payload(17 * MIB + 5)
    digest = registry.push(content, chunk_bytes)
    status, headers, pulled = registry("GET", f"/v2/one/image/blobs/{digest}")
    assert (status, headers["docker-content-digest"], sha256(pulled)) == (HTTPStatus.OK, digest, sha256(content))
    status, _, span = registry("GET", f"/v2/one/image/blobs/{digest}", headers={"Range": "bytes=5242878-5242881"})
    assert (status, span) == (HTTPStatus.PARTIAL_CONTENT, content[5_242_878:5_242_882])
    assert not s3.list_multipart_uploads(Bucket=bucket).get("Uploads")
    names = [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert not [name for name in names if "_uploads" in name]


def test_image_pushed_pulled_and_deleted(registry: Registry) -> None:
    layer, config = payload(3 * MIB), b"{}"
    described = [
        {"mediaType": kind, "size": len(content), "digest": registry.push(content, 64 * MIB)}
        for kind, content in (
            ("application/vnd.docker.container.image.v1+json", config),
            ("application/vnd.docker.image.rootfs.diff.tar.gzip", layer),
        )
    ]
    manifest = json.dumps(
        {"schemaVersion": 2, "mediaType": _MANIFEST, "config": described[0], "layers": described[1:]}
    ).encode()
    status, headers, told = registry("PUT", "/v2/one/image/manifests/v1", manifest, {"Content-Type": _MANIFEST})
    assert status == HTTPStatus.CREATED, told
    digest = headers["docker-content-digest"]
    assert json.loads(registry("GET", "/v2/one/image/tags/list")[2])["tags"] == ["v1"]
    assert json.loads(registry("GET", "/v2/_catalog")[2])["repositories"] == ["one/image"]
    pulled = registry("GET", "/v2/one/image/manifests/v1", headers={"Accept": _MANIFEST})[2]
    assert pulled == manifest
    assert registry("DELETE", f"/v2/one/image/manifests/{digest}")[0] == HTTPStatus.ACCEPTED
    assert registry("GET", "/v2/one/image/manifests/v1", headers={"Accept": _MANIFEST})[0] == HTTPStatus.NOT_FOUND


def test_missing_layer_is_not_found(registry: Registry) -> None:
    assert registry("GET", f"/v2/one/image/blobs/sha256:{'0' * 64}")[0] == HTTPStatus.NOT_FOUND
