"""Runs the checks and every suite, each as a process of its own under its time budget, and sums up.

Two go side by side, but for the suites that measure time. What cannot be run for want of a tool is listed as NOT RUN
with the reason: never skipped in silence.
"""

import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Final
from xml.etree import ElementTree as ET

from tests.tooling import suites, tools
from tests.tooling.places import REPORTS, ROOT

EXIT_FAILED: Final = 1
EXIT_MISSING: Final = 3
SIDE_BY_SIDE: Final = 2
"""Processes of tests at a time. Each waits for gateways and clients that it started about half of its time."""
_POLL_S: Final = 0.1

_EVERY_BRANCH: Final = ("--cov-branch", "--cov-fail-under=100", "--cov-report=term-missing:skip-covered")
_CHECKS: Final = ("ruff format --check .", "ruff check .", "mypy", "lint-imports")


@dataclass(frozen=True)
class Outcome:
    """What became of one suite. `note` is empty for a good one."""

    name: str
    passed: int
    failed: int
    skipped: int
    seconds: float
    cpu_s: float
    """Of the suite and of what it waited for; not of what it killed and left."""
    budget_s: int
    note: str = ""


@dataclass(frozen=True)
class Job:
    """One process to run. `counted` tells from its exit code what passed, failed and was skipped, and what is wrong."""

    name: str
    command: Sequence[str]
    budget_s: int
    alone: bool
    counted: Callable[[int], tuple[int, int, int, str]]


