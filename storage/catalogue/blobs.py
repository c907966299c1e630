"""Contents and blobs inside a transaction: taken in, shared, released, condemned.

A blob id has one row for ever: inserting it is what makes publishing and sweeping exclude each other. Bytes of inline
blobs go at once when they are condemned, since readers hold them already; blobs of the store wait for sweep. Source:
DESIGN parts 2 and 4.
"""

from collections.abc import Iterable

from storage.catalogue import rows
from storage.catalogue.conflicts import BlobCondemned, ContentGone
from storage.catalogue.records import Blob, BlobRole, BlobState, Content
from storage.catalogue.schema import (
    BLOBS,
    CONTENTS,
    ENVELOPES,
    INLINE_BLOBS,
    MOVED_WRAPS,
    BlobRow,
    ContentRow,
    InlineRow,
)
from storage.catalogue.session import SLICE_ROWS, Session, Transaction
from storage.errors import CatalogueConflict, RowDamaged

_OWN_WRAPS = frozenset({BlobRole.MANIFEST, BlobRole.LINK})
"""Blobs whose own key the KMS wraps."""


def add(tx: Transaction, blob: Blob, content_id: bytes | None) -> None:
    """Make a blob live.

    Raises:
        BlobCondemned: sweep took its id.
        CatalogueConflict: the id is live already.
    """
    tx.insert(BLOBS, rows.blob_row(blob, content_id), lambda: _taken(tx, blob.blob_id))
    if blob.inline is None:
        tx.live_blobs += 1
    else:
        tx.insert(INLINE_BLOBS, InlineRow(blob.blob_id, blob.inline))


def _taken(tx: Transaction, blob_id: bytes) -> CatalogueConflict:
    row = tx.find(BLOBS, blob_id)
    if row is not None and row.state == BlobState.CONDEMNED:
        return BlobCondemned("sweep took the blob before it was published")
    return CatalogueConflict("the blob is in use")


def condemn(tx: Transaction, row: BlobRow) -> None:
    """Take a live blob out: an inline one at once, another as a condemned row for sweep."""
    if row.state != BlobState.LIVE:
        raise RowDamaged("a blob in use is condemned")
    if row.role in _OWN_WRAPS:
        forget_wrap(tx, row.blob_id)
    if row.is_inline:
        tx.delete(INLINE_BLOBS, InlineRow(row.blob_id, b""))
        tx.delete(BLOBS, row)
    else:
        tx.update(BLOBS, rows.condemned_row(row.blob_id, row.role, row.sealed_size, tx.now))
        tx.live_blobs -= 1


def condemn_unseen(tx: Transaction, blob: Blob) -> None:
    """Condemn a blob that was written to the store for a command that does not need it."""
    if blob.inline is None and tx.find(BLOBS, blob.blob_id) is None:
        tx.insert(BLOBS, rows.condemned_row(blob.blob_id, blob.role, blob.sealed_size, tx.now))


def condemn_named(tx: Transaction, blob_id: bytes) -> None:
    """Condemn a blob that a verified row names."""
    row = tx.find(BLOBS, blob_id)
    if row is None:
        raise RowDamaged(f"a referenced blob row is missing: {blob_id.hex()}")
    condemn(tx, row)


def add_content(tx: Transaction, content: Content, reference_count: int = 1) -> None:
    """Take in a new content that so many versions refer to, with its blobs.

    Raises:
        BlobCondemned, CatalogueConflict: as `add`; also where the content id is taken.
    """
    row = rows.content_row(content, blob_count=len(content.blobs))._replace(reference_count=reference_count)
    tx.insert(CONTENTS, row, lambda: CatalogueConflict("the content is in use"))
    for blob in content.blobs:
        add(tx, blob, content.content_id)


def share_content(tx: Transaction, content_id: bytes) -> None:
    """Refer to a content once more. Raises: ContentGone."""
    row = tx.find(CONTENTS, content_id)
    if row is None:
        raise ContentGone("the content was released")
    tx.update(CONTENTS, row._replace(reference_count=row.reference_count + 1))


def release_content(tx: Transaction, content_id: bytes) -> None:
    """Drop one reference; with the last one the content goes and its blobs are condemned."""
    tx.foresee(MOVED_WRAPS, MOVED_WRAPS.by_key, content_id)
    row = require_content(tx, content_id)
    if row.reference_count > 1:
        tx.update(CONTENTS, row._replace(reference_count=row.reference_count - 1))
    else:
        drop_content(tx, row)


def drop_content(tx: Transaction, row: ContentRow) -> None:
    """Remove a content whatever refers to it, and condemn its blobs."""
    blobs = list(blob_rows(tx, row))
    check_count(row, len(blobs))
    for blob in blobs:
        condemn(tx, blob)
    tx.delete(CONTENTS, row)
    forget_wrap(tx, row.content_id)


def forget_wrap(tx: Transaction, wrap_id: bytes) -> None:
    """Let a wrap that goes no longer name the envelopes blob that carries it, where one does."""
    row = tx.find(MOVED_WRAPS, wrap_id)
    if row is not None:
        tx.delete(MOVED_WRAPS, row)
        leave_envelopes(tx, row.envelopes_id, 1)


def leave_envelopes(tx: Transaction, envelopes_id: bytes, count: int) -> None:
    """Let so many wraps fewer name an envelopes blob; with the last one it is condemned."""
    row = tx.find(ENVELOPES, envelopes_id)
    if row is None or row.wrap_count < count:
        raise RowDamaged(f"an envelopes row is missing or counts wrongly: {envelopes_id.hex()}")
    if row.wrap_count == count:
        tx.delete(ENVELOPES, row)
        condemn_named(tx, envelopes_id)
    else:
        tx.update(ENVELOPES, row._replace(wrap_count=row.wrap_count - count))


def require_content(session: Session, content_id: bytes) -> ContentRow:
    """The row of a content that a verified row names. Raises: RowDamaged where it is missing."""
    row = session.find(CONTENTS, content_id)
    if row is None:
        raise RowDamaged(f"a referenced content row is missing: {content_id.hex()}")
    return row


def blob_rows(session: Session, content: ContentRow) -> Iterable[BlobRow]:
    """Live blobs of a content, by part number; all at once where they are few."""
    read = session.all if content.blob_count <= SLICE_ROWS else session.walk
    return read(BLOBS, "WHERE content_id = ? ORDER BY part_number", content.content_id)


def check_count(row: ContentRow, blob_count: int) -> None:
    """Raises: RowDamaged where a content has not as many blobs as its row says."""
    if blob_count != row.blob_count:
        raise RowDamaged(f"blob rows of a content are missing: {row.content_id.hex()}")


def load(session: Session, row: BlobRow) -> Blob:
    """The record of a live blob, with its bytes where they rest here."""
    if row.state != BlobState.LIVE:
        raise RowDamaged(f"a blob in use is condemned: {row.blob_id.hex()}")
    if not row.is_inline:
        return rows.blob(row)
    inline = session.find(INLINE_BLOBS, row.blob_id)
    if inline is None:
        raise RowDamaged(f"the bytes of an inline blob are missing: {row.blob_id.hex()}")
    return rows.blob(row, inline.sealed)
