"""What a history that failed leaves behind: all that is needed to say why, in a folder that the failure names.

A failure comes once in a hundred histories, on a machine that was busy with something else: it must be explained from
what it left, since it does not come again for being asked.
"""

import json
import shutil
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final

from tests.blackbox.process import Gateway
from tests.several.history import History
from tests.several.linearizability import Kind, Operation
from tests.tooling.places import REPORTS

KEPT: Final = REPORTS / "histories"
OPERATIONS: Final = "operations.jsonl"
_LOG_BYTES: Final = 8 << 20
"""Of the end of each log."""


@contextmanager
def kept(name: str, history: History, gateways: Sequence[Gateway], logs: Mapping[str, Path]) -> Iterator[None]:
    """Keep everything of a history that fails in here, and let the failure say where.

    `logs` are those of the servers beneath, by name. What an earlier failure of the same name left goes.
    """
    try:
        yield
    except BaseException as failure:
        folder = KEPT / name
        keep(folder, history, gateways, logs, "".join(traceback.format_exception(failure)))
        failure.add_note(f"The history, and the logs of all who took part, are kept in {folder}")
        raise


def keep(folder: Path, history: History, gateways: Sequence[Gateway], logs: Mapping[str, Path], why: str) -> None:
    """Write it all into a new folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # Times in a history are of a clock that the logs do not show.
    wall = {
        "monotonic": time.monotonic(),
        "unix": time.time(),
        "bucket": history.bucket,
        "counts": dict(history.counts),
    }
    (folder / "failure.txt").write_text(f"{why}\n{history.failures}\n{json.dumps(wall)}\n")
    with (folder / OPERATIONS).open("w") as file:
        for key, operations in history.by_key.items():
            for operation in operations:
                file.write(json.dumps({"key": key, **asdict(operation), "kind": operation.kind.name}) + "\n")
    (folder / "requests.txt").write_text("".join(f"{line}\n" for line in history.requests))
    for number, gateway in enumerate(gateways):
        for log in gateway.logs.glob("*.log"):
            _copy_end(log, folder / f"gateway{number}-{log.name}")
    for name, log in logs.items():
        _copy_end(log, folder / f"{name}.log")


def operations_of(folder: Path) -> dict[str, list[Operation]]:
    """The operations that were kept, by key, to be judged once more."""
    by_key: dict[str, list[Operation]] = {}
    for line in (folder / OPERATIONS).read_text().splitlines():
        told = json.loads(line)
        by_key.setdefault(told.pop("key"), []).append(Operation(Kind[told.pop("kind")], **told))
    return by_key


def _copy_end(source: Path, target: Path) -> None:
    if not source.exists():
        return
    with source.open("rb") as log:
        log.seek(max(0, source.stat().st_size - _LOG_BYTES))
        target.write_bytes(log.read())
