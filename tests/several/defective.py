"""A real `sealgate serve` with one defect seeded in its catalogue: what the checker of histories must find.

Started as `python -m tests.several.defective DEFECT serve ...`. A defect shows now and then only, as such ones do.
"""

import random
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from gateway.cli.main import main
from storage.catalogue.postgres import PostgresCatalogue
from tests.blackbox.process import Gateway, Process
from tests.tooling.places import ROOT

_SHARE: Final = 0.1
_DICE: Final = random.Random(20261129)


class _Undone(Exception):
    """Carries the answer of a command that is rolled back."""


def lose_writes() -> None:
    """Acknowledge a publish that was rolled back."""
    write = PostgresCatalogue._write

    async def lossy(self: PostgresCatalogue, run: Callable[[Any], Any], *held: Any, **options: Any) -> Any:
        def undone(tx: Any) -> Any:
            raise _Undone(run(tx))

        if "publish_version" not in run.__qualname__ or _DICE.random() > _SHARE:
            return await write(self, run, *held, **options)
        try:
            return await write(self, undone, *held, **options)
        except _Undone as answer:
            return answer.args[0]

    PostgresCatalogue._write = lossy  # type: ignore[method-assign]


def _answer_as_before(name: str) -> None:
    """Give the answer to the same question that was given before, whatever happened since."""
    ask = getattr(PostgresCatalogue, name)
    answers: dict[Any, Any] = {}

    async def stale(self: PostgresCatalogue, *arguments: Any, **options: Any) -> Any:
        asked = repr((arguments, options))
        if asked not in answers or _DICE.random() > _SHARE:
            answers[asked] = await ask(self, *arguments, **options)
        return answers[asked]

    setattr(PostgresCatalogue, name, stale)


DEFECTS: Final[Mapping[str, Callable[[], None]]] = {
    "lost write": lose_writes,
    "stale read": lambda: _answer_as_before("get_version"),
    "stale list": lambda: _answer_as_before("list_versions"),
}


class DefectiveGateway(Gateway):
    """A gateway with a defect, beside others that have none."""

    defect = ""

    def environment(self) -> dict[str, str]:
        """See `Gateway.environment`; it finds this module."""
        return super().environment() | {"PYTHONPATH": str(ROOT)}

    def _spawn(self, command: Sequence[str]) -> Process:
        return super()._spawn([sys.executable, "-m", "tests.several.defective", self.defect, *command[1:]])


if __name__ == "__main__":
    DEFECTS[sys.argv.pop(1)]()
    sys.argv[0] = "sealgate"
    main()
