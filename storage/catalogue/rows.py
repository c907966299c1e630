"""Records of the contract to rows of the tables, and back.

Times are whole microseconds since 1970 in UTC, attributes are JSON text, enabled and inline flags are 0 or 1. Source:
`records` and `schema`.
"""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from storage.catalogue.commands import Change, Lease
from storage.catalogue.records import (
    NO_LOCK,
    AccessKey,
    Account,
    Attributes,
    Blob,
    BlobRole,
    BlobState,
    Bucket,
    Content,
    Notice,
    ObjectLock,
    ObjectVersion,
    Part,
    RetentionMode,
    Upload,
    Versioning,
)
from storage.catalogue.rowlog import Written
from storage.catalogue.rules import lock_from_json, lock_to_json
from storage.catalogue.schema import (
    AccessKeyRow,
    AccountRow,
    BlobRow,
    BucketRow,
    ChangeRow,
    ContentRow,
    LeaseRow,
    PartRow,
    UploadRow,
    VersionRow,
)

_NOTICES = "notices"
_ROWS = "rows"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# Kept, and asked without a look for blanks: `json.loads` takes three times as long for a version's attributes.
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)
_DECODER = json.JSONDecoder()


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970; `moment` is aware."""
    return (moment - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """The aware UTC time of that many microseconds since 1970."""
    return _EPOCH + timedelta(0, 0, micros)  # by place: a page reads a thousand of them


def to_json(attributes: Attributes) -> str:
    """One canonical text of the same values."""
    return _ENCODER.encode(attributes)


def from_json(text: str) -> dict[str, Any]:
    """The mapping of `to_json`; it comes from a verified row, so what it holds is what was written."""
    return cast("dict[str, Any]", _DECODER.raw_decode(text)[0]) if text != "{}" else {}


def account(row: AccountRow) -> Account:
    """The record of an account's row."""
    return Account(row.account_id, row.name, from_micros(row.created_at))


def account_row(record: Account) -> AccountRow:
    """The row of an account."""
    return AccountRow(record.account_id, record.name, to_micros(record.created_at))


def access_key(row: AccessKeyRow) -> AccessKey:
    """The record of an access key's row."""
    return AccessKey(
        row.access_key_id, row.account_id, row.sealed_secret, from_micros(row.created_at), enabled=bool(row.enabled)
    )


def access_key_row(record: AccessKey) -> AccessKeyRow:
    """The row of an access key."""
    return AccessKeyRow(
        record.access_key_id,
        record.account_id,
        record.sealed_secret,
        to_micros(record.created_at),
        int(record.enabled),
    )


def bucket(row: BucketRow) -> Bucket:
    """The record of a bucket's row."""
    return Bucket(
        row.bucket_id,
        row.name,
        row.account_id,
        from_micros(row.created_at),
        Versioning(row.versioning),
        bool(row.object_lock),
        from_json(row.configurations),
    )


def bucket_row(record: Bucket) -> BucketRow:
    """The row of a new bucket, which has neither versions nor configurations."""
    return BucketRow(
        record.bucket_id,
        record.name,
        record.account_id,
        to_micros(record.created_at),
        record.versioning,
        int(record.object_lock),
        version_count=0,
        configurations=to_json({}),
    )


def version(row: VersionRow) -> ObjectVersion:
    """The record of a version's row."""
    return ObjectVersion(
        bucket_id=row.bucket_id,
        object_key=row.object_key,
        version_id=row.version_id,
        content_id=row.content_id,
        size=row.size,
        etag=row.etag,
        created_at=from_micros(row.created_at),
        attributes=from_json(row.attributes),
        sequence=row.sequence,
        lock=_lock(row),
        is_latest=bool(row.is_latest),
    )


_HOLDS: Final = (None, True, False)
"""Legal holds by the number that stands in a row."""


def _lock(row: VersionRow) -> ObjectLock:
    """One and the same record for all that have none: most have none."""
    if row.retain_until is None and not row.legal_hold:
        return NO_LOCK
    until = None if row.retain_until is None else from_micros(row.retain_until)
    return ObjectLock(RetentionMode(row.retention_mode), until, _HOLDS[row.legal_hold])


def version_row(record: ObjectVersion, *, link_id: bytes | None) -> VersionRow:
    """The row of a version."""
    return VersionRow(
        bucket_id=record.bucket_id,
        object_key=record.object_key,
        sequence=record.sequence,
        version_id=record.version_id,
        content_id=record.content_id,
        link_id=link_id,
        size=record.size,
        etag=record.etag,
        created_at=to_micros(record.created_at),
        attributes=to_json(record.attributes),
        is_latest=int(record.is_latest),
        retention_mode=record.lock.mode,
        retain_until=None if record.lock.retain_until is None else to_micros(record.lock.retain_until),
        legal_hold=_HOLDS.index(record.lock.legal_hold),
    )


def content(row: ContentRow, blobs: Iterable[Blob]) -> Content:
    """The record of a content's row; its manifest stands last."""
    ordered = sorted(blobs, key=lambda blob: (blob.role is BlobRole.MANIFEST, blob.part_number))
    return Content(
        row.content_id,
        row.bucket_id,
        row.account_id,
        row.encryption,
        row.kms_key_id,
        row.wrapped_key,
        tuple(ordered),
    )


