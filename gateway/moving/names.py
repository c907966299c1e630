"""Object keys as file names: each has one, and none leaves the folder, hides, or is too long for a disk.

Names stay as they are, in UTF-8. What a file name cannot hold, or what would mislead who lists the folder, is encoded
as in URLs (`%0A`), and so is the percent sign itself: whoever decodes a name has the key again, unless it was cut.
"""

import hashlib
from typing import Final
from unicodedata import category

BY_HASH: Final = ".by-hash"
"""The folder of what cannot lie under its name: `a` is an object and `a/b` is one, too, or the path is too long."""
MAX_NAME_BYTES: Final = 200
_MAX_PATH_BYTES: Final = 4000
_ENCODED: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Controls and line ends, which terminals and scripts take for something else; what is not seen or turns the order of
what is (bidirectional marks, zero-width joiners), so that `exe.txt` is shown where a name ends in `txt.exe`; and bytes
that are no UTF-8."""


def path_of(object_key: bytes) -> tuple[str, ...]:
    """The folders and the file name below which a key lies."""
    return tuple(map(_component, object_key.split(b"/")))


def fits(names: tuple[str, ...]) -> bool:
    """Whether a path of these names can be made."""
    return sum(len(name.encode()) + 1 for name in names) < _MAX_PATH_BYTES


def hash_path_of(object_key: bytes) -> tuple[str, str]:
    """Where a key lies instead."""
    return (BY_HASH, hashlib.sha256(object_key).hexdigest())


def file_name(component: bytes) -> str:
    """A file name for any bytes without a slash; long ones are cut and marked by their hash."""
    name = "".join(map(_encoded, component.decode("utf-8", "surrogateescape")))
    if name.startswith("."):
        name = "%2E" + name[1:]
    if len(name.encode()) > MAX_NAME_BYTES:
        begin = name.encode()[: MAX_NAME_BYTES - 68].decode("utf-8", "ignore")
        name = f"{begin}%~{hashlib.sha256(component).hexdigest()}"
    return name


def partial_name(name: str) -> str:
    """The name of a file that is being written; no object's name begins with a dot."""
    return f".{name}.part"


def _encoded(character: str) -> str:
    if character != "%" and category(character) not in _ENCODED:
        return character
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogateescape"))


def _component(component: bytes) -> str:
    return file_name(component) if component not in (b"", b".", b"..") else f"%{component.hex()}"
