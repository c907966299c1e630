"""Three gateways and their database are killed, stopped and paused at random under load: each key stays one register.

Every answer, listings among them, must fit one order of all that was asked of its key, and what was acknowledged must
be there in the end.
"""

import random
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.blackbox.process import Gateway
from tests.servers.s3_servers import SeaweedFs, s3_settings
from tests.several.conftest import Start
from tests.several.evidence import kept
from tests.several.history import History, begin, finish, run_clients
from tests.several.linearizability import Kind
from tests.tooling.postgresql import PostgresServer

OPERATIONS = 5000
DISTURBANCES = 6
"""Of each kind twice."""
LONG_FROM = 3
"""Histories of this number and above belong to the long form."""


def disturb(
    history: History, gateways: list[Gateway], server: PostgresServer, dice: random.Random, pause_s: float
) -> list[str]:
    """Break one thing after the other, spread over the history; what was broken."""
    done: list[str] = []

    def kill(gateway: Gateway) -> None:
        gateway.kill()
        gateway.start()

    def pause(gateway: Gateway) -> None:
        process = gateway._process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        time.sleep(pause_s)
        process.send_signal(signal.SIGCONT)

    def restart_server(_: Gateway) -> None:
        server.stop("immediate")
        server.start()

    acts: list[Callable[[Gateway], None]] = [kill, pause, restart_server]
    dice.shuffle(acts)
    for number in range(1, DISTURBANCES + 1):
        while history.answered < history.size * number // (DISTURBANCES + 1) and not history.failures:
            time.sleep(0.02)
        act = acts[number % len(acts)]
        gateway = dice.choice(gateways)
        history.tell(f"{act.__name__} of {gateway.port} begins")
        act(gateway)
        history.tell(f"{act.__name__} of {gateway.port} is over")
        done.append(act.__name__)
    history.may_end = True
    return done


@pytest.fixture(scope="module")
def gateways(start: Start) -> list[Gateway]:
    return start(3, SEALGATE_LOG_LEVEL="info")


class Histories:
    """Histories over these gateways, and what a failure is explained from."""

    def __init__(self, gateways: list[Gateway], server: PostgresServer, seed: int, logs: Mapping[str, Path]) -> None:
        self._gateways = gateways
        self._server = server
        self._seed = seed
        self._logs = {"postgresql": server.folder / "log", **logs}

    def check(self, number: int) -> None:
        """One history, with disturbances, is one of registers. Raises: AssertionError, which says where all is kept."""
        dice = random.Random(f"{self._seed} {number}")
        history = History(dice, OPERATIONS)
        with kept(f"{self._seed}-{number}", history, self._gateways, self._logs):
            self._check(history, dice, 60.0 if number >= LONG_FROM and number % 5 == 0 else 3.0)

    def _check(self, history: History, dice: random.Random, pause_s: float) -> None:
        history.may_end = False
        begin(history, self._gateways[0])
        began = time.monotonic()
        threads = run_clients(history, self._gateways)
        try:
            done = disturb(history, self._gateways, self._server, dice, pause_s)
        finally:
            history.may_end = True
            for thread in threads:
                thread.join()
        ran_s = time.monotonic() - began
        assert history.failures == []
        finish(history, self._gateways)
        print(f"{history.asked} asked, {history.answered} answered in {ran_s:.1f} s;", *done, dict(history.counts))
        assert {"kill", "pause", "restart_server"} <= set(done)
        assert history.answered >= OPERATIONS
        began = time.monotonic()
        assert history.broken_keys() == []
        print(f"checked in {time.monotonic() - began:.1f} s")
        assert all(operations[-1].kind is Kind.READ for operations in history.by_key.values())


@pytest.fixture
def histories(gateways: list[Gateway], server: PostgresServer, seed: int) -> Histories:
    return Histories(gateways, server, seed, {})


@pytest.mark.parametrize("number", range(LONG_FROM))
def test_a_history_is_linearizable(histories: Histories, number: int) -> None:
    histories.check(number)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(LONG_FROM, 12))
def test_a_long_history_is_linearizable(histories: Histories, number: int) -> None:
    histories.check(number)


@pytest.fixture(scope="module")
def bucket_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFs]:
    backend = SeaweedFs(tmp_path_factory.mktemp("backend"))
    try:
        backend.start()
        backend.client().create_bucket(Bucket="sealed-blobs")
        yield backend
    finally:
        backend.stop()


@pytest.fixture(scope="module")
def over_a_bucket(start: Start, bucket_server: SeaweedFs) -> list[Gateway]:
    """As `gateways`, but that every body is a blob in a bucket."""
    settings = s3_settings(bucket_server, bucket_server.folder, "sealed-blobs", "histories/")
    return start(3, SEALGATE_LOG_LEVEL="info", **settings)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(12, 20))
def test_a_long_history_over_a_bucket_is_linearizable(
    over_a_bucket: list[Gateway], bucket_server: SeaweedFs, server: PostgresServer, seed: int, number: int
) -> None:
    logs = {"seaweedfs": bucket_server.folder / "server.log"}
    Histories(over_a_bucket, server, seed, logs).check(number)


@pytest.mark.slow
def test_the_catalogue_over_a_bucket_is_whole_after_all_that(over_a_bucket: list[Gateway]) -> None:
    test_the_catalogue_is_whole_after_all_that(over_a_bucket)


def test_the_catalogue_is_whole_after_all_that(gateways: list[Gateway]) -> None:
    verified = gateways[0].run("verify", "--journal")
    assert verified.returncode == 0, verified.stderr
