"""Generations of wrapping keys: whoever may still write under an older one counts, a gateway that died does not."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from gateway.wiring.key_generations import Generations
from keys.errors import KeyringError

HOLDER: Final = """
import sys
from pathlib import Path
from gateway.wiring.key_generations import Generations
held = Generations(Path(sys.argv[1]))
held.join(held.newest(), lambda: True)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "key-generations"


def test_who_has_not_noticed_is_waited_for(folder: Path) -> None:
    one, two = Generations(folder), Generations(folder)
    assert (one.current, one.newest(), one.behind_count()) == (0, 0, 0)
    for gateway in (one, two):
        gateway.join(max(gateway.newest(), 1), lambda: True)
    assert one.behind_count() == 0
    assert one.begin() == 2
    one.join(2, lambda: True)
    assert (one.current, two.current, two.newest()) == (2, 1, 2)
    assert one.behind_count() == 1
    two.join(2, lambda: True)
    assert one.behind_count() == two.behind_count() == 0
    assert sorted(path.name for path in folder.iterdir()) == ["2"], "what nobody holds is gone"
    one.close()
    assert one.begin() == 3
    assert one.behind_count() == 1, "the other one holds the second"


def test_writes_under_way_hold_their_generation(folder: Path) -> None:
    one, two = Generations(folder), Generations(folder)
    under_way = ["upload"]
    for gateway in (one, two):
        gateway.join(1, lambda: True)
    one.join(one.begin(), lambda: True)
    two.join(2, lambda: not under_way)
    assert two.is_draining
    two.tidy()
    assert one.behind_count() == 1
    one.join(one.begin(), lambda: True)
    two.join(3, lambda: True)  # of the second; the first one's upload goes on
    assert one.behind_count() == 1
    under_way.clear()
    two.tidy()
    assert [two.is_draining] == [False]
    assert one.behind_count() == 0


def test_a_gateway_that_is_killed_holds_nothing(folder: Path) -> None:
    one = Generations(folder)
    one.join(1, lambda: True)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        one.join(one.begin(), lambda: True)
        assert one.behind_count() == 1
        other.kill()
    assert one.behind_count() == 0


def test_a_file_that_goes_while_it_is_joined_is_made_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a lock would be held that nobody finds."""
    one, real, taken = Generations(folder), os.open, list[Path]()

    def open_and_lose(path: Path, *rest: int) -> int:
        descriptor = real(path, *rest)
        if not taken:
            taken.append(path)
            path.unlink()
        return descriptor

    one.begin()
    monkeypatch.setattr(os, "open", open_and_lose)
    one.join(1, lambda: True)
    monkeypatch.undo()
    two = Generations(folder)
    assert two.begin() == 2
    assert two.behind_count() == 1


def test_two_that_begin_at_once_begin_two(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Generations(folder)
    one.begin()
    numbers = iter([0, 1])
    monkeypatch.setattr(Generations, "newest", lambda _: next(numbers))
    assert one.begin() == 2


def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "key-generations").write_text("")
    with pytest.raises(KeyringError, match="cannot be used"):
        Generations(tmp_path / "key-generations").join(1, lambda: True)
