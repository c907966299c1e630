"""Accounts and access keys: what the command line and the control socket do with them.

A secret access key leaves here exactly once, in the answer to the command that made it; the catalogue holds it sealed.
"""

import re
import secrets
import string
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gateway.cli.control import Answer
from gateway.cli.exits import CommandError, Exit
from keys.realm import RealmKeys
from storage.catalogue.base import Catalogue
from storage.catalogue.conflicts import AccountExists, NoSuchAccessKey, NoSuchAccount
from storage.catalogue.records import ID_SIZE, AccessKey, Account

ACCESS_KEY_ID_SIZE: Final = 20
"""Characters, as AWS has them; clients check the length."""
SECRET_SIZE: Final = 40
"""Characters of a secret access key: 238 random bits. Letters and digits alone, which no shell or URL changes."""

_ID_ALPHABET: Final = string.ascii_uppercase + "234567"
_SECRET_ALPHABET: Final = string.ascii_letters + string.digits
_ID_PREFIX: Final = "SGAK"
_ACCOUNT_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Directory:
    """Commands over the accounts of one realm."""

    catalogue: Catalogue
    realm_keys: RealmKeys
    now: Callable[[], datetime]

    async def create_account(self, name: str) -> Answer:
        """Add an account without access keys. Raises: CommandError."""
        account = self._new_account(name)
        try:
            await self.catalogue.create_account(account)
        except AccountExists:
            raise CommandError(f"the account {name} exists: choose another name") from None
        return _of_account(account)

    async def create_first_account(self, name: str) -> Answer:
        """Add an account together with its first access key, in one transaction. Raises: CommandError."""
        account = self._new_account(name)
        access_key, secret = self._new_access_key(account)
        try:
            await self.catalogue.create_account(account, access_key)
        except AccountExists:
            raise CommandError(f"the account {name} exists: choose another name") from None
        return _of_access_key(access_key, name) | {"secret_access_key": secret}

    async def list_accounts(self) -> Answer:
        """Every account, by name."""
        return {"accounts": [_of_account(account) for account in await self.catalogue.list_accounts()]}

    async def create_access_key(self, account: str) -> Answer:
        """Add an access key; the answer alone holds its secret. Raises: CommandError."""
        owner = await self._account(account)
        access_key, secret = self._new_access_key(owner)
        await self.catalogue.create_access_key(access_key)
        return _of_access_key(access_key, owner.name) | {"secret_access_key": secret}

    async def list_access_keys(self, account: str | None = None) -> Answer:
        """Access keys of one account, or of all of them. Raises: CommandError."""
        owners = await self.catalogue.list_accounts() if account is None else (await self._account(account),)
        return {
            "access_keys": [
                _of_access_key(access_key, owner.name)
                for owner in owners
                for access_key in await self.catalogue.list_access_keys(owner.account_id)
            ]
        }

    async def enable_access_key(self, access_key_id: str) -> Answer:
        """Let an access key sign again. Raises: CommandError."""
        return await self._set_enabled(access_key_id, enabled=True)

    async def disable_access_key(self, access_key_id: str) -> Answer:
        """Refuse an access key from the next request on. Raises: CommandError."""
        return await self._set_enabled(access_key_id, enabled=False)

    async def delete_access_key(self, access_key_id: str) -> Answer:
        """Forget an access key. Raises: CommandError."""
        try:
            await self.catalogue.delete_access_key(access_key_id)
        except NoSuchAccessKey:
            raise _no_access_key(access_key_id) from None
        return {"access_key_id": access_key_id, "deleted": True}

    async def _set_enabled(self, access_key_id: str, *, enabled: bool) -> Answer:
        try:
            await self.catalogue.set_access_key_enabled(access_key_id, enabled)
        except NoSuchAccessKey:
            raise _no_access_key(access_key_id) from None
        return {"access_key_id": access_key_id, "enabled": enabled}

    async def _account(self, name: str) -> Account:
        try:
            return await self.catalogue.get_account_by_name(name)
        except NoSuchAccount:
            raise CommandError(
                f"there is no account {name[:64]!r}: see `sealgate account list`, or create it"
            ) from None

    def _new_account(self, name: str) -> Account:
        if not _ACCOUNT_NAME.fullmatch(name):
            raise CommandError(
                "an account name has 1 to 64 small letters, digits, dots, hyphens and underscores,"
                " and starts with a letter or digit",
                Exit.USAGE,
            )
        return Account(secrets.token_bytes(ID_SIZE), name, self.now())

    def _new_access_key(self, account: Account) -> tuple[AccessKey, str]:
        access_key_id = _ID_PREFIX + _random(_ID_ALPHABET, ACCESS_KEY_ID_SIZE - len(_ID_PREFIX))
        secret = _random(_SECRET_ALPHABET, SECRET_SIZE)
        sealed = self.realm_keys.seal_credential(secret, access_key_id)
        return AccessKey(access_key_id, account.account_id, sealed, self.now()), secret


def _random(alphabet: str, size: int) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(size))


def _no_access_key(access_key_id: str) -> CommandError:
    return CommandError(f"there is no access key {access_key_id[:128]!r}: see `sealgate access-key list`")


def _of_account(account: Account) -> Answer:
    return {"name": account.name, "account_id": account.canonical_id, "created_at": account.created_at.isoformat()}


def _of_access_key(access_key: AccessKey, account_name: str) -> Answer:
    return {
        "access_key_id": access_key.access_key_id,
        "account": account_name,
        "enabled": access_key.enabled,
        "created_at": access_key.created_at.isoformat(),
    }
