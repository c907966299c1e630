"""docs/KMS.md is true: its policies are the smallest that work, on a real OpenBao, and its example can be read."""

import re
from pathlib import Path

import pytest

from gateway.kms_file import read_kms_file
from tests.blackbox.clients import s3_client
from tests.kms.deployment import KmsGateway, vault_table
from tests.servers.openbao import OpenBao, private_file
from tests.tooling.places import ROOT

TEXT = (ROOT / "docs/KMS.md").read_text()
POLICIES = re.findall(r"```hcl\n(.*?)```", TEXT, re.DOTALL)


def use(gateway: KmsGateway) -> None:
    gateway.start()
    client = s3_client(gateway)
    try:
        client.create_bucket(Bucket="documented")
        client.put_object(Bucket="documented", Key="object", Body=b"by the book")
        gateway.restart()
        assert client.get_object(Bucket="documented", Key="object")["Body"].read() == b"by the book"
        moved = gateway.run("key", "rewrap", "--data", str(gateway.data))
        assert moved.returncode == 0, moved.stderr
    finally:
        client.close()
        gateway.close()


def test_the_smallest_policy_works(openbao: OpenBao, tmp_path: Path) -> None:
    openbao.write_policy("documented", POLICIES[0])
    use(KmsGateway(tmp_path / "gateway", "vault-one", vault_table(openbao, tmp_path, policy="documented")))


@pytest.mark.parametrize("path", ["encrypt", "decrypt", "keys"])
def test_no_line_of_it_can_be_left_out(openbao: OpenBao, tmp_path: Path, path: str) -> None:
    """That for rewrap is asked for by a rewrap alone, which would fail without it."""
    lines = POLICIES[0].strip().splitlines()
    less = [line for line in lines if f"transit/{path}/" not in line]
    assert len(less) == 3
    openbao.write_policy("less", "\n".join(less))
    gateway = KmsGateway(tmp_path / "gateway", "vault-one", vault_table(openbao, tmp_path, policy="less"))
    assert gateway.run("check", "--data", str(gateway.data)).returncode == 5


def test_two_identities_work(openbao: OpenBao, tmp_path: Path) -> None:
    for name, policy in zip(("wraps", "unwraps"), POLICIES[1:], strict=True):
        openbao.write_policy(name, policy)
    role_id, secret_id = openbao.new_role("unwraps", "unwraps")
    file = private_file(tmp_path / "unwrap-secret-id", secret_id)
    tables = vault_table(openbao, tmp_path, policy="wraps", unwrap_role_id=role_id, unwrap_secret_id_file=str(file))
    use(KmsGateway(tmp_path / "gateway", "vault-one", tables))


def test_the_example_can_be_read(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    (tmp_path / "kms.toml").write_text(example)
    assert list(read_kms_file(tmp_path / "kms.toml", "us-east-1")) == ["vault-eu", "hsm", "aws-main", "google", "azure"]
