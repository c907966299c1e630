"""A disk that fills up under the real gateway: a small tmpfs as the data folder, filled by a file of the test's own.

PUT answers 507 InsufficientStorage, what was there stays byte for byte, reads and deletes go on, and space that comes
back is used without a restart. FAULTS section 3, F8.
"""

import errno
import os
import subprocess
import time
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Any, Final

import pytest
from botocore.exceptions import ClientError

from tests.blackbox.clients import MIB, payload, s3_client
from tests.blackbox.process import Gateway

BUCKET: Final = "full"
KIB: Final = 1024
DISK_BYTES: Final = 40 * MIB
LARGE: Final = payload(2 * MIB + 5)
SMALL: Final = payload(9_000)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")


class Disk:
    """A tmpfs of `DISK_BYTES`, and a file in it that takes what is free."""

    def __init__(self, folder: Path) -> None:
        self._filler = folder / "filler"

    def fill(self) -> None:
        """Leave no byte."""
        with self._filler.open("ab", buffering=0) as file:
            for size in (MIB, 4 * KIB, 1):
                with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
                    _append_for_ever(file, bytes(size))

    def free(self) -> None:
        """Give everything back."""
        self._filler.unlink()


def _append_for_ever(file: FileIO, piece: bytes) -> None:
    while True:
        file.write(piece)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    deployment = Gateway(tmp_path, {"SEALGATE_CONDEMNED_GRACE_S": "0"})
    deployment.data.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=0700", "tmpfs", str(deployment.data)]
    subprocess.run(mount, check=True)
    try:
        deployment.start()
        yield deployment
    finally:
        deployment.close()
        subprocess.run(["umount", str(deployment.data)], check=True)


@pytest.fixture
def s3(gateway: Gateway) -> Iterator[Any]:
    client = s3_client(gateway)
    client.create_bucket(Bucket=BUCKET)
    yield client
    client.close()


def refused(call: Any, **arguments: Any) -> None:
    """Insist on 507."""
    with pytest.raises(ClientError) as caught:
        call(Bucket=BUCKET, **arguments)
    answer = caught.value.response
    assert (answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]) == (507, "InsufficientStorage")


def read_all(s3: Any) -> dict[str, bytes]:
    """Read every object that LIST tells of."""
    listed = s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])
    return {entry["Key"]: s3.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read() for entry in listed}


def unfinished(gateway: Gateway) -> list[Path]:
    """Temporary files of the blob store that stay: the journal makes one for a moment whenever it tries again."""
    deadline = time.monotonic() + 10
    while (found := list((gateway.data / "blobs").rglob("*.tmp"))) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def sweep(gateway: Gateway) -> None:
    done = gateway.run("sweep")
    assert done.returncode == 0, done.stderr


def test_a_full_disk_answers_507_and_serves_on(gateway: Gateway, s3: Any) -> None:
    held = {"old-large": LARGE, "old-small": SMALL, "doomed": LARGE, "doomed-too": SMALL, "last": SMALL}
    for key, data in held.items():
        s3.put_object(Bucket=BUCKET, Key=key, Body=data)
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="uploaded")["UploadId"]
    part = s3.upload_part(Bucket=BUCKET, Key="uploaded", UploadId=upload, PartNumber=1, Body=SMALL)
    disk = Disk(gateway.data)
    disk.fill()

    refused(s3.put_object, Key="old-large", Body=payload(2 * MIB, seed=1))
    refused(s3.put_object, Key="new-large", Body=payload(MIB, seed=2))
    refused(s3.upload_part, Key="uploaded", UploadId=upload, PartNumber=1, Body=payload(MIB, seed=3))
    # The catalogue may have a few pages left in its log; whatever it acknowledges counts like anything else.
    refusals = 0
    for number in range(400):
        key, data = ("old-small", payload(16 * KIB, seed=number)) if number % 2 else (f"small/{number}", SMALL)
        try:
            s3.put_object(Bucket=BUCKET, Key=key, Body=data)
            held[key] = data
        except ClientError as full:
            assert full.response["ResponseMetadata"]["HTTPStatusCode"] == 507  # noqa: PT017 - others succeed
            refusals += 1
            if refusals == 20:
                break
    assert refusals == 20, "small objects never met the full disk"
    assert unfinished(gateway) == []
    assert read_all(s3) == held
    assert s3.head_object(Bucket=BUCKET, Key="old-large")["ContentLength"] == len(LARGE)
    listed = s3.list_parts(Bucket=BUCKET, Key="uploaded", UploadId=upload)["Parts"]
    assert [entry["ETag"] for entry in listed] == [part["ETag"]]

    s3.delete_object(Bucket=BUCKET, Key="doomed")
    done = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "doomed-too"}]})
    assert [entry["Key"] for entry in done["Deleted"]] == ["doomed-too"]
    del held["doomed"], held["doomed-too"]
    assert read_all(s3) == held

    sweep(gateway)  # frees the blob of `doomed`
    s3.put_object(Bucket=BUCKET, Key="new-large", Body=payload(MIB, seed=4))
    held["new-large"] = payload(MIB, seed=4)
    assert read_all(s3) == held

    disk.fill()
    disk.free()
    for key, data in {"old-large": payload(3 * MIB), "old-small": b"after", "new": SMALL}.items():
        s3.put_object(Bucket=BUCKET, Key=key, Body=data)
        held[key] = data
    s3.complete_multipart_upload(
        Bucket=BUCKET,
        Key="uploaded",
        UploadId=upload,
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]},
    )
    held["uploaded"] = SMALL
    assert read_all(s3) == held


def test_everything_can_be_deleted_from_a_full_disk(gateway: Gateway, s3: Any) -> None:
    keys = [f"key/{number:03}" for number in range(120)]
    for key in keys:
        s3.put_object(Bucket=BUCKET, Key=key, Body=SMALL)
    Disk(gateway.data).fill()
    for key in keys[:20]:
        s3.delete_object(Bucket=BUCKET, Key=key)
    done = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": key} for key in keys[20:]]})
    assert len(done["Deleted"]) == 100
    assert "Errors" not in done
    assert read_all(s3) == {}


def test_a_kill_on_a_full_disk_loses_nothing(gateway: Gateway, s3: Any) -> None:
    held = {"large": LARGE, "small": SMALL}
    for key, data in held.items():
        s3.put_object(Bucket=BUCKET, Key=key, Body=data)
    disk = Disk(gateway.data)
    disk.fill()
    refused(s3.put_object, Key="large", Body=payload(MIB, seed=1))
    gateway.kill()
    disk.free()
    gateway.start()
    assert read_all(s3) == held
