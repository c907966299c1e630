"""The real gateway as a process of its own, started and stopped by tests."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from tests.servers.ports import free_ports

ROOT = Path(__file__).parents[3]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "gateway.cli.main", *arguments]


def environment(**changes: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SEALGATE_", "AWS_"))}
    return kept | {"PYTHONPATH": str(ROOT)} | changes


def cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), env=environment(), capture_output=True, text=True, timeout=60, check=False
    )


@dataclass
class Running:
    place: Path
    port: int
    admin_port: int
    http_port: int
    process: subprocess.Popen[str] | None = None
    said: list[str] = field(default_factory=list)

    @classmethod
    def fresh(cls, place: Path) -> "Running":
        port, admin_port, http_port = free_ports(3)
        return cls(place, port, admin_port, http_port)

    def start(self) -> None:
        log = (self.place / "log").open("a")
        self.process = subprocess.Popen(
            command(
                *("serve", "--data", str(self.place / "data"), "--port", str(self.port)),
                *("--admin-port", str(self.admin_port), "--http-port", str(self.http_port), "--log-level", "debug"),
            ),
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        log.close()
        assert self.process.stdout is not None
        self.said = []
        for line in self.process.stdout:
            self.said.append(line.rstrip("\n"))
            if line.startswith("health and metrics"):
                return
        raise AssertionError(f"it ended with {self.process.wait()}: {(self.place / 'log').read_text()}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def client_env(self) -> dict[str, str]:
        text = (self.place / "data-keys/client.env").read_text()
        pairs = [line.removeprefix("export ").split("=", 1) for line in text.splitlines()]
        return {name: value.strip("'") for name, value in pairs}

    def s3(self, access_key_id: str = "", secret: str = "") -> Any:
        env = self.client_env()
        return boto3.client(
            "s3",
            endpoint_url=env["AWS_ENDPOINT_URL"],
            verify=env["AWS_CA_BUNDLE"],
            region_name=env["AWS_REGION"],
            aws_access_key_id=access_key_id or env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=secret or env["AWS_SECRET_ACCESS_KEY"],
            config=Config(retries={"max_attempts": 0}),
        )
