"""Stores that are of another realm than the keys."""

from pathlib import Path

import pytest

from gateway.wiring.folders import Folders
from gateway.wiring.gateway import Gateway
from gateway.wiring.stores import open_stores
from storage.errors import RealmMismatch
from tests.gateway.cli.helpers import settings_in, start
from tests.gateway.wiring.opened import with_gateway


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
