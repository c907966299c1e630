"""Long jobs over wrapping keys, by name: started, asked after and stopped through the control socket, or run here."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any

from gateway.cli.control import Answer
from gateway.cli.exits import CommandError, Exit, exit_of
from gateway.cli.wrapping_keys import WrappingKeys
from gateway.engine.jobs import JobState, Report, StartedJob, Tell
from gateway.engine.rewrap import RewrapReport, VersionsUpTo
from gateway.engine.shredding import Scope
from gateway.wiring.key_life import KeyLife
from keys.keyring_file import LocalKey
from keys.kms.base import KeyDescription, KeyState

_POLL_S = 0.2
_COUNTED = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)
"""A version that is a number; one of Azure Key Vault is 32 hexadecimal digits, drawn at random."""
_READERS_S = 1.0
"""Requests that read a row before its wrap moved have asked the KMS by then."""
NOT_REPLACED = (
    "the realm root was wrapped anew, not replaced: whoever has the leaked key and a realm.json or envelopes blob from"
    " before reads names, metadata and secret access keys, new ones too while he can read the data folder, and forges"
    " rows and recovery recipients if he can write there; make new access keys now, and see docs/KEYS.md, Incident, for"
    " when the buckets are to be copied into a new deployment"
)


class KeyJobs:
    """The jobs of one gateway."""

    def __init__(
        self, life: KeyLife, wrapping_keys: WrappingKeys, others: Mapping[str, Callable[..., Awaitable[Report]]]
    ) -> None:
        """`others` are jobs by name that have nothing to do with keys, and run by the same rules."""
        self._life = life
        self._keys = wrapping_keys
        self._kinds: dict[str, Callable[..., Awaitable[Report]]] = {
            "rewrap": self._rewrap,
            "disable": self._disable,
            "retire": self._retire,
            "incident": self._incident,
            "shred": self._shred,
            **others,
        }

    async def start(self, kind: str, arguments: dict[str, Any]) -> Answer:
        """Begin a job and say how it is called. Raises: CommandError, JobRuns."""
        return _told(self._start(kind, arguments))

    async def status(self, job_id: str) -> Answer:
        """How a job stands; one that failed is told by its error. Raises: CommandError, and whatever the job did."""
        job = self._life.jobs.find(job_id)
        if job is None:
            raise CommandError("the gateway knows no such job: it was started anew since", Exit.BUSY)
        return _told(job)

    async def stop(self) -> Answer:
        """End the job that runs, between two of its steps."""
        await self._life.jobs.stop()
        return {}

    async def run(self, kind: str, arguments: dict[str, Any], tell: Callable[[Answer], None]) -> Answer:
        """Run a job to its end, where nobody serves. Raises: as `status`."""
        job = self._start(kind, arguments)
        waiting = asyncio.ensure_future(self._life.jobs.wait(job))
        while not waiting.done():
            await asyncio.wait([waiting], timeout=_POLL_S)
            tell(dict(job.report))
        report: Answer = _told(job)["report"]
        return report

    def _start(self, kind: str, arguments: dict[str, Any]) -> StartedJob:
        if kind not in self._kinds:
            raise CommandError("the gateway does not know this job: is it of the same version?", Exit.USAGE)
        return self._life.jobs.start(kind, lambda tell: self._kinds[kind](tell=tell, **arguments))

    async def _rewrap(
        self, tell: Tell, key: str | None = None, to: str | None = None, rate_per_s: float | None = None
    ) -> Report:
        source = None if key is None else (await self._keys.described(key)).kms_key_id
        target = None if to is None else (await self._keys.described(to)).kms_key_id
        return asdict(await self._life.rewrap(source, target, rate_per_s=rate_per_s, tell=tell))

    async def _disable(self, tell: Tell, key: str, version: int | None = None, force: bool = False) -> Report:
        if not force:
            await self._check_not_default(key, version)
        return await self._take(tell, key, version, KeyState.DISABLED, force=force)

    async def _retire(self, tell: Tell, key: str, version: int | None = None, destroy: bool = False) -> Report:
        await self._check_not_default(key, version)
        return await self._take(tell, key, version, KeyState.DESTROYED if destroy else KeyState.PENDING_DELETION)

    async def _incident(self, tell: Tell, key: str, version: int | None = None, abort_uploads: bool = False) -> Report:
        """The whole of a compromise. Versions up to `version` leaked; without it, all that there are now."""
        described = await self._keys.described(key)
        kms_key_id, local_key = described.kms_key_id, self._keys.find_local(described.kms_key_id)
        if local_key is None:
            leaked_until = _leaked_elsewhere(described, version)
        else:
            leaked_until = local_key.newest.version if version is None else local_key.version(version).version
            if leaked_until == local_key.newest.version and local_key.state.is_usable:
                await self._keys.rotate_key(kms_key_id)
        await self._life.key_changed()  # bucket keys that lie under the old version wrap nothing more
        leaked = VersionsUpTo(leaked_until)
        done = await self._life.reseal_leaked(kms_key_id, leaked, abort_uploads=abort_uploads, tell=tell)
        report: dict[str, Any] = asdict(done) | {"key_id": kms_key_id, "leaked_until_version": leaked_until}
        report["not_replaced"] = NOT_REPLACED
        if done.left_count:
            again = f"sealgate key incident {kms_key_id} --version {leaked_until}"
            return report | {"disabled_versions": [], "next_step": f"see what is left, then run `{again}`"}
        await asyncio.sleep(_READERS_S)
        if local_key is None:
            self._life.forget_keys()
            off: list[int] = []
            report["next_step"] = (
                f"in its KMS, let nothing be decrypted with version {leaked_until} or an older one any more"
            )
        else:
            off = self._switch_off(kms_key_id, leaked)
            await self._life.key_changed()
            self._life.forget_keys()
        return report | {"disabled_versions": off}

    def _switch_off(self, kms_key_id: str, leaked: VersionsUpTo) -> list[int]:
        """Disable those of a local key's versions that leaked and are on; all are off where the key itself is."""
        keyring = self._keys.local().keyring
        key = keyring.find(kms_key_id)
        versions = key.versions if key.state.is_usable else ()
        off = [each.version for each in versions if str(each.version) in leaked and each.state.is_usable]
        for version in off:
            keyring.set_key_state(kms_key_id, KeyState.DISABLED, version)
        return off

    async def _shred(
        self,
        tell: Tell,
        bucket: str | None = None,
        account: str | None = None,
        prefix: str = "",
        object_key: str | None = None,
        version_id: str | None = None,
    ) -> Report:
        if (bucket is None) == (account is None):
            raise CommandError("name the bucket or the account that is to be shredded, not both", Exit.USAGE)
        named = None if object_key is None else object_key.encode("utf-8")
        buckets = await self._life.find_buckets(account, bucket)
        return await self._life.shred(Scope(buckets, prefix.encode("utf-8"), named, version_id), tell)

    async def signing_key(self) -> Answer:
        """What `key verify-record` checks with."""
        return {"public_key": await self._life.signing_key()}

    async def _take(self, tell: Tell, key: str, version: int | None, state: KeyState, *, force: bool = False) -> Report:
        """Take a key or a version out of use where a scan proves that nothing lies under it; look again after."""
        local_key = await self._keys.local_key(key)
        keyring = self._keys.local().keyring
        before = local_key.state if version is None else local_key.version(version).state
        if not force:
            _check_none_left(local_key, version, await self._scan(tell, local_key, version))
        # What was being written or read meanwhile is looked for again, before anything is destroyed.
        keyring.set_key_state(local_key.kms_key_id, KeyState.DISABLED, version)
        self._life.forget_keys()
        if version is None:  # under an older version nobody makes keys who noticed the rotation, as the scan proves
            await self._life.key_changed()
            await self._life.wait_for_others()
            if not force:
                await self._check_still_not_default(local_key, before)
        report = await self._scan(tell, local_key, version)
        if not force and report.left_count:
            keyring.set_key_state(local_key.kms_key_id, before, version)
            await self._life.key_changed()
            _check_none_left(local_key, version, report)
        if state is not KeyState.DISABLED:
            keyring.set_key_state(local_key.kms_key_id, state, version)
        await self._life.key_changed()
        return asdict(report) | {
            "key_id": local_key.kms_key_id,
            "version": version,
            "state": state.value,
        }

    async def _check_not_default(self, key: str, version: int | None) -> None:
        local_key = await self._keys.local_key(key)
        if version is None and local_key.kms_key_id == (await self._keys.kms.describe(None)).kms_key_id:
            raise CommandError(
                "it is the default key: make another the default one (`sealgate key default`), or give a version"
            )

    async def _check_still_not_default(self, key: LocalKey, before: KeyState) -> None:
        """Somebody may have made it the default one during the scan; once it is off nobody can."""
        try:
            await self._check_not_default(key.kms_key_id, None)
        except CommandError:
            self._keys.local().keyring.set_key_state(key.kms_key_id, before)
            await self._life.key_changed()
            raise

    async def _scan(self, tell: Tell, key: LocalKey, version: int | None) -> RewrapReport:
        return await self._life.scan(key.kms_key_id, None if version is None else str(version), tell)


