"""What an incident of a key in another KMS takes for leaked, and what is retired that changes meanwhile."""

import asyncio
from pathlib import Path
from typing import cast

import pytest

from gateway.cli.exits import CommandError
from gateway.cli.key_jobs import KeyJobs, _leaked_elsewhere
from gateway.cli.wrapping_keys import WrappingKeys
from gateway.engine.jobs import JobRunner
from gateway.engine.rewrap import RewrapReport
from gateway.wiring.key_life import KeyLife
from keys.keyring_file import LocalKeyring
from keys.kms.base import KeyDescription, KeyState
from keys.kms.local import LocalKms


def described(version: str) -> KeyDescription:
    return KeyDescription("sealgate", "arn:aws:kms:cloud:000000000000:key/sealgate", KeyState.ENABLED, None, version)


def test_versions_below_the_newest_may_have_leaked() -> None:
    assert _leaked_elsewhere(described("3"), 2) == 2
    for version in (None, 3, 4, 0, -1):
        with pytest.raises(CommandError, match="it is rotated in its KMS"):
            _leaked_elsewhere(described("3"), version)


@pytest.mark.parametrize("version", ["", "0", "7f" * 16, "1" * 32])
def test_versions_that_are_not_counted_are_refused(version: str) -> None:
    """One of Azure may consist of decimal digits alone, and is no number for all that."""
    with pytest.raises(CommandError, match="does not count the versions"):
        _leaked_elsewhere(described(version), 1)


class FakeKeyLife:
    """Nothing lies under any key, and during the first scan somebody makes another key the default one."""

    def __init__(self, keyring: LocalKeyring) -> None:
        self.jobs = JobRunner()
        self._keyring = keyring
        self._scan_count = 0

    async def scan(self, *_: object) -> RewrapReport:
        self._scan_count += 1
        if self._scan_count == 1:
            self._keyring.set_default("alias/next")
        return RewrapReport()

    async def key_changed(self) -> None: ...

    async def wait_for_others(self) -> None: ...

    def forget_keys(self) -> None: ...


@pytest.mark.parametrize("kind", ["retire", "disable"])
def test_a_key_that_becomes_the_default_one_meanwhile_stays_on(tmp_path: Path, kind: str) -> None:
    async def body() -> None:
        keyring = LocalKeyring.create(tmp_path / "keys")
        made = keyring.create_key("next")
        jobs = KeyJobs(cast("KeyLife", FakeKeyLife(keyring)), WrappingKeys(LocalKms(keyring)), {})
        with pytest.raises(CommandError, match="it is the default key"):
            await jobs.run(kind, {"key": "alias/next"}, lambda _: None)
        assert keyring.default_key_id == made.kms_key_id
        assert keyring.find("alias/next").state is KeyState.ENABLED

    asyncio.run(body())
