"""Building a catalogue from rows of its log: for recovery, into a file that nobody serves yet.

Rows come in any number and may come twice; what refers to what is looked at only at the end, when wraps and inline
bytes have been put back from the blobs. What the log leaves out is counted anew. Source: `rowlog`, docs/FORMAT.md
section 16.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.catalogue import rows
from storage.catalogue.commands import UPKEEP
from storage.catalogue.connection import connect, translated
from storage.catalogue.files import create_file
from storage.catalogue.records import Attributes, BlobState
from storage.catalogue.rowlog import Written
from storage.catalogue.rowmac import RowMac
from storage.catalogue.schema import (
    BLOBS,
    BUCKETS,
    CONTENTS,
    CURSORS,
    ENVELOPES,
    INLINE_BLOBS,
    MOVED_WRAPS,
    OUTBOX,
    PARTS,
    REALM,
    UPLOADS,
    VERSIONS,
    BlobRow,
    ChangeRow,
    ContentRow,
    CursorRow,
    InlineRow,
    MovedWrapRow,
    R,
    Table,
    UploadRow,
    VersionRow,
)
from storage.catalogue.sqlite_session import SqliteSession

_CACHE_KIB = 64 << 10


@dataclass(frozen=True, slots=True)
class Restored:
    """What came of a restoration."""

    version_count: int
    dropped_version_count: int
    """Small objects whose bytes are in no pack: they were deleted in the last moment before the loss."""
    dropped_upload_count: int
    """Uploads that were open and whose wrap lies in no envelopes blob: their clients begin anew."""
    open_upload_count: int
    """Uploads that are open, and go on."""
    lacking_wrap_count: int
    """Contents whose blob is missing or damaged: they are listed, and answer 500."""


class Restoration:
    """One new catalogue file. Blocks; for one thread. `finish`, then `close`."""

    def __init__(
        self, path: Path, realm_id: bytes, database_key: bytes, row_mac_key: bytes, *, tells: bool = True
    ) -> None:
        """Make the file; `tells` as in `finish`. Raises: StorageError, as `SqliteCatalogue.create`."""
        self._mac = RowMac(row_mac_key, realm_id)
        create_file(path, realm_id, database_key, self._mac)
        self._connection = connect(path, database_key, cache_kib=_CACHE_KIB)
        # Until the last row has come, rows may refer to what is not there yet; `verify` looks at all of it afterwards.
        self._connection.pragma("foreign_keys", 0)
        self._session = SqliteSession(self._connection, self._mac)
        self._execute = self._session.execute
        self._execute("BEGIN IMMEDIATE")
        self._sequence = 0
        self._tells = tells
        self._settled: list[Written] = []

    @property
    def sequence(self) -> int:
        """The sequence of the last change that it knows of."""
        return self._sequence

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._connection.close()

    def apply(self, logged: Iterable[Attributes], sequence: int = 0) -> None:
        """Take rows that came or went, of changes up to that sequence. Raises: SealedDamaged, StorageError."""
        self._sequence = max(self._sequence, sequence)
        with translated(self._connection):
            for shown in logged:
                written = Written.from_json(shown)
                if written.row is not None:
                    self._put(written.table, written.table.make(written.row))
                    continue
                names = written.table.columns[: len(written.key)]
                condition = " AND ".join(f"{name} = ?" for name in names)
                self._execute(f"DELETE FROM {written.table.name} WHERE {condition}", written.key)  # noqa: S608  # our names

    def save(self) -> None:
        """Commit what has come so far, so that no transaction grows without bound."""
        with translated(self._connection):
            self._execute("COMMIT")
            self._execute("BEGIN IMMEDIATE")

    def blob(self, blob_id: bytes) -> BlobRow | None:
        """The row of a blob, if one is there and live."""
        row = self._session.find(BLOBS, blob_id)
        return row if row is not None and row.state == BlobState.LIVE else None

    def content(self, content_id: bytes) -> ContentRow | None:
        """The row of a content, if one is there."""
        return self._session.find(CONTENTS, content_id)

    def moved_wraps(self) -> Iterator[MovedWrapRow]:
        """Every wrap that is no longer the one in its slot."""
        yield from self._session.all(MOVED_WRAPS, "")

    def moved_wrap(self, wrap_id: bytes) -> MovedWrapRow | None:
        """Where one wrap was moved to, if it was."""
        return self._session.find(MOVED_WRAPS, wrap_id)

    def put_inline(self, blob_id: bytes, sealed: bytes) -> None:
        """Put the bytes of an inline blob back."""
        with translated(self._connection):
            self._put(INLINE_BLOBS, InlineRow(blob_id, sealed))

    def put_wrap(self, row: ContentRow | BlobRow, wrapped_key: bytes) -> None:
        """Put a wrap back into its row."""
        with translated(self._connection):
            if isinstance(row, ContentRow):
                self._put(CONTENTS, row._replace(wrapped_key=wrapped_key))
            else:
                self._put(BLOBS, row._replace(wrapped_key=wrapped_key))

    def open_uploads(self) -> Iterator[UploadRow]:
        """Every upload that was not completed."""
        yield from self._session.all(UPLOADS, "WHERE completed_at IS NULL")

    def put_upload_wrap(self, row: UploadRow, wrapped_key: bytes) -> None:
        """Put the wrap of an open upload back."""
        with translated(self._connection):
            self._put(UPLOADS, row._replace(wrapped_key=wrapped_key))

    def settle(self, table: Table[R], row: R) -> None:
        """Put a row that is not as the journal told."""
        with translated(self._connection):
            self._put(table, row)
        self._note(Written(table, row[: table.key_size], row))

    def live_blobs(self) -> Iterator[BlobRow]:
        """Every live blob whose bytes rest in the store."""
        yield from self._session.walk(BLOBS, "WHERE state = 'live' AND is_inline = 0")

    def finish(self, cursors: dict[str, int], now: int) -> Restored:
        """Settle what cannot come back, count anew, and commit; `now` in microseconds since 1970.

        Where it `tells`, what is settled is a line of the outbox: the journal comes to know why rows are not as it
        told. It need not where the chain begins anew.
        """
        with translated(self._connection):
            dropped_uploads, open_uploads = self._settle_uploads(now)
            dropped_versions = self._drop_lost()
            for name, position in cursors.items():
                self._put(CURSORS, CursorRow(name, position))
            self._settle_envelopes(now)
            if self._settled:
                self._sequence += 1
                self._put(OUTBOX, ChangeRow(self._sequence, UPKEEP, now, rows.change_json((), self._settled)))
            version_count = self._count()
            lacking = self._number("SELECT count(*) FROM contents WHERE length(wrapped_key) = 0")
            self._execute("COMMIT")
        return Restored(version_count, dropped_versions, dropped_uploads, open_uploads, lacking)

    def _put(self, table: Table[R], row: R) -> None:
        statement = table.insert.replace("INSERT", "INSERT OR REPLACE", 1)
        self._execute(statement, (*row, self._mac.sign(table, row)))

    def _drop(self, table: Table[R], row: R) -> None:
        """Remove a row that the journal told of."""
        key = row[: table.key_size]
        self._execute(table.delete, key)
        self._note(Written(table, key, None))

    def _note(self, written: Written) -> None:
        if self._tells:
            self._settled.append(written)

    def _condemn(self, blob: BlobRow, now: int) -> None:
        self.settle(BLOBS, rows.condemned_row(blob.blob_id, blob.role, blob.sealed_size, now))

    def _number(self, statement: str, *bindings: Any) -> int:
        ((number,),) = self._execute(statement, bindings).fetchall()
        return int(number or 0)

    def _settle_uploads(self, now: int) -> tuple[int, int]:
        """Open uploads without their wrap go, with their parts condemned; how many went and how many stay."""
        dropped = 0
        for upload in self._session.all(UPLOADS, "WHERE completed_at IS NULL AND length(wrapped_key) = 0"):
            for part in self._session.all(PARTS, "WHERE upload_id = ?", upload.upload_id):
                self._drop(PARTS, part)
            self._drop(UPLOADS, upload)
            dropped += 1
        loose = (
            "WHERE state = 'live' AND content_id IS NOT NULL AND content_id NOT IN (SELECT content_id FROM contents)"
            " AND content_id NOT IN (SELECT content_id FROM uploads WHERE completed_at IS NULL)"
        )
        for blob in self._session.all(BLOBS, loose):
            self._condemn(blob, now)
        return dropped, self._number("SELECT count(*) FROM uploads WHERE completed_at IS NULL")

    def _drop_lost(self) -> int:
        """Versions whose inline bytes came from nowhere go, with what is theirs alone."""
        lost = self._session.all(
            BLOBS, "WHERE is_inline = 1 AND blob_id NOT IN (SELECT blob_id FROM inline_blobs) AND role != 'link'"
        )
        dropped = 0
        for blob in lost:
            assert blob.content_id is not None, "an inline blob has a content"
            for version in self._session.all(VERSIONS, "WHERE content_id = ?", blob.content_id):
                self._drop_version(version)
                dropped += 1
            self._drop(BLOBS, blob)
            content = self.content(blob.content_id)
            if content is not None:
                self._drop(CONTENTS, content)
        self._execute("DELETE FROM inline_blobs WHERE blob_id NOT IN (SELECT blob_id FROM blobs WHERE is_inline = 1)")
        lost_links = "WHERE is_inline = 1 AND role = 'link' AND blob_id NOT IN (SELECT blob_id FROM inline_blobs)"
        for blob in self._session.all(BLOBS, lost_links):
            # A link serves recovery alone: its version stays without it.
            for version in self._session.all(VERSIONS, "WHERE link_id = ?", blob.blob_id):
                self.settle(VERSIONS, version._replace(link_id=None))
            self._drop(BLOBS, blob)
        return dropped

    def _settle_envelopes(self, now: int) -> None:
        """Count anew what each envelopes blob carries, after owners of wraps went; one that carries nothing goes."""
        ownerless = (
            "WHERE wrap_id NOT IN (SELECT content_id FROM contents)"
            " AND wrap_id NOT IN (SELECT blob_id FROM blobs WHERE state = 'live')"
            " AND wrap_id NOT IN (SELECT content_id FROM uploads WHERE completed_at IS NULL)"
            " AND wrap_id NOT IN (SELECT realm_id FROM realm)"
        )
        for moved in self._session.all(MOVED_WRAPS, ownerless):
            self._drop(MOVED_WRAPS, moved)
        for row in self._session.all(ENVELOPES, ""):
            count = self._number("SELECT count(*) FROM moved_wraps WHERE envelopes_id = ?", row.blob_id)
            if count:
                if count != row.wrap_count:
                    self.settle(ENVELOPES, row._replace(wrap_count=count))
                continue
            self._drop(ENVELOPES, row)
            blob = self.blob(row.blob_id)
            if blob is not None:
                self._condemn(blob, now)

    def _drop_version(self, version: VersionRow) -> None:
        self._drop(VERSIONS, version)
        link = None if version.link_id is None else self._session.find(BLOBS, version.link_id)
        if link is not None:
            self._execute(INLINE_BLOBS.delete, (link.blob_id,))
            self._drop(BLOBS, link)
        condition = "WHERE bucket_id = ? AND object_key = ? ORDER BY sequence DESC"
        newest = self._session.first(VERSIONS, condition, version.bucket_id, version.object_key)
        if version.is_latest and newest is not None:
            self.settle(VERSIONS, newest._replace(is_latest=1))

    def _count(self) -> int:
        total = 0
        for bucket in self._session.all(BUCKETS, ""):
            count = self._number("SELECT count(*) FROM versions WHERE bucket_id = ?", bucket.bucket_id)
            self._put(BUCKETS, bucket._replace(version_count=count))
            total += count
        newest = self._number("SELECT max(sequence) FROM versions")
        live = self._number("SELECT count(*) FROM blobs WHERE state = 'live' AND is_inline = 0")
        realm = self._session.realm()._replace(sequence=max(self._sequence, newest), live_blob_count=live)
        self._put(REALM, realm)
        return total
