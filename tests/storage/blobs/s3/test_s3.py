"""The S3 store against real servers: SeaweedFS always, MinIO in the long form."""

from abc import abstractmethod
from pathlib import Path

import pytest

from storage.blobs.base import BlobStore
from storage.blobs.s3 import S3BlobStore
from storage.blobs.s3_backend import S3Target
from storage.blobs.s3_writer import PART_BYTES
from storage.errors import BlobExists, BlobMissing
from tests.servers.s3_servers import S3Server
from tests.storage.blobs.s3.support import new_target, uploads_of
from tests.suites.blobs import BlobStoreSuite, Broke, blob_id, breaking, chunks, content, read_all

_HELD_PARTS = 4


class _S3Suite(BlobStoreSuite):
    """One server, an empty bucket per test."""

    server: S3Server
    target: S3Target

    @abstractmethod
    def make(self, folder: Path) -> BlobStore: ...

    def _make(self) -> BlobStore:
        type(self).target = new_target(self.server, held_bytes=_HELD_PARTS * PART_BYTES)
        return S3BlobStore(self.target)

    def check_nothing_left(self, store: BlobStore) -> None:
        assert isinstance(store, S3BlobStore)
        assert store.unfinished_count == 0
        assert store._held._free._value == _HELD_PARTS
        assert uploads_of(self.server, self.target) == []

    @pytest.mark.parametrize("size", [PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 5 * PART_BYTES + 12_345])
    async def test_parts_are_put_together(self, store: BlobStore, size: int) -> None:
        data = content(size)
        assert await store.put(blob_id(1), chunks(data, 1_000_003)) == size
        assert (await store.stat(blob_id(1))).sealed_size == size
        reader = await store.open(blob_id(1))
        for step in (1024 * 1024, 3_333_333):
            got = [await reader.read(start, min(step, size - start)) for start in range(0, size, step)]
            assert b"".join(got) == data
        await reader.close()
        with pytest.raises(BlobExists):
            await store.put(blob_id(1), chunks(data[::-1], 1_000_003))
        assert await read_all(store, blob_id(1)) == data
        self.check_nothing_left(store)

    async def test_a_source_that_raises_amid_parts_leaves_nothing(self, store: BlobStore) -> None:
        with pytest.raises(Broke):
            await store.put(blob_id(1), breaking(content(2 * PART_BYTES + 5)))
        await self.check_absent(store, blob_id(1))

    @pytest.mark.parametrize("name", ["file", "folder/file", "realm.bak"])
    async def test_what_else_lies_behind_the_prefix_is_a_stranger(self, store: BlobStore, name: str) -> None:
        client = self.server.client()
        client.put_object(Bucket=self.target.bucket, Key=self.target.prefix + name, Body=b"theirs")
        client.close()
        found = await store.stranger()
        assert found is not None
        assert (self.target.prefix + name).startswith(found)

    async def test_an_open_reader_survives_the_delete(self, store: BlobStore) -> None:
        """Nothing holds an object for its readers: what was not fetched is missing then, and never other bytes."""
        data = content(2 * PART_BYTES)
        await store.put(blob_id(1), chunks(data))
        reader = await store.open(blob_id(1))
        await store.delete(blob_id(1))
        assert await reader.read(0, 1000) == data[:1000]
        with pytest.raises(BlobMissing):
            await reader.read(PART_BYTES, 1000)
        await reader.close()


class TestS3OnSeaweedFs(_S3Suite):
    @pytest.fixture(autouse=True)
    def _server(self, seaweedfs: S3Server) -> None:
        type(self).server = seaweedfs

    def make(self, folder: Path) -> BlobStore:
        return self._make()


@pytest.mark.slow
class TestS3OnMinIo(_S3Suite):
    @pytest.fixture(autouse=True)
    def _server(self, minio: S3Server) -> None:
        type(self).server = minio

    def make(self, folder: Path) -> BlobStore:
        return self._make()
