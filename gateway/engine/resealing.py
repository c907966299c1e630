"""Sealing a content anew: the same bytes under fresh keys in new blobs, and then nothing left of the old ones.

The bytes are read, sealed, read back and compared before one transaction puts the new content under every version that
had the old one; versions, tags, locks, ETags and checksums stay. What a key that leaked still opens is destroyed then,
at once, past the time of grace. Source: docs/KEYS.md "Incident"; DESIGN part 3.
"""

import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime

from gateway.engine.attributes import ObjectAttributes, SealedChecksum, decode_checksum, encode_checksum
from gateway.engine.custody import Custody, Envelope, NewContentKey, Unlock
from gateway.engine.objects import ObjectEngine, blob_references, describe, in_turns, new_id
from gateway.engine.opening import BlobOpener
from gateway.engine.protection import Mode, Protection
from gateway.engine.sealing import BlobPlan, BlobWriter
from gateway.s3.checksums import PayloadDigests
from keys.datakey import DataKey
from keys.errors import KmsKeyError, UnwrapFailed
from storage.blobs.base import BlobStore, Buffer
from storage.catalogue.base import Catalogue
from storage.catalogue.commands import Found, Lease, ReplaceContent, ReplacedVersion
from storage.catalogue.conflicts import NoSuchVersion, WrapsChanged
from storage.catalogue.records import Attributes, Blob, BlobRole, BlobState, Bucket, Content, ObjectVersion
from storage.errors import BlobError, CatalogueConflict, Damaged, SealedDamaged, StorageError
from storage.sealed.records import Manifest, manifest_pieces
from storage.seams import reach

_PAGE = 500
ATTEMPTS = 3
"""How often a content is sealed anew whose versions change meanwhile."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class ResealReport:
    """What was sealed anew and what could not be."""

    sealed_count: int = 0
    sealed_bytes: int = 0
    destroyed_blob_count: int = 0
    remaining_blob_count: int = 0
    """Blobs that the store would not delete: a lock of its own holds them."""
    customer_count: int = 0
    """Contents under a key that the client holds."""
    changed_count: int = 0
    """Contents whose versions were changed or deleted meanwhile, again and again."""
    gone_count: int = 0


class Buckets:
    """Buckets by id, as the catalogue has them by name: read once, and again for one that is not there."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._known: dict[bytes, Bucket] = {}

    async def find(self, bucket_id: bytes) -> Bucket | None:
        """The bucket of that id; None where it is gone."""
        if bucket_id not in self._known:
            for account in await self._catalogue.list_accounts():
                for bucket in await self._catalogue.list_buckets(account.account_id):
                    self._known[bucket.bucket_id] = bucket
        return self._known.get(bucket_id)


class Destroyer:
    """Deletes blobs that were condemned, at once."""

    def __init__(self, catalogue: Catalogue, blobs: BlobStore, clock: Callable[[], datetime]) -> None:
        self._catalogue = catalogue
        self._blobs = blobs
        self._clock = clock

    async def destroy(self, blob_ids: Sequence[bytes], lease: Lease) -> tuple[list[bytes], list[bytes]]:
        """Delete those of these blobs that are condemned; the ids that went, and those that the store kept."""
        states = await self._catalogue.blob_states(blob_ids)
        gone, kept = [], []
        for blob_id in (blob_id for blob_id in blob_ids if states.get(blob_id) is BlobState.CONDEMNED):
            try:
                await self._blobs.delete(blob_id)
            except StorageError as error:
                _log.warning("blob %s stays: %s", blob_id.hex(), error)
                kept.append(blob_id)
            else:
                gone.append(blob_id)
        if gone:
            await self._catalogue.forget_condemned(gone, lease)
        return gone, kept

    async def destroy_envelopes(self, lease: Callable[[], Awaitable[Lease]]) -> int:
        """Delete all envelopes blobs that no row needs any more; how many of them the store kept."""
        while condemned := await self._catalogue.list_condemned(self._clock(), _PAGE, BlobRole.ENVELOPES):
            gone, kept = await self.destroy(condemned, await lease())
            if not gone:
                return len(kept)
        return 0


