"""The life cycle of wrapping keys, joined: what moves wraps, what scans for them, and the KMS whose keys they are."""

import asyncio
import gc
import logging
import secrets
from collections.abc import Callable, Container
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from gateway.engine.custody import Custody
from gateway.engine.envelopes import EnvelopesBlobs
from gateway.engine.exposure import Exposure
from gateway.engine.incident import Incident, IncidentReport
from gateway.engine.jobs import JobRunner, Tell
from gateway.engine.journal.packs import Packs
from gateway.engine.objects import ObjectEngine
from gateway.engine.opening import BlobOpener
from gateway.engine.resealing import Destroyer, Resealer
from gateway.engine.rewrap import LeakedVersions, MoveToCurrent, Rewrapper, RewrapReport, Under
from gateway.engine.sealing import BlobWriter
from gateway.engine.shredding import Scope, Shredder
from gateway.wiring.key_generations import Generations
from gateway.wiring.realm import OpenedKeys, RealmFiles
from gateway.wiring.stores import Stores
from keys.errors import KeysError
from keys.keyring import Keyring
from keys.kms.base import Kms
from keys.kms.routing import local_kms
from keys.recovery import Recipient
from keys.signing import RECORD_FORMAT, public_key_of, sign_record
from storage.catalogue.records import Bucket
from storage.errors import StorageError

NOT_REACHED: Final = (
    "backups and copies of the catalogue, of the blob store and of the keys, made before",
    "blobs that the store keeps under a lock or as older versions: remaining_blobs names those it refused to delete",
    "packs of the journal that do not open (damaged_pack_count), and one that another gateway was about to write",
    "envelopes blobs that do not open (damaged_envelopes_count)",
    "what was deleted, overwritten or aborted before, which the sweep deletes when condemned_grace_s is over",
    "packs that a backup kept where they are (unread_pack_count): shred again",
    "free space of the catalogue file, its log and the disk, until it is written over",
    "copies for recovery recipients in any of these",
)
PATIENCE_S: Final = 60.0
"""How long other gateways, and writes under way, are waited for."""
_POLL_S: Final = 0.2
_log = logging.getLogger(__name__)