def _leaked_elsewhere(described: KeyDescription, version: int | None) -> int:
    """The newest version that leaked of a key of another KMS, which has a newer one by now. Raises: CommandError."""
    if not _COUNTED.fullmatch(described.version):
        raise CommandError(
            "its KMS does not count the versions of this key, so that older ones cannot be told from newer: make"
            " another key, let it be the default and that of buckets, and copy each object onto itself"
        )
    newest = int(described.version)
    leaked_until = newest if version is None else version
    if not 0 < leaked_until < newest:
        again = f"sealgate key incident {described.kms_key_id} --version {min(leaked_until, newest)}"
        raise CommandError(f"it is rotated in its KMS: let it have a version above {newest}, then run `{again}`")
    return leaked_until


def _check_none_left(key: LocalKey, version: int | None, report: RewrapReport) -> None:
    if report.behind_count and report.behind_count == report.left_count:
        raise CommandError("another gateway has not noticed yet, or has a write under way: run it again", Exit.BUSY)
    if report.left_count:
        locked = f", {report.locked_count} of them of versions under a lock" if report.locked_count else ""
        # A rewrap moves what older versions wrapped to the newest one of the key, and never to another key unasked.
        move = "sealgate key rewrap" if version is not None else f"sealgate key rewrap {key.kms_key_id} --to OTHER"
        raise CommandError(f"{report.left_count} records are left under {key.kms_key_id}{locked}: run `{move}` first")


def _told(job: StartedJob) -> Answer:
    """A job as an answer. Raises: what it failed of."""
    if job.state is JobState.STOPPED:
        raise CommandError("the job was stopped: start it again, it goes on where it was", Exit.BUSY)
    if job.error is not None:
        if exit_of(job.error) is None:
            raise RuntimeError("a job failed unexpectedly") from job.error
        raise job.error
    return {"job_id": job.job_id, "kind": job.kind, "state": job.state.value, "report": dict(job.report)}
