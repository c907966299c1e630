"""The clients as the tests drive them: boto3 in this process, aws-cli and rclone as processes, and their payloads.

Every one gets its endpoint, CA and credentials by hand and nothing from the machine (COMPONENTS: some machines preset
AWS_CA_BUNDLE and its kin).
"""

import hashlib
import json
import os
import random
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.blackbox import witness
from tests.blackbox.process import Credentials, Gateway
from tests.tooling.places import bare_environment
from tests.tooling.tools import program

MIB: Final = 1024 * 1024
PART_BYTES: Final = 8 * MIB  # the transfer managers of aws-cli and boto3 cut parts of 8 MiB
_TIMEOUT_S: Final = 90

# Names that a path, a query, a form or a shell could mangle.
ODD_NAMES: Final = (
    "plain.txt",
    "with space.txt",
    " leading and trailing ",
    "plus+plus.txt",
    "100%.txt",
    "%41%2F.txt",
    "question?mark&ampersand=equals.txt",
    "hash#semi;colon:comma,.txt",
    "quote'double\"back`tick.txt",
    "brackets[]{}()<>.txt",
    "tilde~at@bang!dollar$star*.txt",
    "back\\slash|pipe^caret.txt",
    "accents-äöüßéñ.txt",
    "decomposed-e\u0301.txt",
    "日本語/ファイル.txt",
    "emoji-🧊.bin",
    "deep/er/and/deeper.txt",
)


def payload(size: int, seed: int = 0) -> bytes:
    """Return `size` bytes that no compressor shortens, the same for the same seed."""
    return random.Random(seed * 1_000_003 + size).randbytes(size)


def sha256(content: bytes) -> str:
    """Return the hex digest by which what went in and what came out are compared."""
    return hashlib.sha256(content).hexdigest()


def multipart_etag(content: bytes, part_bytes: int = PART_BYTES) -> str:
    """Return the quoted ETag of an upload in equal parts: the MD5 of the parts' MD5s, a dash, and their number."""
    digests = [hashlib.md5(content[at : at + part_bytes]).digest() for at in range(0, len(content), part_bytes)]
    return f'"{hashlib.md5(b"".join(digests)).hexdigest()}-{len(digests)}"'


def tree(folder: Path) -> dict[str, str]:
    """Return relative name -> digest for every file below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256(path.read_bytes()) for path in files}


def plant(folder: Path, names: tuple[str, ...] = ODD_NAMES) -> dict[str, str]:
    """Write a file of its own content under every name, and return the tree.

    The files are an hour old: sync compares their time with Last-Modified, which has whole seconds.
    """
    an_hour_ago = int(time.time()) - 3600
    for index, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(payload(index * 997, seed=index))
        os.utime(path, (an_hour_ago, an_hour_ago))
    return tree(folder)


def s3_client(gateway: Gateway, credentials: Credentials | None = None, **config: Any) -> Any:
    """Return a boto3 S3 client; `config` goes to botocore. Retries are off, so that a test sees every answer."""
    who = credentials or gateway.credentials
    settings: dict[str, Any] = {"retries": {"total_max_attempts": 1}, "read_timeout": 30} | config
    client = boto3.session.Session().client(
        "s3",
        endpoint_url=gateway.endpoint,
        region_name=gateway.region,
        aws_access_key_id=who.access_key_id,
        aws_secret_access_key=who.secret_access_key,
        verify=str(gateway.ca_file),
        config=Config(**settings),
    )
    witness.watch(client)
    return client


def refusal(call: Callable[..., Any], **arguments: Any) -> tuple[int, str]:
    """Make a call that must be refused; return (status, code)."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    response = caught.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]


class Program:
    """A client that is a process: runs with a bare environment, in a folder of its own."""

    def __init__(self, tool: str, folder: Path, variables: Mapping[str, str]) -> None:
        self.path = program(tool)
        self.folder = folder
        self.environment = bare_environment(folder, **variables)

    def run(
        self, *arguments: str, stdin: bytes = b"", variables: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run and return whatever came of it."""
        return subprocess.run(
            [str(self.path), *arguments],
            cwd=self.folder,
            env=self.environment | dict(variables or {}),
            input=stdin,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )

    def __call__(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """Run, insist on exit code 0, and return standard output."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, f"{' '.join(arguments)} left with {done.returncode}: {done.stderr.decode()}"
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """Run and parse standard output; an empty one is an empty object."""
        return json.loads(self(*arguments) or b"{}")


def aws_cli(tool: str, gateway: Gateway, folder: Path) -> Program:
    """Return aws-cli with `client.env` as its whole configuration."""
    quiet = {
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_PAGER": "",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_DEFAULT_OUTPUT": "json",
    }
    return Program(tool, folder, gateway.client_variables() | quiet)


def rclone(gateway: Gateway, folder: Path, provider: str, **options: str) -> Program:
    """Return rclone with a remote `sg:`; the options are the remote's own, in rclone's spelling."""
    who = gateway.credentials
    remote = {
        "type": "s3",
        "provider": provider,
        "access_key_id": who.access_key_id,
        "secret_access_key": who.secret_access_key,
        "endpoint": gateway.endpoint,
        "region": gateway.region,
    } | options
    variables = {f"RCLONE_CONFIG_SG_{name.upper()}": value for name, value in remote.items()}
    config = folder / "rclone.conf"
    config.touch()
    variables |= {"RCLONE_CA_CERT": str(gateway.ca_file), "RCLONE_CONFIG": str(config)}
    variables |= {"RCLONE_RETRIES": "1", "RCLONE_LOW_LEVEL_RETRIES": "1"}
    return Program("rclone", folder, variables)
