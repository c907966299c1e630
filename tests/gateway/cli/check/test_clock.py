"""A clock that is before this release, behind the catalogue, jumping, or kept by nobody."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.cli.check import clock
from gateway.cli.check.clock import Stopwatch, check_clock, is_synchronised
from gateway.cli.check.report import Report, State
from gateway.wiring.folders import Folders
from tests.gateway.cli.helpers import settings_in

NOW = datetime.now(UTC)


def looked(place: Path, now: datetime = NOW, since: Stopwatch | None = None) -> dict[State, str]:
    report = Report()
    check_clock(report, Folders.of(settings_in(place)), now, since or Stopwatch())
    return {row.state: row.found for row in report.findings}


@pytest.fixture(autouse=True)
def _kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "is_synchronised", lambda: True)


def test_a_right_clock_is_well(tmp_path: Path) -> None:
    assert set(looked(tmp_path)) == {State.OK}


def test_a_clock_before_this_release_fails(tmp_path: Path) -> None:
    assert "before this release" in looked(tmp_path, datetime(2020, 1, 1, tzinfo=UTC))[State.FAILED]


def test_a_catalogue_written_in_the_future_fails(tmp_path: Path) -> None:
    (tmp_path / "data/catalogue").mkdir(parents=True)
    log = tmp_path / "data/catalogue/catalogue.db-wal"
    log.touch()
    os.utime(log, (NOW.timestamp(), NOW.timestamp()))
    assert "last written" in looked(tmp_path)[State.OK]
    later = (NOW + timedelta(minutes=5)).timestamp()
    os.utime(log, (later, later))
    assert "last written" in looked(tmp_path)[State.FAILED]


def test_a_clock_that_jumps_is_told(tmp_path: Path) -> None:
    since = Stopwatch()
    since._wall_s -= 10
    assert "jumped by 10.0 s" in looked(tmp_path, since=since)[State.WARNING]


def test_a_clock_that_nobody_keeps_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "is_synchronised", lambda: False)
    assert "no time service" in looked(tmp_path)[State.WARNING]


def test_the_kernel_is_asked() -> None:
    assert is_synchronised() in {True, False, None}
