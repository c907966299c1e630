"""CPU for each small PUT and GET with one gateway, three, and two workers over one PostgreSQL, and over SQLite.

Three apart have a database each: what they take more than one does is the machine's, which they keep busy. What three
over one database take more than those is the price of sharing it.

`python -m tests.several.speed [PUTS]` prints a table. CPU is that of the gateways and of the database's processes, from
/proc, by request; rates on a shared machine say little. How often a backend waits for a lock is sampled.
"""

import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from tests.blackbox.process import Gateway
from tests.several.client import Client
from tests.tooling.postgresql import PostgresServer, postgres_server, postgres_settings

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_THREADS: Final = 12
_BODY: Final = bytes(4096)
_WAITS: Final = (
    "SELECT count(*) FILTER (WHERE wait_event_type = 'Lock'), count(*) FROM pg_stat_activity"
    " WHERE usename = 'sealgate' AND state <> 'idle'"
)


def cpu_of(pid: int) -> float:
    """CPU seconds of a process so far, and of its children that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0  # a backend that has just ended: the server's own line counts it now
    return sum(map(int, fields[11:15])) / _TICKS


def gateway_cpu(pid: int) -> float:
    """That of a gateway, and of its workers where it has some."""
    workers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return cpu_of(pid) + sum(cpu_of(int(worker)) for worker in workers)


def database_pids(server: PostgresServer) -> list[int]:
    """The server and the processes that it started."""
    head = int((server.data / "postmaster.pid").read_text().splitlines()[0])
    return [head, *(int(child) for child in Path(f"/proc/{head}/task/{head}/children").read_text().split())]


@contextmanager
def sampled(server: PostgresServer | None) -> Iterator[list[tuple[int, int]]]:
    """Look now and then how many backends wait for a lock, and how many there are at work."""
    found: list[tuple[int, int]] = []
    over = threading.Event()

    def look() -> None:
        while server is not None and not over.wait(0.2):
            waiting, working = map(int, server.sql(_WAITS).split("|"))
            found.append((waiting, working))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def measure(name: str, gateways: Sequence[Gateway], server: PostgresServer | None, puts: int) -> float:
    """Put small objects over all gateways, and get them; print two lines, give the gateways' CPU by put in ms."""
    for gateway in gateways:
        client = Client(gateway)
        made = client.ask("PUT", "/speed")
        client.close()
        assert made is not None
        assert made.status in {200, 409}, "the bucket is made, or there already"
    per_put = _measure(name, gateways, server, puts, "PUT")
    _measure(name, gateways, server, puts, "GET")
    return per_put


def _measure(name: str, gateways: Sequence[Gateway], server: PostgresServer | None, asked: int, method: str) -> float:
    def work(number: int) -> None:
        client = Client(gateways[number % len(gateways)])
        for at in range(asked // _THREADS):
            answer = client.ask(method, f"/speed/{number}/{at}", _BODY if method == "PUT" else b"")
            assert answer is not None
            assert answer.status == 200, answer
        client.close()

    def run() -> None:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(_THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    before = [gateway_cpu(gateway.pid) for gateway in gateways]
    base = sum(map(cpu_of, database_pids(server))) if server else 0.0
    began = time.perf_counter()
    with sampled(server) as waits:
        run()
    seconds = time.perf_counter() - began
    cpu = sum(gateway_cpu(gateway.pid) for gateway in gateways) - sum(before)
    database = sum(map(cpu_of, database_pids(server))) - base if server else 0.0
    waiting, working = (sum(each) for each in zip(*waits, strict=True)) if waits else (0, 0)
    share = waiting / working if working else 0.0
    print(
        f"{name:24} {method} {asked / seconds:6.0f} /s   gateway {1000 * cpu / asked:5.2f} ms   database"
        f" {1000 * database / asked:5.2f} ms   lock wait {share:4.0%}",
        flush=True,
    )
    return 1000 * cpu / asked


class _Patient(Gateway):
    start_timeout_s = 300


def main() -> None:
    """Measure."""
    puts = int(sys.argv[1]) if len(sys.argv) > 1 else 1200
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(postgres_server())
        quiet = {"SEALGATE_LOG_LEVEL": "warning"}
        lone = _Patient(folder / "sqlite", quiet)
        lone.start()
        sqlite = measure("SQLite", [lone], None, puts)
        lone.stop()
        cases = {
            "one": [(1, 1)],
            "three": [(3, 1)],
            "three apart": [(1, 1)] * 3,
            "two workers": [(1, 2)],
        }
        results = {}
        for name, deployments in cases.items():
            gateways: list[Gateway] = []
            for number, (count, workers) in enumerate(deployments):
                database = f"{name.replace(' ', '_')}_{number}"
                server.create_database(database)
                told = postgres_settings(server, database, folder) | quiet | {"SEALGATE_WORKERS": str(workers)}
                head = _Patient(folder / database, told)
                gateways += [head, *(_Patient(folder / f"{database}-{n}", told, beside=head) for n in range(1, count))]
            for gateway in gateways:
                gateway.start()
            results[name] = measure(f"PostgreSQL, {name}", gateways, server, puts)
            for gateway in gateways:
                gateway.stop()
        print(
            f"three to one: {results['three'] / results['one']:.2f};"
            f" three to three apart: {results['three'] / results['three apart']:.2f};"
            f" two workers to one: {results['two workers'] / results['one']:.2f};"
            f" PostgreSQL to SQLite: {results['one'] / sqlite:.2f}"
        )


if __name__ == "__main__":
    main()
