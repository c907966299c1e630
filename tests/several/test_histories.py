"""Three gateways and their database are killed, stopped and paused at random under load: each key stays one register.

Every answer, listings among them, must fit one order of all that was asked of its key, and what was acknowledged must
be there in the end.
"""

import hashlib
import math
import random
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable

import pytest

from tests.blackbox.process import Gateway
from tests.several.client import Client, listed
from tests.several.conftest import Start
from tests.several.linearizability import Kind, Operation, is_linearizable
from tests.tooling.postgresql import PostgresServer

THREADS = 8
KEYS = 24
BUCKET = "history"


class History:
    """What clients asked and were answered, by key."""

    def __init__(self, rng: random.Random, size: int) -> None:
        self.by_key: dict[str, list[Operation]] = defaultdict(list)
        self.keys = [f"key{number}" for number in range(KEYS)]
        self.left = size
        self.failures: list[str] = []
        self.counts: dict[str, int] = defaultdict(int)
        self._numbers = 0
        self._seen: dict[str, str | None] = {}
        self._lock = threading.Lock()
        self._rng = rng

    def draw(self) -> tuple[int, random.Random] | None:
        """A number of the next operation and its dice, None where there were enough."""
        with self._lock:
            if self.left <= 0:
                return None
            self.left -= 1
            self._numbers += 1
            return self._numbers, random.Random(self._rng.random())

    def note(self, key: str, operation: Operation) -> None:
        with self._lock:
            self.by_key[key].append(operation)
            self.counts[f"{operation.kind.name} {'known' if operation.is_known else 'unknown'}"] += 1
            if operation.is_known and not operation.is_refused:
                self._seen[key] = operation.value

    def last_seen(self, key: str) -> str:
        with self._lock:
            return self._seen.get(key) or "0" * 32


def run_clients(history: History, gateways: list[Gateway]) -> list[threading.Thread]:
    """Threads that ask until the history is long enough."""

    def run() -> None:
        try:
            work()
        except BaseException as error:  # told by the test, since a thread cannot fail it
            history.failures.append(repr(error))
            history.left = 0

    def work() -> None:
        clients = [Client(gateway) for gateway in gateways]
        while (drawn := history.draw()) is not None:
            number, dice = drawn
            one_step(history, dice.choice(clients), dice, number)
        for client in clients:
            client.close()

    threads = [threading.Thread(target=run) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    return threads


def one_step(history: History, client: Client, dice: random.Random, number: int) -> None:
    key = dice.choice(history.keys)
    path = f"/{BUCKET}/{key}"
    kind = dice.choices([*Kind, None], weights=[25, 10, 15, 10, 30, 5])[0]
    body = b"%d %d" % (number, dice.getrandbits(64))
    if dice.random() < 0.05:
        body *= 2000  # a blob of the store
    etag = hashlib.md5(body).hexdigest()
    began = time.monotonic()
    if kind is None:
        see_all(history, client, began)
    elif kind is Kind.READ:
        answer = client.ask("GET", path)
        assert answer is None or answer.status in {200, 404, 503}, answer
        if answer is not None and answer.status in {200, 404}:
            value = answer.etag if answer.status == 200 else None
            assert value is None or hashlib.md5(answer.body).hexdigest() == value, "wrong bytes were served"
            history.note(key, Operation(kind, began, time.monotonic(), value))
    elif kind is Kind.DELETE:
        answer = client.ask("DELETE", path)
        assert answer is None or answer.status in {204, 503}, answer
        is_known = answer is not None and answer.status == 204
        history.note(key, Operation(kind, began, time.monotonic() if is_known else math.inf))
    else:
        expected = history.last_seen(key)
        conditions = {Kind.CREATE: {"If-None-Match": "*"}, Kind.SWAP: {"If-Match": f'"{expected}"'}}
        answer = client.ask("PUT", path, body, conditions.get(kind, {}))
        is_known = answer is not None and answer.status in {200, 412, 404}
        assert answer is None or answer.status in {200, 404, 412, 503}, answer
        is_refused = answer is not None and answer.status in {412, 404}
        ended = time.monotonic() if is_known else math.inf
        history.note(key, Operation(kind, began, ended, etag, expected, is_refused=is_refused))


def see_all(history: History, client: Client, began: float) -> None:
    """A listing is a read of every key."""
    answer = client.ask("GET", f"/{BUCKET}", query="list-type=2")
    assert answer is None or answer.status in {200, 503}, answer
    if answer is None or answer.status != 200:
        return
    ended, found = time.monotonic(), listed(answer.body)
    for key in history.keys:
        history.note(key, Operation(Kind.READ, began, ended, found.get(key)))


def disturb(
    history: History, gateways: list[Gateway], server: PostgresServer, dice: random.Random, pause_s: float
) -> list[str]:
    """Break things one after the other until the clients are done; what was broken."""
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
    while history.left > 0:
        act = acts[len(done) % len(acts)]
        act(dice.choice(gateways))
        done.append(act.__name__)
        time.sleep(dice.uniform(0.5, 2.0))
    return done


@pytest.fixture(scope="module")
def gateways(start: Start) -> list[Gateway]:
    return start(3)


@pytest.mark.parametrize("number", range(1))
def test_a_history_is_linearizable(
    gateways: list[Gateway], server: PostgresServer, seed: int, full: bool, number: int
) -> None:
    check_history(gateways, server, random.Random(f"{seed} {number}"), 5000 if full else 1000, 3.0)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(1, 20))
def test_a_long_history_is_linearizable(
    gateways: list[Gateway], server: PostgresServer, seed: int, number: int
) -> None:
    check_history(gateways, server, random.Random(f"{seed} {number}"), 5000, 60.0 if number % 5 == 0 else 3.0)


def check_history(
    gateways: list[Gateway], server: PostgresServer, dice: random.Random, size: int, pause_s: float
) -> None:
    history = History(dice, size)
    client = Client(gateways[0])
    made = client.ask("PUT", f"/{BUCKET}")
    assert made is not None
    assert made.status in {200, 409}  # of the history before
    for key in history.keys:
        removed = client.ask("DELETE", f"/{BUCKET}/{key}")
        assert removed is not None
        assert removed.status == 204
    threads = run_clients(history, gateways)
    done = disturb(history, gateways, server, dice, pause_s)
    for thread in threads:
        thread.join()
    client.close()
    for gateway in gateways:  # each one must tell the end alike
        last = Client(gateway)
        see_all(history, last, time.monotonic())
        last.close()
    print(len(done), "disturbances:", *done, dict(history.counts))
    assert history.failures == []
    assert len(set(done)) >= 2
    assert sum(len(operations) for operations in history.by_key.values()) >= size // 2
    for key, operations in history.by_key.items():
        assert operations[-1].kind is Kind.READ
        assert is_linearizable(operations), f"{key} was not one register: {operations}"
