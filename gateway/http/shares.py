"""How many of the requests that are answered at once one account may have.

A request that dawdles holds its place until its deadline ends it, and that costs a client a kilobyte a second; so that
nobody takes all places, an account has a share of them. Anonymous callers count as one account, and so does a form
until its fields, which say who signed it, have come.
"""

from collections import Counter
from collections.abc import Callable
from typing import Final

from gateway.engine.turns import SERVED
from gateway.s3.errors import SLOW_DOWN, S3Error

NOBODY: Final = ""
"""The account of callers who did not sign."""


class RequestShares:
    """Counts the requests of each account. Belongs to one loop."""

    def __init__(self, most: int, refused: Callable[[], object]) -> None:
        """No account has more than `most`; `refused` is told of each that was one too many."""
        assert most > 0
        self._most = most
        self._refused = refused
        self._held: Counter[str] = Counter()

    def take(self, account: str) -> None:
        """Count one request more. Raises: S3Error SlowDown where the account has all that it may."""
        if self._held[account] >= self._most:
            self._refused()
            raise S3Error(SLOW_DOWN, headers={"Retry-After": "1"})
        self._held[account] += 1

    def give_back(self, account: str) -> None:
        """Count one less."""
        self._held[account] -= 1
        assert self._held[account] >= 0
        if not self._held[account]:
            del self._held[account]


class Place:
    """What one exchange takes of them: one, of whoever it is known to be of."""

    def __init__(self, shares: RequestShares) -> None:
        self._shares = shares
        self._account: str | None = None

    def take(self, account: str) -> None:
        """Count for this account, and for no other any more. Raises: S3Error SlowDown."""
        self.end()
        self._shares.take(account)
        self._account = account
        SERVED.set(account)

    def end(self) -> None:
        """Count for nobody."""
        if self._account is not None:
            self._shares.give_back(self._account)
            self._account = None
            SERVED.set(NOBODY)
