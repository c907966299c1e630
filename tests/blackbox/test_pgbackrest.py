"""pgBackRest with PostgreSQL: the WAL archived as it is written, a full and an incremental backup, restore, expiry.

It compares sizes and hashes of what it stored with its manifest, lists by ListObjectsV2 with a delimiter, deletes by
DeleteObjects with a Content-MD5, and uploads what is large in parts. PostgreSQL refuses to run as root: there both run
as an unprivileged user, in a folder of their own.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.blackbox.process import Gateway
from tests.servers.ports import free_ports
from tests.tooling.places import bare_environment
from tests.tooling.tools import program

_TIMEOUT_S: Final = 60
_NOT_NEEDED: Final = ("bitcode", "doc", "locale", "man", "lintian", "llvmjit.so")
_SUM: Final = "select count(*), sum(hashtext(t::text)::bigint) from numbers t"


class Cluster:
    """One PostgreSQL cluster with its archive on the gateway."""

    def __init__(self, gateway: Gateway, bucket: str, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.user = _unprivileged()
        # Their copies: an unprivileged user may not be able to reach the checkout.
        for tool in ("postgresql", "pgbackrest"):
            root = program(tool).parents[1] / "root"
            shutil.copytree(root, folder / tool, symlinks=True, ignore=shutil.ignore_patterns(*_NOT_NEEDED))
        shutil.copy(gateway.ca_file, folder / "ca.pem")
        (self.binaries,) = (folder / "postgresql").glob("usr/lib/postgresql/*/bin")
        libraries = [
            str(path) for tool in ("postgresql", "pgbackrest") for path in folder.glob(f"{tool}/**/lib/*-linux-gnu")
        ]
        self.environment = bare_environment(folder, LD_LIBRARY_PATH=":".join(libraries))
        (self.port,) = free_ports(1)
        self._configure(gateway, bucket)
        if self.user is not None:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, self.user, self.user, follow_symlinks=False)

    def _configure(self, gateway: Gateway, bucket: str) -> None:
        who = gateway.credentials
        settings = {
            "repo1-type": "s3",
            "repo1-path": "/below",
            "repo1-s3-bucket": bucket,
            "repo1-s3-endpoint": gateway.endpoint.removeprefix("https://"),
            "repo1-s3-region": gateway.region,
            "repo1-s3-key": who.access_key_id,
            "repo1-s3-key-secret": who.secret_access_key,
            "repo1-s3-uri-style": "path",
            "repo1-storage-ca-file": self.folder / "ca.pem",
            "repo1-storage-upload-chunk-size": "5MiB",
            "repo1-retention-full": "1",
            "repo1-cipher-type": "none",
            "compress-type": "gz",
            "compress-level": "1",
            "start-fast": "y",
            "process-max": "2",
            "log-path": self.folder,
            "lock-path": self.folder / "lock",
            "spool-path": self.folder,
            "pg1-path": self.data,
            "pg1-port": self.port,
            "pg1-socket-path": self.folder,
        }
        lines = [f"{name}={value}" for name, value in settings.items()]
        (self.folder / "pgbackrest.conf").write_text("\n".join(["[global]", *lines[:-3], "[main]", *lines[-3:]]) + "\n")

    def run(self, *command: str | Path) -> str:
        """Run one command as the cluster's user, insist on exit code 0 and return standard output."""
        done = subprocess.run(
            [str(word) for word in command],
            cwd=self.folder,
            env=self.environment,
            user=self.user,
            group=self.user,
            extra_groups=None if self.user is None else [],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, f"{command[0]} left with {done.returncode}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def pgbackrest(self, *arguments: str) -> str:
        return self.run(*self.pgbackrest_words(), *arguments)

    def pgbackrest_words(self) -> tuple[str, ...]:
        binary = self.folder / "pgbackrest" / "usr" / "bin" / "pgbackrest"
        return (str(binary), f"--config={self.folder / 'pgbackrest.conf'}", "--stanza=main")

    def sql(self, statement: str) -> str:
        connection = ("-h", str(self.folder), "-p", str(self.port), "-U", "postgres", "-d", "postgres")
        return self.run(self.binaries / "psql", *connection, "-XAtq", "-c", statement).strip()

    def initialise(self) -> None:
        self.run(self.binaries / "initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-N", "--no-instructions")
        archive = " ".join((*self.pgbackrest_words(), "archive-push", "%p"))
        settings = {
            "port": self.port,
            "listen_addresses": "''",
            "unix_socket_directories": f"'{self.folder}'",
            "archive_mode": "on",
            "archive_command": f"'{archive}'",
            "wal_level": "replica",
            "max_wal_senders": 2,
            "fsync": "off",
        }
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.writelines(f"{name} = {value}\n" for name, value in settings.items())

    def start(self) -> None:
        # Not through a pipe: the server would inherit it, and nobody would ever see its end.
        self.run(self.binaries / "pg_ctl", "-D", self.data, "-w", "-t", "50", "-l", self.folder / "log", "start")

    def stop(self) -> None:
        self.run(self.binaries / "pg_ctl", "-D", self.data, "-w", "-m", "fast", "stop")

    def is_running(self) -> bool:
        return (self.data / "postmaster.pid").exists()


def _unprivileged() -> int | None:
    """Return the user under whom PostgreSQL runs where the tests run as root, or None where they do not."""
    if os.getuid() != 0:
        return None
    names = {entry.pw_name: entry.pw_uid for entry in pwd.getpwall()}
    return names.get("postgres", names["nobody"])


@pytest.fixture
def cluster(gateway: Gateway, bucket: str) -> Iterator[Cluster]:
    """A cluster that does not run yet. Its folder is short, for the path of a socket has at most 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    made = Cluster(gateway, bucket, folder)
    try:
        yield made
    finally:
        if made.is_running():
            made.stop()
        shutil.rmtree(folder)


def _keys(s3: Any, bucket: str) -> dict[str, int]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return {entry["Key"]: entry["Size"] for page in pages for entry in page.get("Contents", [])}


def test_archive_backup_restore_and_expire(cluster: Cluster, bucket: str, s3: Any) -> None:
    cluster.initialise()
    cluster.start()
    cluster.pgbackrest("stanza-create")
    cluster.pgbackrest("check")  # switches the WAL and waits until the segment is in the archive
    cluster.sql("create table numbers as select n, md5(n::text) as text from generate_series(1, 50000) n")
    cluster.pgbackrest("--type=full", "backup")
    after_full = _keys(s3, bucket)
    assert any(name.startswith("below/archive/main/") and name.endswith(".gz") for name in after_full)

    cluster.sql("update numbers set text = 'changed' where n % 10 = 0")
    cluster.pgbackrest("--type=incr", "backup")
    cluster.sql("insert into numbers values (0, 'in the archive only')")
    expected = cluster.sql(_SUM)
    cluster.sql("select pg_switch_wal()")
    cluster.stop()
    assert "status: ok" in cluster.pgbackrest("info")
    cluster.pgbackrest("verify")

    shutil.rmtree(cluster.data)
    cluster.data.mkdir(mode=0o700)
    if cluster.user is not None:
        os.chown(cluster.data, cluster.user, cluster.user)
    cluster.pgbackrest("restore")
    cluster.start()
    assert cluster.sql(_SUM) == expected
    assert cluster.sql("select text from numbers where n = 0") == "in the archive only"

    cluster.pgbackrest("--type=full", "backup")
    left = _keys(s3, bucket)
    (full,) = {name.split("/")[3] for name in after_full if name.startswith("below/backup/main/2")}
    assert not [name for name in left if name.startswith(f"below/backup/main/{full}")]
    cluster.stop()
