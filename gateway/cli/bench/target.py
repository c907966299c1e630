"""What is measured: a gateway of the bench's own, in a folder that goes with it, or an endpoint that runs already."""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from gateway.cli.client_env import ClientEnv
from gateway.cli.exits import CommandError, Exit
from gateway.config import Settings, spelled

START_TIMEOUT_S: Final = 30.0
_STOP_TIMEOUT_S: Final = 30.0
_POLL_S: Final = 0.05
_TICKS: Final = os.sysconf("SC_CLK_TCK")
PASSED_ON: Final = (
    # Settings that decide about speed; all others of the bench's own gateway are the defaults.
    *("etag", "wrapping", "inline_max_bytes", "read_ahead_bytes", "read_budget_bytes", "max_requests"),
)


@dataclass(frozen=True, slots=True)
class Target:
    """An endpoint with credentials; `pid` is None where it is not ours."""

    env: ClientEnv
    pid: int | None = None

    def cpu_s(self) -> float | None:
        """Processor seconds that the gateway has used; None where it is not ours."""
        if self.pid is None:
            return None
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS


def running_endpoint(url: str, env_file: Path) -> Target:
    """An endpoint that serves already, with the credentials of a client.env.

    Raises:
        CommandError: the file is none that `serve` writes. KeysError: it cannot be read, or is open to others.
    """
    env = ClientEnv.read(env_file)
    if env is None:
        raise CommandError(f"{env_file} is not as `sealgate serve` writes it: give another --client-env", Exit.USAGE)
    if not url.startswith("https://"):
        raise CommandError("the endpoint is spoken to over https:// alone: correct --endpoint", Exit.USAGE)
    return Target(replace(env, endpoint_url=url.rstrip("/")))


def folder_beside(data: Path) -> Path:
    """A folder on the disk of the data folder in which a temporary one can be made; beside it where that is possible.

    Raises:
        CommandError: there is none.
    """
    data = data.resolve()
    disk = next(place for place in (data, *data.parents) if place.is_dir())
    candidates = (data.parent, disk)
    for place in candidates:
        if place.is_dir() and place.stat().st_dev == disk.stat().st_dev and os.access(place, os.W_OK | os.X_OK):
            return place
    raise CommandError(f"no folder on the disk of {data} can be written: give another --data", Exit.SETUP)


@contextmanager
def own_gateway(settings: Settings, place: Path) -> Iterator[Target]:
    """Start a gateway on free ports of loopback in a new folder below `place`; both are gone afterwards.

    Raises:
        CommandError: it did not start.
    """
    folder = Path(tempfile.mkdtemp(prefix=".sealgate-bench-", dir=place))
    try:
        port, admin_port = _free_ports(2)
        flags = {"data": folder / "data", "keys": folder / "keys", "port": port, "admin-port": admin_port}
        flags |= {"http-port": 0, "log-level": "warning"}
        flags |= {name.replace("_", "-"): spelled(getattr(settings, name)) for name in PASSED_ON}
        words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "gateway.cli.main", "serve", *words],
                cwd=folder,
                env={"PATH": os.defpath},  # nothing of this shell's settings
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            _await_ready(process, admin_port, folder / "log")
            env = ClientEnv.read(folder / "keys" / "client.env")
            assert env is not None, "it was just written"
            yield Target(env, process.pid)
        finally:
            _stop(process)
    finally:
        shutil.rmtree(folder)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]


def _await_ready(process: subprocess.Popen[bytes], admin_port: int, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            said = log.read_text(errors="replace").strip().splitlines()
            raise CommandError(f"the bench's own gateway did not start: {said[-1] if said else 'it said nothing'}")
        connection = http.client.HTTPConnection("127.0.0.1", admin_port, timeout=1)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == http.HTTPStatus.OK:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(_POLL_S)
    raise CommandError(f"the bench's own gateway was not ready in {START_TIMEOUT_S:.0f} s: try again", Exit.BUSY)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
