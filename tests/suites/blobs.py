"""What every blob store must do. A store's test subclasses `BlobStoreSuite` and says how to make one.

Source: storage/blobs/base.py (the contract).
"""

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from storage.blobs.base import BLOB_ID_SIZE, BlobStore, Buffer
from storage.errors import BlobExists, BlobMissing, BlobReadFailed, RealmMismatch

MIB = 1024 * 1024
REALM = b"R" * 16
SIZES = (0, 1, 4095, 16 * 1024, MIB - 1, MIB, MIB + 1, 3 * MIB + 7)


def blob_id(number: int) -> bytes:
    """An id; those of nearby numbers share a folder, as random ids seldom do."""
    return number.to_bytes(BLOB_ID_SIZE, "big")


def content(size: int, seed: int = 0) -> bytes:
    """Bytes of that size, the same for the same seed."""
    return random.Random(seed * 7919 + size).randbytes(size)


async def chunks(data: Buffer, size: int = 64 * 1024) -> AsyncIterator[Buffer]:
    """The data in pieces; gives way between them, as a socket does."""
    for start in range(0, len(data), size):
        yield data[start : start + size]
        await asyncio.sleep(0)


async def pieces(parts: Sequence[Buffer]) -> AsyncIterator[Buffer]:
    """These pieces."""
    for part in parts:
        yield part


class Broke(Exception):
    """What a source of chunks raises."""


async def breaking(data: bytes) -> AsyncIterator[bytes]:
    """The data, then `Broke`."""
    async for piece in chunks(data):
        yield bytes(piece)
    raise Broke


class Gate:
    """A source that says when its first pieces were taken, and then waits to be opened."""

    def __init__(self, data: bytes) -> None:
        self.reached = asyncio.Event()
        self.open = asyncio.Event()
        self._data = data

    async def chunks(self) -> AsyncIterator[bytes]:
        """The data, the gate, and one byte more."""
        yield self._data
        self.reached.set()
        await self.open.wait()
        yield b"!"


async def read_all(store: BlobStore, name: bytes) -> bytes:
    """Open, read whole, close."""
    reader = await store.open(name)
    try:
        return await reader.read(0, reader.sealed_size)
    finally:
        await reader.close()


async def names(store: BlobStore) -> list[bytes]:
    """Every visible id, sorted."""
    return sorted([stat.blob_id async for stat in store.iterate()])


async def eventually(check: Callable[[], None], tries: int = 1000) -> None:
    """Pass as soon as the check does; after the last try its failure is the test's."""
    for _ in range(tries):
        try:
            check()
        except AssertionError:
            await asyncio.sleep(0.002)
        else:
            return
    check()


