"""The process and the machine: files that may be open, memory, a processor with AES, ports that are free.

Sources: getrlimit(2); proc(5) meminfo, cpuinfo; the kernel's cgroup-v2 documentation (memory.max).
"""

import resource
from pathlib import Path
from typing import Final

from gateway.cli.check.report import Report
from gateway.config import Settings
from gateway.http.ports import check_free
from gateway.wiring.folders import Folders
from gateway.wiring.listeners import files_beside, server_settings

_MIB: Final = 1024**2
STREAM_BYTES: Final = 4 * _MIB
"""What a transfer holds at the most (DESIGN part 7)."""
BASE_BYTES: Final = 256 * _MIB
"""The interpreter, the libraries and the catalogue's caches; measured at about half of it."""
STREAMS: Final = 64
"""Transfers at once for which there should be room."""


def check_machine(report: Report, settings: Settings, folders: Folders, *, is_served: bool) -> None:
    """Look at the limits of this process and machine."""
    _check_files(report, settings)
    _check_memory(report, settings)
    _check_processor(report)
    told = server_settings(settings, folders)
    for address, setting in told.listeners():
        if is_served:
            continue
        before = report.counts()["failed"]
        with report.failing("ports"):
            check_free(address, setting)
        if report.counts()["failed"] == before:
            report.ok("ports", f"{address.host} port {address.port} is free")


def _check_files(report: Report, settings: Settings) -> None:
    wanted = settings.max_connections + files_beside(settings)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        report.warn(
            "open files",
            f"the system allows {hard}; {settings.max_connections} connections want {wanted}",
            "raise the hard limit (LimitNOFILE=, ulimit -Hn), or lower --max-connections",
        )
    else:
        allowed = "any number" if hard == resource.RLIM_INFINITY else str(hard)
        report.ok("open files", f"the system allows {allowed}; {wanted} are wanted")


def _check_memory(report: Report, settings: Settings) -> None:
    wanted = BASE_BYTES + settings.read_budget_bytes + STREAMS * STREAM_BYTES
    available = available_bytes()
    if available is None:
        report.warn("memory", "the system does not say how much is available", f"see that {wanted // _MIB} MiB are")
        return
    said = f"{available // _MIB} MiB are available; {wanted // _MIB} MiB serve {STREAMS} transfers at once"
    if available < wanted:
        report.warn("memory", said, "lower --max-requests and --read-budget-bytes, or add memory")
    else:
        report.ok("memory", said)


def available_bytes() -> int | None:
    """What this process may still take: of the machine, or of the container's limit if that is less."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        found = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return None
    folder = Path("/sys/fs/cgroup")
    try:
        limit = (folder / "memory.max").read_text().strip()
        used = int((folder / "memory.current").read_text())
    except (OSError, ValueError):
        return found
    return found if limit == "max" else min(found, max(0, int(limit) - used))


def _check_processor(report: Report) -> None:
    try:
        about = Path("/proc/cpuinfo").read_text()
    except OSError:
        return
    flags = next((line for line in about.splitlines() if line.lower().startswith(("flags", "features"))), "")
    if flags and "aes" not in flags.split():
        report.warn("processor", "it has no AES instructions: sealing is many times slower", "use one that has")
    elif flags:
        report.ok("processor", "it has AES instructions")
