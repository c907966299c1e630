"""No plaintext and no secret in any byte that the gateway ever gave to a file, deleted files and debug logs included.

The real process runs under strace through everything that it can do today, with contents, names and metadata that
occur nowhere else; then all that was written is searched for each of them in every form. FAULTS A1, I7, G14.
"""

import asyncio
import base64
import contextlib
import hashlib
import http.client
import json
import re
import secrets
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from botocore.exceptions import ClientError

from gateway.config import load_settings
from gateway.wiring.folders import Folders
from gateway.wiring.realm import open_keys
from keys.customer import customer_key
from keys.keyring_file import LocalKeyring
from tests.blackbox.clients import MIB, s3_client
from tests.blackbox.process import PROGRAM, Credentials, Gateway, Process
from tests.faults.tracer import Needle, Seen, Tracer, digests, forms, search

KIB: Final = 1024
MIN_SEARCHED_BYTES: Final = 20 * MIB
"""What is sent as objects; what rests of it is no smaller."""
MIN_DELETED: Final = 5
"""Blobs and unfinished files that are gone at the end, and searched all the same."""


class TracedGateway(Gateway):
    """Every start and every command runs under strace."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        super().__init__(folder, settings)
        self.tracer = Tracer(folder / "traces")

    def _spawn(self, command: Sequence[str]) -> Process:
        return super()._spawn(self.tracer.command(command))

    def traced(self, *arguments: str) -> str:
        """Run a `sealgate` command and return its standard output."""
        done = subprocess.run(
            self.tracer.command([str(PROGRAM), *arguments]),
            env=self.environment() | {"SEALGATE_KEYS": str(self.keys)},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout


class Markers:
    """What must not be found: makes it, and remembers it."""

    def __init__(self) -> None:
        self.needles: list[Needle] = []

    def secret(self, what: str, data: bytes, *exempt: str) -> None:
        """Remember a secret in every form."""
        assert len(data) >= 16
        self.needles += [Needle(f"{what}, {form}", hidden, exempt) for form, hidden in forms(data)]

    def text(self, what: str) -> str:
        """A name that is found nowhere else; 32 characters."""
        text = secrets.token_hex(16)
        self.secret(what, text.encode())
        return text

    def content(self, what: str, size: int) -> bytes:
        """Random bytes with a marker of 32 in every 4 KiB, at places that fall on all alignments."""
        marker = secrets.token_bytes(32)
        self.secret(what, marker)
        block = bytearray(secrets.token_bytes(min(size, 4099)))
        block[:32] = marker[: len(block)]
        data = (bytes(block) * (size // len(block) + 1))[:size]
        self.needles += [Needle(f"{what}, {form}", hidden) for form, hidden in digests(data)]
        return data


class Suite:
    """A representative of everything that the gateway does."""

    def __init__(self, gateway: TracedGateway) -> None:
        self.gateway = gateway
        self.markers = Markers()
        self.bucket = "b" + self.markers.text("bucket name")[:31]
        self.needles = self.markers.needles

    def run(self, *, accounts: bool) -> None:
        """First start to offline commands; those for accounts, which cost the most under strace, only if asked."""
        gateway = self.gateway
        gateway.start()
        self.markers.secret("secret access key", gateway.credentials.secret_access_key.encode(), "client.env")
        s3 = s3_client(gateway)
        s3.create_bucket(Bucket=self.bucket)
        self._objects(s3)
        self._multipart(s3)
        self._encrypted(s3)
        self._refusals(s3)
        self._broken_off(s3)
        if accounts:
            self._other_account(s3)
        # A crash leaves an unfinished file; the next start reads everything back.
        self._killed_within_a_put(s3)
        gateway.start()
        listed = s3.list_objects_v2(Bucket=self.bucket)["Contents"]
        for entry in listed:
            s3.get_object(Bucket=self.bucket, Key=entry["Key"])["Body"].read()
        s3.delete_objects(Bucket=self.bucket, Delete={"Objects": [{"Key": entry["Key"]} for entry in listed[:3]]})
        gateway.traced("sweep")
        gateway.stop()
        s3.close()
        if accounts:
            gateway.traced("account", "create", "offline")
            self._remember_printed_secret(gateway.traced("access-key", "create", "--account", "offline"))

    def _objects(self, s3: Any) -> None:
        markers = self.markers
        for size in (40, 9 * KIB, 16 * KIB, 3 * MIB + 5):
            key = f"{markers.text('object name')}/{markers.text('object name')}"
            metadata = {markers.text("metadata name"): markers.text("metadata value")}
            data = markers.content("content", size)
            s3.put_object(
                Bucket=self.bucket,
                Key=key,
                Body=data,
                Metadata=metadata,
                ContentDisposition=f'attachment; filename="{markers.text("header value")}"',
                ChecksumAlgorithm="SHA256",
            )
            s3.head_object(Bucket=self.bucket, Key=key)
            assert s3.get_object(Bucket=self.bucket, Key=key)["Body"].read() == data
            s3.get_object(Bucket=self.bucket, Key=key, Range="bytes=1-33")["Body"].read()
            copy = markers.text("object name")
            s3.copy_object(Bucket=self.bucket, Key=copy, CopySource={"Bucket": self.bucket, "Key": key})
            s3.copy_object(
                Bucket=self.bucket,
                Key=copy,
                CopySource={"Bucket": self.bucket, "Key": key},
                MetadataDirective="REPLACE",
                Metadata={"a": markers.text("metadata value")},
            )
            s3.list_objects_v2(Bucket=self.bucket, Prefix=key[:32], Delimiter="/", MaxKeys=1)
            s3.list_objects(Bucket=self.bucket, Prefix=key[:32])
        overwritten = markers.text("object name")
        for _ in range(2):
            s3.put_object(Bucket=self.bucket, Key=overwritten, Body=markers.content("content", 100 * KIB))
        s3.delete_object(Bucket=self.bucket, Key=overwritten)
        self._presigned(s3)

    def _presigned(self, s3: Any) -> None:
        where = {"Bucket": self.bucket, "Key": self.markers.text("object name")}
        data = self.markers.content("content", 20 * KIB)
        url = s3.generate_presigned_url("put_object", Params=where)
        connection = self._begin_put(url, data, len(data))
        assert connection.getresponse().status == 200
        connection.close()
        fetched = s3.generate_presigned_url("get_object", Params=where)
        with urllib.request.urlopen(fetched, context=self.gateway.tls_context()) as answer:
            assert answer.read() == data
        for signature in re.findall(r"(?:X-Amz-)?Signature=([^&]+)", url):
            self.markers.secret("presigned signature", urllib.parse.unquote(signature).encode())

    def _presign_put(self, s3: Any) -> str:
        where = {"Bucket": self.bucket, "Key": self.markers.text("object name")}
        url: str = s3.generate_presigned_url("put_object", Params=where)
        return url

    def _multipart(self, s3: Any) -> None:
        key = self.markers.text("object name")
        where = {"Bucket": self.bucket, "Key": key}
        for complete in (True, False):
            upload = s3.create_multipart_upload(**where, Metadata={"m": self.markers.text("metadata value")})[
                "UploadId"
            ]
            parts = []
            for number, size in ((1, 5 * MIB), (2, 17)):
                data = self.markers.content("part", size)
                part = s3.upload_part(**where, UploadId=upload, PartNumber=number, Body=data)
                parts.append({"PartNumber": number, "ETag": part["ETag"]})
            s3.upload_part(**where, UploadId=upload, PartNumber=3, Body=self.markers.content("part", 1 * MIB))
            s3.list_parts(**where, UploadId=upload)
            s3.list_multipart_uploads(Bucket=self.bucket)
            if complete:
                s3.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": parts})
                s3.get_object(**where, PartNumber=2)["Body"].read()
                again = s3.create_multipart_upload(Bucket=self.bucket, Key=key)["UploadId"]
                s3.upload_part_copy(**where, UploadId=again, PartNumber=1, CopySource=where)
                s3.abort_multipart_upload(**where, UploadId=again)
            else:
                s3.abort_multipart_upload(**where, UploadId=upload)

    def _encrypted(self, s3: Any) -> None:
        """A client's key and a context of SSE-KMS: neither they nor a hash of anything is written."""
        markers = self.markers
        key, context = secrets.token_bytes(32), markers.text("encryption context")
        markers.secret("customer key", key)
        markers.secret("MD5 of the customer key", hashlib.md5(key).digest())
        markers.secret("Base64 of the customer key", base64.b64encode(key))
        markers.secret("Base64 of its MD5", base64.b64encode(hashlib.md5(key).digest()))
        markers.secret("derived customer key", customer_key(key).material())
        own = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": key}
        sse_kms = {
            "ServerSideEncryption": "aws:kms",
            "BucketKeyEnabled": True,
            "SSEKMSEncryptionContext": base64.b64encode(json.dumps({"a": context}).encode()).decode(),
        }
        for arguments, reading in ((own, own), (sse_kms, {})):
            for size in (9 * KIB, 300 * KIB):
                name, data = markers.text("object name"), markers.content("encrypted content", size)
                where = {"Bucket": self.bucket, "Key": name}
                s3.put_object(**where, Body=data, ChecksumAlgorithm="SHA256", **arguments)
                assert s3.get_object(**where, **reading)["Body"].read() == data
                s3.head_object(**where, ChecksumMode="ENABLED", **reading)
                source = {f"CopySource{member}": value for member, value in reading.items()}
                s3.copy_object(Bucket=self.bucket, Key=name, CopySource=where, **source, **arguments)
                s3.delete_object(**where)
            upload = {"Bucket": self.bucket, "Key": markers.text("object name")}
            upload["UploadId"] = s3.create_multipart_upload(**upload, **arguments)["UploadId"]
            part = s3.upload_part(**upload, PartNumber=1, Body=markers.content("part", 200 * KIB), **reading)
            parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
            s3.complete_multipart_upload(**upload, MultipartUpload=parts)
            s3.get_object(Bucket=self.bucket, Key=upload["Key"], **reading)["Body"].read()
            s3.delete_object(Bucket=self.bucket, Key=upload["Key"])
        wrong = own | {"SSECustomerKey": markers.content("wrong customer key", 32)}
        s3.put_object(Bucket=self.bucket, Key="closed", Body=b"", **own)
        # By SigV2 boto3 writes the key itself into the URL.
        url = s3.generate_presigned_url("get_object", Params={"Bucket": self.bucket, "Key": "closed"} | own)
        assert "customer-key=" in url
        with urllib.request.urlopen(url, context=self.gateway.tls_context()) as answer:
            assert answer.read() == b""
        for refused in (wrong, {}):
            with pytest.raises(ClientError):
                s3.get_object(Bucket=self.bucket, Key="closed", **refused)
        s3.delete_object(Bucket=self.bucket, Key="closed")

    def _refusals(self, s3: Any) -> None:
        absent = self.markers.text("object name")
        body = self.markers.content("refused content", 300 * KIB)
        wrong = base64.b64encode(bytes(16)).decode()
        impostor = s3_client(
            self.gateway, Credentials(self.gateway.credentials.access_key_id, self.markers.text("wrong secret"))
        )
        calls: tuple[tuple[Any, dict[str, Any]], ...] = (
            (s3.get_object, {"Key": absent}),
            (s3.put_object, {"Key": absent, "Body": body, "ContentMD5": wrong}),
            (s3.put_object, {"Key": absent, "Body": body, "ChecksumCRC32": "AAAAAA=="}),
            (s3.put_object, {"Key": absent, "Body": body, "IfMatch": '"0"'}),
            (s3.put_object, {"Key": absent, "Body": body, "Tagging": f"a={self.markers.text('tag')}&a=b"}),
            (s3.upload_part, {"Key": absent, "Body": body, "UploadId": "none", "PartNumber": 1}),
            (impostor.put_object, {"Key": absent, "Body": body}),
            (s3.head_bucket, {"Bucket": "c" + self.markers.text("bucket name")[:31]}),
        )
        for call, arguments in calls:
            with pytest.raises(ClientError):
                call(**({"Bucket": self.bucket} | arguments))
        impostor.close()

    def _begin_put(self, presigned: str, sent: bytes, size: int) -> http.client.HTTPSConnection:
        """Send the head of a PUT and some of its body."""
        url = urllib.parse.urlsplit(presigned)
        connection = http.client.HTTPSConnection(
            url.hostname or "", url.port, timeout=20, context=self.gateway.tls_context()
        )
        connection.putrequest("PUT", f"{url.path}?{url.query}")
        connection.putheader("Content-Length", str(size))
        connection.endheaders(sent)
        return connection

    def _broken_off(self, s3: Any) -> None:
        data = self.markers.content("broken off", 2 * MIB)
        self._begin_put(self._presign_put(s3), data, 3 * MIB).close()

    def _killed_within_a_put(self, s3: Any) -> None:
        data = self.markers.content("killed within", 3 * MIB)
        connection = self._begin_put(self._presign_put(s3), data, 4 * MIB)
        deadline = time.monotonic() + 10
        # Killed with an unfinished file of at least a MiB on the disk.
        while not any(path.stat().st_size >= MIB for path in (self.gateway.data / "blobs").rglob("*.tmp")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        self.gateway.kill()
        connection.close()

    def _other_account(self, s3: Any) -> None:
        name = self.markers.text("account name")
        self.gateway.traced("account", "create", name)
        made = self.gateway.traced("access-key", "create", "--account", name)
        who = self._remember_printed_secret(made)
        other = s3_client(self.gateway, who)
        bucket = "d" + self.markers.text("bucket name")[:31]
        other.create_bucket(Bucket=bucket)
        other.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        tags = f"{self.markers.text('tag')}={self.markers.text('tag')}"
        other.put_object(Bucket=bucket, Key=name, Body=self.markers.content("content", 50 * KIB), Tagging=tags)
        tag_set = [{"Key": self.markers.text("tag"), "Value": self.markers.text("tag")}]
        other.put_object_tagging(Bucket=bucket, Key=name, Tagging={"TagSet": tag_set})
        other.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tag_set})
        other.delete_object(Bucket=bucket, Key=name)
        with pytest.raises(ClientError):
            other.list_objects_v2(Bucket=self.bucket)
        other.close()

    def _remember_printed_secret(self, text: str) -> Credentials:
        # The id is 20 characters, the secret 40: the same ones in the answer and in the lines to paste.
        (access_key_id,) = set(re.findall(r"\bSGAK[A-Z0-9]{16}\b", text))
        (secret,) = set(re.findall(r"(?i)secret_access_key(?:: |='?)([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+])", text))
        self.markers.secret("secret access key", secret.encode())
        return Credentials(access_key_id, secret)


