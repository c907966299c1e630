"""The life of keys that another KMS holds: a realm that moves there and back, and a leaked key of it.

The KMS is a real OpenBao and the gateway the real process; the moves are the runbook of docs/KEYS.md as it stands.
"""

import base64
import json
from pathlib import Path
from typing import Any, Final

import pytest
from boto3.s3.transfer import TransferConfig

from tests.blackbox.clients import payload, s3_client
from tests.keylife.conftest import BUCKET, told
from tests.keylife.test_runbooks import ANOTHER_KMS, SECTIONS, run_commands
from tests.kms.deployment import KmsGateway, vault_table
from tests.servers.openbao import OpenBao

VAULT: Final = "vault-eu"
"""As the runbook calls it."""


def put_all(gateway: KmsGateway, prefix: str) -> dict[str, bytes]:
    """Inline and stored objects, a multipart upload, a copy, and SSE-KMS with and without a bucket key."""
    client: Any = s3_client(gateway)
    contents = {"inline": b"x", "stored": payload(100_000, 1), "kms0": b"k" * 20_000, "kms1": b"k" * 20_000}
    for name, content in contents.items():
        asked = {"ServerSideEncryption": "aws:kms", "BucketKeyEnabled": name == "kms1"} if "kms" in name else {}
        client.put_object(Bucket=BUCKET, Key=prefix + name, Body=content, **asked)
    path = gateway.folder / "upload"
    path.write_bytes(payload(6 << 20, 2))
    config = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
    client.upload_file(str(path), BUCKET, prefix + "parts", Config=config)
    client.copy_object(Bucket=BUCKET, Key=prefix + "copy", CopySource=f"{BUCKET}/{prefix}parts")
    client.close()
    contents |= {"parts": path.read_bytes(), "copy": path.read_bytes()}
    return {prefix + name: content for name, content in contents.items()}


def read_all(gateway: KmsGateway, contents: dict[str, bytes]) -> None:
    client = s3_client(gateway)
    for name, content in contents.items():
        assert client.get_object(Bucket=BUCKET, Key=name)["Body"].read() == content, name
    client.close()


def make_bucket(gateway: KmsGateway) -> None:
    client = s3_client(gateway)
    client.create_bucket(Bucket=BUCKET)
    client.close()


def provider_of_the_realm(gateway: KmsGateway) -> str:
    wrapped = base64.b64decode(json.loads((gateway.data / "realm.json").read_text())["root"])
    return wrapped[2 : 2 + wrapped[1]].decode()


def test_a_realm_moves_to_another_kms_and_back(tmp_path: Path, openbao: OpenBao) -> None:
    folder = tmp_path / "gateway"
    folder.mkdir()
    gateway = KmsGateway(folder, "local", vault_table(openbao, folder, name=VAULT))
    gateway.start()
    try:
        make_bucket(gateway)
        contents = put_all(gateway, "before/")
        there, rest, home, rest_home = SECTIONS[ANOTHER_KMS]
        assert run_commands(gateway, there).splitlines()[-1] == "0 left"
        assert provider_of_the_realm(gateway) == VAULT
        contents |= put_all(gateway, "between/")
        gateway.stop()
        assert "set kms to vault-eu" in gateway.run("check", "--data", str(gateway.data)).stdout
        gateway.set("SEALGATE_KMS", VAULT)
        gateway.start()
        assert "0 left" in run_commands(gateway, rest).splitlines()
        gateway.stop()
        keyring = gateway.keys / "keyring.json"
        keyring.rename(tmp_path / "keyring.json")
        gateway.start()
        contents |= put_all(gateway, "there/")
        read_all(gateway, contents)
        assert told(gateway, "verify")["verified_row_count"] > 50
        gateway.stop()
        (tmp_path / "keyring.json").rename(keyring)
        gateway.start()
        assert run_commands(gateway, home).splitlines()[-1] == "0 left"
        gateway.stop()
        gateway.set("SEALGATE_KMS", "local")
        gateway.start()
        assert run_commands(gateway, rest_home).splitlines()[-1] == "0 left"
        assert provider_of_the_realm(gateway) == "local"
        gateway.stop()
        del gateway._settings["SEALGATE_KMS_FILE"]
        gateway.start()
        contents |= put_all(gateway, "after/")
        read_all(gateway, contents)
    finally:
        gateway.close()


@pytest.mark.parametrize("wrapping", ["direct", "bucket-key"])
def test_an_incident_with_a_key_of_another_kms(tmp_path: Path, openbao: OpenBao, wrapping: str) -> None:
    """Afterwards its KMS may forget the version that leaked: nothing lies under it, not even the realm root."""
    folder, key = tmp_path / "gateway", f"leaked-{wrapping}"
    folder.mkdir()
    openbao.create_key(key)
    settings = {"SEALGATE_WRAPPING": wrapping}
    gateway = KmsGateway(folder, "vault-one", vault_table(openbao, folder, key=key), settings)
    gateway.start()
    try:
        make_bucket(gateway)
        contents = put_all(gateway, "before/")
        for version in ((), ("--version", "1"), ("--version", "7")):
            refused = told(gateway, "key", "incident", key, *version, code=3)["error"]
            assert "rotated in its KMS" in refused
            assert f"sealgate key incident {key} --version 1" in refused
        openbao.ask("POST", f"transit/keys/{key}/rotate")
        report = told(gateway, "key", "incident", key, "--version", "1")
        assert (report["left_count"], report["failed_count"], report["disabled_versions"]) == (0, 0, [])
        assert report["sealed_count"] == 5, "the copy shares its content"
        assert "version 1" in report["next_step"]
        assert "realm root" in report["not_replaced"]
        openbao.ask("POST", f"transit/keys/{key}/config", {"min_decryption_version": 2})
        contents |= put_all(gateway, "after/")
        gateway.restart()
        read_all(gateway, contents)
        assert told(gateway, "key", "rewrap")["left_count"] == 0
    finally:
        gateway.close()
