"""The embedded catalogue: one encrypted SQLite file, one owner process, one writer thread with group commit.

Reads run on the event loop, point reads in one go and scans in slices of half a millisecond over a snapshot of their
own; decision record 0003 has the measurements. Source: DESIGN part 4.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

import apsw

from storage.catalogue import buckets, identities, jobs, listing, uploads, verifying, versions, wraps
from storage.catalogue.audit import Auditor
from storage.catalogue.base import (
    CatalogueStatistics,
    Change,
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
    NoSuchBucket,
    PublishVersion,
    ReplaceContent,
    UploadsPage,
    UploadsQuery,
    VersionChange,
    WrapsMark,
    WrapsPage,
)
from storage.catalogue.checkpoints import Checkpointer
from storage.catalogue.connection import connect, translated
from storage.catalogue.files import check_realm, create_file, migrate
from storage.catalogue.findings import Findings
from storage.catalogue.owner import OwnerLock, Reserve
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
from storage.catalogue.rowmac import RowMac
from storage.catalogue.rows import to_micros
from storage.catalogue.session import Scan, Transaction
from storage.catalogue.sqlite_session import SqliteSession, SqliteTransaction
from storage.catalogue.writer import Writer
from storage.errors import CatalogueConflict, StorageUnavailable

T = TypeVar("T")

RESERVE_BYTES = 8 << 20
"""Space kept for deletes on a full disk."""
SNAPSHOTS = 4
"""Scans that run at once; more wait for one of these."""
_CACHE_KIB = 16 << 10
_SCAN_CACHE_KIB = 4 << 10


class SqliteCatalogue:
    """`Catalogue` over SQLite. Make it with `create` or `open`, use it from one event loop, `close` it."""

    def __init__(
        self,
        lock: OwnerLock,
        writer: Writer,
        checkpointer: Checkpointer,
        auditor: Auditor,
        point: SqliteSession,
        scanners: list[SqliteSession],
    ) -> None:
        self._lock = lock
        self._auditor = auditor
        self._writer = writer
        self._checkpointer = checkpointer
        self._point = point
        self._scanners = scanners
        self._free_scanners = asyncio.Semaphore(len(scanners))
        self._closed: asyncio.Future[None] | None = None

    @classmethod
    def create(
        cls,
        path: Path,
        realm_id: bytes,
        database_key: bytes,
        row_mac_key: bytes,
        clock: Callable[[], datetime],
        *,
        reserve_bytes: int = RESERVE_BYTES,
    ) -> Self:
        """Make an empty catalogue and open it. Arguments and errors as `open`.

        Raises:
            CatalogueUnsafe: a catalogue is there already.
        """
        lock = OwnerLock(path.parent)
        try:
            create_file(path, realm_id, database_key, RowMac(row_mac_key, realm_id))
        except BaseException:
            lock.release()
            raise
        return cls._open(lock, path, realm_id, database_key, row_mac_key, clock, reserve_bytes)

    @classmethod
    def open(
        cls,
        path: Path,
        realm_id: bytes,
        database_key: bytes,
        row_mac_key: bytes,
        clock: Callable[[], datetime],
        *,
        reserve_bytes: int = RESERVE_BYTES,
    ) -> Self:
        """Open an existing catalogue and own it until `close`. Blocks for some milliseconds, longer after a crash.

        One that an older version of this program wrote is verified and brought to today's schema first
        (`files.migrate`), which takes about ten seconds of CPU for a million rows.

        It looks for damage (`audit`) for a moment before it returns, and goes on with that beside what it serves.

        Args:
            path: the database; lock, log and reserve stand beside it.
            realm_id: 16 bytes, the realm that the caller expects.
            database_key: 32 raw bytes, the key of the file.
            row_mac_key: 32 raw bytes, the key of the rows' MACs.
            clock: the time, aware.
            reserve_bytes: space kept for deletes on a full disk.

        Raises:
            CatalogueBusy: another process owns it.
            CatalogueUnsafe: library, settings, schema or database key are not right.
            RealmMismatch: it belongs to another realm, or its rows to another key.
            RowDamaged: it is damaged.
            StorageUnavailable: it cannot be read.
        """
        return cls._open(OwnerLock(path.parent), path, realm_id, database_key, row_mac_key, clock, reserve_bytes)

    @classmethod
    def _open(
        cls,
        lock: OwnerLock,
        path: Path,
        realm_id: bytes,
        database_key: bytes,
        row_mac_key: bytes,
        clock: Callable[[], datetime],
        reserve_bytes: int,
    ) -> Self:
        with ExitStack() as undo:
            undo.callback(lock.release)
            mac = RowMac(row_mac_key, realm_id)
            migrate(path, realm_id, database_key, mac)
            findings = Findings()

            def session(cache_kib: int) -> SqliteSession:
                connection = connect(path, database_key, cache_kib=cache_kib)
                undo.callback(connection.close)
                return SqliteSession(connection, mac, findings)

            point = session(_CACHE_KIB)
            check_realm(point, realm_id, mac)
            scanners = [session(_SCAN_CACHE_KIB) for _ in range(SNAPSHOTS)]
            checkpointer = Checkpointer(connect(path, database_key, cache_kib=_SCAN_CACHE_KIB))
            undo.callback(checkpointer.close)

            def connect_writer() -> SqliteTransaction:
                connection = connect(path, database_key, cache_kib=_CACHE_KIB)
                connection.set_wal_hook(lambda _connection, _name, pages: checkpointer.notice(pages))
                with translated(connection):
                    return SqliteTransaction(connection, mac, findings)

            auditor = Auditor(session(_SCAN_CACHE_KIB))
            undo.callback(auditor.close)
            reserve = Reserve(path.with_name(path.name + ".reserve"), reserve_bytes)
            reserve.restore()
            writer = Writer(connect_writer, lambda: to_micros(clock()), reserve)
            undo.pop_all()
        return cls(lock, writer, checkpointer, auditor, point, scanners)

    async def close(self) -> None:
        """See `Catalogue.close`."""
        if self._closed is None:
            loop = asyncio.get_running_loop()
            self._closed = loop.create_future()
            for _ in range(len(self._scanners)):
                await self._free_scanners.acquire()
            ending = threading.Thread(target=self._finish, args=(loop, self._closed), name="catalogue-close")
            ending.start()
            await asyncio.shield(self._closed)
            ending.join()
        await asyncio.shield(self._closed)

    def _finish(self, loop: asyncio.AbstractEventLoop, done: "asyncio.Future[None]") -> None:
        """What blocks in `close`, in a thread of its own."""
        try:
            self._auditor.close()
            self._writer.close()
            for session in (self._point, *self._scanners):
                session.connection.close()
            self._checkpointer.close()
            self._lock.release()
        finally:
            loop.call_soon_threadsafe(done.set_result, None)

    def _check_open(self) -> None:
        if self._closed is not None:
            raise StorageUnavailable("the catalogue is closed")

    def _read(self, read: Callable[[SqliteSession], T]) -> T:
        """A read of few rows, on the loop: it costs less than a hop to a thread."""
        self._check_open()
        with translated(self._point.connection), self._point.snapshot():
            return read(self._point)

    async def _scan(self, read: Callable[[SqliteSession], Scan[T]]) -> T:
        """A read of any number of rows: small ones end in the first slice, others go on in a snapshot of their own."""
        self._check_open()
        with translated(self._point.connection), self._point.snapshot():
            scan = read(self._point)
            try:
                next(scan)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]  # a generator's return value is untyped there
            finally:
                scan.close()
        async with self._long_read() as session:
            return await self._drive(read(session))

    @asynccontextmanager
    async def _long_read(self) -> AsyncIterator[SqliteSession]:
        """A session of its own over a snapshot of its own."""
        async with self._free_scanners:
            self._check_open()
            session = self._scanners.pop()
            try:
                with translated(session.connection), session.snapshot():
                    yield session
            finally:
                self._scanners.append(session)

    async def _drive(self, scan: Scan[T]) -> T:
        """Let others run between the slices of a scan, which ends early where the catalogue is closed."""
        try:
            while True:
                try:
                    next(scan)
                except StopIteration as done:
                    return done.value  # type: ignore[no-any-return]  # a generator's return value is untyped there
                await asyncio.sleep(0)
                self._check_open()
        finally:
            scan.close()

    async def _write(self, run: Callable[[Transaction], T], *, reclaims: bool = False) -> T:
        return await self._writer.submit(run, reclaims=reclaims)

    def statistics(self) -> CatalogueStatistics:
        """See `Catalogue.statistics`."""
        return CatalogueStatistics(self._writer.batches, self._writer.commands)

    async def realm_id(self) -> bytes:
        """See `Catalogue.realm_id`. Fails also where the writer has ended: readiness is asked by this."""
        self._writer.check_open()
        return self._read(lambda session: session.realm().realm_id)

    async def create_account(self, account: Account, access_key: AccessKey | None = None) -> None:
        """See `Catalogue.create_account`."""
        await self._write(lambda tx: identities.create_account(tx, account, access_key))

    async def get_account(self, account_id: bytes) -> Account:
        """See `Catalogue.get_account`."""
        return self._read(lambda session: identities.get_account(session, account_id))

    async def get_account_by_name(self, name: str) -> Account:
        """See `Catalogue.get_account_by_name`."""
        return self._read(lambda session: identities.get_account_by_name(session, name))

    async def list_accounts(self) -> tuple[Account, ...]:
        """See `Catalogue.list_accounts`."""
        return await self._scan(identities.list_accounts)

    async def create_access_key(self, access_key: AccessKey) -> None:
        """See `Catalogue.create_access_key`."""
        await self._write(lambda tx: identities.create_access_key(tx, access_key))

    async def get_access_key(self, access_key_id: str) -> tuple[AccessKey, Account]:
        """See `Catalogue.get_access_key`."""
        return self._read(lambda session: identities.get_access_key(session, access_key_id))

    async def list_access_keys(self, account_id: bytes) -> tuple[AccessKey, ...]:
        """See `Catalogue.list_access_keys`."""
        return self._read(lambda session: identities.list_access_keys(session, account_id))

    async def set_access_key_enabled(self, access_key_id: str, enabled: bool) -> None:
        """See `Catalogue.set_access_key_enabled`."""
        await self._write(lambda tx: identities.set_access_key_enabled(tx, access_key_id, enabled), reclaims=True)

    async def delete_access_key(self, access_key_id: str) -> None:
        """See `Catalogue.delete_access_key`."""
        await self._write(lambda tx: identities.delete_access_key(tx, access_key_id), reclaims=True)

    async def create_bucket(self, bucket: Bucket, limit: int) -> None:
        """See `Catalogue.create_bucket`."""
        await self._write(lambda tx: buckets.create_bucket(tx, bucket, limit))

    async def get_bucket(self, name: str) -> Bucket:
        """See `Catalogue.get_bucket`."""
        return self._read(lambda session: buckets.get_bucket(session, name))

    async def list_buckets(
        self, account_id: bytes, *, prefix: str = "", start_after: str = "", limit: int = 10_000
    ) -> tuple[Bucket, ...]:
        """See `Catalogue.list_buckets`."""
        return await self._scan(lambda session: buckets.list_buckets(session, account_id, prefix, start_after, limit))

    async def delete_bucket(self, bucket_id: bytes) -> None:
        """See `Catalogue.delete_bucket`."""
        await self._write(lambda tx: buckets.delete_bucket(tx, bucket_id), reclaims=True)

    async def set_versioning(self, bucket_id: bytes, status: Versioning) -> None:
        """See `Catalogue.set_versioning`."""
        await self._write(lambda tx: buckets.set_versioning(tx, bucket_id, status))

    async def enable_object_lock(self, bucket_id: bytes) -> None:
        """See `Catalogue.enable_object_lock`."""
        await self._write(lambda tx: buckets.enable_object_lock(tx, bucket_id))

    async def put_configuration(self, bucket_id: bytes, kind: str, document: bytes | None) -> None:
        """See `Catalogue.put_configuration`."""
        await self._write(
            lambda tx: buckets.put_configuration(tx, bucket_id, kind, document), reclaims=document is None
        )

    async def get_configuration(self, bucket_id: bytes, kind: str) -> bytes | None:
        """See `Catalogue.get_configuration`."""
        return self._read(lambda session: buckets.get_configuration(session, bucket_id, kind))

    async def publish_version(self, command: PublishVersion) -> ObjectVersion:
        """See `Catalogue.publish_version`."""
        versions.check_publishable(command)
        return await self._write(lambda tx: versions.publish_version(tx, command))

    async def get_version(
        self, bucket_id: bytes, object_key: bytes, version_id: str | None = None, *, with_content: bool = True
    ) -> Found:
        """See `Catalogue.get_version`."""
        return await self._scan(
            lambda session: versions.get_version(session, bucket_id, object_key, version_id, with_content)
        )

    async def delete_versions(
        self, bucket_id: bytes, commands: Sequence[DeleteVersion]
    ) -> tuple[Deleted | CatalogueConflict, ...]:
        """See `Catalogue.delete_versions`. Each key is a command of its own, so a thousand do not hold up the rest."""
        self._read(lambda session: versions.require_bucket(session, bucket_id))
        answers = await asyncio.gather(
            *(
                self._writer.submit(partial(_delete, bucket_id=bucket_id, command=command), reclaims=True)
                for command in commands
            ),
            return_exceptions=True,
        )
        results: list[Deleted | CatalogueConflict] = []
        for answer in answers:
            if isinstance(answer, BaseException) and (
                isinstance(answer, NoSuchBucket) or not isinstance(answer, CatalogueConflict)
            ):
                raise answer
            results.append(answer)
        return tuple(results)

    async def update_version(
        self, bucket_id: bytes, object_key: bytes, version_id: str | None, change: VersionChange
    ) -> ObjectVersion:
        """See `Catalogue.update_version`."""
        return await self._write(lambda tx: versions.update_version(tx, bucket_id, object_key, version_id, change))

    async def list_versions(self, bucket_id: bytes, query: ListQuery) -> ListPage:
        """See `Catalogue.list_versions`."""
        return await self._scan(lambda session: listing.list_versions(session, bucket_id, query))

    async def list_history(self, bucket_id: bytes, query: HistoryQuery) -> HistoryPage:
        """See `Catalogue.list_history`."""
        return await self._scan(lambda session: listing.list_history(session, bucket_id, query))

    async def create_upload(self, upload: Upload) -> None:
        """See `Catalogue.create_upload`."""
        await self._write(lambda tx: uploads.create_upload(tx, upload))

    async def get_upload(self, bucket_id: bytes, object_key: bytes, upload_id: bytes) -> Upload:
        """See `Catalogue.get_upload`."""
        return self._read(lambda session: uploads.get_upload(session, bucket_id, object_key, upload_id))

    async def put_part(self, part: Part) -> None:
        """See `Catalogue.put_part`."""
        await self._write(lambda tx: uploads.put_part(tx, part))

    async def list_parts(self, upload_id: bytes, *, after: int = 0, limit: int = 10_000) -> tuple[Part, ...]:
        """See `Catalogue.list_parts`."""
        return await self._scan(lambda session: uploads.list_parts(session, upload_id, after, limit))

    async def list_uploads(self, bucket_id: bytes, query: UploadsQuery) -> UploadsPage:
        """See `Catalogue.list_uploads`."""
        return await self._scan(lambda session: listing.list_uploads(session, bucket_id, query))

    async def complete_upload(self, command: CompleteUpload) -> ObjectVersion:
        """See `Catalogue.complete_upload`."""
        return await self._write(lambda tx: uploads.complete_upload(tx, command))

    async def abort_upload(self, bucket_id: bytes, object_key: bytes, upload_id: bytes) -> None:
        """See `Catalogue.abort_upload`."""
        await self._write(lambda tx: uploads.abort_upload(tx, bucket_id, object_key, upload_id), reclaims=True)

    async def forget_completed_uploads(self, before: datetime) -> int:
        """See `Catalogue.forget_completed_uploads`."""
        return await self._write(lambda tx: uploads.forget_completed_uploads(tx, to_micros(before)), reclaims=True)

    async def blob_states(self, blob_ids: Sequence[bytes]) -> dict[bytes, BlobState]:
        """See `Catalogue.blob_states`."""
        return await self._scan(lambda session: jobs.blob_states(session, blob_ids))

    async def count_live_blobs(self) -> int:
        """See `Catalogue.count_live_blobs`."""
        return self._read(lambda session: session.realm().live_blob_count)

    async def condemn_orphans(self, blob_ids: Sequence[bytes], lease: Lease) -> tuple[bytes, ...]:
        """See `Catalogue.condemn_orphans`."""
        return await self._write(lambda tx: jobs.condemn_orphans(tx, blob_ids, lease), reclaims=True)

    async def list_condemned(self, before: datetime, limit: int, role: BlobRole | None = None) -> tuple[bytes, ...]:
        """See `Catalogue.list_condemned`."""
        return await self._scan(lambda session: jobs.list_condemned(session, to_micros(before), limit, role))

    async def forget_condemned(self, blob_ids: Sequence[bytes], lease: Lease) -> None:
        """See `Catalogue.forget_condemned`."""
        await self._write(lambda tx: jobs.forget_condemned(tx, blob_ids, lease), reclaims=True)

    async def list_wraps(self, mark: WrapsMark, limit: int) -> WrapsPage:
        """See `Catalogue.list_wraps`."""
        return await self._scan(lambda session: wraps.list_wraps(session, mark, limit))

    async def move_wraps(self, command: MoveWraps, lease: Lease) -> tuple[bytes, ...]:
        """See `Catalogue.move_wraps`."""
        return await self._write(lambda tx: wraps.move_wraps(tx, command, lease))

    async def list_envelopes(self, after: bytes = b"", limit: int = 1000) -> tuple[KeptEnvelopes, ...]:
        """See `Catalogue.list_envelopes`."""
        return await self._scan(lambda session: wraps.list_envelopes(session, after, limit))

    async def replace_envelopes(self, envelopes_id: bytes, blob: Blob, wrap_ids: Sequence[bytes], lease: Lease) -> None:
        """See `Catalogue.replace_envelopes`."""
        await self._write(lambda tx: wraps.replace_envelopes(tx, envelopes_id, blob, wrap_ids, lease))

    async def versions_of_content(self, content_id: bytes) -> tuple[ObjectVersion, ...]:
        """See `Catalogue.versions_of_content`."""
        return await self._scan(lambda session: wraps.versions_of_content(session, content_id))

    async def replace_content(self, command: ReplaceContent, lease: Lease) -> None:
        """See `Catalogue.replace_content`."""
        await self._write(lambda tx: wraps.replace_content(tx, command, lease))

    async def acquire_lease(self, name: str, holder: str, duration: timedelta) -> Lease:
        """See `Catalogue.acquire_lease`."""
        return await self._write(lambda tx: jobs.acquire_lease(tx, name, holder, duration), reclaims=True)

    async def release_lease(self, lease: Lease) -> None:
        """See `Catalogue.release_lease`."""
        await self._write(lambda tx: jobs.release_lease(tx, lease), reclaims=True)

    async def read_changes(self, after: int, limit: int) -> tuple[Change, ...]:
        """See `Catalogue.read_changes`."""
        return await self._scan(lambda session: jobs.read_changes(session, after, limit))

    async def trim_changes(self, through: int, lease: Lease) -> int:
        """See `Catalogue.trim_changes`."""
        return await self._write(lambda tx: jobs.trim_changes(tx, through, lease), reclaims=True)

    async def read_inline(self, blob_ids: Sequence[bytes]) -> dict[bytes, bytes]:
        """See `Catalogue.read_inline`."""
        return await self._scan(lambda session: jobs.read_inline(session, blob_ids))

    async def read_rows(self, table: str, after: Attributes | None, limit: int) -> tuple[Attributes, ...]:
        """See `Catalogue.read_rows`."""
        return await self._scan(lambda session: jobs.read_rows(session, table, after, limit))

    async def get_cursor(self, name: str) -> int:
        """See `Catalogue.get_cursor`."""
        return self._read(lambda session: jobs.get_cursor(session, name))

    async def set_cursor(self, name: str, sequence: int) -> None:
        """See `Catalogue.set_cursor`."""
        await self._write(lambda tx: jobs.set_cursor(tx, name, sequence))

    async def verify(self) -> int:
        """See `Catalogue.verify`. References are judged beside the loop: among many rows a statement takes seconds."""
        async with self._long_read() as session:
            total = await self._drive(verifying.verify_rows(session))
            for what, statement in verifying.REFERENCES:
                self._check_open()
                await _aside(session.connection, partial(verifying.check_reference, session, what, statement))
            return total


def _delete(tx: Transaction, bucket_id: bytes, command: DeleteVersion) -> Deleted:
    return versions.delete_version(tx, bucket_id, command)


async def _aside(connection: apsw.Connection, run: Callable[[], None]) -> None:
    """Run in a thread what uses a connection; a caller who leaves waits until the connection is free again."""
    job = asyncio.get_running_loop().run_in_executor(None, run)
    try:
        await asyncio.shield(job)
    except asyncio.CancelledError:
        connection.interrupt()
        await asyncio.wait([job])
        job.exception()  # looked at, so that asyncio does not complain of it
        raise
