"""The realm file, and the keys behind it: opened by a KMS that the canary has proved to be the right one."""

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from gateway.config import Settings
from gateway.wiring.folders import Folders
from keys.datakey import WrappedKey
from keys.errors import KeyringError, KeysError
from keys.keyring_file import LocalKeyring
from keys.kms.base import Kms
from keys.kms.local import LocalKms
from keys.kms.names import KeyNames
from keys.realm import RealmKeys, check_canary
from keys.safe_files import read_private_file

_MAX_REALM_BYTES: Final = 16 * 1024
_MAX_PASSPHRASE_FILE_BYTES: Final = 4096
_REALM_FORMAT: Final = "sealgate-realm"
_REALM_VERSION: Final = 1
_REALM_ID_SIZE: Final = 16


@dataclass(frozen=True, slots=True)
class RealmRecord:
    """What `realm.json` holds."""

    realm_id: bytes
    created_at: datetime
    root: WrappedKey
    canary: WrappedKey

    def encode(self) -> bytes:
        """The file's bytes; exactly one text stands for each record."""
        fields = {
            "format": _REALM_FORMAT,
            "version": _REALM_VERSION,
            "realm_id": self.realm_id.hex(),
            "created_at": self.created_at.isoformat(),
            "root": base64.b64encode(self.root.encode()).decode("ascii"),
            "canary": base64.b64encode(self.canary.encode()).decode("ascii"),
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
            )
            exact = record.encode() == data and len(record.realm_id) == _REALM_ID_SIZE
        except (ValueError, KeyError, TypeError, RecursionError, KeysError):
            exact, record = False, None
        if not exact or record is None:
            raise KeyringError(f"{path} is not as Sealgate wrote it; restore it from the copy in the other folder")
        return record


@dataclass(frozen=True, slots=True)
class OpenedKeys:
    """The KMS, proved to be the one that sealed this realm, and the keys of the realm."""

    kms: Kms
    realm: RealmRecord
    realm_keys: RealmKeys


def read_passphrase(settings: Settings) -> str | None:
    """The passphrase that the settings name, without its line end; None where they name none.

    Raises:
        KeyringError: the file is missing, open to others, or not text.
    """
    if settings.passphrase_file is None:
        return None
    try:
        text = read_private_file(settings.passphrase_file, _MAX_PASSPHRASE_FILE_BYTES).decode("utf-8")
    except UnicodeDecodeError:
        raise KeyringError(f"{settings.passphrase_file} is not UTF-8 text; write the passphrase into it") from None
    return text.rstrip("\r\n")


async def open_keys(settings: Settings, folders: Folders, *, realm_file: Path | None = None) -> OpenedKeys:
    """Open the keyring and the realm's keys, and prove by the canary that they are the right ones.

    Raises:
        KeysError: keyring, KMS or realm file cannot be used, or do not belong together.
    """
    kms = LocalKms(LocalKeyring.open(folders.keys, read_passphrase(settings)), KeyNames(settings.region))
    return await open_realm(settings, kms, RealmRecord.read(realm_file or folders.realm_file))


async def open_realm(settings: Settings, kms: Kms, realm: RealmRecord) -> OpenedKeys:
    """The second half of `open_keys`, with any KMS. Raises: KeysError."""
    deadline_s = settings.kms_deadline_s
    await check_canary(kms, realm.realm_id, realm.canary, deadline_s=deadline_s)
    return OpenedKeys(kms, realm, await RealmKeys.open(kms, realm.realm_id, realm.root, deadline_s=deadline_s))
