"""Objects: put, find, open, copy, delete. Write order everywhere: sealed blob durable, one transaction, answer.

A crash before the transaction leaves an orphan for sweep, never half an object. Source: DESIGN parts 1 and 2.
"""

import asyncio
import base64
import secrets
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from gateway.engine.attributes import KeptChecksum, ObjectAttributes, SealedChecksum
from gateway.engine.custody import Custody, NewContentKey, Unlock
from gateway.engine.integrity import EtagMode, PayloadCheck, VerifiedPayload
from gateway.engine.notifying import Notices, no_notices
from gateway.engine.opening import BlobOpener, OpenedSpan
from gateway.engine.sealing import BlobPlan, BlobWriter
from gateway.s3.checksums import PayloadDigests
from gateway.s3.types import Body, Buffer, Checksum, PayloadExpectation
from keys.datakey import DataKey
from storage.catalogue.base import Catalogue
from storage.catalogue.commands import Conditions, Deleted, DeleteVersion, Found, PublishVersion
from storage.catalogue.records import (
    ID_SIZE,
    NO_LOCK,
    NULL_VERSION_ID,
    Blob,
    BlobRole,
    Bucket,
    Content,
    ObjectLock,
    ObjectVersion,
    Versioning,
)
from storage.errors import CatalogueConflict, StorageUnavailable
from storage.sealed.description import Description
from storage.sealed.records import BlobReference, Link, link_pieces
from storage.seams import reach

REFERENCES_PER_TURN = 256
"""References made in one go: half a millisecond."""


def new_version_id(bucket: Bucket) -> str:
    """The id of a version that is to be made current; the catalogue refuses it where the bucket was changed meanwhile.

    It is given before the bytes are sealed, since it stands in their description.
    """
    return new_id().hex() if bucket.versioning is Versioning.ENABLED else NULL_VERSION_ID


def new_id() -> bytes:
    """A fresh random id."""
    return secrets.token_bytes(ID_SIZE)


@dataclass(frozen=True, slots=True)
class NewObject:
    """What a version is to be, before its bytes."""

    object_key: bytes
    attributes: ObjectAttributes
    """Its protection as asked for; the content's own is what is kept."""
    conditions: Conditions
    customer_key: DataKey | None = None
    """What the client brought for it (SSE-C)."""
    notices: Notices = no_notices
    lock: ObjectLock = NO_LOCK
    version_id: str | None = None
    """Of a version that is known elsewhere by another id, from which this one is made; None: a fresh one."""


@dataclass(frozen=True, slots=True)
class Published:
    """A version as it became visible."""

    version: ObjectVersion
    checksum: Checksum | None
    """In plain, for the answer to who wrote it."""


class Through(Protocol):
    """Reads what still lies at the source of an import."""

    async def open(self, version: ObjectVersion, offset: int, length: int) -> OpenedSpan:
        """A span of a pending version's bytes, of the very state that was registered; the first piece is here.

        Raises (here, and later from the iterator):
            StorageUnavailable: the source cannot be asked, or does not have that state any more.
        """


def describe(
    bucket: Bucket, version: ObjectVersion, content_id: bytes, *, part_number: int = 0, upload_id: bytes = b""
) -> Description:
    """Say of a blob what recovery needs to know of its object (FORMAT section 10)."""
    attributes = ObjectAttributes.decode(version.attributes)
    headers = version.attributes.get("headers", {})
    checksum = attributes.checksum
    return Description(
        created_at=version.created_at,
        account_id=bucket.account_id,
        bucket_id=bucket.bucket_id,
        bucket_name=bucket.name,
        checksums={checksum.algorithm.value: checksum.value} if isinstance(checksum, Checksum) else {},
        commit_order=time.time_ns() // 1000,
        content_id=content_id,
        encryption=attributes.protection.encode(),
        etag=version.etag,
        headers=headers,
        legal_hold=bool(version.lock.legal_hold),
        lock_mode=version.lock.mode.value,
        object_key=version.object_key,
        part_number=part_number,
        plaintext_size=version.size,
        sealed_checksums=_sealed_checksums(checksum),
        retain_until=version.lock.retain_until,
        tags=dict(attributes.tags),
        upload_id=upload_id,
        user_metadata=dict(attributes.metadata),
        version_id=version.version_id,
    )


