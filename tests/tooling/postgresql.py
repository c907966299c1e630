"""A PostgreSQL of the tests' own: made anew in a folder, on loopback over TLS with SCRAM, ended by its process id.

PostgreSQL refuses to run as root: there it runs as an unprivileged user, with a copy of its programs that such a user
can reach. Source: PostgreSQL 15 "initdb", "Secure TCP/IP Connections with SSL", "Shutting Down the Server".
"""

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from gateway.cli.pki import TlsFiles, make_certificates
from storage.catalogue.address import PostgresAddress
from tests.servers.ports import free_ports
from tests.tooling.places import bare_environment
from tests.tooling.tools import program

_TIMEOUT_S: Final = 60
_ENDED_MS: Final = 20_000
"""Longest wait for the end of a session that was told to end, and for what it held."""
_MEMORY: Final = Path("/dev/shm")
_ROOM_BYTES: Final = 2 << 30
_NOT_NEEDED: Final = ("bitcode", "doc", "locale", "man", "lintian", "llvmjit.so")
_HBA: Final = """\
local all postgres trust
local replication postgres trust
hostssl all carded 127.0.0.1/32 cert
hostssl all all 127.0.0.1/32 scram-sha-256
"""
_INITDB: Final = ("-U", "postgres", "-A", "trust", "-N", "--no-instructions", "-E", "UTF8")
USER: Final = "sealgate"


def unprivileged() -> int | None:
    """The user under whom PostgreSQL runs where the tests run as root, or None where they do not."""
    if os.getuid() != 0:
        return None
    names = {entry.pw_name: entry.pw_uid for entry in pwd.getpwall()}
    return names.get("postgres", names["nobody"])


