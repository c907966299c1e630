"""The local keyring: a folder with sealed wrapping keys in `keyring.json` and, without a passphrase, `root.key`.

Every wrapping key is sealed under the root secret together with all that is said of it, and the whole file is MACed;
an old copy of the whole file put back is not noticed. Source: docs/decisions/0002-wrapping-record.md.
"""

import base64
import functools
import hashlib
import hmac
import json
import logging
import os
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from keys.context import canonical
from keys.datakey import KEY_SIZE, DataKey
from keys.errors import AliasTaken, KeyringError, KmsKeyNotFound, PassphraseUnfit, UnwrapFailed
from keys.kms.base import KeyState, check_usable
from keys.kms.names import ALIAS_PREFIX
from keys.record import Record, seal, unseal
from keys.root_secret import (
    ROOT_FILE_MAX_BYTES,
    PassphraseParameters,
    decode_root_file,
    encode_root_file,
)
from keys.safe_files import (
    check_private_folder,
    make_private_folder,
    read_private_file,
    taking_turns,
    write_private_file,
)

KEYRING_FILE = "keyring.json"
ROOT_FILE = "root.key"
LOCK_FILE = ".keyring.lock"
"""Held while the keyring changes: the folder itself is what gateways hold while they serve."""
MAX_KEYRING_BYTES = 1 << 20
MAX_KEYS = 500
"""Wrapping keys of one keyring: with a few versions each they stay within `MAX_KEYRING_BYTES`."""
DEFAULT_ALIAS = "default"
"""Alias of the key that a new keyring begins with, and the default key of every keyring of format version 1."""
MANAGED_ALIAS = "aws/s3"
"""What S3's clients call the default key. No key can take an alias that begins like it (AWS KMS "CreateAlias")."""

_FORMAT = "sealgate-keyring"
_FORMAT_VERSION = 3
_FORMAT_VERSIONS = (1, 2, 3)
"""Version 2 names the default key by its id, version 3 gives each version of a key a state. All are read; whatever is
written is of the newest."""
_RESTORE = "restore keyring.json from its backup"
_KEYRING_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_ALIAS = re.compile(r"[A-Za-z0-9/_-]{1,250}", re.ASCII)
_log = logging.getLogger(__name__)


