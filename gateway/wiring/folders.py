"""Where everything of one deployment lies, and nothing else: paths are spelled here once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.config import Settings

REALM_FILE: Final = "realm.json"


@dataclass(frozen=True, slots=True)
class Folders:
    """Where everything of one deployment lies. Both folders are absolute and free of symbolic links."""

    data: Path
    keys: Path

    @classmethod
    def of(cls, settings: Settings) -> "Folders":
        """The folders that the settings name."""
        return cls(settings.data.resolve(), settings.keys.resolve())

    @property
    def realm_file(self) -> Path:
        """Realm id, wrapped root and canary: public, useless without the KMS."""
        return self.data / REALM_FILE

    @property
    def realm_copy(self) -> Path:
        """The same beside the keyring, so that data and keys find each other again."""
        return self.keys / REALM_FILE

    @property
    def catalogue(self) -> Path:
        """The encrypted SQLite file, in a folder of its own with its log and lock."""
        return self.data / "catalogue" / "catalogue.db"

    @property
    def blobs(self) -> Path:
        """The disk blob store."""
        return self.data / "blobs"

    @property
    def tls(self) -> Path:
        """The private CA and the server certificate."""
        return self.keys / "tls"

    @property
    def client_env(self) -> Path:
        """What an AWS tool needs, as `export` lines: holds a secret."""
        return self.keys / "client.env"
