"""Unwrapped keys for a short while: bounded in number and age, and asked for once however many wait.

Source: docs/decisions/0002-wrapping-record.md (300 seconds bound how long a revoked key still opens anything).
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from keys.datakey import DataKey

MAX_TTL_S = 300.0
MAX_ENTRIES = 10_000


@dataclass(frozen=True, slots=True)
class _Entry:
    data_key: DataKey
    expires_at: float


class KeyCache:
    """Least recently used first out; a key is never served at or after its age limit, and soon dropped.

    Belongs to one event loop. `clock` is monotonic, in seconds. Names are digests that the caller makes over all that
    decides the key. Failures are never kept.

    Raises:
        ValueError: a limit outside (0, 300] seconds or below one entry.
    """

    def __init__(self, clock: Callable[[], float], *, ttl_s: float = MAX_TTL_S, max_entries: int = MAX_ENTRIES) -> None:
        if not 0 < ttl_s <= MAX_TTL_S or max_entries < 1:
            raise ValueError(f"keys are cached for more than 0 and at most {MAX_TTL_S:g} s, one entry or more")
        self._clock = clock
        self._ttl_s = ttl_s
        self._max_entries = max_entries
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._expiries: OrderedDict[bytes, float] = OrderedDict()  # the same names, oldest load first
        self._pending: dict[bytes, asyncio.Task[DataKey]] = {}
        self._generation = 0

    def __len__(self) -> int:
        return len(self._entries)

    async def get(self, name: bytes, load: Callable[[], Awaitable[DataKey]]) -> DataKey:
        """The cached key, or what `load` brings; all who wait for one name share one call of it.

        A waiter that is cancelled leaves the call to the others. Raises what `load` raises, to all who wait.
        """
        self.forget_expired()
        entry = self._entries.get(name)
        if entry is not None and self._clock() < entry.expires_at:
            self._entries.move_to_end(name)
            return entry.data_key
        task = self._pending.get(name)
        if task is None:
            task = asyncio.create_task(self._load(name, load, self._generation))
            self._pending[name] = task
            task.add_done_callback(_retrieve)
        return await asyncio.shield(task)

    def put(self, name: bytes, data_key: DataKey, known_at: float) -> None:
        """Keep a key that is known already, since `known_at` of the clock."""
        expires_at = known_at + self._ttl_s
        self._entries[name] = _Entry(data_key, expires_at)
        self._entries.move_to_end(name)
        self._expiries[name] = expires_at
        self._expiries.move_to_end(name)
        if len(self._entries) > self._max_entries:
            evicted, _ = self._entries.popitem(last=False)
            del self._expiries[evicted]

    def forget_expired(self) -> None:
        """Drop what has reached its age; called with every `get`, and by whoever wants idle memory clean.

        Loads that overtook each other may leave one behind another for as long as a KMS call takes, never served.
        """
        now = self._clock()
        while self._expiries:
            name, expires_at = next(iter(self._expiries.items()))
            if now < expires_at:
                break
            del self._expiries[name], self._entries[name]

    def forget_all(self) -> None:
        """Drop everything at once; calls under way still answer those who wait, and are not kept."""
        self._entries.clear()
        self._expiries.clear()
        self._pending.clear()
        self._generation += 1

    async def _load(self, name: bytes, load: Callable[[], Awaitable[DataKey]], generation: int) -> DataKey:
        # The age counts from the question, not from the answer: a key revoked in between is not kept longer.
        asked_at = self._clock()
        try:
            data_key = await load()
            if generation == self._generation:
                self.put(name, data_key, asked_at)
            return data_key
        finally:
            if generation == self._generation:
                del self._pending[name]


def _retrieve(task: asyncio.Task[DataKey]) -> None:
    """Look at a failure even if every waiter has gone, so that asyncio does not complain of it."""
    if not task.cancelled():
        task.exception()
