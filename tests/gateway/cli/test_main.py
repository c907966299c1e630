"""The command line as a stranger meets it: help everywhere, one line for every failure, codes that mean something."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from gateway.cli import exits, settings
from gateway.cli.exits import EXITS, Exit, exit_of
from gateway.cli.main import app, run
from gateway.config import setting_rows, settings_markdown
from keys.errors import KeysError, KmsUnavailable, UnwrapFailed
from storage.errors import (
    CatalogueBusy,
    CatalogueUnsafe,
    LeaseLost,
    RealmMismatch,
    RowDamaged,
    SealedDamaged,
    StorageError,
    StorageFull,
)
from tests.gateway.cli.process import command, environment


def every_command() -> Iterator[list[str]]:
    def walk(found: object, path: list[str]) -> Iterator[list[str]]:
        yield path
        for name, below in getattr(found, "commands", {}).items():
            yield from walk(below, [*path, name])

    yield from walk(get_command(app), [])


@pytest.mark.parametrize("path", list(every_command()), ids=" ".join)
def test_every_command_explains_itself(path: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*path, "--help"]) == Exit.OK
    shown = capsys.readouterr().out
    assert "Usage: sealgate" in shown
    assert "--help" in shown


def test_the_families_are_all_there() -> None:
    names = {" ".join(path) for path in every_command()}
    assert names >= {
        "serve",
        "bench",
        "check",
        "sweep",
        "verify",
        "inspect",
        "unseal",
        "settings",
        "version",
        "account create",
        "account list",
        "access-key create",
        "access-key list",
        "access-key enable",
        "access-key disable",
        "access-key delete",
    }


def test_no_command_leaves_a_core_or_lets_a_debugger_in() -> None:
    look = (
        "import ctypes, resource; from gateway.cli import main;"
        "main.run = lambda _: print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0));"
        "main.main()"
    )
    said = subprocess.run([sys.executable, "-c", look], env=environment(), capture_output=True, text=True, check=False)
    assert said.stdout == "(0, 0) 0\n", said.stderr


def test_serve_has_a_flag_for_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["serve", "--help"]) == Exit.OK
    shown = capsys.readouterr().out
    for row in setting_rows():
        assert row.flag in shown


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["--nonsense"],
        ["serve", "--nonsense"],
        ["serve", "surplus"],
        ["serve", "--port"],
        ["serve", "--port", "x"],
        ["serve", "--config", "/none.toml"],
        ["account", "nonsense"],
        ["account", "create"],
        ["access-key", "create"],
        ["access-key", "disable"],
        ["unseal"],
        ["inspect"],
        ["settings", "--config", "/none.toml"],
    ],
    ids=" ".join,
)
def test_wrong_calls_end_with_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == Exit.USAGE
    line = capsys.readouterr().err
    assert line.startswith("sealgate: ")
    assert line.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["account"], ["access-key"]])
def test_a_family_without_a_command_shows_its_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == Exit.USAGE
    assert ("Commands:" if arguments else "Who may sign:") in capsys.readouterr().out


_NEED_DATA = [["account", "list"], ["sweep"], ["verify"], ["unseal", "-o", "OUT"]]


@pytest.mark.parametrize("arguments", _NEED_DATA, ids=" ".join)
def test_folders_that_are_not_there(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run([*arguments, "--data", str(tmp_path / "none")]) == Exit.SETUP
    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["data", "data-keys"])
def test_commands_make_nothing(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / name).mkdir(exist_ok=True)
    assert run(["account", "list", "--data", str(tmp_path / "data")]) == Exit.SETUP
    assert "sealgate: " in capsys.readouterr().err
    assert {path.name for path in tmp_path.rglob("*")} <= {"data", name}


def test_settings_are_shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALGATE_REGION", "shown-1")
    assert run(["settings", "--json"]) == Exit.OK
    shown = json.loads(capsys.readouterr().out)
    assert shown["region"] == "shown-1"
    assert set(shown) == {row.name for row in setting_rows()}
    assert run(["settings"]) == Exit.OK
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(shown), "one line each, no name cut"
    assert any(line.split()[:2] == ["region", "shown-1"] for line in lines)
    assert any(line.split()[:2] == ["presigned_v2", "on"] for line in lines)
    assert run(["settings", "--markdown"]) == Exit.OK
    assert capsys.readouterr().out == settings_markdown()


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["version"]) == Exit.OK
    assert capsys.readouterr().out.startswith("sealgate ")


def test_an_unexpected_failure_shows_its_kind_and_no_value(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def burst(*_: object) -> None:
        raise RuntimeError("secret-value")

    monkeypatch.setattr(settings, "settings_of", burst)
    assert run(["settings"]) == Exit.BUG
    line = capsys.readouterr().err
    assert "RuntimeError" in line
    assert "secret-value" not in line
    assert line.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KmsUnavailable("x"), Exit.BUSY),
        (UnwrapFailed("x"), Exit.KEYS),
        (KeysError("x"), Exit.KEYS),
        (SealedDamaged("x"), Exit.DAMAGED),
        (RowDamaged("x"), Exit.DAMAGED),
        (CatalogueBusy("x"), Exit.BUSY),
        (LeaseLost("x"), Exit.BUSY),
        (StorageFull("x"), Exit.BUSY),
        (CatalogueUnsafe("x"), Exit.STORAGE),
        (RealmMismatch("x"), Exit.STORAGE),
        (StorageError("x"), Exit.STORAGE),
        (exits.SetupError("x"), Exit.SETUP),
        (RuntimeError("x"), None),
        (typer.Abort(), None),
    ],
)
def test_failures_have_their_codes(error: Exception, code: Exit | None) -> None:
    assert exit_of(error) == code


def test_no_row_of_the_exit_table_is_hidden_by_an_earlier_one() -> None:
    for index, (kind, _) in enumerate(EXITS):
        assert not any(issubclass(kind, earlier) for earlier, _ in EXITS[:index])


def test_the_installed_command_leaves_with_the_code() -> None:
    done = subprocess.run(command("nonsense"), env=environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (Exit.USAGE, "")
    assert done.stderr.count("\n") == 1


def test_a_closed_pipe_is_no_traceback() -> None:
    script = f"{sys.executable} -P -m gateway.cli.main settings --markdown | true"
    done = subprocess.run(["sh", "-c", script], env=environment(), capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_the_version_is_told_in_both_ways(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == Exit.OK
    told = capsys.readouterr().out
    assert run(["version"]) == Exit.OK
    assert capsys.readouterr().out == told
    assert told.startswith("sealgate ")


def test_choices_are_shown_as_they_are_typed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["serve", "--help"]) == Exit.OK
    told = capsys.readouterr().out
    for choice in ("--etag [md5|opaque]", "--log-names [on|off]"):
        assert choice in told
