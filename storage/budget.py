"""Memory that many streams share: the more of them are open, the smaller the pieces that each one works in."""

from collections.abc import Iterator
from contextlib import contextmanager


class StreamBudget:
    """Sizes pieces so that all open streams together hold about `total_bytes`. Belongs to one event loop.

    One stream gets at most `most_bytes`, since larger pieces gain nothing; none gets less than `least_bytes`, since
    smaller ones cost more in hops between threads than in work.
    """

    def __init__(self, total_bytes: int, *, least_bytes: int, most_bytes: int) -> None:
        assert 0 < least_bytes <= most_bytes
        self._total_bytes = total_bytes
        self._least_bytes = least_bytes
        self._most_bytes = most_bytes
        self._open_count = 0

    @contextmanager
    def stream(self) -> Iterator[None]:
        """Count one more stream while the block runs."""
        self._open_count += 1
        try:
            yield
        finally:
            self._open_count -= 1

    @property
    def piece_bytes(self) -> int:
        """Bytes of the next piece of any stream."""
        share = self._total_bytes // max(self._open_count, 1)
        return min(self._most_bytes, max(share, self._least_bytes))
