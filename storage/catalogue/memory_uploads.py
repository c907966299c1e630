"""Multipart uploads of the reference catalogue. Source: `base`."""

from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime

from storage.catalogue.commands import UPKEEP, CompleteUpload, UploadsPage, UploadsQuery
from storage.catalogue.conflicts import NoSuchUpload, PartsChanged
from storage.catalogue.memory_state import Held, MemoryState, Opened
from storage.catalogue.records import ObjectVersion, Part, Upload
from storage.catalogue.rules import rolled_up
from storage.errors import CatalogueConflict

_BEGINNING = datetime.min.replace(tzinfo=UTC)


class MemoryUploads(MemoryState):
    """Uploads that are open or were completed."""

    def _upload(self, bucket_id: bytes, object_key: bytes, upload_id: bytes) -> Opened:
        held = self._uploads.get(upload_id)
        if held is None or (held.upload.bucket_id, held.upload.object_key) != (bucket_id, object_key):
            raise NoSuchUpload("no upload of that id under that key")
        return held

    def _open_upload(self, upload_id: bytes) -> Opened:
        held = self._uploads.get(upload_id)
        if held is None or held.upload.completed is not None:
            raise NoSuchUpload("no open upload of that id")
        return held

    async def create_upload(self, upload: Upload) -> None:
        """See `Catalogue.create_upload`."""
        self._check_open()
        self._bucket(upload.bucket_id)
        if upload.upload_id in self._uploads:
            raise CatalogueConflict("the upload id is taken")
        self._uploads[upload.upload_id] = Opened(deepcopy(upload))
        self._record("create_upload")

    async def get_upload(self, bucket_id: bytes, object_key: bytes, upload_id: bytes) -> Upload:
        """See `Catalogue.get_upload`."""
        self._check_open()
        return deepcopy(self._upload(bucket_id, object_key, upload_id).upload)

    async def put_part(self, part: Part) -> None:
        """See `Catalogue.put_part`."""
        self._check_open()
        held = self._open_upload(part.upload_id)
        self._check_blobs([part.blob])
        self._add_blobs([part.blob])
        if part.part_number in held.parts:
            self._condemn(held.parts[part.part_number].blob.blob_id)
        held.parts[part.part_number] = deepcopy(part)
        self._record("put_part")

    async def list_parts(self, upload_id: bytes, *, after: int = 0, limit: int = 10_000) -> tuple[Part, ...]:
        """See `Catalogue.list_parts`."""
        self._check_open()
        parts = self._open_upload(upload_id).parts
        return tuple(deepcopy([parts[number] for number in sorted(parts) if number > after][:limit]))

    async def list_uploads(self, bucket_id: bytes, query: UploadsQuery) -> UploadsPage:
        """See `Catalogue.list_uploads`."""
        self._check_open()
        entries: dict[tuple[bytes, datetime | None, bytes], Upload | None] = {}
        for held in self._uploads.values():
            upload = held.upload
            if (
                upload.completed is None
                and upload.bucket_id == bucket_id
                and upload.object_key.startswith(query.prefix)
            ):
                prefix = rolled_up(upload.object_key, query.prefix, query.delimiter)
                if prefix is None:
                    entries[upload.object_key, upload.created_at, upload.upload_id] = upload
                else:
                    entries[prefix, None, b""] = None
        marked = self._uploads.get(query.upload_id_marker or b"")
        names = []
        for name in sorted(entries, key=lambda name: (name[0], name[1] or _BEGINNING, name[2])):
            is_same_key = (
                name[0] == query.key_marker and entries[name] is not None and query.upload_id_marker is not None
            )
            is_behind_marked = (
                marked is None
                or marked.upload.object_key != query.key_marker
                or (name[1] is not None and (name[1], name[2]) > (marked.upload.created_at, marked.upload.upload_id))
            )
            if name[0] > query.key_marker or (is_same_key and is_behind_marked):
                names.append(name)
        given = names[: query.limit]
        is_truncated = 0 < query.limit < len(names)
        return UploadsPage(
            uploads=tuple(deepcopy(entry) for name in given if (entry := entries[name]) is not None),
            common_prefixes=tuple(name[0] for name in given if entries[name] is None),
            is_truncated=is_truncated,
            next_key_marker=given[-1][0] if is_truncated else b"",
            next_upload_id_marker=given[-1][2] or None if is_truncated else None,
        )

    async def complete_upload(self, command: CompleteUpload) -> ObjectVersion:
        """See `Catalogue.complete_upload`."""
        self._check_open()
        version = command.version
        held = self._upload(version.bucket_id, version.object_key, command.upload_id)
        if held.upload.completed is not None:
            if command.manifest.inline is None and command.manifest.blob_id not in self._blobs:
                self._add_blobs([command.manifest])
                self._condemn(command.manifest.blob_id)
                self._record(UPKEEP)
            return deepcopy(held.upload.completed)
        self._judge(version, command.conditions)
        for number, blob_id in command.parts:
            if number not in held.parts or held.parts[number].blob.blob_id != blob_id:
                raise PartsChanged(f"part {number} was uploaded again or is not there")
        self._check_blobs([command.manifest])
        self._add_blobs([command.manifest])
        kept = {number for number, _ in command.parts}
        for number, part in held.parts.items():
            if number not in kept:
                self._condemn(part.blob.blob_id)
        blobs = (*(held.parts[number].blob for number in sorted(kept)), command.manifest)
        content = replace(held.upload.content, blobs=blobs)
        self._contents[content.content_id] = Held(content, 1)
        if command.manifest_wrap == content.wrapped_key:
            self._forget_wrap(content.content_id)
        published = self._make_current(version, None, "complete_upload", command.notices)
        wrapless = replace(held.upload.content, wrapped_key=b"")
        held.upload = replace(held.upload, completed=deepcopy(published), content=wrapless)
        held.parts, held.completed_at = {}, self._clock()
        return published

    async def abort_upload(self, bucket_id: bytes, object_key: bytes, upload_id: bytes) -> None:
        """See `Catalogue.abort_upload`."""
        self._check_open()
        held = self._upload(bucket_id, object_key, upload_id)
        if held.upload.completed is not None:
            raise NoSuchUpload("the upload is completed")
        self._drop_upload(upload_id)
        self._record("abort_upload")

    async def forget_completed_uploads(self, before: datetime) -> int:
        """See `Catalogue.forget_completed_uploads`."""
        self._check_open()
        old = [
            key for key, held in self._uploads.items() if held.completed_at is not None and held.completed_at < before
        ]
        for upload_id in old:
            del self._uploads[upload_id]
        if old:
            self._record(UPKEEP)
        return len(old)
