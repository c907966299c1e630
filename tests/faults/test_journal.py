"""kill -9 at each step between outbox and journal, over the real process: what was acknowledged survives its catalogue.

With `journal = sync` the catalogue is thrown away after each kill and made anew, so that nothing but the journal can
have kept what was answered. FAULTS section 3: F1, F5.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.blackbox.clients import s3_client
from tests.faults.crashing import CrashingGateway
from tests.faults.world import Unanswered, answered

SEAMS: Final = ("journal.pack_durable", "journal.segment_durable", "journal.noted", "journal.trimmed")
BUCKET: Final = "journalled"


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[CrashingGateway]:
    gateway = CrashingGateway(tmp_path, {"SEALGATE_JOURNAL": "sync", "SEALGATE_JOURNAL_INTERVAL_S": "0.05"})
    try:
        gateway.start()
        yield gateway
    finally:
        gateway.close()


def put(s3: Any, key: str, body: bytes) -> bool:
    """Whether it was acknowledged."""
    try:
        answered(s3.put_object, Bucket=BUCKET, Key=key, Body=body)
    except Unanswered:
        return False
    return True


def check_journal(gateway: CrashingGateway) -> None:
    """Strike at each seam twice, then without the catalogue afterwards: nothing that was answered is gone."""
    s3 = s3_client(gateway)
    s3.create_bucket(Bucket=BUCKET)
    kept: dict[str, bytes] = {}
    for round_number, seam in enumerate(SEAMS * 2):
        gateway.arm(seam, 1)
        for number in range(20):
            key, body = f"{round_number}/{number}", bytes(100 if number % 2 else 20_000)
            if not put(s3, key, body):
                break
            kept[key] = body
        else:
            pytest.fail(f"{seam} was never reached")
        assert gateway.disarm(), seam
        if round_number >= len(SEAMS):
            shutil.rmtree(gateway.data / "catalogue")
            assert gateway.run("recover").returncode == 0
        gateway.start()
        found = {entry["Key"] for entry in s3.list_objects_v2(Bucket=BUCKET)["Contents"]}
        assert found >= kept.keys(), seam
        assert len(found - kept.keys()) <= 1 + round_number, "at most the one that was not answered"
        for key, body in kept.items():
            assert s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == body
        # What the kill left of the one that was not answered may be there: complete.
        for key in found - kept.keys():
            assert len(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()) in {100, 20_000}
    assert gateway.run("verify").returncode == 0
    s3.close()


def test_what_was_answered_survives_kill_and_catalogue(gateway: CrashingGateway) -> None:
    check_journal(gateway)
