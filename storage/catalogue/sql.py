"""The commands of the contract over SQL, the same for every database: each one a read or a transaction of rows.

A database says how reads, scans and transactions are run. Beside what it does a command names what it must hold until
its end; where there is one writer, that is nothing. Source: `base` says what each command promises.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from storage.catalogue import buckets, identities, jobs, listing, locks, uploads, versions, wraps
from storage.catalogue.commands import (
    CompleteUpload,
    Deleted,
    DeleteVersion,
    Found,
    HistoryPage,
    HistoryQuery,
    Lease,
    ListPage,
    ListQuery,
    MoveWraps,
    PublishVersion,
    ReplaceContent,
    UploadsPage,
    UploadsQuery,
    VersionChange,
    WrapsMark,
    WrapsPage,
)
from storage.catalogue.conflicts import NoSuchBucket
from storage.catalogue.locks import Lock
from storage.catalogue.records import (
    AccessKey,
    Account,
    Attributes,
    Blob,
    BlobRole,
    BlobState,
    Bucket,
    KeptEnvelopes,
    ObjectVersion,
    Part,
    Upload,
    Versioning,
)
from storage.catalogue.rows import to_micros
from storage.catalogue.session import Scan, Session, Transaction
from storage.errors import CatalogueConflict

T = TypeVar("T")


class SqlCatalogue(ABC):
    """`Catalogue`, but for what is a database's own."""

    @abstractmethod
    async def _read(self, read: Callable[[Session], T]) -> T:
        """Carry out a read of few rows."""

    @abstractmethod
    async def _scan(self, read: Callable[[Session], Scan[T]], *, is_short: bool = False) -> T:
        """Carry out a read of any number of rows; `is_short` where few of them are likely."""

    @abstractmethod
    def _write(self, run: Callable[[Transaction], T], *held: Lock, reclaims: bool = False) -> Awaitable[T]:
        """Carry out a command in a transaction, durable on return; `reclaims` if it gives space back."""

    async def create_account(self, account: Account, access_key: AccessKey | None = None) -> None:
        """See `Catalogue.create_account`."""
        await self._write(lambda tx: identities.create_account(tx, account, access_key), locks.of_name(account.name))

    async def get_account(self, account_id: bytes) -> Account:
        """See `Catalogue.get_account`."""
        return await self._read(lambda session: identities.get_account(session, account_id))

    async def get_account_by_name(self, name: str) -> Account:
        """See `Catalogue.get_account_by_name`."""
        return await self._read(lambda session: identities.get_account_by_name(session, name))

    async def list_accounts(self) -> tuple[Account, ...]:
        """See `Catalogue.list_accounts`."""
        return await self._scan(identities.list_accounts)

    async def create_access_key(self, access_key: AccessKey) -> None:
        """See `Catalogue.create_access_key`."""
        await self._write(
            lambda tx: identities.create_access_key(tx, access_key),
            locks.of_account(access_key.account_id),
            locks.of_name(access_key.access_key_id),
        )

    async def get_access_key(self, access_key_id: str) -> tuple[AccessKey, Account]:
        """See `Catalogue.get_access_key`."""
        return await self._read(lambda session: identities.get_access_key(session, access_key_id))

    async def list_access_keys(self, account_id: bytes) -> tuple[AccessKey, ...]:
        """See `Catalogue.list_access_keys`."""
        return await self._read(lambda session: identities.list_access_keys(session, account_id))

    async def set_access_key_enabled(self, access_key_id: str, enabled: bool) -> None:
        """See `Catalogue.set_access_key_enabled`."""
        await self._write(
            lambda tx: identities.set_access_key_enabled(tx, access_key_id, enabled),
            locks.of_name(access_key_id),
            reclaims=True,
        )

    async def delete_access_key(self, access_key_id: str) -> None:
        """See `Catalogue.delete_access_key`."""
        await self._write(
            lambda tx: identities.delete_access_key(tx, access_key_id), locks.of_name(access_key_id), reclaims=True
        )

    async def create_bucket(self, bucket: Bucket, limit: int) -> None:
        """See `Catalogue.create_bucket`."""
        await self._write(
            lambda tx: buckets.create_bucket(tx, bucket, limit),
            locks.of_account(bucket.account_id),
            locks.of_name(bucket.name),
        )

    async def get_bucket(self, name: str) -> Bucket:
        """See `Catalogue.get_bucket`."""
        return await self._read(lambda session: buckets.get_bucket(session, name))

    async def list_buckets(
        self, account_id: bytes, *, prefix: str = "", start_after: str = "", limit: int = 10_000
    ) -> tuple[Bucket, ...]:
        """See `Catalogue.list_buckets`."""
        return await self._scan(lambda session: buckets.list_buckets(session, account_id, prefix, start_after, limit))

    async def delete_bucket(self, bucket_id: bytes) -> None:
        """See `Catalogue.delete_bucket`."""
        await self._write(lambda tx: buckets.delete_bucket(tx, bucket_id), locks.of_bucket(bucket_id), reclaims=True)

    async def set_versioning(self, bucket_id: bytes, status: Versioning) -> None:
        """See `Catalogue.set_versioning`."""
        await self._write(lambda tx: buckets.set_versioning(tx, bucket_id, status), locks.of_bucket(bucket_id))

    async def enable_object_lock(self, bucket_id: bytes) -> None:
        """See `Catalogue.enable_object_lock`."""
        await self._write(lambda tx: buckets.enable_object_lock(tx, bucket_id), locks.of_bucket(bucket_id))

    async def put_configuration(
        self, bucket_id: bytes, kind: str, document: bytes | None, lease: Lease | None = None
    ) -> None:
        """See `Catalogue.put_configuration`."""
        await self._write(
            lambda tx: buckets.put_configuration(tx, bucket_id, kind, document, lease),
            locks.of_bucket(bucket_id),
            *_under(lease),
            reclaims=document is None,
        )

    async def get_configuration(self, bucket_id: bytes, kind: str) -> bytes | None:
        """See `Catalogue.get_configuration`."""
        return await self._read(lambda session: buckets.get_configuration(session, bucket_id, kind))

    async def publish_version(self, command: PublishVersion) -> ObjectVersion:
        """See `Catalogue.publish_version`."""
        versions.check_publishable(command)
        return await self._write(
            lambda tx: versions.publish_version(tx, command),
            *locks.of_object(command.version.bucket_id, command.version.object_key),
            *_under(command.conditions.lease),
        )

    async def get_version(
        self, bucket_id: bytes, object_key: bytes, version_id: str | None = None, *, with_content: bool = True
    ) -> Found:
        """See `Catalogue.get_version`."""
        return await self._scan(
            lambda session: versions.get_version(session, bucket_id, object_key, version_id, with_content),
            is_short=True,
        )

    async def delete_versions(
        self, bucket_id: bytes, commands: Sequence[DeleteVersion]
    ) -> tuple[Deleted | CatalogueConflict, ...]:
        """See `Catalogue.delete_versions`. Each is a command of its own, so a thousand do not hold up the rest.

        Those of one key are done one after the other, since each changes what the next one finds.
        """
        await self._read(lambda session: versions.require_bucket(session, bucket_id))
        results: dict[int, Deleted | CatalogueConflict] = {}
        by_key: dict[bytes, list[tuple[int, DeleteVersion]]] = {}
        for place, command in enumerate(commands):
            by_key.setdefault(command.object_key, []).append((place, command))

        async def in_turn(turns: Sequence[tuple[int, DeleteVersion]]) -> None:
            for place, command in turns:
                try:
                    results[place] = await self._delete_version(bucket_id, command)
                except NoSuchBucket:
                    raise
                except CatalogueConflict as refusal:
                    results[place] = refusal

        for ended in await asyncio.gather(*map(in_turn, by_key.values()), return_exceptions=True):
            if ended is not None:
                raise ended
        return tuple(results[place] for place in range(len(commands)))

    def _delete_version(self, bucket_id: bytes, command: DeleteVersion) -> Awaitable[Deleted]:
        return self._write(
            lambda tx: versions.delete_version(tx, bucket_id, command),
            *locks.of_object(bucket_id, command.object_key),
            *_under(command.conditions.lease),
            reclaims=True,
        )

    async def update_version(
        self, bucket_id: bytes, object_key: bytes, version_id: str | None, change: VersionChange
    ) -> ObjectVersion:
        """See `Catalogue.update_version`."""
        return await self._write(
            lambda tx: versions.update_version(tx, bucket_id, object_key, version_id, change),
            *locks.of_object(bucket_id, object_key),
        )

    async def list_versions(self, bucket_id: bytes, query: ListQuery) -> ListPage:
        """See `Catalogue.list_versions`."""
        return await self._scan(lambda session: listing.list_versions(session, bucket_id, query))

    async def list_history(self, bucket_id: bytes, query: HistoryQuery) -> HistoryPage:
        """See `Catalogue.list_history`."""
        return await self._scan(lambda session: listing.list_history(session, bucket_id, query))

    async def create_upload(self, upload: Upload) -> None:
        """See `Catalogue.create_upload`."""
        await self._write(
            lambda tx: uploads.create_upload(tx, upload),
            locks.in_bucket(upload.bucket_id),
            locks.of_upload(upload.upload_id),
        )

    async def get_upload(self, bucket_id: bytes, object_key: bytes, upload_id: bytes) -> Upload:
        """See `Catalogue.get_upload`."""
        return await self._read(lambda session: uploads.get_upload(session, bucket_id, object_key, upload_id))

    async def put_part(self, part: Part) -> None:
        """See `Catalogue.put_part`."""
        await self._write(lambda tx: uploads.put_part(tx, part), locks.of_upload(part.upload_id))

    async def list_parts(self, upload_id: bytes, *, after: int = 0, limit: int = 10_000) -> tuple[Part, ...]:
        """See `Catalogue.list_parts`."""
        return await self._scan(lambda session: uploads.list_parts(session, upload_id, after, limit))

    async def list_uploads(self, bucket_id: bytes, query: UploadsQuery) -> UploadsPage:
        """See `Catalogue.list_uploads`."""
        return await self._scan(lambda session: listing.list_uploads(session, bucket_id, query))

    async def complete_upload(self, command: CompleteUpload) -> ObjectVersion:
        """See `Catalogue.complete_upload`."""
        return await self._write(
            lambda tx: uploads.complete_upload(tx, command),
            *locks.of_object(command.version.bucket_id, command.version.object_key),
            locks.of_upload(command.upload_id),
            *_under(command.conditions.lease),
        )

    async def abort_upload(self, bucket_id: bytes, object_key: bytes, upload_id: bytes) -> None:
        """See `Catalogue.abort_upload`."""
        await self._write(
            lambda tx: uploads.abort_upload(tx, bucket_id, object_key, upload_id),
            locks.of_upload(upload_id),
            reclaims=True,
        )

    async def forget_completed_uploads(self, before: datetime) -> int:
        """See `Catalogue.forget_completed_uploads`."""
        return await self._write(lambda tx: uploads.forget_completed_uploads(tx, to_micros(before)), reclaims=True)

    async def blob_states(self, blob_ids: Sequence[bytes]) -> dict[bytes, BlobState]:
        """See `Catalogue.blob_states`."""
        return await self._scan(lambda session: jobs.blob_states(session, blob_ids))

    async def condemn_orphans(self, blob_ids: Sequence[bytes], lease: Lease) -> tuple[bytes, ...]:
        """See `Catalogue.condemn_orphans`."""
        return await self._write(
            lambda tx: jobs.condemn_orphans(tx, blob_ids, lease), locks.of_job(lease.name), reclaims=True
        )

    async def list_condemned(self, before: datetime, limit: int, role: BlobRole | None = None) -> tuple[bytes, ...]:
        """See `Catalogue.list_condemned`."""
        return await self._scan(lambda session: jobs.list_condemned(session, to_micros(before), limit, role))

    async def forget_condemned(self, blob_ids: Sequence[bytes], lease: Lease) -> None:
        """See `Catalogue.forget_condemned`."""
        await self._write(
            lambda tx: jobs.forget_condemned(tx, blob_ids, lease), locks.of_job(lease.name), reclaims=True
        )

    async def list_wraps(self, mark: WrapsMark, limit: int) -> WrapsPage:
        """See `Catalogue.list_wraps`."""
        return await self._scan(lambda session: wraps.list_wraps(session, mark, limit))

    async def move_wraps(self, command: MoveWraps, lease: Lease) -> tuple[bytes, ...]:
        """See `Catalogue.move_wraps`."""
        return await self._write(lambda tx: wraps.move_wraps(tx, command, lease), locks.of_job(lease.name))

    async def moved_wraps(self, wrap_ids: Sequence[bytes]) -> frozenset[bytes]:
        """See `Catalogue.moved_wraps`."""
        return await self._scan(lambda session: wraps.moved_wraps(session, wrap_ids))

    async def list_envelopes(self, after: bytes = b"", limit: int = 1000) -> tuple[KeptEnvelopes, ...]:
        """See `Catalogue.list_envelopes`."""
        return await self._scan(lambda session: wraps.list_envelopes(session, after, limit))

    async def replace_envelopes(self, envelopes_id: bytes, blob: Blob, wrap_ids: Sequence[bytes], lease: Lease) -> None:
        """See `Catalogue.replace_envelopes`."""
        await self._write(
            lambda tx: wraps.replace_envelopes(tx, envelopes_id, blob, wrap_ids, lease), locks.of_job(lease.name)
        )

    async def versions_of_content(
        self, content_id: bytes, known: ObjectVersion | None = None
    ) -> tuple[tuple[ObjectVersion, bytes | None], ...]:
        """See `Catalogue.versions_of_content`."""
        return await self._scan(lambda session: wraps.versions_of_content(session, content_id, known))

    async def replace_content(self, command: ReplaceContent, lease: Lease) -> None:
        """See `Catalogue.replace_content`."""
        await self._write(
            lambda tx: wraps.replace_content(tx, command, lease), locks.of_job(lease.name), *_objects_of(command)
        )

    async def acquire_lease(self, name: str, holder: str, duration: timedelta) -> Lease:
        """See `Catalogue.acquire_lease`."""
        return await self._write(
            lambda tx: jobs.acquire_lease(tx, name, holder, duration), locks.of_job(name), reclaims=True
        )

    async def release_lease(self, lease: Lease) -> None:
        """See `Catalogue.release_lease`."""
        await self._write(lambda tx: jobs.release_lease(tx, lease), locks.of_job(lease.name), reclaims=True)

    async def trim_changes(self, through: int, lease: Lease) -> int:
        """See `Catalogue.trim_changes`."""
        return await self._write(
            lambda tx: jobs.trim_changes(tx, through, lease), locks.of_job(lease.name), reclaims=True
        )

    async def read_inline(self, blob_ids: Sequence[bytes]) -> dict[bytes, bytes]:
        """See `Catalogue.read_inline`."""
        return await self._scan(lambda session: jobs.read_inline(session, blob_ids))

    async def read_rows(self, table: str, after: Attributes | None, limit: int) -> tuple[Attributes, ...]:
        """See `Catalogue.read_rows`."""
        return await self._scan(lambda session: jobs.read_rows(session, table, after, limit))

    async def get_cursor(self, name: str) -> int:
        """See `Catalogue.get_cursor`."""
        return await self._read(lambda session: jobs.get_cursor(session, name))

    async def set_cursor(self, name: str, sequence: int) -> None:
        """See `Catalogue.set_cursor`."""
        await self._write(lambda tx: jobs.set_cursor(tx, name, sequence), locks.of_job(name))


def _under(lease: Lease | None) -> Iterator[Lock]:
    """What keeps a lease as it is, where there is one, while many work under it at once."""
    if lease is not None:
        yield locks.under_job(lease.name)


def _objects_of(command: ReplaceContent) -> Iterator[Lock]:
    for change in command.versions:
        yield from locks.of_object(change.seen.bucket_id, change.seen.object_key)
