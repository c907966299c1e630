"""Object keys as file names: each has one, and none leaves the folder, hides, or is too long for a disk."""

import hashlib
from typing import Final
from urllib.parse import quote_from_bytes

BY_HASH: Final = ".by-hash"
"""The folder of what cannot lie under its name: `a` is an object and `a/b` is one, too, or the path is too long."""
MAX_NAME_BYTES: Final = 200
_MAX_PATH_BYTES: Final = 4000
_SAFE: Final = "!#$&'()+,-.=@^_{}~ "


def path_of(object_key: bytes) -> tuple[str, ...]:
    """The folders and the file name below which a key lies."""
    return tuple(map(_component, object_key.split(b"/")))


def fits(names: tuple[str, ...]) -> bool:
    """Whether a path of these names can be made."""
    return sum(len(name) + 1 for name in names) < _MAX_PATH_BYTES


def hash_path_of(object_key: bytes) -> tuple[str, str]:
    """Where a key lies instead."""
    return (BY_HASH, hashlib.sha256(object_key).hexdigest())


def file_name(component: bytes) -> str:
    """A file name for any bytes: others than plain ones percent-encoded, long ones cut and marked by their hash."""
    name = quote_from_bytes(component, safe=_SAFE)
    if name.startswith("."):
        name = "%2E" + name[1:]
    if len(name) > MAX_NAME_BYTES:
        name = f"{name[: MAX_NAME_BYTES - 68]}%~{hashlib.sha256(component).hexdigest()}"
    return name


def partial_name(name: str) -> str:
    """The name of a file that is being written; no object's name begins with a dot."""
    return f".{name[:MAX_NAME_BYTES]}.part"


def _component(component: bytes) -> str:
    return file_name(component) if component not in (b"", b".", b"..") else f"%{component.hex()}"
