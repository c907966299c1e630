"""What an incident of a key in another KMS takes for leaked."""

import pytest

from gateway.cli.exits import CommandError
from gateway.cli.key_jobs import _leaked_elsewhere
from keys.kms.base import KeyDescription, KeyState


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
