"""Moving what the KMS wrapped to another version or another wrapping key, and proving by a scan what is left.

No data is touched: new envelopes first rest in an envelopes blob, durable in the store, and then stand in the rows, all
of a blob's in one transaction, each only where the row is still as it was read (DESIGN D7). So a job that is killed
anywhere leaves every row with a wrap that opens, and the next one finds by the same scan what is left.
"""

import asyncio
import gc
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Protocol

from gateway.engine.custody import Custody, Envelope, Unlock
from gateway.engine.envelopes import EnvelopesBlobs
from gateway.engine.protection import Protection
from gateway.engine.sealing import BlobWriter
from gateway.engine.whole import read_slot
from keys.datakey import WrappedKey
from keys.errors import KmsKeyError, UnwrapFailed
from keys.keyring import Keyring
from keys.recovery import Recipients
from storage.blobs.base import BlobStore
from storage.catalogue.base import Catalogue
from storage.catalogue.commands import KeptWrap, Lease, MoveWraps, WrapMove, WrapOwner, WrapsMark
from storage.catalogue.records import NO_LOCK
from storage.errors import LeaseLost, StorageError
from storage.sealed.envelopes import MAX_ENVELOPES, Envelopes
from storage.seams import reach

LEASE_NAME: Final = "keys"
LEASE_DURATION: Final = timedelta(minutes=2)
"""Renewed all the while a job runs, so this is how long the next one waits where a process was killed."""
PAGE_VERSIONS: Final = 2048
"""Versions that are looked at in one read."""
KMS_CALLS_AT_ONCE: Final = 16
"""Wraps that wait for the KMS together."""
MAX_BUCKET_KEYS: Final = 10_000
"""Bucket keys whose new wraps are remembered, so that the KMS is asked once for each."""
MAX_PASSES: Final = 20
"""Walks over the catalogue before a job says what is left instead of looking again."""


_POLL_S: Final = 0.05
_log = logging.getLogger(__name__)


class RealmWraps(Protocol):
    """The wraps that no catalogue holds: the realm root and the canary, in the realm file and its copy."""

    @property
    def realm_id(self) -> bytes:
        """Of the realm."""

    def wrapped(self) -> tuple[WrappedKey, ...]:
        """All of them, as the files have them."""

    def copied_to(self) -> frozenset[bytes]:
        """The recovery recipients that have a copy of the root."""

    async def rewrap(self, kms_key_id: str) -> bytes:
        """Move root and canary, proved to open, in memory alone; give the root as slots have it. Raises: KeysError."""

    def save(self) -> None:
        """Write what `rewrap` moved to both files, durably. Raises: KeyringError."""


class Aim(Protocol):
    """Which wraps a job is about."""

    async def target(self, wrapped: WrappedKey, copied_to: frozenset[bytes]) -> str | None:
        """The wrapping key under whose current version a wrap belongs; None where it is right as it is.

        `copied_to` are the recovery recipients that have a copy of the key. Raises: KmsKeyError where that key cannot
        be used.
        """


@dataclass(slots=True)
class MoveToCurrent:
    """The aim of a rotation: everything under the current version of its key, or of another key."""

    keyring: Keyring
    recipients: Recipients
    """Who is to have a copy."""
    source: str | None = None
    """Wraps of this key alone."""
    to: str | None = None
    _versions: dict[str, str] = field(default_factory=dict)

    async def target(self, wrapped: WrappedKey, copied_to: frozenset[bytes]) -> str | None:
        """See `Aim.target`."""
        if self.source is not None and wrapped.kms_key_id != self.source:
            return None
        wanted = self.to or wrapped.kms_key_id
        if wanted not in self._versions:
            self._versions[wanted] = (await self.keyring.describe(wanted)).version
        is_there = (wrapped.kms_key_id, wrapped.kms_key_version) == (wanted, self._versions[wanted])
        return None if is_there and copied_to == self.recipients.ids else wanted


@dataclass(frozen=True, slots=True)
class Under:
    """The aim of a scan: whatever lies under a key, or under one version of it."""

    kms_key_id: str
    version: str | None = None

    async def target(self, wrapped: WrappedKey, copied_to: frozenset[bytes]) -> str | None:
        """See `Aim.target`."""
        del copied_to
        is_meant = wrapped.kms_key_id == self.kms_key_id and self.version in {None, wrapped.kms_key_version}
        return self.kms_key_id if is_meant else None


