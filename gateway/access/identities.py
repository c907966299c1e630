"""From an access key id to who that is and the secret that verifies their signatures."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from storage.catalogue.base import Catalogue, NoSuchAccessKey
from storage.catalogue.records import Account

_REMEMBERED = 1024
"""Secret access keys that stay open in memory, beside the key that opens every one of them."""


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

    async def resolve(self, access_key_id: str) -> tuple[Identity, str] | None:
        """The identity and its secret access key, or None for a key that is unknown or disabled.

        Raises:
            RowDamaged, UnwrapFailed: what is stored of the key does not authenticate.
        """
        try:
            access_key, account = await self._catalogue.get_access_key(access_key_id)
        except NoSuchAccessKey:
            return None
        if not access_key.enabled:
            return None
        return Identity(account, access_key_id), self._open_credential(access_key.sealed_secret, access_key_id)
