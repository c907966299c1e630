"""Everything of one realm, joined: keys, stores, engines, application and the jobs behind it.

Nothing else chooses an implementation. Catalogue, blob store and keys must be of one realm before anything is served.
"""

import asyncio
import hmac
import logging
import os
import secrets
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

from starlette.applications import Starlette

from gateway.access.identities import Identities
from gateway.config import CLOCK_SKEW_S, Settings
from gateway.engine.access_log import AccessLogs
from gateway.engine.custody import Custody, WrappingMode
from gateway.engine.delivery import Delivery, cursor_name
from gateway.engine.filling import Filler
from gateway.engine.integrity import EtagMode
from gateway.engine.jobs import Report, Tell
from gateway.engine.journal.backup import Backup
from gateway.engine.journal.chain import CatalogueBehind, Chain
from gateway.engine.journal.packs import PackReport, Packs
from gateway.engine.journal.runner import Journal
from gateway.engine.journal.synced import synced
from gateway.engine.journal.upload_wraps import UploadWraps
from gateway.engine.lifecycle import LifecycleRunner, Lifecycles
from gateway.engine.multipart import MultipartEngine
from gateway.engine.notifying import Announcements
from gateway.engine.objects import ObjectEngine
from gateway.engine.opening import BlobOpener
from gateway.engine.retaining import retaining
from gateway.engine.sealing import BlobWriter
from gateway.engine.sweep import Sweeper
from gateway.http.app import make_app
from gateway.http.endpoint import Endpoint, EndpointSettings
from gateway.http.hosts import AcceptedHosts
from gateway.moving.endpoint import Patience
from gateway.moving.jobs import Moves
from gateway.moving.through import ReadThrough
from gateway.operations.context import Services
from gateway.operations.cursors import SealedCursors
from gateway.operations.table import OPERATIONS
from gateway.s3.lifecycle import Age
from gateway.s3.sigv4.presentation import SignatureSettings
from gateway.telemetry import Telemetry
from gateway.wiring.backing_up import back_up
from gateway.wiring.canary import CanaryWatch
from gateway.wiring.folders import Folders
from gateway.wiring.jobs import Job, running
from gateway.wiring.journalling import LOOK_S, Journalling
from gateway.wiring.key_generations import Generations
from gateway.wiring.key_life import KeyLife
from gateway.wiring.keyring_watch import KeyringWatch
from gateway.wiring.kms import prove_others, provider_canaries, tell_experiments
from gateway.wiring.moves import MoveCommands
from gateway.wiring.realm import OpenedKeys, RealmFiles, open_keys
from gateway.wiring.records import record_blobs
from gateway.wiring.stores import Stores, open_stores, utc_now
from gateway.wiring.webhooks import open_webhooks
from keys.errors import CanaryFailed, KeysError
from keys.keyring import Keyring
from keys.kms.routing import RoutingKms, local_kms, providers_of
from keys.realm import RealmKeys
from keys.recovery import Recipients
from storage.catalogue.commands import Change, Lease
from storage.errors import LeaseLost, StorageError

HASHING_THREADS: Final = 2
"""MD5 and SHA-256 release the interpreter lock; more threads than cores gain nothing."""
BUCKET_KEY_AGE_S: Final = 24 * 3600.0
"""A bucket key is replaced by a fresh one daily; old ones go on opening what they wrapped."""
_CACHE_SWEEP_S: Final = 30.0
_DELIVERY_PAUSE_S: Final = 1.0
"""Between two looks for notifications that wait."""
_LOG_LOOK_S: Final = 0.25
"""How often it is looked whether many lines of access logs wait."""
_LONE_HOLDER: Final = "owner"
"""Where the owner lock lets one process in, a lease that a killed one left is simply taken up again."""

_log = logging.getLogger(__name__)


