"""Settings for gateways that tests make: folders under one place, ports that are free."""

import asyncio
import hashlib
from pathlib import Path
from typing import Any

from gateway.cli.bootstrap import (
    check_apart,
    check_certificate,
    make_folders,
    owned,
    prepare,
    refresh_certificate,
)
from gateway.cli.client_env import ClientEnv
from gateway.config import Settings
from gateway.wiring.folders import Folders
from gateway.wiring.gateway import open_gateway


def settings_in(place: Path, **changes: Any) -> Settings:
    return Settings(**({"data": place / "data"} | changes))


def start(settings: Settings) -> bool:
    """Everything that `serve` does before it listens; whether it was the first start."""

    async def run() -> bool:
        folders = Folders.of(settings)
        check_apart(settings, folders)
        make_folders(folders)
        async with owned(folders):
            is_first = await prepare(settings, folders)
            async with open_gateway(settings, folders):
                check_certificate(settings, folders)
                refresh_certificate(settings, folders)
                outdated = ClientEnv.outdated(settings, folders)
                if outdated is not None:
                    outdated.write(folders)
            return is_first

    return asyncio.run(run())


def digests(folder: Path) -> dict[str, str]:
    """What every file under a folder holds."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
