"""The realm file, and keys that do not belong to it."""

import asyncio
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.wiring.folders import Folders
from gateway.wiring.gateway import Gateway
from gateway.wiring.realm import RealmFiles, RealmRecord, open_keys
from keys.errors import (
    CanaryFailed,
    KeyringError,
    KmsKeyDisabled,
    KmsMisconfigured,
    UnwrapFailed,
)
from keys.kms.base import KeyState
from keys.kms.routing import local_kms
from keys.safe_files import write_private_file
from storage import seams
from storage.catalogue.address import PostgresAddress
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
    # The canary is asked first, and its own wrap names a key that another keyring holds: this one may be an old one.
    with pytest.raises((UnwrapFailed, CanaryFailed, KeyringError)):
        with_gateway(tmp_path, lambda _: asyncio.sleep(0))


async def _rotate_away(gateway: Gateway) -> None:
    """A routine rotation to its end: the first version is off, and both realm files have moved on."""
    local = local_kms(gateway.opened.kms)
    assert local is not None
    key = local.keyring.rotate_key(None)
    assert (await gateway.key_life.rewrap()).left_count == 0
    local.keyring.set_key_state(key.kms_key_id, KeyState.DISABLED, 1)


@pytest.mark.parametrize("is_copy", [False, True])
def test_an_old_realm_file_is_told_from_a_key_that_is_off(tmp_path: Path, is_copy: bool) -> None:
    start(settings_in(tmp_path))
    paths = tmp_path / "data/realm.json", tmp_path / "data-keys/realm.json"
    old = paths[0].read_bytes()
    with_gateway(tmp_path, _rotate_away)
    stale, right = reversed(paths) if is_copy else paths
    write_private_file(stale, old, replace=True)

    async def opened() -> None:
        settings = settings_in(tmp_path)
        await open_keys(settings, Folders.of(settings), realm_file=stale)

    with pytest.raises(KeyringError) as told:
        asyncio.run(opened())
    assert str(stale) in str(told.value).split(" is an old copy", 1)[0]
    assert f"copy {right} over it" in str(told.value)
    write_private_file(stale, right.read_bytes(), replace=True)
    with_gateway(tmp_path, lambda _: asyncio.sleep(0))


def test_where_both_files_lie_under_a_key_that_is_off_neither_is_to_be_copied(tmp_path: Path) -> None:
    start(settings_in(tmp_path))
    paths = tmp_path / "data/realm.json", tmp_path / "data-keys/realm.json"
    old = paths[0].read_bytes()
    with_gateway(tmp_path, _rotate_away)
    write_private_file(paths[0], old, replace=True)
    write_private_file(paths[1], old, replace=True)
    with pytest.raises(KmsKeyDisabled):
        with_gateway(tmp_path, lambda _: asyncio.sleep(0))


@pytest.mark.parametrize("is_whole_folder", [True, False])
def test_a_keyring_that_is_older_than_the_data_is_told_from_an_old_realm_file(
    tmp_path: Path, is_whole_folder: bool
) -> None:
    """To copy the older realm file over the newer one would let a gateway start that lacks the keys of newer data."""
    start(settings_in(tmp_path))
    backup = tmp_path / "backup"
    shutil.copytree(tmp_path / "data-keys", backup)
    with_gateway(tmp_path, _rotate_away)
    for name in ("realm.json", "keyring.json") if is_whole_folder else ("keyring.json",):
        shutil.copy(backup / name, tmp_path / "data-keys" / name)
    with pytest.raises(KeyringError, match=r"older than the data.*restore its newest backup.*copy no realm\.json"):
        with_gateway(tmp_path, lambda _: asyncio.sleep(0))


