"""What lies in the backend's bucket beside blobs: versions, unfinished uploads, and what a walk meets."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from storage.blobs import s3
from storage.blobs.s3 import S3BlobStore
from storage.blobs.s3_backend import S3Target
from storage.blobs.s3_writer import PART_BYTES
from storage.errors import BlobExists, BlobMissing, BlobReadFailed, StorageUnavailable
from tests.servers import s3_faults as faults
from tests.servers.https_double import Answer, Request
from tests.servers.s3_faults import Act, Forward, S3FaultProxy
from tests.servers.s3_servers import S3Server
from tests.storage.blobs.s3.support import TRAITS, make_bucket, new_target, probed, uploads_of, walked
from tests.suites.blobs import blob_id, chunks, content, read_all

pytestmark = pytest.mark.anyio

SMALL = content(300_000)
LARGE = content(PART_BYTES + 4321)


@pytest.fixture(params=["seaweedfs", pytest.param("minio", marks=pytest.mark.slow)])
def server(request: pytest.FixtureRequest) -> S3Server:
    made: S3Server = request.getfixturevalue(request.param)
    return made


@pytest.mark.parametrize("status", ["Enabled", "Suspended"])
async def test_a_bucket_that_keeps_versions_keeps_none_of_a_deleted_blob(server: S3Server, status: str) -> None:
    bucket = make_bucket(server, f"versions-{status.lower()}")
    client: Any = server.client()
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})
    target = new_target(server, bucket=bucket)
    store = S3BlobStore(target)
    assert (await store.traits()).versioned
    for number, data in ((1, SMALL), (2, LARGE)):
        await store.put(blob_id(number), chunks(data, 1_000_003))
        with pytest.raises(BlobExists):
            await store.put(blob_id(number), chunks(data, 1_000_003))
        assert await read_all(store, blob_id(number)) == data
    # Somebody else deleted it as one deletes there: its bytes are under a marker.
    client.delete_object(Bucket=bucket, Key=f"{target.prefix}b/00/{blob_id(1).hex()}")
    with pytest.raises(BlobMissing):
        await store.open(blob_id(1))
    for number in (1, 2):
        await store.delete(blob_id(number))
    left = client.list_object_versions(Bucket=bucket, Prefix=target.prefix)
    assert left.get("Versions", []) == []
    if status == "Enabled":  # SeaweedFS leaves a marker of a suspended bucket, which has no bytes
        assert left.get("DeleteMarkers", []) == []
    await store.close()
    client.close()


async def test_uploads_that_nobody_ends_are_swept_once_they_are_old(
    proxy: S3FaultProxy, store: S3BlobStore, seaweedfs: S3Server, target: S3Target
) -> None:
    # Its acknowledgement was lost, so that it was begun twice; a gateway that was killed leaves the same.
    proxy.on("begin", faults.lost)
    await store.put(blob_id(1), chunks(LARGE, 1_000_003))
    assert len(uploads_of(seaweedfs, target)) == 1
    assert await store.reclaim_debris(datetime.now(UTC) - timedelta(hours=1)) == 0
    assert len(uploads_of(seaweedfs, target)) == 1
    assert await store.reclaim_debris(datetime.now(UTC) + timedelta(seconds=5)) == 1
    assert uploads_of(seaweedfs, target) == []
    assert await read_all(store, blob_id(1)) == LARGE


async def test_of_unfinished_uploads_ours_are_swept_and_those_of_others_left(server: S3Server) -> None:
    """MinIO lists uploads by a whole key or by the whole bucket, and none by what keys begin with."""
    target = new_target(server)
    store = S3BlobStore(target)
    client: Any = server.client()
    keys = [f"{target.prefix}b/00/{blob_id(1).hex()}", f"another-{target.prefix}b/00/x"]
    begun = [client.create_multipart_upload(Bucket=target.bucket, Key=key) for key in keys]
    assert await store.reclaim_debris(datetime.now(UTC) - timedelta(hours=1)) == 0
    assert await store.reclaim_debris(datetime.now(UTC) + timedelta(hours=1)) == 1
    left = [entry["Key"] for entry in client.list_multipart_uploads(Bucket=target.bucket).get("Uploads", [])]
    assert keys[0] not in left
    assert keys[1] in left
    client.abort_multipart_upload(Bucket=target.bucket, Key=keys[1], UploadId=begun[1]["UploadId"])
    await store.close()
    client.close()


_PAGE = (
    b"<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>again</NextContinuationToken>"
    b"</ListBucketResult>"
)

_BOMB = '<!DOCTYPE x [<!ENTITY a "b">]><ListBucketResult><IsTruncated>&a;</IsTruncated></ListBucketResult>'


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (_PAGE, BlobReadFailed),
        (_PAGE.replace(b"<NextContinuationToken>again</NextContinuationToken>", b""), BlobReadFailed),
        (b"<Error><Code>InternalError</Code></Error>", StorageUnavailable),
        (b"<ListBucketResult>", StorageUnavailable),
        (b"<Other/>", StorageUnavailable),
        (_BOMB.encode(), StorageUnavailable),
        (_BOMB.encode("utf-16"), StorageUnavailable),
        (_BOMB.encode("utf-16-le"), StorageUnavailable),
        (f'<?xml version="1.0" encoding="cp037"?>{_BOMB}'.encode("cp037"), StorageUnavailable),
        (b"<ListBucketResult>" + b" " * (8 * 1024 * 1024) + b"</ListBucketResult>", StorageUnavailable),
    ],
    ids=["a circle", "no token", "an error inside", "no end", "another document", *["entities"] * 4, "no end of it"],
)
async def test_a_list_that_cannot_be_right_ends_the_walk(
    proxy: S3FaultProxy, store: S3BlobStore, body: bytes, error: type[Exception]
) -> None:
    proxy.on("list", lambda _request, _forward: Answer(200, body), times=1000)
    with pytest.raises(error):
        await walked(store)
    assert len(proxy.seen("list")) <= 3


def _endless(root: str, element: str, entries: str = "") -> Act:
    """Pages that lead on for ever, each by a mark of its own."""
    numbers = count()

    def page(_request: Request, _forward: Forward) -> Answer:
        more = f"<IsTruncated>true</IsTruncated><{element}>{next(numbers)}</{element}>"
        return Answer(200, f"<{root}>{more}{entries}</{root}>".encode())

    return page


async def test_pages_that_lead_nowhere_end_the_walk(proxy: S3FaultProxy, store: S3BlobStore) -> None:
    proxy.on("list", _endless("ListBucketResult", "NextContinuationToken"), times=1000)
    with pytest.raises(BlobReadFailed, match="nowhere"):
        await walked(store)


async def test_a_name_that_is_listed_again_ends_the_walk(proxy: S3FaultProxy, store: S3BlobStore) -> None:
    name = f"{store._backend.target.prefix}b/00/{'0' * 32}"
    time = "<Size>1</Size><LastModified>2026-01-01T00:00:00Z</LastModified>"
    entry = f"<Contents><Key>{name}</Key>{time}</Contents>"
    proxy.on("list", _endless("ListBucketResult", "NextContinuationToken", entry), times=1000)
    with pytest.raises(BlobReadFailed, match="twice"):
        await walked(store)


async def test_unfinished_uploads_without_end_are_left_for_the_next_sweep(
    proxy: S3FaultProxy, store: S3BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "_UPLOAD_PAGES", 10)
    proxy.on("ask uploads", _endless("ListMultipartUploadsResult", "NextKeyMarker"), times=1000)
    assert await store.reclaim_debris(datetime.now(UTC)) == 0
    assert len(proxy.seen("ask uploads")) == 10


async def test_versions_on_every_page_are_deleted(proxy: S3FaultProxy, target: S3Target) -> None:
    """A page may be short, whatever the number of versions: none is taken for the last that does not say so."""
    store = probed(target, replace(TRAITS, versioned=True))
    await store.put(blob_id(1), chunks(b"x"))
    proxy.on("ask versions", _endless("ListVersionsResult", "NextVersionIdMarker"), times=2)
    await store.delete(blob_id(1))
    with pytest.raises(BlobMissing):
        await store.stat(blob_id(1))
    proxy.on("ask versions", _endless("ListVersionsResult", "NextVersionIdMarker"), times=1000)
    with pytest.raises(StorageUnavailable, match="without end"):
        await store.delete(blob_id(1))
    await store.close()


@pytest.mark.parametrize(
    "told",
    [
        {"content-length": "x"},
        {"content-length": "9" * 5000},
        {"last-modified": "Fri, 31 Dec 9999 23:59:59 -1200"},
        {"last-modified": "x"},
    ],
)
async def test_a_head_that_cannot_be_right_is_an_error_of_the_store(
    proxy: S3FaultProxy, store: S3BlobStore, told: dict[str, str]
) -> None:
    await store.put(blob_id(1), chunks(b"x"))

    def changed(answer: Answer) -> Answer:
        return replace(answer, headers={**answer.headers, **told})

    proxy.on("head", faults.changed_on_the_way_out(changed), times=1000)
    with pytest.raises(BlobReadFailed):
        await store.stat(blob_id(1))
    if "content-length" in told:
        with pytest.raises(StorageUnavailable):
            await store.put(blob_id(2), chunks(b"x"))


async def test_an_etag_that_no_document_holds_is_an_error_of_the_store(proxy: S3FaultProxy, store: S3BlobStore) -> None:
    def changed(answer: Answer) -> Answer:
        return replace(answer, headers={**answer.headers, "etag": "\xff"})

    proxy.on("part", faults.changed_on_the_way_out(changed), times=1000)
    with pytest.raises(StorageUnavailable):
        await store.put(blob_id(1), chunks(LARGE))


async def test_a_walk_over_many_pages_finds_every_blob_once(
    proxy: S3FaultProxy, target: S3Target, seaweedfs: S3Server
) -> None:
    """Pages break off and are asked for again; what is no blob of ours is passed over."""
    store = probed(target)
    for number in range(5):
        await store.put(blob_id(number << 100), chunks(b"x"))
    client: Any = seaweedfs.client()
    client.put_object(Bucket=target.bucket, Key=f"{target.prefix}b/00/not-a-blob", Body=b"x")
    client.close()
    proxy.on("list", faults.paced(faults.cut_in_the_body()))
    assert await walked(store) == 5
    await store.close()
