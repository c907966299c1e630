"""A small bench against its own gateway and against one that serves: figures come out, and nothing is left."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.cli.bench import command
from gateway.cli.bench.command import Shape
from gateway.cli.bench.load import Sample
from gateway.cli.bench.target import folder_beside
from gateway.cli.exits import CommandError, Exit
from gateway.cli.main import run
from tests.gateway.cli.process import Running

TINY = Shape(large_bytes=1024 * 1024 + 7, connections=3, large_connections=2, seconds=0.2, pages=2)
NAMES = [
    *("PUT of 1 MiB, 1 connection", "PUT of 1 MiB, 2 connections"),
    *("GET of 1 MiB, 1 connection", "GET of 1 MiB, 2 connections"),
    *("PUT of 4 KiB, 3 connections", "GET of 4 KiB, 3 connections", "list 12 keys, 1 connection"),
]


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "QUICK", TINY)
    monkeypatch.setattr(command, "PAGE_KEYS", 12)
    monkeypatch.setattr(command.signal, "signal", lambda *_: None)  # type: ignore[attr-defined]  # this process keeps its own


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    gateway = Running.fresh(tmp_path_factory.mktemp("bench"))
    gateway.start()
    yield gateway
    gateway.stop()


def processes_in(place: Path) -> list[str]:
    """Processes whose command line names the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        found += [line] if str(place) in line else []
    return found


def test_a_gateway_of_its_own_is_measured_and_removed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "--quick", "--json", "--data", str(tmp_path / "data")]) == Exit.OK
    answer = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in answer["results"]] == NAMES
    for row in answer["results"]:
        assert row["rate"] > 0
        assert 0 < row["p50_ms"] <= row["p99_ms"]
        assert row["gateway_cpu_s"] >= 0
        assert row["limit"]
    assert min(answer["baselines"].values()) > 0
    assert list(tmp_path.iterdir()) == []
    assert processes_in(tmp_path) == []


def test_a_gateway_that_serves_is_measured_and_left_as_it_was(
    running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    s3 = running.s3()
    s3.create_bucket(Bucket="of-the-user")
    s3.put_object(Bucket="of-the-user", Key="small-0001", Body=b"mine")
    endpoint = f"https://localhost:{running.port}"
    data = str(running.place / "data")
    assert run(["bench", "--quick", "--endpoint", endpoint, "--data", data]) == Exit.OK
    shown = capsys.readouterr().out
    assert all(name in shown for name in NAMES)
    assert "AES-256-GCM, one core" in shown
    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == ["of-the-user"]
    assert s3.get_object(Bucket="of-the-user", Key="small-0001")["Body"].read() == b"mine"
    assert running.client_env()["AWS_SECRET_ACCESS_KEY"] not in shown


def test_a_refusal_is_one_line_and_removes_the_bucket_all_the_same(
    running: Running, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "SMALL_BYTES", 6 * 1024**3)  # more than a PUT may have: refused by its header
    before = running.s3().list_buckets()["Buckets"]
    data = str(running.place / "data")
    assert run(["bench", "--quick", "--endpoint", f"https://localhost:{running.port}", "--data", data]) in {
        Exit.REFUSED,
        Exit.BUSY,
    }
    assert capsys.readouterr().err.count("\n") == 1
    assert running.s3().list_buckets()["Buckets"] == before


@pytest.mark.parametrize(
    ("endpoint", "env", "code", "words"),
    [
        ("http://localhost:1", None, Exit.USAGE, "https:// alone"),
        ("https://localhost:1", "export AWS_REGION=x\n", Exit.USAGE, "give another --client-env"),
        ("closed", None, Exit.BUSY, "broke off"),
    ],
)
def test_an_endpoint_that_is_none_is_told_in_one_line(
    running: Running,
    tmp_path: Path,
    endpoint: str,
    env: str | None,
    code: Exit,
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        url = f"https://localhost:{holder.getsockname()[1]}" if endpoint == "closed" else endpoint
        file = running.place / "data-keys/client.env"
        if env is not None:
            file = tmp_path / "client.env"
            file.write_text(env)
            file.chmod(0o600)
        got = run(["bench", "--quick", "--endpoint", url, "--client-env", str(file), "--data", str(tmp_path / "data")])
    told = capsys.readouterr().err
    assert (got, told.count("\n")) == (code, 1)
    assert words in told


def test_percentiles_are_of_the_sorted_times() -> None:
    sample = Sample(100, 2.0, tuple(number / 1000 for number in range(1, 101)), 1.0, 0.1)
    assert (sample.rate, sample.percentile_ms(50), sample.percentile_ms(99)) == (50.0, 51.0, 100.0)
    assert Sample(1, 1.0, (0.5,), None, 0.0).percentile_ms(99) == 500.0


@pytest.mark.parametrize(
    ("name", "gateway_s", "client_s", "limit"),
    [
        ("PUT", 0.95, 0.1, "the gateway's processor time"),
        ("PUT", 0.95, 0.95, "this client"),
        ("PUT", 0.1, 0.1, "the disk, or other programs"),
        ("GET", 0.1, 0.1, "round trips, or other programs"),
        ("GET", None, 0.1, ""),
    ],
)
def test_what_limits_is_told_by_processor_time(name: str, gateway_s: float | None, client_s: float, limit: str) -> None:
    assert command._limit(name, Sample(1, 1.0, (1.0,), gateway_s, client_s)) == limit


def test_the_folder_is_on_the_disk_of_the_data(tmp_path: Path) -> None:
    assert folder_beside(tmp_path / "data") == tmp_path
    (tmp_path / "file").touch()
    with pytest.raises(CommandError):
        folder_beside(Path("/proc/1/none/data"))
