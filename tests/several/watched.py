"""A real `sealgate serve` that tells of every lease it takes and of every command that it gives under one.

Started as `python -m tests.several.watched serve ...`. `WATCH_FOLDER` is where each process writes its events, and
where a file `stop` has the first process that is about to give the command written in it stop itself there, once.
`WATCH_LEASE_S` makes all leases so short; without it they are as long as ever.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

from gateway.cli.main import main
from gateway.engine import delivery, lifecycle, rewrap, sweep
from gateway.engine.journal import packs, runner
from storage.catalogue.commands import Lease
from storage.catalogue.postgres import PostgresCatalogue
from storage.errors import LeaseLost
from tests.blackbox.process import Gateway, Process
from tests.tooling.places import ROOT

GRANT: Final = "acquire_lease"
COMMANDS: Final = (
    "condemn_orphans",
    "forget_condemned",
    "move_wraps",
    "replace_content",
    "replace_envelopes",
    "trim_changes",
)
"""What the catalogue does for the holder of a lease alone."""


@dataclass(frozen=True, slots=True)
class Event:
    """A call under a lease; times are of the clock that all processes share."""

    pid: int
    what: str
    lease: str
    epoch: int
    began: float
    ended: float
    is_done: bool
    """False where it was refused."""


class WatchedGateway(Gateway):
    """A gateway whose leases are watched."""

    def environment(self) -> dict[str, str]:
        """See `Gateway.environment`; it finds this module."""
        return super().environment() | {"PYTHONPATH": str(ROOT)}

    def _spawn(self, command: Sequence[str]) -> Process:
        return super()._spawn([sys.executable, "-m", "tests.several.watched", *command[1:]])


def events(folder: Path) -> list[Event]:
    """What all processes told, in the order of the ends."""
    lines = [line for path in folder.glob("*.events") for line in path.read_text().splitlines()]
    return sorted((Event(**json.loads(line)) for line in lines), key=lambda event: event.ended)


def violations(seen: Sequence[Event]) -> Iterator[str]:
    """What could not be if there were one holder at a time, and nothing done for one that is not it any more."""
    holders: dict[tuple[str, int], int] = {}
    for event in seen:
        if event.is_done and holders.setdefault((event.lease, event.epoch), event.pid) != event.pid:
            yield f"two processes had one epoch: {event}"
    grants = [event for event in seen if event.what == GRANT and event.is_done]
    for event in seen:
        if event.is_done and any(
            grant.lease == event.lease and grant.epoch > event.epoch and grant.ended < event.began for grant in grants
        ):
            yield f"done under a lease that was another's by then: {event}"


def _watch(name: str, folder: Path, tell: Callable[[Event], None]) -> None:
    call: Callable[..., Awaitable[Any]] = getattr(PostgresCatalogue, name)

    def stop_here() -> None:
        trap = folder / "stop"
        with suppress(FileNotFoundError):
            if trap.read_text() == name:
                trap.rename(folder / f"{os.getpid()}.stopped")
                os.kill(os.getpid(), signal.SIGSTOP)

    async def watched(self: PostgresCatalogue, *arguments: Any) -> Any:
        stop_here()
        began = time.monotonic()
        event = partial(Event, os.getpid(), name)
        try:
            answer = await call(self, *arguments)
        except LeaseLost:
            if name != GRANT:
                lease: Lease = arguments[-1]
                tell(event(lease.name, lease.epoch, began, time.monotonic(), is_done=False))
            raise
        lease = answer if name == GRANT else arguments[-1]
        tell(event(lease.name, lease.epoch, began, time.monotonic(), is_done=True))
        return answer

    setattr(PostgresCatalogue, name, watched)


def _serve(folder: Path, lease_s: str | None) -> None:
    told = (folder / f"{os.getpid()}.events").open("a", buffering=1)
    for name in (GRANT, *COMMANDS):
        _watch(name, folder, lambda event: print(json.dumps(asdict(event)), file=told))
    if lease_s is not None:
        for module in (delivery, lifecycle, packs, rewrap, runner, sweep):
            setattr(module, "LEASE_DURATION", timedelta(seconds=float(lease_s)))  # noqa: B010  # a constant elsewhere
    delivery.SAVE_EVERY = 1  # type: ignore[misc]  # else nothing is trimmed for long
    sys.argv[0] = "sealgate"
    main()


if __name__ == "__main__":
    _serve(Path(os.environ["WATCH_FOLDER"]), os.environ.get("WATCH_LEASE_S"))
