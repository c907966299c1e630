"""What can go wrong with bytes and records at rest.

StorageError
├── StorageUnavailable      the store or the catalogue does not answer     retryable
├── StorageFull             no space or quota left
├── BlobError
│   ├── BlobMissing         a referenced blob is not there: an alarm, never a 404
│   ├── BlobExists          a blob id was to be written twice
│   ├── BlobHeld            the store keeps a blob until a time, whoever wants it gone
│   └── BlobReadFailed      the medium failed while reading
├── Damaged                 what is at rest does not authenticate          never retried, alarm
│   ├── SealedDamaged       header, commitment, chunk, length or description
│   └── RowDamaged          a catalogue row does not carry its MAC
├── RealmMismatch           catalogue, store and keys are not of one realm
├── CatalogueBusy           another process owns the catalogue
├── CatalogueUnsafe         version, format or settings that may lose data: refused at start
└── CatalogueConflict       a command was refused; all in `storage.catalogue.conflicts`
    └── LeaseLost           a job is another's by now
"""


class StorageError(Exception):
    """Root of all expected failures of this package."""

    retryable = False


class StorageUnavailable(StorageError):
    """The store or the catalogue cannot be reached or is shutting down."""

    retryable = True


class StorageFull(StorageError):
    """No space, quota or file size is left; nothing half-written stays behind."""


class BlobError(StorageError):
    """A blob store could not do what its contract says."""


class BlobMissing(BlobError):
    """No blob of that id. Where a row refers to it this is damage, never "not found"."""


class BlobExists(BlobError):
    """A blob of that id is already there. Blobs are written once."""


class BlobHeld(BlobError):
    """The store itself keeps a blob until a time (`BlobStore.retain`), so it cannot be deleted yet."""


class BlobReadFailed(BlobError):
    """The medium reported an error while reading."""


class Damaged(StorageError):
    """Sealed data or a sealed record does not authenticate."""


class SealedDamaged(Damaged):
    """A sealed blob is not what its row says: header, commitment, chunk, length or description."""


class RowDamaged(Damaged):
    """A catalogue row does not carry the MAC of its content."""


class RealmMismatch(StorageError):
    """Catalogue, blob store and keys do not belong to one realm."""


class CatalogueBusy(StorageError):
    """Another process owns the catalogue; the message says which."""


class CatalogueUnsafe(StorageError):
    """The catalogue, its library or its settings could lose data; start is refused."""


class CatalogueConflict(StorageError):
    """A command was refused by the state it met; nothing was changed."""


class LeaseLost(CatalogueConflict):
    """Another holder has the lease, or the epoch is stale."""