@dataclass(frozen=True, slots=True)
class VersionsUpTo:
    """The versions of a key that are not newer than one, where versions are numbers."""

    newest: int

    def __contains__(self, version: object) -> bool:
        return isinstance(version, str) and version.isdecimal() and int(version) <= self.newest


@dataclass(frozen=True, slots=True)
class LeakedVersions:
    """The aim of an incident: what lies under certain versions of a key."""

    kms_key_id: str
    versions: Container[str]

    def covers(self, wrapped: WrappedKey) -> bool:
        """Whether a wrap lies under one of them."""
        return wrapped.kms_key_id == self.kms_key_id and wrapped.kms_key_version in self.versions

    async def target(self, wrapped: WrappedKey, copied_to: frozenset[bytes]) -> str | None:
        """See `Aim.target`."""
        del copied_to
        return self.kms_key_id if self.covers(wrapped) else None


@dataclass(slots=True)
class RewrapReport:
    """What a job did and what it found. Counts are of records: contents, open uploads, manifests, links, the realm."""

    moved_count: int = 0
    bucket_key_count: int = 0
    """Bucket keys that the KMS was asked to move, each for all the contents under it."""
    changed_count: int = 0
    """Records that a request changed or deleted meanwhile."""
    failed_count: int = 0
    """Records whose wrap does not open, or whose key cannot be used; the log names them."""
    envelopes_count: int = 0
    """Blobs of envelopes that were written."""
    customer_count: int = 0
    """Contents under a key that the client holds, which nobody else can move."""
    scanned_count: int = 0
    """Records seen in the last walk."""
    on_their_way_count: int = 0
    """Writes under way whose key was made before."""
    behind_count: int = 0
    """Changes of wrapping keys that another gateway has yet to notice, or since which it has a write under way."""
    left_count: int = 0
    """Records that are not where they belong, by the last walk; those on their way and behind among them."""
    locked_count: int = 0
    """How many of those left belong to versions that a lock holds."""
    pass_count: int = 0
    duration_s: float = 0.0


Progress = Callable[[RewrapReport], None]


@dataclass(frozen=True, slots=True)
class _Found:
    """A wrap that is not where it belongs."""

    kept: KeptWrap
    envelope: Envelope
    target: str


_BucketKeys = dict[tuple[bytes, bytes, str], Envelope]
"""Envelopes with moved bucket keys, by what told the bucket key before."""


