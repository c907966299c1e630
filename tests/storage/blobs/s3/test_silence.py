"""A backend that is silent, slow or busy: every wait of the S3 store ends, and what it gives up leaves nothing."""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Final

import pytest

from storage.blobs.s3 import S3BlobStore
from storage.blobs.s3_backend import S3Target
from storage.blobs.s3_writer import PART_BYTES, UNCOUNTED_BYTES
from storage.errors import BlobMissing, BlobReadFailed, StorageUnavailable
from tests.servers import s3_faults as faults
from tests.servers.https_double import Request
from tests.servers.s3_faults import Act, S3FaultProxy, kind_of
from tests.servers.s3_servers import S3Server
from tests.storage.blobs.s3.support import objects_of, probed, uploads_of, walked
from tests.suites.blobs import blob_id, chunks, content, eventually, read_all

pytestmark = pytest.mark.anyio

ALWAYS: Final = 1000
SMALL: Final = content(300_000)
LARGE: Final = content(PART_BYTES + 4321)
SILENCE_S: Final = 1.0
"""How long a backend may say nothing, in these tests."""
PATIENCE_S: Final = 3 * SILENCE_S
"""How long a request that carries little may take, all its tries together."""
SLACK_S: Final = 3.0


def _stalling_head(released: threading.Event) -> Act:
    return faults.paced(faults.silent_after(10, released))


def _stalling_body(released: threading.Event) -> Act:
    return faults.paced(faults.silent_after(2000, released))


def _dripping(released: threading.Event) -> Act:
    return faults.paced(faults.dripping(0.2, released))


def _dripping_body(released: threading.Event) -> Act:
    return faults.paced(faults.dripping(0.2, released, head=False))


OPERATIONS: Final[dict[str, Callable[[S3BlobStore], Awaitable[object]]]] = {
    "put": lambda store: store.put(blob_id(2), chunks(SMALL)),
    "get": lambda store: store.open(blob_id(1)),
    "head": lambda store: store.stat(blob_id(1)),
    "delete": lambda store: store.delete(blob_id(3)),
    "list": walked,
}


@pytest.mark.parametrize("stall", [_stalling_head, _stalling_body, _dripping, _dripping_body])
async def test_no_answer_is_waited_for_without_end(
    proxy: S3FaultProxy, target: S3Target, released: threading.Event, stall: Callable[[threading.Event], Act]
) -> None:
    store = probed(target, timeout_s=SILENCE_S)
    await store.put(blob_id(1), chunks(SMALL[:60_000]))
    for number in range(3, 12):  # so that a listing is longer than what comes before the silence
        await store.put(blob_id(number), chunks(b"x"))
    proxy.reset()
    for kind in OPERATIONS:
        proxy.on(kind, stall(released), times=ALWAYS)

    async def timed(kind: str) -> tuple[object, float]:
        began = time.monotonic()
        done = await asyncio.gather(OPERATIONS[kind](store), return_exceptions=True)
        return done[0], time.monotonic() - began

    results = dict(zip(OPERATIONS, await asyncio.gather(*map(timed, OPERATIONS)), strict=True))
    for kind, (result, seconds) in results.items():
        # An answer without a body is whole where that would begin.
        is_whole = kind in ("put", "head", "delete") and stall in (_stalling_body, _dripping_body)
        assert is_whole or isinstance(result, StorageUnavailable | BlobReadFailed), kind
        assert seconds < 3 * PATIENCE_S + SLACK_S, kind
    released.set()
    await store.close()


@pytest.mark.parametrize("kind", ["put", "part"])
async def test_no_backend_that_stops_taking_bytes_is_waited_for(
    proxy: S3FaultProxy, target: S3Target, seaweedfs: S3Server, released: threading.Event, kind: str
) -> None:
    def deaf(request: Request) -> None:
        if kind_of(request) == kind:
            released.wait(60)

    store = probed(target, timeout_s=SILENCE_S)
    proxy.double.before_body = deaf
    began = time.monotonic()
    with pytest.raises(StorageUnavailable):
        # More than the sockets' buffers hold.
        await store.put(blob_id(1), chunks(content(PART_BYTES) if kind == "put" else LARGE, 1_000_003))
    assert time.monotonic() - began < 2 * PATIENCE_S + SLACK_S
    proxy.double.before_body = lambda _: None
    released.set()
    await store.close()
    assert objects_of(seaweedfs, target) == []
    assert uploads_of(seaweedfs, target) == []


@pytest.mark.parametrize("backlog", ["accepts and says nothing", "accepts nobody"])
async def test_no_connection_is_waited_for_without_end(target: S3Target, backlog: str) -> None:
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16 if backlog == "accepts and says nothing" else 0)
        if backlog == "accepts nobody":
            for waiting in (first, second):
                waiting.setblocking(False)
                waiting.connect_ex(listener.getsockname())
        store = probed(target, timeout_s=SILENCE_S, endpoint=f"https://localhost:{listener.getsockname()[1]}")
        began = time.monotonic()
        with pytest.raises(StorageUnavailable, match="cannot be used"):
            await store.stat(blob_id(1))
        assert SILENCE_S <= time.monotonic() - began < PATIENCE_S + SLACK_S
        await store.close()


async def test_a_request_waits_no_longer_for_its_turn_than_for_an_answer(
    proxy: S3FaultProxy, target: S3Target, released: threading.Event
) -> None:
    """All of `s3_connections` hang on a backend that is silent: who comes later hears so, and is not queued behind."""
    store = probed(target, timeout_s=SILENCE_S, connections=2)
    await store.put(blob_id(1), chunks(SMALL))
    proxy.on("head", faults.paced(faults.silent_after(0, released)), times=ALWAYS)
    began = time.monotonic()
    results = await asyncio.gather(*(store.stat(blob_id(1)) for _ in range(12)), return_exceptions=True)
    assert all(isinstance(result, StorageUnavailable) for result in results)
    assert any("s3_connections" in str(result) for result in results)
    assert time.monotonic() - began < PATIENCE_S + 2 * SILENCE_S + SLACK_S
    released.set()
    await store.close()


