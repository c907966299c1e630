"""Writes the hash-locked requirement files: the runtime's, the tests', and one per tool from PyPI.

Locks are universal (every platform and Python from 3.11), carry hashes, and name no registry.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.tooling.places import LOCKS, ROOT, RUNTIME_LOCK, TEST_LOCK
from tests.tooling.tools import TABLE, Pip, Tool


def write() -> None:
    """Resolve everything anew, the tests' lock under the runtime's versions."""
    # The image holds the client of every KMS, and PostgreSQL's.
    _compile(["pyproject.toml", "--all-extras", "--group", "build"], RUNTIME_LOCK)
    tests = ["--all-extras", "--group", "dev", "--constraint", str(RUNTIME_LOCK.relative_to(ROOT))]
    _compile(["pyproject.toml", *tests], TEST_LOCK)
    LOCKS.mkdir(exist_ok=True)
    for tool in TABLE.values():
        source = tool.sources[0]
        if not isinstance(source, Pip):
            continue
        with tempfile.NamedTemporaryFile("w", suffix=".in") as wanted:
            wanted.write("\n".join((source.requirement, *source.beside)) + "\n")
            wanted.flush()
            options = [] if source.with_dependencies else ["--no-deps"]
            _compile([wanted.name, *options], LOCKS / f"{tool.name}.lock")
        if (LOCKS / tool.name / "package.json").is_file():
            _lock_npm(tool)


def _lock_npm(tool: Tool) -> None:
    """Resolve the tool's npm packages anew, by the npm of the lock above."""
    print(f"Locking npm packages of {tool.name}", flush=True)
    tool.acquire()
    npm = [str(tool.folder / "bin" / "npm"), "install", "--package-lock-only", "--omit-lockfile-registry-resolved"]
    path = f"{tool.folder / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    subprocess.run(npm, cwd=LOCKS / tool.name, env=os.environ | {"PATH": path}, check=True, stdin=subprocess.DEVNULL)


def _compile(what: Sequence[str], lock: Path) -> None:
    print(f"Locking {lock.relative_to(ROOT)}", flush=True)
    uv = str(Path(sys.executable).with_name("uv"))
    command = [uv, "pip", "compile", "--quiet", "--no-config", "--universal", "--python-version", "3.11"]
    command += ["--generate-hashes", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"]
    command += ["--custom-compile-command", "make lock", "--output-file", str(lock)]
    subprocess.run([*command, *what], cwd=ROOT, check=True, stdin=subprocess.DEVNULL)