class Resealer:
    """Seals contents of one realm anew."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        custody: Custody,
        writer: BlobWriter,
        opener: BlobOpener,
        objects: ObjectEngine,
        blobs: BlobStore,
        destroyer: Destroyer,
        lease: Callable[[], Awaitable[Lease]],
    ) -> None:
        self._catalogue = catalogue
        self._custody = custody
        self._writer = writer
        self._opener = opener
        self._objects = objects
        self._lease = lease
        self._blobs = blobs
        self._destroyer = destroyer
        self._buckets = Buckets(catalogue)

    async def reseal(
        self,
        content_id: bytes,
        known: ObjectVersion | None,
        report: ResealReport,
        prefer: Callable[[ObjectVersion], bool] = lambda _: True,
    ) -> None:
        """Seal one content anew under all of its versions, one of which may be known, and destroy its old blobs.

        Blobs describe a version that is preferred, where there is one.

        Raises:
            Damaged, BlobError: its bytes do not open; nothing was changed.
            LeaseLost, KeysError, StorageError: as their packages tell.
        """
        for _ in range(ATTEMPTS):
            versions = await self._catalogue.versions_of_content(content_id, known)
            if not versions:
                report.gone_count += 1
                return
            first = next((version for version, _ in versions if prefer(version)), versions[0][0])
            try:
                found = await self._catalogue.get_version(first.bucket_id, first.object_key, first.version_id)
            except NoSuchVersion:
                continue
            old = found.content
            if old is None or old.content_id != content_id:
                continue
            if ObjectAttributes.decode(first.attributes).protection.mode is Mode.CUSTOMER:
                report.customer_count += 1
                return
            try:
                await self._replace(old, found, versions)
            except WrapsChanged:
                continue
            links = [link_id for _, link_id in versions if link_id is not None]
            report.sealed_count += 1
            report.sealed_bytes += found.version.size
            stored = [blob.blob_id for blob in old.blobs if blob.inline is None] + links
            gone, kept = await self._destroyer.destroy(stored, await self._lease())
            report.destroyed_blob_count += len(gone) + len(old.blobs) + len(links) - len(stored)
            report.remaining_blob_count += len(kept)
            reach("reseal.destroyed")
            return
        report.changed_count += 1

    async def _replace(
        self, old: Content, found: Found, versions: Sequence[tuple[ObjectVersion, bytes | None]]
    ) -> None:
        """Make the new content and put it in the old one's place. Raises: WrapsChanged, with nothing left behind."""
        protection = ObjectAttributes.decode(found.version.attributes).protection
        unlock = Unlock(protection.context)
        bucket = await self._bucket_of(found.version)
        content_id = new_id()
        made = await self._custody.new_content_key(old.bucket_id, content_id, _under_present_key(protection, old))
        old_key = await self._custody.open_content_key(old.bucket_id, old.content_id, old.wrapped_key, unlock)
        content = replace(old, content_id=content_id, wrapped_key=made.slot, blobs=())
        held: list[NewContentKey] = [made]  # on their way into the catalogue, as custody counts them
        written: list[Blob] = []
        try:
            for blob in old.payload_blobs:
                sealed = await self._seal(old, blob, content, made.data_key, bucket, found.version, unlock)
                written.append(sealed)  # what is written when one fails is to be known
            content = replace(content, blobs=tuple(written))
            if any(blob.role is BlobRole.MANIFEST for blob in old.blobs):
                manifest, key = await write_manifest(self._custody, self._writer, bucket, found.version, content)
                held.append(key)
                written.append(manifest)
            changes = []
            for version, link_id in versions:
                link: Blob | None = None
                if link_id is not None:
                    link, key = await self._objects.write_link(await self._bucket_of(version), version, content)
                    held.append(key)
                    written.append(link)
                attributes = self._attributes(version, old, old_key, content, made.data_key)
                changes.append(ReplacedVersion(version, attributes, link))
            content = replace(content, blobs=tuple(blob for blob in written if blob.role is not BlobRole.LINK))
            reach("reseal.sealed")
            command = ReplaceContent(old.content_id, content, tuple(changes))
            await self._catalogue.replace_content(command, await self._lease())
            reach("reseal.replaced")
        except (CatalogueConflict, Damaged, BlobError, KmsKeyError, UnwrapFailed):
            for blob in written:
                if blob.inline is None:
                    await self._blobs.delete(blob.blob_id)
            raise

    async def _bucket_of(self, version: ObjectVersion) -> Bucket:
        bucket = await self._buckets.find(version.bucket_id)
        if bucket is None:
            raise WrapsChanged("the bucket is gone")
        return bucket

    async def _seal(
        self,
        old: Content,
        blob: Blob,
        content: Content,
        content_key: DataKey,
        bucket: Bucket,
        version: ObjectVersion,
        unlock: Unlock,
    ) -> Blob:
        """One blob's bytes in a new blob under a fresh key, read back and compared."""
        blob_id, data_key, slot = new_id(), content_key, content.wrapped_key
        if blob.role is BlobRole.PART:
            data_key, slot = self._custody.new_blob_key(content_key, content, blob_id)
            version = replace(version, size=blob.plaintext_size, etag="", attributes={})
        hashes = hashlib.sha256(), hashlib.sha256()
        sealed = await self._writer.write(
            BlobPlan(blob_id, blob.role, data_key, slot, blob.part_number),
            self._bytes_of(old, blob, unlock, hashes[0].update),
            PayloadDigests(()),
            lambda _: describe(bucket, version, content.content_id, part_number=blob.part_number),
            may_be_inline=blob.inline is not None,
        )
        reach("reseal.blob_durable")
        async for _ in self._bytes_of(replace(content, blobs=(sealed,)), sealed, unlock, hashes[1].update):
            pass
        if hashes[0].digest() != hashes[1].digest():
            raise SealedDamaged("what was sealed anew does not read as what was there")
        return sealed

    async def _bytes_of(
        self, content: Content, blob: Blob, unlock: Unlock, see: Callable[[Buffer], None]
    ) -> AsyncIterator[Buffer]:
        size = blob.plaintext_size
        alone = replace(content, blobs=(blob,))
        async with aclosing(await self._opener.open_span(alone, size, 0, size, unlock)) as pieces:
            async for piece in pieces:
                see(piece)
                yield bytes(piece)

    def _attributes(
        self, version: ObjectVersion, old: Content, old_key: DataKey, content: Content, content_key: DataKey
    ) -> Attributes:
        """A version's attributes; a checksum that lies under the content key comes under the new one."""
        checksum = decode_checksum(version.attributes.get("checksum"))
        if not isinstance(checksum, SealedChecksum):
            return version.attributes
        plain = self._custody.open_checksum(old_key, old, checksum)
        sealed = self._custody.seal_checksum(content_key, content, plain)
        return {**version.attributes, "checksum": encode_checksum(sealed)}


