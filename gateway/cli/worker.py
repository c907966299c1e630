"""One of several workers, as its supervisor starts it: `python -P -m gateway.cli.worker FD`.

It is a gateway like any other, but for its listeners, which it inherits, and its admin listener, which the supervisor
has. It holds all of its keys itself; the supervisor never sees one.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import uvloop

from gateway.cli.link import COUNTS, IS_ALIVE, IS_READY, decoded, encoded, streams_of
from gateway.cli.main import guarded
from gateway.cli.serve import serve_here
from gateway.config import Settings
from gateway.http.gathering import SupervisorTold, counts_of
from gateway.http.ports import Endpoint, Inherited
from gateway.http.process import forbid_core_dumps, prepare_process
from gateway.http.server import Bound, Server
from gateway.telemetry import configure_logging
from gateway.wiring.gateway import Gateway


class Worker:
    """Its end of the link, once it serves."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._answering: asyncio.Task[None] | None = None

    def begin(self, server: Server, gateway: Gateway, bound: Bound, *, is_first: bool) -> None:
        """Say that the listeners stand, and answer from then on."""
        del bound  # where the supervisor listens
        self._answering = asyncio.get_running_loop().create_task(self._answer(server, gateway, is_first=is_first))

    async def _answer(self, server: Server, gateway: Gateway, *, is_first: bool) -> None:
        reader, writer = await streams_of(self._end)
        answers: dict[str, Callable[[], Awaitable[Any]]] = {
            IS_READY: server.is_ready,
            COUNTS: partial(asyncio.to_thread, counts_of, gateway.telemetry.registry),
        }
        answering = set[asyncio.Task[None]]()

        async def answer(number: int, question: str) -> None:
            told = True if question == IS_ALIVE else await answers[question]()
            with suppress(ConnectionError):
                writer.write(encoded([number, told]))
                await writer.drain()

        with suppress(ConnectionError):
            writer.write(encoded({"is_first": is_first}))
            while (asked := decoded(await reader.readline())) is not None:
                # Side by side: whether it is ready is asked of others, and says late that this loop comes round.
                task = asyncio.create_task(answer(*asked))
                answering.add(task)
                task.add_done_callback(answering.discard)
        # The supervisor is gone, with whatever it would have told: what is under way may end, and so does this.
        signal.raise_signal(signal.SIGTERM)


def _serve(end: socket.socket) -> int:
    with end.dup() as copy, copy.makefile("rb") as lines:
        orders = decoded(lines.readline())
    if orders is None:
        return 0  # the supervisor was gone before it gave any
    settings = Settings(**orders["settings"])
    configure_logging(level=orders["log_level"], as_json=settings.log_format == "json", worker=orders["number"])
    inherited: Inherited = {
        setting: [_own(number) for number in numbers] for setting, numbers in orders["listeners"].items()
    }
    prepare_process()
    told = SupervisorTold(Endpoint(*orders["admin"]))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve_here(settings, Worker(end).begin, inherited=inherited, told=told))
    return 0


def _own(number: int) -> socket.socket:
    """A socket that was passed on, and goes no further."""
    given = socket.socket(fileno=number)
    given.set_inheritable(False)
    return given


def main() -> None:
    """Serve until told to stop, and leave with a code of `gateway.cli.exits`."""
    os.umask(0o077)
    forbid_core_dumps()
    end = _own(int(sys.argv[1]))
    sys.exit(guarded(lambda: _serve(end)))


if __name__ == "__main__":
    main()
