"""One runner for each job, whatever happens to gateways: an epoch of a lease is one process's."""

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.blackbox.process import Gateway
from tests.several.client import Client, NobodyThere
from tests.several.conftest import Start
from tests.several.watched import GRANT, Event, WatchedGateway, events, violations
from tests.tooling.postgresql import PostgresServer, postgres_settings

LEASE_S = 3.0
BUCKET = "leases"
JOBS = {"journal", "sweep", "lifecycle", "notifications:hook", "keys"}


class Watched:
    """Three gateways, and what they tell."""

    def __init__(self, start: Start, folder: Path, lease_s: float | None) -> None:
        self.folder = folder
        self.gateways = start(
            3,
            made=WatchedGateway,
            WATCH_FOLDER=str(folder),
            **({} if lease_s is None else {"WATCH_LEASE_S": str(lease_s)}),
            SEALGATE_SWEEP_INTERVAL_S="1",
            SEALGATE_LIFECYCLE_INTERVAL_S="1",
            SEALGATE_LIFECYCLE_DAY_S="1",
            SEALGATE_CONDEMNED_GRACE_S="0",
            SEALGATE_WEBHOOKS="hook=https://localhost:1/",
        )
        self.put("first")

    def put(self, name: str) -> None:
        """Change something, at whichever gateway answers."""
        assert self.could_put(name), "no gateway answers"

    def could_put(self, name: str) -> bool:
        """Try to. One that was stopped amid a change of this object holds up the others for some seconds."""
        paths = ((f"/{BUCKET}", b""), (f"/{BUCKET}/{name}", bytes(20_000)), (f"/{BUCKET}/{name}", b""))
        for gateway in self.gateways:
            with closing(Client(gateway, 2)) as client, suppress(NobodyThere):
                if all(client.ask("PUT", path, body) is not None for path, body in paths):
                    return True
        return False

    def at(self, pid: int) -> Gateway:
        (found,) = (gateway for gateway in self.gateways if gateway.pid == pid)
        return found

    def wait_for(self, what: str, met: Callable[[Event], bool], timeout_s: float) -> Event:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for event in events(self.folder):
                if met(event):
                    return event
            time.sleep(0.1)
        raise AssertionError(f"{what} did not come in {timeout_s} s")

    def check(self) -> None:
        """Nobody did what he might not, and the catalogue and its journal are whole."""
        assert list(violations(events(self.folder))) == []
        verified = self.gateways[0].run("verify", "--journal")
        assert verified.returncode == 0, verified.stderr


def grant_after(event: Event) -> Callable[[Event], bool]:
    """A grant of the same lease to another process."""
    return lambda later: (
        later.what == GRANT and later.lease == event.lease and later.pid != event.pid and later.epoch > event.epoch
    )


def is_of(lease: str) -> Callable[[Event], bool]:
    """Whatever is done under that lease."""
    return lambda event: event.lease == lease


@pytest.fixture(scope="module")
def watched(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Watched:
    return Watched(start, tmp_path_factory.mktemp("watched"), LEASE_S)


def stop_and_wake(watched: Watched, pause_s: float) -> None:
    """Stop the journal's runner right before what it does under its lease, and wake it when another one runs."""
    (watched.folder / "stop").write_text("trim_changes")
    began = time.monotonic()
    while not (found := list(watched.folder.glob("*.stopped"))):
        assert time.monotonic() < began + 30, "nobody came to the place"
        watched.could_put("before")
    (stopped,) = found
    pid = int(stopped.stem)
    stopped.unlink()
    try:
        held = [event for event in events(watched.folder) if (event.pid, event.lease) == (pid, "journal")][-1]
        watched.wait_for("a new runner of the journal", grant_after(held), max(pause_s, LEASE_S + 30))
        time.sleep(max(0.0, pause_s - (time.monotonic() - began)))
        watched.put("meanwhile")
    finally:
        os.kill(pid, signal.SIGCONT)
    late = watched.wait_for(
        "the end of what was late",
        lambda event: (
            (event.pid, event.what, event.epoch) == (pid, "trim_changes", held.epoch) and event.ended > began + pause_s
        ),
        20,
    )
    assert not late.is_done
    watched.check()


def test_who_stood_still_longer_than_its_lease_commits_nothing_under_it(watched: Watched) -> None:
    stop_and_wake(watched, 2 * LEASE_S)


@pytest.mark.slow
def test_the_same_for_a_minute_and_with_leases_as_long_as_ever(
    start: Start, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stop_and_wake(Watched(start, tmp_path_factory.mktemp("minute"), None), 60.0)


def test_each_job_has_one_runner_and_another_one_after_a_kill(watched: Watched) -> None:
    with ThreadPoolExecutor() as pool:
        rewraps = list(pool.map(lambda gateway: gateway.run("key", "rewrap"), watched.gateways))
    assert 0 in [done.returncode for done in rewraps], [done.stderr for done in rewraps]
    for lease in JOBS:
        watched.wait_for(f"a runner of {lease}", is_of(lease), 20)
    runner = [event for event in events(watched.folder) if event.lease == "journal" and event.what == GRANT][-1]
    gateway = watched.at(runner.pid)
    gateway.kill()
    try:
        watched.wait_for("another runner of the journal", grant_after(runner), LEASE_S + 20)
    finally:
        gateway.start()
    seen = events(watched.folder)
    assert {event.lease for event in seen} >= JOBS
    assert len({event.pid for event in seen if event.lease == "sweep"}) >= 2
    watched.check()


def test_the_watch_finds_what_it_looks_for() -> None:
    first = Event(1, GRANT, "sweep", 1, 0, 1, is_done=True)
    second = Event(2, GRANT, "sweep", 2, 2, 3, is_done=True)
    late = Event(1, "condemn_orphans", "sweep", 1, 4, 5, is_done=True)
    refused = Event(1, "condemn_orphans", "sweep", 1, 4, 5, is_done=False)
    double = Event(2, "condemn_orphans", "sweep", 1, 0, 1, is_done=True)
    assert list(violations([first, second, refused])) == []
    assert len(list(violations([first, second, late]))) == 1
    assert len(list(violations([first, double]))) == 1


def test_the_journal_goes_on_at_once_after_a_restart(server: PostgresServer, tmp_path: Path) -> None:
    """The right to it is given back at the end: else its lease would run out first, and changes wait that long."""
    server.create_database("restarted")
    gateway = Gateway(tmp_path / "gateway", postgres_settings(server, "restarted", tmp_path))
    gateway.start()
    try:
        gateway.restart()
        with closing(Client(gateway, 10)) as client:
            answer = client.ask("PUT", f"/{BUCKET}")
        assert answer is not None
        assert answer.status == 200
        deadline = time.monotonic() + 10
        while server.sql("SELECT count(*) FROM outbox", "restarted") != "0":
            assert time.monotonic() < deadline, "the change is not journalled"
            time.sleep(0.1)
    finally:
        gateway.close()