def utc_now() -> datetime:
    """The wall clock, the default of every `now` here."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class KeyVersion:
    """One generation of a wrapping key. Numbers count from 1 and are never used twice."""

    version: int
    created_at: datetime
    material: DataKey | None
    """None where it was destroyed."""
    state: KeyState = KeyState.ENABLED

    def secret(self) -> DataKey:
        """The material of a version that was not destroyed."""
        assert self.material is not None, "a destroyed version is in no state that lets it be used"
        return self.material


@dataclass(frozen=True, slots=True)
class LocalKey:
    """A named wrapping key. The last version wraps; all that are enabled unwrap."""

    kms_key_id: str
    aliases: tuple[str, ...]
    state: KeyState
    created_at: datetime
    versions: tuple[KeyVersion, ...]

    @property
    def newest(self) -> KeyVersion:
        """The version that wraps."""
        return self.versions[-1]

    def version(self, number: int | str) -> KeyVersion:
        """One version. Raises: KmsKeyNotFound."""
        for version in self.versions:
            if str(version.version) == str(number):
                return version
        raise KmsKeyNotFound("the local keyring's wrapping key has no such version")


_P = ParamSpec("_P")


def _in_turn(
    change: "Callable[Concatenate[LocalKeyring, _P], LocalKey]",
) -> "Callable[Concatenate[LocalKeyring, _P], LocalKey]":
    """Let a change begin from what the file holds: other gateways of the same folder change it as well.

    A file that is there and cannot be taken over is never written over; one that is gone is written anew.
    """

    @functools.wraps(change)
    def changed(self: "LocalKeyring", /, *args: _P.args, **kwargs: _P.kwargs) -> LocalKey:
        with taking_turns(self.folder / LOCK_FILE):
            if self.exists(self.folder):
                self.check_kept()
            return change(self, *args, **kwargs)

    return changed


class LocalKeyring:
    """An opened keyring. Changes are durable when a method returns, and leave the keyring as it was when it raises.

    Methods block on small files. Gateways that share the folder take turns, and see what the others changed when they
    change something themselves, or look (`check_kept`).
    """

    def __init__(
        self,
        folder: Path,
        keyring_id: str,
        root: DataKey,
        root_fields: dict[str, object],
        keys: dict[str, LocalKey],
        now: Callable[[], datetime],
    ) -> None:
        """Use `create` or `open`."""
        self._default_key_id = ""
        self._folder = folder
        self._keyring_id = keyring_id
        self._root = root
        self._root_fields = root_fields
        self._keys = keys
        self._now = now
        self._kept = b""
        """SHA-256 of the file as it was last seen to hold all that is in memory."""

    @staticmethod
    def exists(folder: Path) -> bool:
        """Whether a keyring was ever completed in this folder (it may still be unusable)."""
        return os.path.lexists(folder / KEYRING_FILE)

    @classmethod
    def create(
        cls, folder: Path, passphrase: str | None = None, *, now: Callable[[], datetime] = utc_now
    ) -> "LocalKeyring":
        """Make a keyring with one enabled key, alias `default`; with a passphrase there is no `root.key`.

        `keyring.json` is written last. A `root.key` without it is what a crash in here leaves, and is taken up.

        Raises:
            KeyringError: a keyring exists, the folder is unsafe or cannot be written, the passphrase is weak.
        """
        make_private_folder(folder)
        if cls.exists(folder):
            raise KeyringError(f"{folder / KEYRING_FILE} already exists; Sealgate never replaces it")
        root_fields: dict[str, object] = {"kind": "file"}
        if passphrase is None:
            root = cls._take_or_make_root(folder / ROOT_FILE)
        else:
            parameters = PassphraseParameters.fresh()
            root, root_fields = parameters.derive(passphrase), parameters.to_fields()
        keyring = cls(folder, uuid.uuid4().hex, root, root_fields, {}, now)
        first = keyring._fresh_key(DEFAULT_ALIAS)
        keyring._default_key_id = first.kms_key_id
        keyring._save([first], replace_file=False)
        _log.info("made keyring %s in %s", keyring._keyring_id, folder)
        return keyring

    @classmethod
    def open(
        cls, folder: Path, passphrase: str | None = None, *, now: Callable[[], datetime] = utc_now
    ) -> "LocalKeyring":
        """Open a keyring and check every byte of it.

        Raises:
            KeyringError: anything missing, unsafe, altered, or a wrong root secret; the message says what to do.
        """
        check_private_folder(folder)
        data = read_private_file(folder / KEYRING_FILE, MAX_KEYRING_BYTES)
        document = _parse(data)
        root_fields = document["root"]
        root = _open_root(folder, root_fields, passphrase)
        keyring = cls(folder, str(document.get("keyring_id")), root, root_fields, {}, now)
        keyring._keys = keyring._authenticated_keys(document)
        keyring._default_key_id = _default_of(document, keyring._keys)
        return keyring

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self._folder

    @property
    def keyring_id(self) -> str:
        """Random, 32 hexadecimal digits; part of nothing secret."""
        return self._keyring_id

    @property
    def kms_key_ids(self) -> tuple[str, ...]:
        """The ids of all wrapping keys, oldest first."""
        return tuple(self._keys)

    @property
    def default_key_id(self) -> str:
        """The id of the default key."""
        return self._default_key_id

    def find(self, name: str | None) -> LocalKey:
        """The key with this id, or this alias as `alias/NAME`; `None` finds the default key.

        Raises:
            KmsKeyNotFound: there is none.
        """
        if name is None or name == ALIAS_PREFIX + MANAGED_ALIAS:
            name = self._default_key_id
        if name in self._keys:
            return self._keys[name]
        alias = name.removeprefix(ALIAS_PREFIX) if name.startswith(ALIAS_PREFIX) else None
        for key in self._keys.values():
            if alias in key.aliases:
                return key
        raise KmsKeyNotFound("the local keyring has no such wrapping key")

    @_in_turn
    def create_key(self, alias: str) -> LocalKey:
        """Add an enabled wrapping key under a new alias.

        Raises:
            AliasTaken: another wrapping key has it.
            KeyringError: it is not what AWS KMS takes as one, the keyring is full, or writing fails.
        """
        if not _ALIAS.fullmatch(alias) or alias.startswith(("aws/", ALIAS_PREFIX)):
            raise KeyringError(
                "an alias has 1 to 250 letters, digits, slashes, hyphens and underscores, without `alias/` before it,"
                " and does not begin with aws/"
            )
        if any(alias == key.kms_key_id or alias in key.aliases for key in self._keys.values()):
            raise AliasTaken("that alias is taken; choose another")
        if len(self._keys) >= MAX_KEYS:
            raise KeyringError(f"a keyring holds at most {MAX_KEYS} wrapping keys")
        key = self._fresh_key(alias)
        self._save([*self._keys.values(), key])
        return key

    @_in_turn
    def rotate_key(self, name: str | None) -> LocalKey:
        """Give a key a new version, which wraps from now on.

        Raises:
            KmsKeyNotFound: there is no such key.
            KeyringError: writing fails.
        """
        key = self.find(name)
        check_usable(key.state)
        fresh = KeyVersion(key.newest.version + 1, self._timestamp(), DataKey.random())
        return self._change(replace(key, versions=(*key.versions, fresh)))

    @_in_turn
    def set_default(self, name: str) -> LocalKey:
        """Let another enabled key be the default one.

        Raises:
            KmsKeyNotFound, KmsKeyError: there is no such key, or it is not enabled.
            KeyringError: writing fails.
        """
        key = self.find(name)
        check_usable(key.state)
        before, self._default_key_id = self._default_key_id, key.kms_key_id
        try:
            self._save(list(self._keys.values()))
        except BaseException:
            self._default_key_id = before
            raise
        return key

    @_in_turn
    def set_key_state(self, name: str | None, state: KeyState, version: int | None = None) -> LocalKey:
        """Switch a key, or an older version of it, on or off, or destroy it: its material goes from the file for good.

        Raises:
            KmsKeyNotFound: there is no such key or version.
            KeyringError: it is the newest version, which wraps; it was destroyed; writing fails.
        """
        key = self.find(name)
        if (key.state if version is None else key.version(version).state) is KeyState.DESTROYED:
            raise KeyringError("its material is destroyed: nothing brings it back")
        if state is not KeyState.ENABLED and key.newest.version == version:
            raise KeyringError("the newest version of a key is the one that wraps: rotate first, or take the whole key")
        material_goes = state is KeyState.DESTROYED
        if version is None:
            kept = tuple(replace(each, material=None) for each in key.versions) if material_goes else key.versions
            return self._change(replace(key, versions=kept, state=state))
        old = key.version(version)
        new = replace(old, state=state, material=None if material_goes else old.material)
        return self._change(replace(key, versions=tuple(new if each is old else each for each in key.versions)))

    def _change(self, key: LocalKey) -> LocalKey:
        self._save([key if key.kms_key_id == old.kms_key_id else old for old in self._keys.values()])
        return key

    def _fresh_key(self, alias: str) -> LocalKey:
        created_at = self._timestamp()
        first = KeyVersion(1, created_at, DataKey.random())
        return LocalKey(str(uuid.uuid4()), (alias,), KeyState.ENABLED, created_at, (first,))

    def _timestamp(self) -> datetime:
        return self._now().astimezone(UTC).replace(microsecond=0)

    @staticmethod
    def _take_or_make_root(path: Path) -> DataKey:
        if os.path.lexists(path):
            return decode_root_file(read_private_file(path, ROOT_FILE_MAX_BYTES))
        root = DataKey.random()
        write_private_file(path, encode_root_file(root), replace=False)
        return root

    def _save(self, keys: list[LocalKey], *, replace_file: bool = True) -> None:
        document: dict[str, Any] = {
            "format": _FORMAT,
            "version": _FORMAT_VERSION,
            "keyring_id": self._keyring_id,
            "root": self._root_fields,
            "root_check": self._root_check(),
            "default_key_id": self._default_key_id,
            "keys": [self._sealed(key) for key in keys],
        }
        document["mac"] = self._mac(document)
        data = _canonical_json(document)
        if len(data) > MAX_KEYRING_BYTES:
            raise KeyringError("the keyring is full: destroy versions that nothing needs any more")
        write_private_file(self._folder / KEYRING_FILE, data, replace=replace_file)
        self._keys = {key.kms_key_id: key for key in keys}

    def check_kept(self) -> bool:
        """See that the folder still holds every key in memory, so that a restart finds what is sealed now.

        What another gateway of the same folder changed is taken over; tells whether there was anything.

        Raises:
            KeyringError: a file is gone, unreadable, altered, or of another keyring; the message says what to do.
        """
        path = self._folder / KEYRING_FILE
        data = read_private_file(path, MAX_KEYRING_BYTES)
        digest = hashlib.sha256(data).digest()
        held, default = self._keys, self._default_key_id
        if digest != self._kept:
            document = _parse(data)
            held = self._authenticated_keys(document)
            if not all(_is_kept(key, held.get(key.kms_key_id)) for key in self._keys.values()):
                raise KeyringError(f"{path} lacks a wrapping key that is in use; {_RESTORE}")
            default = _default_of(document, held)
        root_path = self._folder / ROOT_FILE
        if self._root_fields["kind"] == "file" and self._root != decode_root_file(
            read_private_file(root_path, ROOT_FILE_MAX_BYTES)
        ):
            raise KeyringError(f"{root_path} is not the one of this keyring; {_RESTORE}")
        is_changed = (held, default) != (self._keys, self._default_key_id)
        self._keys, self._default_key_id, self._kept = held, default, digest
        return is_changed

    def _sealed(self, key: LocalKey) -> dict[str, Any]:
        fields = {
            "id": key.kms_key_id,
            "aliases": list(key.aliases),
            "state": key.state.value,
            "created_at": key.created_at.isoformat(),
        }
        versions = []
        for version in key.versions:
            about = {
                "version": version.version,
                "created_at": version.created_at.isoformat(),
                "state": version.state.value,
            }
            sealed = {}
            if version.material is not None:
                record = seal(self._derive("seal"), version.material.material(), self._binding(fields, about))
                sealed = {"sealed": base64.b64encode(record.encode()).decode("ascii")}
            versions.append({**about, **sealed})
        return {**fields, "versions": versions}

    def _unsealed(self, entry: dict[str, Any]) -> LocalKey:
        fields = {name: value for name, value in entry.items() if name != "versions"}
        versions = []
        for item in entry["versions"]:
            about = {name: value for name, value in item.items() if name != "sealed"}
            state = KeyState(about.get("state", KeyState.ENABLED))
            material = None
            if KeyState.DESTROYED not in {state, KeyState(fields["state"])}:
                record = Record.decode(base64.b64decode(item["sealed"], validate=True))
                material = DataKey(unseal(self._derive("seal"), record, self._binding(fields, about)))
            created_at = datetime.fromisoformat(about["created_at"])
            versions.append(KeyVersion(int(about["version"]), created_at, material, state))
        return LocalKey(
            fields["id"],
            tuple(fields["aliases"]),
            KeyState(fields["state"]),
            datetime.fromisoformat(fields["created_at"]),
            tuple(versions),
        )

    def _authenticated_keys(self, document: dict[str, Any]) -> dict[str, LocalKey]:
        if not _same(self._root_check(), document.get("root_check")):
            is_file = self._root_fields["kind"] == "file"
            secret, refusal = (ROOT_FILE, KeyringError) if is_file else ("the passphrase", PassphraseUnfit)
            keyring = self._folder / KEYRING_FILE
            raise refusal(f"{secret} does not open the keyring {keyring}; use the one that it was made with")
        mac = document.pop("mac", None)
        if not _same(self._mac(document), mac):
            raise KeyringError(f"the keyring was altered; {_RESTORE}")
        try:
            keys = [self._unsealed(entry) for entry in document["keys"]]
        except (UnwrapFailed, AttributeError, KeyError, TypeError, ValueError):  # a field of another kind
            raise KeyringError(f"a wrapping key of the keyring cannot be read; {_RESTORE}") from None
        return {key.kms_key_id: key for key in keys}

    def _binding(self, key_fields: dict[str, Any], version_fields: dict[str, Any]) -> bytes:
        return canonical(
            "sealgate/local-wrapping-key/v1",
            self._keyring_id.encode(),
            _canonical_json(key_fields),
            _canonical_json(version_fields),
        )

    def _root_check(self) -> str:
        """Tells a wrong root secret from an altered file; bound to the root section, says nothing of the keys."""
        tag = hmac.digest(self._derive("check"), _canonical_json(self._root_fields), "sha512")
        return tag[:16].hex()

    def _mac(self, document: dict[str, Any]) -> str:
        return hmac.digest(self._derive("mac"), _canonical_json(document), "sha512")[:32].hex()

    def _derive(self, use: str) -> bytes:
        info = canonical("sealgate/local-keyring/v1", self._keyring_id.encode(), use.encode())
        return HKDF(SHA512(), KEY_SIZE, None, info).derive(self._root.material())


def _open_root(folder: Path, root_fields: dict[str, object], passphrase: str | None) -> DataKey:
    if root_fields == {"kind": "file"}:
        if passphrase is not None:
            raise KeyringError(f"this keyring is opened by {ROOT_FILE}; remove the passphrase from the settings")
        return decode_root_file(read_private_file(folder / ROOT_FILE, ROOT_FILE_MAX_BYTES))
    if root_fields.get("kind") != "passphrase":
        raise KeyringError(f"the keyring's root section is altered; {_RESTORE}")
    parameters = PassphraseParameters.from_fields(root_fields)
    if passphrase is None:
        raise KeyringError(
            "this keyring is opened by a passphrase; name the file that holds it in the setting passphrase_file"
        )
    return parameters.derive(passphrase)


def _default_of(document: dict[str, Any], keys: Mapping[str, LocalKey]) -> str:
    """The id of the default key; the MAC has authenticated what the document says."""
    if document["version"] != 1:
        default = document.get("default_key_id")
    else:
        default = next((key.kms_key_id for key in keys.values() if DEFAULT_ALIAS in key.aliases), None)
    if default not in keys:
        raise KeyringError(f"the keyring's default key is missing; {_RESTORE}")
    return str(default)


def _is_kept(ours: LocalKey, theirs: LocalKey | None) -> bool:
    """Whether a file has all that we have of a key, but for what was destroyed there on purpose."""
    if theirs is None:
        return False
    there = {version.version: version.material for version in theirs.versions}
    return all(
        version.version in there and there[version.version] in (None, version.material)
        for version in ours.versions
        if version.material is not None
    )


def _parse(data: bytes) -> dict[str, Any]:
    """The document, if the bytes are exactly what we would write for it; so two readers never differ."""
    try:
        document = json.loads(data)
        exact = _canonical_json(document) == data
    except (ValueError, RecursionError):
        raise KeyringError(f"the keyring is not a keyring file; {_RESTORE}") from None
    if not exact or not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise KeyringError(f"the keyring is not as Sealgate wrote it; {_RESTORE}")
    if document.get("version") not in _FORMAT_VERSIONS:
        raise KeyringError("the keyring is of another format version; use the Sealgate that wrote it, or a newer one")
    if not isinstance(document.get("root"), dict) or not _KEYRING_ID.fullmatch(str(document.get("keyring_id"))):
        raise KeyringError(f"the keyring's id or root section is altered; {_RESTORE}")
    return document


def _same(expected: str, found: object) -> bool:
    """Compare in constant time; `found` is whatever the file holds."""
    return hmac.compare_digest(expected.encode(), str(found).encode("utf-8", "surrogatepass"))


def _canonical_json(value: object) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=True, allow_nan=False).encode("ascii") + b"\n"
