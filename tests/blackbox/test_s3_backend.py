"""The whole gateway with its blobs in a bucket of a real SeaweedFS: the cases of boto3, and damage behind its back."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from botocore.exceptions import ClientError

from tests.blackbox.clients import s3_client
from tests.blackbox.process import Gateway
from tests.blackbox.test_boto3 import *  # noqa: F403 - the same cases, through this module's gateway
from tests.servers.s3_servers import ACCESS_KEY_ID, SECRET_ACCESS_KEY, S3Server, SeaweedFs, s3_settings

BUCKET: Final = "sealed-blobs"
PREFIX: Final = "one/"


@pytest.fixture(scope="session")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = SeaweedFs(tmp_path_factory.mktemp("seaweedfs"))
    try:
        server.start()
        server.client().create_bucket(Bucket=BUCKET)
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def gateway(backend: S3Server, tmp_path_factory: pytest.TempPathFactory, _no_presets: None) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    deployment = Gateway(folder, s3_settings(backend, folder, BUCKET, PREFIX))
    deployment.start()
    try:
        yield deployment
    finally:
        deployment.close()


def blobs_of(server: S3Server, plaintext_size: int) -> set[str]:
    """Every object of the backend's that is a blob of about that size; those of the journal are smaller or larger."""
    pages = server.client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=PREFIX + "b/")
    entries = [entry for page in pages for entry in page.get("Contents", [])]
    return {entry["Key"] for entry in entries if 0 < entry["Size"] - plaintext_size < 2048}


def stored_as(server: S3Server, s3: Any, bucket: str, key: str, body: bytes) -> str:
    """Put an object through the gateway; return the name of its blob at the backend."""
    before = blobs_of(server, len(body))
    s3.put_object(Bucket=bucket, Key=key, Body=body)
    (name,) = blobs_of(server, len(body)) - before
    return name


def test_nothing_plain_reaches_the_backend(backend: S3Server, s3: Any, bucket: str) -> None:
    secret = b"plain words that no backend shall see" * 3001
    name = stored_as(backend, s3, bucket, "named-in-secret", secret)
    rests = backend.client().get_object(Bucket=BUCKET, Key=name)
    stored = rests["Body"].read()
    assert len(stored) > len(secret)
    assert secret[:37] not in stored
    assert b"named-in-secret" not in stored
    assert "named-in-secret" not in repr(rests)
    assert s3.get_object(Bucket=bucket, Key="named-in-secret")["Body"].read() == secret


def test_a_missing_blob_is_500_and_an_alarm_and_never_404(
    backend: S3Server, gateway: Gateway, s3: Any, bucket: str
) -> None:
    name = stored_as(backend, s3, bucket, "lost", b"x" * 200_003)
    backend.client().delete_object(Bucket=BUCKET, Key=name)
    with pytest.raises(ClientError) as caught:
        s3.get_object(Bucket=bucket, Key="lost")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
    assert "BlobMissing" in gateway.log.read_text()


