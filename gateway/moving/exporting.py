"""From a bucket to a place: each version opened, verified from end to end, and written where nothing else is."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from gateway.engine.attributes import ObjectAttributes
from gateway.engine.custody import Custody
from gateway.engine.integrity import EtagMode
from gateway.engine.multipart import MIN_PART_BYTES
from gateway.engine.protection import Mode
from gateway.moving.pace import Pace
from gateway.moving.places import PART_BYTES, ItemChanged, ItemFailed, Opened, Outgoing, Target, part_sizes
from gateway.moving.report import Outcome, Result
from gateway.operations.context import Services
from keys.datakey import DataKey
from keys.errors import CustomerKeyMismatch
from storage.catalogue.commands import Found, HistoryQuery, ListQuery
from storage.catalogue.conflicts import NoSuchVersion
from storage.catalogue.records import Bucket, ObjectVersion
from storage.seams import reach


def key_for(custody: Custody, version: ObjectVersion, customer_key: DataKey | None) -> DataKey | None:
    """The client's key where a version needs one. Raises: CustomerKeyMismatch."""
    protection = ObjectAttributes.decode(version.attributes).protection
    if protection.mode is not Mode.CUSTOMER:
        return None
    if customer_key is None or version.content_id is None:
        raise CustomerKeyMismatch("only the key of its client opens this object: give --customer-key-file")
    custody.check_customer_key(version.bucket_id, version.content_id, protection, customer_key)
    return customer_key


class Exporter:
    """Moves one version after another from one bucket to a target."""

    def __init__(
        self,
        services: Services,
        bucket: Bucket,
        target: Target,
        pace: Pace,
        etag_mode: EtagMode,
        *,
        prefix: bytes = b"",
        versions: bool = False,
        read_back: bool = False,
        customer_key: DataKey | None = None,
    ) -> None:
        self._services = services
        self._bucket = bucket
        self._target = target
        self._pace = pace
        self._etag_mode = etag_mode
        self._prefix = prefix
        self._versions = versions
        self._read_back = read_back
        self._customer_key = customer_key

    async def walk(self, after: bytes) -> AsyncGenerator[Outgoing]:
        """The bucket behind a key: what is current, or the whole history."""
        walk = self._history(after) if self._versions else self._current(after)
        async with aclosing(walk) as versions:
            async for version in versions:
                yield version

    async def _current(self, after: bytes) -> AsyncGenerator[Outgoing]:
        query = ListQuery(prefix=self._prefix, start_after=after)
        while True:
            page = await self._services.catalogue.list_versions(self._bucket.bucket_id, query)
            for version in page.versions:
                yield self._outgoing(version)
            if not page.is_truncated:
                return
            query = ListQuery(prefix=self._prefix, start_after=page.next_start_after)

    async def _history(self, after: bytes) -> AsyncGenerator[Outgoing]:
        query = HistoryQuery(prefix=self._prefix, key_marker=after)
        while True:
            page = await self._services.catalogue.list_history(self._bucket.bucket_id, query)
            for version in page.versions:
                yield self._outgoing(version)
            if not page.is_truncated:
                return
            query = HistoryQuery(
                prefix=self._prefix, key_marker=page.next_key_marker, version_id_marker=page.next_version_id_marker
            )

    def _outgoing(self, version: ObjectVersion) -> Outgoing:
        attributes = ObjectAttributes.decode(version.attributes)
        return Outgoing(
            object_key=version.object_key,
            size=version.size,
            version_id=version.version_id,
            etag=version.etag,
            md5_etag=attributes.protection.etag_mode(self._etag_mode) is EtagMode.MD5,
            created_at=version.created_at,
            is_delete_marker=version.is_delete_marker,
            headers=dict(version.attributes.get("headers", {})),
            metadata=dict(attributes.metadata),
            tags=attributes.tags,
            parts=part_sizes(version.size),
        )

    async def move(self, history: Sequence[Outgoing], index: int) -> Result:
        """Write one version, unless it is there. Raises: MoveError, StorageError, KeysError."""
        item = history[index]
        if not item.is_delete_marker:
            item = await self._with_parts(item)
        there = await self._target.holds(item, index, len(history), self._opened(item))
        if there > index:
            await self._target.note(item)
            return Result(Outcome.THERE)
        if there < index:
            raise ItemChanged("the target holds other versions of it; they were left as they are")
        await self._target.put(item, self._opened(item), read_back=self._read_back)
        reach("move.exported")
        await self._target.note(item)
        return Result(Outcome.MOVED, item.size)

    async def _with_parts(self, item: Outgoing) -> Outgoing:
        """Leave an object's own parts as they are where they can be held in memory: then its ETag stays, too."""
        content = (await self._found(item)).content
        assert content is not None, "it was found with its bytes"
        sizes = tuple(blob.plaintext_size for blob in content.payload_blobs)
        fits = len(sizes) > 1 and max(sizes) <= PART_BYTES and min(sizes[:-1]) >= MIN_PART_BYTES
        return replace(item, parts=sizes) if fits else item

    async def _found(self, item: Outgoing) -> Found:
        """The version as it was listed. Raises: ItemChanged."""
        try:
            found = await self._services.objects.find(self._bucket, item.object_key, item.version_id)
        except NoSuchVersion:
            raise ItemChanged("it was deleted since it was listed") from None
        if found.content is None or found.version.etag != item.etag:
            raise ItemChanged("it was written again since it was listed")
        if "pending" in found.version.attributes:
            raise ItemFailed("its bytes are still at the source of an import that reads through: finish that first")
        return found

    def _opened(self, item: Outgoing) -> Opened:
        """Reads spans of a version, with the client's key where it needs one."""

        async def pieces(offset: int, length: int) -> AsyncGenerator[bytes]:
            found = await self._found(item)
            key = key_for(self._services.custody, found.version, self._customer_key)
            async with aclosing(await self._services.objects.open(found, offset, length, key)) as plaintext:
                async for piece in plaintext:
                    await self._pace.take(len(piece))
                    yield bytes(piece)  # the opener fills its buffer anew

        return pieces