class KeyLife:
    """Jobs over the wrapping keys of one realm."""

    def __init__(
        self,
        *,
        opened: OpenedKeys,
        stores: Stores,
        keyring: Keyring,
        custody: Custody,
        writer: BlobWriter,
        realm_files: RealmFiles,
        holder: str,
        clock: Callable[[], datetime],
        rotation_age: timedelta,
        opener: BlobOpener,
        objects: ObjectEngine,
        packs: Packs,
        generations: Generations | None = None,
    ) -> None:
        """`generations` are given where several gateways may share the realm."""
        self.kms: Kms = opened.kms
        self.jobs = JobRunner()
        self._keyring = keyring
        self._custody = custody
        self._clock = clock
        self._rotation_age = rotation_age
        self._realm_files = realm_files
        self._realm_keys = opened.realm_keys
        self.envelopes = EnvelopesBlobs(
            catalogue=stores.catalogue,
            blobs=stores.blobs,
            writer=writer,
            realm_keys=opened.realm_keys,
            root=realm_files.root_part,
            clock=clock,
        )
        self._rewrapper = Rewrapper(
            catalogue=stores.catalogue,
            blobs=stores.blobs,
            writer=writer,
            custody=custody,
            envelopes=self.envelopes,
            realm=realm_files,
            holder=holder,
            renew=self.key_changed,
            behind=lambda: 0 if generations is None else generations.behind_count(),
        )
        self._generations = generations
        destroyer = Destroyer(stores.catalogue, stores.blobs, clock)
        self._resealer = Resealer(
            catalogue=stores.catalogue,
            custody=custody,
            writer=writer,
            opener=opener,
            objects=objects,
            blobs=stores.blobs,
            destroyer=destroyer,
            lease=self._rewrapper.lease,
        )
        self._catalogue = stores.catalogue
        self._shredder = Shredder(
            catalogue=stores.catalogue,
            resealer=self._resealer,
            rewrapper=self._rewrapper,
            envelopes=self.envelopes,
            packs=packs,
            destroyer=destroyer,
            clock=clock,
        )
        self._incident = Incident(
            catalogue=stores.catalogue,
            exposure=Exposure(
                catalogue=stores.catalogue,
                blobs=stores.blobs,
                custody=custody,
                envelopes=self.envelopes,
                realm_id=opened.realm_keys.realm_id,
            ),
            resealer=self._resealer,
            rewrapper=self._rewrapper,
            destroyer=destroyer,
            packs=packs,
        )

    async def rewrap(
        self,
        source: str | None = None,
        to: str | None = None,
        *,
        rate_per_s: float | None = None,
        patience_s: float = 60.0,
        tell: Tell = lambda _: None,
    ) -> RewrapReport:
        """Move wraps; see `Rewrapper.rewrap`. Keys are named by their ids."""
        aim = MoveToCurrent(self._keyring, self._custody.recipients, source, to)
        return await self._rewrapper.rewrap(
            aim, rate_per_s=rate_per_s, patience_s=patience_s, progress=lambda report: tell(asdict(report))
        )

    async def scan(self, kms_key_id: str, version: str | None = None, tell: Tell = lambda _: None) -> RewrapReport:
        """Count what lies under a key or one version of it."""
        return await self._rewrapper.scan(Under(kms_key_id, version), progress=lambda report: tell(asdict(report)))

    async def shred(self, scope: Scope, tell: Tell) -> dict[str, Any]:
        """Destroy what a scope names; the counts, and the signed record of it. See `Shredder.shred`."""
        began_at = self._clock()
        report = await self._shredder.shred(scope, lambda so_far: tell(so_far.told()))
        self.forget_keys()
        record = sign_record(
            self._realm_keys,
            {
                "format": RECORD_FORMAT,
                "version": 1,
                "record_id": secrets.token_hex(16),
                "realm_id": self._realm_keys.realm_id.hex(),
                "began_at": began_at.isoformat(),
                "ended_at": self._clock().isoformat(),
                "buckets": [bucket.name for bucket in scope.buckets],
                "prefix": scope.prefix.decode("utf-8", "backslashreplace"),
                "counts": report.told(),
                "destroyed": report.destroyed,
                "remaining_blobs": report.remaining_blobs,
                "not_reached": list(NOT_REACHED),
                "recovery_recipients": [each.recipient_id.hex() for each in self.recipients],
            },
        )
        left = report.present_count + report.remaining_blob_count + report.unread_pack_count
        return report.told() | {"left_count": left, "record": record}

    async def signing_key(self) -> str:
        """The public key that records are checked with."""
        return public_key_of(self._realm_keys)

    async def find_buckets(self, account: str | None, bucket: str | None) -> tuple[Bucket, ...]:
        """The bucket of that name, or all of an account. Raises: NoSuchBucket, NoSuchAccount."""
        if bucket is not None:
            return (await self._catalogue.get_bucket(bucket),)
        owner = await self._catalogue.get_account_by_name(account or "")
        return await self._catalogue.list_buckets(owner.account_id)

    async def reseal_leaked(
        self, kms_key_id: str, versions: Container[str], *, abort_uploads: bool, tell: Tell, patience_s: float = 60.0
    ) -> IncidentReport:
        """Seal anew all that lies under these versions of a key; see `Incident.run`."""
        return await self._incident.run(
            LeakedVersions(kms_key_id, versions),
            abort_uploads=abort_uploads,
            patience_s=patience_s,
            progress=lambda report: tell(asdict(report)),
        )

    @property
    def recipients(self) -> tuple[Recipient, ...]:
        """Who gets a recovery copy of every key."""
        return self._realm_files.recipients

    async def set_recipients(self, recipients: tuple[Recipient, ...]) -> None:
        """Let these be the recovery recipients: of the root now, of every new key from now on. Raises: KeysError."""
        await self._realm_files.set_recipients(recipients, self._realm_keys)
        await self.key_changed()

    async def key_changed(self) -> None:
        """A wrapping key, its state, the default or the recipients changed: make nothing more under what was before.

        Other gateways are told, and notice within `key_watch_interval_s`.
        """
        if self._generations is not None:
            self._generations.begin()
        await self._take_over()

    async def begin(self) -> None:
        """Before this gateway makes its first key: be counted, then know what is so now. Raises: KeyringError."""
        if self._generations is not None:
            self._generations.join(max(self._generations.newest(), 1), lambda: True)
            await self._take_over()

    async def look(self) -> None:
        """Notice what another gateway changed. Raises: KeyringError where it cannot be taken over."""
        if self._generations is not None:
            if self._generations.newest() > self._generations.current:
                _log.info("another gateway changed wrapping keys or recipients: taken over")
                await self.notice()
            if self._generations.is_draining:
                gc.collect()  # a write that failed may be held by its own traceback
                self._generations.tidy()

    async def notice(self) -> None:
        """Take over what somebody else changed: nothing that was unwrapped before is believed any more."""
        await self._take_over()
        self._keyring.forget_all()

    def end(self) -> None:
        """Nothing more is made: no other gateway need wait for this one. A command that ran here ends so as well."""
        if self._generations is not None:
            self._generations.close()

    async def _take_over(self) -> None:
        """Read keyring and realm file anew where others may change them, and make nothing more as before."""
        generations = self._generations
        number = 0 if generations is None else generations.newest()
        if generations is not None:
            local = local_kms(self.kms)
            if local is not None:
                local.keyring.check_kept()
            self._realm_files.read_again(self._realm_keys)
        self._custody.recipients.set(self._realm_files.recipients)
        await self._custody.renew()
        if generations is not None:
            before = self._custody.made_so_far()
            generations.join(number, lambda: not before)

    def forget_keys(self) -> None:
        """Let every key that was unwrapped be asked for again."""
        self._keyring.forget_all()

    async def wait_for_others(self) -> None:
        """Wait until no other gateway makes keys under what was before; for some time at most."""
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        while self._generations is not None and self._generations.behind_count():
            if asyncio.get_running_loop().time() > deadline:
                return
            await asyncio.sleep(_POLL_S)

    async def rotate_old_keys(self) -> None:
        """Give every enabled local key whose newest version is older than the settings say a new one, and rewrap.

        A KMS elsewhere rotates its keys by its own schedule; what moves there is moved here by the rewrap alone.
        """
        found = local_kms(self.kms)
        if not self._rotation_age or found is None:
            return
        local = found.keyring
        for kms_key_id in local.kms_key_ids:
            key = local.find(kms_key_id)
            if key.state.is_usable and self._clock() - key.newest.created_at.astimezone(UTC) >= self._rotation_age:
                local.rotate_key(kms_key_id)
                _log.warning("wrapping key %s was rotated by its age: back the keys folder up", kms_key_id)
                await self.key_changed()
        try:
            job = self.jobs.start("rotate by age", self._rewrap_all)
        except StorageError:
            return  # somebody's own job runs: the next round comes back to it
        await self.jobs.wait(job)
        if isinstance(job.error, KeysError | StorageError):
            _log.warning("the rewrap did not end: %s", job.error)
        elif job.report.get("moved_count"):
            _log.info("rewrapped: %s", " ".join(f"{name}={count}" for name, count in job.report.items()))

    async def _rewrap_all(self, tell: Tell) -> dict[str, float]:
        return asdict(await self.rewrap(tell=tell))
