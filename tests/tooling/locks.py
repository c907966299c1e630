"""Writes the hash-locked requirement files: the runtime's, the tests', and one per tool from PyPI.

Locks are universal (every platform and Python from 3.11), carry hashes, and name no registry.
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.tooling.places import LOCKS, ROOT, RUNTIME_LOCK, TEST_LOCK
from tests.tooling.tools import TABLE, Pip


def write() -> None:
    """Resolve everything anew, the tests' lock under the runtime's versions."""
    _compile(["pyproject.toml", "--group", "build"], RUNTIME_LOCK)
    _compile(["pyproject.toml", "--group", "dev", "--constraint", str(RUNTIME_LOCK.relative_to(ROOT))], TEST_LOCK)
    LOCKS.mkdir(exist_ok=True)
    for tool in TABLE.values():
        source = tool.sources[0]
        if not isinstance(source, Pip):
            continue
        with tempfile.NamedTemporaryFile("w", suffix=".in") as wanted:
            wanted.write(source.requirement + "\n")
            wanted.flush()
            options = [] if source.with_dependencies else ["--no-deps"]
            _compile([wanted.name, *options], LOCKS / f"{tool.name}.lock")


def _compile(what: Sequence[str], lock: Path) -> None:
    print(f"Locking {lock.relative_to(ROOT)}", flush=True)
    uv = str(Path(sys.executable).with_name("uv"))
    command = [uv, "pip", "compile", "--quiet", "--no-config", "--universal", "--python-version", "3.11"]
    command += ["--generate-hashes", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"]
    command += ["--custom-compile-command", "make lock", "--output-file", str(lock)]
    subprocess.run([*command, *what], cwd=ROOT, check=True, stdin=subprocess.DEVNULL)
