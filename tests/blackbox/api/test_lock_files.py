"""Lock files as Terraform and OpenTofu keep them beside a state: one PutObject that only the first of two can win."""

import hashlib
import json
import threading
from base64 import b64encode
from typing import Any, Final

import pytest
from botocore.exceptions import ClientError

from tests.blackbox.clients import s3_client
from tests.blackbox.process import Gateway

_KEY: Final = "env:/staging/network.tfstate"
_LOCK: Final = f"{_KEY}.tflock"


def _info(who: str) -> bytes:
    return json.dumps({"ID": who, "Operation": "OperationTypeApply", "Path": _KEY, "Who": who}).encode()


def _take(s3: Any, bucket: str, who: str, spelling: str) -> int:
    """Try to take the lock and return the status.

    Terraform names an algorithm, whereupon the SDK sends its checksum in a trailer; OpenTofu gives the
    value in a header.
    """
    body = _info(who)
    checksums = {
        "trailer": {"ChecksumAlgorithm": "SHA256"},
        "header": {"ChecksumSHA256": b64encode(hashlib.sha256(body).digest()).decode()},
        "none": {},
    }
    try:
        answer = s3.put_object(
            Bucket=bucket,
            Key=_LOCK,
            Body=body,
            ContentType="application/json",
            IfNoneMatch="*",
            **checksums[spelling],
        )
    except ClientError as error:
        return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
    return int(answer["ResponseMetadata"]["HTTPStatusCode"])


@pytest.mark.parametrize("spelling", ["trailer", "header", "none"])
@pytest.mark.parametrize("versioned", [False, True])
def test_second_taker_is_refused_until_the_first_lets_go(s3: Any, bucket: str, spelling: str, versioned: bool) -> None:
    if versioned:  # both tools advise it for the bucket of a state
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for who in ("first", "third"):  # a delete marker from the first round must not stand in the way of the next
        assert _take(s3, bucket, who, spelling) == 200
        assert _take(s3, bucket, "second", spelling) == 412
        held = s3.get_object(Bucket=bucket, Key=_LOCK, ChecksumMode="ENABLED")
        assert json.loads(held["Body"].read())["ID"] == who
        s3.put_object(Bucket=bucket, Key=_KEY, Body=who.encode(), ChecksumAlgorithm="SHA256")
        s3.delete_object(Bucket=bucket, Key=_LOCK)
        with pytest.raises(ClientError) as gone:
            s3.head_object(Bucket=bucket, Key=_LOCK)
        assert gone.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404


def test_wrong_checksum_takes_no_lock(s3: Any, bucket: str) -> None:
    wrong = b64encode(hashlib.sha256(b"other").digest()).decode()
    with pytest.raises(ClientError) as refused:
        s3.put_object(Bucket=bucket, Key=_LOCK, Body=_info("x"), IfNoneMatch="*", ChecksumSHA256=wrong)
    assert refused.value.response["Error"]["Code"] == "BadDigest"
    assert _take(s3, bucket, "next", "header") == 200


def test_one_of_many_wins(gateway: Gateway, s3: Any, bucket: str) -> None:
    takers = 8
    statuses: dict[str, int] = {}
    together = threading.Barrier(takers)

    def take(who: str) -> None:
        client = s3_client(gateway)
        together.wait()
        statuses[who] = _take(client, bucket, who, "trailer")
        client.close()

    threads = [threading.Thread(target=take, args=(f"taker-{number}",)) for number in range(takers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [who for who, status in statuses.items() if status == 200]
    assert len(winners) == 1
    assert len(statuses) == takers
    assert set(statuses.values()) <= {200, 409, 412}
    assert json.loads(s3.get_object(Bucket=bucket, Key=_LOCK)["Body"].read())["ID"] == winners[0]
