"""Durable names: what makes the bytes of a file durable does nothing for its name. Source: fsync(2), "NOTES"."""

import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make durable which names a folder holds, as of now. Raises: OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