class BlobStoreSuite(ABC):
    """Subclass it as `Test...`; tests run on asyncio."""

    pytestmark = pytest.mark.anyio

    @abstractmethod
    def make(self, folder: Path) -> BlobStore:
        """A store that nobody has claimed; `folder` is empty and private to the test."""

    @abstractmethod
    def check_nothing_left(self, store: BlobStore) -> None:
        """Look behind the contract: nothing unfinished may be left and nothing held."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[BlobStore]:
        store = self.make(tmp_path)
        yield store
        await store.close()

    @pytest.mark.parametrize("size", SIZES)
    async def test_what_was_put_is_read(self, store: BlobStore, size: int) -> None:
        data = content(size)
        assert await store.put(blob_id(1), chunks(data)) == size
        assert await read_all(store, blob_id(1)) == data
        assert (await store.stat(blob_id(1))).sealed_size == size
        self.check_nothing_left(store)

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    async def test_takes_every_kind_of_buffer(self, store: BlobStore, kind: Callable[[bytes], Buffer]) -> None:
        parts = [content(1000, seed) for seed in range(3)]
        await store.put(blob_id(1), pieces([kind(part) for part in parts]))
        assert await read_all(store, blob_id(1)) == b"".join(parts)

    async def test_takes_thousands_of_pieces_and_empty_ones(self, store: BlobStore) -> None:
        parts = [b"", *(bytes([number % 251]) * (number % 3) for number in range(5000)), b""]
        await store.put(blob_id(1), pieces(parts))
        assert await read_all(store, blob_id(1)) == b"".join(parts)

    async def test_reads_any_span(self, store: BlobStore) -> None:
        data = content(100_000)
        await store.put(blob_id(1), chunks(data))
        reader = await store.open(blob_id(1))
        assert reader.sealed_size == len(data)
        spans = [(0, 0), (0, 1), (99_999, 1), (100_000, 0), (0, 100_000), (33_333, 44_444)]
        found = await asyncio.gather(*(reader.read(offset, length) for offset, length in spans))
        assert [bytes(piece) for piece in found] == [data[offset : offset + length] for offset, length in spans]
        await reader.close()
        await reader.close()

    async def test_what_is_at_hand_is_what_a_read_gives(self, store: BlobStore) -> None:
        data = content(600_000)
        await store.put(blob_id(1), chunks(data))
        reader = await store.open(blob_id(1))
        for offset, length in [(0, 1), (0, 600_000), (599_999, 1), (333_333, 44_444), (10, 300_000)]:
            taken = reader.read_at_hand(offset, length)
            assert taken is None or bytes(taken) == data[offset : offset + length] == await reader.read(offset, length)
        for offset, length in [(0, 600_001), (600_000, 1), (600_001, 0), (-1, 1), (0, -1)]:
            assert not reader.read_at_hand(offset, length)
        await reader.close()

    @pytest.mark.parametrize(("offset", "length"), [(0, 101), (100, 1), (101, 0), (-1, 1), (0, -1)])
    async def test_refuses_spans_outside(self, store: BlobStore, offset: int, length: int) -> None:
        await store.put(blob_id(1), chunks(content(100)))
        reader = await store.open(blob_id(1))
        with pytest.raises(BlobReadFailed):
            await reader.read(offset, length)
        await reader.close()

    async def test_never_replaces(self, store: BlobStore) -> None:
        await store.put(blob_id(1), chunks(b"first"))
        with pytest.raises(BlobExists):
            await store.put(blob_id(1), chunks(b"second"))
        assert await read_all(store, blob_id(1)) == b"first"
        self.check_nothing_left(store)

    async def test_of_concurrent_puts_of_one_id_one_wins(self, store: BlobStore) -> None:
        bodies = [content(200_000, seed) for seed in range(12)]
        results = await asyncio.gather(
            *(store.put(blob_id(1), chunks(body)) for body in bodies), return_exceptions=True
        )
        winners = [body for body, result in zip(bodies, results, strict=True) if result == len(body)]
        assert len(winners) == 1
        assert sum(isinstance(result, BlobExists) for result in results) == len(bodies) - 1
        assert await read_all(store, blob_id(1)) == winners[0]
        self.check_nothing_left(store)

    async def test_a_put_that_loses_at_the_end_leaves_the_winner(self, store: BlobStore) -> None:
        gate = Gate(b"slow")
        slow = asyncio.ensure_future(store.put(blob_id(1), gate.chunks()))
        await gate.reached.wait()
        await store.put(blob_id(1), chunks(b"fast"))
        gate.open.set()
        with pytest.raises(BlobExists):
            await slow
        assert await read_all(store, blob_id(1)) == b"fast"
        self.check_nothing_left(store)

    async def test_many_puts_at_once(self, store: BlobStore) -> None:
        bodies = {blob_id(number * 65_537): content(50_000 + number, number) for number in range(60)}
        await asyncio.gather(*(store.put(name, chunks(body)) for name, body in bodies.items()))
        assert await names(store) == sorted(bodies)
        for name, body in bodies.items():
            assert await read_all(store, name) == body
        self.check_nothing_left(store)

    @pytest.mark.parametrize("size", [0, 10, 5 * MIB])
    async def test_a_source_that_raises_leaves_nothing(self, store: BlobStore, size: int) -> None:
        with pytest.raises(Broke):
            await store.put(blob_id(1), breaking(content(size)))
        await self.check_absent(store, blob_id(1))
        await store.put(blob_id(1), chunks(b"again"))
        assert await read_all(store, blob_id(1)) == b"again"

    @pytest.mark.parametrize("size", [10, 2 * MIB])
    async def test_a_put_cancelled_within_leaves_nothing(self, store: BlobStore, size: int) -> None:
        gate = Gate(content(size))
        put = asyncio.ensure_future(store.put(blob_id(1), gate.chunks()))
        await gate.reached.wait()
        assert await names(store) == []
        put.cancel()
        with pytest.raises(asyncio.CancelledError):
            await put
        await self.check_absent(store, blob_id(1))

    @pytest.mark.parametrize("turns", range(12))
    async def test_a_put_cancelled_at_any_turn_leaves_all_or_nothing(self, store: BlobStore, turns: int) -> None:
        put = asyncio.ensure_future(store.put(blob_id(1), pieces([content(1000)])))
        for _ in range(turns):
            await asyncio.sleep(0)
        put.cancel()
        try:
            await put
        except asyncio.CancelledError:
            await self.check_absent(store, blob_id(1))
        else:
            assert await read_all(store, blob_id(1)) == content(1000)

    async def check_absent(self, store: BlobStore, name: bytes) -> None:
        """Nothing under that id, and nothing behind it."""
        # The clean-up of a cancelled put outlives it by a moment.
        await eventually(lambda: self.check_nothing_left(store))
        assert await names(store) == []
        with pytest.raises(BlobMissing):
            await store.open(name)
        with pytest.raises(BlobMissing):
            await store.stat(name)

    async def test_absent_blobs_are_missing(self, store: BlobStore) -> None:
        await self.check_absent(store, blob_id(1))

    async def test_delete_is_idempotent_and_frees_the_id_of_nobody_else(self, store: BlobStore) -> None:
        for number in (1, 2):
            await store.put(blob_id(number), chunks(b"x"))
        for _ in range(2):
            await store.delete(blob_id(1))
        assert await names(store) == [blob_id(2)]
        await store.delete(b"\xff" * BLOB_ID_SIZE)  # of a folder that was never made

    async def test_an_open_reader_survives_the_delete(self, store: BlobStore) -> None:
        data = content(2 * MIB)
        await store.put(blob_id(1), chunks(data))
        reader = await store.open(blob_id(1))
        await store.delete(blob_id(1))
        assert await reader.read(0, len(data)) == data
        await reader.close()
        with pytest.raises(BlobMissing):
            await store.open(blob_id(1))

    async def test_walks_every_blob_with_size_and_time(self, store: BlobStore) -> None:
        before = datetime.now(UTC) - timedelta(minutes=1)
        sizes = {blob_id(number << 100): number for number in range(40)}
        for name, size in sizes.items():
            await store.put(name, chunks(bytes(size)))
        found = {stat.blob_id: stat async for stat in store.iterate()}
        assert {name: stat.sealed_size for name, stat in found.items()} == sizes
        assert all(before < stat.modified_at < before + timedelta(minutes=2) for stat in found.values())
        assert await store.stat(blob_id(1 << 100)) == found[blob_id(1 << 100)]

    async def test_a_walk_bears_changes(self, store: BlobStore) -> None:
        for number in range(20):
            await store.put(blob_id(number << 104), chunks(b"x"))
        seen = 0
        async for stat in store.iterate():
            seen += 1
            await store.delete(stat.blob_id)
            await store.delete(blob_id(19 << 104))
        assert seen in (19, 20)
        assert await names(store) == []

    async def test_reclaiming_leaves_blobs_and_puts_under_way(self, store: BlobStore) -> None:
        await store.put(blob_id(1), chunks(b"kept"))
        gate = Gate(b"under way")
        put = asyncio.ensure_future(store.put(blob_id(2), gate.chunks()))
        await gate.reached.wait()
        assert await store.reclaim_debris(datetime.now(UTC) - timedelta(hours=1)) == 0
        gate.open.set()
        await put
        assert await store.reclaim_debris(datetime.now(UTC) + timedelta(hours=1)) == 0
        assert await read_all(store, blob_id(1)) == b"kept"
        assert await read_all(store, blob_id(2)) == b"under way!"

    async def test_what_a_store_makes_is_no_stranger(self, store: BlobStore) -> None:
        assert await store.stranger() is None
        await store.claim(REALM)
        await store.put(blob_id(1), chunks(b"ours"))
        await store.check()
        assert await store.stranger() is None

    async def test_a_released_store_keeps_its_blobs_and_can_be_claimed_anew(self, store: BlobStore) -> None:
        await store.release(REALM)  # nobody's: nothing to give up
        await store.claim(REALM)
        await store.put(b"k" * BLOB_ID_SIZE, pieces([b"kept"]))
        with pytest.raises(RealmMismatch):
            await store.release(b"r" * 16)
        assert await store.realm_id() == REALM
        await store.release(REALM)
        assert await store.realm_id() is None
        assert (await store.stat(b"k" * BLOB_ID_SIZE)).sealed_size == 4
        await store.claim(b"r" * 16)
        assert await store.realm_id() == b"r" * 16

    async def test_belongs_to_the_realm_that_claimed_it(self, store: BlobStore) -> None:
        assert await store.realm_id() is None
        for _ in range(2):
            await store.claim(REALM)
        assert await store.realm_id() == REALM
        with pytest.raises(RealmMismatch):
            await store.claim(b"r" * 16)
        assert await store.realm_id() == REALM

    async def test_proves_itself_and_leaves_no_trace(self, store: BlobStore) -> None:
        await store.check()
        assert await names(store) == []
        self.check_nothing_left(store)

    async def test_closes_twice(self, store: BlobStore) -> None:
        await store.close()
        await store.close()
