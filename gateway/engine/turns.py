"""What there is only so much of, shared out among accounts: who asks for more than is free waits, then is refused.

One account holds no more than its share, so that whoever holds on to all of his holds up nobody else. Anonymous callers
count as one account.
"""

import asyncio
from collections import Counter, deque
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from gateway.s3.errors import SLOW_DOWN, S3Error

OURSELVES: Final = "\0"
"""Whom jobs serve. No account has that name, and no caller comes under it: a crowd of strangers holds up no job."""
SERVED: Final[ContextVar[str]] = ContextVar("served", default=OURSELVES)
"""The account whose request is answered; nobody's for anonymous callers, and before it is known who asks."""


@dataclass(eq=False, slots=True)
class _Turn:
    wanted: int
    served: "asyncio.Future[None]"


class Turns:
    """Gives out `total` among accounts in turns, in the order of asking within each. Belongs to one loop."""

    def __init__(
        self, total: int, wait_s: float, *, account_percent: int = 100, refusal: str = SLOW_DOWN.message
    ) -> None:
        """Nobody waits longer than `wait_s`, and no account holds more than `account_percent` of it all.

        `refusal` is what those are told whose turn did not come.
        """
        assert total > 0
        self._total = total
        self.share = max(1, total * account_percent // 100)
        """The most that one account may hold."""
        self._refusal = refusal
        self._wait_s = wait_s
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, deque[_Turn]] = {}
        """By account, in the order of their next turns."""
        self.free = total

    async def take(self, account: str, amount: int) -> int:
        """Take that much for an account, or all it may have; return how much, which is to be given back.

        Raises: S3Error SlowDown where others, or the account itself, held on to them for too long.
        """
        turn = _Turn(min(amount, self.share), asyncio.get_running_loop().create_future())
        self._waiting.setdefault(account, deque()).append(turn)
        self._serve()
        if turn.served.done():
            return turn.wanted
        try:
            async with asyncio.timeout(self._wait_s):
                await turn.served
        except TimeoutError:
            self._leave(account, turn)
            raise S3Error(SLOW_DOWN, self._refusal, headers={"Retry-After": "1"}) from None
        except BaseException:  # cancelled: what it waits for, or was given meanwhile, is others'
            self._leave(account, turn)
            raise
        return turn.wanted

    def give_back(self, account: str, amount: int) -> None:
        """Return what was taken."""
        self.free += amount
        self._held[account] -= amount
        assert self.free <= self._total
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
        while (account := self._next()) is not None and self._waiting[account][0].wanted <= self.free:
            turns = self._waiting.pop(account)
            turn = turns.popleft()
            if turns:
                self._waiting[account] = turns  # behind all others
            self.free -= turn.wanted
            self._held[account] += turn.wanted
            turn.served.set_result(None)

    def _next(self) -> str | None:
        for account, turns in self._waiting.items():
            if self._held[account] + turns[0].wanted <= self.share:
                return account
        return None
