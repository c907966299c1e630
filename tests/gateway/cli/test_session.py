"""What a command's own process does where no gateway serves."""

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import commands
from gateway.cli.session import run_command, run_job
from gateway.http.process import COLLECTIONS
from tests.gateway.cli.helpers import settings_in


def test_the_collector_is_calm_for_a_job_and_only_so_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def look(**arguments: Any) -> dict[str, Any]:
        del arguments
        return {"thresholds": gc.get_threshold(), "frozen": gc.get_freeze_count() > len(gc.get_objects())}

    @asynccontextmanager
    async def opened_here(*_: object) -> AsyncIterator[dict[str, Any]]:
        yield {"run_job": look, "list_keys": look}

    monkeypatch.setattr(commands, "opened_here", opened_here)
    (tmp_path / "data").mkdir()
    before = (gc.get_threshold(), gc.get_freeze_count())
    seen = run_job(settings_in(tmp_path), "rewrap", {}, lambda _: None)
    assert seen == {"thresholds": COLLECTIONS, "frozen": True}
    assert (gc.get_threshold(), gc.get_freeze_count()) == before
    assert run_command(settings_in(tmp_path), "list_keys", {})["thresholds"] == before[0] != COLLECTIONS