def remember_keys(suite: Suite, flags: dict[str, str], passphrase: str | None) -> None:
    """Open the keyring as the gateway does and remember every key in it."""
    gateway, markers = suite.gateway, suite.markers
    settings = load_settings({"data": str(gateway.data), "keys": str(gateway.keys)} | flags)
    keyring = LocalKeyring.open(gateway.keys, passphrase)
    for version in keyring.find(None).versions:
        markers.secret("KMS key", version.secret().material())
    markers.secret("root key", keyring._root.material(), "root.key")
    realm = asyncio.run(open_keys(settings, Folders.of(settings))).realm_keys
    for name in ("description", "row_mac", "journal", "credentials", "catalogue", "cursor"):
        markers.secret(f"{name} key", getattr(realm, f"{name}_key").material())
    for path in gateway.keys.glob("tls/*-key.pem"):
        body = "".join(path.read_text().splitlines()[1:-1])
        # PKCS#8 of a P-256 key: the private scalar is 32 bytes from offset 36.
        markers.secret(path.stem, base64.b64decode(body)[36:68], path.name)


@pytest.mark.parametrize("root", ["passphrase", "root key file"])
def test_nothing_plain_was_ever_written(tmp_path: Path, root: str) -> None:
    passphrase = secrets.token_hex(24) if root == "passphrase" else None
    flags = {}
    if passphrase is not None:
        file = tmp_path / "passphrase"
        file.write_text(passphrase)
        file.chmod(0o600)
        flags["passphrase_file"] = str(file)
    settings = {"condemned_grace_s": "0"} | flags
    gateway = TracedGateway(tmp_path, {f"SEALGATE_{name.upper()}": value for name, value in settings.items()})
    suite = Suite(gateway)
    with contextlib.closing(gateway):
        suite.run(accounts=passphrase is not None)
    if passphrase is not None:
        suite.markers.secret("passphrase", passphrase.encode(), "passphrase")
    remember_keys(suite, flags, passphrase)
    seen = gateway.tracer.seen()
    print(f"{seen.size:,} bytes written to {len(seen.written)} files, {len(suite.needles)} needles")
    hits = search(suite.needles, seen, without_traces(tmp_path))
    assert hits == []
    check_capture(gateway, seen)


