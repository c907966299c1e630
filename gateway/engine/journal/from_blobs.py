"""What blobs alone tell, where journal and snapshots are lost: every version that is still stored, as it was written.

A blob does not know what became of it. So versions that were deleted, and whose bytes were not reclaimed yet, come
back; one that was replaced under the version id `null` comes back under an id of its own. The report marks each.
Source: docs/FORMAT.md section 10, docs/RECOVERY.md.
"""

from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from gateway.engine.journal.recovery import BlobScan, Found, Progress, name_envelopes
from gateway.engine.protection import Protection
from keys.errors import KeysError
from storage.catalogue import rows
from storage.catalogue.records import (
    NULL_VERSION_ID,
    Account,
    Attributes,
    Blob,
    BlobRole,
    Bucket,
    Content,
    ObjectLock,
    ObjectVersion,
    RetentionMode,
    Versioning,
)
from storage.catalogue.restoring import Restoration
from storage.catalogue.rowlog import put_json
from storage.catalogue.schema import (
    ACCOUNTS,
    BLOBS,
    BUCKETS,
    CONTENTS,
    VERSIONS,
)
from storage.errors import BlobError, Damaged
from storage.sealed.description import Description
from storage.sealed.header import BlobKind
from storage.sealed.records import ContentRecord

CURRENT: Final = "current"
OLDER: Final = "older"
REPLACED: Final = "replaced"
"""It was overwritten under the version id `null`: deleted, but not reclaimed yet."""
LOST: Final = "lost"
"""Some of its blobs are missing or damaged: it is not brought back."""


@dataclass(frozen=True, slots=True)
class Told:
    """What became of one version, for the report."""

    bucket: str
    object_key: bytes
    version_id: str
    mark: str
    """`CURRENT`, `OLDER`, `REPLACED` or `LOST`."""
    created_at: datetime


@dataclass(slots=True)
class _Piece:
    """One blob that stands for a version."""

    kind: BlobKind
    blob: Blob
    slot: bytes
    description: Description
    record: ContentRecord | None
    """Of a manifest or link: the content that it names."""

    @property
    def order(self) -> tuple[int, bytes]:
        """By commit, as far as blobs know."""
        return self.description.commit_order, self.blob.blob_id


_ROLES: Final = {
    BlobKind.OBJECT: BlobRole.OBJECT,
    BlobKind.PART: BlobRole.PART,
    BlobKind.MANIFEST: BlobRole.MANIFEST,
    BlobKind.LINK: BlobRole.LINK,
}


@dataclass(slots=True)
class _Gathered:
    pieces: dict[bytes, _Piece] = field(default_factory=dict)
    parts: set[bytes] = field(default_factory=set)
    part_sizes: dict[bytes, int] = field(default_factory=dict)


async def rebuild(scan: BlobScan, restoration: Restoration, progress: Progress, now: datetime) -> list[Told]:
    """Fill a new catalogue from blobs alone; what became of each version. Raises: StorageError."""
    gathered = await _gather(scan, progress)
    contents, lost = _contents(gathered, scan)
    told = [_told(piece, LOST) for piece in lost]
    standing = [piece for piece in gathered.pieces.values() if _content_id(piece) in contents]
    sequences = {id(piece): number for number, piece in enumerate(sorted(standing, key=lambda p: p.order), start=1)}
    restoration.apply(_owners(standing))
    by_key: dict[tuple[bytes, bytes], list[_Piece]] = defaultdict(list)
    for piece in standing:
        by_key[piece.description.bucket_id, piece.description.object_key].append(piece)
    references: Counter[bytes] = Counter()
    for held in by_key.values():
        held.sort(key=lambda piece: piece.order)
        for piece, version_id, mark in _named(held):
            told.append(_told(piece, mark, version_id))
            version = _version(piece, version_id, sequences[id(piece)], is_latest=piece is held[-1])
            link_id = piece.blob.blob_id if piece.kind is BlobKind.LINK else None
            restoration.apply([put_json(VERSIONS, rows.version_row(version, link_id=link_id))])
            references[_content_id(piece)] += 1
            if link_id is not None:
                _put_blob(restoration, piece.blob, None)
        progress("versions", len(held))
    for content_id, content in contents.items():
        if references[content_id]:
            _put_content(restoration, content, references[content_id])
    name_envelopes(scan, restoration, scan.envelopes)
    used = {blob.blob_id for content in contents.values() for blob in content.blobs}
    micros = rows.to_micros(now)
    restoration.apply(
        put_json(BLOBS, rows.condemned_row(blob_id, BlobRole.PART, size, micros))
        for blob_id, size in gathered.part_sizes.items()
        if blob_id not in used
    )
    restoration.apply((), len(sequences))
    return told


