"""Limits of the process and the machine, and ports that others hold."""

import resource
import socket
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.check import machine
from gateway.cli.check.machine import available_bytes, check_machine
from gateway.cli.check.report import Report, State
from gateway.cli.exits import Exit
from gateway.wiring.folders import Folders
from tests.gateway.cli.helpers import settings_in
from tests.servers.ports import free_ports


def looked(place: Path, *, is_served: bool = False, **changes: Any) -> Report:
    port, admin_port = free_ports(2)
    settings = settings_in(place, **({"port": port, "admin_port": admin_port, "http_port": 0} | changes))
    report = Report()
    check_machine(report, settings, Folders.of(settings), is_served=is_served)
    return report


def states(report: Report, area: str) -> list[State]:
    return [row.state for row in report.findings if row.area == area]


def test_free_ports_are_well(tmp_path: Path) -> None:
    assert states(looked(tmp_path), "ports") == [State.OK, State.OK]


def test_a_port_in_use_fails_as_a_start_would(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen(1)
        report = looked(tmp_path, admin_port=holder.getsockname()[1])
        assert states(report, "ports") == [State.OK, State.FAILED]
        assert report.exit() is Exit.BUSY
        (failed,) = [row for row in report.findings if row.state is State.FAILED]
        assert "give another --admin-port" in failed.remedy
        assert states(looked(tmp_path, is_served=True, admin_port=holder.getsockname()[1]), "ports") == []


@pytest.mark.parametrize(("hard", "state"), [(1024, State.WARNING), (65536, State.OK), (-1, State.OK)])
def test_the_limit_on_open_files_is_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hard: int, state: State
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, hard))
    assert states(looked(tmp_path), "open files") == [state]


@pytest.mark.parametrize(
    ("available", "state"), [(2**40, State.OK), (100 * 2**20, State.WARNING), (None, State.WARNING)]
)
def test_memory_is_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, available: int | None, state: State) -> None:
    monkeypatch.setattr(machine, "available_bytes", lambda: available)
    assert states(looked(tmp_path), "memory") == [state]


def test_this_machine_has_memory() -> None:
    assert (available_bytes() or 0) > 2**20