def without_traces(folder: Path) -> Path:
    """Remove the traces, which tell what was written all over again, and nothing else."""
    for trace in (folder / "traces").iterdir():
        trace.unlink()
    return folder


def check_capture(gateway: Gateway, seen: Seen) -> None:
    """What is on the disk is in what was seen, deleted blobs are too, and nothing but SQLite's -shm was mapped."""
    assert seen.size > MIN_SEARCHED_BYTES
    assert {Path(path).name for path in seen.mapped} <= {"catalogue.db-shm"}
    for path in (gateway.data / "blobs" / "b").rglob("*"):
        # Of the file that a kill left unfinished, the last write may have been cut short.
        if path.is_file() and path.suffix != ".tmp":
            stored = path.read_bytes()
            streams = [stream for name, ours in seen.written.items() if path.name in name for stream in ours]
            assert sum(len(stream) for stream in streams) == len(stored), path
            assert all(stream[:500] in stored and stream[-500:] in stored for stream in streams), path
    left = {path.name for path in (gateway.data / "blobs" / "b").rglob("*")}
    gone = {Path(path).name for path in seen.written if path.endswith(".tmp") and "/blobs/b/" in path}
    assert len([name for name in gone if name.partition(".")[0] not in left]) >= MIN_DELETED
    assert any("serve-1.log" in path for path in seen.written)
    assert any(path.endswith("-wal") for path in seen.written)