class PostgresServer:
    """One cluster. `settings` are lines of its postgresql.conf; the port stays the same over restarts.

    As a `copy_of` another it is that one's standby.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, str] | None = None,
        *,
        hba: str = _HBA,
        copy_of: "PostgresServer | None" = None,
    ) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.user = unprivileged()
        shutil.copytree(
            program("postgresql").parents[1] / "root",
            folder / "postgresql",
            symlinks=True,
            ignore=shutil.ignore_patterns(*_NOT_NEEDED),
        )
        (self._binaries,) = (folder / "postgresql").glob("usr/lib/postgresql/*/bin")
        libraries = [str(path) for path in folder.glob("postgresql/**/lib/*-linux-gnu")]
        self._environment = bare_environment(folder, LD_LIBRARY_PATH=":".join(libraries))
        (self.port,) = free_ports(1)
        self._tls = TlsFiles(folder / "tls")
        make_certificates(self._tls, ("localhost", "127.0.0.1"), datetime.now(UTC))
        self.ca_file = folder.with_name(folder.name + "-ca.pem")
        shutil.copy(self._tls.ca_certificate, self.ca_file)
        self.password: str = secrets.token_urlsafe(24) if copy_of is None else copy_of.password
        self._own()
        if copy_of is not None:
            where = ("-h", copy_of.folder, "-p", str(copy_of.port), "-U", "postgres")
            self.run("pg_basebackup", *where, "-D", self.data, "-R", "-c", "fast")
        else:
            self.run("initdb", *_INITDB, "-D", self.data)
        lines = {
            "port": str(self.port),
            "listen_addresses": "'127.0.0.1'",
            "unix_socket_directories": f"'{folder}'",
            "ssl": "on",
            "ssl_cert_file": f"'{self._tls.certificate}'",
            "ssl_key_file": f"'{self._tls.key}'",
            "ssl_ca_file": f"'{self._tls.ca_certificate}'",
            "ssl_min_protocol_version": "'TLSv1.3'",
            "password_encryption": "'scram-sha-256'",
            "log_line_prefix": "'%m [%p] %c '",
            "max_connections": "200",
        } | dict(settings or {})
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.writelines(f"{name} = {value}\n" for name, value in lines.items())
        (self.data / "pg_hba.conf").write_text(hba)

    def _own(self) -> None:
        if self.user is not None:
            for path in (self.folder, *self.folder.rglob("*")):
                os.chown(path, self.user, self.user, follow_symlinks=False)

    def run(self, name: str, *arguments: str | Path) -> str:
        """Run one of PostgreSQL's programs as the cluster's user and insist on exit code 0; its standard output."""
        done = subprocess.run(
            [str(self._binaries / name), *map(str, arguments)],
            cwd=self.folder,
            env=self._environment,
            user=self.user,
            group=self.user,
            extra_groups=None if self.user is None else [],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, f"{name} left with {done.returncode}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run statements as the superuser, over the private socket."""
        where = ("-h", self.folder, "-p", str(self.port), "-U", "postgres", "-d", database)
        return self.run("psql", *where, "-v", "ON_ERROR_STOP=1", "-XAtq", "-c", statement).strip()

    def start(self) -> None:
        """Start it and wait until it answers."""
        # Not through a pipe: the server would inherit it, and nobody would ever see its end.
        self.run("pg_ctl", "-D", self.data, "-w", "-t", "50", "-l", self.folder / "log", "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop it; `immediate` is a crash that recovery has to mend."""
        self.run("pg_ctl", "-D", self.data, "-w", "-m", mode, "stop")

    def is_running(self) -> bool:
        """Whether its process id file stands."""
        return (self.data / "postmaster.pid").exists()

    def create_database(self, name: str, options: str = "") -> None:
        """Make a database, and the user who owns it if she is not there."""
        if not self.sql(f"SELECT 1 FROM pg_roles WHERE rolname = '{USER}'"):  # noqa: S608
            self.sql(f"CREATE ROLE {USER} LOGIN PASSWORD '{self.password}'")
        self.sql(f"CREATE DATABASE {name} OWNER {USER} {options}")

    def empty(self, database: str) -> None:
        """Have nothing in a database, whoever still has it open: a test that failed may have left its sessions there.

        What cannot be had even so fails, and does not wait.
        """
        self.sql(
            f"SELECT pg_terminate_backend(pid, {_ENDED_MS}) FROM pg_stat_activity"  # noqa: S608
            " WHERE datname = current_database() AND pid <> pg_backend_pid();"
            f" SET LOCAL lock_timeout = {_ENDED_MS};"
            f" DROP SCHEMA public CASCADE; CREATE SCHEMA public AUTHORIZATION {USER}",
            database,
        )

    def address(self, database: str, **changed: Any) -> PostgresAddress:
        """How the catalogue reaches a database."""
        address = PostgresAddress("127.0.0.1", self.port, database, USER, self.password, self.ca_file)
        return replace(address, **changed)

    def log_text(self) -> str:
        """What it logged."""
        return (self.folder / "log").read_text(errors="replace")


def _roomy_memory() -> Path | None:
    """A file system in memory, where there is one with room: the server syncs as ever, which costs nothing there."""
    try:
        status = os.statvfs(_MEMORY)
    except OSError:
        return None
    return _MEMORY if status.f_bavail * status.f_frsize > _ROOM_BYTES else None


@contextmanager
def postgres_server(
    settings: Mapping[str, str] | None = None, *, hba: str = _HBA, copy_of: PostgresServer | None = None
) -> Iterator[PostgresServer]:
    """A server that runs. Its folder is short, for the path of a socket has at most 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir=_roomy_memory()))
    ca_file = folder.with_name(folder.name + "-ca.pem")
    try:
        server = PostgresServer(folder, settings, hba=hba, copy_of=copy_of)
        server.start()
        try:
            yield server
        finally:
            if server.is_running():
                server.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        ca_file.unlink(missing_ok=True)


def postgres_settings(server: PostgresServer, database: str, folder: Path) -> dict[str, str]:
    """What a gateway is told of a database."""
    password_file = folder / "postgres-password"
    password_file.touch(0o600)
    password_file.write_text(server.password + "\n")
    named = server.address(database)
    return {
        "SEALGATE_CATALOGUE": "postgres",
        "SEALGATE_POSTGRES_HOST": named.host,
        "SEALGATE_POSTGRES_PORT": str(named.port),
        "SEALGATE_POSTGRES_DATABASE": database,
        "SEALGATE_POSTGRES_USER": named.user,
        "SEALGATE_POSTGRES_PASSWORD_FILE": str(password_file),
        "SEALGATE_POSTGRES_CA_FILE": str(named.ca_file),
    }