@dataclass
class Running:
    """A job in a process group of its own; what it says goes to a file."""

    job: Job
    said: Path
    process: subprocess.Popen[bytes]
    began: float = field(default_factory=time.monotonic)
    cpu_s: float = 0.0

    @classmethod
    def of(cls, job: Job) -> "Running":
        """Start it."""
        print(f"=== {job.name} begins, at most {job.budget_s} s: {shlex.join(job.command)}", flush=True)
        said = REPORTS / f"{job.name}.log"
        with said.open("wb") as log:
            process = subprocess.Popen(
                job.command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return cls(job, said, process)

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.began

    @property
    def is_over(self) -> bool:
        """Whether it ended, or must be ended."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        if self.process.poll() is None:
            return self.seconds > self.job.budget_s
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return True

    def end(self) -> Outcome:
        """Kill what is left of the group, a gateway that a test forgot too; print what was said, and sum up."""
        code, seconds = self.process.returncode, self.seconds
        _kill_group(self.process.pid)
        self.process.wait()
        print(f"\n=== {self.job.name}, {seconds:.0f} s", flush=True)
        with self.said.open("rb") as said:
            shutil.copyfileobj(said, sys.stdout.buffer)
        sys.stdout.flush()
        passed, failed, skipped, note = self.job.counted(-1 if code is None else code)
        if code is None:
            note = "over budget, killed"
        # A suite that broke before it could count is one failure, so that the closing line never hides it.
        failed = max(failed, 1) if note else failed
        return Outcome(self.job.name, passed, failed, skipped, seconds, self.cpu_s, self.job.budget_s, note)


def run(*, full: bool, allow_missing: bool, allow_skips: bool, only: Sequence[str]) -> int:
    """Run everything, or the suites named by `only`; return the exit code."""
    signal.signal(signal.SIGTERM, _leave)
    began = time.monotonic()
    REPORTS.mkdir(parents=True, exist_ok=True)
    chosen = [suite for suite in suites.TABLE if suite.name in only or (not only and (full or not suite.is_long))]
    missing = tools.acquire(sorted({tool for suite in chosen for tool in suite.needs(full=full)}))
    not_run = {
        suite.name: "; ".join(missing[tool] for tool in suite.needs(full=full) if tool in missing)
        for suite in chosen
        if missing.keys() & set(suite.needs(full=full))
    }
    jobs = [] if only else [_check()]
    jobs += [_suite(suite, full=full, allow_skips=allow_skips) for suite in chosen if suite.name not in not_run]
    outcomes = run_jobs(jobs)
    _report(outcomes, not_run, time.monotonic() - began)
    if any(outcome.note for outcome in outcomes):
        return EXIT_FAILED
    return EXIT_MISSING if not_run and not allow_missing else 0


def run_jobs(jobs: Sequence[Job]) -> list[Outcome]:
    """Run them side by side, those alone at the end, and give what became of them in their own order."""
    # The longest first, as far as budgets tell, so that none is left over when the others are through.
    waiting = sorted(jobs, key=lambda job: (job.alone, -job.budget_s))
    running: list[Running] = []
    outcomes: dict[str, Outcome] = {}
    try:
        while waiting or running:
            while waiting and len(running) < (1 if waiting[0].alone else SIDE_BY_SIDE):
                running.append(Running.of(waiting.pop(0)))
            time.sleep(_POLL_S)
            for one in [one for one in running if one.is_over]:
                running.remove(one)
                outcomes[one.job.name] = one.end()
    finally:
        for one in running:
            one.end()
    return [outcomes[job.name] for job in jobs]


def _leave(number: int, _frame: FrameType | None) -> None:
    """Unwind on SIGTERM, so that the process groups of the running suites are ended on the way out."""
    sys.exit(128 + number)


def _check() -> Job:
    folder = Path(sys.executable).parent
    script = " && ".join(f"echo '$ {check}' && {shlex.quote(str(folder))}/{check}" for check in _CHECKS)

    def counted(code: int) -> tuple[int, int, int, str]:
        return (0, 1, 0, "see above which") if code else (len(_CHECKS), 0, 0, "")

    return Job("check", ["sh", "-c", script], suites.CHECK_BUDGET_S, alone=False, counted=counted)


def _suite(suite: suites.Suite, *, full: bool, allow_skips: bool) -> Job:
    report = REPORTS / f"{suite.name}.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", f"--junitxml={report}", "-o", "junit_family=xunit2", "--durations=3"]
    command += ["-p", "no:cacheprovider"]  # its folder is one for all
    command += ["--full"] if full else []
    command += [*_EVERY_BRANCH, f"--cov={suite.covers}"] if suite.covers else []
    without = () if full else suite.without
    # pytest runs what it is told to, ignored or not.
    command += [f"tests/{path}" for path in suite.paths if path not in without]
    command += suite.over
    command += [f"--ignore=tests/{path}" for path in (*_owned_by_others(suite), *without)]

    def counted(code: int) -> tuple[int, int, int, str]:
        passed, failed, skipped = _count(report)
        if code:
            note = f"pytest left with {code}"
        else:
            note = "skips are not allowed here" if skipped and not allow_skips else ""
        return passed, failed, skipped, note

    budget_s = suite.full_budget_s if full or suite.is_long else suite.budget_s
    return Job(suite.name, command, budget_s, suite.alone, counted)


def _owned_by_others(suite: suites.Suite) -> list[str]:
    mine = tuple(f"{path}/" for path in suite.paths)
    owners = (other for other in suites.TABLE if other is not suite and not other.over)
    return [path for other in owners for path in other.paths if path.startswith(mine)]


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def _count(report: Path) -> tuple[int, int, int]:
    """Return (passed, failed, skipped) from pytest's own report; a missing report counts as nothing run."""
    if not report.is_file():
        return 0, 0, 0
    root = ET.parse(report).getroot()  # noqa: S314  # written by our own pytest a moment ago
    numbers = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    for element in root.iter("testsuite"):
        for number in numbers:
            numbers[number] += int(element.get(number, "0"))
    failed = numbers["failures"] + numbers["errors"]
    return numbers["tests"] - failed - numbers["skipped"], failed, numbers["skipped"]


def _report(outcomes: Sequence[Outcome], not_run: dict[str, str], wall_s: float) -> None:
    print(f"\n{'suite':<16} {'passed':>7} {'failed':>7} {'skipped':>7} {'seconds':>8} {'cpu s':>7} {'budget':>7}")
    for one in outcomes:
        numbers = (
            f"{one.passed:>7} {one.failed:>7} {one.skipped:>7} {one.seconds:>8.1f} {one.cpu_s:>7.1f} {one.budget_s:>7}"
        )
        print(f"{one.name:<16} {numbers}  {one.note}".rstrip())
    for name, reason in not_run.items():
        print(f"NOT RUN {name}: {reason}")
    one_by_one_s, cpu_s = sum(one.seconds for one in outcomes), sum(one.cpu_s for one in outcomes)
    print(f"{'added up':<16} {one_by_one_s:>32.1f} {cpu_s:>7.1f}")
    print(f"{'all of it':<16} {wall_s:>32.1f} {'':>7} {suites.CI_LIMIT_S:>7}")
    passed, failed, skipped = (
        sum(getattr(one, field_name) for one in outcomes) for field_name in ("passed", "failed", "skipped")
    )
    print(f"\n{passed} passed, {failed} failed, {skipped} skipped", flush=True)
