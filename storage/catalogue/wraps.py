"""Wraps of the KMS over verified rows: walked, moved into envelopes blobs, let go; and contents that are sealed anew.

A wrap stands in the row that it belongs to. Beside it the catalogue keeps which envelopes blob carries it as well, and
counts for each such blob the wraps that name it, so that the last one to go condemns it. Source: `base`; DESIGN D7.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from typing import TypeVar

from storage.catalogue import blobs, rows
from storage.catalogue.commands import (
    KeptWrap,
    Lease,
    MoveWraps,
    ReplaceContent,
    WrapMove,
    WrapOwner,
    WrapsMark,
    WrapsPage,
    WrapsStage,
)
from storage.catalogue.conflicts import WrapsChanged
from storage.catalogue.jobs import require_lease
from storage.catalogue.records import Blob, BlobRole, BlobState, KeptEnvelopes, ObjectVersion
from storage.catalogue.schema import (
    BLOBS,
    BUCKETS,
    CONTENTS,
    ENVELOPES,
    MOVED_WRAPS,
    UPLOADS,
    VERSIONS,
    ContentRow,
    EnvelopesRow,
    MovedWrapRow,
    Table,
    UploadRow,
    VersionRow,
)
from storage.catalogue.session import SLICE_ROWS, Binding, Scan, Session, Transaction
from storage.errors import RowDamaged
from storage.seams import reach

_UNREAD_ROWS = 4096
"""Rows that a look for a content's first version passes, unverified, between two pauses: some milliseconds."""


def list_wraps(session: Session, mark: WrapsMark, limit: int) -> Scan[WrapsPage]:
    """See `Catalogue.list_wraps`."""
    session.findings.check_every_bucket()
    session.findings.check_table(BUCKETS)
    session.findings.check_table(UPLOADS)
    found: list[KeptWrap] = []
    count = 0
    for stage, walk in _WALKS.items():
        if stage < mark.stage:
            continue
        steps = walk(session, mark if stage == mark.stage else WrapsMark(stage))
        while some := list(islice(steps, min(SLICE_ROWS, limit - count))):
            found += _wraps_of(session, some)
            count += len(some)
            mark = some[-1][0]
            yield
        if count == limit:
            return WrapsPage(tuple(found), mark)
    return WrapsPage(tuple(found), None)


_Step = tuple[WrapsMark, UploadRow | VersionRow]


def _uploads_behind(session: Session, mark: WrapsMark) -> Iterator[_Step]:
    condition = "WHERE upload_id > ? AND completed_at IS NULL ORDER BY upload_id"
    for row in session.walk(UPLOADS, condition, mark.upload_id):
        yield WrapsMark(WrapsStage.UPLOADS, upload_id=row.upload_id), row


def _versions_behind(session: Session, mark: WrapsMark) -> Iterator[_Step]:
    """Versions in the order of their table: those of the marked key that are older, then all of greater keys."""
    older = "WHERE bucket_id = ? AND object_key = ? AND sequence < ? ORDER BY sequence DESC"
    greater = "WHERE (bucket_id, object_key) > (?, ?) ORDER BY bucket_id, object_key, sequence DESC"
    key = mark.bucket_id, mark.object_key
    for row in chain(session.walk(VERSIONS, older, *key, mark.sequence), session.walk(VERSIONS, greater, *key)):
        yield WrapsMark(WrapsStage.VERSIONS, b"", row.bucket_id, row.object_key, row.sequence), row


def _shared_behind(session: Session, mark: WrapsMark) -> Iterator[_Step]:
    """A copy of each content that has one: by the index of copies, so that it costs no more where there are many."""
    statement = (
        "SELECT DISTINCT content_id FROM versions WHERE link_id IS NOT NULL AND content_id > ? ORDER BY content_id"
    )
    for (content_id,) in session.ask(statement, mark.content_id):
        row = session.first(VERSIONS, "WHERE link_id IS NOT NULL AND content_id = ?", content_id)
        if row is None:
            raise RowDamaged(f"a version is not where its content leads: {content_id.hex()}")
        yield WrapsMark(WrapsStage.SHARED, content_id=content_id), row


