"""Imports and exports as commands start them: the places are opened, the move is kept in the bucket, and runs beside.

The control socket hands these functions what the command line was given; credentials and clients' keys come as paths.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

from gateway.engine.filling import Filler
from gateway.engine.integrity import EtagMode
from gateway.errors import MoveError
from gateway.moving.abandoning import PARALLEL, Abandoning, check_kept
from gateway.moving.asked import Asked
from gateway.moving.endpoint import Patience
from gateway.moving.exporting import Exporter
from gateway.moving.folder import FolderSource, FolderTarget
from gateway.moving.importing import Importer, ImportOptions, InOneBucket
from gateway.moving.jobs import LEASE_DURATION, MAX_PARALLEL, Job, Moves
from gateway.moving.pace import Pace
from gateway.moving.places import Item, PlaceFailed, Source, Target
from gateway.moving.registering import SEALING, Closed, ReadThroughJob, Registrar, Sealing, check_etags
from gateway.moving.report import ABANDONING, EXPORT, IMPORT, Progress, State
from gateway.moving.standing import Phase, phase_of, told, told_of_abandoning
from gateway.moving.through import SOURCE, Registered, registered_source
from gateway.operations.admission import REGISTERING
from gateway.operations.context import Services
from gateway.operations.encryption import protection_for
from gateway.s3.types import EncryptionRequest
from gateway.wiring.customer_key import read_customer_key
from keys.errors import KeysError
from storage.catalogue.commands import HistoryQuery, Lease
from storage.catalogue.conflicts import NoSuchBucket
from storage.catalogue.records import Bucket, Versioning
from storage.errors import LeaseLost, StorageError

_MIB: Final = 1024 * 1024

_log = logging.getLogger(__name__)

Answer = dict[str, Any]


class _Place(Protocol):
    async def close(self) -> None: ...


class MoveCommands:
    """Starts, follows and stops the moves of one gateway."""

    def __init__(
        self, services: Services, moves: Moves, etag_mode: EtagMode, holder: str, filler: Filler, patience: Patience
    ) -> None:
        self._services = services
        self._filler = filler
        self._moves = moves
        self._etag_mode = etag_mode
        self._holder = holder
        self._patience = patience
        self._starting = asyncio.Lock()
        """One at a time begins: between what is looked at and what is started nobody else comes."""

    async def start(self, *, kind: str, **asked: Any) -> Answer:
        """Begin a move, go on with one that did not end, or say how it stands. Raises: MoveError, KeysError."""
        wanted = Asked(**asked)
        if not 1 <= wanted.parallel <= MAX_PARALLEL:
            raise PlaceFailed(f"--parallel is from 1 to {MAX_PARALLEL}")
        if wanted.leave_out_failed and not wanted.read_through:
            raise PlaceFailed("--leave-out-failed is for --read-through: nothing else stops at an object that fails")
        async with self._starting:
            bucket = await self._bucket(wanted.bucket)
            if kind == IMPORT:
                await check_kept(self._services.catalogue, bucket)
            under_way = await self._under_way(kind, bucket)
            if under_way is not None:
                self._check_same(kind, under_way, wanted)
                if under_way.how == wanted.how() or self._moves.running(kind, bucket) is None:
                    return await self._told(kind, bucket) | {"attached": True}
                await self._moves.stop(kind, bucket)  # it goes on as it is asked for now
                bucket = await self._bucket(wanted.bucket)
            if wanted.read_through and await self._is_cut_over(bucket, wanted):
                return await self._told(kind, bucket) | {"attached": True}
            await self._start(kind, bucket, wanted)
            return await self._told(kind, bucket)

    async def _start(self, kind: str, bucket: Bucket, wanted: Asked, registered: Registered | None = None) -> None:
        if wanted.read_through:
            await self._start_read_through(bucket, wanted, registered)
            return
        if kind == IMPORT:
            if SOURCE in bucket.configurations or REGISTERING in bucket.configurations:
                raise PlaceFailed("an import that reads through goes on in this bucket: give --read-through")
            await self._services.catalogue.put_configuration(bucket.bucket_id, SEALING, None)
        progress = await self._progress(kind, bucket, wanted)
        job, place = await (self._import if kind == IMPORT else self._export)(bucket, wanted, progress)
        self._moves.start(job, place.close)

    async def _under_way(self, kind: str, bucket: Bucket) -> Progress | None:
        """How far a move is that runs, here or in another gateway."""
        running = self._moves.running(kind, bucket)
        if running is not None:
            return running
        kinds = (IMPORT, SEALING) if kind == IMPORT else (kind,)
        held = [progress for each in kinds if (progress := await self._held(bucket, each)) is not None]
        return next((progress for progress in held if self._runs_elsewhere(progress)), None)

    def _runs_elsewhere(self, progress: Progress) -> bool:
        is_fresh = progress.is_fresh(self._services.clock(), LEASE_DURATION)
        return is_fresh and progress.holder not in ("", self._holder)

    async def _is_cut_over(self, bucket: Bucket, wanted: Asked) -> bool:
        sealing = await self._held(bucket, SEALING)
        is_same = sealing is not None and sealing.options == wanted.kept() and not wanted.restart
        return is_same and phase_of(bucket.configurations, sealing) is Phase.CUT_OVER

    def _check_same(self, kind: str, progress: Progress, wanted: Asked) -> None:
        if progress.options != wanted.kept() or wanted.restart:
            raise PlaceFailed(f"an {kind} of this bucket runs already ({progress.place}): see --status, or give --stop")

    async def _progress(self, kind: str, bucket: Bucket, wanted: Asked) -> Progress:
        progress = await self._held(bucket, kind)
        if progress is None or wanted.restart or progress.state is State.DONE:
            return self._begun(wanted)
        if progress.options != wanted.kept():
            if not progress.has_begun:
                return self._begun(wanted)
            raise PlaceFailed(
                f"another {kind} of this bucket did not end ({progress.place}), with other {wanted.unlike(progress)}:"
                " give its command again, or --restart to begin with this one"
            )
        progress.begin(wanted.how())
        return progress

    def _begun(self, wanted: Asked) -> Progress:
        progress = Progress(wanted.place, wanted.kept(), self._services.clock().isoformat(timespec="seconds"))
        progress.begin(wanted.how())
        progress.holder = self._holder
        return progress

    async def abandon(self, *, bucket: str) -> Answer:
        """Give up an import that reads through, or go on with that. Raises: PlaceFailed."""
        async with self._starting:
            named = await self._bucket(bucket)
            is_attached = await self._under_way(ABANDONING, named) is not None
            if not is_attached:
                await self._abandon(named)
            return await self._told(ABANDONING, named) | ({"attached": True} if is_attached else {})

    async def _abandon(self, bucket: Bucket) -> None:
        catalogue, clock = self._services.catalogue, self._services.clock
        progress = await self._held(bucket, ABANDONING)
        if progress is None or progress.state is State.DONE:
            if not bucket.configurations.keys() & {SOURCE, REGISTERING}:
                raise PlaceFailed("no import of this bucket reads through: there is nothing to give up")
            registered = await registered_source(catalogue, bucket)
            place = "" if registered is None else registered.endpoint.name
            progress = Progress(place, {}, clock().isoformat(timespec="seconds"))
        progress.begin({})
        progress.holder = self._holder
        take = self._lease(ABANDONING, bucket)
        try:
            lease = await take()
        except LeaseLost:
            raise PlaceFailed("another gateway gives this import up: see --status") from None
        # From here on it goes on however this ends; and no job of the import does.
        await catalogue.put_configuration(bucket.bucket_id, ABANDONING, progress.encode(clock()), lease)
        await self._moves.stop(IMPORT, bucket, by_command=False)
        mover = Abandoning(self._services, bucket, take, [self._lease(kind, bucket) for kind in (IMPORT, SEALING)])
        job = Job(
            catalogue, bucket, ABANDONING, clock, self._holder, progress, mover.walk, mover, PARALLEL, mover.finish
        )
        self._moves.start(job, _nothing)

    async def resume(self) -> None:
        """Go on with every import that did not come to its end and that no command stopped. Raises: StorageError.

        Of several gateways one does: who has the lease of it.
        """
        catalogue = self._services.catalogue
        for account in await catalogue.list_accounts():
            for bucket in await catalogue.list_buckets(account.account_id, limit=2**31):
                if bucket.configurations.keys() & {IMPORT, REGISTERING, SOURCE, ABANDONING}:
                    # Whatever is wrong with one holds up no other; one that is gone by now is done with.
                    async with self._starting:
                        with suppress(PlaceFailed):
                            await self._resume(bucket.name)

    async def _resume(self, name: str) -> None:
        wanted: Asked | None = None
        bucket = await self._bucket(name)
        try:
            giving_up = await self._held(bucket, ABANDONING)
            if giving_up is not None and giving_up.state is not State.DONE:
                if not giving_up.by_command and await self._under_way(ABANDONING, bucket) is None:
                    await self._abandon(bucket)
                return
            wanted = await self._unfinished(bucket)
            if wanted is not None:
                _log.info("an import goes on: bucket %s", bucket.bucket_id.hex())
                registered = await registered_source(self._services.catalogue, bucket)
                await self._start(IMPORT, bucket, wanted, registered)
        except (MoveError, StorageError, KeysError) as error:
            _log.warning("an import does not go on: %s", type(error).__name__)
            if wanted is not None:
                await self._note(bucket, str(error))

    async def _unfinished(self, bucket: Bucket) -> Asked | None:
        """What is to go on by itself in a bucket."""
        if await self._under_way(IMPORT, bucket) is not None:
            return None
        kinds = bucket.configurations
        if REGISTERING in kinds and SOURCE not in kinds:
            # Cut off before a source was named: nothing can be registered.
            await self._services.catalogue.put_configuration(bucket.bucket_id, REGISTERING, None)
            return None
        first, second = await self._held(bucket, IMPORT), await self._held(bucket, SEALING)
        progress = first if REGISTERING in kinds else second or first
        reads_through = SOURCE in kinds
        is_over = progress is None or progress.by_command or (progress.state is State.DONE and not reads_through)
        if progress is None or is_over or not progress.how:
            return None
        return Asked.again(progress)

    async def _note(self, bucket: Bucket, problem: str) -> None:
        """Tell who asks why an import did not go on."""
        with suppress(StorageError):
            for kind in (SEALING, IMPORT):
                progress = await self._held(bucket, kind)
                if progress is not None:
                    progress.stop(problem)
                    lease = await self._lease(kind, bucket)()
                    document = progress.encode(self._services.clock())
                    await self._services.catalogue.put_configuration(bucket.bucket_id, kind, document, lease)
                    await self._services.catalogue.release_lease(lease)
                    return

    async def _import(self, bucket: Bucket, wanted: Asked, progress: Progress) -> tuple[Job[Any], _Place]:
        if wanted.versions and bucket.versioning is not Versioning.ENABLED:
            raise PlaceFailed("the bucket is not versioned: enable its versioning, or leave --versions out")
        source: Source
        if wanted.is_bucket:
            # boto3: half a second that only moves shall pay
            from gateway.moving.bucket import BucketSource  # noqa: PLC0415

            source = BucketSource(wanted.endpoint_of_place(), wanted.parallel, self._patience)
        else:
            source = FolderSource(Path(wanted.place), wanted.parallel, by_index=wanted.index)
        options = ImportOptions(wanted.versions, wanted.update, wanted.read_back)
        importer = Importer(self._services, bucket, source, options, _pace(wanted), self._etag_mode)

        def walk(after: bytes) -> AsyncGenerator[Item]:
            return source.walk(after, versions=wanted.versions)

        return self._job(IMPORT, bucket, progress, walk, importer, wanted), source

    async def _export(self, bucket: Bucket, wanted: Asked, progress: Progress) -> tuple[Job[Any], _Place]:
        target: Target
        key = read_customer_key(Path(wanted.customer_key_file)) if wanted.customer_key_file else None
        if wanted.is_bucket:
            from gateway.moving.bucket_target import BucketTarget  # noqa: PLC0415  # as above

            target = BucketTarget(wanted.endpoint_of_place(), wanted.parallel, self._patience, versions=wanted.versions)
            try:
                await target.check()
            except BaseException:
                await target.close()
                raise
        elif wanted.versions:
            raise PlaceFailed("a folder keeps no versions: leave --versions out")
        else:
            target = FolderTarget(Path(wanted.place), wanted.parallel)
        exporter = Exporter(
            self._services,
            bucket,
            target,
            _pace(wanted),
            self._etag_mode,
            prefix=wanted.prefix.encode("utf-8", "surrogateescape"),
            versions=wanted.versions,
            read_back=wanted.read_back,
            customer_key=key,
        )
        return self._job(EXPORT, bucket, progress, exporter.walk, exporter, wanted), target

    async def _start_read_through(self, bucket: Bucket, wanted: Asked, registered: Registered | None) -> None:
        """Begin or go on: the bucket is closed before its source is named, and opened once all is registered."""
        from gateway.moving.bucket import BucketSource  # noqa: PLC0415  # as above

        if not wanted.is_bucket or wanted.versions or wanted.update or wanted.index or wanted.read_back:
            raise PlaceFailed(
                "--read-through takes a bucket as its source, and none of --versions, --update, --index, --read-back"
            )
        if registered is None:
            registered = await self._register(bucket, wanted)
        catalogue = self._services.catalogue
        is_open = REGISTERING not in (await catalogue.get_bucket(bucket.name)).configurations
        sealing = await self._progress(SEALING, bucket, wanted)
        progress = None if is_open else await self._progress(IMPORT, bucket, wanted)
        check = partial(check_kept, catalogue, bucket)
        source = BucketSource(registered.endpoint, wanted.parallel, self._patience, registered.key)
        registering: Job[Any] | None = None
        if progress is not None:
            importer = Importer(self._services, bucket, source, ImportOptions(), _pace(wanted), self._etag_mode)
            closed = Closed(catalogue, bucket, self._lease(IMPORT, bucket), check)
            registrar = Registrar(
                self._services, importer, source, registered.source_id, closed, leave_out=wanted.leave_out_failed
            )
            walk = partial(closed.walk, partial(source.walk, versions=False))
            registering = self._job(IMPORT, bucket, progress, walk, registrar, wanted)
            registering.at_end, registering.check = closed.open, check
        lease = self._lease(SEALING, bucket)
        mover = Sealing(self._services, bucket, source, self._filler, _pace(wanted), lease)
        sealer = self._job(SEALING, bucket, sealing, mover.walk, mover, wanted)
        sealer.check = check
        self._moves.start(ReadThroughJob(catalogue, bucket, IMPORT, registering, sealer, lease), source.close)

    def _lease(self, kind: str, bucket: Bucket) -> Callable[[], Awaitable[Lease]]:
        """Takes or renews the lease of a job, for what works under it."""
        name = f"{kind}/{bucket.bucket_id.hex()}"
        return partial(self._services.catalogue.acquire_lease, name, self._holder, LEASE_DURATION)

    async def _register(self, bucket: Bucket, wanted: Asked) -> Registered:
        """Name the source of a bucket, with the key that the command brought; a bucket that has none is closed first.

        Under the lease of the registering, so that of two that begin at once one is refused.
        """
        from gateway.moving.client import read_credentials  # noqa: PLC0415  # as above

        endpoint, key = wanted.endpoint_of_place(), read_credentials(Path(wanted.credentials), wanted.profile)
        try:
            lease = await self._lease(IMPORT, bucket)()
        except LeaseLost:
            raise PlaceFailed("another gateway runs an import of this bucket: see --status") from None
        catalogue, bucket_id = self._services.catalogue, bucket.bucket_id
        try:
            bucket = await self._bucket(bucket.name)
            await check_kept(catalogue, bucket)
            registered = await registered_source(catalogue, bucket)
            if registered is None:
                await self._close(bucket, wanted, lease)
                registered = Registered(secrets.token_hex(16), endpoint, key, bucket.account_id.hex())
            elif registered.endpoint.name != endpoint.name:
                if REGISTERING not in bucket.configurations or await self._holds_any(bucket):
                    raise PlaceFailed(f"the bucket reads through to {registered.endpoint.name}: finish that first")
                registered = replace(registered, source_id=secrets.token_hex(16))
            elif wanted.restart and REGISTERING not in bucket.configurations:
                raise PlaceFailed("all is registered, and the bucket is open: leave --restart out")
            registered = replace(registered, endpoint=endpoint, key=key)
            await catalogue.put_configuration(bucket_id, SOURCE, registered.encode(), lease)
        finally:
            await catalogue.release_lease(lease)
        return registered

    async def _close(self, bucket: Bucket, wanted: Asked, lease: Lease) -> None:
        """Let nobody into an empty bucket. Raises: PlaceFailed for one that is not, which stays open."""
        catalogue, bucket_id = self._services.catalogue, bucket.bucket_id
        protection = await protection_for(InOneBucket(self._services, bucket), EncryptionRequest())
        check_etags(protection.etag_mode(self._etag_mode))
        await self._check_empty(bucket)
        await catalogue.put_configuration(bucket_id, REGISTERING, b"{}", lease)
        try:
            await self._check_empty(bucket)  # nobody can write any more
        except PlaceFailed:
            await catalogue.put_configuration(bucket_id, REGISTERING, None, lease)
            raise
        document = self._begun(wanted).encode(self._services.clock())
        await catalogue.put_configuration(bucket_id, IMPORT, document, lease)  # or else it could not go on by itself
        await catalogue.put_configuration(bucket_id, SEALING, None, lease)

    async def _holds_any(self, bucket: Bucket) -> bool:
        page = await self._services.catalogue.list_history(bucket.bucket_id, HistoryQuery(limit=1))
        return bool(page.versions)

    async def _check_empty(self, bucket: Bucket) -> None:
        if await self._holds_any(bucket):
            raise PlaceFailed("the bucket holds objects: --read-through begins with an empty one")

    def _job(self, kind: str, bucket: Bucket, progress: Progress, walk: Any, mover: Any, wanted: Asked) -> Job[Any]:
        services = self._services
        return Job(
            services.catalogue, bucket, kind, services.clock, self._holder, progress, walk, mover, wanted.parallel
        )

    async def status(self, *, kind: str, bucket: str) -> Answer:
        """How far a move is, whether it runs or not. Raises: NoSuchBucket, PlaceFailed where there was none."""
        return await self._told(kind, await self._bucket(bucket))

    async def _told(self, kind: str, bucket: Bucket) -> Answer:
        if kind == IMPORT and await self._is_given_up(bucket):
            kind = ABANDONING
        running = self._moves.running(kind, bucket)
        # Read after that: whoever ended since has said how.
        bucket = await self._bucket(bucket.name)
        if kind == ABANDONING:
            giving_up = running or await self._held(bucket, kind)
            if giving_up is None:
                raise PlaceFailed("no import of this bucket was given up")
            is_running = running is not None or self._runs_elsewhere(giving_up)
            return told_of_abandoning(giving_up, is_running=is_running)
        first, second = await self._held(bucket, kind), await self._held(bucket, SEALING) if kind == IMPORT else None
        phase = phase_of(bucket.configurations, second) if kind == IMPORT else None
        current = first if phase is Phase.REGISTERING else second or first
        progress = running or current
        if progress is None:
            raise PlaceFailed(f"there was no {kind} of this bucket")
        is_running = running is not None or self._runs_elsewhere(progress)
        return told(kind, progress, phase, None if current is first else first, is_running=is_running)

    async def _is_given_up(self, bucket: Bucket) -> bool:
        """Whether the last word about the imports of a bucket is that one is being given up, or was."""
        giving_up = await self._held(bucket, ABANDONING)
        if giving_up is None or giving_up.state is not State.DONE:
            return giving_up is not None
        return not (await self._bucket(bucket.name)).configurations.keys() & {IMPORT, SEALING}

    async def _held(self, bucket: Bucket, kind: str) -> Progress | None:
        held = await self._services.catalogue.get_configuration(bucket.bucket_id, kind)
        return None if held is None else Progress.decode(held)

    async def stop(self, *, kind: str, bucket: str) -> Answer:
        """Stop a move; it goes on when it is started again. Raises: PlaceFailed where another gateway runs it."""
        async with self._starting:
            for each in (kind, ABANDONING) if kind == IMPORT else (kind,):
                await self._moves.stop(each, await self._bucket(bucket))
            answer = await self.status(kind=kind, bucket=bucket)
        if answer["running"]:
            raise PlaceFailed(f"another gateway runs this {kind}: give --stop there")
        return answer

    async def _bucket(self, name: str) -> Bucket:
        try:
            return await self._services.catalogue.get_bucket(name)
        except NoSuchBucket:
            raise PlaceFailed(f"there is no bucket {name}: make it with any S3 client first") from None


async def _nothing() -> None:
    """What is let go of at the end of a move without a place."""


def _pace(wanted: Asked) -> Pace:
    return Pace(wanted.max_mib_per_s * _MIB or None)
