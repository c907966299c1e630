"""Writes what a run measured into `docs/BENCH.md`, between two marks; what stands around them is kept.

Ratios are taken within one alternation and then the median of them, so that a burst of other work spoils
one of them only.
"""

import os
import platform
import ssl
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from tests.bench.growth import Growth
from tests.bench.measure import Sample
from tests.tooling.places import ROOT

DOCUMENT: Final = ROOT / "docs" / "BENCH.md"
_BEGIN: Final = "<!-- written by make bench: begin -->"
_END: Final = "<!-- written by make bench: end -->"
_LIBRARIES: Final = ("uvicorn", "uvloop", "starlette", "cryptography", "apsw-sqlite3mc", "httptools")

_PROMISES: Final = {
    "gateway": ("MD5", "blob, its folder, commit; up to 16 KiB in the commit alone"),
    "gateway opaque": ("random", "blob, its folder, commit"),
    "gateway opaque, no sync": ("random", "commit alone"),
    "gateway, no commit": ("MD5", "blob and its folder; its row is never written"),
    "gateway, file per object": ("MD5", "blob, its folder, commit, of small objects too"),
    **{
        name: ("MD5", promise)
        for backend in ("seaweedfs", "minio")
        for name, promise in (
            (f"gateway on {backend}", "commit; what the backend acknowledged is looked for"),
            (backend, "what the backend does by itself"),
        )
    },
    "nginx-1": ("none of the content", "nothing"),
    "nginx-2": ("none of the content", "nothing"),
}


@dataclass
class Case:
    """One line of work with the samples of every side. `goal` is (side, against, least ratio)."""

    name: str
    is_bulk: bool
    goals: Sequence[tuple[str, str, float]] = ()
    samples: dict[str, list[Sample]] = field(default_factory=dict)

    def ratio(self, side: str, against: str) -> float:
        """Median over the alternations of one side's rate by another's."""
        pairs = zip(self.samples[side], self.samples[against], strict=True)
        return statistics.median(one.rate / other.rate for one, other in pairs)


def write(cases: Sequence[Case], growth: Sequence[Growth], rss: dict[str, int], command: str, note: str) -> None:
    """Replace the part between the marks."""
    text = DOCUMENT.read_text() if DOCUMENT.exists() else f"# Bench\n\n{_BEGIN}\n{_END}\n"
    head, _, rest = text.partition(_BEGIN)
    _, _, tail = rest.partition(_END)
    lines = [*_machine(command, note), *_promises(cases), *_goals(cases, growth, rss), *_table(cases), *_growth(growth)]
    DOCUMENT.write_text(head + _BEGIN + "\n" + "\n".join(lines) + "\n" + _END + tail)


def _machine(command: str, note: str) -> list[str]:
    processor = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    nginx = subprocess.run(
        ["nginx", "-v"], capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"] + ":/usr/sbin"}
    )
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    return [
        "",
        f"`{command}`, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC.",
        f"{os.cpu_count()} cores of {processor}, Linux {platform.release()}, load {os.getloadavg()[0]:.1f} at the end.",
        f"Python {platform.python_version()}, {ssl.OPENSSL_VERSION}, {nginx.stderr.strip()}, {libraries}.",
        note,
        "",
    ]


def _promises(cases: Sequence[Case]) -> list[str]:
    """What each side does before it answers a PUT, and what all of them spoke: rates compare only under the same."""
    names = dict.fromkeys(side for case in cases for side in case.samples)
    spoken = sorted({sample.tls for case in cases for taken in case.samples.values() for sample in taken if sample.tls})
    return [
        "| side | ETag of a PUT | synced before its answer |",
        "|---|---|---|",
        *(f"| {name} | {_PROMISES[name][0]} | {_PROMISES[name][1]} |" for name in names),
        "",
        f"Every bulk connection of every side: {' and '.join(spoken)}.",
        "",
    ]


def _goals(cases: Sequence[Case], growth: Sequence[Growth], rss: dict[str, int]) -> list[str]:
    lines = ["| goal | wanted | measured | |", "|---|---|---|---|"]
    for case in cases:
        for side, against, least in case.goals:
            if side in case.samples and against in case.samples:
                ratio = case.ratio(side, against)
                mark = "met" if ratio >= least else "missed"
                lines.append(f"| {case.name}: {side} by {against} | >= {least:g} | {ratio:.2f} | {mark} |")
    largest = growth[-1]
    for name, value, most in (
        ("page of 1,000 keys", largest.page_ms, 10.0),
        ("1,000 common prefixes", largest.prefixes_ms, 40.0),
    ):
        mark = "met" if value < most else "missed"
        lines.append(f"| {name} of {largest.objects:,} | < {most:g} ms | {value:.1f} ms | {mark} |")
    for name, peak in rss.items():
        mark = "met" if peak < 150e6 else "missed"
        lines.append(f"| peak RSS, 4 streams, {name} | < 150 MB | {peak / 1e6:.0f} MB | {mark} |")
    return [*lines, ""]


def _table(cases: Sequence[Case]) -> list[str]:
    lines = [
        "| case | side | rate | server CPU | client CPU | p99 |",
        "|---|---|---|---|---|---|",
    ]
    for case in cases:
        for side, samples in case.samples.items():
            rate = statistics.median(sample.rate for sample in samples)
            cpu = statistics.median(sample.cpu_per_unit for sample in samples)
            client = statistics.median(sample.client_cpu_s / sample.units for sample in samples)
            if case.is_bulk:
                shown = f"{rate / 1e6:.0f} MB/s | {cpu * 1e9:.2f} s/GB | {client * 1e9:.2f} s/GB |  "
            else:
                p99 = statistics.median(sample.p99_ms for sample in samples)
                shown = f"{rate:.0f}/s | {cpu * 1e3:.2f} ms | {client * 1e3:.2f} ms | {p99:.0f} ms"
            lines.append(f"| {case.name} | {side} | {shown} |")
    return [*lines, ""]


def _growth(growth: Sequence[Growth]) -> list[str]:
    lines = ["| objects | page of 1,000 | 1,000 prefixes | get | durable put | open |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {one.objects:,} | {one.page_ms:.2f} ms | {one.prefixes_ms:.2f} ms | {one.get_ms:.2f} ms "
        f"| {one.put_ms:.2f} ms | {one.open_ms:.0f} ms |"
        for one in growth
    ]
    return [*lines, ""]