async def _gather(scan: BlobScan, progress: Progress) -> _Gathered:
    gathered = _Gathered()
    blobs: AsyncGenerator[Found]
    async with aclosing(scan.run(progress)) as blobs:
        async for found in blobs:
            header, description = found.recovered.header, found.recovered.description
            blob_id = header.blob_id
            if header.kind is BlobKind.PART:
                gathered.parts.add(blob_id)
                gathered.part_sizes[blob_id] = found.recovered.expectation.sealed_size
            if header.kind not in (BlobKind.OBJECT, BlobKind.MANIFEST, BlobKind.LINK):
                continue
            slot = found.recovered.wrapped_key
            gathered.pieces[blob_id] = _Piece(header.kind, _blob(found), slot, description, None)
    # Only now all envelopes are known, under which manifests and links may lie.
    for piece in list(gathered.pieces.values()):
        if piece.kind is not BlobKind.OBJECT:
            try:
                await _take_record(scan, piece)
            except (Damaged, BlobError, KeysError) as error:
                scan.seen.damaged.append((piece.blob.blob_id, str(error)))
                del gathered.pieces[piece.blob.blob_id]
    return gathered


async def _take_record(scan: BlobScan, piece: _Piece) -> None:
    """Read what a manifest or link names."""
    blob = piece.blob
    moved = scan.newest(blob.blob_id)
    wrap = piece.slot if moved is None else moved.wrap
    async with aclosing(scan.reopened(blob.blob_id, blob.inline)) as reopened:
        async for found in reopened:
            piece.record = await scan.record(found, wrap)
    piece.blob = replace(blob, wrapped_key=wrap)


def _blob(found: Found) -> Blob:
    expectation = found.recovered.expectation
    header = found.recovered.header
    return Blob(
        blob_id=header.blob_id,
        role=_ROLES[header.kind],
        plaintext_size=expectation.plaintext_size,
        sealed_size=expectation.sealed_size,
        slot_size=header.slot_size,
        salt=expectation.salt,
        commitment=expectation.commitment,
        footer_hash=expectation.footer_hash,
        wrapped_key=b"" if header.kind is BlobKind.OBJECT else found.recovered.wrapped_key,
        inline=found.inline,
    )


def _content_id(piece: _Piece) -> bytes:
    return piece.description.content_id if piece.record is None else piece.record.content_id


def _contents(gathered: _Gathered, scan: BlobScan) -> tuple[dict[bytes, Content], list[_Piece]]:
    """Every content whose blobs are all there, and the versions whose are not."""
    contents: dict[bytes, Content] = {}
    lost: list[_Piece] = []
    # Objects and manifests first: a link names the same content again.
    for piece in sorted(gathered.pieces.values(), key=lambda piece: (piece.kind is BlobKind.LINK, piece.order)):
        content_id = _content_id(piece)
        if content_id in contents:
            continue
        blobs = _payload(piece, gathered)
        if blobs is None:
            lost.append(piece)
            continue
        protection = Protection.decode(piece.description.encryption)
        record, moved = piece.record, scan.newest(content_id)
        slot = piece.slot if record is None else record.wrapped_key
        contents[content_id] = Content(
            content_id=content_id,
            bucket_id=piece.description.bucket_id if record is None else record.bucket_id,
            account_id=piece.description.account_id,
            encryption=protection.mode.value,
            kms_key_id=protection.kms_key_id,
            wrapped_key=slot if moved is None else moved.wrap,
            blobs=blobs,
        )
    return contents, [piece for piece in lost if _content_id(piece) not in contents]


def _payload(piece: _Piece, gathered: _Gathered) -> tuple[Blob, ...] | None:
    """The blobs of the content that a blob stands for; None where one is not there."""
    if piece.record is None:
        return (piece.blob,)
    blobs: list[Blob] = []
    for reference in piece.record.blobs:
        role = BlobRole.PART if reference.part_number else BlobRole.OBJECT
        held = gathered.pieces.get(reference.blob_id)
        if reference.blob_id not in gathered.parts and held is None:
            return None
        blobs.append(
            Blob(
                blob_id=reference.blob_id,
                role=role,
                plaintext_size=reference.plaintext_size,
                sealed_size=reference.sealed_size,
                slot_size=reference.slot_size,
                salt=reference.salt,
                commitment=reference.commitment,
                footer_hash=reference.footer_hash,
                wrapped_key=reference.wrapped_key,
                part_number=reference.part_number,
                inline=None if held is None else held.blob.inline,
            )
        )
    return (*blobs, piece.blob) if piece.kind is BlobKind.MANIFEST else tuple(blobs)


def _named(held: list[_Piece]) -> Iterator[tuple[_Piece, str, str]]:
    """The versions of one key, oldest first, each with its id and mark; only one of them is `null`."""
    ids = [piece.description.version_id or NULL_VERSION_ID for piece in held]
    newest = {version_id: number for number, version_id in enumerate(ids)}
    for number, (piece, version_id) in enumerate(zip(held, ids, strict=True)):
        if newest[version_id] != number:
            yield piece, piece.blob.blob_id.hex(), REPLACED
        else:
            yield piece, version_id, CURRENT if number == len(held) - 1 else OLDER


