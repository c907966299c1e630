"""Accounts, access keys and buckets over verified rows.

Each function is one command or one read of the contract; names and refusals are told there (`base`).
"""

import apsw

from storage.catalogue import rows, uploads
from storage.catalogue.base import (
    AccountExists,
    BucketExists,
    BucketNotEmpty,
    NoSuchAccessKey,
    NoSuchAccount,
    NoSuchBucket,
)
from storage.catalogue.records import AccessKey, Account, Bucket
from storage.catalogue.rules import check_bucket
from storage.catalogue.schema import ACCESS_KEYS, ACCOUNTS, BUCKETS, UPLOADS, VERSIONS, AccountRow, BucketRow
from storage.catalogue.session import SLICE_ROWS, Scan, Session, Transaction
from storage.errors import CatalogueConflict, RowDamaged


def create_account(tx: Transaction, account: Account, access_key: AccessKey | None) -> None:
    """See `Catalogue.create_account`."""
    try:
        tx.insert(ACCOUNTS, rows.account_row(account))
    except apsw.ConstraintError:
        raise AccountExists("an account of that name is there") from None
    tx.record("create_account", {"account_id": account.account_id.hex(), "name": account.name})
    if access_key is not None:
        create_access_key(tx, access_key)


def create_access_key(tx: Transaction, access_key: AccessKey) -> None:
    """See `Catalogue.create_access_key`."""
    _account(tx, access_key.account_id)
    try:
        tx.insert(ACCESS_KEYS, rows.access_key_row(access_key))
    except apsw.ConstraintError:
        raise CatalogueConflict("the access key id is taken") from None
    tx.record(
        "create_access_key",
        {"access_key_id": access_key.access_key_id, "account_id": access_key.account_id.hex()},
    )


def set_access_key_enabled(tx: Transaction, access_key_id: str, enabled: bool) -> None:
    """See `Catalogue.set_access_key_enabled`."""
    row = tx.find(ACCESS_KEYS, access_key_id)
    if row is None:
        raise NoSuchAccessKey("no access key of that id")
    tx.update(ACCESS_KEYS, row._replace(enabled=int(enabled)))
    tx.record("set_access_key_enabled", {"access_key_id": access_key_id, "enabled": enabled})


def delete_access_key(tx: Transaction, access_key_id: str) -> None:
    """See `Catalogue.delete_access_key`."""
    row = tx.find(ACCESS_KEYS, access_key_id)
    if row is None:
        raise NoSuchAccessKey("no access key of that id")
    tx.delete(ACCESS_KEYS, row)
    tx.record("delete_access_key", {"access_key_id": access_key_id})


def create_bucket(tx: Transaction, bucket: Bucket, limit: int) -> None:
    """See `Catalogue.create_bucket`."""
    check_bucket(bucket)
    taken = tx.first(BUCKETS, "WHERE name = ?", bucket.name)
    if taken is not None:
        raise BucketExists(taken.account_id)
    _account(tx, bucket.account_id)
    if tx.count(BUCKETS, "WHERE account_id = ?", bucket.account_id) >= limit:
        raise CatalogueConflict("the account holds as many buckets as it may")
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


def require_bucket(session: Session, bucket_id: bytes) -> BucketRow:
    """The bucket's row. Raises: NoSuchBucket."""
    row = session.find(BUCKETS, bucket_id)
    if row is None:
        raise NoSuchBucket("no bucket of that id")
    return row


def _account(session: Session, account_id: bytes) -> AccountRow:
    row = session.find(ACCOUNTS, account_id)
    if row is None:
        raise NoSuchAccount("no account of that id")
    return row


def get_account(session: Session, account_id: bytes) -> Account:
    """See `Catalogue.get_account`."""
    return rows.account(_account(session, account_id))


def get_account_by_name(session: Session, name: str) -> Account:
    """See `Catalogue.get_account_by_name`."""
    row = session.first(ACCOUNTS, "WHERE name = ?", name)
    if row is None:
        raise NoSuchAccount("no account of that name")
    return rows.account(row)


def list_accounts(session: Session) -> Scan[tuple[Account, ...]]:
    """See `Catalogue.list_accounts`."""
    found = []
    for number, row in enumerate(session.walk(ACCOUNTS, "ORDER BY name"), start=1):
        found.append(rows.account(row))
        if number % SLICE_ROWS == 0:
            yield
    return tuple(found)


def get_access_key(session: Session, access_key_id: str) -> tuple[AccessKey, Account]:
    """See `Catalogue.get_access_key`."""
    row = session.find(ACCESS_KEYS, access_key_id)
    if row is None:
        raise NoSuchAccessKey("no access key of that id")
    owner = session.find(ACCOUNTS, row.account_id)
    if owner is None:
        raise RowDamaged("the account of an access key is missing")
    return rows.access_key(row), rows.account(owner)


def list_access_keys(session: Session, account_id: bytes) -> tuple[AccessKey, ...]:
    """See `Catalogue.list_access_keys`."""
    _account(session, account_id)
    found = session.all(ACCESS_KEYS, "WHERE account_id = ? ORDER BY created_at, access_key_id", account_id)
    return tuple(rows.access_key(row) for row in found)


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
