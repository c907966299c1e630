"""A throttle that all transfers of one move share."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Final

_BURST_S: Final = 0.25
"""What may be ahead of the pace."""


class Pace:
    """Lets bytes through at a rate, in the order in which they come; without a rate at once."""

    def __init__(self, bytes_per_s: int | None) -> None:
        self._rate = bytes_per_s
        self._free_at = 0.0

    async def take(self, count: int) -> None:
        """Wait until that many bytes may go on."""
        if self._rate is None:
            return
        now = time.monotonic()
        self._free_at = max(now - _BURST_S, self._free_at) + count / self._rate
        if self._free_at > now:
            await asyncio.sleep(self._free_at - now)

    async def over(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The same chunks, at the pace."""
        async for chunk in chunks:
            await self.take(len(chunk))
            yield chunk
