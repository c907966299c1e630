"""`sealgate recover`: rebuild the catalogue from keyring and blob store. Runbook: docs/RECOVERY.md.

The new catalogue is made beside the old one's place and takes it only when every row of it has been verified. What was
there is kept under another name; nothing in the blob store is deleted. An empty database is filled in one transaction.
"""

import asyncio
import json
import os
import shutil
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import Progress as Bars
from rich.progress import TextColumn, TimeElapsedColumn

from gateway.cli.bootstrap import check_apart, owned
from gateway.cli.control import Answer
from gateway.cli.exits import CommandError, Exit, SetupError
from gateway.cli.options import AsJson, Config, Data, Keys, settings_of
from gateway.cli.output import print_answer
from gateway.config import Settings
from gateway.wiring.catalogue_move import fill_database
from gateway.wiring.folders import Folders
from gateway.wiring.realm import RealmRecord
from gateway.wiring.recovering import Recovered, Recovery, open_recovery
from gateway.wiring.stores import utc_now
from keys.safe_files import write_private_file
from storage.seams import reach
from storage.syncing import sync_folder

NEW: Final = "catalogue.recovering"
"""Where the new catalogue is made; what an interrupted recovery left there is begun anew."""
REPORT: Final = "recovery-report.jsonl"
"""In the new catalogue's folder: one line for each version from blobs alone, and for each blob that is not sound."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("recover")(recover)


def recover(
    *,
    from_blobs: Annotated[
        bool,
        typer.Option(
            "--from-blobs", help="Use no journal: bring back every version that a blob in the store tells of."
        ),
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="A catalogue is there: keep it aside, and put the new one in its place.")
    ] = False,
    data: Data = None,
    keys: Keys = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Rebuild the catalogue from the keyring and the blob store; the gateway must be stopped.

    Interrupted, it changes nothing and can be started again.
    """
    settings = settings_of(data, keys, config)
    answer = asyncio.run(_recover(settings, from_blobs=from_blobs, replace=replace))
    print_answer(answer, as_json=as_json)
    check_nothing_missing(answer)


def check_nothing_missing(answer: Answer) -> None:
    """End with a line that says so where blobs are missing. Raises: CommandError."""
    if answer["missing_blob_count"]:
        raise CommandError(
            f"{answer['missing_blob_count']} blobs are missing or damaged: their objects are listed and answer 500;"
            f" {answer['report']} names them",
            Exit.DAMAGED,
        )


async def _recover(settings: Settings, *, from_blobs: bool, replace: bool) -> Answer:
    folders = Folders.of(settings)
    check_recoverable(settings, folders)
    async with owned(folders):
        return await rebuild(settings, folders, from_blobs=from_blobs, replace=replace)


def check_recoverable(settings: Settings, folders: Folders) -> None:
    """See that keys and blobs are there. Raises: SetupError."""
    check_apart(settings, folders)
    if not folders.realm_copy.exists():
        raise SetupError(f"{folders.realm_copy} is missing: restore the keys folder from its backup, or correct --keys")
    if not folders.has_blobs:
        raise SetupError(f"{folders.blobs} is missing: restore the blobs there, or correct --data")


Prepare = Callable[[Recovery], Awaitable[Answer]]
"""Done before anything is read, once nothing speaks against it; what it answers is part of the whole answer."""


async def rebuild(
    settings: Settings,
    folders: Folders,
    *,
    from_blobs: bool = False,
    replace: bool = False,
    prepare: Prepare | None = None,
) -> Answer:
    """Make a new catalogue where the settings say; the caller owns the data folder. Raises: CommandError, StorageError.

    What is there is kept aside where it may be replaced. A database must be empty.
    """
    place, new = folders.catalogue.parent, folders.data / NEW
    if folders.database is None and folders.catalogue.exists() and not replace:
        way = "with --replace it is kept aside and a new one takes its place"
        if prepare is not None:
            way = f"where it is not, move {place} away and give the command again"
        raise CommandError(f"{folders.catalogue} is there: `sealgate verify` says whether it is whole; {way}")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    try:
        async with open_recovery(settings, folders, new / folders.catalogue.name) as recovery:
            await recovery.check_place(folders)
            prepared = {} if prepare is None else await prepare(recovery)
            with _showing() as progress:
                recovered = await recovery.run(progress, from_blobs=from_blobs)
            _write_report(new / REPORT, recovered)
            reach("recover.rebuilt")
            if folders.database is None:
                kept, report = _put_in_place(folders, new, place), place / REPORT
            else:
                await fill_database(folders, recovery.realm_keys, new / folders.catalogue.name)
                kept, report = None, folders.data / REPORT
                _put_realm_file(folders)
                (new / REPORT).replace(report)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return {
        **prepared,
        **asdict(recovered.restored),
        "verified_row_count": recovered.verified_row_count,
        "scanned_blob_count": recovered.scanned_blob_count,
        "damaged_blob_count": len(recovered.damaged),
        "missing_blob_count": len(recovered.missing),
        "report": str(report),
        **({} if kept is None else {"old_catalogue": str(kept)}),
    }


def _put_realm_file(folders: Folders) -> None:
    if not folders.realm_file.exists():
        write_private_file(folders.realm_file, RealmRecord.read(folders.realm_copy).encode(), replace=False)


def _put_in_place(folders: Folders, new: Path, place: Path) -> Path | None:
    """Let the new catalogue take its place; where the old one is now, if there was one."""
    _put_realm_file(folders)
    kept = None
    if place.exists():
        kept = place.with_name(f"{place.name}.before-{utc_now():%Y%m%dT%H%M%S%f}")
        place.rename(kept)
        reach("recover.moved_aside")
    new.rename(place)
    sync_folder(folders.data)
    return kept


def _write_report(path: Path, recovered: Recovered) -> None:
    with path.open("x", encoding="utf-8") as report:
        for told in recovered.told:
            line = {
                "bucket": told.bucket,
                "object_key": told.object_key.decode("utf-8", "backslashreplace"),
                "version_id": told.version_id,
                "mark": told.mark,
                "created_at": told.created_at.isoformat(),
            }
            report.write(json.dumps(line) + "\n")
        for kind, blobs in (("missing", recovered.missing), ("damaged", recovered.damaged)):
            for blob_id, why in blobs:
                report.write(json.dumps({"blob_id": blob_id.hex(), "mark": kind, "why": why}) + "\n")
        report.flush()
        os.fsync(report.fileno())
    sync_folder(path.parent)


@contextmanager
def _showing() -> Iterator["_Shown"]:
    """Counts of what is done, where a person looks at standard error."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}: {task.completed:.0f}"), TimeElapsedColumn())
    with Bars(*columns, console=console, disable=not console.is_terminal, transient=True) as bars:
        yield _Shown(bars)


class _Shown:
    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._tasks: dict[str, int] = {}

    def __call__(self, what: str, count: int) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, total=None)
        self._bars.advance(self._tasks[what], count)  # type: ignore[arg-type]  # a task's id is an int there
