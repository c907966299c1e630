"""Imports and exports as commands start them: the places are opened, the move is kept in the bucket, and runs beside.

The control socket hands these functions what the command line was given; credentials and clients' keys come as paths.
"""

import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

from gateway.engine.filling import Filler
from gateway.engine.integrity import EtagMode
from gateway.moving.endpoint import Endpoint
from gateway.moving.exporting import Exporter
from gateway.moving.folder import FolderSource, FolderTarget
from gateway.moving.importing import Importer, ImportOptions, InOneBucket
from gateway.moving.jobs import LEASE_DURATION, MAX_PARALLEL, Job, Moves
from gateway.moving.pace import Pace
from gateway.moving.places import Item, PlaceFailed, Source, Target
from gateway.moving.registering import SEALING, Closed, ReadThroughJob, Registrar, Sealing, check_etags
from gateway.moving.report import EXPORT, IMPORT, Outcome, Progress, State
from gateway.moving.through import SOURCE, Registered, registered_source
from gateway.operations.admission import REGISTERING
from gateway.operations.context import Services
from gateway.operations.encryption import protection_for
from gateway.s3.types import EncryptionRequest
from gateway.wiring.customer_key import read_customer_key
from storage.catalogue.base import HistoryQuery, Lease, NoSuchBucket
from storage.catalogue.records import Bucket, Versioning

_BUCKET_SCHEME: Final = "s3://"
_MIB: Final = 1024 * 1024

Answer = dict[str, Any]


class _Place(Protocol):
    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Asked:
    """What a command asks for; the same for both ways."""

    bucket: str
    place: str
    """A folder's absolute path, or `s3://BUCKET/PREFIX`."""
    endpoint: str = ""
    region: str = "us-east-1"
    ca_file: str = ""
    credentials: str = ""
    profile: str = "default"
    prefix: str = ""
    """Of the keys in the bucket that are exported."""
    versions: bool = False
    update: bool = False
    index: bool = False
    read_back: bool = False
    customer_key_file: str = ""
    parallel: int = 4
    max_mib_per_s: int = 0
    restart: bool = False
    read_through: bool = False

    def endpoint_of_place(self) -> Endpoint:
        """Raises: PlaceFailed."""
        bucket, _, prefix = self.place.removeprefix(_BUCKET_SCHEME).partition("/")
        if not (bucket and self.endpoint and self.credentials):
            raise PlaceFailed("a bucket needs its name, --endpoint and --credentials")
        ca_file = Path(self.ca_file) if self.ca_file else None
        return Endpoint(self.endpoint, bucket, prefix, self.region, ca_file, Path(self.credentials), self.profile)

    @property
    def is_bucket(self) -> bool:
        """Whether the place is a bucket."""
        return self.place.startswith(_BUCKET_SCHEME)

    def kept(self) -> dict[str, Any]:
        """What makes a move that goes on the same move."""
        how = ("parallel", "max_mib_per_s", "restart", "credentials", "profile", "ca_file", "customer_key_file")
        return {name: value for name, value in asdict(self).items() if name not in how}


