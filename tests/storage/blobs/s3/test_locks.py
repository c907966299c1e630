"""Blobs that the backend itself keeps until a time: a bucket with object lock, on SeaweedFS; MinIO in the long form."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from storage.blobs.s3 import S3BlobStore
from storage.blobs.s3_backend import S3Target
from storage.blobs.s3_writer import PART_BYTES
from storage.errors import BlobHeld, BlobMissing, StorageUnavailable
from tests.servers import s3_faults as faults
from tests.servers.s3_faults import S3FaultProxy
from tests.servers.s3_servers import S3Server
from tests.storage.blobs.s3.support import TRAITS, make_bucket, new_target, probed
from tests.suites.blobs import blob_id, chunks, content, read_all

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["seaweedfs", pytest.param("minio", marks=pytest.mark.slow)])
def server(request: pytest.FixtureRequest) -> S3Server:
    made: S3Server = request.getfixturevalue(request.param)
    return made


@pytest.fixture
def locked(server: S3Server) -> S3Target:
    return new_target(server, bucket=make_bucket(server, "locked", ObjectLockEnabledForBucket=True))


@pytest.fixture
async def keeper(locked: S3Target) -> AsyncIterator[S3BlobStore]:
    store = S3BlobStore(locked)
    yield store
    await store.close()


def retention(server: S3Server, target: S3Target, number: int) -> tuple[str, datetime]:
    """Mode and end, as the backend tells another client."""
    client: Any = server.client()
    told = client.get_object_retention(Bucket=target.bucket, Key=name_of(target, number))["Retention"]
    client.close()
    return told["Mode"], told["RetainUntilDate"].astimezone(UTC)


def name_of(target: S3Target, number: int) -> str:
    return f"{target.prefix}b/00/{blob_id(number).hex()}"


def in_days(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


@pytest.mark.parametrize("size", [1000, PART_BYTES + 5])
async def test_a_blob_is_kept_by_the_backend_itself(
    keeper: S3BlobStore, server: S3Server, locked: S3Target, size: int
) -> None:
    assert (await keeper.traits()).locks
    data, until = content(size), in_days(3)
    await keeper.put(blob_id(1), chunks(data, 1_000_003))
    assert await keeper.retain(blob_id(1), until)
    mode, ends = retention(server, locked, 1)
    assert mode == "COMPLIANCE"
    assert timedelta() <= ends - until < timedelta(seconds=2)
    with pytest.raises(BlobHeld):
        await keeper.delete(blob_id(1))
    assert await read_all(keeper, blob_id(1)) == data
    # Nor can somebody with the backend's credentials destroy the bytes.
    client: Any = server.client()
    (version,) = client.list_object_versions(Bucket=locked.bucket, Prefix=name_of(locked, 1))["Versions"]
    with pytest.raises(ClientError):
        client.delete_object(
            Bucket=locked.bucket,
            Key=name_of(locked, 1),
            VersionId=version["VersionId"],
            BypassGovernanceRetention=True,
        )
    client.close()


async def test_a_retention_grows_and_never_shrinks(keeper: S3BlobStore, server: S3Server, locked: S3Target) -> None:
    """Versions that share a blob end at their own times; it stays for the last of them."""
    await keeper.put(blob_id(1), chunks(b"shared"))
    for days, stands in ((3, 3), (1, 3), (5, 5), (5, 5)):
        assert await keeper.retain(blob_id(1), in_days(days))
        _, ends = retention(server, locked, 1)
        assert abs(ends - in_days(stands)) < timedelta(minutes=5)


async def test_what_is_not_there_cannot_be_kept(keeper: S3BlobStore) -> None:
    with pytest.raises(BlobMissing):
        await keeper.retain(blob_id(1), in_days(1))


async def test_a_blob_that_nothing_holds_is_deleted_as_ever(
    keeper: S3BlobStore, server: S3Server, locked: S3Target
) -> None:
    await keeper.put(blob_id(1), chunks(b"free"))
    await keeper.delete(blob_id(1))
    client: Any = server.client()
    left = client.list_object_versions(Bucket=locked.bucket, Prefix=locked.prefix + "b/")
    assert left.get("Versions", []) + left.get("DeleteMarkers", []) == []
    client.close()


async def test_a_bucket_without_locks_says_that_it_keeps_nothing(store: S3BlobStore) -> None:
    await store.put(blob_id(1), chunks(b"x"))
    assert not await store.retain(blob_id(1), in_days(1))
    await store.delete(blob_id(1))


async def test_a_backend_that_refuses_to_keep_a_blob_is_not_taken_for_one_that_does(
    proxy: S3FaultProxy, target: S3Target, seaweedfs: S3Server
) -> None:
    bucket = make_bucket(seaweedfs, "locked", ObjectLockEnabledForBucket=True)
    store = probed(target, replace(TRAITS, locks=True, versioned=True), bucket=bucket)
    await store.put(blob_id(1), chunks(b"x"))
    for act in (faults.refused(403, "AccessDenied"), faults.refused(500, "InternalError"), faults.broken):
        proxy.on("put retention", act, times=1000)
        with pytest.raises(StorageUnavailable):
            await store.retain(blob_id(1), in_days(1))
        proxy.reset()
    for act in (faults.lost, faults.refused(503, "SlowDown")):
        proxy.on("put retention", act)
        assert await store.retain(blob_id(1), in_days(1))
    await store.close()


async def test_the_probe_names_a_bucket_that_keeps_everything(server: S3Server) -> None:
    """With a default retention nothing that is deleted goes before its time, the probe's own objects included."""
    bucket = make_bucket(server, "hoarding", ObjectLockEnabledForBucket=True)
    client: Any = server.client()
    client.put_object_lock_configuration(
        Bucket=bucket,
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}},
        },
    )
    client.close()
    store = S3BlobStore(new_target(server, bucket=bucket))
    assert any("default retention" in line for line in (await store.traits()).lacks())
    await store.close()
