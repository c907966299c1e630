"""Several KMSs behind one gateway: the first start with a remote one, keys by id, alias and ARN, `sealgate check`."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.blackbox.clients import s3_client
from tests.kms.deployment import KmsGateway, table, vault_table
from tests.servers.openbao import OpenBao
from tests.servers.softhsm import SoftHsm

BODY = b"several KMSs " * 3000


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, openbao: OpenBao, softhsm: SoftHsm) -> Iterator[KmsGateway]:
    folder = tmp_path_factory.mktemp("gateway")
    for name in ("payroll", "not-offered"):
        openbao.create_key(name)
    tables = vault_table(openbao, folder, keys=["payroll"], aliases={"wages": "payroll", "both": "sealgate"}) + table(
        "hsm",
        {
            "type": "pkcs11",
            "module": str(softhsm.module),
            "token_label": "vault",
            "pin_file": str(softhsm.pin_file),
            "key": "hsm-key",
            "aliases": {"both": "hsm-key"},
        },
    )
    deployment = KmsGateway(folder, "vault-one", tables, hsm=softhsm)
    looked = deployment.run("check", "--data", str(deployment.data), "--json")
    states = {found["area"]: found["state"] for found in json.loads(looked.stdout)["checks"]}
    assert states["kms vault-one"] == states["kms hsm"] == "ok", looked.stdout
    deployment.start()
    try:
        yield deployment
    finally:
        deployment.close()


@pytest.fixture(scope="module")
def s3(gateway: KmsGateway) -> Iterator[Any]:
    client = s3_client(gateway)
    client.create_bucket(Bucket="several")
    yield client
    client.close()


def put(s3: Any, kms_key_id: str | None = None, **more: Any) -> Any:
    named = {} if kms_key_id is None else {"SSEKMSKeyId": kms_key_id, "ServerSideEncryption": "aws:kms"}
    return s3.put_object(Bucket="several", Key="object", Body=BODY, **named, **more)


def test_a_remote_kms_makes_no_keyring(gateway: KmsGateway, s3: Any) -> None:
    assert not (gateway.keys / "keyring.json").exists()
    assert json.loads((gateway.data / "realm.json").read_text())["root"]
    before = gateway.kms_calls("wrap")
    put(s3)
    assert s3.get_object(Bucket="several", Key="object")["Body"].read() == BODY
    assert gateway.kms_calls("wrap") == before + 1


@pytest.mark.parametrize(
    ("name", "arn"),
    [
        ("sealgate", "arn:aws:kms:vault-one:000000000000:key/sealgate"),
        ("payroll", "arn:aws:kms:vault-one:000000000000:key/payroll"),
        ("alias/wages", "arn:aws:kms:vault-one:000000000000:key/payroll"),
        ("arn:aws:kms:vault-one:000000000000:key/payroll", "arn:aws:kms:vault-one:000000000000:key/payroll"),
        ("arn:aws:kms:vault-one:000000000000:alias/both", "arn:aws:kms:vault-one:000000000000:key/sealgate"),
        ("hsm-key", "arn:aws:kms:hsm:000000000000:key/hsm-key"),
        ("arn:aws:kms:hsm:000000000000:alias/both", "arn:aws:kms:hsm:000000000000:key/hsm-key"),
    ],
)
@pytest.mark.parametrize("bucket_key", [False, True])
def test_a_key_is_named_by_id_alias_and_arn(s3: Any, name: str, arn: str, bucket_key: bool) -> None:
    assert put(s3, name, BucketKeyEnabled=bucket_key)["SSEKMSKeyId"] == arn
    got = s3.get_object(Bucket="several", Key="object")
    assert got["Body"].read() == BODY
    assert got["SSEKMSKeyId"] == arn


@pytest.mark.parametrize(
    "name",
    [
        "alias/both",
        "not-offered",
        "no-such-key",
        "arn:aws:kms:vault-two:000000000000:key/sealgate",
        "arn:aws:kms:vault-one:000000000000:key/not-offered",
        "../keys/payroll",
        "alias/none",
    ],
)
def test_what_names_no_key_or_two_is_not_found(s3: Any, name: str) -> None:
    with pytest.raises(ClientError) as refused:
        put(s3, name)
    assert refused.value.response["Error"]["Code"] == "KMS.NotFoundException"


def test_a_bucket_may_have_a_default_of_another_kms(s3: Any) -> None:
    s3.create_bucket(Bucket="defaults")
    rule = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "hsm-key"}
    s3.put_bucket_encryption(
        Bucket="defaults",
        ServerSideEncryptionConfiguration={"Rules": [{"ApplyServerSideEncryptionByDefault": rule}]},
    )
    made = s3.put_object(Bucket="defaults", Key="object", Body=BODY)
    assert made["SSEKMSKeyId"] == "arn:aws:kms:hsm:000000000000:key/hsm-key"
    copied = s3.copy_object(Bucket="several", Key="copy", CopySource="defaults/object")
    assert "SSEKMSKeyId" not in copied or copied["SSEKMSKeyId"] != made["SSEKMSKeyId"]
    assert s3.get_object(Bucket="several", Key="copy")["Body"].read() == BODY


def test_everything_opens_after_a_restart(gateway: KmsGateway, s3: Any) -> None:
    for key in ("payroll", "hsm-key"):
        s3.put_object(Bucket="several", Key=key, Body=BODY, ServerSideEncryption="aws:kms", SSEKMSKeyId=key)
    canaries = json.loads((gateway.data / "kms-canaries.json").read_text())
    assert list(canaries) == ["hsm"]
    gateway.restart()
    for key in ("payroll", "hsm-key"):
        assert s3.get_object(Bucket="several", Key=key)["Body"].read() == BODY


def test_check_looks_at_every_kms_beside_a_gateway_that_serves(gateway: KmsGateway) -> None:
    looked = gateway.run("check", "--data", str(gateway.data), "--json")
    states = {found["area"]: found["state"] for found in json.loads(looked.stdout)["checks"]}
    assert states["kms vault-one"] == states["kms hsm"] == "ok", looked.stdout


def test_1000_reads_ask_the_kms_once(gateway: KmsGateway, s3: Any) -> None:
    """With bucket keys: at most one unwrap for each time that keys are cached, which is 300 s here."""
    put(s3, "payroll", BucketKeyEnabled=True)
    gateway.restart()
    before = gateway.kms_calls("unwrap")
    for _ in range(1000):
        s3.get_object(Bucket="several", Key="object", Range="bytes=0-9")["Body"].read()
    assert gateway.kms_calls("unwrap") - before == 1


def test_no_secret_of_a_kms_in_any_log(gateway: KmsGateway, s3: Any, softhsm: SoftHsm, openbao: OpenBao) -> None:
    """Whatever else was asked of this gateway before."""
    for kms_key_id in ("hsm-key", "payroll"):
        put(s3, kms_key_id)
    gateway.restart()
    assert s3.get_object(Bucket="several", Key="object")["Body"].read() == BODY
    logs = b"".join(path.read_bytes() for path in sorted(gateway.logs.iterdir()))
    assert len(logs) > 1000
    secrets = [softhsm.pin_file.read_bytes().strip()]
    secrets += [path.read_bytes().strip() for path in gateway.folder.glob("secret-id-*")]
    secrets.append(openbao.root_token.encode())
    for secret in secrets:
        assert len(secret) >= 8
        assert secret not in logs
    # The tokens that the gateway took are known to nobody here, but all of them look like this.
    assert not re.search(rb"\bs\.[A-Za-z0-9]{24}\b", logs)
    assert re.search(rb"\bs\.[A-Za-z0-9]{24}\b", openbao.new_token().encode())


def test_another_kms_than_the_realm_s_is_refused(gateway: KmsGateway) -> None:
    done = gateway.run("check", "--data", str(gateway.data), "--keys", str(gateway.keys), "--kms", "hsm")
    assert done.returncode != 0
    assert "set kms to vault-one" in done.stdout
