"""The tables of the SQLite catalogue: their rows as tuples, their SQL, and the version that both belong to.

Every table ends in a `mac` column that `rowmac` fills and checks; the row types here list all the others, in column
order, the primary key first. Sources: DESIGN part 4; SQLite "STRICT Tables" and "WITHOUT ROWID".
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, NamedTuple, TypeVar, cast

SCHEMA_VERSION = 5
"""Stands in the realm row. `MIGRATIONS` says which older ones are brought to it; a newer one is refused."""


MANY_KEYS = 64
"""Rows that are found at once by their keys."""


class RealmRow(NamedTuple):
    """The one row that says whose catalogue this is, with the counters that every commit carries on."""

    singleton: int
    realm_id: bytes
    schema_version: int
    sequence: int
    """The last change number given."""
    live_blob_count: int
    """Live blobs whose bytes rest in the blob store."""


class AccountRow(NamedTuple):
    """An owner of buckets."""

    account_id: bytes
    name: str
    created_at: int


class AccessKeyRow(NamedTuple):
    """An access key; its secret is sealed."""

    access_key_id: str
    account_id: bytes
    sealed_secret: bytes
    created_at: int
    enabled: int


class BucketRow(NamedTuple):
    """A bucket; `configurations` is JSON, the hash of each document by kind: none is swapped or goes missing."""

    bucket_id: bytes
    name: str
    account_id: bytes
    created_at: int
    versioning: str
    object_lock: int
    version_count: int
    """How many rows of versions name this bucket, delete markers among them: one that went missing is noticed."""
    configurations: str


class ConfigurationRow(NamedTuple):
    """A configuration of a bucket, as its owner sent it."""

    bucket_id: bytes
    kind: str
    document: bytes


class VersionRow(NamedTuple):
    """A version of an object, or a delete marker. The newest of a key stands first and is its current one.

    No flag and no index says so: a listing that reads the rows themselves cannot be made to leave one out by a flag.
    `is_latest` is only compared with the order, so that no old version stands for a newer one that was hidden.
    """

    bucket_id: bytes
    object_key: bytes
    sequence: int
    version_id: str
    content_id: bytes | None
    link_id: bytes | None
    """The link blob of a sharing copy; it lives and dies with the version."""
    size: int
    etag: str
    created_at: int
    attributes: str
    is_latest: int
    retention_mode: str
    retain_until: int | None
    legal_hold: int


class ContentRow(NamedTuple):
    """What versions refer to: a wrapped content key and the count of its blobs."""

    content_id: bytes
    bucket_id: bytes
    account_id: bytes
    encryption: str
    kms_key_id: str
    wrapped_key: bytes
    reference_count: int
    blob_count: int
    """How many live blob rows name this content: one that went missing is noticed."""


class BlobRow(NamedTuple):
    """A blob id, once and for ever: live, or condemned with nothing left that would open it."""

    blob_id: bytes
    state: str
    content_id: bytes | None
    """The content (of a part also before Complete); None for links and condemned blobs."""
    role: str
    part_number: int
    plaintext_size: int
    sealed_size: int
    slot_size: int
    salt: bytes
    commitment: bytes
    footer_hash: bytes
    wrapped_key: bytes
    is_inline: int
    condemned_at: int | None


class InlineRow(NamedTuple):
    """The sealed bytes of a small blob."""

    blob_id: bytes
    sealed: bytes


class UploadRow(NamedTuple):
    """A multipart upload, open or completed, with the content that it will become."""

    upload_id: bytes
    bucket_id: bytes
    object_key: bytes
    account_id: bytes
    content_id: bytes
    content_bucket_id: bytes
    content_account_id: bytes
    encryption: str
    kms_key_id: str
    wrapped_key: bytes
    created_at: int
    attributes: str
    part_count: int
    completed_at: int | None
    completed: str | None
    """The version that Complete published, as JSON."""


class PartRow(NamedTuple):
    """The newest part of its number."""

    upload_id: bytes
    part_number: int
    blob_id: bytes
    etag: str
    size: int
    created_at: int
    attributes: str


class ChangeRow(NamedTuple):
    """A line of the outbox; `body` is JSON: who is to be told, and the rows that its command wrote."""

    sequence: int
    kind: str
    at: int
    body: str


class LeaseRow(NamedTuple):
    """The right to a background job; an empty holder is nobody."""

    name: str
    holder: str
    epoch: int
    expires_at: int


class CursorRow(NamedTuple):
    """How far a reader of the outbox has come."""

    name: str
    position: int


class EnvelopesRow(NamedTuple):
    """An envelopes blob, which has a live row among the blobs."""

    blob_id: bytes
    epoch: int
    wrap_count: int
    """How many rows of moved wraps name it; with the last one it is condemned."""


class MovedWrapRow(NamedTuple):
    """That a wrap is no longer the one in its blob's slot, and which envelopes blob carries it.

    The wrap itself stands where it always stood: in the row of the content, the upload, or the manifest or link blob.
    """

    wrap_id: bytes
    """A content id, the blob id of a manifest or link, or the realm id for the realm root."""
    envelopes_id: bytes


R = TypeVar("R", bound=tuple[object, ...])


@dataclass(frozen=True, eq=False)
class Table(Generic[R]):
    """One table: the statements that every access to it is made of. `key_size` leading columns are its primary key."""

    name: str
    row: type[R]
    key_size: int = 1
    layout: int = 4
    """The schema version that gave the table its columns; bound by the MAC of every row."""

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns but `mac`, in order."""
        return tuple(self.row._fields)  # type: ignore[attr-defined]  # R is always a NamedTuple

    @cached_property
    def make(self) -> Callable[[Iterable[object]], R]:
        """Build a row from the values of all columns but `mac`."""
        return cast("Callable[[Iterable[object]], R]", self.row._make)  # type: ignore[attr-defined]  # as above

    @cached_property
    def select(self) -> str:
        """`SELECT` of all columns and the MAC, to be followed by a condition."""
        return f"SELECT {', '.join(self.columns)}, mac FROM {self.name} "  # noqa: S608  # names of our own tables

    @cached_property
    def insert(self) -> str:
        """`INSERT` of one whole row."""
        names = (*self.columns, "mac")
        return f"INSERT INTO {self.name} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608  # names of our own tables

    @cached_property
    def by_key(self) -> str:
        """The condition that names one row."""
        return "WHERE " + " AND ".join(f"{column} = ?" for column in self.columns[: self.key_size])

    @cached_property
    def by_keys(self) -> str:
        """The condition that names `MANY_KEYS` rows of a table whose primary key is one column."""
        return f"WHERE {self.columns[0]} IN ({', '.join('?' * MANY_KEYS)})"

    @cached_property
    def update(self) -> str:
        """`UPDATE` of all that is not the key; its bindings are those columns, the MAC, then the key."""
        names = (*self.columns[self.key_size :], "mac")
        return f"UPDATE {self.name} SET {', '.join(f'{name} = ?' for name in names)} {self.by_key}"  # noqa: S608  # names of our own tables

    @cached_property
    def delete(self) -> str:
        """`DELETE` of one row."""
        return f"DELETE FROM {self.name} {self.by_key}"  # noqa: S608  # names of our own tables


