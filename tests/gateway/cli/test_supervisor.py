"""The supervisor of several workers, over fakes of them: what it does about each way in which one may end.

The fake is a process that speaks the link's lines and ends as it is told; tests/several/test_workers.py has real ones.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import supervisor
from gateway.cli.exits import Exit
from gateway.cli.supervisor import Supervisor
from gateway.config import Settings
from gateway.http.ports import Endpoint
from gateway.http.server import Bound, ServerSettings
from gateway.http.tls import Certificate
from tests.gateway.http.edge import until

FAKE = """#!{python}
import json, os, signal, socket, sys, time
end = socket.socket(fileno=int(sys.argv[-1]))
lines, out = end.makefile("r"), end.makefile("w")
orders = json.loads(lines.readline())
number = orders["number"]
with open({starts!r}, "a") as starts:
    print(number, file=starts)
with open({starts!r}) as starts:
    start = starts.read().split().count(str(number))
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
{body}
"""
STAND = 'print(json.dumps({"is_first": number == 1}), file=out, flush=True)\n'
ANSWER = """
for line in lines:
    asked, question = json.loads(line)
    answer = [["sealgate_x", "Text.", "gauge", [["sealgate_x", {"of": "a"}, float(number)]]]]
    told = answer if question == "counts" else True
    print(json.dumps([asked, told]), file=out, flush=True)
"""
PYTHON = sys.executable
LOOPBACK = Endpoint("127.0.0.1", 0)


class Ran:
    """What one run came to."""

    def __init__(
        self, place: Path, monkeypatch: pytest.MonkeyPatch, body: str, workers: int = 2, **settings: Any
    ) -> None:
        self.starts = place / "starts"
        self.starts.touch()
        fake = place / "worker"
        fake.write_text(FAKE.format(python=PYTHON, starts=str(self.starts), body=body))
        fake.chmod(0o700)
        monkeypatch.setattr(sys, "executable", str(fake))
        monkeypatch.setattr(supervisor, "_FIRST_PAUSE_S", 0.01)
        self.greeted: list[bool] = []
        of_all: dict[str, Any] = {"workers": workers, "catalogue": "postgres"}
        certificate = Certificate(place / "none", place / "none")
        self.supervisor = Supervisor(
            Settings(**of_all, **settings, postgres_password_file=place / "password"),
            ServerSettings(LOOPBACK, LOOPBACK, certificate, LOOPBACK),
            self._on_started,
        )
        self.told: list[tuple[bool, bytes]] = []

    def _on_started(self, bound: Bound, *, is_first: bool) -> None:
        assert bound.https.port != 0
        assert bound.plain is not None
        self.greeted.append(is_first)

    async def _look(self, deaths: int) -> None:
        died = f"sealgate_worker_deaths_total {deaths}.0".encode()
        await until(lambda: bool(self.greeted))
        while died not in await self.supervisor.metrics():
            pass
        await until(lambda: len(self.supervisor._standing) == 2)
        self.told.append((await self.supervisor.is_ready(), await self.supervisor.metrics()))
        os.kill(os.getpid(), signal.SIGTERM)

    def run(self, *, deaths: int = 0, ends_itself: bool = False) -> int:
        """Run until it has seen so many deaths, or until it leaves by itself; give its code."""

        async def main() -> int:
            looking = asyncio.create_task(self._look(deaths)) if not ends_itself else None
            async with asyncio.timeout(60):
                code = await self.supervisor.run()
            if looking is not None:
                await looking
            return code

        return asyncio.run(main())

    @property
    def started(self) -> list[str]:
        """The numbers of all workers that were started, in order."""
        return self.starts.read_text().split()


def test_all_stand_answer_and_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = Ran(tmp_path, monkeypatch, STAND + ANSWER)
    assert ran.run() == Exit.OK
    ((is_ready, page),) = ran.told
    assert is_ready
    for number in (1, 2):
        assert f'sealgate_x{{of="a",worker="{number}"}} {number}.0\n'.encode() in page
    assert page.count(b"# TYPE sealgate_x gauge") == 1
    assert ran.greeted == [True]
    assert ran.started == ["1", "2"]


def test_a_first_one_that_cannot_start_is_the_only_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = Ran(tmp_path, monkeypatch, "sys.exit(4)", workers=4)
    assert ran.run(ends_itself=True) == Exit.SETUP
    assert ran.started == ["1"]
    assert not ran.greeted


def test_no_one_serves_on_where_another_cannot_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = Ran(tmp_path, monkeypatch, "if number == 2: sys.exit(8)\n" + STAND + ANSWER)
    assert ran.run(ends_itself=True) == Exit.BUSY
    assert ran.started == ["1", "2"]
    assert not ran.greeted


@pytest.mark.parametrize("end", ["sys.exit(1)", "sys.exit(0)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_one_that_dies_is_replaced_as_often_as_it_takes(
    end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its second start fails while the other serves on, and the third goes well.
    body = f"if number == 2 and start == 2: {end}\n{STAND}if number == 2 and start == 1: time.sleep(1); {end}\n{ANSWER}"
    ran = Ran(tmp_path, monkeypatch, body)
    assert ran.run(deaths=2) == Exit.OK
    assert ran.started == ["1", "2", "2", "2"]
    ((is_ready, _),) = ran.told
    assert is_ready
    assert ran.greeted == [True]


def test_one_that_lost_its_keys_ends_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The canary's answer was wrong: the others hold the same keys, and would learn it only later."""
    ran = Ran(tmp_path, monkeypatch, STAND + f"if number == 2: time.sleep(1); sys.exit({Exit.KEYS:d})\n" + ANSWER)
    assert ran.run(ends_itself=True) == Exit.KEYS
    assert ran.started == ["1", "2"]


