"""Catalogue and blob store: which ones there are, and that both are of the realm of the keys."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.engine.turns import SERVED, Turns
from gateway.s3.errors import S3Error
from gateway.wiring.folders import Folders
from keys.extras import how_to_install
from keys.realm import RealmKeys
from keys.safe_files import read_private_file
from storage.blobs.base import BlobStore
from storage.blobs.disk import DiskBlobStore
from storage.catalogue.address import PostgresAddress
from storage.catalogue.base import Catalogue
from storage.catalogue.files import peek
from storage.catalogue.rowmac import RowMac
from storage.catalogue.sqlite import SqliteCatalogue
from storage.catalogue.sqlite_session import SqliteSession
from storage.catalogue.transfer import filling
from storage.errors import CatalogueUnsafe, RealmMismatch, StorageUnavailable

if TYPE_CHECKING:
    from storage.catalogue.postgres import PostgresCatalogue

_MAX_PASSWORD_BYTES: Final = 4096
CONNECTION_WAIT_S: Final = 5.0
"""How long a command waits for its turn at a connection to the database."""


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
    """The blob store that the settings choose; nothing is touched yet. Raises: KeyringError."""
    if folders.bucket is not None:
        return folders.bucket.open()
    return DiskBlobStore(folders.blobs)


async def check_shareable(folders: Folders, blobs: BlobStore) -> None:
    """See that gateways which share a catalogue cannot replace each other's blobs.

    A segment of the journal has no random id: one gateway that stood still would write over what another has written
    since, and the journal would be broken there.

    Raises:
        CatalogueUnsafe: they can. StorageError: the backend cannot be asked.
    """
    if not folders.are_shared:
        return
    from storage.blobs.s3 import S3BlobStore  # noqa: PLC0415  # as below

    if not isinstance(blobs, S3BlobStore):
        return
    traits = await blobs.traits()
    if not (traits.conditional_put and traits.conditional_complete):
        raise CatalogueUnsafe(
            "the blob backend replaces objects despite If-None-Match, so that gateways over one database would write"
            " over each other's journal: choose another backend, or keep the catalogue in a file (catalogue = sqlite)"
        )


async def lacks_of(blobs: BlobStore) -> tuple[str, ...]:
    """What the backend of a blob store cannot do, a line for each; it is tried on objects of its own.

    Raises: StorageError, where it cannot be used at all.
    """
    from storage.blobs.s3 import S3BlobStore  # noqa: PLC0415  # deferred: only who asks needs the client of S3

    return (await blobs.traits()).lacks() if isinstance(blobs, S3BlobStore) else ()


async def create_catalogue(folders: Folders, realm_keys: RealmKeys) -> Catalogue:
    """Make the catalogue of a new realm and open it. Raises: StorageError, KeyringError."""
    if folders.database is not None:
        return await _postgres().create(*_database_arguments(folders, folders.database, realm_keys))
    return SqliteCatalogue.create(*_catalogue_arguments(folders, realm_keys))


async def look_at_places(folders: Folders) -> None:
    """See that a first start can have its catalogue and its blobs where the settings want them; nothing is changed.

    Raises:
        StorageError, KeyringError: one of the places cannot be used, or is another realm's.
    """
    if folders.database is not None:
        await _postgres().look(_with_password(folders, folders.database))
    if folders.bucket is None:
        return
    blobs = open_blobs(folders)
    try:
        if await blobs.realm_id() is not None:
            raise RealmMismatch(
                f"the blob store {folders.blobs_place} belongs to a realm already: name a bucket or a prefix of its"
                " own, or give --data and --keys the folders that belong to it"
            )
    finally:
        await blobs.close()


class ConnectionTurns:
    """Connections to the database, by turns of the accounts that wait for one.

    An account may have all of them where nobody else asks. Where somebody does, he gets the next one that comes free,
    however many slow listings of another one wait: so nobody waits for longer than one command takes.
    """

    def __init__(self, connections: int) -> None:
        self._turns = Turns(connections, CONNECTION_WAIT_S)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """The turn of whoever is served here. Raises: StorageUnavailable where it does not come in time."""
        account = SERVED.get()
        try:
            taken = await self._turns.take(account, 1)
        except S3Error:
            raise StorageUnavailable("no connection to the database came free in time") from None
        try:
            yield
        finally:
            self._turns.give_back(account, taken)


async def open_catalogue(folders: Folders, realm_keys: RealmKeys) -> Catalogue:
    """Open the catalogue of a realm. Raises: StorageError, KeyringError."""
    if folders.database is not None:
        catalogue = await _postgres().open(*_database_arguments(folders, folders.database, realm_keys))
        catalogue.share_out(ConnectionTurns(folders.database.connections).turn)
        return catalogue
    return SqliteCatalogue.open(*_catalogue_arguments(folders, realm_keys))


async def take_over_catalogue(
    folders: Folders, realm_keys: RealmKeys, source: SqliteSession | None, at_the_end: Callable[[], None]
) -> "PostgresCatalogue":
    """Fill the database that the settings name from a file, and open it; without a source only open it.

    Raises: CatalogueUnsafe where a catalogue is there already; StorageError, KeyringError.
    """
    assert folders.database is not None, "the caller saw that there is one"
    arguments = _database_arguments(folders, folders.database, realm_keys)
    if source is None:
        return await _postgres().open(*arguments)
    return await _postgres().take_over(*arguments, filling(source, at_the_end))


async def peek_catalogue(folders: Folders, realm_keys: RealmKeys) -> int:
    """The schema version of a catalogue that is of this realm; nothing is changed. Raises: StorageError, KeyringError.

    A catalogue in a file must not be open anywhere.
    """
    if folders.database is not None:
        return await _postgres().peek(*_database_arguments(folders, folders.database, realm_keys))
    realm_id = realm_keys.realm_id
    mac = RowMac(realm_keys.row_mac_key.material(), realm_id)
    return peek(folders.catalogue, realm_id, realm_keys.catalogue_key.material(), mac)


def _postgres() -> "type[PostgresCatalogue]":
    """The catalogue over PostgreSQL, whose client is an extra. Raises: CatalogueUnsafe where it is not installed."""
    try:
        from storage.catalogue.postgres import PostgresCatalogue  # noqa: PLC0415  # an extra
    except ImportError:
        raise CatalogueUnsafe(f"the client for PostgreSQL is not installed: {how_to_install('postgres')}") from None
    return PostgresCatalogue


def _database_arguments(
    folders: Folders, database: PostgresAddress, realm_keys: RealmKeys
) -> tuple[PostgresAddress, bytes, bytes, bytes]:
    return (
        _with_password(folders, database),
        realm_keys.realm_id,
        realm_keys.catalogue_key.material(),
        realm_keys.row_mac_key.material(),
    )


def _with_password(folders: Folders, database: PostgresAddress) -> PostgresAddress:
    """The address with what `postgres_password_file` holds, if there is one. Raises: KeyringError."""
    if folders.postgres_password_file is None:
        return database
    password = read_private_file(folders.postgres_password_file, _MAX_PASSWORD_BYTES).rstrip(b"\r\n")
    return replace(database, password=password.decode("utf-8", "surrogateescape"))


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
        check_same_realm(await blobs.realm_id(), realm_keys, f"the blob store {folders.blobs_place}")
        catalogue = await open_catalogue(folders, realm_keys)
        undo.push_async_callback(catalogue.close)
        check_same_realm(
            await catalogue.realm_id(), realm_keys, f"the catalogue {folders.database or folders.catalogue}"
        )
        undo.pop_all()
        return Stores(catalogue, blobs)


def check_same_realm(realm_id: bytes | None, realm_keys: RealmKeys, what: str) -> None:
    """See that what is called `what` is of the realm of the keys. Raises: RealmMismatch."""
    if realm_id is None:
        raise RealmMismatch(
            f"{what} belongs to no realm: where `sealgate migrate` moved it, give the new place in the settings;"
            " a migration that was cut off goes on with the same command"
        )
    if realm_id != realm_keys.realm_id:
        raise RealmMismatch(f"{what} is not of the realm of these keys: correct --data or --keys")


def utc_now() -> datetime:
    """The wall clock of the whole gateway."""
    return datetime.now(UTC)
