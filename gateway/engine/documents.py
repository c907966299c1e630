"""Configurations of buckets, parsed when they change and kept by their hashes.

A bucket's row carries the hashes, so that a request on a bucket whose document was seen before costs no further read,
and a change counts from the next request on.
"""

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from gateway.s3.errors import S3Error
from storage.catalogue.base import Catalogue
from storage.catalogue.records import Bucket

_LOG = logging.getLogger(__name__)

REMEMBERED_BYTES: Final = 4 * 1024 * 1024
"""Of documents whose parsed form is kept: eight of the largest, which take 40 ms each to parse."""
_LEAST_BYTES: Final = 512
"""What the smallest document counts as."""

T = TypeVar("T")


class Documents(Generic[T]):
    """Gives one kind of configuration; holds the parsed form of the documents used last."""

    def __init__(
        self,
        catalogue: Catalogue,
        kind: str,
        decode: Callable[[bytes], T],
        not_understood: T,
        remembered_bytes: int = REMEMBERED_BYTES,
    ) -> None:
        """`not_understood` stands for a document that `decode` refuses (S3Error), which another release wrote."""
        self._catalogue = catalogue
        self._kind = kind
        self._decode = decode
        self._not_understood = not_understood
        self._most = remembered_bytes
        self._kept: OrderedDict[str, tuple[int, T]] = OrderedDict()
        self._kept_bytes = 0

    async def of(self, bucket: Bucket) -> T | None:
        """The configuration of a bucket, None where it has none. Raises: NoSuchBucket, StorageError."""
        digest = bucket.configurations.get(self._kind)
        if digest is None:
            return None
        if digest in self._kept:
            self._kept.move_to_end(digest)
            return self._kept[digest][1]
        document = await self._catalogue.get_configuration(bucket.bucket_id, self._kind)
        if document is None:
            return None
        try:
            parsed = self._decode(document)
        except S3Error:
            _LOG.exception(
                "a stored %s configuration is not understood, in bucket %s", self._kind, bucket.bucket_id.hex()
            )
            parsed = self._not_understood
        # The document may be newer than the row that was read before it.
        self._keep(hashlib.sha256(document).hexdigest(), max(_LEAST_BYTES, len(document)), parsed)
        return parsed

    def _keep(self, digest: str, size: int, parsed: T) -> None:
        if digest not in self._kept:
            self._kept_bytes += size
        self._kept[digest] = size, parsed
        while self._kept_bytes > self._most and len(self._kept) > 1:
            _, (gone, _) = self._kept.popitem(last=False)
            self._kept_bytes -= gone
