"""What all bodies on their way may hold in memory: who asks for more than is free waits a little, then is refused.

A client that stalls in the middle of a large body makes the gateway hold what is under way of it; measured: 1.7 MiB for
a read, 2.4 MiB for a write. Bodies up to 64 KiB count for nothing: `max_requests` bounds them.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from gateway.s3.errors import SLOW_DOWN, S3Error

REQUEST_BYTES: Final = 2560 * 1024
"""The most that a request body holds at any time, however long it is."""
ANSWER_BYTES: Final = 2048 * 1024
"""The same for the body of an answer."""
UNCOUNTED_BYTES: Final = 64 * 1024
_LOOK_S: Final = 0.05
"""How often a client is looked at that has not yet read all of its answer."""


class BodyMemory:
    """Shares out `total_bytes` in the order of asking. Belongs to one event loop."""

    def __init__(self, total_bytes: int, wait_s: float) -> None:
        """Nobody waits longer than `wait_s`."""
        assert total_bytes > 0
        self._total_bytes = total_bytes
        self._wait_s = wait_s
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self.free_bytes = total_bytes

    async def take(self, byte_count: int) -> int:
        """Take that many bytes, or all there can be; return how many, which are to be given back.

        Raises: S3Error SlowDown where others held on to them for too long.
        """
        wanted = min(byte_count, self._total_bytes)
        if wanted <= self.free_bytes and not self._waiting:
            self.free_bytes -= wanted
            return wanted
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((wanted, turn))
        try:
            async with asyncio.timeout(self._wait_s):
                await turn
        except TimeoutError:
            self._leave(wanted, turn)
            raise S3Error(SLOW_DOWN, headers={"Retry-After": "1"}) from None
        except BaseException:
            self._leave(wanted, turn)
            raise
        return wanted

    def give_back(self, byte_count: int) -> None:
        """Return what was taken."""
        self.free_bytes += byte_count
        assert self.free_bytes <= self._total_bytes
        self._serve()

    def _leave(self, wanted: int, turn: "asyncio.Future[None]") -> None:
        if turn.done() and not turn.cancelled():
            self.give_back(wanted)
            return
        self._waiting.remove((wanted, turn))
        self._serve()

    def _serve(self) -> None:
        while self._waiting and self._waiting[0][0] <= self.free_bytes:
            wanted, turn = self._waiting.popleft()
            self.free_bytes -= wanted
            turn.set_result(None)


class Lease:
    """What one exchange holds of it."""

    def __init__(self, memory: BodyMemory) -> None:
        self._memory = memory
        self.held_bytes = 0

    async def hold(self, body_bytes: int, most_bytes: int) -> None:
        """Hold what a body of that length needs, at most `most_bytes`. Raises: S3Error SlowDown."""
        if body_bytes > UNCOUNTED_BYTES:
            self.held_bytes += await self._memory.take(min(body_bytes, most_bytes))

    async def end(self, is_unread: Callable[[], bool]) -> None:
        """Let go, once the client has what was sent to it: until then it lies in buffers of ours."""
        try:
            while is_unread():  # noqa: ASYNC110 - the kernel tells nobody that a client has read
                await asyncio.sleep(_LOOK_S)
        finally:
            self._memory.give_back(self.held_bytes)
            self.held_bytes = 0
