"""The runner of the suites: who runs beside whom, what becomes of failures, and that nothing outlives it."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.servers.ports import free_ports
from tests.tooling import runner, suites
from tests.tooling.places import ROOT
from tests.tooling.runner import Job, run_jobs


@pytest.fixture(autouse=True)
def _reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "REPORTS", tmp_path)


def job(name: str, script: str, budget_s: int = 30, *, alone: bool = False) -> Job:
    def counted(code: int) -> tuple[int, int, int, str]:
        return (1, 0, 0, "") if code == 0 else (0, 0, 0, f"left with {code}")

    return Job(name, ["sh", "-c", script], budget_s, alone, counted)


def meets(folder: Path, own: str, other: str) -> str:
    """Say `own` is here, and wait for `other`, 10 s at most."""
    return f"touch {folder / own}; for i in $(seq 100); do [ -e {folder / other} ] && exit 0; sleep 0.1; done; exit 1"


def test_two_run_at_a_time_and_are_told_in_their_own_order(tmp_path: Path) -> None:
    outcomes = run_jobs([job("a", meets(tmp_path, "a", "b"), 20), job("b", meets(tmp_path, "b", "a"))])
    assert [(one.name, one.passed, one.note) for one in outcomes] == [("a", 1, ""), ("b", 1, "")]


def test_who_runs_alone_meets_nobody(tmp_path: Path) -> None:
    busy = f"mkdir {tmp_path / 'busy'} && sleep 0.3 && rmdir {tmp_path / 'busy'}"
    lone = [job(f"lone-{number}", busy, alone=True) for number in range(2)]
    beside = [job(f"beside-{number}", f"sleep 0.2; [ ! -e {tmp_path / 'busy'} ]") for number in range(3)]
    assert [one.note for one in run_jobs([*lone, *beside])] == [""] * 5


def test_what_a_job_says_is_printed_whole_at_its_end(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    run_jobs([job(name, f"echo {name}1; sleep 0.3; echo {name}2") for name in "ab"])
    said = capfdbinary.readouterr().out
    assert b" s\na1\na2\n" in said
    assert b" s\nb1\nb2\n" in said


def test_a_failure_is_told_and_counted_where_the_job_could_not() -> None:
    bad, good = run_jobs([job("bad", "exit 7"), job("good", "true")])
    assert (bad.failed, bad.note) == (1, "left with 7")
    assert (good.failed, good.note) == (0, "")


def test_a_job_over_its_budget_goes_with_all_that_it_started(tmp_path: Path) -> None:
    (hung,) = run_jobs([job("hung", f"sleep 60 & echo $! > {tmp_path / 'pid'}; wait", 1)])
    assert (hung.failed, hung.note) == (1, "over budget, killed")
    assert _is_ended(int((tmp_path / "pid").read_text()))


def test_terminated_it_ends_all_and_prints_what_they_said(tmp_path: Path) -> None:
    scripts = [f"echo said by {name}; sleep 60 & echo $! > {tmp_path / name}; wait" for name in "ab"]
    program = (
        "import signal; from pathlib import Path; from tests.tooling import runner;"
        "signal.signal(signal.SIGTERM, runner._leave);"
        f"runner.REPORTS = Path({str(tmp_path)!r});"
        f"runner.run_jobs([runner.Job(str(i), ['sh', '-c', s], 60, False, lambda code: (0, 0, 0, 'x'))"
        f" for i, s in enumerate({scripts!r})])"
    )
    running = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    until = time.monotonic() + 20
    while not all((tmp_path / name).exists() and (tmp_path / name).read_text().strip() for name in "ab"):
        assert time.monotonic() < until
        time.sleep(0.05)
    running.send_signal(signal.SIGTERM)
    said, _ = running.communicate(timeout=20)
    assert running.returncode == 128 + signal.SIGTERM
    assert "said by a" in said
    assert "said by b" in said
    assert all(_is_ended(int((tmp_path / name).read_text())) for name in "ab")


def test_ports_are_of_one_process_of_tests_alone() -> None:
    mine = free_ports(100)
    assert len(set(mine)) == 100
    ask = f"from tests.servers import ports; print([port for port in {mine} if ports._reserve(port)])"
    other = subprocess.run([sys.executable, "-c", ask], cwd=ROOT, capture_output=True, text=True, check=True)
    assert other.stdout == "[]\n"


def _is_ended(pid: int) -> bool:
    """Whether it ends in 10 s, long before it would by itself; one that nobody has waited for is dead as well."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            if "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text():
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False


def test_a_suite_that_must_run_every_branch_fails_below_that() -> None:
    (suite,) = [suite for suite in suites.TABLE if suite.covers]
    command = runner._suite(suite, full=False, allow_skips=False).command
    assert {"--cov=keys", "--cov-branch", "--cov-fail-under=100"} <= set(command)
    other = runner._suite(suites.TABLE[0], full=False, allow_skips=False).command
    assert not any(word.startswith("--cov") for word in other)
