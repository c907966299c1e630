"""Runs the checks and every suite, each as a process of its own under its time budget, and sums up.

What cannot be run for want of a tool is listed as NOT RUN with the reason: never skipped in silence.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final
from xml.etree import ElementTree as ET

from tests.tooling import suites, tools
from tests.tooling.places import REPORTS, ROOT

EXIT_FAILED: Final = 1
EXIT_MISSING: Final = 3

_CHECKS: Final = (
    ("ruff", "format", "--check", "."),
    ("ruff", "check", "."),
    ("mypy",),
    ("lint-imports",),
)


@dataclass(frozen=True)
class Outcome:
    """What became of one suite. `note` is empty for a good one."""

    name: str
    passed: int
    failed: int
    skipped: int
    seconds: float
    budget_s: int
    note: str = ""


def run(*, full: bool, allow_missing: bool, allow_skips: bool, only: Sequence[str]) -> int:
    """Run everything, or the suites named by `only`; return the exit code."""
    signal.signal(signal.SIGTERM, _leave)
    chosen = [suite for suite in suites.TABLE if suite.name in only or (not only and (full or not suite.is_long))]
    missing = tools.acquire(sorted({tool for suite in chosen for tool in suite.needs(full=full)}))
    outcomes = [] if only else [_check()]
    not_run = {}
    for suite in chosen:
        lacking = [missing[tool] for tool in suite.needs(full=full) if tool in missing]
        if lacking:
            not_run[suite.name] = "; ".join(lacking)
            continue
        outcomes.append(_suite(suite, full=full, allow_skips=allow_skips))
    _report(outcomes, not_run)
    if any(outcome.note for outcome in outcomes):
        return EXIT_FAILED
    return EXIT_MISSING if not_run and not allow_missing else 0


def _leave(number: int, _frame: FrameType | None) -> None:
    """Unwind on SIGTERM, so that the running suite's process group is ended on the way out."""
    sys.exit(128 + number)


def _check() -> Outcome:
    started = time.monotonic()
    failed = 0
    note = ""
    for command in _CHECKS:
        left_s = suites.CHECK_BUDGET_S - (time.monotonic() - started)
        code = _process([str(Path(sys.executable).with_name(command[0])), *command[1:]], "check", left_s)
        if code != 0:
            failed += 1
            note = "over budget" if code is None else f"{' '.join(command)} failed"
    seconds = time.monotonic() - started
    return Outcome("check", len(_CHECKS) - failed, failed, 0, seconds, suites.CHECK_BUDGET_S, note)


def _suite(suite: suites.Suite, *, full: bool, allow_skips: bool) -> Outcome:
    budget_s = suite.full_budget_s if full or suite.is_long else suite.budget_s
    REPORTS.mkdir(parents=True, exist_ok=True)
    report = REPORTS / f"{suite.name}.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", f"--junitxml={report}", "-o", "junit_family=xunit2", "--durations=3"]
    command += ["--full"] if full else []
    command += [f"tests/{path}" for path in suite.paths]
    command += suite.over
    command += [f"--ignore=tests/{path}" for path in (*_owned_by_others(suite), *(() if full else suite.without))]
    started = time.monotonic()
    code = _process(command, suite.name, budget_s)
    seconds = time.monotonic() - started
    passed, failed, skipped = _count(report)
    if code is None:
        note = "over budget, killed"
    elif code != 0:
        note = f"pytest left with {code}"
    elif skipped and not allow_skips:
        note = "skips are not allowed here"
    elif seconds > budget_s:
        note = "over budget"
    else:
        note = ""
    # A suite that broke before it could count is one failure, so that the closing line never hides it.
    return Outcome(suite.name, passed, max(failed, 1) if note else failed, skipped, seconds, budget_s, note)


def _owned_by_others(suite: suites.Suite) -> list[str]:
    mine = tuple(f"{path}/" for path in suite.paths)
    owners = (other for other in suites.TABLE if other is not suite and not other.over)
    return [path for other in owners for path in other.paths if path.startswith(mine)]


def _process(command: Sequence[str], name: str, budget_s: float) -> int | None:
    """Run one command in a process group of its own; kill the group at the budget and return None."""
    shown = " ".join([Path(command[0]).name, *command[1:]])
    print(f"\n=== {name}, at most {budget_s:.0f} s: {shown}", flush=True)
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            return process.wait(timeout=max(budget_s, 1))
        except subprocess.TimeoutExpired:
            return None
        finally:
            # Also after a good end: a gateway that a test left behind must not outlive its suite.
            _kill_group(process.pid)
            process.wait()


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


def _report(outcomes: Sequence[Outcome], not_run: dict[str, str]) -> None:
    print(f"\n{'suite':<12} {'passed':>7} {'failed':>7} {'skipped':>7} {'seconds':>8} {'budget':>7}")
    for one in outcomes:
        numbers = f"{one.passed:>7} {one.failed:>7} {one.skipped:>7} {one.seconds:>8.1f} {one.budget_s:>7}"
        print(f"{one.name:<12} {numbers}  {one.note}".rstrip())
    for name, reason in not_run.items():
        print(f"NOT RUN {name}: {reason}")
    print(f"{'all of it':<12} {sum(one.seconds for one in outcomes):>32.1f} {suites.CI_LIMIT_S:>7}")
    passed, failed, skipped = (
        sum(getattr(one, field) for one in outcomes) for field in ("passed", "failed", "skipped")
    )
    print(f"\n{passed} passed, {failed} failed, {skipped} skipped", flush=True)
