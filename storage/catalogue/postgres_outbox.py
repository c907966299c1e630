"""How far the outbox can be read: up to the last number below which no line can come any more.

Numbers are drawn before their lines are committed, so a line may become visible after one with a greater number, and a
reader that had gone past it would never see it. Every transaction has its id before it draws a number. So once a number
was seen as the last drawn, and then an id was drawn, the lines up to that number are all there as soon as no
transaction with a smaller id runs. Source: PostgreSQL 15 "Transaction ID and Snapshot Information Functions".
"""

import asyncio
from typing import Any

from psycopg import AsyncConnection

_LOOKS = 10
"""How often it is looked whether the transactions before have ended, before an earlier number is given."""
_PAUSE_S = 0.005


class Frontier:
    """The last number up to which the outbox is whole; only ever rises."""

    def __init__(self) -> None:
        self._whole = 0
        self._looking = asyncio.Lock()
        self._mark: tuple[int, int] | None = None
        """A number that was the last drawn, and an id greater than those of all who had drawn one by then."""

    async def advance(self, connection: AsyncConnection[Any]) -> int:
        """Look how far the outbox is whole by now; the connection is in no transaction."""
        async with self._looking:
            return await self._advance(connection)

    async def _advance(self, connection: AsyncConnection[Any]) -> int:
        for look in range(_LOOKS):
            if self._mark is None:
                last = await _number(connection, "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM changes")
                if last <= self._whole:
                    break
                # A statement of its own, for it must be drawn after the number was read.
                self._mark = last, await _number(connection, "SELECT pg_current_xact_id()::text::bigint")
            last, limit = self._mark
            if await _number(connection, "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint") >= limit:
                self._whole = max(self._whole, last)
                self._mark = None
                break
            if look < _LOOKS - 1:
                await asyncio.sleep(_PAUSE_S)
        return self._whole


async def _number(connection: AsyncConnection[Any], statement: str) -> int:
    row = await (await connection.execute(statement)).fetchone()
    assert row is not None, "each of these gives a row"
    return int(row[0])
