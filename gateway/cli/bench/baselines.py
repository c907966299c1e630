"""What the machine could do at best: the parts of a transfer alone, each on one core, and the disk's syncs.

Source: DESIGN part 7. A GET opens AES-GCM, a PUT seals it and takes the MD5 of its ETag, and a write waits for syncs.
"""

import hashlib
import os
import secrets
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.cli.check.disk import sync_times_s

_BLOCK: Final = 16 * 1024
"""A chunk of a sealed blob."""
_SYNCS: Final = 50


@dataclass(frozen=True, slots=True)
class Baselines:
    """Bytes each second on one core, and syncs each second."""

    aes_gcm: float
    md5: float
    sha256: float
    syncs: float | None
    """None where the file system does not let it be tried."""
    cores: int


def measure_baselines(place: Path, seconds: float) -> Baselines:
    """Measure each for that long; `place` is a folder on the disk to be tried."""
    block = secrets.token_bytes(_BLOCK)
    cipher, nonce = AESGCM(secrets.token_bytes(32)), bytes(12)  # nothing that is sealed here is kept or sent
    try:
        syncs = 1 / max(statistics.median(sync_times_s(place, _SYNCS)), 1e-9)
    except OSError:
        syncs = None
    return Baselines(
        aes_gcm=_rate(lambda: cipher.encrypt(nonce, block, None), seconds),
        md5=_rate(lambda: hashlib.md5(block, usedforsecurity=False).digest(), seconds),
        sha256=_rate(lambda: hashlib.sha256(block).digest(), seconds),
        syncs=syncs,
        cores=len(os.sched_getaffinity(0)),
    )


def _rate(work: Callable[[], object], seconds: float) -> float:
    """Bytes for each second of processor time, which others on the machine do not take away."""
    count, begun = 0, time.process_time()
    while (spent := time.process_time() - begun) < seconds:
        for _ in range(64):
            work()
        count += 64
    return count * _BLOCK / spent
