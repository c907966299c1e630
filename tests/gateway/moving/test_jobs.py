"""How a move waits for what it deals with at once."""

import asyncio

import pytest

from gateway.moving.jobs import _some_end
from storage.errors import StorageUnavailable

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_what_fails_beside_another_failure_is_looked_at_too() -> None:
    """asyncio logs an exception that nobody asked for, in its own words and beside those of the move."""

    async def fail() -> None:
        raise StorageUnavailable("away")

    running = {asyncio.create_task(fail()) for _ in range(2)}
    saving = asyncio.create_task(asyncio.sleep(60))
    with pytest.raises(StorageUnavailable):
        await _some_end(running, saving)
    saving.cancel()
    assert len(running) == 1, "left to who ends the move"
    await asyncio.gather(*running, return_exceptions=True)
