import pytest

from storage.catalogue.base import Catalogue
from storage.catalogue.memory import MemoryCatalogue
from tests.suites.catalogue import REALM, FakeClock
from tests.suites.cataloguing.suite import CatalogueSuite
from tests.suites.wraps import WrapsSuite


class TestMemoryCatalogue(CatalogueSuite, WrapsSuite):
    @pytest.fixture
    def catalogue(self, clock: FakeClock) -> Catalogue:
        return MemoryCatalogue(REALM, clock)
