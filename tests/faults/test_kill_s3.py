"""kill -9 between a blob on its way to a bucket and the commit: what `test_kill` does at a disk, at a real S3."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.blackbox.clients import s3_client
from tests.faults.crashing import CrashingGateway
from tests.faults.launcher import ORPHAN_GRACE
from tests.faults.test_kill import MIN_HITS, Driver
from tests.faults.world import BUCKET, INLINE_MAX, World
from tests.servers.s3_servers import S3Server, SeaweedFs, s3_settings
from tests.storage.blobs.s3.support import running

BACKEND = "sealed-blobs"
SEAMS = ("blob.sending", "blob.sent", "blob.durable")
_MAGIC = b"\x89SGATE\r\n"
_OF_THE_JOURNAL = (5, 7, 8, 9)
_HEAD = "bytes=0-10"


class BucketWorld(World):
    """Sees the blobs in the backend's bucket. Nothing there can be made older, so that the grace of orphans is none."""

    def __init__(self, gateway: CrashingGateway, s3: Any, backend: Any) -> None:
        super().__init__(gateway, s3)
        self._backend = backend

    def blob_files(self) -> list[Path]:
        """See `World.blob_files`: names of objects."""
        pages = self._backend.get_paginator("list_objects_v2").paginate(Bucket=BACKEND, Prefix="kills/")
        return [
            Path(entry["Key"]) for page in pages for entry in page.get("Contents", ()) if self._counts(entry["Key"])
        ]

    def _counts(self, name: str) -> bool:
        head = self._backend.get_object(Bucket=BACKEND, Key=name, Range=_HEAD)["Body"].read()
        return head[: len(_MAGIC)] == _MAGIC and head[10] not in _OF_THE_JOURNAL

    def age(self) -> None:
        """See `World.age`. S3 tells whole seconds."""
        time.sleep(1.1)


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[S3Server]:
    (tmp_path / "backend").mkdir()
    with running(SeaweedFs(tmp_path / "backend")) as server:
        yield server


@pytest.fixture
def driver(tmp_path: Path, backend: S3Server) -> Iterator[Driver]:
    behind = backend.client()
    behind.create_bucket(Bucket=BACKEND)
    settings = {
        "SEALGATE_CONDEMNED_GRACE_S": "0",
        ORPHAN_GRACE: "0",
        "SEALGATE_SWEEP_INTERVAL_S": "86400",
        "SEALGATE_JOURNAL_INTERVAL_S": "60",
        "SEALGATE_INLINE_MAX_BYTES": str(INLINE_MAX),
    }
    gateway = CrashingGateway(tmp_path, settings | s3_settings(backend, tmp_path, BACKEND, "kills/"))
    try:
        gateway.start()
        s3 = s3_client(gateway)
        s3.create_bucket(Bucket=BUCKET)
        yield Driver(gateway, BucketWorld(gateway, s3, behind))
        s3.close()
    finally:
        gateway.close()
        behind.close()


@pytest.mark.slow
def test_no_kill_on_the_way_to_a_bucket_loses_what_was_acknowledged(driver: Driver) -> None:
    orphans = 0
    # What is left out puts its own orphan on a disk.
    for name in [name for name in driver.operations.all() if name != "sweep"]:
        steps = [step for step in driver.record(name) if step[0] in SEAMS]
        for seam, number in steps:
            driver.kill_at(name, seam, number)
        if steps:
            orphans += driver.world.check_sweep()["orphan_count"]
    print(f"{driver.kills} kills; {orphans} orphans reclaimed; {dict(driver.hits)}")
    assert {seam for seam in SEAMS if driver.hits[seam] < MIN_HITS} == set()
    assert orphans > 0
    assert driver.world.sweep(dry_run=True)["orphan_count"] == 0
