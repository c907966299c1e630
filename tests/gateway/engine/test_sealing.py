"""Writing: batches hashed in order, one job at a time, and nothing left behind."""

import asyncio
import hashlib
import random
from collections import defaultdict
from concurrent.futures import Future
from typing import Any

import pytest

from gateway.engine import sealing
from gateway.engine.attributes import ObjectAttributes
from gateway.engine.objects import NewObject
from gateway.engine.sealing import HASH_BATCH_BYTES, INLINE_HASH_SIZE, SEAL_SLICE_SIZE, blob_kind
from gateway.s3.types import PayloadExpectation
from storage.catalogue.commands import Conditions
from storage.catalogue.conflicts import PreconditionRefused
from storage.catalogue.records import BlobRole
from storage.errors import StorageFull, StorageUnavailable
from tests.gateway.engine.rig import CountingPool, PieceBody, Rig, run

MIB = 1024 * 1024


def data_of(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


class OrderedPool(CountingPool):
    """Refuses a second job of a stream while the first is not done."""

    def __init__(self) -> None:
        super().__init__(4)
        self.of_stream: dict[int, list[Future[Any]]] = defaultdict(list)

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        earlier = self.of_stream[id(fn.__self__)]
        assert all(future.done() for future in earlier), "two jobs of one stream would race"
        future: Future[Any] = super().submit(fn, *args, **kwargs)
        earlier.append(future)
        return future


def test_batches_of_many_streams_are_hashed_each_in_its_order() -> None:
    bodies = {b"%d" % n: data_of(n, 2 * MIB + n * 77_777) for n in range(6)}

    async def body(rig: Rig) -> None:
        pool = rig.writer._hashing_pool = OrderedPool()
        pieces = {key: [data[i : i + 190_001] for i in range(0, len(data), 190_001)] for key, data in bodies.items()}
        versions = await asyncio.gather(*(rig.put(key, *pieces[key]) for key in bodies))
        for version in versions:
            assert version.etag == hashlib.md5(bodies[version.object_key]).hexdigest()
            assert await rig.get(version.object_key) == bodies[version.object_key]
        assert len(pool.of_stream) > 1
        assert rig.writer._budget._open_count == 0
        pool.shutdown()

    run(body)


@pytest.mark.parametrize(
    "size",
    [0, 1, INLINE_HASH_SIZE - 1, INLINE_HASH_SIZE, INLINE_HASH_SIZE + 1, SEAL_SLICE_SIZE, SEAL_SLICE_SIZE + 1,
     HASH_BATCH_BYTES - 1, HASH_BATCH_BYTES, HASH_BATCH_BYTES + 1, 2 * HASH_BATCH_BYTES + INLINE_HASH_SIZE],
)  # fmt: skip
def test_every_size_at_an_edge_of_slices_and_batches(size: int) -> None:
    data = data_of(size, size)

    async def body(rig: Rig) -> None:
        version = await rig.put(b"one", data)
        cut = await rig.put(b"cut", *(data[i : i + 99_999] for i in range(0, size, 99_999)), b"")
        assert version.etag == cut.etag == hashlib.md5(data).hexdigest()
        assert await rig.get(b"one") == await rig.get(b"cut") == data

    run(body)


@pytest.mark.parametrize("most", [0, 1, 100, 16384, 50_000])
def test_a_blob_rests_in_its_row_up_to_the_setting_and_no_byte_more(most: int) -> None:
    async def body(rig: Rig) -> None:
        await rig.put(b"fits", data_of(1, most))
        assert len(rig.stored()) == (0 if most else 1)
        before = set(rig.stored())
        await rig.put(b"over", data_of(2, most + 1))
        (blob_id,) = set(rig.stored()) - before
        found = await rig.objects.find(rig.bucket, b"over")
        assert found.content is not None
        assert (found.content.blobs[0].blob_id, found.content.blobs[0].inline) == (blob_id, None)
        assert await rig.get(b"fits") == data_of(1, most)
        assert await rig.get(b"over") == data_of(2, most + 1)

    run(body, inline_max_bytes=most)


def test_what_is_at_rest_holds_no_plaintext_and_no_name() -> None:
    text = b"a sentence that nobody may find again " * 2000

    async def body(rig: Rig) -> None:
        attributes = ObjectAttributes(metadata={"colour": "ultramarine"})
        new = NewObject(b"a-telling-name", attributes, Conditions())
        await rig.objects.put(rig.bucket, new, PayloadExpectation(), PieceBody(text))
        (sealed,) = rig.stored().values()
        for secret in (text[:20], b"a-telling-name", b"ultramarine", b"colour", hashlib.md5(text).hexdigest().encode()):
            assert secret not in sealed
        await rig.put(b"again", text)
        first, second = rig.stored().values()
        assert first[200:60_000] != second[200:60_000], "the same bytes never seal alike"

    run(body)


def test_a_full_store_leaves_no_row_and_frees_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(_blob_id: bytes, chunks: Any) -> int:
        async for _ in chunks:
            raise StorageFull("no space left")
        return 0

    async def body(rig: Rig) -> None:
        await rig.put(b"k", b"before")
        monkeypatch.setattr(rig.blobs, "put", full)
        with pytest.raises(StorageFull):
            await rig.put(b"k", data_of(3, 3 * MIB))
        monkeypatch.undo()
        assert await rig.get(b"k") == b"before"
        assert (rig.stored(), rig.writer._budget._open_count) == ({}, 0)

    run(body)


@pytest.mark.parametrize("deletes", [True, False])
def test_a_blob_whose_row_is_refused_goes_and_the_refusal_stands(
    deletes: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def down(_blob_id: bytes) -> None:
        raise StorageUnavailable("the-path-of-this-machine")

    async def body(rig: Rig) -> None:
        await rig.put(b"k", b"small")
        if not deletes:
            monkeypatch.setattr(rig.blobs, "delete", down)
        for size in (10, 100_000):
            with pytest.raises(PreconditionRefused):
                await rig.put(b"k", data_of(5, size), conditions=Conditions(if_none_match_any=True))
        monkeypatch.undo()
        assert len(rig.stored()) == (0 if deletes else 1)
        assert await rig.get(b"k") == b"small"

    run(body)
    assert [record.getMessage() for record in caplog.records if record.name == "gateway.engine.sealing"] == (
        [] if deletes else ["a refused blob is left to the sweep: StorageUnavailable"]
    )


def test_a_failing_hash_fails_the_put(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_self: Any, _batch: Any) -> None:
        raise MemoryError("no memory to hash in")

    async def body(rig: Rig) -> None:
        monkeypatch.setattr(sealing._Hasher, "_update", broken)
        with pytest.raises(MemoryError):
            await rig.put(b"k", data_of(4, 3 * MIB))
        assert rig.stored() == {}
        monkeypatch.undo()

    run(body)


def test_many_uploads_share_the_budget() -> None:
    async def body(rig: Rig) -> None:
        alone = rig.writer._budget.piece_bytes
        seen: list[int] = []

        class Watching(PieceBody):
            async def __aiter__(self) -> Any:
                async for piece in super().__aiter__():
                    seen.append(rig.writer._budget.piece_bytes)
                    yield piece

        new = [NewObject(b"%d" % n, ObjectAttributes(), Conditions()) for n in range(64)]
        bodies = [Watching(b"x" * 40_000, b"y" * 40_000) for _ in new]
        puts = (
            rig.objects.put(rig.bucket, one, PayloadExpectation(), piece)
            for one, piece in zip(new, bodies, strict=True)
        )
        await asyncio.gather(*puts)
        assert alone == HASH_BATCH_BYTES
        assert min(seen) == sealing.HASH_BUDGET_BYTES // 64
        assert rig.writer._budget.piece_bytes == alone

    run(body)


def test_every_role_has_a_kind_of_its_own() -> None:
    assert len({blob_kind(role) for role in BlobRole}) == len(BlobRole)
