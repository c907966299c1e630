"""Blobs of a store that no row of the catalogue names: what the gateway keeps for itself, and orphans of crashes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from storage.blobs.base import BlobStat, BlobStore
from storage.catalogue.base import Catalogue
from storage.errors import BlobMissing, SealedDamaged
from storage.sealed.header import BlobKind, parse_untrusted
from storage.sealed.layout import HEADER_SIZE

BATCH_SIZE: Final = 1000
"""Ids that the catalogue is asked about at a time."""
ROWLESS_KINDS: Final = frozenset({BlobKind.PACK, BlobKind.KEYRING, BlobKind.JOURNAL, BlobKind.SNAPSHOT})
"""What the gateway keeps for itself. It is never an orphan; a kind that nobody knows is one."""


@dataclass(slots=True)
class Rowless:
    """What was found."""

    scanned_count: int = 0
    """Blobs that the store has, those with rows too."""
    orphans: list[bytes] = field(default_factory=list)
    record_count: int = 0
    """Blobs of `ROWLESS_KINDS`."""
    packs: list[BlobStat] = field(default_factory=list)
    """Those of them that are packs."""
    parts: list[BlobStat] = field(default_factory=list)
    """Those of them that are parts of snapshots."""


async def find_rowless(
    blobs: BlobStore,
    catalogue: Catalogue,
    before: datetime | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Rowless:
    """Look at every blob once, and closer at those without a row that were written before a time.

    `progress` is told the number of blobs looked at. Raises: StorageError.
    """
    found = Rowless()
    batch: list[BlobStat] = []
    async for stat in blobs.iterate():
        found.scanned_count += 1
        if before is None or stat.modified_at < before:
            batch.append(stat)
        if len(batch) >= BATCH_SIZE:
            await _take(blobs, catalogue, batch, found)
            batch = []
            progress(found.scanned_count)
    await _take(blobs, catalogue, batch, found)
    progress(found.scanned_count)
    return found


async def _take(blobs: BlobStore, catalogue: Catalogue, batch: list[BlobStat], found: Rowless) -> None:
    states = await catalogue.blob_states([stat.blob_id for stat in batch])
    for stat in batch:
        if stat.blob_id in states:
            continue
        kind = await kind_of(blobs, stat.blob_id)
        if kind not in ROWLESS_KINDS:
            found.orphans.append(stat.blob_id)
            continue
        found.record_count += 1
        if kind is BlobKind.PACK:
            found.packs.append(stat)
        elif kind is BlobKind.SNAPSHOT:
            found.parts.append(stat)


async def kind_of(blobs: BlobStore, blob_id: bytes) -> BlobKind | None:
    """What a blob says that it is; None where it is gone or says nothing. Who lies so only keeps his own debris."""
    try:
        reader = await blobs.open(blob_id)
    except BlobMissing:
        return None
    try:
        return parse_untrusted(await reader.read(0, min(HEADER_SIZE, reader.sealed_size))).kind
    except SealedDamaged:
        return None
    finally:
        await reader.close()
