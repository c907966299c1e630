"""What a command does not load: a person waits for every import, and a script pays for it at each call."""

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import typer
from typer.main import get_group

from gateway.cli.families import FAMILIES
from gateway.cli.main import run
from tests.gateway.cli.process import Running, environment
from tests.servers.ports import free_ports

_CLIENTS = frozenset({"boto3", "botocore", "minio", "urllib3", "requests", "hvac", "pkcs11", "psycopg", "greenlet"})
"""What remote KMSs, S3 stores and PostgreSQL take."""
_SERVER = frozenset({"starlette", "uvicorn", "uvloop", "httptools", "prometheus_client", "awscrt", "isal"})
_STORES = frozenset(
    {"apsw", "aiofiles", "cryptography", "storage.catalogue.commands", "storage.blobs", "storage.sealed"}
)
_JOINED = frozenset(
    {"gateway.engine", "gateway.operations", "gateway.s3", "gateway.http.server", "gateway.wiring.gateway"}
)
_ASKING = _CLIENTS | _SERVER | _STORES | _JOINED | {"rich"}
"""A command that a gateway answers opens nothing itself, and draws no bar where nobody looks."""
_TELLING = _ASKING | {"gateway.config", "pydantic_settings", "asyncio"}
"""What is told of the program itself needs no settings either."""

_RUN = (
    "import json, sys; from gateway.cli.main import run; code = run(sys.argv[1:]);"
    " open('loaded', 'w').write(json.dumps(sorted(sys.modules))); sys.exit(code)"
)
"""Modules go to a file, for the command has both outputs."""


def _loaded(folder: Path, arguments: list[str], code: int = 0) -> frozenset[str]:
    done = subprocess.run(
        [sys.executable, "-P", "-c", _RUN, *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return _loaded_by(folder)


def _loaded_by(folder: Path) -> frozenset[str]:
    return frozenset(json.loads((folder / "loaded").read_text()))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    gateway = Running.fresh(tmp_path_factory.mktemp("served"))
    gateway.start()
    yield gateway
    assert gateway.stop() == 0


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["nonsense"]], ids=" ".join)
def test_what_the_program_says_of_itself(arguments: list[str], tmp_path: Path) -> None:
    loaded = _loaded(tmp_path, arguments, 2 if arguments == ["nonsense"] else 0)
    assert loaded & _TELLING == set()


@pytest.mark.parametrize(
    "arguments",
    [
        ["account", "list"],
        ["key", "list"],
        ["recovery", "list"],
        ["verify"],
        ["anchor", "export", "anchor.json"],
    ],
    ids=" ".join,
)
def test_what_a_serving_gateway_answers(arguments: list[str], served: Running, tmp_path: Path) -> None:
    loaded = _loaded(tmp_path, [*arguments, "--data", str(served.place / "data")])
    assert loaded & _ASKING == set()


def test_settings_are_shown_without_what_they_set(tmp_path: Path) -> None:
    assert _loaded(tmp_path, ["settings"]) & _ASKING == set()


def test_serve_loads_the_clients_of_what_its_settings_name_alone(tmp_path: Path) -> None:
    ports = dict(zip(("--port", "--admin-port", "--http-port"), map(str, free_ports(3)), strict=True))
    words = ["serve", "--data", str(tmp_path / "data"), *(word for pair in ports.items() for word in pair)]
    with subprocess.Popen(
        [sys.executable, "-P", "-c", _RUN, *words],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as serving:
        assert serving.stdout is not None
        assert any(line.startswith("health and metrics") for line in serving.stdout)
        serving.terminate()
        assert serving.wait(30) == 0
    loaded = _loaded_by(tmp_path)
    assert loaded >= _SERVER | _STORES | _JOINED
    assert loaded & (_CLIENTS | {"rich", "gateway.kms_file", "gateway.cli.bench", "gateway.cli.check"}) == set()


def test_the_table_of_families_is_what_they_register() -> None:
    for module in {module for module, _ in FAMILIES.values()}:
        family = typer.Typer()
        import_module(f"gateway.cli.{module}").register(family)
        assert set(get_group(family).commands) == {name for name, (other, _) in FAMILIES.items() if other == module}


def test_every_family_has_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, (_, text) in FAMILIES.items():
        assert f"  {name:<10}  {text}" in lines
