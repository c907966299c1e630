"""Keyring and catalogue: whether the keys open, wrap and unwrap, and whose the catalogue is.

A gateway that serves is asked through its control socket; where none does, files are read and none is written.
"""

import os
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Final

from gateway.cli.bootstrap import is_first_start, is_untouched
from gateway.cli.check.report import Report, split
from gateway.cli.control import ask_gateway
from gateway.cli.exits import CommandError, Exit
from gateway.config import Settings
from gateway.wiring.folders import Folders
from gateway.wiring.kms import EXPERIMENTAL, ProviderCanaries, provider_canaries, remote_kms
from gateway.wiring.realm import OpenedKeys, open_keys
from gateway.wiring.stores import (
    check_same_realm,
    check_shareable,
    lacks_of,
    look_at_places,
    open_blobs,
    peek_catalogue,
)
from keys.context import Purpose, WrapContext
from keys.datakey import DataKey
from keys.deadline import within
from keys.errors import CanaryFailed
from keys.kms.base import Kms
from keys.kms.binding import RecordKms
from keys.kms.routing import LOCAL_PROVIDER, RoutingKms, providers_of
from keys.safe_files import read_private_file

_MAX_ENV_BYTES: Final = 64 * 1024


def ask_served(report: Report, folders: Folders) -> bool:
    """Tell whether a gateway serves the folder, and what it says of itself."""
    if not folders.data.is_dir():
        report.ok("gateway", "none serves yet")
        return False
    try:
        status = ask_gateway(folders.data, "status", {})
    except CommandError as error:
        if error.code is Exit.USAGE:
            report.warn("gateway", "one of another version serves", "restart it after an update")
            return True
        found, remedy = split(str(error))
        report.fail("gateway", found, remedy, error.code)
        return True
    if status is None:
        holder = _lock_holder(folders.data)
        if holder is not None:
            report.warn("gateway", f"process {holder} works on {folders.data}", "wait until it has ended")
            return True
        report.ok("gateway", "none serves now")
        return False
    if status["version"] != installed_version("sealgate"):
        report.warn("gateway", f"version {status['version']} serves", "restart it to serve what is installed")
    if status["is_ready"]:
        report.ok("gateway", f"process {status['pid']} serves and is ready")
    else:
        report.fail(
            "gateway", f"process {status['pid']} is not ready", "see its log: KMS or catalogue is away", Exit.BUSY
        )
    return True


def _lock_holder(folder: Path) -> str | None:
    """The process that holds the folder's lock, as the kernel lists it: to try the lock would keep a start out."""
    try:
        locks = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return None
    about = folder.stat()
    wanted = f"{os.major(about.st_dev):02x}:{os.minor(about.st_dev):02x}:{about.st_ino}"
    rows = (line.split() for line in locks)
    return next((row[4] for row in rows if row[1] == "FLOCK" and row[5] == wanted), None)


async def check_realm(report: Report, settings: Settings, folders: Folders, *, is_served: bool) -> None:
    """Open the keys, have them wrap and unwrap, and hold the catalogue against them."""
    if not folders.data.is_dir() and not folders.keys.is_dir():
        await _check_before_the_first(report, settings, folders)
        return
    before = report.counts()["failed"]
    is_first = True
    with report.failing("folders"):
        is_first = is_first_start(folders)
    if report.counts()["failed"] != before:
        return
    if is_first:
        await _check_before_the_first(report, settings, folders)
        return
    if folders.client_env.exists():
        with report.failing("client.env"):
            read_private_file(folders.client_env, _MAX_ENV_BYTES)
            report.ok("client.env", f"{folders.client_env} is ours alone")
    what = "keyring" if settings.kms == LOCAL_PROVIDER else f"kms {settings.kms}"
    with report.failing(what):
        opened = await open_keys(settings, folders)
        try:
            await _round_trip(settings, opened)
            mark = f"; {EXPERIMENTAL}" if providers_of(opened.kms)[0].is_experimental else ""
            report.ok(what, f"it opens, the canary is right, and a key wraps and unwraps{mark}")
            canaries = provider_canaries(settings, folders, opened.realm.realm_id)
            await _look_at_others(report, opened.kms, canaries)
            if not is_served:
                await _check_stores(report, folders, opened)
        finally:
            await opened.kms.close()


async def _check_before_the_first(report: Report, settings: Settings, folders: Folders) -> None:
    """What there is of KMSs before the first start, or while one has not ended."""
    if settings.kms == LOCAL_PROVIDER:
        report.ok("keyring", "none yet, or a start has not ended: the next one makes what is missing")
    if is_untouched(folders) and (folders.database is not None or folders.bucket is not None):
        with report.failing("stores"):
            await look_at_places(folders)
            report.ok("stores", "what is not on this disk can be used, and is no other realm's")
    if settings.kms_file is None:
        return
    for provider in remote_kms(settings, folders):
        with report.failing(f"kms {provider.provider}"):
            try:
                await within(settings.kms_deadline_s, provider.prove())
                report.ok(f"kms {provider.provider}", _found(provider))
            finally:
                await provider.close()


def _found(kms: RecordKms) -> str:
    text = "it answers, and its default key wraps and unwraps"
    return f"{text}; {EXPERIMENTAL}" if kms.is_experimental else text


async def _look_at_others(report: Report, kms: Kms, canaries: ProviderCanaries) -> None:
    for route in kms.routes[1:] if isinstance(kms, RoutingKms) else ():
        if route.kms.provider != LOCAL_PROVIDER:
            with report.failing(f"kms {route.kms.provider}"):
                await canaries.look(route.kms)
                report.ok(f"kms {route.kms.provider}", _found(route.kms))


async def _round_trip(settings: Settings, opened: OpenedKeys) -> None:
    data_key, deadline_s = DataKey.random(), settings.kms_deadline_s
    context = WrapContext.for_realm(opened.realm.realm_id, Purpose.CANARY)
    wrapped = await within(deadline_s, opened.kms.wrap(data_key, None, context))
    if await within(deadline_s, opened.kms.unwrap(wrapped, context)) != data_key:
        raise CanaryFailed("the KMS gave another key back than it wrapped: do not start")


async def _check_stores(report: Report, folders: Folders, opened: OpenedKeys) -> None:
    keys = opened.realm_keys
    with report.failing("catalogue"):
        schema_version = await peek_catalogue(folders, keys)
        report.ok("catalogue", f"schema {schema_version}, of realm {keys.realm_id.hex()}, as the keys are")
    with report.failing("blob store"):
        blobs = open_blobs(folders)
        try:
            check_same_realm(await blobs.realm_id(), keys, f"the blob store {folders.blobs_place}")
            await check_shareable(folders, blobs)
            for lack in await lacks_of(blobs):
                report.warn("blob store", lack, "keep that in mind, or choose another backend or bucket")
        finally:
            await blobs.close()
        report.ok("blob store", "it is of the realm of these keys")
