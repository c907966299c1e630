"""Catalogue and blob store: which ones there are, and that both are of the realm of the keys."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gateway.wiring.folders import Folders
from keys.realm import RealmKeys
from storage.blobs.base import BlobStore
from storage.blobs.disk import DiskBlobStore
from storage.catalogue.base import Catalogue
from storage.catalogue.sqlite import SqliteCatalogue
from storage.errors import RealmMismatch


@dataclass(frozen=True, slots=True)
class Stores:
    """Catalogue and blob store of one realm."""

    catalogue: Catalogue
    blobs: BlobStore

    async def close(self) -> None:
        """Close both, the catalogue first, since its last commands may name blobs."""
        try:
            await self.catalogue.close()
        finally:
            await self.blobs.close()


def open_blobs(folders: Folders) -> BlobStore:
    """The blob store that the settings choose; nothing is touched yet."""
    return DiskBlobStore(folders.blobs)


def create_catalogue(folders: Folders, realm_keys: RealmKeys) -> Catalogue:
    """Make the catalogue of a new realm and open it. Raises: StorageError."""
    return SqliteCatalogue.create(*_catalogue_arguments(folders, realm_keys))


def _catalogue_arguments(
    folders: Folders, realm_keys: RealmKeys
) -> tuple[Path, bytes, bytes, bytes, Callable[[], datetime]]:
    return (
        folders.catalogue,
        realm_keys.realm_id,
        realm_keys.catalogue_key.material(),
        realm_keys.row_mac_key.material(),
        utc_now,
    )


async def open_stores(folders: Folders, realm_keys: RealmKeys) -> Stores:
    """Open catalogue and blob store, and see that both are of the keys' realm.

    Raises:
        RealmMismatch: they are not.
        StorageError: one of them cannot be used.
    """
    async with AsyncExitStack() as undo:
        blobs = open_blobs(folders)
        undo.push_async_callback(blobs.close)
        check_same_realm(await blobs.realm_id(), realm_keys, f"the blob store {folders.blobs}")
        catalogue = SqliteCatalogue.open(*_catalogue_arguments(folders, realm_keys))
        undo.push_async_callback(catalogue.close)
        check_same_realm(await catalogue.realm_id(), realm_keys, f"the catalogue {folders.catalogue}")
        undo.pop_all()
        return Stores(catalogue, blobs)


def check_same_realm(realm_id: bytes | None, realm_keys: RealmKeys, what: str) -> None:
    """See that what is called `what` is of the realm of the keys. Raises: RealmMismatch."""
    if realm_id != realm_keys.realm_id:
        raise RealmMismatch(f"{what} is not of the realm of these keys: correct --data or --keys")


def utc_now() -> datetime:
    """The wall clock of the whole gateway."""
    return datetime.now(UTC)
