"""Carries the Dockerfile out without an engine: each stage in a root of Debian packages of its own, by chroot.

COPY and RUN are executed as they stand; FROM begins with the packages instead of the base image, which no registry here
has: Debian's Python of the same version stands where that image has its own. Needs root, as chroot and mounts do.
"""

import os
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from tests.docker.recipes import ignored, image_environment, instructions
from tests.tooling.places import ROOT
from tests.tooling.tools import program

_TIMEOUT_S: Final = 240
_START_S: Final = 60
_BARE: Final = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
}
_OF_PIP: Final = ("PIP_INDEX_URL", "PIP_DEFAULT_TIMEOUT", "PIP_CERT", "SSL_CERT_FILE", "HTTPS_PROXY", "https_proxy")
_OF_THE_NETWORK: Final = ("etc/resolv.conf", "etc/hosts", "etc/pip.conf", "etc/ssl/certs/ca-certificates.crt")
_SERVE: Final = """
mount --bind "$1" "$1"
for name in data keys; do mount --bind "$2/$name" "$1/$name"; done
mount -o remount,bind,ro "$1"
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
"$3" -c 'import fcntl, socket, struct
with socket.socket() as s: fcntl.ioctl(s, 0x8914, struct.pack("16sh", b"lo", 1))'
root=$1; user=$4; shift 4
exec chroot --groups= --userspec="$user" "$root" /usr/bin/env -i "$@"
"""


class Stage:
    """One root, as a FROM begins it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder
        base = program("debian-root").parents[2]
        subprocess.run(["cp", "--archive", "--reflink=auto", base, folder], check=True, timeout=_TIMEOUT_S)
        for name in ("passwd", "group"):  # a package would be configured to write these
            shutil.copy(folder / f"usr/share/base-passwd/{name}.master", folder / "etc" / name)
        (folder / "usr/local/bin").mkdir(parents=True, exist_ok=True)
        (folder / "usr/local/bin/python").symlink_to("/usr/bin/python3.11")
        self.workdir = PurePosixPath("/")

    def inside(self, path: str | PurePosixPath) -> Path:
        """A path of the image, here."""
        return self.root / (self.workdir / path).relative_to("/")

    def work_in(self, path: str) -> None:
        """WORKDIR."""
        self.workdir /= path
        self.inside(".").mkdir(parents=True, exist_ok=True)

    def run(self, command: str, **environment: str) -> None:
        """RUN, in its shell form, with the network of this machine."""
        lent = []
        for name in _OF_THE_NETWORK:
            if Path("/", name).is_file() and not (self.root / name).exists():
                (self.root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(Path("/", name), self.root / name)
                lent.append(self.root / name)
        given = {name: os.environ[name] for name in _OF_PIP if name in os.environ}
        shell = ["/bin/sh", "-c", f"cd {shlex.quote(str(self.workdir))} && {command}"]
        done = subprocess.run(
            ["chroot", str(self.root), *shell],
            env=_BARE | given | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
        )
        for path in lent:
            path.unlink()
        assert done.returncode == 0, f"RUN {command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"

    def copy(self, sources: Sequence[str], target: str, origin: Path) -> None:
        """COPY, from the build's context, of which `.dockerignore` holds some back, or from another stage."""
        is_context = origin == ROOT
        for source in sources:
            here = origin / source.lstrip("/")
            to = self.inside(target)
            if here.is_file():
                to = to / here.name if target.endswith("/") else to
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(here, to)
                continue
            shutil.copytree(
                here,
                to,
                symlinks=True,
                dirs_exist_ok=True,
                ignore=(lambda folder, names: _held_back(Path(folder), names)) if is_context else None,
            )


def _held_back(folder: Path, names: list[str]) -> list[str]:
    return [name for name in names if ignored(str((folder / name).relative_to(ROOT)))]


def build(folder: Path) -> Stage:
    """Carry out every instruction that makes files; the last stage."""
    stages: dict[str, Stage] = {}
    stage: Stage | None = None
    environment: dict[str, str] = {}
    for word, rest in instructions():
        if word == "FROM":
            name = rest.split()[-1]
            stage, environment = Stage(folder / f"stage-{len(stages)}"), {}
            stages[name] = stage
            continue
        assert stage is not None
        if word == "WORKDIR":
            stage.work_in(rest)
        elif word == "RUN":
            stage.run(rest, **environment)
        elif word == "COPY":
            words = shlex.split(rest)
            origin = ROOT
            if words[0].startswith("--from="):
                origin = stages[words.pop(0).removeprefix("--from=")].root
            assert not words[0].startswith("--"), words
            stage.copy(words[:-1], words[-1], origin)
        elif word == "ENV":
            environment = image_environment()
        else:
            assert word in {"USER", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"}, word
    assert stage is not None
    return stage


class Container:
    """The last stage at work: read-only but for its two volumes, its user without a privilege, a network of its own."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self._stage = stage
        self.volumes = folder / "volumes"
        self.log = folder / "container.log"
        told = dict(instructions())
        self.user = told["USER"]
        # An engine fills a new volume from what the image has at its place.
        for name in ("data", "keys"):
            shutil.copytree(stage.root / name, self.volumes / name)
            status = (stage.root / name).stat()
            os.chown(self.volumes / name, status.st_uid, status.st_gid)
            assert stat.S_IMODE(status.st_mode) == 0o700
        self._process: subprocess.Popen[bytes] | None = None

    def words(self, command: Sequence[str]) -> list[str]:
        """A command with the environment that the image gives it."""
        given = image_environment()
        path = given["PATH"].replace("$PATH", _BARE["PATH"])
        return [f"{name}={value}" for name, value in (given | {"PATH": path}).items()] + list(command)

    def start(self, command: Sequence[str]) -> None:
        """Start it."""
        arguments = [str(self._stage.root), str(self.volumes), sys.executable, self.user, *self.words(command)]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                ["unshare", "--mount", "--net", "/bin/sh", "-euc", _SERVE, "serve", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def pid(self) -> int:
        """Its process, as this machine counts."""
        assert self._process is not None
        return self._process.pid

    def execute(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a command in it, as its user."""
        inside = ["chroot", "--groups=", f"--userspec={self.user}", str(self._stage.root), "/usr/bin/env", "-i"]
        return self._within(("--mount", "--net"), [*inside, *self.words(command)])

    def beside(self, command: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run a command of this machine in its network."""
        return self._within(("--net",), command, environment)

    def _within(
        self, spaces: Sequence[str], command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["nsenter", f"--target={self.pid}", *spaces, *command],
            env=dict(environment) if environment is not None else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=_START_S,
        )

    def wait_until_healthy(self, check: Sequence[str]) -> None:
        """Ask its health check until it is content."""
        deadline = time.monotonic() + _START_S
        while self.execute(check).returncode != 0:
            assert self._process is not None
            assert self._process.poll() is None, self.log.read_text(errors="replace")
            assert time.monotonic() < deadline, self.log.read_text(errors="replace")
            time.sleep(0.3)

    def stop(self) -> int:
        """End it as an engine does; its exit code."""
        if self._process is None:
            return 0
        process, self._process = self._process, None
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(_START_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()