def test_one_that_does_not_answer_is_not_ready_and_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_ANSWER_S", 0.2)
    ran = Ran(tmp_path, monkeypatch, STAND + "if number == 2: time.sleep(60)\n" + ANSWER)
    assert ran.run() == Exit.OK
    ((is_ready, page),) = ran.told
    assert not is_ready
    assert b'worker="1"' in page
    assert b'worker="2"' not in page


def test_one_that_stands_still_is_killed_and_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    body = STAND + "if number == 2 and start == 1: os.kill(os.getpid(), signal.SIGSTOP)\n" + ANSWER
    ran = Ran(tmp_path, monkeypatch, body, worker_timeout_s=1)
    assert ran.run(deaths=1) == Exit.OK
    assert ran.started == ["1", "2", "2"]
    assert "worker 2" in caplog.text
    assert "stands still: it is killed" in caplog.text
    assert "worker 2 was killed by SIGKILL" in caplog.text


def test_one_that_does_not_end_is_killed_behind_its_drain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    body = STAND + "if number == 2: signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + ANSWER + "time.sleep(60)"
    ran = Ran(tmp_path, monkeypatch, body, worker_timeout_s=1, drain_timeout_s=1)
    assert ran.run() == Exit.BUG
    assert "does not end: it is killed" in caplog.text


def test_a_late_answer_is_not_taken_for_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    late = (
        "line = json.loads(lines.readline())\n"
        f"while not os.path.exists({str(tmp_path / 'go')!r}): time.sleep(0.01)\n"
        "print(json.dumps([line[0], 'late']), file=out, flush=True)\n"
    )
    ran = Ran(tmp_path, monkeypatch, STAND + late + ANSWER)
    monkeypatch.setattr(supervisor, "_ANSWER_S", 0.2)

    async def look(_: int) -> None:
        await until(lambda: len(ran.supervisor._standing) == 2 and bool(ran.greeted))
        assert not await ran.supervisor.is_ready()
        monkeypatch.setattr(supervisor, "_ANSWER_S", 30)
        (tmp_path / "go").touch()
        ran.told.append((await ran.supervisor.is_ready(), await ran.supervisor.metrics()))
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(ran, "_look", look)
    assert ran.run() == Exit.OK
    ((is_ready, page),) = ran.told
    assert is_ready
    assert b'worker="2"' in page


def test_where_no_process_can_be_started_it_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = Ran(tmp_path, monkeypatch, STAND)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nowhere"))
    assert ran.run(ends_itself=True) == Exit.BUSY
