"""The servers that are measured: the real gateway in its forms, and nginx, each with its data in a folder of its own.

All stand on 127.0.0.1 with one kind of certificate (ECDSA, made by the gateway), on one disk.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Final, Protocol

from tests.blackbox.process import Gateway, Process
from tests.hostile.signing import Signer
from tests.servers.ports import free_ports
from tests.servers.s3_servers import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY, S3Server, s3_settings
from tests.tooling.tools import acquire

BUCKET: Final = "bench"
_SEALED: Final = "sealed"
HOST: Final = "localhost"
_CONFIGURATION: Final = Path(__file__).with_name("nginx.conf")
_PACKAGES: Final = ("nginx-light", "wrk")
_START_S: Final = 10
_LONGEST_EXPIRY_S: Final = "86400"


class Side(Protocol):
    """One running server."""

    name: str

    @property
    def port(self) -> int: ...

    @property
    def ca_file(self) -> Path: ...

    def pids(self) -> list[int]: ...

    def target(self, method: str, key: str) -> str:
        """The request target that may do this, signed where the server asks for it."""

    def close(self) -> None: ...


class Missing(Exception):
    """A program that the bench needs is not there; the message says what to do."""


def acquire_programs() -> None:
    """Fetch SeaweedFS; install nginx and wrk by apt where they are missing and root runs this. Raises: Missing."""
    for reason in acquire(["seaweedfs"]).values():
        raise Missing(reason)
    missing = [name for name in ("nginx", "wrk") if _which(name) is None]
    if not missing:
        return
    line = "apt-get install -y --no-install-recommends " + " ".join(_PACKAGES)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise Missing(f"{' and '.join(missing)} missing. This line, run as root, installs them: {line}")
    print(f"installing: {line}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(line.split(), env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0 or _which("nginx") is None or _which("wrk") is None:
        raise Missing(f"could not be installed: {line}\n{done.stderr.strip()}")


def _which(name: str) -> str | None:
    return shutil.which(name, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin")


class _Variant(Gateway):
    """The gateway, started through `tests.bench.unsafe`."""

    def __init__(self, folder: Path, settings: dict[str, str], unsafe: str) -> None:
        super().__init__(folder, settings)
        self._unsafe = unsafe

    def environment(self) -> dict[str, str]:
        return super().environment() | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}

    def _spawn(self, command: Sequence[str]) -> Process:
        return super()._spawn([sys.executable, "-m", "tests.bench.unsafe", self._unsafe, *command[1:]])


class GatewaySide:
    """A gateway with settings of its own; `unsafe` names a variant of `tests.bench.unsafe`."""

    def __init__(self, name: str, folder: Path, settings: dict[str, str] | None = None, unsafe: str = "") -> None:
        self.name = name
        folder.mkdir(parents=True)
        chosen = {"SEALGATE_LOG_LEVEL": "info"} | (settings or {})
        self.gateway = _Variant(folder, chosen, unsafe) if unsafe else Gateway(folder, chosen)
        self.gateway.start()
        who = self.gateway.credentials
        self.signer = Signer(
            who.access_key_id, who.secret_access_key, f"{HOST}:{self.gateway.port}", self.gateway.region
        )

    @property
    def port(self) -> int:
        return self.gateway.port

    @property
    def ca_file(self) -> Path:
        return self.gateway.ca_file

    def pids(self) -> list[int]:
        return [self.gateway.pid]

    def target(self, method: str, key: str) -> str:
        return self.signer.presigned(method, f"/{BUCKET}/{key}", expires=_LONGEST_EXPIRY_S).target

    def close(self) -> None:
        self.gateway.close()


class BackendSide:
    """An S3 server that the same client speaks to directly; a gateway can rest on it."""

    def __init__(self, name: str, server: S3Server) -> None:
        self.name = name
        self.server = server
        server.start()
        client = server.client()
        for bucket in (BUCKET, _SEALED):
            client.create_bucket(Bucket=bucket)
        client.close()
        self.signer = Signer(ACCESS_KEY_ID, SECRET_ACCESS_KEY, f"{HOST}:{server.port}", REGION)

    @property
    def port(self) -> int:
        return self.server.port

    @property
    def ca_file(self) -> Path:
        return self.server.authority.certificate

    def pids(self) -> list[int]:
        return [self.server.pid]

    def settings(self, folder: Path) -> dict[str, str]:
        """Those of a gateway whose blobs rest here."""
        folder.mkdir(parents=True)
        return s3_settings(self.server, folder, _SEALED, "")

    def target(self, method: str, key: str) -> str:
        return self.signer.presigned(method, f"/{BUCKET}/{key}", expires=_LONGEST_EXPIRY_S).target

    def close(self) -> None:
        self.server.stop()


class OnBackendSide(GatewaySide):
    """A gateway whose blobs rest on a backend; what that takes of CPU is counted too."""

    def __init__(self, name: str, folder: Path, backend: BackendSide) -> None:
        self._backend = backend
        super().__init__(name, folder / "gateway", backend.settings(folder))

    def pids(self) -> list[int]:
        return [*super().pids(), *self._backend.pids()]


class NginxSide:
    """nginx with that many workers, over the certificate that a gateway made."""

    def __init__(self, folder: Path, workers: int, keys: Path) -> None:
        self.name = f"nginx-{workers}"
        (folder / "files" / BUCKET).mkdir(parents=True)
        (self.port,) = free_ports(1)
        self._ca_file = keys / "tls" / "ca.pem"
        configuration = Template(_CONFIGURATION.read_text()).substitute(
            user="user root;" if os.geteuid() == 0 else "",
            workers=workers,
            folder=folder,
            port=self.port,
            certificate=keys / "tls" / "server.pem",
            key=keys / "tls" / "server-key.pem",
        )
        path = folder / "nginx.conf"
        path.write_text(configuration)
        program = _which("nginx")
        assert program is not None, "acquire_programs() comes first"
        command = [program, "-p", str(folder), "-c", str(path), "-e", str(folder / "error.log")]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        self._workers = workers
        end = time.monotonic() + _START_S
        while len(self.pids()) <= workers:
            if self._process.poll() is not None or time.monotonic() > end:
                self._process.kill()
                raise Missing(f"nginx did not start: {(folder / 'error.log').read_text()}")
            time.sleep(0.05)

    @property
    def ca_file(self) -> Path:
        return self._ca_file

    def pids(self) -> list[int]:
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [pid, *(int(child) for child in children.split())]

    def target(self, method: str, key: str) -> str:  # the contract of a side
        return f"/{BUCKET}/{key}"

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
