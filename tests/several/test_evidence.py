"""A history that fails leaves behind what explains it."""

import random
from pathlib import Path

import pytest

from tests.blackbox.process import Gateway
from tests.several import evidence
from tests.several.evidence import kept, operations_of
from tests.several.history import History, until_answered
from tests.several.linearizability import Kind, Operation, is_linearizable
from tests.tooling.places import REPORTS


def broken_history() -> History:
    history = History(random.Random(1), 1)
    history.note("key1", Operation(Kind.PUT, 1.0, 2.0, "a"))
    history.note("key1", Operation(Kind.SWAP, 2.5, float("inf"), "b", "a"))
    history.note("key1", Operation(Kind.READ, 3.0, 4.0))
    history.note("key2", Operation(Kind.CREATE, 3.0, 4.0, "c", is_refused=True))
    return history


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(evidence, "KEPT", tmp_path / "kept")
    return tmp_path / "kept" / "7-13"


def test_all_of_it_is_kept_and_the_failure_says_where(folder: Path, tmp_path: Path) -> None:
    history = broken_history()
    history.tell("kill of 4711 begins")
    gateway = Gateway(tmp_path / "gateway")
    (gateway.logs / "serve-1.log").write_text("killed\n")
    (gateway.logs / "serve-2.log").write_text("started\n")
    (tmp_path / "log").write_text("recovered\n")
    with (
        pytest.raises(AssertionError, match="key1") as failure,
        kept("7-13", history, [gateway], {"postgresql": tmp_path / "log", "seaweedfs": tmp_path / "not-there"}),
    ):
        assert history.broken_keys() == []
    assert failure.value.__notes__ == [f"The history, and the logs of all who took part, are kept in {folder}"]
    assert operations_of(folder) == history.by_key
    assert [key for key, operations in operations_of(folder).items() if not is_linearizable(operations)] == [
        "key1",
        "key2",
    ]
    assert {path.name: path.read_text() for path in folder.glob("*.log")} == {
        "gateway0-serve-1.log": "killed\n",
        "gateway0-serve-2.log": "started\n",
        "postgresql.log": "recovered\n",
    }
    assert "kill of 4711 begins" in (folder / "requests.txt").read_text()
    told = (folder / "failure.txt").read_text()
    assert "AssertionError" in told
    assert history.bucket in told


def test_of_one_that_succeeds_nothing_is_kept(folder: Path) -> None:
    with kept("7-13", broken_history(), [], {}):
        pass
    assert not folder.exists()


def test_it_is_kept_where_reports_are() -> None:
    assert evidence.KEPT.parent == REPORTS


def test_who_is_never_answered_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.several.history.STALL_S", 0.0)
    history = broken_history()
    history.tell("1 GET /key -> 503")
    with pytest.raises(AssertionError, match=r"not answered in 0\.0 s: .* 503"):
        until_answered(history, lambda: False)
    with pytest.raises(AssertionError, match="nobody was answered"):
        history.draw()
