"""Three gateways and their database are killed, stopped and paused at random under load: each key stays one register.

Every answer, listings among them, must fit one order of all that was asked of its key, and what was acknowledged must
be there in the end.
"""

import random
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from tests.blackbox.process import Gateway
from tests.servers.s3_servers import SeaweedFs, s3_settings
from tests.several.conftest import Start
from tests.several.history import History, begin, finish, run_clients
from tests.several.linearizability import Kind
from tests.tooling.postgresql import PostgresServer

OPERATIONS = 5000
DISTURBANCES = 6
"""Of each kind twice."""


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
        while history.asked < history.size * number // (DISTURBANCES + 1) and not history.failures:
            time.sleep(0.02)
        act = acts[number % len(acts)]
        act(dice.choice(gateways))
        done.append(act.__name__)
    history.may_end = True
    return done


@pytest.fixture(scope="module")
def gateways(start: Start) -> list[Gateway]:
    return start(3, SEALGATE_LOG_LEVEL="info")


@pytest.mark.parametrize("number", range(3))
def test_a_history_is_linearizable(gateways: list[Gateway], server: PostgresServer, seed: int, number: int) -> None:
    check_history(gateways, server, random.Random(f"{seed} {number}"), 3.0)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(3, 12))
def test_a_long_history_is_linearizable(
    gateways: list[Gateway], server: PostgresServer, seed: int, number: int
) -> None:
    check_history(gateways, server, random.Random(f"{seed} {number}"), 60.0 if number % 5 == 0 else 3.0)


@pytest.fixture(scope="module")
def over_a_bucket(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Gateway]]:
    """As `gateways`, but that every body is a blob in a bucket."""
    folder = tmp_path_factory.mktemp("backend")
    backend = SeaweedFs(folder)
    try:
        backend.start()
        backend.client().create_bucket(Bucket="sealed-blobs")
        yield start(3, SEALGATE_LOG_LEVEL="info", **s3_settings(backend, folder, "sealed-blobs", "histories/"))
    finally:
        backend.stop()


@pytest.mark.slow
@pytest.mark.parametrize("number", range(12, 20))
def test_a_long_history_over_a_bucket_is_linearizable(
    over_a_bucket: list[Gateway], server: PostgresServer, seed: int, number: int
) -> None:
    check_history(over_a_bucket, server, random.Random(f"{seed} {number}"), 60.0 if number % 5 == 0 else 3.0)


@pytest.mark.slow
def test_the_catalogue_over_a_bucket_is_whole_after_all_that(over_a_bucket: list[Gateway]) -> None:
    test_the_catalogue_is_whole_after_all_that(over_a_bucket)


def check_history(gateways: list[Gateway], server: PostgresServer, dice: random.Random, pause_s: float) -> None:
    history = History(dice, OPERATIONS)
    history.may_end = False
    begin(history, gateways[0])
    began = time.monotonic()
    threads = run_clients(history, gateways)
    try:
        done = disturb(history, gateways, server, dice, pause_s)
    finally:
        history.may_end = True
        for thread in threads:
            thread.join()
    ran_s = time.monotonic() - began
    assert history.failures == []
    finish(history, gateways)
    print(f"{history.asked} asked, {history.answered} answered in {ran_s:.1f} s;", *done, dict(history.counts))
    assert {"kill", "pause", "restart_server"} <= set(done)
    assert history.asked >= OPERATIONS
    assert history.answered >= OPERATIONS * 0.8
    began = time.monotonic()
    assert history.broken_keys() == []
    print(f"checked in {time.monotonic() - began:.1f} s")
    assert all(operations[-1].kind is Kind.READ for operations in history.by_key.values())


def test_the_catalogue_is_whole_after_all_that(gateways: list[Gateway]) -> None:
    verified = gateways[0].run("verify", "--journal")
    assert verified.returncode == 0, verified.stderr