@pytest.mark.parametrize("change", ["swapped", "truncated", "flipped"])
def test_other_bytes_than_were_sealed_are_never_served(backend: S3Server, s3: Any, bucket: str, change: str) -> None:
    stored = [stored_as(backend, s3, bucket, key, key.encode() * 30_001) for key in ("first", "other")]
    client = backend.client()
    first, second = (client.get_object(Bucket=BUCKET, Key=name)["Body"].read() for name in stored)
    flipped = bytearray(first)
    flipped[len(first) // 2] ^= 1
    put = {"swapped": second, "truncated": first[:-1], "flipped": bytes(flipped)}[change]
    client.put_object(Bucket=BUCKET, Key=stored[0], Body=put)
    with pytest.raises(ClientError) as caught:
        s3.get_object(Bucket=bucket, Key="first")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
    assert s3.get_object(Bucket=bucket, Key="other")["Body"].read() == b"other" * 30_001


def test_what_is_under_compliance_is_kept_by_the_backend_itself(backend: S3Server, tmp_path: Path) -> None:
    """At its write, at a copy, by parts and by the bucket's default; longer when it is extended; nothing else is."""
    kept = backend.client()
    kept.create_bucket(Bucket="kept-blobs", ObjectLockEnabledForBucket=True)
    gateway = Gateway(tmp_path, s3_settings(backend, tmp_path, "kept-blobs", PREFIX))
    gateway.start()
    s3 = s3_client(gateway)
    try:
        s3.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
        until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)
        lock = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": until}
        s3.put_object(Bucket="locked", Key="free", Body=b"f" * 50_000)
        s3.put_object(Bucket="locked", Key="governed", Body=b"g" * 50_001, **lock | {"ObjectLockMode": "GOVERNANCE"})
        assert _kept_ends(kept) == []
        s3.put_object(Bucket="locked", Key="kept", Body=b"k" * 50_002, **lock)
        assert _kept_ends(kept) == [until]
        s3.copy_object(Bucket="locked", Key="copy", CopySource="locked/free", **lock)
        assert _kept_ends(kept) == [until] * 3, "the blob that it shares, and its link"
        begun = s3.create_multipart_upload(Bucket="locked", Key="parts", **lock)
        named = {"Bucket": "locked", "Key": "parts", "UploadId": begun["UploadId"]}
        parts = [
            {"PartNumber": number, "ETag": s3.upload_part(**named, PartNumber=number, Body=b"p" * (5 << 20))["ETag"]}
            for number in (1, 2)
        ]
        s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts})
        assert _kept_ends(kept) == [until] * 6, "two parts and their manifest"
        later = until + timedelta(days=1)
        s3.put_object_retention(Bucket="locked", Key="kept", Retention={"Mode": "COMPLIANCE", "RetainUntilDate": later})
        assert _kept_ends(kept) == [until] * 5 + [later]
        rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 30}}
        configuration = {"ObjectLockEnabled": "Enabled", "Rule": rule}
        s3.put_object_lock_configuration(Bucket="locked", ObjectLockConfiguration=configuration)
        s3.put_object(Bucket="locked", Key="by default", Body=b"d" * 50_003)
        assert _kept_ends(kept)[-1] > until + timedelta(days=20)
        # Nobody who has the backend's credentials can destroy these bytes.
        for entry in kept.list_object_versions(Bucket="kept-blobs", Prefix=PREFIX + "b/")["Versions"]:
            if _end_of(kept, entry["Key"]) is not None:
                with pytest.raises(ClientError):
                    kept.delete_object(Bucket="kept-blobs", Key=entry["Key"], VersionId=entry["VersionId"])
        assert s3.get_object(Bucket="locked", Key="parts")["Body"].read() == b"p" * (10 << 20)
    finally:
        s3.close()
        gateway.close()


def _end_of(kept: Any, key: str) -> datetime | None:
    try:
        told = kept.get_object_retention(Bucket="kept-blobs", Key=key)["Retention"]
    except ClientError:
        return None
    assert told["Mode"] == "COMPLIANCE"
    ends: datetime = told["RetainUntilDate"]
    return ends.astimezone(UTC)


def _kept_ends(kept: Any) -> list[datetime]:
    """Until when the backend keeps blobs, those that it keeps at all."""
    entries = kept.list_objects_v2(Bucket="kept-blobs", Prefix=PREFIX + "b/").get("Contents", [])
    return sorted(end for entry in entries if (end := _end_of(kept, entry["Key"])) is not None)


def test_neither_secret_nor_key_id_of_the_backend_reaches_a_log(gateway: Gateway) -> None:
    logged = "".join(path.read_text() for path in gateway.logs.iterdir())
    assert SECRET_ACCESS_KEY not in logged
    assert ACCESS_KEY_ID not in logged


def test_a_backend_that_is_gone_is_503_and_comes_back(
    backend: S3Server, gateway: Gateway, s3: Any, bucket: str
) -> None:
    s3.put_object(Bucket=bucket, Key="kept", Body=b"k" * 50_000)
    backend.stop()
    with pytest.raises(ClientError) as caught:
        s3.put_object(Bucket=bucket, Key="kept", Body=b"other" * 10_000)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
    backend.start()
    # It answers before all of its parts have found one another.
    deadline = time.monotonic() + 30
    while (status := _status_of_get(s3, bucket)) == 503 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert status == 200
    assert s3.get_object(Bucket=bucket, Key="kept")["Body"].read() == b"k" * 50_000


def _status_of_get(s3: Any, bucket: str) -> int:
    try:
        return int(s3.get_object(Bucket=bucket, Key="kept")["ResponseMetadata"]["HTTPStatusCode"])
    except ClientError as error:
        return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


def test_check_looks_at_the_backend(backend: S3Server, gateway: Gateway) -> None:
    gateway.stop()
    done = gateway.run("check")
    assert "it is of the realm of these keys" in done.stdout
    assert "its bucket has no object lock" in done.stdout, "what it lacks is told"
    assert "If-None-Match" not in done.stdout, "and what it has is not"
    backend.stop()
    gone = gateway.run("check")
    assert gone.returncode != 0
    assert "the backend cannot be used" in gone.stdout + gone.stderr
