"""What every catalogue does: accounts and access keys."""

from dataclasses import replace

import pytest

from storage.catalogue.base import Catalogue
from storage.catalogue.conflicts import AccountExists, NoSuchAccessKey, NoSuchAccount
from storage.catalogue.records import AccessKey
from storage.errors import CatalogueConflict
from tests.suites.catalogue import ALICE, BOB, MINUTE, REALM, START


class IdentitiesSuite:
    async def test_realm(self, catalogue: Catalogue) -> None:
        assert await catalogue.realm_id() == REALM
        await catalogue.verify()

    async def test_accounts(self, catalogue: Catalogue) -> None:
        for absent in (catalogue.get_account(ALICE.account_id), catalogue.get_account_by_name("alice")):
            with pytest.raises(NoSuchAccount):
                await absent
        await catalogue.create_account(BOB)
        await catalogue.create_account(ALICE)
        assert await catalogue.get_account(ALICE.account_id) == ALICE
        assert await catalogue.get_account_by_name("bob") == BOB
        assert await catalogue.list_accounts() == (ALICE, BOB)
        with pytest.raises(AccountExists):
            await catalogue.create_account(replace(ALICE, account_id=b"x" * 16))
        assert await catalogue.list_accounts() == (ALICE, BOB)

    async def test_access_keys(self, catalogue: Catalogue) -> None:
        access_key = AccessKey("AKIA1", ALICE.account_id, b"sealed", START)
        younger = AccessKey("AKIA0", ALICE.account_id, b"sealed too", START + MINUTE)
        with pytest.raises(NoSuchAccount):
            await catalogue.create_access_key(access_key)
        with pytest.raises(NoSuchAccount):
            await catalogue.list_access_keys(ALICE.account_id)
        await catalogue.create_account(ALICE, access_key)
        await catalogue.create_access_key(younger)
        with pytest.raises(CatalogueConflict):
            await catalogue.create_access_key(access_key)
        assert await catalogue.get_access_key("AKIA1") == (access_key, ALICE)
        assert await catalogue.list_access_keys(ALICE.account_id) == (access_key, younger)
        await catalogue.set_access_key_enabled("AKIA1", enabled=False)
        assert (await catalogue.get_access_key("AKIA1"))[0].enabled is False
        await catalogue.delete_access_key("AKIA1")
        assert await catalogue.list_access_keys(ALICE.account_id) == (younger,)
        for absent in (
            catalogue.get_access_key("AKIA1"),
            catalogue.delete_access_key("AKIA1"),
            catalogue.set_access_key_enabled("AKIA1", enabled=True),
        ):
            with pytest.raises(NoSuchAccessKey):
                await absent

    async def test_account_and_its_first_key_come_together_or_not_at_all(self, catalogue: Catalogue) -> None:
        await catalogue.create_account(ALICE, AccessKey("AKIA", ALICE.account_id, b"s", START))
        with pytest.raises(CatalogueConflict):
            await catalogue.create_account(BOB, AccessKey("AKIA", BOB.account_id, b"s", START))
        assert await catalogue.list_accounts() == (ALICE,)
        assert [change.kind for change in await catalogue.read_changes(0, 10)] == [
            "create_account",
            "create_access_key",
        ]
