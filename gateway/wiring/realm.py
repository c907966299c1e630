"""The realm file, and the keys behind it: opened by a KMS that the canary has proved to be the right one."""

import base64
import hmac
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from gateway.config import Settings
from gateway.engine.custody import sized
from gateway.wiring.folders import REALM_FILE, Folders
from gateway.wiring.kms import open_kms, prove_default
from keys.datakey import WrappedKey
from keys.errors import (
    KeyringError,
    KeysError,
    KmsKeyDisabled,
    KmsKeyError,
    KmsKeyInvalidState,
    KmsKeyNotFound,
    KmsMisconfigured,
)
from keys.kms.base import Kms
from keys.kms.routing import LOCAL_PROVIDER
from keys.realm import RealmKeys, check_canary, copy_root, create_canary, rewrap_root
from keys.recovery import NO_COPIES, Copies, Recipient, Recipients, public_of
from keys.safe_files import read_private_file, taking_turns, write_private_file
from storage.seams import reach

_MAX_REALM_BYTES: Final = 16 * 1024
_REALM_FORMAT: Final = "sealgate-realm"
_REALM_VERSION: Final = 1
_REALM_VERSION_WITH_RECIPIENTS: Final = 2
_REALM_ID_SIZE: Final = 16


@dataclass(frozen=True, slots=True)
class RealmRecord:
    """What `realm.json` holds."""

    realm_id: bytes
    created_at: datetime
    root: WrappedKey
    canary: WrappedKey
    recipients: tuple[Recipient, ...] = ()
    """Who gets a recovery copy of every key."""
    root_copies: Copies = NO_COPIES
    recipients_mac: str = ""
    """Under a key of the realm: whoever can write the file cannot make himself a recipient."""

    def mac(self, realm_keys: RealmKeys) -> str:
        """What `recipients_mac` must be."""
        told = json.dumps(_recipients_json(self.recipients)).encode("ascii")
        return hmac.digest(realm_keys.recipients_key.material(), told, "sha512")[:32].hex()

    def check_recipients(self, realm_keys: RealmKeys) -> None:
        """See that nobody but the realm's owner made the recipients. Raises: KeyringError."""
        wanted = self.mac(realm_keys) if self.recipients else ""
        if not hmac.compare_digest(self.recipients_mac, wanted):
            raise KeyringError("the recovery recipients of the realm file were altered; restore it from its backup")

    def is_same_realm(self, other: "RealmRecord") -> bool:
        """Whether both are of one realm; their wraps may differ, since they are moved in one folder after the other."""
        return (self.realm_id, self.created_at) == (other.realm_id, other.created_at)

    def encode(self) -> bytes:
        """The file's bytes; exactly one text stands for each record."""
        fields: dict[str, Any] = {
            "format": _REALM_FORMAT,
            "version": _REALM_VERSION,
            "realm_id": self.realm_id.hex(),
            "created_at": self.created_at.isoformat(),
            "root": base64.b64encode(self.root.encode()).decode("ascii"),
            "canary": base64.b64encode(self.canary.encode()).decode("ascii"),
        }
        if self.recipients:
            fields |= {
                "version": _REALM_VERSION_WITH_RECIPIENTS,
                "recipients": _recipients_json(self.recipients),
                "root_copies": base64.b64encode(self.root_copies.encode()).decode("ascii"),
                "recipients_mac": self.recipients_mac,
            }
        return json.dumps(fields, indent=1).encode("ascii") + b"\n"

    @classmethod
    def read(cls, path: Path) -> "RealmRecord":
        """Read a realm file.

        Raises:
            KeyringError: missing, open to others, or not as Sealgate wrote it; says what to do.
        """
        data = read_private_file(path, _MAX_REALM_BYTES)
        try:
            fields: dict[str, Any] = json.loads(data)
            record = cls(
                bytes.fromhex(fields["realm_id"]),
                datetime.fromisoformat(fields["created_at"]).astimezone(UTC),
                WrappedKey.decode(base64.b64decode(fields["root"], validate=True)),
                WrappedKey.decode(base64.b64decode(fields["canary"], validate=True)),
                tuple(
                    Recipient(each["name"], public_of(each["public"]), datetime.fromisoformat(each["added_at"]))
                    for each in fields.get("recipients", [])
                ),
                Copies.decode(base64.b64decode(fields.get("root_copies", ""), validate=True)),
                str(fields.get("recipients_mac", "")),
            )
            exact = record.encode() == data and len(record.realm_id) == _REALM_ID_SIZE
        except (ValueError, KeyError, TypeError, RecursionError, KeysError):
            exact, record = False, None
        if not exact or record is None:
            raise KeyringError(f"{path} is not as Sealgate wrote it; restore it from the copy in the other folder")
        return record


