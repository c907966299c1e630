"""A rewrap killed at every named point of the real process, over real stores: it goes on, and nothing is half-wrapped.

The points are those that a rewrap reaches from the command to its answer, in the job, the writer of the catalogue, the
blob store, the journal and the realm files. Every point of the job alone, reach by reach, is tried in the engine's
tests. Half-wrapped would be a record whose row names a wrap that does not open, or that no blob holds as well.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from boto3.s3.transfer import TransferConfig

from tests.blackbox.clients import payload, s3_client
from tests.faults.crashing import CrashingGateway
from tests.keylife.conftest import BUCKET, read_all, told
from tests.servers.ground import Ground

LEAST_POINTS: Final = 20
SHORT: Final = ("rewrap.rows_written", "realm.file_written")
"""What the short form stops at."""


@pytest.fixture
def gateway(tmp_path: Path, ground: Ground) -> Iterator[CrashingGateway]:
    made = CrashingGateway(tmp_path, ground.settings(tmp_path) | {"SEALGATE_JOURNAL_INTERVAL_S": "0.1"})
    made.start()
    try:
        yield made
    finally:
        made.close()


def fill(gateway: CrashingGateway) -> dict[str, bytes]:
    """Every kind of record; what the objects hold."""
    client: Any = s3_client(gateway)
    client.create_bucket(Bucket=BUCKET)
    contents = {f"o/{number}": payload(50_000 if number % 5 == 0 else 64, number) for number in range(20)}
    for name, content in contents.items():
        more = {"ServerSideEncryption": "aws:kms", "BucketKeyEnabled": True} if name == "o/3" else {}
        client.put_object(Bucket=BUCKET, Key=name, Body=content, **more)
    path = gateway.folder / "upload"
    path.write_bytes(payload(6 << 20, 2))
    config = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
    client.upload_file(str(path), BUCKET, "parts", Config=config)
    client.copy_object(Bucket=BUCKET, Key="copy", CopySource=f"{BUCKET}/parts")
    client.create_multipart_upload(Bucket=BUCKET, Key="open")
    client.close()
    return contents | {"parts": path.read_bytes(), "copy": path.read_bytes()}


@pytest.mark.own_catalogue
def test_killed_at_every_named_point_it_goes_on(gateway: CrashingGateway, full: bool) -> None:
    contents = fill(gateway)
    told(gateway, "key", "rotate", "alias/default")
    with gateway.recording() as reached:
        assert told(gateway, "key", "rewrap")["left_count"] == 0
    points = list(dict.fromkeys(reached))
    assert len(points) >= LEAST_POINTS, points
    assert set(SHORT) <= set(points)
    struck = []
    for point in points if full else SHORT:
        told(gateway, "key", "rotate", "alias/default")
        gateway.arm(point, 1)
        killed = gateway.run("key", "rewrap", "--json")
        if not gateway.disarm():
            assert killed.returncode == 0, killed.stderr
            continue  # what the journal reaches depends on when it looks
        struck.append(point)
        gateway.start()
        read_all(gateway, contents)  # with no key remembered, each by the wrap that its row names
        report = told(gateway, "key", "rewrap")
        assert (report["left_count"], report["failed_count"]) == (0, 0), point
    assert len(struck) >= (LEAST_POINTS if full else len(SHORT)), struck
    newest = told(gateway, "key", "describe", "alias/default")["version_count"]
    for version in range(1, newest):
        told(gateway, "key", "retire", "alias/default", "--version", str(version), "--destroy")
    gateway.restart()
    read_all(gateway, contents)
    assert told(gateway, "verify")["verified_row_count"] > len(contents)
    gateway.stop()
    scrubbed = told(gateway, "scrub")
    assert (scrubbed["damaged"], scrubbed.get("described", 0)) == (0, 0), "every blob opens by what blobs hold"
    gateway.start()