@pytest.mark.parametrize("form", [name for name, _ in forms(bytes(32))])
def test_the_search_finds_what_is_there(tmp_path: Path, form: str) -> None:
    """The control: a process writes a marker in that form to a file, in two writes, and deletes the file."""
    marker = secrets.token_bytes(32)
    hidden = dict(forms(marker))[form]
    needles = [Needle(name, data) for name, data in forms(marker)]
    tracer = Tracer(tmp_path / "traces")
    code = (
        "import os, sys; path, data = sys.argv[1], bytes.fromhex(sys.argv[2])\n"
        "file = os.open(path, os.O_CREAT | os.O_WRONLY)\n"
        "os.write(file, b'before' + data[:9]); os.writev(file, [data[9:], b'after']); os.unlink(path)\n"
    )
    subprocess.run(
        tracer.command([sys.executable, "-c", code, str(tmp_path / "gone"), hidden.hex()]), check=True, timeout=60
    )
    seen = tracer.seen()
    hits = search(needles, seen, without_traces(tmp_path))
    assert any(hit.startswith(form + " in ") for hit in hits)


def test_the_search_reads_names_and_files(tmp_path: Path) -> None:
    (tmp_path / "left").write_bytes(b"..plain..")
    seen = Seen(names={b"/data/plain/x"})
    assert search([Needle("it", b"plain")], seen, tmp_path) == [f"it in {tmp_path / 'left'}", "it in names of files"]
    assert search([Needle("it", b"plain", ("left",))], Seen(), tmp_path) == []
