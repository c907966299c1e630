"""Wrapping keys from the command line: made, listed and described, and never shown themselves."""

import asyncio
from pathlib import Path

import pytest

from gateway.cli.exits import CommandError, Exit, exit_of
from gateway.cli.wrapping_keys import WrappingKeys
from keys.errors import AliasTaken, KeyringError
from keys.keyring_file import LocalKeyring
from keys.kms.local import LocalKms
from keys.kms.memory import MemoryKms
from keys.kms.names import KeyNames


@pytest.fixture
def kms(tmp_path: Path) -> LocalKms:
    return LocalKms(LocalKeyring.create(tmp_path / "keys"), KeyNames("eu-west-1"))


def test_a_key_is_made_listed_and_described(kms: LocalKms, tmp_path: Path) -> None:
    async def live() -> None:
        commands = WrappingKeys(kms)
        (first,) = (await commands.list_keys())["keys"]
        assert (first["aliases"], first["default"], first["state"]) == ("alias/default", True, "enabled")
        made = await commands.create_key("alias/team/mine")
        assert (made["aliases"], made["default"]) == ("alias/team/mine", False)
        assert made["arn"] == f"arn:aws:kms:eu-west-1:000000000000:key/{made['key_id']}"
        assert (await commands.list_keys())["keys"] == [first, made]
        for name in (made["key_id"], made["arn"], "team/mine", "alias/team/mine"):
            described = await commands.describe_key(name)
            assert described.items() >= made.items()
            assert (described["version_count"], described["newest"]["version"]) == (1, 1)
        assert (await commands.describe_key("aws/s3"))["key_id"] == first["key_id"]
        material = kms.keyring.find(made["key_id"]).versions[0].secret().material()
        assert material.hex() not in str(await commands.list_keys())

    asyncio.run(live())
    assert len(LocalKeyring.open(tmp_path / "keys").kms_key_ids) == 2


def test_what_cannot_be_is_refused(kms: LocalKms) -> None:
    async def try_all() -> None:
        commands = WrappingKeys(kms)
        for alias in ("default", "a b", "aws/s3", ""):
            with pytest.raises(KeyringError, match="alias"):
                await commands.create_key(alias)
        with pytest.raises(AliasTaken) as taken:
            await commands.create_key("default")
        assert exit_of(taken.value) is Exit.REFUSED, "as with every other name that is taken"
        for name in ("none", "", "arn:aws:kms:us-east-1:000000000000:key/x"):
            with pytest.raises(CommandError, match="sealgate key list"):
                await commands.describe_key(name)
        with pytest.raises(CommandError, match="made and listed there"):
            await WrappingKeys(MemoryKms()).list_keys()

    asyncio.run(try_all())