async def test_a_backend_that_is_slow_and_gets_on_is_waited_for(proxy: S3FaultProxy, target: S3Target) -> None:
    """Twice as long as it may be silent, in small steps."""

    def pacing(answer: bytes) -> Iterator[bytes]:
        step = len(answer) // 10 + 1
        for at in range(0, len(answer), step):
            time.sleep(2 * SILENCE_S / 10)
            yield answer[at : at + step]

    store = probed(target, timeout_s=SILENCE_S)
    await store.put(blob_id(1), chunks(SMALL))
    proxy.on("get", faults.paced(pacing), times=ALWAYS)
    assert await read_all(store, blob_id(1)) == SMALL
    assert len(proxy.seen("get")) == 2
    await store.close()


@pytest.mark.parametrize("kind", ["put", "part", "complete"])
async def test_what_is_on_its_way_when_a_put_is_cancelled_does_not_stay(
    proxy: S3FaultProxy, target: S3Target, seaweedfs: S3Server, kind: str
) -> None:
    """The request arrives at the backend after its sender has gone."""
    store = probed(target)
    proxy.on(kind, faults.late(1.0), times=ALWAYS)
    put = asyncio.ensure_future(store.put(blob_id(1), chunks(SMALL if kind == "put" else LARGE, 1_000_003)))
    await eventually(lambda: _sent(proxy, kind), tries=5000)
    put.cancel()
    with pytest.raises(asyncio.CancelledError):
        await put
    await eventually(lambda: _idle(store), tries=5000)
    await asyncio.sleep(1.5)
    await store.close()
    assert objects_of(seaweedfs, target) == []
    assert uploads_of(seaweedfs, target) == []


@pytest.mark.parametrize("ends", ["cancelled", "failed"])
async def test_the_next_put_of_an_id_is_not_taken_away_with_the_one_before(
    proxy: S3FaultProxy, target: S3Target, ends: str
) -> None:
    """A put that was given up stands there for a moment. Who comes then may not take it for one that stays."""
    store = probed(target, tries=1, timeout_s=SILENCE_S)
    proxy.on("put", faults.late_answer(3 * SILENCE_S))
    if ends == "failed":
        proxy.on("head", faults.refused(500, "InternalError"))
        with pytest.raises(StorageUnavailable):
            await store.put(blob_id(1), chunks(SMALL))
    else:
        first = asyncio.ensure_future(store.put(blob_id(1), chunks(SMALL)))
        await eventually(lambda: _sent(proxy, "put"), tries=5000)
        await asyncio.sleep(SILENCE_S / 4)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
    other = content(1000)
    assert await store.put(blob_id(1), chunks(other)) == len(other)
    await eventually(lambda: _idle(store), tries=5000)
    assert await read_all(store, blob_id(1)) == other
    await store.close()


@pytest.mark.parametrize("look", ["open", "stat"])
async def test_a_put_that_was_given_up_is_not_seen_before_it_is_taken_away(
    proxy: S3FaultProxy, target: S3Target, look: str
) -> None:
    store = probed(target, tries=1)
    proxy.on("put", faults.late_answer(SILENCE_S))
    put = asyncio.ensure_future(store.put(blob_id(1), chunks(SMALL)))
    await eventually(lambda: _sent(proxy, "put"), tries=5000)
    await asyncio.sleep(SILENCE_S / 4)
    put.cancel()
    with pytest.raises(asyncio.CancelledError):
        await put
    with pytest.raises(BlobMissing):
        await getattr(store, look)(blob_id(1))
    await store.close()


def _sent(proxy: S3FaultProxy, kind: str) -> None:
    assert proxy.seen(kind)


def _idle(store: S3BlobStore) -> None:
    assert store.unfinished_count == 0


async def test_no_more_bytes_are_held_than_the_cap(
    proxy: S3FaultProxy, target: S3Target, released: threading.Event
) -> None:
    """While nothing is acknowledged, producers are made to wait; who finds no place in time hears so."""
    held, taken, uploads = 4, 0, 6

    async def counted(data: bytes) -> AsyncIterator[bytes]:
        nonlocal taken
        for start in range(0, len(data), UNCOUNTED_BYTES):
            taken += UNCOUNTED_BYTES
            yield data[start : start + UNCOUNTED_BYTES]
            await asyncio.sleep(0)

    def stuck(request: Request) -> None:
        if kind_of(request) == "part":
            released.wait(60)

    proxy.double.before_body = stuck
    store = probed(target, timeout_s=SILENCE_S, held_bytes=held * PART_BYTES, tries=1)
    data = content(5 * PART_BYTES)
    puts = [asyncio.ensure_future(store.put(blob_id(number), counted(data))) for number in range(uploads)]
    await asyncio.sleep(SILENCE_S / 2)
    assert held * PART_BYTES <= taken <= held * PART_BYTES + uploads * 2 * UNCOUNTED_BYTES
    results = await asyncio.gather(*puts, return_exceptions=True)
    assert all(isinstance(result, StorageUnavailable) for result in results)
    assert any("s3_held_bytes" in str(result) for result in results)
    proxy.double.before_body = lambda _: None
    released.set()
    await eventually(lambda: _idle(store), tries=5000)
    # Every place was given back.
    for number in range(uploads, uploads + held + 1):
        await store.put(blob_id(number), chunks(LARGE, 1_000_003))
    assert await walked(store) == held + 1
    await store.close()
