"""Wrapped keys of the reference catalogue: walked, moved, replaced. Source: `base`."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import replace

from storage.catalogue.commands import (
    KeptWrap,
    Lease,
    MoveWraps,
    ReplaceContent,
    WrapMove,
    WrapOwner,
    WrapsMark,
    WrapsPage,
    WrapsStage,
)
from storage.catalogue.conflicts import WrapsChanged
from storage.catalogue.memory_state import Held, MemoryState, Version
from storage.catalogue.records import Blob, BlobRole, BlobState, Content, KeptEnvelopes, ObjectVersion


class MemoryWraps(MemoryState):
    """The wraps, and the envelopes blobs that they were moved to."""

    async def list_wraps(self, mark: WrapsMark, limit: int) -> WrapsPage:
        """See `Catalogue.list_wraps`."""
        self._check_open()
        steps = [(step, wraps) for step, wraps in self._wraps() if _place(step) > _place(mark)]
        given = steps[:limit]
        wraps = tuple(wrap for _, held in given for wrap in held)
        return WrapsPage(deepcopy(wraps), given[-1][0] if len(steps) > limit else None)

    def _wraps(self) -> Iterator[tuple[WrapsMark, list[KeptWrap]]]:
        """All wraps, by the upload, version or shared content that they are found with, in the order of a walk."""
        for upload_id in sorted(self._uploads):
            upload = self._uploads[upload_id].upload
            content = upload.content
            wrap_id, bucket_id = content.content_id, content.bucket_id
            if upload.completed is None:
                wrap = KeptWrap(WrapOwner.UPLOAD, wrap_id, bucket_id, content.wrapped_key, upload=upload)
                yield WrapsMark(WrapsStage.UPLOADS, upload_id=upload_id), [wrap]
        shared: dict[bytes, Version] = {}
        for (bucket_id, object_key), held in sorted(self._versions.items()):
            for version in held:
                mark = WrapsMark(WrapsStage.VERSIONS, b"", bucket_id, object_key, version.record.sequence)
                yield mark, [*self._wraps_of(version), *self._wraps_of_link(version)]
                if version.link_id is not None and version.record.content_id is not None:
                    shared.setdefault(version.record.content_id, version)
        for content_id, version in sorted(shared.items()):
            yield WrapsMark(WrapsStage.SHARED, content_id=content_id), list(self._wraps_of(version))

    def _wraps_of(self, version: Version) -> Iterator[KeptWrap]:
        shown = self._shown(version)
        if shown.content_id is None:
            return
        content = self._contents[shown.content_id].content
        wrap_id, bucket_id, wrapped_key = content.content_id, content.bucket_id, content.wrapped_key
        yield KeptWrap(WrapOwner.CONTENT, wrap_id, bucket_id, wrapped_key, lambda: shown, lambda: shown.attributes)
        for blob in content.blobs:
            if blob.role is BlobRole.MANIFEST:
                yield self._blob_wrap(blob.blob_id, content.bucket_id, shown)

    def _wraps_of_link(self, version: Version) -> Iterator[KeptWrap]:
        if version.link_id is not None:
            shown = self._shown(version)
            yield self._blob_wrap(version.link_id, shown.bucket_id, shown)

    def _blob_wrap(self, blob_id: bytes, bucket_id: bytes, shown: ObjectVersion) -> KeptWrap:
        blob = self._blobs[blob_id].blob
        assert blob is not None, "a live blob is known"
        return KeptWrap(WrapOwner.BLOB, blob_id, bucket_id, blob.wrapped_key, lambda: shown, blob=blob)

    async def move_wraps(self, command: MoveWraps, lease: Lease) -> tuple[bytes, ...]:
        """See `Catalogue.move_wraps`."""
        self._require_lease(lease)
        self._check_blobs([command.envelopes])
        self._add_blobs([command.envelopes])
        envelopes_id = command.envelopes.blob_id
        moved = [move.wrap_id for move in command.moves if self._move(move)]
        if not moved:
            self._condemn(envelopes_id)
            return ()
        self._envelopes[envelopes_id] = KeptEnvelopes(command.envelopes, command.epoch, len(moved))
        for wrap_id in moved:
            self._forget_wrap(wrap_id)
            self._moved[wrap_id] = envelopes_id
        self._record("move_wraps")
        return tuple(moved)

    def _move(self, move: WrapMove) -> bool:
        if move.owner is WrapOwner.BLOB:
            return self._move_blob(move)
        held = self._contents.get(move.wrap_id)
        if move.owner is WrapOwner.CONTENT and held is not None and held.content.wrapped_key == move.expected:
            held.content = _moved(held.content, move)
            return True
        opened = self._uploads.get(move.upload_id)
        is_open = opened is not None and opened.upload.completed is None
        if is_open and opened is not None and opened.upload.content.wrapped_key == move.expected:
            opened.upload = replace(opened.upload, content=_moved(opened.upload.content, move))
            return True
        return move.owner is WrapOwner.REALM

    def _move_blob(self, move: WrapMove) -> bool:
        entry = self._blobs.get(move.wrap_id)
        is_live = entry is not None and entry.state is BlobState.LIVE
        if not is_live or entry is None or entry.blob is None or entry.blob.wrapped_key != move.expected:
            return False
        entry.blob = replace(entry.blob, wrapped_key=move.envelope)
        self._refresh_manifest(entry.blob)
        return True

    def _refresh_manifest(self, manifest: Blob) -> None:
        """Contents hold their blobs by value here."""
        for held in self._contents.values():
            blobs = tuple(manifest if blob.blob_id == manifest.blob_id else blob for blob in held.content.blobs)
            held.content = replace(held.content, blobs=blobs)

    async def moved_wraps(self, wrap_ids: Sequence[bytes]) -> frozenset[bytes]:
        """See `Catalogue.moved_wraps`."""
        self._check_open()
        return frozenset(wrap_ids) & self._moved.keys()

    async def list_envelopes(self, after: bytes = b"", limit: int = 1000) -> tuple[KeptEnvelopes, ...]:
        """See `Catalogue.list_envelopes`."""
        self._check_open()
        return tuple(self._envelopes[blob_id] for blob_id in sorted(self._envelopes) if blob_id > after)[:limit]

    async def replace_envelopes(self, envelopes_id: bytes, blob: Blob, wrap_ids: Sequence[bytes], lease: Lease) -> None:
        """See `Catalogue.replace_envelopes`."""
        self._require_lease(lease)
        kept = self._envelopes.get(envelopes_id)
        if kept is None:
            raise WrapsChanged("the envelopes blob is gone")
        self._check_blobs([blob])
        moved = [wrap_id for wrap_id in wrap_ids if self._moved.get(wrap_id) == envelopes_id]
        if len(moved) != kept.wrap_count:
            raise WrapsChanged("a wrap would be lost with the envelopes blob")
        self._add_blobs([blob])
        self._moved.update(dict.fromkeys(moved, blob.blob_id))
        del self._envelopes[envelopes_id]
        self._envelopes[blob.blob_id] = replace(kept, blob=blob)
        self._condemn(envelopes_id)
        self._record("move_wraps")

    async def versions_of_content(
        self, content_id: bytes, known: ObjectVersion | None = None
    ) -> tuple[tuple[ObjectVersion, bytes | None], ...]:
        """See `Catalogue.versions_of_content`."""
        del known
        self._check_open()
        held = (version for versions in self._versions.values() for version in versions)
        return tuple(
            (self._shown(version), version.link_id) for version in held if version.record.content_id == content_id
        )

    async def replace_content(self, command: ReplaceContent, lease: Lease) -> None:
        """See `Catalogue.replace_content`."""
        self._require_lease(lease)
        old = self._contents.get(command.content_id)
        if old is None or old.reference_count != len(command.versions):
            raise WrapsChanged("the content is gone, or other versions have it")
        links = [change.link for change in command.versions if change.link is not None]
        self._check_blobs((*command.content.blobs, *links))
        found = []
        for change in command.versions:
            place = (change.seen.bucket_id, change.seen.object_key)
            held = (held for held in self._versions.get(place, []) if held.record.sequence == change.seen.sequence)
            version = next(held, None)
            if (
                version is None
                or version.record.content_id != command.content_id
                or version.record.attributes != change.seen.attributes
                or (version.link_id is None) != (change.link is None)
            ):
                raise WrapsChanged("a version is not what it was")
            found.append(version)
        self._contents[command.content.content_id] = Held(command.content, len(found))
        self._add_blobs((*command.content.blobs, *links))
        for version, change in zip(found, command.versions, strict=True):
            if version.link_id is not None:
                self._condemn(version.link_id)
            version.link_id = None if change.link is None else change.link.blob_id
            version.record = replace(
                version.record, content_id=command.content.content_id, attributes=deepcopy(dict(change.attributes))
            )
        self._drop_content(command.content_id)
        self._record("replace_content")


def _place(mark: WrapsMark) -> tuple[int, bytes, bytes, bytes, int, bytes]:
    """Where a mark stands in the order of the walk."""
    return mark.stage, mark.upload_id, mark.bucket_id, mark.object_key, -mark.sequence, mark.content_id


def _moved(content: Content, move: WrapMove) -> Content:
    kms_key_id = content.kms_key_id if move.kms_key_id is None else move.kms_key_id
    return replace(content, wrapped_key=move.envelope, kms_key_id=kms_key_id)
