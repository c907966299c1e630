"""What all bodies on their way may hold in memory: who asks for more than is free waits a little, then is refused.

A client that stalls in the middle of a large body makes the gateway hold what is under way of it; measured: 1.7 MiB for
a read, 2.4 MiB for a write. Bodies up to 64 KiB count for nothing: `max_requests` bounds them. One account holds no
more than its share, so that whoever stalls all of its transfers holds up nobody else. Anonymous callers count as one.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.s3.errors import SLOW_DOWN, S3Error

REQUEST_BYTES: Final = 2560 * 1024
"""The most that a request body holds at any time, however long it is."""
ANSWER_BYTES: Final = 2048 * 1024
"""The same for the body of an answer."""
UNCOUNTED_BYTES: Final = 64 * 1024
_LOOK_S: Final = 0.05
"""How often a client is looked at that has not yet read all of its answer."""


@dataclass(eq=False, slots=True)
class _Turn:
    wanted: int
    served: "asyncio.Future[None]"


class BodyMemory:
    """Shares out `total_bytes` among accounts in turns, in the order of asking within each. Belongs to one loop."""

    def __init__(self, total_bytes: int, wait_s: float, *, account_percent: int = 100) -> None:
        """Nobody waits longer than `wait_s`, and no account holds more than `account_percent` of it all."""
        assert total_bytes > 0
        self._total_bytes = total_bytes
        self._share_bytes = total_bytes * account_percent // 100
        self._wait_s = wait_s
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, deque[_Turn]] = {}
        """By account, in the order of their next turns."""
        self.free_bytes = total_bytes

    async def take(self, account: str, byte_count: int) -> int:
        """Take that many bytes for an account, or all it may have; return how many, which are to be given back.

        Raises: S3Error SlowDown where others, or the account itself, held on to them for too long.
        """
        turn = _Turn(min(byte_count, self._share_bytes), asyncio.get_running_loop().create_future())
        self._waiting.setdefault(account, deque()).append(turn)
        self._serve()
        if turn.served.done():
            return turn.wanted
        try:
            async with asyncio.timeout(self._wait_s):
                await turn.served
        except TimeoutError:
            self._leave(account, turn)
            raise S3Error(SLOW_DOWN, headers={"Retry-After": "1"}) from None
        except BaseException:
            self._leave(account, turn)
            raise
        return turn.wanted

    def give_back(self, account: str, byte_count: int) -> None:
        """Return what was taken."""
        self.free_bytes += byte_count
        self._held[account] -= byte_count
        assert self.free_bytes <= self._total_bytes
        assert self._held[account] >= 0
        if not self._held[account]:
            del self._held[account]
        self._serve()

    def _leave(self, account: str, turn: _Turn) -> None:
        if turn.served.done() and not turn.served.cancelled():
            self.give_back(account, turn.wanted)
            return
        self._waiting[account].remove(turn)
        if not self._waiting[account]:
            del self._waiting[account]
        self._serve()

    def _serve(self) -> None:
        """Give to whoever's turn it is. Who wants more than is free is waited for, but not who has all of his share."""
        while (account := self._next()) is not None and self._waiting[account][0].wanted <= self.free_bytes:
            turns = self._waiting.pop(account)
            turn = turns.popleft()
            if turns:
                self._waiting[account] = turns  # behind all others
            self.free_bytes -= turn.wanted
            self._held[account] += turn.wanted
            turn.served.set_result(None)

    def _next(self) -> str | None:
        for account, turns in self._waiting.items():
            if self._held[account] + turns[0].wanted <= self._share_bytes:
                return account
        return None


class Lease:
    """What one exchange holds of it."""

    def __init__(self, memory: BodyMemory) -> None:
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