class RealmFiles:
    """The realm file in the data folder and its copy beside the keyring, and how their wraps move to another key.

    It is what the canary is read from, so that a watch follows a move.
    """

    def __init__(self, folders: Folders, kms: Kms, realm: RealmRecord, *, deadline_s: float) -> None:
        self._folders = folders
        self._kms = kms
        self._deadline_s = deadline_s
        self._record = realm
        self._seen = realm.encode()
        """The shared file as this process last read or wrote it."""
        # Whether the blob store has today's copies is not kept: the first rewrap of a process that has any writes them.
        self._copied_to: frozenset[bytes] = frozenset()

    @property
    def realm_id(self) -> bytes:
        """Of the realm."""
        return self._record.realm_id

    @property
    def canary(self) -> WrappedKey:
        """As it is now."""
        return self._record.canary

    def wrapped(self) -> tuple[WrappedKey, ...]:
        """Root and canary of both files: those that still differ are moved as well. Raises: KeyringError."""
        records = (RealmRecord.read(path) for path in (self._folders.realm_file, self._folders.realm_copy))
        return tuple(wrapped for record in records for wrapped in (record.root, record.canary))

    def copied_to(self) -> frozenset[bytes]:
        """The recovery recipients that have a copy of the root in the blob store too."""
        return self._copied_to

    @property
    def recipients(self) -> tuple[Recipient, ...]:
        """Who gets a copy of every key."""
        return self._record.recipients

    def read_again(self, realm_keys: RealmKeys) -> None:
        """Take over what another gateway of the realm wrote.

        Raises: KeyringError.
        """
        record = RealmRecord.read(self._shared)
        if not record.is_same_realm(self._record):
            raise KeyringError(f"{self._shared} is of another realm: restore it from its copy")
        record.check_recipients(realm_keys)
        self._record, self._seen = record, record.encode()
        own = self._folders.realm_file
        if own != self._shared and RealmRecord.read(own).encode() != self._seen:
            write_private_file(own, self._seen, replace=True)

    async def set_recipients(self, recipients: tuple[Recipient, ...], realm_keys: RealmKeys) -> None:
        """Let these be the recipients, with a copy of the root in both files. Raises: KeysError."""
        holder = Recipients(recipients)
        copies = await copy_root(self._kms, self.realm_id, self._record.root, holder, deadline_s=self._deadline_s)
        record = replace(self._record, recipients=recipients, root_copies=copies, recipients_mac="")
        if recipients:
            record = replace(record, recipients_mac=record.mac(realm_keys))
        self._write(record)

    def root_part(self) -> bytes:
        """The root as the slots of envelopes blobs have it."""
        return sized(self._record.root) + self._record.root_copies.encode()

    async def rewrap(self, kms_key_id: str) -> bytes:
        """Move root and canary in memory, proved to open; give the root. Raises: KeysError."""
        realm_id, deadline_s = self.realm_id, self._deadline_s
        root = await rewrap_root(self._kms, realm_id, self._record.root, kms_key_id, deadline_s=deadline_s)
        canary = await create_canary(self._kms, realm_id, kms_key_id, deadline_s=deadline_s)
        await check_canary(self._kms, realm_id, canary, deadline_s=deadline_s)
        self._record = replace(self._record, root=root, canary=canary)
        return self.root_part()

    def save(self) -> None:
        """Write both files, durably, once an envelopes blob has the root. Raises: KeyringError."""
        self._write(self._record)
        self._copied_to = self._record.root_copies.ids

    def _write(self, record: RealmRecord) -> None:
        """Write both files, if nobody else has meanwhile. A crash in between leaves two that both open.

        A process that stood still would bring wraps back whose key was destroyed since. Raises: KeyringError.
        """
        data = record.encode()
        with taking_turns(self._folders.realm_copy.with_suffix(".lock")):
            # Where it is lost with the keys folder, and a recovery secret stands for that, nobody else has written it.
            if self._shared.exists() and RealmRecord.read(self._shared).encode() != self._seen:
                raise KeyringError(f"another gateway wrote {self._shared} meanwhile: run the command again")
            for path in (self._folders.realm_file, self._folders.realm_copy):
                write_private_file(path, data, replace=True)
                reach("realm.file_written")
        self._record, self._seen = record, data

    @property
    def _shared(self) -> Path:
        """The file that all gateways of the realm see."""
        return self._folders.realm_copy if self._folders.are_stores_elsewhere else self._folders.realm_file


