"""A leaked key: everything under it comes under fresh keys in new blobs, clients see no difference, the old is gone."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig

from tests.blackbox.blobs import Shelf
from tests.blackbox.clients import payload, s3_client
from tests.blackbox.process import Gateway
from tests.keylife.conftest import told
from tests.servers.ground import Ground

CUSTOMER = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": b"k" * 32}
KMS = {"ServerSideEncryption": "aws:kms", "SSEKMSEncryptionContext": "eyJ0ZWFtIjoiYSJ9"}
LOCKED = "locked"


def fill(client: Any, folder: Any) -> None:
    client.create_bucket(Bucket=LOCKED, ObjectLockEnabledForBucket=True)
    until = datetime.now(UTC) + timedelta(days=2)
    lock = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": until, "ObjectLockLegalHoldStatus": "ON"}
    for number in range(3):
        client.put_object(
            Bucket=LOCKED,
            Key="versions",
            Body=b"version %d" % number,
            Tagging=f"number={number}",
            Metadata={"number": str(number)},
            **(lock if number == 1 else {}),
        )
    client.put_object(Bucket=LOCKED, Key="stored", Body=payload(90_000, 1), ChecksumAlgorithm="SHA256")
    for more in ({}, {"BucketKeyEnabled": True}):
        client.put_object(
            Bucket=LOCKED, Key=f"kms{len(more)}", Body=b"k" * 30_000, ChecksumAlgorithm="CRC32", **KMS, **more
        )
    path = folder / "upload"
    path.write_bytes(payload(6 << 20, 2))
    config = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
    client.upload_file(str(path), LOCKED, "multipart", Config=config)
    for source in ("stored", "multipart"):
        client.copy_object(Bucket=LOCKED, Key=f"{source} copy", CopySource=f"{LOCKED}/{source}")
    client.put_object(Bucket=LOCKED, Key="empty", Body=b"")
    client.delete_object(Bucket=LOCKED, Key="empty")
    client.put_object(Bucket=LOCKED, Key="theirs", Body=b"t" * 30_000, **CUSTOMER)


def seen(client: Any) -> dict[tuple[str, str], Any]:
    """All that a client can know of each version, its bytes among them."""
    told: dict[tuple[str, str], Any] = {}
    for version in client.list_object_versions(Bucket=LOCKED)["Versions"]:
        place = {"Bucket": LOCKED, "Key": version["Key"], "VersionId": version["VersionId"]}
        customer = CUSTOMER if version["Key"] == "theirs" else {}
        got = client.get_object(**place, ChecksumMode="ENABLED", **customer)
        body = got.pop("Body").read()
        del got["ResponseMetadata"]
        tags = client.get_object_tagging(**place)["TagSet"]
        told[version["Key"], version["VersionId"]] = (version, got, body, tags)
    return told


def content_blobs(shelf: Shelf) -> set[str]:
    """Blobs of objects, parts, manifests and links, by the kind in their headers."""
    return {name for name, kind in shelf.kinds().items() if kind in {1, 2, 3, 4}}


@pytest.mark.parametrize("wrapping", ["direct", "bucket-key"])
def test_everything_is_sealed_anew(make_gateway: Callable[..., Gateway], ground: Ground, wrapping: str) -> None:
    gateway = make_gateway(wrapping=wrapping)
    shelf = ground.shelf(gateway)
    client = s3_client(gateway)
    fill(client, gateway.folder)
    upload = client.create_multipart_upload(Bucket=LOCKED, Key="open")["UploadId"]
    before = seen(client)
    files = content_blobs(shelf)
    report = told(gateway, "key", "incident", "alias/default")
    # Root and canary, in two files each, wait for the upload as well.
    assert (report["open_upload_count"], report["left_count"], report["disabled_versions"]) == (1, 1 + 4, [])
    assert "--version 1" in report["next_step"]
    report |= told(gateway, "key", "incident", "alias/default", "--version", "1", "--abort-uploads")
    assert (report["aborted_upload_count"], report["left_count"], report["disabled_versions"]) == (1, 0, [1])
    assert report["customer_count"] == 0, "what lies under a client's key is not under the leaked one"
    described = told(gateway, "key", "describe", "alias/default")
    assert [version["state"] for version in described["version_states"]] == ["disabled", "enabled"]
    assert len(files & content_blobs(shelf)) == 1, "the blob of the client's own key stays, and no other"
    gateway.restart()
    assert seen(client) == before
    assert told(gateway, "verify")["verified_row_count"] > 20
    assert told(gateway, "key", "rewrap")["left_count"] == 0
    with pytest.raises(client.exceptions.NoSuchUpload):
        client.list_parts(Bucket=LOCKED, Key="open", UploadId=upload)
    # Locks hold as before.
    locked = next(place for place, told_of in before.items() if told_of[1].get("ObjectLockMode"))
    with pytest.raises(client.exceptions.ClientError, match="AccessDenied"):
        client.delete_object(Bucket=LOCKED, Key=locked[0], VersionId=locked[1])
    client.close()


@pytest.mark.parametrize("is_retired", [False, True])
def test_a_version_that_wraps_nothing_any_more_leaks_what_blobs_keep(
    make_gateway: Callable[..., Gateway], ground: Ground, is_retired: bool
) -> None:
    """A rotation long ago moved every row away from it, or from the whole key; the slots have it still."""
    gateway = make_gateway()
    shelf = ground.shelf(gateway)
    client = s3_client(gateway)
    client.create_bucket(Bucket=LOCKED)
    stored = {f"o/{number}": payload(40_000 if number else 64, number) for number in range(4)}
    for name, content in stored.items():
        client.put_object(Bucket=LOCKED, Key=name, Body=content)
    if is_retired:
        told(gateway, "key", "create", "--alias", "next")
        told(gateway, "key", "default", "alias/next")
        assert told(gateway, "key", "rewrap", "alias/default", "--to", "alias/next")["left_count"] == 0
        told(gateway, "key", "retire", "alias/default")
    else:
        told(gateway, "key", "rotate", "alias/default")
        assert told(gateway, "key", "rewrap")["left_count"] == 0
        told(gateway, "key", "disable", "alias/default", "--version", "1")
    client.put_object(Bucket=LOCKED, Key="later", Body=b"under what came after")
    before = content_blobs(shelf)
    report = told(gateway, "key", "incident", "alias/default", "--version", "1")
    assert (report["sealed_count"], report["left_count"], report["disabled_versions"]) == (4, 0, [])
    assert "realm root" in report["not_replaced"]
    assert not before & content_blobs(shelf), "the small ones rest in the catalogue"
    gateway.restart()
    for name, content in stored.items():
        assert client.get_object(Bucket=LOCKED, Key=name)["Body"].read() == content
    client.close()
