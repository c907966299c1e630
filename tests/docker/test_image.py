"""The image's recipe: linted, its sources there and not ignored, its defaults those of the command line.

There is no engine where the tests run: `test_clean_root.py` carries the recipe out. Source: the Dockerfile reference.
"""

import http.server
import json
import re
import shlex
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Final

import pytest

from tests.docker.recipes import ignored, instructions
from tests.tooling.places import ROOT, RUNTIME_LOCK
from tests.tooling.tools import program

_DOCKERFILE: Final = ROOT / "docker" / "Dockerfile"


def _final_stage() -> list[tuple[str, str]]:
    found = instructions()
    last = max(index for index, (word, _) in enumerate(found) if word == "FROM")
    return found[last:]


def _only(word: str) -> str:
    (rest,) = [rest for found, rest in _final_stage() if found == word]
    return rest


def _copied() -> list[str]:
    sources: list[str] = []
    for word, rest in instructions():
        words = shlex.split(rest)
        if word == "COPY" and not any(option.startswith("--from=") for option in words):
            sources += [option for option in words[:-1] if not option.startswith("--")]
    return sources


def test_linter_finds_nothing() -> None:
    done = subprocess.run(
        [str(program("hadolint")), "--failure-threshold", "style", str(_DOCKERFILE)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_linter_would_find_something() -> None:
    done = subprocess.run(
        [str(program("hadolint")), "-"], input="FROM debian\nRUN cd /\n", capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "DL3006" in done.stdout


def test_what_is_copied_is_there_and_notignored() -> None:
    copied = _copied()
    assert copied
    for source in copied:
        assert (ROOT / source).exists(), source
        assert not ignored(source), source
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert set(packages["packages"]) <= set(copied)


def test_nothing_else_reaches_the_build() -> None:
    for path in ("sealgate-data/x", "sealgate-keys/client.env", ".git/config", "tests/conftest.py", ".env"):
        assert ignored(path), path
    assert ignored("gateway/__pycache__/x.pyc")


def test_packages_come_by_hash_from_the_lock() -> None:
    installs = [rest for word, rest in instructions() if word == "RUN" and "pip install" in rest]
    commands = [part for rest in installs for part in rest.split("&&") if "pip install" in part]
    assert commands
    for command in commands:
        assert "--require-hashes" in command or "--no-index" in command, command
        assert "--no-deps" in command, command
    assert str(RUNTIME_LOCK.relative_to(ROOT)) in _copied()


def test_the_image_holds_the_clients_of_every_kms_and_of_postgresql() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    locked = re.findall(r"^([\w.-]+)==", RUNTIME_LOCK.read_text(), re.MULTILINE)
    for requirements in extras.values():
        for requirement in requirements:
            assert re.split(r"[\[<>=]", requirement)[0] in locked, requirement


def test_serves_as_nobody_in_particular_from_two_volumes() -> None:
    uid, gid = _only("USER").split(":")
    assert int(uid) >= 1000
    assert int(gid) >= 1000
    data, keys = (PurePosixPath(volume) for volume in json.loads(_only("VOLUME")))
    assert data not in (keys, *keys.parents)
    assert keys not in data.parents
    settings = dict(word.split("=", 1) for word in shlex.split(_only("ENV")))
    assert (settings["SEALGATE_DATA"], settings["SEALGATE_KEYS"]) == (str(data), str(keys))
    assert settings["SEALGATE_HOST"] == "0.0.0.0"  # noqa: S104  # inside the image only what is published is reached
    assert _only("EXPOSE") == "9443"
    assert (json.loads(_only("ENTRYPOINT")), json.loads(_only("CMD"))) == (["sealgate"], ["serve"])


def test_image_base_is_pinned_and_the_same_in_every_stage() -> None:
    bases = {rest.split()[0] for word, rest in instructions() if word == "FROM"}
    (base,) = bases
    assert re.fullmatch(r"python:3\.\d+-slim-\w+", base)


@contextmanager
def _admin(status: int) -> Iterator[int]:
    """Answer `/readyz` with a status on a loopback port, as the admin listener does."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # the name of the base class
            return

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def _health(*pages: str, **environment: str) -> int:
    source = re.search(r"/opt/sealgate/(\S+\.py)", _only("HEALTHCHECK"))
    assert source is not None
    script = ROOT / "docker" / source[1]
    command = [sys.executable, "-P", str(script), *pages]
    return subprocess.run(command, env=environment, capture_output=True, check=False, timeout=20).returncode


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1), (404, 1)])
def test_health_follows_readiness(status: int, code: int) -> None:
    with _admin(status) as port:
        assert _health(SEALGATE_ADMIN_PORT=str(port)) == code
        assert _health(SEALGATE_PORT=str(port - 1)) == code
        assert _health("/readyz", SEALGATE_ADMIN_PORT=str(port)) == code
        assert _health("/healthz", SEALGATE_ADMIN_PORT=str(port)) == 1, "this listener has no such page"


def test_health_fails_where_nothing_listens() -> None:
    with _admin(200) as port:
        pass
    assert _health(SEALGATE_ADMIN_PORT=str(port)) == 1
