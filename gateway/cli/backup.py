"""`sealgate backup | restore`: a second copy of what the catalogue is made of, and the catalogue from it."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.bootstrap import owned
from gateway.cli.control import Answer
from gateway.cli.exits import SetupError
from gateway.cli.options import AsJson, Config, Data, Keys, settings_of
from gateway.cli.output import counting, print_answer, progress
from gateway.cli.recover import check_nothing_missing, check_recoverable, rebuild
from gateway.cli.session import run_job
from gateway.config import Settings
from gateway.wiring.backing_up import HEAD, put_back
from gateway.wiring.folders import Folders
from gateway.wiring.recovering import Recovery

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The backup.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("backup")(backup)
    app.command("restore")(restore)


def backup(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Where the backup lies: a new or empty folder, or an older one.")
    ],
    *,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every byte of an older backup, not only both ends of each blob.")
    ] = False,
    data: Data = None,
    keys: Keys = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Copy the journal, its newest snapshot and the packs to a folder, sealed; the gateway may serve meanwhile.

    Of an older backup only what is new or damaged is copied; cut off, the same command goes on. Keys are not in it.
    """
    settings = settings_of(data, keys, config)
    place = _place(settings, folder)
    with counting("backing up") as tell:
        report = run_job(settings, "backup", {"folder": str(place), "verify": verify}, tell)
    print_answer(report, as_json=as_json)


def restore(
    folder: Folder, *, data: Data = None, keys: Keys = None, config: Config = None, as_json: AsJson = False
) -> None:
    """Put back into the blob store what it lacks of a backup, and rebuild the catalogue; the gateway must be stopped.

    A catalogue that is there is never replaced. What the store knows besides comes back as well: the catalogue is as
    new as backup and store together. Cut off, the same command goes on.
    """
    settings = settings_of(data, keys, config)
    place = _place(settings, folder)
    if not (place / HEAD).exists():
        raise SetupError(f"{place} holds no whole backup: {HEAD} is missing")
    answer = asyncio.run(_restore(settings, place))
    print_answer(answer, as_json=as_json)
    check_nothing_missing(answer)


async def _restore(settings: Settings, place: Path) -> Answer:
    folders = Folders.of(settings)
    check_recoverable(settings, folders)

    async def prepare(recovery: Recovery) -> Answer:
        with progress("blobs of the backup", None) as advance:
            return await put_back(place, recovery.records, advance)

    async with owned(folders):
        return await rebuild(settings, folders, prepare=prepare)


def _place(settings: Settings, folder: Path) -> Path:
    """The folder as it is to be written: never where it would be lost together with what it protects."""
    place = folder.resolve()
    for name in ("data", "keys"):
        other: Any = getattr(Folders.of(settings), name)
        if place == other or other in place.parents:
            raise SetupError(f"{place} lies in the {name} folder: give a folder elsewhere, best on another disk")
    return place
