"""Buckets and their configurations over verified rows.

Each function is one command or one read of the contract; names and refusals are told there (`base`).
"""

from storage.catalogue import rows, uploads
from storage.catalogue.commands import Lease
from storage.catalogue.conflicts import BucketExists, BucketNotEmpty, BucketStateRefused, NoSuchBucket, TooManyBuckets
from storage.catalogue.identities import require_account
from storage.catalogue.jobs import require_lease
from storage.catalogue.records import Bucket, Versioning
from storage.catalogue.rules import check_new_bucket, check_versioning, hash_of
from storage.catalogue.schema import BUCKETS, CONFIGURATIONS, UPLOADS, VERSIONS, ConfigurationRow
from storage.catalogue.session import SLICE_ROWS, Scan, Session, Transaction
from storage.catalogue.versions import require_bucket
from storage.errors import RowDamaged


def create_bucket(tx: Transaction, bucket: Bucket, limit: int) -> None:
    """See `Catalogue.create_bucket`."""
    check_new_bucket(bucket)
    taken = tx.first(BUCKETS, "WHERE name = ?", bucket.name)
    if taken is not None:
        raise BucketExists(taken.account_id)
    tx.findings.check_table(BUCKETS)
    require_account(tx, bucket.account_id)
    if tx.count(BUCKETS, "WHERE account_id = ?", bucket.account_id) >= limit:
        raise TooManyBuckets("the account holds as many buckets as it may")
    tx.insert(BUCKETS, rows.bucket_row(bucket))
    tx.record("create_bucket")


def delete_bucket(tx: Transaction, bucket_id: bytes) -> None:
    """See `Catalogue.delete_bucket`."""
    row = require_bucket(tx, bucket_id)
    has_versions = tx.first(VERSIONS, "WHERE bucket_id = ?", bucket_id) is not None
    if has_versions != (tx.version_count(row) > 0):
        raise RowDamaged("a bucket has not as many versions as its row says")
    if has_versions:
        raise BucketNotEmpty("the bucket holds versions")
    for upload in tx.all(UPLOADS, "WHERE bucket_id = ?", bucket_id):
        uploads.drop(tx, upload)
    tx.delete_group(CONFIGURATIONS, bucket_id)
    tx.delete(BUCKETS, row)
    tx.forget_bucket(bucket_id)
    tx.record("delete_bucket")


def get_bucket(session: Session, name: str) -> Bucket:
    """See `Catalogue.get_bucket`."""
    row = session.first(BUCKETS, "WHERE name = ?", name)
    if row is None:
        session.findings.check_table(BUCKETS)
        raise NoSuchBucket("no bucket of that name")
    return rows.bucket(row)


def list_buckets(
    session: Session, account_id: bytes, prefix: str, start_after: str, limit: int
) -> Scan[tuple[Bucket, ...]]:
    """See `Catalogue.list_buckets`. Names are ASCII: text sorts as bytes."""
    session.findings.check_table(BUCKETS)
    found: list[Bucket] = []
    condition = "WHERE account_id = ? AND name > ? AND name >= ? ORDER BY name LIMIT ?"
    for row in session.walk(BUCKETS, condition, account_id, start_after, prefix, limit):
        if not row.name.startswith(prefix):
            break
        found.append(rows.bucket(row))
        if len(found) % SLICE_ROWS == 0:
            yield
    return tuple(found)


def set_versioning(tx: Transaction, bucket_id: bytes, status: Versioning) -> None:
    """See `Catalogue.set_versioning`."""
    row = require_bucket(tx, bucket_id)
    check_versioning(status, bool(row.object_lock))
    tx.update(BUCKETS, row._replace(versioning=status))
    tx.record("set_versioning")


def enable_object_lock(tx: Transaction, bucket_id: bytes) -> None:
    """See `Catalogue.enable_object_lock`."""
    row = require_bucket(tx, bucket_id)
    if row.versioning != Versioning.ENABLED:
        raise BucketStateRefused("object lock needs versioning")
    if not row.object_lock:
        tx.update(BUCKETS, row._replace(object_lock=1))
        tx.record("enable_object_lock")


def put_configuration(
    tx: Transaction, bucket_id: bytes, kind: str, document: bytes | None, lease: Lease | None
) -> None:
    """See `Catalogue.put_configuration`."""
    if lease is not None:
        require_lease(tx, lease)
    row = require_bucket(tx, bucket_id)
    hashes = rows.from_json(row.configurations)
    held = hashes.pop(kind, None)
    new = ConfigurationRow(bucket_id, kind, document or b"")
    if document is None:
        if held is None:
            return
        tx.delete(CONFIGURATIONS, new)
    else:
        hashes[kind] = hash_of(document)
        (tx.insert if held is None else tx.update)(CONFIGURATIONS, new)
    tx.update(BUCKETS, row._replace(configurations=rows.to_json(hashes)))
    tx.record("put_configuration")


def get_configuration(session: Session, bucket_id: bytes, kind: str) -> bytes | None:
    """See `Catalogue.get_configuration`."""
    wanted = rows.from_json(require_bucket(session, bucket_id).configurations).get(kind)
    if wanted is None:
        return None
    row = session.find(CONFIGURATIONS, bucket_id, kind)
    if row is None or hash_of(row.document) != wanted:
        raise RowDamaged("a bucket's configuration is missing, or another than its row says")
    return row.document