@dataclass(frozen=True, slots=True)
class OpenedKeys:
    """The KMS, proved to be the one that sealed this realm, and the keys of the realm."""

    kms: Kms
    realm: RealmRecord
    realm_keys: RealmKeys
    folders: Folders


class _OtherKms(KmsMisconfigured):
    """The settings name another KMS than a realm file does."""


async def open_keys(settings: Settings, folders: Folders, *, realm_file: Path | None = None) -> OpenedKeys:
    """Open the KMS and the realm's keys, and prove by the canary that they are the right ones.

    Raises:
        KeysError, SettingsError: keyring, KMS or realm file cannot be used, or do not belong together.
    """
    path = realm_file or folders.realm_file
    realm = RealmRecord.read(path)
    try:
        return await _open_keys(settings, folders, realm)
    except (KmsKeyError, _OtherKms) as error:
        told = await _told_by_other(settings, folders, path, realm, error)
        if told is not None:
            raise KeyringError(told) from error
        if isinstance(error, KmsKeyDisabled | KmsKeyInvalidState):
            raise type(error)(f"{error}, and the realm root lies under it: {_how_to_enable(realm.canary)}") from error
        raise


def _how_to_enable(wrapped: WrappedKey) -> str:
    if wrapped.provider != LOCAL_PROVIDER:
        return f"switch {wrapped.kms_key_id} on again in its KMS"
    command = f"sealgate key enable {wrapped.kms_key_id}"
    return f"run `{command}`, or where that version alone is off `{command} --version {wrapped.kms_key_version}`"


async def _open_keys(settings: Settings, folders: Folders, realm: RealmRecord) -> OpenedKeys:
    if settings.kms != realm.root.provider:
        raise _OtherKms(
            f"kms is {settings.kms}, but {realm.root.provider} sealed this realm: set kms to {realm.root.provider}"
        )
    kms = open_kms(settings, folders, realm.realm_id)
    try:
        return await open_realm(settings, folders, kms, realm)
    except BaseException:
        await kms.close()
        raise


async def _told_by_other(
    settings: Settings, folders: Folders, path: Path, realm: RealmRecord, error: Exception
) -> str | None:
    """What is wrong with a realm file that does not open: one that is older than the other, or a keyring that is."""
    if isinstance(error, KmsKeyNotFound) and realm.root.provider == LOCAL_PROVIDER:
        # Neither keys nor versions ever go from it.
        return (
            f"the keyring in {folders.keys} is older than the data: it lacks the wrapping key, or the version of it,"
            f" that {path} lies under; restore its newest backup, and copy no {REALM_FILE}"
        )
    other_path = folders.realm_file if path == folders.realm_copy else folders.realm_copy
    try:
        other = RealmRecord.read(other_path)
        is_another = other.is_same_realm(realm) and (other.root, other.canary) != (realm.root, realm.canary)
        if not is_another or other.root.provider != settings.kms:
            return None
        kms = open_kms(settings, folders, other.realm_id)
        try:
            await check_canary(kms, other.realm_id, other.canary, deadline_s=settings.kms_deadline_s)
        finally:
            await kms.close()
    except KeysError:
        return None
    return f"{path} is an old copy and does not open ({error}); {other_path} does: copy {other_path} over it"


async def open_realm(settings: Settings, folders: Folders, kms: Kms, realm: RealmRecord) -> OpenedKeys:
    """The second half of `open_keys`, with any KMS. Raises: KeysError."""
    deadline_s = settings.kms_deadline_s
    await check_canary(kms, realm.realm_id, realm.canary, deadline_s=deadline_s)
    await prove_default(kms, deadline_s)
    realm_keys = await RealmKeys.open(kms, realm.realm_id, realm.root, deadline_s=deadline_s)
    realm.check_recipients(realm_keys)
    return OpenedKeys(kms, realm, realm_keys, folders)


def _recipients_json(recipients: tuple[Recipient, ...]) -> list[dict[str, str]]:
    return [{"name": each.name, "public": each.text, "added_at": each.added_at.isoformat()} for each in recipients]
