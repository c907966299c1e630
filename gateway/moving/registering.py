"""The two halves of an import that reads through: registering what the source lists, and sealing what is registered.

While a bucket is being registered it is closed: nobody can be told that a key is missing which only is not listed yet,
and nobody can delete one that is registered afterwards. Then it opens, and the catalogue alone decides, as for every
bucket: what is written or deleted here takes the place of what was registered. Design: docs/decisions/0019.
"""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from gateway.engine.filling import Filler
from gateway.engine.integrity import EtagMode
from gateway.engine.objects import NewObject
from gateway.engine.protection import Protection
from gateway.moving.importing import Digest, Importer, check_item, check_parts, mark_of
from gateway.moving.jobs import Job
from gateway.moving.pace import Pace
from gateway.moving.places import Interrupted, Item, ItemChanged, ItemFailed, ItemGone, PlaceFailed, Reading
from gateway.moving.report import Outcome, Progress, Result, State
from gateway.moving.through import SOURCE, pending_versions
from gateway.operations import locks
from gateway.operations.admission import REGISTERING
from gateway.operations.context import Services
from gateway.operations.encryption import protection_for
from gateway.s3.errors import S3Error
from gateway.s3.notifications import CREATED_PUT
from gateway.s3.types import Buffer, EncryptionRequest
from storage.catalogue.base import Catalogue
from storage.catalogue.commands import Conditions, Lease
from storage.catalogue.conflicts import NoSuchBucket, NoSuchVersion, PreconditionRefused, WrapsChanged
from storage.catalogue.records import NO_LOCK, Bucket, ObjectVersion
from storage.errors import BlobError, CatalogueConflict, Damaged, LeaseLost, StorageError
from storage.seams import reach

if TYPE_CHECKING:
    from gateway.moving.bucket import BucketSource

SEALING: Final = "sealing"
"""The configuration that keeps how far the sealing is."""
_LEAVE_OUT: Final = "--leave-out-failed opens the bucket without such objects"
_ABANDON: Final = "--abandon gives the import up"
ATTEMPTS: Final = 5
"""How often a version is sealed that clients change meanwhile."""


class Registrar:
    """Makes one listed object after another current in the bucket, without its bytes."""

    def __init__(
        self,
        services: Services,
        importer: Importer,
        source: "BucketSource",
        source_id: str,
        closed: "Closed",
        *,
        leave_out: bool,
    ) -> None:
        """`leave_out`: whether an object that cannot be registered is named and left out, or stops it all."""
        self._services = services
        self._importer = importer
        self._source = source
        self._source_id = source_id
        self._closed = closed
        self._leave_out = leave_out

    async def move(self, history: Sequence[Item], index: int) -> Result:
        """Register one object. What cannot be registered now stops it all: the bucket stays closed until it can.

        What is wrong with the object alone may be left out; never what fails for now, or here.

        Raises: PlaceFailed; ItemFailed for a name that no client can ask for here; what is left out, as it failed.
        """
        item = history[index]
        check_item(item)
        current = await self._importer.current(item.object_key)
        if current is not None:
            is_ours = current.attributes.get("pending") == self._source_id or "origin" in current.attributes
            return Result(Outcome.THERE if is_ours else Outcome.KEPT, why="" if is_ours else "the bucket holds it")
        try:
            return await self._register(item, await self._protection())
        except ItemGone:
            return Result(Outcome.CHANGED, why="the source deleted it since it was listed")
        except LeaseLost:
            raise PlaceFailed("another gateway registers in this bucket by now") from None
        except NoSuchBucket:
            raise
        except (Interrupted, ItemFailed, ItemChanged, S3Error, Damaged, BlobError, CatalogueConflict) as error:
            is_its_own = isinstance(error, ItemFailed | ItemChanged) or (
                isinstance(error, S3Error) and error.row.status < HTTPStatus.INTERNAL_SERVER_ERROR
            )
            if is_its_own and self._leave_out:
                raise
            name = item.object_key.decode("utf-8", "backslashreplace")
            ways_out = f"{_LEAVE_OUT}, {_ABANDON}" if is_its_own else _ABANDON
            raise PlaceFailed(f"{name!r} cannot be registered: {error}; {ways_out}") from error

    async def _register(self, item: Item, protection: Protection) -> Result:
        looked = await self._source.look(item)
        item = looked.item
        # Whoever stood still meanwhile may find the bucket open, and what it would register deleted by a client.
        conditions = Conditions(if_none_match_any=True, lease=self._closed.lease)
        if not (item.size and looked.has_md5):
            # Nothing would bear its bytes out later, or there are none: it is brought at once.
            return await self._importer.bring(item, item.mark(), conditions)
        attributes = self._importer.attributes(
            looked.headers, looked.tags, mark_of(item, looked.tags), protection, self._source_id
        )
        told = await self._importer.announcer()
        new = NewObject(
            item.object_key,
            attributes,
            conditions,
            notices=told.created(CREATED_PUT),
            lock=await locks.with_default(self._importer.place, NO_LOCK),
        )
        try:
            await self._services.objects.register(self._importer.place.bucket, new, item.size, item.etag)
        except PreconditionRefused:
            return Result(Outcome.KEPT, why="the bucket holds it")
        reach("move.registered")
        return Result(Outcome.MOVED, item.size)

    async def _protection(self) -> Protection:
        """What objects come under. Raises: PlaceFailed, since that is no object's fault."""
        try:
            protection = await protection_for(self._importer.place, EncryptionRequest())
        except S3Error as error:
            raise PlaceFailed(f"the bucket's encryption: {error}") from error
        check_etags(protection.etag_mode(self._importer.etag_mode))
        return protection


