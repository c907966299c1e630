"""Wrapping keys from the command line: made, listed and described, and never shown themselves."""

import asyncio
from pathlib import Path

import pytest

from gateway.cli.exits import CommandError, Exit, exit_of
from gateway.cli.main import run
from gateway.cli.wrapping_keys import WrappingKeys
from keys.errors import AliasTaken, KeyringError
from keys.keyring_file import LocalKeyring
from keys.kms.base import KeyState
from keys.kms.local import LocalKms
from keys.kms.memory import DEFAULT_KEY_ID, MemoryKms
from keys.kms.names import KeyNames
from tests.gateway.cli.helpers import settings_in, start


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


def test_a_key_of_another_kms_is_described_as_that_kms_tells_of_it() -> None:
    async def live() -> None:
        kms = MemoryKms()
        kms.create_key("payroll")
        kms.rotate_key("payroll")
        kms.set_key_state(KeyState.DISABLED, "payroll")
        described = await WrappingKeys(kms).describe_key("payroll")
        assert (described["key_id"], described["state"], described["default"]) == ("payroll", "disabled", False)
        assert described["newest"] == {"version": "2"}
        default = await WrappingKeys(kms).describe_key(DEFAULT_KEY_ID)
        assert default["default"] is True
        assert (await WrappingKeys(kms).list_keys())["keys"] == [default], "which of its others are ours it knows alone"

    asyncio.run(live())


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
        with pytest.raises(CommandError, match="made, rotated and switched off there"):
            await WrappingKeys(MemoryKms()).local_key(DEFAULT_KEY_ID)

    asyncio.run(try_all())


def test_what_people_read_is_no_python(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Text leads with what a report is about, and leaves out counts of what never happened."""
    start(settings_in(tmp_path))

    def said(*arguments: str) -> str:
        capsys.readouterr()
        assert run(["key", *arguments, "--data", str(tmp_path / "data")]) == Exit.OK
        return capsys.readouterr().out

    rotated = said("rotate", "alias/default")
    assert "next_step: run `sealgate key rewrap`" in rotated
    described = said("describe", "alias/default")
    assert not set("{}[]'") & set(described)
    assert "newest: version=2, " in described
    rows = described.partition("version_states:\n")[2].splitlines()
    assert [row.split()[0] for row in rows] == ["version", "1", "2"]
    rewrapped = said("rewrap").splitlines()
    assert "failed_count: 0" not in rewrapped
    assert "left_count: 0" in rewrapped
    assert rewrapped[-1] == "0 left"
    off = said("disable", "alias/default", "--version", "1").splitlines()
    assert off[0].startswith(("key_id: ", "duration_s: "))
    assert "moved_count: 0" not in off
