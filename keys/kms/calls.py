"""Blocking clients of KMSs, kept off the event loop: each provider has a few threads of its own, and a bounded queue.

The vendors' clients block; a thread that waits for a KMS which hangs holds up nobody but those who asked the same KMS,
and ends by the client's own timeouts. Source: docs/decisions/0002-wrapping-record.md (deadlines).
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from keys.errors import KmsUnavailable

MAX_WAITING: Final = 1024
"""Calls that may wait for a thread; as many as the gateway answers requests at once by default."""

_T = TypeVar("_T")


class BlockingCalls:
    """Runs calls in `threads` threads, first come, first served. Belongs to one event loop."""

    def __init__(self, name: str, threads: int, max_waiting: int = MAX_WAITING) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"kms-{name}")
        self._max_pending = threads + max_waiting
        self._pending = 0

    async def run(self, call: Callable[[], _T]) -> _T:
        """What the call returns. One that is cancelled before its turn is never made.

        Raises:
            KmsUnavailable: too many wait already.
            whatever the call raises.
        """
        if self._pending >= self._max_pending:
            raise KmsUnavailable("too many calls wait for the KMS")
        self._pending += 1
        future = self._pool.submit(call)
        # Also where the caller has gone: the thread is busy until the call itself ends.
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: loop.is_closed() or loop.call_soon_threadsafe(self._done))
        return await asyncio.wrap_future(future)

    def _done(self) -> None:
        self._pending -= 1

    def close(self) -> None:
        """Let the threads end; what waits is not made any more."""
        self._pool.shutdown(wait=False, cancel_futures=True)
