"""What the command line may ask of an opened gateway, and how it opens one where none serves."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib.metadata import version as installed_version
from typing import Final

from gateway.cli.bootstrap import check_apart, follow_realm, is_first_start, owned
from gateway.cli.control import Answer, Command
from gateway.cli.directory import Directory
from gateway.cli.exits import SetupError
from gateway.cli.key_jobs import KeyJobs
from gateway.cli.recipients import RecoveryRecipients
from gateway.cli.wrapping_keys import WrappingKeys
from gateway.config import Settings
from gateway.wiring.folders import Folders
from gateway.wiring.gateway import Gateway, open_gateway
from gateway.wiring.kms import open_kms
from gateway.wiring.stores import utc_now
from keys.context import NIL_ID

OF_THE_KEYRING: Final = ("list_keys", "describe_key", "enable_key")
"""Commands over wrapping keys that need nothing else to be opened."""


def commands_of(gateway: Gateway) -> dict[str, Command]:
    """What the command line may ask of an opened gateway, by name."""
    directory = Directory(gateway.stores.catalogue, gateway.opened.realm_keys, lambda: datetime.now(UTC))
    wrapping_keys = WrappingKeys(gateway.opened.kms, gateway.key_life)
    recipients = RecoveryRecipients(gateway.key_life, utc_now)
    key_jobs = KeyJobs(gateway.key_life, wrapping_keys, {"backup": gateway.backup})
    return {
        "create_account": directory.create_account,
        "list_accounts": directory.list_accounts,
        "create_access_key": directory.create_access_key,
        "list_access_keys": directory.list_access_keys,
        "enable_access_key": directory.enable_access_key,
        "disable_access_key": directory.disable_access_key,
        "delete_access_key": directory.delete_access_key,
        "create_key": wrapping_keys.create_key,
        "rotate_key": wrapping_keys.rotate_key,
        "default_key": wrapping_keys.default_key,
        **{name: getattr(wrapping_keys, name) for name in OF_THE_KEYRING},
        "add_recipient": recipients.add,
        "list_recipients": recipients.list,
        "remove_recipient": recipients.remove,
        "start_job": key_jobs.start,
        "job_status": key_jobs.status,
        "stop_job": key_jobs.stop,
        "signing_key": key_jobs.signing_key,
        "run_job": key_jobs.run,
        "sweep": gateway.sweep,
        "verify": gateway.verify,
        "snapshot": gateway.journalling.snapshot,
        "export_anchor": gateway.journalling.export_anchor,
        "move_start": gateway.move_commands.start,
        "move_abandon": gateway.move_commands.abandon,
        "move_status": gateway.move_commands.status,
        "move_stop": gateway.move_commands.stop,
        "status": lambda: _status(gateway),
    }


async def _status(gateway: Gateway) -> Answer:
    """What `sealgate check` asks of a gateway that serves."""
    return {
        "version": installed_version("sealgate"),
        "pid": os.getpid(),
        "realm_id": gateway.opened.realm.realm_id.hex(),
        "is_ready": await gateway.is_ready(),
    }


@asynccontextmanager
async def opened_here(settings: Settings, folders: Folders) -> AsyncIterator[dict[str, Command]]:
    """The commands of a gateway that serves nobody, opened by this process. Raises: as `run_command`."""
    check_apart(settings, folders)
    async with owned(folders, may_share=True):
        if not folders.keys.is_dir():
            raise SetupError(f"there is no keys folder {folders.keys}: give --keys")
        if is_first_start(folders):
            raise SetupError(f"{folders.data} was never served: run `sealgate serve` once, which makes everything")
        follow_realm(folders)
        async with open_gateway(settings, folders) as gateway:
            yield commands_of(gateway)
            await gateway.journal.tend()


@asynccontextmanager
async def keyring_here(settings: Settings, folders: Folders) -> AsyncIterator[dict[str, Command]]:
    """The commands of `OF_THE_KEYRING` where the realm does not open. Raises: as `run_command`."""
    async with owned(folders, may_share=True):
        kms = open_kms(settings, folders, NIL_ID)
        try:
            yield {name: getattr(WrappingKeys(kms), name) for name in OF_THE_KEYRING}
        finally:
            await kms.close()
