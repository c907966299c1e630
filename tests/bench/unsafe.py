"""Starts `sealgate` with one promise taken away, to see what the promise costs. Never part of the product.

`python -m tests.bench.unsafe VARIANT serve ...`: `no-sync` turns every fsync and fdatasync of blobs into nothing;
`no-commit` answers a PUT without having written its row, so that the object cannot be read.
"""

import os
import sys
from typing import Any

from gateway.cli.main import main
from storage.catalogue.commands import PublishVersion
from storage.catalogue.records import ObjectVersion
from storage.catalogue.sqlite import SqliteCatalogue


def _no_sync() -> None:
    def nothing(_: Any) -> None:
        return

    os.fsync = os.fdatasync = nothing  # type: ignore[assignment]  # that is the point


def _no_commit() -> None:
    async def publish(_: SqliteCatalogue, command: PublishVersion) -> ObjectVersion:
        return command.version

    SqliteCatalogue.publish_version = publish  # type: ignore[assignment,method-assign]  # that is the point


VARIANTS = {"no-sync": _no_sync, "no-commit": _no_commit}

if __name__ == "__main__":
    VARIANTS[sys.argv.pop(1)]()
    sys.argv[0] = "sealgate"
    main()
