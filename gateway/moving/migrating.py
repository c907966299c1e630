"""The blobs of one realm from one store to another, with nobody serving: copied, compared, then handed over.

The hand-over gives up the old store's claim before the new one is claimed. So there is no moment at which both say that
they are the live one; a crash between leaves neither, no gateway starts, and the same command goes on: with a target
that is the whole copy by then, and with no other. Small objects stay in the catalogue. Nothing is deleted.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import AbstractContextManager, aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from gateway.engine.retaining import retain_all
from gateway.moving.places import PIECE_BYTES, PlaceFailed
from storage.blobs.base import BlobReader, BlobStore
from storage.catalogue.base import Catalogue
from storage.catalogue.records import BlobState
from storage.errors import BlobExists, Damaged
from storage.seams import reach

_BATCH: Final = 1000
"""Blob ids that the catalogue is asked about at a time."""

_ANY_AGE: Final = datetime.max.replace(tzinfo=UTC)

Showing = Callable[[str, int], AbstractContextManager[Callable[[], None]]]
"""(what is done, to how many blobs) -> told after each of them: a progress bar."""
Prove = Callable[[bytes, BlobReader], Awaitable[str]]
"""(blob id, reader) -> the kind of the blob, where it is authentic. Raises: Damaged."""


@dataclass(slots=True)
class Migrated:
    """What a migration did."""

    copied: int = 0
    already_there: int = 0
    copied_bytes: int = 0
    compared: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    """How many authentic blobs there are of each kind: objects and their parts, journal, snapshots, packs."""
    retained: int = 0
    """Versions under COMPLIANCE, whose blobs the new store keeps as well, where it has locks of its own."""
    damaged: list[str] = field(default_factory=list)
    """Blobs that do not authenticate, on either side alike: they were copied as they are."""


class BlobMigration:
    """From `source` to `target`; whoever calls it holds the lock that keeps gateways out.

    It holds the ids of all blobs: about 100 bytes of memory for each.
    """

    def __init__(
        self,
        source: BlobStore,
        target: BlobStore,
        catalogue: Catalogue,
        realm_id: bytes,
        prove: Prove,
        parallel: int,
    ) -> None:
        self._source = source
        self._target = target
        self._catalogue = catalogue
        self._realm_id = realm_id
        self._prove = prove
        self._parallel = parallel
        self.report = Migrated()

    async def run(self, showing: Showing) -> Migrated:
        """Copy, compare, hand over; called again it goes on.

        Raises:
            PlaceFailed: a store is another realm's, or the target is not a copy. StorageError.
        """
        held, wanted = await self._source.realm_id(), await self._target.realm_id()
        for realm_id in (held, wanted):
            if realm_id not in (None, self._realm_id):
                raise PlaceFailed("one of the stores belongs to another realm: correct the places")
        if wanted is not None and held is not None:
            raise PlaceFailed("both stores say that they are the live one: this is no migration that was cut off")
        if wanted is not None:
            return self.report
        ours = await _ids(self._source)
        lacking = await self._lacking(ours)
        if lacking and held is None:
            # It was given up once all was copied: what lacks a blob is not where it went.
            raise PlaceFailed(
                "the blobs were handed over already, and not to this place: give the settings of where they are now"
            )
        with showing("blobs, copied", len(lacking)) as tell:
            await self._each(sorted(lacking), self._copy, tell)
        reach("migrate.copied")
        with showing("blobs, compared", len(ours)) as tell:
            await self._compare(ours, tell)
        self.report.retained = await retain_all(self._catalogue, self._target)
        await self._target.reclaim_debris(_ANY_AGE)
        reach("migrate.compared")
        await self._source.release(self._realm_id)
        reach("migrate.released")
        await self._target.claim(self._realm_id)
        reach("migrate.claimed")
        return self.report

    async def _lacking(self, ours: set[bytes]) -> set[bytes]:
        """What the target does not have yet. Raises: PlaceFailed where it has what is none of this store."""
        stranger = await self._target.stranger()
        theirs = await _ids(self._target)
        if stranger is None and not theirs <= ours:
            stranger = f"blob {next(iter(theirs - ours)).hex()}"
        if stranger is not None:
            raise PlaceFailed(f"the target holds {stranger}, which is none of this store: give an empty place")
        self.report.already_there = len(theirs)
        return ours - theirs

    async def _each(
        self, blob_ids: Iterable[bytes], work: Callable[[bytes], Awaitable[None]], tell: Callable[[], None]
    ) -> None:
        """Do something with every blob, several at a time; the first failure ends it."""
        waiting = iter(blob_ids)

        async def go_on() -> None:
            for blob_id in waiting:
                await work(blob_id)
                tell()

        tasks = [asyncio.create_task(go_on()) for _ in range(self._parallel)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _copy(self, blob_id: bytes) -> None:
        """A put is whole or not there, so that a blob which the target has needs no second copy."""
        reader = await self._source.open(blob_id)
        try:
            await self._target.put(blob_id, _pieces(reader))
            self.report.copied += 1
            self.report.copied_bytes += reader.sealed_size
        except BlobExists:
            # What a killed run had sent arrived after all. It is compared as all are.
            self.report.already_there += 1
        finally:
            await reader.close()
        reach("migrate.blob")

    async def _compare(self, ours: set[bytes], tell: Callable[[], None]) -> None:
        """See that the target is the store: every blob, and no other; and all that the catalogue counts on."""
        await self._each(sorted(ours), self._compare_one, tell)
        if not ours == await _ids(self._source) == await _ids(self._target):
            raise PlaceFailed("a store changed while it was copied: is a gateway using it?")
        live, in_order = 0, sorted(ours)
        for begin in range(0, len(in_order), _BATCH):
            states = await self._catalogue.blob_states(in_order[begin : begin + _BATCH])
            live += sum(state is BlobState.LIVE for state in states.values())
        expected = await self._catalogue.count_live_blobs()
        if live != expected:
            raise PlaceFailed(
                f"the store lacks {expected - live} blobs that the catalogue names: see `sealgate recover` first"
            )

    async def _compare_one(self, blob_id: bytes) -> None:
        ours = await self._source.open(blob_id)
        try:
            theirs = await self._target.open(blob_id)
            try:
                one, other = await asyncio.gather(_digest(ours), _digest(theirs))
                if ours.sealed_size != theirs.sealed_size or one != other:
                    raise PlaceFailed(f"blob {blob_id.hex()} is not the same on both sides: remove it from the target")
                try:
                    kind = await self._prove(blob_id, theirs)
                except Damaged:
                    self.report.damaged.append(blob_id.hex())
                else:
                    self.report.kinds[kind] = self.report.kinds.get(kind, 0) + 1
            finally:
                await theirs.close()
        finally:
            await ours.close()
        self.report.compared += 1


async def _ids(store: BlobStore) -> set[bytes]:
    return {stat.blob_id async for stat in store.iterate()}


async def _pieces(reader: BlobReader) -> AsyncGenerator[bytes]:
    for offset in range(0, reader.sealed_size, PIECE_BYTES):
        yield await reader.read(offset, min(PIECE_BYTES, reader.sealed_size - offset))


async def _digest(reader: BlobReader) -> bytes:
    digest = hashlib.sha256()
    async with aclosing(_pieces(reader)) as pieces:
        async for piece in pieces:
            digest.update(piece)
    return digest.digest()