def _sealed_checksums(checksum: KeptChecksum | None) -> dict[str, str]:
    if not isinstance(checksum, SealedChecksum):
        return {}
    name = f"{checksum.algorithm.value}:{checksum.checksum_type.value}"
    return {name: base64.b64encode(checksum.sealed).decode("ascii")}


def blob_reference(blob: Blob) -> BlobReference:
    """A content's blob as manifest and link records name it."""
    return BlobReference(
        blob_id=blob.blob_id,
        commitment=blob.commitment,
        footer_hash=blob.footer_hash,
        part_number=blob.part_number,
        plaintext_size=blob.plaintext_size,
        salt=blob.salt,
        sealed_size=blob.sealed_size,
        slot_size=blob.slot_size,
        wrapped_key=blob.wrapped_key,
    )


async def blob_references(blobs: Iterable[Blob]) -> tuple[BlobReference, ...]:
    """References to a content's blobs, up to 10,000 of them, with a turn for everybody else now and then."""
    references: list[BlobReference] = []
    for blob in blobs:
        references.append(blob_reference(blob))
        if len(references) % REFERENCES_PER_TURN == 0:
            await asyncio.sleep(0)
    return tuple(references)


async def in_turns(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    """A source of pieces that are made one by one, with a turn for everybody else behind each."""
    for piece in pieces:
        yield piece
        await asyncio.sleep(0)


def new_content(bucket: Bucket, content_id: bytes, made: NewContentKey) -> Content:
    """A content that has no blobs yet."""
    return Content(
        content_id=content_id,
        bucket_id=bucket.bucket_id,
        account_id=bucket.account_id,
        encryption=made.protection.mode.value,
        kms_key_id=made.protection.kms_key_id,
        wrapped_key=made.slot,
    )


class ObjectEngine:
    """Objects of one realm, over a catalogue, a blob store and the custody of keys."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        custody: Custody,
        writer: BlobWriter,
        opener: BlobOpener,
        etag_mode: EtagMode,
        clock: Callable[[], datetime],
        through: Through | None = None,
    ) -> None:
        self._through = through
        self._catalogue = catalogue
        self._custody = custody
        self._writer = writer
        self._opener = opener
        self._etag_mode = etag_mode
        self._clock = clock

    async def put(self, bucket: Bucket, new: NewObject, expectation: PayloadExpectation, body: Body) -> Published:
        """Seal a body into a new object and make it current.

        Raises:
            S3Error: the body is not what the request says. StorageError, KeysError: as their packages tell.
        """
        check = PayloadCheck(expectation, new.attributes.protection.etag_mode(self._etag_mode))
        return await self._put(bucket, new, body, check.digests, lambda size: check.finish(size, body.trailers))

    async def register(self, bucket: Bucket, new: NewObject, size: int, etag: str) -> Published:
        """Make an object current whose bytes still lie at the source that `new.attributes.pending` names.

        Raises: as `put`.
        """
        assert new.attributes.pending is not None, "else a stub is all that there is"
        assert size > 0, "an empty object needs no source"
        check = PayloadCheck(PayloadExpectation(content_length=0), EtagMode.OPAQUE)
        return await self._put(
            bucket, new, in_turns(()), check.digests, lambda _: check.finish(0, {}), told=(size, etag)
        )

    async def _put(
        self,
        bucket: Bucket,
        new: NewObject,
        source: AsyncIterable[Buffer],
        digests: PayloadDigests,
        finish: Callable[[int], VerifiedPayload],
        told: tuple[int, str] | None = None,
    ) -> Published:
        """`told` are size and ETag of an object whose bytes are elsewhere: its stub's stand for nothing."""
        content_id, blob_id, version_id = new_id(), new_id(), new.version_id or new_version_id(bucket)
        made = await self._custody.new_content_key(
            bucket.bucket_id, content_id, new.attributes.protection, new.customer_key
        )
        reach("put.key_wrapped")
        content = new_content(bucket, content_id, made)
        version: ObjectVersion | None = None
        checksum: Checksum | None = None

        def judge_and_describe(size: int) -> Description:
            nonlocal version, checksum
            payload = finish(size)
            etag = payload.etag
            checksum = payload.checksum if told is None else None
            if told is not None:
                size, etag = told
            kept: KeptChecksum | None = None
            if checksum is not None:
                kept = self._custody.keep_checksum(made.protection, made.data_key, content, checksum)
            version = ObjectVersion(
                bucket_id=bucket.bucket_id,
                object_key=new.object_key,
                version_id=version_id,
                content_id=content_id,
                size=size,
                etag=etag,
                created_at=self._clock(),
                attributes=replace(new.attributes, checksum=kept, protection=made.protection).encode(),
                lock=new.lock,
            )
            return describe(bucket, version, content_id)

        plan = BlobPlan(blob_id, BlobRole.OBJECT, made.data_key, made.slot)
        blob = await self._writer.write(plan, source, digests, judge_and_describe, may_be_inline=True)
        assert version is not None, "the blob was described"
        content = replace(content, blobs=(blob,))
        reach("put.before_commit")
        async with self._writer.publishing(blob):
            published = await self._catalogue.publish_version(
                PublishVersion(version, content=content, conditions=new.conditions, notices=new.notices(version))
            )
        reach("put.committed")
        return Published(published, checksum)

    async def find(self, bucket: Bucket, object_key: bytes, version_id: str | None = None) -> Found:
        """The current or named version. Raises: NoSuchVersion."""
        return await self._catalogue.get_version(bucket.bucket_id, object_key, version_id)

    async def open(self, found: Found, offset: int, length: int, customer_key: DataKey | None = None) -> OpenedSpan:
        """Give a span of a version's plaintext; its first piece is verified when this returns.

        `customer_key` is what the client brought, checked by `Custody.check_customer_key`.

        Raises:
            Damaged, BlobMissing, BlobReadFailed, KeysError: nothing was given yet, or nothing more will be.
            StorageUnavailable: as well, where the bytes still lie at the source of an import.
        """
        assert found.content is not None, "a delete marker has no bytes"
        held = ObjectAttributes.decode(found.version.attributes)
        if held.pending is not None:
            if self._through is None:
                raise StorageUnavailable("nothing here reads through to the source of an import")
            return await self._through.open(found.version, offset, length)
        unlock = Unlock.of(held.protection, customer_key)
        return await self._opener.open_span(found.content, found.version.size, offset, length, unlock)

    async def checksum_of(self, found: Found, customer_key: DataKey | None = None) -> Checksum | None:
        """The checksum of a version in plain; where it is sealed, this takes the content key. Raises: KeysError."""
        held = ObjectAttributes.decode(found.version.attributes)
        if not isinstance(held.checksum, SealedChecksum):
            return held.checksum
        content = found.content
        assert content is not None, "what has a checksum has content"
        unlock = Unlock.of(held.protection, customer_key)
        content_key = await self._custody.open_content_key(
            content.bucket_id, content.content_id, content.wrapped_key, unlock
        )
        return self._custody.open_checksum(content_key, content, held.checksum)

    async def copy(
        self,
        source: Found,
        bucket: Bucket,
        new: NewObject,
        expectation: PayloadExpectation | None = None,
        source_key: DataKey | None = None,
    ) -> Published:
        """Make a copy the current version of its key. `source_key` is what the client brought for the source.

        The content is shared where one account owns both ends and its encryption stays as it is (DESIGN part 2); a
        small link blob says so durably. `expectation` asks for a checksum that the source does not have, which takes
        reading and sealing it anew.

        Raises:
            ContentGone: the source was deleted meanwhile, twice.
        """
        assert source.content is not None, "a delete marker cannot be copied"
        held = ObjectAttributes.decode(source.version.attributes)
        is_shared = (
            expectation is None
            and source.content.account_id == bucket.account_id
            and new.attributes.protection.may_share(held.protection)
            and held.pending is None
        )
        if not is_shared:
            # As on AWS, a copy has a checksum of the source's algorithm unless it asks for another.
            kept = PayloadExpectation(algorithm=None if held.checksum is None else held.checksum.algorithm)
            return await self._copy_bytes(source, bucket, new, expectation or kept, source_key)
        checksum = await self.checksum_of(source)
        content = source.content
        # As on AWS a copy needs the key of its source, though none of its bytes is read.
        unlock = Unlock(held.protection.context)
        await self._custody.open_content_key(content.bucket_id, content.content_id, content.wrapped_key, unlock)
        created_at = self._clock()
        version = ObjectVersion(
            bucket_id=bucket.bucket_id,
            object_key=new.object_key,
            version_id=new_version_id(bucket),
            content_id=content.content_id,
            size=source.version.size,
            etag=source.version.etag,
            created_at=created_at,
            attributes=replace(new.attributes, checksum=held.checksum, protection=held.protection).encode(),
            lock=new.lock,
        )
        link, _held = await self.write_link(bucket, version, content)
        reach("copy.before_commit")
        async with self._writer.publishing(link):
            published = await self._catalogue.publish_version(
                PublishVersion(
                    version,
                    share_content_id=content.content_id,
                    link=link,
                    conditions=new.conditions,
                    notices=new.notices(version),
                )
            )
        reach("copy.committed")
        return Published(published, checksum)

    async def _copy_bytes(
        self,
        source: Found,
        bucket: Bucket,
        new: NewObject,
        expectation: PayloadExpectation,
        source_key: DataKey | None,
    ) -> Published:
        etag_mode = new.attributes.protection.etag_mode(self._etag_mode)
        check = PayloadCheck(replace(expectation, content_length=source.version.size), etag_mode)
        async with aclosing(await self.open(source, 0, source.version.size, source_key)) as plaintext:
            return await self._put(bucket, new, plaintext, check.digests, lambda size: check.finish(size, {}))

    async def write_link(self, bucket: Bucket, version: ObjectVersion, content: Content) -> tuple[Blob, NewContentKey]:
        """A link blob, and its key, to be held until it is published."""
        blob_id = new_id()
        # A link's key belongs to no content; its own id stands in the context of the wrap (FORMAT section 4).
        made = await self._custody.new_content_key(bucket.bucket_id, blob_id)
        record = Link(
            content_id=content.content_id,
            bucket_id=content.bucket_id,
            plaintext_size=version.size,
            wrapped_key=content.wrapped_key,
            blobs=await blob_references(content.payload_blobs),
        )
        link = await self._writer.write(
            BlobPlan(blob_id, BlobRole.LINK, made.data_key, made.slot),
            in_turns(link_pieces(record)),
            PayloadDigests(()),
            lambda _: describe(bucket, version, content.content_id),
            # A link must outlive the catalogue wherever the bytes that it names do.
            may_be_inline=all(blob.inline is not None for blob in content.payload_blobs),
        )
        return link, made

    async def delete(
        self, bucket: Bucket, commands: Sequence[DeleteVersion]
    ) -> tuple[Deleted | CatalogueConflict, ...]:
        """Delete several keys, each by itself; refusals are returned in their places."""
        reach("delete.before_commit")
        results = await self._catalogue.delete_versions(bucket.bucket_id, commands)
        reach("delete.committed")
        return results
