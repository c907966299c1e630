"""What is shredded is gone at once, survivors stay, locks hold, and the record can be checked and not be forged."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.blackbox.blobs import Shelf
from tests.blackbox.clients import payload, s3_client
from tests.blackbox.process import Gateway
from tests.keylife.conftest import BUCKET, read_all, told
from tests.servers.ground import Ground

KEPT = {"kept/a": b"kept", "kept/b": payload(80_000, 3)}
GONE = {"gone/a": b"gone", "gone/b": payload(80_000, 4)}


def content_blobs(shelf: Shelf) -> dict[str, int]:
    """Content and envelopes blobs in the store, with their kinds."""
    return {name: kind for name, kind in shelf.kinds().items() if kind in {1, 2, 3, 4, 7}}


def shred(gateway: Gateway, *arguments: str, code: int = 0) -> tuple[dict[str, Any], Path]:
    number = len(list(gateway.folder.glob("record-*")))
    path = gateway.folder / f"record-{number}"
    return told(gateway, "key", "shred", *arguments, "--record", str(path), "--yes", code=code), path


@pytest.fixture
def client(gateway: Gateway) -> Any:
    made = s3_client(gateway)
    made.create_bucket(Bucket=BUCKET)
    for name, content in (KEPT | GONE).items():
        made.put_object(Bucket=BUCKET, Key=name, Body=content)
    made.copy_object(Bucket=BUCKET, Key="kept/copy of b", CopySource=f"{BUCKET}/gone/b")
    made.copy_object(Bucket=BUCKET, Key="gone/copy of b", CopySource=f"{BUCKET}/kept/b")
    told(gateway, "key", "rotate", "alias/default")
    told(gateway, "key", "rewrap")
    yield made
    made.close()


def test_a_prefix_goes_and_survivors_stay(gateway: Gateway, ground: Ground, client: Any) -> None:
    shelf = ground.shelf(gateway)
    upload = client.create_multipart_upload(Bucket=BUCKET, Key="gone/open")["UploadId"]
    client.upload_part(Bucket=BUCKET, Key="gone/open", UploadId=upload, PartNumber=1, Body=payload(70_000, 5))
    told(gateway, "verify", "--journal")  # which first has small objects carried to packs
    before = content_blobs(shelf)
    report, path = shred(gateway, "--bucket", BUCKET, "--prefix", "gone/")
    assert (report["destroyed_count"], report["present_count"], report["left_count"]) == (3, 0, 0)
    assert (report["aborted_upload_count"], report["inline_count"]) == (1, 1)
    assert (report["rewritten_pack_count"], report["damaged_pack_count"]) == (1, 0)
    assert report["sealed_count"] == 2, "two contents were shared with what stays"
    assert report["rewritten_envelopes_count"] >= 1
    record = json.loads(path.read_text())
    assert path.stat().st_mode & 0o777 == 0o600
    assert {each["object_key"] for each in record["destroyed"]} == {*GONE, "gone/copy of b"}
    assert any("packs of the journal" in line for line in record["not_reached"])
    after = content_blobs(shelf)
    named = {blob_id for each in record["destroyed"] for blob_id in each["blob_ids"]}
    assert not named & set(after), "their blobs are gone at once"
    old_content = {name for name, kind in before.items() if kind in {1, 2, 4}}
    assert not old_content & set(after), "also those that were sealed anew for who stays"
    assert not {name for name, kind in before.items() if kind == 7} & set(after) or report["rewritten_envelopes_count"]
    listed = client.list_objects_v2(Bucket=BUCKET)["Contents"]
    assert [entry["Key"] for entry in listed] == ["kept/a", "kept/b", "kept/copy of b"]
    gateway.restart()
    read_all(gateway, KEPT | {"kept/copy of b": GONE["gone/b"]})
    assert told(gateway, "verify")["verified_row_count"] > 10
    assert told(gateway, "key", "rewrap")["left_count"] == 0


def test_one_version_goes(gateway: Gateway, client: Any) -> None:
    client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    ids = [client.put_object(Bucket=BUCKET, Key="v", Body=b"%d" % number)["VersionId"] for number in range(3)]
    report, _ = shred(gateway, "--bucket", BUCKET, "--object", "v", "--version-id", ids[1])
    assert report["destroyed_count"] == 1
    left = client.list_object_versions(Bucket=BUCKET, Prefix="v")["Versions"]
    assert [version["VersionId"] for version in left] == [ids[2], ids[0]]
    report, _ = shred(gateway, "--bucket", BUCKET, "--object", "v")
    assert report["destroyed_count"] == 2
    assert "Versions" not in client.list_object_versions(Bucket=BUCKET, Prefix="v")


def test_an_account_goes(gateway: Gateway, ground: Ground, client: Any) -> None:
    client.create_bucket(Bucket="second")
    client.put_object(Bucket="second", Key="k", Body=payload(70_000, 6))
    report, _ = shred(gateway, "--account", "main")
    assert report["destroyed_count"] == len(KEPT) + len(GONE) + 2 + 1
    assert set(content_blobs(ground.shelf(gateway)).values()) <= {7}, "what is left carries the realm root"
    for bucket in (BUCKET, "second"):
        assert "Contents" not in client.list_objects_v2(Bucket=bucket)
    assert told(gateway, "verify")["verified_row_count"] > 5


@pytest.mark.parametrize("lock", ["compliance", "legal hold"])
def test_locks_hold(gateway: Gateway, client: Any, lock: str) -> None:
    client.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
    until = datetime.now(UTC) + timedelta(days=1)
    held: dict[str, Any] = {"ObjectLockLegalHoldStatus": "ON"}
    if lock == "compliance":
        held = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": until}
    client.put_object(Bucket="locked", Key="a", Body=b"a")
    client.put_object(Bucket="locked", Key="b", Body=b"b", **held)
    answer, path = shred(gateway, "--bucket", "locked", code=3)
    assert "nothing was shredded" in answer["error"]
    assert not path.exists()
    assert len(client.list_objects_v2(Bucket="locked")["Contents"]) == 2
    governed = {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": until}
    client.put_object(Bucket="locked", Key="c", Body=b"c", **governed)
    assert shred(gateway, "--bucket", "locked", "--object", "c")[0]["destroyed_count"] == 1


def test_a_record_is_checked(gateway: Gateway, client: Any, make_gateway: Any) -> None:
    _, path = shred(gateway, "--bucket", BUCKET, "--object", "gone/a")
    checked = told(gateway, "key", "verify-record", str(path))
    assert checked["destroyed_count"] == 1
    record = json.loads(path.read_text())
    forged = gateway.folder / "forged"
    changes: list[dict[str, Any]] = [
        {"ended_at": "2020"},
        {"destroyed": []},
        {"signature": ""},
        {"public_key": "00" * 32},
    ]
    for change in changes:
        forged.write_text(json.dumps(record | change))
        assert "the record" in told(gateway, "key", "verify-record", str(forged), code=5)["error"]
    forged.write_text("{}")
    assert "no record" in told(gateway, "key", "verify-record", str(forged), code=3)["error"]
    other = make_gateway("other")
    assert "another realm" in told(other, "key", "verify-record", str(path), code=5)["error"]
    told(other, "key", "verify-record", str(path), "--public-key", checked["public_key"])


def test_nothing_goes_by_mistake(gateway: Gateway, client: Any) -> None:
    record = str(gateway.folder / "record")
    told(gateway, "key", "shred", "--bucket", BUCKET, "--record", record, code=2)
    told(gateway, "key", "shred", "--record", record, "--yes", code=2)
    told(gateway, "key", "shred", "--bucket", BUCKET, "--account", "main", "--record", record, "--yes", code=2)
    told(gateway, "key", "shred", "--bucket", BUCKET, "--version-id", "x", "--record", record, "--yes", code=2)
    told(gateway, "key", "shred", "--bucket", "absent", "--record", record, "--yes", code=3)
    (gateway.folder / "record").write_text("mine")
    told(gateway, "key", "shred", "--bucket", BUCKET, "--record", record, "--yes", code=3)
    read_all(gateway, KEPT | GONE)
