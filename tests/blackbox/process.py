"""Starts, stops, kills and restarts the real `sealgate serve` in a folder of its own, on free loopback ports.

It knows the gateway only by its command line, `client.env` and the admin listener, as an operator does.
"""

import http.client
import json
import os
import shlex
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from tests.servers.ports import free_ports
from tests.tooling.places import bare_environment

_START_TIMEOUT_S: Final = 120
"""A guard against a start that hangs; on a machine that is busy with other things one has taken more than 30 s."""
_STOP_TIMEOUT_S: Final = 15
_COMMAND_TIMEOUT_S: Final = 60
_POLL_S: Final = 0.05
PROGRAM: Final = Path(sys.executable).with_name("sealgate")


class GatewayFailed(Exception):
    """The process did not do what its command line promises; the message carries the end of its log."""


@dataclass(frozen=True)
class Credentials:
    """One access key as a client needs it."""

    access_key_id: str
    secret_access_key: str


class Process(Protocol):
    """What is needed of a running process: a part of `subprocess.Popen`."""

    pid: int
    returncode: Any

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def send_signal(self, sig: int) -> None: ...

    def kill(self) -> None: ...


class Gateway:
    """One deployment: `folder` holds data, keys and logs; `settings` are further `SEALGATE_*` variables.

    The ports stay the same over restarts. Logs of every run are kept, at debug level, in `folder/logs`. Beside another
    gateway it serves the same data with the same keys, out of a folder of its own; with `has_own_data` only the keys
    folder is shared, and the settings say where catalogue and blobs are.
    """

    start_timeout_s = _START_TIMEOUT_S

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, str] | None = None,
        *,
        beside: "Gateway | None" = None,
        has_own_data: bool = False,
    ) -> None:
        self.folder = folder
        self.data: Path = folder / "sealgate-data" if beside is None or has_own_data else beside.data
        self.keys: Path = folder / "sealgate-keys" if beside is None else beside.keys
        self.logs = folder / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.port, self.admin_port, self.http_port = free_ports(3)
        self._settings = {"SEALGATE_LOG_LEVEL": "debug"} | dict(settings or {})
        self._process: Process | None = None
        self._runs = 0

    @property
    def client_env(self) -> Path:
        """The file of `export` lines that makes every AWS tool work."""
        return self.keys / "client.env"

    def client_variables(self) -> dict[str, str]:
        """Return the variables of `client.env`, read as a shell reads them."""
        variables = {}
        for line in self.client_env.read_text().splitlines():
            words = shlex.split(line, comments=True)
            if not words:
                continue
            if words[0] != "export" or len(words) != 2:
                raise GatewayFailed(f"client.env holds more than export lines: {words[0]!r}")
            name, _, value = words[1].partition("=")
            variables[name] = value
        return variables

    @property
    def endpoint(self) -> str:
        """The HTTPS endpoint, as told to clients."""
        scheme, host, _ = self.client_variables()["AWS_ENDPOINT_URL"].split(":")  # the port is of who started last
        return f"{scheme}:{host}:{self.port}"

    @property
    def ca_file(self) -> Path:
        """The certificate authority that clients must trust, and the only one."""
        return Path(self.client_variables()["AWS_CA_BUNDLE"])

    @property
    def region(self) -> str:
        """The region that requests are signed for."""
        return self.client_variables()["AWS_REGION"]

    @property
    def credentials(self) -> Credentials:
        """The first account's access key."""
        variables = self.client_variables()
        return Credentials(variables["AWS_ACCESS_KEY_ID"], variables["AWS_SECRET_ACCESS_KEY"])

    @property
    def pid(self) -> int:
        """The process id of the running gateway."""
        assert self._process is not None, "the gateway is not running"
        return self._process.pid

    @property
    def log(self) -> Path:
        """The log of the latest run."""
        return self.logs / f"serve-{self._runs}.log"

    def set(self, name: str, value: str) -> None:
        """Give a setting, as a variable, to what is started from now on."""
        self._settings[name] = value

    def unset(self, name: str) -> None:
        """Leave a setting out from now on."""
        self._settings.pop(name, None)

    def environment(self) -> dict[str, str]:
        """Return the environment of the gateway and of its own commands: nothing of this machine but the path."""
        return bare_environment(self.folder, SEALGATE_DATA=str(self.data), **self._settings)

    def start(self) -> None:
        """Start and wait until `/readyz` answers 200.

        Raises: GatewayFailed when the process ends before, or is not ready in two minutes.
        """
        assert self._process is None, "the gateway is running"
        self._runs += 1
        ports = {"--port": self.port, "--admin-port": self.admin_port, "--http-port": self.http_port}
        command = [str(PROGRAM), "serve", "--data", str(self.data), "--keys", str(self.keys)]
        command += [word for flag, port in ports.items() for word in (flag, str(port))]
        self._process = self._spawn(command)
        deadline = time.monotonic() + self.start_timeout_s
        while self.admin("/readyz") != http.HTTPStatus.OK:
            if self._process.poll() is not None:
                code = self._process.returncode
                self._process = None
                raise GatewayFailed(f"sealgate serve left with {code} before it was ready\n{self.log_tail()}")
            if time.monotonic() > deadline:
                self.kill()
                raise GatewayFailed(f"sealgate serve was not ready in {self.start_timeout_s} s\n{self.log_tail()}")
            time.sleep(_POLL_S)

    def _spawn(self, command: Sequence[str]) -> Process:
        """Start that command; fault tests put something between."""
        with self.log.open("wb") as log:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def stop(self) -> None:
        """Send SIGTERM and wait for the drained end.

        Raises: GatewayFailed when the exit code is not 0 or the end does not come in 15 s.
        """
        process, self._process = self._process, None
        assert process is not None, "the gateway is not running"
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise GatewayFailed(f"SIGTERM did not end the gateway in {_STOP_TIMEOUT_S} s\n{self.log_tail()}") from None
        if code != 0:
            raise GatewayFailed(f"sealgate serve left with {code} on SIGTERM\n{self.log_tail()}")

    def kill(self) -> None:
        """Send SIGKILL, as a crash would; nothing of the process is left running."""
        process, self._process = self._process, None
        assert process is not None, "the gateway is not running"
        process.kill()
        process.wait()

    def restart(self) -> None:
        """Stop and start on the same data and ports."""
        self.stop()
        self.start()

    def close(self) -> None:
        """End whatever runs; for tear-down, where a test may have ended the process itself."""
        if self._process is not None:
            self.stop()

    def admin(self, path: str) -> int | None:
        """Return the admin listener's status for a path, or None where nothing answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except OSError:
            return None
        finally:
            connection.close()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a `sealgate` command on this deployment; the caller judges the exit code."""
        return subprocess.run(
            [str(PROGRAM), *arguments],
            cwd=self.folder,
            env=self.environment() | {"SEALGATE_KEYS": str(self.keys)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_COMMAND_TIMEOUT_S,
            check=False,
        )

    def create_account(self, name: str) -> Credentials:
        """Create an account with one access key, while the gateway serves.

        Raises: GatewayFailed.
        """
        self._checked("account", "create", name)
        made = json.loads(self._checked("access-key", "create", "--account", name, "--json"))
        return Credentials(made["access_key_id"], made["secret_access_key"])

    def tls_context(self) -> ssl.SSLContext:
        """Return a client context that trusts this gateway's CA and no other."""
        return ssl.create_default_context(cafile=self.ca_file)

    def log_tail(self, lines: int = 40) -> str:
        """Return the end of the latest log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _checked(self, *arguments: str) -> str:
        done = self.run(*arguments)
        if done.returncode != 0:
            raise GatewayFailed(f"sealgate {' '.join(arguments)} left with {done.returncode}: {done.stderr}")
        return done.stdout


def is_alive(pid: int) -> bool:
    """Tell whether a process exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
