"""The blobs of one realm from one store to another, with nobody serving: copied, compared, then handed over.

The hand-over gives up the old store's claim before the new one is claimed. So there is no moment at which both say that
they are the live one; a crash between leaves neither, no gateway starts, and the same command goes on. Small objects
stay in the catalogue. Nothing is deleted.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from gateway.moving.places import PIECE_BYTES, PlaceFailed
from storage.blobs.base import BlobReader, BlobStore
from storage.catalogue.base import Catalogue
from storage.catalogue.records import BlobState
from storage.errors import BlobMissing, Damaged
from storage.seams import reach

_BATCH: Final = 1000
"""Blob ids that the catalogue is asked about at a time."""

Tell = Callable[[], None]
Prove = Callable[[bytes, BlobReader], Awaitable[None]]
"""(blob id, reader) -> nothing, where the blob is authentic. Raises: Damaged."""


@dataclass(slots=True)
class Migrated:
    """What a migration did."""

    copied: int = 0
    already_there: int = 0
    copied_bytes: int = 0
    compared: int = 0
    damaged: list[str] = field(default_factory=list)
    """Blobs that do not authenticate, on either side alike: they were copied as they are."""


class BlobMigration:
    """From `source` to `target`; whoever calls it holds the lock that keeps gateways out."""

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

    async def run(self, tell: Tell) -> Migrated:
        """Copy, compare, hand over; called again it goes on.

        Raises:
            PlaceFailed: a store is another realm's, or the target is not a copy. StorageError.
        """
        held, wanted = await self._source.realm_id(), await self._target.realm_id()
        for realm_id in (held, wanted):
            if realm_id not in (None, self._realm_id):
                raise PlaceFailed("one of the stores belongs to another realm: correct the folders")
        if wanted is not None and held is not None:
            raise PlaceFailed("both stores say that they are the live one: this is no migration that was cut off")
        if wanted is None:
            await self._each(self._source, self._copy, tell)
            reach("migrate.copied")
            await self._compare(tell)
            reach("migrate.compared")
            await self._source.release(self._realm_id)
            reach("migrate.released")
            await self._target.claim(self._realm_id)
            reach("migrate.claimed")
        return self.report

    async def _each(self, store: BlobStore, work: Callable[[bytes], Awaitable[None]], tell: Tell) -> None:
        """Do something with every blob of a store, several at a time; the first failure ends it."""
        running: set[asyncio.Task[None]] = set()

        async def some_end() -> None:
            ended, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            running.difference_update(ended)
            for task in ended:
                task.result()
                tell()

        try:
            async for stat in store.iterate():
                if len(running) >= self._parallel:
                    await some_end()
                running.add(asyncio.create_task(_as_task(work(stat.blob_id))))
            while running:
                await some_end()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _copy(self, blob_id: bytes) -> None:
        """A put is whole or not there, so that a blob which the target has needs no second copy."""
        reader = await self._source.open(blob_id)
        try:
            if await _size(self._target, blob_id) == reader.sealed_size:
                self.report.already_there += 1
                return
            await self._target.put(blob_id, _pieces(reader))
            self.report.copied += 1
            self.report.copied_bytes += reader.sealed_size
        finally:
            await reader.close()
        reach("migrate.blob")

    async def _compare(self, tell: Tell) -> None:
        """See that the target is the store: every blob, and no other; and all that the catalogue counts on."""
        await self._each(self._target, self._compare_one, tell)
        in_source = [stat.blob_id async for stat in self._source.iterate()]
        if len(in_source) != self.report.compared:
            raise PlaceFailed("the source changed while it was copied: is a gateway using it?")
        live = 0
        for begin in range(0, len(in_source), _BATCH):
            states = await self._catalogue.blob_states(in_source[begin : begin + _BATCH])
            live += sum(state is BlobState.LIVE for state in states.values())
        expected = await self._catalogue.count_live_blobs()
        if live != expected:
            raise PlaceFailed(
                f"the store lacks {expected - live} blobs that the catalogue names: see `sealgate recover` first"
            )

    async def _compare_one(self, blob_id: bytes) -> None:
        if await _size(self._source, blob_id) is None:
            raise PlaceFailed(
                f"the target holds blob {blob_id.hex()}, which is none of this store: give an empty place"
            )
        ours, theirs = await self._source.open(blob_id), await self._target.open(blob_id)
        try:
            if ours.sealed_size != theirs.sealed_size or await _digest(ours) != await _digest(theirs):
                raise PlaceFailed(f"blob {blob_id.hex()} is not the same on both sides: remove it from the target")
            try:
                await self._prove(blob_id, theirs)
            except Damaged:
                self.report.damaged.append(blob_id.hex())
        finally:
            await ours.close()
            await theirs.close()
        self.report.compared += 1


async def _as_task(work: Awaitable[None]) -> None:
    await work


async def _size(store: BlobStore, blob_id: bytes) -> int | None:
    try:
        return (await store.stat(blob_id)).sealed_size
    except BlobMissing:
        return None


async def _pieces(reader: BlobReader) -> AsyncGenerator[bytes]:
    for offset in range(0, reader.sealed_size, PIECE_BYTES):
        yield await reader.read(offset, min(PIECE_BYTES, reader.sealed_size - offset))


async def _digest(reader: BlobReader) -> bytes:
    digest = hashlib.sha256()
    async with aclosing(_pieces(reader)) as pieces:
        async for piece in pieces:
            digest.update(piece)
    return digest.digest()