_WALKS: dict[WrapsStage, Callable[[Session, WrapsMark], Iterator[_Step]]] = {
    WrapsStage.UPLOADS: _uploads_behind,
    WrapsStage.VERSIONS: _versions_behind,
    WrapsStage.SHARED: _shared_behind,
}
assert list(_WALKS) == sorted(WrapsStage)


def _wraps_of(session: Session, some: Sequence[_Step]) -> Iterator[KeptWrap]:
    """Of an upload its content's; of a version that, its manifest's where it has one, its link's where it is a copy."""
    content_ids = [row.content_id for _, row in some if isinstance(row, VersionRow) and row.content_id is not None]
    contents = session.find_each(CONTENTS, content_ids)
    for mark, row in some:
        if isinstance(row, UploadRow):
            upload = rows.upload(row)
            wrap_id, bucket_id = upload.content.content_id, upload.content.bucket_id
            yield KeptWrap(WrapOwner.UPLOAD, wrap_id, bucket_id, upload.content.wrapped_key, upload=upload)
            continue
        if row.content_id is None:
            continue
        content = contents.get(row.content_id)
        if content is None:
            raise RowDamaged(f"a referenced content row is missing: {row.content_id.hex()}")
        version = partial(rows.version, row)
        attributes = partial(rows.from_json, row.attributes)
        yield KeptWrap(WrapOwner.CONTENT, row.content_id, content.bucket_id, content.wrapped_key, version, attributes)
        if content.blob_count > 1:
            manifest = session.first(BLOBS, "WHERE content_id = ? ORDER BY part_number", row.content_id)
            if manifest is None or manifest.role != BlobRole.MANIFEST:
                raise RowDamaged(f"the manifest of a content is missing: {row.content_id.hex()}")
            yield _blob_wrap(session, manifest.blob_id, content.bucket_id, version)
        if row.link_id is not None and mark.stage is WrapsStage.VERSIONS:
            yield _blob_wrap(session, row.link_id, row.bucket_id, version)


def _blob_wrap(session: Session, blob_id: bytes, bucket_id: bytes, version: Callable[[], ObjectVersion]) -> KeptWrap:
    row = session.find(BLOBS, blob_id)
    if row is None:
        raise RowDamaged(f"a referenced blob row is missing: {blob_id.hex()}")
    blob = rows.blob(row) if row.wrapped_key else blobs.load(session, row)
    return KeptWrap(WrapOwner.BLOB, blob_id, bucket_id, row.wrapped_key, version, blob=blob)


def move_wraps(tx: Transaction, command: MoveWraps, lease: Lease) -> tuple[bytes, ...]:
    """See `Catalogue.move_wraps`."""
    require_lease(tx, lease)
    envelopes_id = command.envelopes.blob_id
    blobs.add(tx, command.envelopes, None)
    reach("rewrap.blob_added")
    done = {wrap_id for owner, move_each in _MOVERS.items() for wrap_id in move_each(tx, _of(command, owner))}
    moved = [move.wrap_id for move in command.moves if move.wrap_id in done]
    reach("rewrap.rows_written")
    if not moved:
        blobs.condemn_named(tx, envelopes_id)
        return ()
    tx.insert(ENVELOPES, EnvelopesRow(envelopes_id, command.epoch, len(moved)))
    before = tx.find_each(MOVED_WRAPS, moved)
    new: list[MovedWrapRow] = []
    old: list[MovedWrapRow] = []
    for wrap_id in moved:
        (old if wrap_id in before else new).append(MovedWrapRow(wrap_id, envelopes_id))
    tx.insert_each(MOVED_WRAPS, new)
    tx.update_each(MOVED_WRAPS, old)
    reach("rewrap.wraps_named")
    for left_id, count in Counter(row.envelopes_id for row in before.values()).items():
        blobs.leave_envelopes(tx, left_id, count)
    reach("rewrap.older_left")
    tx.record("move_wraps")
    return tuple(moved)


