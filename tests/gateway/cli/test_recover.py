"""`sealgate recover` stopped at each of its steps changes nothing, and does all of it the next time."""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.cli.main import run
from storage import seams
from tests.gateway.cli.process import Running


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    running = Running.fresh(tmp_path_factory.mktemp("recover"))
    running.start()
    try:
        s3 = running.s3()
        s3.create_bucket(Bucket="box")
        s3.put_object(Bucket="box", Key="small", Body=b"small")
    finally:
        running.stop(signal.SIGTERM)
    return running.place


@pytest.fixture(autouse=True)
def no_hook() -> Iterator[None]:
    yield
    seams.hook = None


@pytest.mark.parametrize("seam", ["recover.rebuilt", "recover.moved_aside", ""])
@pytest.mark.parametrize("is_there", [True, False])
def test_an_interrupted_recovery_is_begun_anew(place: Path, tmp_path: Path, seam: str, is_there: bool) -> None:
    shutil.copytree(place / "data", tmp_path / "data", ignore=shutil.ignore_patterns("*.sock"))
    shutil.copytree(place / "data-keys", tmp_path / "data-keys")
    if not is_there:
        shutil.rmtree(tmp_path / "data/catalogue")
    folders = ("--data", str(tmp_path / "data"))

    def crash(reached: str) -> None:
        if reached == seam:
            seams.hook = None
            raise KeyboardInterrupt

    seams.hook = crash
    code = run(["recover", "--replace", *folders])
    if seam == "" or (seam == "recover.moved_aside" and not is_there):
        assert code == 0
    else:
        assert code == 130, "as a shell says of an interrupt"
        assert (tmp_path / "data/catalogue").exists() == (is_there and seam == "recover.rebuilt")
        assert run(["recover", "--replace", *folders]) == 0
    assert run(["verify", *folders]) == 0
    assert run(["recover", *folders]) == 3
    kept = [path.name for path in (tmp_path / "data").iterdir() if ".before-" in path.name]
    assert len(kept) == int(is_there)
    assert not (tmp_path / "data/catalogue.recovering").exists()


def test_what_is_refused_is_told_with_a_way_that_the_command_has(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(place / "data", tmp_path / "data", ignore=shutil.ignore_patterns("*.sock"))
    shutil.copytree(place / "data-keys", tmp_path / "data-keys")
    folders = ("--data", str(tmp_path / "data"))
    assert run(["backup", str(tmp_path / "backup"), *folders]) == 0
    assert run(["restore", str(tmp_path / "backup"), *folders]) == 3
    told = capsys.readouterr().err
    assert ("--replace" in told, "move" in told) == (False, True)
    shutil.rmtree(tmp_path / "data/catalogue")
    shutil.rmtree(tmp_path / "data/blobs/b")
    assert run(["recover", *folders]) == 6
    assert "`sealgate restore FOLDER`" in capsys.readouterr().err
    assert run(["restore", str(tmp_path / "backup"), *folders]) == 0


def test_where_nothing_can_be_written_is_no_matter_of_keys(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "data", tmp_path / "data", ignore=shutil.ignore_patterns("*.sock"))
    shutil.copytree(place / "data-keys", tmp_path / "data-keys")
    (tmp_path / "file").touch()
    nowhere = str(tmp_path / "file/there")
    assert run(["backup", nowhere, "--data", str(tmp_path / "data")]) == 4
    assert run(["anchor", "export", nowhere, "--data", str(tmp_path / "data")]) == 4
