"""Reads the YAML of `docker/` as its programs would, and knows what the image brings.

PyYAML comes with the validator of Kubernetes, in that tool's own environment.
"""

import fnmatch
import functools
import json
import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

from tests.tooling.places import ROOT
from tests.tooling.tools import program

DOCKER: Final = ROOT / "docker"
COMPOSE: Final = DOCKER / "compose.yaml"
KUBERNETES: Final = DOCKER / "kubernetes"
_READ: Final = "import json, sys, yaml; json.dump(list(yaml.safe_load_all(sys.stdin)), sys.stdout)"
_VARIABLE: Final = re.compile(r"\$\{(\w+):-([^}]*)\}")


def interpreter() -> Path:
    """A Python that has PyYAML and jsonschema."""
    return program("kubernetes-validate").with_name("python")


def run(
    *command: str | Path, cwd: Path = ROOT, stdin: str | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; the caller judges."""
    words = [str(word) for word in command]
    return subprocess.run(
        words, cwd=cwd, input=stdin, env=env, capture_output=True, text=True, check=False, timeout=120
    )


@functools.cache
def documents(path: Path) -> list[Any]:
    """Every document of a YAML file."""
    done = run(interpreter(), "-I", "-c", _READ, stdin=path.read_text())
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def interpolated(value: Any) -> Any:
    """With the defaults of variables in place of them, as compose does where none is set."""
    if isinstance(value, str):
        return _VARIABLE.sub(lambda found: found[2], value)
    if isinstance(value, list):
        return [interpolated(one) for one in value]
    if isinstance(value, dict):
        return {name: interpolated(one) for name, one in value.items()}
    return value


@functools.cache
def compose() -> Any:
    """The compose file, as it stands without any variable."""
    (document,) = documents(COMPOSE)
    return interpolated(document)


def services(image: str = "") -> dict[str, Any]:
    """The services, or those of one image."""
    return {name: one for name, one in compose()["services"].items() if image in ("", one["image"])}


def image_environment() -> dict[str, str]:
    """What the Dockerfile sets for whatever runs in the image."""
    (rest,) = [rest for word, rest in instructions() if word == "ENV"]
    return dict(word.split("=", 1) for word in shlex.split(rest))


@functools.cache
def instructions() -> list[tuple[str, str]]:
    """The Dockerfile as (instruction, rest), with continuation lines joined and comments dropped."""
    text = (DOCKER / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines())]


def ignored(path: str) -> bool:
    """Apply `.dockerignore`: the last matching line decides, and a line for a folder covers what is in it."""
    is_ignored = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        keep = pattern.startswith("!")
        wanted = pattern.removeprefix("!").removeprefix("**/")
        names = [path, *(str(parent) for parent in PurePosixPath(path).parents)]
        if pattern.startswith("**/"):
            names = [PurePosixPath(name).name for name in names]
        if any(fnmatch.fnmatchcase(name, wanted) for name in names):
            is_ignored = not keep
    return is_ignored
