"""`make bench` and `make bench-full`: the gateway and nginx side by side in one run, alternating, into `docs/BENCH.md`.

Every alternation takes one sample of every side, the first side another one each time. No rate means anything beside
another run's; ratios and CPU seconds do.
"""

import argparse
import contextlib
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from tests.bench import growth, measure, report
from tests.bench.measure import Sample
from tests.bench.report import Case
from tests.bench.sides import (
    BUCKET,
    BackendSide,
    GatewaySide,
    Missing,
    NginxSide,
    OnBackendSide,
    Side,
    acquire_programs,
)
from tests.blackbox.clients import s3_client
from tests.servers.s3_servers import MinIo, S3Server, SeaweedFs
from tests.tooling.places import TOOLS
from tests.tooling.tools import TABLE

MIB: Final = 1024 * 1024
LARGE: Final = 256 * MIB
SEEDED: Final = 64
"""Small objects that are read."""
EXIT_MISSING: Final = 3
FOLDER: Final = TOOLS / "bench"

MD5, OPAQUE, NO_SYNC = "gateway", "gateway opaque", "gateway opaque, no sync"
NO_COMMIT, FILES = "gateway, no commit", "gateway, file per object"
ONE, TWO = "nginx-1", "nginx-2"
BACKENDS: Final[dict[str, type[S3Server]]] = {"seaweedfs": SeaweedFs, "minio": MinIo}
"""MinIO takes part where it was compiled already."""


@dataclass(frozen=True)
class Form:
    """How long a run is."""

    alternations: int
    stream_bytes: int
    """Of each of four streams."""
    seconds: int
    sizes: list[int]


