"""The wrapping keys of the local keyring: what `sealgate key` does with them. Their material never leaves it."""

import contextlib
from dataclasses import dataclass
from typing import Any, Final

from gateway.cli.control import Answer
from gateway.cli.exits import CommandError
from gateway.wiring.key_life import KeyLife
from keys.errors import KmsKeyNotFound
from keys.keyring_file import LocalKey
from keys.kms.base import KeyDescription, KeyState, Kms, RotatingKms
from keys.kms.local import LocalKms
from keys.kms.names import ALIAS_PREFIX
from keys.kms.routing import local_kms

NEXT_AFTER_ROTATION: Final = "run `sealgate key rewrap`, which moves what older versions wrapped; and back the keys up"


_ELSEWHERE = "the wrapping keys of this KMS are made, rotated and switched off there"


@dataclass(frozen=True, slots=True)
class WrappingKeys:
    """Commands over the wrapping keys of one KMS."""

    kms: Kms
    life: KeyLife | None = None
    """To be told of changes; None where nothing is served."""

    async def create_key(self, alias: str) -> Answer:
        """Add an enabled wrapping key. Raises: CommandError, KeyringError."""
        local = self.local()
        made = local.keyring.create_key(alias.removeprefix(ALIAS_PREFIX))
        await self._changed()
        return await self._shown(local, made)

    async def list_keys(self) -> Answer:
        """Every key of the local keyring, oldest first, and the default one where that is another KMS's.

        Raises: KeysError.
        """
        local = local_kms(self.kms)
        ids = () if local is None else local.keyring.kms_key_ids
        shown = [] if local is None else [await self._shown(local, local.keyring.find(each)) for each in ids]
        default = await self.kms.describe(None)
        if default.kms_key_id not in ids:
            shown.append(await self.describe_key(default.kms_key_id))
        return {"keys": shown}

    async def describe_key(self, key: str) -> Answer:
        """One wrapping key, of whichever KMS, named as for `described`. Raises: CommandError, KeysError."""
        described = await self.described(key)
        found = self.find_local(described.kms_key_id)
        if found is None:
            default = await self.kms.describe(None)
            return {
                "key_id": described.kms_key_id,
                "aliases": ", ".join(ALIAS_PREFIX + alias for alias in described.aliases),
                "state": described.state.value,
                "default": described.kms_key_id == default.kms_key_id,
                "arn": described.arn,
                "newest": {"version": described.version},
            }
        versions = [
            {
                "version": version.version,
                "created_at": version.created_at.isoformat(),
                "state": version.state.value,
            }
            for version in found.versions
        ]
        shown = await self._shown(self.local(), found)
        return shown | {"version_count": len(versions), "newest": versions[-1], "version_states": versions}

    async def rotate_key(self, key: str) -> Answer:
        """Let a new version of a key wrap from now on. Raises: CommandError, KeysError."""
        described = await self.described(key)
        if not isinstance(self.kms, RotatingKms):
            raise CommandError("this KMS rotates its keys itself: do it there, then run `sealgate key rewrap`")
        rotated = await self.kms.rotate(described.kms_key_id)
        await self._changed()
        return {"key_id": rotated.kms_key_id, "version": rotated.version, "next_step": NEXT_AFTER_ROTATION}

    async def default_key(self, key: str) -> Answer:
        """Let another key wrap what names none. Raises: CommandError, KeysError."""
        found = self.local().keyring.set_default((await self.local_key(key)).kms_key_id)
        await self._changed()
        return await self._shown(self.local(), found)

    async def enable_key(self, key: str, version: int | None = None) -> Answer:
        """Let a key, or a version of it, be used again. Raises: CommandError, KeysError."""
        found = await self.local_key(key)
        self.local().keyring.set_key_state(found.kms_key_id, KeyState.ENABLED, version)
        await self._changed()
        return await self.describe_key(found.kms_key_id)

    async def described(self, key: str) -> KeyDescription:
        """A key of the KMS by id, ARN, alias, or the alias without `alias/`. Raises: CommandError, KeysError."""
        for name in (key, ALIAS_PREFIX + key):
            with contextlib.suppress(KmsKeyNotFound):
                return await self.kms.describe(name)
        raise CommandError(f"there is no wrapping key {key[:300]!r}: see `sealgate key list`")

    async def local_key(self, key: str) -> LocalKey:
        """A key of the local keyring, named as for `described`. Raises: CommandError."""
        found = self.find_local((await self.described(key)).kms_key_id)
        if found is None:
            raise CommandError(_ELSEWHERE)
        return found

    def find_local(self, kms_key_id: str) -> LocalKey | None:
        """The key of the local keyring that has this id; None where it is another KMS's."""
        local = local_kms(self.kms)
        return local.keyring.find(kms_key_id) if local is not None and kms_key_id in local.keyring.kms_key_ids else None

    async def _changed(self) -> None:
        if self.life is not None:
            await self.life.key_changed()

    def local(self) -> LocalKms:
        """The local keyring's KMS. Raises: CommandError where the keys are elsewhere."""
        local = local_kms(self.kms)
        if local is None:
            raise CommandError(_ELSEWHERE)
        return local

    async def _shown(self, local: LocalKms, key: LocalKey) -> dict[str, Any]:
        described = await local.describe(key.kms_key_id)
        return {
            "key_id": described.kms_key_id,
            "aliases": ", ".join(ALIAS_PREFIX + alias for alias in described.aliases),
            "state": described.state.value,
            "default": described.kms_key_id == local.keyring.default_key_id,
            "created_at": key.created_at.isoformat(),
            "arn": described.arn,
        }
