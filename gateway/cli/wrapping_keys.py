"""The wrapping keys of the local keyring: what `sealgate key` does with them. Their material never leaves it."""

from dataclasses import dataclass
from typing import Any

from gateway.cli.directory import Answer
from gateway.cli.exits import CommandError
from keys.errors import KmsKeyNotFound
from keys.keyring_file import LocalKey
from keys.kms.base import Kms
from keys.kms.local import LocalKms
from keys.kms.names import ALIAS_PREFIX


@dataclass(frozen=True, slots=True)
class WrappingKeys:
    """Commands over the wrapping keys of one KMS."""

    kms: Kms

    async def create_key(self, alias: str) -> Answer:
        """Add an enabled wrapping key. Raises: CommandError, KeyringError."""
        local = self._local()
        return await self._shown(local, local.keyring.create_key(alias.removeprefix(ALIAS_PREFIX)))

    async def list_keys(self) -> Answer:
        """Every wrapping key, oldest first. Raises: CommandError."""
        local = self._local()
        found = [local.keyring.find(kms_key_id) for kms_key_id in local.keyring.kms_key_ids]
        return {"keys": [await self._shown(local, key) for key in found]}

    async def describe_key(self, key: str) -> Answer:
        """One wrapping key by id, ARN, alias, or the alias without `alias/`. Raises: CommandError."""
        local = self._local()
        for name in (key, ALIAS_PREFIX + key):
            try:
                found = local.keyring.find((await local.describe(name)).kms_key_id)
            except KmsKeyNotFound:
                continue
            versions = [
                {"version": version.version, "created_at": version.created_at.isoformat()} for version in found.versions
            ]
            return await self._shown(local, found) | {"version_count": len(versions), "newest": versions[-1]}
        raise CommandError(f"there is no wrapping key {key[:300]!r}: see `sealgate key list`")

    def _local(self) -> LocalKms:
        if not isinstance(self.kms, LocalKms):
            raise CommandError("the wrapping keys of this KMS are made and listed there")
        return self.kms

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
