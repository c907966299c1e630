"""What was found damaged since the catalogue was opened: where a row is missing or astray, absence cannot be told.

A row that is read proves itself by its MAC; a row that is not found proves nothing. So before a read says that there is
no such thing, or that a listing is whole, it asks here. Filled by `audit`. Source: docs/THREATS.md.
"""

import logging

from storage.catalogue.schema import VERSIONS, R, Table
from storage.errors import RowDamaged

_log = logging.getLogger(__name__)


class Findings:
    """Tables, and buckets for their versions, of which rows are damaged, too few or too many. Only ever grows.

    Shared by all sessions of a catalogue, filled from another thread: adding to a set is atomic.
    """

    def __init__(self) -> None:
        self._tables: set[str] = set()
        self._buckets: set[bytes] = set()

    def add_table(self, table: Table[R], why: str) -> None:
        """Note that rows of a table are not what they were."""
        if table.name not in self._tables:
            self._tables.add(table.name)
            _log.error("the catalogue is damaged: %s: %s", table.name, why)

    def add_bucket(self, bucket_id: bytes, why: str) -> None:
        """Note that a bucket's versions are not what they were."""
        if bucket_id not in self._buckets:
            self._buckets.add(bucket_id)
            _log.error("the catalogue is damaged: versions of bucket %s: %s", bucket_id.hex(), why)

    def check_table(self, table: Table[R]) -> None:
        """To be asked before a row of a table is called absent, or a list of them whole. Raises: RowDamaged."""
        if table.name in self._tables:
            raise RowDamaged(f"rows of {table.name} are damaged: what is missing cannot be told")

    def check_bucket(self, bucket_id: bytes) -> None:
        """To be asked before a version is called absent, or a listing whole. Raises: RowDamaged."""
        if bucket_id in self._buckets:
            raise RowDamaged(f"rows of {VERSIONS.name} are damaged: what is missing cannot be told")

    def check_every_bucket(self) -> None:
        """To be asked before a walk over all versions is called whole. Raises: RowDamaged."""
        for bucket_id in self._buckets:
            self.check_bucket(bucket_id)
