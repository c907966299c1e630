"""Reads the YAML of `docker/` as its programs would, and knows what the image brings.

PyYAML comes with the validator of Kubernetes, in that tool's own environment.
"""

import functools
import json
import re
import shlex
import subprocess
from pathlib import Path
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


def run(*command: str | Path, cwd: Path = ROOT, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; the caller judges."""
    return subprocess.run(
        [str(word) for word in command], cwd=cwd, input=stdin, capture_output=True, text=True, check=False, timeout=60
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
    text = re.sub(r"\\\n\s*", "", (DOCKER / "Dockerfile").read_text())
    (line,) = [line for line in text.splitlines() if line.startswith("ENV ")]
    return dict(word.split("=", 1) for word in shlex.split(line.removeprefix("ENV ")))