def content_row(record: Content, *, blob_count: int) -> ContentRow:
    """The row of a content that one version refers to."""
    return ContentRow(
        record.content_id,
        record.bucket_id,
        record.account_id,
        record.encryption,
        record.kms_key_id,
        record.wrapped_key,
        reference_count=1,
        blob_count=blob_count,
    )


def blob(row: BlobRow, inline: bytes | None = None) -> Blob:
    """The record of a live blob's row."""
    return Blob(
        row.blob_id,
        BlobRole(row.role),
        row.plaintext_size,
        row.sealed_size,
        row.slot_size,
        row.salt,
        row.commitment,
        row.footer_hash,
        row.wrapped_key,
        row.part_number,
        inline,
    )


def blob_row(record: Blob, content_id: bytes | None) -> BlobRow:
    """The row of a live blob."""
    return BlobRow(
        blob_id=record.blob_id,
        state=BlobState.LIVE,
        content_id=content_id,
        role=record.role,
        part_number=record.part_number,
        plaintext_size=record.plaintext_size,
        sealed_size=record.sealed_size,
        slot_size=record.slot_size,
        salt=record.salt,
        commitment=record.commitment,
        footer_hash=record.footer_hash,
        wrapped_key=record.wrapped_key,
        is_inline=int(record.inline is not None),
        condemned_at=None,
    )


def condemned_row(blob_id: bytes, role: str, sealed_size: int, condemned_at: int) -> BlobRow:
    """The row of a condemned blob: of what would open it nothing is kept."""
    return BlobRow(blob_id, BlobState.CONDEMNED, None, role, 0, 0, sealed_size, 0, b"", b"", b"", b"", 0, condemned_at)


def upload(row: UploadRow) -> Upload:
    """The record of an upload's row."""
    return Upload(
        upload_id=row.upload_id,
        bucket_id=row.bucket_id,
        object_key=row.object_key,
        account_id=row.account_id,
        content=Content(
            row.content_id,
            row.content_bucket_id,
            row.content_account_id,
            row.encryption,
            row.kms_key_id,
            row.wrapped_key,
        ),
        created_at=from_micros(row.created_at),
        attributes=from_json(row.attributes),
        completed=_published(row),
    )


def upload_row(record: Upload) -> UploadRow:
    """The row of an open upload without parts."""
    return UploadRow(
        upload_id=record.upload_id,
        bucket_id=record.bucket_id,
        object_key=record.object_key,
        account_id=record.account_id,
        content_id=record.content.content_id,
        content_bucket_id=record.content.bucket_id,
        content_account_id=record.content.account_id,
        encryption=record.content.encryption,
        kms_key_id=record.content.kms_key_id,
        wrapped_key=record.content.wrapped_key,
        created_at=to_micros(record.created_at),
        attributes=to_json(record.attributes),
        part_count=0,
        completed_at=None,
        completed=None,
    )


def published_json(published: ObjectVersion) -> str:
    """What an upload remembers of the version that it became; place and content stand in its other columns."""
    return to_json(
        {
            "version_id": published.version_id,
            "size": published.size,
            "etag": published.etag,
            "created_at": to_micros(published.created_at),
            "attributes": dict(published.attributes),
            "sequence": published.sequence,
            "lock": lock_to_json(published.lock),
        }
    )


def _published(row: UploadRow) -> ObjectVersion | None:
    if row.completed is None:
        return None
    kept = from_json(row.completed)
    return ObjectVersion(
        bucket_id=row.bucket_id,
        object_key=row.object_key,
        version_id=kept["version_id"],
        content_id=row.content_id,
        size=kept["size"],
        etag=kept["etag"],
        created_at=from_micros(kept["created_at"]),
        attributes=kept["attributes"],
        sequence=kept["sequence"],
        lock=lock_from_json(kept["lock"]),
    )


def part(row: PartRow, blob_record: Blob) -> Part:
    """The record of a part's row."""
    return Part(
        row.upload_id,
        row.part_number,
        blob_record,
        row.etag,
        row.size,
        from_micros(row.created_at),
        from_json(row.attributes),
    )


def part_row(record: Part) -> PartRow:
    """The row of a part."""
    return PartRow(
        record.upload_id,
        record.part_number,
        record.blob.blob_id,
        record.etag,
        record.size,
        to_micros(record.created_at),
        to_json(record.attributes),
    )


def change(row: ChangeRow) -> Change:
    """The record of an outbox line."""
    body = from_json(row.body)
    notices = tuple(Notice(target, event) for target, event in body.get(_NOTICES, ()))
    return Change(row.sequence, row.kind, from_micros(row.at), notices, tuple(body.get(_ROWS, ())))


def change_json(notices: Iterable[Notice], written: Iterable[Written]) -> str:
    """Who is to be told of a command and the rows that it wrote, as one."""
    told = [[notice.target, notice.event] for notice in notices]
    logged = [each.to_json() for each in written]
    return to_json(({_NOTICES: told} if told else {}) | ({_ROWS: logged} if logged else {}))


def lease(row: LeaseRow) -> Lease:
    """The record of a lease's row."""
    return Lease(row.name, row.holder, row.epoch, from_micros(row.expires_at))
