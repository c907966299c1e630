"""What the gateways of black-box tests stand on: a catalogue and a blob store, by the options `--catalogue`, `--blobs`.

Every gateway gets a database and a part of the bucket of its own; the servers behind them are started once. SQLite and
a disk need none.
"""

import itertools
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from tests.blackbox.blobs import BucketShelf, FolderShelf, Shelf
from tests.blackbox.process import Gateway
from tests.servers.s3_servers import MinIo, S3Server, SeaweedFs, s3_settings
from tests.tooling.postgresql import PostgresServer, postgres_server, postgres_settings

CATALOGUES: Final = ("sqlite", "postgres")
BLOBS: Final = ("disk", "seaweedfs", "minio")
_S3: Final[dict[str, type[S3Server]]] = {"seaweedfs": SeaweedFs, "minio": MinIo}
_BUCKET: Final = "sealed-blobs"


class Ground:
    """Stands inside an `ExitStack`, which ends its servers."""

    def __init__(self, catalogue: str, blobs: str, folder: Path, stack: ExitStack) -> None:
        self._numbers = itertools.count(1)
        self._stack = stack
        self.has_files = blobs == "disk"
        """Whether blobs are files of this machine."""
        self.has_own_catalogue = catalogue == "sqlite"
        """Whether no other gateway could be let into it."""
        self._postgres: PostgresServer | None = None
        self._s3: S3Server | None = None
        if catalogue == "postgres":
            self._postgres = stack.enter_context(postgres_server())
        if blobs in _S3:
            self._s3 = _S3[blobs](folder)
            stack.callback(self._s3.stop)
            self._s3.start()
            self._s3.client().create_bucket(Bucket=_BUCKET)

    def settings(self, folder: Path) -> dict[str, str]:
        """The variables of one gateway, whose folder is there."""
        number, told = next(self._numbers), dict[str, str]()
        if self._postgres is not None:
            database = f"ground{number}"
            self._postgres.create_database(database)
            told |= postgres_settings(self._postgres, database, folder)
        if self._s3 is not None:
            told |= s3_settings(self._s3, folder, _BUCKET, f"ground-{number}/")
        return told

    def shelf(self, gateway: Gateway) -> Shelf:
        """Where the blobs of a gateway with such settings lie."""
        if self._s3 is None:
            return FolderShelf(gateway.data / "blobs")
        client = self._s3.client()
        self._stack.callback(client.close)
        return BucketShelf(client, _BUCKET, gateway.environment()["SEALGATE_S3_PREFIX"])
