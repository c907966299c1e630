"""Certificates of every kind: in time and out of it, of another key, another name, another CA."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.check.certificates import check_certificates
from gateway.cli.check.report import Report, State
from gateway.cli.pki import TlsFiles, make_certificates, server_names
from gateway.config import Settings
from gateway.wiring.folders import Folders
from tests.gateway.cli.helpers import settings_in

NOW = datetime(2026, 6, 1, tzinfo=UTC)
NAMES = server_names(Settings())


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir(mode=0o700)
    make_certificates(TlsFiles(tmp_path / "data-keys/tls"), NAMES, NOW)
    return tmp_path


def looked(place: Path, now: datetime = NOW, **changes: Any) -> Report:
    report, settings = Report(), settings_in(place, **changes)
    check_certificates(report, settings, Folders.of(settings), now)
    return report


def told(report: Report, state: State) -> str:
    return "\n".join(f"{row.found} -> {row.remedy}" for row in report.findings if row.state is state)


def test_a_private_ca_in_time_is_well(place: Path) -> None:
    report = looked(place)
    assert {row.state for row in report.findings} == {State.OK}, told(report, State.WARNING)
    assert "leads to a CA that is known here" in told(report, State.OK)
    assert "every name of the settings" in told(report, State.OK)


@pytest.mark.parametrize(
    ("passed", "state", "words"),
    [
        (timedelta(days=370), State.WARNING, "a start renews it"),
        (timedelta(days=400), State.WARNING, "a start renews it"),
        (timedelta(days=3640), State.WARNING, "clients then need the new ca.pem"),
        (timedelta(days=3653), State.FAILED, "ended on"),
        (timedelta(days=-1), State.FAILED, "set the clock"),
    ],
)
def test_certificates_out_of_time_are_told(place: Path, passed: timedelta, state: State, words: str) -> None:
    assert words in told(looked(place, NOW + passed), state)


def test_a_name_that_is_missing_is_told(place: Path) -> None:
    report = looked(place, domains=("s3.example.com",))
    assert "s3.example.com, *.s3.example.com" in told(report, State.WARNING)
    assert "a start adds them" in told(report, State.WARNING)


def own(place: Path, **changes: Any) -> dict[str, Any]:
    tls = place / "data-keys/tls"
    return {"tls_certificate": tls / "server.pem", "tls_key": tls / "server-key.pem"} | changes


def test_a_certificate_of_an_unknown_ca_is_a_warning(place: Path) -> None:
    report = looked(place, **own(place))
    assert "AWS_CA_BUNDLE" in told(report, State.WARNING)
    assert told(report, State.FAILED) == ""


def test_a_certificate_of_other_names_is_a_warning(place: Path) -> None:
    report = looked(place, **own(place, domains=("s3.example.com",)))
    assert "clients that use these names refuse it" in told(report, State.WARNING)


def test_a_certificate_that_ended_fails(place: Path) -> None:
    assert "ended on" in told(looked(place, NOW + timedelta(days=400), **own(place)), State.FAILED)


def test_a_key_of_another_certificate_fails(place: Path) -> None:
    make_certificates(TlsFiles(place / "other"), NAMES, NOW)
    report = looked(place, **own(place, tls_key=place / "other/server-key.pem"))
    assert "is not the key of" in told(report, State.FAILED)


@pytest.mark.parametrize(("mode", "state"), [(0o644, State.FAILED), (0o640, State.WARNING), (0o600, State.OK)])
def test_a_private_key_that_others_may_read_is_told(place: Path, mode: int, state: State) -> None:
    shutil.copy(place / "data-keys/tls/server-key.pem", place / "k.pem")
    (place / "k.pem").chmod(mode)
    report = looked(place, **own(place, tls_key=place / "k.pem"))
    assert ("the private key" in told(report, state)) == (state is not State.OK)
    if state is State.OK:
        assert "private key" not in told(report, State.FAILED) + told(report, State.WARNING)


@pytest.mark.parametrize(
    "content", [b"", b"nothing", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_what_is_no_certificate_fails(place: Path, content: bytes) -> None:
    (place / "c.pem").write_bytes(content)
    assert told(looked(place, **own(place, tls_certificate=place / "c.pem")), State.FAILED)


def test_a_file_that_is_not_there_fails(place: Path) -> None:
    assert "No such file" in told(looked(place, **own(place, tls_certificate=place / "none")), State.FAILED)
