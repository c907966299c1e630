"""From a place into a bucket: each object sealed anew, held against its source, never over what a client wrote.

What an import wrote carries the mark of the source's state in its row (`ObjectAttributes.origin`), and whoever writes
the object loses it. So an import that goes on knows what is done, and one that runs again knows what is its own.
"""

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from gateway.engine.attributes import ObjectAttributes
from gateway.engine.integrity import EtagMode
from gateway.engine.notifying import Announcer
from gateway.engine.objects import NewObject
from gateway.engine.protection import Protection
from gateway.errors import MoveError
from gateway.moving.pace import Pace
from gateway.moving.places import Item, ItemChanged, ItemFailed, Piece, Reading, Source
from gateway.moving.report import Outcome, Result
from gateway.operations import locks
from gateway.operations.context import Services
from gateway.operations.encryption import protection_for
from gateway.s3.addressing import check_key
from gateway.s3.errors import S3Error
from gateway.s3.notifications import CREATED_COMPLETE, CREATED_PUT
from gateway.s3.parsing import fields
from gateway.s3.parsing.tags import MAX_OBJECT_TAGS, check_tags
from gateway.s3.request import Headers
from gateway.s3.types import Buffer, EncryptionRequest, PayloadExpectation, Tags
from gateway.s3.upload_types import CompletedPart
from storage.catalogue.commands import Conditions, DeleteVersion, Found, UploadsQuery
from storage.catalogue.conflicts import NoSuchVersion, PreconditionRefused
from storage.catalogue.records import NO_LOCK, Bucket, ObjectVersion, Part, Upload
from storage.seams import reach

_BY_AN_IMPORT: Final = "sealgate"
"""Who acts, in notices."""
_HERE: Final = "the bucket holds something else under this key; it was left as it is"
_DELETED_HERE: Final = "it was deleted in the bucket; it was not brought back"


@dataclass(frozen=True, slots=True)
class InOneBucket:
    """The bucket as `gateway.operations` reads its rules."""

    services: Services
    bucket: Bucket


