"""Accounts and access keys over the reference catalogue: who may sign, and that secrets are shown once."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.cli.directory import ACCESS_KEY_ID_SIZE, SECRET_SIZE, Directory
from gateway.cli.exits import CommandError, Exit
from gateway.wiring.folders import Folders
from gateway.wiring.gateway import open_gateway
from tests.gateway.cli.helpers import settings_in, start

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("directory")
    start(settings_in(made))
    return made


def test_an_access_key_lives_from_create_to_delete(place: Path) -> None:
    async def live() -> None:
        settings = settings_in(place)
        async with open_gateway(settings, Folders.of(settings)) as gateway:
            directory = Directory(gateway.stores.catalogue, gateway.opened.realm_keys, lambda: NOW)
            account = await directory.create_account("team-a")
            assert account["created_at"] == NOW.isoformat()
            made = await directory.create_access_key("team-a")
            access_key_id, secret = made["access_key_id"], made["secret_access_key"]
            assert len(access_key_id) == ACCESS_KEY_ID_SIZE
            assert len(secret) == SECRET_SIZE
            assert (access_key_id + secret).isalnum()

            resolved = await gateway.identities.resolve(access_key_id)
            assert resolved is not None
            assert (resolved[0].account.name, resolved[1]) == ("team-a", secret)

            listed = await directory.list_access_keys("team-a")
            assert [key["access_key_id"] for key in listed["access_keys"]] == [access_key_id]
            assert secret not in str(listed)
            assert secret not in str(await directory.list_access_keys())

            assert (await directory.disable_access_key(access_key_id))["enabled"] is False
            assert await gateway.identities.resolve(access_key_id) is None
            assert (await directory.enable_access_key(access_key_id))["enabled"] is True
            assert await gateway.identities.resolve(access_key_id) is not None
            await directory.delete_access_key(access_key_id)
            assert await gateway.identities.resolve(access_key_id) is None

    asyncio.run(live())


def test_what_cannot_be_is_refused(place: Path) -> None:
    async def try_all() -> None:
        settings = settings_in(place)
        async with open_gateway(settings, Folders.of(settings)) as gateway:
            directory = Directory(gateway.stores.catalogue, gateway.opened.realm_keys, lambda: NOW)
            await directory.create_account("taken")
            for attempt, code in (
                (directory.create_account("taken"), Exit.REFUSED),
                (directory.create_first_account("taken"), Exit.REFUSED),
                (directory.create_access_key("nobody"), Exit.REFUSED),
                (directory.list_access_keys("nobody"), Exit.REFUSED),
                (directory.enable_access_key("SGAKNONE"), Exit.REFUSED),
                (directory.disable_access_key("SGAKNONE"), Exit.REFUSED),
                (directory.delete_access_key("SGAKNONE"), Exit.REFUSED),
                *(
                    (directory.create_account(name), Exit.USAGE)
                    for name in ("", "A", "-a", "a b", "a/b", "x" * 65, "\u00e4", "a\n", "..")
                ),
            ):
                with pytest.raises(CommandError) as caught:
                    await attempt
                assert caught.value.code is code
                assert "\n" not in str(caught.value)

    asyncio.run(try_all())