class Gateway:
    """Everything of one realm, opened and joined; made by `open_gateway`."""

    def __init__(self, settings: Settings, opened: OpenedKeys, stores: Stores, hashing_pool: Executor) -> None:
        realm_keys, realm_id = opened.realm_keys, opened.realm.realm_id
        self.settings = settings
        self.opened = opened
        self.ended_by: CanaryFailed | CatalogueBehind | None = None
        """Why nothing more may be sealed or acknowledged, and the process ends."""
        self._holder = holder_name() if settings.catalogue == "postgres" else _LONE_HOLDER
        records = record_blobs(opened, stores.blobs)
        self.telemetry = Telemetry(_name_key(realm_keys), with_names=settings.log_names)
        webhooks = open_webhooks(settings)
        self.journal = Journal(
            catalogue=stores.catalogue,
            chain=Chain(records),
            holder=self._holder,
            clock=utc_now,
            readers=tuple(map(cursor_name, webhooks)),
            observe=self.telemetry.journal_lag.set,
            carry=self._carry,
        )
        self._packs = Packs(
            catalogue=stores.catalogue, records=records, settle=self.journal.settle, holder=self._holder
        )
        if settings.journal == "sync":
            stores = replace(stores, catalogue=synced(stores.catalogue, self.journal.settle))
        stores = replace(stores, catalogue=retaining(stores.catalogue, stores.blobs))
        self.stores = stores
        self.journalling = Journalling(
            catalogue=stores.catalogue,
            journal=self.journal,
            realm_id=realm_id,
            clock=utc_now,
            snapshot_interval_s=settings.snapshot_interval_s,
            anchor=settings.anchor,
            on_behind=self._end_behind,
        )
        self.telemetry.watch_catalogue(stores.catalogue.statistics)
        self.telemetry.watch_disks(opened.folders.on_disks)
        for provider in providers_of(opened.kms):
            provider.watch.observe = self.telemetry.kms_called
        self.keyring = Keyring(
            opened.kms, time.monotonic, deadline_s=settings.kms_deadline_s, cache_ttl_s=settings.key_cache_s
        )
        custody = Custody(
            self.keyring,
            realm_id,
            WrappingMode(settings.wrapping),
            time.monotonic,
            BUCKET_KEY_AGE_S,
            Recipients(opened.realm.recipients),
        )
        writer = BlobWriter(
            blobs=stores.blobs,
            realm_id=realm_id,
            description_key=realm_keys.description_key.material(),
            hashing_pool=hashing_pool,
            inline_max_bytes=settings.inline_max_bytes,
        )
        opener = BlobOpener(
            blobs=stores.blobs,
            custody=custody,
            realm_id=realm_id,
            read_ahead_bytes=settings.read_ahead_bytes,
            read_budget_bytes=settings.read_budget_bytes,
        )
        etag_mode = EtagMode(settings.etag)
        patience = Patience(settings.source_least_bytes_s)
        self.through = ReadThrough(
            stores.catalogue,
            settings.read_through_streams,
            settings.read_through_account_percent,
            settings.read_through_wait_s,
            patience,
        )
        objects = ObjectEngine(
            catalogue=stores.catalogue,
            custody=custody,
            writer=writer,
            opener=opener,
            etag_mode=etag_mode,
            clock=utc_now,
            through=self.through,
        )
        multipart = MultipartEngine(
            catalogue=stores.catalogue,
            custody=custody,
            writer=writer,
            objects=objects,
            etag_mode=etag_mode,
            clock=utc_now,
        )
        self._access_logs = AccessLogs(
            catalogue=stores.catalogue, objects=objects, region=settings.region, clock=utc_now
        )
        announcements = Announcements(stores.catalogue, settings.region, webhooks)
        self._deliveries = [
            Delivery(
                catalogue=stores.catalogue,
                webhook=webhook,
                holder=self._holder,
                clock=utc_now,
                patience=timedelta(seconds=settings.webhook_patience_s),
                count=self.telemetry.notified,
            )
            for webhook in webhooks.values()
        ]
        lifecycles = Lifecycles(stores.catalogue, Age(settings.lifecycle_day_s))
        self.services = Services(
            catalogue=stores.catalogue,
            objects=objects,
            multipart=multipart,
            custody=custody,
            cursors=SealedCursors(realm_keys.cursor_key.material()),
            lifecycles=lifecycles,
            access_logs=self._access_logs,
            announcements=announcements,
            webhooks=webhooks,
            region=settings.region,
            max_buckets_per_account=settings.max_buckets_per_account,
            clock=utc_now,
        )
        self.moves = Moves()
        self._stop_publishing = writer.stop_publishing
        filler = Filler(catalogue=stores.catalogue, custody=custody, writer=writer, blobs=stores.blobs)
        self.move_commands = MoveCommands(self.services, self.moves, etag_mode, self._holder, filler, patience)
        self.identities = Identities(stores.catalogue, realm_keys.open_credential)
        self._sweeper = Sweeper(
            catalogue=stores.catalogue,
            blobs=stores.blobs,
            holder=self._holder,
            clock=utc_now,
            orphan_grace=timedelta(seconds=settings.orphan_grace_s),
            condemned_grace=timedelta(seconds=settings.condemned_grace_s),
            completed_upload_memory=timedelta(seconds=settings.completed_upload_memory_s),
        )
        self._sweeping = asyncio.Lock()
        self.hosts = AcceptedHosts(settings.hosts)
        """The names that a request may be for; the server adds those of its certificate."""
        self._lifecycle = LifecycleRunner(
            catalogue=stores.catalogue,
            lifecycles=lifecycles,
            announcements=announcements,
            holder=self._holder,
            clock=utc_now,
        )
        realm_files = RealmFiles(Folders.of(settings), opened.kms, opened.realm, deadline_s=settings.kms_deadline_s)
        self.key_life = KeyLife(
            opened=opened,
            stores=stores,
            keyring=self.keyring,
            custody=custody,
            writer=writer,
            realm_files=realm_files,
            holder=self._holder,
            clock=utc_now,
            rotation_age=timedelta(days=settings.key_rotation_days),
            opener=opener,
            objects=objects,
            packs=self._packs,
            generations=Generations(opened.folders.key_generations) if opened.folders.are_shared else None,
        )
        self._upload_wraps = UploadWraps(stores.catalogue, self.key_life.envelopes)
        self.canary = CanaryWatch(
            opened.kms,
            realm_files,
            self.telemetry,
            deadline_s=settings.kms_deadline_s,
            on_wrong=self._end,
            look_at_others=partial(provider_canaries(settings, opened.folders, realm_id).look_again, opened.kms),
        )
        local = local_kms(opened.kms)
        self.keyring_watch = (
            None
            if local is None
            else KeyringWatch(local.keyring, self.telemetry, writer.pause_publishing, self.key_life.notice)
        )
        self.app = make_app(
            Endpoint(
                OPERATIONS,
                self.services,
                self.identities,
                self.telemetry,
                _endpoint_settings(settings, self.hosts),
                utc_now,
            ),
            self.telemetry,
            lifespan=self._lifespan,
            max_requests=settings.max_requests,
        )

    async def sweep(
        self, *, dry_run: bool = False, accept_many_orphans: bool = False, max_pack_bytes: int | None = None
    ) -> dict[str, int]:
        """Sweep once; one at a time, and never over an old catalogue. Reads no more of packs than is said.

        Raises: StorageError.
        """
        async with self._sweeping:
            await self.journal.check()
            report = await self._sweeper.sweep(dry_run=dry_run, many_orphans_are_right=accept_many_orphans)
            try:
                packs = await self._packs.compact(report.packs, max_pack_bytes)
            except LeaseLost:
                packs = PackReport()  # another gateway writes some anew, or copies them
            reclaimed = await self.journalling.reclaim_parts(report.parts)
        counts = asdict(report)
        del counts["packs"], counts["parts"]
        return counts | packs.told() | {"reclaimed_part_count": reclaimed}

    async def verify(self, *, journal: bool = False, anchor: str | None = None) -> dict[str, int]:
        """Verify the whole catalogue, and hold it against its journal and an anchor where that is asked for.

        Raises: Damaged, naming the first row that fails, or what does not agree.
        """
        answer = {"verified_row_count": await self.stores.catalogue.verify()}
        if journal or anchor is not None:
            answer |= await self.journalling.verify(anchor)
        return answer

    async def backup(self, tell: Tell, folder: str, *, verify: bool) -> Report:
        """Bring a backup up to now, and with `verify` read all of it. Raises: StorageError, KeyringError."""
        stores, records = self.stores, self.journal.chain.records
        backup = Backup(catalogue=stores.catalogue, journal=self.journal, packs=self._packs)
        return await back_up(backup, self.opened.realm.realm_id, records, Path(folder), tell, verify=verify)

    async def _carry(self, changes: Sequence[Change], lease: Lease) -> None:
        await self._upload_wraps.carry(changes, lease)

    def _end_behind(self, behind: CatalogueBehind) -> None:
        """What would still be acknowledged goes with the old catalogue."""
        if self.ended_by is None:
            self.telemetry.alarm(type(behind).__name__, error=behind)
            self._end(behind)

    def _end(self, reason: CanaryFailed | CatalogueBehind) -> None:
        """Publish nothing more and drain, as for an operator; the command then ends with the code of the reason."""
        self.ended_by = reason
        self._stop_publishing(reason)
        signal.raise_signal(signal.SIGTERM)

    async def is_ready(self) -> bool:
        """Whether requests can be served now: keys proved, catalogue answering."""
        are_keys_kept = self.keyring_watch is None or self.keyring_watch.is_kept
        if self.ended_by is not None or not (self.canary.is_kms_right and are_keys_kept):
            return False
        try:
            await self.stores.catalogue.realm_id()
        except StorageError:
            return False
        return True

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Run the background jobs while the application stands."""
        settings, kms = self.settings, self.opened.kms
        jobs = (
            Job(settings.journal_interval_s, self.journalling.tend),
            Job(min(LOOK_S, settings.snapshot_interval_s), self.journalling.snapshot_if_due),
            *([] if settings.anchor is None else [Job(settings.anchor_interval_s, self.journalling.write_anchor)]),
            Job(settings.sweep_interval_s, self._sweep_quietly),
            Job(settings.lifecycle_interval_s, self._apply_lifecycles),
            Job(settings.import_resume_interval_s, self.move_commands.resume),
            Job(settings.access_log_interval_s, self._write_access_logs),
            Job(_LOG_LOOK_S, self._write_many_access_logs),
            *(Job(_DELIVERY_PAUSE_S, delivery.run) for delivery in self._deliveries),
            Job(_CACHE_SWEEP_S, self._forget_keys),
            Job(settings.canary_interval_s, self.canary.ask),
            *([Job(settings.key_watch_interval_s, self.key_life.look)] if self.opened.folders.are_shared else []),
            Job(settings.key_rotation_interval_s, self.key_life.rotate_old_keys),
            *((Job(settings.kms_probe_interval_s, kms.probe),) if isinstance(kms, RoutingKms) else ()),
            *([] if (watch := self.keyring_watch) is None else [Job(settings.kms_probe_interval_s, watch.look)]),
        )
        await self.key_life.begin()
        await self._write_access_logs()
        async with running(jobs):
            yield
        await self.key_life.jobs.stop()
        await self._write_access_logs()
        await self.journalling.end()

    async def _sweep_quietly(self) -> None:
        try:
            report = await self.sweep(max_pack_bytes=self.settings.pack_scan_bytes)
        except LeaseLost:
            _log.debug("another gateway sweeps")
        except (StorageError, KeysError) as error:
            _log.warning("the sweep did not end: %s", error)
        else:
            _log.info("swept: %s", " ".join(f"{name}={count}" for name, count in report.items()))

    async def _apply_lifecycles(self) -> None:
        try:
            report = asdict(await self._lifecycle.run(lambda so_far: self.telemetry.lifecycle_progress(asdict(so_far))))
        except LeaseLost:
            _log.debug("another gateway applies lifecycle rules")
        except StorageError as error:
            _log.warning("the lifecycle run did not end: %s", error)
        else:
            if report["bucket_count"]:
                _log.info("lifecycle rules applied: %s", " ".join(f"{name}={count}" for name, count in report.items()))

    async def _write_access_logs(self) -> None:
        await self._tend_access_logs(self._access_logs.refresh, self._access_logs.write)

    async def _write_many_access_logs(self) -> None:
        await self._tend_access_logs(self._access_logs.write_early)

    async def _tend_access_logs(self, *steps: Callable[[], Awaitable[object]]) -> None:
        for step in steps:
            try:
                await step()
            except (StorageError, KeysError) as error:
                _log.warning("access logs were not written: %s", error)
        self.telemetry.lost_log_lines.set(self._access_logs.lost_count)

    async def _forget_keys(self) -> None:
        self.keyring.forget_expired()


def holder_name() -> str:
    """What leases call this process, and no other one: not even the one that has its number after it."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(8)}"