@dataclass(slots=True)
class _Body:
    """A piece as the engines take a body."""

    piece: Piece
    pace: Pace
    md5: "hashlib._Hash | None"
    reading: Reading | None = None
    """Asked, once all is read, whether it is still what was listed: nothing is published before."""
    trailers: Mapping[str, str] = field(default_factory=dict)

    @property
    def decoded_length(self) -> int:
        """Bytes to come."""
        return self.piece.size

    async def __aiter__(self) -> AsyncIterator[Buffer]:
        async for chunk in self.pace.over(self.piece.chunks(self.md5)):
            yield chunk
        if self.reading is not None:
            await self.reading.settle()


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What the command asks for."""

    versions: bool = False
    update: bool = False
    """Whether what an earlier import wrote, and nobody changed since, follows a source that changed."""
    read_back: bool = False


class Importer:
    """Moves one key after another from a source into one bucket."""

    def __init__(
        self,
        services: Services,
        bucket: Bucket,
        source: Source,
        options: ImportOptions,
        pace: Pace,
        etag_mode: EtagMode,
    ) -> None:
        """`etag_mode` is how the bucket's ETags are made where they are no secret."""
        self._services = services
        self.etag_mode = etag_mode
        self._bucket = bucket
        self.place = InOneBucket(services, bucket)
        self._source = source
        self._options = options
        self._pace = pace

    async def move(self, history: Sequence[Item], index: int) -> Result:
        """Deal with one object, or one version of it. Raises: S3Error, MoveError, StorageError, KeysError."""
        item = history[index]
        return await (self._move_version(history, index) if self._options.versions else self._move_current(item))

    async def _move_current(self, item: Item) -> Result:
        check_item(item)
        version = await self.current(item.object_key)
        origin = item.mark()
        if version is None:
            return await self.bring(item, origin, Conditions(newest=0))
        if version.is_delete_marker:
            return Result(Outcome.KEPT, why=_DELETED_HERE)
        found = _judge(item, origin, version)
        if found is not None:
            return found
        if not self._options.update:
            return Result(Outcome.KEPT, why="the source changed since it was imported: run again with --update")
        return await self.bring(item, origin, Conditions(newest=version.sequence))

    async def _move_version(self, history: Sequence[Item], index: int) -> Result:
        item = history[index]
        check_item(item)
        version_id = _version_id_of(item)
        catalogue, bucket_id = self._services.catalogue, self._bucket.bucket_id
        try:
            await catalogue.get_version(bucket_id, item.object_key, version_id, with_content=False)
        except NoSuchVersion:
            pass
        else:
            return Result(Outcome.THERE)
        current = await self.current(item.object_key)
        # A delete marker carries no mark: one that came before in the history is known by its id.
        if current is not None and current.is_delete_marker:
            if current.version_id not in map(_version_id_of, history[:index]):
                return Result(Outcome.KEPT, why=_DELETED_HERE)
        elif current is not None and not _is_imported(current):
            raise ItemChanged(_HERE)
        conditions = Conditions(newest=0 if current is None else current.sequence)
        if not item.is_delete_marker:
            return await self.bring(item, item.mark(), conditions, version_id)
        wanted = DeleteVersion(
            item.object_key,
            conditions=conditions,
            marker_id=version_id,
        )
        told = await self.announcer()
        (deleted,) = await self._services.objects.delete(self._bucket, [told.removing(wanted)])
        if isinstance(deleted, Exception):
            raise deleted
        return Result(Outcome.MOVED)

    async def current(self, object_key: bytes) -> ObjectVersion | None:
        """The current version of a key, a delete marker too; None where there is none."""
        try:
            return (
                await self._services.catalogue.get_version(self._bucket.bucket_id, object_key, with_content=False)
            ).version
        except NoSuchVersion:
            return None

    async def bring(self, item: Item, origin: str, conditions: Conditions, version_id: str | None = None) -> Result:
        """Make one object current, on those conditions. Raises: as `move`."""
        reading = await self._source.open(item)
        try:
            tags = check_tags(reading.tags, MAX_OBJECT_TAGS)
            protection = await protection_for(self.place, EncryptionRequest())
            attributes = self.attributes(reading.headers, tags, origin + _tags_mark(tags), protection)
            new = _New(item, attributes, conditions, version_id)
            if reading.part_count == 1 and reading.parts_etag is None:
                published, digests = await self._put(reading, new)
            else:
                published, digests = await self._put_parts(reading, new)
        except (PreconditionRefused, NoSuchVersion):
            return Result(Outcome.KEPT, why=_HERE)
        finally:
            await reading.close()
        reach("move.published")
        if self._options.read_back:
            await self._read_back(published, digests)
        is_proven = reading.md5 is not None or reading.parts_etag is not None or reading.checksum is not None
        return Result(Outcome.MOVED, item.size, is_proven=is_proven or self._options.read_back)

    def attributes(
        self, headers: Headers, tags: Tags, origin: str, protection: Protection, pending: str | None = None
    ) -> ObjectAttributes:
        """What a version is to carry of what its source tells. Raises: S3Error."""
        return ObjectAttributes(
            headers=fields.object_headers(headers),
            metadata=fields.metadata(headers),
            tags=check_tags(tags, MAX_OBJECT_TAGS),
            protection=protection,
            origin=origin,
            pending=pending,
        )

    async def _put(self, reading: Reading, new: "_New") -> tuple[ObjectVersion, list["Digest"]]:
        told = await self.announcer()
        md5 = hashlib.md5(usedforsecurity=False) if self._options.read_back else None
        checksum = reading.checksum
        expectation = PayloadExpectation(
            content_length=new.item.size,
            content_md5=reading.md5,
            algorithm=None if checksum is None else checksum.algorithm,
            checksum=None if checksum is None else checksum.value,
        )
        piece = await reading.piece(1)
        try:
            published = await self._services.objects.put(
                self._bucket,
                NewObject(
                    new.item.object_key,
                    new.attributes,
                    new.conditions,
                    notices=told.created(CREATED_PUT),
                    lock=await locks.with_default(self.place, NO_LOCK),
                    version_id=new.version_id,
                ),
                expectation,
                _Body(piece, self._pace, md5, reading),
            )
        finally:
            await piece.close()
        return published.version, [Digest(piece.size, b"" if md5 is None else md5.digest())]

    async def _put_parts(self, reading: Reading, new: "_New") -> tuple[ObjectVersion, list["Digest"]]:
        """Part by part, each durable by itself: a run that goes on takes up what an earlier one has uploaded."""
        multipart, catalogue = self._services.multipart, self._services.catalogue
        upload, held = await self._upload(new)
        digests = []
        completed = []
        for number in range(1, reading.part_count + 1):
            part = held.get(number)
            if part is None:
                piece = await reading.piece(number)
                md5 = hashlib.md5(usedforsecurity=False)
                try:
                    body = _Body(piece, self._pace, md5)
                    expectation = PayloadExpectation(content_length=piece.size)
                    part = (await multipart.put_part(self._bucket, upload, number, expectation, body)).part
                finally:
                    await piece.close()
                digest = md5.digest()
                reach("move.part")
            else:
                digest = bytes.fromhex(part.etag)
            digests.append(Digest(part.size, digest))
            completed.append(CompletedPart(number, part.etag))
        await reading.settle()
        try:
            check_parts(reading, new.item, digests)
        except MoveError:
            await catalogue.abort_upload(self._bucket.bucket_id, new.item.object_key, upload.upload_id)
            raise
        told = await self.announcer()
        try:
            published = await multipart.complete(
                self._bucket,
                upload,
                completed,
                new.conditions,
                notices=told.created(CREATED_COMPLETE),
                lock=await locks.with_default(self.place, NO_LOCK),
                version_id=new.version_id,
            )
        except (PreconditionRefused, NoSuchVersion):
            await catalogue.abort_upload(self._bucket.bucket_id, new.item.object_key, upload.upload_id)
            raise
        return published.version, digests

    async def _upload(self, new: "_New") -> tuple[Upload, dict[int, Part]]:
        """The upload of an earlier run for the same state of the source, with its parts; or a new one.

        Parts can be taken up only where their ETags are MD5s, since nothing else says what was read then.
        """
        catalogue, multipart = self._services.catalogue, self._services.multipart
        can_go_on = new.attributes.protection.etag_mode(self.etag_mode) is EtagMode.MD5
        query = UploadsQuery(prefix=new.item.object_key)
        for upload in (await catalogue.list_uploads(self._bucket.bucket_id, query)).uploads:
            origin = ObjectAttributes.decode(upload.attributes).origin
            if upload.object_key != new.item.object_key or origin is None:
                continue
            if origin == new.attributes.origin and can_go_on:
                return upload, {part.part_number: part for part in await catalogue.list_parts(upload.upload_id)}
            await catalogue.abort_upload(self._bucket.bucket_id, upload.object_key, upload.upload_id)
        return await multipart.create(self._bucket, new.item.object_key, new.attributes), {}

    async def _read_back(self, published: ObjectVersion, digests: Sequence["Digest"]) -> None:
        """Open what was written, and hold it against what was read of the source.

        Raises: ItemChanged where somebody else wrote it meanwhile; ItemFailed, Damaged.
        """
        try:
            found = await self._services.objects.find(self._bucket, published.object_key, published.version_id)
        except NoSuchVersion:
            raise ItemChanged(_DELETED_HERE) from None
        if found.version.sequence != published.sequence:
            raise ItemChanged(_HERE)
        offset = 0
        for digest in digests:
            await self._compare(found, offset, digest)
            offset += digest.size

    async def _compare(self, found: Found, offset: int, digest: "Digest") -> None:
        md5 = hashlib.md5(usedforsecurity=False)
        async with aclosing(await self._services.objects.open(found, offset, digest.size)) as plaintext:
            async for piece in plaintext:
                md5.update(piece)
        if md5.digest() != digest.md5:
            raise ItemFailed("what was read back is not what the source gave")

    async def announcer(self) -> Announcer:
        """Tells whoever wants to know what an import makes."""
        return await announcer_of(self._services, self._bucket)


