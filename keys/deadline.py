"""The time that a KMS has to answer before a caller is told that it is unavailable.

Source: docs/decisions/0002-wrapping-record.md; 5 seconds, so that a client gets its 503 before it gives up itself.
"""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from keys.errors import KmsUnavailable

KMS_DEADLINE_S = 5.0

_T = TypeVar("_T")


async def within(deadline_s: float, answer: Awaitable[_T]) -> _T:
    """Await a KMS for at most `deadline_s` seconds; the call is cancelled then.

    Raises:
        KmsUnavailable: it did not answer in time, or its own client timed out.
        KeysError: whatever the KMS raised.
    """
    try:
        async with asyncio.timeout(deadline_s):
            return await answer
    except TimeoutError:
        raise KmsUnavailable(f"the KMS did not answer within {deadline_s:g} s") from None
