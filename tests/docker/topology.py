"""The services of `docker/compose.yaml` as processes on loopback: their own commands, settings, files and init scripts.

What differs, and nothing else: paths of volumes and configs become folders of the test; addresses become loopback and
free ports; everything belongs to who runs the tests; PostgreSQL lets its superuser in over the socket by trust, since
`peer` needs a user of that name; Prometheus looks every second; SeaweedFS stands in for MinIO in the short form, with
the certificates and the credentials that were made for MinIO.
"""

import contextlib
import functools
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import requests

from tests.docker.recipes import DOCKER, compose, image_environment, run, services
from tests.servers.ports import free_ports
from tests.servers.s3_servers import MinIo, S3Server, SeaweedFs
from tests.tooling.places import bare_environment
from tests.tooling.postgresql import PostgresServer
from tests.tooling.tools import program

_TIMEOUT_S: Final = 60
_STOP_S: Final = 45
_POLL_S: Final = 0.1
_PORTS: Final = (
    *(("gateway-1", 9443), ("gateway-1", 9446), ("gateway-2", 9443), ("gateway-2", 9446), ("balancer", 9443)),
    *(("openbao", 8200), ("openbao", 8201), ("prometheus", 9090)),
)
_PROGRAMS: Final = {"haproxy": "haproxy", "bao": "openbao", "prometheus": "prometheus"}


@dataclass(frozen=True)
class MadeBefore:
    """What takes the place of a test's own authority: certificate and key as `provision.py` made them."""

    folder: Path

    @property
    def certificate(self) -> Path:
        """What clients trust."""
        return self.folder / "ca.crt"

    def server(self, name: str) -> tuple[Path, Path]:
        """The one pair there is."""
        del name
        return self.folder / "public.crt", self.folder / "private.key"


