"""A deployment whose process dies at a named seam: `tests.faults.launcher` behind the black-box tests' harness."""

import contextlib
import itertools
import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.blackbox.process import Gateway, Process
from tests.tooling.places import ROOT

_DEATH_TIMEOUT_S: Final = 10
_COMMAND_TIMEOUT_S: Final = 60


class Launcher:
    """One process that forks gateways."""

    def __init__(self, trap: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.launcher", str(trap)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

        self._asking = threading.Lock()

    def ask(self, **command: Any) -> int:
        """Give a command and return its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._asking:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
            return int(self._process.stdout.readline())

    def close(self) -> None:
        """End it, and what it still runs."""
        self._process.communicate(timeout=_DEATH_TIMEOUT_S)


class Forked:
    """A gateway that the launcher runs; the part of `subprocess.Popen` that the harness uses."""

    def __init__(self, launcher: Launcher, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._launcher = launcher
        self._pidfd = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        if self.returncode is None and select.select([self._pidfd], [], [], 0)[0]:
            self._reap()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end. Raises: TimeoutExpired."""
        if self.returncode is None:
            if not select.select([self._pidfd], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("sealgate serve", timeout or 0)
            self._reap()
        assert self.returncode is not None
        return self.returncode

    def _reap(self) -> None:
        self.returncode = self._launcher.ask(wait=self.pid)
        os.close(self._pidfd)

    def send_signal(self, sig: int) -> None:
        """Send it, unless the process has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, sig)

    def kill(self) -> None:
        """Kill it."""
        self.send_signal(signal.SIGKILL)


class CrashingGateway(Gateway):
    """Starts through the launcher; `arm` says where the running gateway dies."""

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(folder, settings)
        self._trap = folder / "trap"
        self._commands = itertools.count(1)
        self._launcher = Launcher(self._trap)

    def _spawn(self, command: Sequence[str]) -> Process:
        start = {
            "arguments": list(command[1:]),
            "environment": self.environment(),
            "folder": str(self.folder),
            "log": str(self.log),
        }
        return Forked(self._launcher, self._launcher.ask(start=start))

    def spawned(self, command: Sequence[str]) -> Process:
        """Start another command of this deployment where the trap can strike it; its struck mark goes."""
        self._trap.with_suffix(".struck").unlink(missing_ok=True)
        return self._spawn(command)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command, forked and out of the trap's reach: importing is most of what one costs otherwise."""
        number = next(self._commands)
        said, errors = (self.folder / f"command-{number}.{name}" for name in ("out", "err"))
        start = {
            "arguments": arguments,
            "environment": self.environment() | {"SEALGATE_KEYS": str(self.keys)},
            "folder": str(self.folder),
            "log": str(said),
            "errors": str(errors),
            "is_trapped": False,
        }
        code = Forked(self._launcher, self._launcher.ask(start=start)).wait(_COMMAND_TIMEOUT_S)
        return subprocess.CompletedProcess(arguments, code, said.read_text(), errors.read_text())

    @contextlib.contextmanager
    def recording(self) -> Iterator[list[str]]:
        """Give a list that holds, once the block is left, every seam reached in it, in order."""
        reached: list[str] = []
        self._trap.write_text("record")
        try:
            yield reached
        finally:
            self._trap.unlink()
        found = self._trap.with_suffix(".reached")
        if found.exists():
            reached += found.read_text().split()
            found.unlink()

    def arm(self, seam: str, number: int) -> None:
        """Have the gateway die at that seam's `number`-th reach from now on."""
        order = self._trap.with_suffix(".order")
        order.write_text(f"kill {seam} {number}")
        order.rename(self._trap)

    def disarm(self) -> bool:
        """Take the trap away; say whether it has struck, in which case the process is dead on return."""
        struck = self._trap.with_suffix(".struck")
        with contextlib.suppress(FileNotFoundError):
            self._trap.unlink()
        if not struck.exists():
            return False
        struck.unlink()
        assert self._process is not None
        code = self._process.wait(_DEATH_TIMEOUT_S)
        assert code == -signal.SIGKILL, f"the gateway left with {code}, not by the trap"
        self._process = None
        return True

    def close(self) -> None:
        """End everything."""
        try:
            super().close()
        finally:
            self._launcher.close()
