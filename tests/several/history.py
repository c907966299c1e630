"""What many clients ask of several gateways at once and are answered, kept for the checker.

A client stays with one gateway until that one does not answer, then goes on to the next, as behind a load balancer; and
now and then it changes without a reason, so that what one gateway acknowledged is asked of another right after.
"""

import hashlib
import itertools
import math
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from typing import Final

from tests.blackbox.process import Gateway
from tests.several.client import Answer, Client, NobodyThere, listed
from tests.several.linearizability import Kind, Operation, is_linearizable

THREADS = 12
KEYS = 24
PATIENCE_S = 2.0
"""How long a client waits for an answer; what it asked may still be carried out long after."""
STALL_S = 120.0
"""Longest time in which no client is answered at all, and in which one gateway does not answer while nothing is broken.

What is broken meanwhile lasts half as long at most, so whoever is silent for longer will not come back by itself.
"""
_CHANGES = 0.05
"""How often a client goes to another gateway without a reason."""
_REST_S = 0.05
_NUMBERS: Final = itertools.count(1)


class History:
    """What clients asked and were answered, by key, in a bucket of its own.

    What an earlier history asked, and was not answered, may still be carried out; it is nothing to this one.
    """

    def __init__(self, rng: random.Random, size: int) -> None:
        self.bucket = f"history-{next(_NUMBERS)}"
        self.by_key: dict[str, list[Operation]] = defaultdict(list)
        self.keys = [f"key{number}" for number in range(KEYS)]
        self.asked = 0
        """Requests that were sent."""
        self.answered = 0
        self.size = size
        """Requests that must be answered: how many are not depends on what else the machine does."""
        self.may_end = True
        """False while something is still to happen under load."""
        self.failures: list[str] = []
        self.requests: list[str] = []
        """Each one that was sent, and each thing that was broken, for who has to explain what came of it."""
        self.counts: dict[str, int] = defaultdict(int)
        self._answered_at: float | None = None
        self._seen: dict[str, str | None] = {}
        self._lock = threading.Lock()
        self._rng = rng

    @property
    def is_over(self) -> bool:
        """Whether it is long enough."""
        return bool(self.failures) or (self.answered >= self.size and self.may_end)

    def draw(self) -> random.Random | None:
        """Dice of the next operation, None where there were enough. Raises: AssertionError where nobody is answered."""
        with self._lock:
            self._answered_at = self._answered_at or time.monotonic()
            assert time.monotonic() < self._answered_at + STALL_S, f"nobody was answered for {STALL_S} s"
            return None if self.is_over else random.Random(self._rng.random())

    def tell(self, what: str) -> None:
        """Keep what happened, with its time and who it was."""
        line = f"{time.monotonic():.6f} {threading.current_thread().name} {what}"
        with self._lock:
            self.requests.append(line)

    def note_request(self, *, is_answered: bool) -> None:
        """Count what was sent."""
        with self._lock:
            self.asked += 1
            self.answered += is_answered
            if is_answered:
                self._answered_at = time.monotonic()

    def note(self, key: str, operation: Operation) -> None:
        """Keep an operation."""
        with self._lock:
            self.by_key[key].append(operation)
            self.counts[f"{operation.kind.name} {'known' if operation.is_known else 'unknown'}"] += 1
            if operation.is_known and not operation.is_refused:
                self._seen[key] = operation.value

    def last_seen(self, key: str) -> str:
        """The ETag that somebody saw last under a key."""
        with self._lock:
            return self._seen.get(key) or "0" * 32

    def broken_keys(self) -> list[str]:
        """Keys that cannot have been one register each."""
        return [key for key, operations in self.by_key.items() if not is_linearizable(operations)]


