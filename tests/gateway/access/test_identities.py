"""From an access key id to a caller and the secret that verifies him."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.access.identities import Identities, Identity
from keys.errors import UnwrapFailed
from keys.kms.memory import MemoryKms
from keys.realm import RealmKeys
from storage.catalogue.memory import MemoryCatalogue
from storage.catalogue.records import AccessKey, Account

NOW = datetime(2026, 1, 1, tzinfo=UTC)
REALM = b"r" * 16
ACCOUNT = Account(b"a" * 16, "alice", NOW)


def with_callers(test: Callable[[Identities, MemoryCatalogue, RealmKeys], Coroutine[Any, Any, None]]) -> None:
    async def body() -> None:
        realm_keys, _ = await RealmKeys.create(MemoryKms(), REALM)
        catalogue = MemoryCatalogue(REALM, lambda: NOW)
        await catalogue.create_account(ACCOUNT)
        for name in ("FIRST", "SECOND"):
            sealed = realm_keys.seal_credential(f"secret of {name}", name)
            await catalogue.create_access_key(AccessKey(name, ACCOUNT.account_id, sealed, NOW))
        await test(Identities(catalogue, realm_keys.open_credential), catalogue, realm_keys)

    asyncio.run(body())


def test_each_key_of_an_account_has_its_own_secret() -> None:
    async def body(identities: Identities, _catalogue: MemoryCatalogue, _keys: RealmKeys) -> None:
        assert await identities.resolve("FIRST") == (Identity(ACCOUNT, "FIRST"), "secret of FIRST")
        assert await identities.resolve("SECOND") == (Identity(ACCOUNT, "SECOND"), "secret of SECOND")

    with_callers(body)


def test_unknown_disabled_and_deleted_keys_are_nobody() -> None:
    async def body(identities: Identities, catalogue: MemoryCatalogue, _keys: RealmKeys) -> None:
        assert await identities.resolve("THIRD") is None
        assert await identities.resolve("first") is None
        await catalogue.set_access_key_enabled("FIRST", False)
        assert await identities.resolve("FIRST") is None
        await catalogue.set_access_key_enabled("FIRST", True)
        assert await identities.resolve("FIRST") is not None
        await catalogue.delete_access_key("FIRST")
        assert await identities.resolve("FIRST") is None

    with_callers(body)


def test_a_secret_of_another_key_or_an_altered_one_lets_nobody_in() -> None:
    async def body(identities: Identities, catalogue: MemoryCatalogue, realm_keys: RealmKeys) -> None:
        moved = realm_keys.seal_credential("secret of FIRST", "FIRST")
        altered = moved[:-1] + bytes([moved[-1] ^ 1])
        for name, sealed in (("MOVED", moved), ("ALTERED", altered), ("EMPTY", b"")):
            await catalogue.create_access_key(AccessKey(name, ACCOUNT.account_id, sealed, NOW))
            with pytest.raises(UnwrapFailed):
                await identities.resolve(name)

    with_callers(body)


@pytest.mark.parametrize("access_key_id", ["", "A\0", "A B", "A\n", "\xe9", "A" * 129])
def test_what_can_be_no_key_is_not_looked_for(monkeypatch: pytest.MonkeyPatch, access_key_id: str) -> None:
    """PostgreSQL takes no NUL in a text, so that whoever presigned with one got a 503 and left a trace in the log."""

    async def body(identities: Identities, catalogue: MemoryCatalogue, _keys: RealmKeys) -> None:
        asked: list[str] = []
        get_access_key = catalogue.get_access_key

        async def counted(access_key_id: str) -> tuple[AccessKey, Account]:
            asked.append(access_key_id)
            return await get_access_key(access_key_id)

        monkeypatch.setattr(catalogue, "get_access_key", counted)
        await identities.resolve("FIRST")
        assert await identities.resolve(access_key_id) is None
        assert asked == ["FIRST", "FIRST"], "the one that is known stands in for it"

    with_callers(body)


def test_an_unknown_key_costs_the_work_of_a_known_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(identities: Identities, catalogue: MemoryCatalogue, _keys: RealmKeys) -> None:
        found: list[str] = []
        get_access_key = catalogue.get_access_key

        async def counted(access_key_id: str) -> tuple[AccessKey, Account]:
            row = await get_access_key(access_key_id)
            found.append(access_key_id)
            return row

        monkeypatch.setattr(catalogue, "get_access_key", counted)
        assert await identities.resolve("NOBODY") is None
        assert found == [], "nobody was ever found, so there is nothing to tell apart"
        await identities.resolve("FIRST")
        assert await identities.resolve("NOBODY") is None
        assert found == ["FIRST", "FIRST"]
        await catalogue.delete_access_key("FIRST")
        assert await identities.resolve("NOBODY") is None

    with_callers(body)
