"""From the outbox to the webhooks: each target is told in the order of the changes, at least once.

A cursor in the catalogue says how far a target has come. What it does not take is tried again, ever less often; what it
has not taken for `patience` is given up, counted and logged. Source: AWS "Event ordering and duplicate events".
"""

import contextlib
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, Protocol

from gateway.engine.webhooks import DeliveryFailed, Webhook
from gateway.s3.notifications import sequenced
from storage.catalogue.base import Catalogue
from storage.catalogue.commands import Change, Lease
from storage.errors import LeaseLost

_LOG = logging.getLogger(__name__)

BATCH_SIZE: Final = 256
"""Changes that are read at once."""
SAVE_EVERY: Final = 10_000
"""Changes that concern nobody after which the place is noted all the same."""
FIRST_REST: Final = timedelta(seconds=1)
LEASE_DURATION: Final = timedelta(seconds=60)
"""After a gateway that stopped without a word, another goes on with its deliveries so much later."""
LONGEST_REST: Final = timedelta(minutes=5)
"""Between two tries: it doubles from the first to the longest."""


def cursor_name(webhook: str) -> str:
    """The cursor of a webhook of that name."""
    return f"notifications:{webhook}"


class Counts(Protocol):
    """Who counts what became of messages."""

    def __call__(self, target: str, outcome: str, /) -> None:
        """`outcome` is `delivered`, `failed`, `rejected` or `dropped`."""


class Delivery:
    """Delivers to one target. Run it again and again; each run goes on until nothing is left, or a try fails."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        webhook: Webhook,
        holder: str,
        clock: Callable[[], datetime],
        patience: timedelta,
        count: Counts,
    ) -> None:
        self._catalogue = catalogue
        self._webhook = webhook
        self._holder = holder
        self._lease: Lease | None = None
        self._clock = clock
        self._patience = patience
        self._count = count
        self._position: int | None = None
        self._saved = 0
        self._rest = FIRST_REST
        self._not_before: datetime | None = None

    async def run(self) -> None:
        """Deliver what waits, unless another gateway does. Raises: StorageError."""
        if self._not_before is not None and self._clock() < self._not_before:
            return
        with contextlib.suppress(LeaseLost):
            await self._deliver()

    async def _take_lease(self) -> None:
        """Take or keep the right to deliver; who gets it anew looks how far another one came. Raises: LeaseLost."""
        now = self._clock()
        if self._lease is not None and self._lease.expires_at - now > LEASE_DURATION / 2:
            return
        lease = await self._catalogue.acquire_lease(self._name, self._holder, LEASE_DURATION)
        if self._lease is None or self._lease.epoch != lease.epoch:
            self._position = None
        self._lease = lease

    async def _deliver(self) -> None:
        await self._take_lease()
        if self._position is None:
            self._position = self._saved = await self._catalogue.get_cursor(self._name)
        while changes := await self._catalogue.read_changes(self._position, BATCH_SIZE):
            for change in changes:
                await self._take_lease()
                if not await self._tell(change):
                    await self._save()
                    return
                self._position = change.sequence
            if self._position - self._saved >= SAVE_EVERY or any(self._concern(change) for change in changes):
                await self._save()

    @property
    def _name(self) -> str:
        return cursor_name(self._webhook.name)

    def _concern(self, change: Change) -> bool:
        return any(notice.target == self._webhook.name for notice in change.notices)

    async def _save(self) -> None:
        if self._position is not None and self._position > self._saved:
            await self._catalogue.set_cursor(self._name, self._position)
            self._saved = self._position

    async def _tell(self, change: Change) -> bool:
        """Tell of one change; say whether it is done with."""
        for notice in change.notices:
            if notice.target != self._webhook.name:
                continue
            if self._clock() - change.at > self._patience:
                self._give_up("dropped", "it waited too long")
                continue
            try:
                await self._webhook.send(sequenced(notice.event, change.sequence))
            except DeliveryFailed as failure:
                if failure.is_final:
                    self._give_up("rejected", str(failure))
                    continue
                self._put_off(failure)
                return False
            self._count(self._webhook.name, "delivered")
            self._rest, self._not_before = FIRST_REST, None
        return True

    def _give_up(self, outcome: str, why: str) -> None:
        self._count(self._webhook.name, outcome)
        _LOG.error("a notification for webhook %s is given up: %s", self._webhook.name, why)

    def _put_off(self, failure: DeliveryFailed) -> None:
        self._count(self._webhook.name, "failed")
        _LOG.warning("webhook %s did not take a notification: %s", self._webhook.name, failure)
        self._not_before = self._clock() + self._rest
        self._rest = min(2 * self._rest, LONGEST_REST)
