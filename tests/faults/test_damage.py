"""Damaged blobs through the whole gateway, over TLS: what a client sees of each kind of damage, whole and by range.

500 before the status line wherever it can be known by then, else a connection that breaks off: never a wrong byte,
never a clean end, never 404. Offsets are those of docs/FORMAT.md, written out here anew. FAULTS section 3, F11 and I3.
"""

import http.client
import ssl
import struct
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from tests.blackbox.clients import MIB, payload, s3_client
from tests.blackbox.process import Gateway

BUCKET: Final = "damaged"
KIB: Final = 1024
SIZE: Final = 3 * MIB + 777
SMALL_SIZE: Final = 9_000
CHUNK: Final = 16 * KIB
SEALED_CHUNK: Final = CHUNK + 16
MIDDLE: Final = 100  # a chunk that is beyond the first read of 1 MiB
FINAL: Final = SIZE // CHUNK
RANGES: Final = {
    "first": (0, 99),
    "middle": (MIDDLE * CHUNK, MIDDLE * CHUNK + 999),
    "last": (SIZE - 100, SIZE - 1),
}
REFUSED: Final = "refused"
BROKEN: Final = "broken off"
WHOLE: Final = "right"


@dataclass(frozen=True)
class Blob:
    """A file of the store, with where its parts stand."""

    path: Path
    sealed: bytes

    @property
    def prefix_size(self) -> int:
        return 120 + int(struct.unpack_from(">I", self.sealed, 12)[0])

    def chunk(self, index: int) -> int:
        return self.prefix_size + index * SEALED_CHUNK

    def flipped(self, offset: int) -> bytes:
        at = offset % len(self.sealed)
        return self.sealed[:at] + bytes([self.sealed[at] ^ 0x01]) + self.sealed[at + 1 :]


@dataclass(frozen=True)
class Damage:
    """What is done to a blob, and what a whole read and the three ranges then give.

    A range need not look at slot, footer and trailer, nor at other chunks (FORMAT section 8.2): there it is right.
    """

    name: str
    make: Callable[[Blob], bytes | None]
    whole: str = REFUSED
    ranges: tuple[str, str, str] = (REFUSED, REFUSED, REFUSED)


def _flip(name: str, at: Callable[[Blob], int], whole: str = REFUSED, *ranges: str) -> Damage:
    assert len(ranges) in (0, 3)
    return Damage(name, lambda blob: blob.flipped(at(blob)), whole, ranges or (REFUSED,) * 3)  # type: ignore[arg-type]  # three, as asserted


