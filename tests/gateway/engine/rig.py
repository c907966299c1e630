"""A whole engine over the memory references, for tests that need no disk and no network."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from gateway.engine.attributes import ObjectAttributes
from gateway.engine.custody import Custody, WrappingMode
from gateway.engine.integrity import EtagMode
from gateway.engine.multipart import MultipartEngine
from gateway.engine.objects import NewObject, ObjectEngine, new_id
from gateway.engine.opening import BlobOpener
from gateway.engine.sealing import BlobWriter
from gateway.engine.sweep import Sweeper
from gateway.s3.types import PayloadExpectation
from keys.keyring import Keyring
from keys.kms.memory import MemoryKms
from storage.blobs.base import BlobReader, Buffer
from storage.blobs.memory import MemoryBlobStore
from storage.catalogue.commands import Conditions
from storage.catalogue.memory import MemoryCatalogue
from storage.catalogue.records import Account, Bucket, ObjectVersion

T = TypeVar("T")


class Clock:
    """A clock that moves only when told, and a little with every look, as real ones do."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(microseconds=1)
        return self.now

    def monotonic(self) -> float:
        return self.now.timestamp()


class PieceBody:
    """A body of given pieces, with trailers that are known at its end."""

    def __init__(
        self, *pieces: bytes, trailers: Mapping[str, str] | None = None, error: Exception | None = None
    ) -> None:
        self._pieces = pieces
        self._trailers = dict(trailers or {})
        self._error = error

    @property
    def decoded_length(self) -> int | None:
        return None

    @property
    def trailers(self) -> Mapping[str, str]:
        return self._trailers

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            await asyncio.sleep(0)
            yield piece
        if self._error is not None:
            raise self._error


class CountingPool(ThreadPoolExecutor):
    """Counts the hops into it."""

    submitted = 0

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        self.submitted += 1
        return super().submit(fn, *args, **kwargs)


class TrackedReader:
    """A reader that tells what was asked of it, and whose reads wait for `gate`."""

    def __init__(self, reader: BlobReader, gate: asyncio.Event) -> None:
        self._reader = reader
        self._gate = gate
        self.reads: list[tuple[int, int]] = []
        self.finished_count = 0
        self.is_closed = False
        self.is_at_hand = False
        self.taken: list[tuple[int, int]] = []

    @property
    def sealed_size(self) -> int:
        return self._reader.sealed_size

    async def read(self, offset: int, length: int) -> bytes:
        assert not self.is_closed
        self.reads.append((offset, length))
        await self._gate.wait()
        given = await self._reader.read(offset, length)
        self.finished_count += 1
        return given

    def read_at_hand(self, offset: int, length: int) -> Buffer | None:
        assert not self.is_closed
        if not self.is_at_hand:
            return None
        self.taken.append((offset, length))
        return self._reader.read_at_hand(offset, length)

    async def close(self) -> None:
        self.is_closed = True
        await self._reader.close()


