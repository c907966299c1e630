"""Buckets over verified rows.

Each function is one command or one read of the contract; names and refusals are told there (`base`).
"""

from storage.catalogue import rows, uploads
from storage.catalogue.base import BucketExists, BucketNotEmpty, NoSuchBucket, TooManyBuckets
from storage.catalogue.identities import require_account
from storage.catalogue.records import Bucket
from storage.catalogue.rules import check_bucket
from storage.catalogue.schema import BUCKETS, UPLOADS, VERSIONS
from storage.catalogue.session import SLICE_ROWS, Scan, Session, Transaction
from storage.catalogue.versions import require_bucket


def create_bucket(tx: Transaction, bucket: Bucket, limit: int) -> None:
    """See `Catalogue.create_bucket`."""
    check_bucket(bucket)
    taken = tx.first(BUCKETS, "WHERE name = ?", bucket.name)
    if taken is not None:
        raise BucketExists(taken.account_id)
    require_account(tx, bucket.account_id)
    if tx.count(BUCKETS, "WHERE account_id = ?", bucket.account_id) >= limit:
        raise TooManyBuckets("the account holds as many buckets as it may")
    tx.insert(BUCKETS, rows.bucket_row(bucket))
    tx.record(
        "create_bucket",
        {"bucket_id": bucket.bucket_id.hex(), "name": bucket.name, "account_id": bucket.account_id.hex()},
    )


def delete_bucket(tx: Transaction, bucket_id: bytes) -> None:
    """See `Catalogue.delete_bucket`."""
    row = require_bucket(tx, bucket_id)
    if tx.first(VERSIONS, "WHERE bucket_id = ?", bucket_id) is not None:
        raise BucketNotEmpty("the bucket holds versions")
    for upload in tx.all(UPLOADS, "WHERE bucket_id = ?", bucket_id):
        uploads.drop(tx, upload)
    tx.delete(BUCKETS, row)
    tx.record("delete_bucket", {"bucket_id": bucket_id.hex()})


def get_bucket(session: Session, name: str) -> Bucket:
    """See `Catalogue.get_bucket`."""
    row = session.first(BUCKETS, "WHERE name = ?", name)
    if row is None:
        raise NoSuchBucket("no bucket of that name")
    return rows.bucket(row)


def list_buckets(
    session: Session, account_id: bytes, prefix: str, start_after: str, limit: int
) -> Scan[tuple[Bucket, ...]]:
    """See `Catalogue.list_buckets`. Names are ASCII: text sorts as bytes."""
    found: list[Bucket] = []
    condition = "WHERE account_id = ? AND name > ? AND name >= ? ORDER BY name LIMIT ?"
    for row in session.walk(BUCKETS, condition, account_id, start_after, prefix, limit):
        if not row.name.startswith(prefix):
            break
        found.append(rows.bucket(row))
        if len(found) % SLICE_ROWS == 0:
            yield
    return tuple(found)
