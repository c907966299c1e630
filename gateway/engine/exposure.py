"""What leaked versions of a wrapping key open: whatever wrap stands under them in a row, or still rests in the store.

A rewrap moves rows alone. The slot of a blob is never rewritten, and neither is the wrap inside of a manifest or link,
so who has the version that wrapped them then, and the blobs, opens the content now as before. Source: docs/KEYS.md
"Incident"; FORMAT sections 4 and 11.1.
"""

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

from gateway.engine.custody import Custody, Envelope
from gateway.engine.envelopes import EnvelopesBlobs
from gateway.engine.rewrap import LeakedVersions
from gateway.engine.whole import read_proved_slot, read_whole
from keys.errors import KmsKeyError, UnwrapFailed
from storage.blobs.base import BlobStore
from storage.catalogue.base import Catalogue
from storage.catalogue.commands import KeptWrap, WrapOwner, WrapsMark
from storage.catalogue.conflicts import NoSuchVersion
from storage.catalogue.records import Blob, BlobRole, ObjectVersion
from storage.errors import BlobError, SealedDamaged
from storage.sealed.records import decode_link, decode_manifest

PAGE_VERSIONS = 512
UNREADABLE = (BlobError, SealedDamaged, UnwrapFailed, KmsKeyError)
"""What is wrong with one object, and holds up no other."""

_RECORDS = {BlobRole.MANIFEST: decode_manifest, BlobRole.LINK: decode_link}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Exposed:
    """A content, or that of an open upload, whose key leaked versions open."""

    content_id: bytes
    kept: KeptWrap
    """How it was found; its `upload` is None for a content."""
    by_row: bool
    """Whether its row lies under them, so that a scan of the rows counts it as well."""


class Exposure:
    """Looks for what leaked in one realm."""

    def __init__(
        self, *, catalogue: Catalogue, blobs: BlobStore, custody: Custody, envelopes: EnvelopesBlobs, realm_id: bytes
    ) -> None:
        self._catalogue = catalogue
        self._blobs = blobs
        self._custody = custody
        self._envelopes = envelopes
        self._realm_id = realm_id
        self.scanned_count = 0
        """Wraps that the last walk has seen."""

    async def walk(self, leaked: LeakedVersions) -> AsyncIterator[Exposed]:
        """All that is exposed, each content once. What cannot be read is told by the log, and counts as exposed.

        Raises: KmsUnavailable, KmsDenied, StorageUnavailable: nobody knows.
        """
        self.scanned_count = 0
        named, is_all_known = await self._named(leaked)
        told: set[bytes] = set()
        mark: WrapsMark | None = WrapsMark()
        while mark is not None:
            page = await self._catalogue.list_wraps(mark, PAGE_VERSIONS)
            moved = await self._catalogue.moved_wraps([kept.wrap_id for kept in page.wraps])
            if not is_all_known:  # each of them may stand in a blob that does not open here, and does for a thief
                named |= moved
            rows = {kept.wrap_id: kept.envelope for kept in page.wraps if kept.owner is not WrapOwner.BLOB}
            for kept in page.wraps:
                self.scanned_count += 1
                content_id = _content_of(kept)
                wrapped = Envelope.decode(rows[content_id]).kms_wrapped
                if content_id in told or wrapped is None:  # under a key of the client, and no other
                    continue
                by_row = leaked.covers(wrapped)
                if by_row or await self._is_open(leaked, kept, is_moved=kept.wrap_id in moved, named=named):
                    told.add(content_id)
                    yield Exposed(content_id, kept, by_row)
            mark = page.next_mark

    async def _named(self, leaked: LeakedVersions) -> tuple[set[bytes], bool]:
        """What envelopes blobs name under the leaked versions, also where its row has moved on since.

        And whether all of them opened: who can write to the store may keep a copy of one, and damage what would tell.
        """
        named, is_all_known = set[bytes](), True
        async for kept in self._envelopes.all():
            try:
                held = await self._envelopes.read(kept.blob)
            except UNREADABLE as error:
                _log.error(
                    "envelopes blob %s does not open, so all that was moved counts: %s", kept.blob.blob_id.hex(), error
                )
                is_all_known = False
                continue
            named.update(wrap_id for wrap_id, envelope in held.entries if _covers(leaked, envelope))
        return named, is_all_known

    async def _is_open(self, leaked: LeakedVersions, kept: KeptWrap, *, is_moved: bool, named: set[bytes]) -> bool:
        """Whether blobs of the store give the key of a content to who has the leaked versions."""
        try:
            if kept.owner is WrapOwner.BLOB:
                assert kept.blob is not None, "a manifest or link comes with its blob"
                return await self._record_is_open(leaked, kept, kept.blob, is_named=kept.wrap_id in named)
            if kept.wrap_id in named:
                return True
            version = kept.version if is_moved else None
            blob = None if version is None else await self._object_blob(kept.wrap_id, version)
            return blob is not None and _covers(leaked, await self._slot(blob))
        except UNREADABLE as error:
            _log.error("what %s leaks cannot be told: %s", kept.wrap_id.hex(), error)
            return True

    async def _slot(self, blob: Blob) -> bytes:
        """Proved, since who can write to the store could hide what he opens behind another slot."""
        return await read_proved_slot(self._blobs, self._realm_id, blob)

    async def _object_blob(self, content_id: bytes, version: ObjectVersion) -> Blob | None:
        """The one blob whose slot has the content key; parts have theirs in the manifest."""
        try:
            found = await self._catalogue.get_version(version.bucket_id, version.object_key, version.version_id)
        except NoSuchVersion:
            return None
        if found.content is None or found.content.content_id != content_id:
            return None
        return next((blob for blob in found.content.blobs if blob.role is BlobRole.OBJECT), None)

    async def _record_is_open(self, leaked: LeakedVersions, kept: KeptWrap, blob: Blob, *, is_named: bool) -> bool:
        """Whether leaked versions open a manifest or link, and then the wrap of the content inside of it."""
        slot = await self._slot(blob)
        if not is_named and not any(_covers(leaked, each) for each in (slot, kept.envelope or slot)):
            return False
        key = await self._custody.open_content_key(kept.bucket_id, kept.wrap_id, kept.envelope or slot)
        record = _RECORDS[blob.role](await read_whole(self._blobs, self._realm_id, blob, key))
        return _covers(leaked, record.wrapped_key)


def _content_of(kept: KeptWrap) -> bytes:
    """The content that a wrap is of, or leads to."""
    if kept.owner is not WrapOwner.BLOB:
        return kept.wrap_id
    version = kept.version
    assert version is not None, "manifests and links are found with a version"
    assert version.content_id is not None, "which has a content"
    return version.content_id


def _covers(leaked: LeakedVersions, envelope: bytes) -> bool:
    wrapped = Envelope.decode(envelope).kms_wrapped
    return wrapped is not None and leaked.covers(wrapped)