def check_etags(mode: EtagMode) -> None:
    """See that ETags here may be those of the source. Raises: PlaceFailed."""
    if mode is not EtagMode.MD5:
        raise PlaceFailed(
            "ETags are opaque here (SSE-KMS by default, or etag = opaque), so none of the source can be told:"
            " import without --read-through"
        )


class Sealing:
    """Seals what is registered, one version after another; the versions of one source."""

    def __init__(
        self,
        services: Services,
        bucket: Bucket,
        source: "BucketSource",
        filler: Filler,
        pace: Pace,
        lease: Callable[[], Awaitable[Lease]],
    ) -> None:
        self._catalogue = services.catalogue
        self._bucket = bucket
        self._source = source
        self._filler = filler
        self._pace = pace
        self._lease = lease

    def walk(self, after: bytes) -> AsyncGenerator[ObjectVersion]:
        """Pending versions behind a key, current or not."""
        return pending_versions(self._catalogue, self._bucket, after)

    async def move(self, history: Sequence[ObjectVersion], index: int) -> Result:
        """Bring the bytes of one version. Raises: MoveError, StorageError, KeysError."""
        seen = history[index]
        for _ in range(ATTEMPTS):
            version = await self._pending(seen)
            if version is None:
                return Result(Outcome.THERE)
            item = Item(version.object_key, version.size, version.etag, version.created_at)
            reading = await self._source.open(item)
            try:
                async with aclosing(_pieces(reading, item, self._pace)) as pieces:
                    await self._filler.fill(self._bucket, version, pieces, self._lease)
            except WrapsChanged:
                continue
            finally:
                await reading.close()
            return Result(Outcome.MOVED, item.size, is_proven=reading.md5 is not None or reading.parts_etag is not None)
        raise ItemChanged("clients keep changing it")

    async def _pending(self, seen: ObjectVersion) -> ObjectVersion | None:
        """The version as it is by now, where it still waits for its bytes."""
        try:
            version = (
                await self._catalogue.get_version(seen.bucket_id, seen.object_key, seen.version_id, with_content=False)
            ).version
        except NoSuchVersion:
            return None
        return version if version.sequence == seen.sequence and "pending" in version.attributes else None


