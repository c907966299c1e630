"""`sealgate migrate`: blobs or catalogue move to another store, with the gateway stopped."""

import asyncio
import contextlib
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.bootstrap import check_apart, owned
from gateway.cli.exits import CommandError, Exit, SetupError
from gateway.cli.options import AsJson, Config, Data, Keys, settings_of
from gateway.cli.output import print_answer, progress, working
from gateway.config import Settings, load_settings
from gateway.engine.journal.records import recovered_from
from gateway.moving.migrating import BlobMigration
from gateway.wiring.catalogue_move import move_catalogue
from gateway.wiring.folders import Folders
from gateway.wiring.realm import open_keys
from gateway.wiring.stores import check_same_realm, open_blobs, open_catalogue
from keys.safe_files import make_private_folder
from storage.blobs.base import BlobReader
from storage.errors import SealedDamaged


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("migrate")(migrate)


def migrate(
    *,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="FOLDER", help="Where the blobs shall lie: a new folder.", show_default=False),
    ] = None,
    to_settings: Annotated[
        Path | None,
        typer.Option(
            "--to-settings",
            metavar="FILE",
            help="Where the blobs shall lie: as blob_store, blobs and s3_... in this settings file say.",
            show_default=False,
        ),
    ] = None,
    catalogue: Annotated[
        bool, typer.Option("--catalogue", help="The SQLite catalogue goes into the PostgreSQL that the settings name.")
    ] = False,
    parallel: Annotated[int, typer.Option("--parallel", min=1, max=32, help="Blobs on their way at a time.")] = 4,
    data: Data = None,
    keys: Keys = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Move all blobs to another folder or bucket, or the catalogue to PostgreSQL: copied, compared, then handed over.

    The gateway must be stopped. Nothing is deleted; ended by whatever, the same command goes on.
    """
    if [to is not None, to_settings is not None, catalogue].count(True) != 1:
        raise CommandError("give one of --to FOLDER, --to-settings FILE and --catalogue", Exit.USAGE)
    settings = settings_of(data, keys, config)
    if catalogue:
        print_answer(asyncio.run(_migrate_catalogue(settings)), as_json=as_json)
        return
    folders = Folders.of(settings)
    if to is not None:
        new = folders.with_blobs(to.resolve(), None)
        then = f"give the setting blobs = {new.blobs}, blob_store = disk, and start the gateway"
    else:
        # Of the file alone: the variables and flags of this command are those of the old place.
        there = Folders.of(load_settings(config=to_settings, environ={}))
        new = folders.with_blobs(there.moved_blobs, there.bucket)
        then = f"give the settings of blobs that {to_settings} has, and start the gateway"
    answer = asyncio.run(_migrate(settings, folders, new, parallel))
    print_answer(answer | {"next": then}, as_json=as_json)
    if answer["damaged"]:
        raise CommandError(f"{len(answer['damaged'])} blobs were damaged before, and are so now", Exit.DAMAGED)


async def _migrate_catalogue(settings: Settings) -> dict[str, Any]:
    folders = Folders.of(settings)
    async with owned(folders):
        opened = await open_keys(settings, folders)
        with working("moving the catalogue"):
            return await move_catalogue(folders, opened.realm_keys)


def _check_places(settings: Settings, old: Folders, new: Folders) -> None:
    """See that the blobs go to another place, and not near the keys. Raises: SetupError."""
    if old.bucket is None and new.bucket is None:
        is_within = old.blobs in (new.blobs, *new.blobs.parents) or new.blobs in old.blobs.parents
    else:
        is_within = old.blobs_place == new.blobs_place
    if is_within:
        raise SetupError(f"{new.blobs_place} and the blobs in {old.blobs_place} lie in one another: give another place")
    check_apart(settings, new)


async def _migrate(settings: Settings, folders: Folders, new: Folders, parallel: int) -> dict[str, Any]:
    _check_places(settings, folders, new)
    async with owned(folders), contextlib.AsyncExitStack() as stack:
        if not folders.realm_file.exists():
            raise SetupError(f"{folders.data} was never served: there is nothing to migrate")
        opened = await open_keys(settings, folders)
        realm_keys = opened.realm_keys
        description_key = realm_keys.description_key.material()

        async def prove(blob_id: bytes, reader: BlobReader) -> str:
            recovered = await recovered_from(reader, realm_keys.realm_id, description_key)
            if recovered.header.blob_id != blob_id:
                raise SealedDamaged("header: the blob of another id")
            return recovered.header.kind.name.lower()

        source, target = open_blobs(folders), open_blobs(new)
        stack.push_async_callback(source.close)
        stack.push_async_callback(target.close)
        catalogue = await open_catalogue(folders, realm_keys)
        stack.push_async_callback(catalogue.close)
        check_same_realm(
            await catalogue.realm_id(), realm_keys, f"the catalogue {folders.database or folders.catalogue}"
        )
        if new.bucket is None:
            make_private_folder(new.blobs)
        migration = BlobMigration(source, target, catalogue, realm_keys.realm_id, prove, parallel)
        report = await migration.run(progress)
    return {"blobs": new.blobs_place, **asdict(report)}
