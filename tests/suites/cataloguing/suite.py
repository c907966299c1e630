"""One suite for every catalogue: each command, each refusal, races, and what listings mean.

An implementation subclasses `CatalogueSuite` and gives a fixture `catalogue` that yields an empty one which tells the
time by the fixture `clock`.
"""

import pytest

from storage.catalogue.base import Catalogue
from tests.suites.catalogue import FakeClock, Maker, populate
from tests.suites.cataloguing.buckets import BucketsSuite
from tests.suites.cataloguing.history import HistorySuite
from tests.suites.cataloguing.identities import IdentitiesSuite
from tests.suites.cataloguing.listing import ListingSuite
from tests.suites.cataloguing.locks import LocksSuite
from tests.suites.cataloguing.races import RacesSuite
from tests.suites.cataloguing.upkeep import UpkeepSuite
from tests.suites.cataloguing.uploads import UploadsSuite
from tests.suites.cataloguing.versions import VersionsSuite


@pytest.mark.anyio
class CatalogueSuite(
    IdentitiesSuite,
    BucketsSuite,
    VersionsSuite,
    HistorySuite,
    LocksSuite,
    ListingSuite,
    UploadsSuite,
    UpkeepSuite,
    RacesSuite,
):
    """What every catalogue does."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def make(self) -> Maker:
        return Maker()

    @pytest.fixture
    async def ready(self, catalogue: Catalogue) -> Catalogue:
        await populate(catalogue)
        return catalogue
