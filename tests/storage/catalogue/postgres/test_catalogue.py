from collections.abc import AsyncIterator

import pytest

from storage.catalogue.address import PostgresAddress
from storage.catalogue.base import Catalogue
from storage.catalogue.postgres import PostgresCatalogue
from tests.suites.catalogue import REALM, FakeClock, Maker
from tests.suites.cataloguing.suite import CatalogueSuite
from tests.suites.wraps import WrapsSuite

CATALOGUE_KEY = bytes(range(32))
ROW_MAC_KEY = bytes(range(32, 64))

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def make() -> Maker:
    return Maker()


@pytest.fixture
async def catalogue(clock: FakeClock, address: PostgresAddress) -> AsyncIterator[PostgresCatalogue]:
    catalogue = await PostgresCatalogue.create(address, REALM, CATALOGUE_KEY, ROW_MAC_KEY, clock)
    yield catalogue
    await catalogue.close()


class TestPostgresCatalogue(CatalogueSuite, WrapsSuite):
    @pytest.fixture
    def catalogue(self, catalogue: PostgresCatalogue) -> Catalogue:
        return catalogue
