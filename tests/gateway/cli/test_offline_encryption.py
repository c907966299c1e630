"""unseal and inspect of what SSE-KMS and SSE-C protect: with and without catalogue and the client's key."""

import base64
import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.exits import Exit
from gateway.cli.main import run
from gateway.cli.offline import INDEX_NAME
from gateway.errors import SettingsError
from gateway.wiring.customer_key import read_customer_key
from keys.customer import customer_key
from storage.sealed.header import BlobKind, parse_untrusted
from tests.gateway.cli.process import Running

KEY = bytes(range(32))
CONTEXT = base64.b64encode(b'{"team":"mine"}').decode()
KMS: dict[str, Any] = {"ServerSideEncryption": "aws:kms", "SSEKMSEncryptionContext": CONTEXT}
CUSTOMER: dict[str, Any] = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": KEY}
LARGE, PART = b"0123456789abcdef" * 8192, bytes(range(256)) * (5 * 4096)
OPEN: dict[str, bytes] = {"kms": LARGE, "kms-bucket-key": LARGE, "kms-copy": LARGE, "kms-parts": PART + b"end"}
CLOSED: dict[str, bytes] = {"c": LARGE, "c-parts": PART + b"end"}


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data and keys of a gateway that has stopped."""
    running = Running.fresh(tmp_path_factory.mktemp("offline"))
    running.start()
    try:
        s3 = running.s3()
        s3.create_bucket(Bucket="photos")
        s3.put_object(Bucket="photos", Key="kms", Body=LARGE, **KMS)
        s3.put_object(Bucket="photos", Key="kms-bucket-key", Body=LARGE, **KMS, BucketKeyEnabled=True)
        s3.copy_object(Bucket="photos", Key="kms-copy", CopySource="photos/kms", **KMS)
        s3.put_object(Bucket="photos", Key="c", Body=LARGE, **CUSTOMER)
        for key, asked, own in (("kms-parts", KMS, {}), ("c-parts", CUSTOMER, CUSTOMER)):
            upload: dict[str, Any] = {"Bucket": "photos", "Key": key}
            upload["UploadId"] = s3.create_multipart_upload(**upload, **asked)["UploadId"]
            parts = [
                {"PartNumber": number, "ETag": s3.upload_part(**upload, PartNumber=number, Body=body, **own)["ETag"]}
                for number, body in ((1, PART), (2, b"end"))
            ]
            s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    finally:
        running.stop(signal.SIGTERM)
    return running.place


@pytest.fixture
def place(sealed: Path, tmp_path: Path) -> Path:
    """A copy to spoil, with the client's key beside it."""
    for name in ("data", "data-keys"):
        shutil.copytree(sealed / name, tmp_path / name)
    (tmp_path / "client.key").write_bytes(KEY)
    return tmp_path


@pytest.mark.parametrize("has_catalogue", [True, False])
@pytest.mark.parametrize("has_key", [True, False])
def test_a_whole_store(place: Path, has_catalogue: bool, has_key: bool) -> None:
    if not has_catalogue:
        shutil.rmtree(place / "data/catalogue")
    arguments = ["unseal", "-o", str(place / "out"), "--data", str(place / "data")]
    arguments += ["--customer-key-file", str(place / "client.key")] if has_key else []
    assert run(arguments) == (Exit.OK if has_key else Exit.KEYS)
    lines = [json.loads(line) for line in (place / "out" / INDEX_NAME).read_text().splitlines()]
    written = {line["object_key"]: (place / "out" / line["path"]).read_bytes() for line in lines if "error" not in line}
    assert written == (OPEN | CLOSED if has_key else OPEN)
    failed = {line["object_key"]: line["error"] for line in lines if "error" in line}
    assert failed.keys() == (set() if has_key else CLOSED.keys())
    assert all("--customer-key-file" in error for error in failed.values())


def blob_of(place: Path, kind: BlobKind, object_key: str, capsys: pytest.CaptureFixture[str]) -> Path:
    capsys.readouterr()
    for path in sorted((place / "data/blobs/b").rglob("*")):
        if path.is_file() and parse_untrusted(path.read_bytes()[:64]).kind is kind:
            assert run(["inspect", "--json", str(path), "--data", str(place / "data")]) == Exit.OK
            if json.loads(capsys.readouterr().out)["object_key"] == object_key:
                return path
    raise AssertionError


def test_one_blob_of_a_client(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind, key in ((BlobKind.OBJECT, "c"), (BlobKind.MANIFEST, "c-parts")):
        path = blob_of(place, kind, key, capsys)
        arguments = ["unseal", str(path), "-o", str(place / key), "--data", str(place / "data")]
        assert run(arguments) == Exit.KEYS
        (place / "other.key").write_bytes(KEY[::-1])
        assert run([*arguments, "--customer-key-file", str(place / "other.key")]) == Exit.KEYS
        assert not (place / key).exists()
        (place / "base64.key").write_text(base64.b64encode(KEY).decode() + "\n")
        assert run([*arguments, "--customer-key-file", str(place / "base64.key")]) == Exit.OK
        assert (place / key).read_bytes() == CLOSED[key]


def test_what_is_shown_of_them(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for key, algorithm, provider in (("kms", "aws:kms", "local"), ("c", "SSE-C", "customer")):
        path = blob_of(place, BlobKind.OBJECT, key, capsys)
        assert run(["inspect", "--json", str(path), "--data", str(place / "data")]) == Exit.OK
        shown = json.loads(capsys.readouterr().out)
        assert shown["encryption"]["algorithm"] == algorithm
        assert "verifier" not in shown["encryption"]
        assert shown["wrapped_by"].startswith(provider)
        assert shown["checksums"] == {}


def test_the_catalogue_verifies(place: Path) -> None:
    assert run(["verify", "--data", str(place / "data")]) == Exit.OK


@pytest.mark.parametrize("content", [b"", b"short", KEY + b"x", b"!" * 44, base64.b64encode(KEY * 2)])
def test_a_key_file_holds_a_key(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(SettingsError, match="neither 32 bytes nor Base64"):
        read_customer_key(tmp_path / "key")
    with pytest.raises(SettingsError, match="cannot be read"):
        read_customer_key(tmp_path / "none")
    (tmp_path / "key").write_bytes(KEY)
    assert read_customer_key(tmp_path / "key") == customer_key(KEY)
