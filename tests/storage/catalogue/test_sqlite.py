from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage.catalogue.base import Catalogue
from storage.catalogue.sqlite import SqliteCatalogue
from tests.suites.catalogue import REALM, CatalogueSuite, FakeClock

DATABASE_KEY = bytes(range(32))
ROW_MAC_KEY = bytes(range(32, 64))


class TestSqliteCatalogue(CatalogueSuite):
    @pytest.fixture
    async def catalogue(self, clock: FakeClock, tmp_path: Path) -> AsyncIterator[Catalogue]:
        path = tmp_path / "catalogue.db"
        catalogue = SqliteCatalogue.create(path, REALM, DATABASE_KEY, ROW_MAC_KEY, clock, reserve_bytes=4096)
        yield catalogue
        await catalogue.close()
