"""`sealgate migrate`: blobs or catalogue move to another store, with the gateway stopped."""

import asyncio
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.bootstrap import check_apart, owned
from gateway.cli.exits import CommandError, Exit, SetupError
from gateway.cli.options import AsJson, Config, Data, Keys, print_answer, progress, settings_of, working
from gateway.config import Settings
from gateway.engine.journal.records import recovered_from
from gateway.moving.migrating import BlobMigration
from gateway.wiring import Folders, open_keys
from gateway.wiring.catalogue_move import move_catalogue
from gateway.wiring.stores import check_same_realm, open_blobs, open_catalogue
from keys.safe_files import make_private_folder
from storage.blobs.base import BlobReader
from storage.blobs.disk import DiskBlobStore
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
    catalogue: Annotated[
        bool, typer.Option("--catalogue", help="The SQLite catalogue goes into the PostgreSQL that the settings name.")
    ] = False,
    parallel: Annotated[int, typer.Option("--parallel", min=1, max=32, help="Blobs on their way at a time.")] = 4,
    data: Data = None,
    keys: Keys = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Move all blobs to another folder, or the catalogue to PostgreSQL: copied, compared, then handed over.

    The gateway must be stopped. Nothing is deleted; ended by whatever, the same command goes on.
    """
    if (to is None) != catalogue:
        raise CommandError("give either --to FOLDER or --catalogue", Exit.USAGE)
    settings = settings_of(data, keys, config)
    if to is None:
        print_answer(asyncio.run(_migrate_catalogue(settings)), as_json=as_json)
        return
    answer = asyncio.run(_migrate(settings, to.resolve(), parallel))
    print_answer(answer, as_json=as_json)
    if answer["damaged"]:
        raise CommandError(f"{len(answer['damaged'])} blobs were damaged before, and are so now", Exit.DAMAGED)


async def _migrate_catalogue(settings: Settings) -> dict[str, Any]:
    folders = Folders.of(settings)
    async with owned(folders):
        opened = await open_keys(settings, folders)
        with working("moving the catalogue"):
            return await move_catalogue(folders, opened.realm_keys)


async def _migrate(settings: Settings, to: Path, parallel: int) -> dict[str, Any]:
    folders = Folders.of(settings)
    if folders.bucket is not None:
        raise SetupError(f"the blobs are in {folders.bucket}: blobs are moved from one disk to another only")
    if to == folders.blobs or to in folders.blobs.parents or folders.blobs in to.parents:
        raise SetupError(f"{to} and the blobs in {folders.blobs} lie in one another: give another --to")
    check_apart(settings, replace(folders, moved_blobs=to))
    async with owned(folders):
        if not folders.realm_file.exists():
            raise SetupError(f"{folders.data} was never served: there is nothing to migrate")
        opened = await open_keys(settings, folders)
        realm_keys = opened.realm_keys
        description_key = realm_keys.description_key.material()

        async def prove(blob_id: bytes, reader: BlobReader) -> None:
            recovered = await recovered_from(reader, realm_keys.realm_id, description_key)
            if recovered.header.blob_id != blob_id:
                raise SealedDamaged("header: the blob of another id")

        source, target = open_blobs(folders), DiskBlobStore(to)
        catalogue = await open_catalogue(folders, realm_keys)
        try:
            check_same_realm(
                await catalogue.realm_id(), realm_keys, f"the catalogue {folders.database or folders.catalogue}"
            )
            make_private_folder(to)
            migration = BlobMigration(source, target, catalogue, realm_keys.realm_id, prove, parallel)
            with progress("blobs, copied and compared", None) as advance:
                report = await migration.run(advance)
        finally:
            await catalogue.close()
            await target.close()
            await source.close()
    return {"blobs": str(to), **asdict(report), "next": f"give the setting blobs = {to} and start the gateway"}
