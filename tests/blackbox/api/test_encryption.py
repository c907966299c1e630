"""SSE-S3, SSE-KMS and SSE-C with boto3 and its transfer manager, over the real process and its restarts."""

import base64
import hashlib
import io
import itertools
import json
import secrets
from collections.abc import Iterator
from typing import Any, Final

import pytest
from boto3.s3.transfer import TransferConfig
from botocore import UNSIGNED

from tests.blackbox.clients import MIB, payload, refusal, s3_client, sha256
from tests.blackbox.process import Gateway
from tests.blackbox.witness import shows
from tests.servers.ground import Ground

KEY: Final = secrets.token_bytes(32)
CUSTOMER: Final[dict[str, Any]] = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": KEY}
SOURCE: Final[dict[str, Any]] = {f"CopySource{name}": value for name, value in CUSTOMER.items()}
SMALL_PARTS: Final = TransferConfig(multipart_threshold=6 * MIB, multipart_chunksize=5 * MIB, max_concurrency=2)


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory, ground: Ground) -> Iterator[Gateway]:
    """A gateway of its own, whose keyring has a second key; it was made while the gateway served."""
    folder = tmp_path_factory.mktemp("keyed")
    deployment = Gateway(folder, ground.settings(folder))
    deployment.start()
    try:
        made = deployment.run("key", "create", "--alias", "team/mine", "--json")
        assert made.returncode == 0, made.stderr
        yield deployment
    finally:
        deployment.close()


@pytest.fixture(scope="module")
def arn(keyed: Gateway) -> str:
    told: str = json.loads(keyed.run("key", "describe", "team/mine", "--json").stdout)["arn"]
    return told


@pytest.fixture(scope="module")
def client(keyed: Gateway) -> Iterator[Any]:
    made = s3_client(keyed)
    yield made
    made.close()


_NUMBERS = itertools.count(1)


@pytest.fixture
def bucket(client: Any) -> str:
    name = f"encrypted-{next(_NUMBERS)}"
    client.create_bucket(Bucket=name)
    return name


MODES: Final[dict[str, dict[str, Any]]] = {
    "none": {},
    "sse-s3": {"ServerSideEncryption": "AES256"},
    "sse-kms": {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/team/mine"},
    "sse-kms-bucket-key": {
        "ServerSideEncryption": "aws:kms",
        "SSEKMSKeyId": "alias/team/mine",
        "BucketKeyEnabled": True,
    },
    "sse-c": CUSTOMER,
}


def reading(mode: str) -> dict[str, Any]:
    return CUSTOMER if mode == "sse-c" else {}


def fetched(client: Any, bucket: str, key: str, mode: str) -> bytes:
    whole: bytes = client.get_object(Bucket=bucket, Key=key, **reading(mode))["Body"].read()
    return whole


@pytest.mark.parametrize("mode", MODES)
def test_objects_and_transfers_come_back_over_a_restart(
    keyed: Gateway, client: Any, bucket: str, arn: str, mode: str
) -> None:
    small, large = payload(3000, 1), payload(7 * MIB + 7, 2)
    result = client.put_object(Bucket=bucket, Key="small", Body=small, **MODES[mode])
    assert result.get("SSEKMSKeyId") == (arn if "kms" in mode else None)
    # The transfer manager knows of no bucket keys.
    asked = {name: value for name, value in MODES[mode].items() if name != "BucketKeyEnabled"}
    client.upload_fileobj(io.BytesIO(large), bucket, "large", ExtraArgs=asked, Config=SMALL_PARTS)
    keyed.restart()
    assert fetched(client, bucket, "small", mode) == small
    sink = io.BytesIO()
    client.download_fileobj(bucket, "large", sink, ExtraArgs=reading(mode), Config=SMALL_PARTS)
    assert sha256(sink.getvalue()) == sha256(large)
    ranged = client.get_object(Bucket=bucket, Key="large", Range="bytes=5242870-5242890", **reading(mode))
    assert ranged["Body"].read() == large[5242870:5242891]
    head = client.head_object(Bucket=bucket, Key="large", **reading(mode))
    assert (head["ContentLength"], head["ETag"][-3:]) == (len(large), '-2"')
    md5 = hashlib.md5(small).hexdigest()
    assert (result["ETag"] == f'"{md5}"') == (mode in ("none", "sse-s3"))
    listed = {entry["Key"]: entry["Size"] for entry in client.list_objects_v2(Bucket=bucket)["Contents"]}
    assert listed == {"small": len(small), "large": len(large)}


@pytest.mark.parametrize(("source", "target"), list(itertools.product(MODES, MODES)))
def test_copies_between_any_two_modes(client: Any, bucket: str, source: str, target: str) -> None:
    body = payload(100_000, 3)
    client.put_object(Bucket=bucket, Key="source", Body=body, **MODES[source])
    source_key = SOURCE if source == "sse-c" else {}
    source_of = {"CopySource": {"Bucket": bucket, "Key": "source"}} | source_key
    client.copy_object(Bucket=bucket, Key="copy", **source_of, **MODES[target])
    assert fetched(client, bucket, "copy", target) == body
    upload = {"Bucket": bucket, "Key": "parts"}
    upload["UploadId"] = client.create_multipart_upload(**upload, **MODES[target])["UploadId"]
    part = client.upload_part_copy(
        **upload, **source_of, PartNumber=1, CopySourceRange="bytes=7-99998", **reading(target)
    )["CopyPartResult"]
    client.complete_multipart_upload(**upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    assert fetched(client, bucket, "parts", target) == body[7:99999]


def test_only_the_clients_key_opens(client: Any, bucket: str) -> None:
    client.put_object(Bucket=bucket, Key="k", Body=b"closed", **CUSTOMER)
    where = {"Bucket": bucket, "Key": "k"}
    other = CUSTOMER | {"SSECustomerKey": secrets.token_bytes(32)}
    assert refusal(client.get_object, **where) == (400, "InvalidRequest")
    assert refusal(client.get_object, **where, **other) == (403, "AccessDenied")
    assert refusal(client.head_object, **where) == (400, "400")
    assert refusal(client.head_object, **where, **other) == (403, "403")
    client.copy_object(**where, CopySource=where, **SOURCE, **other)
    assert refusal(client.get_object, **where, **CUSTOMER) == (403, "AccessDenied")
    assert client.get_object(**where, **other)["Body"].read() == b"closed"


def test_a_presigned_address_takes_the_clients_key(client: Any, bucket: str, keyed: Gateway) -> None:
    import urllib.request  # noqa: PLC0415

    client.put_object(Bucket=bucket, Key="k", Body=b"closed", **CUSTOMER)
    v4 = s3_client(keyed, signature_version="s3v4")
    url = v4.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k", **CUSTOMER})
    v4.close()
    assert base64.b64encode(KEY).decode() not in url
    headers = {
        "x-amz-server-side-encryption-customer-algorithm": "AES256",
        "x-amz-server-side-encryption-customer-key": base64.b64encode(KEY).decode(),
        "x-amz-server-side-encryption-customer-key-MD5": base64.b64encode(hashlib.md5(KEY).digest()).decode(),
    }
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, context=keyed.tls_context(), timeout=20) as answer:
        assert answer.read() == b"closed"


@shows(
    "PutBucketEncryption 200",
    "GetBucketEncryption 200",
    "DeleteBucketEncryption 204",
    "GetBucketEncryption 404 ServerSideEncryptionConfigurationNotFoundError",
    "PutObject 403 AccessDenied",
)
def test_a_buckets_default(client: Any, bucket: str, arn: str) -> None:
    by_default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "alias/team/mine"}
    blocked = {"EncryptionType": ["SSE-C"]}
    rule = {
        "ApplyServerSideEncryptionByDefault": by_default,
        "BucketKeyEnabled": True,
        "BlockedEncryptionTypes": blocked,
    }
    client.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    told = client.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert told == [rule]
    result = client.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert (result["SSEKMSKeyId"], result["BucketKeyEnabled"]) == (arn, True)
    assert refusal(client.put_object, Bucket=bucket, Key="c", Body=b"x", **CUSTOMER) == (403, "AccessDenied")
    client.delete_bucket_encryption(Bucket=bucket)
    missing = (404, "ServerSideEncryptionConfigurationNotFoundError")
    assert refusal(client.get_bucket_encryption, Bucket=bucket) == missing
    assert client.put_object(Bucket=bucket, Key="k", Body=b"x")["ServerSideEncryption"] == "AES256"


