"""The command as a whole: before the first start, stopped, spoiled; it changes nothing and ends as a start would."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.exits import Exit
from gateway.cli.main import run
from gateway.errors import SettingsError
from tests.gateway.cli.helpers import digests, settings_in, start
from tests.gateway.cli.test_bootstrap import BAD
from tests.servers.ports import free_ports


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("template")
    start(settings_in(place))
    return place


def checked(place: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> tuple[int, dict[str, Any]]:
    port, admin_port, http_port = free_ports(3)
    ports = ("--port", str(port), "--admin-port", str(admin_port), "--http-port", str(http_port))
    code = run(["check", "--json", "--data", str(place / "data"), *ports, *flags])
    return code, json.loads(capsys.readouterr().out)


def found(answer: dict[str, Any], state: str) -> dict[str, str]:
    return {row["area"]: row["found"] for row in answer["checks"] if row["state"] == state}


def test_before_the_first_start_nothing_fails_and_nothing_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, answer = checked(tmp_path, capsys)
    assert (code, answer["failed"]) == (Exit.OK, 0), found(answer, "failed")
    assert list(tmp_path.iterdir()) == []
    areas = {row["area"] for row in answer["checks"]}
    assert areas >= {"settings", "gateway", "folders", "free space", "disk sync", "keyring", "certificate", "ports"}
    assert areas >= {"open files", "memory", "clock", "file system"}


def test_a_stopped_gateway_is_looked_through_and_left_as_it_was(
    template: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, listed = digests(template), sorted(template.rglob("*"))
    code, answer = checked(template, capsys)
    assert (code, answer["failed"]) == (Exit.OK, 0), found(answer, "failed")
    assert "wraps and unwraps" in found(answer, "ok")["keyring"]
    assert "as the keys are" in found(answer, "ok")["catalogue"]
    assert (digests(template), sorted(template.rglob("*"))) == (before, listed)


@pytest.mark.parametrize("case", [case for case in BAD if BAD[case][1] is not Exit.USAGE])
def test_what_a_start_would_refuse_fails_with_its_code(
    case: str, template: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, code, _ = BAD[case]
    for name in ("data", "data-keys"):
        shutil.copytree(template / name, tmp_path / name)
    flags = spoil(tmp_path)
    before, listed = digests(tmp_path), sorted(tmp_path.rglob("*"))
    got, answer = checked(tmp_path, capsys, *flags)
    failed = [row for row in answer["checks"] if row["state"] == "failed"]
    assert failed
    assert all(row["remedy"] for row in failed), "each says what to do"
    assert code in {row["code"] for row in failed}
    assert got == failed[0]["code"] != Exit.OK
    assert (digests(tmp_path), sorted(tmp_path.rglob("*"))) == (before, listed)


def test_a_setting_that_cannot_stand_is_a_failure_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, answer = checked(tmp_path, capsys, "--workers", "2")
    assert code == Exit.USAGE
    assert answer["failed"] == len(answer["checks"]) == 1
    assert issubclass(SettingsError, ValueError)


@pytest.mark.parametrize(
    "flags",
    [("--read-budget-bytes", "1048576", "--read-ahead-bytes", "4194304"),
     ("--drain-timeout-s", "1", "--header-timeout-s", "5")],
)  # fmt: skip
def test_settings_that_do_not_go_together_are_told(
    flags: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, answer = checked(tmp_path, capsys, *flags)
    assert code == Exit.OK
    assert "settings" in found(answer, "warning")


def test_the_table_says_what_to_do_below_each_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "data/holiday.jpg").write_bytes(b"x")
    assert run(["check", "--data", str(tmp_path / "data")]) == Exit.SETUP
    shown = capsys.readouterr().out.splitlines()
    (at,) = [number for number, line in enumerate(shown) if "holds other files" in line]
    assert shown[at].startswith("failed ")
    assert "-> give --data an empty folder" in shown[at + 1]
    assert shown[-1].endswith(" 1 failed")
