"""The reference catalogue: plain dictionaries, one command at a time, the meaning of the contract in the fewest words.

No command awaits anything, so on one event loop each is atomic; nothing is durable. The suite runs on it first, and the
other catalogues are compared with it. Source: `base`.
"""

from storage.catalogue.commands import CatalogueStatistics
from storage.catalogue.memory_buckets import MemoryBuckets
from storage.catalogue.memory_jobs import MemoryJobs
from storage.catalogue.memory_uploads import MemoryUploads
from storage.catalogue.memory_versions import MemoryVersions
from storage.catalogue.memory_wraps import MemoryWraps


class MemoryCatalogue(MemoryBuckets, MemoryVersions, MemoryUploads, MemoryWraps, MemoryJobs):
    """`Catalogue` in memory."""

    def statistics(self) -> CatalogueStatistics:
        """See `Catalogue.statistics`: nothing is committed, every change counts as both."""
        return CatalogueStatistics(len(self._changes), len(self._changes))

    async def realm_id(self) -> bytes:
        """See `Catalogue.realm_id`."""
        self._check_open()
        return self._realm_id

    async def verify(self) -> int:
        """See `Catalogue.verify`. There is nothing that could be damaged here: only the rows are counted."""
        self._check_open()
        tables = (self._accounts, self._access_keys, self._buckets, self._versions, self._contents, self._blobs)
        return sum(len(table) for table in tables) + len(self._uploads) + len(self._changes)

    async def close(self) -> None:
        """See `Catalogue.close`."""
        self._is_closed = True
