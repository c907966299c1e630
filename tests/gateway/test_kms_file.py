"""The file of KMSs: what stands in it, and one line for each way to get it wrong."""

from pathlib import Path
from typing import Any

import pytest

from gateway.errors import SettingsError
from gateway.kms_file import Aws, Pkcs11, Vault, read_kms_file
from keys.kms.names import KeyNames
from tests.kms.deployment import table

VAULT: dict[str, Any] = {"type": "vault", "address": "https://bao.example:8200", "token_file": "token", "key": "main"}
ARN = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
AWS: dict[str, Any] = {"type": "aws", "region": "eu-west-1", "credentials_file": "credentials", "key": ARN}
HSM: dict[str, Any] = {"type": "pkcs11", "module": "/lib/hsm.so", "token_label": "t", "pin_file": "pin", "key": "k"}


def read(tmp_path: Path, text: str) -> Any:
    path = tmp_path / "kms.toml"
    path.write_text(text)
    return read_kms_file(path, "us-east-1")


def test_each_type_says_what_it_offers(tmp_path: Path) -> None:
    text = table("bao", VAULT | {"keys": ["other"], "aliases": {'"team/pay"': "other"}})
    text += table("cloud", AWS | {"aliases": {"main": ARN}}) + table("hsm", HSM)
    found = read(tmp_path, text)
    bao, cloud, hsm = found["bao"], found["cloud"], found["hsm"]
    assert isinstance(bao, Vault)
    assert isinstance(cloud, Aws)
    assert isinstance(hsm, Pkcs11)
    assert bao.offers == {"main", "other"}
    assert bao.token_file == tmp_path / "token", "paths follow from the file's folder"
    assert bao.names("bao") == KeyNames("bao", aliases={"team/pay": "other"})
    key = ARN.rpartition("/")[2]
    assert cloud.offers == {key}
    assert cloud.names("cloud").arn(key) == ARN
    assert cloud.names("cloud").plain("alias/main") == key
    assert hsm.offers == {"k"}
    assert hsm.module == Path("/lib/hsm.so")


BAD: list[tuple[str, str]] = [
    ("", "1 to 16 tables"),
    ("[", "is not TOML"),
    ("bao = 5", "needs a type"),
    ("[bao]\nkey = 'x'", "needs a type, one of"),
    ("[bao]\ntype = ['vault']", "needs a type"),
    (table("Bao", VAULT), "that name cannot stand"),
    (table("local", VAULT), "that name cannot stand"),
    (table("bucket", VAULT), "that name cannot stand"),
    (table("us-east-1", VAULT), "that name cannot stand"),
    (table("bao", VAULT | {"adress": "x"}), "adress is no setting of a KMS of type vault"),
    (table("bao", VAULT | {"address": "http://bao.example:8200"}), "never asked over plain HTTP"),
    (table("bao", VAULT | {"address": "https://user:word@bao.example"}), "without user or path"),
    (table("bao", VAULT | {"address": "https://bao.example/v1"}), "without user or path"),
    (table("bao", VAULT | {"address": "https://bao.example:port"}), "takes https://"),
    (table("bao", VAULT | {"key": "../sys"}), "takes the name of a key"),
    (table("bao", VAULT | {"key": None}), "key field required"),
    (table("bao", VAULT | {"keys": ["a/b"]}), "takes the name of a key"),
    (table("bao", VAULT | {"aliases": {"pay": "other"}}), "neither key nor one of keys"),
    (table("bao", VAULT | {"aliases": {'"alias/pay"': "main"}}), "is no alias"),
    (table("bao", VAULT | {"token_file": None}), "takes one way to sign in"),
    (table("bao", VAULT | {"role_id": "r", "secret_id_file": "s"}), "takes one way to sign in"),
    (table("bao", VAULT | {"token_file": None, "role_id": "r"}), "belong together"),
    (table("bao", VAULT | {"token_file": None, "certificate_role": "r"}), "signs in by client_certificate_file"),
    (table("bao", VAULT | {"client_key_file": "k"}), "belong together"),
    (table("bao", VAULT | {"unwrap_role_id": "r"}), "belong together"),
    (
        table("bao", VAULT | {"unwrap_role_id": "r", "unwrap_secret_id_file": "s", "unwrap_token_file": "t"}),
        "one way to sign in for unwrapping",
    ),
    (table("bao", VAULT | {"mount": "../sys"}), "takes the path of a transit engine"),
    (table("cloud", AWS | {"key": "alias/main"}), "takes the ARN of a key"),
    (table("cloud", AWS | {"keys": [ARN.replace("eu-west-1", "eu-west-2")]}), "of one account and of this region"),
    (table("cloud", AWS | {"region": "Europe"}), "takes a region"),
    (table("cloud", AWS | {"credentials_file": None}), "credentials_file field required"),
    (table("hsm", HSM | {"token_label": ""}), "token_label string should have at least 1"),
    ("".join(table(f"bao-{number}", VAULT) for number in range(17)), "1 to 16 tables"),
    (table("one", VAULT) + table("two", VAULT), "one and two both offer a key main"),
    ("# " + "x" * 70_000, "is longer than"),
]


@pytest.mark.parametrize(("text", "said"), BAD)
def test_what_cannot_stand_is_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read(tmp_path, text)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        read_kms_file(tmp_path / "none.toml", "us-east-1")
