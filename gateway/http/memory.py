"""What all bodies on their way may hold in memory, in bytes that accounts share.

A client that stalls in the middle of a large body makes the gateway hold what is under way of it; measured: 1.7 MiB for
a read, 2.4 MiB for a write. Bodies up to 64 KiB count for nothing: `max_requests` bounds them.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from gateway.engine.turns import Turns

REQUEST_BYTES: Final = 2560 * 1024
"""The most that a request body holds at any time, however long it is."""
ANSWER_BYTES: Final = 2048 * 1024
"""The same for the body of an answer."""
UNCOUNTED_BYTES: Final = 64 * 1024
_LOOK_S: Final = 0.05
"""How often a client is looked at that has not yet read all of its answer."""


class Lease:
    """What one exchange holds of it."""

    def __init__(self, memory: Turns) -> None:
        self._memory = memory
        self._account = ""
        self.held_bytes = 0

    async def hold(self, account: str, body_bytes: int, most_bytes: int) -> None:
        """Hold what a body of that length needs, at most `most_bytes`; always for one account.

        Raises: S3Error SlowDown.
        """
        if body_bytes > UNCOUNTED_BYTES:
            assert not self.held_bytes or account == self._account
            self._account = account
            self.held_bytes += await self._memory.take(account, min(body_bytes, most_bytes))

    async def end(self, is_unread: Callable[[], bool]) -> None:
        """Let go, once the client has what was sent to it: until then it lies in buffers of ours."""
        try:
            while is_unread():  # noqa: ASYNC110 - the kernel tells nobody that a client has read
                await asyncio.sleep(_LOOK_S)
        finally:
            self._memory.give_back(self._account, self.held_bytes)
            self.held_bytes = 0
