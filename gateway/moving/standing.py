"""How a move stands, and what is to be done next: what a status and a command that is given again say."""

from collections.abc import Container
from enum import StrEnum
from typing import Any, Final

from gateway.moving.report import IMPORT, Outcome, Progress, State
from gateway.moving.through import SOURCE
from gateway.operations.admission import REGISTERING


class Phase(StrEnum):
    """Of an import that reads through; docs/decisions/0019."""

    REGISTERING = "registering"
    """The bucket is closed."""
    SEALING = "sealing"
    """The bucket answers, and what is not here yet comes from the source."""
    VERIFIED = "verified"
    """All is sealed here, each object held against what was registered; the source is not forgotten yet."""
    CUT_OVER = "cut over"
    """The source and its key are forgotten."""
    ABANDONING = "giving up"
    """What waits for its bytes goes from the bucket, or stays where a lock holds it."""
    ABANDONED = "given up"
    """As cut over, without what was not sealed yet."""


_ON: Final = "a gateway that serves goes on with it by itself (import_resume_interval_s); the same command does at once"
_AGAIN: Final = "give the same command again: it goes on where it was"
_NOTHING: Final = "nothing is left to do"
_RUNS: Final = "wait: --status shows how far it is, --stop stops it"
_NAMED: Final = "see to what is named, then give the same command again"
_READ_THROUGH: Final = {
    Phase.REGISTERING: "the bucket is closed until all is registered, or --abandon gives the import up",
    Phase.SEALING: "the bucket answers; keep the source as it is until the phase is `cut over`",
    Phase.VERIFIED: "all is sealed here; the source is forgotten next",
    Phase.CUT_OVER: "all is sealed here, and nothing reads the source any more",
}
_LEFT_OUT: Final = "what is named was left out: an import without --read-through brings it once the source gives it"
_STAYS: Final = (
    "the bucket is open; what is named is read from the source and sealed as before; give --abandon again once no lock"
    " holds it"
)
_LEFT: Final = "restore what is named at the source, or delete it here; until then reading it gives 503"


def phase_of(configurations: Container[str], sealing: Progress | None) -> Phase | None:
    """Where an import that reads through is; None for any other move."""
    if REGISTERING in configurations:
        return Phase.REGISTERING
    if SOURCE in configurations:
        is_sealed = sealing is not None and sealing.state is State.DONE and not sealing.difference_count
        return Phase.VERIFIED if is_sealed else Phase.SEALING
    return None if sealing is None else Phase.CUT_OVER


def told(
    kind: str, progress: Progress, phase: Phase | None, registered: Progress | None, *, is_running: bool
) -> dict[str, Any]:
    """What is said of a move. `registered` is what came before, where an import that reads through is sealing."""
    answer = {"running": is_running, **progress.answer()}
    if progress.state is State.RUNNING and not is_running:
        answer |= {"state": State.STOPPED.value, "problem": progress.problem or "it was cut off"}
    if registered is not None:
        answer["registered"] = registered.counts[Outcome.MOVED]
        answer["difference_count"] += registered.difference_count
        answer["differences"] = registered.answer()["differences"] + answer["differences"]
    if phase is not None:
        answer["phase"] = phase.value
    answer["next"] = _next(kind, progress, phase, has_differences=bool(answer["difference_count"]), runs=is_running)
    return answer


def told_of_abandoning(progress: Progress, *, is_running: bool) -> dict[str, Any]:
    """What is said of an import that is being given up, or was."""
    stayed = progress.counts[Outcome.KEPT]
    is_over = progress.state is State.DONE and not stayed
    answer: dict[str, Any] = {
        "running": is_running,
        "state": progress.state.value,
        "place": progress.place,
        "phase": (Phase.ABANDONED if is_over else Phase.ABANDONING).value,
        "removed": progress.counts[Outcome.MOVED],
        "stayed": stayed,
        "difference_count": progress.difference_count,
    }
    if progress.state is State.RUNNING and not is_running:
        answer |= {"state": State.STOPPED.value, "problem": progress.problem or "it was cut off"}
    elif progress.problem:
        answer["problem"] = progress.problem
    answer["differences"] = progress.answer()["differences"]
    if is_running:
        answer["next"] = _RUNS
    elif progress.state is State.DONE:
        answer["next"] = _STAYS if stayed else "nothing: the bucket is open, and the source is forgotten"
    else:
        answer["next"] = _AGAIN if progress.by_command else _ON
    return answer


def _next(kind: str, progress: Progress, phase: Phase | None, *, has_differences: bool, runs: bool) -> str:
    if phase is Phase.CUT_OVER:
        return f"{_READ_THROUGH[phase]}; {_LEFT_OUT}" if has_differences else _READ_THROUGH[phase]
    if runs:
        what = _RUNS
    elif progress.state is not State.DONE or phase is Phase.VERIFIED:
        what = _ON if kind == IMPORT and not progress.by_command else _AGAIN
    elif has_differences:
        what = f"{_LEFT}; {_ON}" if phase is Phase.SEALING else _NAMED
    else:
        what = _NOTHING
    return what if phase is None else f"{_READ_THROUGH[phase]}; {what}"
