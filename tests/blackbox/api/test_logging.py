"""Server access logs with boto3, over the real process that writes them every second and when it stops."""

import time
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.blackbox.clients import refusal, s3_client
from tests.blackbox.process import Gateway
from tests.blackbox.witness import shows
from tests.servers.ground import Ground

_PATIENCE_S: Final = 20


@pytest.fixture(scope="module")
def chatty(tmp_path_factory: pytest.TempPathFactory, ground: Ground) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("chatty")
    deployment = Gateway(folder, ground.settings(folder) | {"SEALGATE_ACCESS_LOG_INTERVAL_S": "1"})
    deployment.start()
    try:
        yield deployment
    finally:
        deployment.close()


def lines(client: Any, bucket: str) -> list[str]:
    found = client.list_objects_v2(Bucket=bucket).get("Contents", [])
    bodies = [client.get_object(Bucket=bucket, Key=one["Key"])["Body"].read().decode() for one in found]
    return [line for body in bodies for line in body.splitlines()]


def wait_for(client: Any, bucket: str, *pieces: str) -> list[str]:
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        told = lines(client, bucket)
        if all(any(piece in line for line in told) for piece in pieces):
            return told
        assert time.monotonic() < deadline, told
        time.sleep(0.3)


@shows("PutBucketLogging 200", "GetBucketLogging 200")
def test_requests_stand_in_the_log_also_after_a_restart(chatty: Gateway) -> None:
    client = s3_client(chatty)
    for name in ("watched", "logs"):
        client.create_bucket(Bucket=name)
    status = {"LoggingEnabled": {"TargetBucket": "logs", "TargetPrefix": "of-watched/"}}
    client.put_bucket_logging(Bucket="watched", BucketLoggingStatus=status)
    assert client.get_bucket_logging(Bucket="watched")["LoggingEnabled"] == status["LoggingEnabled"]
    client.put_object(Bucket="watched", Key="first", Body=b"x" * 5)
    address = client.generate_presigned_url("get_object", Params={"Bucket": "watched", "Key": "first"})
    signature = address.rpartition("ignature=")[2].partition("&")[0]
    client.get_object(Bucket="watched", Key="first")["Body"].read()
    wait_for(client, "logs", "REST.PUT.OBJECT first", "REST.GET.OBJECT first")
    client.put_object(Bucket="watched", Key="last", Body=b"x")
    chatty.restart()
    told = wait_for(client, "logs", "REST.PUT.OBJECT last")
    client.put_object(Bucket="watched", Key="later", Body=b"x")
    wait_for(client, "logs", "REST.PUT.OBJECT later")
    assert all(one["Key"].startswith("of-watched/") for one in client.list_objects_v2(Bucket="logs")["Contents"])
    assert signature not in "\n".join(told)
    client.close()


@shows(
    "PutBucketLogging 200",
    "PutBucketLogging 403 AccessDenied",
    "PutBucketLogging 400 InvalidTargetBucketForLogging",
    "GetBucketLogging 200",
    "GetBucketLogging 403 AccessDenied",
    "GetBucketLogging 404 NoSuchBucket",
)
def test_a_log_is_its_owners(s3: Any, guest: Any, nobody: Any, bucket: str) -> None:
    status = {"LoggingEnabled": {"TargetBucket": bucket, "TargetPrefix": "log/"}}
    put = {"Bucket": bucket, "BucketLoggingStatus": status}
    for other in (guest, nobody):
        assert refusal(other.put_bucket_logging, **put) == (403, "AccessDenied")
        assert refusal(other.get_bucket_logging, Bucket=bucket) == (403, "AccessDenied")
    guest.create_bucket(Bucket=f"{bucket}-of-guest")
    for target in ("no-such-bucket", f"{bucket}-of-guest"):
        elsewhere = {"LoggingEnabled": status["LoggingEnabled"] | {"TargetBucket": target}}
        refused = refusal(s3.put_bucket_logging, Bucket=bucket, BucketLoggingStatus=elsewhere)
        assert refused == (400, "InvalidTargetBucketForLogging")
    assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket=bucket)
    s3.put_bucket_logging(**put)
    assert s3.get_bucket_logging(Bucket=bucket)["LoggingEnabled"] == status["LoggingEnabled"]
    s3.put_bucket_logging(Bucket=bucket, BucketLoggingStatus={})
    assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket=bucket)
    assert refusal(s3.get_bucket_logging, Bucket="no-such-bucket") == (404, "NoSuchBucket")