class Topology:
    """Starts services by name; `close` ends them in the opposite order."""

    def __init__(self, folder: Path, *, with_minio: bool) -> None:
        self.folder = folder
        self.volumes = folder / "volumes"
        self._with_minio = with_minio
        self._ends = ExitStack()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        held = free_ports(len(_PORTS) + 4)
        self.ports = dict(zip(_PORTS, held, strict=False))
        self._admin = dict(zip(("gateway-1", "gateway-2"), held[-4:-2], strict=True))

    @staticmethod
    def addresses() -> tuple[tuple[str, int], ...]:
        """Every service and port that something listens on, but PostgreSQL's and the store's."""
        return _PORTS

    # Mapping

    def volume(self, name: str) -> Path:
        """The folder that stands for a volume."""
        return self.volumes / name

    def config(self, service: str, target: str) -> Path:
        """The file that stands for a mounted config, its addresses and paths mapped."""
        (mount,) = [one for one in services()[service]["configs"] if one["target"] == target]
        source = DOCKER / compose()["configs"][mount["source"]]["file"]
        made = self.folder / "configs" / service / Path(target).name
        if made.exists():
            return made
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_text(re.sub(r"(?<=_interval: )15s", "1s", self.mapped(service, source.read_text())))
        return made

    def mapped(self, service: str, text: str) -> str:
        """Text with the paths of a service's mounts, and every address, as they are here."""
        for (name, port), here in self.ports.items():
            text = re.sub(rf"\b{name}:{port}\b", f"localhost:{here}", text)
            if name == service:
                text = re.sub(rf"\b0\.0\.0\.0:{port}\b|(?<![\w.]):{port}\b", f"127.0.0.1:{here}", text)
                text = re.sub(rf"\blocalhost:{port}\b", f"localhost:{here}", text)
        for gateway in ("gateway-1", "gateway-2"):
            here = self.ports[gateway, 9443]
            text = re.sub(rf"localhost:{here} port 9446\b", f"127.0.0.1:{here} port {self.ports[gateway, 9446]}", text)
        for volume in services()[service].get("volumes", ()):
            name, path = volume.split(":")[:2]
            text = re.sub(rf"(?<![\w-]){path}(?![\w-])", str(self.volume(name)), text)
        return text

    def environment(self, service: str) -> dict[str, str]:
        """The environment of a service; what runs in the image has what the Dockerfile sets."""
        held = services()[service]
        given = {name: self.mapped(service, value) for name, value in held.get("environment", {}).items()}
        if held["image"] != "sealgate":
            return bare_environment(self.folder, **given)
        told = {name: value for name, value in image_environment().items() if name != "PATH"} | given
        told |= {
            "SEALGATE_DATA": str(self.volume("data")),
            "SEALGATE_KEYS": str(self.volume("keys")),
            "SEALGATE_HOST": "127.0.0.1",
        }
        if service in self._admin:
            told |= {
                "SEALGATE_PORT": str(self.ports[service, 9443]),
                "SEALGATE_MONITOR_PORT": str(self.ports[service, 9446]),
                "SEALGATE_ADMIN_PORT": str(self._admin[service]),
                "SEALGATE_KMS_FILE": str(self.config(service, "/config/kms.toml")),
            }
        if "SEALGATE_CATALOGUE" in told:
            told |= {
                "SEALGATE_POSTGRES_HOST": "localhost",
                "SEALGATE_POSTGRES_PORT": str(self.postgres.port),
                "SEALGATE_S3_ENDPOINT": f"https://localhost:{self.store.port}",
            }
        return bare_environment(self.folder, **told)

    # Starting

    def provision(self) -> None:
        """Run the service `provision`."""
        held = services()["provision"]
        script = DOCKER / compose()["configs"]["provision"]["file"]
        assert held["entrypoint"] == ["python", "/provision.py"]
        command = [sys.executable, "-P", str(script), *held["command"], "--root", str(self.volumes), "--keep-owner"]
        subprocess.run(command, check=True, capture_output=True, timeout=_TIMEOUT_S)

    @functools.cached_property
    def postgres(self) -> PostgresServer:
        """The service `postgres`: its settings and its rules, over certificates that its user can read."""
        folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/dev/shm"))
        self._ends.callback(shutil.rmtree, folder, ignore_errors=True)
        shutil.copytree(self.volume("postgres"), folder / "certs")
        folder.chmod(0o755)
        words = services()["postgres"]["command"]
        assert words[0] == "postgres"
        given = dict(word.split("=", 1) for word in words[1:] if word != "-c")
        settings = {name: f"'{value.replace('/certs', f'{folder}/certs')}'" for name, value in given.items()}
        del settings["hba_file"]
        hba = self.config("postgres", "/config/pg_hba.conf").read_text()
        server = PostgresServer(folder, settings, hba=re.sub(r"\bpeer\b", "trust", hba))
        self._ends.callback(server.ca_file.unlink, missing_ok=True)
        server.start()
        self._ends.callback(server.stop, "immediate")
        script = self.config("postgres", "/docker-entrypoint-initdb.d/database.sql")
        for statement in filter(None, map(str.strip, re.sub(r"--.*", "", script.read_text()).split(";"))):
            server.sql(statement)
        return server

    @functools.cached_property
    def store(self) -> S3Server:
        """The service `minio`, or SeaweedFS in its place."""
        kind: type[S3Server] = MinIo if self._with_minio else SeaweedFs
        lines = (self.volume("minio") / "minio.env").read_text().splitlines()
        held = dict(line.split("=", 1) for line in lines)

        class Provisioned(kind):  # type: ignore[valid-type, misc]
            access_key_id = held["MINIO_ROOT_USER"]
            secret_access_key = held["MINIO_ROOT_PASSWORD"]

            @property
            def endpoint(self) -> str:
                return f"https://localhost:{self.port}"

        folder = self.folder / "store"
        folder.mkdir()
        server: S3Server = Provisioned(folder, MadeBefore(self.volume("minio")))
        self._ends.callback(server.stop)
        if self._with_minio:
            self._as_told(server)
        server.start()
        return server

    def _as_told(self, server: S3Server) -> None:
        """Give MinIO its command line and environment as compose has them."""
        held = services()["minio"]
        assert held["entrypoint"] == ["minio"]
        words = [self.mapped("minio", word) for word in held["command"]]
        words[words.index(":9000")] = f"127.0.0.1:{server.port}"
        setattr(server, "command", lambda: [str(program("minio")), *words])  # noqa: B010 - of this one server
        setattr(server, "environment", lambda: self.environment("minio"))  # noqa: B010 - as above

    def run_bucket(self, *words: str, **changes: str) -> subprocess.CompletedProcess[str]:
        """Run the service `bucket`, with other arguments or another environment than the file's if need be."""
        held = services()["bucket"]
        assert held["entrypoint"] == ["python", "/bucket.py"]
        script = str(DOCKER / compose()["configs"]["bucket"]["file"])
        command = [sys.executable, "-P", script, *(words or held["command"])]
        environment = self.environment("bucket") | {"SEALGATE_KMS_FILE": str(self.folder / "unread.toml")}
        return run(*command, env=environment | changes)

    def start(self, service: str) -> None:
        """Start a service by its own command."""
        held = services()[service]
        if held["image"] == "sealgate":
            command = [str(Path(sys.executable).with_name("sealgate")), "serve"]  # the image's entry point
        else:
            words = [*held.get("entrypoint", ()), *held["command"]]
            if words[0].startswith("--"):
                words = [held["image"].split("/")[1].split(":")[0], *words]  # the image's own entry point
            for mount in held.get("configs", ()):
                here = str(self.config(service, mount["target"]))
                words = [word.replace(mount["target"], here) for word in words]
            command = [str(program(_PROGRAMS[words[0]])), *(self.mapped(service, word) for word in words[1:])]
        with (self.folder / f"{service}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment(service),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._processes[service] = process
        self._ends.callback(self.stop, service)

    def stop(self, service: str) -> int:
        """End a service as compose does; its exit code."""
        process = self._processes.pop(service, None)
        if process is None:
            return 0
        process.terminate()
        try:
            return process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def wait(self, service: str, is_well: Callable[[], bool]) -> None:
        """Wait until a service is well."""
        deadline = time.monotonic() + _TIMEOUT_S
        while not is_well():
            process = self._processes.get(service)
            assert process is None or process.poll() is None, f"{service} ended\n{self.log(service)}"
            assert time.monotonic() < deadline, f"{service} is not well\n{self.log(service)}"
            time.sleep(_POLL_S)

    def is_healthy(self, service: str) -> bool:
        """What the service's own health check says: that of compose, or of the image."""
        held = services()[service]
        if held["image"] == "sealgate":
            words = [sys.executable, "-P", str(DOCKER / "healthcheck.py")]
        else:
            kind, name, *rest = held["healthcheck"]["test"]
            assert kind == "CMD"
            words = [str(program(_PROGRAMS[name])), *(self.mapped(service, word) for word in rest)]
        done = subprocess.run(words, env=self.environment(service), capture_output=True, check=False, timeout=20)
        return done.returncode == 0

    def is_prometheus_ready(self) -> bool:
        """What its health check asks. Debian's promtool is older than that of the image, and cannot ask it."""
        with contextlib.suppress(requests.ConnectionError):
            return self.monitor("prometheus", "/-/ready").status_code == 200
        return False

    def log(self, service: str) -> str:
        """The end of what a service said."""
        path = self.folder / f"{service}.log"
        return path.read_text(errors="replace")[-3000:] if path.exists() else ""

    def monitor(self, service: str, path: str, shown_by: str = "prometheus") -> requests.Response:
        """Ask a gateway's monitor listener, or Prometheus, with the client certificate of a service."""
        port = self.ports[service, 9090 if service == "prometheus" else 9446]
        held = self.volume(shown_by)
        with requests.Session() as session:
            session.trust_env = False
            return session.get(
                f"https://localhost:{port}{path}",
                verify=str(held / "ca.crt"),
                cert=(str(held / "client.crt"), str(held / "client.key")),
                timeout=10,
            )

    def close(self) -> None:
        """End everything."""
        self._ends.close()


@contextlib.contextmanager
def running(folder: Path, *, with_minio: bool) -> Iterator[Topology]:
    """All services, started in the order that compose starts them."""
    topology = Topology(folder, with_minio=with_minio)
    try:
        topology.provision()
        topology.start("openbao")
        with ThreadPoolExecutor() as pool:
            database, store = pool.submit(lambda: topology.postgres), pool.submit(lambda: topology.store)
            assert database.result().is_running()
            assert store.result().port
        assert topology.run_bucket().returncode == 0
        topology.wait("openbao", lambda: topology.is_healthy("openbao"))
        for gateway in ("gateway-1", "gateway-2"):
            topology.start(gateway)
            topology.wait(gateway, lambda name=gateway: topology.is_healthy(name))  # type: ignore[misc]
        topology.start("balancer")
        topology.start("prometheus")
        topology.wait("balancer", lambda: speaks_tls(topology.ports["balancer", 9443]))
        topology.wait("prometheus", topology.is_prometheus_ready)
        yield topology
    finally:
        topology.close()


def speaks_tls(port: int) -> bool:
    """Whether TLS is spoken there, whoever by."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as plain, context.wrap_socket(plain):
            return True
    except OSError:
        return False


def client_environment(topology: Topology) -> dict[str, Any]:
    """What `client.env` of the keys volume tells clients."""
    lines = (topology.volume("keys") / "client.env").read_text().splitlines()
    exports = [line.removeprefix("export ").split("=", 1) for line in lines if line.startswith("export ")]
    return dict(exports)