class Rewrapper:
    """Jobs over all wraps of one realm; one at a time, under a lease."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        blobs: BlobStore,
        writer: BlobWriter,
        custody: Custody,
        envelopes: EnvelopesBlobs,
        realm: RealmWraps,
        holder: str,
        renew: Callable[[], Awaitable[None]] | None = None,
        behind: Callable[[], int] = lambda: 0,
        batch: int = MAX_ENVELOPES,
    ) -> None:
        """`renew` lets nothing more be made under what was before, here and elsewhere (else `Custody.renew`).

        `behind` counts what other gateways may still make keys under.
        """
        self._catalogue = catalogue
        self._blobs = blobs
        self._writer = writer
        self._custody = custody
        self._envelopes = envelopes
        self._realm = realm
        self._holder = holder
        self._renew = custody.renew if renew is None else renew
        self._behind = behind
        self._batch = batch
        self._epoch: int | None = None
        """Of the job that runs."""

    @asynccontextmanager
    async def leased(self) -> AsyncIterator[None]:
        """The right to move wraps until the end of a job, however long a step takes; a job within a job has it already.

        Raises: LeaseLost.
        """
        if self._epoch is not None:
            yield
            return
        lease = await self.lease()
        self._epoch = lease.epoch
        is_over = asyncio.Event()
        renewing = asyncio.create_task(self._keep_lease(is_over))
        try:
            yield
        finally:
            is_over.set()  # not cancelled: a renewal that is under way would come behind the release
            await renewing
            self._epoch = None
            with suppress(StorageError):  # it ends by itself
                await self._catalogue.release_lease(lease)

    async def lease(self) -> Lease:
        """The right to move wraps, taken or renewed.

        Raises: LeaseLost where another has it, or had it since the job began: what was decided before may not be so.
        """
        lease = await self._catalogue.acquire_lease(LEASE_NAME, self._holder, LEASE_DURATION)
        if self._epoch is not None and lease.epoch != self._epoch:
            await self._catalogue.release_lease(lease)
            raise LeaseLost("this process stood still, and another one had the lease meanwhile: run it again")
        return lease

    async def _keep_lease(self, is_over: asyncio.Event) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LEASE_DURATION.total_seconds() / 4):
                    await is_over.wait()
                    return
            try:
                await self.lease()
            except StorageError as error:  # the next step fails where it is gone for good
                _log.warning("the lease of a job over keys was not renewed: %s", error)

    async def rewrap(
        self,
        aim: Aim,
        *,
        rate_per_s: float | None = None,
        patience_s: float = 60.0,
        progress: Progress = lambda _: None,
    ) -> RewrapReport:
        """Move every wrap that is not where it belongs, walk by walk, until a walk finds none.

        `rate_per_s` bounds the records moved in a second; `patience_s` is how long writes under way are waited for.

        Raises:
            LeaseLost: another job has it. KmsUnavailable, KmsDenied, StorageError: run it again, it goes on.
        """
        report, started = RewrapReport(), time.monotonic()
        pace = _Pace(rate_per_s)
        async with self.leased():
            reach("rewrap.leased")
            await self._custody.renew()
            reach("rewrap.renewed")
            await self._move_realm(aim, report)
            deadline = time.monotonic() + patience_s
            while report.pass_count < MAX_PASSES:
                before = report.moved_count, report.changed_count
                await self._walk(aim, report, pace, progress)
                reach("rewrap.walked")
                report.duration_s = round(time.monotonic() - started, 3)
                progress(report)
                if before != (report.moved_count, report.changed_count):
                    continue  # what it moved is proved by the next walk alone
                if not report.on_their_way_count + report.behind_count or time.monotonic() > deadline:
                    break
                await self._wait_for_writes(aim, deadline)
        return report

    async def scan(self, aim: Aim, progress: Progress = lambda _: None) -> RewrapReport:
        """Count what an aim is about, and move nothing."""
        report, started = RewrapReport(), time.monotonic()
        await self._walk(aim, report, None, progress)
        report.duration_s = round(time.monotonic() - started, 3)
        return report

    async def _walk(self, aim: Aim, report: RewrapReport, pace: "_Pace | None", progress: Progress) -> None:
        """One walk over everything. Without a pace nothing is moved.

        A write that was under way when it began may since have arrived where the walk had been. So it counts as on its
        way, and this walk proves nothing.
        """
        before = await self._count_on_their_way(aim), self._behind()
        report.pass_count += 1
        report.scanned_count = report.left_count = report.locked_count = report.customer_count = report.failed_count = 0
        for wrapped in self._realm.wrapped():
            report.scanned_count += 1
            report.left_count += await aim.target(wrapped, self._realm.copied_to()) is not None
        found: dict[bytes, _Found] = {}
        bucket_keys: _BucketKeys = {}
        async for kepts in self._pages():
            report.scanned_count += len(kepts)
            for kept in kepts:
                judged = await self._judge(aim, kept, report)
                if judged is None:
                    continue
                if pace is None:
                    _count_left(report, [kept])
                    continue
                found[kept.wrap_id] = judged
                if len(found) >= pace.batch(self._batch):
                    await self._move(list(found.values()), report, pace, bucket_keys)
                    found.clear()
                    progress(report)
        if pace is not None and found:
            await self._move(list(found.values()), report, pace, bucket_keys)
        after = await self._count_on_their_way(aim), self._behind()
        report.on_their_way_count, report.behind_count = max(before[0], after[0]), max(before[1], after[1])
        report.left_count += report.on_their_way_count + report.behind_count

    async def _pages(self) -> AsyncIterator[Sequence[KeptWrap]]:
        """Every wrap of the catalogue; a content that is shared may come again on another page."""
        mark: WrapsMark | None = WrapsMark()
        while mark is not None:
            page = await self._catalogue.list_wraps(mark, PAGE_VERSIONS)
            wraps: dict[bytes, KeptWrap] = {}
            for kept in page.wraps:
                wraps.setdefault(kept.wrap_id, kept)
            yield tuple(wraps.values())
            mark = page.next_mark
            await asyncio.sleep(0)

    async def _judge(self, aim: Aim, kept: KeptWrap, report: RewrapReport) -> _Found | None:
        try:
            slot = kept.envelope
            if not slot:
                assert kept.blob is not None, "only blobs keep a wrap in their slot alone"
                slot = await read_slot(self._blobs, kept.blob)
            envelope = Envelope.decode(slot)
            wrapped = envelope.kms_wrapped
            if wrapped is None:
                report.customer_count += 1
                return None
            target = await aim.target(wrapped, envelope.copies.ids)
        except (UnwrapFailed, KmsKeyError) as error:
            report.failed_count += 1
            _count_left(report, [kept])
            _log_failed(kept, error)
            return None
        return None if target is None else _Found(kept, envelope, target)

    async def _move(
        self,
        found: list[_Found],
        report: RewrapReport,
        pace: "_Pace",
        bucket_keys: _BucketKeys,
    ) -> None:
        """Move up to a blob's worth of wraps: KMS, envelopes blob, rows, in this order."""
        await self._tell_others(report)
        await pace.wait(len(found))
        await self._move_bucket_keys(found, report, bucket_keys)
        envelopes = await _each(found, lambda one: self._moved(one, report, bucket_keys))
        moves = [_move_of(one, envelope) for one, envelope in zip(found, envelopes, strict=True) if envelope]
        reach("rewrap.wrapped")
        moved = await self._store(moves, report) if moves else frozenset()
        report.moved_count += len(moved)
        report.changed_count += len(moves) - len(moved)

    async def _store(self, moves: list[WrapMove], report: RewrapReport) -> frozenset[bytes]:
        """Let the rows have new envelopes, once a durable blob has them. The wrap ids of the rows that took theirs."""
        epoch = await self._envelopes.next_epoch()
        blob = await self._envelopes.write(Envelopes.of(epoch, [(move.wrap_id, move.envelope) for move in moves]))
        reach("rewrap.envelopes_durable")
        report.envelopes_count += 1
        lease = await self.lease()
        async with self._writer.publishing(blob):
            moved = await self._catalogue.move_wraps(MoveWraps(blob, epoch, tuple(moves)), lease)
        reach("rewrap.rows_moved")
        return frozenset(moved)

    async def _move_bucket_keys(self, found: list[_Found], report: RewrapReport, bucket_keys: _BucketKeys) -> None:
        """Ask the KMS once for each bucket key, however many contents lie under it."""
        wanted = {name: one for one in found if (name := _bucket_key_name(one)) and name not in bucket_keys}
        while len(bucket_keys) + len(wanted) > MAX_BUCKET_KEYS and bucket_keys:
            del bucket_keys[next(iter(bucket_keys))]
        for name, envelope in zip(wanted, await _each(list(wanted.values()), self._ask), strict=True):
            if envelope is not None and envelope.bucket_key is not None:
                bucket_keys[name] = envelope
                report.bucket_key_count += 1

    async def _moved(self, one: _Found, report: RewrapReport, bucket_keys: _BucketKeys) -> Envelope | None:
        name = _bucket_key_name(one)
        if name is None:
            envelope = await self._ask(one)
        else:
            moved = bucket_keys.get(name)
            envelope = None if moved is None else one.envelope.with_bucket_part(moved)
        if envelope is None:
            report.failed_count += 1
            _count_left(report, [one.kept])
        return envelope

    async def _ask(self, one: _Found) -> Envelope | None:
        """Have the KMS move a wrap; None where it does not open, which the log tells."""
        kept = one.kept
        try:
            return await self._custody.rewrap(
                kept.bucket_id, kept.wrap_id, one.envelope, one.target, Unlock(_context_of(kept))
            )
        except (UnwrapFailed, KmsKeyError) as error:
            _log_failed(kept, error)
            return None

    async def _tell_others(self, report: RewrapReport) -> None:
        """Before the first move of a job: let others make nothing more as before, and be waited for.

        Where nothing is to be moved nothing has changed since they were told, and no new write of theirs is waited for.
        """
        if not report.envelopes_count:
            await self._renew()

    async def _move_realm(self, aim: Aim, report: RewrapReport) -> None:
        """Move root and canary: a blob that has the root, then the reference to it, then the files."""
        copied_to = self._realm.copied_to()
        wraps = self._realm.wrapped()
        targets = {target for wrapped in wraps if (target := await aim.target(wrapped, copied_to)) is not None}
        if not targets:
            return
        await self._tell_others(report)
        root = await self._realm.rewrap(targets.pop())
        reach("rewrap.root_wrapped")
        await self._store([WrapMove(WrapOwner.REALM, self._realm.realm_id, b"", root)], report)
        await self.lease()  # files know no epochs
        self._realm.save()
        reach("rewrap.root_moved")
        await self._renew()  # others read the realm anew, and its canary
        report.moved_count += len(self._realm.wrapped())

    async def _count_on_their_way(self, aim: Aim) -> int:
        count = 0
        for envelope in self._custody.on_their_way():
            wrapped = envelope.kms_wrapped
            count += wrapped is not None and await aim.target(wrapped, envelope.copies.ids) is not None
        return count

    async def wait_for_writes(self, aim: Aim, patience_s: float) -> None:
        """Wait so long at most for writes under way whose key an aim is about."""
        await self._wait_for_writes(aim, time.monotonic() + patience_s)

    async def _wait_for_writes(self, aim: Aim, deadline: float) -> None:
        """Wait until no write is under way any more whose key was made before, or the deadline is over."""
        while time.monotonic() < deadline:
            gc.collect()  # a write that failed may be held by its own traceback
            if not await self._count_on_their_way(aim) + self._behind():
                return
            await asyncio.sleep(_POLL_S)


