"""Where everything of one deployment lies, and nothing else: paths are spelled here once."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from gateway.config import Settings
from gateway.wiring.bucket import BucketPlace
from storage.catalogue.address import PostgresAddress

REALM_FILE: Final = "realm.json"


@dataclass(frozen=True, slots=True)
class Folders:
    """Where everything of one deployment lies. Both folders are absolute and free of symbolic links."""

    data: Path
    keys: Path
    database: PostgresAddress | None = None
    """Where the catalogue is if it is no file; without the password, which `postgres_password_file` holds."""
    postgres_password_file: Path | None = None
    moved_blobs: Path | None = None
    """Where the blobs lie, if not in the data folder."""
    bucket: BucketPlace | None = None
    """Where they are if on no disk."""

    @classmethod
    def of(cls, settings: Settings) -> "Folders":
        """The folders that the settings name."""
        data, keys = settings.data.resolve(), settings.keys.resolve()
        moved = None if settings.blobs is None else settings.blobs.resolve()
        bucket = BucketPlace(settings) if settings.blob_store == "s3" else None
        if settings.catalogue == "sqlite":
            return cls(data, keys, moved_blobs=moved, bucket=bucket)
        database = PostgresAddress(
            settings.postgres_host,
            settings.postgres_port,
            settings.postgres_database,
            settings.postgres_user,
            ca_file=settings.postgres_ca_file,
            client_certificate=settings.postgres_client_certificate,
            client_key=settings.postgres_client_key,
            connections=settings.postgres_connections,
        )
        return cls(data, keys, database, settings.postgres_password_file, moved, bucket)

    def with_blobs(self, moved_blobs: Path | None, bucket: BucketPlace | None) -> "Folders":
        """The same deployment with its blobs in another place: that of a folder or of a bucket."""
        return replace(self, moved_blobs=moved_blobs, bucket=bucket)

    @property
    def are_shared(self) -> bool:
        """Whether several processes may work on them at once."""
        return self.database is not None

    @property
    def are_stores_elsewhere(self) -> bool:
        """Whether the data folder holds neither catalogue nor blobs, so that each gateway may have one of its own."""
        return self.database is not None and (self.bucket is not None or self.moved_blobs is not None)

    @property
    def realm_file(self) -> Path:
        """Realm id, wrapped root and canary: public, useless without the KMS."""
        return self.data / REALM_FILE

    @property
    def realm_copy(self) -> Path:
        """The same beside the keyring, so that data and keys find each other again."""
        return self.keys / REALM_FILE

    @property
    def kms_canaries(self) -> Path:
        """Canaries of the remote KMSs besides the default one: public as well."""
        return self.data / "kms-canaries.json"

    @property
    def key_generations(self) -> Path:
        """What gateways of one realm hold while they make keys (`key_generations`): all of them share this folder."""
        return self.keys / "key-generations"

    @property
    def catalogue(self) -> Path:
        """The encrypted SQLite file, in a folder of its own with its log and lock."""
        return self.data / "catalogue" / "catalogue.db"

    @property
    def has_catalogue(self) -> bool:
        """Whether there may be a catalogue: of a file, whether it is there."""
        return self.database is not None or self.catalogue.exists()

    @property
    def blobs(self) -> Path:
        """The disk blob store."""
        return self.moved_blobs or self.data / "blobs"

    @property
    def has_blobs(self) -> bool:
        """Whether there may be a blob store: of a disk, whether its folder is there."""
        return self.bucket is not None or self.blobs.is_dir()

    @property
    def blobs_place(self) -> str:
        """Where the blobs are, for messages."""
        return str(self.bucket or self.blobs)

    @property
    def on_disks(self) -> dict[str, Path]:
        """The folders whose disks may fill up."""
        blobs = {"blobs": self.blobs} if self.bucket is None else {}
        return {"data": self.data, "keys": self.keys} | blobs

    @property
    def tls(self) -> Path:
        """The private CA and the server certificate."""
        return self.keys / "tls"

    @property
    def client_env(self) -> Path:
        """What an AWS tool needs, as `export` lines: holds a secret."""
        return self.keys / "client.env"