def test_a_key_that_is_not_there(client: Any, bucket: str) -> None:
    asked = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/none"}
    assert refusal(client.put_object, Bucket=bucket, Key="k", Body=b"", **asked) == (400, "KMS.NotFoundException")


def test_keys_are_listed_without_their_material(keyed: Gateway, arn: str) -> None:
    listed = json.loads(keyed.run("key", "list", "--json").stdout)["keys"]
    assert [entry["aliases"] for entry in listed] == ["alias/default", "alias/team/mine"]
    assert [entry["default"] for entry in listed] == [True, False]
    assert listed[1]["arn"] == arn
    refused = keyed.run("key", "create", "--alias", "team/mine")
    assert (refused.returncode, "taken" in refused.stderr) == (3, True)


@shows(
    "PutBucketEncryption 403 AccessDenied",
    "PutBucketEncryption 400 MalformedXML",
    "PutBucketEncryption 404 NoSuchBucket",
    "GetBucketEncryption 403 AccessDenied",
    "DeleteBucketEncryption 403 AccessDenied",
    "DeleteBucketEncryption 404 NoSuchBucket",
)
def test_a_default_is_its_owners(client: Any, bucket: str, keyed: Gateway) -> None:
    def rules(algorithm: str) -> dict[str, Any]:
        return {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": algorithm}}]}

    put = {"Bucket": bucket, "ServerSideEncryptionConfiguration": rules("aws:kms")}
    other = s3_client(keyed, keyed.create_account(f"not-of-{bucket}"))
    nobody = s3_client(keyed, signature_version=UNSIGNED)
    for stranger in (other, nobody):
        assert refusal(stranger.put_bucket_encryption, **put) == (403, "AccessDenied")
        assert refusal(stranger.get_bucket_encryption, Bucket=bucket) == (403, "AccessDenied")
        assert refusal(stranger.delete_bucket_encryption, Bucket=bucket) == (403, "AccessDenied")
        stranger.close()
    bad = put | {"ServerSideEncryptionConfiguration": rules("ROT13")}
    assert refusal(client.put_bucket_encryption, **bad) == (400, "MalformedXML")
    assert client.put_object(Bucket=bucket, Key="k", Body=b"x")["ServerSideEncryption"] == "AES256"
    gone = {"Bucket": "no-such-bucket"}
    assert refusal(client.put_bucket_encryption, **put | gone) == (404, "NoSuchBucket")
    assert refusal(client.delete_bucket_encryption, **gone) == (404, "NoSuchBucket")
