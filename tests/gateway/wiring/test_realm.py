"""The realm file, and keys that do not belong to it."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.wiring import RealmRecord
from keys.errors import CanaryFailed, KeyringError, KmsKeyNotFound, UnwrapFailed
from keys.safe_files import write_private_file
from tests.gateway.cli.helpers import settings_in, start
from tests.gateway.wiring.opened import with_gateway


def test_the_realm_file_is_read_as_it_was_written(place: Path) -> None:
    path = place / "data/realm.json"
    record = RealmRecord.read(path)
    assert record.encode() == path.read_bytes()
    assert record == RealmRecord.read(place / "data-keys/realm.json")


@pytest.mark.parametrize("member", ["format", "version", "realm_id", "created_at", "root", "canary"])
def test_an_altered_realm_file_is_refused(place: Path, tmp_path: Path, member: str) -> None:
    fields = json.loads((place / "data/realm.json").read_text())
    for number, value in enumerate((None, 5, "", "x", "00" * 16, fields[member] * 2 if member != "version" else 2)):
        altered = tmp_path / f"{number}.json"
        text = json.dumps(fields | {member: value}, indent=1) + "\n"
        if member == "realm_id" and value == "00" * 16:
            continue  # well-formed: the keys tell, below
        write_private_file(altered, text.encode(), replace=False)
        with pytest.raises(KeyringError, match="not as Sealgate wrote it"):
            RealmRecord.read(altered)


@pytest.mark.parametrize("change", ["realm_id", "root", "canary"])
def test_a_realm_file_of_other_values_does_not_open(place: Path, tmp_path: Path, change: str) -> None:
    start(settings_in(tmp_path))
    record, other = RealmRecord.read(tmp_path / "data/realm.json"), RealmRecord.read(place / "data/realm.json")
    changed = replace(record, **{change: getattr(other, change)})
    write_private_file(tmp_path / "data/realm.json", changed.encode(), replace=True)
    # The canary is asked first, and its own wrap names a key that the other keyring holds.
    with pytest.raises((UnwrapFailed, CanaryFailed, KmsKeyNotFound)):
        with_gateway(tmp_path, lambda _: asyncio.sleep(0))


def test_bytes_after_the_realm_file_are_refused(place: Path, tmp_path: Path) -> None:
    write_private_file(tmp_path / "r", (place / "data/realm.json").read_bytes() + b"\n", replace=False)
    with pytest.raises(KeyringError):
        RealmRecord.read(tmp_path / "r")
