"""Ports on loopback for what tests start, each given to one process of tests alone, however many run side by side.

A port that the kernel hands out is free again until the server binds it, and while the server restarts: another suite,
or a client's own end of a connection, may take it. These lie below the range that the kernel takes from, and are held
by a lock until the process of tests ends. Source: ip(7) `ip_local_port_range`, fcntl(2) "Advisory record locking".
"""

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path
from typing import Final

_FIRST: Final = 10_240
_LAST: Final = 32_767
_drawn = random.SystemRandom()
_mine: set[int] = set()
_locks: int | None = None


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on, and that no other process of tests gets while this one lives."""
    found: list[int] = []
    while len(found) < count:
        port = _drawn.randint(_FIRST, _LAST)
        if port not in _mine and _reserve(port):
            _mine.add(port)
            if _is_free(port):
                found.append(port)
    return found


def _reserve(port: int) -> bool:
    """Lock the byte of that number in a file of this user's; POSIX forgets the lock with the process."""
    global _locks  # noqa: PLW0603  # opened once: closing any descriptor of the file would give up every lock
    if _locks is None:
        path = Path(tempfile.gettempdir()) / f"sealgate-test-ports-{os.getuid()}"
        _locks = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.lockf(_locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
