"""The keyring folder: what it made opens again, and no byte of it can be changed unnoticed."""

import asyncio
import base64
import errno
import fcntl
import json
import logging
import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from keys import keyring_file, safe_files
from keys.datakey import DataKey, WrappedKey
from keys.errors import KeyringError, KmsKeyDisabled, KmsKeyInvalidState, KmsKeyNotFound
from keys.keyring_file import LocalKeyring
from keys.kms.base import KeyState
from keys.kms.local import LocalKms
from keys.root_secret import PassphraseParameters, encode_root_file
from tests.suites.kms import CONTEXT, assert_hidden

PASSPHRASE = "correct horse battery"
NOON = datetime(2026, 5, 17, 12, 0, 0, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def fast_passphrases(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = PassphraseParameters(b"0123456789abcdef", memory_kib=19 * 1024, iterations=2, lanes=1)
    monkeypatch.setattr(PassphraseParameters, "fresh", classmethod(lambda cls: fast))


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _contents(keyring: LocalKeyring) -> list[Any]:
    return [keyring.keyring_id, [keyring.find(name) for name in keyring.kms_key_ids]]


def _edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the document and write it as Sealgate would, but with the MAC as it was."""
    document = json.loads(path.read_bytes())
    change(document)
    path.write_bytes(keyring_file._canonical_json(document))


def _edit_and_mac(keyring: LocalKeyring, path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the document as somebody could who knows the root secret."""

    def change_and_mac(document: dict[str, Any]) -> None:
        change(document)
        del document["mac"]
        document["mac"] = keyring._mac(document)

    _edit(path, change_and_mac)


class TestKeys:
    def test_opens_what_it_made(self, folder: Path) -> None:
        assert not LocalKeyring.exists(folder)
        made = LocalKeyring.create(folder, now=lambda: NOON)
        assert LocalKeyring.exists(folder)
        assert _contents(LocalKeyring.open(folder)) == _contents(made)
        assert _names(folder) == ["keyring.json", "root.key"]
        for name, mode in ((".", 0o700), ("keyring.json", 0o600), ("root.key", 0o600)):
            assert stat.S_IMODE((folder / name).stat().st_mode) == mode
        key = made.find(None)
        assert (key.aliases, key.state, key.created_at) == (("default",), KeyState.ENABLED, NOON)
        assert [version.version for version in key.versions] == [1]

    @pytest.mark.usefixtures("fast_passphrases")
    def test_opens_by_passphrase(self, folder: Path) -> None:
        made = LocalKeyring.create(folder, PASSPHRASE)
        assert _names(folder) == ["keyring.json"]
        assert _contents(LocalKeyring.open(folder, PASSPHRASE)) == _contents(made)

    def test_changes_last(self, folder: Path) -> None:
        keyring = LocalKeyring.create(folder)
        second = keyring.create_key("second")
        rotated = keyring.rotate_key("alias/second")
        keyring.set_key_state(None, KeyState.DISABLED)
        again = LocalKeyring.open(folder)
        assert _contents(again) == _contents(keyring)
        assert again.find("alias/second") == again.find(second.kms_key_id) == rotated
        assert [version.version for version in rotated.versions] == [1, 2]
        assert rotated.versions[0] == second.versions[0]
        assert rotated.versions[0].material != rotated.versions[1].material
        assert again.find(None).state is KeyState.DISABLED
        assert again.find("alias/default") == again.find("alias/aws/s3") == again.find(None)

    def test_unknown_names_are_not_found(self, folder: Path) -> None:
        keyring = LocalKeyring.create(folder)
        for use in (keyring.find, keyring.rotate_key):
            for name in ("", "none", "alias/", "alias/none", "default", "aws/s3", "alias/alias/default"):
                with pytest.raises(KmsKeyNotFound):
                    use(name)

    @pytest.mark.parametrize(
        "alias", ["", "a b", "ключ", "a\n", "x" * 251, "default", "aws/s3", "aws/mine", "alias/mine"]
    )
    def test_refuses_an_alias(self, folder: Path, alias: str) -> None:
        keyring = LocalKeyring.create(folder)
        with pytest.raises(KeyringError, match="alias"):
            keyring.create_key(alias)
        with pytest.raises(KeyringError, match="taken"):
            keyring.create_key(keyring.kms_key_ids[0])
        assert _contents(LocalKeyring.open(folder)) == _contents(keyring)

    def test_times_are_utc(self, folder: Path) -> None:
        there = NOON.astimezone(timezone(timedelta(hours=5))) + timedelta(microseconds=7)
        LocalKeyring.create(folder, now=lambda: there)
        assert LocalKeyring.open(folder).find(None).created_at == NOON

    def test_uses_the_wall_clock_unless_told(self, folder: Path) -> None:
        before = datetime.now(UTC).replace(microsecond=0)
        assert before <= LocalKeyring.create(folder).find(None).created_at <= datetime.now(UTC)

    def test_never_replaces_a_keyring(self, folder: Path) -> None:
        made = LocalKeyring.create(folder)
        with pytest.raises(KeyringError, match="already exists; Sealgate never replaces it"):
            LocalKeyring.create(folder)
        assert _contents(LocalKeyring.open(folder)) == _contents(made)

    def test_takes_up_a_root_key_that_a_crash_left(self, folder: Path) -> None:
        LocalKeyring.create(folder)
        root = (folder / "root.key").read_bytes()
        (folder / "keyring.json").unlink()
        LocalKeyring.create(folder)
        assert (folder / "root.key").read_bytes() == root
        LocalKeyring.open(folder)

    def test_does_not_take_up_an_unsafe_root_key(self, folder: Path) -> None:
        folder.mkdir(mode=0o700)
        (folder / "root.key").symlink_to("nowhere")
        with pytest.raises(KeyringError, match="symbolic link"):
            LocalKeyring.create(folder)

    def test_a_failed_change_changes_nothing(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        keyring = LocalKeyring.create(folder)
        before = _contents(keyring)

        def fail(_descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(KeyringError, match="No space left"):
            keyring.rotate_key(None)
        monkeypatch.undo()
        assert _contents(keyring) == before == _contents(LocalKeyring.open(folder))

    def test_shows_nothing_secret(self, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        keyring = LocalKeyring.create(folder)
        material = keyring.find(None).versions[0].secret().material()
        assert caplog.text
        for secret in (material, keyring._root.material()):
            assert_hidden(secret, repr(keyring), repr(keyring.find(None)), caplog.text, repr(vars(keyring)))
            assert_hidden(secret, (folder / "keyring.json").read_text())


class TestVersions:
    """Keyrings of older format versions open for ever, and become new ones with their first change."""

    @pytest.fixture(params=[1, 2])
    def vector(self, request: pytest.FixtureRequest) -> Any:
        path = Path(__file__).parents[1] / f"vectors/keyring/version_{request.param}.json"
        return json.loads(path.read_text())

    @pytest.fixture
    def old(self, folder: Path, vector: Any) -> Path:
        folder.mkdir(mode=0o700)
        for name in ("keyring.json", "root.key"):
            (folder / name).write_text(vector[name])
            (folder / name).chmod(0o600)
        return folder

    def test_an_old_keyring_opens_and_unwraps(self, old: Path, vector: Any) -> None:
        keyring = LocalKeyring.open(old)
        assert keyring.default_key_id == keyring.find(None).kms_key_id == vector["default_key_id"]
        assert keyring.find(vector.get("disabled_alias", "alias/my key")).state is KeyState.DISABLED
        assert all(version.state is KeyState.ENABLED for version in keyring.find(None).versions)
        wrapped = WrappedKey.decode(base64.b64decode(vector["wrapped_key"]))
        data_key = asyncio.run(LocalKms(keyring).unwrap(wrapped, CONTEXT))
        assert data_key.material().hex() == vector["data_key"]
        assert (old / "keyring.json").read_text() == vector["keyring.json"], "reading changes nothing"

    def test_the_first_change_makes_it_new(self, old: Path, vector: Any) -> None:
        keyring = LocalKeyring.open(old)
        keyring.create_key("third")
        document = json.loads((old / "keyring.json").read_text())
        assert (document["version"], document["default_key_id"]) == (3, vector["default_key_id"])
        assert _contents(LocalKeyring.open(old)) == _contents(keyring)
        assert len(keyring.kms_key_ids) == 3

    def test_the_default_key_is_there(self, folder: Path) -> None:
        keyring = LocalKeyring.create(folder)
        for default in (None, "", 7, "none"):
            _edit_and_mac(
                keyring,
                folder / "keyring.json",
                lambda document, default=default: document.update(default_key_id=default),  # type: ignore[misc]  # bound now
            )
            with pytest.raises(KeyringError, match="default key is missing; restore"):
                LocalKeyring.open(folder)

    def test_a_keyring_has_a_limit(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        keyring = LocalKeyring.create(folder)
        monkeypatch.setattr(keyring_file, "MAX_KEYS", 2)
        keyring.create_key("team/second_key-2")
        with pytest.raises(KeyringError, match="at most 2 wrapping keys"):
            keyring.create_key("third")
        assert _contents(LocalKeyring.open(folder)) == _contents(keyring)


class TestStates:
    def test_a_version_goes_off_on_and_away(self, folder: Path) -> None:
        keyring = LocalKeyring.create(folder)
        kms = LocalKms(keyring)
        data_key, wrapped = asyncio.run(kms.generate(None, CONTEXT))
        described = asyncio.run(kms.rotate(None))
        assert described.version == "2"
        _, newer = asyncio.run(kms.generate(None, CONTEXT))
        keyring.set_key_state(None, KeyState.DISABLED, version=1)
        for reopened in (keyring, LocalKeyring.open(folder)):
            with pytest.raises(KmsKeyDisabled):
                asyncio.run(LocalKms(reopened).unwrap(wrapped, CONTEXT))
            asyncio.run(LocalKms(reopened).unwrap(newer, CONTEXT))
        keyring.set_key_state(None, KeyState.ENABLED, version=1)
        assert asyncio.run(kms.unwrap(wrapped, CONTEXT)) == data_key
        keyring.set_key_state(None, KeyState.DESTROYED, version=1)
        for reopened in (keyring, LocalKeyring.open(folder)):
            assert reopened.find(None).version(1).material is None
            with pytest.raises(KmsKeyInvalidState):
                asyncio.run(LocalKms(reopened).unwrap(wrapped, CONTEXT))
        for state in KeyState:
            with pytest.raises(KeyringError, match="nothing brings it back"):
                keyring.set_key_state(None, state, version=1)
        asyncio.run(kms.unwrap(newer, CONTEXT))

    @pytest.mark.parametrize("state", [state for state in KeyState if state is not KeyState.ENABLED])
    def test_the_version_that_wraps_stays_on(self, folder: Path, state: KeyState) -> None:
        keyring = LocalKeyring.create(folder)
        with pytest.raises(KeyringError, match="rotate first"):
            keyring.set_key_state(None, state, version=1)
        with pytest.raises(KmsKeyNotFound):
            keyring.set_key_state(None, state, version=2)

    def test_a_destroyed_key_has_no_material_left(self, folder: Path) -> None:
        keyring = LocalKeyring.create(folder)
        key = keyring.create_key("gone")
        keyring.rotate_key("alias/gone")
        keyring.set_key_state("alias/gone", KeyState.DESTROYED)
        document = json.loads((folder / "keyring.json").read_bytes())
        (entry,) = [entry for entry in document["keys"] if entry["id"] == key.kms_key_id]
        assert [sorted(version) for version in entry["versions"]] == [["created_at", "state", "version"]] * 2
        assert all(version.material is None for version in LocalKeyring.open(folder).find("alias/gone").versions)

    def test_another_key_becomes_the_default(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        keyring = LocalKeyring.create(folder)
        first, second = keyring.default_key_id, keyring.create_key("second").kms_key_id
        with monkeypatch.context() as broken:
            broken.setattr(keyring_file, "write_private_file", _fail)
            with pytest.raises(KeyringError):
                keyring.set_default("alias/second")
        assert keyring.find(None).kms_key_id == first
        keyring.set_default("alias/second")
        assert LocalKeyring.open(folder).find(None).kms_key_id == second
        keyring.set_key_state("alias/default", KeyState.DISABLED)
        for act in (keyring.set_default, keyring.rotate_key):
            with pytest.raises(KmsKeyDisabled):
                act("alias/default")

    def test_a_keyring_that_could_not_be_read_again_is_not_written(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keyring = LocalKeyring.create(folder)
        monkeypatch.setattr(keyring_file, "MAX_KEYRING_BYTES", (folder / "keyring.json").stat().st_size + 100)
        with pytest.raises(KeyringError, match="full"):
            keyring.rotate_key(None)
        assert len(LocalKeyring.open(folder).find(None).versions) == 1


def _fail(*_: object, **__: object) -> None:
    raise KeyringError("no space")


class TestTampering:
    def test_every_byte_of_the_file_counts(self, folder: Path) -> None:
        LocalKeyring.create(folder).create_key("second")
        path = folder / "keyring.json"
        good = path.read_bytes()
        for index in range(len(good)):
            for flip in (0x01, 0x20, 0x80):
                path.write_bytes(good[:index] + bytes([good[index] ^ flip]) + good[index + 1 :])
                with pytest.raises(KeyringError) as raised:
                    LocalKeyring.open(folder)
                assert "\n" not in str(raised.value)
        path.write_bytes(good)
        LocalKeyring.open(folder)

    def test_every_cut_and_every_longer_file_is_refused(self, folder: Path) -> None:
        LocalKeyring.create(folder)
        path = folder / "keyring.json"
        good = path.read_bytes()
        for bad in (*(good[:size] for size in range(len(good))), good + b"\n", good + good, b" " + good):
            path.write_bytes(bad)
            with pytest.raises(KeyringError):
                LocalKeyring.open(folder)

    def test_every_byte_of_the_root_key_counts(self, folder: Path) -> None:
        LocalKeyring.create(folder)
        path = folder / "root.key"
        good = path.read_bytes()
        for index in range(len(good)):
            for flip in (0x01, 0x20, 0x80):
                path.write_bytes(good[:index] + bytes([good[index] ^ flip]) + good[index + 1 :])
                with pytest.raises(KeyringError):
                    LocalKeyring.open(folder)

    @pytest.mark.usefixtures("fast_passphrases")
    def test_every_byte_of_the_root_section_counts(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        # Only flips inside the limits cost an Argon2id run; the largest memory is not worth a test's time.
        monkeypatch.setitem(keyring_file_limits(), "memory_kib", (19 * 1024, 20 * 1024))
        LocalKeyring.create(folder, PASSPHRASE)
        path = folder / "keyring.json"
        good = path.read_bytes()
        start, end = good.index(b'"root": {'), good.index(b'"root_check"')
        for index in range(start, end):
            path.write_bytes(good[:index] + bytes([good[index] ^ 1]) + good[index + 1 :])
            with pytest.raises(KeyringError):
                LocalKeyring.open(folder, PASSPHRASE)

    @pytest.mark.parametrize(
        "change",
        [
            lambda keys: keys[0].update(state="disabled"),
            lambda keys: keys[0].update(aliases=["default", "more"]),
            lambda keys: keys[0].update(created_at="2020-01-01T00:00:00+00:00"),
            lambda keys: keys[0].update(id=keys[1]["id"]),
            lambda keys: keys[0]["versions"][0].update(version=2),
            lambda keys: keys[0]["versions"][0].update(created_at="2020-01-01T00:00:00+00:00"),
            lambda keys: keys[0]["versions"][0].update(sealed=keys[1]["versions"][0]["sealed"]),
            lambda keys: keys[0].update(versions=keys[1]["versions"]),
            lambda keys: keys[0]["versions"][0].update(sealed="AAAA"),
            lambda keys: keys[0]["versions"][0].update(sealed="!"),
            lambda keys: keys[0].pop("versions"),
            lambda keys: keys.append(7),
        ],
    )
    def test_fields_are_bound_twice(self, folder: Path, change: Callable[[Any], object]) -> None:
        """By the MAC of the file, and by the seal of each key for whoever could forge the MAC."""
        keyring = LocalKeyring.create(folder)
        keyring.create_key("second")
        path = folder / "keyring.json"
        good = path.read_bytes()
        _edit(path, lambda document: change(document["keys"]))
        with pytest.raises(KeyringError, match="was altered; restore"):
            LocalKeyring.open(folder)
        path.write_bytes(good)
        _edit_and_mac(keyring, path, lambda document: change(document["keys"]))
        with pytest.raises(KeyringError, match=r"cannot be read; restore"):
            LocalKeyring.open(folder)

    def test_keys_cannot_be_removed_or_reordered(self, folder: Path) -> None:
        LocalKeyring.create(folder).create_key("second")
        path = folder / "keyring.json"
        good = path.read_bytes()
        for change in (lambda keys: keys.pop(), lambda keys: keys.reverse()):
            path.write_bytes(good)
            _edit(path, lambda document, change=change: change(document["keys"]))  # type: ignore[misc]  # bound now
            with pytest.raises(KeyringError, match="was altered"):
                LocalKeyring.open(folder)


def keyring_file_limits() -> dict[str, tuple[int, int]]:
    from keys import root_secret  # noqa: PLC0415 - the one use of a private table

    return root_secret._LIMITS


def _set(**fields: Any) -> Callable[[Path], None]:
    return lambda folder: _edit(folder / "keyring.json", lambda document: document.update(fields))


def _root_file(data: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "root.key").write_bytes(data)

    return write


def _keyring_json(data: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "keyring.json").write_bytes(data)

    return write


def _remove_folder(folder: Path) -> None:
    folder.rename(folder.with_name("moved"))


BAD_KEYRINGS: dict[str, tuple[Callable[[Path], object], str]] = {
    "folder missing": (_remove_folder, "is missing; restore the keyring from its backup, or correct the path"),
    "folder open": (lambda folder: folder.chmod(0o755), "is open to other users (mode 0755); run: chmod 0700"),
    "keyring missing": (lambda folder: (folder / "keyring.json").unlink(), "is missing; restore it"),
    "keyring readable": (lambda folder: (folder / "keyring.json").chmod(0o644), "run: chmod 0600"),
    "keyring empty": (_keyring_json(b""), "is empty; restore it"),
    "keyring endless": (_keyring_json(b"[" * (1 << 20) + b"["), "is longer than 1048576 bytes"),
    "keyring nested": (_keyring_json(b"[" * 500_000 + b"]" * 500_000), "is not a keyring file"),
    "keyring no JSON": (_keyring_json(b"\xff\xfe"), "is not a keyring file"),
    "keyring NaN": (_keyring_json(b"NaN\n"), "is not a keyring file"),
    "keyring a list": (_keyring_json(b"[]\n"), "is not as Sealgate wrote it"),
    "keyring a number": (_keyring_json(b"7\n"), "is not as Sealgate wrote it"),
    "keyring of another program": (_set(format="other"), "is not as Sealgate wrote it"),
    "keyring of another version": (_set(version=4), "of another format version; use the Sealgate that wrote it"),
    "no root section": (_set(root=None), "id or root section is altered"),
    "unknown root section": (_set(root={"kind": "none"}), "root section is altered"),
    "file with fields": (_set(root={"kind": "file", "x": 1}), "root section is altered"),
    "no keyring id": (_set(keyring_id=None), "id or root section is altered"),
    "keyring id not text": (_set(keyring_id="\ud800"), "id or root section is altered"),
    "other keyring id": (_set(keyring_id="0" * 32), "root.key does not open the keyring"),
    "root check not text": (_set(root_check="\ud800"), "root.key does not open the keyring"),
    "no root check": (_set(root_check=None), "root.key does not open the keyring"),
    "no MAC": (_set(mac=None), "was altered; restore keyring.json"),
    "an added field": (_set(more=1), "was altered; restore keyring.json"),
    "root key missing": (lambda folder: (folder / "root.key").unlink(), "is missing; restore it"),
    "root key readable": (lambda folder: (folder / "root.key").chmod(0o640), "run: chmod 0600"),
    "root key empty": (_root_file(b""), "is empty; restore it"),
    "root key short": (_root_file(b"sealgate-root-key v1\nabcd\n"), "is not 64 digits"),
    "root key zero": (_root_file(b"sealgate-root-key v1\n" + b"0" * 64 + b"\n"), "is zero or repeated"),
    "root key repeated": (_root_file(b"sealgate-root-key v1\n" + b"a7" * 32 + b"\n"), "is zero or repeated"),
    "root key of another": (
        _root_file(encode_root_file(DataKey(bytes(range(32))))),
        "keyring.json; use the one that it was made with",
    ),
}


@pytest.mark.parametrize("name", BAD_KEYRINGS)
def test_a_bad_keyring_is_refused_in_one_line(folder: Path, name: str) -> None:
    spoil, message = BAD_KEYRINGS[name]
    LocalKeyring.create(folder)
    spoil(folder)
    with pytest.raises(KeyringError) as raised:
        LocalKeyring.open(folder)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


class TestPassphrase:
    @pytest.mark.usefixtures("fast_passphrases")
    @pytest.mark.parametrize(
        ("passphrase", "message"),
        [
            (None, "is opened by a passphrase; name the file that holds it"),
            ("another passphrase", "the passphrase does not open the keyring"),
            (PASSPHRASE + "\n", "the passphrase does not open the keyring"),
            ("short", "must have 12 characters"),
            ("", "must have 12 characters"),
        ],
    )
    def test_only_the_right_one_opens(self, folder: Path, passphrase: str | None, message: str) -> None:
        LocalKeyring.create(folder, PASSPHRASE)
        with pytest.raises(KeyringError, match=message) as raised:
            LocalKeyring.open(folder, passphrase)
        assert PASSPHRASE not in str(raised.value)

    def test_is_refused_where_a_file_opens(self, folder: Path) -> None:
        LocalKeyring.create(folder)
        with pytest.raises(KeyringError, match=r"opened by root\.key; remove the passphrase"):
            LocalKeyring.open(folder, PASSPHRASE)

    @pytest.mark.usefixtures("fast_passphrases")
    def test_a_file_cannot_take_its_place(self, folder: Path) -> None:
        LocalKeyring.create(folder, PASSPHRASE)
        safe_files.write_private_file(folder / "root.key", encode_root_file(DataKey.random()), replace=False)
        _set(root={"kind": "file"})(folder)
        with pytest.raises(KeyringError, match=r"root\.key does not open"):
            LocalKeyring.open(folder)

    @pytest.mark.usefixtures("fast_passphrases")
    @pytest.mark.parametrize(("name", "value"), [("memory_kib", 8), ("iterations", 1), ("lanes", 0)])
    def test_is_not_weakened_by_editing(self, folder: Path, name: str, value: int) -> None:
        LocalKeyring.create(folder, PASSPHRASE)
        _edit(folder / "keyring.json", lambda document: document["root"].update({name: value}))
        with pytest.raises(KeyringError, match=f"{name} must be"):
            LocalKeyring.open(folder, PASSPHRASE)

    def test_a_weak_one_makes_no_keyring(self, folder: Path) -> None:
        with pytest.raises(KeyringError, match="12 characters"):
            LocalKeyring.create(folder, "short")
        assert _names(folder) == []


def test_a_keyring_that_is_kept_is_told_from_one_that_is_not(folder: Path, tmp_path: Path) -> None:
    keyring = LocalKeyring.create(folder)
    assert not keyring.check_kept()
    path = folder / keyring_file.KEYRING_FILE
    before = path.read_bytes()
    keyring.rotate_key(None)
    assert not keyring.check_kept()
    path.write_bytes(before)
    for change in (keyring.check_kept, lambda: keyring.create_key("ours")):
        with pytest.raises(KeyringError, match="lacks a wrapping key that is in use"):
            change()
    assert path.read_bytes() == before, "a file that cannot be taken over is not written over"
    path.unlink()
    keyring.set_default(keyring.default_key_id)  # which writes all that is in memory
    without = path.read_bytes()
    keyring.create_key("ours")
    assert not keyring.check_kept()
    both = path.read_bytes()
    path.write_bytes(without)
    with pytest.raises(KeyringError, match="lacks a wrapping key that is in use"):
        keyring.check_kept()
    path.write_bytes(both)
    _edit(path, lambda document: document.update(keyring_id="0" * 32))
    for change in (keyring.check_kept, lambda: keyring.create_key("again")):
        with pytest.raises(KeyringError, match="altered"):
            change()
    path.unlink()
    keyring.create_key("again")
    LocalKeyring.create(tmp_path / "other")
    (folder / keyring_file.ROOT_FILE).write_bytes((tmp_path / "other" / keyring_file.ROOT_FILE).read_bytes())
    with pytest.raises(KeyringError, match="not the one of this keyring"):
        keyring.check_kept()


def test_keyrings_of_one_folder_take_over_each_other_s_changes(folder: Path) -> None:
    """Two gateways share it: neither writes over what the other made, and each sees it by its next look."""
    one, two = LocalKeyring.create(folder), LocalKeyring.open(folder)
    first = one.find(None)
    one.rotate_key(None)
    two.rotate_key(None)  # by a memory that knows of one version
    assert [version.version for version in two.find(None).versions] == [1, 2, 3]
    assert one.check_kept()
    assert not one.check_kept()
    assert one.find(None) == two.find(None)
    two.create_key("theirs")
    one.set_default("alias/theirs")
    assert two.check_kept()
    assert two.default_key_id == one.find("alias/theirs").kms_key_id
    one.set_key_state(first.kms_key_id, KeyState.DISABLED, version=1)
    two.set_key_state(first.kms_key_id, KeyState.DESTROYED, version=1)
    assert one.check_kept()
    assert one.find(first.kms_key_id).version(1).material is None
    assert LocalKeyring.open(folder).kms_key_ids == one.kms_key_ids == two.kms_key_ids


def test_a_folder_that_cannot_be_held_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keyring = LocalKeyring.create(folder)

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(KeyringError, match="knows flock"):
        keyring.rotate_key(None)
    monkeypatch.undo()
    folder.rename(folder.with_name("gone"))
    with pytest.raises(KeyringError, match="cannot be opened"):
        keyring.rotate_key(None)


def test_a_keyring_behind_a_passphrase_is_kept_by_its_file_alone(folder: Path, fast_passphrases: None) -> None:
    keyring = LocalKeyring.create(folder, PASSPHRASE)
    keyring.check_kept()
    (folder / keyring_file.KEYRING_FILE).unlink()
    with pytest.raises(KeyringError):
        keyring.check_kept()