REALM = Table("realm", RealmRow)
ACCOUNTS = Table("accounts", AccountRow)
ACCESS_KEYS = Table("access_keys", AccessKeyRow)
BUCKETS = Table("buckets", BucketRow)
CONFIGURATIONS = Table("configurations", ConfigurationRow, key_size=2)
VERSIONS = Table("versions", VersionRow, key_size=3)
CONTENTS = Table("contents", ContentRow)
BLOBS = Table("blobs", BlobRow)
INLINE_BLOBS = Table("inline_blobs", InlineRow)
UPLOADS = Table("uploads", UploadRow)
PARTS = Table("parts", PartRow, key_size=2)
OUTBOX = Table("outbox", ChangeRow)
LEASES = Table("leases", LeaseRow)
CURSORS = Table("cursors", CursorRow)
ENVELOPES = Table("envelopes", EnvelopesRow, layout=5)
MOVED_WRAPS = Table("moved_wraps", MovedWrapRow, layout=5)

TABLES: tuple[Table[Any], ...] = (
    REALM, ACCOUNTS, ACCESS_KEYS, BUCKETS, CONFIGURATIONS, VERSIONS, CONTENTS, BLOBS, INLINE_BLOBS, UPLOADS, PARTS,
    OUTBOX, LEASES, CURSORS, ENVELOPES, MOVED_WRAPS,
)  # fmt: skip  # a list of names reads better in one line
"""Every table."""

