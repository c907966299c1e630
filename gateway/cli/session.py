"""How a command reaches the catalogue: through the gateway that serves it, or by opening it where none does."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from gateway.cli.control import Answer, ask_gateway
from gateway.cli.exits import CommandError, Exit, SetupError
from gateway.config import Settings
from gateway.http.process import collector_calmed
from gateway.wiring.folders import Folders
from keys.errors import KmsKeyError

_POLL_S = 0.3
"""Between two questions how far a job is."""
_RUN_JOB = "run_job"


def run_command(settings: Settings, command: str, arguments: Mapping[str, Any]) -> Answer:
    """Run a command wherever it can be run.

    Raises:
        CommandError, KeysError, StorageError: one line that says what to do.
    """
    folders = Folders.of(settings)
    if not folders.data.is_dir():
        raise SetupError(f"there is no data folder {folders.data}: give --data, or make it with `sealgate serve`")
    answer = ask_gateway(folders.data, command, arguments)
    return asyncio.run(_run_here(settings, folders, command, arguments)) if answer is None else answer


def run_job(settings: Settings, kind: str, arguments: Mapping[str, Any], tell: Callable[[Answer], None]) -> Answer:
    """Run a long job wherever it can be run, telling of its progress; its report. Interrupted, it is stopped.

    Raises:
        CommandError, KeysError, StorageError: one line that says what to do.
    """
    folders = Folders.of(settings)
    started = {"kind": kind, "arguments": dict(arguments)}
    if not folders.data.is_dir() or (job := ask_gateway(folders.data, "start_job", started)) is None:
        return run_command(settings, _RUN_JOB, started | {"tell": tell})
    try:
        while job["state"] == "running":
            time.sleep(_POLL_S)
            answer = ask_gateway(folders.data, "job_status", {"job_id": job["job_id"]})
            if answer is None:
                raise CommandError(
                    "the gateway ended before the job: start it again, it goes on where it was", Exit.BUSY
                )
            job = answer
            tell(job["report"])
    except KeyboardInterrupt:
        ask_gateway(folders.data, "stop_job", {})
        raise CommandError("stopped: start it again, it goes on where it was", Exit.BUSY) from None
    report: Answer = job["report"]
    return report


async def _run_here(settings: Settings, folders: Folders, command: str, arguments: Mapping[str, Any]) -> Answer:
    # Deferred: a gateway that serves spares the command all that it would open.
    from gateway.cli.commands import OF_THE_KEYRING, keyring_here, opened_here  # noqa: PLC0415

    try:
        async with opened_here(settings, folders) as commands:
            with collector_calmed() if command == _RUN_JOB else contextlib.nullcontext():
                return await commands[command](**arguments)
    except KmsKeyError:
        if command not in OF_THE_KEYRING:
            raise
    # The key of the realm itself may be off, and this is how it is switched on again.
    async with keyring_here(settings, folders) as commands:
        return await commands[command](**arguments)
