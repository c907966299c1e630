"""Blobs as sweep sees them, leases of background jobs, the outbox, over verified rows.

See `base` for what each command promises.
"""

from collections.abc import Sequence
from datetime import timedelta

from storage.catalogue import rows
from storage.catalogue.commands import Change, Lease
from storage.catalogue.records import Attributes, BlobRole, BlobState
from storage.catalogue.rowlog import LOGGED, Written, put_json
from storage.catalogue.schema import BLOBS, CURSORS, INLINE_BLOBS, LEASES, OUTBOX, CursorRow, LeaseRow
from storage.catalogue.session import SLICE_ROWS, Scan, Session, Transaction
from storage.errors import LeaseLost, RowDamaged

_ALL = 2**63 - 1
_NOBODY = ""
"""Holder of a lease that was given back; the row stays, so that epochs go on rising."""


def blob_states(session: Session, blob_ids: Sequence[bytes]) -> Scan[dict[bytes, BlobState]]:
    """See `Catalogue.blob_states`."""
    session.findings.check_table(BLOBS)
    states = {}
    for number, blob_id in enumerate(blob_ids, start=1):
        row = session.find(BLOBS, blob_id)
        if row is not None:
            states[blob_id] = BlobState(row.state)
        if number % SLICE_ROWS == 0:
            yield
    return states


def check_live_blobs(session: Session, counted: int) -> Scan[None]:
    """See `Catalogue.check_live_blobs`; `counted` of the same state."""
    there = 0
    for _ in session.walk(BLOBS, "WHERE state = 'live' AND is_inline = 0"):
        there += 1
        if there % SLICE_ROWS == 0:
            yield
    if there != counted:
        raise RowDamaged(f"{counted} live blobs are counted, and {there} have a row: rows were taken away or added")


def condemn_orphans(tx: Transaction, blob_ids: Sequence[bytes], lease: Lease) -> tuple[bytes, ...]:
    """See `Catalogue.condemn_orphans`."""
    require_lease(tx, lease)
    tx.findings.check_table(BLOBS)
    condemned = []
    for blob_id in blob_ids:
        if tx.find(BLOBS, blob_id) is None:
            tx.insert(BLOBS, rows.condemned_row(blob_id, "orphan", 0, tx.now))
            condemned.append(blob_id)
    return tuple(condemned)


def list_condemned(session: Session, before: int, limit: int, role: BlobRole | None = None) -> Scan[tuple[bytes, ...]]:
    """See `Catalogue.list_condemned`; `before` in microseconds since 1970."""
    session.findings.check_table(BLOBS)
    found: list[bytes] = []
    wanted = "" if role is None else f"AND role = '{role.value}' "
    condition = f"WHERE condemned_at < ? {wanted}ORDER BY condemned_at, blob_id LIMIT ?"
    for row in session.walk(BLOBS, condition, before, limit):
        found.append(row.blob_id)
        if len(found) % SLICE_ROWS == 0:
            yield
    return tuple(found)


def forget_condemned(tx: Transaction, blob_ids: Sequence[bytes], lease: Lease) -> None:
    """See `Catalogue.forget_condemned`."""
    require_lease(tx, lease)
    for blob_id in blob_ids:
        row = tx.find(BLOBS, blob_id)
        if row is not None and row.state == BlobState.CONDEMNED:
            tx.delete(BLOBS, row)


def acquire_lease(tx: Transaction, name: str, holder: str, duration: timedelta) -> Lease:
    """See `Catalogue.acquire_lease`."""
    assert holder, "a lease has a holder"
    row = tx.find(LEASES, name)
    expires_at = tx.now + duration // timedelta(microseconds=1)
    if row is None:
        taken = LeaseRow(name, holder, 1, expires_at)
        tx.insert(LEASES, taken)
        return rows.lease(taken)
    if row.holder not in {holder, _NOBODY} and row.expires_at > tx.now:
        raise rows.lease(row).refusal()
    taken = LeaseRow(name, holder, row.epoch + (row.holder != holder), expires_at)
    tx.update(LEASES, taken)
    return rows.lease(taken)


def release_lease(tx: Transaction, lease: Lease) -> None:
    """See `Catalogue.release_lease`."""
    row = tx.find(LEASES, lease.name)
    if row is not None and (row.holder, row.epoch) == (lease.holder, lease.epoch):
        tx.update(LEASES, row._replace(holder=_NOBODY, expires_at=tx.now))


def require_lease(session: Transaction, lease: Lease) -> None:
    """Raises: LeaseLost."""
    row = session.find(LEASES, lease.name)
    if row is None or (row.holder, row.epoch) != (lease.holder, lease.epoch) or row.expires_at <= session.now:
        raise LeaseLost("the lease is another's, or over")


def get_cursor(session: Session, name: str) -> int:
    """See `Catalogue.get_cursor`."""
    row = session.find(CURSORS, name)
    if row is None:
        session.findings.check_table(CURSORS)
        return 0
    return row.position


def set_cursor(tx: Transaction, name: str, sequence: int) -> None:
    """See `Catalogue.set_cursor`."""
    row = tx.find(CURSORS, name)
    if row is None:
        tx.findings.check_table(CURSORS)
        tx.insert(CURSORS, CursorRow(name, sequence))
    elif row.position < sequence:
        tx.update(CURSORS, row._replace(position=sequence))


def trim_changes(tx: Transaction, through: int, lease: Lease) -> int:
    """See `Catalogue.trim_changes`."""
    require_lease(tx, lease)
    return tx.delete_where(OUTBOX, "WHERE sequence <= ?", through)


def read_inline(session: Session, blob_ids: Sequence[bytes]) -> Scan[dict[bytes, bytes]]:
    """See `Catalogue.read_inline`."""
    session.findings.check_table(BLOBS)
    found = {}
    for number, blob_id in enumerate(blob_ids, start=1):
        row = session.find(INLINE_BLOBS, blob_id)
        if row is not None:
            found[blob_id] = row.sealed
        if number % SLICE_ROWS == 0:
            yield
    return found


def read_rows(session: Session, table: str, after: Attributes | None, limit: int) -> Scan[tuple[Attributes, ...]]:
    """See `Catalogue.read_rows`."""
    logged = LOGGED[table]
    names = logged.columns[: logged.key_size]
    condition, bindings = "", ()
    if after is not None:
        bindings = Written.from_json(after).key
        condition = f"WHERE ({', '.join(names)}) > ({', '.join('?' * len(names))}) "
    found: list[Attributes] = []
    for row in session.walk(logged, f"{condition}ORDER BY {', '.join(names)} LIMIT ?", *bindings, limit):
        found.append(put_json(logged, row))
        if len(found) % SLICE_ROWS == 0:
            yield
    return tuple(found)


def read_changes(session: Session, after: int, limit: int, through: int = _ALL) -> Scan[tuple[Change, ...]]:
    """See `Catalogue.read_changes`. Nothing above `through` is read: there lines may be missing that still come."""
    found: list[Change] = []
    condition = "WHERE sequence > ? AND sequence <= ? ORDER BY sequence LIMIT ?"
    for row in session.walk(OUTBOX, condition, after, through, limit):
        found.append(rows.change(row))
        if len(found) % SLICE_ROWS == 0:
            yield
    return tuple(found)