def _under_present_key(protection: Protection, old: Content) -> Protection:
    """As protected, by the key that wraps the content now: the one that SSE-KMS names may be retired since."""
    wrapped = Envelope.decode(old.wrapped_key).kms_wrapped
    if protection.mode is not Mode.KMS or wrapped is None:
        return protection
    return replace(protection, kms_key_id=wrapped.kms_key_id)


async def write_manifest(
    custody: Custody, writer: BlobWriter, bucket: Bucket, version: ObjectVersion, content: Content
) -> tuple[Blob, NewContentKey]:
    """The manifest of a content in parts, and its key, to be held until it is published. Raises: as `BlobWriter`."""
    blob_id = new_id()
    key = await custody.new_content_key(content.bucket_id, blob_id)
    record = Manifest(
        content_id=content.content_id,
        bucket_id=content.bucket_id,
        wrapped_key=content.wrapped_key,
        plaintext_size=version.size,
        blobs=await blob_references(content.payload_blobs),
    )
    manifest = await writer.write(
        BlobPlan(blob_id, BlobRole.MANIFEST, key.data_key, key.slot),
        in_turns(manifest_pieces(record)),
        PayloadDigests(()),
        lambda _: describe(bucket, version, content.content_id),
        may_be_inline=False,
    )
    return manifest, key
