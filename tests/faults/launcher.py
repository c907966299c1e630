"""Runs the real `sealgate` command in forked processes, with a trap in the seams that records or kills.

Started as `python -m tests.faults.launcher TRAP`. It imports the gateway once and forks for every start, since
importing is most of what a start costs. Commands are JSON lines on standard input: `{"start": {...}}` answers a process
id, `{"wait": pid}` answers the exit code, negative for a signal. The end of standard input kills what still runs.

The file TRAP steers a running gateway: absent, nothing happens; `record`, the name of every seam reached is appended to
TRAP.reached; `kill NAME NUMBER`, the process kills itself with SIGKILL at that seam's NUMBER-th reach from then on,
after renaming TRAP to TRAP.struck.
"""

import json
import os
import signal
import sys
import threading
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import gateway.cli.migrate
import gateway.cli.moving
import gateway.cli.scrub
import gateway.cli.serve
import gateway.moving.bucket_target  # noqa: F401 - imported here once, so that no start pays for it
from gateway.cli.main import main
from gateway.engine.sweep import Sweeper
from gateway.wiring import gateway as wiring
from storage import seams

ORPHAN_GRACE: Final = "TRAP_ORPHAN_GRACE_S"
"""A shorter grace than any setting may have, for stores in which nothing can be made older."""


class Trap:
    """The hook; seams are reached on the loop, in pools and in the catalogue's writer alike."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._armed = ""
        self._count = 0

    def __call__(self, name: str) -> None:
        with self._lock:
            try:
                order = self._path.read_text()
            except FileNotFoundError:
                return
            if order == "record":
                with self._path.with_suffix(".reached").open("a") as reached:
                    reached.write(name + "\n")
                return
            if order != self._armed:
                self._armed, self._count = order, 0
            _, wanted, number = order.split()
            self._count += name == wanted
            if name == wanted and self._count == int(number):
                self._path.rename(self._path.with_suffix(".struck"))
                os.kill(os.getpid(), signal.SIGKILL)


def _start(
    trap: Path,
    arguments: list[str],
    environment: dict[str, str],
    folder: str,
    log: str,
    errors: str = "",
    is_trapped: bool = True,
) -> int:
    """Fork a command; its output goes to `log`, and what it says on standard error to `errors`, if that is given."""
    pid = os.fork()
    if pid != 0:
        return pid
    try:
        log_fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        errors_fd = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600) if errors else log_fd
        null_fd = os.open(os.devnull, os.O_RDONLY)
        for target, source in ((0, null_fd), (1, log_fd), (2, errors_fd)):
            os.dup2(source, target)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = ["sealgate", *arguments]
        if ORPHAN_GRACE in environment:
            vars(wiring)["Sweeper"] = partial(_sweeper, timedelta(seconds=float(environment[ORPHAN_GRACE])))
        if is_trapped:
            seams.hook = Trap(trap)
        main()
    except SystemExit as leaving:
        sys.stdout.flush()
        os._exit(leaving.code if isinstance(leaving.code, int) else 1)
    finally:
        os._exit(70)


def _sweeper(grace: timedelta, **given: Any) -> Sweeper:
    return Sweeper(**given | {"orphan_grace": grace})


def _serve(trap: Path) -> None:
    running: set[int] = set()
    for line in sys.stdin:
        command: dict[str, Any] = json.loads(line)
        if "start" in command:
            pid = _start(trap, **command["start"])
            running.add(pid)
            print(pid, flush=True)
        else:
            _, status = os.waitpid(command["wait"], 0)
            running.discard(command["wait"])
            print(os.waitstatus_to_exitcode(status), flush=True)
    for pid in running:
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