def _endpoint_settings(settings: Settings, hosts: AcceptedHosts) -> EndpointSettings:
    return EndpointSettings(
        region=settings.region,
        domains=settings.domains,
        hosts=hosts,
        max_document_bytes=settings.max_document_bytes,
        body_memory_bytes=settings.body_memory_bytes,
        body_memory_account_percent=settings.body_memory_account_percent,
        body_memory_wait_s=settings.body_memory_wait_s,
        account_requests=max(1, settings.max_requests * settings.max_requests_account_percent // 100),
        signatures=SignatureSettings(max_skew_s=CLOCK_SKEW_S, presigned_v2=settings.presigned_v2),
    )


def _name_key(realm_keys: RealmKeys) -> bytes:
    """Keys the ids that stand for object names in logs: stable for a realm, so that lines of two days can be joined."""
    return hmac.digest(realm_keys.cursor_key.material(), b"sealgate/log-names/v1", "sha256")


@asynccontextmanager
async def open_gateway(settings: Settings, folders: Folders) -> AsyncIterator[Gateway]:
    """Open everything, in order, and close it in the reverse.

    Raises:
        KeysError, StorageError: one line that says what cannot be used.
    """
    opened = await open_keys(settings, folders)
    try:
        tell_experiments(opened.kms)
        await prove_others(opened.kms)
        stores = await open_stores(folders, opened.realm_keys)
        try:
            with ThreadPoolExecutor(HASHING_THREADS, thread_name_prefix="hashing") as hashing_pool:
                gateway = Gateway(settings, opened, stores, hashing_pool)
                try:
                    yield gateway
                finally:
                    await gateway.moves.close()
                    gateway.through.close()
                    gateway.key_life.end()
        finally:
            await stores.close()
    finally:
        await opened.kms.close()
