"""Versions of the reference catalogue. Source: `base`."""

from collections.abc import Sequence
from copy import deepcopy

from storage.catalogue.commands import (
    Deleted,
    DeleteVersion,
    Found,
    HistoryPage,
    HistoryQuery,
    ListPage,
    ListQuery,
    PublishVersion,
    VersionChange,
)
from storage.catalogue.conflicts import ContentGone, NoSuchVersion
from storage.catalogue.memory_state import Held, MemoryState, Version
from storage.catalogue.records import NULL_VERSION_ID, ObjectVersion, Versioning
from storage.catalogue.rules import (
    changed,
    check_change,
    check_pending,
    check_removable,
    check_seen,
    check_version_id,
    delete_marker,
    rolled_up,
)
from storage.errors import CatalogueConflict


class MemoryVersions(MemoryState):
    """What objects there are."""

    async def publish_version(self, command: PublishVersion) -> ObjectVersion:
        """See `Catalogue.publish_version`."""
        self._check_open()
        version = command.version
        self._judge(version, command.conditions)
        links = () if command.link is None else (command.link,)
        if command.content is not None:
            if command.content.content_id in self._contents:
                raise CatalogueConflict("the content is in use")
            self._check_blobs((*command.content.blobs, *links))
            self._contents[command.content.content_id] = Held(command.content, 1)
            self._add_blobs(command.content.blobs)
        elif command.share_content_id is not None:
            if command.share_content_id not in self._contents:
                raise ContentGone("the content was released")
            self._check_blobs(links)
            self._contents[command.share_content_id].reference_count += 1
        self._add_blobs(links)
        return self._make_current(version, command.link, "publish_version", command.notices)

    async def get_version(
        self, bucket_id: bytes, object_key: bytes, version_id: str | None = None, *, with_content: bool = True
    ) -> Found:
        """See `Catalogue.get_version`."""
        self._check_open()
        version = self._find(bucket_id, object_key, version_id)
        if version is None:
            raise NoSuchVersion("no such object or version")
        shown = self._shown(version)
        if shown.content_id is None or not with_content:
            return Found(shown, None)
        return Found(shown, self._contents[shown.content_id].content)

    async def delete_versions(
        self, bucket_id: bytes, commands: Sequence[DeleteVersion]
    ) -> tuple[Deleted | CatalogueConflict, ...]:
        """See `Catalogue.delete_versions`."""
        self._check_open()
        self._bucket(bucket_id)
        answers: list[Deleted | CatalogueConflict] = []
        for command in commands:
            try:
                answers.append(self._delete(bucket_id, command))
            except CatalogueConflict as refusal:
                answers.append(refusal)
        return tuple(answers)

    def _delete(self, bucket_id: bytes, command: DeleteVersion) -> Deleted:
        versioning = self._bucket(bucket_id).versioning
        self._check_conditions(self._find(bucket_id, command.object_key), command.conditions)
        target = self._find(bucket_id, command.object_key, command.version_id)
        shown = None if target is None else self._shown(target)
        check_seen(command.seen, shown)
        check_pending(command.pending, shown)
        if command.version_id is None and versioning is not Versioning.NEVER:
            marker_id = command.marker_id if versioning is Versioning.ENABLED else NULL_VERSION_ID
            check_version_id(marker_id, versioning)
            marker = delete_marker(bucket_id, command.object_key, marker_id, self._clock())
            self._make_current(marker, None, "publish_version", command.marker_notices)
            return Deleted(command.object_key, marker_version_id=marker_id)
        if target is None:
            return Deleted(command.object_key)
        check_removable(target.record.lock, self._clock(), bypass_governance=command.bypass_governance)
        self._remove(target)
        version_id = target.record.version_id
        self._record("delete_version", command.removal_notices)
        return Deleted(
            command.object_key, removed_version_id=version_id, removed_a_marker=target.record.is_delete_marker
        )

    async def update_version(
        self, bucket_id: bytes, object_key: bytes, version_id: str | None, change: VersionChange
    ) -> ObjectVersion:
        """See `Catalogue.update_version`."""
        self._check_open()
        check_change(change, self._bucket(bucket_id).object_lock)
        version = self._find(bucket_id, object_key, version_id)
        if version is None or version.record.is_delete_marker:
            raise NoSuchVersion("no such object or version")
        version.record = deepcopy(changed(version.record, change, self._clock()))
        self._record("update_version")
        return self._shown(version)

    async def list_versions(self, bucket_id: bytes, query: ListQuery) -> ListPage:
        """See `Catalogue.list_versions`."""
        self._check_open()
        entries: dict[bytes, ObjectVersion | None] = {}
        for (place_bucket, object_key), (current, *_) in self._versions.items():
            if (
                place_bucket == bucket_id
                and object_key.startswith(query.prefix)
                and not current.record.is_delete_marker
            ):
                prefix = rolled_up(object_key, query.prefix, query.delimiter)
                entries[object_key if prefix is None else prefix] = self._shown(current) if prefix is None else None
        names = sorted(name for name in entries if name > query.start_after)
        given = names[: query.limit]
        is_truncated = 0 < query.limit < len(names)
        return ListPage(
            versions=tuple(entry for name in given if (entry := entries[name]) is not None),
            common_prefixes=tuple(name for name in given if entries[name] is None),
            is_truncated=is_truncated,
            next_start_after=given[-1] if is_truncated else b"",
        )

    async def list_history(self, bucket_id: bytes, query: HistoryQuery) -> HistoryPage:
        """See `Catalogue.list_history`."""
        self._check_open()
        entries: list[ObjectVersion | bytes] = []
        for (place_bucket, object_key), held in sorted(self._versions.items()):
            if place_bucket != bucket_id or not object_key.startswith(query.prefix):
                continue
            prefix = rolled_up(object_key, query.prefix, query.delimiter)
            if prefix is None:
                entries += (self._shown(version) for version in self._behind(held, query))
            elif prefix > query.key_marker and prefix not in entries:
                entries.append(prefix)
        given = entries[: query.limit]
        is_truncated = 0 < query.limit < len(entries)
        last = given[-1] if is_truncated else b""
        return HistoryPage(
            versions=tuple(entry for entry in given if not isinstance(entry, bytes)),
            common_prefixes=tuple(entry for entry in given if isinstance(entry, bytes)),
            is_truncated=is_truncated,
            next_key_marker=last if isinstance(last, bytes) else last.object_key,
            next_version_id_marker=None if isinstance(last, bytes) else last.version_id,
        )

    def _behind(self, held: list[Version], query: HistoryQuery) -> list[Version]:
        """Versions of one key that stand behind the query's markers."""
        object_key = held[0].record.object_key
        if object_key != query.key_marker or not query.key_marker:
            return held if object_key > query.key_marker else []
        if query.version_id_marker is None:
            return []
        ids = [version.record.version_id for version in held]
        return held[ids.index(query.version_id_marker) + 1 :] if query.version_id_marker in ids else held