async def announcer_of(services: Services, bucket: Bucket) -> Announcer:
    """Tells whoever wants to know what imports do in a bucket."""
    return await services.announcements.by_request(
        bucket, principal_id=_BY_AN_IMPORT, source_address="", request_id="", at=services.clock()
    )


def _version_id_of(item: Item) -> str:
    """What a version of the source is called here: the same each time, and as random as any."""
    return hashlib.sha256(f"{item.mark()}/{item.is_delete_marker}".encode()).hexdigest()[:32]


def check_item(item: Item) -> None:
    """Raises: ItemFailed."""
    if item.trouble is not None:
        raise ItemFailed(item.trouble)
    try:
        check_key(item.object_key)
    except S3Error as refused:
        raise ItemFailed(f"its name cannot be an object key ({refused.row.code})") from None


def check_parts(reading: Reading, item: Item, digests: Sequence["Digest"]) -> None:
    """Hold the parts together against what the source said of the whole. Raises: ItemFailed."""
    if sum(digest.size for digest in digests) != item.size:
        raise ItemFailed("the parts of the source are not of the length that it lists")
    whole = hashlib.md5(b"".join(digest.md5 for digest in digests), usedforsecurity=False).hexdigest()
    if reading.parts_etag not in (None, f"{whole}-{len(digests)}"):
        raise ItemFailed("the bytes of the source are not those of its ETag")


def _judge(item: Item, origin: str, version: ObjectVersion) -> Result | None:
    """What is to be said of an object that is there; None where an earlier import wrote it, and nobody since."""
    held = ObjectAttributes.decode(version.attributes)
    if held.origin is None:
        same = version.size == item.size and version.etag == item.etag and not held.protection.hides_hashes
        return Result(Outcome.THERE) if same else Result(Outcome.KEPT, why=_HERE)
    if held.origin.startswith(origin):
        return Result(Outcome.THERE)
    is_untouched = held.origin.endswith(_tags_mark(held.tags)) and held.acl is None
    return None if is_untouched else Result(Outcome.KEPT, why=_HERE)


def _tags_mark(tags: Tags) -> str:
    """What tells whether somebody changed the tags that an import set."""
    return hashlib.sha256(repr(sorted(tags)).encode()).hexdigest()[:16]


def mark_of(item: Item, tags: Tags) -> str:
    """What a version carries of the state of the source that it was made from."""
    return item.mark() + _tags_mark(tags)


def _is_imported(version: ObjectVersion) -> bool:
    return ObjectAttributes.decode(version.attributes).origin is not None


@dataclass(frozen=True, slots=True)
class _New:
    item: Item
    attributes: ObjectAttributes
    conditions: Conditions
    version_id: str | None


@dataclass(frozen=True, slots=True)
class Digest:
    """What was read of the source as one piece."""

    size: int
    md5: bytes