# Contents and blobs have random ids and large rows: clustered by id, as `WITHOUT ROWID` has it, a page takes few of
# them, and every one is written in a place of its own. So they are appended, and found through a small index.
DDL = """
CREATE TABLE realm (
    singleton INTEGER NOT NULL PRIMARY KEY CHECK (singleton = 1),
    realm_id BLOB NOT NULL, schema_version INTEGER NOT NULL,
    sequence INTEGER NOT NULL, live_blob_count INTEGER NOT NULL, mac BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE accounts (
    account_id BLOB NOT NULL PRIMARY KEY, name TEXT NOT NULL UNIQUE, created_at INTEGER NOT NULL, mac BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE access_keys (
    access_key_id TEXT NOT NULL PRIMARY KEY, account_id BLOB NOT NULL REFERENCES accounts,
    sealed_secret BLOB NOT NULL, created_at INTEGER NOT NULL, enabled INTEGER NOT NULL, mac BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX access_keys_of_account ON access_keys (account_id, created_at);

CREATE TABLE buckets (
    bucket_id BLOB NOT NULL PRIMARY KEY, name TEXT NOT NULL UNIQUE, account_id BLOB NOT NULL REFERENCES accounts,
    created_at INTEGER NOT NULL, versioning TEXT NOT NULL, object_lock INTEGER NOT NULL,
    version_count INTEGER NOT NULL, configurations TEXT NOT NULL, mac BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX buckets_of_account ON buckets (account_id, name);

CREATE TABLE configurations (
    bucket_id BLOB NOT NULL REFERENCES buckets, kind TEXT NOT NULL, document BLOB NOT NULL, mac BLOB NOT NULL,
    PRIMARY KEY (bucket_id, kind)
) STRICT, WITHOUT ROWID;

CREATE TABLE versions (
    bucket_id BLOB NOT NULL REFERENCES buckets, object_key BLOB NOT NULL, sequence INTEGER NOT NULL,
    version_id TEXT NOT NULL, content_id BLOB, link_id BLOB, size INTEGER NOT NULL,
    etag TEXT NOT NULL, created_at INTEGER NOT NULL, attributes TEXT NOT NULL, is_latest INTEGER NOT NULL,
    retention_mode TEXT NOT NULL, retain_until INTEGER, legal_hold INTEGER NOT NULL, mac BLOB NOT NULL,
    PRIMARY KEY (bucket_id, object_key, sequence DESC)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX versions_by_id ON versions (bucket_id, object_key, version_id) WHERE version_id != 'null';

CREATE TABLE contents (
    content_id BLOB NOT NULL PRIMARY KEY, bucket_id BLOB NOT NULL, account_id BLOB NOT NULL, encryption TEXT NOT NULL,
    kms_key_id TEXT NOT NULL, wrapped_key BLOB NOT NULL, reference_count INTEGER NOT NULL,
    blob_count INTEGER NOT NULL, mac BLOB NOT NULL
) STRICT;

CREATE TABLE blobs (
    blob_id BLOB NOT NULL PRIMARY KEY, state TEXT NOT NULL, content_id BLOB, role TEXT NOT NULL,
    part_number INTEGER NOT NULL, plaintext_size INTEGER NOT NULL, sealed_size INTEGER NOT NULL,
    slot_size INTEGER NOT NULL, salt BLOB NOT NULL, commitment BLOB NOT NULL, footer_hash BLOB NOT NULL,
    wrapped_key BLOB NOT NULL, is_inline INTEGER NOT NULL, condemned_at INTEGER, mac BLOB NOT NULL
) STRICT;
CREATE INDEX blobs_of_content ON blobs (content_id, part_number) WHERE content_id IS NOT NULL;
CREATE INDEX blobs_condemned ON blobs (condemned_at, blob_id) WHERE condemned_at IS NOT NULL;

CREATE TABLE inline_blobs (
    blob_id BLOB NOT NULL PRIMARY KEY, sealed BLOB NOT NULL, mac BLOB NOT NULL
) STRICT;

CREATE TABLE uploads (
    upload_id BLOB NOT NULL PRIMARY KEY, bucket_id BLOB NOT NULL, object_key BLOB NOT NULL,
    account_id BLOB NOT NULL, content_id BLOB NOT NULL, content_bucket_id BLOB NOT NULL,
    content_account_id BLOB NOT NULL, encryption TEXT NOT NULL, kms_key_id TEXT NOT NULL, wrapped_key BLOB NOT NULL,
    created_at INTEGER NOT NULL, attributes TEXT NOT NULL, part_count INTEGER NOT NULL, completed_at INTEGER,
    completed TEXT, mac BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX uploads_of_bucket ON uploads (bucket_id, object_key, created_at, upload_id);
CREATE INDEX uploads_completed ON uploads (completed_at) WHERE completed_at IS NOT NULL;

CREATE TABLE parts (
    upload_id BLOB NOT NULL REFERENCES uploads, part_number INTEGER NOT NULL, blob_id BLOB NOT NULL,
    etag TEXT NOT NULL, size INTEGER NOT NULL, created_at INTEGER NOT NULL, attributes TEXT NOT NULL,
    mac BLOB NOT NULL, PRIMARY KEY (upload_id, part_number)
) STRICT, WITHOUT ROWID;

CREATE TABLE outbox (
    sequence INTEGER NOT NULL PRIMARY KEY, kind TEXT NOT NULL, at INTEGER NOT NULL, body TEXT NOT NULL,
    mac BLOB NOT NULL
) STRICT;

CREATE TABLE cursors (
    name TEXT NOT NULL PRIMARY KEY, position INTEGER NOT NULL, mac BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE leases (
    name TEXT NOT NULL PRIMARY KEY, holder TEXT NOT NULL, epoch INTEGER NOT NULL, expires_at INTEGER NOT NULL,
    mac BLOB NOT NULL
) STRICT, WITHOUT ROWID;
"""

_WRAPS_DDL = """
CREATE TABLE envelopes (
    blob_id BLOB NOT NULL PRIMARY KEY, epoch INTEGER NOT NULL, wrap_count INTEGER NOT NULL, mac BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE moved_wraps (
    wrap_id BLOB NOT NULL PRIMARY KEY, envelopes_id BLOB NOT NULL, mac BLOB NOT NULL
) STRICT;

CREATE INDEX versions_of_shared ON versions (content_id) WHERE link_id IS NOT NULL;
"""

DDL += _WRAPS_DDL

MIGRATIONS = {4: _WRAPS_DDL}
"""What brings a catalogue of a version to the next one. Tables that it leaves alone keep their rows and MACs."""