def ask(
    history: History, client: Client, method: str, path: str, body: bytes = b"", query: str = "", **headers: str
) -> Answer | None:
    """Send one request; what it is answered is told. Raises: NobodyThere."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    began = time.monotonic()
    outcome = "nobody there"
    try:
        answer = client.ask(method, path, body, named, query)
        outcome = "no answer" if answer is None else f"{answer.status} {answer.etag}"
        return answer
    finally:
        history.tell(
            f"{client.port} {began:.6f} {method} {path}?{query} {named} "
            f"{hashlib.md5(body).hexdigest() if body else ''} -> {outcome}"
        )


def begin(history: History, gateway: Gateway) -> None:
    """Make the bucket, with nothing in it."""

    def is_made(client: Client) -> bool:
        answer = ask(history, client, "PUT", f"/{history.bucket}")
        assert answer is None or answer.status in {200, 409, 503}, answer  # 409: of a try that was not answered
        return answer is not None and answer.status != 503

    with closing(Client(gateway)) as client:
        until_answered(history, lambda: is_made(client))


def until_answered(history: History, step: Callable[[], bool]) -> None:
    """Do it again until it is answered, since nothing is broken by now. Raises: AssertionError where it never is."""
    deadline = time.monotonic() + STALL_S
    while True:
        try:
            if step():
                return
        except NobodyThere:
            pass
        assert time.monotonic() < deadline, f"not answered in {STALL_S} s: {history.requests[-1]}"
        time.sleep(_REST_S)


def run_clients(history: History, gateways: Sequence[Gateway]) -> list[threading.Thread]:
    """Threads that ask until the history is long enough."""

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:  # told by the test, since a thread cannot fail it
            history.failures.append(repr(error))

    def work(at: int) -> None:
        clients = [Client(gateway, PATIENCE_S) for gateway in gateways]
        while (dice := history.draw()) is not None:
            if dice.random() < _CHANGES:
                at = dice.randrange(len(clients))
            try:
                is_answered = one_step(history, clients[at % len(clients)], dice)
            except NobodyThere:
                is_answered = False
                time.sleep(_REST_S)
            else:
                history.note_request(is_answered=is_answered)
            at += not is_answered
        for client in clients:
            client.close()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    return threads


def one_step(history: History, client: Client, dice: random.Random) -> bool:
    """Ask one thing; whether there was an answer. Raises: NobodyThere, AssertionError."""
    key = dice.choice(history.keys)
    path = f"/{history.bucket}/{key}"
    kind = dice.choices([*Kind, None], weights=[25, 10, 15, 10, 30, 5])[0]
    if kind is None:
        return see_all(history, client)
    if kind is Kind.READ:
        return see(history, client, key)
    body = dice.randbytes(24)
    if dice.random() < 0.05:
        body *= 1000  # a blob of the store
    etag = hashlib.md5(body).hexdigest()
    expected = history.last_seen(key)
    began = time.monotonic()
    if kind is Kind.DELETE:
        answer = ask(history, client, "DELETE", path)
        assert answer is None or answer.status in {204, 503}, answer
    else:
        conditions = {Kind.CREATE: {"If_None_Match": "*"}, Kind.SWAP: {"If_Match": f'"{expected}"'}}
        answer = ask(history, client, "PUT", path, body, **conditions.get(kind, {}))
        assert answer is None or answer.status in {200, 404, 412, 503}, answer
    is_known = answer is not None and answer.status != 503
    is_refused = answer is not None and answer.status in {404, 412}
    ended = time.monotonic() if is_known else math.inf
    value = None if kind is Kind.DELETE else etag
    history.note(key, Operation(kind, began, ended, value, expected, is_refused=is_refused))
    return is_known


def see(history: History, client: Client, key: str) -> bool:
    """Read one key; whether there was an answer. Raises: NobodyThere, AssertionError."""
    began = time.monotonic()
    answer = ask(history, client, "GET", f"/{history.bucket}/{key}")
    assert answer is None or answer.status in {200, 404, 503}, answer
    if answer is None or answer.status == 503:
        return False
    value = answer.etag if answer.status == 200 else None
    assert value is None or hashlib.md5(answer.body).hexdigest() == value, "wrong bytes were served"
    history.note(key, Operation(Kind.READ, began, time.monotonic(), value))
    return True


def see_all(history: History, client: Client) -> bool:
    """A listing is a read of every key; whether there was an answer. Raises: NobodyThere, AssertionError."""
    began = time.monotonic()
    answer = ask(history, client, "GET", f"/{history.bucket}", query="list-type=2")
    assert answer is None or answer.status in {200, 503}, answer
    if answer is None or answer.status != 200:
        return False
    ended, found = time.monotonic(), listed(answer.body)
    for key in history.keys:
        history.note(key, Operation(Kind.READ, began, ended, found.get(key)))
    return True


def finish(history: History, gateways: Sequence[Gateway]) -> None:
    """Have each gateway tell the end, listed and read: what was acknowledged is there, byte for byte.

    A gateway may be busy with what was left behind by those who did not wait, but it answers in the end.
    """
    for gateway in gateways:
        with closing(Client(gateway)) as client:
            until_answered(history, partial(see_all, history, client))
            for key in history.keys:
                until_answered(history, partial(see, history, client, key))