def _of(command: MoveWraps, owner: WrapOwner) -> list[WrapMove]:
    return [move for move in command.moves if move.owner is owner]


def _move_contents(tx: Transaction, moves: Sequence[WrapMove]) -> list[bytes]:
    found = tx.find_each(CONTENTS, [move.wrap_id for move in moves])
    changed = [(move, row) for move in moves if (row := found.get(move.wrap_id)) and row.wrapped_key == move.expected]
    return _update_moved(tx, CONTENTS, changed)


def _move_uploads(tx: Transaction, moves: Sequence[WrapMove]) -> list[bytes]:
    found = tx.find_each(UPLOADS, [move.upload_id for move in moves])
    changed = [
        (move, row)
        for move in moves
        if (row := found.get(move.upload_id)) and row.completed_at is None and row.wrapped_key == move.expected
    ]
    return _update_moved(tx, UPLOADS, changed)


_Keyed = TypeVar("_Keyed", ContentRow, UploadRow)


def _update_moved(tx: Transaction, table: Table[_Keyed], changed: Sequence[tuple[WrapMove, _Keyed]]) -> list[bytes]:
    """Let rows have their new envelopes, and name another wrapping key where they are told to, which is logged."""
    for is_logged in (False, True):
        some = []
        for move, row in changed:
            kms_key_id = row.kms_key_id if move.kms_key_id is None else move.kms_key_id
            if (kms_key_id != row.kms_key_id) is is_logged:
                some.append(row._replace(wrapped_key=move.envelope, kms_key_id=kms_key_id))
        tx.update_each(table, some, is_logged=is_logged)
    return [move.wrap_id for move, _ in changed]


def _move_blobs(tx: Transaction, moves: Sequence[WrapMove]) -> list[bytes]:
    found = tx.find_each(BLOBS, [move.wrap_id for move in moves])
    changed = [
        row._replace(wrapped_key=move.envelope)
        for move in moves
        if (row := found.get(move.wrap_id)) and row.state == BlobState.LIVE and row.wrapped_key == move.expected
    ]
    tx.update_each(BLOBS, changed, is_logged=False)
    return [row.blob_id for row in changed]


_MOVERS: dict[WrapOwner, Callable[[Transaction, Sequence[WrapMove]], list[bytes]]] = {
    WrapOwner.CONTENT: _move_contents,
    WrapOwner.UPLOAD: _move_uploads,
    WrapOwner.BLOB: _move_blobs,
    WrapOwner.REALM: lambda _tx, moves: [move.wrap_id for move in moves],
}


def moved_wraps(session: Session, wrap_ids: Sequence[bytes]) -> Scan[frozenset[bytes]]:
    """See `Catalogue.moved_wraps`."""
    moved: set[bytes] = set()
    for start in range(0, len(wrap_ids), SLICE_ROWS):
        found = session.find_each(MOVED_WRAPS, wrap_ids[start : start + SLICE_ROWS])
        moved.update(row.wrap_id for row in found.values())
        yield
    return frozenset(moved)


def list_envelopes(session: Session, after: bytes, limit: int) -> Scan[tuple[KeptEnvelopes, ...]]:
    """See `Catalogue.list_envelopes`."""
    session.findings.check_table(ENVELOPES)
    found: list[KeptEnvelopes] = []
    for row in session.walk(ENVELOPES, "WHERE blob_id > ? ORDER BY blob_id LIMIT ?", after, limit):
        blob = session.find(BLOBS, row.blob_id)
        if blob is None:
            raise RowDamaged(f"a referenced blob row is missing: {row.blob_id.hex()}")
        found.append(KeptEnvelopes(blobs.load(session, blob), row.epoch, row.wrap_count))
        if len(found) % SLICE_ROWS == 0:
            yield
    return tuple(found)


