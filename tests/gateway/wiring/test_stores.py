"""Stores that are of another realm than the keys, or that gateways cannot share."""

import asyncio
import re
import ssl
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.wiring.folders import Folders
from gateway.wiring.gateway import Gateway
from gateway.wiring.stores import check_shareable, open_stores
from storage.blobs.s3_backend import S3Target
from storage.errors import CatalogueUnsafe, RealmMismatch
from tests.gateway.cli.helpers import settings_in, start
from tests.gateway.wiring.opened import with_gateway
from tests.storage.blobs.s3.support import TRAITS, probed


def test_stores_of_another_realm_are_refused(place: Path, tmp_path: Path) -> None:
    start(settings_in(tmp_path))

    async def look(gateway: Gateway) -> None:
        theirs = Folders.of(settings_in(tmp_path))
        with pytest.raises(RealmMismatch, match="blob store"):
            await open_stores(theirs, gateway.opened.realm_keys)
        ours = gateway.opened.realm.realm_id
        (theirs.blobs / "realm").write_text(ours.hex() + "\n")
        with pytest.raises(Exception, match="catalogue") as caught:
            await open_stores(theirs, gateway.opened.realm_keys)
        assert caught.type.__module__ == "storage.errors"

    with_gateway(place, look)


def test_a_missing_client_is_told_with_how_to_install_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "storage.catalogue.postgres", None)
    folders = Folders.of(
        settings_in(place, catalogue="postgres", postgres_host="localhost", postgres_password_file=place / "none")
    )

    async def look(gateway: Gateway) -> None:
        with pytest.raises(CatalogueUnsafe, match=re.escape("run pip install '.[postgres]' in the folder")):
            await open_stores(folders, gateway.opened.realm_keys)

    with_gateway(place, look)


@pytest.mark.parametrize("lacks", ["conditional_put", "conditional_complete"])
def test_gateways_share_no_backend_that_replaces_blobs(place: Path, lacks: str) -> None:
    """One that stood still would write over a segment of the journal that another has written since."""
    alone = Folders.of(settings_in(place))
    shared = Folders.of(
        settings_in(place, catalogue="postgres", postgres_host="localhost", postgres_password_file=place / "none")
    )

    async def look() -> None:
        target = S3Target("https://localhost", "blobs", "id", "secret", ssl.create_default_context())
        careless = probed(target, replace(TRAITS, **{lacks: False}))
        with pytest.raises(CatalogueUnsafe, match="write over each other's journal"):
            await check_shareable(shared, careless)
        await check_shareable(alone, careless)
        careful = probed(target)
        await check_shareable(shared, careful)
        for store in (careless, careful):
            await store.close()

    asyncio.run(look())