class MoveCommands:
    """Starts, follows and stops the moves of one gateway."""

    def __init__(self, services: Services, moves: Moves, etag_mode: EtagMode, holder: str, filler: Filler) -> None:
        self._services = services
        self._filler = filler
        self._moves = moves
        self._etag_mode = etag_mode
        self._holder = holder

    async def start(self, *, kind: str, **asked: Any) -> Answer:
        """Begin a move, or go on with one that did not end. Raises: NoSuchBucket, MoveError, KeysError."""
        wanted = Asked(**asked)
        bucket = await self._bucket(wanted.bucket)
        if not 1 <= wanted.parallel <= MAX_PARALLEL:
            raise PlaceFailed(f"--parallel is from 1 to {MAX_PARALLEL}")
        if self._moves.running(kind, bucket) is not None:
            raise PlaceFailed(f"an {kind} of this bucket runs already: see it with --status")
        if wanted.read_through:
            return await self._start_read_through(bucket, wanted)
        if kind == IMPORT:
            if SOURCE in bucket.configurations or REGISTERING in bucket.configurations:
                raise PlaceFailed("an import that reads through goes on in this bucket: give --read-through")
            await self._services.catalogue.put_configuration(bucket.bucket_id, SEALING, None)
        progress, is_new = await self._progress(kind, bucket, wanted)
        job, place = await (self._import if kind == IMPORT else self._export)(bucket, wanted, progress)
        self._moves.start(job, place.close)
        return {"resumed": not is_new, **progress.answer()}

    async def _progress(self, kind: str, bucket: Bucket, wanted: Asked) -> tuple[Progress, bool]:
        services = self._services
        held = await services.catalogue.get_configuration(bucket.bucket_id, kind)
        if held is not None and not wanted.restart:
            progress = Progress.decode(held)
            if progress.state is not State.DONE:
                if progress.options != wanted.kept():
                    raise PlaceFailed(
                        f"another {kind} of this bucket did not end ({progress.place}): finish it, or give --restart"
                    )
                progress.state, progress.problem = State.RUNNING, ""
                return progress, False
        return Progress(wanted.place, wanted.kept(), services.clock().isoformat(timespec="seconds")), True

    async def _import(self, bucket: Bucket, wanted: Asked, progress: Progress) -> tuple[Job[Any], _Place]:
        if wanted.versions and bucket.versioning is not Versioning.ENABLED:
            raise PlaceFailed("the bucket is not versioned: enable its versioning, or leave --versions out")
        source: Source
        if wanted.is_bucket:
            # boto3: half a second that only moves shall pay
            from gateway.moving.bucket import BucketSource  # noqa: PLC0415

            source = BucketSource(wanted.endpoint_of_place(), wanted.parallel)
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

            target = BucketTarget(wanted.endpoint_of_place(), wanted.parallel, versions=wanted.versions)
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

    async def _start_read_through(self, bucket: Bucket, wanted: Asked) -> Answer:
        """Begin or go on: the bucket is closed before its source is named, and opened once all is registered."""
        from gateway.moving.bucket import BucketSource  # noqa: PLC0415  # as above

        if not wanted.is_bucket or wanted.versions or wanted.update or wanted.index or wanted.read_back:
            raise PlaceFailed(
                "--read-through takes a bucket as its source, and none of --versions, --update, --index, --read-back"
            )
        is_open, registered = await self._registered(bucket, wanted)
        catalogue, source = self._services.catalogue, BucketSource(registered.endpoint, wanted.parallel, registered.key)
        sealing, is_new = await self._progress(SEALING, bucket, wanted)
        registering: Job[Any] | None = None
        if not is_open:
            progress, is_new = await self._progress(IMPORT, bucket, wanted)
            importer = Importer(self._services, bucket, source, ImportOptions(), _pace(wanted), self._etag_mode)
            closed = Closed(catalogue, bucket, self._lease(IMPORT, bucket))
            registrar = Registrar(self._services, importer, source, registered.source_id, closed)
            walk = partial(closed.walk, partial(source.walk, versions=False))
            registering = self._job(IMPORT, bucket, progress, walk, registrar, wanted)
            registering.at_end = closed.open
        mover = Sealing(self._services, bucket, source, self._filler, _pace(wanted), self._lease(SEALING, bucket))
        job = ReadThroughJob(
            catalogue, bucket, IMPORT, registering, self._job(SEALING, bucket, sealing, mover.walk, mover, wanted)
        )
        self._moves.start(job, source.close)
        return {"resumed": not is_new, **job.progress.answer()}

    def _lease(self, kind: str, bucket: Bucket) -> Callable[[], Awaitable[Lease]]:
        """Takes or renews the lease of a job, for what works under it."""
        name = f"{kind}/{bucket.bucket_id.hex()}"
        return partial(self._services.catalogue.acquire_lease, name, self._holder, LEASE_DURATION)

    async def _registered(self, bucket: Bucket, wanted: Asked) -> tuple[bool, Registered]:
        """Whether the bucket is open already, and its source, with the key that the command brought."""
        from gateway.moving.client import read_credentials  # noqa: PLC0415  # as above

        catalogue, bucket_id, endpoint = self._services.catalogue, bucket.bucket_id, wanted.endpoint_of_place()
        key = read_credentials(Path(wanted.credentials), wanted.profile)
        registered = await registered_source(catalogue, bucket)
        is_open = registered is not None and REGISTERING not in bucket.configurations
        if registered is None:
            protection = await protection_for(InOneBucket(self._services, bucket), EncryptionRequest())
            check_etags(protection.etag_mode(self._etag_mode))
            await catalogue.put_configuration(bucket_id, REGISTERING, b"{}")
            if (await catalogue.list_history(bucket_id, HistoryQuery(limit=1))).versions:
                await catalogue.put_configuration(bucket_id, REGISTERING, None)
                raise PlaceFailed("the bucket holds objects: --read-through begins with an empty one")
            for kind in (IMPORT, SEALING):
                await catalogue.put_configuration(bucket_id, kind, None)
            registered = Registered(secrets.token_hex(16), endpoint, key, bucket.account_id.hex())
        elif registered.endpoint.name != endpoint.name:
            raise PlaceFailed(f"the bucket reads through to {registered.endpoint.name}: finish that first")
        elif is_open and wanted.restart:
            raise PlaceFailed("all is registered, and the bucket is open: leave --restart out")
        registered = replace(registered, endpoint=endpoint, key=key)
        await catalogue.put_configuration(bucket_id, SOURCE, registered.encode())
        return is_open, registered

    def _job(self, kind: str, bucket: Bucket, progress: Progress, walk: Any, mover: Any, wanted: Asked) -> Job[Any]:
        services = self._services
        return Job(
            services.catalogue, bucket, kind, services.clock, self._holder, progress, walk, mover, wanted.parallel
        )

    async def status(self, *, kind: str, bucket: str) -> Answer:
        """How far a move is, whether it runs or not. Raises: NoSuchBucket, PlaceFailed where there was none."""
        found = await self._bucket(bucket)
        running = self._moves.running(kind, found)
        first, second = await self._held(found, kind), await self._held(found, SEALING) if kind == IMPORT else None
        progress = running or second or first
        if progress is None:
            raise PlaceFailed(f"there was no {kind} of this bucket")
        answer = {"running": running is not None, **progress.answer()}
        if REGISTERING in found.configurations:
            return answer | {"phase": REGISTERING}
        if second is None or first is None:
            return answer
        answer |= {"phase": SEALING, "registered": first.counts[Outcome.MOVED]}
        answer["difference_count"] += first.difference_count
        answer["differences"] = first.answer()["differences"] + answer["differences"]
        return answer

    async def _held(self, bucket: Bucket, kind: str) -> Progress | None:
        held = await self._services.catalogue.get_configuration(bucket.bucket_id, kind)
        return None if held is None else Progress.decode(held)

    async def stop(self, *, kind: str, bucket: str) -> Answer:
        """Stop a move; it goes on when it is started again. Raises: NoSuchBucket."""
        await self._moves.stop(kind, await self._bucket(bucket))
        return await self.status(kind=kind, bucket=bucket)

    async def _bucket(self, name: str) -> Bucket:
        try:
            return await self._services.catalogue.get_bucket(name)
        except NoSuchBucket:
            raise PlaceFailed(f"there is no bucket {name}: make it with any S3 client first") from None


def _pace(wanted: Asked) -> Pace:
    return Pace(wanted.max_mib_per_s * _MIB or None)
