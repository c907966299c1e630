"""The catalogue of a stopped gateway from its SQLite file into the PostgreSQL database that the settings name.

The file is put aside as the last thing before the database commits: from then on no gateway starts on it. A crash
leaves the file in place and the database empty, or the file aside and the database empty or whole; the same command
goes on.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.moving.places import PlaceFailed
from gateway.wiring.folders import Folders
from gateway.wiring.stores import open_catalogue, take_over_catalogue
from keys.realm import RealmKeys
from storage.catalogue.owner import OwnerLock
from storage.catalogue.sqlite_session import SqliteSession
from storage.catalogue.transfer import digests, reading
from storage.errors import CatalogueUnsafe
from storage.seams import reach
from storage.syncing import sync_folder

if TYPE_CHECKING:
    from storage.catalogue.postgres import PostgresCatalogue


async def move_catalogue(folders: Folders, realm_keys: RealmKeys) -> dict[str, Any]:
    """Move it; called again it goes on. The caller holds the data folder.

    Raises:
        PlaceFailed: there is nothing to move, or the database holds something else. StorageError, KeysError.
    """
    if folders.database is None:
        raise PlaceFailed("the settings name no database: give catalogue = postgres and the postgres settings")
    place = folders.catalogue
    aside, moved = place.with_name(place.name + ".moving"), place.with_name(place.name + ".moved")
    if place.exists():
        await _settle(folders, realm_keys)
    elif not aside.exists():
        raise PlaceFailed("the catalogue was moved already" if moved.exists() else f"there is no catalogue {place}")
    source_path = place if place.exists() else aside

    def put_aside() -> None:
        reach("migrate.catalogue_filled")
        if place.exists():
            _rename(place, aside)
        reach("migrate.catalogue_aside")

    lock = OwnerLock(place.parent)
    try:
        keys = (realm_keys.realm_id, realm_keys.catalogue_key.material(), realm_keys.row_mac_key.material())
        with reading(source_path, *keys) as source:
            try:
                catalogue = await take_over_catalogue(folders, realm_keys, source, put_aside)
            except CatalogueUnsafe:
                if source_path == place:
                    raise
                catalogue = await take_over_catalogue(folders, realm_keys, None, put_aside)
            reach("migrate.catalogue_committed")
            verified = await _compared(catalogue, source)
        _rename(aside, moved)
    finally:
        lock.release()
    return {"database": str(folders.database), "verified_row_count": verified, "old_file": str(moved)}


async def fill_database(folders: Folders, realm_keys: RealmKeys, path: Path) -> int:
    """Put all of a file that nobody serves into the empty database; the number of rows, verified there.

    Raises: CatalogueUnsafe where a catalogue is there; StorageError, KeysError.
    """
    keys = (realm_keys.realm_id, realm_keys.catalogue_key.material(), realm_keys.row_mac_key.material())
    with reading(path, *keys) as source:
        catalogue = await take_over_catalogue(folders, realm_keys, source, lambda: reach("recover.filled"))
        return await _compared(catalogue, source)


async def _compared(catalogue: "PostgresCatalogue", source: SqliteSession) -> int:
    """Verify a database and see that it holds the same as a file; close it."""
    try:
        verified = await catalogue.verify()
        if await catalogue.digests() != digests(source):
            raise PlaceFailed("the database holds another catalogue than the file: give an empty database")
    finally:
        await catalogue.close()
    return verified


async def _settle(folders: Folders, realm_keys: RealmKeys) -> None:
    """Verify the file, and have its log written back into it: one file is left to be read and put aside."""
    catalogue = await open_catalogue(replace(folders, database=None), realm_keys)
    try:
        await catalogue.verify()
    finally:
        await catalogue.close()
    log = folders.catalogue.with_name(folders.catalogue.name + "-wal")
    if log.exists() and log.stat().st_size:
        raise PlaceFailed("the catalogue's log could not be written back: is another process using it?")


def _rename(old: Path, new: Path) -> None:
    old.rename(new)
    sync_folder(new.parent)
