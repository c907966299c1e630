"""How far a move has come: what is kept sealed in the catalogue, and what a report says.

A move goes through the keys in byte order, several at a time. Its mark is the last key up to which all are dealt with;
whoever goes on from there looks at what lies behind it again, and finds what is done already.
"""

import base64
import json
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Self

IMPORT: Final = "import"
EXPORT: Final = "export"
ABANDONING: Final = "abandoning"
"""The giving up of an import that reads through."""
MAX_NAMED: Final = 1000
"""Differences that are told by name; all are counted."""
MAX_KEPT: Final = 100
"""Of these, those that the catalogue keeps, which is told every two seconds."""


class Outcome(StrEnum):
    """What became of one version."""

    MOVED = "moved"
    THERE = "already_there"
    KEPT = "kept"
    """The other side has something else under that key, which was left as it is."""
    CHANGED = "changed_at_the_source"
    FAILED = "failed"


class State(StrEnum):
    """Where a move stands."""

    RUNNING = "running"
    """Or ended without a word, by a crash or with its gateway: an import goes on by itself, an export when called."""
    STOPPED = "stopped"
    """By command, or by a problem: an import that met one is tried again by itself."""
    DONE = "done"
    """Everything was looked at; whether everything is equal say the differences."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one version, and why where it was not moved."""

    outcome: Outcome
    size: int = 0
    why: str = ""
    is_proven: bool = True
    """Whether a digest of the source bore the bytes out, not their length alone."""


@dataclass(slots=True)
class Progress:
    """One move between a bucket and a place. As JSON it is the document that the catalogue keeps."""

    place: str
    options: dict[str, Any]
    started_at: str
    state: State = State.RUNNING
    mark: bytes = b""
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))
    moved_bytes: int = 0
    unproven: int = 0
    differences: list[dict[str, str]] = field(default_factory=list)
    problem: str = ""
    updated_at: str = ""
    how: dict[str, Any] = field(default_factory=dict)
    """The rest of what was asked for: with it the move goes on by itself."""
    holder: str = ""
    """Which gateway runs it, or ran it last."""
    by_command: bool = False
    """Whether it was stopped by command: then it goes on by command alone."""

    def take(self, object_key: bytes, version_id: str | None, result: Result) -> None:
        """Count one version."""
        self.counts[result.outcome] += 1
        if result.outcome is Outcome.MOVED:
            self.moved_bytes += result.size
            self.unproven += not result.is_proven
        elif result.outcome is not Outcome.THERE and len(self.differences) < MAX_NAMED:
            named = {"object_key": object_key.decode("utf-8", "backslashreplace")}
            if version_id is not None:
                named["version_id"] = version_id
            self.differences.append(named | {"outcome": result.outcome.value, "why": result.why})

    def begin(self, how: dict[str, Any]) -> None:
        """It goes on, as it is asked for now."""
        self.state, self.problem, self.by_command, self.how = State.RUNNING, "", False, how

    def stop(self, problem: str, *, by_command: bool = False) -> None:
        """It ends before its end."""
        self.state, self.problem, self.by_command = State.STOPPED, problem, by_command

    def is_fresh(self, now: datetime, age: timedelta) -> bool:
        """Whether it was kept not long ago, and may run elsewhere."""
        is_kept = bool(self.updated_at) and now - datetime.fromisoformat(self.updated_at) < age
        return self.state is State.RUNNING and is_kept

    @property
    def has_begun(self) -> bool:
        """Whether it dealt with anything to the end: before that another one may simply take its place."""
        return bool(self.counts[Outcome.MOVED] or self.counts[Outcome.THERE])

    @property
    def difference_count(self) -> int:
        """Versions that are not the same on both sides."""
        return sum(self.counts[outcome] for outcome in (Outcome.KEPT, Outcome.CHANGED, Outcome.FAILED))

    def encode(self, now: datetime) -> bytes:
        """For the catalogue."""
        self.updated_at = now.isoformat(timespec="seconds")
        kept = {"mark": base64.b64encode(self.mark).decode("ascii"), "differences": self.differences[:MAX_KEPT]}
        return json.dumps(asdict(self) | kept).encode("ascii")

    @classmethod
    def decode(cls, document: bytes) -> Self:
        """The reverse; the catalogue has authenticated it."""
        fields = json.loads(document)
        fields |= {"mark": base64.b64decode(fields["mark"]), "state": State(fields["state"])}
        return cls(**fields)

    def answer(self) -> dict[str, Any]:
        """What the command line is told."""
        told = {"state": self.state.value, "place": self.place, **{str(name): n for name, n in self.counts.items()}}
        told |= {"moved_bytes": self.moved_bytes, "unproven": self.unproven, "difference_count": self.difference_count}
        if self.problem:
            told["problem"] = self.problem
        return told | {"differences": list(self.differences)}


@dataclass(slots=True)
class Dealt:
    """One key, and what became of its versions once they are dealt with."""

    object_key: bytes
    results: list[tuple[str | None, Result]] = field(default_factory=list)


class Marks:
    """Which key all before are done with, where several are under way."""

    def __init__(self) -> None:
        self._under_way: deque[Dealt] = deque()

    def begin(self, object_key: bytes) -> "Dealt":
        """A key is taken up; they come in order."""
        self._under_way.append(Dealt(object_key))
        return self._under_way[-1]

    def passed(self) -> Iterator["Dealt"]:
        """Keys that are dealt with, and so are all before them; each is given once."""
        while self._under_way and self._under_way[0].results:
            yield self._under_way.popleft()
