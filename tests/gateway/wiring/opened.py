"""A gateway that is open while a test looks at it."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from gateway.wiring.folders import Folders
from gateway.wiring.gateway import Gateway, open_gateway
from tests.gateway.cli.helpers import settings_in


def with_gateway(place: Path, look: Callable[[Gateway], Awaitable[None]], **changes: object) -> None:
    async def run() -> None:
        settings = settings_in(place, **changes)
        async with open_gateway(settings, Folders.of(settings)) as gateway:
            await look(gateway)

    asyncio.run(run())