QUICK: Final = Form(3, LARGE // 4, 2, [1_000, 10_000, 100_000])
FULL: Final = Form(5, LARGE // 2, 4, [1_000, 10_000, 100_000, 1_000_000])


@dataclass(frozen=True)
class Work:
    """What one case does to one side; `number` counts the samples, for keys of their own."""

    case: Case
    sides: Sequence[str]
    run: Callable[[Side, int], Sample | tuple[Sample, Sample]]
    beside: Case | None = None
    """Takes the second sample of a run that gives two."""

    def take(self, name: str, side: Side, number: int) -> Sample:
        """Run once and keep what it gives; returns the first sample."""
        given = self.run(side, number)
        samples = given if isinstance(given, tuple) else (given,)
        cases = [self.case] if self.beside is None else [self.case, self.beside]
        for case, sample in zip(cases, samples, strict=True):
            case.samples.setdefault(name, []).append(sample)
        return samples[0]

    def cases(self) -> list[Case]:
        """Its cases, with the sides in their order."""
        cases = [self.case] if self.beside is None else [self.case, self.beside]
        for case in cases:
            case.samples = {name: case.samples[name] for name in self.sides}
        return cases


class Bench:
    """One run."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self._sides: dict[str, Side] = {}
        self._peaks: dict[str, int] = {}

    def run(self, undo: contextlib.ExitStack, only: str) -> list[Case]:
        """Start every side, seed it, take all samples."""
        self._start(undo)
        chosen = [work for work in self._works() if only in work.case.name]
        wanted = {name for work in chosen for name in work.sides}
        for name in wanted:
            self._seed(self._sides[name])
        for number in range(self._form.alternations):
            for work in chosen:
                turn = number % len(work.sides)
                for name in [*work.sides[turn:], *work.sides[:turn]]:
                    sample = work.take(name, self._sides[name], number)
                    _show(work.case, name, sample, number + 1, self._form.alternations)
        return [case for work in chosen for case in work.cases()]

    def peak_rss(self, undo: contextlib.ExitStack) -> dict[str, int]:
        """A fresh gateway under four uploads and four downloads at once."""
        side = GatewaySide("fresh", FOLDER / "fresh")
        undo.callback(side.close)
        _make_bucket(side)
        keys = [f"stream-{number}" for number in range(4)]
        peaks = {"at rest": measure.peak_rss_bytes(side)}
        measure.bulk(side, "PUT", self._form.stream_bytes, keys)
        peaks["after 4 PUTs"] = measure.peak_rss_bytes(side)
        measure.bulk(side, "GET", self._form.stream_bytes, keys)
        peaks["after 4 GETs as well"] = measure.peak_rss_bytes(side)
        return peaks

    def _start(self, undo: contextlib.ExitStack) -> None:
        opaque = {"SEALGATE_ETAG": "opaque"}
        gateways = (
            GatewaySide(MD5, FOLDER / "md5"),
            GatewaySide(OPAQUE, FOLDER / "opaque", opaque),
            GatewaySide(NO_SYNC, FOLDER / "no-sync", opaque, "no-sync"),
            GatewaySide(NO_COMMIT, FOLDER / "no-commit", {}, "no-commit"),
            GatewaySide(FILES, FOLDER / "files", {"SEALGATE_INLINE_MAX_BYTES": "0"}),
        )
        for side in gateways:
            undo.callback(side.close)
            self._sides[side.name] = side
            _make_bucket(side)
        for name in _backends():
            folder = FOLDER / name
            folder.mkdir()
            backend = BackendSide(name, BACKENDS[name](folder))
            undo.callback(backend.close)
            resting = OnBackendSide(f"gateway on {name}", FOLDER / f"on-{name}", backend)
            undo.callback(resting.close)
            _make_bucket(resting)
            self._sides |= {backend.name: backend, resting.name: resting}
        for workers in (1, 2):
            nginx = NginxSide(FOLDER / f"nginx-{workers}", workers, gateways[0].gateway.keys)
            undo.callback(nginx.close)
            self._sides[nginx.name] = nginx

    def _seed(self, side: Side) -> None:
        """Put what is read later: one large object, four streams' objects, and small ones."""
        print(f"seeding {side.name}", flush=True)
        if side.name != NO_COMMIT:
            measure.bulk(side, "PUT", LARGE, ["large"])
            measure.bulk(side, "PUT", self._form.stream_bytes, [f"stream-{at}" for at in range(4)])
            for key in _small_keys("seed", SEEDED):
                measure.put_once(side, key, b"b" * measure.SMALL_BYTES)

    def _works(self) -> list[Work]:
        form, seeded = self._form, _small_keys("seed", SEEDED)

        def streams(prefix: str, number: int) -> list[str]:
            return [f"{prefix}-{number}-{at}" for at in range(4)]

        def ranges(side: Side, _: int) -> Sample:
            shape = {"seconds": form.seconds, "connections": 16, "object_bytes": LARGE, "range_bytes": 64 * 1024}
            return measure.small(side, FOLDER, "GET", ["large"], **shape)

        def puts(side: Side, number: int) -> Sample:
            keys = _small_keys(f"put-{number}", 4000 * form.seconds)
            return measure.small(side, FOLDER, "PUT", keys, seconds=form.seconds, connections=64)

        def beside(method: str, *sides: str) -> Work:
            def run(side: Side, number: int) -> tuple[Sample, Sample]:
                key = "large" if method == "GET" else f"beside-{number % 2}"
                return measure.bulk_beside_small(side, FOLDER, method, LARGE, key, seeded, seconds=form.seconds + 1)

            case = Case(f"{method} 256 MiB beside 64 connections of 4 KiB GETs", True)
            return Work(case, sides, run, Case(f"GET 4 KiB, 64 connections, beside that {method}", False))

        def on_backend(method: str, name: str) -> Work:
            sides = (f"gateway on {name}", name)
            case = Case(f"{method} 256 MiB over {name}", True, ((*sides, 0.7),))
            key = "large" if method == "GET" else "put-{}"
            return Work(case, sides, lambda side, number: measure.bulk(side, method, LARGE, [key.format(number % 2)]))

        get_goal = ((MD5, ONE, 0.9),)
        put_goals = ((OPAQUE, ONE, 0.65), (MD5, ONE, 0.45))
        uploads = (MD5, OPAQUE, NO_SYNC, ONE, TWO)
        share = form.stream_bytes // MIB
        return [
            Work(
                Case("GET 256 MiB, 1 connection", True, get_goal),
                (MD5, ONE, TWO),
                lambda side, _: measure.bulk(side, "GET", LARGE, ["large"]),
            ),
            Work(
                Case(f"GET 4 x {share} MiB, 4 connections", True, get_goal),
                (MD5, ONE, TWO),
                lambda side, _: measure.bulk(side, "GET", form.stream_bytes, [f"stream-{at}" for at in range(4)]),
            ),
            Work(
                Case("PUT 256 MiB, 1 connection", True, put_goals),
                uploads,
                lambda side, number: measure.bulk(side, "PUT", LARGE, [f"put-{number % 2}"]),
            ),
            Work(
                Case(f"PUT 4 x {share} MiB, 4 connections", True, put_goals),
                uploads,
                lambda side, number: measure.bulk(side, "PUT", form.stream_bytes, streams("puts", number % 2)),
            ),
            Work(
                Case("PUT 4 KiB, 64 connections", False, ((MD5, NO_COMMIT, 0.55), (MD5, FILES, 3.0))),
                (MD5, NO_COMMIT, FILES, TWO),
                puts,
            ),
            Work(
                Case("GET 4 KiB, 64 connections", False),
                (MD5, ONE),
                lambda side, _: measure.small(side, FOLDER, "GET", seeded, seconds=form.seconds, connections=64),
            ),
            Work(Case("GET 64 KiB ranges, 16 connections", False), (MD5, ONE), ranges),
            *(on_backend(method, name) for name in _backends() for method in ("GET", "PUT")),
            beside("GET", MD5, ONE),
            beside("PUT", MD5, OPAQUE, ONE),
        ]


def _backends() -> list[str]:
    return [name for name in BACKENDS if TABLE[name].path.is_file()]


def _small_keys(prefix: str, count: int) -> list[str]:
    return [f"small/{prefix}/{number}" for number in range(count)]


def _make_bucket(side: GatewaySide) -> None:
    s3 = s3_client(side.gateway)
    s3.create_bucket(Bucket=BUCKET)
    s3.close()


def _show(case: Case, side: str, sample: Sample, turn: int, turns: int) -> None:
    rate = f"{sample.rate / 1e6:.0f} MB/s" if case.is_bulk else f"{sample.rate:.0f}/s"
    cpu = f"{sample.cpu_per_unit * 1e9:.2f} s/GB" if case.is_bulk else f"{sample.cpu_per_unit * 1e3:.2f} ms"
    print(f"[{turn}/{turns}] {case.name}: {side}: {rate}, CPU {cpu}", flush=True)


def main() -> int:
    """Return the exit code: 0, or 3 where a program is missing."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("--full", action="store_true", help="five alternations, a million objects")
    parser.add_argument(
        "--alternations", type=int, help="how often every side takes its turn; three, or five with --full"
    )
    parser.add_argument("--only", default="", help="cases whose name holds this text; writes no document")
    arguments = parser.parse_args()
    # The servers must not outlive a run that is told to stop.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    form = FULL if arguments.full else QUICK
    if arguments.alternations is not None:
        form = replace(form, alternations=arguments.alternations)
    began = time.monotonic()
    try:
        acquire_programs()
    except Missing as reason:
        print(f"MISSING {reason}")
        return EXIT_MISSING
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    with contextlib.ExitStack() as undo:
        undo.callback(shutil.rmtree, FOLDER, ignore_errors=True)
        bench = Bench(form)
        cases = bench.run(undo, arguments.only)
        if arguments.only:
            return 0
        rss = bench.peak_rss(undo)
        print("building the catalogue", flush=True)
        grown = growth.measure(FOLDER / "growth", form.sizes, 256)
    command = "make bench-full" if arguments.full else "make bench"
    if arguments.alternations is not None:
        command = f"python -m tests.bench {'--full ' if arguments.full else ''}--alternations {arguments.alternations}"
    note = f"Medians of {form.alternations} alternations; the run took {time.monotonic() - began:.0f} s."
    report.write(cases, grown, rss, command, note)
    print(f"written: {report.DOCUMENT.name}, {time.monotonic() - began:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
