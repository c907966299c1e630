"""duplicity over boto3: a full backup, an increment, verification, restore of two states, clean-up.

It finds its chain of backups by listing alone, and verifies every volume by a hash of its manifest. Its own
encryption is off, for the gateway seals; GnuPG it wants to see nevertheless.
"""

import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.blackbox.clients import MIB, Program, payload, plant, tree
from tests.blackbox.process import Gateway
from tests.tooling.tools import program


@pytest.fixture
def duplicity(gateway: Gateway, tmp_path: Path) -> Program:
    variables = gateway.client_variables() | {"AWS_EC2_METADATA_DISABLED": "true"}
    return Program("duplicity", tmp_path, variables)


def _arguments(gateway: Gateway) -> tuple[str, ...]:
    return (
        f"--s3-endpoint-url={gateway.endpoint}",
        f"--s3-region-name={gateway.region}",
        "--archive-dir=archive",
        "--no-encryption",
        f"--gpg-binary={program('gpg')}",
        "--volsize=5",
        "--num-retries=1",
    )


def _sizes(s3: Any, bucket: str) -> dict[str, int]:
    return {entry["Key"]: entry["Size"] for entry in s3.list_objects_v2(Bucket=bucket).get("Contents", [])}


def test_full_increment_verify_restore_and_clean_up(
    duplicity: Program, gateway: Gateway, bucket: str, s3: Any, tmp_path: Path
) -> None:
    options, url = _arguments(gateway), f"boto3+s3://{bucket}/backups/one"
    sent = tmp_path / "sent"
    plant(sent)
    (sent / "large").write_bytes(payload(12 * MIB))
    duplicity("full", *options, "sent", url)
    first = tree(sent)
    volumes = [size for name, size in _sizes(s3, bucket).items() if ".difftar.gz" in name]
    assert len(volumes) == 3
    assert sum(volumes) > 12 * MIB

    # The time of a backup stands in its names: duplicity-full.20261231T235959Z.manifest
    (manifest,) = [name for name in _sizes(s3, bucket) if "duplicity-full." in name and ".manifest" in name]
    time_of_first = datetime.strptime(manifest.split(".")[1], "%Y%m%dT%H%M%S%z").isoformat()
    (sent / "plain.txt").write_bytes(b"changed")
    (sent / "large").unlink()
    (sent / "new").write_bytes(payload(MIB, seed=1))
    duplicity("incremental", *options, "sent", url)

    # From here on without what it remembers: the chain comes from the listing, all bytes from the gateway.
    shutil.rmtree(tmp_path / "archive")
    duplicity("verify", "--compare-data", *options, url, "sent")
    duplicity("restore", *options, url, "back")
    assert tree(tmp_path / "back") == tree(sent)
    duplicity("restore", f"--time={time_of_first}", *options, url, "before")
    assert tree(tmp_path / "before") == first

    duplicity("full", *options, "sent", url)
    duplicity("remove-all-but-n-full", "1", "--force", *options, url)
    assert sum(_sizes(s3, bucket).values()) < 2 * MIB
    told = duplicity("collection-status", *options, url).decode()
    assert "No orphaned or incomplete backup sets found." in told


def test_damaged_volume_is_found(duplicity: Program, gateway: Gateway, bucket: str, s3: Any, tmp_path: Path) -> None:
    options, url = _arguments(gateway), f"boto3+s3://{bucket}/backups/two"
    plant(tmp_path / "sent", ("one", "two"))
    duplicity("full", *options, "sent", url)
    (volume,) = [name for name in _sizes(s3, bucket) if ".difftar.gz" in name]
    s3.put_object(Bucket=bucket, Key=volume, Body=payload(_sizes(s3, bucket)[volume]))
    assert duplicity.run("restore", *options, url, "back").returncode != 0
    assert not (tmp_path / "back" / "two").exists()
