"""Accounts and access keys over verified rows.

Each function is one command or one read of the contract; names and refusals are told there (`base`).
"""

from storage.catalogue import rows
from storage.catalogue.conflicts import AccountExists, NoSuchAccessKey, NoSuchAccount
from storage.catalogue.records import AccessKey, Account
from storage.catalogue.schema import ACCESS_KEYS, ACCOUNTS, AccessKeyRow, AccountRow
from storage.catalogue.session import SLICE_ROWS, Scan, Session, Transaction
from storage.errors import CatalogueConflict, RowDamaged

_OWNER = "WHERE account_id = (SELECT account_id FROM access_keys WHERE access_key_id = ?)"
"""The account of an access key, in words that need not wait for the key's row."""


def create_account(tx: Transaction, account: Account, access_key: AccessKey | None) -> None:
    """See `Catalogue.create_account`."""
    row = rows.account_row(account)
    tx.insert(ACCOUNTS, row, lambda: AccountExists("an account of that name is there"))
    tx.record("create_account")
    if access_key is not None:
        create_access_key(tx, access_key)


def create_access_key(tx: Transaction, access_key: AccessKey) -> None:
    """See `Catalogue.create_access_key`."""
    require_account(tx, access_key.account_id)
    row = rows.access_key_row(access_key)
    tx.insert(ACCESS_KEYS, row, lambda: CatalogueConflict("the access key id is taken"))
    tx.record("create_access_key")


def set_access_key_enabled(tx: Transaction, access_key_id: str, enabled: bool) -> None:
    """See `Catalogue.set_access_key_enabled`."""
    row = _require_access_key(tx, access_key_id)
    tx.update(ACCESS_KEYS, row._replace(enabled=int(enabled)))
    tx.record("set_access_key_enabled")


def delete_access_key(tx: Transaction, access_key_id: str) -> None:
    """See `Catalogue.delete_access_key`."""
    row = _require_access_key(tx, access_key_id)
    tx.delete(ACCESS_KEYS, row)
    tx.record("delete_access_key")


def require_account(session: Session, account_id: bytes) -> AccountRow:
    """The account's row. Raises: NoSuchAccount."""
    row = session.find(ACCOUNTS, account_id)
    if row is None:
        session.findings.check_table(ACCOUNTS)
        raise NoSuchAccount("no account of that id")
    return row


def get_account(session: Session, account_id: bytes) -> Account:
    """See `Catalogue.get_account`."""
    return rows.account(require_account(session, account_id))


def get_account_by_name(session: Session, name: str) -> Account:
    """See `Catalogue.get_account_by_name`."""
    row = session.first(ACCOUNTS, "WHERE name = ?", name)
    if row is None:
        session.findings.check_table(ACCOUNTS)
        raise NoSuchAccount("no account of that name")
    return rows.account(row)


def list_accounts(session: Session) -> Scan[tuple[Account, ...]]:
    """See `Catalogue.list_accounts`."""
    session.findings.check_table(ACCOUNTS)
    found = []
    for number, row in enumerate(session.walk(ACCOUNTS, "ORDER BY name"), start=1):
        found.append(rows.account(row))
        if number % SLICE_ROWS == 0:
            yield
    return tuple(found)


def _require_access_key(session: Session, access_key_id: str) -> AccessKeyRow:
    row = session.find(ACCESS_KEYS, access_key_id)
    if row is None:
        session.findings.check_table(ACCESS_KEYS)
        raise NoSuchAccessKey("no access key of that id")
    return row


def get_access_key(session: Session, access_key_id: str) -> tuple[AccessKey, Account]:
    """See `Catalogue.get_access_key`."""
    session.foresee(ACCOUNTS, _OWNER, access_key_id)
    row = _require_access_key(session, access_key_id)
    owner = session.first(ACCOUNTS, _OWNER, access_key_id)
    if owner is None or owner.account_id != row.account_id:
        raise RowDamaged("the account of an access key is missing")
    return rows.access_key(row), rows.account(owner)


def list_access_keys(session: Session, account_id: bytes) -> tuple[AccessKey, ...]:
    """See `Catalogue.list_access_keys`."""
    require_account(session, account_id)
    session.findings.check_table(ACCESS_KEYS)
    found = session.all(ACCESS_KEYS, "WHERE account_id = ? ORDER BY created_at, access_key_id", account_id)
    return tuple(rows.access_key(row) for row in found)
