"""Real S3 servers on loopback, over TLS by the test's own authority: SeaweedFS, and MinIO in the long form."""

import contextlib
import json
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import boto3
from botocore.config import Config

from tests.servers.pki import Authority
from tests.servers.ports import free_ports
from tests.tooling.places import bare_environment
from tests.tooling.tools import program

_START_TIMEOUT_S: Final = 40
_STOP_TIMEOUT_S: Final = 20
_POLL_S: Final = 0.05
ACCESS_KEY_ID: Final = "backend-access-key"
SECRET_ACCESS_KEY: Final = "backend-secret-access-key"
REGION: Final = "us-east-1"


class S3Server(ABC):
    """One server of its own folder; stopped by its process id."""

    access_key_id = ACCESS_KEY_ID
    secret_access_key = SECRET_ACCESS_KEY

    def __init__(self, folder: Path, authority: Authority | None = None) -> None:
        self.folder = folder
        self.authority = authority or Authority(folder, "backend-ca")
        self.certificate, self.key = self.authority.server("s3-server")
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """Where S3 is spoken."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None
        return self._process.pid

    @abstractmethod
    def command(self) -> Sequence[str]:
        """The command line, for `self.port`."""

    def environment(self) -> dict[str, str]:
        """What the process finds in its environment."""
        return bare_environment(self.folder)

    def start(self) -> None:
        """Start, and wait until a signed request is answered."""
        assert self._process is None
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                list(self.command()),
                cwd=self.folder,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._answers():
            assert self._process.poll() is None, (self.folder / "server.log").read_text()[-2000:]
            assert time.monotonic() < deadline, "the S3 server did not start"
            time.sleep(_POLL_S)

    def _answers(self) -> bool:
        client = self.client(retries=0)
        with contextlib.suppress(Exception):
            client.list_buckets()
            return True
        client.close()
        return False

    def client(self, retries: int = 3) -> Any:
        """A boto3 client, for what a test does behind the gateway's back."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            verify=str(self.authority.certificate),
            region_name=REGION,
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            config=Config(
                s3={"addressing_style": "path"},
                retries={"max_attempts": retries},
                connect_timeout=5,
                read_timeout=30,
                max_pool_connections=16,
            ),
        )

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_STOP_TIMEOUT_S)
            self._process = None


class SeaweedFs(S3Server):
    """Master, volume, filer and S3 in one process; gRPC ports are 10,000 above the others unless they are named."""

    def __init__(self, folder: Path, authority: Authority | None = None) -> None:
        super().__init__(folder, authority)
        ports = free_ports(9)
        self.port = ports[0]
        self._flags = {
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "dir": str(folder / "data"),
            "master.port": ports[1],
            "master.port.grpc": ports[2],
            "volume.port": ports[3],
            "volume.port.grpc": ports[4],
            "filer.port": ports[5],
            "filer.port.grpc": ports[6],
            "s3.port": ports[7],
            "s3.port.https": ports[0],
            "s3.port.grpc": ports[8],
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "s3.cert.file": str(self.certificate),
            "s3.key.file": str(self.key),
            "s3.config": str(folder / "identities.json"),
            "volume.max": 100,
            "master.volumeSizeLimitMB": 64,
            "master.telemetry": "false",
        }
        (folder / "data").mkdir()
        identity = {
            "name": "sealgate",
            "credentials": [{"accessKey": self.access_key_id, "secretKey": self.secret_access_key}],
            "actions": ["Admin"],
        }
        (folder / "identities.json").write_text(json.dumps({"identities": [identity]}))

    def command(self) -> Sequence[str]:
        """All parts in one process."""
        flags = [f"-{name}={value}" for name, value in self._flags.items()]
        return [str(program("seaweedfs")), "-logtostderr", "server", "-s3", *flags]


class MinIo(S3Server):
    """One MinIO over one folder."""

    def __init__(self, folder: Path, authority: Authority | None = None) -> None:
        super().__init__(folder, authority)
        (self.port,) = free_ports(1)
        certs = folder / "certs"
        certs.mkdir()
        (certs / "public.crt").write_bytes(self.certificate.read_bytes())
        (certs / "private.key").write_bytes(self.key.read_bytes())
        (folder / "data").mkdir()

    def command(self) -> Sequence[str]:
        """S3 alone, without its console."""
        return [
            *(str(program("minio")), "server", "--quiet", "--certs-dir", str(self.folder / "certs")),
            *("--address", f"127.0.0.1:{self.port}", str(self.folder / "data")),
        ]

    def environment(self) -> dict[str, str]:
        """With the root's keys."""
        return super().environment() | {
            "MINIO_ROOT_USER": ACCESS_KEY_ID,
            "MINIO_ROOT_PASSWORD": SECRET_ACCESS_KEY,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
        }


def s3_settings(server: S3Server, folder: Path, bucket: str, prefix: str) -> dict[str, str]:
    """The variables of a gateway whose blobs lie in a bucket of that server; `folder` takes its credentials."""
    credentials = folder / "backend.env"
    credentials.touch(mode=0o600)
    credentials.write_text(f"AWS_ACCESS_KEY_ID={ACCESS_KEY_ID}\nAWS_SECRET_ACCESS_KEY={SECRET_ACCESS_KEY}\n")
    return {
        "SEALGATE_BLOB_STORE": "s3",
        "SEALGATE_S3_ENDPOINT": server.endpoint,
        "SEALGATE_S3_BUCKET": bucket,
        "SEALGATE_S3_PREFIX": prefix,
        "SEALGATE_S3_CREDENTIALS_FILE": str(credentials),
        "SEALGATE_S3_CA_FILE": str(server.authority.certificate),
        "SEALGATE_S3_TIMEOUT_S": "5",
        "SEALGATE_S3_TRIES": "2",
    }