def replace_envelopes(
    tx: Transaction, envelopes_id: bytes, blob: Blob, wrap_ids: Sequence[bytes], lease: Lease
) -> None:
    """See `Catalogue.replace_envelopes`."""
    require_lease(tx, lease)
    row = tx.find(ENVELOPES, envelopes_id)
    if row is None:
        raise WrapsChanged("the envelopes blob is gone")
    blobs.add(tx, blob, None)
    moved = [
        wrap for wrap_id in wrap_ids if (wrap := tx.find(MOVED_WRAPS, wrap_id)) and wrap.envelopes_id == envelopes_id
    ]
    if len(moved) != row.wrap_count:
        raise WrapsChanged("a wrap would be lost with the envelopes blob")
    for wrap in moved:
        tx.update(MOVED_WRAPS, wrap._replace(envelopes_id=blob.blob_id))
    tx.delete(ENVELOPES, row)
    tx.insert(ENVELOPES, row._replace(blob_id=blob.blob_id))
    blobs.condemn_named(tx, envelopes_id)
    tx.record("move_wraps")


def versions_of_content(
    session: Session, content_id: bytes, known: ObjectVersion | None
) -> Scan[tuple[tuple[ObjectVersion, bytes | None], ...]]:
    """See `Catalogue.versions_of_content`. Copies have an index; the first version is looked for among all."""
    content = session.find(CONTENTS, content_id)
    reference_count = 0 if content is None else content.reference_count
    found = session.all(VERSIONS, "WHERE content_id = ? AND link_id IS NOT NULL", content_id)
    if len(found) < reference_count and known is not None:
        row = session.find(VERSIONS, known.bucket_id, known.object_key, known.sequence)
        if row is not None and row.content_id == content_id and row.link_id is None:
            found.append(row)
    if len(found) < reference_count:
        statement = "SELECT content_id, bucket_id, object_key, sequence FROM versions WHERE link_id IS NULL"
        for number, (of_content, *place) in enumerate(session.ask(statement), start=1):
            if of_content == content_id:
                found.append(_require_version(session, *place))
                break
            if number % _UNREAD_ROWS == 0:
                yield
    if len(found) != reference_count:
        raise RowDamaged(f"versions of a content are missing: {content_id.hex()}")
    return tuple((rows.version(row), row.link_id) for row in found)


def _require_version(session: Session, *place: Binding) -> VersionRow:
    row = session.find(VERSIONS, *place)
    if row is None:
        raise RowDamaged("a version row is not where its key leads")
    return row


def replace_content(tx: Transaction, command: ReplaceContent, lease: Lease) -> None:
    """See `Catalogue.replace_content`."""
    require_lease(tx, lease)
    old = tx.find(CONTENTS, command.content_id)
    if old is None or old.reference_count != len(command.versions):
        raise WrapsChanged("the content is gone, or other versions have it")
    blobs.add_content(tx, command.content, len(command.versions))
    for change in command.versions:
        seen = change.seen
        row = tx.find(VERSIONS, seen.bucket_id, seen.object_key, seen.sequence)
        if (
            row is None
            or row.content_id != command.content_id
            or row.attributes != rows.to_json(seen.attributes)
            or (row.link_id is None) != (change.link is None)
        ):
            raise WrapsChanged("a version is not what it was")
        if row.link_id is not None and change.link is not None:
            blobs.condemn_named(tx, row.link_id)
            blobs.add(tx, change.link, None)
        link_id = None if change.link is None else change.link.blob_id
        attributes = rows.to_json(change.attributes)
        tx.update(VERSIONS, row._replace(content_id=command.content.content_id, link_id=link_id, attributes=attributes))
    blobs.drop_content(tx, old)
    tx.record("replace_content")