async def _each(found: Sequence[_Found], ask: Callable[[_Found], Awaitable[Envelope | None]]) -> list[Envelope | None]:
    """What the KMS makes of each, in order: so many wait for it together, and the loop comes round in between.

    Raises: whatever the first to fail raised; no further one is begun.
    """
    answers: list[Envelope | None] = [None] * len(found)
    numbers = iter(range(len(found)))

    async def work() -> None:
        try:
            for number in numbers:
                answers[number] = await ask(found[number])
                if number % KMS_CALLS_AT_ONCE == 0:
                    await asyncio.sleep(0)  # a KMS in this process never waits
        except BaseException:
            for _ in numbers:  # the others find none left to begin
                pass
            raise

    await asyncio.gather(*(work() for _ in range(min(KMS_CALLS_AT_ONCE, len(found)))))
    return answers


class _Pace:
    """No more than so many records a second, and small steps where that is few."""

    def __init__(self, rate_per_s: float | None) -> None:
        self._rate_per_s = rate_per_s
        self._next = time.monotonic()

    def batch(self, most: int) -> int:
        """How many records to move in one step: a second's worth at most."""
        return most if self._rate_per_s is None else max(1, min(most, int(self._rate_per_s)))

    async def wait(self, count: int) -> None:
        """Wait until so many may be moved."""
        if self._rate_per_s is not None:
            now = time.monotonic()
            await asyncio.sleep(max(0.0, self._next - now))
            self._next = max(self._next, now) + count / self._rate_per_s


def _bucket_key_name(one: _Found) -> tuple[bytes, bytes, str] | None:
    """What tells a bucket key, as it is wrapped now, from every other."""
    if one.envelope.bucket_key is None:
        return None
    return one.kept.bucket_id, one.envelope.bucket_key.wrapped.encode(), one.target


def _context_of(kept: KeptWrap) -> str:
    """The encryption context that a client bound a content to. Manifests and links are bound to none."""
    return Protection.decode(kept.attributes.get("encryption")).context


def _move_of(one: _Found, envelope: Envelope) -> WrapMove:
    kept = one.kept
    return WrapMove(
        kept.owner,
        kept.wrap_id,
        kept.envelope,
        envelope.encode(),
        b"" if kept.upload is None else kept.upload.upload_id,
    )


def _count_left(report: RewrapReport, kepts: Iterable[KeptWrap]) -> None:
    for kept in kepts:
        report.left_count += 1
        version = kept.version
        report.locked_count += version is not None and version.lock != NO_LOCK


def _log_failed(kept: KeptWrap, error: Exception) -> None:
    _log.error("the wrap of %s %s cannot be moved: %s", kept.owner.value, kept.wrap_id.hex(), error)