UNSEEN: Final = (WHOLE, WHOLE, WHOLE)
DAMAGES: Final = (
    _flip("magic", lambda _: 0),
    _flip("version", lambda _: 8),
    _flip("suite", lambda _: 9),
    _flip("kind", lambda _: 10),
    _flip("reserved byte", lambda _: 11),
    _flip("slot size", lambda _: 15),
    _flip("realm id", lambda _: 16),
    _flip("blob id", lambda _: 47),
    _flip("reserved bytes", lambda _: 63),
    _flip("key slot", lambda _: 64, BROKEN, *UNSEEN),
    _flip("salt", lambda blob: blob.prefix_size - 56),
    _flip("commitment", lambda blob: blob.prefix_size - 1),
    _flip("first chunk", lambda blob: blob.chunk(0), REFUSED, REFUSED, WHOLE, WHOLE),
    _flip("first chunk's tag", lambda blob: blob.chunk(1) - 1, REFUSED, REFUSED, WHOLE, WHOLE),
    _flip("middle chunk", lambda blob: blob.chunk(MIDDLE) + 5000, BROKEN, WHOLE, REFUSED, WHOLE),
    _flip("last chunk", lambda blob: blob.chunk(FINAL), BROKEN, WHOLE, WHOLE, REFUSED),
    _flip("footer", lambda _: -25, BROKEN, *UNSEEN),
    _flip("trailer's size", lambda _: -24, BROKEN, *UNSEEN),
    _flip("end magic", lambda _: -1, BROKEN, *UNSEEN),
    Damage("one byte short", lambda blob: blob.sealed[:-1]),
    Damage("half of it", lambda blob: blob.sealed[: len(blob.sealed) // 2]),
    Damage("header alone", lambda blob: blob.sealed[:64]),
    Damage("empty", lambda blob: b""),
    Damage("one byte more", lambda blob: blob.sealed + b"\0"),
    Damage("twice", lambda blob: blob.sealed * 2),
    Damage("deleted", lambda _: None),
    Damage(
        "two chunks exchanged",
        lambda blob: (
            blob.sealed[: blob.chunk(0)]
            + blob.sealed[blob.chunk(1) : blob.chunk(2)]
            + blob.sealed[blob.chunk(0) : blob.chunk(1)]
            + blob.sealed[blob.chunk(2) :]
        ),
        REFUSED,
        (REFUSED, WHOLE, WHOLE),
    ),
    Damage(
        "first chunk repeated over the middle one",
        lambda blob: (
            blob.sealed[: blob.chunk(MIDDLE)]
            + blob.sealed[blob.chunk(0) : blob.chunk(1)]
            + blob.sealed[blob.chunk(MIDDLE + 1) :]
        ),
        BROKEN,
        (WHOLE, REFUSED, WHOLE),
    ),
)


@dataclass
class Deployment:
    """A gateway with objects whose blobs can be reached."""

    gateway: Gateway
    s3: Any

    def put(self, key: str, data: bytes) -> Blob:
        """Store an object and return its one new blob."""
        before = set(self._files())
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=data)
        (path,) = set(self._files()) - before
        return Blob(path, path.read_bytes())

    def _files(self) -> list[Path]:
        return [path for path in (self.gateway.data / "blobs" / "b").rglob("*") if path.is_file()]

    def alarms(self) -> int:
        """Number of alarms in the log of this run."""
        return self.gateway.log.read_text().count("ERROR sealgate.audit: damaged")

    def get_raw(self, key: str, span: tuple[int, int] | None = None) -> tuple[int, bytes, int, bool]:
        """GET with http.client: status, received body, promised length, and whether the end was clean."""
        parameters = {"Bucket": BUCKET, "Key": key}
        url = urllib.parse.urlsplit(self.s3.generate_presigned_url("get_object", Params=parameters))
        connection = http.client.HTTPSConnection(
            url.hostname or "", url.port, timeout=20, context=self.gateway.tls_context()
        )
        try:
            headers = {} if span is None else {"Range": f"bytes={span[0]}-{span[1]}"}
            connection.request("GET", f"{url.path}?{url.query}", headers=headers)
            answer = connection.getresponse()
            promised = int(answer.headers["Content-Length"])
            body, is_clean = bytearray(), True
            try:
                while piece := answer.read1(64 * KIB):
                    body += piece
            except (http.client.IncompleteRead, ConnectionError, ssl.SSLError):
                is_clean = False
            return answer.status, bytes(body), promised, is_clean and len(body) == promised
        finally:
            connection.close()

    def get_boto3(self, key: str, span: tuple[int, int] | None = None) -> bytes | None:
        """GET with boto3; None for 500 InternalError and for a connection that breaks off, and nothing else."""
        arguments = {} if span is None else {"Range": f"bytes={span[0]}-{span[1]}"}
        try:
            body: bytes = self.s3.get_object(Bucket=BUCKET, Key=key, **arguments)["Body"].read()
        except ClientError as refused:
            if refused.response["Error"]["Code"] != "InternalError":
                raise
            return None
        except BotoCoreError:
            return None
        return body


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    gateway = Gateway(tmp_path_factory.mktemp("damage"), {"SEALGATE_INLINE_MAX_BYTES": "0"})
    gateway.start()
    try:
        s3 = s3_client(gateway)
        s3.create_bucket(Bucket=BUCKET)
        yield Deployment(gateway, s3)
        s3.close()
    finally:
        gateway.close()


@pytest.fixture(scope="module")
def large(deployment: Deployment) -> Blob:
    return deployment.put("large", payload(SIZE))


@pytest.fixture(scope="module")
def small(deployment: Deployment) -> Blob:
    return deployment.put("small", payload(SMALL_SIZE))


@pytest.fixture
def restored(large: Blob, small: Blob) -> Iterator[None]:
    yield
    for blob in (large, small):
        blob.path.write_bytes(blob.sealed)


def apply(blob: Blob, damaged: bytes | None) -> None:
    """Put damaged bytes in a blob's place."""
    assert damaged != blob.sealed
    if damaged is None:
        blob.path.unlink()
    else:
        blob.path.write_bytes(damaged)


def check_raw(deployment: Deployment, key: str, data: bytes, span: tuple[int, int] | None, expected: str) -> None:
    """Compare what came over the wire with what must come."""
    wanted = data if span is None else data[span[0] : span[1] + 1]
    status, body, promised, is_clean = deployment.get_raw(key, span)
    if expected == REFUSED:
        assert status == 500
        assert b"<Code>InternalError</Code>" in body
        return
    assert status == (200 if span is None else 206)
    assert promised == len(wanted)
    assert wanted.startswith(body), "a wrong byte"
    if expected == BROKEN:
        assert not is_clean
        assert len(body) < promised
    else:
        assert is_clean
        assert body == wanted


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
@pytest.mark.usefixtures("restored")
def test_large(deployment: Deployment, large: Blob, damage: Damage) -> None:
    data = payload(SIZE)
    apply(large, damage.make(large))
    alarms = deployment.alarms()
    check_raw(deployment, "large", data, None, damage.whole)
    assert deployment.alarms() > alarms
    assert deployment.get_boto3("large") is None
    for span, expected in zip(RANGES.values(), damage.ranges, strict=True):
        check_raw(deployment, "large", data, span, expected)
        wanted = data[span[0] : span[1] + 1] if expected == WHOLE else None
        assert deployment.get_boto3("large", span) == wanted
    # The catalogue is sound: nobody is told that the object is gone.
    assert deployment.s3.head_object(Bucket=BUCKET, Key="large")["ContentLength"] == SIZE
    assert "large" in {entry["Key"] for entry in deployment.s3.list_objects_v2(Bucket=BUCKET)["Contents"]}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
@pytest.mark.usefixtures("restored")
def test_one_chunk_is_refused_before_the_status_line(deployment: Deployment, small: Blob, damage: Damage) -> None:
    if "chunk " in damage.name or "chunks" in damage.name or damage.name.startswith(("middle", "last")):
        damaged: bytes | None = small.flipped(small.chunk(0) + 100)
    else:
        damaged = damage.make(small)
    apply(small, damaged)
    check_raw(deployment, "small", payload(SMALL_SIZE), None, REFUSED)
    assert deployment.get_boto3("small") is None


@pytest.mark.usefixtures("restored")
def test_two_blobs_exchanged(deployment: Deployment, large: Blob) -> None:
    other = deployment.put("other", payload(SIZE, seed=1))
    assert len(other.sealed) == len(large.sealed)
    apply(large, other.sealed)
    apply(other, large.sealed)
    for key in ("large", "other"):
        check_raw(deployment, key, b"", None, REFUSED)
        for span in RANGES.values():
            check_raw(deployment, key, b"", span, REFUSED)
    other.path.write_bytes(other.sealed)
    assert deployment.get_boto3("other") == payload(SIZE, seed=1)


@pytest.mark.usefixtures("restored")
def test_a_copy_of_a_damaged_source_fails_whole(deployment: Deployment, large: Blob) -> None:
    s3 = deployment.s3
    s3.put_object(Bucket=BUCKET, Key="target", Body=b"as it was")
    apply(large, large.flipped(large.chunk(MIDDLE)))
    # A checksum that the source has not makes the copy read it.
    with pytest.raises(ClientError, match="InternalError"):
        s3.copy_object(Bucket=BUCKET, Key="target", CopySource=f"{BUCKET}/large", ChecksumAlgorithm="SHA256")
    assert deployment.get_boto3("target") == b"as it was"
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="target")["UploadId"]
    with pytest.raises(ClientError, match="InternalError"):
        s3.upload_part_copy(Bucket=BUCKET, Key="target", UploadId=upload, PartNumber=1, CopySource=f"{BUCKET}/large")
    assert "Parts" not in s3.list_parts(Bucket=BUCKET, Key="target", UploadId=upload)
    s3.abort_multipart_upload(Bucket=BUCKET, Key="target", UploadId=upload)


@pytest.mark.usefixtures("restored")
def test_the_gateway_serves_on_and_a_restored_blob_reads_again(deployment: Deployment, large: Blob) -> None:
    apply(large, None)
    assert deployment.get_boto3("large") is None
    large.path.write_bytes(large.sealed)
    assert deployment.get_boto3("large") == payload(SIZE)