@pytest.mark.parametrize("is_there", [True, False])
def test_an_old_realm_file_of_another_kms_asks_for_no_other_setting(tmp_path: Path, is_there: bool) -> None:
    start(settings_in(tmp_path))
    path, copy = tmp_path / "data/realm.json", tmp_path / "data-keys/realm.json"
    record = RealmRecord.read(path)
    moved_away = replace(record, root=replace(record.root, provider="vault-eu"))
    write_private_file(path, moved_away.encode(), replace=True)
    if not is_there:
        write_private_file(copy, moved_away.encode(), replace=True)
    expected = (KeyringError, f"copy {copy} over it") if is_there else (KmsMisconfigured, "set kms to vault-eu")
    with pytest.raises(expected[0], match=expected[1]):
        with_gateway(tmp_path, lambda _: asyncio.sleep(0))


def test_bytes_after_the_realm_file_are_refused(place: Path, tmp_path: Path) -> None:
    write_private_file(tmp_path / "r", (place / "data/realm.json").read_bytes() + b"\n", replace=False)
    with pytest.raises(KeyringError):
        RealmRecord.read(tmp_path / "r")


def test_a_process_that_stood_still_brings_no_older_wraps_back(tmp_path: Path) -> None:
    start(settings_in(tmp_path))

    async def move(gateway: Gateway) -> None:
        opened = gateway.opened
        slow, quick = (RealmFiles(opened.folders, opened.kms, opened.realm, deadline_s=5) for _ in range(2))
        kms_key_id = (await opened.kms.describe(None)).kms_key_id
        for files in (slow, quick):
            await files.rewrap(kms_key_id)
        quick.save()
        quick.save()
        written = (tmp_path / "data/realm.json").read_bytes()
        with pytest.raises(KeyringError, match=r"another gateway wrote .* meanwhile: run the command again"):
            slow.save()
        with pytest.raises(KeyringError, match="meanwhile"):
            await slow.set_recipients((), opened.realm_keys)
        assert (tmp_path / "data/realm.json").read_bytes() == written
        assert (tmp_path / "data-keys/realm.json").read_bytes() == written
        slow.read_again(opened.realm_keys)
        await slow.rewrap(kms_key_id)
        slow.save()
        assert (tmp_path / "data/realm.json").read_bytes() != written

    with_gateway(tmp_path, move)


class _KilledError(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("written_count", [1, 2])
def test_killed_while_the_realm_moves_to_another_key_both_files_open(tmp_path: Path, written_count: int) -> None:
    start(settings_in(tmp_path))
    paths = tmp_path / "data/realm.json", tmp_path / "data-keys/realm.json"
    before = [path.read_bytes() for path in paths]

    async def move(gateway: Gateway) -> None:
        opened = gateway.opened
        files = RealmFiles(opened.folders, opened.kms, opened.realm, deadline_s=5)
        await files.rewrap((await opened.kms.describe(None)).kms_key_id)
        left = written_count

        def kill(name: str) -> None:
            nonlocal left
            assert name == "realm.file_written"
            left -= 1
            if not left:
                raise _KilledError

        seams.hook = kill
        try:
            with pytest.raises(_KilledError):
                files.save()
        finally:
            seams.hook = None

    with_gateway(tmp_path, move)
    assert [path.read_bytes() != old for path, old in zip(paths, before, strict=True)] == [True, written_count == 2]
    with_gateway(tmp_path, lambda _: asyncio.sleep(0))
    paths[0].unlink()
    paths[0].write_bytes(paths[1].read_bytes())
    paths[0].chmod(0o600)
    with_gateway(tmp_path, lambda _: asyncio.sleep(0))


def test_a_recovery_secret_makes_both_files_anew_where_the_keys_are_lost(tmp_path: Path) -> None:
    """With database and blobs elsewhere, the file that all gateways see is the one in the lost folder."""
    start(settings_in(tmp_path))

    async def recover(gateway: Gateway) -> None:
        opened = gateway.opened
        address = PostgresAddress("localhost", 5432, "sealgate", "sealgate")
        folders = replace(opened.folders, database=address, moved_blobs=tmp_path / "blobs")
        assert folders.are_stores_elsewhere
        files = RealmFiles(folders, opened.kms, opened.realm, deadline_s=5)
        folders.realm_copy.unlink()
        files.save()
        assert folders.realm_copy.read_bytes() == folders.realm_file.read_bytes()

    with_gateway(tmp_path, recover)
