"""The reference store keeps the contract."""

from datetime import UTC, datetime
from pathlib import Path

from storage.blobs.base import BlobStore
from storage.blobs.memory import MemoryBlobStore
from tests.suites.blobs import BlobStoreSuite


class TestMemoryBlobStore(BlobStoreSuite):
    def make(self, folder: Path) -> BlobStore:
        return MemoryBlobStore(lambda: datetime.now(UTC))

    def check_nothing_left(self, store: BlobStore) -> None:
        """It holds blobs and nothing else."""
