"""The drill: the keys folder is deleted, and with a recovery secret everything is read back byte for byte."""

import shutil
from collections.abc import Callable
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig

from tests.blackbox.clients import payload, s3_client
from tests.blackbox.process import Credentials, Gateway
from tests.keylife.conftest import BUCKET, client_of, told

CUSTOMER = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": b"k" * 32}


def put_everything(gateway: Gateway, prefix: str) -> dict[str, bytes]:
    """Inline and stored objects, a multipart upload, copies, SSE-KMS with context and bucket key, SSE-C."""
    client: Any = s3_client(gateway)
    contents = {"inline": b"x", "stored": payload(100_000, 1), "whole": payload(6 << 20, 2)}
    contents = {prefix + name: content for name, content in contents.items()}
    for name, content in contents.items():
        client.put_object(Bucket=BUCKET, Key=name, Body=content)
    config = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
    name = prefix + "multipart"
    path = gateway.folder / "upload"
    path.write_bytes(contents[prefix + "whole"])
    client.upload_file(str(path), BUCKET, name, Config=config)
    contents[name] = contents[prefix + "whole"]
    kms = {"ServerSideEncryption": "aws:kms", "SSEKMSEncryptionContext": "eyJ0ZWFtIjoiYSJ9"}
    for more in ({}, {"BucketKeyEnabled": True}):
        name = f"{prefix}kms{len(more)}"
        client.put_object(Bucket=BUCKET, Key=name, Body=b"kms" * 9000, **kms, **more)
        contents[name] = b"kms" * 9000
    for source in ("inline", "multipart"):
        client.copy_object(Bucket=BUCKET, Key=f"{prefix}{source} copy", CopySource=f"{BUCKET}/{prefix}{source}")
        contents[f"{prefix}{source} copy"] = contents[prefix + source]
    client.put_object(Bucket=BUCKET, Key=prefix + "theirs", Body=b"theirs" * 5000, **CUSTOMER)
    client.close()
    return contents


@pytest.mark.parametrize("wrapping", ["direct", "bucket-key"])
def test_drill(make_gateway: Callable[..., Gateway], wrapping: str) -> None:
    gateway = make_gateway(wrapping=wrapping)
    client = s3_client(gateway)
    client.create_bucket(Bucket=BUCKET)
    client.close()
    contents = put_everything(gateway, "before/")
    made = told(gateway, "recovery", "keygen", "secret")
    assert (gateway.folder / "secret").stat().st_mode & 0o777 == 0o600
    assert told(gateway, "recovery", "keygen", "secret", code=5)["error"].count("already exists")
    told(gateway, "recovery", "add", "vault", made["public"])
    assert told(gateway, "recovery", "list")["recipients"][0]["public"] == made["public"]
    assert "already" in told(gateway, "recovery", "add", "vault", made["public"], code=3)["error"]
    contents |= put_everything(gateway, "between/")
    assert told(gateway, "key", "rewrap")["left_count"] == 0
    told(gateway, "key", "rotate", "alias/default")
    assert told(gateway, "key", "rewrap")["left_count"] == 0
    contents |= put_everything(gateway, "after/")
    gateway.restart()
    contents |= put_everything(gateway, "later/")
    gateway.stop()
    shutil.rmtree(gateway.keys)
    told(gateway, "recovery", "keygen", "other")
    assert "no copy for this recovery secret" in told(gateway, "recovery", "open", "other", code=5)["error"]
    report = told(gateway, "recovery", "open", "secret")
    assert (report["left_count"], report["customer_count"]) == (0, 4)
    assert told(gateway, "recovery", "open", "secret")["moved_count"] == 0
    gateway.start()
    access_key = told(gateway, "access-key", "create", "--account", "main")
    who = Credentials(access_key["access_key_id"], access_key["secret_access_key"])
    again = client_of(gateway, who)
    for name, content in contents.items():
        assert again.get_object(Bucket=BUCKET, Key=name)["Body"].read() == content, name
    for prefix in ("before/", "between/", "after/", "later/"):
        body = again.get_object(Bucket=BUCKET, Key=prefix + "theirs", **CUSTOMER)["Body"].read()
        assert body == b"theirs" * 5000
    again.put_object(Bucket=BUCKET, Key="new", Body=b"new")
    assert told(gateway, "verify")["verified_row_count"] > 50
    assert told(gateway, "recovery", "remove", "vault")["name"] == "vault"
    assert told(gateway, "recovery", "list")["recipients"] == []
    assert told(gateway, "key", "rewrap")["left_count"] == 0
    again.close()


def test_nobody_makes_himself_a_recipient(gateway: Gateway) -> None:
    made = told(gateway, "recovery", "keygen", "secret")
    told(gateway, "recovery", "add", "vault", made["public"])
    gateway.stop()
    other = told(gateway, "recovery", "keygen", "other")["public"]
    for folder in (gateway.data, gateway.keys):
        path = folder / "realm.json"
        path.write_text(path.read_text().replace(made["public"], other))
    assert "recipients of the realm file were altered" in told(gateway, "key", "list", code=5)["error"]
