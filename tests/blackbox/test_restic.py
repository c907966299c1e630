"""restic: a repository on S3 that it can read back to the last byte, and clean up after itself.

Beyond bytes it relies on listed sizes (`check` compares packs with its index), on reads of spans inside a pack, on
uploads in parts, and on deletes and new files being visible at once (its locks).
"""

from pathlib import Path
from typing import Any

import pytest

from tests.blackbox.clients import MIB, Program, payload, plant, tree
from tests.blackbox.process import Gateway


@pytest.fixture
def restic(gateway: Gateway, bucket: str, tmp_path: Path) -> Program:
    """restic on a repository that exists, below a prefix of the bucket."""
    who = gateway.credentials
    variables = {
        "AWS_ACCESS_KEY_ID": who.access_key_id,
        "AWS_SECRET_ACCESS_KEY": who.secret_access_key,
        "AWS_DEFAULT_REGION": gateway.region,
        "SSL_CERT_FILE": str(gateway.ca_file),
        "RESTIC_CACHE_DIR": str(tmp_path / "cache"),
        "RESTIC_PASSWORD": "of the repository",
        "RESTIC_REPOSITORY": f"s3:{gateway.endpoint}/{bucket}/backups/one",
    }
    program = Program("restic", tmp_path, variables)
    program("init")
    return program


def _restore(restic: Program, folder: Path, snapshot: str = "latest") -> dict[str, str]:
    """Restore without the local cache, so that every byte comes from the gateway, and return the tree."""
    restic("--no-cache", "restore", snapshot, "--target", str(folder))
    return tree(folder)


def _below(folder: Path, files: dict[str, str]) -> dict[str, str]:
    """Name the files of a tree as restic restores them: by their whole path."""
    return {f"{folder.as_posix().lstrip('/')}/{name}": digest for name, digest in files.items()}


def test_backup_check_and_restore(restic: Program, bucket: str, s3: Any, tmp_path: Path) -> None:
    sent = tmp_path / "sent"
    plant(sent)
    (sent / "large").write_bytes(payload(24 * MIB))
    middle = payload(300_001, seed=7)
    (sent / "middle").write_bytes(middle)
    restic("backup", str(sent))
    checked = restic("check", "--read-data").decode()
    assert "no errors were found" in checked
    assert _restore(restic, tmp_path / "back") == _below(sent, tree(sent))
    # One small file is read by spans from the middle of packs.
    assert restic("--no-cache", "dump", "latest", str(sent / "middle")) == middle
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    stored = [entry for page in pages for entry in page["Contents"]]
    assert all(entry["Key"].startswith("backups/one/") for entry in stored)
    # What restic makes of the files is sealed by restic and again here; it is no smaller than they are.
    assert sum(entry["Size"] for entry in stored) > 24 * MIB


def test_second_backup_sends_only_what_changed(restic: Program, bucket: str, s3: Any, tmp_path: Path) -> None:
    sent = tmp_path / "sent"
    plant(sent)
    (sent / "large").write_bytes(payload(12 * MIB))
    restic("backup", str(sent))
    before = _sizes(s3, bucket)
    (sent / "new").write_bytes(payload(MIB, seed=1))
    (sent / "plain.txt").write_bytes(b"changed")
    restic("backup", str(sent))
    after = _sizes(s3, bucket)
    assert before.items() <= {name: size for name, size in after.items() if name in before}.items()
    assert sum(after.values()) - sum(before.values()) < 2 * MIB
    assert len(restic.json("snapshots", "--json")) == 2
    assert _restore(restic, tmp_path / "back") == _below(sent, tree(sent))


def test_forget_and_prune_free_what_nobody_names(restic: Program, bucket: str, s3: Any, tmp_path: Path) -> None:
    sent = tmp_path / "sent"
    sent.mkdir()
    for number in (1, 2):
        (sent / "large").write_bytes(payload(10 * MIB, seed=number))
        restic("backup", str(sent))
    assert sum(_sizes(s3, bucket).values()) > 20 * MIB
    restic("forget", "--keep-last", "1", "--prune")
    assert sum(_sizes(s3, bucket).values()) < 12 * MIB
    assert "no errors were found" in restic("check", "--read-data").decode()
    assert _restore(restic, tmp_path / "back") == _below(sent, tree(sent))
    assert not [name for name in _sizes(s3, bucket) if "/locks/" in name]
    lock = f"backups/one/locks/{'0' * 64}"
    s3.put_object(Bucket=bucket, Key=lock, Body=b"of another client")
    assert restic("--no-lock", "list", "locks").decode().split() == ["0" * 64]
    s3.delete_object(Bucket=bucket, Key=lock)
    assert restic("--no-lock", "list", "locks") == b""


def test_check_finds_a_pack_that_is_short_or_gone(restic: Program, bucket: str, s3: Any, tmp_path: Path) -> None:
    """`check` compares the listing with its index; the largest pack is one of data, which it does not have to read."""
    sent = tmp_path / "sent"
    sent.mkdir()
    (sent / "large").write_bytes(payload(3 * MIB))
    restic("backup", str(sent))
    sizes = _sizes(s3, bucket)
    pack = max((name for name in sizes if "/data/" in name), key=lambda name: sizes[name])
    s3.put_object(Bucket=bucket, Key=pack, Body=payload(sizes[pack] - 1))
    assert restic.run("check").returncode == 1
    s3.delete_object(Bucket=bucket, Key=pack)
    assert restic.run("check").returncode == 1


def _sizes(s3: Any, bucket: str) -> dict[str, int]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return {entry["Key"]: entry["Size"] for page in pages for entry in page.get("Contents", [])}