def _owners(pieces: Iterable[_Piece]) -> Iterator[Attributes]:
    """Accounts and buckets, as the descriptions of their objects know them."""
    newest: dict[bytes, _Piece] = {}
    created: dict[bytes, datetime] = {}
    locked: set[bytes] = set()
    versioned: set[bytes] = set()
    nulls: Counter[tuple[bytes, bytes]] = Counter()
    for piece in pieces:
        told = piece.description
        bucket_id = told.bucket_id
        created[bucket_id] = min(created.get(bucket_id, told.created_at), told.created_at)
        created[told.account_id] = min(created.get(told.account_id, told.created_at), told.created_at)
        if bucket_id not in newest or newest[bucket_id].order < piece.order:
            newest[bucket_id] = piece
        if told.lock_mode or told.legal_hold:
            locked.add(bucket_id)
        nulls[bucket_id, told.object_key] += told.version_id in {"", NULL_VERSION_ID}
        if told.version_id not in {"", NULL_VERSION_ID} or nulls[bucket_id, told.object_key] > 1:
            versioned.add(bucket_id)
    for account_id in {piece.description.account_id for piece in newest.values()}:
        account = Account(account_id, f"recovered-{account_id.hex()[:8]}", created[account_id])
        yield put_json(ACCOUNTS, rows.account_row(account))
    taken: set[str] = set()
    for piece in sorted(newest.values(), key=lambda piece: piece.order, reverse=True):
        told = piece.description
        name = told.bucket_name
        if name in taken:  # a bucket of that name was deleted, and made again: the older one stands beside it
            name = f"{name[:50]}-{told.bucket_id.hex()[:8]}"
        taken.add(name)
        is_versioned = told.bucket_id in versioned or told.bucket_id in locked
        bucket = Bucket(
            told.bucket_id,
            name,
            told.account_id,
            created[told.bucket_id],
            Versioning.ENABLED if is_versioned else Versioning.NEVER,
            object_lock=told.bucket_id in locked,
        )
        yield put_json(BUCKETS, rows.bucket_row(bucket))


def _version(piece: _Piece, version_id: str, sequence: int, *, is_latest: bool) -> ObjectVersion:
    told = piece.description
    return ObjectVersion(
        bucket_id=told.bucket_id,
        object_key=told.object_key,
        version_id=version_id,
        content_id=_content_id(piece),
        size=told.plaintext_size,
        etag=told.etag,
        created_at=told.created_at if told.modified_at is None else told.modified_at,
        attributes=_attributes(told),
        sequence=sequence,
        lock=_lock(told),
        is_latest=is_latest,
    )


def _lock(told: Description) -> ObjectLock:
    lock = ObjectLock(RetentionMode(told.lock_mode), told.retain_until)
    return ObjectLock(lock.mode, lock.retain_until, legal_hold=True) if told.legal_hold else lock


def _attributes(told: Description) -> Attributes:
    """What `gateway.engine.attributes` keeps of a version, as far as a description has it."""
    attributes: dict[str, Any] = {}
    if told.headers:
        attributes["headers"] = dict(told.headers)
    if told.user_metadata:
        attributes["metadata"] = dict(told.user_metadata)
    for algorithm, value in told.checksums.items():
        kind = "COMPOSITE" if "-" in value else "FULL_OBJECT"
        attributes["checksum"] = {"algorithm": algorithm, "type": kind, "value": value}
    for name, sealed in told.sealed_checksums.items():
        algorithm, _, kind = name.partition(":")
        attributes["checksum"] = {"algorithm": algorithm, "type": kind, "sealed": sealed}
    if told.tags:
        attributes["tags"] = [[name, value] for name, value in told.tags.items()]
    if Protection.decode(told.encryption) != Protection():
        attributes["encryption"] = dict(told.encryption)
    return attributes


def _put_content(restoration: Restoration, content: Content, references: int) -> None:
    row = rows.content_row(content, blob_count=len(content.blobs))._replace(reference_count=references)
    restoration.apply([put_json(CONTENTS, row)])
    restoration.put_wrap(row, content.wrapped_key)
    for blob in content.blobs:
        _put_blob(restoration, blob, content.content_id)


def _put_blob(restoration: Restoration, blob: Blob, content_id: bytes | None) -> None:
    row = rows.blob_row(blob, content_id)
    restoration.apply([put_json(BLOBS, row)])
    restoration.put_wrap(row, blob.wrapped_key)
    if blob.inline is not None:
        restoration.put_inline(blob.blob_id, blob.inline)


def _told(piece: _Piece, mark: str, version_id: str = "") -> Told:
    told = piece.description
    return Told(told.bucket_name, told.object_key, version_id or told.version_id, mark, told.created_at)