@dataclass
class Rig:
    """The parts of one engine, and short ways to use it."""

    clock: Clock
    realm_id: bytes
    kms: MemoryKms
    keyring: Keyring
    custody: Custody
    catalogue: MemoryCatalogue
    blobs: MemoryBlobStore
    writer: BlobWriter
    opener: BlobOpener
    objects: ObjectEngine
    multipart: MultipartEngine
    sweeper: Sweeper
    bucket: Bucket
    account: Account
    pool: CountingPool
    are_at_hand: bool = False
    """Whether tracked readers give what takes no waiting."""
    readers: list[TrackedReader] = field(default_factory=list)
    """Every reader opened since `track_readers`."""

    async def put(
        self,
        object_key: bytes,
        *pieces: bytes,
        expectation: PayloadExpectation | None = None,
        conditions: Conditions | None = None,
        attributes: ObjectAttributes | None = None,
    ) -> ObjectVersion:
        new = NewObject(object_key, attributes or ObjectAttributes(), conditions or Conditions())
        published = await self.objects.put(self.bucket, new, expectation or PayloadExpectation(), PieceBody(*pieces))
        return published.version

    async def get(self, object_key: bytes, offset: int = 0, length: int | None = None) -> bytes:
        found = await self.objects.find(self.bucket, object_key)
        span = found.version.size - offset if length is None else length
        return b"".join([bytes(piece) async for piece in await self.objects.open(found, offset, span)])

    def track_readers(self) -> asyncio.Event:
        """Keep an eye on every blob that is opened from now on; give the gate that lets reads through, open."""
        gate, real = asyncio.Event(), self.blobs.open
        gate.set()

        async def tracked(blob_id: bytes) -> TrackedReader:
            self.readers.append(TrackedReader(await real(blob_id), gate))
            self.readers[-1].is_at_hand = self.are_at_hand
            return self.readers[-1]

        self.blobs.open = tracked  # type: ignore[method-assign,assignment]  # a spy in the place of the method
        return gate

    def stored(self) -> dict[bytes, bytes]:
        """Every blob in the store, for tests that damage one."""
        return {blob_id: content for blob_id, (content, _) in self.blobs._blobs.items()}

    def damage(self, blob_id: bytes, change: Callable[[bytes], bytes]) -> None:
        content, modified_at = self.blobs._blobs[blob_id]
        self.blobs._blobs[blob_id] = (change(content), modified_at)


@contextmanager
def rig_parts(
    *,
    etag_mode: EtagMode = EtagMode.MD5,
    wrapping: WrappingMode = WrappingMode.DIRECT,
    inline_max_bytes: int = 16384,
    read_ahead_bytes: int = 1024 * 1024,
) -> Iterator[Callable[[], Coroutine[Any, Any, Rig]]]:
    pool = CountingPool(2)

    async def make() -> Rig:
        clock = Clock()
        realm_id = new_id()
        kms = MemoryKms()
        keyring = Keyring(kms, clock.monotonic)
        custody = Custody(keyring, realm_id, wrapping, clock.monotonic, 300)
        catalogue = MemoryCatalogue(realm_id, clock)
        blobs = MemoryBlobStore(clock)
        await blobs.claim(realm_id)
        writer = BlobWriter(
            blobs=blobs,
            realm_id=realm_id,
            description_key=new_id() * 2,
            hashing_pool=pool,
            inline_max_bytes=inline_max_bytes,
        )
        opener = BlobOpener(
            blobs=blobs,
            custody=custody,
            realm_id=realm_id,
            read_ahead_bytes=read_ahead_bytes,
            read_budget_bytes=1 << 24,
        )
        objects = ObjectEngine(
            catalogue=catalogue, custody=custody, writer=writer, opener=opener, etag_mode=etag_mode, clock=clock
        )
        multipart = MultipartEngine(
            catalogue=catalogue, custody=custody, writer=writer, objects=objects, etag_mode=etag_mode, clock=clock
        )
        sweeper = Sweeper(
            catalogue=catalogue,
            blobs=blobs,
            holder="test",
            clock=clock,
            orphan_grace=timedelta(hours=24),
            condemned_grace=timedelta(hours=1),
            completed_upload_memory=timedelta(days=7),
        )
        account = Account(new_id(), "main", clock())
        await catalogue.create_account(account)
        bucket = Bucket(new_id(), "bucket", account.account_id, clock())
        await catalogue.create_bucket(bucket, 100)
        return Rig(
            clock,
            realm_id,
            kms,
            keyring,
            custody,
            catalogue,
            blobs,
            writer,
            opener,
            objects,
            multipart,
            sweeper,
            bucket,
            account,
            pool,
        )

    try:
        yield make
    finally:
        pool.shutdown()


def run(test: Callable[[Rig], Coroutine[Any, Any, T]], **options: Any) -> T:
    """Run one async test body with a fresh rig."""

    async def body(make: Callable[[], Coroutine[Any, Any, Rig]]) -> T:
        return await test(await make())

    with rig_parts(**options) as make:
        return asyncio.run(body(make))
