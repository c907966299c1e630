"""One stage a test: a gateway in this process, over the memory references."""

from collections.abc import Iterator

import pytest

from tests.gateway.operations.stage import Stage, make_stage


@pytest.fixture
def stage() -> Iterator[Stage]:
    with make_stage() as made:
        yield made
