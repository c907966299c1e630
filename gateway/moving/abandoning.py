"""Giving up an import that reads through: what waits for its bytes goes, the source is forgotten, the bucket is open.

Until that has come to its end its document stands in the bucket's configurations, and nobody registers there. So it may
end at any step and goes on. What clients wrote, and what is sealed here, stays; so does what a lock holds, and
then the source, too. Design: docs/decisions/0019.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Final

from gateway.moving.importing import announcer_of
from gateway.moving.places import PlaceFailed
from gateway.moving.registering import SEALING
from gateway.moving.report import ABANDONING, IMPORT, Outcome, Progress, Result, State
from gateway.moving.through import SOURCE, pending_versions
from gateway.operations.admission import REGISTERING
from gateway.operations.context import Services
from storage.catalogue.base import Catalogue
from storage.catalogue.commands import DeleteVersion, Lease
from storage.catalogue.conflicts import LockRefused, PreconditionRefused
from storage.catalogue.records import Bucket, ObjectVersion
from storage.errors import LeaseLost
from storage.seams import reach

PARALLEL: Final = 16
"""Versions that are deleted at a time."""
FENCE_WAIT_S: Final = 180.0
"""How long another gateway may take to stop the import: it looks every two seconds, and what is dead loses its lease
within a minute."""
_LOOK_EVERY_S: Final = 0.5

Take = Callable[[], Awaitable[Lease]]


async def check_kept(catalogue: Catalogue, bucket: Bucket) -> None:
    """See that the import of a bucket is not being given up. Raises: PlaceFailed, StorageError."""
    document = await catalogue.get_configuration(bucket.bucket_id, ABANDONING)
    if document is not None and Progress.decode(document).state is not State.DONE:
        raise PlaceFailed("the import of this bucket is being given up: see --status, or give --abandon again")


class Abandoning:
    """Deletes one version after another that waits for its bytes, and opens the bucket in the end."""

    def __init__(self, services: Services, bucket: Bucket, take: Take, fenced: Sequence[Take]) -> None:
        """`take` takes or renews the lease of this, `fenced` those of the jobs that are to end."""
        self._services = services
        self._catalogue = services.catalogue
        self._bucket = bucket
        self._take = take
        self._fenced = fenced
        self._lease: Lease | None = None
        """As it was before anything went: under a later one another import may have begun."""

    async def walk(self, after: bytes) -> AsyncGenerator[ObjectVersion]:
        """Every pending version behind a key, once no job of the import can add one. Raises: PlaceFailed, LeaseLost."""
        self._lease = await self._take()
        for take in self._fenced:
            await self._fence(take)
        reach("abandon.fenced")
        async with aclosing(pending_versions(self._catalogue, self._bucket, after)) as versions:
            async for version in versions:
                yield version

    async def _fence(self, take: Take) -> None:
        """Have a lease once: whoever stood still with it can do nothing more, and whoever takes it next looks first."""
        until = time.monotonic() + FENCE_WAIT_S
        while True:
            try:
                await self._catalogue.release_lease(await take())
            except LeaseLost:
                if time.monotonic() > until:
                    raise PlaceFailed("another gateway runs the import and does not stop: give --stop there") from None
                await asyncio.sleep(_LOOK_EVERY_S)
            else:
                return

    async def move(self, history: Sequence[ObjectVersion], index: int) -> Result:
        """Delete one version for good, if it still waits for its bytes. Raises: StorageError."""
        version = history[index]
        command = DeleteVersion(version.object_key, version.version_id, pending=version.attributes["pending"])
        told = await announcer_of(self._services, self._bucket)
        (deleted,) = await self._services.objects.delete(self._bucket, [told.removing(command)])
        if isinstance(deleted, LockRefused):
            return Result(Outcome.KEPT, why=f"{deleted}: it stays, and its bytes are still those of the source")
        if isinstance(deleted, PreconditionRefused):
            return Result(Outcome.THERE)  # sealed, or gone, by now
        if isinstance(deleted, Exception):
            raise deleted
        reach("abandon.removed")
        return Result(Outcome.MOVED)

    async def finish(self) -> None:
        """Forget the source, unless a lock holds what reads it, and let everybody in. Raises: LeaseLost."""
        await self._take()
        async with aclosing(pending_versions(self._catalogue, self._bucket, b"")) as versions:
            is_over = await anext(versions, None) is None
        if is_over:
            await self._drop(SOURCE)
            reach("abandon.forgotten")
        await self._drop(REGISTERING)
        reach("abandon.opened")
        if is_over:
            await self._drop(IMPORT)
            await self._drop(SEALING)

    async def _drop(self, kind: str) -> None:
        await self._catalogue.put_configuration(self._bucket.bucket_id, kind, None, self._lease)
