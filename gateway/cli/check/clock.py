"""The clock: signatures, certificates and the order of versions rest on it.

Nothing is asked over the network: the clock is held against what this machine already knows. Source: adjtimex(2).
"""

import ctypes
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from gateway.cli.bootstrap import EARLIEST
from gateway.cli.check.report import Report
from gateway.config import CLOCK_SKEW_S
from gateway.wiring.folders import Folders

AREA: Final = "clock"
_TIMEX_BYTES: Final = 512
"""struct timex has 208 bytes; the kernel fills what it knows."""
_TIME_ERROR: Final = 5
_SLACK: Final = timedelta(seconds=5)
_JUMP_S: Final = 0.5


class Stopwatch:
    """Both clocks at one moment."""

    def __init__(self) -> None:
        self._wall_s, self._monotonic_s = time.time(), time.monotonic()

    def jump_s(self) -> float:
        """How far the wall clock has moved since, beyond the time that passed; negative: backwards."""
        return (time.time() - self._wall_s) - (time.monotonic() - self._monotonic_s)


def check_clock(report: Report, folders: Folders, now: datetime, since: Stopwatch) -> None:
    """Look for a time that cannot be, and for a clock that nobody keeps right."""
    if now < EARLIEST:
        report.fail(AREA, f"it says {now:%Y-%m-%d}, which is before this release", "set the clock")
        return
    newest = _newest(_writes(folders))
    if newest is not None and newest > now + _SLACK:
        report.fail(
            AREA,
            f"it says {now:%Y-%m-%d %H:%M:%S} UTC, but the catalogue was last written at {newest:%Y-%m-%d %H:%M:%S}",
            "set the clock: versions would be written in the past",
        )
    else:
        last = "" if newest is None else f"; the catalogue was last written at {newest:%Y-%m-%d %H:%M:%S}"
        report.ok(AREA, f"it says {now:%Y-%m-%d %H:%M:%S} UTC{last}")
    jump_s = since.jump_s()
    if abs(jump_s) > _JUMP_S:
        report.warn(AREA, f"it jumped by {jump_s:.1f} s during this check", "let one time service keep it, which slews")
    if is_synchronised() is False:
        report.warn(
            AREA,
            "the kernel knows of no time service that keeps it right",
            f"run chrony or systemd-timesyncd: clients whose clocks differ by more than {CLOCK_SKEW_S} s are refused",
        )


def _writes(folders: Folders) -> Iterable[Path]:
    return (folders.catalogue, folders.catalogue.with_name(folders.catalogue.name + "-wal"), folders.realm_file)


def _newest(paths: Iterable[Path]) -> datetime | None:
    times = []
    for path in paths:
        try:
            times.append(path.stat().st_mtime)
        except OSError:
            continue
    return datetime.fromtimestamp(max(times), UTC) if times else None


def is_synchronised() -> bool | None:
    """Whether the kernel's clock is kept by a time service; None where the system does not say."""
    adjtimex = getattr(ctypes.CDLL(None), "adjtimex", None)
    if adjtimex is None:
        return None
    state = adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))  # modes = 0: only read
    return None if state < 0 else state != _TIME_ERROR
