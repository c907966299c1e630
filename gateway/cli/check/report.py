"""What a look at one thing found: a state, words, what to do, and the code that a start would end with."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from gateway.cli.exits import Exit, exit_of


class State(Enum):
    """How it stands."""

    OK = "ok"
    WARNING = "warning"
    """It serves, but not as it should, or not for long."""
    FAILED = "failed"
    """A start fails over it, or what is acknowledged is not safe."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One row of the table. `remedy` is empty where all is well."""

    area: str
    state: State
    found: str
    remedy: str = ""
    code: Exit = Exit.OK
    """Of a failed one."""

    def shown(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self) | {"state": self.state.value, "code": int(self.code)}


@dataclass(slots=True)
class Report:
    """Findings in the order in which they were made."""

    findings: list[Finding] = field(default_factory=list)

    def ok(self, area: str, found: str) -> None:
        """All is well."""
        self.findings.append(Finding(area, State.OK, found))

    def warn(self, area: str, found: str, remedy: str) -> None:
        """It serves, but."""
        self.findings.append(Finding(area, State.WARNING, found, remedy))

    def fail(self, area: str, found: str, remedy: str, code: Exit = Exit.SETUP) -> None:
        """It cannot serve so."""
        self.findings.append(Finding(area, State.FAILED, found, remedy, code))

    @contextmanager
    def failing(self, area: str) -> Iterator[None]:
        """Take an expected failure of the block as a finding; its line says what to do after a colon or semicolon."""
        try:
            yield
        except Exception as error:
            code = exit_of(error)
            if code is None:
                raise
            found, remedy = split(" ".join(str(error).split()))
            self.fail(area, found, remedy, code)

    def counts(self) -> dict[str, int]:
        """How many findings of each state there are."""
        return {state.value: sum(found.state is state for found in self.findings) for state in State}

    def exit(self) -> Exit:
        """The code of the first failure: what a start would end with; 0 where nothing failed."""
        return next((found.code for found in self.findings if found.state is State.FAILED), Exit.OK)


def split(line: str) -> tuple[str, str]:
    """Halve a refusal into what is the matter and what to do; every line of the house has both."""
    for mark in ("; ", ": "):
        found, _, remedy = line.rpartition(mark)
        if found:
            return found, remedy
    return line, "see `sealgate --help`"


def lines(findings: Iterable[Finding]) -> Iterator[str]:
    """The table for a reader: a remedy stands under its row, since both may be long and are there to be copied."""
    rows = list(findings)
    width = max(len(row.area) for row in rows)
    for row in rows:
        yield f"{row.state.value:<8} {row.area:<{width}}  {row.found}".rstrip()
        if row.remedy:
            yield f"{'':<8} {'':<{width}}  -> {row.remedy}"
