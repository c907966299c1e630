"""`sealgate scrub`: what it says of a sound store and of a damaged one, its report, and going on from it."""

import json
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import scrub as module
from gateway.cli.main import run
from gateway.engine.scrub import Scrubber
from tests.gateway.cli.process import Running


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    running = Running.fresh(tmp_path_factory.mktemp("scrub"))
    running.start()
    try:
        s3 = running.s3()
        s3.create_bucket(Bucket="box")
        for number in range(4):
            s3.put_object(Bucket="box", Key=f"small {number}", Body=b"small")
            s3.put_object(Bucket="box", Key=f"large {number}", Body=bytes(300_000))
    finally:
        running.stop(signal.SIGTERM)
    return running.place


@pytest.fixture
def place(stored: Path, tmp_path: Path) -> Path:
    shutil.copytree(stored / "data", tmp_path / "data", ignore=shutil.ignore_patterns("*.sock"))
    shutil.copytree(stored / "data-keys", tmp_path / "data-keys")
    return tmp_path


def scrubbed(place: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = run(["scrub", "--json", "--data", str(place / "data"), *options])
    text = capsys.readouterr().out
    return code, json.loads(text) if text else {}


def large(place: Path) -> list[Path]:
    return [
        path for path in sorted((place / "data/blobs/b").rglob("*")) if path.is_file() and path.stat().st_size > 200_000
    ]


def test_a_sound_store(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, answer = scrubbed(place, capsys)
    assert (code, answer["damaged"]) == (0, 0)
    assert answer["whole"] == answer["blobs"] + 4, "the small ones in their pack, too"
    assert answer["bytes"] > 1_200_000
    code, answer = scrubbed(place, capsys, "--without-keys", "--keys", str(place / "none"))
    assert (code, answer["shaped"]) == (0, answer["blobs"])


def test_damage_is_named_and_left_as_it_is(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blob = large(place)[1]
    data = bytearray(blob.read_bytes())
    data[150_000] ^= 4
    blob.write_bytes(data)
    code, answer = scrubbed(place, capsys, "--report", str(place / "report.json"))
    assert (code, answer["damaged"]) == (7, 1)
    report = json.loads((place / "report.json").read_text())
    assert report["is_done"] is True
    assert [finding["blob_id"] for finding in report["findings"]] == [blob.name]
    assert "chunk" in report["findings"][0]["why"]
    assert blob.read_bytes() == data
    code, answer = scrubbed(place, capsys, "--without-keys")
    assert (code, answer["damaged"]) == (0, 0), "nothing but a key tells one byte from another"


def test_it_goes_on_from_its_report(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SAVE_EVERY_S", 0.0)
    report = place / "report.json"
    first = large(place)[0]
    first.write_bytes(first.read_bytes()[:-1])
    whole, _ = scrubbed(place, capsys, "--report", str(report))
    assert whole == 7
    kept = json.loads(report.read_text())
    counts = kept["counts"]
    # As an interrupted one left it, half way.
    ids = sorted(path.name for path in (place / "data/blobs/b").rglob("*") if path.is_file())
    kept |= {"is_done": False, "done_through": ids[len(ids) // 2], "counts": {"damaged": 1, "whole": 1}}
    report.write_text(json.dumps(kept))
    code, answer = scrubbed(place, capsys, "--report", str(report), "--resume")
    assert (code, answer["damaged"] >= 1) == (7, True)
    assert 1 < answer["whole"] < counts["whole"]
    assert scrubbed(place, capsys, "--resume")[0] == 2
    report.write_text("{}")
    assert scrubbed(place, capsys, "--report", str(report), "--resume")[0] == 2
    assert run(["scrub", "--data", str(place / "nothing")]) == 4


def test_after_one_that_was_done_it_begins_anew(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--report", str(place / "report.json"))
    assert scrubbed(place, capsys, *options)[0] == 0
    first = large(place)[0]
    first.write_bytes(first.read_bytes()[:-1])
    code, answer = scrubbed(place, capsys, *options, "--resume")
    assert (code, answer["damaged"]) == (7, 1)
    first.unlink()
    code, answer = scrubbed(place, capsys, *options, "--resume")
    assert (code, answer["damaged"]) == (0, 0), "what an earlier one found is not counted again"


def test_a_report_that_cannot_be_written_is_told_before_all_is_read(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Scrubber, "prepare", None)
    for report in (place / "none/report.json", place):
        assert run(["scrub", "--data", str(place / "data"), "--report", str(report)]) == 4
        assert f"{report} cannot be written" in capsys.readouterr().err


def test_a_store_that_gave_up_its_claim_is_not_proved(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "data/blobs/realm").unlink()
    assert run(["scrub", "--data", str(place / "data")]) == 6
    assert "where `sealgate migrate` moved it" in capsys.readouterr().err


def test_it_reads_no_faster_than_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    code, answer = scrubbed(place, capsys, "--max-mb-s", "1")
    assert code == 0
    assert time.monotonic() - began >= 1.2 * 0.9
    assert answer["damaged"] == 0
