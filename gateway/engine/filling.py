"""Filling: the bytes of a registered object, sealed, take the place of the stub that stood for them.

Everything that is told of the version stays: id, ETag, time, metadata, tags, lock. One transaction replaces the content
where the version is still as it was seen, or nothing; a client that wrote or deleted it meanwhile has won by then.
"""

from collections.abc import AsyncIterable, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

from gateway.engine.attributes import ObjectAttributes
from gateway.engine.custody import Custody, NewContentKey
from gateway.engine.objects import describe, new_content, new_id
from gateway.engine.resealing import write_manifest
from gateway.engine.sealing import BlobPlan, BlobWriter
from gateway.s3.checksums import PayloadDigests
from storage.blobs.base import BlobStore, Buffer
from storage.catalogue.base import Catalogue
from storage.catalogue.commands import Lease, ReplaceContent, ReplacedVersion
from storage.catalogue.records import Blob, BlobRole, Bucket, Content, ObjectVersion
from storage.errors import CatalogueConflict, StorageError
from storage.seams import reach

Pieces = AsyncIterable[tuple[int, AsyncIterable[Buffer]]]
"""Part numbers from 1 on with the bytes of each part, or 0 with the whole. They raise where they are not proven."""


class Filler:
    """Fills versions of one realm."""

    def __init__(self, *, catalogue: Catalogue, custody: Custody, writer: BlobWriter, blobs: BlobStore) -> None:
        self._catalogue = catalogue
        self._custody = custody
        self._writer = writer
        self._blobs = blobs

    async def fill(
        self, bucket: Bucket, version: ObjectVersion, pieces: Pieces, lease: Callable[[], Awaitable[Lease]]
    ) -> None:
        """Seal the pieces, and let them be the content of a pending version.

        Raises:
            WrapsChanged, LeaseLost: the version is not what it was, or the job is another's; nothing is left behind.
            What the pieces raise: likewise.
            KeysError, StorageError: as their packages tell; whether it was filled is to be looked at again.
        """
        held = ObjectAttributes.decode(version.attributes)
        assert held.pending is not None, "only what has no bytes is filled"
        assert version.content_id is not None, "a delete marker has none"
        content_id = new_id()
        made = await self._custody.new_content_key(bucket.bucket_id, content_id, held.protection)
        content = new_content(bucket, content_id, made)
        keys: list[NewContentKey] = [made]  # on their way into the catalogue, as custody counts them
        written: list[Blob] = []
        try:
            async for number, chunks in pieces:
                written.append(await self._seal(bucket, version, content, made, number, chunks))
            assert sum(blob.plaintext_size for blob in written) == version.size, "the pieces see to that"
            content = replace(content, blobs=tuple(written))
            if written[0].role is BlobRole.PART:
                manifest, key = await write_manifest(self._custody, self._writer, bucket, version, content)
                keys.append(key)
                written.append(manifest)
                content = replace(content, blobs=tuple(written))
        except BaseException:
            await self._drop(written)
            raise
        attributes = {name: value for name, value in version.attributes.items() if name != "pending"}
        command = ReplaceContent(version.content_id, content, (ReplacedVersion(version, attributes),))
        reach("fill.sealed")
        try:
            async with self._writer.publishing(written[0]):
                await self._catalogue.replace_content(command, await lease())
        except CatalogueConflict:
            # A refusal is final. After any other failure the blobs may be live: then they are the sweep's to judge.
            await self._drop(written)
            raise

    async def _drop(self, written: list[Blob]) -> None:
        for blob in written:
            if blob.inline is None:
                with suppress(StorageError):  # what stays is an orphan for the sweep
                    await self._blobs.delete(blob.blob_id)

    async def _seal(
        self,
        bucket: Bucket,
        version: ObjectVersion,
        content: Content,
        made: NewContentKey,
        number: int,
        chunks: AsyncIterable[Buffer],
    ) -> Blob:
        blob_id, data_key, slot = new_id(), made.data_key, made.slot
        role, described = BlobRole.OBJECT, version
        if number:
            data_key, slot = self._custody.new_blob_key(data_key, content, blob_id)
            role = BlobRole.PART
        return await self._writer.write(
            BlobPlan(blob_id, role, data_key, slot, number),
            chunks,
            PayloadDigests(()),
            lambda size: describe(
                bucket,
                replace(described, size=size, etag="", attributes={}) if number else described,
                content.content_id,
                part_number=number,
            ),
            may_be_inline=not number,
        )
