"""Server access logs: lines are gathered in memory and written, sealed like every object, into the owner's bucket.

Best effort, as on AWS: a line is lost with the process, or where too many wait. Which buckets are logged is looked up
now and then and not by each request. Source: AWS "Logging requests with server access logging".
"""

import logging
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from gateway.engine.attributes import ObjectAttributes
from gateway.engine.documents import Documents
from gateway.engine.objects import NewObject, ObjectEngine
from gateway.s3.access_log import Access, LoggingTarget, log_key, log_line, read_logging
from gateway.s3.request import Request
from gateway.s3.types import ObjectHeaders, PayloadExpectation
from storage.catalogue.base import Catalogue
from storage.catalogue.commands import Conditions
from storage.catalogue.conflicts import NoSuchBucket
from storage.catalogue.records import Bucket

_LOG = logging.getLogger(__name__)

KIND: Final = "logging"
"""The configuration of a bucket that says where its log goes."""

MAX_WAITING_BYTES: Final = 8 * 1024 * 1024
"""Lines that wait to be written, of all buckets together; further ones are lost."""
MAX_ACCOUNT_BYTES: Final = MAX_WAITING_BYTES // 2
"""Those of one account: whoever makes many requests, which need not even be let in, is not to silence others' logs."""
EARLY_BYTES: Final = MAX_WAITING_BYTES // 8
"""So many are written without waiting for the turn of all logs."""


@dataclass(slots=True)
class _Source:
    bucket: Bucket
    target: LoggingTarget
    lines: list[bytes] = field(default_factory=list)


class _Lines:
    """Lines as the body of an object. Implements `gateway.s3.types.Body`."""

    def __init__(self, lines: list[bytes]) -> None:
        self._whole = b"".join(lines)

    @property
    def decoded_length(self) -> int | None:
        """Bytes of all lines."""
        return len(self._whole)

    @property
    def trailers(self) -> Mapping[str, str]:
        """None."""
        return {}

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Give them."""
        yield self._whole


class AccessLogs:
    """The logs of all buckets of one realm."""

    def __init__(
        self, *, catalogue: Catalogue, objects: ObjectEngine, region: str, clock: Callable[[], datetime]
    ) -> None:
        self._catalogue = catalogue
        self._objects = objects
        self._region = region
        self._clock = clock
        self._documents = Documents[LoggingTarget | None](catalogue, KIND, read_logging, None)
        self._sources: dict[str, _Source] = {}
        self._waiting = Counter[bytes]()
        """Bytes, by account id."""
        self._is_failing = False
        self.lost_count = 0
        """Lines that were lost since the start, since too many waited or their target is not there."""

    async def target_of(self, bucket: Bucket) -> LoggingTarget | None:
        """Where a bucket's log goes. Raises: NoSuchBucket, StorageError."""
        return await self._documents.of(bucket)

    async def refresh(self) -> None:
        """Look up which buckets are logged. Raises: StorageError."""
        found: dict[str, _Source] = {}
        for account in await self._catalogue.list_accounts():
            for bucket in await self._catalogue.list_buckets(account.account_id, limit=2**31):
                if (source := await self._source_of(bucket)) is not None:
                    found[bucket.name] = source
        self._follow(found)

    async def refresh_one(self, name: str) -> None:
        """Look up whether one bucket is logged. Raises: NoSuchBucket, StorageError."""
        source = await self._source_of(await self._catalogue.get_bucket(name))
        others = {held: each for held, each in self._sources.items() if held != name}
        self._follow(others if source is None else {**others, name: source})

    def _follow(self, sources: dict[str, _Source]) -> None:
        self._sources = sources
        self._count()

    def _count(self) -> None:
        self._waiting = Counter[bytes]()
        for source in self._sources.values():
            self._waiting[source.bucket.account_id] += sum(map(len, source.lines))

    async def _source_of(self, bucket: Bucket) -> _Source | None:
        """A bucket that is logged, with the lines that wait already."""
        if KIND not in bucket.configurations or (target := await self._target(bucket)) is None:
            return None
        held = self._sources.get(bucket.name)
        same = held is not None and held.bucket.bucket_id == bucket.bucket_id
        return _Source(bucket, target, held.lines if held is not None and same else [])

    async def _target(self, bucket: Bucket) -> LoggingTarget | None:
        try:
            return await self.target_of(bucket)
        except NoSuchBucket:
            return None

    def note(self, request: Request, bucket_name: str, access: Callable[[str], Access]) -> None:
        """Take down a request on a bucket, if it is logged; `access` is given the canonical id of its owner."""
        source = self._sources.get(bucket_name)
        if source is None:
            return
        line = log_line(access(source.bucket.account_id.hex()), request)
        account_id = source.bucket.account_id
        of_account = self._waiting[account_id] + len(line)
        if of_account > MAX_ACCOUNT_BYTES or self._waiting.total() + len(line) > MAX_WAITING_BYTES:
            self.lost_count += 1
            return
        self._waiting[account_id] = of_account
        source.lines.append(line)

    async def write_early(self) -> int:
        """As `write`, where much waits and nothing has failed since the last turn of all logs."""
        return await self.write() if self._waiting.total() >= EARLY_BYTES and not self._is_failing else 0

    async def write(self) -> int:
        """Write what waits; return the number of objects. Raises: StorageError, KeysError."""
        written = 0
        self._is_failing = True
        for source in list(self._sources.values()):
            # In place: a refresh meanwhile hands the list on.
            lines = source.lines.copy()
            source.lines.clear()
            self._count()
            try:
                written += await self._write(source, lines) if lines else 0
            except BaseException:
                # They wait for the next time, which must not lose more than the limit says either.
                source.lines[:0] = lines
                self._count()
                raise
        self._is_failing = False
        return written

    async def _write(self, source: _Source, lines: list[bytes]) -> int:
        at = self._clock()
        try:
            target = await self._catalogue.get_bucket(source.target.bucket)
        except NoSuchBucket:
            target = None
        # The target may have been deleted since, and made again by somebody else.
        if target is None or target.account_id != source.bucket.account_id:
            self.lost_count += len(lines)
            _LOG.warning("the log of bucket %s has nowhere to go", source.bucket.bucket_id.hex())
            return 0
        key = log_key(
            source.target,
            source.bucket.account_id.hex(),
            self._region,
            source.bucket.name,
            at,
            secrets.token_hex(8).upper(),
        )
        new = NewObject(key, ObjectAttributes(headers=ObjectHeaders(content_type="text/plain")), Conditions())
        body = _Lines(lines)
        await self._objects.put(target, new, PayloadExpectation(body.decoded_length), body)
        return 1
