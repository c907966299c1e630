"""Where the time of a bulk transfer over a backend goes: what ran, what was ready and waited for a core, what waited.

`python -m tests.bench.threads BACKEND [ALTERNATIONS]` prints, in seconds for each GB, what the gateway's loop, its
other threads and the backend did during GET and PUT of 256 MiB, beside the same client straight to the backend. On a
machine that other work shares, a rate is what that work left over; these figures tell apart work, lack of cores, and
waits.

Source: Documentation/scheduler/sched-stats.rst of Linux, /proc/<pid>/schedstat.
"""

import argparse
import contextlib
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench import measure
from tests.bench.__main__ import BACKENDS, FOLDER, LARGE
from tests.bench.sides import BUCKET, BackendSide, OnBackendSide
from tests.blackbox.clients import s3_client

_GB: Final = LARGE / 1e9
_PLACE: Final = FOLDER.with_name("bench-threads")


@dataclass(frozen=True)
class Spent:
    """Seconds of some threads."""

    ran_s: float = 0.0
    queued_s: float = 0.0
    """Ready to run, and without a core."""

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(self.ran_s + other.ran_s, self.queued_s + other.queued_s)

    def since(self, before: "Spent") -> "Spent":
        """What was added."""
        return Spent(self.ran_s - before.ran_s, self.queued_s - before.queued_s)

    def __str__(self) -> str:
        return f"ran {self.ran_s / _GB:.2f}, queued {self.queued_s / _GB:.2f}"


def threads_of(pid: int) -> dict[int, Spent]:
    """What every thread of a process has spent since it began."""
    spent = {}
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            ran, queued, _ = (thread / "schedstat").read_text().split()
            spent[int(thread.name)] = Spent(int(ran) / 1e9, int(queued) / 1e9)
    return spent


def spent_between(before: dict[int, Spent], after: dict[int, Spent]) -> dict[int, Spent]:
    """By thread; those that ended in between are left out."""
    return {thread: spent.since(before.get(thread, Spent())) for thread, spent in after.items()}


def show(method: str, key: str, resting: OnBackendSide, backend: BackendSide) -> None:
    """Move one object through the gateway and one straight, and print what both took."""
    gateway, store = resting.gateway.pid, backend.server.pid
    before = threads_of(gateway), threads_of(store)
    through = measure.bulk(resting, method, LARGE, [key])
    others, stored = spent_between(before[0], threads_of(gateway)), spent_between(before[1], threads_of(store))
    loop = others.pop(gateway)  # the first thread of a process has its id
    waited = through.seconds - loop.ran_s - loop.queued_s
    print(
        f"{method} through: {through.seconds / _GB:.2f}; loop {loop}, waited {waited / _GB:.2f}; "
        f"other threads {sum(others.values(), Spent())}; backend {sum(stored.values(), Spent())}; "
        f"client ran {through.client_cpu_s / _GB:.2f}",
        flush=True,
    )
    began = threads_of(store)
    straight = measure.bulk(backend, method, LARGE, [key])
    stored = spent_between(began, threads_of(store))
    print(
        f"{method} straight: {straight.seconds / _GB:.2f}; backend {sum(stored.values(), Spent())}; "
        f"client ran {straight.client_cpu_s / _GB:.2f}; ratio {straight.seconds / through.seconds:.2f}",
        flush=True,
    )


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.threads")
    parser.add_argument("backend", choices=BACKENDS)
    parser.add_argument("alternations", type=int, nargs="?", default=3)
    arguments = parser.parse_args()
    shutil.rmtree(_PLACE, ignore_errors=True)
    (_PLACE / "backend").mkdir(parents=True)
    with contextlib.ExitStack() as undo:
        undo.callback(shutil.rmtree, _PLACE, ignore_errors=True)
        backend = BackendSide(arguments.backend, BACKENDS[arguments.backend](_PLACE / "backend"))
        undo.callback(backend.close)
        resting = OnBackendSide("gateway", _PLACE / "on", backend)
        undo.callback(resting.close)
        with contextlib.closing(s3_client(resting.gateway)) as s3:
            s3.create_bucket(Bucket=BUCKET)
        for side in (resting, backend):
            measure.bulk(side, "PUT", LARGE, ["large"])
        for number in range(arguments.alternations):
            show("GET", "large", resting, backend)
            show("PUT", f"put-{number % 2}", resting, backend)
    return 0


if __name__ == "__main__":
    sys.exit(main())