async def _pieces(reading: Reading, item: Item, pace: Pace) -> AsyncGenerator[tuple[int, AsyncIterator[Buffer]]]:
    """An object in the parts that its ETag proves, or else as a whole. Raises: MoveError."""
    if reading.parts_etag is None:
        yield 0, _whole(reading, item, pace)
        return
    digests: list[Digest] = []
    for number in range(1, reading.part_count + 1):
        md5 = hashlib.md5(usedforsecurity=False)
        piece = await reading.piece(number)
        try:
            yield number, pace.over(piece.chunks(md5))
        finally:
            await piece.close()
        digests.append(Digest(piece.size, md5.digest()))
    check_parts(reading, item, digests)


async def _whole(reading: Reading, item: Item, pace: Pace) -> AsyncIterator[Buffer]:
    """Every byte; what is not proven in the end raises, so that nothing is made of it. Raises: MoveError."""
    md5, size = hashlib.md5(usedforsecurity=False), 0
    for number in range(1, reading.part_count + 1):
        piece = await reading.piece(number)
        try:
            async for chunk in pace.over(piece.chunks(md5)):
                size += len(chunk)
                yield chunk
        finally:
            await piece.close()
    if size != item.size:
        raise ItemChanged("the source has another length than it was registered with")
    if reading.md5 not in (None, md5.digest()):
        raise ItemFailed("the bytes of the source are not those of its ETag")


@dataclass(slots=True)
class Closed:
    """A bucket that is being registered; whoever registers in it or opens it holds the lease of that."""

    catalogue: Catalogue
    bucket: Bucket
    take: Callable[[], Awaitable[Lease]]
    """Takes or renews that lease."""
    check: Callable[[], Awaitable[None]]
    """Refuses where the import is being given up."""
    lease: Lease | None = None
    """As it was before the bucket was seen closed: under a later one it may have been open meanwhile."""

    async def walk(self, walk: Callable[[bytes], AsyncGenerator[Item]], after: bytes) -> AsyncGenerator[Item]:
        """What the source lists, unless another run has opened the bucket by now. Raises: PlaceFailed, LeaseLost."""
        self.lease = await self.take()
        await self.check()
        if REGISTERING not in (await self.catalogue.get_bucket(self.bucket.name)).configurations:
            raise PlaceFailed("another run registered everything, and opened the bucket: give the command again")
        async with aclosing(walk(after)) as items:
            async for item in items:
                yield item

    async def open(self) -> None:
        """Let everybody in. Raises: LeaseLost."""
        reach("move.all_registered")
        await self.catalogue.put_configuration(self.bucket.bucket_id, REGISTERING, None, self.lease)
        reach("move.opened")


@dataclass(slots=True)
class ReadThroughJob:
    """Registers, opens the bucket, seals, and forgets the source. Takes the place of a `Job`."""

    catalogue: Catalogue
    bucket: Bucket
    kind: str
    registering: Job[Item] | None
    """None where the bucket is open already."""
    sealing: Job[ObjectVersion]
    lease: Callable[[], Awaitable[Lease]]
    """Takes or renews that of the sealing."""

    @property
    def _half(self) -> Job[Item] | Job[ObjectVersion]:
        return self.sealing if self.registering is None else self.registering

    @property
    def progress(self) -> Progress:
        """Of the half that runs."""
        return self._half.progress

    def halt(self) -> None:
        """What ends it next is a command."""
        self._half.halt()

    async def run(self) -> None:
        """Go on until all is sealed. How it ended stands in `progress`; only bugs are raised."""
        if self.registering is not None:
            await self.registering.run()
            if self.registering.progress.state is not State.DONE:
                return
            self.registering = None
        await self.sealing.run()
        if self.sealing.progress.state is State.DONE:
            try:
                await self._cut_over()
            except StorageError as error:
                self.sealing.progress.stop(f"the source is not forgotten yet: {error}")

    async def _cut_over(self) -> None:
        """Forget the source, unless something is still there: what the report names is read through as before."""
        reach("move.all_sealed")
        lease = await self.lease()
        try:
            async with aclosing(self.sealing.walk(b"")) as left:
                async for _ in left:
                    return
            await self.catalogue.put_configuration(self.bucket.bucket_id, SOURCE, None, lease)
        finally:
            await self.catalogue.release_lease(lease)
        reach("move.cut_over")
