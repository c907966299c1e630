"""Lifecycle rules with boto3, over the real process whose days last two seconds."""

import time
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.blackbox.clients import refusal, s3_client
from tests.blackbox.process import Gateway
from tests.blackbox.witness import shows
from tests.servers.ground import Ground

DAY_S: Final = 2
_PATIENCE_S: Final = 30


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory, ground: Ground) -> Iterator[Gateway]:
    settings = {"SEALGATE_LIFECYCLE_DAY_S": str(DAY_S), "SEALGATE_LIFECYCLE_INTERVAL_S": "1"}
    folder = tmp_path_factory.mktemp("hasty")
    deployment = Gateway(folder, ground.settings(folder) | settings)
    deployment.start()
    try:
        yield deployment
    finally:
        deployment.close()


@pytest.fixture(scope="module")
def client(hasty: Gateway) -> Iterator[Any]:
    made = s3_client(hasty)
    yield made
    made.close()


def rule(prefix: str, **actions: Any) -> dict[str, Any]:
    return {"ID": f"of {prefix}", "Filter": {"Prefix": prefix}, "Status": "Enabled", **actions}


def wait_until(holds: Any) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "the rules were not carried out"
        time.sleep(0.2)


@shows("PutBucketLifecycleConfiguration 200", "GetBucketLifecycleConfiguration 200")
def test_objects_expire_and_uploads_are_aborted(hasty: Gateway, client: Any) -> None:
    client.create_bucket(Bucket="passing")
    for number in range(20):
        client.put_object(Bucket="passing", Key=f"tmp/{number}", Body=b"x" * 20_000)
    client.put_object(Bucket="passing", Key="kept", Body=b"x")
    upload = client.create_multipart_upload(Bucket="passing", Key="tmp/upload")["UploadId"]
    client.upload_part(Bucket="passing", Key="tmp/upload", UploadId=upload, PartNumber=1, Body=b"x")
    rules = [
        rule("tmp/", Expiration={"Days": 1}, AbortIncompleteMultipartUpload={"DaysAfterInitiation": 1}),
        rule("kept", Expiration={"Days": 10_000}),
    ]
    client.put_bucket_lifecycle_configuration(Bucket="passing", LifecycleConfiguration={"Rules": rules})
    assert client.get_bucket_lifecycle_configuration(Bucket="passing")["Rules"] == rules
    assert 'rule-id="of%20kept"' in client.head_object(Bucket="passing", Key="kept")["Expiration"]
    wait_until(lambda: client.list_objects_v2(Bucket="passing")["KeyCount"] == 1)
    wait_until(lambda: "Uploads" not in client.list_multipart_uploads(Bucket="passing"))
    assert client.get_object(Bucket="passing", Key="kept")["Body"].read() == b"x"
    wait_until(lambda: "lifecycle rules applied" in hasty.log.read_text())


def test_without_rules_nothing_goes(client: Any) -> None:
    client.create_bucket(Bucket="lasting")
    client.put_object(Bucket="lasting", Key="k", Body=b"x")
    time.sleep(2 * DAY_S + 1)
    assert client.list_objects_v2(Bucket="lasting")["KeyCount"] == 1


@shows(
    "PutBucketLifecycleConfiguration 200",
    "PutBucketLifecycleConfiguration 400 InvalidArgument",
    "PutBucketLifecycleConfiguration 403 AccessDenied",
    "GetBucketLifecycleConfiguration 200",
    "GetBucketLifecycleConfiguration 403 AccessDenied",
    "GetBucketLifecycleConfiguration 404 NoSuchLifecycleConfiguration",
    "DeleteBucketLifecycle 204",
    "DeleteBucketLifecycle 403 AccessDenied",
    "DeleteBucketLifecycle 404 NoSuchBucket",
)
def test_rules_are_their_owners(s3: Any, guest: Any, nobody: Any, bucket: str) -> None:
    rules = [rule("tmp/", Expiration={"Days": 3})]
    put = {"Bucket": bucket, "LifecycleConfiguration": {"Rules": rules}}
    missing = (404, "NoSuchLifecycleConfiguration")
    assert refusal(s3.get_bucket_lifecycle_configuration, Bucket=bucket) == missing
    s3.put_bucket_lifecycle_configuration(**put)
    twice = put | {"LifecycleConfiguration": {"Rules": [*rules, *rules]}}
    assert refusal(s3.put_bucket_lifecycle_configuration, **twice) == (400, "InvalidArgument")
    for other in (guest, nobody):
        assert refusal(other.put_bucket_lifecycle_configuration, **put) == (403, "AccessDenied")
        assert refusal(other.get_bucket_lifecycle_configuration, Bucket=bucket) == (403, "AccessDenied")
        assert refusal(other.delete_bucket_lifecycle, Bucket=bucket) == (403, "AccessDenied")
    assert s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"] == rules
    assert 'rule-id="of%20tmp%2F"' in s3.put_object(Bucket=bucket, Key="tmp/x", Body=b"x")["Expiration"]
    s3.delete_bucket_lifecycle(Bucket=bucket)
    assert refusal(s3.get_bucket_lifecycle_configuration, Bucket=bucket) == missing
    assert "Expiration" not in s3.head_object(Bucket=bucket, Key="tmp/x")
    assert refusal(s3.delete_bucket_lifecycle, Bucket="no-such-bucket") == (404, "NoSuchBucket")
