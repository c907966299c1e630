"""From an access key id to who that is and the secret that verifies their signatures."""

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from storage.catalogue.base import Catalogue
from storage.catalogue.conflicts import NoSuchAccessKey
from storage.catalogue.records import AccessKey, Account

_REMEMBERED = 1024
"""Secret access keys that stay open in memory, beside the key that opens every one of them."""

_ACCESS_KEY_ID: Final = re.compile(r"[\x21-\x7e]{1,128}")
"""AWS: 16 to 128 characters. What is none is not looked for: a database may not even take it, as PostgreSQL a NUL."""


@dataclass(frozen=True, slots=True)
class Identity:
    """An authenticated caller."""

    account: Account
    access_key_id: str


class Identities:
    """Looks callers up in the catalogue, afresh for every request: a key that is disabled or deleted stops at once."""

    def __init__(self, catalogue: Catalogue, open_credential: Callable[[bytes, str], str]) -> None:
        """`open_credential(sealed, access_key_id)` opens a sealed secret access key (`keys.keyring`)."""
        self._catalogue = catalogue
        # Only the opening of one and the same sealed secret is remembered; its row is read and verified every time.
        self._open_credential = lru_cache(maxsize=_REMEMBERED)(open_credential)
        self._decoy: str | None = None

    async def resolve(self, access_key_id: str) -> tuple[Identity, str] | None:
        """The identity and its secret access key, or None for a key that is unknown or disabled.

        An unknown key costs as much time as a known one: the last key that was found is looked up in its place.

        Raises:
            RowDamaged, UnwrapFailed: what is stored of the key does not authenticate.
        """
        try:
            access_key, identity, secret = await self._look_up(access_key_id)
        except NoSuchAccessKey:
            if self._decoy is not None:
                with contextlib.suppress(NoSuchAccessKey):  # it was deleted since: the next one found takes its place
                    await self._look_up(self._decoy)
            return None
        self._decoy = access_key_id
        return (identity, secret) if access_key.enabled else None

    async def _look_up(self, access_key_id: str) -> tuple[AccessKey, Identity, str]:
        if not _ACCESS_KEY_ID.fullmatch(access_key_id):
            raise NoSuchAccessKey
        access_key, account = await self._catalogue.get_access_key(access_key_id)
        secret = self._open_credential(access_key.sealed_secret, access_key_id)
        return access_key, Identity(account, access_key_id), secret
